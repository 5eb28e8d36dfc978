"""What human boxes show of the straight line and of the tracker: how well each predicts a box from its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .confidence import Calibration
from .fusing import Course, Faith, Opinions, fuse, usual_bend, walk_variance
from .gaps import Floats, Gaps, Ints, Line, from_offset, overlap, to_offset

_PRIOR_VIDEO = 4.0  # imagined human boxes that say nothing, beside those of a video
_PRIOR_TRACK = 2.0  # imagined human boxes that say what the video says, beside those of a track
_EXPECTED = -0.58  # of the logarithm of the mean square of two normal variables of variance 1
_BELIEF = 0.5  # weight of one human box in the spread of the line's scale
_CAME = 0.5  # overlap at the end of a walk that found its way
_ENOUGH, _ENOUGH_ALONE = 0.2, 0.6  # share of the walks that must; the second where few boxes were filled over
# The gaps to be filled are half as long as those that were checked, which favours the line more than the tracker.
_HALVED = 0.75
_FEWEST = 4  # human boxes that must be filled over before the tracker is not used at all


@dataclass(frozen=True)
class Checks:
    """Human boxes that were filled over, as if they were not there; rows of the opinions are all frames.

    Attributes:
        gaps: (C,) from the human box before to that behind.
        key: (C,) row of the human box between them.
        line: through these gaps.
        opinions: of walks through them.
    """

    gaps: Gaps
    key: Ints
    line: Line
    opinions: Opinions


@dataclass(frozen=True)
class Evidence:
    """What the human boxes of a video show.

    Attributes:
        faith: in line and walks, by gap.
        useful: (G,) whether fused boxes are nearer to human boxes than the straight line, as far as is known: in the
            video, and by whether a walk through the gap arrived.
        key: (C,) human boxes that were filled over.
        course: (C rows) fused boxes there.
        row: (C,) rows of the line of the checks.
        fused_iou: (C,) overlap of the fused boxes.
        line_iou: (C,) overlap of the straight line.
    """

    faith: Faith
    useful: NDArray[np.bool_]
    key: Ints
    course: Course
    row: Ints
    fused_iou: Floats
    line_iou: Floats


def weigh(
    gaps: Gaps, opinions: Opinions, checks: Checks, key_track: Ints, key_frame: Ints, key_xyxy: NDArray[np.floating],
    rate: float, calibration: Calibration, max_gap: int, fall_back: bool = True,
) -> Evidence:  # fmt: skip
    """Hold line and walks against the human boxes.

    Args:
        gaps: of G, that are to be filled.
        opinions: of walks through them.
        checks: human boxes that were filled over.
        key_track: (K,) sorted by (track, frame).
        key_frame: (K,).
        key_xyxy: (K, 4).
        rate: frames per second.
        calibration: what was expected.
        max_gap: frames between human boxes that are still neighbours.
        fall_back: see ``fuse``.
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
    line, sure = _pooled((np.log(off + 1e-5) - _EXPECTED - wanted) / 2, key_track[middle], count, 2.5)

    line_frame = checks.line.frame
    row = np.flatnonzero(line_frame == key_frame[checks.key][checks.line.gap])
    own = checks.opinions
    said = walk_variance(own.features[:, row], calibration) + own.drifted[:, row]
    base = to_offset(boxes[checks.key], checks.line.xyxy[row])
    error = np.where(own.seen[:, row, None], np.stack([_squares(each - base) for each in own.offset[:, row]]), 1.0)
    ratio = np.log(error + 1e-5) - _EXPECTED - np.log(said)
    walk, _ = _pooled(ratio.reshape(-1, 2), np.tile(checks.gaps.track, 2), count, 5.0)

    of_check = Faith(line[checks.gaps.track], walk[checks.gaps.track], sure[checks.gaps.track] * _BELIEF)
    course = fuse(checks.gaps, checks.line, own, rate, calibration, of_check, fall_back).take(row)
    fused_iou = overlap(course.xyxy, boxes[checks.key])
    line_iou = overlap(checks.line.xyxy[row], boxes[checks.key])
    useful = len(row) < _FEWEST or float((1 - fused_iou).mean()) <= _HALVED * float((1 - line_iou).mean())
    came = arrivals(gaps, opinions, boxes)
    walked = np.isfinite(came)
    least = _ENOUGH if len(row) >= _FEWEST else _ENOUGH_ALONE
    useful = useful and (not walked.any() or float((came[walked] > _CAME).mean()) >= least)
    faith = Faith(line[gaps.track], walk[gaps.track], sure[gaps.track] * _BELIEF)
    # A walk that found its way vouches for its gap; open ends have no line to go back to.
    vouched = useful & np.asarray((came > _CAME).any(0)) | ~gaps.inner
    return Evidence(faith, vouched, checks.key, course, row, fused_iou, line_iou)


def arrivals(gaps: Gaps, opinions: Opinions, key_xyxy: NDArray[np.floating]) -> Floats:
    """(2, G) overlap of walks with the human box that they go to, 0 for lost ones; NaN where nobody goes to one."""
    boxes, out = np.asarray(key_xyxy, np.float64), np.full(opinions.walked.shape, np.nan)
    side, gap = np.nonzero(opinions.walked)
    key = boxes[np.where(side == 0, gaps.behind[gap], gaps.before[gap])]
    out[side, gap] = overlap(from_offset(opinions.arrival[side, gap], key), key) * opinions.arrived[side, gap]
    return out


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
