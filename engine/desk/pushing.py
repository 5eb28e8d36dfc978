"""What a job's sheet should show: the dataset's tracks with few keyframes, and how it differs from what is there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...models.spam.overlaps import paired_iou
from ..keyframing import fewest_keyframes
from .labels import Labels
from .pairs import SAME_OBJECT, pairs_in_frames
from .sheets import SAME_PIXELS, Boxes, Sheet, SheetTrack, expand

REASON = "reason"  # note that says why a person should look at a track
TOLERANCE = 0.9  # overlap of keyframed boxes with those of the dataset


@dataclass(frozen=True)
class SheetPlan:
    """What to do to the sheet of one job.

    Attributes:
        create: tracks that are not there yet.
        update: tracks that change, with their ids at the desk.
        delete: tracks that go.
        keep: tracks that stay as they are.
        instances: uid -> identity of the track in the dataset, of all that will be there.
    """

    create: tuple[SheetTrack, ...]
    update: tuple[SheetTrack, ...]
    delete: tuple[SheetTrack, ...]
    keep: tuple[SheetTrack, ...]
    instances: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.create or self.update or self.delete)


def plan_sheet(
    labels: Labels,
    base: Sheet,
    instances: Mapping[str, str],
    wanted: Collection[tuple[int, int]] = (),
    notes: Callable[[int], Mapping[str, str]] = lambda number: {},
    tolerance: float = TOLERANCE,
    held: Collection[int] = (),
) -> SheetPlan:
    """Plans the sheet of one job.

    Args:
        labels: of the video; boxes without a track are not sent.
        base: what is on the sheet now, empty at first.
        instances: uid of each of its tracks -> identity in the dataset when it was sent.
        wanted: (track, frame) of boxes that people will be asked about: they become keyframes.
        notes: what people are to read about a track, by its number; only another reason to look sends a track again.
        tolerance: overlap within which boxes between keyframes must stay.
        held: numbers of tracks that stay on the sheet as they are, or away from it, as people disagree about them.
    """
    window = labels.between(base.start, base.stop)
    window = window[labels.track[window] > 0]
    numbers = np.unique(labels.track[window]).tolist()
    place_of = _known_as(labels, window, base, instances)
    asked = _is_wanted(labels, window, wanted)
    rows_of = {number: window[labels.track[window] == number] for number in numbers}
    must_of = {number: _must(labels, rows, asked[labels.track[window] == number]) for number, rows in rows_of.items()}
    create: list[SheetTrack] = []
    update: list[SheetTrack] = []
    keep: list[SheetTrack] = []
    named: dict[str, str] = {}
    uids = {name for track in base.tracks for name in (track.uid, track.name_there)}
    fresh: list[int] = []
    for number in numbers:
        place = place_of.get(number)
        if place is None:
            if number not in held:
                fresh.append(number)
            continue
        there = base.tracks[place]
        named[there.uid] = labels.instance.get(number, "")
        said = notes(number)
        asks = said.get(REASON, "") != there.notes.get(REASON, "")
        rows, must = rows_of[number], must_of[number]
        if number in held or (not asks and _still_fits(labels, rows, must, there, base, tolerance)):
            keep.append(there)
        else:
            fresh.append(number)
    keys = _keyframes(labels, rows_of, must_of, fresh, base.stop, tolerance)
    for number in fresh:
        place = place_of.get(number)
        known = base.tracks[place] if place is not None else None
        uid = known.uid if known is not None else _new_uid(labels.instance.get(number, f"track {number}"), uids)
        uids.add(uid)
        named[uid] = labels.instance.get(number, "")
        track = replace(keys[number], uid=uid, notes=notes(number), remote=known.remote if known is not None else None)
        (update if known is not None else create).append(track)
    used = set(place_of.values())
    delete = tuple(track for place, track in enumerate(base.tracks) if place not in used)
    return SheetPlan(tuple(create), tuple(update), delete, tuple(keep), named)


def _new_uid(wish: str, taken: Collection[str]) -> str:
    uid, number = wish, 1
    while uid in taken:
        number += 1
        uid = f"{wish}-{number}"
    return uid


def _known_as(labels: Labels, window: NDArray[np.int64], base: Sheet, instances: Mapping[str, str]) -> dict[int, int]:
    """Number of a track in the dataset -> place of the track on the sheet that it is.

    That is the one of its name, if it lies there; else one that lies there, as a track that was labelled anew, or cut
    or joined in another job, goes by another name; else the one of its name, wherever it is.
    """
    number_of = {instance: number for number, instance in labels.instance.items()}
    here = set(labels.track[window].tolist())
    named = [number_of.get(instances.get(track.uid, track.uid), 0) for track in base.tracks]
    boxes = base.boxes()
    out: dict[int, int] = {}
    for by_name in (True, False):
        free = window[~np.isin(labels.track[window], list(out))]
        left = np.flatnonzero(~np.isin(boxes.track, list(out.values())))
        rows, places = pairs_in_frames(boxes.frame[left], labels.frame[free])
        rows, others = left[rows], free[places]
        if by_name:
            same = np.array(named, np.int64)[boxes.track[rows]] == labels.track[others]
            rows, others = rows[same], others[same]
        _pair_up(out, boxes, labels, rows, others)
    for place, number in enumerate(named):
        if number in here and number not in out and place not in out.values():
            out[number] = place
    return out


def _pair_up(
    out: dict[int, int], boxes: Boxes, labels: Labels, rows: NDArray[np.int64], others: NDArray[np.int64]
) -> None:
    """Pairs tracks half of whose boxes on the sheet are one track of the dataset, those that share most first.

    Args:
        out: number -> place, filled in.
        boxes: of the sheet.
        labels: of the dataset.
        rows: (P,) boxes of pairs that may be one.
        others: (P,) rows of the labels, of the same pairs.
    """
    over = paired_iou(boxes.xyxy[rows], labels.xyxy[others]) >= SAME_OBJECT
    pairs, count = np.unique(
        np.column_stack([boxes.track[rows[over]], labels.track[others[over]]]), axis=0, return_counts=True
    )
    size = np.bincount(boxes.track)
    used = set(out.values())
    for at in np.argsort(-count, kind="stable").tolist():
        place, number = pairs[at].tolist()
        if place not in used and number not in out and 2 * count[at] >= size[place]:
            out[number] = place
            used.add(place)


def _is_wanted(labels: Labels, window: NDArray[np.int64], wanted: Collection[tuple[int, int]]) -> NDArray[np.bool_]:
    asked = set(wanted)
    pairs = zip(labels.track[window].tolist(), labels.frame[window].tolist(), strict=True)
    return np.array([pair in asked for pair in pairs], bool) if asked else np.zeros(len(window), bool)


def _must(labels: Labels, rows: NDArray[np.int64], asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Boxes that must be keyframes: what people set or are asked about, and where what is said changes."""
    must = np.logical_or(asked, labels.human[rows] & labels.keyframe[rows])
    if labels.values:
        said = [labels.said(row) for row in rows.tolist()]
        must = must | np.array([at > 0 and said[at] != said[at - 1] for at in range(len(said))], bool)
    return must


def _still_fits(
    labels: Labels, rows: NDArray[np.int64], must: NDArray[np.bool_], there: SheetTrack, base: Sheet, tolerance: float
) -> bool:
    """Whether what is on the sheet shows the track as well as a new one would."""
    if there.label != labels.label[int(rows[0])]:
        return False
    boxes = expand((there,), [0], base.start, base.stop)
    if len(boxes) != len(rows) or (boxes.frame != labels.frame[rows]).any():
        return False
    close = paired_iou(boxes.xyxy, labels.xyxy[rows]) >= tolerance - 1e-9
    off = np.abs(boxes.xyxy - labels.xyxy[rows]).max(1, initial=0.0)
    set_by_people = labels.human[rows] & labels.keyframe[rows]
    # A person may have dropped the keyframe of a box that they had set, if it lies where it did without.
    pinned = boxes.keyframe[must & ~set_by_people]
    if not (close.all() and (off[set_by_people] <= SAME_PIXELS).all() and pinned.all()):
        return False
    if not labels.values:
        return True
    filled = there.filled
    place = np.searchsorted(there.frame, boxes.frame, "right") - 1
    return all(filled[at] == dict(labels.said(row)) for at, row in zip(place.tolist(), rows.tolist(), strict=True))


def _keyframes(
    labels: Labels, rows_of: Mapping[int, NDArray[np.int64]], must_of: Mapping[int, NDArray[np.bool_]],
    numbers: Sequence[int], stop: int, tolerance: float,
) -> dict[int, SheetTrack]:  # fmt: skip
    """The tracks of these numbers with few keyframes, still without names."""
    if not numbers:
        return {}
    rows = np.concatenate([rows_of[number] for number in numbers])
    must = np.concatenate([must_of[number] for number in numbers])
    keys = fewest_keyframes(labels.track[rows], labels.frame[rows], labels.xyxy[rows], tolerance, must, stop)
    out = {}
    for number in numbers:
        own = keys.track == number
        values: tuple[Mapping[str, str], ...] = ()
        if labels.values:
            at = {int(labels.frame[row]): row for row in rows_of[number].tolist()}
            # An outside keyframe repeats what was said last: people see the object go, not change.
            values = tuple(
                dict(labels.said(at.get(frame, at.get(frame - 1, int(rows_of[number][0])))))
                for frame in keys.frame[own].tolist()
            )
        label = labels.label[int(rows_of[number][0])]
        out[number] = SheetTrack("", label, keys.frame[own], keys.xyxy[own], keys.outside[own], values)
    return out
