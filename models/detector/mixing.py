"""Boxes of two detectors as one set: doubles dropped, and scores of the second read on the scale of the first.

The hierarchy reads a score only through its rank among the boxes of its video and class, so the scores of two detectors
may stand side by side only if equal scores mean equally good boxes. Boxes that both found tell how the scales relate:
their scores are the same objects' twice, so the q-th quantile of one detector's goes to the q-th quantile of the
other's. Where they have too few boxes in common, all boxes of both tell, which assumes that both find about the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_COMMON = 30  # boxes found by both, under which all boxes tell how the scales relate
_BLOCK = 4096  # boxes that are compared with those of their frames at one time
_QUANTILES = np.linspace(0, 1, 65)


@dataclass(frozen=True)
class FoundBoxes:
    """Boxes of one detector in one video.

    Attributes:
        group: (N,) int64, equal for boxes that may be the same: those of one frame and class.
        xyxy: (N, 4) floating, on any scale.
        score: (N,) floating; NaN where there is none.
    """

    group: NDArray[np.int64]
    xyxy: NDArray[np.floating]
    score: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.group)


def mix(first: FoundBoxes, second: FoundBoxes, overlap: float = 0.65) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which boxes of the second detector add to the first's, and their scores on the first's scale.

    The first's boxes all stay, so this is greedy suppression with the first's boxes ahead of the second's.

    Args:
        first: the boxes that all stay.
        second: the boxes that may be added.
        overlap: intersection over union above which a box is a double.

    Returns:
        (N,) bool and (N,) float64, of the second's boxes.
    """
    best, partner = _best_overlap(first, second)
    both = np.flatnonzero((best > overlap) & np.isfinite(second.score))
    both = both[np.isfinite(first.score[partner[both]])]
    if len(both) >= _LEAST_COMMON:
        given, wanted = second.score[both], first.score[partner[both]]
    else:
        given, wanted = second.score[np.isfinite(second.score)], first.score[np.isfinite(first.score)]
    return best <= overlap, _rescaled(second, given, wanted, first)


def _rescaled(
    second: FoundBoxes, given: NDArray[np.floating], wanted: NDArray[np.floating], first: FoundBoxes
) -> NDArray[np.float64]:
    """Scores of the second on the first's scale, by the quantiles of two samples; the ends go to the ends."""
    score = second.score.astype(np.float64)
    if not len(given) or not len(wanted):
        return score
    x, y = np.quantile(given, _QUANTILES), np.quantile(wanted, _QUANTILES)
    x = np.concatenate([[np.nanmin(second.score)], x, [np.nanmax(second.score)]])
    y = np.concatenate([[np.nanmin(first.score)], y, [np.nanmax(first.score)]])
    return np.interp(score, x, y)


def _best_overlap(first: FoundBoxes, second: FoundBoxes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N,) greatest overlap of each of the second's boxes with one of the first's of its group, and (N,) with which."""
    order = np.argsort(first.group, kind="stable")
    groups = first.group[order]
    low, high = np.searchsorted(groups, second.group, "left"), np.searchsorted(groups, second.group, "right")
    best, partner = np.zeros(len(second)), np.zeros(len(second), np.int64)
    for start in range(0, len(second), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(second)))
        count = high[rows] - low[rows]
        mine = np.repeat(rows, count)
        within = np.arange(len(mine)) - np.repeat(np.cumsum(count) - count, count)
        theirs = order[low[mine] + within]
        shared = _iou(second.xyxy[mine], first.xyxy[theirs])
        ranked = np.lexsort((shared, mine))  # the last of each box of the second is its best
        last = np.flatnonzero(np.diff(mine[ranked], append=-1))
        best[mine[ranked][last]], partner[mine[ranked][last]] = shared[ranked][last], theirs[ranked][last]
    return best, partner


def _iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """(P,) intersection over union of pairs of boxes."""
    sides = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0)
    shared = sides.prod(1)
    area = [(box[:, 2:] - box[:, :2]).clip(0).prod(1) for box in (a, b)]
    return shared / np.maximum(area[0] + area[1] - shared, 1e-12)
