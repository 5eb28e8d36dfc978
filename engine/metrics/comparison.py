"""Truth and predictions of one video side by side: which boxes overlap, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

EPSILON = float(np.finfo(float).eps)
# So many pairs of boxes are compared at once; bounds the memory to some hundred MB however long the video is.
PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Comparison:
    """One video's truth, its predictions, and the pairs of their boxes that overlap in a frame.

    Rows are sorted by frame, and inside a frame stay in the order in which they were given, because the assignment of
    equally good pairs depends on it.

    Attributes:
        num_frames: length of the video.
        truth_frame: (G,) int64, 0-based, sorted.
        truth_track: (G,) int64, numbered from 0 without holes.
        prediction_frame: (P,) int64, 0-based, sorted.
        prediction_track: (P,) int64, numbered from 0 without holes.
        pair_truth: (K,) int64, row of the truth, sorted.
        pair_prediction: (K,) int64, row of the prediction, sorted within each row of the truth.
        pair_iou: (K,) float64 in (0, 1].
    """

    num_frames: int
    truth_frame: NDArray[np.int64]
    truth_track: NDArray[np.int64]
    prediction_frame: NDArray[np.int64]
    prediction_track: NDArray[np.int64]
    pair_truth: NDArray[np.int64]
    pair_prediction: NDArray[np.int64]
    pair_iou: NDArray[np.float64]

    @property
    def num_truth(self) -> int:
        """How many boxes are true."""
        return len(self.truth_frame)

    @property
    def num_predictions(self) -> int:
        """How many boxes were predicted."""
        return len(self.prediction_frame)

    @property
    def num_prediction_tracks(self) -> int:
        """How many tracks were predicted."""
        return int(self.prediction_track.max()) + 1 if len(self.prediction_track) else 0

    @property
    def pair_frame(self) -> NDArray[np.int64]:
        """(K,) int64, frame of each pair, sorted."""
        return self.truth_frame[self.pair_truth]

    @property
    def pair_track_key(self) -> NDArray[np.int64]:
        """(K,) int64, one number for each combination of a true and a predicted track."""
        return (
            self.truth_track[self.pair_truth] * self.num_prediction_tracks + self.prediction_track[self.pair_prediction]
        )

    def with_pairs(self, kept: NDArray[np.bool_]) -> Comparison:
        """The same boxes, fewer pairs.

        Args:
            kept: (K,) bool.
        """
        return Comparison(
            self.num_frames, self.truth_frame, self.truth_track, self.prediction_frame, self.prediction_track,
            self.pair_truth[kept], self.pair_prediction[kept], self.pair_iou[kept],
        )  # fmt: skip

    def with_rows(self, truth_kept: NDArray[np.bool_], prediction_kept: NDArray[np.bool_]) -> Comparison:
        """Fewer boxes, and the pairs between those that stay; tracks are numbered anew.

        Args:
            truth_kept: (G,) bool.
            prediction_kept: (P,) bool.
        """
        kept = truth_kept[self.pair_truth] & prediction_kept[self.pair_prediction]
        return Comparison(
            self.num_frames,
            self.truth_frame[truth_kept],
            _numbered(self.truth_track[truth_kept]),
            self.prediction_frame[prediction_kept],
            _numbered(self.prediction_track[prediction_kept]),
            (np.cumsum(truth_kept) - 1)[self.pair_truth[kept]],
            (np.cumsum(prediction_kept) - 1)[self.pair_prediction[kept]],
            self.pair_iou[kept],
        )


def _numbered(track_id: NDArray) -> NDArray[np.int64]:
    """Ids as numbers from 0 without holes, in the order of the ids."""
    return np.unique(track_id, return_inverse=True)[1].astype(np.int64)


def compare(
    truth: tuple[NDArray, NDArray, NDArray], prediction: tuple[NDArray, NDArray, NDArray], num_frames: int
) -> Comparison:
    """Lay truth and predictions side by side and find the overlapping pairs of all frames.

    Args:
        truth: frame (G,), track id (G,) and boxes (G, 4) xyxy in pixels, sorted by frame.
        prediction: the same of P predictions.
        num_frames: length of the video.
    """
    truth_frame, truth_id, truth_xyxy = truth
    prediction_frame, prediction_id, prediction_xyxy = prediction
    chunks = [
        _overlaps(truth_xyxy, prediction_xyxy, rows, partners)
        for rows, partners in _pairs_of_frames(truth_frame, prediction_frame, num_frames)
    ]
    columns = (
        [np.concatenate(column) for column in zip(*chunks, strict=True)] if chunks else [np.zeros(0, np.int64)] * 3
    )
    return Comparison(
        num_frames,
        truth_frame.astype(np.int64),
        _numbered(truth_id),
        prediction_frame.astype(np.int64),
        _numbered(prediction_id),
        columns[0],
        columns[1],
        columns[2].astype(np.float64),
    )


def _pairs_of_frames(
    truth_frame: NDArray, prediction_frame: NDArray, num_frames: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of a true and a predicted row of one frame, for some frames at a time."""
    truth_count = np.bincount(truth_frame, minlength=num_frames)
    prediction_count = np.bincount(prediction_frame, minlength=num_frames)
    prediction_start = np.cumsum(prediction_count) - prediction_count
    truth_end = np.cumsum(truth_count)
    chunk = np.cumsum(truth_count * prediction_count) // PAIRS_AT_ONCE
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(chunk)) + 1, [num_frames]])
    for first, last in pairwise(cuts.tolist()):
        begin, end = truth_end[first] - truth_count[first], truth_end[last - 1]
        frame = truth_frame[begin:end]
        partners = prediction_count[frame]
        rows = np.repeat(np.arange(begin, end), partners)
        offset = np.cumsum(partners) - partners
        yield rows, np.arange(len(rows)) + np.repeat(prediction_start[frame] - offset, partners)


def _overlaps(
    truth_xyxy: NDArray, prediction_xyxy: NDArray, truth_row: NDArray, prediction_row: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Those of the given pairs whose intersection over union is positive, and that value.

    The order of the arithmetic is that of the reference implementation, so that an overlap exactly at a threshold falls
    on the same side of it.
    """
    left, top, right, bottom = truth_xyxy.T.astype(np.float64)
    left2, top2, right2, bottom2 = prediction_xyxy.T.astype(np.float64)
    width = np.minimum(right[truth_row], right2[prediction_row]) - np.maximum(left[truth_row], left2[prediction_row])
    # Most boxes of a frame are apart in x already: what follows only looks at the rest.
    near = np.flatnonzero(width > 0)
    truth_row, prediction_row, width = truth_row[near], prediction_row[near], width[near]
    height = np.minimum(bottom[truth_row], bottom2[prediction_row]) - np.maximum(top[truth_row], top2[prediction_row])
    intersection = width * np.maximum(height, 0)
    area = ((right - left) * (bottom - top))[truth_row]
    area2 = ((right2 - left2) * (bottom2 - top2))[prediction_row]
    union = area + area2 - intersection
    kept = (intersection > 0) & (area > EPSILON) & (area2 > EPSILON) & (union > EPSILON)
    return truth_row[kept], prediction_row[kept], intersection[kept] / union[kept]


class FrameAssignment:
    """Chooses, frame by frame, the pairs of greatest total score with every box in at most one of them.

    Frames in which no box has two partners need no choice; only in the others is the assignment problem solved.

    Attributes:
        conflicts: (F,) int64, the frames in which a choice must be made, ascending.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        frame = comparison.pair_frame
        everything = np.arange(comparison.num_frames + 1)
        self._pair_start = np.searchsorted(frame, everything)
        self._truth_start = np.searchsorted(comparison.truth_frame, everything)
        self._prediction_start = np.searchsorted(comparison.prediction_frame, everything)
        rivals = np.bincount(comparison.pair_truth, minlength=comparison.num_truth)[comparison.pair_truth]
        rivals2 = np.bincount(comparison.pair_prediction, minlength=comparison.num_predictions)
        contested = (rivals > 1) | (rivals2[comparison.pair_prediction] > 1)
        self.conflicts = np.unique(frame[contested])

    def pairs_of(self, frame: int) -> slice:
        """The pairs of a frame."""
        return slice(int(self._pair_start[frame]), int(self._pair_start[frame + 1]))

    def choose(self, frame: int, score: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The best assignment of one frame.

        Args:
            frame: 0-based.
            score: (k,) float64, of the frame's pairs, positive.

        Returns:
            (k,) bool, whether a pair is in the assignment.
        """
        pairs = self.pairs_of(frame)
        row = self._comparison.pair_truth[pairs] - self._truth_start[frame]
        column = self._comparison.pair_prediction[pairs] - self._prediction_start[frame]
        # Boxes without partners keep their empty rows and columns: the choice between equally good assignments
        # depends on the whole matrix, and is to be that of the reference implementation.
        matrix = np.zeros(
            (
                self._truth_start[frame + 1] - self._truth_start[frame],
                self._prediction_start[frame + 1] - self._prediction_start[frame],
            )
        )
        matrix[row, column] = score
        rows, columns = linear_sum_assignment(matrix, maximize=True)
        partner = np.full(len(matrix), -1)
        partner[rows] = columns
        return partner[row] == column


def best_pairs(comparison: Comparison, score: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The best assignment of every frame on its own.

    Args:
        comparison: the boxes and their pairs.
        score: (K,) float64, positive.

    Returns:
        (K,) bool, whether a pair is in its frame's assignment.
    """
    assignment = FrameAssignment(comparison)
    chosen = np.ones(len(score), bool)
    for frame in assignment.conflicts:
        pairs = assignment.pairs_of(frame)
        chosen[pairs] = assignment.choose(frame, score[pairs])
    return chosen
