"""Fill gaps inside tracks: linear interpolation, capped and marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError


@dataclass(frozen=True)
class FilledTracks:
    """Boxes of all tracks with their gaps filled, sorted by (track, frame).

    Attributes:
        frame: (M,) int64.
        xyxy: (M, 4) pixels, of the type that was given.
        track: (M,) int64.
        is_filled: (M,) bool, whether the box is interpolated.
        left_row: (M,) int64, given row at the earlier end of the gap; the row itself where not filled.
        right_row: (M,) int64, given row at the later end of the gap; the row itself where not filled.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.floating]
    track: NDArray[np.int64]
    is_filled: NDArray[np.bool_]
    left_row: NDArray[np.int64]
    right_row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)


def fill_gaps(frame: ArrayLike, xyxy: ArrayLike, track: ArrayLike, max_gap: ArrayLike) -> FilledTracks:
    """Fill the gaps of up to ``max_gap`` frames between two boxes of one track linearly.

    Args:
        frame: (N,) integers, in any order.
        xyxy: (N, 4) pixels.
        track: (N,) integers, any labels; at most one row per track and frame.
        max_gap: greatest number of consecutive missing frames that is filled; 0 fills nothing. One number, or (N,)
            of them, for the gap behind each row.

    Returns:
        All given boxes, unchanged, and the filled ones. To put the latter onto smoothed courses, hand the result to
        ``smooth_tracks`` with ``observed=~is_filled``.

    Raises:
        InputError: for columns of unequal length, a negative cap, or two boxes of a track in one frame.
    """
    frame, track = np.asarray(frame).astype(np.int64), np.asarray(track).astype(np.int64)
    boxes = np.asarray(xyxy)
    boxes = boxes if np.issubdtype(boxes.dtype, np.floating) else boxes.astype(np.float64)
    if boxes.shape != (len(frame), 4) or len(track) != len(frame):
        raise InputError(
            f"interpolation: frame has {len(frame)} rows, xyxy has shape {boxes.shape}, track has {len(track)} rows; "
            "they must agree"
        )
    most = np.broadcast_to(np.asarray(max_gap, np.int64), frame.shape)
    if (most < 0).any():
        raise InputError(f"interpolation: max_gap is {most.min()}; it must be 0 or more frames")

    order = np.lexsort((frame, track))
    frame, track = frame[order], track[order]
    same, step = track[1:] == track[:-1], np.diff(frame)
    if (same & (step == 0)).any():
        row = int(np.flatnonzero(same & (step == 0))[0])
        raise InputError(
            f"interpolation: track {track[row]} has two boxes in frame {frame[row]} (rows {order[row]} and "
            f"{order[row + 1]}); keep one"
        )
    # Every box is followed by itself (offset 0) and the missing frames up to the next one of its track.
    follow = np.ones(len(frame), np.int64)
    filled_gap = same & (step - 1 <= most[order][:-1])
    follow[:-1][filled_gap] = step[filled_gap]
    left = np.repeat(np.arange(len(frame)), follow)
    offset = np.arange(len(left)) - np.repeat(np.cumsum(follow) - follow, follow)
    is_filled = offset > 0
    right = left + is_filled
    part = (offset / follow[left])[:, None]
    filled = boxes[order[left]] * (1 - part) + boxes[order[right]] * part
    return FilledTracks(
        frame=frame[left] + offset,
        xyxy=filled.astype(boxes.dtype),
        track=track[left],
        is_filled=is_filled,
        left_row=order[left],
        right_row=order[right],
    )
