"""Identity scores: how long the right objects keep one right name.

Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", ECCVW 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from .comparison import Comparison

THRESHOLD = 0.5


@dataclass(frozen=True)
class Identity:
    """Counts under the best one-to-one naming of whole tracks, of one video or of several added up.

    Attributes:
        tp: boxes of predicted tracks on the true track that they are named after.
        fn: all other true boxes.
        fp: all other predicted boxes.
    """

    tp: int
    fn: int
    fp: int

    def rates(self) -> dict[str, float]:
        """IDF1, IDP and IDR, fractions."""
        return {
            "IDF1": self.tp / max(1.0, self.tp + 0.5 * self.fp + 0.5 * self.fn),
            "IDP": self.tp / max(1.0, self.tp + self.fp),
            "IDR": self.tp / max(1.0, self.tp + self.fn),
        }


def identity(comparison: Comparison) -> Identity:
    """Name the predicted tracks so that the most boxes are right, and count."""
    good = comparison.with_pairs(comparison.pair_iou >= THRESHOLD)
    tp = _most_boxes(good)
    return Identity(tp=tp, fn=comparison.num_truth - tp, fp=comparison.num_predictions - tp)


def _most_boxes(good: Comparison) -> int:
    """The greatest number of overlapping boxes that a one-to-one naming of tracks can have.

    Minimising misses plus false boxes, as the paper does, is maximising the boxes that agree. The matrix of true
    against predicted tracks is nearly empty, so it stays sparse: each true track also has a column of its own, which
    stands for "found by no one", and one is added everywhere since the solver drops explicit zeros.
    """
    key, boxes = np.unique(good.pair_track_key, return_counts=True)
    if not len(key):
        return 0
    truth_track, prediction_track = np.divmod(key, good.num_prediction_tracks)
    rows, row = np.unique(truth_track, return_inverse=True)
    columns, column = np.unique(prediction_track, return_inverse=True)
    alone = np.arange(len(rows))
    graph = coo_array(
        (
            np.concatenate([boxes + 1.0, np.ones(len(rows))]),
            (np.concatenate([row, alone]), np.concatenate([column, len(columns) + alone])),
        ),
        shape=(len(rows), len(columns) + len(rows)),
    ).tocsr()
    chosen_row, chosen_column = min_weight_full_bipartite_matching(graph, maximize=True)
    return round(float(graph[chosen_row, chosen_column].sum())) - len(rows)
