"""What people did to the sheet of one job: which track is which of those that were sent, and what changed, box by box.

Ids are not to be relied on alone: a split, a merge or an import makes new ones. So a track is found again by its id,
then by its ``uid``, then by where its boxes are; and every box on its own by being the box that was sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.spam.overlaps import paired_iou
from .pairs import NAMESAKE, SAME_OBJECT, assign, pairs_in_frames
from .sheets import SAME_PIXELS, Boxes, Sheet, SheetTrack, expand


@dataclass(frozen=True)
class JobDiff:
    """What changed on the sheet of one job since it was last the same on both sides.

    Attributes:
        base: the sheet as it was then.
        theirs: the tracks that are there now.
        parent: (T,) int64, for each of theirs the base track that it is, or comes from, or -1.
        same: (T,) bool, whether nothing about it has changed.
        touched: places of the base tracks that are not the same any more, or gone.
        sent: boxes of the touched base tracks.
        found: boxes of the tracks of theirs that are not the same.
        origin: (F,) int64, for each found box the row in ``sent`` that it is, or was moved from, or -1 for a new one.
        moved: (F,) bool, whether its place differs from that of its origin; True for new ones.
    """

    base: Sheet
    theirs: tuple[SheetTrack, ...]
    parent: NDArray[np.int64]
    same: NDArray[np.bool_]
    touched: tuple[int, ...]
    sent: Boxes
    found: Boxes
    origin: NDArray[np.int64]
    moved: NDArray[np.bool_]

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not self.touched and bool(self.same.all())

    @property
    def removed(self) -> NDArray[np.int64]:
        """Rows of ``sent`` that nobody has kept or moved."""
        return np.setdiff1d(np.arange(len(self.sent)), self.origin)


def compare(base: Sheet, theirs: Sequence[SheetTrack]) -> JobDiff:
    """Finds out what people did to a sheet.

    Args:
        base: as it was when both sides were the same.
        theirs: what is there now, cleaned of what cannot be used.
    """
    tracks = tuple(theirs)
    parent, is_primary = _parents(base, tracks)
    same = np.zeros(len(tracks), bool)
    for place, (track, of) in enumerate(zip(tracks, parent.tolist(), strict=True)):
        same[place] = of >= 0 and is_primary[place] and _unchanged(base, of, track)
    kept = set(parent[same].tolist())
    # A second track with the name of one that is still there is a copy: another object.
    parent[np.isin(parent, list(kept)) & ~same] = -1
    touched = tuple(place for place in range(len(base.tracks)) if place not in kept)
    sent = expand(base.tracks, touched, base.start, base.stop)
    found = expand(tracks, np.flatnonzero(~same).tolist(), base.start, base.stop)
    origin, moved = _origins(sent, found, parent)
    parent = _by_geometry(parent, same, sent, found, origin)
    return JobDiff(base, tracks, parent, same, touched, sent, found, origin, moved)


def _parents(base: Sheet, theirs: Sequence[SheetTrack]) -> tuple[NDArray[np.int64], list[bool]]:
    """For each of theirs its base track by id, else by uid; and whether it is the first to claim it."""
    by_id = {track.remote: place for place, track in enumerate(base.tracks) if track.remote is not None}
    by_name = defaultdict(list)
    for place, track in enumerate(base.tracks):
        if track.name_there:
            by_name[track.name_there].append(place)
    parent = np.array([by_id.get(track.remote, -1) if track.remote is not None else -1 for track in theirs], np.int64)
    taken = set(parent.tolist())
    claimed: set[int] = set()
    primary = [of >= 0 for of in parent.tolist()]
    for place in sorted(np.flatnonzero(parent < 0).tolist(), key=lambda place: int(theirs[place].frame[0])):
        able = by_name.get(theirs[place].uid, [])
        left = [of for of in able if of not in taken]
        of = _most_alike(base, left, theirs[place]) if len(able) > 1 else (left or [-1])[0]
        if of >= 0:
            parent[place] = of
            primary[place] = of not in claimed
            claimed.add(of)
    return parent, primary


def _most_alike(base: Sheet, places: Sequence[int], track: SheetTrack) -> int:
    """Of several base tracks that the desk calls by one name that whose boxes a track has most of, or -1."""
    sent = expand(base.tracks, places, base.start, base.stop)
    own = expand((track,), [0], base.start, base.stop)
    rows, sources = pairs_in_frames(own.frame, sent.frame)
    overlap = paired_iou(own.xyxy[rows], sent.xyxy[sources])
    score = np.bincount(sent.track[sources], np.where(overlap >= SAME_OBJECT, overlap, 0.0), len(base.tracks))
    return int(score.argmax()) if score.max(initial=0.0) > 0 else -1


def _unchanged(base: Sheet, place: int, track: SheetTrack) -> bool:
    """Whether a track shows the boxes that were sent, however its keyframes lie."""
    sent = base.tracks[place]
    if sent.same_keyframes(track):
        return True
    if sent.label != track.label:
        return False
    before = expand((sent,), [0], base.start, base.stop)
    after = expand((track,), [0], base.start, base.stop)
    if len(before) != len(after) or (before.frame != after.frame).any():
        return False
    if (np.abs(before.xyxy - after.xyxy) > SAME_PIXELS).any():
        return False
    return values_at(sent, before.frame) == values_at(track, after.frame)


def values_at(track: SheetTrack, frame: NDArray[np.int64]) -> list[dict[str, str]]:
    """What is said of a track's boxes in these frames: what holds on from the last keyframe."""
    filled = track.filled
    place = np.searchsorted(track.frame, frame, "right") - 1
    return [filled[at] if at >= 0 else {} for at in place.tolist()]


def value_at(track: SheetTrack, frame: int) -> dict[str, str]:
    """What is said of a track's box in one frame."""
    if not track.values:
        return {}
    at = int(track.frame.searchsorted(frame, "right")) - 1
    return track.filled[at] if at >= 0 else {}


def _origins(sent: Boxes, found: Boxes, parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where every found box comes from, and whether it was moved.

    That is exactly the same box, else the one that it overlaps with most, else its parent's, wherever it was.
    """
    origin = np.full(len(found), -1)
    moved = np.ones(len(found), bool)
    rows, sources = pairs_in_frames(found.frame, sent.frame)
    if not len(rows):
        return origin, moved
    exact = (np.abs(found.xyxy[rows] - sent.xyxy[sources]) <= SAME_PIXELS).all(1)
    own = parent[found.track[rows]] == sent.track[sources]
    assign(origin, rows[exact], sources[exact], own[exact].astype(float))
    moved[origin >= 0] = False
    # A tail that went over to another track and was moved a little lies nearer to what it was than to what that track
    # was; and what nobody has kept, and lies under a box from nowhere, was joined to that track or drawn again.
    free = np.flatnonzero((origin[rows] < 0) & ~np.isin(sources, origin))
    overlap = paired_iou(found.xyxy[rows[free]], sent.xyxy[sources[free]])
    good = free[overlap >= SAME_OBJECT]
    assign(origin, rows[good], sources[good], (overlap + NAMESAKE * own[free])[overlap >= SAME_OBJECT])
    free = own & (origin[rows] < 0) & ~np.isin(sources, origin)
    assign(origin, rows[free], sources[free], np.ones(int(free.sum())))
    return origin, moved


def _by_geometry(
    parent: NDArray[np.int64], same: NDArray[np.bool_], sent: Boxes, found: Boxes, origin: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Parents of tracks without id and uid: whom most of their boxes come from, if that is half of them."""
    votes: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    known = origin >= 0
    for track, of in zip(found.track[known].tolist(), sent.track[origin[known]].tolist(), strict=True):
        votes[track][of] += 1
    out = parent.copy()
    for track in np.flatnonzero((parent < 0) & ~same).tolist():
        if votes[track]:
            of, count = max(votes[track].items(), key=lambda item: (item[1], -item[0]))
            if 2 * count >= (found.track == track).sum():
                out[track] = of
    return out
