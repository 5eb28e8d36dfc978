"""What human boxes show of the straight line and of the tracker: how well each predicts a box from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .confidence import Calibration
from .fusing import Faith, Opinions, usual_bend, walk_variance
from .gaps import Floats, Gaps, Ints, from_offset, overlap, to_offset

_PRIOR_VIDEO = 4.0  # imagined human boxes that say nothing, beside those of a video
_PRIOR_TRACK = 2.0  # imagined human boxes that say what the video says, beside those of a track
_EXPECTED = -0.58  # of the logarithm of the mean square of two normal variables of variance 1
_BELIEF = 0.5  # weight of one human box in the spread of the line's scale


@dataclass(frozen=True)
class Evidence:
    """What the human boxes of a video show.

    Attributes:
        faith: in line and walks, by gap.
        checked: human boxes that lie between two others and were predicted.
        line_iou: mean overlap of the straight line with them, nan without any.
        tracker_iou: mean overlap of walks with the boxes that they came to, nan without any.
    """

    faith: Faith
    checked: int
    line_iou: float
    tracker_iou: float


def weigh(
    gaps: Gaps, opinions: Opinions, key_track: Ints, key_frame: Ints, key_xyxy: NDArray[np.floating], rate: float,
    calibration: Calibration, max_gap: int,
) -> Evidence:  # fmt: skip
    """Hold line and walks against the human boxes.

    Args:
        gaps: of G.
        opinions: of walks through them.
        key_track: (K,) sorted by (track, frame).
        key_frame: (K,).
        key_xyxy: (K, 4).
        rate: frames per second.
        calibration: what was expected.
        max_gap: frames between human boxes that are still neighbours.
    """
    boxes = np.asarray(key_xyxy, np.float64)
    count = int(key_track.max(initial=-1)) + 1
    middle = np.flatnonzero((key_track[2:] == key_track[:-2]) & (key_frame[2:] - key_frame[:-2] <= 2 * max_gap)) + 1
    span = key_frame[middle + 1] - key_frame[middle - 1]
    share = ((key_frame[middle] - key_frame[middle - 1]) / np.maximum(span, 1))[:, None]
    straight = boxes[middle - 1] * (1 - share) + boxes[middle + 1] * share
    # As the offset of a Brownian bridge: at the middle larger than on the mean over the gap.
    wanted = 2 * usual_bend(span, calibration, rate) + np.log(6 * share * (1 - share))
    off = _squares(to_offset(boxes[middle], straight))
    line, sure = _pooled((np.log(off + 1e-5) - _EXPECTED - wanted) / 2, key_track[middle], count, 2.0)

    side, gap = np.nonzero(opinions.walked)
    came = opinions.arrived[side, gap]
    error = np.where(came[:, None], _squares(opinions.arrival[side, gap]), 1.0)
    expected = np.log(walk_variance(opinions.arrival_features[side, gap][None], calibration)[0])
    walk, _ = _pooled(np.log(error + 1e-5) - _EXPECTED - expected, gaps.track[gap], count, 5.0)
    key = np.where(side == 0, gaps.behind[gap], gaps.before[gap])
    walked = overlap(from_offset(opinions.arrival[side, gap], boxes[key]), boxes[key]) * came
    return Evidence(
        Faith(line[gaps.track], walk[gaps.track], sure[gaps.track] * _BELIEF),
        len(middle),
        float(overlap(straight, boxes[middle]).mean()) if len(middle) else float("nan"),
        float(walked.mean()) if len(walked) else float("nan"),
    )


def _squares(offset: Floats) -> Floats:
    """(N, 2) mean square of centre and sides of offsets (N, 4)."""
    return np.square(offset).reshape(-1, 2, 2).mean(2)


def _pooled(value: Floats, track: Ints, count: int, limit: float) -> tuple[Floats, Floats]:
    """(T, 2) mean of each track, drawn to that of the video, which is drawn to zero; and (T,) how many tell of it."""
    value = np.clip(value, -limit, limit)
    video = value.sum(0) / (len(value) + _PRIOR_VIDEO)
    number = np.bincount(track, minlength=count)
    total = np.stack([np.bincount(track, column, count) for column in (value - video).T], 1)
    return video + total / (number + _PRIOR_TRACK)[:, None], number.astype(np.float64)
