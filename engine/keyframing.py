"""The fewest keyframes that say a track, and the boxes that keyframes stand for.

Keyframes are what a person has to drag, so fewer are better; between two of them annotation tools draw boxes along
the straight line. The count is the least possible among subsets of the track's own boxes: a shortest path over all
pairs of boxes whose line stays close enough to every box between them. Pairs are tried distance by distance, for all
boxes of all tracks at once. The slopes that the boxes passed so far leave open form a cone; an empty cone ends the
search from a box, and a narrower one, within which any line is close enough, spares most of the checking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.errors import InputError

LONGEST = 150  # frames that one straight line may span; the count is the least possible under this limit
_ROWS = 100_000  # boxes looked at together, which bounds the memory
_CHECKS = 2_000_000  # boxes compared at a time
_EPSILON = 1e-12


@dataclass(frozen=True)
class Keyframes:
    """Keyframes of tracks, sorted by (track, frame).

    Attributes:
        track: (K,) int64, any key.
        frame: (K,) int64.
        xyxy: (K, 4) float64, pixels.
        outside: (K,) bool, whether the object is not seen from here on, until a later keyframe that is not outside.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    outside: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frame)


def fewest_keyframes(
    track: NDArray[np.integer],
    frame: NDArray[np.integer],
    xyxy: NDArray[np.floating],
    tolerance: float = 0.9,
    must: NDArray[np.bool_] | None = None,
    stop: int | None = None,
) -> Keyframes:
    """The fewest keyframes whose boxes overlap those of the tracks by at least ``tolerance`` in every frame.

    Every stretch of frames without a break is reduced on its own; its first and last box are keyframes, and behind the
    last one the object is outside.

    Args:
        track: (N,) integers, any key, in any order.
        frame: (N,) integers from 0, at most one box per track and frame.
        xyxy: (N, 4) floating, pixels.
        tolerance: least intersection over union, in (0, 1].
        must: (N,) bool, boxes that have to be keyframes.
        stop: last frame that is shown; a track that is there needs no end. None for no such frame.

    Raises:
        InputError: for columns of unequal length, a tolerance out of range, two boxes of one track in one frame, or a
            box that is not finite or has no area; names track and frame.
    """
    order = _checked(track, frame, xyxy, tolerance, must)
    track_of, frame_of = track[order].astype(np.int64), frame[order].astype(np.int64)
    box = xyxy[order].astype(np.float64)
    given = np.zeros(len(order), bool) if must is None else must[order].astype(bool)
    if not len(order):
        return Keyframes(track_of, frame_of, box, given)
    starts = np.flatnonzero(np.append(True, (np.diff(track_of) != 0) | (np.diff(frame_of) != 1)))
    ends = np.append(starts[1:], len(order)) - 1
    chosen = np.zeros(len(order), bool)
    for first, last in _portions(starts, ends):
        rows = slice(starts[first], ends[last] + 1)
        chosen[rows] = _choose(
            box[rows],
            given[rows],
            starts[first : last + 1] - rows.start,
            ends[first : last + 1] - rows.start,
            tolerance,
        )
    gone = ends if stop is None else ends[frame_of[ends] < stop]
    picked = np.flatnonzero(chosen)
    all_rows = np.concatenate([picked, gone])
    outside = np.arange(len(all_rows)) >= len(picked)
    all_frames = frame_of[all_rows] + outside
    by_time = np.lexsort((all_frames, track_of[all_rows]))
    return Keyframes(track_of[all_rows][by_time], all_frames[by_time], box[all_rows][by_time], outside[by_time])


def interpolate(
    keyframes: Keyframes, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """The boxes that keyframes stand for, as CVAT draws them.

    Between a visible keyframe and the next one, outside or not, boxes are linear; from an outside keyframe on there are
    none until the next visible one; the last visible one is held.

    Args:
        keyframes: sorted, at most one per track and frame.
        stop: last frame that is shown.

    Returns:
        track (M,) int64, frame (M,) int64, xyxy (M, 4) float64 and whether it is a keyframe (M,) bool, sorted by
        (track, frame).
    """
    count = len(keyframes)
    goes_on = np.append(keyframes.track[1:] == keyframes.track[:-1], False) if count else np.zeros(0, bool)
    end = np.where(goes_on, np.append(keyframes.frame[1:], 0), stop + 1) if count else keyframes.frame
    length = np.where(keyframes.outside, 0, np.maximum(np.minimum(end, stop + 1) - keyframes.frame, 0))
    row = np.repeat(np.arange(count), length)
    step = np.arange(length.sum()) - np.repeat(length.cumsum() - length, length)
    other = np.where(goes_on[row], np.minimum(row + 1, count - 1), row)
    span = np.where(goes_on[row], keyframes.frame[other] - keyframes.frame[row], 1)
    share = (step / span)[:, None]
    box = keyframes.xyxy[row] * (1 - share) + keyframes.xyxy[other] * share
    return keyframes.track[row], keyframes.frame[row] + step, box, step == 0


def _checked(
    track: NDArray[np.integer], frame: NDArray[np.integer], xyxy: NDArray[np.floating], tolerance: float,
    must: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:  # fmt: skip
    """The order of the rows by track and frame; refuses what cannot be."""
    count = len(track)
    if len(frame) != count or xyxy.shape != (count, 4) or (must is not None and len(must) != count):
        raise InputError(
            f"keyframes: {count} tracks, {len(frame)} frames and boxes of shape {xyxy.shape} do not fit together"
        )
    if not 0 < tolerance <= 1:
        raise InputError(f"keyframes: tolerance {tolerance:g} is not in (0, 1]")
    bad = ~(np.isfinite(xyxy).all(1) & (xyxy[:, 2:] > xyxy[:, :2]).all(1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"track {track[row]}, frame {frame[row]}: box {xyxy[row].tolist()} is not finite or has no area"
        )
    order = np.lexsort((frame, track))
    double = (np.diff(track[order]) == 0) & (np.diff(frame[order]) == 0)
    if double.any():
        row = int(order[int(double.argmax())])
        raise InputError(f"track {track[row]} has two boxes in frame {frame[row]}")
    return order


def _portions(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """First and last stretch of each portion of about ``_ROWS`` boxes."""
    first = 0
    while first < len(starts):
        last = max(first, int(np.searchsorted(ends, starts[first] + _ROWS)) - 1)
        yield first, last
        first = last + 1


def _choose(
    box: NDArray[np.float64], must: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64],
    tolerance: float,
) -> NDArray[np.bool_]:  # fmt: skip
    """(N,) bool, which boxes of some stretches are keyframes."""
    reachable = _reachable(box, must, starts, ends, tolerance)
    previous = _shortest(reachable, starts, ends)
    chosen = np.zeros(len(box), bool)
    at = ends
    while len(at):
        chosen[at] = True
        at = previous[at]
        at = at[at >= 0]
    return chosen


def _reachable(
    box: NDArray[np.float64], must: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64],
    tolerance: float,
) -> NDArray[np.bool_]:  # fmt: skip
    """(N, D) bool: whether the line to a box from the one d + 1 frames before is close enough to all between."""
    end = np.repeat(ends, ends - starts + 1)
    depth = min(LONGEST, int((ends - starts).max(initial=0)))
    out = np.zeros((len(box), depth), bool)
    side = np.tile(box[:, 2:] - box[:, :2], 2)
    # What a single edge, or a middle, may at most be off if the overlap is to be kept, and by how much all edges may be
    # off at once: the worst is then a box that shrinks on all sides.
    wide = np.concatenate([side, side[:, :2] / 2], axis=1) * (1 / tolerance - 1)
    narrow = side * (1 - np.sqrt(tolerance)) / 2
    six = np.concatenate([box, (box[:, :2] + box[:, 2:]) / 2], axis=1)
    low, high = np.full((len(box), 6), -np.inf), np.full((len(box), 6), np.inf)
    low_sure, high_sure = low[:, :4].copy(), high[:, :4].copy()
    active = np.arange(len(box))
    for distance in range(1, depth + 1):
        going = active + distance <= end[active]
        active, low, high = active[going], low[going], high[going]
        low_sure, high_sure = low_sure[going], high_sure[going]
        if not len(active):
            break
        to = active + distance
        slope = (six[to] - six[active]) / distance
        edges = slope[:, :4]
        possible = ((low <= slope) & (slope <= high)).all(1)
        sure = ((low_sure <= edges) & (edges <= high_sure)).all(1)
        out[to[sure], distance - 1] = True
        doubtful = np.flatnonzero(possible & ~sure)
        good = _close(box, active[doubtful], distance, edges[doubtful], tolerance)
        out[to[doubtful[good]], distance - 1] = True
        np.maximum(low, slope - wide[to] / distance, out=low)
        np.minimum(high, slope + wide[to] / distance, out=high)
        np.maximum(low_sure, edges - narrow[to] / distance, out=low_sure)
        np.minimum(high_sure, edges + narrow[to] / distance, out=high_sure)
        open_still = (low <= high).all(1) & ~must[to]
        active, low, high = active[open_still], low[open_still], high[open_still]
        low_sure, high_sure = low_sure[open_still], high_sure[open_still]
    return out


def _close(
    box: NDArray[np.float64], start: NDArray[np.int64], distance: int, slope: NDArray[np.float64], tolerance: float
) -> NDArray[np.bool_]:
    """(P,) bool, whether the lines from these boxes are close enough to all boxes before ``distance``."""
    left = np.arange(len(start))
    # A few places tell most of those apart that are not; the rest is looked at in full.
    coarse = np.unique(np.linspace(1, distance - 1, 5).round().astype(np.int64)) if distance > 12 else None
    for step in (coarse, np.arange(1, distance)):
        if step is None or not len(step):
            continue
        portion = max(1, _CHECKS // len(step))
        kept = []
        for first in range(0, len(left), portion):
            part = left[first : first + portion]
            iou = _line_iou(box, start[part], slope[part], step)
            kept.append(part[(iou >= tolerance - _EPSILON).all(1)])
        left = np.concatenate(kept) if kept else left
    out = np.zeros(len(start), bool)
    out[left] = True
    return out


def _line_iou(
    box: NDArray[np.float64], start: NDArray[np.int64], slope: NDArray[np.float64], step: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(P, S) overlaps of lines with the boxes that are ``step`` frames behind their starts; edge by edge, for speed."""
    row = start[:, None] + step
    left, top, right, bottom = (box[row, edge] for edge in range(4))
    x1, y1, x2, y2 = (box[start, edge, None] + slope[:, edge, None] * step for edge in range(4))
    width = np.minimum(right, x2) - np.maximum(left, x1)
    height = np.minimum(bottom, y2) - np.maximum(top, y1)
    common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    return common / ((right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - common)


def _shortest(reachable: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) int64, for each box the keyframe before it on a shortest path from its stretch's start; -1 at the start."""
    count, depth = reachable.shape
    cost = np.zeros(count, np.int32)
    previous = np.full(count, -1)
    by_length = np.argsort(starts - ends, kind="stable")
    length = (ends - starts)[by_length]
    first = starts[by_length]
    for place in range(1, int(length.max(initial=0)) + 1):
        rows = first[: int(np.searchsorted(-length, -place, "right"))] + place
        reach = min(place, depth)
        before = rows[:, None] - np.arange(reach, 0, -1)  # the farthest first: of equals it is taken
        price = np.where(reachable[rows, :reach][:, ::-1], cost[before], np.iinfo(np.int32).max - 1)
        best = price.argmin(1)
        at = np.arange(len(rows))
        cost[rows] = price[at, best] + 1
        previous[rows] = before[at, best]
    return previous
