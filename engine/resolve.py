"""From answers to constraints: every answer is found again among the candidates, and what cannot hold is reported.

The order in which answers came in does not matter. Of two that contradict each other the one that was given more often
holds, then the later one; the other stays on file and is reported with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Candidates, VideoInfo
from ..models.spam.constraints import EVER, Constraints
from ..models.spam.overlaps import overlapping
from .answers import Answer, Box, Verdict

FOUND_AGAIN = 0.5  # overlap from which a candidate of another set is the box that an answer names
SAME_PIXELS = 0.51  # pixels by which its sides may differ in the same set
DRAWN_ON = 0.6  # overlap from which a drawn box is the very candidate that nobody spoke of

_CLASHES = ("contradiction", "superseded")

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
        applied: answers that hold, in whole or in part.
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
    problems: list[Problem] = []
    inside = [answer for answer in ranked if not _report_outside(answer, info, problems)]
    world = _World(inside, info, candidates, class_names, problems)
    for answer in inside:
        world.note_verdict(answer)
    for answer in inside:
        world.add(answer)
    world.adopt_candidates()
    failed = {id(problem.answer) for problem in problems}
    return Resolution(
        world.constraints(), tuple(problems), sum(id(a) not in failed for a in ranked), world.matched_by_geometry
    )


def _statement(answer: Answer) -> tuple:
    return (answer.verdict, answer.boxes, answer.drawn, answer.object, answer.label)


def _report_outside(answer: Answer, info: VideoInfo, problems: list[Problem]) -> bool:
    frames = [box.frame for box in (*answer.boxes, *([answer.drawn] if answer.drawn else []))]
    if max(frames, default=0) < info.num_frames:
        return False
    text = f"{_who(answer)} names frame {max(frames) + 1}, but the video has {info.num_frames} frames"
    problems.append(Problem("outside", answer, None, f"video {info.name!r}: {text}; it is kept, but not used"))
    return True


def _who(answer: Answer) -> str:
    return f"answer {answer.verdict.value!r} of {answer.source or 'somebody'}"


class _World:
    """Objects as the answers make them: a forest of rows, their frames, spans and classes."""

    def __init__(
        self, answers: Sequence[Answer], info: VideoInfo, candidates: Candidates, class_names: Sequence[str | None],
        problems: list[Problem],
    ) -> None:  # fmt: skip
        self._info, self._candidates, self._problems = info, candidates, problems
        self._classes = {name: index for index, name in enumerate(class_names)}
        self._count = len(candidates)
        self._drawn: list[Box] = list(dict.fromkeys(a.drawn for a in answers if a.drawn is not None))
        # the same box drawn for two objects (a person hidden exactly behind another) is two rows, told apart by the
        # object it belongs to; so a drawn box is looked up together with what it was drawn for
        self._drawn_row = {box: self._count + n for n, box in enumerate(self._drawn)}
        names = list(dict.fromkeys(a.object for a in answers if a.object))
        self._name_row = {name: self._count + len(self._drawn) + n for n, name in enumerate(names)}
        size = self._count + len(self._drawn) + len(names)
        self._parent = list(range(size))
        self._members: dict[Row, list[Row]] = {}
        self._maker: dict[Row, Answer] = {}  # any answer that put a row into an object
        self._apart: dict[Row, dict[Row, Answer]] = defaultdict(dict)  # root -> root -> why
        self._apart_rows: list[tuple[Row, Row]] = []
        self._absent: list[tuple[Row, int]] = []
        self._first: dict[Row, tuple[int, Answer]] = {}
        self._last: dict[Row, tuple[int, Answer]] = {}
        self._class: dict[Row, tuple[int, Answer]] = {}
        self._verdict = np.zeros(self._count, np.int8)
        self._why: dict[Row, Answer] = {}
        self._rank = {id(answer): number for number, answer in enumerate(answers)}
        self.matched_by_geometry = 0
        self._found = self._locate(answers)

    def _locate(self, answers: Sequence[Answer]) -> dict[Box, Row]:
        """Row of every box that answers name and that is still there."""
        wanted = list(dict.fromkeys(box for answer in answers for box in answer.boxes))
        found = {box: self._drawn_row[box] for box in wanted if box in self._drawn_row}
        open_boxes = [box for box in wanted if box not in found]
        if not open_boxes or not self._count:
            return found
        frame = np.array([box.frame for box in open_boxes])
        xyxy = np.array([box.xyxy for box in open_boxes])
        row, other, iou = overlapping(frame, xyxy, self._candidates.frame, self._candidates.xyxy)
        exact = np.abs(xyxy[row] - self._candidates.xyxy[other]).max(1, initial=0.0) < SAME_PIXELS
        closeness = np.where(exact, 2.0, 0.0) + iou
        order = np.lexsort((other, closeness))
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
            if row is None or row >= self._count:
                lost.append(box)
            elif self._verdict[row] == -value:
                clash = clash or (box, self._why[row])
            else:
                self._verdict[row] = value
                self._why.setdefault(row, answer)
        self._report_lost(answer, lost)
        if clash:
            self._clash(answer, clash[1], f"about the box in frame {clash[0].frame + 1}")

    def add(self, answer: Answer) -> None:
        """Enters what an answer says of objects."""
        if answer.verdict in (Verdict.VALID, Verdict.INVALID, Verdict.COMPLETE):
            return
        rows = [self._found.get(box) for box in answer.boxes]
        lost = [box for box, row in zip(answer.boxes, rows, strict=True) if row is None]
        if answer.verdict in (Verdict.STARTS, Verdict.ENDS, Verdict.ABSENT) and (answer.object or len(rows) > 1):
            # the last only tells the frame
            rows, lost = rows[:-1], [box for box in lost if box is not answer.boxes[-1]]
        named = [self._name_row[answer.object]] if answer.object else []
        known = named + [row for row in rows if row is not None]
        if lost:
            self._report_lost(answer, lost)
            if answer.verdict not in (Verdict.SAME, Verdict.DIFFERENT) or len(known) < 2 or rows[0] is None:
                return
        if answer.verdict is Verdict.SAME:
            # what has a first or last frame already decides who of the others fits
            known.sort(key=lambda row: not (self._root(row) in self._first or self._root(row) in self._last))
            failed = [row for row in known[1:] if not self._join(known[0], row, answer)]
            for row in failed:  # whoever accepted a track whole and trimmed it later did not mean what was cut off
                why = self._why.get(row)
                if row < self._count and why is not None and answer.query and why.query == answer.query:
                    self._verdict[row] = 0
        elif answer.verdict is Verdict.DIFFERENT:
            for row in known[1:]:
                self._part(known[0], row, answer)
        elif answer.verdict is Verdict.BOX and answer.drawn is not None:
            self._join(known[0], self._drawn_row[answer.drawn], answer)
            if answer.label is not None:
                self._name_class(known[0], answer)
        elif answer.verdict is Verdict.CLASS:
            self._name_class(known[0], answer)
        elif answer.verdict is Verdict.ABSENT and known:
            self._leave(known[0], answer.boxes[-1].frame, answer)
        elif known:
            self._bound(known[0], answer.boxes[-1].frame, answer)

    def _root(self, row: Row) -> Row:
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def _rows_of(self, root: Row) -> list[Row]:
        return self._members.get(root, [root])

    def _frame_of(self, row: Row) -> int | None:
        if row < self._count:
            return int(self._candidates.frame[row])
        return self._drawn[row - self._count].frame if row < self._count + len(self._drawn) else None

    def _join(self, one: Row, two: Row, answer: Answer) -> bool:
        """Makes two rows one object, unless that contradicts what holds already."""
        for row in (one, two):
            if row < self._count and self._verdict[row] < 0:
                other = self._why[row]
                if self._rank[id(answer)] > self._rank[id(other)]:
                    return self._clash(answer, other, f"about the box in frame {self._frame_of(row) + 1}")  # type: ignore[operator]
                self._verdict[row] = 0
                self._clash(other, answer, f"about the box in frame {self._frame_of(row) + 1}")  # type: ignore[operator]
        a, b = self._root(one), self._root(two)
        if a == b:
            return True
        if b in self._apart[a]:
            return self._clash(answer, self._apart[a][b], "whether two boxes are one object")
        rows = self._rows_of(a) + self._rows_of(b)
        frames: dict[tuple[bool, int], Row] = {}
        for row in rows:
            frame = self._frame_of(row)
            if frame is None:
                continue
            key = (row < self._count, frame)
            if key in frames:
                other = next(
                    (self._maker[r] for r in (row, frames[key]) if r in self._maker and self._maker[r] is not answer),
                    None,
                )
                return self._clash(answer, other, f"an object would have two boxes in frame {frame + 1}")
            frames[key] = row
        spans = [f for _, f in frames]
        for bound, early in ((self._first, True), (self._last, False)):
            for root in (a, b):
                if root in bound and spans:
                    frame, other = bound[root]
                    if (min(spans) < frame) if early else (max(spans) > frame):
                        return self._clash(
                            answer, other, f"the object {'starts' if early else 'ends'} in frame {frame + 1}"
                        )
        self._maker.setdefault(one, answer)
        self._maker.setdefault(two, answer)
        self._merge(a, b, rows, answer)
        return True

    def _merge(self, a: Row, b: Row, rows: list[Row], answer: Answer) -> None:
        self._parent[b] = a
        self._members[a] = rows
        self._members.pop(b, None)
        for other, why in self._apart.pop(b, {}).items():
            self._apart[a].setdefault(other, why)
            self._apart[other].pop(b, None)
            self._apart[other].setdefault(a, why)
        for bound, pick in ((self._first, max), (self._last, min)):
            found = [bound.pop(root) for root in (a, b) if root in bound]
            if found:
                bound[a] = pick(found, key=lambda entry: entry[0])
        classes = [self._class.pop(root) for root in (a, b) if root in self._class]
        if classes:
            classes.sort(key=lambda entry: self._rank[id(entry[1])])
            self._class[a] = classes[0]
            if len(classes) == 2 and classes[0][0] != classes[1][0]:
                self._clash(classes[1][1], classes[0][1], "about the class")

    def _part(self, one: Row, two: Row, answer: Answer) -> None:
        a, b = self._root(one), self._root(two)
        if a == b:
            other = self._maker.get(two) or self._maker.get(one)
            self._clash(answer, other, "whether two boxes are one object")
            return
        self._apart[a].setdefault(b, answer)
        self._apart[b].setdefault(a, answer)
        self._apart_rows.append((one, two))

    def _bound(self, row: Row, frame: int, answer: Answer) -> None:
        root = self._root(row)
        early = answer.verdict is Verdict.STARTS
        bound, opposite = (self._first, self._last) if early else (self._last, self._first)
        word = "starts" if early else "ends"
        if root in bound:
            if bound[root][0] != frame:
                self._clash(
                    answer, bound[root][1], f"where the object {word}: in frame {bound[root][0] + 1} or {frame + 1}"
                )
            return
        frames = [(f, r) for r in self._rows_of(root) if (f := self._frame_of(r)) is not None]
        beyond = [r for f, r in frames if (f < frame if early else f > frame)]
        if beyond:
            other = next((self._maker[r] for r in beyond if r in self._maker), None)
            self._clash(answer, other, f"the object has boxes {'before' if early else 'after'} frame {frame + 1}")
            return
        if root in opposite and (opposite[root][0] < frame if early else opposite[root][0] > frame):
            self._clash(answer, opposite[root][1], f"the object would {word[:-1]} in frame {frame + 1}")
            return
        bound[root] = (frame, answer)

    def _leave(self, row: Row, frame: int, answer: Answer) -> None:
        there = [r for r in self._rows_of(self._root(row)) if self._frame_of(r) == frame]
        if there:
            other = next((self._maker[r] for r in there if r in self._maker), None)
            self._clash(answer, other, f"the object has a box in frame {frame + 1}")
            return
        self._absent.append((row, frame))

    def _name_class(self, row: Row, answer: Answer) -> None:
        index = self._classes.get(answer.label)
        if index is None:
            known = ", ".join(repr(name) for name in self._classes) or "none"
            text = f"{_who(answer)} names class {answer.label!r}, but the candidates have {known}"
            self._problems.append(Problem("lost", answer, None, f"video {self._info.name!r}: {text}"))
            return
        root = self._root(row)
        if root in self._class and self._class[root][0] != index:
            self._clash(answer, self._class[root][1], "about the class")
            return
        self._class.setdefault(root, (index, answer))

    def adopt_candidates(self) -> None:
        """Takes the candidate under a drawn box for the same detection, where nobody has said anything else."""
        if not self._drawn or not self._count:
            return
        frame = np.array([box.frame for box in self._drawn])
        xyxy = np.array([box.xyxy for box in self._drawn])
        drawn, row, iou = overlapping(frame, xyxy, self._candidates.frame, self._candidates.xyxy, DRAWN_ON)
        taken: set[Row] = {member for rows in self._members.values() for member in rows}
        for pair in np.lexsort((row, drawn, -iou)).tolist():
            candidate, own = int(row[pair]), self._count + int(drawn[pair])
            root = self._root(own)
            rows = self._rows_of(root)
            if candidate in taken or self._verdict[candidate] < 0 or own not in self._maker:
                continue
            if any(r < self._count and self._candidates.frame[r] == self._candidates.frame[candidate] for r in rows):
                continue
            if self._root(candidate) in self._apart[root]:
                continue
            taken.add(candidate)
            self._merge(root, self._root(candidate), [*rows, *self._rows_of(self._root(candidate))], self._maker[own])

    def constraints(self) -> Constraints:
        """Everything that holds, as columns."""
        used = [n for n in range(len(self._drawn)) if self._count + n in self._maker]
        number = self._count + len(used)
        place = {self._count + n: self._count + position for position, n in enumerate(used)}
        place |= {row: row for row in range(self._count)} if self._apart_rows or self._absent else {}
        objects = np.full(number, -1, np.int64)
        earliest, latest = np.full(number, -EVER), np.full(number, EVER)
        classes = np.full(number, -1, np.int64)
        roots = sorted({self._root(row) for row in [*self._members, *self._first, *self._last, *self._class]}, key=int)
        numbers = 0
        for root in roots:
            rows = [place.get(r, r) for r in self._rows_of(root) if r < self._count or r in place]
            if len(rows) > 1 or any(r >= self._count for r in rows):
                objects[rows] = numbers
                numbers += 1
            earliest[rows] = self._first[root][0] if root in self._first else -EVER
            latest[rows] = self._last[root][0] if root in self._last else EVER
            classes[rows] = self._class[root][0] if root in self._class else -1
        pairs = [(self._stand_in(a, place), self._stand_in(b, place)) for a, b in self._apart_rows]
        pairs = sorted({(min(p), max(p)) for p in pairs if None not in p and p[0] != p[1]})  # type: ignore[type-var]
        apart: NDArray[np.int64] = np.array(pairs, np.int64).reshape(-1, 2)
        gone = [(self._stand_in(row, place), frame) for row, frame in self._absent]
        absent: NDArray[np.int64] = np.array(sorted({g for g in gone if g[0] is not None}), np.int64).reshape(-1, 2)
        boxes = [self._drawn[n] for n in used]
        verdict = np.where((objects[: self._count] >= 0) & (self._verdict < 0), 0, self._verdict).astype(np.int8)
        return Constraints(
            verdict, objects, apart, earliest, latest, classes, np.array([b.frame for b in boxes], np.int64),
            np.array([b.xyxy for b in boxes], np.float32).reshape(-1, 4), absent,
        )  # fmt: skip

    def _stand_in(self, row: Row, place: dict[Row, Row]) -> int | None:
        """A row of the columns that is the same object."""
        rows = [place.get(r) for r in (row, *self._rows_of(self._root(row)))]
        return next((r for r in rows if r is not None), None)

    def _report_lost(self, answer: Answer, boxes: Sequence[Box]) -> None:
        if not boxes:
            return
        count = f"{len(boxes)} boxes, the first" if len(boxes) > 1 else "a box"
        text = (
            f"video {self._info.name!r}: {_who(answer)} is about {count} in frame {boxes[0].frame + 1} at "
            f"{[round(v, 1) for v in boxes[0].xyxy]}, where no candidate is any more; the answer is kept, and used again "
            "when one is"
        )
        self._problems.append(Problem("lost", answer, None, text))

    def _clash(self, answer: Answer, other: Answer | None, about: str) -> bool:
        if self._problems and self._problems[-1].answer is answer and self._problems[-1].kind in _CLASHES:
            return False  # once is enough
        corrected = other is not None and other.source == answer.source and other.when > answer.when
        holds = f"{_who(other)} holds" if other is not None else "it is not used"
        text = f"video {self._info.name!r}: {_who(answer)} cannot hold: {about}; {holds}"
        self._problems.append(Problem("superseded" if corrected else "contradiction", answer, other, text))
        return False
