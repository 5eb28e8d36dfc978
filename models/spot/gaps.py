"""Which frames of an object a person left open, from which boxes they can be reached, and the straight line there."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gaps:
    """Stretches of frames of one object without a human box, each next to one or between two of them.

    Attributes:
        track: (G,) int64.
        before: (G,) int64, row of the human box just before the stretch, or -1.
        behind: (G,) int64, row of the human box just behind it, or -1.
        first: (G,) int64, first frame of the stretch.
        last: (G,) int64, its last frame; not before ``first``.
    """

    track: Ints
    before: Ints
    behind: Ints
    first: Ints
    last: Ints

    def __len__(self) -> int:
        return len(self.track)

    @property
    def inner(self) -> NDArray[np.bool_]:
        """(G,) whether human boxes bound the stretch on both sides."""
        return (self.before >= 0) & (self.behind >= 0)

    def take(self, rows: NDArray) -> Gaps:
        """Those of an index or mask, in its order."""
        return Gaps(*(getattr(self, field.name)[rows] for field in fields(self)))


def find_gaps(
    track: Ints, frame: Ints, num_frames: int, max_gap: int, open_frames: int, absent: Ints | None = None,
    earliest: Ints | None = None, latest: Ints | None = None,
) -> Gaps:  # fmt: skip
    """All stretches that may be filled, sorted by (track, first frame).

    Frames in which an object is absent are never part of a stretch, and what lies behind them is not reached from
    before them. A human box is right even where the object is said to be absent.

    Args:
        track: (K,) of human boxes, sorted by (track, frame).
        frame: (K,).
        num_frames: of the video.
        max_gap: frames of the longest stretch that is reached from both sides.
        open_frames: frames of the longest stretch that is reached from one side.
        absent: (A, 3) track, first and last frame.
        earliest: (T,) by track, -1 for unknown.
        latest: (T,) likewise.
    """
    if not len(track):
        none = np.zeros(0, np.int64)
        return Gaps(none, none, none, none, none)
    rows = np.arange(len(track))
    same = track[1:] == track[:-1]
    after, ahead = np.append(same, False), np.insert(same, 0, False)  # whether the neighbour row is of the same track
    high = np.full(len(track), num_frames - 1)
    low = np.zeros(len(track), np.int64)
    if latest is not None:
        high = np.where(latest[track] >= 0, np.minimum(high, np.maximum(latest[track], frame)), high)
    if earliest is not None:
        low = np.where(earliest[track] >= 0, np.maximum(low, np.minimum(earliest[track], frame)), low)
    high = np.where(after, np.append(frame[1:], 0) - 1, high)
    low = np.where(ahead, np.insert(frame[:-1], 0, 0) + 1, low)
    if absent is not None and len(absent):
        own = track[:, None] == absent[:, 0]
        starts = np.maximum(absent[:, 1], frame[:, None] + 1)  # a human box inside wins, and splits
        ends = np.minimum(absent[:, 2], frame[:, None] - 1)
        stop = np.where(own & (absent[:, 2] > frame[:, None]), starts, num_frames).min(1)
        go = np.where(own & (absent[:, 1] < frame[:, None]), ends, -1).max(1)
        high, low = np.minimum(high, stop - 1), np.maximum(low, go + 1)
    both = after & (high == np.append(frame[1:], 0) - 1) & (high - frame <= max_gap)
    inner = np.flatnonzero(both & (high > frame))
    # A gap that is too long for both sides is shared between two open ends that do not meet.
    half = np.where(after, (np.append(frame[1:], 0) - frame) // 2, num_frames)
    back = np.where(ahead, (frame - np.insert(frame[:-1], 0, 0) - 1) // 2, num_frames)
    to = np.minimum(high, frame + np.minimum(open_frames, half))
    since = np.maximum(low, frame - np.minimum(open_frames, back))
    forth = np.flatnonzero(~both & (to > frame))
    reached = np.insert(both[:-1], 0, False)
    aback = np.flatnonzero(~reached & (since < frame))
    gaps = Gaps(
        np.concatenate([track[inner], track[forth], track[aback]]),
        np.concatenate([rows[inner], rows[forth], np.full(len(aback), -1)]),
        np.concatenate([rows[inner] + 1, np.full(len(forth), -1), rows[aback]]),
        np.concatenate([frame[inner] + 1, frame[forth] + 1, since[aback]]),
        np.concatenate([high[inner], to[forth], frame[aback] - 1]),
    )
    return gaps.take(np.lexsort((gaps.first, gaps.track)))


def find_checks(track: Ints, frame: Ints, whole: NDArray[np.bool_], most: int, max_gap: int) -> tuple[Gaps, Ints]:
    """Gaps that would be there if some human boxes were not: to see how well these are filled over.

    Args:
        track: (K,) of human boxes, sorted by (track, frame).
        frame: (K,).
        whole: (K,) whether nothing is between the box and the next one of its track but frames to be filled.
        most: how many boxes to take.
        max_gap: frames of the longest gap.

    Returns:
        (C,) gaps, and the row (C,) of the human box in each. Taken evenly over the tracks, and the same ones again
        while the human boxes stay.
    """
    row = np.arange(1, len(track) - 1)
    good = (track[2:] == track[:-2]) & whole[:-2] & whole[1:-1] & (frame[2:] - frame[:-2] - 1 <= max_gap)
    # A box right beside another one proves nothing.
    good &= np.minimum(frame[1:-1] - frame[:-2], frame[2:] - frame[1:-1]) > 1
    row = row[good]
    if len(row) > most:
        number = np.arange(len(row)) - np.searchsorted(track[row], track[row])
        first = np.argsort((number * 0.618) % 1, kind="stable")  # scattered along each track
        row = np.sort(row[first[:most]])
    return Gaps(track[row], row - 1, row + 1, frame[row - 1] + 1, frame[row + 1] - 1), row


def join_gaps(one: Gaps, two: Gaps) -> Gaps:
    """One after the other."""
    return Gaps(*(np.concatenate([getattr(each, field.name) for each in (one, two)]) for field in fields(Gaps)))


@dataclass(frozen=True)
class Line:
    """Every frame of some gaps, and the straight line there; rows sorted by (gap, frame).

    Attributes:
        gap: (R,) int64.
        frame: (R,) int64.
        share: (R,) float64 in (0, 1), way from the box before to that behind; 0 in open ends.
        xyxy: (R, 4) float64, corners on the straight line; in open ends the one human box.
    """

    gap: Ints
    frame: Ints
    share: Floats
    xyxy: Floats


def line_through(gaps: Gaps, frame: Ints, xyxy: NDArray[np.floating]) -> Line:
    """The straight line through some gaps.

    Args:
        gaps: of the human boxes.
        frame: (K,) of the human boxes.
        xyxy: (K, 4) of the same.
    """
    length = gaps.last - gaps.first + 1
    gap = np.repeat(np.arange(len(gaps)), length)
    at = np.arange(len(gap)) - np.repeat(np.cumsum(length) - length, length) + gaps.first[gap]
    before = np.where(gaps.before < 0, gaps.behind, gaps.before)[gap]
    behind = np.where(gaps.behind < 0, gaps.before, gaps.behind)[gap]
    share = np.where(before == behind, 0.0, (at - frame[before]) / np.maximum(frame[behind] - frame[before], 1))
    boxes = np.asarray(xyxy, np.float64)
    line = boxes[before] * (1 - share[:, None]) + boxes[behind] * share[:, None]
    return Line(gap, at, share, line)


def open_end_stops(
    gap: Ints, forward: NDArray[np.bool_], confidence: NDArray[np.floating], good: NDArray[np.bool_], least: float
) -> NDArray[np.bool_]:
    """(R,) which boxes of open ends lie before the place where the object is given up.

    That is where the mean confidence over five frames falls below ``least``, or no frame is good.

    Args:
        gap: (R,) of rows sorted by (gap, frame).
        forward: (R,) whether the gap is walked forward.
        confidence: (R,).
        good: (R,) whether the object may be there at all: seen, and inside the picture.
        least: see above.
    """
    if not len(gap):
        return np.zeros(0, bool)
    order = np.lexsort((np.where(forward, 1, -1) * np.arange(len(gap)), gap))  # as the walks go
    own, value = gap[order], np.where(good, confidence, 0.0)[order]
    start = np.searchsorted(own, own)
    end = np.searchsorted(own, own, "right")
    total = np.concatenate([[0.0], np.cumsum(value)])
    number = np.arange(len(own))
    low, high = np.maximum(number - 2, start), np.minimum(number + 3, end)
    weak = (total[high] - total[low]) / (high - low) < least
    alive = np.concatenate([[0], np.cumsum(weak)])
    kept = np.zeros(len(gap), bool)
    kept[order] = (alive[number + 1] - alive[start] == 0) & good[order]
    return kept


def to_offset(xyxy: NDArray[np.floating], line: NDArray[np.floating]) -> Floats:
    """(N, 4) how boxes differ from others: centre in widths and heights of these, logarithms of width and height."""
    box, base = np.asarray(xyxy, np.float64), np.asarray(line, np.float64)
    side, other = (np.maximum(each[:, 2:] - each[:, :2], 1e-3) for each in (base, box))
    middle = ((box[:, :2] + box[:, 2:]) - (base[:, :2] + base[:, 2:])) / 2
    return np.concatenate([middle / side, np.log(other / side)], 1)


def from_offset(offset: Floats, line: NDArray[np.floating]) -> Floats:
    """(N, 4) boxes that differ so from others; the inverse of ``to_offset``."""
    base = np.asarray(line, np.float64)
    side = base[:, 2:] - base[:, :2]
    middle = (base[:, :2] + base[:, 2:]) / 2 + offset[:, :2] * side
    half = side * np.exp(offset[:, 2:]) / 2
    return np.concatenate([middle - half, middle + half], 1)


def overlap(one: NDArray[np.floating], two: NDArray[np.floating]) -> Floats:
    """(N,) intersection over union, row by row."""
    a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
    both = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(1)
    return both / np.maximum((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both, 1e-9)
