"""A person in simulation: answers questions from ground truth, pays for every click, and errs now and then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Source, Tracks
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
        return ask[query.question](query, view, covered, wrong)

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

    def _look(self, query: Query, view: View, wrong: bool) -> tuple[int, Reply | None]:
        """The object of the track that is asked about, and what the person says if it is not one object all the way."""
        boxes = _track_boxes(query, view)
        names = self._objects(boxes)
        cut = None if wrong else self._change(names)
        if cut is not None:
            # another object from here on: the person points at the change
            return -1, Reply((self._say(Verdict.DIFFERENT, query, (boxes[cut[0]], boxes[cut[1]])),), 1)
        name = self._main(names)
        return (name, None) if name >= 0 else (self._object(query.boxes[:1]), None)

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

    def _valid(self, query: Query, view: View, covered: NDArray[np.int64], wrong: bool) -> Reply:
        names = self._objects(query.boxes)
        name = self._main(names)
        if wrong:
            verdict = Verdict.INVALID if name >= 0 else Verdict.VALID
            return Reply((self._say(verdict, query, query.boxes),), 1)
        if name < 0:
            return Reply((self._say(Verdict.INVALID, query, query.boxes),), 1)
        double = self._seen_double(name, query, view, covered)
        mixed = self._look(query, view, wrong)[1]
        if mixed is not None or double is not None:
            return mixed or double
        # a few boxes that sit on somebody else are not meant
        boxes = [box for box, on in zip(query.boxes, names.tolist(), strict=True) if on in (-1, name)]
        said = [self._say(Verdict.VALID, query, boxes)]
        if len(boxes) > 1:
            said.append(self._say(Verdict.SAME, query, boxes))
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

    def _link(self, query: Query, view: View, covered: NDArray[np.int64], wrong: bool) -> Reply:
        one, two = self._around(query.boxes[-1], view), self._around(query.others[0], view)
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

    def _box(self, query: Query, view: View, covered: NDArray[np.int64], wrong: bool) -> Reply:
        name, mixed = self._look(query, view, wrong)
        if mixed is not None:
            return mixed
        if name < 0:
            return self._reject(query, view)
        double = None if wrong else self._seen_double(name, query, view, covered)
        if double is not None:
            return double
        row = self._row_at(name, query.frame)
        of = self._nearest(_track_boxes(query, view), name, query.frame)
        if of is None:
            return self._reject(query, view)
        if row < 0:
            if of.frame == query.frame:
                return Reply((self._say(Verdict.INVALID, query, (of,)),), 1)
            return Reply((self._say(Verdict.ABSENT, query, (of, Box(query.frame, of.xyxy))),), 1)
        return Reply((self._say(Verdict.BOX, query, (of,), drawn=self._true_box(row, wrong)),), 2)

    def _reject(self, query: Query, view: View) -> Reply:
        """The track in front of the person is no object."""
        rows = np.flatnonzero((view.tracks.track_index == query.track) & (view.tracks.candidate_index >= 0))
        boxes = [_candidate(view, row) for row in rows]
        # only what is on no object: a track may be right elsewhere
        boxes = [box for box in boxes if self._object([box]) < 0] or list(query.boxes[:1])
        return Reply((self._say(Verdict.INVALID, query, boxes),), 1)

    def _end(self, query: Query, view: View, covered: NDArray[np.int64], wrong: bool) -> Reply:
        """Where the object appears first, or is seen last, without leaving the stretch in which it is seen."""
        early = query.question is Question.START
        asked = query.boxes[0]
        name, mixed = self._look(query, view, wrong)
        if mixed is not None:
            return mixed
        if name < 0:
            return self._reject(query, view)
        row = self._limit(name, asked.frame, early)
        if wrong:
            row = self._limit(name, asked.frame, not early)
        double = None if wrong else self._seen_double(name, query, view, covered)
        if double is not None:
            return double
        verdict = Verdict.STARTS if early else Verdict.ENDS
        limit = int(self._frame[row])
        if abs(limit - asked.frame) <= NEAR_ENOUGH and self._fits(asked, name):
            return Reply((self._say(verdict, query, (asked, asked)),), 1)
        boxes = [box for box in _track_boxes(query, view) if (box.frame >= limit if early else box.frame <= limit)]
        of = self._nearest(boxes, name, asked.frame)
        if of is None:
            return self._reject(query, view)
        drawn = self._true_box(row, False)
        said = (self._say(Verdict.BOX, query, (of,), drawn=drawn), self._say(verdict, query, (of, drawn)))
        return Reply(said, 2)

    def _seen_double(self, name: int, query: Query, view: View, covered: NDArray[np.int64]) -> Reply | None:
        """What the person says who sees that the object has another track already; None if it has none near by.

        Where both tracks lie on the object, the one that is asked about is deleted; where the other ends before this
        one, or begins behind it, they are joined.
        """
        mine = np.flatnonzero(self._id == name)
        others = mine[(covered[mine] >= 0) & (covered[mine] != query.track)]
        if not len(others) or query.track < 0:
            return None
        tracks = view.tracks
        rows = np.flatnonzero((tracks.track_index == query.track) & (tracks.candidate_index >= 0))
        elsewhere = np.isin(tracks.track_index, np.unique(covered[others])) & (tracks.source != Source.INTERPOLATED)
        doubled = np.isin(tracks.frame[rows], tracks.frame[elsewhere])
        if 2 * doubled.sum() >= len(rows) > 0:
            boxes = [_candidate(view, row) for row in rows[doubled]]
            boxes = [box for box in boxes if self._object([box]) in (-1, name)]
            return Reply((self._say(Verdict.INVALID, query, boxes),), 1) if boxes else None
        asked = query.boxes[0].frame
        early = query.question is Question.START
        beyond = others[self._frame[others] < asked] if early else others[self._frame[others] > asked]
        if not len(beyond) or query.question not in (Question.START, Question.END):
            return None
        nearest = beyond[-1] if early else beyond[0]
        other = np.flatnonzero((tracks.track_index == covered[nearest]) & (tracks.candidate_index >= 0))
        other = other[(tracks.frame[other] < asked) if early else (tracks.frame[other] > asked)]
        known = self._nearest([_candidate(view, row) for row in other], name, int(self._frame[nearest]))
        here = self._nearest(_track_boxes(query, view), name, asked)
        if known is None or here is None or known.frame == here.frame:
            return None
        return Reply((self._say(Verdict.SAME, query, (known, here)),), 1)

    def _around(self, box: Box, view: View) -> int:
        """The object of the tracklet that a candidate is in, near to it."""
        here = np.flatnonzero(view.candidates.frame == box.frame)
        off = np.abs(view.candidates.xyxy[here] - np.array(box.xyxy)).max(1, initial=0.0)
        row = int(here[off.argmin()]) if len(here) else -1
        chain = view.beliefs.chain[row] if row >= 0 else -1
        if chain < 0:
            return self._object([box])
        rows = np.flatnonzero(view.beliefs.chain == chain)
        rows = rows[np.argsort(np.abs(view.candidates.frame[rows] - box.frame), kind="stable")[:5]]
        own = self._object([box])
        near = [Box(int(view.candidates.frame[r]), tuple(view.candidates.xyxy[r].astype(float).tolist())) for r in rows]
        return own if own >= 0 else self._object(near)

    def _nearest(self, boxes: Sequence[Box], name: int, frame: int) -> Box | None:
        """Of the boxes that are on an object, the one nearest to a frame."""
        if not len(boxes):
            return None
        own = [box for box, found in zip(boxes, self._objects(boxes).tolist(), strict=True) if found == name]
        return min(own, key=lambda box: (abs(box.frame - frame), box.frame), default=None)

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
        said = [
            self._say(Verdict.BOX, query, object=new, drawn=first),
            self._say(Verdict.STARTS, query, (first,), object=new),
        ]
        if last != first:
            said += [self._say(Verdict.BOX, query, object=new, drawn=last)]
        said += [self._say(Verdict.ENDS, query, (last,), object=new)]
        return Reply(tuple(said), 1 + 2 * (1 + (last != first)))


def _candidate(view: View, row: int) -> Box:
    """The candidate behind a row of the tracks."""
    candidate = int(view.tracks.candidate_index[row])
    return Box(int(view.candidates.frame[candidate]), tuple(view.candidates.xyxy[candidate].astype(float).tolist()))


def _track_boxes(query: Query, view: View) -> Sequence[Box]:
    """The candidates of the track that is asked about, in order; the query's own boxes if it is about none."""
    if query.track < 0:
        return query.boxes
    tracks = view.tracks
    rows = np.flatnonzero((tracks.track_index == query.track) & (tracks.candidate_index >= 0))
    return [_candidate(view, row) for row in rows.tolist()] or query.boxes
