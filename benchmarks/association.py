"""Bounds and offline steps that need no model: perfect association of boxes, and the filling of gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from spam_plugin.engine.metrics import TrackTable, TruthTable
from spam_plugin.models.spam.interpolation import fill_gaps
from spam_plugin.models.spam.smoothing import smooth_tracks

# Gaps of up to so many frames are filled in peers and bounds, as in the tables of ../shared/baselines.
FILLED_GAP = 20


def match_frames(
    frame: NDArray[np.int64], xyxy: NDArray[np.floating], truth: TruthTable, min_iou: float = 0.5
) -> NDArray[np.int64]:
    """(N,) the row of ``truth`` that each box is matched to, or -1.

    Frame by frame: as many pairs of at least ``min_iou`` as can be had, and of those matchings the one that overlaps
    most (Hungarian method).

    Args:
        frame: (N,) 0-based.
        xyxy: (N, 4) pixels.
        truth: what the boxes are matched to.
        min_iou: least overlap of a pair.
    """
    matched = np.full(len(frame), -1)
    order, truth_order = np.argsort(frame, kind="stable"), np.argsort(truth.frame, kind="stable")
    for number in np.intersect1d(frame, truth.frame):
        box_rows = order[slice(*np.searchsorted(frame[order], [number, number + 1]))]
        truth_rows = truth_order[slice(*np.searchsorted(truth.frame[truth_order], [number, number + 1]))]
        iou = overlaps(xyxy[box_rows].astype(float), truth.xyxy[truth_rows].astype(float))
        i, j = linear_sum_assignment(-np.where(iou >= min_iou, 10 + iou, 0))
        good = iou[i, j] >= min_iou
        matched[box_rows[i[good]]] = truth_rows[j[good]]
    return matched


def overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes, xyxy."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inter = (high - low).clip(0).prod(2)
    area, area2 = (first[:, 2:] - first[:, :2]).prod(1), (second[:, 2:] - second[:, :2]).prod(1)
    return inter / np.maximum(area[:, None] + area2 - inter, 1e-9)


def perfect_association(
    frame: NDArray[np.int64], xyxy: NDArray[np.floating], truth: TruthTable
) -> tuple[TrackTable, NDArray[np.int64]]:
    """The boxes that hit a target, each with that target's identity; and which rows they are."""
    matched = match_frames(frame, xyxy, truth)
    rows = np.flatnonzero(matched >= 0)
    return TrackTable(frame[rows], truth.track_id[matched[rows]].astype(np.int64), xyxy[rows].astype(float)), rows


def filled(tracks: TrackTable, *, smooth: bool = False) -> TrackTable:
    """The tracks with their gaps of up to ``FILLED_GAP`` frames filled, linearly or on the courses of our smoother.

    Args:
        tracks: boxes of one video.
        smooth: whether our smoother moves all boxes, filled or not.
    """
    # The product counts the missing frames of a gap, those tables the step between its ends.
    full = fill_gaps(tracks.frame, tracks.xyxy.astype(float), tracks.track_id, FILLED_GAP - 1)
    if not smooth:
        return TrackTable(full.frame, full.track, full.xyxy)
    xyxy = smooth_tracks(full.frame, full.xyxy, full.track, observed=~full.is_filled)
    return TrackTable(full.frame, full.track, xyxy)
