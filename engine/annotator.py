"""A person in simulation: answers questions from ground truth, pays for every click, and errs now and then.

The person sees the labels as they were when the round began, and what they have done to them since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Source
from .anchors import anchor_row, observed, reference_box
from .answers import Answer, Box, Verdict
from .metrics import TruthTable
from .pool import View
from .queries import Query, Question, teaches
from .sight import FITS, ON_OBJECT, Reading, Truth, follow

NEAR_ENOUGH = 1  # frames by which a track may start or end beside the truth and still be accepted
ASTRAY = 5  # boxes in a row that a person cuts off as lying on nothing, if they are
ASTRAY_SHARE = 0.2  # this much of their track
ASIDE = 0.33  # sizes by which a person who errs draws beside the object


@dataclass(frozen=True)
class Reply:
    """What a person said to one question.

    Attributes:
        answers: as they would be stored.
        clicks: what they cost.
    """

    answers: tuple[Answer, ...] = ()
    clicks: int = 0


class Sight:
    """What a person sees of the labels of one video, and remembers to have changed in them.

    Args:
        truth: what is really there.
        view: the labels.
        drawn_for: object of every box that the person drew before.

    Attributes:
        name: (M,) int64, object that every box of the labels is meant for, or -1.
        on: (M,) bool, whether the box lies on it.
        fits: (M,) bool, whether it would count as the object's box.
        track_on: (G,) int64, track that has a box on each true box, -1 for none; drawn ones have numbers beyond.
        moot: tracks that were taken apart or rejected, of which nothing more is asked in this round.
    """

    def __init__(self, truth: Truth, view: View, drawn_for: Mapping[Box, int]) -> None:
        tracks = view.tracks
        self.truth, self.view = truth, view
        known = np.full(len(tracks), -1)
        for row in np.flatnonzero(tracks.source == Source.HUMAN).tolist():
            known[row] = drawn_for.get(self.box(row), -1)
        reading = follow(truth, tracks.track_index, tracks.frame, tracks.xyxy.astype(np.float64), known)
        self.name, self.on, self.fits = reading.name, reading.overlap >= ON_OBJECT, reading.overlap >= FITS
        self._order = np.lexsort((tracks.frame, tracks.track_index))
        self._start = np.searchsorted(tracks.track_index[self._order], np.arange(tracks.num_tracks + 1))
        self.true_row = truth.rows_at(np.where(self.on, self.name, -1), tracks.frame)
        self.track_on = np.full(len(truth), -1)
        best = np.argsort(reading.overlap, kind="stable")
        best = best[self.true_row[best] >= 0]
        self.track_on[self.true_row[best]] = tracks.track_index[best]
        self.moot: set[int] = set()
        self._drawn: list[Box] = []  # of objects that were drawn in this round

    def rows(self, track: int) -> NDArray[np.int64]:
        """Rows of a track, by frame."""
        return self._order[self._start[track] : self._start[track + 1]]

    def observed(self, track: int) -> NDArray[np.int64]:
        """Rows of a track, by frame, that are more than filled in."""
        return observed(self.view.tracks, self.rows(track))

    def box(self, row: int) -> Box:
        """How an answer names the box of a row."""
        return reference_box(self.view, int(row))

    def doubled(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) bool: rows of one track on an object that another track covers better in the same frame."""
        there = self.true_row[rows]
        of = self.track_on[np.maximum(there, 0)]
        return (there >= 0) & (of != self.view.tracks.track_index[rows])

    def cover(self, rows: NDArray[np.int64], track: int) -> None:
        """Remembers that a track covers true boxes."""
        self.track_on[rows] = track

    def cover_new(self, rows: NDArray[np.int64], box: Box) -> None:
        """Remembers an object that was drawn, or accepted, in this round."""
        self.cover(rows, self.view.tracks.num_tracks + len(self._drawn))
        self._drawn.append(box)

    def someone(self, row: int, near: int) -> Box | None:
        """A box of the track that covers a true box, on the same object, as near to a frame as there is one."""
        track = int(self.track_on[row])
        if track >= self.view.tracks.num_tracks:
            return self._drawn[track - self.view.tracks.num_tracks]
        rows = self.observed(track)
        rows = rows[self.on[rows] & (self.name[rows] == self.truth.name[row])]
        if not len(rows):
            return None
        return self.box(rows[np.abs(self.view.tracks.frame[rows] - near).argmin()])


class SimulatedAnnotator:
    """Answers about one video.

    Args:
        key: of the video.
        truth: boxes that count; no ignored ones.
        error_rate: share of answers that are wrong.
        rng: for the errors.

    Attributes:
        errors: wrong answers so far.
    """

    def __init__(
        self, key: str, truth: TruthTable, error_rate: float = 0.0, rng: np.random.Generator | None = None
    ) -> None:
        self._key, self._error_rate = key, error_rate
        self._rng = rng or np.random.default_rng(0)
        self._truth = Truth(truth)
        self._drawn_for: dict[Box, int] = {}
        self._names = self._asked = self.errors = 0

    def look(self, view: View) -> Sight:
        """What the person sees of these labels."""
        return Sight(self._truth, view, self._drawn_for)

    def answer(self, query: Query, sight: Sight) -> Reply:
        """What the person says; nothing to questions that their own changes have made pointless.

        Args:
            query: the question.
            sight: of ``look`` at the labels that it is about.
        """
        if query.track in sight.moot:
            return Reply()
        self._asked += 1
        wrong = bool(self._rng.random() < self._error_rate)
        self.errors += wrong
        ask = {
            Question.VALID: self._valid, Question.LINK: self._link, Question.BOX: self._box,
            Question.START: self._end, Question.END: self._end, Question.MISSING: self._missing,
        }  # fmt: skip
        return ask[query.question](query, sight, wrong)

    def _say(self, verdict: Verdict, query: Query, boxes: Sequence[Box] = (), **rest: object) -> Answer:
        return Answer(
            self._key,
            verdict,
            tuple(boxes),
            query=query.key,
            believed=query.belief if teaches(query.question, verdict) else None,
            source="simulated",
            when=float(self._asked),
            **rest,  # type: ignore[arg-type]
        )

    def _reject(self, query: Query, boxes: Sequence[Box], sight: Sight) -> Reply:
        if query.track >= 0:
            sight.moot.add(query.track)
        return Reply((self._say(Verdict.INVALID, query, boxes),), 1)

    def _part(self, query: Query, one: Box, two: Box, sight: Sight) -> Reply:
        """The track goes over to another object here: the person cuts it, and what is asked of it is moot."""
        sight.moot.add(query.track)
        return Reply((self._say(Verdict.DIFFERENT, query, (one, two)),), 1)

    def _drawn(self, row: int, wrong: bool = False) -> Box:
        """The true box as a person draws it."""
        xyxy = self._truth.xyxy[row]
        if wrong:
            side = xyxy[2:] - xyxy[:2]
            xyxy = xyxy + np.tile(side * self._rng.choice([-ASIDE, ASIDE], 2), 2)
        box = Box(int(self._truth.frame[row]), tuple(xyxy.tolist()))
        self._drawn_for[box] = int(self._truth.name[row])
        return box

    # --- is it one object, all the way?

    def _valid(self, query: Query, sight: Sight, wrong: bool) -> Reply:
        if query.track >= 0:
            rows = sight.observed(query.track)
            boxes = [sight.box(row) for row in rows]
            name, on = sight.name[rows], sight.on[rows]
            doubled = sight.doubled(rows)
        else:
            boxes = list(query.boxes)
            seen = self._read(boxes)
            name, on = seen.name, seen.overlap >= ON_OBJECT
            true = self._truth.rows_at(np.where(on, name, -1), np.array([box.frame for box in boxes]))
            doubled = (true >= 0) & (sight.track_on[np.maximum(true, 0)] >= 0)
        if wrong:
            verdict = Verdict.INVALID if 2 * on.sum() >= len(boxes) else Verdict.VALID
            return Reply((self._say(verdict, query, boxes),), 1)
        if on.sum() < min(2, len(boxes)):
            return self._reject(query, boxes, sight)
        places = np.flatnonzero(on)
        change = np.flatnonzero(np.diff(name[places]))
        if len(change):
            return self._part(query, boxes[places[change[0]]], boxes[places[change[0] + 1]], sight)
        if 2 * doubled.sum() >= on.sum():
            return self._reject(query, _pick(boxes, doubled | ~on), sight)
        astray = _longest_run(~on)
        if astray.sum() >= max(ASTRAY, ASTRAY_SHARE * len(boxes)):
            return self._reject(query, _pick(boxes, astray), sight)
        good = _pick(boxes, on & ~doubled)
        if query.track < 0:
            sight.cover_new(true[on], good[0])
        said = [self._say(Verdict.VALID, query, good)]
        if len(good) > 1:
            said.append(self._say(Verdict.SAME, query, good))
        return Reply(tuple(said), 1)

    def _read(self, boxes: Sequence[Box]) -> Reading:
        frame = np.array([box.frame for box in boxes])
        xyxy = np.array([box.xyxy for box in boxes], np.float64)
        return follow(self._truth, np.zeros(len(boxes), np.int64), frame, xyxy)

    # --- does it go on as the other?

    def _link(self, query: Query, sight: Sight, wrong: bool) -> Reply:
        pair = (query.boxes[-1], query.others[0])
        one, two = (self._object(box, sight) for box in pair)
        if one < 0 and two < 0 and not wrong:
            # neither is on an object: the person sees nothing that could go on, and rejects the track they look at
            rows = sight.observed(query.track) if query.track >= 0 else np.zeros(0, np.int64)
            track = [sight.box(row) for row in rows[~sight.on[rows]]]
            return self._reject(query, list(dict.fromkeys([*pair, *track])), sight)
        same = (one >= 0 and one == two) != wrong
        return Reply((self._say(Verdict.SAME if same else Verdict.DIFFERENT, query, pair),), 1)

    def _object(self, box: Box, sight: Sight) -> int:
        """The object that a candidate is meant for, seen with its track if it is in one."""
        tracks = sight.view.tracks
        rows = np.flatnonzero((tracks.frame == box.frame) & (tracks.candidate_index >= 0))
        off = np.abs(sight.view.candidates.xyxy[tracks.candidate_index[rows]] - np.array(box.xyxy)).max(1, initial=0.0)
        if len(rows) and off.min() < 1e-2:
            row = int(rows[off.argmin()])
            return int(sight.name[row]) if sight.on[row] else -1
        _, at, iou = self._truth.overlaps(np.array([box.frame]), np.array([box.xyxy]), ON_OBJECT)
        return int(self._truth.name[at[iou.argmax()]]) if len(at) else -1

    # --- where is it in this frame?

    def _box(self, query: Query, sight: Sight, wrong: bool) -> Reply:
        rows = sight.observed(query.track)
        frames = sight.view.tracks.frame[rows]
        good = np.flatnonzero(sight.on[rows])
        if not len(good):
            return self._reject(query, [sight.box(row) for row in rows], sight)
        before, behind = good[frames[good] <= query.frame], good[frames[good] >= query.frame]
        near = [rows[before[-1]]] if len(before) else []
        near += [rows[behind[0]]] if len(behind) else []
        if len(near) == 2 and sight.name[near[0]] != sight.name[near[1]]:
            return self._part(query, sight.box(near[0]), sight.box(near[1]), sight)
        row = min(near, key=lambda r: abs(int(sight.view.tracks.frame[r]) - query.frame))
        name = int(sight.name[row])
        same = rows[good][sight.name[rows[good]] == name]
        of = sight.box(anchor_row(sight.view, sight.rows(query.track), query.frame, same))
        true = self._truth.row_at(name, query.frame)
        if true < 0:
            here = np.flatnonzero(frames == query.frame)
            if len(here) and not sight.on[rows[here[0]]]:
                run = _run_around(~sight.on[rows], int(here[0]))
                return Reply((self._say(Verdict.INVALID, query, [sight.box(r) for r in rows[run]]),), 1)
            return Reply((self._say(Verdict.ABSENT, query, (of, Box(query.frame, of.xyxy))),), 1)
        other = int(sight.track_on[true])
        if other not in (-1, query.track) and not wrong:
            doubled = rows[sight.doubled(rows)]
            if query.frame in sight.view.tracks.frame[doubled]:
                return self._reject(query, [sight.box(r) for r in doubled], sight)
            known = sight.someone(true, query.frame)
            if known is not None and known.frame != of.frame:
                sight.moot.add(query.track)
                return Reply((self._say(Verdict.SAME, query, (of, known)),), 1)
        sight.cover(np.array([true]), query.track)
        return Reply((self._say(Verdict.BOX, query, (of,), drawn=self._drawn(true, wrong)),), 2)

    # --- where does it begin, or end?

    def _end(self, query: Query, sight: Sight, wrong: bool) -> Reply:
        early = query.question is Question.START
        way = -1 if early else 1
        verdict = Verdict.STARTS if early else Verdict.ENDS
        rows, shown = sight.observed(query.track)[::way], sight.rows(query.track)[::way]
        frames, reach = sight.view.tracks.frame[rows], int(sight.view.tracks.frame[shown[-1]])
        good = np.flatnonzero(sight.on[rows])
        if not len(good):
            return self._reject(query, [sight.box(row) for row in rows], sight)
        doubled = rows[good][sight.doubled(rows[good])]
        if 2 * len(doubled) >= len(good) and not wrong:
            return self._reject(query, [sight.box(row) for row in doubled], sight)
        name = int(sight.name[rows[good[-1]]])
        stretch = self._truth.stretch(int(sight.true_row[rows[good[-1]]]))
        last = stretch[0 if early else 1]
        limit = int(self._truth.frame[last])
        if wrong:  # takes the track's end for the object's, or cuts the track short
            fine = abs(limit - reach) <= NEAR_ENOUGH
            of = sight.box(rows[max(0, len(rows) - 1 - ASTRAY)] if fine else rows[-1])
            return Reply((self._say(verdict, query, (of, of)),), 1)
        lacking = way * (limit - reach)
        if lacking > NEAR_ENOUGH:
            beyond = np.arange(stretch[0], stretch[1] + 1)[::way]
            beyond = beyond[way * (self._truth.frame[beyond] - reach) > 0]
            taken = beyond[~np.isin(sight.track_on[beyond], (-1, query.track))]
            if len(taken):
                known = sight.someone(int(taken[0]), int(self._truth.frame[taken[0]]))
                of = sight.box(rows[good[-1]])
                if known is not None and known.frame != of.frame:
                    sight.moot.add(query.track)
                    return Reply((self._say(Verdict.SAME, query, (of, known)),), 1)
            sight.cover(beyond, query.track)
        inner = good[(sight.name[rows[good]] == name) & (way * (frames[good] - limit) <= 0)]
        row = rows[inner[-1]] if len(inner) else rows[good[-1]]
        of, close = sight.box(row), abs(int(sight.view.tracks.frame[row]) - limit) <= NEAR_ENOUGH
        filled = shown[sight.view.tracks.source[shown] == Source.PROPAGATED]
        there = filled[np.abs(sight.view.tracks.frame[filled] - limit) <= NEAR_ENOUGH]
        seen = bool((sight.fits[there] & (sight.name[there] == name)).any())  # what was followed ends where it should
        if len(inner) and ((close and sight.fits[row]) or seen):
            end = of if close and row == rows[-1] else Box(limit, of.xyxy)
            end = of if way * (of.frame - end.frame) > 0 else end
            said, clicks = [self._say(verdict, query, (of, end))], 1
        else:
            drawn = self._drawn(last)
            said = [self._say(Verdict.BOX, query, (of,), drawn=drawn), self._say(verdict, query, (drawn, drawn))]
            clicks = 2
        over = rows[(way * (frames - limit) > NEAR_ENOUGH) & ~sight.on[rows]]
        if len(over):
            said.append(self._say(Verdict.INVALID, query, [sight.box(r) for r in over]))
        back = self._comes_back(name, last, early, query, of, sight)
        return Reply((*said, *back), clicks + len(back))

    def _comes_back(self, name: int, last: int, early: bool, query: Query, of: Box, sight: Sight) -> tuple[Answer, ...]:
        """The object was here before, or comes again, as another track: the person says that it is the same."""
        rows = self._truth.rows_of(name)
        rows = rows[rows < last][::-1] if early else rows[rows > last]
        taken = rows[sight.track_on[rows] >= 0]
        if not len(taken) or sight.track_on[taken[0]] == query.track:
            return ()
        known = sight.someone(int(taken[0]), int(self._truth.frame[taken[0]]))
        if known is None or known.frame == of.frame:
            return ()
        return (self._say(Verdict.SAME, query, (of, known)),)

    # --- is there one without a track?

    def _missing(self, query: Query, sight: Sight, wrong: bool) -> Reply:
        here = self._truth.in_frame(query.frame)
        here = here[sight.track_on[here] < 0]
        if not len(here) or wrong:
            whole = Box(query.frame, (0.0, 0.0, float(sight.view.info.width), float(sight.view.info.height)))
            return Reply((self._say(Verdict.COMPLETE, query, (whole,)),), 1)
        spans = [self._lacking(row, sight) for row in here.tolist()]
        low, high = max(spans, key=lambda span: (span[1] - span[0], -span[0]))
        first, last = self._truth.stretch(low)
        rows = np.arange(low, high + 1)
        sides = [(low - 1, low > first), (high + 1, high < last)]
        of_track = [int(sight.track_on[row]) if there else -1 for row, there in sides]
        known = [sight.someone(row, int(self._truth.frame[row])) if there else None for row, there in sides]
        before, behind = known
        if before is not None and of_track[0] == of_track[1]:
            return self._draw_in(query, before, rows, of_track[0], sight)
        if before is not None and behind is not None and before.frame < behind.frame:
            sight.cover(rows, of_track[0])
            return Reply((self._say(Verdict.SAME, query, (before, behind)),), 1)
        if before is not None or behind is not None:
            one = before or behind
            assert one is not None
            drawn = self._drawn(high if before is not None else low)
            verdict = Verdict.ENDS if before is not None else Verdict.STARTS
            sight.cover(rows, of_track[0 if before is not None else 1])
            said = [self._say(Verdict.BOX, query, (one,), drawn=drawn)]
            if (high == last) if before is not None else (low == first):
                said.append(self._say(verdict, query, (drawn, drawn)))
            return Reply(tuple(said), 3)
        return self._draw_new(query, rows, sight)

    def _draw_in(self, query: Query, of: Box, rows: NDArray[np.int64], track: int, sight: Sight) -> Reply:
        """The object has a track that is astray here: the person draws the box where they look."""
        sight.cover(rows, track)
        true = rows[np.abs(self._truth.frame[rows] - query.frame).argmin()]
        return Reply((self._say(Verdict.BOX, query, (of,), drawn=self._drawn(int(true))),), 2)

    def _lacking(self, row: int, sight: Sight) -> tuple[int, int]:
        """First and last row around a true box in which its object has no track, without a break."""
        first, last = self._truth.stretch(row)
        taken = np.flatnonzero(sight.track_on[first : last + 1] >= 0) + first
        before, behind = taken[taken < row], taken[taken > row]
        return (int(before[-1]) + 1 if len(before) else first), (int(behind[0]) - 1 if len(behind) else last)

    def _draw_new(self, query: Query, rows: NDArray[np.int64], sight: Sight) -> Reply:
        """An object from where it comes to where it goes: two boxes, and a track or more of one that it has."""
        drawn = [self._drawn(int(row)) for row in dict.fromkeys((int(rows[0]), int(rows[-1])))]
        others = self._truth.rows_of(int(self._truth.name[rows[0]]))
        others = others[sight.track_on[others] >= 0]
        known = None
        if len(others):
            nearest = int(others[np.abs(self._truth.frame[others] - drawn[0].frame).argmin()])
            known = sight.someone(nearest, int(self._truth.frame[nearest]))
        sight.cover_new(rows, drawn[0])
        self._names += 1
        new = f"{self._key}/{query.key[:8]}/{self._names}"
        said = [self._say(Verdict.BOX, query, drawn=box, object=new) for box in drawn]
        for verdict, box in ((Verdict.STARTS, drawn[0]), (Verdict.ENDS, drawn[-1])):
            said.append(self._say(verdict, query, (box, box)))
        if known is not None:
            said.append(self._say(Verdict.SAME, query, (known, drawn[0])))
        return Reply(tuple(said), 1 + 2 * len(drawn))


def _pick(boxes: Sequence[Box], chosen: NDArray[np.bool_]) -> list[Box]:
    return [boxes[n] for n in np.flatnonzero(chosen).tolist()]


def _run_around(flags: NDArray[np.bool_], place: int) -> NDArray[np.int64]:
    """The places around one, without a break, in which a flag is set as it is there."""
    unset = np.flatnonzero(~flags)
    low = unset[unset < place].max(initial=-1) + 1
    return np.arange(low, unset[unset > place].min(initial=len(flags)))


def _longest_run(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) bool: the longest run of set flags."""
    out = np.zeros(len(flags), bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    if len(edges):
        longest = (edges[1::2] - edges[::2]).argmax()
        out[edges[2 * longest] : edges[2 * longest + 1]] = True
    return out
