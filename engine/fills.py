"""What filling takes and gives: a person's boxes, settings, filled boxes and what was done, in columns of one video."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..models.columns import FARTHEST
from ..models.errors import InputError
from ..models.spot.following import Trail

#: Frame (M,) and xyxy (M, 4) of boxes.
Occupied = tuple[NDArray[np.int64], NDArray[np.floating]]

#: What the tracker saw in a gap, by a key that names the gap.
Cache = MutableMapping[bytes, Trail]

#: Overlap from which a filled box counts as right; what ``Fills.confidence`` is the probability of.
RIGHT = 0.7


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
