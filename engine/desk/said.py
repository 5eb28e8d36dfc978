"""What people meant: from changed sheets and closed questions to answers that a model can keep to.

Answers name boxes and not tracks, so they hold for any model that comes later.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...models.spam.overlaps import paired_iou
from ..answers import Answer, Box, Verdict
from ..queries import Query, Question, teaches
from .labels import Labels
from .merging import Laid, rows_of
from .pairs import SAME_OBJECT, pairs_in_frames
from .ports import IssueState
from .sheets import Boxes, Sheet

_YES = re.compile(r"\W*(yes|y|yep|ok|okay|right|correct|same|true|ja|si|oui)\b", re.IGNORECASE)
_NO = re.compile(r"\W*(no|n|nope|wrong|not|different|false|nein|non)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question that was put to people, and how it stands.

    Attributes:
        query: the question; its frames are positions in the media.
        issue: as it is at the desk now.
    """

    query: Query
    issue: IssueState

    @property
    def reply(self) -> bool | None:
        """What the last comment that says yes or no says."""
        for _, text in reversed(self.issue.comments[1:]):
            if _NO.match(text):
                return False
            if _YES.match(text):
                return True
        return None


@dataclass(frozen=True)
class Said:
    """What people said in one job.

    Attributes:
        answers: in the order of their frames.
        closed: keys of the questions that are answered.
        unread: comments that say neither yes nor no to a question that is still open, (issue, text).
    """

    answers: tuple[Answer, ...]
    closed: tuple[str, ...]
    unread: tuple[tuple[int, str], ...] = ()


def what_was_said(video: str, labels: Labels, job: Laid, asked: Sequence[Asked] = (), confirm: bool = False) -> Said:
    """The answers that the sheet of one job, and the questions that were closed there, come to.

    Args:
        video: key of the video.
        labels: of the dataset, from before the merge.
        job: the sheet, laid over them.
        asked: the questions that were put into the job.
        confirm: whether what was left alone counts as seen and found right, questions included.
    """
    teller = _Teller(video, labels, job)
    teller.tell_changes()
    if confirm:
        teller.tell_confirmed()
    closed, unread = [], []
    for one in asked:
        if one.issue.resolved or one.reply is not None or confirm:
            teller.tell_query(one)
            closed.append(one.query.key)
        elif len(one.issue.comments) > 1:
            unread.append((one.issue.id, one.issue.comments[-1][1]))
    unique = {answer.key: answer for answer in teller.answers}
    return Said(tuple(unique.values()), tuple(closed), tuple(unread))


class _Teller:
    """Says in answers what happened to the tracks of one job."""

    def __init__(self, video: str, labels: Labels, job: Laid) -> None:
        self._video, self._labels, self._job = video, labels, job
        self._diff = job.back.diff
        self._pieces = {place: _Piece(place, labels, job) for place in np.flatnonzero(~self._diff.same).tolist()}
        self._now: tuple[Sheet, Boxes] | None = None
        self.answers: list[Answer] = []

    def _say(self, verdict: Verdict, boxes: Iterable[Box] = (), query: Query | None = None, **rest: object) -> None:
        back = self._job.back
        learns = query is not None and teaches(query.question, verdict)
        self.answers.append(
            Answer(
                self._video,
                verdict,
                tuple(boxes),
                query=query.key if query is not None else "",
                believed=query.belief if query is not None and learns else None,
                source=back.who or f"job {back.job}",
                when=back.when,
                **rest,  # type: ignore[arg-type]
            )
        )

    # --- edits

    def tell_changes(self) -> None:
        """Every track that was drawn, moved, cut, joined, renamed or taken away."""
        for piece in self._pieces.values():
            if piece.frames:
                self._tell_piece(piece)
        self._tell_cuts()
        self._tell_removed()

    def _tell_piece(self, piece: _Piece) -> None:
        track = self._diff.theirs[piece.place]
        named: list[tuple[int, Box]] = piece.known
        name = "" if named else f"job {self._job.back.job} track {track.remote or piece.place}"
        label = track.label if not named else None
        for frame, box in piece.drawn:
            near, owner = (piece.nearest(frame), piece.owner(frame)) if named else (None, None)
            if near is not None and owner is not None:
                if near.frame == frame:  # the detection that was moved is of the person's object, too
                    self._say(Verdict.SAME, (owner, near))
                else:
                    near = owner
            self._say(Verdict.BOX, () if near is None else (near,), drawn=box, object=name, label=label)
        anchors = piece.anchors
        for one, other in piece.joints:
            self._say(Verdict.SAME, (one, other))
        if not anchors:
            return
        of = int(self._diff.parent[piece.place])
        if of >= 0 and track.label != self._diff.base.tracks[of].label:
            self._say(Verdict.CLASS, (anchors[0][1],), label=track.label)
        self._tell_bounds(piece, anchors)

    def _tell_bounds(self, piece: _Piece, anchors: Sequence[tuple[int, Box]]) -> None:
        """Where it comes and goes, if a person has changed that, and that it comes back."""
        base = self._diff.base
        before: Box | None = None
        for first, last in piece.stretches:
            inside = [box for frame, box in anchors if first <= frame <= last]
            if not inside:
                continue
            if first > base.start and not piece.was_start(first):
                self._say(Verdict.STARTS, (inside[0], piece.box_at(first)))
            if last < base.stop and not piece.was_end(last):
                self._say(Verdict.ENDS, (inside[-1], piece.box_at(last)))
            if before is not None:
                self._say(Verdict.SAME, (before, inside[0]))
            before = inside[-1]

    def _tell_cuts(self) -> None:
        """Where a track that was sent goes over into another one now."""
        sent, owner = self._diff.sent, self._owners()
        for of in self._diff.touched:
            rows = np.flatnonzero((sent.track == of) & (owner >= 0))
            for one, other in pairwise(rows.tolist()):
                if owner[one] != owner[other]:
                    left = self._pieces[int(owner[one])].nearest(int(sent.frame[one]), latest=int(sent.frame[one]))
                    right = self._pieces[int(owner[other])].nearest(
                        int(sent.frame[other]), first=int(sent.frame[other])
                    )
                    if left is not None and right is not None:
                        self._say(Verdict.DIFFERENT, (left, right))

    def _owners(self) -> NDArray[np.int64]:
        """For each box that was sent the track that has it now, or -1."""
        owner = np.full(len(self._diff.sent), -1)
        known = self._diff.origin >= 0
        owner[self._diff.origin[known]] = self._diff.found.track[known]
        return owner

    def _tell_removed(self) -> None:
        """Boxes that were taken away are no objects, unless something else is there now."""
        diff, labels = self._diff, self._labels
        removed = diff.removed
        rows = self._job.sent_row[removed]
        keep = rows >= 0
        removed, rows = removed[keep], rows[keep]
        seen = labels.observed[rows] & ~labels.human[rows]
        removed, rows = removed[seen], rows[seen]
        alive = set(diff.sent.track[diff.origin[diff.origin >= 0]].tolist())
        covered = self._is_covered(removed)
        for of in sorted(set(diff.sent.track[removed].tolist())):
            own = (diff.sent.track[removed] == of) & (~covered if of in alive else True)
            if own.any():
                self._say(Verdict.INVALID, [_box(labels, row) for row in rows[own].tolist()])

    def _is_covered(self, sent: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) bool, whether a box that was taken away lies on one that is there now."""
        out = np.zeros(len(sent), bool)
        if len(sent):
            _, now = self._state()
            rows, others = pairs_in_frames(self._diff.sent.frame[sent], now.frame)
            over = paired_iou(self._diff.sent.xyxy[sent][rows], now.xyxy[others]) >= SAME_OBJECT
            out[rows[over]] = True
        return out

    def _state(self) -> tuple[Sheet, Boxes]:
        """The sheet as it is now."""
        if self._now is None:
            sheet = Sheet(self._diff.base.start, self._diff.base.stop, self._diff.theirs)
            self._now = sheet, sheet.boxes()
        return self._now

    # --- what was left alone

    def tell_confirmed(self) -> None:
        """Every track that a person saw and left as it was, is right."""
        diff, labels = self._diff, self._labels
        boxes = diff.base.boxes(diff.parent[diff.same].tolist())
        rows = rows_of(labels, self._job.back, boxes)
        good = rows >= 0
        good[good] = labels.observed[rows[good]] & ~labels.human[rows[good]]
        for place in np.unique(boxes.track).tolist():
            own = rows[good & (boxes.track == place)]
            self._vouch([_box(labels, row) for row in own.tolist()], None)

    def _vouch(self, boxes: Sequence[Box], query: Query | None) -> None:
        if boxes:
            self._say(Verdict.VALID, boxes, query)
        if len(boxes) > 1:
            self._say(Verdict.SAME, boxes, query)

    # --- questions

    def tell_query(self, one: Asked) -> None:
        """What the sheet says to a question that somebody has closed, or their words where the sheet is as it was."""
        query = one.query
        {
            Question.VALID: self._tell_valid, Question.LINK: self._tell_link, Question.BOX: self._tell_box,
            Question.START: self._tell_end, Question.END: self._tell_end, Question.MISSING: self._tell_missing,
        }[query.question](query, one.reply)  # fmt: skip

    def _owner_now(self, box: Box) -> int:
        """Place of the track that is at a box now, or -1."""
        _, now = self._state()
        here = np.flatnonzero(now.frame == box.frame)
        if not len(here):
            return -1
        overlap = paired_iou(np.repeat(np.array([box.xyxy]), len(here), 0), now.xyxy[here])
        return int(now.track[here[overlap.argmax()]]) if overlap.max() >= SAME_OBJECT else -1

    def _inside(self, boxes: Sequence[Box]) -> list[Box]:
        base = self._diff.base
        return [box for box in boxes if base.start <= box.frame <= base.stop]

    def _tell_valid(self, query: Query, reply: bool | None) -> None:
        boxes = self._inside(query.boxes)
        owners = [self._owner_now(box) for box in boxes]
        good = [(box, owner) for box, owner in zip(boxes, owners, strict=True) if owner >= 0]
        edited = any(owner in self._pieces for _, owner in good)
        if not good or (reply is False and not edited):
            if boxes:
                self._say(Verdict.INVALID, boxes, query)
            return
        change = [at for at in range(1, len(good)) if good[at][1] != good[at - 1][1]]
        if change:
            self._say(Verdict.DIFFERENT, (good[change[0] - 1][0], good[change[0]][0]), query)
        else:
            self._vouch([box for box, _ in good], query)

    def _tell_link(self, query: Query, reply: bool | None) -> None:
        one, other = query.boxes[-1], query.others[0]
        ends = self._owner_now(one), self._owner_now(other)
        edited = any(end in self._pieces for end in ends)
        if -1 in ends and (edited or reply is None):
            return
        same = ends[0] == ends[1] if edited or reply is None else reply
        self._say(Verdict.SAME if same else Verdict.DIFFERENT, (one, other), query)

    def _tell_box(self, query: Query, reply: bool | None) -> None:
        owner = self._owner_now(query.boxes[0])
        if owner < 0 or (reply is False and owner not in self._pieces):
            return  # that it does not fit says not what does
        here = self._box_now(owner, query.frame)
        if here is None:
            self._say(Verdict.ABSENT, (query.boxes[0], Box(query.frame, query.boxes[0].xyxy)), query)
        else:
            self._say(Verdict.BOX, (query.boxes[0],), query, drawn=here)

    def _box_now(self, place: int, frame: int) -> Box | None:
        _, now = self._state()
        row = np.flatnonzero((now.track == place) & (now.frame == frame))
        return Box(frame, tuple(now.xyxy[row[0]].tolist())) if len(row) else None

    def _tell_end(self, query: Query, reply: bool | None) -> None:
        owner = self._owner_now(query.boxes[0])
        if owner < 0 or reply is False:
            return
        _, now = self._state()
        frames = now.frame[now.track == owner]
        early = query.question is Question.START
        frame = int(frames.min() if early else frames.max())
        if frame == (self._diff.base.start if early else self._diff.base.stop):
            return  # it may go on beyond what the person saw
        end = self._box_now(owner, frame)
        assert end is not None
        self._say(Verdict.STARTS if early else Verdict.ENDS, (query.boxes[0], end), query)

    def _tell_missing(self, query: Query, reply: bool | None) -> None:
        _, now = self._state()
        if reply is not True:  # "yes, one is missing", and nobody drew it
            corner = max([1.0, *now.xyxy[:, 2:].ravel().tolist()])
            self._say(Verdict.COMPLETE, (Box(query.frame, (0.0, 0.0, corner, corner)),), query)


class _Piece:
    """A track at the desk that was changed or drawn, box by box."""

    def __init__(self, place: int, labels: Labels, job: Laid) -> None:
        diff = job.back.diff
        own = np.flatnonzero(diff.found.track == place)
        self.place = place
        self.frames = diff.found.frame[own].tolist()
        self._xyxy = diff.found.xyxy[own]
        origin = diff.origin[own]
        made_of = {int(diff.parent[place]), *diff.sent.track[origin[origin >= 0]].tolist()} - {-1}
        self._sent_spans = [set(diff.sent.frame[diff.sent.track == of].tolist()) for of in made_of]
        row, moved = job.found_row[own], diff.moved[own]
        seen = (row >= 0) & ~moved
        seen[seen] = labels.observed[row[seen]]
        self.known = [(self.frames[at], _box(labels, int(row[at]))) for at in np.flatnonzero(seen).tolist()]
        on = (row >= 0) & moved
        on[on] = labels.observed[row[on]] & (paired_iou(self._xyxy[on], labels.xyxy[row[on]]) >= SAME_OBJECT)
        under = [(self.frames[at], _box(labels, int(row[at]))) for at in np.flatnonzero(on).tolist()]
        self.known = sorted([*self.known, *under], key=lambda pair: pair[0])
        by_person = seen.copy()
        by_person[seen] = labels.human[row[seen]]
        self._by_person = [(self.frames[at], _box(labels, int(row[at]))) for at in np.flatnonzero(by_person).tolist()]
        drawn = diff.found.keyframe[own] & moved
        if moved.any():  # a bound needs a box that it can be said of
            named = seen | on | drawn
            for first, last in self.stretches:
                inside = (diff.found.frame[own] >= first) & (diff.found.frame[own] <= last)
                if not (named & inside).any():
                    drawn[np.flatnonzero(inside)[0]] = True
        self.drawn = [
            (self.frames[at], Box(self.frames[at], tuple(self._xyxy[at].tolist())))
            for at in np.flatnonzero(drawn).tolist()
        ]
        self.anchors = sorted([*self.known, *self.drawn], key=lambda pair: pair[0])
        self.joints = self._joints(diff.sent.track, diff.origin[own], seen)

    def _joints(
        self, sent_track: NDArray[np.int64], origin: NDArray[np.int64], seen: NDArray[np.bool_]
    ) -> list[tuple[Box, Box]]:
        """Where it goes over from boxes of one track that was sent to those of another."""
        boxes = dict(self.known)
        rows = np.flatnonzero((origin >= 0) & seen).tolist()
        out = []
        for one, other in pairwise(rows):
            if sent_track[origin[one]] != sent_track[origin[other]]:
                out.append((boxes[self.frames[one]], boxes[self.frames[other]]))
        return out

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """First and last frame of every stretch in which it is seen."""
        frames = np.array(self.frames)
        cuts = np.flatnonzero(np.diff(frames) > 1)
        first, last = [0, *(cuts + 1).tolist()], [*cuts.tolist(), len(frames) - 1]
        return [(self.frames[a], self.frames[b]) for a, b in zip(first, last, strict=True)] if len(frames) else []

    def was_start(self, frame: int) -> bool:
        """Whether a track that was sent, and that it is made of, began a stretch in this frame, too."""
        return any(frame in span and frame - 1 not in span for span in self._sent_spans)

    def was_end(self, frame: int) -> bool:
        """Whether a track that was sent, and that it is made of, ended a stretch in this frame, too."""
        return any(frame in span and frame + 1 not in span for span in self._sent_spans)

    def box_at(self, frame: int) -> Box:
        """Its box in a frame in which it has one."""
        return Box(frame, tuple(self._xyxy[self.frames.index(frame)].tolist()))

    def nearest(self, frame: int, first: int = 0, latest: int = 1 << 60) -> Box | None:
        """The box of the track nearest to a frame that an answer can name: a detection, else a drawn one."""
        for boxes in (self.known, self.drawn):
            low, high = bisect_left(boxes, first, key=_frame_of), bisect_right(boxes, latest, key=_frame_of)
            at = bisect_left(boxes, frame, low, high, key=_frame_of)
            near = [(abs(boxes[i][0] - frame), boxes[i][0], i) for i in (at - 1, at) if low <= i < high]
            if near:
                return boxes[min(near)[2]][1]
        return None

    def owner(self, frame: int) -> Box | None:
        """The nearer of the boxes of people before and behind a frame; None unless there are both.

        Between them the track is one object's because people said so, whoever put the detections there into it.
        """
        at = bisect_left(self._by_person, frame, key=_frame_of)
        if not 0 < at < len(self._by_person):
            return None
        return min(self._by_person[at - 1 : at + 1], key=lambda pair: abs(pair[0] - frame))[1]


def _frame_of(pair: tuple[int, Box]) -> int:
    return pair[0]


def _box(labels: Labels, row: int) -> Box:
    return Box(int(labels.frame[row]), tuple(labels.xyxy[row].tolist()))


def in_video(answers: Iterable[Answer], number: NDArray[np.int64]) -> Iterator[Answer]:
    """Answers with the frames of the video instead of positions in the media.

    Args:
        answers: with positions.
        number: (S,) int64, frame of every position.
    """
    for answer in answers:
        boxes = tuple(replace(box, frame=int(number[box.frame])) for box in answer.boxes)
        drawn = None if answer.drawn is None else replace(answer.drawn, frame=int(number[answer.drawn.frame]))
        yield replace(answer, boxes=boxes, drawn=drawn)
