"""Boxes of a field and of a retrained detector as one set, by what the stored labels say; see ``engine.fusing``."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from ...engine.fusing import KnownBoxes, fuse_candidates
from ...engine.holdout import Holdout
from ...models.columns import Candidates
from ...models.detector.fusion import Fused
from .answers import AnswerBook
from .columns import StoredBoxes, read_boxes
from .fields import OutputFields
from .videos import StoredVideo

_SURE = 0.7  # validity from which a label counts as an object; less sure ones tell nothing

Labels = Callable[[StoredVideo], KnownBoxes]


def labels_of(dataset: fo.Dataset, out: str, holdout: Holdout | None = None) -> Labels | None:
    """What is known of the videos of a dataset by their labels; None if there are none yet.

    Args:
        dataset: of the videos.
        out: field of the tracks.
        holdout: what is held out.
    """
    name = OutputFields(out.removeprefix("frames.")).out
    prefix = "frames." if dataset.media_type == "video" else ""
    if dataset.get_field(prefix + name) is None:
        return None
    book = AnswerBook(dataset, name)

    def look(video: StoredVideo) -> KnownBoxes:
        info = video.info()
        boxes = read_boxes(video, name, 1.0, 1.0)
        good = np.isfinite(boxes.xyxy).all(1)
        told = np.ones(info.num_frames, bool)
        if holdout is not None:
            told &= ~holdout.holds(video.key, np.arange(info.num_frames))
        said = [box for answer in book.of(video.key) for box in answer.boxes]
        spoken = np.array([box.xyxy for box in said], np.float64).reshape(-1, 4)
        spoken /= [info.width, info.height, info.width, info.height]
        frame = np.array([box.frame for box in said], np.int64)
        order = np.argsort(frame, kind="stable")
        sure = np.nan_to_num(boxes.score[good], nan=1.0) >= _SURE  # a person's boxes have no score
        return KnownBoxes(boxes.frame[good], boxes.xyxy[good], sure, told, frame[order], spoken[order])

    return look


def usable(boxes: StoredBoxes) -> NDArray[np.bool_]:
    """(N,) the boxes that have a place, an area and a score."""
    with np.errstate(invalid="ignore"):
        narrow = boxes.xyxy.astype(np.float32)
        area = (narrow[:, 2:] > narrow[:, :2]).all(1)
    return np.isfinite(boxes.xyxy).all(1) & area & np.isfinite(boxes.score)


def fuse_boxes(first: StoredBoxes, second: StoredBoxes, known: KnownBoxes) -> Fused:
    """The boxes of both as one set, rows counted as they are stored; what is not usable is left out.

    Args:
        first: relative coordinates.
        second: of another detector, likewise.
        known: what the labels say.
    """
    names = {label: n for n, label in enumerate(dict.fromkeys([*first.labels, *second.labels]))}
    rows = [np.flatnonzero(usable(boxes)) for boxes in (first, second)]
    columns = [_candidates(boxes, own, names) for boxes, own in zip((first, second), rows, strict=True)]
    found = fuse_candidates(columns[0], columns[1], known)
    back = [np.append(own, -1)[row] for own, row in zip(rows, (found.first, found.second), strict=True)]
    return Fused(found.candidates, back[0], back[1])


def _candidates(boxes: StoredBoxes, rows: NDArray[np.int64], names: dict[str | None, int]) -> Candidates:
    own = np.array([names[label] for label in boxes.labels], np.int64)
    index = own[boxes.label_index[rows]] if len(rows) else np.zeros(0, np.int64)
    return Candidates(
        boxes.frame[rows], boxes.xyxy[rows].astype(np.float32), boxes.score[rows].astype(np.float32), index
    )
