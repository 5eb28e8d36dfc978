"""Offline smoother of boxes: weighs each track's motion against the detector's noise, coordinate by coordinate.

A fixed window helps slow pedestrians and harms fast cars. Here every track and every coordinate (centre x, centre y,
width, height) decides for itself how stiff its course is: it is a cubic smoothing spline (see ``spline``) whose
stiffness is averaged, on a logarithmic scale, over a grid weighted by restricted likelihood. Long tracks speak for
themselves; short ones borrow from the video by empirical Bayes: the grid's prior and the noise level are fitted to all
tracks by EM.

Four things beside that:

* noise and motion both grow with the size of the box, so an approaching car is not smoothed by one yardstick;
* what the centre does beyond any credible noise is motion, however erratic: a kicking child, a hand-held camera;
* a box far from its course counts less (Huber's weights), e.g. one box drawn around two people;
* what all tracks of a frame do together is the camera, not the objects: a shaking camera is taken off before smoothing
  and put back after.

Everything is one batch over all tracks: no loop over tracks, boxes or frames. The loops below run over a fixed grid, a
fixed number of passes, four coordinates, and parts of some 100,000 rows that bound the memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .camera import CameraSums
from .spline import Floats, SplineSystem, evaluate_spline, spline_system

# All constants were chosen on simulated tracks only (benchmarks/smoothing.py --simulated).
STIFFNESS = (
    np.array([0.15, 0.3, 0.8, 1.6, 3.0, 6.0, 11.0, 20.0, 40.0]) ** 4
)  # frames^3; 4th root: frames that a bend takes
PASSES = 3
EM_STEPS = 10
HUBER = 2.0  # noise levels beyond which a box counts less
MOST_DOUBT = 30.0  # greatest factor on the noise level of a box
NOISE_FREEDOM = 3.0  # pseudo-contrasts behind the video's noise level
GRID_TRACKS = 2.0  # pseudo-tracks behind a flat prior on the grid
LONG_TRACK = 20  # contrasts beyond which a track counts no more for the video's noise level
GAP_BEND = 0.75  # share of the course's bend that a filled gap follows: 0 is a straight line, 1 the likeliest course
LEAST_SIZE = 0.05  # of the given box: smoothing never shrinks a side below it
MOST_NOISE = 0.2  # noise levels are relative to the size of the box; none is believed beyond this one,
CENTRE_NOISE = 1.0  # nor one of the centre beyond this share of that of width and height,
SURELY_NOISE = 0.02  # unless it is below this one
MOST_TRUST = 1e4  # weights are cut at this and its inverse: beyond, double precision would not tell rows apart
LEAST_NOISE = 1e-10  # relative variance; keeps exact data finite
PART_ROWS = 100_000


@dataclass(frozen=True)
class _Boxes:
    """Rows sorted by (track, frame), without doubles.

    Attributes:
        frame: (N,) from 0.
        track: (N,) from 0 to T - 1.
        box: (N, 4) centre x, centre y, width, height in pixels.
        trust: (N,) how much a row counts, 1 as a rule.
        start: (T + 1,) first row of each track, and N.
        middle: (T, 4) mean box of each track.
        scale: (T, 4) mean width, height, width, height of each track.
    """

    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    box: Floats
    trust: Floats
    start: NDArray[np.int64]
    middle: Floats
    scale: Floats

    @property
    def contrast_start(self) -> NDArray[np.int64]:
        """(T + 1,) first contrast of each track, and their number."""
        return np.concatenate([[0], np.cumsum(np.maximum(np.diff(self.start) - 2, 0))])

    def parts(self) -> list[tuple[slice, slice]]:
        """(rows, tracks) of parts of about ``PART_ROWS`` rows, whole tracks each."""
        cut = np.flatnonzero(np.diff(self.start[:-1] // PART_ROWS, prepend=-1))
        edge = np.append(cut, len(self.start) - 1)
        edge_row = self.start[edge].tolist()
        return [
            (slice(*rows), slice(*tracks))
            for rows, tracks in zip(pairwise(edge_row), pairwise(edge.tolist()), strict=True)
        ]


@dataclass
class _Course:
    """What is known of the boxes' courses so far; every pass sharpens it.

    Attributes:
        size: (N,) size of the box relative to its track's mean.
        doubt: (N,) factor on the noise level of a row, 1 or more.
        camera: (F, 2) common displacement of all boxes of a frame, pixels.
        box: (N, 4) smoothed course without the camera, pixels (after the first pass).
        bend: (N, 4) its second derivative, pixels per frame^2, in single precision.
    """

    size: Floats
    doubt: Floats
    camera: Floats
    box: Floats
    bend: NDArray[np.float32]


def smooth_tracks(
    frame: ArrayLike,
    xyxy: ArrayLike,
    track: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    observed: ArrayLike | None = None,
) -> NDArray[np.floating]:
    """Smooth the boxes of all tracks of one video, past and future.

    Linear in the number of boxes. Up to rounding: equivariant to shifts and scalings of the image and to reversal
    of time, and tracks of one or two boxes stay as they are.

    Args:
        frame: (N,) integers, in any order; frames may be missing inside a track.
        xyxy: (N, 4) pixels, x1 < x2 and y1 < y2, finite.
        track: (N,) integers, any labels; at most one row per track and frame.
        weight: (N,) positive, 1 if not given; a row counts so many times, at most 10,000 and at least 1/10,000.
        observed: (N,) bool; rows that are False (filled gaps) do not count and are put onto the smoothed course of the
            rows that do; those before the first or behind the last such row of their track stay. All if not given.

    Returns:
        (N, 4) smoothed boxes in the order and (floating) type of ``xyxy``, each with x1 < x2 and y1 < y2.

    Raises:
        InputError: for columns of unequal length, boxes that are not finite or have no area, weights that are not
            positive, or two observed boxes of a track in one frame; names the first bad row.
    """
    frame, track = np.asarray(frame).astype(np.int64), np.asarray(track).astype(np.int64)
    given = np.asarray(xyxy)
    given = given if np.issubdtype(given.dtype, np.floating) else given.astype(np.float64)
    trust = np.ones(len(frame)) if weight is None else np.asarray(weight, np.float64)
    seen = np.ones(len(frame), bool) if observed is None else np.asarray(observed).astype(bool)
    _check(frame, given, track, trust, seen)
    if not seen.any():
        return given.copy()

    order = np.lexsort((frame, track))
    seen_rows = order[seen[order]]
    boxes = _boxes(frame, given, track, trust, seen_rows)
    course = _follow(boxes)

    smoothed = given.copy()
    for rows, _ in boxes.parts():
        least = LEAST_SIZE * boxes.box[rows, 2:]
        smoothed[seen_rows[rows]] = _corners(course.box[rows], course.camera[boxes.frame[rows]], least)
    if len(seen_rows) < len(order):
        _put_on_course(smoothed, order[~seen[order]], frame, track, seen_rows, boxes, course)
    # Rounding to single precision may close a box of less than a millionth of its distance from the origin.
    closed = (smoothed[:, 2:] <= smoothed[:, :2]).any(1)
    smoothed[closed] = given[closed]
    return smoothed


def _check(
    frame: NDArray[np.int64],
    xyxy: NDArray[np.floating],
    track: NDArray[np.int64],
    trust: Floats,
    seen: NDArray[np.bool_],
) -> None:
    count = len(frame)
    if xyxy.shape != (count, 4) or any(len(column) != count for column in (track, trust, seen)):
        raise InputError(
            f"smoothing: frame has {count} rows, xyxy has shape {xyxy.shape}, track, weight and observed have "
            f"{len(track)}, {len(trust)} and {len(seen)}; they must agree"
        )
    bad = ~(np.isfinite(xyxy).all(1) & (xyxy[:, 2:] > xyxy[:, :2]).all(1) & np.isfinite(trust) & (trust > 0))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"smoothing: row {row} (frame {frame[row]}, track {track[row]}) has box {xyxy[row].tolist()} and weight "
            f"{trust[row]}; boxes need area, and boxes and weights must be finite, weights positive"
        )
    order = np.lexsort((frame, track))
    order = order[seen[order]]
    twice = (frame[order][1:] == frame[order][:-1]) & (track[order][1:] == track[order][:-1])
    if twice.any():
        row = int(order[1:][twice].min())
        raise InputError(f"smoothing: track {track[row]} has two boxes in frame {frame[row]} (row {row}); keep one")


def _boxes(
    frame: NDArray[np.int64],
    xyxy: NDArray[np.floating],
    track: NDArray[np.int64],
    trust: Floats,
    rows: NDArray[np.int64],
) -> _Boxes:
    box = xyxy[rows].astype(np.float64)
    box[:, 2:] -= box[:, :2]
    box[:, :2] += box[:, 2:] / 2
    label = track[rows]
    first = np.flatnonzero(np.append(True, label[1:] != label[:-1]))
    count = np.diff(np.append(first, len(rows)))
    middle = np.add.reduceat(box, first) / count[:, None]
    return _Boxes(
        frame=frame[rows] - frame[rows].min(),
        track=np.repeat(np.arange(len(first)), count),
        box=box,
        trust=np.clip(trust[rows], 1 / MOST_TRUST, MOST_TRUST),
        start=np.append(first, len(rows)),
        middle=middle,
        scale=np.tile(middle[:, 2:], 2),
    )


def _corners(box: Floats, shift: Floats, least: Floats) -> Floats:
    """(N, 4) centre x, centre y, width, height, moved by ``shift`` and no smaller than ``least``, as x1, y1, x2, y2."""
    half, centre = np.maximum(box[:, 2:], least) / 2, box[:, :2] + shift
    return np.concatenate([centre - half, centre + half], 1)


def _follow(boxes: _Boxes) -> _Course:
    """Alternate between choosing stiffness, smoothing, and learning from what is left: outliers and the camera."""
    count, frames = len(boxes.frame), int(boxes.frame.max()) + 1
    course = _Course(
        np.ones(count), np.ones(count), np.zeros((frames, 2)), boxes.box.copy(), np.zeros((count, 4), np.float32)
    )
    contrasts = np.diff(boxes.contrast_start)
    if not contrasts.any():
        return course
    for rows, tracks in boxes.parts():
        course.size[rows] = _mean_size(boxes, rows, tracks)
    for number in range(PASSES):
        stiffness, noise = _choose_stiffness(*_evidence(boxes, course), contrasts)
        camera = CameraSums.nothing(frames)
        for rows, tracks in boxes.parts():
            _smooth_part(boxes, course, rows, tracks, stiffness)
            if number < PASSES - 1:
                camera = camera.plus(_learn_from_rest(boxes, course, rows, noise, frames))
        if number < PASSES - 1:
            course.camera += camera.displacement()
    return course


def _mean_size(boxes: _Boxes, rows: slice, tracks: slice, reach: int = 4) -> Floats:
    """Size of each box relative to its track's mean, averaged over ``reach`` rows to both sides."""
    relative = boxes.box[rows, 2:] / boxes.scale[boxes.track[rows], 2:]
    total = np.concatenate([[0.0], np.cumsum(np.log(relative).mean(1))])
    row, track = np.arange(rows.start, rows.stop), boxes.track[rows]
    low = np.maximum(row - reach, boxes.start[track]) - rows.start
    high = np.minimum(row + reach + 1, boxes.start[track + 1]) - rows.start
    return np.exp((total[high] - total[low]) / (high - low))


def _system(boxes: _Boxes, course: _Course, rows: slice) -> tuple[SplineSystem, Floats]:
    """The spline system of some rows, and their boxes relative to their tracks' mean box."""
    track, size = boxes.track[rows], course.size[rows]
    steady = boxes.box[rows].copy()
    steady[:, :2] -= course.camera[boxes.frame[rows]]
    relative = (steady - boxes.middle[track]) / boxes.scale[track]
    noise = (course.doubt[rows] * size) ** 2 / boxes.trust[rows]
    return spline_system(boxes.frame[rows].astype(np.float64), track, noise, size**2), relative


def _evidence(boxes: _Boxes, course: _Course) -> tuple[Floats, Floats]:
    """Log determinants (G, T, 1) and quadratic forms (G, T, 4) of every track's contrasts at every stiffness."""
    grid, tracks_total = len(STIFFNESS), len(boxes.start) - 1
    determinant, square = np.zeros((grid, tracks_total, 1)), np.zeros((grid, tracks_total, 4))
    for rows, _ in boxes.parts():
        system, relative = _system(boxes, course, rows)
        if not len(system.middle):
            continue
        contrasts = system.contrasts(relative)
        owner = boxes.track[rows][system.middle]
        first = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
        for index, stiffness in enumerate(STIFFNESS):
            solution, terms = system.solve(contrasts, stiffness)
            determinant[index, owner[first], 0] = np.add.reduceat(terms, first)
            square[index, owner[first]] = np.add.reduceat(contrasts * solution, first)
    return determinant, square


def _choose_stiffness(determinant: Floats, square: Floats, contrasts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Empirical Bayes over the grid.

    The unknown noise variance of a track is estimated under a scaled inverse chi-squared prior around the video's
    (which makes the likelihood of the contrasts Student's), but no greater than noise can be: beyond, only motion
    explains the data. EM fits the video's level and the prior over the grid to all tracks.

    Returns:
        (T, 4) stiffness, and (T, 4) relative noise level; infinite where a track is too short to tell.
    """
    known = contrasts > 0
    determinant, square = determinant[:, known], np.maximum(square[:, known], 0.0)
    count = contrasts[known][:, None].astype(np.float64)
    vote = np.minimum(count, LONG_TRACK)
    grid = len(STIFFNESS)
    prior = np.full((grid, 1, 4), 1.0 / grid)
    level = np.median(square[grid // 2] / count, axis=0) + LEAST_NOISE
    for _ in range(EM_STEPS):
        # Shaking and noise look alike in one coordinate. But noise of the centre goes with noise of the size, and a
        # centre that jumps while the size is calm has moved: with a hand-held camera, or by itself.
        ceiling = np.full(4, MOST_NOISE**2)
        ceiling[:2] = np.clip(CENTRE_NOISE**2 * level[2:].max(), SURELY_NOISE**2, MOST_NOISE**2)
        variance = (NOISE_FREEDOM * level + square) / (NOISE_FREEDOM + count)
        credible = np.minimum(variance, ceiling)
        log = np.log(prior) - determinant / 2
        log -= (NOISE_FREEDOM + count) / 2 * (np.log(credible) + variance / credible)
        share = np.exp(log - log.max(0))
        share /= share.sum(0)
        prior = (share.sum(1, keepdims=True) + GRID_TRACKS / grid) / (len(count) + GRID_TRACKS)
        variance = (credible * share).sum(0)
        level = np.exp((np.log(variance) * vote).sum(0) / vote.sum()) + LEAST_NOISE
    stiffness = np.ones((len(contrasts), 4))
    noise = np.full((len(contrasts), 4), np.inf)
    stiffness[known] = np.exp(np.einsum("gtc,g->tc", share, np.log(STIFFNESS)))
    noise[known] = np.sqrt(variance)
    return stiffness, noise


def _smooth_part(boxes: _Boxes, course: _Course, rows: slice, tracks: slice, stiffness: Floats) -> None:
    """Update the smoothed boxes, bends and sizes of some rows."""
    system, smooth = _system(boxes, course, rows)
    track = boxes.track[rows]
    bend = np.zeros_like(smooth)
    if len(system.middle):
        contrasts = system.contrasts(smooth)
        owner = track[system.middle]
        for column in range(4):  # each coordinate has a stiffness, hence a matrix, of its own
            chosen = stiffness[owner, column]
            solution, _ = system.solve(contrasts[:, column : column + 1], chosen)
            smooth[:, column] -= system.corrections(solution)[:, 0]
            bend[system.middle, column] = system.diffusion * solution[:, 0] / chosen
    course.box[rows] = smooth * boxes.scale[track] + boxes.middle[track]
    course.bend[rows] = bend * boxes.scale[track]
    course.size[rows] = np.sqrt(np.maximum(1.0 + smooth[:, 2:], 0.02).prod(1))


def _learn_from_rest(boxes: _Boxes, course: _Course, rows: slice, noise: Floats, frames: int) -> CameraSums:
    """Doubt rows far from their course, and sum up what the rows of a frame have in common."""
    track, frame = boxes.track[rows], boxes.frame[rows]
    rest = boxes.box[rows] - course.box[rows]
    rest[:, :2] -= course.camera[frame]
    # Tracks too short to tell have infinite noise: no doubt, no vote on the camera.
    level = noise[track] * boxes.scale[track] * course.size[rows, None]
    away = rest / level
    course.doubt[rows] = np.clip(np.abs(away).max(1) / HUBER, 1.0, MOST_DOUBT)
    # A box votes on the camera as far as its course is known; one far away is pulled in before it does.
    weight = boxes.trust[rows, None] / level[:, :2] ** 2
    near = np.clip(away[:, :2], -HUBER, HUBER)
    return CameraSums.of(frame, weight, near * boxes.trust[rows, None] / level[:, :2], frames)


def _put_on_course(
    smoothed: NDArray[np.floating],
    rows: NDArray[np.int64],
    frame: NDArray[np.int64],
    track: NDArray[np.int64],
    seen_rows: NDArray[np.int64],
    boxes: _Boxes,
    course: _Course,
) -> None:
    """Overwrite unobserved ``rows`` of ``smoothed`` that lie between observed ones of their track."""
    # Sorted keys of both, by (track, frame), find the observed neighbours by one search.
    origin = frame[seen_rows].min()
    labels = track[seen_rows][boxes.start[:-1]]
    owner = np.minimum(np.searchsorted(labels, track[rows]), len(labels) - 1)
    when = frame[rows] - origin
    length = len(course.camera)
    inside = (labels[owner] == track[rows]) & (when >= 0) & (when < length)
    after = np.searchsorted(boxes.track * length + boxes.frame, owner * length + when)
    inside &= (after > boxes.start[owner]) & (after < boxes.start[owner + 1])
    rows, when, after = rows[inside], when[inside], after[inside]
    before = after - 1
    step = (boxes.frame[after] - boxes.frame[before]).astype(np.float64)
    position = (when - boxes.frame[before]) / step
    bends = GAP_BEND * course.bend[before], GAP_BEND * course.bend[after]
    box = evaluate_spline(position, step, course.box[before], course.box[after], *bends)
    least = LEAST_SIZE * np.minimum(boxes.box[before, 2:], boxes.box[after, 2:])
    smoothed[rows] = _corners(box, course.camera[when], least)
