"""Fill what lies between a person's boxes of an object, before the first and behind the last of them.

A tracker follows the object from every box to the next one, forward and backward; what it saw, the straight line and
both boxes together give the course of the object and how far each filled box can be trusted. Where the line is likely
to be nearer than the tracker, the line is what is filled. Some human boxes are filled over as if they were not there:
this shows, for every video, whom to trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Candidates, VideoInfo
from ..models.errors import InputError
from ..models.spot.confidence import LOSS, Calibration, expected_loss
from ..models.spot.evidence import Checks, weigh
from ..models.spot.following import Trail, divide, join, split, split_at_cuts
from ..models.spot.fusing import Course, Opinions, confidence_of, fuse, gather, on_the_line
from ..models.spot.gaps import (
    Gaps,
    Line,
    find_checks,
    find_gaps,
    join_gaps,
    line_through,
    open_end_stops,
    overlap,
)  # fmt: skip
from ..models.spot.payoff import payoffs
from ..models.spot.rivals import close_friends, losers, snapped
from .fills import (
    RIGHT,
    Cache,
    FillReport,
    Fills,
    FillSettings,
    Frames,
    How,
    Keyframes,
    NextKeys,
    Occupied,
)  # fmt: skip
from .following import Journey, follow

if TYPE_CHECKING:
    from ..models.spot.model import Tracker

__all__ = [
    "RIGHT", "Cache", "FillReport", "FillSettings", "Fills", "Frames", "How", "Keyframes", "NextKeys", "Occupied",
    "Sights", "fill_gaps", "look_through", "next_keys",
]  # fmt: skip

_FAR = 1 << 32  # above every frame


def fill_gaps(
    tracker: Tracker, frames: Frames, keys: Keyframes, info: VideoInfo, candidates: Candidates | None = None,
    settings: FillSettings | None = None, occupied: Occupied | None = None, cache: Cache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Fills, FillReport]:  # fmt: skip
    """Fill what lies between and beside the human boxes of one video.

    Args:
        tracker: what follows objects.
        frames: the video's pictures; each is decoded at most once.
        keys: the human boxes.
        info: of the video.
        candidates: to whose boxes filled ones may snap; None for no snapping.
        settings: how to fill.
        occupied: boxes of other objects in the same video, which filled boxes must keep apart from.
        cache: what the tracker saw in gaps filled before, by gap; found gaps are not followed again, new ones are
            entered. A gap's entry depends on the tracker, its human boxes and the settings, and on no other gap. Only
            the two gaps next to a new human box are new.
        progress: called with frames done and frames in all.

    Returns:
        The filled boxes, and what was done.

    Raises:
        InputError: for human boxes in frames that the video lacks, or wholly outside the picture.
    """
    settings = settings or FillSettings()
    sights = look_through(tracker, frames, keys, info, settings, cache, progress)
    gaps, line = sights.gaps, sights.line
    if not len(gaps):
        return Fills.empty(), FillReport()
    calibration = Calibration.read(tracker.calibration)
    proof = weigh(
        gaps, line, sights.opinions, sights.checks, keys.track, keys.frame, keys.xyxy, info.frame_rate, calibration,
        settings.max_gap, settings.fall_back,
    )  # fmt: skip
    course = fuse(gaps, line, sights.opinions, info.frame_rate, calibration, proof.faith, settings.fall_back)
    if settings.fall_back:
        course = on_the_line(gaps, line, course, ~proof.useful)
    sure = confidence_of(gaps, line, course, calibration)
    inner = gaps.inner[line.gap]
    how = np.where(course.tracked, How.TRACKED, How.INTERPOLATED).astype(np.uint8)
    fills = Fills(
        gaps.track[line.gap], line.frame, course.xyxy.astype(np.float32), sure.astype(np.float32), how
    )  # fmt: skip
    fills = _snap(fills, course, keys, candidates, settings)
    fills, contested = _keep_apart(fills, line.xyxy, inner, keys, occupied, settings)
    middle = (fills.xyxy[:, :2] + fills.xyxy[:, 2:]) / 2
    inside = ((middle >= 0) & (middle <= (info.width, info.height))).all(1)
    good = np.asarray(sights.opinions.seen.any(0) & inside)
    kept = inner.copy()
    ends = np.flatnonzero(~inner)
    kept[ends] = open_end_stops(
        line.gap[ends], (gaps.before >= 0)[line.gap[ends]], fills.confidence[ends], good[ends],
        settings.least_confidence,
    )  # fmt: skip
    total = np.bincount(line.gap, minlength=len(gaps))
    short = np.bincount(line.gap[kept], minlength=len(gaps)) < total
    straight = np.bincount(line.gap[how == How.TRACKED], minlength=len(gaps)) == 0
    fills, contested = fills.take(kept), contested[kept]
    report = FillReport(
        gaps=int(gaps.inner.sum()), fell_back=int((gaps.inner & straight).sum()), open_ends=int((~gaps.inner).sum()),
        stopped=int((~gaps.inner & short).sum()), tracked=int((fills.how == How.TRACKED).sum()),
        interpolated=int((fills.how == How.INTERPOLATED).sum()), snapped=int((fills.how == How.SNAPPED).sum()),
        contested=int(contested.sum()), looks=sights.journey.looks, reads=sights.journey.reads,
        unreadable=tuple(sorted(sights.journey.unreadable)), cuts=sights.cuts, checked=len(proof.key),
        fused_iou=_mean(proof.fused_iou), line_iou=_mean(proof.line_iou),
    )  # fmt: skip
    return fills.take(np.lexsort((fills.track, fills.frame))), report


@dataclass(frozen=True)
class Sights:
    """What was seen in the gaps of a video, before anybody decides what it is worth.

    Attributes:
        gaps: to be filled.
        line: through them.
        opinions: of the walks through them.
        checks: human boxes that were filled over.
        journey: what looking cost.
        cuts: frames in which scenes begin.
    """

    gaps: Gaps
    line: Line
    opinions: Opinions
    checks: Checks
    journey: Journey
    cuts: tuple[int, ...]


def look_through(
    tracker: Tracker, frames: Frames, keys: Keyframes, info: VideoInfo, settings: FillSettings,
    cache: Cache | None = None, progress: Callable[[int, int], None] | None = None,
) -> Sights:  # fmt: skip
    """Follow all objects through all gaps, and over some human boxes; see ``fill_gaps``."""
    _check(keys, info)
    gaps = find_gaps(
        keys.track, keys.frame, info.num_frames, settings.max_gap, settings.open_frames, keys.absent, keys.earliest,
        keys.latest,
    )  # fmt: skip
    whole = np.zeros(len(keys), bool)
    whole[gaps.before[gaps.inner]] = True
    checks, checked = find_checks(keys.track, keys.frame, whole, settings.checks, settings.max_gap)
    trail, journey = _followed(tracker, frames, join_gaps(gaps, checks), keys, info, settings, cache, progress)
    trail, aside = divide(trail, len(gaps))
    uncut = np.flatnonzero(np.isfinite(aside.xyxy[0, aside.first[1:] - 1, 0]))
    parts = split(aside)
    checks, checked, aside = checks.take(uncut), checked[uncut], join([parts[number] for number in uncut])
    gaps, trail, cuts = split_at_cuts(gaps, trail, keys.frame)
    line, over = (line_through(each, keys.frame, keys.xyxy) for each in (gaps, checks))
    opinions = gather(gaps, line, trail, keys.xyxy)
    seen = Checks(checks, checked, over, gather(checks, over, aside, keys.xyxy))
    return Sights(gaps, line, opinions, seen, journey, tuple(cuts.tolist()))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _snap(
    fills: Fills, course: Course, keys: Keyframes, candidates: Candidates | None, settings: FillSettings
) -> Fills:
    """Fills with the boxes of candidates where these are expected to be nearer."""
    if candidates is None or not settings.snap or not len(candidates):
        return fills
    row = snapped(
        fills.frame, fills.xyxy, expected_loss(course.variance), keys.frame, keys.xyxy, candidates.frame,
        candidates.xyxy, candidates.score, settings.snap_iou, settings.snap_score, np.array(LOSS),
    )  # fmt: skip
    taken = row >= 0
    xyxy = np.where(taken[:, None], candidates.xyxy[row], fills.xyxy)
    return replace(fills, xyxy=xyxy.astype(np.float32), how=np.where(taken, How.SNAPPED, fills.how).astype(np.uint8))


def _keep_apart(
    fills: Fills, line: NDArray[np.float64], inner: NDArray[np.bool_], keys: Keyframes, occupied: Occupied | None,
    settings: FillSettings,
) -> tuple[Fills, NDArray[np.bool_]]:  # fmt: skip
    """Fills of which no two are in one place: who is less sure goes back to the line, or is hardly believed."""
    order = np.argsort(fills.frame, kind="stable")
    taken = [(keys.track, keys.frame, keys.xyxy)]
    if occupied is not None:
        taken.append((np.full(len(occupied[0]), -1), occupied[0], np.asarray(occupied[1], np.float32)))
    track, frame, xyxy = (np.concatenate(each) for each in zip(*taken, strict=True))
    by_frame = np.argsort(frame, kind="stable")
    friends = close_friends(keys.track, keys.frame, keys.xyxy, settings.apart)
    lost, to = np.zeros(len(fills), bool), np.zeros((len(fills), 4))
    lost[order], to[order] = losers(
        fills.track[order], fills.frame[order], fills.xyxy[order], fills.confidence[order], settings.apart, friends,
        track[by_frame], frame[by_frame], xyxy[by_frame],
    )  # fmt: skip
    back = lost & inner & (overlap(line, to) <= settings.apart)
    return replace(
        fills,
        xyxy=np.where(back[:, None], line, fills.xyxy).astype(np.float32),
        confidence=np.where(lost, fills.confidence / 2, fills.confidence).astype(np.float32),
        how=np.where(back, How.INTERPOLATED, fills.how).astype(np.uint8),
    ), lost


def _check(keys: Keyframes, info: VideoInfo) -> None:
    """Raise ``InputError`` for human boxes that the video cannot have."""
    late = keys.frame >= info.num_frames
    box = keys.xyxy
    outside = (box[:, 2:] <= 0).any(1) | (box[:, 0] >= info.width) | (box[:, 1] >= info.height)
    for bad, why in (
        (late, f"the video has {info.num_frames} frames"),
        (outside, "it lies wholly outside the picture"),
    ):
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"video {info.name!r}: the box of track {int(keys.track[row])} in frame {int(keys.frame[row])} cannot "
                f"be followed: {why}; correct or delete it"
            )


def _followed(
    tracker: Tracker, frames: Frames, gaps: Gaps, keys: Keyframes, info: VideoInfo, settings: FillSettings,
    cache: Cache | None, progress: Callable[[int, int], None] | None,
) -> tuple[Trail, Journey]:  # fmt: skip
    """What the tracker saw in all gaps, by what it saw before and by following the others."""
    names = [_name(tracker, gap, gaps, keys, settings) for gap in range(len(gaps))] if cache is not None else []
    new = np.array([name not in cache for name in names] if cache is not None else [True] * len(gaps), bool)
    size = (float(info.width), float(info.height))
    trail, journey = follow(tracker, frames, gaps.take(new), keys.frame, keys.xyxy, size, settings, progress)
    if cache is None:
        return trail, journey
    for gap, part in zip(np.flatnonzero(new), split(trail), strict=True):
        cache[names[gap]] = part
    return join([cache[name] for name in names]), journey


def _name(tracker: Tracker, gap: int, gaps: Gaps, keys: Keyframes, settings: FillSettings) -> bytes:
    """What a gap's trail depends on, as a digest."""
    ends = [int(each[gap]) for each in (gaps.before, gaps.behind)]
    boxes = [keys.xyxy[end].astype(np.float32).tobytes() if end >= 0 else b"" for end in ends]
    said = (tracker.version, int(gaps.first[gap]), int(gaps.last[gap]), boxes, settings.hann,
            settings.low, settings.bidirectional)  # fmt: skip
    return hashlib.blake2b(repr(said).encode(), digest_size=16).digest()


def next_keys(fills: Fills, keys: Keyframes, per_track: int = 1) -> NextKeys:
    """Where the next human boxes pay most.

    Args:
        fills: of a video.
        keys: that they were filled from.
        per_track: how many frames of each object are named at most, each in another stretch between its human boxes.

    Returns:
        The best frame of each stretch, best stretch first.
    """
    rows = np.lexsort((fills.frame, fills.track))
    track, frame = fills.track[rows], fills.frame[rows]
    place = np.searchsorted(keys.track * _FAR + keys.frame, track * _FAR + frame)  # of the human box behind
    around = np.concatenate([[[-1, -1]], np.stack([keys.track, keys.frame], 1), [[-1, -1]]])
    before, behind = (np.where(each[:, 0] == track, each[:, 1], -1) for each in (around[place], around[place + 1]))
    gain = payoffs(frame, 1.0 - fills.confidence[rows].astype(np.float64), before, behind)
    order = np.lexsort((frame, -gain))
    _, best = np.unique(np.stack([track, before, behind], 1)[order], axis=0, return_index=True)
    order = order[np.sort(best)]  # the best of each stretch, best first
    of_track = np.argsort(track[order], kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[of_track] = np.arange(len(order)) - np.searchsorted(track[order][of_track], track[order][of_track])
    order = order[rank < per_track]
    return NextKeys(track[order], frame[order], gain[order])
