"""HOTA: detection and association weighed alike, at 19 thresholds of localisation.

Source: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021, sections 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .comparison import EPSILON, Comparison, best_pairs

THRESHOLDS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True)
class Hota:
    """HOTA's counts and sums, of one video or of several added up.

    All are (19,) float64, one value per threshold. Every rate is a ratio of these, so that videos are combined by
    adding: a video weighs as much as it has boxes.

    Attributes:
        tp: matched pairs.
        fn: true boxes without a match.
        fp: predicted boxes without a match.
        overlap: sum of the overlaps of matched pairs.
        association: sum over matched pairs of TPA / (TPA + FNA + FPA).
        association_recall: sum over matched pairs of TPA / (TPA + FNA).
        association_precision: sum over matched pairs of TPA / (TPA + FPA).
    """

    tp: NDArray[np.float64]
    fn: NDArray[np.float64]
    fp: NDArray[np.float64]
    overlap: NDArray[np.float64]
    association: NDArray[np.float64]
    association_recall: NDArray[np.float64]
    association_precision: NDArray[np.float64]

    def rates(self) -> dict[str, NDArray[np.float64]]:
        """Each rate at each threshold, (19,) fractions; what tables give is their mean."""
        matches = np.maximum(1, self.tp)
        det_a = self.tp / np.maximum(1, self.tp + self.fn + self.fp)
        ass_a = self.association / matches
        return {
            "HOTA": np.sqrt(det_a * ass_a),
            "DetA": det_a,
            "AssA": ass_a,
            # Without a match, localisation is 1 by convention.
            "LocA": np.maximum(1e-10, self.overlap) / np.maximum(1e-10, self.tp),
            "DetRe": self.tp / np.maximum(1, self.tp + self.fn),
            "DetPr": self.tp / np.maximum(1, self.tp + self.fp),
            "AssRe": self.association_recall / matches,
            "AssPr": self.association_precision / matches,
        }


def hota(comparison: Comparison) -> Hota:
    """Match each frame for the greatest HOTA and count at every threshold."""
    score = _alignment(comparison) * comparison.pair_iou
    matched = comparison.with_pairs(best_pairs(comparison, score))
    # A match of level l holds at the first l thresholds; counting down from the strictest gives all 19 at once.
    level = np.searchsorted(THRESHOLDS - EPSILON, matched.pair_iou, side="right")
    steps = len(THRESHOLDS) + 1
    tp = _at_least(np.bincount(level, minlength=steps)[None])[0]
    overlap = _at_least(np.bincount(level, matched.pair_iou, minlength=steps)[None])[0]

    key, pair = np.unique(matched.pair_track_key, return_inverse=True)
    together = _at_least(np.bincount(pair * steps + level, minlength=len(key) * steps).reshape(-1, steps))
    truth_track, prediction_track = np.divmod(key, max(1, comparison.num_prediction_tracks))
    truth_length = np.bincount(comparison.truth_track)[truth_track][:, None]
    prediction_length = np.bincount(comparison.prediction_track)[prediction_track][:, None]
    return Hota(
        tp=tp,
        fn=comparison.num_truth - tp,
        fp=comparison.num_predictions - tp,
        overlap=overlap,
        association=(together**2 / np.maximum(1, truth_length + prediction_length - together)).sum(0),
        association_recall=(together**2 / np.maximum(1, truth_length)).sum(0),
        association_precision=(together**2 / np.maximum(1, prediction_length)).sum(0),
    )


def _alignment(comparison: Comparison) -> NDArray[np.float64]:
    """(K,) how well the two tracks of each pair agree over the whole video, before any match is made.

    An overlap counts by its share of all overlaps that its two boxes have, so that a crowd cannot make tracks of
    different objects look alike.
    """
    iou = comparison.pair_iou
    of_truth = np.bincount(comparison.pair_truth, iou, minlength=comparison.num_truth)[comparison.pair_truth]
    of_prediction = np.bincount(comparison.pair_prediction, iou, minlength=comparison.num_predictions)
    total = of_prediction[comparison.pair_prediction] + of_truth - iou
    share = np.where(total > EPSILON, iou / np.maximum(total, EPSILON), 0)

    key, pair = np.unique(comparison.pair_track_key, return_inverse=True)
    together = np.bincount(pair, share, minlength=len(key))
    truth_track, prediction_track = np.divmod(key, max(1, comparison.num_prediction_tracks))
    lengths = (
        np.bincount(comparison.truth_track)[truth_track] + np.bincount(comparison.prediction_track)[prediction_track]
    )
    return (together / (lengths - together))[pair]


def _at_least(histogram: NDArray) -> NDArray[np.float64]:
    """(U, 20) sums by level to (U, 19) sums over all levels above each threshold."""
    return histogram[:, ::-1].cumsum(1)[:, ::-1][:, 1:].astype(np.float64)
