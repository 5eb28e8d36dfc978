"""Average precision of detections, as COCO counts it: 101 points of recall, one overlap.

Lin et al., "Microsoft COCO", ECCV 2014, and its evaluation kit: detections of a class take, from the best on, the free
true box of their frame that they overlap most, by at least the threshold; true boxes that are to be ignored are taken
only if no other is to be had, by as many as like, and such detections count neither way (as COCO's "crowds"). Precision
at a recall is the best precision at that recall or beyond it; average precision is its mean at recalls 0, 0.01, ..., 1.
Without ignored boxes this is what pycocotools computes (tried on 96 rendered frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..spam.overlaps import overlapping


@dataclass(frozen=True)
class Boxes:
    """Boxes of some frames, detected or true, in any order.

    Attributes:
        frame: (N,) int64.
        xyxy: (N, 4) float32 pixels.
        class_index: (N,) int64.
        score: (N,) float32 of detections; for true boxes 1 where they count and 0 where they are to be ignored.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    class_index: NDArray[np.int64]
    score: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: NDArray) -> Boxes:
        """Some of the boxes."""
        return Boxes(self.frame[rows], self.xyxy[rows], self.class_index[rows], self.score[rows])


@dataclass(frozen=True)
class Precision:
    """How good detections are.

    Attributes:
        average: average precision of each class, in [0, 1]; NaN for a class without true boxes.
        recall: of each class, with all detections however low their score; NaN likewise.
    """

    average: NDArray[np.float64]
    recall: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over the classes that have true boxes; NaN if none has."""
        known = self.average[~np.isnan(self.average)]
        return float(known.mean()) if len(known) else float("nan")


def average_precision(found: Boxes, truth: Boxes, classes: int, overlap: float = 0.5) -> Precision:
    """Average precision of every class.

    Args:
        found: detections.
        truth: true boxes; those of score 0 are to be ignored.
        classes: how many there are.
        overlap: least intersection over union of a detection and the box that it stands for.
    """
    rows = [_of_class(found, truth, index, overlap) for index in range(classes)]
    return Precision(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))


def join(parts: Sequence[Boxes]) -> Boxes:
    """Boxes of several sets, whose frames must be told apart already."""
    fields = ("frame", "xyxy", "class_index", "score")
    return Boxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def _of_class(found: Boxes, truth: Boxes, index: int, overlap: float) -> tuple[float, float]:
    truth = truth.take(np.flatnonzero(truth.class_index == index))
    truth = truth.take(np.argsort(truth.frame, kind="stable"))
    found = found.take(np.flatnonzero(found.class_index == index))
    found = found.take(np.argsort(-found.score, kind="stable"))
    counts = truth.score > 0
    if not counts.any():
        return float("nan"), float("nan")
    right, ignored = _match(found, truth, counts, overlap)
    right = right[~ignored]
    hits = np.cumsum(right)
    recall = hits / counts.sum()
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-12)
    average = np.append(envelope, 0.0)[at].mean()
    return float(average), float(recall[-1]) if len(recall) else 0.0


def _match(
    found: Boxes, truth: Boxes, counts: NDArray[np.bool_], overlap: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) bool each: detections, best first, that stand for a true box; those that count neither way.

    What the rule gives, going from the best detection on, is the one stable arrangement when detections prefer as said
    and boxes prefer the better detection. All detections at once ask for what they prefer, boxes keep the best that
    asked, and who is turned away asks for the next (Gale and Shapley, 1962).
    """
    row, other, iou = overlapping(found.frame, found.xyxy, truth.frame, truth.xyxy, np.nextafter(overlap, 0))
    # Each detection's wishes in order: boxes that count first, then the greatest overlap, then the later box (as COCO).
    order = np.lexsort((-other, -iou, ~counts[other], row))
    row, other = row[order], other[order]
    wish = np.searchsorted(row, np.arange(len(found)))
    end = np.searchsorted(row, np.arange(len(found)), "right")
    while True:  # rounds of asking; as many as detections crowd around one box
        asking = np.flatnonzero(wish < end)
        box = other[wish[asking]]
        holder = np.full(len(truth), len(found))
        np.minimum.at(holder, box, asking)  # detections are sorted, the best one first
        refused = asking[counts[box] & (holder[box] != asking)]  # what is ignored has room for many
        if not len(refused):
            break
        wish[refused] += 1
    there = wish < end
    right = np.zeros(len(found), bool)
    right[there] = counts[other[wish[there]]]
    return right, there & ~right
