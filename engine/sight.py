"""What a person sees who looks through labels: which object every box of a track is meant for.

A box may overlap several people in a crowd. A person follows a track, so that a box belongs to the object of the boxes
around it unless it has clearly gone over to another one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.spam.overlaps import overlapping
from .metrics import TruthTable

ON_OBJECT = 0.3  # overlap from which a person sees that a box is meant for an object, however badly it sits
FITS = 0.5  # overlap from which a box counts as the object's, as in the metrics
_RIVALS = 6  # objects that one track may be on
_FAINT = 0.05  # overlap below which a box has nothing to do with an object
# Costs of a reading of a track, in boxes: one without any object, a change of objects, leaving or finding an object.
_NOWHERE, _CHANGE, _LEAVE = 0.75, 3.0, 1.0
_DRAWN = 10.0  # boxes that one counts for which a person drew


class Truth:
    """True boxes sorted by (object, frame).

    Attributes:
        frame: (G,) int64.
        name: (G,) int64, objects from 0.
        xyxy: (G, 4) float64, pixels.
    """

    def __init__(self, table: TruthTable) -> None:
        names = np.unique(np.asarray(table.track_id), return_inverse=True)[1]
        order = np.lexsort((table.frame, names))
        self.frame = np.asarray(table.frame)[order].astype(np.int64)
        self.name = names[order].astype(np.int64)
        self.xyxy = np.asarray(table.xyxy, np.float64)[order]
        self._key = self._keys(self.name, self.frame)
        self._by_frame = np.argsort(self.frame, kind="stable")
        cut = (np.diff(self.name, prepend=-1) != 0) | (np.diff(self.frame, prepend=-2) != 1)
        self._stretch = np.cumsum(cut) - 1
        self._start = np.flatnonzero(cut)

    @staticmethod
    def _keys(name: NDArray, frame: NDArray) -> NDArray[np.int64]:
        return np.asarray(name, np.int64) * (1 << 40) + frame

    def __len__(self) -> int:
        return len(self.frame)

    def rows_at(self, name: NDArray, frame: NDArray) -> NDArray[np.int64]:
        """(n,) row of each object in each frame, -1 where it is not there."""
        if not len(self):
            return np.full(len(name), -1)
        key = self._keys(name, frame)
        place = np.minimum(np.searchsorted(self._key, key), len(self) - 1)
        return np.where((self._key[place] == key) & (np.asarray(name) >= 0), place, -1)

    def row_at(self, name: int, frame: int) -> int:
        """Row of one object in one frame, or -1."""
        return int(self.rows_at(np.array([name]), np.array([frame]))[0])

    def rows_of(self, name: int) -> NDArray[np.int64]:
        """Rows of one object, by frame."""
        return np.arange(*np.searchsorted(self.name, [name, name + 1]))

    def stretch(self, row: int) -> tuple[int, int]:
        """First and last row of the stretch without a break that a row is in."""
        number = int(self._stretch[row])
        end = int(self._start[number + 1]) if number + 1 < len(self._start) else len(self)
        return int(self._start[number]), end - 1

    def in_frame(self, frame: int) -> NDArray[np.int64]:
        """Rows in one frame."""
        ordered = self.frame[self._by_frame]
        return self._by_frame[slice(*np.searchsorted(ordered, [frame, frame + 1]))]

    def overlaps(self, frame: NDArray, xyxy: NDArray, least: float) -> tuple[NDArray, NDArray, NDArray]:
        """Box, row and overlap of all pairs that overlap by more than ``least``."""
        box, place, iou = overlapping(frame, xyxy, self.frame[self._by_frame], self.xyxy[self._by_frame], least)
        return box, self._by_frame[place], iou


@dataclass(frozen=True)
class Reading:
    """How a person reads some boxes.

    Attributes:
        name: (M,) int64, the object that each is meant for, or -1.
        overlap: (M,) float64, how far it overlaps that object; 0 where there is none, or it is not there.
    """

    name: NDArray[np.int64]
    overlap: NDArray[np.float64]


def follow(
    truth: Truth, group: NDArray[np.int64], frame: NDArray[np.int64], xyxy: NDArray[np.floating],
    known: NDArray[np.int64] | None = None,
) -> Reading:  # fmt: skip
    """The likeliest reading of every track: few changes of objects, much overlap (Viterbi over all tracks at once).

    Args:
        truth: what is really there.
        group: (M,) int64, track of every box, from 0.
        frame: (M,) int64, at most one box a track and frame.
        xyxy: (M, 4) pixels.
        known: (M,) int64, the object for which the person drew a box, or -1; all -1 if not given.
    """
    number = len(frame)
    if not number or not len(truth):
        return Reading(np.full(number, -1), np.zeros(number))
    order = np.lexsort((frame, group))
    size = np.bincount(group)
    place = np.empty(number, np.int64)
    place[order] = np.arange(number) - np.repeat(size.cumsum() - size, size)
    row, at, iou = truth.overlaps(frame, xyxy, _FAINT)
    weight = np.ones(number)
    if known is not None:
        weight[known >= 0] = _DRAWN
        drawn = np.flatnonzero(known >= 0)
        there = truth.rows_at(known[drawn], frame[drawn])
        other = (known[row] >= 0) & (known[row] != truth.name[at])
        row, at, iou = row[~other], at[~other], iou[~other]
        row, at = np.append(row, drawn[there >= 0]), np.append(at, there[there >= 0])
        iou = np.append(iou, np.ones((there >= 0).sum()))
    objects = _rivals(group[row], truth.name[at], iou * weight[row], len(size))
    cost = np.ones((len(size), int(size.max()), _RIVALS + 1), np.float32)
    cost[..., _RIVALS] = _NOWHERE
    pair, rival = (objects[group[row]] == truth.name[at][:, None]).nonzero()
    cost[group[row[pair]], place[row[pair]], rival] = 1 - np.minimum(iou[pair] / FITS, 1)
    cost[group, place] *= weight[:, None].astype(np.float32)
    beyond = np.arange(cost.shape[1]) >= size[:, None]
    cost[beyond] = 0.0
    choice = _cheapest(cost)[group, place]
    name = np.where(choice < _RIVALS, objects[group, np.minimum(choice, _RIVALS - 1)], -1)
    overlap = np.zeros(number)
    mine = name[row] == truth.name[at]
    overlap[row[mine]] = iou[mine]
    return Reading(name, overlap)


def _rivals(group: NDArray, name: NDArray, iou: NDArray, groups: int) -> NDArray[np.int64]:
    """(T, rivals) the objects that the boxes of every track overlap most; -1 for none."""
    out = np.full((groups, _RIVALS), -1)
    if len(group):
        pairs, own = np.unique(np.stack([group, name], 1), axis=0, return_inverse=True)
        order = np.lexsort((pairs[:, 1], -np.bincount(own.ravel(), iou), pairs[:, 0]))
        count = np.bincount(pairs[:, 0], minlength=groups)
        rank = np.arange(len(order)) - np.repeat(count.cumsum() - count, count)
        best = order[rank < _RIVALS]
        out[pairs[best, 0], rank[rank < _RIVALS]] = pairs[best, 1]
    return out


def _cheapest(cost: NDArray[np.float32]) -> NDArray[np.int64]:
    """(T, L) state of every box on the cheapest path; the last state is "on no object"."""
    groups, length, states = cost.shape
    total = cost[:, 0].copy()
    back = np.zeros(cost.shape, np.int8)
    own = np.arange(states)
    each = np.arange(groups)
    for step in range(1, length):  # frames, with all tracks at once
        nowhere, best = total[:, -1], total[:, :-1].argmin(1)
        other = total[each, best]
        came = np.broadcast_to(own, total.shape).copy()
        value = total.copy()
        for source, price in ((np.full(groups, states - 1), nowhere + _LEAVE), (best, other + _CHANGE)):
            better = price[:, None] < value[:, :-1]
            value[:, :-1] = np.where(better, price[:, None], value[:, :-1])
            came[:, :-1] = np.where(better, source[:, None], came[:, :-1])
        better = other + _LEAVE < value[:, -1]
        value[:, -1] = np.where(better, other + _LEAVE, value[:, -1])
        came[:, -1] = np.where(better, best, came[:, -1])
        total, back[:, step] = value + cost[:, step], came
    out = np.empty((groups, length), np.int64)
    out[:, -1] = total.argmin(1)
    for step in range(length - 1, 0, -1):
        out[:, step - 1] = back[each, step, out[:, step]]
    return out
