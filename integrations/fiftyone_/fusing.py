"""Boxes of a field and of a retrained detector as one set, with scores that the labels explain.

What the labels of the round before are sure of tells how far the scores of either can be trusted in a video; with that,
boxes that both found become one, and better placed than either (``models.detector.fusion``). Boxes that people spoke of
stay as they are, so that what they said still finds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from ...engine.holdout import Holdout
from ...models.columns import Candidates
from ...models.detector.fusion import Fused, fuse, probability_of
from ...models.spam.overlaps import overlapping
from .answers import AnswerBook
from .columns import StoredBoxes, read_boxes
from .fields import OutputFields
from .videos import StoredVideo

_SURE = 0.7  # validity from which a label counts as an object; less sure ones tell nothing
_HIT = 0.5  # overlap with a label from which a box is one of its object
_SAME = 0.9  # overlap from which a box is the one that an answer names

Labels = Callable[[StoredVideo], "KnownBoxes"]


@dataclass(frozen=True)
class KnownBoxes:
    """What the labels of a video say, in relative coordinates.

    Attributes:
        frame: (L,) int64, 0-based and sorted, of the labels' boxes.
        xyxy: (L, 4) float64.
        sure: (L,) bool, whether the label is sure of its object.
        told: (F,) bool, frames whose boxes may be compared with the labels; those that are held out may not.
        spoken_frame: (S,) int64, sorted, of boxes that people spoke of.
        spoken_xyxy: (S, 4) float64.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    sure: NDArray[np.bool_]
    told: NDArray[np.bool_]
    spoken_frame: NDArray[np.int64]
    spoken_xyxy: NDArray[np.float64]


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
    probability = [probability_of(boxes.score, *_hits(boxes, known)) for boxes in columns]
    fixed = np.zeros(len(columns[0]), bool)
    seen, _, _ = overlapping(
        columns[0].frame, columns[0].xyxy, known.spoken_frame, known.spoken_xyxy, _SAME
    )  # fmt: skip
    fixed[seen] = True
    found = fuse(columns[0], columns[1], (probability[0], probability[1]), fixed)
    back = [np.append(own, -1)[row] for own, row in zip(rows, (found.first, found.second), strict=True)]
    return Fused(found.candidates, back[0], back[1])


def _candidates(boxes: StoredBoxes, rows: NDArray[np.int64], names: dict[str | None, int]) -> Candidates:
    own = np.array([names[label] for label in boxes.labels], np.int64)
    index = own[boxes.label_index[rows]] if len(rows) else np.zeros(0, np.int64)
    return Candidates(
        boxes.frame[rows], boxes.xyxy[rows].astype(np.float32), boxes.score[rows].astype(np.float32), index
    )


def _hits(boxes: Candidates, known: KnownBoxes) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) whether a box is of an object that the labels are sure of, and whether the labels tell anything of it."""
    row, label, _ = overlapping(boxes.frame, boxes.xyxy, known.frame, known.xyxy, _HIT)
    hit, doubted = np.zeros(len(boxes), bool), np.zeros(len(boxes), bool)
    hit[row[known.sure[label]]] = True
    doubted[row[~known.sure[label]]] = True
    told = known.told[np.minimum(boxes.frame, len(known.told) - 1)]
    return hit, told & (hit | ~doubted)
