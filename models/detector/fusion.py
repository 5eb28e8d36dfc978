"""Fuse the boxes of two detectors that looked at the same video.

Boxes of both that mean one object become one box, the mean of both by how sure each detector is (weighted boxes
fusion, Solovyev et al., Image and Vision Computing 2021), and surer than either. Scores of two detectors do not
compare: each is first turned into a probability, by a curve that never falls, fitted to what is known of its own boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from ..columns import Candidates
from ..errors import InputError
from ..spam.overlaps import overlapping

_SURE = (0.01, 0.99)  # no score makes a box impossible or certain
_KNOWN = 20  # boxes below which no curve is fitted


@dataclass(frozen=True)
class FusionSettings:
    """When boxes mean one object.

    Attributes:
        pair: overlap from which a box of each detector mean one object.
        double: of two boxes of one detector that overlap by more, the less probable is dropped.
        rival: the same among fused boxes.
        least: added boxes that are less probable are dropped.

    Raises:
        InputError: for overlaps or a probability outside of [0, 1].
    """

    pair: float = 0.55
    double: float = 0.45
    rival: float = 0.5
    least: float = 0.05

    def __post_init__(self) -> None:
        for key in self.__dataclass_fields__:
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"fusion: {key} is {getattr(self, key)!r}; it must lie in [0, 1]")


@dataclass(frozen=True)
class Fused:
    """Boxes of two detectors as one set.

    Attributes:
        candidates: K, sorted by frame; scores are probabilities.
        first: (K,) int64, row of the first detector's box, or -1.
        second: (K,) int64, row of the second's, or -1.
    """

    candidates: Candidates
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def probability_of(
    score: NDArray[np.floating], hit: NDArray[np.bool_], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(N,) probability that a box is an object, from its score alone.

    Args:
        score: (N,) of one detector's boxes.
        hit: (N,) whether the box is one.
        known: (N,) whether that is known; others take part in no fit. With few known ones, ranks are taken instead.
    """
    if known.sum() < _KNOWN or hit[known].all() or not hit[known].any():
        rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
        return np.clip((rank + 0.5) / max(len(score), 1), *_SURE)
    order = np.argsort(score[known], kind="stable")
    at = score[known][order].astype(np.float64)
    level, where = np.unique(at, return_inverse=True)  # equal scores have one probability
    count = np.bincount(where)
    fitted = isotonic_regression(np.bincount(where, hit[known][order]) / count, weights=count).x
    return np.clip(np.interp(score, level, fitted), *_SURE)


def fuse(
    first: Candidates, second: Candidates, probability: tuple[NDArray[np.floating], NDArray[np.floating]],
    fixed: NDArray[np.bool_] | None = None, settings: FusionSettings | None = None,
) -> Fused:  # fmt: skip
    """One set of boxes from two; classes never mix.

    Args:
        first: N boxes.
        second: M boxes of the same video and the same classes.
        probability: (N,) and (M,), of each to be an object.
        fixed: (N,) boxes of the first that stay as they are, whatever else is there; people spoke of them.
        settings: when boxes mean one object.
    """
    settings = settings or FusionSettings()
    fixed = np.zeros(len(first), bool) if fixed is None else fixed
    one = np.flatnonzero(alive(first, probability[0], settings.double, fixed))
    two = np.flatnonzero(alive(second, probability[1], settings.double) & (probability[1] >= settings.least))
    a, b = _pairs(first, second, one, two, settings.pair)
    lone_a, lone_b = np.setdiff1d(one, a), np.setdiff1d(two, b)
    p, q = probability[0][a].astype(np.float64), probability[1][b].astype(np.float64)
    share = np.where(fixed[a], 1.0, p / (p + q))[:, None]
    middle = share * first.xyxy[a] + (1 - share) * second.xyxy[b]
    none_a, none_b = np.full(len(lone_b), -1), np.full(len(lone_a), -1)
    rows = np.concatenate([a, lone_a, none_a]), np.concatenate([b, none_b, lone_b])
    frame = np.concatenate([first.frame[a], first.frame[lone_a], second.frame[lone_b]])
    xyxy = np.concatenate([middle, first.xyxy[lone_a], second.xyxy[lone_b]]).astype(np.float32)
    score = np.concatenate([1 - (1 - p) * (1 - q), probability[0][lone_a], probability[1][lone_b]]).astype(np.float32)
    kind = np.concatenate([first.class_index[a], first.class_index[lone_a], second.class_index[lone_b]])
    order = np.lexsort((rows[1], rows[0], -score, frame))
    whole = Candidates(frame[order], xyxy[order], score[order], kind[order])
    held = np.concatenate([fixed[a], fixed[lone_a], np.zeros(len(lone_b), bool)])[order]
    kept = np.flatnonzero(alive(whole, whole.score, settings.rival, held))
    found = Candidates(whole.frame[kept], whole.xyxy[kept], whole.score[kept], whole.class_index[kept])
    return Fused(found, rows[0][order][kept], rows[1][order][kept])


def alive(
    boxes: Candidates, probability: NDArray[np.floating], overlap: float, fixed: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """(N,) the boxes that greedy suppression keeps, frame by frame and class by class; all fixed ones are kept.

    Args:
        boxes: N.
        probability: (N,) the greater, the earlier.
        overlap: above which the later of two is dropped.
        fixed: (N,) boxes that are never dropped.
    """
    fixed = np.zeros(len(boxes), bool) if fixed is None else fixed
    row, other, _ = overlapping(boxes.frame, boxes.xyxy, boxes.frame, boxes.xyxy, overlap)
    rank = np.empty(len(boxes), np.int64)
    rank[np.lexsort((np.arange(len(boxes)), -probability, ~fixed))] = np.arange(len(boxes))
    rivals = (boxes.class_index[row] == boxes.class_index[other]) & (rank[row] < rank[other]) & ~fixed[other]
    row, other = row[rivals], other[rivals]
    kept = np.ones(len(boxes), bool)
    for _ in range(len(boxes)):  # until nothing changes; seldom more than five times
        again = np.ones(len(boxes), bool)
        again[other[kept[row]]] = False
        if np.array_equal(again, kept):
            break
        kept = again
    return kept


def _pairs(
    first: Candidates, second: Candidates, one: NDArray[np.int64], two: NDArray[np.int64], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first and of the second that are each other's best."""
    row, other, iou = overlapping(first.frame[one], first.xyxy[one], second.frame[two], second.xyxy[two], least)
    same = first.class_index[one[row]] == second.class_index[two[other]]
    row, other, iou = row[same], other[same], iou[same]
    order = np.lexsort((other, row, -iou))
    best_row, best_other = np.full(len(one), -1), np.full(len(two), -1)
    best_row[row[order[::-1]]] = order[::-1]  # the last one written is the best
    best_other[other[order[::-1]]] = order[::-1]
    mutual = order[(best_row[row[order]] == order) & (best_other[other[order]] == order)]
    mutual = np.sort(mutual)
    return one[row[mutual]], two[other[mutual]]
