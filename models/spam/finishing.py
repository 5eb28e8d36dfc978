"""From kept boxes to finished tracks: gaps filled, courses smoothed, and every drawn box where a person drew it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..columns import Candidates, Source, Tracks, VideoInfo
from .beliefs import Kept, entropy
from .constraints import Constraints
from .interpolation import FilledTracks, fill_gaps
from .keyframes import Offsets, bends, blend, credible_gap, learn_offsets, pin, to_state, to_xyxy
from .overlaps import overlapping, paired_iou
from .settings import LabelSettings
from .smoothing import smooth_tracks

SAME_OBJECT = 0.5  # overlap from which a candidate is the object of a pinned track
DOUBLES = 0.65  # overlap from which a box without a person's word gives way to a pinned track,
MOSTLY = 0.7  # if so much of its track does
NO_LIMIT = 1 << 40  # frames
LEFT = 0.6  # overlap with its candidate below which a smoothed box may have been left behind by its course,
IN_A_ROW = 3  # frames from one such to the next


def finish(
    kept: Kept, said: Constraints, info: VideoInfo, candidates: Candidates, settings: LabelSettings
) -> tuple[Tracks, Offsets]:
    """Fill and smooth kept boxes, pin them to drawn ones, and put all columns into their final order.

    Args:
        kept: sorted by (track, frame).
        said: what people said.
        info: of the video.
        candidates: of the video.
        settings: what the user wants.

    Returns:
        The tracks, and what the drawn boxes taught.
    """
    cap = round(settings.max_gap_seconds * info.frame_rate) if settings.interpolate else 0
    kept = _not_there(kept, said)
    table, offsets = _table(kept, said, info, candidates, settings, cap)
    if (kept.drawn >= 0).any() and settings.interpolate:
        more = _agreeing(kept, said, candidates, table)
        if len(more.row) > len(kept.row):
            kept = more
            table, offsets = _table(kept, said, info, candidates, settings, cap)
    frame, track, xyxy, left, right, filled, certain = table
    tracks = _columns(kept, said, frame, track, xyxy, left, right, filled, certain)
    return _on_candidates(tracks, candidates), offsets


def _on_candidates(tracks: Tracks, candidates: Candidates) -> Tracks:
    """The tracks, with no candidate behind a filled box that does not lie on it: it only took the frame from it."""
    rows = np.flatnonzero((tracks.source == Source.PROPAGATED) & (tracks.candidate_index >= 0))
    if not len(rows):
        return tracks
    behind = candidates.xyxy[tracks.candidate_index[rows]]
    index = tracks.candidate_index.copy()
    index[rows[paired_iou(tracks.xyxy[rows], behind) < SAME_OBJECT]] = -1
    return replace(tracks, candidate_index=index)


def _table(
    kept: Kept, said: Constraints, info: VideoInfo, candidates: Candidates, settings: LabelSettings, cap: int
) -> tuple[tuple[NDArray, ...], Offsets]:
    """Frame, track, xyxy, left and right kept row, is filled, is certain, by (track, frame); what was learned."""
    seen = np.flatnonzero(kept.row >= 0)
    empty = _empty(kept, said)
    caps = _caps(kept.track[seen], kept.frame[seen], empty, cap)
    course = fill_gaps(kept.frame[seen], candidates.xyxy[kept.row[seen]], kept.track[seen], caps)
    xyxy = course.xyxy
    if settings.smooth and len(course):
        xyxy = smooth_tracks(course.frame, xyxy, course.track, observed=~course.is_filled)
        astray = _left_behind(course, xyxy)
        xyxy[astray] = course.xyxy[astray]
    if (kept.drawn >= 0).any():
        table, offsets = _pinned(kept, said, course, xyxy, seen, empty, cap, info.frame_rate)
    else:
        nobody = np.zeros(0, np.int64)
        nothing = np.zeros((0, 4))
        offsets = learn_offsets(nobody, nobody, nothing, nothing, nothing, info.frame_rate)
        table = (course.frame, course.track, xyxy, seen[course.left_row], seen[course.right_row], course.is_filled,
                 np.zeros(len(course), bool))  # fmt: skip
    return (_give_way(kept, table) if kept.vouched.any() else table), offsets


def _left_behind(course: FilledTracks, smoothed: NDArray) -> NDArray[np.bool_]:
    """(M,) bool: candidates whose course the smoother left, not for one box but several in a row on the same side.

    One stiffness a track cannot follow a course that is calm for long and then jumps, as when a hand-held camera turns.
    """
    rows = np.flatnonzero(~course.is_filled)
    out = np.zeros(len(course), bool)
    if len(rows) < 2:
        return out
    given, moved = course.xyxy[rows].astype(np.float64), smoothed[rows].astype(np.float64)
    iou = paired_iou(given, moved)
    shift = to_state(given)[:, :2] - to_state(moved)[:, :2]
    pair = (course.track[rows][1:] == course.track[rows][:-1]) & (np.diff(course.frame[rows]) <= IN_A_ROW)
    pair &= (iou[1:] < LEFT) & (iou[:-1] < LEFT) & ((shift[1:] * shift[:-1]).sum(1) > 0)
    out[rows[1:][pair]] = True
    out[rows[:-1][pair]] = True
    return out


def _agreeing(kept: Kept, said: Constraints, candidates: Candidates, table: tuple[NDArray, ...]) -> Kept:
    """The kept boxes, and candidates in no track where a pinned track is only interpolated: it follows them."""
    frame, track, xyxy, left, _, filled, certain = table
    free = said.verdict >= 0
    free &= said.object_index[: len(free)] < 0
    used = kept.row[left[~filled]]
    free[used[used >= 0]] = False
    rows, gaps = np.flatnonzero(free), np.flatnonzero(filled & certain)
    gap, row, iou = overlapping(frame[gaps], xyxy[gaps], candidates.frame[rows], candidates.xyxy[rows], SAME_OBJECT)
    gap, row = gaps[gap], rows[row]
    best = np.lexsort((row, gap, -iou))
    gap, row = gap[best], row[best]
    _, first = np.unique(gap, return_index=True)
    mutual = np.zeros(len(gap), bool)
    mutual[first] = True
    _, first = np.unique(row, return_index=True)
    once = np.zeros(len(gap), bool)
    once[first] = True
    gap, row = gap[mutual & once], row[mutual & once]
    number = len(row)
    more = {
        "row": row, "drawn": np.full(number, -1), "frame": frame[gap], "track": track[gap],
        "validity": np.ones(number, np.float32), "link_after": np.ones(number, np.float32),
        "link_entropy": np.zeros(number, np.float32), "class_index": kept.class_index[left[gap]],
        "vouched": np.ones(number, bool),
    }  # fmt: skip
    whole = {key: np.concatenate([column, more[key]]) for key, column in vars(kept).items()}
    # a candidate that a doubling track gave up is taken over by the pinned one
    stays = ~(np.isin(kept.row, row) & (kept.row >= 0))
    keep = np.concatenate([stays, np.ones(number, bool)])
    order = np.lexsort((whole["frame"], whole["track"]))
    order = order[keep[order]]
    return Kept(**{key: column[order] for key, column in whole.items()})


def _pinned(
    kept: Kept, said: Constraints, course: FilledTracks, xyxy: NDArray, seen: NDArray[np.int64],
    empty: NDArray[np.int64], cap: int, rate: float,
) -> tuple[tuple[NDArray, ...], Offsets]:  # fmt: skip
    """Courses moved to the drawn boxes, with the gaps that these leave filled.

    Returns:
        Frame, track, xyxy, left row, right row, is filled, is certain, sorted by (track, frame); what was learned.
    """
    keys = np.flatnonzero(kept.drawn >= 0)
    frame = np.concatenate([course.frame, kept.frame[keys]])
    track = np.concatenate([course.track, kept.track[keys]])
    on_key = np.arange(len(frame)) >= len(course)
    order = np.lexsort((on_key, frame, track))
    # a drawn box on the course shares its row; elsewhere it gets one of its own
    again = np.zeros(len(order), bool)
    again[1:] = (track[order][1:] == track[order][:-1]) & (frame[order][1:] == frame[order][:-1])
    rows = np.flatnonzero(~again)
    place = np.cumsum(~again) - 1
    base = order[rows]
    has_course = base < len(course)
    state, drawn = np.zeros((len(rows), 4)), np.zeros((len(rows), 4))
    state[has_course] = to_state(xyxy[base[has_course]])
    key_place = place[np.flatnonzero(on_key[order])]
    key_row = keys[order[on_key[order]] - len(course)]
    is_drawn, is_key = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    is_drawn[key_place] = True
    is_key[key_place] = said.by_person[kept.drawn[key_row]]  # the others were filled in, and teach nothing
    drawn[key_place] = to_state(said.xyxy[kept.drawn[key_row]])
    state[~has_course] = drawn[~has_course]
    frame, track = frame[base], track[base]
    interpolated = np.zeros(len(rows), bool)
    interpolated[has_course] = course.is_filled[base[has_course]]
    observed = (has_course & ~interpolated) | is_drawn
    bend = bends(track, frame, state, observed, rate)[track]
    # a gap between candidates in which somebody drew a box tells no course any more
    gap = np.cumsum(~interpolated)
    has_course &= ~(interpolated & np.isin(gap, gap[interpolated & is_drawn]))
    both = is_key & has_course
    offsets = learn_offsets(track[both], frame[both], state[both], drawn[both], bend[both], rate)
    state = pin(track, frame, state, drawn, is_key, has_course, bend, offsets, rate)
    if said.filled is not None:
        trust = np.full(len(rows), np.nan)
        trust[key_place] = said.filled[kept.drawn[key_row]]
        state = blend(track, frame, state, drawn, trust, is_key, has_course, bend, offsets, rate)
    # what neither candidates nor people tell is left to the filling below
    told = has_course | is_drawn
    base, frame, track, state, bend = base[told], frame[told], track[told], state[told], bend[told]
    is_drawn, has_course, interpolated = is_drawn[told], has_course[told], interpolated[told]
    is_key = is_key[told]
    key_place = (np.cumsum(told) - 1)[key_place]

    own_left, own_right = np.zeros(len(base), np.int64), np.zeros(len(base), np.int64)
    own_left[has_course] = seen[course.left_row[base[has_course]]]
    own_right[has_course] = seen[course.right_row[base[has_course]]]
    own_left[key_place], own_right[key_place] = key_row, key_row
    interpolated &= ~is_drawn
    pinned = _between_drawn(track, is_key)
    most = credible_gap(bend, rate)
    most = np.where(pinned[0], np.maximum(most, cap), cap)
    # two boxes that a person drew one after the other mean what lies between them
    most[:-1][is_drawn[:-1] & is_drawn[1:] & pinned[0][:-1] & (cap > 0)] = NO_LIMIT
    filled = fill_gaps(frame, state, track, _caps(track, frame, empty, most))
    boxes = to_xyxy(filled.xyxy)
    exact = ~filled.is_filled & is_key[filled.left_row]
    boxes[exact] = said.xyxy[kept.drawn[own_left[filled.left_row[exact]]]]
    certain = np.where(filled.is_filled, pinned[0][filled.left_row], pinned[1][filled.left_row])
    table = (
        filled.frame, filled.track, boxes,
        np.where(filled.is_filled, own_right[filled.left_row], own_left[filled.left_row]),
        np.where(filled.is_filled, own_left[filled.right_row], own_right[filled.left_row]),
        filled.is_filled | interpolated[filled.left_row], certain,
    )  # fmt: skip
    return table, offsets


def _between_drawn(track: NDArray, is_drawn: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """(N,) bool: rows after which the track still has a drawn box, and one at or before; rows at or between such."""
    number = len(track)
    size = int(track.max(initial=-1)) + 1
    first, last = np.full(size, number), np.full(size, -1)
    rows = np.flatnonzero(is_drawn)
    np.minimum.at(first, track[rows], rows)
    np.maximum.at(last, track[rows], rows)
    row = np.arange(number)
    return (row >= first[track]) & (row < last[track]), (row >= first[track]) & (row <= last[track])


def _give_way(kept: Kept, table: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    """The table without tracks that nobody vouched for and that mostly double a person's track."""
    frame, track, xyxy, certain = table[0], table[1], table[2], table[6]
    vouched = np.zeros(int(track.max(initial=-1)) + 1, bool)
    vouched[kept.track[kept.vouched]] = True
    pinned = np.flatnonzero(certain | vouched[track])
    pinned = pinned[np.argsort(frame[pinned], kind="stable")]
    loose = np.flatnonzero(~vouched[track])
    row, _, _ = overlapping(frame[loose], xyxy[loose], frame[pinned], xyxy[pinned], DOUBLES)
    doubled = np.zeros(len(frame), bool)
    doubled[loose[row]] = True
    count, of_track = np.bincount(track, minlength=len(vouched)), np.bincount(track[doubled], minlength=len(vouched))
    doubled &= (of_track >= MOSTLY * count)[track]
    observed = np.bincount(track[~doubled & ~table[5]], minlength=len(vouched))
    doubled |= (observed == 0)[track]  # nothing is left that a filled box could lie between
    return tuple(column[~doubled] for column in table)


def _empty(kept: Kept, said: Constraints) -> NDArray[np.int64]:
    """Sorted keys (``_pair``) of the tracks and frames in which people said that the object is not there."""
    number = len(said.verdict)
    of_row = np.full(number + len(said.frame), -1)
    of_row[number + kept.drawn[kept.drawn >= 0]] = kept.track[kept.drawn >= 0]
    of_row[kept.row[kept.row >= 0]] = kept.track[kept.row >= 0]
    track = of_row[said.absent[:, 0]]
    return np.unique(_pair(track[track >= 0], said.absent[track >= 0, 1]))


def _not_there(kept: Kept, said: Constraints) -> Kept:
    """The kept boxes but for those of the model in frames in which people said that the object is not there."""
    if not len(said.absent):
        return kept
    free = (kept.drawn < 0) & (said.object_index[np.maximum(kept.row, 0)] < 0)
    stays = ~(free & np.isin(_pair(kept.track, kept.frame), _empty(kept, said)))
    return Kept(**{key: column[stays] for key, column in vars(kept).items()})


def _caps(track: NDArray, frame: NDArray, empty: NDArray[np.int64], cap: NDArray | int) -> NDArray[np.int64]:
    """(N,) longest gap to fill behind every row: none over a frame that is empty. Rows sorted by (track, frame)."""
    out = np.broadcast_to(np.asarray(cap, np.int64), frame.shape).copy()
    if len(empty) and len(frame):
        place = np.searchsorted(empty, _pair(track, frame))
        crossed = np.zeros(len(frame), bool)
        crossed[:-1] = (track[1:] == track[:-1]) & (place[1:] > place[:-1])
        out[crossed] = 0
    return out


def _pair(track: NDArray, frame: NDArray) -> NDArray[np.int64]:
    return track.astype(np.int64) * (1 << 40) + frame


def _columns(
    kept: Kept, said: Constraints, frame: NDArray, track: NDArray, xyxy: NDArray, left: NDArray, right: NDArray,
    filled: NDArray, certain: NDArray,
) -> Tracks:  # fmt: skip
    """The final columns of rows sorted by (track, frame)."""
    # A box inside a gap is right if its track goes on through the gap and both ends are right.
    validity = np.where(
        filled, np.minimum(kept.validity[left], kept.validity[right]) * kept.link_after[left], kept.validity[left]
    )
    link = np.where(filled, entropy(kept.link_after[left]), kept.link_entropy[left])
    behind = ~filled & (kept.drawn[left] >= 0)
    drawn = behind.copy()
    drawn[behind] = said.by_person[kept.drawn[left[behind]]]
    propagated = behind & ~drawn
    validity = np.where(certain & ~propagated, 1.0, validity)
    link = np.where(behind, 0.0, link)
    uncertainty = entropy(validity)
    start = np.full(int(track.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(start, track, frame)
    ids = np.unique(track)
    ids = ids[np.argsort(start[ids], kind="stable")]
    number = np.zeros(len(start), np.int64)
    number[ids] = np.arange(len(ids))
    track = number[track]
    order = np.lexsort((track, frame))
    count = np.bincount(track[~filled], minlength=len(ids))
    track_validity = np.bincount(track[~filled], validity[~filled], len(ids)) / np.maximum(count, 1)
    track_uncertainty = np.zeros(len(ids), np.float32)
    np.maximum.at(track_uncertainty, track, np.maximum(uncertainty, link))
    keyframe = np.zeros(len(track), bool)
    keyframe[~filled] = _gap_ends(filled, track)[~filled]
    source = np.where(filled, Source.INTERPOLATED, np.where(drawn, Source.HUMAN, Source.MODEL))
    source = np.where(propagated, Source.PROPAGATED, source)
    return Tracks(
        frame=frame[order].astype(np.int64), xyxy=xyxy[order].astype(np.float32), track_index=track[order],
        class_index=kept.class_index[left][order].astype(np.int64), validity=validity[order].astype(np.float32),
        uncertainty=uncertainty[order], link_uncertainty=link[order].astype(np.float32),
        source=source[order].astype(np.uint8), keyframe=(keyframe | drawn)[order],
        candidate_index=np.where(filled, -1, kept.row[left])[order], track_validity=track_validity.astype(np.float32),
        track_uncertainty=track_uncertainty,
    )  # fmt: skip


def _gap_ends(is_filled: NDArray[np.bool_], track: NDArray) -> NDArray[np.bool_]:
    """(M,) bool: boxes next to a filled one of their track; rows sorted by (track, frame)."""
    out = np.zeros(len(track), bool)
    same = track[1:] == track[:-1]
    out[1:] |= same & is_filled[:-1]
    out[:-1] |= same & is_filled[1:]
    return out
