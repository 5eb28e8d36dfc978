"""The two tables that a score compares: what is true, and what was predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InputError


def _check_columns(table: str, frame: NDArray, columns: dict[str, NDArray | None], xyxy: NDArray) -> None:
    """Raise InputError unless all columns have as many rows as ``frame`` and boxes have four numbers."""
    if frame.ndim != 1:
        raise InputError(f"{table}: column frame has {frame.ndim} dimensions, expected 1")
    count = len(frame)
    for key, column in columns.items():
        if column is not None and column.shape != (count,):
            raise InputError(f"{table}: column {key} has shape {column.shape}, expected ({count},)")
    if xyxy.shape != (count, 4):
        raise InputError(f"{table}: column xyxy has shape {xyxy.shape}, expected ({count}, 4)")


@dataclass(frozen=True)
class TrackTable:
    """Predicted boxes of one video, in any order; at most one box per track and frame.

    Attributes:
        frame: (N,) integers, 0-based.
        track_id: (N,) integers of any value.
        xyxy: (N, 4) floating, pixels.

    Raises:
        InputError: for columns of unequal length or of another shape.
    """

    frame: NDArray[np.integer]
    track_id: NDArray[np.integer]
    xyxy: NDArray[np.floating]

    def __post_init__(self) -> None:
        _check_columns("predictions", self.frame, {"track_id": self.track_id}, self.xyxy)

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def empty(cls) -> TrackTable:
        """No predictions at all."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))


@dataclass(frozen=True)
class TruthTable:
    """Ground-truth boxes of one video, in any order; at most one box per track and frame.

    Attributes:
        frame: (N,) integers, 0-based.
        track_id: (N,) integers of any value.
        xyxy: (N, 4) floating, pixels.
        class_id: (N,) integers, the classes of MOTChallenge (1 is a pedestrian), or None for all 1. Only preprocessing
            looks at them.
        ignored: (N,) bool, boxes that are not scored (flag 0 in a MOTChallenge file), or None for none.

    Raises:
        InputError: for columns of unequal length or of another shape.
    """

    frame: NDArray[np.integer]
    track_id: NDArray[np.integer]
    xyxy: NDArray[np.floating]
    class_id: NDArray[np.integer] | None = None
    ignored: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        columns = {"track_id": self.track_id, "class_id": self.class_id, "ignored": self.ignored}
        _check_columns("ground truth", self.frame, columns, self.xyxy)

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def empty(cls) -> TruthTable:
        """No ground truth at all."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))


def check_rows(table: TruthTable | TrackTable, num_frames: int, name: str) -> None:
    """Check what can only be told of a table together with its video.

    Args:
        table: the boxes.
        num_frames: length of the video.
        name: of the video, for the message.

    Raises:
        InputError: for a frame outside the video, a box that is not finite, or a track with two boxes in one frame;
            names video, frame (counted from 1, as FiftyOne and MOTChallenge do) and id.
    """
    kind = "ground truth" if isinstance(table, TruthTable) else "predictions"
    if not len(table):
        return
    outside = (table.frame < 0) | (table.frame >= num_frames)
    if outside.any():
        row = int(outside.argmax())
        raise InputError(
            f"video {name!r}: {kind} have a box of track {table.track_id[row]} in frame {table.frame[row] + 1}, "
            f"but the video has frames 1 to {num_frames}; remove the box or mend the frame number"
        )
    infinite = ~np.isfinite(table.xyxy).all(1)
    if infinite.any():
        row = int(infinite.argmax())
        raise InputError(
            f"video {name!r}, frame {table.frame[row] + 1}: the {kind} box of track {table.track_id[row]} is "
            f"{table.xyxy[row].tolist()}; boxes must be finite"
        )
    order = np.lexsort((table.track_id, table.frame))
    frame, track = table.frame[order], table.track_id[order]
    twice = (np.diff(frame) == 0) & (np.diff(track) == 0)
    if twice.any():
        row = int(twice.argmax())
        raise InputError(
            f"video {name!r}, frame {frame[row] + 1}: {kind} have two boxes of track {track[row]}; "
            f"a track may have one box per frame"
        )
