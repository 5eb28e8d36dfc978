"""A person in simulation: answers questions from ground truth, pays for every click, and errs now and then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Tracks
from ..models.spam.overlaps import overlapping, paired_iou
from .answers import Answer, Box, Verdict
from .metrics import TruthTable
from .pool import View
from .queries import Query, Question

ON_OBJECT = 0.3  # overlap from which a person sees that a box is meant for an object, however badly it sits
FITS = 0.5  # overlap from which a box counts as the object's, as in the metrics
LONG_RUN = 3  # boxes in a row on another object that a person takes for a change of objects
NEAR_ENOUGH = 1  # frames by which a track may start or end beside the truth and still be accepted


@dataclass(frozen=True)
class Reply:
    """What a person said to one question.

    Attributes:
        answers: as they would be stored.
        clicks: what they cost.
    """

    answers: tuple[Answer, ...]
    clicks: int


class SimulatedAnnotator:
    """Answers about one video.

    Args:
        key: of the video.
        truth: boxes that count; no ignored ones.
        num_frames: of the video.
        error_rate: share of answers that are wrong.
        rng: for the errors.
    """

    def __init__(
        self, key: str, truth: TruthTable, num_frames: int, error_rate: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:  # fmt: skip
        self._key, self._length, self._error_rate = key, num_frames, error_rate
        self._rng = rng or np.random.default_rng(0)
        order = np.lexsort((truth.track_id, truth.frame))
        self._frame = np.asarray(truth.frame)[order]
        self._id = np.unique(np.asarray(truth.track_id)[order], return_inverse=True)[1]
        self._xyxy = np.asarray(truth.xyxy, np.float64)[order]
        self._names = 0
        self._known: dict[int, Box] = {}
        self._asked = 0
        self.errors = 0

    def answer(self, query: Query, view: View, covered: NDArray[np.int64]) -> Reply:
        """What the person says.

        Args:
            query: the question.
            view: the labels that the person sees.
            covered: of ``covered_by``, with these labels.
        """
        self._asked += 1
        wrong = bool(self._rng.random() < self._error_rate)
        self.errors += wrong
        ask = {
            Question.VALID: self._valid, Question.LINK: self._link, Question.BOX: self._box,
            Question.START: self._end, Question.END: self._end,
        }  # fmt: skip
        if query.question is Question.MISSING:
            return self._missing(query, view, covered)
        return ask[query.question](query, view, wrong)

    def covered_by(self, tracks: Tracks) -> NDArray[np.int64]:
        """(G,) the track that each true box is matched to, or -1."""
        out = np.full(len(self._frame), -1)
        row, other, iou = overlapping(self._frame, self._xyxy, tracks.frame, tracks.xyxy, FITS)
        order = np.argsort(iou, kind="stable")
        out[row[order]] = tracks.track_index[other[order]]
        return out

    def _objects(self, boxes: Sequence[Box]) -> NDArray[np.int64]:
        """(n,) the object that each box is on, or -1."""
        frame = np.array([box.frame for box in boxes])
        xyxy = np.array([box.xyxy for box in boxes], np.float64)
        row, other, iou = overlapping(frame, xyxy, self._frame, self._xyxy, ON_OBJECT)
        best = np.full(len(boxes), -1)
        order = np.argsort(iou, kind="stable")
        best[row[order]] = self._id[other[order]]
        return best

    @staticmethod
    def _main(names: NDArray[np.int64]) -> int:
        """The object that most of the boxes are on; -1 if most are on none."""
        found, count = np.unique(names[names >= 0], return_counts=True)
        if not len(found) or 2 * count.sum() < len(names):
            return -1
        return int(found[count.argmax()])

    def _object(self, boxes: Sequence[Box]) -> int:
        return self._main(self._objects(boxes))

    def _of_track(self, query: Query, view: View) -> int:
        """The object of the query's track around its box: of the box itself, else of the nearest boxes of the track."""
        first = self._object(query.boxes[:1])
        if first >= 0 or query.track < 0:
            return first
        rows = np.flatnonzero(view.tracks.track_index == query.track)
        near = rows[np.argsort(np.abs(view.tracks.frame[rows] - query.frame), kind="stable")[:15]]
        boxes = [Box(int(view.tracks.frame[r]), tuple(view.tracks.xyxy[r].astype(float).tolist())) for r in near]
        return self._object(boxes)

    def _say(self, verdict: Verdict, query: Query, boxes: Sequence[Box] = (), **rest: object) -> Answer:
        return Answer(
            self._key,
            verdict,
            tuple(boxes),
            query=query.key,
            believed=query.probability if query.question in (Question.VALID, Question.LINK) else None,
            source="simulated",
            when=float(self._asked),
            **rest,  # type: ignore[arg-type]
        )

    def _valid(self, query: Query, view: View, wrong: bool) -> Reply:
        names = self._objects(query.boxes)
        name = self._main(names)
        if wrong:
            verdict = Verdict.INVALID if name >= 0 else Verdict.VALID
            return Reply((self._say(verdict, query, query.boxes),), 1)
        if name < 0:
            return Reply((self._say(Verdict.INVALID, query, query.boxes),), 1)
        cut = self._change(names)
        if cut is not None:
            # another object from here on: the person points at the change
            return Reply((self._say(Verdict.DIFFERENT, query, (query.boxes[cut[0]], query.boxes[cut[1]])),), 1)
        said = [self._say(Verdict.VALID, query, query.boxes)]
        if len(query.boxes) > 1:
            said.append(self._say(Verdict.SAME, query, query.boxes))
        return Reply(tuple(said), 1)

    @staticmethod
    def _change(names: NDArray[np.int64]) -> tuple[int, int] | None:
        """The boxes between which a track goes over from one object to another, each seen in a few boxes; or None."""
        rows = np.flatnonzero(names >= 0)
        runs = np.split(rows, np.flatnonzero(np.diff(names[rows])) + 1)
        long = [run for run in runs if len(run) >= LONG_RUN]
        for one, two in zip(long[:-1], long[1:], strict=True):
            if names[one[0]] != names[two[0]]:
                return int(one[-1]), int(two[0])
        return None

    def _link(self, query: Query, view: View, wrong: bool) -> Reply:
        one, two = self._object(query.boxes[-1:]), self._object(query.others[:1])
        if one < 0 and two < 0 and not wrong:
            # neither is on an object: the person sees nothing that could go on, and rejects what is in front of them
            return Reply((self._say(Verdict.INVALID, query, (query.boxes[-1], query.others[0])),), 1)
        same = (one >= 0 and one == two) != wrong
        boxes = (query.boxes[-1], query.others[0])
        return Reply((self._say(Verdict.SAME if same else Verdict.DIFFERENT, query, boxes),), 1)

    def _row_at(self, name: int, frame: int) -> int:
        rows = np.flatnonzero((self._id == name) & (self._frame == frame))
        return int(rows[0]) if len(rows) else -1

    def _true_box(self, row: int, wrong: bool) -> Box:
        xyxy = self._xyxy[row]
        if wrong:  # a box that is a third of its size beside the object
            side = xyxy[2:] - xyxy[:2]
            xyxy = xyxy + np.tile(side * self._rng.choice([-0.33, 0.33], 2), 2)
        return Box(int(self._frame[row]), tuple(xyxy.tolist()))

    def _box(self, query: Query, view: View, wrong: bool) -> Reply:
        name = self._of_track(query, view)
        if name < 0:
            return self._reject(query, view)
        row = self._row_at(name, query.frame)
        if row < 0:
            place = Box(query.frame, query.boxes[0].xyxy)
            if query.boxes[0].frame == query.frame:
                return Reply((self._say(Verdict.INVALID, query, query.boxes[:1]),), 1)
            return Reply((self._say(Verdict.ABSENT, query, (query.boxes[0], place)),), 1)
        return Reply((self._say(Verdict.BOX, query, query.boxes[:1], drawn=self._true_box(row, wrong)),), 2)

    def _reject(self, query: Query, view: View) -> Reply:
        """The track in front of the person is no object."""
        rows = np.flatnonzero((view.tracks.track_index == query.track) & (view.tracks.candidate_index >= 0))
        candidates = view.tracks.candidate_index[rows]
        boxes = [
            Box(int(view.candidates.frame[r]), tuple(view.candidates.xyxy[r].astype(float).tolist()))
            for r in candidates
        ]
        # only what is on no object: a track may be right elsewhere
        boxes = [box for box in boxes if self._object([box]) < 0] or list(query.boxes[:1])
        return Reply((self._say(Verdict.INVALID, query, boxes),), 1)

    def _end(self, query: Query, view: View, wrong: bool) -> Reply:
        """Where the object appears first, or is seen last, without leaving the stretch in which it is seen."""
        early = query.question is Question.START
        asked = query.boxes[0]
        name = self._of_track(query, view)
        if name < 0:
            return self._reject(query, view)
        row = self._limit(name, asked.frame, early)
        if wrong:
            row = self._limit(name, asked.frame, not early)
        known = self._known_elsewhere(name, query, view)
        if known is not None and not wrong:
            return Reply((self._say(Verdict.SAME, query, (known, asked)),), 1)
        verdict = Verdict.STARTS if early else Verdict.ENDS
        if abs(int(self._frame[row]) - asked.frame) <= NEAR_ENOUGH and self._fits(asked, name):
            return Reply((self._say(verdict, query, (asked, asked)),), 1)
        drawn = self._true_box(row, False)
        said = (self._say(Verdict.BOX, query, (asked,), drawn=drawn), self._say(verdict, query, (asked, drawn)))
        return Reply(said, 2)

    def _known_elsewhere(self, name: int, query: Query, view: View) -> Box | None:
        """A box by which the person knows the same object already, if the labels show it as another track."""
        before = self._known.setdefault(name, query.boxes[0])
        if before == query.boxes[0]:
            return None
        here, there = _track_at(view, query.boxes[0]), _track_at(view, before)
        return before if there >= 0 and here >= 0 and here != there else None

    def _fits(self, box: Box, name: int) -> bool:
        row = self._row_at(name, box.frame)
        return row >= 0 and float(paired_iou(np.array([box.xyxy]), self._xyxy[row : row + 1])[0]) >= FITS

    def _limit(self, name: int, frame: int, early: bool) -> int:
        """Row of the first (or last) box of the stretch around a frame in which an object is seen without a break."""
        rows = np.flatnonzero(self._id == name)
        frames = self._frame[rows]
        stretch = np.cumsum(np.diff(frames, prepend=frames[0]) > 1)
        here = stretch[np.abs(frames - frame).argmin()]
        own = rows[stretch == here]
        return int(own[0] if early else own[-1])

    def _missing(self, query: Query, view: View, covered: NDArray[np.int64]) -> Reply:
        """Draws the object of this frame that lacks a box and is seen longest, or says that there is none."""
        here = np.flatnonzero((self._frame == query.frame) & (covered < 0))
        if not len(here):
            whole = Box(query.frame, (0.0, 0.0, float(view.info.width), float(view.info.height)))
            return Reply((self._say(Verdict.COMPLETE, query, (whole,)),), 1)
        lacking = np.array([int(((self._id == self._id[row]) & (covered < 0)).sum()) for row in here])
        row = int(here[lacking.argmax()])
        name = int(self._id[row])
        own = covered[(self._id == name) & (covered >= 0)]
        tracks, count = np.unique(own, return_counts=True)
        if len(own) and count.max() > 3:
            # it has a track, which only lacks this frame: the person draws the box and says whose it is
            track = int(tracks[count.argmax()])
            rows = np.flatnonzero((view.tracks.track_index == track) & (view.tracks.candidate_index >= 0))
            if len(rows):
                near = rows[np.abs(view.tracks.frame[rows] - query.frame).argmin()]
                candidate = int(view.tracks.candidate_index[near])
                xyxy = view.candidates.xyxy[candidate].astype(float).tolist()
                of = Box(int(view.candidates.frame[candidate]), tuple(xyxy))
                if self._object([of]) == name and of.frame != query.frame:
                    return Reply((self._say(Verdict.BOX, query, (of,), drawn=self._true_box(row, False)),), 3)
        self._names += 1
        new = f"{self._key}/{query.key[:8]}/{self._names}"
        first, last = (self._true_box(self._limit(name, query.frame, early), False) for early in (True, False))
        self._known.setdefault(name, first)
        said = [
            self._say(Verdict.BOX, query, object=new, drawn=first),
            self._say(Verdict.STARTS, query, (first,), object=new),
        ]
        if last != first:
            said += [self._say(Verdict.BOX, query, object=new, drawn=last)]
        said += [self._say(Verdict.ENDS, query, (last,), object=new)]
        return Reply(tuple(said), 1 + 2 * (1 + (last != first)))


def _track_at(view: View, box: Box) -> int:
    """The label's track that holds a candidate or a drawn box, or -1."""
    tracks = view.tracks
    rows = np.flatnonzero(tracks.frame == box.frame)
    candidate = tracks.candidate_index[rows]
    own = np.where((candidate >= 0)[:, None], view.candidates.xyxy[candidate], tracks.xyxy[rows])
    for table in (own, tracks.xyxy[rows]):
        same = np.flatnonzero(np.abs(table - np.array(box.xyxy)).max(1, initial=0.0) < 0.01)
        if len(same):
            return int(tracks.track_index[rows[same[0]]])
    return -1
