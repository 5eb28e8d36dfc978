"""Three-way merge of one video: what was sent, what is at the desk now, and what is in the dataset now.

What people did at the desk is laid over the dataset as it is, box by box. Where nobody touched a box at the desk the
dataset's stays, whatever it is by now. What a person did wins over what a model says; where a person has changed the
same box in the dataset, too, both versions are kept and reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...models.spam.overlaps import paired_iou
from .diff import JobDiff, value_at
from .identity import Identities, Row, trace
from .labels import Conflict, Labels, Patch, Put
from .pairs import NAMESAKE, SAME_OBJECT, assign, pairs_in_frames
from .sheets import SAME_PIXELS, Boxes

AGREE = 0.9  # overlap from which two people mean the same box


@dataclass(frozen=True)
class JobReturn:
    """The sheet of one job as it came back.

    Attributes:
        job: number of the job.
        diff: what people did to it.
        instances: uid of each base track -> its identity in the dataset when it was sent.
        who: who worked on it, for people to read.
        when: when it changed last, seconds since 1970.
    """

    job: int
    diff: JobDiff
    instances: Mapping[str, str]
    who: str = ""
    when: float = 0.0


@dataclass(frozen=True)
class Laid:
    """The sheet of one job laid over the labels.

    Attributes:
        back: what came back.
        sent_row: (S,) int64, for each box of ``back.diff.sent`` its row in the labels now, or -1.
        found_row: (F,) int64, for each box of ``back.diff.found`` the row in the labels that it replaces, or -1.
        number: place of a changed or new track of theirs -> number of its track in the dataset.
    """

    back: JobReturn
    sent_row: NDArray[np.int64]
    found_row: NDArray[np.int64]
    number: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Merged:
    """The outcome of a merge.

    Attributes:
        patch: what is to change in the dataset.
        conflicts: where two people disagree; the patch leaves these boxes as they are.
        jobs: every job's sheet, laid over the labels.
        instance: number of a track -> its identity, of those that the patch names.
    """

    patch: Patch
    conflicts: tuple[Conflict, ...]
    jobs: tuple[Laid, ...]
    instance: Mapping[int, str]


def merge(video: str, labels: Labels, returns: Sequence[JobReturn], new_instance: Callable[[int], str]) -> Merged:
    """Lays what came back from the desk over the labels of one video.

    Args:
        video: key of the video.
        labels: the dataset's, now.
        returns: the jobs that came back, in any order; jobs without changes do no harm.
        new_instance: identity of a new track, by its number.
    """
    return _Merge(video, labels, sorted(returns, key=lambda one: (one.diff.base.start, one.job))).run(new_instance)


def rows_of(labels: Labels, back: JobReturn, boxes: Boxes) -> NDArray[np.int64]:
    """For each box that was sent the row of the labels that it is now, or -1.

    That is what lies there, preferably of its own name: a track that was labelled anew, or cut or joined in another
    job, goes by another name. If nothing does, it is the box of its name, wherever that is.

    Args:
        labels: of the dataset, now.
        back: the sheet that they were sent to.
        boxes: of its base tracks.
    """
    number_of = {instance: number for number, instance in labels.instance.items()}
    instance = [back.instances.get(track.uid, track.uid) for track in back.diff.base.tracks]
    number = np.array([number_of.get(one, 0) for one in instance], np.int64)
    out = np.full(len(boxes), -1)
    window = labels.between(back.diff.base.start, back.diff.base.stop)
    rows, places = pairs_in_frames(boxes.frame, labels.frame[window])
    if not len(rows):
        return out
    others = window[places]
    named = number[boxes.track[rows]] == labels.track[others]
    overlap = paired_iou(boxes.xyxy[rows], labels.xyxy[others])
    good = overlap >= SAME_OBJECT
    assign(out, rows[good], others[good], overlap[good] + NAMESAKE * named[good])
    free = named & (out[rows] < 0) & ~np.isin(others, out)
    assign(out, rows[free], others[free], np.ones(int(free.sum())))
    return out


class _Merge:
    """One merge, step by step."""

    def __init__(self, video: str, labels: Labels, returns: Sequence[JobReturn]) -> None:
        self.video, self.labels = video, labels
        self.jobs: list[Laid] = []
        for back in returns:
            sent_row = rows_of(self.labels, back, back.diff.sent)
            self.jobs.append(Laid(back, sent_row, self._found_rows(back, sent_row)))
        self.conflicts: list[Conflict] = []
        self.disputed: list[int] = []  # rows that are gone at the desk and stay nevertheless

    def run(self, new_instance: Callable[[int], str]) -> Merged:
        rows, removed = self._settle()
        identities = trace(self.labels, self.jobs, rows)
        moved_out = self._make_room(rows, identities)
        numbers = (*identities.numbers, *sorted(set(moved_out.values())))
        instance = {number: self.labels.instance.get(number) or new_instance(number) for number in numbers}
        for (job, place), number in identities.number_of_piece.items():
            self.jobs[job].number[place] = number
        self._class_conflicts(identities)
        put = self._puts(rows, identities, instance) + [
            Put(int(self.labels.frame[row]), self.labels.key[row], number, instance[number], self.labels.label[row])
            for row, number in moved_out.items()
        ]
        gone: dict[int, list[str]] = {}
        for row in removed:
            gone.setdefault(int(self.labels.frame[row]), []).append(self.labels.key[row])
        patch = Patch(tuple(put), {frame: tuple(sorted(keys)) for frame, keys in sorted(gone.items())})
        return Merged(patch, tuple(self.conflicts), tuple(self.jobs), instance)

    def _found_rows(self, back: JobReturn, sent_row: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each box that came back changed the row that it replaces."""
        diff, labels = back.diff, self.labels
        known = diff.origin >= 0
        out = np.full(len(diff.found), -1)
        out[known] = sent_row[diff.origin[known]]
        new = np.flatnonzero(out < 0)
        new = new[diff.moved[new]]
        if not len(new):
            return out
        # A new box may be about something that a model has found since, of which the person could not know.
        everything = rows_of(labels, back, diff.base.boxes())
        window = labels.between(diff.base.start, diff.base.stop)
        unsent = np.setdiff1d(window, everything)
        rows, places = pairs_in_frames(diff.found.frame[new], labels.frame[unsent])
        rows, others = new[rows], unsent[places]
        overlap = paired_iou(diff.found.xyxy[rows], labels.xyxy[others])
        label = np.array([track.label for track in diff.theirs], object)[diff.found.track[rows]]
        good = (overlap >= SAME_OBJECT) & (label == np.array(labels.label, object)[others])
        assign(out, rows[good], others[good], overlap[good])
        return out

    def _settle(self) -> tuple[list[Row], list[int]]:
        """What becomes of every box that a person changed: the boxes that stay or come, and the rows that go."""
        claims: dict[int, list[tuple[int, int]]] = {}  # row of the labels -> (job, found box)
        going: dict[int, list[tuple[int, int]]] = {}  # row -> (job, sent box)
        fresh: list[tuple[int, int]] = []
        for at, job in enumerate(self.jobs):
            diff = job.back.diff
            for found, row in enumerate(job.found_row.tolist()):
                if row >= 0:
                    claims.setdefault(row, []).append((at, found))
                elif diff.moved[found]:
                    fresh.append((at, found))
            for sent in diff.removed.tolist():
                if job.sent_row[sent] >= 0:
                    going.setdefault(int(job.sent_row[sent]), []).append((at, sent))
        rows = [self._claimed(row, found, going.get(row, [])) for row, found in sorted(claims.items())]
        removed = []
        for row, sent in sorted(going.items()):
            if row not in claims:
                at, box = sent[0]
                if self._is_changed_here(row, self.jobs[at].back.diff.sent.xyxy[box]):
                    self._disagree("gone", row, sent, None)
                    self.disputed.append(row)
                else:
                    removed.append(row)
        return rows + self._fresh(fresh), removed

    def _make_room(self, rows: Sequence[Row], identities: Identities) -> dict[int, int]:
        """Numbers for disputed boxes whose track is another object at the desk, with a box of its own in their frame.

        Returns:
            row of the labels -> its new number.
        """
        labels = self.labels
        taken = {(int(labels.frame[row]), number) for row, number in identities.number_of_row.items()}
        taken |= {(rows[at].frame, number) for at, number in identities.number_of_new.items()}
        crowded = {int(labels.track[r]) for r in self.disputed if (int(labels.frame[r]), int(labels.track[r])) in taken}
        free = max([0, *labels.track.tolist(), *identities.numbers]) + 1
        number_of = {number: free + at for at, number in enumerate(sorted(crowded))}
        for at, conflict in enumerate(self.conflicts):
            if conflict.kind == "gone" and not conflict.theirs and conflict.track in number_of:
                track = number_of[conflict.track]
                text = _conflict_text("gone", track, conflict.frame, conflict.last, conflict.jobs)
                self.conflicts[at] = replace(conflict, track=track, text=text)
        return {row: number_of[of] for row in self.disputed if (of := int(labels.track[row])) in number_of}

    def _claimed(self, row: int, found: list[tuple[int, int]], gone: list[tuple[int, int]]) -> Row:
        """One row that is still there at the desk: where it is."""
        owners = tuple((at, int(self.jobs[at].back.diff.found.track[box])) for at, box in found)
        moves = [(at, box) for at, box in found if self.jobs[at].back.diff.moved[box]]
        frame = int(self.labels.frame[row])
        if not moves:
            return Row(frame, row, owners, None)
        if gone:
            self._disagree("gone", row, gone, moves[0])
        first = self._best(moves)
        origin = self.jobs[first[0]].back.diff.origin[first[1]]
        sent = self.jobs[first[0]].back.diff.sent.xyxy[origin] if origin >= 0 else None
        if self._is_changed_here(row, sent):
            theirs = self.jobs[first[0]].back.diff.found.xyxy[first[1]]
            if paired_iou(theirs[None], self.labels.xyxy[row][None])[0] < AGREE:
                self._disagree("box", row, moves, first)
                return Row(frame, row, owners, None)
        for other in moves:
            if other != first and not self._agree(first, other):
                self._disagree("box", row, [other], other)
        return Row(frame, row, owners, first)

    def _fresh(self, fresh: list[tuple[int, int]]) -> list[Row]:
        """New boxes; two people who drew one object in the frames that their jobs share, drew it once."""
        out: list[Row] = []
        by_frame: dict[int, list[int]] = {}
        for at, box in fresh:
            found = self.jobs[at].back.diff.found
            frame, track = int(found.frame[box]), int(found.track[box])
            twin = next((i for i in by_frame.get(frame, ()) if self._is_twin(out[i], (at, box))), None)
            if twin is None:
                by_frame.setdefault(frame, []).append(len(out))
                out.append(Row(frame, -1, ((at, track),), (at, box)))
                continue
            drawn = out[twin].drawn
            assert drawn is not None
            if not self._agree(drawn, (at, box)):
                self._disagree("box", -1, [(at, box)], (at, box))
            best = self._best([drawn, (at, box)])
            out[twin] = Row(frame, -1, (*out[twin].owners, (at, track)), best)
        return out

    def _is_twin(self, row: Row, other: tuple[int, int]) -> bool:
        """Whether a new box of another job shows the object of a new box."""
        if row.drawn is None or any(at == other[0] for at, _ in row.owners):
            return False
        (at, box), (at2, box2) = row.drawn, other
        one, two = self.jobs[at].back.diff, self.jobs[at2].back.diff
        if one.theirs[one.found.track[box]].label != two.theirs[two.found.track[box2]].label:
            return False
        return bool(paired_iou(one.found.xyxy[box][None], two.found.xyxy[box2][None])[0] >= SAME_OBJECT)

    def _best(self, boxes: list[tuple[int, int]]) -> tuple[int, int]:
        """Of several versions of one box that which a person has set, then that of the first job."""
        return min(boxes, key=lambda one: (not self.jobs[one[0]].back.diff.found.keyframe[one[1]], one))

    def _agree(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        a, b = (self.jobs[at].back.diff.found.xyxy[box][None] for at, box in (one, other))
        return bool(paired_iou(a, b)[0] >= AGREE)

    def _is_changed_here(self, row: int, sent: NDArray[np.float64] | None) -> bool:
        """Whether a person has changed a box in the dataset since it was sent."""
        if not self.labels.human[row]:
            return False
        if sent is None:
            return True
        if self.labels.keyframe[row]:
            return bool((np.abs(self.labels.xyxy[row] - sent) > SAME_PIXELS).any())
        return bool(paired_iou(self.labels.xyxy[row][None], sent[None])[0] < AGREE)

    def _disagree(self, kind: str, row: int, others: list[tuple[int, int]], theirs: tuple[int, int] | None) -> None:
        """Notes a conflict; one that goes on from the frame before is the same one."""
        jobs = tuple(sorted({self.jobs[at].back.job for at, _ in others}))
        track = int(self.labels.track[row]) if row >= 0 else 0
        boxes: dict[int, tuple[float, float, float, float]] = {}
        label = ""
        if theirs is not None:
            diff = self.jobs[theirs[0]].back.diff
            frame = int(diff.found.frame[theirs[1]])
            left, top, right, bottom = diff.found.xyxy[theirs[1]].tolist()
            boxes[frame] = (left, top, right, bottom)
            label = diff.theirs[diff.found.track[theirs[1]]].label
        else:
            frame = int(self.labels.frame[row])
        for at, before in enumerate(self.conflicts):
            if (before.kind, before.track, before.jobs, before.last) == (kind, track, jobs, frame - 1):
                joined = {**before.theirs, **boxes}
                text = _conflict_text(kind, track, before.frame, frame, jobs)
                self.conflicts[at] = Conflict(
                    self.video, kind, before.frame, frame, track, jobs, text, joined, label or before.label
                )
                return
        text = _conflict_text(kind, track, frame, frame, jobs)
        self.conflicts.append(Conflict(self.video, kind, frame, frame, track, jobs, text, boxes, label))

    def _class_conflicts(self, identities: Identities) -> None:
        for number, (first, second) in sorted(identities.torn_classes.items()):
            jobs = tuple(sorted(job.back.job for job in self.jobs if number in job.number.values()))
            text = f"track {number} is {first!r} to one person and {second!r} to another; {first!r} was taken"
            frames = identities.frames[number]
            self.conflicts.append(Conflict(self.video, "class", frames[0], frames[1], number, jobs, text, {}, second))

    def _puts(self, rows: list[Row], identities: Identities, instance: Mapping[int, str]) -> list[Put]:
        """The boxes to write: those that were moved or drawn, and those whose track or class is another one now."""
        labels = self.labels
        out = []
        drawn = {row.row: row for row in rows if row.row >= 0}
        for row, number in sorted(identities.number_of_row.items()):
            label = identities.label_of.get(number) or labels.label[row]
            made = drawn.get(row)
            values = self._values(made) if made is not None else {}
            values = {name: value for name, value in values.items() if labels.said(row).get(name) != value}
            moved = made is not None and made.drawn is not None
            if moved or values or number != labels.track[row] or label != labels.label[row]:
                out.append(self._put(int(labels.frame[row]), labels.key[row], number, instance, label, made, values))
        for at, new in enumerate(rows):
            if new.row < 0:
                number = identities.number_of_new[at]
                label = identities.label_of[number]
                out.append(self._put(new.frame, "", number, instance, label, new, self._values(new)))
        return sorted(out, key=lambda put: (put.frame, put.track, put.key))

    def _put(
        self, frame: int, key: str, number: int, instance: Mapping[int, str], label: str, made: Row | None,
        values: Mapping[str, str],
    ) -> Put:  # fmt: skip
        if made is None or made.drawn is None:
            # What no answer can say must not go when the model labels again.
            return Put(frame, key, number, instance[number], label, source="human" if values else None, values=values)
        at, box = made.drawn
        found = self.jobs[at].back.diff.found
        is_key = bool(found.keyframe[box])
        left, top, right, bottom = found.xyxy[box].tolist()
        changed = bool(values) and bool(key)
        return Put(
            frame, key, number, instance[number], label, (left, top, right, bottom),
            "human" if is_key or changed else "interpolated", is_key, is_key and not changed, values, not key,
        )  # fmt: skip

    def _values(self, row: Row) -> dict[str, str]:
        """What a person has said of a box beside its place: what differs from what was sent."""
        out: dict[str, str] = {}
        for at, place in row.owners:
            diff = self.jobs[at].back.diff
            track = diff.theirs[place]
            now = value_at(track, row.frame)
            of = int(diff.parent[place])
            before = value_at(diff.base.tracks[of], row.frame) if of >= 0 else {}
            if row.row < 0:
                before = {}
            out.update({name: value for name, value in now.items() if before.get(name) != value})
        return out


def _conflict_text(kind: str, track: int, first: int, last: int, jobs: tuple[int, ...]) -> str:
    where = f"frame {first + 1}" if first == last else f"frames {first + 1} to {last + 1}"
    whose = f"track {track}" if track else "a new track"
    job = ", ".join(map(str, jobs))
    if kind == "gone":
        return f"{whose}, {where}: taken away in job {job}, but somebody has set it elsewhere; it was kept"
    return f"{whose}, {where}: somebody has set it otherwise in job {job}; the version here was kept, theirs is noted"
