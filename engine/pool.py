"""Every question that could be asked about one video, with what its answer is expected to put right.

The common currency is a box put right: a false box gone, a missing one there, one that has the right identity, or, in
parts, one that fits better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Candidates, Source, Tracks, VideoInfo
from ..models.spam.beliefs import Beliefs
from ..models.spam.constraints import EVER, Constraints
from ..models.spam.keyframes import Offsets, bends, to_state
from ..models.spam.overlaps import overlapping
from .anchors import anchor_row, observed, reference_box
from .answers import Box
from .experience import LINKS, OBJECTS, Experience, at_border
from .gains import Course, best_keys, bias_gain
from .queries import COST, Query, Question

LEAST_GAIN = 0.005  # boxes; what is worth less is not asked
# Boxes that answers put right for each that is expected, by kind of question; on simulated streams.
CREDIT = {
    Question.VALID: 0.7, Question.LINK: 0.2, Question.BOX: 0.5, Question.START: 0.35, Question.END: 0.45,
    Question.MISSING: 0.7,
}  # fmt: skip
FALSE_CREDIT, BROKEN_CREDIT = 0.7, 0.1  # the same of the two parts of VALID: boxes on nothing, boxes of another object
SURE = 0.999  # probability from which a decision is not worth a question of its own
COVERED = 0.5  # overlap from which a box is taken for one that a track has already
MISSING_EVERY = 1.0  # seconds between the frames in which a person may look for objects without a track
FOLLOWED = 0.5  # share of the usual that a track lacks at an end where a tracker followed it until it was gone
MISSING_COST = 5.0  # clicks that an object costs which is found there: two boxes and a track


@dataclass(frozen=True)
class View:
    """What is known of one video after it was labelled.

    Attributes:
        key: of the video.
        info: of the video.
        candidates: that were labelled.
        constraints: that they were labelled with.
        tracks: the labels.
        beliefs: what the model believed.
        offsets: what drawn boxes taught.
        experience: what the answers taught.
        boxes: candidates as answers name them, by row; filled as they are asked for, shared by views of one video.
    """

    key: str
    info: VideoInfo
    candidates: Candidates
    constraints: Constraints
    tracks: Tracks
    beliefs: Beliefs
    offsets: Offsets
    experience: Experience
    boxes: dict[int, Box] = field(default_factory=dict, repr=False, compare=False)

    def box(self, row: int) -> Box:
        """How answers name a candidate."""
        if row not in self.boxes:
            xyxy = tuple(self.candidates.xyxy[row].astype(float).tolist())
            self.boxes[row] = Box(int(self.candidates.frame[row]), xyxy)
        return self.boxes[row]


def all_queries(view: View) -> list[Query]:
    """All open questions about one video, in no order."""
    tracks = _TrackTable(view)
    links = _open_steps(view, tracks)
    found = [
        *_about_tracks(view, tracks, links),
        *_about_dropped(view),
        *_about_links(view, links),
        *_about_open_links(view, tracks),
        *_about_missing(view),
    ]
    credited = (replace(query, gain=query.gain * CREDIT[query.question]) for query in found)
    return [query for query in credited if query.gain >= LEAST_GAIN]


class _TrackTable:
    """Rows of ``Tracks`` by track, and what people said of each."""

    def __init__(self, view: View) -> None:
        tracks = view.tracks
        self.order = np.lexsort((tracks.frame, tracks.track_index))
        self.start = np.searchsorted(tracks.track_index[self.order], np.arange(tracks.num_tracks + 1))
        number = view.constraints.num_candidates
        row = tracks.candidate_index
        self.vouched = np.zeros(tracks.num_tracks, bool)
        self.vouched[tracks.track_index[tracks.source == Source.HUMAN]] = True
        seen = row >= 0
        self.vouched[tracks.track_index[seen][view.beliefs.vouched[row[seen]]]] = True
        # spans by object, brought to the tracks by their candidates and drawn boxes
        self.starts_known = np.zeros(tracks.num_tracks, bool)
        self.ends_known = np.zeros(tracks.num_tracks, bool)
        said = view.constraints
        drawn_row = self._drawn_rows(view)
        place = np.full(number + len(said.frame), -1)
        place[row[seen]] = tracks.track_index[seen]
        place[number:] = np.where(drawn_row >= 0, tracks.track_index[drawn_row], -1)
        for known, column in ((self.starts_known, said.earliest > -EVER), (self.ends_known, said.latest < EVER)):
            of = place[column]
            known[of[of >= 0]] = True
        self.track_of_candidate = place[:number]

    @staticmethod
    def _drawn_rows(view: View) -> NDArray[np.int64]:
        """Row of the tracks of every drawn box, or -1."""
        rows = np.flatnonzero(view.tracks.source == Source.HUMAN)
        out = np.full(len(view.constraints.frame), -1)
        for n, (frame, box) in enumerate(zip(view.constraints.frame, view.constraints.xyxy, strict=True)):
            here = rows[view.tracks.frame[rows] == frame]
            same = here[(np.abs(view.tracks.xyxy[here] - box) < 1e-2).all(1)]
            out[n] = same[0] if len(same) else -1
        return out

    def rows(self, track: int) -> NDArray[np.int64]:
        """Rows of ``Tracks`` of one track, by frame."""
        return self.order[self.start[track] : self.start[track + 1]]


def _boxes(view: View, rows: Sequence[int] | NDArray) -> tuple[Box, ...]:
    """Candidates as people's answers name them."""
    return tuple(view.box(int(row)) for row in rows)


def _about_tracks(view: View, table: _TrackTable, links: _Links) -> list[Query]:
    """Is it an object; where does it begin and end; where would another drawn box help."""
    tracks, out = view.tracks, []
    rate, bend = view.info.frame_rate, _bends(view, table)
    drawn_in = len(np.unique(tracks.track_index[tracks.source == Source.HUMAN]))
    pinned = np.zeros(tracks.num_tracks, bool)
    pinned[tracks.track_index[tracks.source == Source.HUMAN]] = True
    elsewhere = bias_gain(float((~pinned[tracks.track_index]).sum()), view.offsets, drawn_in)
    last_frame = view.info.num_frames - 1
    broken = np.bincount(links.track, (1 - links.probability) * links.part, tracks.num_tracks)
    whole_track = np.exp(np.bincount(links.track, np.log(np.maximum(links.probability, 1e-6)), tracks.num_tracks))
    believed = view.experience.believe(OBJECTS, tracks.track_validity)
    for track in range(tracks.num_tracks):
        rows = table.rows(track)
        seen = observed(tracks, rows)
        vouched = bool(table.vouched[track])
        valid = 1.0 if vouched else float(believed[track])
        false = (1 - valid) * len(rows)
        candidates = tracks.candidate_index[rows]
        candidates = candidates[candidates >= 0]
        certain = valid * float(whole_track[track])
        if certain < SURE and len(candidates):
            gain = FALSE_CREDIT * false + BROKEN_CREDIT * valid * min(float(broken[track]), len(rows) / 2)
            out.append(
                replace(
                    _query(view, Question.VALID, _boxes(view, candidates), track, seen[len(seen) // 2], certain, gain),
                    belief=None if vouched else float(tracks.track_validity[track]),
                )
            )
        for question, known, row, of, outer in (
            (Question.START, table.starts_known[track], rows[0], seen[0], tracks.frame[rows[0]] == 0),
            (Question.END, table.ends_known[track], rows[-1], seen[-1], tracks.frame[rows[-1]] == last_frame),
        ):
            if known or outer:
                continue
            lacking = view.experience.missing_at_end[int(at_border(tracks.xyxy[row], view.info)[0])]
            if tracks.source[row] == Source.PROPAGATED:
                lacking *= FOLLOWED
            gain = valid * (lacking + _key_at_end(view))
            if tracks.source[row] == Source.PROPAGATED:
                of = anchor_row(view, rows, int(tracks.frame[row]))
            out.append(_query(view, question, (reference_box(view, of),), track, row, valid, gain))
        course = _course(tracks, rows, bend[track])
        places, gains = best_keys(course, view.offsets, rate)
        for place, gain in zip(places.tolist(), gains.tolist(), strict=True):
            frame = int(course.frame[place])
            anchor = anchor_row(view, rows, frame)
            whole = valid * (gain + (0.0 if pinned[track] else elsewhere))
            boxes = (reference_box(view, anchor),)
            out.append(Query(view.key, Question.BOX, boxes, (), frame, track, -1, valid, COST[Question.BOX], whole))
    return out


def courses(view: View) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Course]]:
    """Every track as ``gains`` reads it: its rows of ``Tracks``, their frames within the course, the course."""
    table, tracks = _TrackTable(view), view.tracks
    bend = _bends(view, table)
    for track in range(tracks.num_tracks):
        rows = table.rows(track)
        yield rows, tracks.frame[rows] - tracks.frame[rows[0]], _course(tracks, rows, bend[track])


def _bends(view: View, table: _TrackTable) -> NDArray[np.float64]:
    tracks, order = view.tracks, table.order
    seen = tracks.source[order] != Source.INTERPOLATED
    state = to_state(tracks.xyxy[order])
    return bends(tracks.track_index[order], tracks.frame[order], state, seen, view.info.frame_rate)


def _course(tracks: Tracks, rows: NDArray[np.int64], bend: NDArray[np.float64]) -> Course:
    """A track from its first frame to its last, gaps that were not filled included."""
    first, last = int(tracks.frame[rows[0]]), int(tracks.frame[rows[-1]])
    frame = np.arange(first, last + 1)
    is_key, is_seen = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
    place = tracks.frame[rows] - first
    is_key[place], is_seen[place] = tracks.source[rows] == Source.HUMAN, tracks.source[rows] != Source.INTERPOLATED
    filled = tracks.source[rows] == Source.PROPAGATED
    if not filled.any():
        return Course(frame, is_key, is_seen, bend)
    sure = np.full(len(frame), np.nan)
    sure[place[filled]] = tracks.validity[rows[filled]]
    return Course(frame, is_key, is_seen, bend, sure)


def _key_at_end(view: View) -> float:
    """What a drawn box at the end of a track is worth beside the frames it adds: it is a key as any other."""
    spread = float(view.offsets.spread.sum())
    return 0.5 * spread * view.info.frame_rate * 0.5


def _about_dropped(view: View) -> list[Query]:
    """Chains that are in no track: is it an object after all?"""
    beliefs, tracks = view.beliefs, view.tracks
    rows = np.flatnonzero((beliefs.chain >= 0) & ~beliefs.kept & (view.constraints.verdict == 0))
    if not len(rows):
        return []
    by_frame = rows[np.argsort(view.candidates.frame[rows], kind="stable")]
    covered = np.zeros(len(view.candidates), bool)
    hit, _, _ = overlapping(
        view.candidates.frame[by_frame], view.candidates.xyxy[by_frame], tracks.frame, tracks.xyxy, COVERED
    )
    covered[by_frame[hit]] = True
    in_track = np.zeros(int(beliefs.chain.max()) + 1, bool)
    in_track[beliefs.chain[beliefs.kept]] = True
    rows = rows[~in_track[beliefs.chain[rows]] & ~covered[rows]]
    order = np.lexsort((view.candidates.frame[rows], beliefs.chain[rows]))
    rows = rows[order]
    cuts = np.flatnonzero(np.diff(beliefs.chain[rows])) + 1
    out = []
    for part in np.split(rows, cuts):
        if not len(part):
            continue
        alone = float(beliefs.validity[part].mean())
        probability = float(view.experience.believe(OBJECTS, alone))
        gain = probability * len(part)
        if gain >= LEAST_GAIN:
            middle = part[len(part) // 2]
            out.append(
                Query(
                    view.key,
                    Question.VALID,
                    _boxes(view, part),
                    (),
                    int(view.candidates.frame[middle]),
                    -1,
                    0,
                    probability,
                    COST[Question.VALID],
                    gain,
                    alone,
                )
            )
    return out


@dataclass(frozen=True)
class _Links:
    """Links inside tracks that nobody has settled, one row each.

    Attributes:
        first: (L,) int64, candidate before.
        second: (L,) int64, candidate behind.
        track: (L,) int64.
        frame: (L,) int64, of the first.
        probability: (L,) float64.
        part: (L,) float64, boxes of the track on the smaller side.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    probability: NDArray[np.float64]
    part: NDArray[np.float64]


def _open_steps(view: View, table: _TrackTable) -> _Links:
    """Links inside tracks that the model is not sure of."""
    beliefs, tracks = view.beliefs, view.tracks
    own = np.empty(len(tracks), np.int64)
    own[table.order] = np.arange(len(tracks)) - table.start[tracks.track_index[table.order]]
    order = table.order[tracks.candidate_index[table.order] >= 0]
    one, two = order[:-1], order[1:]
    first, second = tracks.candidate_index[one], tracks.candidate_index[two]
    inside = (tracks.track_index[one] == tracks.track_index[two]) & (beliefs.next_row[first] == second)
    inside &= ~beliefs.settled[first]
    same = view.constraints.object_index
    inside &= (same[first] < 0) | (same[first] != same[second])
    one, first, second = one[inside], first[inside], second[inside]
    track = tracks.track_index[one]
    length, before = np.diff(table.start)[track], own[one] + 1
    probability = view.experience.believe(LINKS, beliefs.next_probability[first])
    probability = np.where(beliefs.next_probability[first] >= 1, 1.0, probability)
    return _Links(
        first, second, track, tracks.frame[one], probability, np.minimum(before, length - before).astype(float)
    )


def _about_links(view: View, links: _Links) -> list[Query]:
    """Does a track really go on here?"""
    out = []
    gain = (1 - links.probability) * links.part
    for n in np.flatnonzero((links.probability < SURE) & (gain >= LEAST_GAIN)).tolist():
        first, second = int(links.first[n]), int(links.second[n])
        level = int(view.beliefs.next_level[first])
        out.append(
            Query(
                view.key,
                Question.LINK,
                _boxes(view, [first]),
                _boxes(view, [second]),
                int(links.frame[n]),
                int(links.track[n]),
                level,
                float(links.probability[n]),
                COST[Question.LINK],
                float(gain[n]),
                float(view.beliefs.next_probability[first]),
            )
        )
    return out


def _about_open_links(view: View, table: _TrackTable) -> list[Query]:
    """Links that the model did not make: to the likeliest partner of every chain's end."""
    beliefs = view.beliefs
    size = np.bincount(beliefs.chain[beliefs.kept], minlength=int(beliefs.chain.max(initial=-1)) + 2)
    weight = np.bincount(beliefs.chain[beliefs.chain >= 0], beliefs.validity[beliefs.chain >= 0], len(size))
    worth = np.where(size > 0, size, weight)
    out = []
    level = int(beliefs.next_level.max(initial=0))
    order = np.argsort(-beliefs.open_probability, kind="stable")
    busy: set[int] = set()
    for pair in order.tolist():
        source, target = int(beliefs.open_source[pair]), int(beliefs.open_target[pair])
        probability = float(view.experience.believe(LINKS, beliefs.open_probability[pair]))
        if probability < 1 - SURE:
            break
        if source in busy or -1 - target in busy:
            continue
        one, two = beliefs.chain[source], beliefs.chain[target]
        if not (beliefs.kept[source] or beliefs.kept[target]):
            continue
        ends = table.track_of_candidate
        if ends[source] >= 0 and ends[source] == ends[target]:
            continue
        busy |= {source, -1 - target}
        gap = int(view.candidates.frame[target] - view.candidates.frame[source] - 1)
        gain = probability * (min(worth[one], worth[two]) + min(gap, view.info.frame_rate))
        out.append(
            Query(
                view.key,
                Question.LINK,
                _boxes(view, [source]),
                _boxes(view, [target]),
                int(view.candidates.frame[source]),
                int(ends[source]),
                level,
                probability,
                COST[Question.LINK],
                gain,
                float(beliefs.open_probability[pair]),
            )
        )
    return out


def _about_missing(view: View) -> list[Query]:
    """Frames in which a person looks for objects that have no track."""
    rate, length = view.info.frame_rate, view.info.num_frames
    step = max(1, round(MISSING_EVERY * rate))
    frames = np.arange(min(step // 2, length - 1), length, step)
    fresh = frames[~np.isin(frames, view.experience.complete)]
    expected = view.experience.found * view.experience.quiet(fresh, rate)
    out = []
    for frame, rate_here in zip(fresh.tolist(), expected.tolist(), strict=True):
        # the gain is per click of COST: what is found costs more, what is not found costs one
        clicks = rate_here * MISSING_COST + 1
        gain = rate_here * view.experience.found_boxes / clicks * COST[Question.MISSING]
        out.append(
            Query(view.key, Question.MISSING, (), (), frame, -1, -1, min(rate_here, 1.0), COST[Question.MISSING], gain)
        )
    return out


def _query(
    view: View, question: Question, boxes: tuple[Box, ...], track: int, row: int, probability: float, gain: float
) -> Query:
    frame = int(view.tracks.frame[row])
    level = 0 if question is Question.VALID else -1
    return Query(view.key, question, boxes, (), frame, track, level, probability, COST[question], gain)


def frame_queries(view: View, frame: int, asked: Sequence[Query]) -> list[Query]:
    """Everything that a person does who labels one frame: every box in it, and what is missing.

    Args:
        view: of the video.
        frame: 0-based.
        asked: all open questions about the video.
    """
    table, tracks = _TrackTable(view), view.tracks
    out = [q for q in asked if q.frame == frame and q.question in (Question.VALID, Question.LINK)]
    for row in np.flatnonzero((tracks.frame == frame) & (tracks.source != Source.HUMAN)).tolist():
        track = int(tracks.track_index[row])
        anchor = anchor_row(view, table.rows(track), frame)
        valid = float(tracks.track_validity[track])
        out.append(_query(view, Question.BOX, (reference_box(view, anchor),), track, row, valid, LEAST_GAIN))
    if frame not in view.experience.complete:
        out.append(Query(view.key, Question.MISSING, (), (), frame, -1, -1, 0.5, COST[Question.MISSING], LEAST_GAIN))
    return out
