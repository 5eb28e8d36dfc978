"""CLEAR: misses, false boxes and identity switches, added up to MOTA.

Source: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", 2008;
mostly tracked, partly tracked, mostly lost and fragments as MOTChallenge counts them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .comparison import EPSILON, Comparison, FrameAssignment

THRESHOLD = 0.5


@dataclass(frozen=True)
class Clear:
    """CLEAR's counts, of one video or of several added up.

    Attributes:
        tp: matched pairs.
        fn: true boxes without a match.
        fp: predicted boxes without a match.
        switches: matches of a true track to another predicted track than at its last match.
        fragments: resumptions of a true track after an interruption.
        mostly_tracked: true tracks matched in more than 80 % of their boxes.
        partly_tracked: true tracks in between.
        mostly_lost: true tracks matched in less than 20 % of their boxes.
        overlap: sum of the overlaps of matched pairs.
    """

    tp: int
    fn: int
    fp: int
    switches: int
    fragments: int
    mostly_tracked: int
    partly_tracked: int
    mostly_lost: int
    overlap: float

    def rates(self) -> dict[str, float]:
        """MOTA (at most 1, may be negative) and MOTP; MOTA is 0 where nothing is true."""
        truth = self.tp + self.fn
        return {
            "MOTA": (self.tp - self.fp - self.switches) / truth if truth else 0.0,
            "MOTP": self.overlap / max(1, self.tp),
        }


def clear(comparison: Comparison) -> Clear:
    """Match each frame, keeping the matches of the frame before where they still hold, and count."""
    good = comparison.with_pairs(comparison.pair_iou >= THRESHOLD - EPSILON)
    # Frames without truth or without predictions are passed over: to the next frame, the one before them is "before".
    active = np.isin(np.arange(comparison.num_frames), comparison.truth_frame)
    active &= np.isin(np.arange(comparison.num_frames), comparison.prediction_frame)
    matched = good.with_pairs(_continued_pairs(good, active))

    truth_track = matched.truth_track[matched.pair_truth]
    prediction_track = matched.prediction_track[matched.pair_prediction]
    # The pairs are sorted by frame, so a stable sort by track leaves each track's matches in the order of time.
    order = np.argsort(truth_track, kind="stable")
    same_track = np.diff(truth_track[order]) == 0
    interrupted = np.diff(np.cumsum(active)[matched.pair_frame][order]) != 1
    length = np.bincount(comparison.truth_track)
    ratio = np.bincount(truth_track, minlength=len(length)) / np.maximum(1, length)
    mostly_tracked = int((ratio > 0.8).sum())
    tracked = int((ratio >= 0.2).sum())
    tp = len(truth_track)
    return Clear(
        tp=tp,
        fn=comparison.num_truth - tp,
        fp=comparison.num_predictions - tp,
        switches=int((same_track & (np.diff(prediction_track[order]) != 0)).sum()),
        fragments=int((same_track & interrupted).sum()),
        mostly_tracked=mostly_tracked,
        partly_tracked=tracked - mostly_tracked,
        mostly_lost=len(length) - tracked,
        overlap=float(matched.pair_iou.sum()),
    )


def _continued_pairs(good: Comparison, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(K,) bool, the matches: as many continued ones as possible, then the greatest total overlap.

    Only frames with a choice are visited, in order, since a choice depends on the matches of the frame before.
    """
    assignment = FrameAssignment(good)
    chosen = np.ones(len(good.pair_iou), bool)
    key = good.pair_track_key
    frames = np.arange(len(active))
    last_active = np.maximum.accumulate(np.where(active, frames, -1)) if len(frames) else frames
    for frame in assignment.conflicts:
        pairs = assignment.pairs_of(frame)
        before = last_active[frame - 1] if frame else -1
        continued = np.zeros(pairs.stop - pairs.start, bool)
        if before >= 0:
            earlier = assignment.pairs_of(before)
            continued = np.isin(key[pairs], key[earlier][chosen[earlier]])
        chosen[pairs] = assignment.choose(frame, 1000 * continued + good.pair_iou[pairs])
    return chosen
