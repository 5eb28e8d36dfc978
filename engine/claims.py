"""Human boxes are claims that a model may not double: what it says about the same object gives way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Tracks

SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class Claims:
    """Boxes that stay whatever a model says.

    Attributes:
        frame: (K,) int64, 0-based.
        xyxy: (K, 4) floating, pixels.
        class_index: (K,) int64, in the numbering of the tracks; -1 for a class that they do not have.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.floating]
    class_index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)


def without_claimed(tracks: Tracks, claims: Claims, iou: float = SAME_OBJECT_IOU) -> Tracks:
    """The tracks without the boxes that overlap a claim of their frame and class by at least ``iou``."""
    if not len(claims) or not len(tracks):
        return tracks
    first = np.searchsorted(tracks.frame, claims.frame, "left")
    count = np.searchsorted(tracks.frame, claims.frame, "right") - first
    claim = np.repeat(np.arange(len(claims)), count)
    row = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count) + first[claim]
    overlaps = _iou(tracks.xyxy[row].astype(np.float64), claims.xyxy[claim].astype(np.float64)) >= iou
    claimed = row[overlaps & (tracks.class_index[row] == claims.class_index[claim])]
    return select_rows(tracks, ~np.isin(np.arange(len(tracks)), claimed))


def select_rows(tracks: Tracks, rows: NDArray[np.bool_]) -> Tracks:
    """The boxes where ``rows`` (M,) holds; tracks left without any are gone and the rest renumbered."""
    if rows.all():
        return tracks
    left, first, number = np.unique(tracks.track_index[rows], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # rows are sorted by frame, so this is the order of first frames
    place = np.empty(len(left), np.int64)
    place[order] = np.arange(len(left))
    columns = {
        name: getattr(tracks, name)[rows]
        for name in (
            "frame", "xyxy", "class_index", "validity", "uncertainty", "link_uncertainty", "source", "keyframe",
            "candidate_index",
        )
    }  # fmt: skip
    track_index = place[number.ravel()]
    order_rows = np.lexsort((track_index, columns["frame"]))
    return replace(
        tracks,
        track_index=track_index[order_rows],
        track_validity=tracks.track_validity[left][order],
        track_uncertainty=tracks.track_uncertainty[left][order],
        **{name: column[order_rows] for name, column in columns.items()},
    )


def _iou(a: NDArray, b: NDArray) -> NDArray:
    """Overlaps of (P, 4) boxes with (P, 4) boxes, row by row."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = sides.clip(min=0).prod(1)
    area = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
    return common / np.maximum(area - common, 1e-12)
