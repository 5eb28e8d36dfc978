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
# A gap is the tracker's if all walks through it come near to the human box at its end and agree on the way, and human
# boxes that were filled over do not speak against it: there the tracker lost no more than the line, or, where it is far
# from the line, not twice as much (those gaps are twice as long, which is hard on it). Where it lost much less than the
# line, one walk that arrived is enough. Chosen on 16 rendered films and TUD-Stadtmitte, where it gained 1.9 points over
# the line on the mean and lost 0.6 at worst.
_CAME, _AGREE = 0.7, 0.6  # overlaps of walks with the human box, and with each other on the mean
_FAR = 0.75  # overlap with the line, on the mean over the gap
_BETTER, _NO_WORSE, _HOPELESS = 0.75, 1.0, 2.0  # losses, as shares of the line's
_FOUND = 0.5  # overlap at the end of a walk that found its way at all
_FEWEST = 4  # human boxes that must be filled over to tell


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
        useful: (G,) whether fused boxes are likely to be nearer than the straight line: by how walks through the gap
            arrived and agreed, and by the human boxes that were filled over.
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
    gaps: Gaps, line: Line, opinions: Opinions, checks: Checks, key_track: Ints, key_frame: Ints,
    key_xyxy: NDArray[np.floating], rate: float, calibration: Calibration, max_gap: int, fall_back: bool = True,
) -> Evidence:  # fmt: skip
    """Hold line and walks against the human boxes.

    Args:
        gaps: of G, that are to be filled.
        line: through them.
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
    far, sure = _pooled((np.log(off + 1e-5) - _EXPECTED - wanted) / 2, key_track[middle], count, 2.5)

    row = np.flatnonzero(checks.line.frame == key_frame[checks.key][checks.line.gap])
    own = checks.opinions
    said = walk_variance(own.features[:, row], calibration) + own.drifted[:, row]
    base = to_offset(boxes[checks.key], checks.line.xyxy[row])
    error = np.where(own.seen[:, row, None], np.stack([_squares(each - base) for each in own.offset[:, row]]), 1.0)
    ratio = np.log(error + 1e-5) - _EXPECTED - np.log(said)
    walk, _ = _pooled(ratio.reshape(-1, 2), np.tile(checks.gaps.track, 2), count, 5.0)

    of_check = Faith(far[checks.gaps.track], walk[checks.gaps.track], sure[checks.gaps.track] * _BELIEF)
    course = fuse(checks.gaps, checks.line, own, rate, calibration, of_check, fall_back).take(row)
    fused_iou = overlap(course.xyxy, boxes[checks.key])
    line_iou = overlap(checks.line.xyxy[row], boxes[checks.key])
    faith = Faith(far[gaps.track], walk[gaps.track], sure[gaps.track] * _BELIEF)
    known = len(row) >= _FEWEST
    loss, loss_of_line = (float((1 - each).mean()) if known else 0.0 for each in (fused_iou, line_iou))
    came = arrivals(gaps, opinions, boxes)
    arrived = ((came > _CAME) | np.isnan(came)).all(0) & np.isfinite(came).any(0)
    filled = fuse(gaps, line, opinions, rate, calibration, faith, fall_back)
    frames = np.maximum(np.bincount(line.gap, minlength=len(gaps)), 1)
    agreement = np.bincount(line.gap, filled.apart, len(gaps)) / frames
    near = np.bincount(line.gap, overlap(filled.xyxy, line.xyxy), len(gaps)) / frames
    agreed = (agreement > _AGREE) | ~np.isfinite(came).all(0)
    allowed = (loss <= _NO_WORSE * loss_of_line) | ((near < _FAR) & (loss <= _HOPELESS * loss_of_line))
    found = known & (loss <= _BETTER * loss_of_line) & np.asarray((came > _FOUND).any(0))
    vouched = (arrived & agreed & allowed) | found | ~gaps.inner  # open ends have no line to go back to
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
