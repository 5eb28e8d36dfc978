"""Which boxes are one object once people are done: tracks that were cut, joined, drawn, and go on in other jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...models.spam.overlaps import paired_iou
from .labels import Labels
from .pairs import SAME_OBJECT

if TYPE_CHECKING:
    from .diff import JobDiff
    from .merging import Laid

Piece = tuple[int, int]  # job, place of the track on its sheet
LATE = 1 << 60


@dataclass(frozen=True)
class Row:
    """One box that a person has had in their hands and that is there afterwards.

    Attributes:
        frame: position in the media.
        row: in the labels, or -1 for a new box.
        owners: the tracks at the desk that it is in; several where jobs overlap.
        drawn: job and box at the desk that say where it is now; None if it stays where it is.
    """

    frame: int
    row: int
    owners: tuple[Piece, ...]
    drawn: tuple[int, int] | None


@dataclass(frozen=True)
class Identities:
    """Numbers of tracks after the merge.

    Attributes:
        number_of_row: row of the labels -> number, of all boxes of tracks that were touched.
        number_of_new: place in the list of rows -> number, of new boxes.
        number_of_piece: job and place of a track at the desk -> number.
        label_of: number -> class, where people decided it or all is new.
        frames: number -> first and last frame.
        torn_classes: number -> the class that was taken, and another one that people gave.
        numbers: all of them.
    """

    number_of_row: Mapping[int, int]
    number_of_new: Mapping[int, int]
    number_of_piece: Mapping[Piece, int]
    label_of: Mapping[int, str]
    frames: Mapping[int, tuple[int, int]]
    torn_classes: Mapping[int, tuple[str, str]]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class _End:
    """What a track that was sent to a job is at one of the job's borders: a track there, and frames to its next box."""

    place: int
    doubt: int


@dataclass
class _Node:
    """Boxes that are one object for sure: a track of a job, or a run of a track between jobs."""

    boxes: dict[int, int] = field(default_factory=dict)  # frame -> row of the labels, or -2 - place of a new box
    pieces: list[Piece] = field(default_factory=list)
    wants: dict[int, int] = field(default_factory=dict)  # number of a track in the dataset -> first frame of it here


class _Forest:
    """Joins nodes, unless an object would be in two places of one frame."""

    def __init__(self) -> None:
        self.nodes: list[_Node] = []
        self._root: list[int] = []

    def add(self, node: _Node) -> int:
        self.nodes.append(node)
        self._root.append(len(self._root))
        return len(self._root) - 1

    def root(self, node: int) -> int:
        while self._root[node] != node:
            self._root[node] = self._root[self._root[node]]
            node = self._root[node]
        return node

    def join(self, one: int, other: int) -> bool:
        a, b = self.root(one), self.root(other)
        if a == b:
            return True
        if len(self.nodes[a].boxes) < len(self.nodes[b].boxes):
            a, b = b, a
        large, small = self.nodes[a], self.nodes[b]
        if any(large.boxes.get(frame, box) != box for frame, box in small.boxes.items()):
            return False
        large.boxes.update(small.boxes)
        large.pieces += small.pieces
        for number, frame in small.wants.items():
            large.wants[number] = min(frame, large.wants.get(number, LATE))
        self._root[b] = a
        return True

    def roots(self) -> list[int]:
        return [node for node in range(len(self.nodes)) if self._root[node] == node]


def trace(labels: Labels, jobs: Sequence[Laid], rows: Sequence[Row]) -> Identities:
    """Finds out which boxes are one object.

    A track that was cut in a job is two from there on, also in the jobs beside; one that was joined is one. Of several
    that could keep a track's number the one that has its first box does.

    Args:
        labels: the dataset's.
        jobs: the sheets that came back, by their first frame.
        rows: the boxes that people have had in their hands.
    """
    forest = _Forest()
    node_of: dict[Piece, int] = {}
    for at, job in enumerate(jobs):
        for place in np.flatnonzero(~job.back.diff.same).tolist():
            node_of[at, place] = forest.add(_Node(pieces=[(at, place)]))
    shared: list[tuple[int, int]] = []
    for at, row in enumerate(rows):
        home, *others = (node_of[owner] for owner in row.owners)
        node = forest.nodes[home]
        node.boxes[row.frame] = row.row if row.row >= 0 else -2 - at
        if row.row >= 0:
            number = int(labels.track[row.row])
            node.wants[number] = min(row.frame, node.wants.get(number, LATE))
        shared += [(home, other) for other in others]
    joined: set[tuple[int, int]] = set()  # node and side (0 left, 1 right) that already goes on
    links = _chains(labels, jobs, rows, forest, node_of)
    for one, other in [*shared, *links]:
        if forest.join(one, other):
            joined |= {(one, 1), (other, 0)}
    _want_parents(labels, jobs, forest, node_of)
    _stitch(labels, jobs, rows, forest, joined)
    return _number(labels, jobs, rows, forest)


def _chains(
    labels: Labels, jobs: Sequence[Laid], rows: Sequence[Row], forest: _Forest, node_of: Mapping[Piece, int]
) -> list[tuple[int, int]]:
    """What goes on as what along each track of the dataset that people have touched, (earlier, later) nodes."""
    owners = {one.row: dict(one.owners) for one in rows if one.row >= 0}  # row -> job -> place of its track
    near = {one.row for one in rows if one.row >= 0 and _is_near(labels, jobs, one)}
    touched: dict[int, dict[int, list[int]]] = {}  # number of a track -> job -> rows that were sent to it
    handled: set[int] = set(owners)
    for at, job in enumerate(jobs):
        for row in job.sent_row[job.sent_row >= 0].tolist():
            touched.setdefault(int(labels.track[row]), {}).setdefault(at, []).append(row)
            handled.add(row)
        for row in job.found_row[job.found_row >= 0].tolist():
            found = touched.setdefault(int(labels.track[row]), {}).setdefault(at, [])
            if row not in found:
                found.append(row)
    links: list[tuple[int, int, int]] = []  # how doubtful, earlier, later
    for number, by_job in sorted(touched.items()):
        order = sorted(by_job)
        starts = np.array([jobs[at].back.diff.base.start for at in order])
        own = np.flatnonzero(labels.track == number)
        left = [row for row in own.tolist() if row not in handled]
        runs: dict[int, int] = {}
        for row in left:
            frame = int(labels.frame[row])
            run = int((starts <= frame).sum())
            if run not in runs:
                runs[run] = forest.add(_Node())
            node = forest.nodes[runs[run]]
            node.boxes[frame] = row
            node.wants[number] = min(frame, node.wants.get(number, LATE))
        before: int | None = runs.get(0)
        doubt = 0
        last: set[int] = set()
        for k, at in enumerate(order, 1):
            sent = sorted(by_job[at], key=lambda row: int(labels.frame[row]))
            ends = _ends(jobs[at], sent, [owners.get(row, {}).get(at, -1) for row in sent], near)
            if ends is not None:
                first, final = (node_of[at, end.place] for end in ends)
                if before is not None and not (last & set(sent)):
                    links.append((doubt + ends[0].doubt, before, first))
                before, doubt = final, ends[1].doubt
            last = set(sent)
            if k in runs:
                if before is not None:
                    links.append((doubt, before, runs[k]))
                before, doubt = runs[k], 0
    # What is sure comes first: where two claim one continuation, the one whose box is at the border has it.
    return [(one, other) for _, one, other in sorted(links)]


def _is_near(labels: Labels, jobs: Sequence[Laid], row: Row) -> bool:
    """Whether a box is still about where it is in the dataset."""
    if row.drawn is None:
        return True
    at, box = row.drawn
    return bool(paired_iou(jobs[at].back.diff.found.xyxy[box][None], labels.xyxy[row.row][None])[0] >= SAME_OBJECT)


def _ends(job: Laid, sent: Sequence[int], owner: Sequence[int], near: Collection[int]) -> tuple[_End, _End] | None:
    """The tracks at the desk that go on to the left and to the right of a job as a track did that was sent.

    Args:
        job: its sheet.
        sent: rows of the track that were sent to it, by frame.
        owner: for each the track that has it now, or -1.
        near: those rows that are about where they were; one that lies elsewhere tells less.
    """
    diff = job.back.diff
    of = set(diff.sent.track[np.isin(job.sent_row, np.array(sent, np.int64))].tolist())
    named = [place for place, parent in enumerate(diff.parent.tolist()) if parent in of and not diff.same[place]]
    named.sort(key=lambda place: int(diff.theirs[place].frame[0]))
    ends = []
    stays = [place if row in near else -1 for row, place in zip(sent, owner, strict=True)]
    if max(stays, default=-1) < 0:
        stays = list(owner)
    for side, by_name in ((stays, named[:1]), (stays[::-1], named[-1:])):
        # The box at the border; where that is gone, the nearest one that is there; else whatever goes by the name.
        kept = next((at for at, place in enumerate(side) if place >= 0), -1)
        place = side[kept] if kept >= 0 else (by_name or [-1])[0]
        ends.append(_End(place, kept if kept >= 0 else LATE))
    return (ends[0], ends[1]) if ends[0].place >= 0 else None


def _want_parents(labels: Labels, jobs: Sequence[Laid], forest: _Forest, node_of: Mapping[Piece, int]) -> None:
    """A track none of whose boxes is where it was, still goes by its number, if nobody else does."""
    number_of = {instance: number for number, instance in labels.instance.items()}
    for (at, place), node in node_of.items():
        back = jobs[at].back
        of = int(back.diff.parent[place])
        if of >= 0:
            uid = back.diff.base.tracks[of].uid
            number = number_of.get(back.instances.get(uid, uid))
            if number is not None:
                forest.nodes[forest.root(node)].wants.setdefault(number, LATE + at)


def _stitch(
    labels: Labels, jobs: Sequence[Laid], rows: Sequence[Row], forest: _Forest, joined: set[tuple[int, int]]
) -> None:
    """Joins what was drawn up to a job's border with what goes on behind it."""
    drawn_in = {row.frame for row in rows if row.row < 0}
    if not drawn_in:
        return
    known = {int(labels.track[row]) for job in jobs for row in job.sent_row[job.sent_row >= 0].tolist()}
    borders = {job.back.diff.base.stop for job in jobs} | {job.back.diff.base.start - 1 for job in jobs}
    for border in sorted(border for border in borders if drawn_in & {border, border + 1}):
        ending = _at_border(labels, jobs, rows, forest, known, border, last=True)
        starting = _at_border(labels, jobs, rows, forest, known, border + 1, last=False)
        pairs = []
        for one, box, label, drawn in ending:
            for other, box2, label2, drawn2 in starting:
                overlap = float(paired_iou(box[None], box2[None])[0])
                if label == label2 and (drawn or drawn2) and overlap >= SAME_OBJECT:
                    pairs.append((-overlap, one, other))
        used: set[int] = set()
        for _, one, other in sorted(pairs):
            if one not in used and other not in used and forest.join(one, other):
                used |= {one, other}


def _at_border(
    labels: Labels, jobs: Sequence[Laid], rows: Sequence[Row], forest: _Forest, known: set[int], frame: int, last: bool
) -> list[tuple[int, np.ndarray, str, bool]]:
    """What ends, or starts, in a frame: node (-1 - row for a track that nobody touched), box, class, whether drawn."""
    out = []
    held: set[int] = set()
    for root in forest.roots():
        boxes = forest.nodes[root].boxes
        held.update(boxes.values())
        if frame in boxes and frame == (max(boxes) if last else min(boxes)):
            at = boxes[frame]
            if at >= 0:
                out.append((root, labels.xyxy[at], labels.label[at], False))
            else:
                job, box = rows[-2 - at].drawn or (0, 0)
                diff = jobs[job].back.diff
                out.append((root, diff.found.xyxy[box], diff.theirs[diff.found.track[box]].label, True))
    for row in labels.between(frame, frame).tolist():
        number = int(labels.track[row])
        own = labels.frame[labels.track == number]
        untouched = row not in held and number > 0 and number not in known
        if untouched and frame == (own.max() if last else own.min()):
            node = _Node({int(f): int(r) for f, r in zip(own, np.flatnonzero(labels.track == number), strict=True)})
            node.wants[number] = int(own.min())
            out.append((forest.add(node), labels.xyxy[row], labels.label[row], False))
    return out


def _number(labels: Labels, jobs: Sequence[Laid], rows: Sequence[Row], forest: _Forest) -> Identities:
    """Gives every object its number."""
    roots = [root for root in forest.roots() if forest.nodes[root].boxes or forest.nodes[root].pieces]
    claims = sorted((frame, number, root) for root in roots for number, frame in forest.nodes[root].wants.items())
    number_of: dict[int, int] = {}
    taken: set[int] = set()
    for _, number, root in claims:
        if root not in number_of and number not in taken and number > 0:
            number_of[root] = number
            taken.add(number)
    free = max([0, *labels.track.tolist(), *taken]) + 1
    for root in sorted(
        (r for r in roots if r not in number_of), key=lambda r: _first(forest.nodes[r], labels, rows, jobs)
    ):
        number_of[root] = free
        free += 1
    of_row: dict[int, int] = {}
    of_new: dict[int, int] = {}
    of_piece: dict[Piece, int] = {}
    frames: dict[int, tuple[int, int]] = {}
    label_of: dict[int, str] = {}
    torn: dict[int, tuple[str, str]] = {}
    for root in roots:
        node, number = forest.nodes[root], number_of[root]
        of_row |= {box: number for box in node.boxes.values() if box >= 0}
        of_new |= {-2 - box: number for box in node.boxes.values() if box < 0}
        of_piece |= dict.fromkeys(node.pieces, number)
        frames[number] = (min(node.boxes, default=0), max(node.boxes, default=0))
        label, other = _label(node, jobs, labels, number)
        if label:
            label_of[number] = label
        if other:
            torn[number] = (label, other)
    return Identities(of_row, of_new, of_piece, label_of, frames, torn, tuple(sorted(number_of.values())))


def _first(node: _Node, labels: Labels, rows: Sequence[Row], jobs: Sequence[Laid]) -> tuple:
    """Puts objects into an order that does not depend on the order of their tracks at the desk."""
    if not node.boxes:
        return (LATE, (), min(node.pieces, default=(0, 0)))
    frame = min(node.boxes)
    at = node.boxes[frame]
    if at >= 0:
        return (frame, tuple(labels.xyxy[at].tolist()), (0, 0))
    job, box = rows[-2 - at].drawn or (0, 0)
    return (frame, tuple(jobs[job].back.diff.found.xyxy[box].tolist()), (0, 0))


def _label(node: _Node, jobs: Sequence[Laid], labels: Labels, number: int) -> tuple[str, str]:
    """The class that people gave an object, or its only one, and another one that they gave it, too."""
    given: list[str] = []
    drawn: list[str] = []
    for at, place in sorted(node.pieces, reverse=True):
        diff = jobs[at].back.diff
        label = diff.theirs[place].label
        drawn.append(label)
        before = _labels_before(diff, place)
        if before - {label}:
            given.append(label)
    if given:
        other = next((label for label in given if label != given[0]), "")
        return given[0], other
    own = {labels.label[box] for box in node.boxes.values() if box >= 0}
    if len(own) == 1:
        return own.pop(), ""
    return (drawn[-1] if drawn else min(own, default="")), ""  # joined by people, or drawn by them


def _labels_before(diff: JobDiff, place: int) -> set[str]:
    """Classes of the tracks that were sent and that a track at the desk is made of."""
    origin = diff.origin[diff.found.track == place]
    of = diff.sent.track[origin[origin >= 0]].tolist() or [int(diff.parent[place])]
    return {diff.base.tracks[one].label for one in of if one >= 0}
