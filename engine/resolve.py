"""From answers to constraints: every answer is found again among the candidates, and what cannot hold is reported.

The order in which answers came in does not matter. Of two that contradict each other the one that was given more often
holds, then the later one; the other stays on file and is reported with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..models.columns import Candidates, VideoInfo
from ..models.spam.constraints import EVER, Constraints
from ..models.spam.overlaps import overlapping
from .answers import Answer, Box, Verdict
from .stretches import Claim, Stretches, find_stretches

FOUND_AGAIN = 0.5  # overlap from which a candidate of another set is the box that an answer names
SAME_PIXELS = 0.51  # pixels by which its sides may differ in the same set
DRAWN_ON = 0.6  # overlap from which a drawn box is the very candidate that nobody spoke of

_CLASHES = ("contradiction", "superseded")
_OF_TIME = (Verdict.STARTS, Verdict.ENDS, Verdict.ABSENT)

Row = int  # candidates from 0, then drawn boxes, then objects that have a name


@dataclass(frozen=True)
class Problem:
    """One thing that could not be done with an answer.

    Attributes:
        kind: "lost" (no such box any more), "outside" (not in the video), "contradiction", or "superseded" (the same
            source said something else later).
        answer: the one that does not hold.
        other: the one that holds instead, if that is why.
        text: what is wrong, in a sentence.
    """

    kind: str
    answer: Answer
    other: Answer | None
    text: str


@dataclass(frozen=True)
class Resolution:
    """What answers come to.

    Attributes:
        constraints: those that hold together.
        problems: of those that do not, or only in part.
        applied: answers that hold in whole.
        matched_by_geometry: boxes of answers that were not found exactly, but by their overlap with a candidate.
    """

    constraints: Constraints
    problems: tuple[Problem, ...]
    applied: int
    matched_by_geometry: int


def resolve(
    answers: Iterable[Answer], info: VideoInfo, candidates: Candidates, class_names: Sequence[str | None] = ()
) -> Resolution:
    """The constraints of one video.

    Args:
        answers: about this video, in any order; the same one twice counts once.
        info: of the video.
        candidates: that will be labelled; they need not be those that the answers were given on.
        class_names: names of the candidates' classes, by their index.
    """
    unique = {answer.key: answer for answer in answers}
    votes = Counter(_statement(answer) for answer in unique.values())
    ranked = sorted(unique.values(), key=lambda a: (-votes[_statement(a)], -a.when, a.key))
    reports = _Reports(info)
    inside = [answer for answer in ranked if not reports.is_outside(answer)]
    world = _World(inside, candidates, class_names, reports)
    for answer in inside:
        world.note_verdict(answer)
    for answer in inside:
        world.add(answer)
    world.adopt_candidates()
    constraints = world.constraints()
    failed = {id(problem.answer) for problem in reports.problems}
    return Resolution(
        constraints, tuple(reports.problems), sum(id(a) not in failed for a in ranked), world.matched_by_geometry
    )


def _statement(answer: Answer) -> tuple:
    return (answer.verdict, answer.boxes, answer.drawn, answer.object, answer.label)


def _who(answer: Answer) -> str:
    return f"answer {answer.verdict.value!r} of {answer.source or 'somebody'}"


class _Reports:
    """Collects what could not be done, in sentences."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self.problems: list[Problem] = []

    def is_outside(self, answer: Answer) -> bool:
        """Whether an answer is about a frame that the video does not have; reported if so."""
        frames = [box.frame for box in (*answer.boxes, *([answer.drawn] if answer.drawn else []))]
        if max(frames, default=0) < self._info.num_frames:
            return False
        text = f"names frame {max(frames) + 1}, but the video has {self._info.num_frames} frames; it is kept, not used"
        self._add("outside", answer, None, text)
        return True

    def lost(self, answer: Answer, boxes: Sequence[Box]) -> None:
        """Boxes that an answer names are no candidates any more."""
        if boxes:
            count = f"{len(boxes)} boxes, the first" if len(boxes) > 1 else "a box"
            text = (
                f"is about {count} in frame {boxes[0].frame + 1} at {[round(v, 1) for v in boxes[0].xyxy]}, where no "
                "candidate is any more; the answer is kept, and used again when one is"
            )
            self._add("lost", answer, None, text)

    def no_class(self, answer: Answer, names: Iterable[str | None]) -> None:
        """An answer names a class that the candidates do not have."""
        known = ", ".join(repr(name) for name in names) or "none"
        self._add("lost", answer, None, f"names class {answer.label!r}, but the candidates have {known}")

    def clash(self, answer: Answer, other: Answer | None, about: str) -> None:
        """An answer contradicts another one that holds, or itself; once is enough."""
        if self.problems and self.problems[-1].answer is answer and self.problems[-1].kind in _CLASHES:
            return
        corrected = other is not None and other.source == answer.source and other.when > answer.when
        holds = f"{_who(other)} holds" if other is not None else "it is not used"
        self._add("superseded" if corrected else "contradiction", answer, other, f"cannot hold: {about}; {holds}")

    def _add(self, kind: str, answer: Answer, other: Answer | None, what: str) -> None:
        self.problems.append(Problem(kind, answer, other, f"video {self._info.name!r}: {_who(answer)} {what}"))


class _World:
    """Objects as the answers make them: a forest of rows with what was said of each tree."""

    def __init__(
        self, answers: Sequence[Answer], candidates: Candidates, class_names: Sequence[str | None], reports: _Reports
    ) -> None:
        self._candidates, self._reports = candidates, reports
        self._classes = {name: index for index, name in enumerate(class_names)}
        self._count = len(candidates)
        drawn = dict.fromkeys((a.drawn, a.object) for a in answers if a.drawn is not None)
        # the same box drawn for two objects (a person hidden exactly behind another) is two rows
        self._drawn: list[Box] = [box for box, _ in drawn]
        self._drawn_row = {key: self._count + n for n, key in enumerate(drawn)}
        names = dict.fromkeys(a.object for a in answers if a.object)
        self._name_row = {name: self._count + len(self._drawn) + n for n, name in enumerate(names)}
        size = self._count + len(self._drawn) + len(names)
        self._parent = list(range(size))
        self._rows: dict[Row, dict[tuple[bool, int], Row]] = {}  # root -> (is a candidate, frame) -> row
        self._maker: dict[Row, Answer] = {}  # the best answer that put a row into an object
        self._apart: dict[Row, dict[Row, Answer]] = defaultdict(dict)  # root -> root -> why
        self._claims: dict[Row, list[Claim]] = defaultdict(list)  # by any row of the object
        self._class: dict[Row, tuple[int, Answer]] = {}
        self._verdict = np.zeros(self._count + len(self._drawn), np.int8)
        self._why: dict[Row, Answer] = {}
        self._rank = {id(answer): number for number, answer in enumerate(answers)}
        self.matched_by_geometry = 0
        self._found = self._locate(answers)

    def _locate(self, answers: Sequence[Answer]) -> dict[Box, Row]:
        """Row of every box that answers name and that is still there."""
        by_box = {box: row for (box, _), row in reversed(self._drawn_row.items())}
        wanted = list(dict.fromkeys(box for answer in answers for box in answer.boxes))
        found = {box: by_box[box] for box in wanted if box in by_box}
        open_boxes = [box for box in wanted if box not in found]
        if not open_boxes or not self._count:
            return found
        frame = np.array([box.frame for box in open_boxes])
        xyxy = np.array([box.xyxy for box in open_boxes])
        row, other, iou = overlapping(frame, xyxy, self._candidates.frame, self._candidates.xyxy)
        exact = np.abs(xyxy[row] - self._candidates.xyxy[other]).max(1, initial=0.0) < SAME_PIXELS
        order = np.lexsort((other, np.where(exact, 2.0, 0.0) + iou))
        best = np.full(len(open_boxes), -1)
        best[row[order]] = order
        for number in np.flatnonzero(best >= 0).tolist():
            pair = best[number]
            if exact[pair] or iou[pair] >= FOUND_AGAIN:
                found[open_boxes[number]] = int(other[pair])
                self.matched_by_geometry += int(not exact[pair])
        return found

    def note_verdict(self, answer: Answer) -> None:
        """Enters what an answer says of single candidates; better answers come first."""
        if answer.verdict not in (Verdict.VALID, Verdict.INVALID):
            return
        value = 1 if answer.verdict is Verdict.VALID else -1
        lost, clash = [], None
        for box in answer.boxes:
            row = self._found.get(box)
            if row is None:
                lost.append(box)
            elif self._verdict[row] == -value:
                clash = clash or (box, self._why[row])
            else:
                self._verdict[row] = value
                self._why.setdefault(row, answer)
        self._reports.lost(answer, lost)
        if clash:
            self._reports.clash(answer, clash[1], f"about the box in frame {clash[0].frame + 1}")

    def add(self, answer: Answer) -> None:
        """Enters what an answer says of objects; better answers come first."""
        if answer.verdict in (Verdict.VALID, Verdict.INVALID, Verdict.COMPLETE):
            return
        boxes = list(answer.boxes)
        if answer.verdict in _OF_TIME and (answer.object or len(boxes) > 1):
            boxes = boxes[:-1]  # the last only tells the frame
        rows = [self._found.get(box) for box in boxes]
        lost = [box for box, row in zip(boxes, rows, strict=True) if row is None]
        self._reports.lost(answer, lost)
        known = ([self._name_row[answer.object]] if answer.object else []) + [row for row in rows if row is not None]
        if lost and (len(known) < 2 or (answer.verdict is Verdict.DIFFERENT and rows[0] is None)):
            return
        if answer.verdict is Verdict.SAME:
            self._chain(known, answer)
        elif answer.verdict is Verdict.DIFFERENT:
            for row in known[1:]:
                self._part(known[0], row, answer)
        elif answer.verdict is Verdict.BOX and answer.drawn is not None:
            self._join(known[0], self._drawn_row[answer.drawn, answer.object], answer)
            if answer.label is not None:
                self._name_class(known[0], answer)
        elif answer.verdict is Verdict.CLASS:
            self._name_class(known[0], answer)
        elif known:
            limit = answer.boxes[-1].frame
            anchor = self._frame_of(known[0])
            self._claims[known[0]].append(Claim(answer, limit, limit if anchor is None else anchor))
            self._maker.setdefault(known[0], answer)

    def _chain(self, known: Sequence[Row], answer: Answer) -> None:
        """Joins boxes in the order of time, so that where they are parted they are two objects and not crumbs."""
        ordered = sorted(known, key=lambda row: (-1 if (f := self._frame_of(row)) is None else f, row))
        last = ordered[0]
        for row in ordered[1:]:
            refused = next((r for r in (last, row) if self._refuses(r, answer)), None)
            if refused is not None:
                last = row if refused == last else last
            elif self._join(last, row, answer) or self._root(row) in self._apart[self._root(last)]:
                last = row

    def _root(self, row: Row) -> Row:
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def _rows_of(self, root: Row) -> dict[tuple[bool, int], Row]:
        if root not in self._rows:
            frame = self._frame_of(root)
            self._rows[root] = {} if frame is None else {(root < self._count, frame): root}
        return self._rows[root]

    def _frame_of(self, row: Row) -> int | None:
        if row < self._count:
            return int(self._candidates.frame[row])
        return self._drawn[row - self._count].frame if row < self._count + len(self._drawn) else None

    def _refuses(self, row: Row, answer: Answer) -> bool:
        """Whether a better answer said that the candidate is no object; a worse one that said so gives way."""
        if row >= len(self._verdict) or self._verdict[row] >= 0:
            return False
        other, about = self._why[row], f"about the box in frame {(self._frame_of(row) or 0) + 1}"
        if self._rank[id(answer)] > self._rank[id(other)]:
            self._reports.clash(answer, other, about)
            return True
        self._verdict[row] = 0
        self._reports.clash(other, answer, about)
        return False

    def _join(self, one: Row, two: Row, answer: Answer) -> bool:
        """Makes two rows one object, unless that contradicts what holds already."""
        if self._refuses(one, answer) or self._refuses(two, answer):
            return False
        a, b = self._root(one), self._root(two)
        if a != b:
            if b in self._apart[a]:
                self._reports.clash(answer, self._apart[a][b], "whether two boxes are one object")
                return False
            rows_a, rows_b = self._rows_of(a), self._rows_of(b)
            less, more = sorted((rows_a, rows_b), key=len)
            double = next((key for key in less if key in more), None)
            if double is not None:
                makers = [self._maker.get(rows[double]) for rows in (more, less)]
                other = next((maker for maker in makers if maker is not None and maker is not answer), None)
                self._reports.clash(answer, other, f"an object would have two boxes in frame {double[1] + 1}")
                return False
            self._merge(a, b, answer)
        for row in (one, two):
            self._maker.setdefault(row, answer)
        return True

    def _merge(self, a: Row, b: Row, answer: Answer) -> None:
        if len(self._rows_of(a)) < len(self._rows_of(b)):
            a, b = b, a
        self._parent[b] = a
        self._rows[a].update(self._rows.pop(b))
        for other, why in self._apart.pop(b, {}).items():
            self._apart[a].setdefault(other, why)
            self._apart[other].pop(b, None)
            self._apart[other].setdefault(a, why)
        classes = sorted(
            (self._class.pop(root) for root in (a, b) if root in self._class),
            key=lambda entry: self._rank[id(entry[1])],
        )
        if classes:
            self._class[a] = classes[0]
        if len(classes) == 2 and classes[0][0] != classes[1][0]:
            self._reports.clash(classes[1][1], classes[0][1], "about the class")

    def _part(self, one: Row, two: Row, answer: Answer) -> None:
        a, b = self._root(one), self._root(two)
        if a == b:
            other = self._maker.get(two) or self._maker.get(one)
            self._reports.clash(answer, None if one == two else other, "whether two boxes are one object")
            return
        self._apart[a].setdefault(b, answer)
        self._apart[b].setdefault(a, answer)

    def _name_class(self, row: Row, answer: Answer) -> None:
        index = self._classes.get(answer.label)
        if index is None:
            self._reports.no_class(answer, self._classes)
            return
        root = self._root(row)
        if root in self._class and self._class[root][0] != index:
            self._reports.clash(answer, self._class[root][1], "about the class")
            return
        self._class.setdefault(root, (index, answer))

    def adopt_candidates(self) -> None:
        """Takes the candidate under a drawn box for the same detection, where nobody has said anything else."""
        if not self._drawn or not self._count:
            return
        frame = np.array([box.frame for box in self._drawn])
        xyxy = np.array([box.xyxy for box in self._drawn])
        drawn, row, iou = overlapping(frame, xyxy, self._candidates.frame, self._candidates.xyxy, DRAWN_ON)
        for pair in np.lexsort((row, drawn, -iou)).tolist():
            candidate, own = int(row[pair]), self._count + int(drawn[pair])
            free = candidate not in self._maker and self._verdict[candidate] >= 0
            root, other = self._root(own), self._root(candidate)
            key = (True, int(self._candidates.frame[candidate]))
            if free and own in self._maker and key not in self._rows_of(root) and other not in self._apart[root]:
                self._merge(root, other, self._maker[own])
                self._maker[candidate] = self._maker[own]

    def constraints(self) -> Constraints:
        """Everything that holds, as columns."""
        found = self._all_stretches()
        in_object = {row for one in found.values() for stretch in one.stretches for row in stretch.rows}
        used = [n for n in range(len(self._drawn)) if self._count + n in in_object]
        place = {self._count + n: self._count + position for position, n in enumerate(used)}
        number = self._count + len(used)
        objects, stretches = np.full(number, -1, np.int64), np.full(number, -1, np.int64)
        earliest, latest = np.full(number, -EVER), np.full(number, EVER)
        classes = np.full(number, -1, np.int64)
        heads: dict[Row, list[int]] = {}  # root -> a row of each of its stretches
        absent: list[tuple[int, int]] = []
        total = 0
        for root, one in found.items():
            heads[root] = [place.get(stretch.rows[0], stretch.rows[0]) for stretch in one.stretches]
            absent += [(heads[root][0], frame) for frame in one.empty]
            for stretch in one.stretches:
                rows = [place.get(row, row) for row in stretch.rows]
                objects[rows], stretches[rows] = len(heads) - 1, total
                earliest[rows], latest[rows] = stretch.earliest, stretch.latest
                classes[rows] = self._class[root][0] if root in self._class else -1
                total += 1
        pairs = {
            (min(one, two), max(one, two))
            for a, b in {(a, b) for a, others in self._apart.items() for b in others} | self._implied_apart(found)
            for one in heads.get(a, [a] if a < self._count else [])
            for two in heads.get(b, [b] if b < self._count else [])
        }
        boxes, said = [self._drawn[n] for n in used], self._verdict[: self._count]
        verdict = np.where((objects[: self._count] >= 0) & (said < 0), 0, said).astype(np.int8)
        return Constraints(
            verdict, objects, stretches, np.array(sorted(pairs), np.int64).reshape(-1, 2), earliest, latest, classes,
            np.array([b.frame for b in boxes], np.int64), np.array([b.xyxy for b in boxes], np.float32).reshape(-1, 4),
            np.array(sorted(absent), np.int64).reshape(-1, 2),
        )  # fmt: skip

    def _implied_apart(self, found: Mapping[Row, Stretches]) -> set[tuple[Row, Row]]:
        """Roots of objects that are two because both are in one frame, or because one is where the other is not.

        Of candidates of one class in one frame no model needs to be told.
        """
        at: dict[int, dict[Row, set[int]]] = defaultdict(dict)  # frame -> root -> classes of its boxes, -1 for drawn
        for root, one in found.items():
            for row in (row for stretch in one.stretches for row in stretch.rows):
                kind = int(self._candidates.class_index[row]) if row < self._count else -1
                at[self._frame_of(row) or 0].setdefault(root, set()).add(kind)
        out = set()
        for there in at.values():
            kinds = set().union(*there.values())
            if len(kinds) > 1 or -1 in kinds:
                out |= {(a, b) for a, b in combinations(there, 2) if len(there[a] | there[b]) > 1 or -1 in there[a]}
        objects = np.flatnonzero(self._verdict[: self._count] > 0)
        frames = self._candidates.frame[objects]  # ascending, as candidates are
        for row, frame, kind in zip(objects.tolist(), frames, self._candidates.class_index[objects], strict=True):
            others = at.get(int(frame), {}).items()
            out |= {(root, self._root(row)) for root, kinds in others if root != self._root(row) and kinds - {-1, kind}}
        for root, one in found.items():
            for frame in one.empty:
                valid = objects[np.searchsorted(frames, frame) : np.searchsorted(frames, frame, "right")].tolist()
                out |= {(root, other) for other in (*at.get(frame, ()), *map(self._root, valid)) if other != root}
        return out

    def _all_stretches(self) -> dict[Row, Stretches]:
        """Stretches of every object, by root in the order of its first row."""
        claims: dict[Row, list[Claim]] = defaultdict(list)
        for row, own in self._claims.items():
            claims[self._root(row)] += own
        roots = {self._root(row) for row in self._maker} | set(self._class)
        out: dict[Row, Stretches] = {}
        for root in sorted(roots, key=lambda r: min(self._rows_of(r).values(), default=r)):
            rows = {row: frame for (_, frame), row in self._rows_of(root).items()}
            if not rows:
                continue  # an object that has a name, and no box
            own = sorted(claims[root], key=lambda claim: self._rank[id(claim.answer)])
            out[root] = find_stretches(rows, own, self._maker, self._rank, self._reports.clash)
        return {root: found for root, found in out.items() if found.stretches}
