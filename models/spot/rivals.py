"""Filled boxes beside others in their frame: two objects are not in one place, and a detector may know it better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .gaps import Floats, Ints, overlap, to_offset

_CHUNK = 1 << 22  # pairs at a time
_KEYS = 8  # human boxes with a candidate before candidates are believed
_GAIN = 0.8  # a candidate must be nearer than the filled box by so much


def pairs_in_frames(frame: Ints, other: Ints) -> list[tuple[Ints, Ints]]:
    """Rows (P,) and rows (P,) of all pairs of the same frame, some at a time.

    Args:
        frame: (N,).
        other: (M,) sorted.
    """
    low, high = np.searchsorted(other, frame, "left"), np.searchsorted(other, frame, "right")
    count = high - low
    ends = np.cumsum(count)
    parts, first = [], 0
    while first < len(frame):  # as many pairs as the memory holds
        last = max(int(np.searchsorted(ends, (ends[first - 1] if first else 0) + _CHUNK)), first + 1)
        rows = np.arange(first, last)
        one = np.repeat(rows, count[rows])
        two = np.arange(len(one)) - np.repeat(np.cumsum(count[rows]) - count[rows], count[rows]) + low[one]
        if len(one):
            parts.append((one, two))
        first = last
    return parts


def losers(
    track: Ints, frame: Ints, xyxy: NDArray[np.floating], confidence: NDArray[np.floating], apart: float,
    friends: set[tuple[int, int]], taken_track: Ints, taken_frame: Ints, taken_xyxy: NDArray[np.floating],
) -> tuple[NDArray[np.bool_], Floats]:  # fmt: skip
    """Which boxes lie where another object is, and in whose place: the one that is surer of itself stays.

    Args:
        track: (N,) of filled boxes, sorted by frame.
        frame: (N,).
        xyxy: (N, 4).
        confidence: (N,).
        apart: overlap that two objects may have.
        friends: pairs of tracks, the lower one first, that may have more, for their human boxes do.
        taken_track: (M,) of boxes that stay whatever comes, sorted by frame; -1 for objects without fills.
        taken_frame: (M,).
        taken_xyxy: (M, 4).

    Returns:
        (N,) bool, and (N, 4) the box that each of them lost to; any for the others.
    """
    lost = np.zeros(len(track), bool)
    to = np.asarray(xyxy, np.float64).copy()
    for one, two in pairs_in_frames(frame, taken_frame):
        over = (track[one] != taken_track[two]) & (overlap(xyxy[one], taken_xyxy[two]) > apart)
        one, two = one[over], two[over]
        hit = ~_friends(track[one], taken_track[two], friends)
        lost[one[hit]] = True
        to[one[hit]] = taken_xyxy[two[hit]]
    fights = [np.zeros((2, 0), np.int64)]
    for one, two in pairs_in_frames(frame, frame):
        over = (one < two) & (overlap(xyxy[one], xyxy[two]) > apart)
        one, two = one[over], two[over]
        fights.append(np.stack([one, two])[:, ~_friends(track[one], track[two], friends)])
    one, two = np.concatenate(fights, 1)
    first = (confidence[one] > confidence[two]) | ((confidence[one] == confidence[two]) & (track[one] < track[two]))
    winner, loser = np.where(first, one, two), np.where(first, two, one)
    # A loser takes nobody's place: who only lost to it has won. The surest first; rounds until nothing changes.
    for _ in range(8):
        active = ~lost[winner] & ~lost[loser]
        top = np.full(len(track), -1.0)
        np.maximum.at(top, loser[active], confidence[winner[active]])
        sure = active & (top[winner] < 0)  # winners that lose to nobody
        if not sure.any():
            break
        lost[loser[sure]] = True
        to[loser[sure]] = xyxy[winner[sure]]
    return lost, to


def _friends(one: Ints, two: Ints, friends: set[tuple[int, int]]) -> NDArray[np.bool_]:
    if not friends:
        return np.zeros(len(one), bool)
    known = np.array(sorted(a * (1 << 32) + b for a, b in friends))
    pair = np.minimum(one, two) * (1 << 32) + np.maximum(one, two)
    return np.isin(pair, known)


def close_friends(track: Ints, frame: Ints, xyxy: NDArray[np.floating], apart: float) -> set[tuple[int, int]]:
    """Pairs of tracks, the lower one first, whose human boxes overlap by more in some frame."""
    order = np.argsort(frame, kind="stable")
    own, box, at = track[order], np.asarray(xyxy)[order], frame[order]
    found: set[tuple[int, int]] = set()
    for one, two in pairs_in_frames(at, at):
        over = (own[one] < own[two]) & (overlap(box[one], box[two]) > apart)
        found.update(zip(own[one[over]].tolist(), own[two[over]].tolist(), strict=True))
    return found


def snapped(
    frame: Ints, xyxy: NDArray[np.floating], loss: Floats, key_frame: Ints, key_xyxy: NDArray[np.floating],
    candidate_frame: Ints, candidate_xyxy: NDArray[np.floating], score: NDArray[np.floating], least: float,
    share: float, weights: Floats,
) -> Ints:  # fmt: skip
    """(N,) candidate whose box is expected to be nearer to the object than the filled one, or -1.

    What candidates are worth is told by the human boxes that have one; with fewer than ``_KEYS`` of these none is.

    Args:
        frame: (N,) of filled boxes.
        xyxy: (N, 4).
        loss: (N,) overlap that they are expected to lack.
        key_frame: (K,) of human boxes.
        key_xyxy: (K, 4).
        candidate_frame: (M,) sorted.
        candidate_xyxy: (M, 4).
        score: (M,).
        least: overlap that a candidate must have with the filled box.
        share: of the candidates must have a lower score.
        weights: (2,) overlap lost for an error of 1, centre and sides.
    """
    none = np.full(len(frame), -1)
    if not len(candidate_frame) or not len(frame):
        return none
    near = nearest(key_frame, key_xyxy, candidate_frame, candidate_xyxy, 0.5)
    known = near >= 0
    if known.sum() < _KEYS:
        return none
    off = np.square(to_offset(candidate_xyxy[near[known]], np.asarray(key_xyxy)[known])).reshape(-1, 2, 2).mean(2)
    theirs = float(np.sqrt(off.mean(0)) @ weights)
    good = np.flatnonzero(score >= np.quantile(score, share))
    best = nearest(frame, xyxy, candidate_frame[good], candidate_xyxy[good], least)
    return np.where((best >= 0) & (theirs < _GAIN * loss), good[best], -1)


def nearest(
    frame: Ints, xyxy: NDArray[np.floating], other_frame: Ints, other_xyxy: NDArray[np.floating], least: float
) -> Ints:
    """(N,) row of the other box of the same frame that overlaps most, by ``least`` at least, or -1."""
    best = np.full(len(frame), -1)
    for one, two in pairs_in_frames(frame, other_frame):
        value = overlap(np.asarray(xyxy)[one], np.asarray(other_xyxy)[two])
        order = np.lexsort((value, one))
        good = order[value[order] >= least]
        best[one[good]] = two[good]  # ascending: the last write is the greatest overlap
    return best
