"""Which boxes of two tables overlap, frame by frame, without loops over frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def overlapping(
    frame: NDArray[np.integer], xyxy: NDArray[np.floating], other_frame: NDArray[np.integer],
    other_xyxy: NDArray[np.floating], least: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:  # fmt: skip
    """Pairs of boxes of one frame that overlap by more than ``least``: row, other row, intersection over union.

    Args:
        frame: (N,) integers, in any order.
        xyxy: (N, 4) pixels.
        other_frame: (M,) integers, sorted.
        other_xyxy: (M, 4) pixels.
        least: pairs of this overlap or less are left out.
    """
    first = np.searchsorted(other_frame, frame, "left")
    count = np.searchsorted(other_frame, frame, "right") - first
    row = np.repeat(np.arange(len(frame)), count)
    other = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count) + first[row]
    iou = paired_iou(xyxy[row].astype(np.float64), other_xyxy[other].astype(np.float64))
    kept = iou > least
    return row[kept], other[kept], iou[kept]


def paired_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) intersection over union of boxes in pairs, (N, 4) pixels each."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    inter = (high - low).clip(0).prod(1)
    area, area2 = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return inter / np.maximum(area + area2 - inter, 1e-9)
