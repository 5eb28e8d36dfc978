"""Checks what was read of a video's candidates: what cannot be used is named, or left out and counted."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ...models.columns import Candidates, VideoInfo
from ...models.errors import InputError
from .columns import StoredBoxes
from .videos import StoredVideo

# Reasons in the order in which they are looked for; each box is counted under its first.
NOT_FINITE = "box is not four finite numbers"
NO_AREA = "box has no area"
OUTSIDE = "box lies outside the image"
NO_SCORE = "no finite confidence"
BEYOND_END = "frame lies beyond the end of the video"
NO_EMBEDDING = "no embedding, or one of another length"
DUPLICATE = "duplicate of another box of its frame"


def usable_candidates(
    video: StoredVideo, field: str, boxes: StoredBoxes, info: VideoInfo, skip_bad: bool, embedding: str | None = None
) -> tuple[Candidates, dict[str, int]]:
    """Candidates of the boxes that can be used, and the number of the others by reason.

    Args:
        video: that they are from, for messages.
        field: that they are from, for messages.
        boxes: what was read.
        info: the video's length and size.
        skip_bad: leave out the others instead of raising.
        embedding: name of the attribute that embeddings were read from, for messages.

    Raises:
        InputError: for the first box that cannot be used, unless ``skip_bad``.
    """
    reason = _reasons(boxes, info)
    found = {text: int((reason == number).sum()) for number, text in enumerate(_TEXTS, 1)}
    left_out = {text: count for text, count in found.items() if count}
    if left_out and not skip_bad:
        row = int((reason > 0).argmax())
        raise InputError(_complaint(video, field, boxes, row, _TEXTS[reason[row] - 1], embedding, left_out))
    good = reason == 0
    return (
        Candidates(
            boxes.frame[good],
            boxes.xyxy[good].astype(np.float32),
            boxes.score[good].astype(np.float32),
            boxes.label_index[good],
            boxes.embedding[good] if boxes.embedding is not None else None,
        ),
        left_out,
    )


def fingerprint(info: VideoInfo, boxes: StoredBoxes) -> str:
    """A digest of everything that labels of a video depend on, as it is stored."""
    digest = blake2b(digest_size=16)
    digest.update(repr((info.num_frames, info.width, info.height, info.frame_rate, boxes.labels)).encode())
    for column in (boxes.frame, boxes.xyxy, boxes.score, boxes.label_index, boxes.embedding):
        digest.update(repr(None if column is None else column.shape).encode())
        if column is not None:
            digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


_TEXTS = (NOT_FINITE, NO_AREA, OUTSIDE, NO_SCORE, BEYOND_END, NO_EMBEDDING, DUPLICATE)

_MEND = {
    NOT_FINITE: "mend or delete it",
    NO_AREA: "boxes are [x, y, width, height] with positive width and height; mend or delete it",
    OUTSIDE: "boxes are relative, from 0 to 1; mend or delete it",
    NO_SCORE: "candidates need the score that their detector gave them",
    BEYOND_END: "the labels belong to another video, or its metadata are wrong",
    NO_EMBEDDING: "embed the candidates again, or label without embeddings",
    DUPLICATE: "delete it",
}


def _reasons(boxes: StoredBoxes, info: VideoInfo) -> NDArray[np.int64]:
    """(N,) number of the first reason why a box cannot be used, from 1; 0 if it can."""
    with np.errstate(invalid="ignore"):
        narrow = boxes.xyxy.astype(np.float32)  # what has area in double precision may have none in single
        beyond = (narrow[:, :2] >= [info.width, info.height]) | (narrow[:, 2:] <= 0)
        bad = {
            NOT_FINITE: ~np.isfinite(narrow).all(1),
            NO_AREA: ~(narrow[:, 2:] > narrow[:, :2]).all(1),
            OUTSIDE: beyond.any(1),
            NO_SCORE: ~np.isfinite(boxes.score.astype(np.float32)),
            BEYOND_END: boxes.frame >= info.num_frames,
        }
    if boxes.embedding is not None:
        bad[NO_EMBEDDING] = ~np.isfinite(boxes.embedding).all(1) | (boxes.embedding.shape[1] == 0)
    bad[DUPLICATE] = _repeated(boxes)
    reason = np.zeros(len(boxes), np.int64)
    for text, rows in reversed(bad.items()):
        reason[rows] = _TEXTS.index(text) + 1
    return reason


def _repeated(boxes: StoredBoxes) -> NDArray[np.bool_]:
    """(N,) whether a box is the same, in frame, place, class and score, as one before it."""
    columns = [boxes.frame, boxes.label_index, boxes.score, *boxes.xyxy.T]
    order = np.lexsort(columns[::-1])  # stable, so the first of equals stays first
    same = np.logical_and.reduce([column[order][1:] == column[order][:-1] for column in columns])
    out = np.zeros(len(boxes), bool)
    out[order[1:][same]] = True
    return out


def _complaint(
    video: StoredVideo,
    field: str,
    boxes: StoredBoxes,
    row: int,
    text: str,
    embedding: str | None,
    found: dict[str, int],
) -> str:
    subject = f"field {field!r}" + (f", attribute {embedding!r}" if text == NO_EMBEDDING else "")
    box = np.round(boxes.xyxy[row], 2).tolist()
    others = sum(found.values()) - 1
    more = f" ({others} more such boxes in this video)" if others else ""
    return (
        f"{video.title(int(boxes.frame[row]))}, {subject}: {text} (xyxy {box} px){more}; {_MEND[text]}, or leave such "
        f"boxes out with skip_bad=True (--skip-bad)"
    )
