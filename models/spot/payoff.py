"""Where the next human box of an object pays: how many filled boxes it is expected to put right.

The variance of what is known between two human boxes grows as that of a Brownian bridge: with the product of the ways
to both, divided by the way between them; beyond the last one it grows with the way. One more human box divides a
stretch into two, and the chance that a box there is wrong falls as the variance does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .gaps import Floats, Ints

_CHUNK = 1 << 22  # pairs of rows at a time


def payoffs(frame: Ints, wrong: NDArray[np.floating], before: Ints, behind: Ints) -> Floats:
    """(N,) filled boxes that a human box in the frame of each row is expected to put right, its own included.

    Args:
        frame: (N,) of filled boxes, sorted by (track, frame).
        wrong: (N,) probability that each is wrong.
        before: (N,) frame of the human box before, -1 for none.
        behind: (N,) frame of the human box behind, -1 for none. Rows with the same two are of one stretch, and
            neighbours.
    """
    count = len(frame)
    new = np.ones(count, bool)
    if count:
        new[1:] = (before[1:] != before[:-1]) | (behind[1:] != behind[:-1]) | (frame[1:] <= frame[:-1])
    start = np.flatnonzero(new)
    size = np.diff(np.append(start, count))
    stretch = np.cumsum(new) - 1
    gain = np.zeros(count)
    width = size[stretch]  # rows that each row is paired with
    ends = np.cumsum(width)
    first = 0
    while first < count:  # as many pairs as the memory holds
        last = max(int(np.searchsorted(ends, (ends[first - 1] if first else 0) + _CHUNK)), first + 1)
        here = np.arange(first, last)
        key = np.repeat(here, width[here])
        other = np.arange(len(key)) - np.repeat(np.cumsum(width[here]) - width[here], width[here]) + start[stretch[key]]
        left = _share_left(frame[other], frame[key], before[key], behind[key])
        gain[here] = np.bincount(key - first, wrong[other] * (1 - left), minlength=len(here))
        first = last
    return gain


def _share_left(frame: Ints, key: Ints, before: Ints, behind: Ints) -> Floats:
    """(P,) share of the variance in a frame that is left when there is a human box in another one."""
    open_left, open_right = before < 0, behind < 0
    reach = np.where(frame < key, frame - before, behind - frame)  # way to the human box on the same side
    whole = np.where(frame < key, key - before, behind - key)
    near = np.abs(frame - key)
    same_open = np.where(frame < key, open_left, open_right)
    other_way = np.where(frame < key, behind - frame, frame - before)
    other_open = np.where(frame < key, open_right, open_left)
    now = np.where(same_open, near, reach * near / np.maximum(whole, 1))
    old = np.where(
        same_open,
        other_way,
        np.where(other_open, reach, reach * other_way / np.maximum(reach + other_way, 1)),
    )
    return np.clip(now / np.maximum(old, 1e-9), 0, 1)
