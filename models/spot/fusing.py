"""Fuse what was seen on the way forward, on the way backward and the straight line, by how far each may be trusted.

An object between two human boxes leaves the straight line by an offset that is zero at both boxes. What a walk saw is
an observation of that offset: off by the walk's drift, of which the ends are known, for there the human boxes are, and
by an error whose variance is calibrated (``confidence``) and is the same for neighbouring frames in part. What is
believed of the offset is a Gaussian process: sines over the gap, which are zero at its ends, with variances that fall
with the square (a course that jerks) or the fourth power (a smooth one) of their frequency. How far objects leave the
line, how far to trust the walks and how smooth the course is are not chosen but averaged over, by how likely each makes
what was seen (Bayesian model averaging; Rasmussen and Williams, Gaussian Processes for Machine Learning, chapter 5).
So where walks see a steady course close to the line it is followed closely; where they say anything at all, their
scatter shows that they are not to be trusted, and the line remains.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .confidence import WALK_FEATURES, Calibration, probability, trust_features
from .following import Trail
from .gaps import Floats, Gaps, Ints, Line, from_offset, overlap, to_offset

#: Arrival errors from which a walk counts as gone astray: then its end says nothing of its way.
ASTRAY = 0.4

_SAME = 0.6  # share of the variance of a walk's error that neighbouring frames share
_REACH = 8.0  # frames over which that share falls to 1/e
_LONGEST = 96  # observations of a gap; longer gaps are thinned out
_PRIOR_BEND, _PRIOR_NOISE = 0.8, 2.0  # standard deviations of the logarithms of the two scales that are averaged over
_BENDS = np.array([-2.4, -1.6, -0.8, 0.0, 0.8, 1.6, 2.2])  # of those, where they are tried
_NOISES = np.array([-0.6, 0.0, 0.8, 1.6, 2.6, 4.0, 6.0])
_POWERS = np.array([2.0, 4.0])
_FREEDOM = 4.0  # of Student's distribution for single observations
_CHUNK = 1 << 22  # numbers of a matrix that is worked on at a time


@dataclass(frozen=True)
class Opinions:
    """What walks say of the rows of a ``Line``; the first axis is forward and backward.

    Attributes:
        xyxy: (2, R, 4) float64 pixels, as seen; the line's where nothing was seen.
        offset: (2, R, 4) from the line, with the drift taken out that shows at the human boxes; 0 where nothing was
            seen.
        seen: (2, R) bool.
        score: (2, R).
        quality: (2, R).
        features: (2, R, WALK_FEATURES).
        drifted: (2, R, 2) variance, centre and sides, that is known from how the walks began and ended.
        arrival: (2, G, 4) offset from the human box at the far end; 0 where there is none or it was not seen there.
        arrived: (2, G) bool.
        walked: (2, G) bool, whether a walk should have arrived.
    """

    xyxy: Floats
    offset: Floats
    seen: NDArray[np.bool_]
    score: Floats
    quality: Floats
    features: Floats
    drifted: Floats
    arrival: Floats
    arrived: NDArray[np.bool_]
    walked: NDArray[np.bool_]


def gather(gaps: Gaps, line: Line, trail: Trail, key_xyxy: NDArray[np.floating]) -> Opinions:
    """What walks say.

    Args:
        gaps: of G.
        line: of R rows.
        trail: of these gaps.
        key_xyxy: (K, 4) of the human boxes.
    """
    boxes = np.asarray(key_xyxy, np.float64)
    inner, size = gaps.inner, gaps.last - gaps.first + 1
    row = trail.first[line.gap] + line.frame - gaps.first[line.gap] + (gaps.before >= 0)[line.gap]
    ends = np.stack([trail.first[:-1], trail.first[1:] - 1])  # rows of the human boxes before and behind
    gone = np.stack([line.frame - gaps.first[line.gap], gaps.last[line.gap] - line.frame]) + 1
    way = np.where(inner[line.gap], gone / (size[line.gap] + 1), 0.0)
    seen = np.asarray(trail.score[:, row] > 0)
    xyxy = np.where(seen[..., None], trail.xyxy[:, row], line.xyxy).astype(np.float64)
    offset = np.stack([to_offset(each, line.xyxy) for each in xyxy])

    start, arrival, arrived = [], [], []
    for side in (0, 1):  # forward and backward
        here, there = (gaps.before, gaps.behind) if side == 0 else (gaps.behind, gaps.before)
        begun = (trail.score[side, ends[side]] > 0) & (here >= 0)
        done = (trail.score[side, ends[1 - side]] > 0) & inner
        start.append(_off(trail.xyxy[side, ends[side]], boxes[here], begun))
        arrival.append(_off(trail.xyxy[side, ends[1 - side]], boxes[there], done))
        arrived.append(done)
    walked = inner & np.isfinite(np.stack([trail.xyxy[0, ends[1], 0], trail.xyxy[1, ends[0], 0]]))
    begin, end, done = np.stack(start), np.stack(arrival), np.stack(arrived)
    astray = np.asarray(~done | (np.abs(end) > ASTRAY).any(2))
    strayed = np.asarray((np.abs(begin) > ASTRAY).any(2))
    tame = [np.where(bad[..., None], 0.0, each) for each, bad in ((begin, strayed), (end, astray))]
    drift = (1 - way)[..., None] * tame[0][:, line.gap] + way[..., None] * tame[1][:, line.gap]
    offset = np.where(seen[..., None], offset - drift, 0.0)
    # Between two known errors lies a bridge; of a walk that went astray it is not known when it did.
    far, near = (np.square(each).reshape(2, -1, 2, 2).mean(3) for each in (end, begin))
    far = np.where((inner & ~done)[..., None], 1.0, far)
    gone_off = np.where(astray[:, line.gap], way, way * (1 - way))[..., None] * far[:, line.gap]
    gone_off = gone_off + np.where(strayed[:, line.gap], 1 - way, 0.0)[..., None] * near[:, line.gap]
    bad = np.where(inner, np.where(astray, 2.5, np.minimum(np.abs(end) @ np.array([2.0, 2.0, 1.0, 1.0]), 2.5)), 0.0)
    both = np.asarray(seen.all(0))
    apart = np.square(offset[0] - offset[1]).reshape(-1, 2, 2).mean(2).sum(1)
    apart = np.where(both, np.log1p(100 * apart), 0.0)
    pixels = np.log(np.sqrt(np.maximum((line.xyxy[:, 2:] - line.xyxy[:, :2]).prod(1), 1.0))) - 4
    score, quality = trail.score[:, row].astype(np.float64), trail.quality[:, row].astype(np.float64)
    features = _walk_features(quality, score, gone, way * bad[:, line.gap], apart, ~both, pixels)
    return Opinions(xyxy, offset, seen, score, quality, features, gone_off, end, done, walked)


def _off(xyxy: NDArray[np.float32], key: Floats, known: NDArray[np.bool_]) -> Floats:
    boxes = np.where(known[:, None], xyxy, key)
    return to_offset(boxes, key)


def _walk_features(
    quality: Floats, score: Floats, gone: NDArray, bad: Floats, apart: Floats, alone: NDArray[np.bool_], size: Floats
) -> Floats:
    """(2, N, WALK_FEATURES): what was seen, how far from the box it came from, how it ended, what the other says."""
    shape = quality.shape
    columns = (
        np.ones(shape), 1 - quality, -np.log(score + 1e-2), np.log(gone) - 2, bad, np.broadcast_to(apart, shape),
        np.broadcast_to(alone, shape), np.broadcast_to(size, shape),
    )  # fmt: skip
    out = np.stack([np.asarray(each, np.float64) for each in columns], -1)
    assert out.shape[-1] == WALK_FEATURES
    return out


@dataclass(frozen=True)
class Faith:
    """How much more or less than usual to trust whom, as human boxes have shown; see ``evidence``.

    Attributes:
        line: (G, 2) logarithm of how much farther than usual objects leave the line, centre and sides.
        walk: (G, 2) logarithm of how much larger than usual the variance of walks is.
        sure: (G,) human boxes that tell so of the line.
    """

    line: Floats
    walk: Floats
    sure: Floats

    @classmethod
    def usual(cls, gaps: int) -> Faith:
        """Nothing is known."""
        return cls(np.zeros((gaps, 2)), np.zeros((gaps, 2)), np.zeros(gaps))


@dataclass(frozen=True)
class Course:
    """Fused boxes, rows as in the ``Line``.

    Attributes:
        xyxy: (R, 4) float64 pixels.
        variance: (R, 2) expected squared error of centre and sides.
        line_variance: (R, 2) the same of the straight line.
        tracked: (R,) bool, whether the walks move the box from the line, or there is no line.
        quality: (R,) the better of the walks' expected overlaps.
        score: (R,) likewise.
        apart: (R,) overlap of the walks' boxes.
    """

    xyxy: Floats
    variance: Floats
    line_variance: Floats
    tracked: NDArray[np.bool_]
    quality: Floats
    score: Floats
    apart: Floats

    def take(self, rows: NDArray) -> Course:
        """Those of an index or mask, in its order."""
        return Course(*(getattr(self, field.name)[rows] for field in fields(self)))


def fuse(
    gaps: Gaps, line: Line, opinions: Opinions, rate: float, calibration: Calibration, faith: Faith | None = None,
    fall_back: bool = True,
) -> Course:  # fmt: skip
    """The course of objects through their gaps.

    Args:
        gaps: of G.
        line: of R rows.
        opinions: of the walks.
        rate: frames per second.
        calibration: what their words are worth.
        faith: what human boxes say to that.
        fall_back: False to take the walks' boxes as they are, each the more the nearer it is to where it came from.
    """
    faith = faith or Faith.usual(len(gaps))
    inner = gaps.inner[line.gap]
    variance = walk_variance(opinions.features, calibration) * np.exp(faith.walk)[line.gap] + opinions.drifted
    variance = np.where(opinions.seen[..., None], variance, np.inf)
    trust = 1 / np.maximum(variance.mean(2), 1e-9)  # one weight for both: a box is not mixed of two of different shape
    if not fall_back:
        frames = np.stack([line.frame - gaps.first[line.gap], gaps.last[line.gap] - line.frame]) + 1.0
        trust = opinions.seen / frames * np.maximum(opinions.quality, 1e-3)
    share = trust / np.maximum(trust.sum(0), 1e-30)
    any_seen = np.asarray(opinions.seen.any(0))
    observed = np.einsum("sr,srd->rd", share, opinions.offset)
    apart = np.square(opinions.offset[0] - opinions.offset[1]).reshape(-1, 2, 2).mean(2)
    noise = np.einsum("sr,srd->rd", share, np.where(opinions.seen[..., None], variance, 0.0))
    noise = np.where(any_seen[:, None], noise + share.prod(0)[:, None] * apart, np.inf)

    amplitude = usual_bend(gaps.last - gaps.first + 2, calibration, rate) + faith.line  # (G, 2)
    spread = _PRIOR_BEND / np.sqrt(1 + faith.sure)
    offset, left, prior = observed.copy(), noise.copy(), np.full_like(noise, np.inf)
    rows = np.flatnonzero(inner)
    if len(rows) and fall_back:
        offset[rows], left[rows], prior[rows] = bridge(line.gap[rows], observed[rows], noise[rows], amplitude, spread)
    moved = overlap(from_offset(offset, line.xyxy), line.xyxy)
    told = np.where(np.isfinite(prior), left, 0.0) / np.maximum(np.where(np.isfinite(prior), prior, 1.0), 1e-12)
    tracked = ~inner | (moved < 0.98) | (told < 0.64).all(1)  # or what was seen says that the line is right
    if not fall_back:
        tracked = any_seen
    offset = np.where(tracked[:, None], offset, 0.0)
    left = np.where(np.isfinite(left), left, 1.0)
    walked = overlap(*opinions.xyxy) * opinions.seen.all(0)
    return Course(
        from_offset(offset, line.xyxy), left, np.where(np.isfinite(prior), prior, left), tracked,
        opinions.quality.max(0), opinions.score.max(0), walked,
    )  # fmt: skip


def on_the_line(gaps: Gaps, line: Line, course: Course, which: NDArray[np.bool_] | None = None) -> Course:
    """The course with the straight line in gaps between two boxes: in those of ``which`` (G,), or in all."""
    inner = (gaps.inner if which is None else gaps.inner & which)[line.gap]
    return replace(
        course,
        xyxy=np.where(inner[:, None], line.xyxy, course.xyxy),
        variance=np.where(inner[:, None], course.line_variance, course.variance),
        tracked=course.tracked & ~inner,
    )


def confidence_of(gaps: Gaps, line: Line, course: Course, calibration: Calibration) -> Floats:
    """(R,) probability that the overlap of each fused box with the truth is at least 0.7."""
    features = course_features(gaps, line, course)
    inner = gaps.inner[line.gap]
    both = [probability(features, each) for each in (calibration.inner, calibration.open, calibration.line)]
    return np.where(inner & ~course.tracked, both[2], np.where(inner, both[0], both[1]))


def course_features(gaps: Gaps, line: Line, course: Course) -> Floats:
    """(R, TRUST_FEATURES) what the confidence is told from."""
    inner = gaps.inner[line.gap]
    near = np.minimum(line.frame - gaps.first[line.gap], gaps.last[line.gap] - line.frame) + 1.0
    far = (
        np.where((gaps.before >= 0)[line.gap], line.frame - gaps.first[line.gap], gaps.last[line.gap] - line.frame)
        + 1.0
    )
    frames = np.where(inner, near, far)
    middle = np.where(inner, near / (gaps.last - gaps.first + 2)[line.gap], 1.0)
    size = np.sqrt(np.maximum((course.xyxy[:, 2:] - course.xyxy[:, :2]).prod(1), 1.0))
    off = np.where(inner, overlap(course.xyxy, line.xyxy), 1.0)
    return trust_features(course.variance, course.quality, course.score, course.apart, off, middle, frames, size)


def walk_variance(features: Floats, calibration: Calibration) -> Floats:
    """(2, R, 2) expected squared error of walks' centre and sides."""
    both = [features @ np.array(each) for each in (calibration.centre, calibration.sides)]
    return np.exp(np.clip(np.stack(both, -1), -11, 2))


def usual_bend(frames: Ints, calibration: Calibration, rate: float) -> Floats:
    """(G, 2) logarithm of how far objects usually leave a line of so many frames (G,), root mean square."""
    seconds = np.log(frames / rate)[:, None]
    return np.array(calibration.bend)[[0, 2]] + np.array(calibration.bend)[[1, 3]] * seconds


def bridge(
    gap: Ints, observed: Floats, noise: Floats, amplitude: Floats, spread: Floats
) -> tuple[Floats, Floats, Floats]:
    """Offsets that are zero at both ends of their gaps, from observations of them.

    Args:
        gap: (N,) of each row, sorted; rows of a gap are its frames without holes.
        observed: (N, 4) offset seen.
        noise: (N, 2) variance of that for the first two and the last two columns; infinite where nothing was seen.
        amplitude: (G, 2) logarithm of the root mean square offset over the gap that is expected.
        spread: (G,) standard deviation of that logarithm.

    Returns:
        Offsets (N, 4), their variances (N, 2), and variances (N, 2) of the straight line, nothing being offset.
    """
    which, start, count = np.unique(gap, return_index=True, return_counts=True)
    offset, left, prior = np.zeros_like(observed), np.zeros_like(noise), np.zeros_like(noise)
    pad = np.maximum(8, 2 ** np.ceil(np.log2(np.minimum(count, _LONGEST))).astype(np.int64))
    pad = np.minimum(pad, _LONGEST)
    for length in np.unique(pad):  # gaps of like length together
        alike = np.flatnonzero(pad == length)
        room = max(_CHUNK // int(length * length * len(_POWERS) * 4), 1)
        for first in range(0, len(alike), room):  # as many as the memory holds
            some = alike[first : first + room]
            index, valid, place = _thin(start[some], count[some], int(length))
            for group in (0, 1):  # centre, sides
                columns = slice(2 * group, 2 * group + 2)
                mean, variance, straight = _average(
                    np.where(valid[..., None], observed[index][..., columns], 0.0),
                    np.where(valid, noise[index][..., group], np.inf), place, count[some],
                    amplitude[which[some], group], spread[which[some]],
                )  # fmt: skip
                _spread_out(some, start, count, place, mean, variance, straight, offset[:, columns], left, prior, group)
    return offset, left, prior


def _thin(start: Ints, count: Ints, length: int) -> tuple[Ints, NDArray[np.bool_], Floats]:
    """(B, L) rows that are observed of each gap, which of them are so, and their places in (0, 1)."""
    taken = np.minimum(count, length)[:, None]
    number = np.arange(length)[None]
    row = np.minimum(((number + 0.5) * count[:, None] / taken).astype(np.int64), count[:, None] - 1)
    valid = number < taken
    return np.where(valid, start[:, None] + row, start[:, None]), valid, (row + 1.0) / (count[:, None] + 1.0)


def _average(
    y: Floats, noise: Floats, place: Floats, frames: Ints, amplitude: Floats, spread: Floats
) -> tuple[Floats, Floats, Floats]:
    """Posterior mean (B, L, 2), variance (B, L) and prior variance (B, L), averaged over scales; robust.

    Args:
        y: (B, L, 2).
        noise: (B, L) variance, infinite where there is no observation.
        place: (B, L) in (0, 1).
        frames: (B,) of the gap.
        amplitude: (B,) logarithm.
        spread: (B,).
    """
    length = noise.shape[1]
    wave = np.arange(1, length + 1)
    sine = np.sqrt(2) * np.sin(np.pi * place[..., None] * wave)  # (B, L, J)
    unit = [wave**-power / (wave**-power).sum() for power in _POWERS]
    kernels = np.stack([np.einsum("blj,j,bmj->blm", sine, each, sine, optimize=True) for each in unit], 1)  # (B,P,L,L)
    steps = np.abs(place[:, :, None] - place[:, None]) * (frames + 1.0)[:, None, None]
    same = _SAME * np.exp(-steps / _REACH) + (1 - _SAME) * np.eye(length)
    noise = np.minimum(noise, 1e4)
    mean = np.zeros_like(y)
    for robust in (True, False):
        root = np.sqrt(noise)
        error = root[:, :, None] * same * root[:, None]
        totals: list[Floats] = []
        means, variances, straights = [], [], []
        for bend in _BENDS:
            scale = np.exp(2 * (amplitude + bend * spread))
            for loud in _NOISES:
                weight = -0.5 * bend**2 - abs(loud) / _PRIOR_NOISE
                own = kernels * scale[:, None, None, None]
                whole = own + np.exp(loud) * error[:, None] + 1e-9 * np.eye(length)
                factor = np.linalg.cholesky(whole)
                right = np.concatenate([np.broadcast_to(y[:, None], (*own.shape[:2], length, 2)), own], -1)
                half = _forward(factor, right)
                log = -0.5 * np.square(half[..., :2]).sum((2, 3)) - 2 * np.log(
                    np.diagonal(factor, axis1=2, axis2=3)
                ).sum(2)
                totals.append(log + weight)
                means.append(np.einsum("bpml,bpmd->bpld", half[..., 2:], half[..., :2], optimize=True))
                straight = np.diagonal(own, axis1=2, axis2=3)
                variances.append(straight - np.square(half[..., 2:]).sum(2))
                straights.append(straight)
        likely = np.stack(totals)  # (S, B, P)
        likely = np.exp(likely - likely.max((0, 2), keepdims=True))
        likely /= likely.sum((0, 2), keepdims=True)
        every = np.stack(means)
        mean = np.einsum("sbp,sbpld->bld", likely, every)
        spare = np.square(every - mean[:, None]).mean(-1)
        variance = np.einsum("sbp,sbpl->bl", likely, np.maximum(np.stack(variances), 0) + spare)
        if robust:
            out = np.square(y - mean).mean(2) / np.maximum(noise + variance, 1e-9)
            noise = noise * np.maximum((_FREEDOM + out) / (_FREEDOM + 1), 1.0)
    prior = np.einsum("sbp,sbpl->bl", likely, np.stack(straights))
    return mean, variance, np.maximum(prior, variance)


def _forward(factor: Floats, right: Floats) -> Floats:
    """Solve lower triangular systems."""
    return torch.linalg.solve_triangular(torch.from_numpy(factor), torch.from_numpy(right), upper=False).numpy()


def _spread_out(
    some: Ints, start: Ints, count: Ints, place: Floats, mean: Floats, variance: Floats, straight: Floats,
    offset: Floats, left: Floats, prior: Floats, group: int,
) -> None:  # fmt: skip
    """Write what is known at the places of gaps to all of their rows; linear between places, zero at the ends."""
    batch, length = variance.shape
    own = np.repeat(np.arange(batch), count[some])
    number = np.arange(len(own)) - np.repeat(np.cumsum(count[some]) - count[some], count[some])
    row = start[some][own] + number
    taken = np.minimum(count[some], length)
    at = (number + 1.0) / (count[some][own] + 1.0)
    # places ascend in each gap: one search for all, by gap and place
    flat = np.where(np.arange(length)[None] < taken[:, None], place, 2.0) + 10.0 * np.arange(batch)[:, None]
    right = np.searchsorted(flat.ravel(), at + 10.0 * own - 1e-9) - own * length
    low, high = np.maximum(right - 1, 0), np.minimum(right, taken[own] - 1)
    a = np.where(right > 0, place[own, low], 0.0)
    b = np.where(right < taken[own], place[own, high], 1.0)
    part = (at - a) / np.maximum(b - a, 1e-12)
    first, last = (right > 0) * (1 - part), (right < taken[own]) * part
    offset[row] = first[:, None] * mean[own, low] + last[:, None] * mean[own, high]
    left[row, group] = first * variance[own, low] + last * variance[own, high]
    prior[row, group] = first * straight[own, low] + last * straight[own, high]
