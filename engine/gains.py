"""What another drawn box in a track is worth: how far boxes are expected to be off, before and after it.

Errors are counted in boxes: one that is off by its own width is worth one box. The expectations are those by which
tracks are pinned to drawn boxes (``models.spam.keyframes``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.spam.keyframes import LOSS, Offsets, course_variance, straight_variance

Floats = NDArray[np.float64]
MOST_LOSS = 1.0  # a box that is lost costs no more
LOSS_RIGHT, LOSS_WRONG = 0.1, 0.5  # of a filled box with an overlap of 0.7 and more, and of the others
ONLY_BIAS = 0.35  # share of the offsets that is the detector's bias in a video of which nothing is known


@dataclass(frozen=True)
class Course:
    """One track, frame by frame.

    Attributes:
        frame: (n,) int64, ascending.
        is_key: (n,) bool, drawn by a person.
        is_seen: (n,) bool, a candidate or a person's box is there.
        bend: (4,) of ``keyframes.bends``.
        sure: (n,) confidence of boxes that a tracker filled in, nan for others; None without any.
    """

    frame: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    is_seen: NDArray[np.bool_]
    bend: Floats
    sure: Floats | None = None


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


def expected_loss(course: Course, keys: NDArray[np.bool_], offsets: Offsets, rate: float) -> Floats:
    """(n,) boxes that each frame of a track is expected to be off by, were ``keys`` drawn.

    Boxes that a tracker filled in are off by what their confidence says, and by as much less with further keys as any
    other box would be.
    """
    loss = _by_distance(course, keys, offsets, rate)
    if course.sure is None:
        return loss
    own = course.sure * LOSS_RIGHT + (1 - course.sure) * LOSS_WRONG
    now = loss if keys is course.is_key else _by_distance(course, course.is_key, offsets, rate)
    less = np.minimum(loss / np.maximum(now, 1e-9), 1.0)
    return np.where(np.isnan(own) | keys, loss, own * less)


def _by_distance(course: Course, keys: NDArray[np.bool_], offsets: Offsets, rate: float) -> Floats:
    before, behind = distances(course.frame, keys, rate)
    share = course_variance(before, behind, keys.sum())[:, None]
    followed = offsets.course * np.square(offsets.spread) * share
    followed = followed + straight_variance(*distances(course.frame, keys | course.is_seen, rate), course.bend)
    line = offsets.straight * straight_variance(before, behind, course.bend)
    inner = (np.isfinite(before) & np.isfinite(behind))[:, None]
    both = followed * line / np.maximum(followed + line, 1e-12)
    return np.minimum(np.sqrt(np.where(inner, both, followed)) @ LOSS, MOST_LOSS)


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
        places = [round(low + part * (high - low)) for part in (0.0, 0.33, 0.5, 0.67, 1.0)]
        if course.sure is not None and not np.isnan(course.sure[low : high + 1]).all():
            places.append(low + int(np.nanargmin(course.sure[low : high + 1])))
        for row in places:
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
    m = tracks_drawn_in + 1
    return boxes * float(offsets.spread @ LOSS) * (1 / np.sqrt(m) - 1 / np.sqrt(m + 1)) * ONLY_BIAS
