"""What has changed between two labellings of a video: which boxes moved, came, went, or are of another track now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.spam.overlaps import overlapping

SAME_OBJECT_IOU = 0.5  # boxes of one frame that overlap so are of the same object
SAME_PLACE_IOU = 0.95  # a box that overlaps with itself so has not been moved

UNCHANGED, MOVED, OTHER_TRACK, OTHER_LABEL, ONLY_HERE = "unchanged", "moved", "other track", "other label", "only here"


@dataclass(frozen=True)
class LabelledBoxes:
    """The boxes of one labelling of a video.

    Attributes:
        frame: (N,) int64, sorted.
        xyxy: (N, 4) of any unit, the same for both labellings.
        track: (N,) int64, number of the track within this labelling.
        label: (N,) of str.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    track: NDArray[np.int64]
    label: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Changes:
    """How two labellings of a video differ.

    Attributes:
        before: (N,) what became of every box of the first: one of the words above; ``only here`` where it is gone.
        after: (M,) the same of every box of the second; ``only here`` where it is new.
        tracks: track of the second -> track of the first that is the same object; others are in one of them only.
    """

    before: NDArray[np.str_]
    after: NDArray[np.str_]
    tracks: dict[int, int]

    @property
    def boxes(self) -> int:
        """Number of boxes that differ; one that moved counts once."""
        gone, new = (int((side == ONLY_HERE).sum()) for side in (self.before, self.after))
        return gone + new + int(((self.after != UNCHANGED) & (self.after != ONLY_HERE)).sum())


def changes(before: LabelledBoxes, after: LabelledBoxes) -> Changes:
    """Compares two labellings of a video.

    Boxes of a frame belong together if each overlaps most with the other. Tracks belong together, one to one, by the
    number of such boxes, the most first: numbers of tracks are not compared, as every labelling counts anew.
    """
    rows, others, iou = _matches(before, after)
    tracks = _tracks(before.track[rows], after.track[others])
    kinds = np.full(len(rows), UNCHANGED, dtype="<U11")
    kinds[iou < SAME_PLACE_IOU] = MOVED
    expected = np.array([tracks.get(now, now) for now in after.track[others].tolist()], np.int64)
    apart = [now not in tracks for now in after.track[others].tolist()]
    kinds[(expected != before.track[rows]) | np.array(apart, bool)] = OTHER_TRACK
    kinds[before.label[rows] != after.label[others]] = OTHER_LABEL
    sides = np.full(len(before), ONLY_HERE, dtype="<U11"), np.full(len(after), ONLY_HERE, dtype="<U11")
    sides[0][rows], sides[1][others] = kinds, kinds
    return Changes(*sides, tracks)


def _matches(
    before: LabelledBoxes, after: LabelledBoxes
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows of boxes that overlap most with each other, and how much."""
    row, other, iou = overlapping(before.frame, before.xyxy, after.frame, after.xyxy, SAME_OBJECT_IOU)
    order = np.lexsort([other, row, -iou])  # the same whatever the order of equals
    row, other, iou = row[order], other[order], iou[order]
    best_of_row, best_of_other = (np.zeros(len(iou), bool) for _ in range(2))
    best_of_row[np.unique(row, return_index=True)[1]] = True
    best_of_other[np.unique(other, return_index=True)[1]] = True
    kept = best_of_row & best_of_other
    return row[kept], other[kept], iou[kept]


def _tracks(before: NDArray[np.int64], after: NDArray[np.int64]) -> dict[int, int]:
    """Tracks of the second -> those of the first, by the pairs of their boxes."""
    pairs, counts = np.unique(np.column_stack([before, after]), axis=0, return_counts=True)
    out: dict[int, int] = {}
    taken: set[int] = set()
    for then, now in pairs[np.argsort(-counts, kind="stable")].tolist():
        if now not in out and then not in taken:
            out[now] = then
            taken.add(then)
    return out
