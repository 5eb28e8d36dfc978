"""A field of candidates of two origins: boxes that a user has, and those that a detector adds.

Where labels are known, boxes that both found become one (``fusing``). Where none are, the user's boxes are copied as
they are, and a box of the detector is left out where it overlaps one of the user's, of the same frame and class, by
more than ``OVERLAP``; the scores of the others are read on the scale of the user's, since the hierarchy ranks the
scores of a video and class together (``models.detector.mixing``). The attribute ``detector`` tells who found a box: the
field's name, the detector's version, or both.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from ...models.detector.fusion import Fused
from ...models.detector.mixing import FoundBoxes, mix
from .columns import StoredBoxes, four_columns, read_boxes, video_documents
from .fusing import Labels, fuse_boxes, usable
from .raw import detection_dict, put_labels
from .videos import StoredVideo

OVERLAP = 0.65

_FRAMES_PER_WRITE = 200


def boxes_digest(video: StoredVideo, field: str) -> str:
    """A digest of a field's boxes, labels and scores in one video."""
    boxes = read_boxes(video, field, 1.0, 1.0)
    digest = blake2b(repr(boxes.labels).encode(), digest_size=16)
    for column in (boxes.frame, boxes.xyxy, boxes.score, boxes.label_index):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def stored_boxes(video: StoredVideo, field: str) -> dict[int, NDArray[np.float64]]:
    """0-based frame -> (n, 4) relative ``[x, y, w, h]`` of the boxes that have a place."""
    found = {}
    for frame, documents in video_documents(video, field, ["bounding_box"]):
        xywh = four_columns([document.get("bounding_box") for document in documents])
        found[frame] = xywh[np.isfinite(xywh).all(1) & (xywh[:, 2:] > 0).all(1)]
    return found


def combine(video: StoredVideo, field: str, other: str, version: str, labels: Labels | None = None) -> int:
    """Adds the boxes of another field to those of a detector, in the detector's field.

    Args:
        video: which one; ``field`` holds nothing but the detector's boxes.
        field: of the detector's boxes, without ``frames.``.
        other: of the boxes that stay, without ``frames.``.
        version: of the detector, for their attribute.
        labels: what labels say of a video; None if there are none.

    Returns:
        how many boxes the field holds then.
    """
    ours, theirs = read_boxes(video, field, 1.0, 1.0), read_boxes(video, other, 1.0, 1.0)
    known = labels(video) if labels is not None else None
    if known is not None and known.sure.any():
        return _fused(video, field, other, version, fuse_boxes(theirs, ours, known), usable(theirs))
    number = {label: place for place, label in enumerate(dict.fromkeys([*ours.labels, *theirs.labels]))}
    kept, score = mix(_grouped(theirs, number), _grouped(ours, number), OVERLAP)
    found = dict(video_documents(video, other, ["label", "bounding_box", "confidence"]))
    mine = dict(video_documents(video, field))
    row, written, total = 0, [], 0
    for frame in sorted({*found, *mine}):
        boxes = [_copied(document, field, other) for document in found.get(frame, ())]
        for document in mine.get(frame, ()):
            if kept[row]:
                boxes.append({**document, "confidence": float(score[row]), "detector": version})
            row += 1
        written.append((*_place(video, frame), boxes))
        total += len(boxes)
        if len(written) >= _FRAMES_PER_WRITE:
            put_labels(video.dataset, field, written)
            written = []
    put_labels(video.dataset, field, written)
    return total


def _fused(
    video: StoredVideo, field: str, other: str, version: str, boxes: Fused, good: NDArray[np.bool_]
) -> int:  # fmt: skip
    """Writes fused boxes, and those of the other field that cannot be used as they are."""
    theirs = [d for _, own in video_documents(video, other, ["label", "bounding_box", "confidence"]) for d in own]
    ours = [d for _, own in video_documents(video, field) for d in own]
    frames = read_boxes(video, other, 1.0, 1.0).frame
    by_frame: dict[int, list[dict[str, Any]]] = {frame: [] for frame, _ in video_documents(video, field)}
    for row in np.flatnonzero(~good).tolist():
        by_frame.setdefault(int(frames[row]), []).append(_copied(theirs[row], field, other))
    found = boxes.candidates
    columns = (found.frame.tolist(), found.xyxy.astype(np.float64).tolist(), found.score.tolist(),
               boxes.first.tolist(), boxes.second.tolist())  # fmt: skip
    for frame, (x1, y1, x2, y2), score, first, second in zip(*columns, strict=True):
        document = theirs[first] if first >= 0 else ours[second]
        origin = version if first < 0 else other if second < 0 else f"{other} + {version}"
        box = detection_dict(document.get("label"), [x1, y1, x2 - x1, y2 - y1], confidence=score, detector=origin)
        digest = blake2b(f"{field}/{video.key}/{frame}/{document.get('_id')}".encode(), digest_size=12)
        by_frame.setdefault(frame, []).append({**box, "_id": ObjectId(digest.digest())})
    frames_written = sorted(by_frame)
    for start in range(0, len(frames_written), _FRAMES_PER_WRITE):
        part = frames_written[start : start + _FRAMES_PER_WRITE]
        put_labels(video.dataset, field, [(*_place(video, frame), by_frame[frame]) for frame in part])
    return sum(map(len, by_frame.values()))


def _grouped(boxes: StoredBoxes, number: dict[str | None, int]) -> FoundBoxes:
    """Columns in which boxes of one frame and class share a number, by the numbers of the classes."""
    own = np.array([number[label] for label in boxes.labels], np.int64)
    class_index = own[boxes.label_index] if len(boxes) else boxes.label_index
    return FoundBoxes(boxes.frame * len(number) + class_index, boxes.xyxy, boxes.score)


def _copied(document: dict[str, Any], field: str, other: str) -> dict[str, Any]:
    """A box of the other field as one of this field, with an id that depends on both alone."""
    copy = detection_dict(
        document.get("label"), document.get("bounding_box") or [], confidence=document.get("confidence"), detector=other
    )
    digest = blake2b(f"{field}/{document.get('_id')}".encode(), digest_size=12)
    return {**copy, "_id": ObjectId(digest.digest())}


def _place(video: StoredVideo, frame: int) -> tuple[str, int | None]:
    if video.image_frame is None:
        return video.key, frame + 1
    return video.sample_ids[int(np.searchsorted(video.image_frame, frame))], None
