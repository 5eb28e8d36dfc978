"""Follow objects through the gaps between their human boxes, all at once: one step is one picture for all of them.

A walk leaves a human box and goes towards the next one, forward or backward in time, and on to it, so that it can be
told how far it had gone astray. It looks where a steady motion to the box ahead would bring the object from where it
was last; so a target that was lost is looked for where it must come by. What it looks for is what the nearer of the
two boxes shows. When it loses its target, it looks again in a larger window, for what both boxes show; and if that is
in vain it goes on without seeing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .gaps import Floats, Gaps, Ints
from .model import Tracker
from .templates import Templates

#: How much larger the window of the second look is.
WIDER = 1.6

#: Share of the last step that an open end is expected to go on with.
DRIFT = 0.5

#: How much a side may change from one frame to the next, as a factor.
GROWTH = 1.3


@dataclass(frozen=True)
class Walks:
    """Ways through gaps, each in one direction.

    Attributes:
        gap: (W,) int64.
        step: (W,) int64, 1 forward and -1 backward.
        own: (W,) int64, row of the human box that it leaves.
        other: (W,) int64, row of the one that it goes to, or -1.
        start: (W,) int64, frame of the box that it leaves.
        stop: (W,) int64, its last frame: that of the box that it goes to, if there is one.
        base: (W,) int64, row of the trail that is its gap's frame 0.
    """

    gap: Ints
    step: Ints
    own: Ints
    other: Ints
    start: Ints
    stop: Ints
    base: Ints


@dataclass(frozen=True)
class Trail:
    """What walks saw; rows are all frames of gap after gap, with those of the human boxes at its ends.

    Attributes:
        first: (G + 1,) int64, the first row of each gap, and the number of rows.
        xyxy: (2, R, 4) float32, pixels, going forward and backward; NaN where nobody walked.
        score: (2, R) float32, probability that the target is there, 0 where it was not seen.
        quality: (2, R) float32, expected overlap with the truth, 0 where it was not seen.
    """

    first: Ints
    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    quality: NDArray[np.float32]


def plan_walks(gaps: Gaps, key_frame: Ints, bidirectional: bool = True) -> tuple[Walks, Trail]:
    """The walks through gaps, and an empty trail for them.

    Args:
        gaps: of some human boxes.
        key_frame: (K,) of these.
        bidirectional: whether gaps between two boxes are walked backward, too.
    """
    low = np.where(gaps.before >= 0, gaps.first - 1, gaps.first)
    high = np.where(gaps.behind >= 0, gaps.last + 1, gaps.last)
    first = np.concatenate([[0], np.cumsum(high - low + 1)])
    forth = np.flatnonzero(gaps.before >= 0)
    back = np.flatnonzero((gaps.behind >= 0) & (bidirectional | (gaps.before < 0)))
    gap = np.concatenate([forth, back])
    step = np.repeat([1, -1], [len(forth), len(back)])
    own = np.where(step > 0, gaps.before[gap], gaps.behind[gap])
    other = np.where(step > 0, gaps.behind[gap], gaps.before[gap])
    start = key_frame[own] if len(own) else own
    stop = np.where(step > 0, high[gap], low[gap])
    rows = int(first[-1])
    blank = np.zeros((2, rows), np.float32)
    trail = Trail(first, np.full((2, rows, 4), np.nan, np.float32), blank, blank.copy())
    return Walks(gap, step, own, other, start, stop, first[gap] - low[gap]), trail


def split(trail: Trail) -> list[Trail]:
    """The trail of each gap alone."""
    if len(trail.first) == 1:
        return []
    cuts = trail.first[1:-1]
    parts = zip(*(np.split(each, cuts, 1) for each in (trail.xyxy, trail.score, trail.quality)), strict=True)
    return [Trail(np.array([0, each[0].shape[1]]), *each) for each in parts]


def divide(trail: Trail, gaps: int) -> tuple[Trail, Trail]:
    """The trails of the first ``gaps`` gaps, and of the others."""
    row = trail.first[gaps]
    one = Trail(trail.first[: gaps + 1], trail.xyxy[:, :row], trail.score[:, :row], trail.quality[:, :row])
    return one, Trail(trail.first[gaps:] - row, trail.xyxy[:, row:], trail.score[:, row:], trail.quality[:, row:])


def join(trails: list[Trail]) -> Trail:
    """One trail of those of several gaps; the inverse of ``split``."""
    first = np.concatenate([[0], np.cumsum([each.first[-1] for each in trails])]).astype(np.int64)
    if not trails:
        return Trail(first, np.zeros((2, 0, 4), np.float32), np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32))
    keys = ("xyxy", "score", "quality")
    return Trail(first, *(np.concatenate([getattr(each, key) for each in trails], 1) for key in keys))


def walk_on(
    tracker: Tracker, image: NDArray[np.uint8] | None, frame: int, walks: Walks, which: Ints, trail: Trail,
    templates: Templates, known: NDArray[np.bool_], key_xyxy: Floats, size: tuple[float, float], hann: float,
    low: float, batch: int,
) -> int:  # fmt: skip
    """Take some walks through one frame, and note in the trail what they see.

    Args:
        tracker: that looks.
        image: (H, W, 3) uint8 RGB, or None if the frame cannot be read: then the walks go on without seeing.
        frame: which.
        walks: all.
        which: (n,) rows of those that come through the frame; all in the same direction, none twice.
        trail: to write to; holds the frame before, in the direction of the walk.
        templates: K, what the human boxes show.
        known: (K,) bool, whether that is known; walks between boxes that are both unknown see nothing.
        key_xyxy: (K, 4) of the human boxes.
        size: of the picture, width and height.
        hann: see ``Tracker.look``.
        low: score or expected overlap below which the target is lost.
        batch: targets at a time.

    Returns:
        How often it looked.
    """
    own, other, step = walks.own[which], walks.other[which], walks.step[which]
    side, place = np.where(step > 0, 0, 1), walks.base[which] + frame
    gone = np.abs(frame - walks.start[which])
    guess, before = _expect(walks, which, frame, trail, key_xyxy)
    guess = _inside(guess, size)
    way = np.abs(walks.stop[which] - walks.start[which])
    # At the other box its own picture would tell nothing of how far the walk has gone astray.
    near = (gone * 2 <= way) | (gone == way) | (other < 0)
    mine, theirs = known[own], known[other] & (other >= 0)
    told = np.where((near & mine) | ~theirs, own, other)
    found, score, quality = guess.copy(), np.zeros(len(which)), np.zeros(len(which))
    rows = np.flatnonzero(mine | theirs)
    looks = 0
    if image is not None and len(rows):
        picture = torch.from_numpy(np.ascontiguousarray(image))
        first = _look(tracker, picture, templates, told[rows], guess[rows], hann, batch)
        found[rows], score[rows], quality[rows] = first
        looks = len(rows)
        again = np.flatnonzero((np.minimum(score, quality) < low) & (gone > 0))
        for row, by in ((again[mine[again]], own), (again[theirs[again]], other)):
            more = _look(tracker, picture, templates, by[row], _wider(guess[row]), hann, batch)
            better = more[1] * more[2] > score[row] * quality[row]
            found[row[better]], score[row[better]], quality[row[better]] = (each[better] for each in more)
            looks += len(row)
    lost = np.minimum(score, quality) < low
    bound = np.where((gone > 0)[:, None], GROWTH, np.inf)
    sides, was = found[:, 2:] - found[:, :2], before[:, 2:] - before[:, :2]
    half = np.clip(sides, np.maximum(was / bound, 1.0), was * bound) / 2
    middle = (found[:, :2] + found[:, 2:]) / 2
    found = np.concatenate([middle - half, middle + half], 1)
    trail.xyxy[side, place] = np.where(lost[:, None], guess, found)
    trail.score[side, place] = np.where(lost, 0, score)
    trail.quality[side, place] = np.where(lost, 0, quality)
    return looks


def _expect(walks: Walks, which: Ints, frame: int, trail: Trail, key_xyxy: Floats) -> tuple[Floats, Floats]:
    """(n, 4) where walks expect their targets, and (n, 4) where these were last."""
    own, other, step = walks.own[which], walks.other[which], walks.step[which]
    way, row = np.where(step > 0, 0, 1), walks.base[which] + frame
    gone = np.abs(frame - walks.start[which])
    at_key = gone == 0
    last = np.where(at_key[:, None], key_xyxy[own], trail.xyxy[way, np.where(at_key, row, row - step)])
    last = last.astype(np.float64)
    left = np.abs(walks.stop[which] - frame) + 1
    towards = (key_xyxy[other] - last) / left[:, None]
    second = np.where(gone >= 2, row - 2 * step, row)
    drift = np.where((gone >= 2)[:, None], DRIFT * (last - trail.xyxy[way, second]), 0.0)
    middle = (drift[:, :2] + drift[:, 2:]) / 2
    move = np.where((other >= 0)[:, None], towards, np.concatenate([middle, middle], 1))
    return np.where(at_key[:, None], last, last + move), last


def _look(
    tracker: Tracker, picture: Tensor, templates: Templates, told: Ints, around: Floats, hann: float, batch: int
) -> tuple[Floats, Floats, Floats]:
    """Boxes (n, 4), scores (n,) and expected overlaps (n,)."""
    index = torch.from_numpy(told).to(templates.tokens.device)
    seen = tracker.look(templates.take(index), picture, torch.from_numpy(around).float(), hann, batch)
    xyxy, score, quality = (each.numpy().astype(np.float64) for each in (seen.xyxy, seen.score, seen.quality))
    good = np.isfinite(xyxy).all(1) & np.isfinite(score) & np.isfinite(quality)
    xyxy = np.where(good[:, None], xyxy, around)
    return xyxy, np.where(good, score, 0), np.where(good, quality, 0)


def _inside(xyxy: Floats, size: tuple[float, float]) -> Floats:
    """Boxes whose middle is in the picture, and none of no side."""
    limit = np.array(size, np.float64)
    half = np.clip((xyxy[:, 2:] - xyxy[:, :2]) / 2, 1.0, 2 * limit)
    middle = np.clip((xyxy[:, :2] + xyxy[:, 2:]) / 2, 0, limit)
    return np.concatenate([middle - half, middle + half], 1)


def _wider(xyxy: Floats) -> Floats:
    middle, half = (xyxy[:, :2] + xyxy[:, 2:]) / 2, (xyxy[:, 2:] - xyxy[:, :2]) / 2 * WIDER
    return np.concatenate([middle - half, middle + half], 1)


def split_at_cuts(gaps: Gaps, trail: Trail, key_frame: Ints) -> tuple[Gaps, Trail, Ints]:
    """Make two open ends of every gap between two boxes in which the film is cut: forward walks did not arrive there.

    Args:
        gaps: of G.
        trail: of these.
        key_frame: (K,) of the human boxes.

    Returns:
        Gaps, their trail, and the frames (C,) in which scenes begin.
    """
    walked = np.isfinite(trail.xyxy[0, :, 0])
    cut = gaps.inner & ~walked[trail.first[1:] - 1]
    if not cut.any():
        return gaps, trail, np.zeros(0, np.int64)
    own = np.repeat(np.arange(len(gaps)), np.diff(trail.first))
    number = np.bincount(own[walked], minlength=len(gaps))  # rows before the cut, the human box's included
    frame = key_frame[gaps.before] + number  # first of the new scene
    whole = np.flatnonzero(~cut)
    one = np.flatnonzero(cut & (frame > gaps.first))  # frames are left before the cut
    two = np.flatnonzero(cut & (frame <= gaps.last))
    none = np.full(len(gaps), -1)
    parts = Gaps(
        np.concatenate([gaps.track[whole], gaps.track[one], gaps.track[two]]),
        np.concatenate([gaps.before[whole], gaps.before[one], none[two]]),
        np.concatenate([gaps.behind[whole], none[one], gaps.behind[two]]),
        np.concatenate([gaps.first[whole], gaps.first[one], frame[two]]),
        np.concatenate([gaps.last[whole], np.minimum(frame - 1, gaps.last)[one], gaps.last[two]]),
    )
    at = trail.first[:-1] + number
    low = np.concatenate([trail.first[whole], trail.first[one], at[two]])
    high = np.concatenate([trail.first[whole + 1], np.minimum(at, trail.first[1:] - 1)[one], trail.first[two + 1]])
    order = np.lexsort((parts.first, parts.track))
    low, high = low[order], high[order]
    first = np.concatenate([[0], np.cumsum(high - low)])
    rows = np.repeat(low - first[:-1], high - low) + np.arange(first[-1])
    pieces = Trail(first, trail.xyxy[:, rows], trail.score[:, rows], trail.quality[:, rows])
    return parts.take(order), pieces, np.unique(frame[cut])
