"""What another drawn box in a track is worth: how far boxes are expected to be off, before and after it.

Errors are counted in boxes: one that is off by its own width is worth one box. The offset of a track's boxes from the
truth is taken for a stationary process that fades with the time from a drawn box (Ornstein and Uhlenbeck), and what
lies between two observations for a bend that grows with the gap to the power of 3/2 (an integrated random walk).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.spam.keyframes import CHORD, FADE, Offsets

Floats = NDArray[np.float64]
HALF_NORMAL = 0.8  # mean of |x| for a standard normal x
SPREAD_LOSS = HALF_NORMAL * np.array([1.0, 1.0, 0.5, 0.5])  # overlap that an offset of each coordinate costs
MOST_LOSS = 1.0  # a box that is lost costs no more
BETWEEN_TRACKS = 0.7  # share of the offsets' spread that is between tracks: a track without drawn boxes has all of it


@dataclass(frozen=True)
class Course:
    """One track, frame by frame.

    Attributes:
        frame: (n,) int64, ascending.
        is_key: (n,) bool, drawn by a person.
        is_seen: (n,) bool, a candidate or a person's box is there.
        bend: relative deviation in the middle of a stretch of ``2 * CHORD`` seconds.
    """

    frame: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    is_seen: NDArray[np.bool_]
    bend: float


def distances(frame: NDArray[np.int64], at: NDArray[np.bool_], rate: float) -> tuple[Floats, Floats]:
    """Seconds to the nearest marked frame before and behind (0 where marked itself), infinite if there is none."""
    marked = frame[at].astype(np.float64)
    if not len(marked):
        never = np.full(len(frame), np.inf)
        return never, never.copy()
    place = np.searchsorted(marked, frame, "right") - 1
    before = np.where(place >= 0, frame - marked[np.maximum(place, 0)], np.inf)
    place = np.searchsorted(marked, frame, "left")
    behind = np.where(place < len(marked), marked[np.minimum(place, len(marked) - 1)] - frame, np.inf)
    return before / rate, behind / rate


def offset_loss(before: Floats, behind: Floats, loss: float) -> Floats:
    """Expected loss by the candidates' offset at some seconds from the drawn boxes before and behind."""
    a, b = np.exp(-2 * before / FADE), np.exp(-2 * behind / FADE)
    share = (1 - a) * (1 - b) / np.maximum(1 - a * b, 1e-9)
    return loss * np.sqrt(share)


def bend_loss(before: Floats, behind: Floats, bend: float) -> Floats:
    """Expected loss where nothing is seen, between observations at some seconds before and behind."""
    with np.errstate(invalid="ignore", divide="ignore"):
        both = np.where(
            np.isfinite(before) & np.isfinite(behind), before * behind / np.maximum(before + behind, 1e-9), 0
        )
    one = np.where(np.isfinite(before), before, np.where(np.isfinite(behind), behind, 0.0))
    reach = np.where(np.isfinite(before) & np.isfinite(behind), 2 * both, 2 * one)
    return bend * (reach / CHORD) ** 1.5


def expected_loss(course: Course, keys: NDArray[np.bool_], offsets: Offsets, rate: float) -> Floats:
    """(n,) boxes that each frame of a track is expected to be off by, were ``keys`` drawn."""
    spread = float((offsets.spread * SPREAD_LOSS).sum())
    to_key = distances(course.frame, keys, rate)
    to_seen = distances(course.frame, keys | course.is_seen, rate)
    wide = bend_loss(*to_key, course.bend)
    followed = offset_loss(*to_key, spread) + bend_loss(*to_seen, course.bend)
    inner = np.isfinite(to_key[0]) & np.isfinite(to_key[1])
    trust = float(offsets.trust.mean())
    blend = np.where(inner, trust * followed + (1 - trust) * np.minimum(wide, followed), followed)
    return np.minimum(blend, MOST_LOSS)


def best_keys(course: Course, offsets: Offsets, rate: float) -> tuple[NDArray[np.int64], Floats]:
    """Where the next drawn box of a track is worth most, once in every stretch between those that there are.

    Returns:
        Rows of the course, and the boxes that drawing each is expected to put right.
    """
    number = len(course.frame)
    now = expected_loss(course, course.is_key, offsets, rate)
    edges = np.unique(np.concatenate([[0], np.flatnonzero(course.is_key), [number - 1]]))
    rows, gains = [], []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):  # stretches, not frames
        best, gain = -1, 0.0
        for part in (0.0, 0.33, 0.5, 0.67, 1.0):
            row = int(round(low + part * (high - low)))
            if course.is_key[row]:
                continue
            keys = course.is_key.copy()
            keys[row] = True
            saved = float((now - expected_loss(course, keys, offsets, rate)).sum())
            if saved > gain:
                best, gain = row, saved
        if best >= 0:
            rows.append(best)
            gains.append(gain)
    if number == 1 and not course.is_key[0]:
        rows, gains = [0], [float(now[0])]
    return np.array(rows, np.int64), np.array(gains)


def bias_gain(boxes: float, offsets: Offsets, tracks_drawn_in: int) -> float:
    """Boxes that a first drawn box in another track puts right elsewhere, as it tells more of the detector's bias."""
    spread = float((offsets.spread * SPREAD_LOSS).sum()) * BETWEEN_TRACKS
    m = tracks_drawn_in + 1
    return boxes * spread * (1 / np.sqrt(m) - 1 / np.sqrt(m + 1)) * 0.5
