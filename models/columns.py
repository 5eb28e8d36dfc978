"""Columns of one video: candidates in, tracks out.

Everything that walks between the rooms is one of these frozen dataclasses. Boxes are ``xyxy`` in pixels, frames are
0-based; relative boxes, 1-based frames and the like are converted at the border, in ``integrations``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

FARTHEST = 1e6  # pixels: beyond it lies no image, and single precision blurs boxes


class Source(IntEnum):
    """Who said that a box is there."""

    MODEL = 0
    HUMAN = 1
    PROPAGATED = 2
    INTERPOLATED = 3


@dataclass(frozen=True)
class VideoInfo:
    """What a model must know of a video beside its boxes.

    Attributes:
        name: what messages and reports call it.
        num_frames: length in frames.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        frame_rate: frames per second.

    Raises:
        InputError: for a length, size or frame rate that is not positive and finite.
    """

    name: str
    num_frames: int
    width: float
    height: float
    frame_rate: float

    def __post_init__(self) -> None:
        for key in ("num_frames", "width", "height", "frame_rate"):
            value = getattr(self, key)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"video {self.name!r}: {key} is {value}; it must be positive")


@dataclass(frozen=True)
class Candidates:
    """Detection boxes of one video, as a detector proposed them, sorted by frame.

    Attributes:
        frame: (N,) int64, 0-based, non-decreasing.
        xyxy: (N, 4) float32, pixels, x1 < x2 and y1 < y2.
        score: (N,) float32, any finite scale; only its order and spread within the video matter.
        class_index: (N,) int64; candidates of different classes are never linked.
        embedding: (N, D) floating, or None; appearance vectors of any scale.

    Raises:
        InputError: for columns of unequal length, unsorted or negative frames, boxes that are not finite or have no
            area, or scores that are not finite; names the first bad row.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_index: NDArray[np.int64]
    embedding: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        count = len(self.frame)
        for key in ("xyxy", "score", "class_index", "embedding"):
            column = getattr(self, key)
            if column is not None and len(column) != count:
                raise InputError(f"candidates: column {key} has {len(column)} rows, frame has {count}")
        if self.xyxy.shape != (count, 4):
            raise InputError(f"candidates: xyxy has shape {self.xyxy.shape}, expected ({count}, 4)")
        if not count:
            return
        if self.frame.min() < 0 or (np.diff(self.frame) < 0).any():
            raise InputError("candidates: frames must be 0-based and sorted")
        sides = self.xyxy[:, 2:] - self.xyxy[:, :2]
        bad = ~((np.abs(self.xyxy) <= FARTHEST).all(1) & (sides > 0).all(1) & np.isfinite(self.score))
        if self.embedding is not None:
            bad |= ~np.isfinite(self.embedding).all(1)
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"candidates: row {row} (frame {int(self.frame[row])}) has box {self.xyxy[row].tolist()} and score "
                f"{float(self.score[row])}; boxes need area and coordinates within {FARTHEST:g} pixels, scores and "
                "embeddings must be finite"
            )

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def empty(cls) -> Candidates:
        """No candidates at all."""
        return cls(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Tracks:
    """Boxes of all tracks of one video, sorted by (frame, track_index); at most one box per track and frame.

    Attributes:
        frame: (M,) int64, 0-based.
        xyxy: (M, 4) float32, pixels.
        track_index: (M,) int64, from 0 to T - 1 without holes, in the order of the tracks' first frames.
        class_index: (M,) int64, constant along a track.
        validity: (M,) float32 in [0, 1], calibrated probability that the box is an object.
        uncertainty: (M,) float32 in [0, 1], normalised binary entropy of ``validity``.
        link_uncertainty: (M,) float32 in [0, 1], greatest normalised binary entropy of the links decided at this box.
        source: (M,) uint8, a ``Source``.
        keyframe: (M,) bool, whether the box is a keyframe (a human's, or an end of an interpolated stretch).
        candidate_index: (M,) int64, row of the candidate behind the box, or -1.
        track_validity: (T,) float32 in [0, 1], probability that the whole track is an object.
        track_uncertainty: (T,) float32 in [0, 1], greatest of the validity and link uncertainties along the track.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    track_index: NDArray[np.int64]
    class_index: NDArray[np.int64]
    validity: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    link_uncertainty: NDArray[np.float32]
    source: NDArray[np.uint8]
    keyframe: NDArray[np.bool_]
    candidate_index: NDArray[np.int64]
    track_validity: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    track_uncertainty: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def num_tracks(self) -> int:
        """How many tracks there are."""
        return len(self.track_validity)
