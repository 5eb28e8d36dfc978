"""The objects of a video that people drew boxes of, by answers and in the field of tracks: what filling starts from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.answers import Box
from ...engine.filling import Keyframes
from ...engine.propagation import keyframes_of
from ...models.columns import FARTHEST, Candidates, Source, VideoInfo
from ...models.spam.constraints import Constraints
from ...models.spam.overlaps import overlapping
from .columns import SOURCE_NAMES, four_columns, video_documents
from .cycles import without_cycles
from .human import SAME_PIXELS
from .videos import StoredVideo

ON_IT = 0.5  # overlap from which a box of the field is the candidate that an answer speaks of

_SOURCES = {name: int(source) for source, name in SOURCE_NAMES.items()}
_KEYS = ("index", "label", "source", "answered", "bounding_box", "instance")
_VOTE = 1000.0  # of a box in the field that stands for the answer: more than all overlaps together


@dataclass(frozen=True)
class FieldBoxes:
    """The boxes of a field of tracks of one video that can be used, sorted by frame; one per track and frame.

    Attributes:
        frame: (N,) int64, 0-based.
        xyxy: (N, 4) float64, pixels.
        index: (N,) int64, number of the track.
        source: (N,) int64, a ``Source``.
        answered: (N,) bool, whether it is a person's, and an answer says the same.
        label: number of a track -> its class, that of its first box.
        instance: number of a track -> its identity as it is stored, that of its first box; None where it has none.
        kept: numbers of the tracks that labelling keeps, as a person drew a box of them that is no answer's.
        problems: a sentence for every kind of human box that cannot be used.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    index: NDArray[np.int64]
    source: NDArray[np.int64]
    answered: NDArray[np.bool_]
    label: Mapping[int, str | None]
    instance: Mapping[int, Any]
    kept: frozenset[int]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Targets:
    """What can be filled in one video.

    Attributes:
        keys: the human boxes, of T tracks that are numbered from 0.
        index: (T,) int64, number of every track in the field; those that are not there yet have new numbers.
        is_new: (T,) bool, whether the field does not have it yet.
        label: (T,) names of the classes.
        kept: (T,) bool, whether labelling keeps the track as it is.
        stored: (K,) bool, which of the human boxes are in the field.
    """

    keys: Keyframes
    index: NDArray[np.int64]
    is_new: NDArray[np.bool_]
    label: tuple[str | None, ...]
    kept: NDArray[np.bool_]
    stored: NDArray[np.bool_]


def read_field(video: StoredVideo, field: str, info: VideoInfo, drawn: Sequence[Box]) -> FieldBoxes:
    """The boxes of a field of tracks; one that does not exist has none.

    Args:
        video: which one.
        field: its name, without ``frames.``.
        info: of the video.
        drawn: boxes of answers.
    """
    rows: list[tuple[int, int, int, bool]] = []  # frame, index, source, answered
    boxes: list[Any] = []
    label: dict[int, str | None] = {}
    instance: dict[int, Any] = {}
    loose = 0
    with without_cycles():
        for frame, found in video_documents(video, field, _KEYS):
            for box in found:
                index, source = box.get("index"), _SOURCES.get(box.get("source"), int(Source.HUMAN))  # type: ignore[arg-type]
                if index is None:
                    loose += source == Source.HUMAN
                    continue
                rows.append((frame, int(index), source, source == Source.HUMAN and bool(box.get("answered"))))
                boxes.append(box.get("bounding_box"))
                label.setdefault(index, box.get("label"))
                if instance.get(index) is None:
                    instance[index] = box.get("instance")
    columns = np.array(rows, np.int64).reshape(-1, 4)
    at, number, who, said = columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3].astype(bool)
    xyxy = four_columns(boxes).reshape(-1, 4) * ([info.width, info.height] * 2)
    xyxy[:, 2:] += xyxy[:, :2]
    human = who == Source.HUMAN
    good = _is_usable(at, xyxy, info)
    good[good] &= _is_first(number[good], at[good], ~human[good])
    on = said & good
    on[on] = _lies_on(at[on], xyxy[on], drawn)
    kept = frozenset(number[human & ~on].tolist())
    return FieldBoxes(
        at[good], xyxy[good], number[good], who[good], on[good], label, instance, kept,
        _problems(loose, int((human & ~good).sum())),
    )  # fmt: skip


def find_targets(
    boxes: FieldBoxes, said: Constraints, candidates: Candidates, class_names: Sequence[str | None], info: VideoInfo
) -> Targets:
    """The objects that have human boxes: those of answers, and those of the field, each once.

    An object of answers is the track in which the field has its boxes, or else most of its candidates. If it is in no
    track yet, as labelling has not seen the answers, it is a new one. Where the field has a human box of the track in
    the frame of a drawn one, the field's counts: it is what a person sees, and changes.

    Args:
        boxes: of the field.
        said: what the answers come to.
        candidates: that ``said`` is about.
        class_names: names of their classes.
        info: of the video; drawn boxes that lie wholly outside its picture are passed over.
    """
    drawn = keyframes_of(said)
    visible = _is_usable(drawn.frame, drawn.xyxy.astype(np.float64), info)
    drawn = replace(drawn, track=drawn.track[visible], frame=drawn.frame[visible], xyxy=drawn.xyxy[visible])
    objects = np.unique(drawn.track).tolist()
    owner = _owners(boxes, said, candidates, objects)
    own = (boxes.source == Source.HUMAN) & ~boxes.answered  # those of answers come from the answers
    numbers = sorted(set(boxes.index[own].tolist()) | set(owner.values()))
    new = [one for one in objects if one not in owner]
    place = {number: at for at, number in enumerate(numbers)}
    of_object = np.full(max(objects, default=-1) + 1, -1)
    for one in objects:
        of_object[one] = place[owner[one]] if one in owner else len(numbers) + new.index(one)
    track = np.concatenate([np.searchsorted(numbers, boxes.index[own]), of_object[drawn.track]]).astype(np.int64)
    frame = np.concatenate([boxes.frame[own], drawn.frame])
    xyxy = np.concatenate([boxes.xyxy[own], drawn.xyxy.astype(np.float64)])
    of_answer = np.arange(len(track)) >= int(own.sum())
    order = np.lexsort((of_answer, frame, track))
    rows = order[_is_first(track[order], frame[order])]
    count = len(numbers) + len(new)
    index = np.array([*numbers, *(max([0, *boxes.index.tolist()]) + 1 + at for at in range(len(new)))], np.int64)
    label = [boxes.label.get(number) for number in numbers]
    label += [_class_of(said, one, candidates, class_names) for one in new]
    stored = np.zeros(len(rows), bool)
    human = boxes.source == Source.HUMAN
    there = set(zip(boxes.index[human].tolist(), boxes.frame[human].tolist(), strict=True))
    for at, pair in enumerate(zip(index[track[rows]].tolist(), frame[rows].tolist(), strict=True)):
        stored[at] = pair in there
    earliest, latest = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    if objects and drawn.earliest is not None and drawn.latest is not None:
        earliest[of_object[objects]], latest[of_object[objects]] = drawn.earliest[objects], drawn.latest[objects]
    absent = np.zeros((0, 3), np.int64) if drawn.absent is None else drawn.absent
    absent = absent[np.isin(absent[:, 0], objects)]
    absent = np.column_stack([of_object[absent[:, 0]], absent[:, 1:]]).astype(np.int64).reshape(-1, 3)
    keys = Keyframes(track[rows], frame[rows], xyxy[rows].astype(np.float32), absent, earliest, latest)
    kept = np.array([number in boxes.kept for number in index.tolist()], bool)
    return Targets(keys, index, np.arange(count) >= len(numbers), tuple(label), kept, stored)


def without_followed(targets: Targets, boxes: FieldBoxes) -> Keyframes:
    """The keyframes, with what the model has followed marked as nothing to fill.

    That is a gap in which the field has a box of the model in every frame, and the end of an object where it has one
    right before the first or behind the last human box: the object has been found there, and followed until it left.
    """
    keys = targets.keys
    assert keys.earliest is not None
    assert keys.latest is not None
    assert keys.absent is not None
    seen: dict[int, set[int]] = defaultdict(set)
    place = {number: at for at, number in enumerate(targets.index.tolist())}
    model = boxes.source == Source.MODEL
    for number, frame in zip(boxes.index[model].tolist(), boxes.frame[model].tolist(), strict=True):
        if number in place:
            seen[place[number]].add(frame)
    earliest, latest, absent = keys.earliest.copy(), keys.latest.copy(), [keys.absent]
    starts = np.flatnonzero(np.diff(keys.track, prepend=-1))
    for track, frames in zip(keys.track[starts].tolist(), np.split(keys.frame, starts[1:]), strict=True):
        there = seen[track]
        if not there:
            continue
        if int(frames[0]) - 1 in there:
            earliest[track] = frames[0]
        if int(frames[-1]) + 1 in there:
            latest[track] = frames[-1]
        for one, two in zip(frames[:-1].tolist(), frames[1:].tolist(), strict=True):
            if two - one > 1 and all(frame in there for frame in range(one + 1, two)):
                absent.append(np.array([[track, one + 1, two - 1]], np.int64))
    return Keyframes(keys.track, keys.frame, keys.xyxy, np.concatenate(absent), earliest, latest)


def _is_usable(frame: NDArray[np.int64], xyxy: NDArray[np.float64], info: VideoInfo) -> NDArray[np.bool_]:
    """(N,) whether boxes have area, and lie at least partly inside the picture and inside the video."""
    with np.errstate(invalid="ignore"):
        inside = (xyxy[:, :2] < [info.width, info.height]).all(1) & (xyxy[:, 2:] > 0).all(1)
        area = (np.abs(xyxy) <= FARTHEST).all(1) & (
            xyxy[:, 2:].astype(np.float32) > xyxy[:, :2].astype(np.float32)
        ).all(1)
    return np.asarray(inside & area & (frame < info.num_frames))


def _is_first(*columns: NDArray) -> NDArray[np.bool_]:
    """(N,) whether a row is the first of its first two columns; a third one decides which is, else the order."""
    order = np.lexsort(columns[::-1])
    first = np.ones(len(order), bool)
    pair = np.column_stack(columns[:2])[order]
    first[1:] = (pair[1:] != pair[:-1]).any(1)
    out = np.zeros(len(order), bool)
    out[order[first]] = True
    return out


def _lies_on(frame: NDArray[np.int64], xyxy: NDArray[np.float64], drawn: Sequence[Box]) -> NDArray[np.bool_]:
    """(N,) whether a box is where an answer drew one."""
    at: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for one in drawn:
        at[one.frame].append(one.xyxy)
    close = [
        bool(at[where]) and bool((np.abs(np.array(at[where]) - box).max(1) < SAME_PIXELS).any())
        for where, box in zip(frame.tolist(), xyxy, strict=True)
    ]
    return np.array(close, bool)


def _owners(boxes: FieldBoxes, said: Constraints, candidates: Candidates, objects: Sequence[int]) -> dict[int, int]:
    """Object -> number of its track in the field, of those that are in one; no two have the same."""
    if not len(boxes.frame):
        return {}
    number = said.num_candidates
    members = np.flatnonzero(said.object_index >= 0)
    frame = np.concatenate([candidates.frame, said.frame])[members]
    xyxy = np.concatenate([candidates.xyxy, said.xyxy])[members].astype(np.float64)
    row, other, iou = overlapping(frame, xyxy, boxes.frame, boxes.xyxy, ON_IT)
    is_drawn, human = members[row] >= number, boxes.source[other] == Source.HUMAN
    same = np.abs(xyxy[row] - boxes.xyxy[other]).max(1, initial=0.0) < SAME_PIXELS
    # A box that was drawn over one of the model's need not be of the same object.
    votes = np.where(is_drawn & human & same, _VOTE, np.where(is_drawn, 0.0, iou))
    total: Counter[tuple[int, int]] = Counter()
    for one, at, vote in zip(
        said.object_index[members[row]].tolist(), boxes.index[other].tolist(), votes.tolist(), strict=True
    ):
        total[one, at] += vote
    out: dict[int, int] = {}
    wanted = set(objects)
    for (one, at), vote in sorted(total.items(), key=lambda entry: (-entry[1], entry[0])):
        if vote and one in wanted and one not in out and at not in out.values():
            out[one] = at
    return out


def _class_of(said: Constraints, one: int, candidates: Candidates, class_names: Sequence[str | None]) -> str | None:
    """Class of an object: as a person named it, else that of most of its candidates, else the first that there is."""
    mine = np.flatnonzero(said.object_index == one)
    named = said.class_index[mine]
    for found in (named[named >= 0], candidates.class_index[mine[mine < said.num_candidates]]):
        if len(found):
            return class_names[int(np.bincount(found).argmax())]
    return class_names[0] if class_names else None


def _problems(loose: int, unusable: int) -> tuple[str, ...]:
    out = []
    if loose:
        out.append(
            f"{loose} human boxes are in no track, so nothing is filled around them; give each the index of its track"
        )
    if unusable:
        out.append(
            f"{unusable} human boxes are passed over: they have no area, lie outside the picture or the video, or are "
            "twice in a track and frame; mend or delete them"
        )
    return tuple(out)
