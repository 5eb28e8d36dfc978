"""Fill what lies between a person's boxes of an object, before the first and behind the last of them.

A tracker follows the object from every box to the next one, forward and backward; what it saw, the straight line and
both boxes together give the course of the object and how far each filled box can be trusted. Where the line is likely
to be nearer than the tracker, the line is what is filled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..models.columns import FARTHEST, Candidates, VideoInfo
from ..models.errors import InputError
from ..models.spot.confidence import LOSS, Calibration, expected_loss
from ..models.spot.evidence import Checks, weigh
from ..models.spot.following import Trail, divide, join, split, split_at_cuts
from ..models.spot.fusing import Course, confidence_of, fuse, gather, on_the_line
from ..models.spot.gaps import Gaps, find_checks, find_gaps, join_gaps, line_through, open_end_stops, overlap
from ..models.spot.payoff import payoffs
from ..models.spot.rivals import close_friends, losers, snapped
from .following import Journey, follow

if TYPE_CHECKING:
    from ..models.spot.model import Tracker

#: Frame (M,) and xyxy (M, 4) of boxes.
Occupied = tuple[NDArray[np.int64], NDArray[np.floating]]

#: What the tracker saw in a gap, by a key that names the gap.
Cache = MutableMapping[bytes, Any]

#: Overlap from which a filled box counts as right; what ``Fills.confidence`` is the probability of.
RIGHT = 0.7

_FAR = 1 << 32  # above every frame


class How(IntEnum):
    """Where a filled box comes from."""

    TRACKED = 0
    INTERPOLATED = 1
    SNAPPED = 2


class Frames(Protocol):
    """The pictures of one video."""

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Pictures of some frames, in the order asked for, one at a time.

        Args:
            frames: 0-based and ascending.

        Yields:
            The frame and its picture, (H, W, 3) uint8 RGB. Frames that cannot be read are left out.
        """


@dataclass(frozen=True)
class Keyframes:
    """A person's boxes of the objects of one video, sorted by (track, frame), no two of a track in one frame.

    Attributes:
        track: (K,) int64, which object, from 0.
        frame: (K,) int64, 0-based.
        xyxy: (K, 4) float32, pixels; may lie partly outside the picture.
        absent: (A, 3) int64 rows of track, first and last frame: frames in which the object is known not to be there.
        earliest: (T,) int64, the first frame in which each object is there, as far as it is known, else -1; None for
            all unknown. T is above the highest track.
        latest: (T,) int64, likewise the last one.

    Raises:
        InputError: for columns of unequal length, rows that are unsorted or double, negative tracks or frames, and
            boxes that are not finite or have no area; names track and frame.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    absent: NDArray[np.int64] | None = None
    earliest: NDArray[np.int64] | None = None
    latest: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.track)
        if len(self.frame) != count or self.xyxy.shape != (count, 4):
            raise InputError(
                f"keyframes: track has {count} rows, frame {len(self.frame)} and xyxy shape {self.xyxy.shape}; they "
                "must agree"
            )
        if self.absent is not None and (self.absent.ndim != 2 or self.absent.shape[1] != 3):
            raise InputError(f"keyframes: absent has shape {self.absent.shape}; expected (A, 3)")
        for key in ("earliest", "latest"):
            column = getattr(self, key)
            if column is not None and len(column) <= self.track.max(initial=-1):
                raise InputError(f"keyframes: {key} has {len(column)} rows, but track {int(self.track.max())} exists")
        if not count:
            return
        if self.track.min() < 0 or self.frame.min() < 0:
            raise InputError("keyframes: tracks and frames must be 0-based")
        ahead = (np.diff(self.track) > 0) | ((np.diff(self.track) == 0) & (np.diff(self.frame) > 0))
        if not ahead.all():
            row = int((~ahead).argmax()) + 1
            raise InputError(
                f"keyframes: track {int(self.track[row])} has frame {int(self.frame[row])} twice or out of order; sort "
                "by track and frame and keep one box of each"
            )
        box = np.asarray(self.xyxy, np.float64)
        bad = ~((np.abs(box) <= FARTHEST).all(1) & (box[:, 2:] > box[:, :2]).all(1))
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"keyframes: the box of track {int(self.track[row])} in frame {int(self.frame[row])} is "
                f"{box[row].tolist()}; boxes are xyxy in pixels and have some area: draw it again"
            )

    def __len__(self) -> int:
        return len(self.track)

    @classmethod
    def sorted(
        cls,
        track: NDArray[np.int64],
        frame: NDArray[np.int64],
        xyxy: NDArray[np.floating],
        absent: NDArray[np.int64] | None = None,
    ) -> Keyframes:
        """Key frames from rows in any order."""
        order = np.lexsort((frame, track))
        boxes = np.asarray(xyxy, np.float32).reshape(-1, 4)[order]
        return cls(np.asarray(track, np.int64)[order], np.asarray(frame, np.int64)[order], boxes, absent)


@dataclass(frozen=True)
class FillSettings:
    """How to fill.

    Attributes:
        max_gap: frames between two boxes that are followed from both ends; longer gaps are followed from each end for
            ``open_frames``.
        open_frames: how far to go before the first and behind the last box of an object, in frames; 0 for not at all.
        hann: weight of the window that prefers the middle of a search crop (TransT: 0.49).
        low: expected overlap or score below which the tracker has lost its target and looks again, in a larger window.
        bidirectional: follow gaps from both ends; else from the earlier one alone.
        fall_back: use the straight line where the tracker is not expected to be nearer; False for the ablation, which
            takes the tracker's boxes as they are.
        least_confidence: where an open end stops: when the mean confidence of its last frames falls below it.
        snap: take a candidate's box where the human boxes show that candidates fit better than the tracker.
        snap_iou: overlap that a candidate must have with the filled box.
        snap_score: share of the video's candidates that must have a lower score than it.
        apart: overlap that boxes of two tracks may have in a frame unless their human boxes have more.
        checks: human boxes that are filled over, as if they were not there, to learn how far to trust whom; each costs
            as much as two gaps.
        batch: targets that are looked at at once.
        memory: bytes of pictures that are kept for the way back; what does not fit is read a second time.

    Raises:
        InputError: for values out of their range.
    """

    max_gap: int = 300
    open_frames: int = 60
    hann: float = 0.49
    low: float = 0.35
    bidirectional: bool = True
    fall_back: bool = True
    least_confidence: float = 0.5
    snap: bool = True
    snap_iou: float = 0.7
    snap_score: float = 0.5
    apart: float = 0.7
    checks: int = 24
    batch: int = 64
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                continue
            if field.type == "float" and not 0 <= value <= 1:
                raise InputError(f"filling: {field.name} is {value!r}; it must be between 0 and 1")
            if field.type == "int" and value < (1 if field.name in ("batch", "memory") else 0):
                raise InputError(f"filling: {field.name} is {value!r}; it is a whole number and not negative")


@dataclass(frozen=True)
class Fills:
    """Filled boxes of one video, sorted by (frame, track); never one in a frame where the object has a human box.

    Attributes:
        track: (M,) int64, as in the key frames.
        frame: (M,) int64, 0-based.
        xyxy: (M, 4) float32, pixels; may lie partly outside the picture.
        confidence: (M,) float32 in [0, 1], calibrated probability that the overlap with the truth is at least 0.7.
        how: (M,) uint8, a ``How``.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    how: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.track)

    @classmethod
    def empty(cls) -> Fills:
        """Nothing filled."""
        none = np.zeros(0, np.int64)
        return cls(none, none, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8))

    def take(self, rows: NDArray) -> Fills:
        """Those of an index or mask, in its order."""
        return Fills(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class FillReport:
    """What filling did.

    Attributes:
        gaps: stretches between two boxes that were filled.
        fell_back: how many of them got the straight line, for it is expected to be nearer.
        open_ends: stretches before the first or behind the last box of an object that were followed.
        stopped: how many of these ended early, for the target was lost or left the picture.
        tracked: filled boxes that the tracker saw.
        interpolated: filled boxes on the straight line.
        snapped: filled boxes that are those of a candidate.
        contested: filled boxes that lost their place to another track.
        looks: how often the tracker looked.
        reads: pictures that were decoded, doubles counted.
        unreadable: frames that could not be decoded, ascending.
        cuts: frames in which a new scene begins, ascending.
        checked: human boxes that were predicted from their neighbours, to learn how far to trust whom.
        fused_iou: mean overlap of what would have been filled with these; nan without any.
        line_iou: mean overlap of the straight line with these; nan without any.
    """

    gaps: int = 0
    fell_back: int = 0
    open_ends: int = 0
    stopped: int = 0
    tracked: int = 0
    interpolated: int = 0
    snapped: int = 0
    contested: int = 0
    looks: int = 0
    reads: int = 0
    unreadable: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    checked: int = 0
    fused_iou: float = float("nan")
    line_iou: float = float("nan")


@dataclass(frozen=True)
class NextKeys:
    """Where the next human box of each object pays most, best first.

    Attributes:
        track: (N,) int64.
        frame: (N,) int64, 0-based.
        gain: (N,) float64, filled boxes with an overlap below 0.7 that the box is expected to put right.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    gain: NDArray[np.float64]


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
    _check(keys, info)
    gaps = find_gaps(
        keys.track, keys.frame, info.num_frames, settings.max_gap, settings.open_frames, keys.absent, keys.earliest,
        keys.latest,
    )  # fmt: skip
    if not len(gaps):
        return Fills.empty(), FillReport()
    calibration = Calibration.read(tracker.calibration)
    whole = np.zeros(len(keys), bool)
    whole[gaps.before[gaps.inner]] = True
    checks, checked = find_checks(keys.track, keys.frame, whole, settings.checks, settings.max_gap)
    trail, journey = _followed(tracker, frames, join_gaps(gaps, checks), keys, info, settings, cache, progress)
    trail, aside = divide(trail, len(gaps))
    uncut = np.isfinite(aside.xyxy[0, aside.first[1:] - 1, 0])
    checks, checked, aside = checks.take(uncut), checked[uncut], join([split(aside)[n] for n in np.flatnonzero(uncut)])
    gaps, trail, cuts = split_at_cuts(gaps, trail, keys.frame)
    line, check_line = (line_through(each, keys.frame, keys.xyxy) for each in (gaps, checks))
    opinions = gather(gaps, line, trail, keys.xyxy)
    seen = Checks(checks, checked, check_line, gather(checks, check_line, aside, keys.xyxy))
    proof = weigh(
        gaps, seen, keys.track, keys.frame, keys.xyxy, info.frame_rate, calibration, settings.max_gap,
        settings.fall_back,
    )  # fmt: skip
    course = fuse(gaps, line, opinions, info.frame_rate, calibration, proof.faith, settings.fall_back)
    if settings.fall_back and not proof.useful:
        course = on_the_line(gaps, line, course)
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
    good = opinions.seen.any(0) & inside
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
        contested=int(contested.sum()), looks=journey.looks, reads=journey.reads,
        unreadable=tuple(sorted(journey.unreadable)), cuts=tuple(cuts.tolist()), checked=len(proof.key),
        fused_iou=_mean(proof.fused_iou), line_iou=_mean(proof.line_iou),
    )  # fmt: skip
    return fills.take(np.lexsort((fills.track, fills.frame))), report


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
    new = np.array([cache is None or name not in cache for name in names] or [True] * len(gaps))
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
    said = (tracker.version, int(gaps.track[gap]), int(gaps.first[gap]), int(gaps.last[gap]), boxes, settings.hann,
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
