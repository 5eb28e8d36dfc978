"""People's boxes pin a track: what they teach of the detector's bias, and the course between them.

A drawn box is exact. Between two of them a track could follow the candidates, moved by the offsets that the drawn boxes
show, or go straight. Each of the two is trusted by how far off it is expected to be: candidates by the spread of the
video's offsets, the straight line by how much the track bends over such a gap; and both expectations are corrected by
how well they predict drawn boxes from their neighbours. What the drawn boxes of several tracks have in common (a
detector whose boxes are too wide, say) moves the other tracks of the video, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of our courses on simulated streams: standard deviation of the offset of centre x, centre y (in widths and heights),
# log width and log height; the share of its variance that stays along a track; seconds after which the rest is down
# to 1/e.
SPREAD = (0.06, 0.04, 0.10, 0.06)
STAYS = 0.1
FADE = 0.5
FADE_ASTRAY = 0.1  # seconds, of an offset that is no detector's but a track's that went astray for a moment
PRIOR_KEYS = 4.0  # imagined drawn boxes behind these numbers
PRIOR_TRACKS = 4.0  # imagined tracks without any bias, against which the drawn boxes of a video speak
LEAST_TRACKS = 3  # tracks with drawn boxes before they tell anything of the detector
ASTRAY = 0.4  # offset from which a drawn box says that the track went astray, and nothing of the detector

# Of boxes that a tracker filled in and is sure of: standard deviation of centre, in sizes, and of the size's logarithm.
FILLED = (0.05, 0.06)
OUTLIER = 2.0  # standard deviations from which two opinions contradict each other

CHORD = 1.0  # seconds, half the stretch over which a track's bend is measured
SHORT_CHORD = 0.15  # seconds, of the shorter stretch that tells how it grows
LEAST_BEND = 1e-3
LEAST_POWER, MOST_POWER = 1.0, 3.0  # of the variance over the length: a random walk, and an integrated one
USUAL_BEND = 0.05  # of tracks that are too short to show one, in a video without longer ones
FAR_OFF = 0.5  # sizes of the box by which an interpolated one may be expected to be off; beyond, nothing is filled
LOSS = np.array([1.6, 0.8])  # overlap lost for a standard deviation of 1 of both centre, and of both size, coordinates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Offsets:
    """What drawn boxes show of the candidates' courses in one video.

    Attributes:
        bias: (4,) mean offset of the detector: centre in units of width and height, logarithms of width and height.
        spread: (2,) standard deviation of what is left: of centre coordinates, of size coordinates.
        course: (2,) factor on the variance that is expected of a course between drawn boxes, for centre and size.
        straight: (2,) the same of straight lines between drawn boxes.
        num_keys: drawn boxes that this rests on.
    """

    bias: Floats
    spread: Floats
    course: Floats
    straight: Floats
    num_keys: int


def to_state(xyxy: NDArray) -> Floats:
    """(N, 4) centre x, centre y, log width, log height of boxes in pixels."""
    box = np.asarray(xyxy, np.float64)
    return np.concatenate([(box[:, :2] + box[:, 2:]) / 2, np.log(np.maximum(box[:, 2:] - box[:, :2], 1e-3))], 1)


def to_xyxy(state: NDArray) -> Floats:
    """(N, 4) boxes in pixels of states."""
    half = np.exp(state[:, 2:]) / 2
    return np.concatenate([state[:, :2] - half, state[:, :2] + half], 1)


def unit_of(state: Floats) -> Floats:
    """(N, 4) what an offset of 1 means in a state: its width, its height, 1, 1."""
    return np.concatenate([np.exp(state[:, 2:]), np.ones_like(state[:, 2:])], 1)


def course_variance(before: Floats, behind: Floats, keys: NDArray | float) -> Floats:
    """(N,) share of the offsets' variance that is left at some seconds from the drawn boxes before and behind.

    The offset is a part that stays along the track and one that fades (an Ornstein-Uhlenbeck process).

    Args:
        before: (N,) seconds, infinite without a drawn box before.
        behind: (N,) seconds.
        keys: drawn boxes of the track.
    """
    a, b = np.exp(-2 * before / FADE), np.exp(-2 * behind / FADE)
    fading = (1 - a) * (1 - b) / np.maximum(1 - a * b, 1e-12)
    return (1 - STAYS) * fading + STAYS / (1 + np.asarray(keys) * STAYS)


def straight_variance(before: Floats, behind: Floats, bend: Floats) -> Floats:
    """(N, 2) variance of a straight line where nothing is seen, centre and size.

    What lies between two observations bends with a power of the gap: 3/2 where the motion is smooth (an integrated
    random walk), less where it jerks.

    Args:
        before: (N,) seconds to the observation before, infinite if there is none.
        behind: (N,) seconds to that behind.
        bend: (N, 4) or (4,) of ``bends``.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        both = np.where(
            np.isfinite(before) & np.isfinite(behind), before * behind / np.maximum(before + behind, 1e-9), 0
        )
    one = np.where(np.isfinite(before), before, np.where(np.isfinite(behind), behind, 0.0))
    reach = 2 * np.where(np.isfinite(before) & np.isfinite(behind), both, one)
    return np.square(bend[..., :2]) * (reach[:, None] / CHORD) ** bend[..., 2:]


def learn_offsets(
    track: NDArray[np.int64], frame: NDArray[np.int64], course: Floats, drawn: Floats, bend: Floats, rate: float
) -> Offsets:
    """What the drawn boxes of a video teach.

    Args:
        track: (K,) int64, track of every drawn box that has an observed course at its frame, sorted.
        frame: (K,) int64, ascending inside a track.
        course: (K, 4) state of the candidates' course there.
        drawn: (K, 4) state of the drawn box.
        bend: (K, 4) bend of the track.
        rate: frames per second.
    """
    prior = np.square(SPREAD).reshape(2, 2).mean(1)
    if not len(track):
        return Offsets(np.zeros(4), np.sqrt(prior), np.ones(2), np.ones(2), 0)
    offset = (drawn - course) / unit_of(course)
    fits = (np.abs(offset) < ASTRAY).all(1)
    if not fits.any():
        return Offsets(np.zeros(4), np.sqrt(prior), np.ones(2), np.ones(2), 0)
    track, frame, offset = track[fits], frame[fits], offset[fits]
    course, drawn, bend = course[fits], drawn[fits], bend[fits]
    _, first, own = np.unique(track, return_index=True, return_inverse=True)
    count = np.bincount(own)
    of_track = np.stack([np.bincount(own, column) for column in offset.T], 1) / count[:, None]
    # the median, and none from fewer tracks: one track that went astray says nothing of the detector
    known = len(first) if len(first) >= LEAST_TRACKS else 0
    bias = np.median(of_track, 0) * known / (known + PRIOR_TRACKS)
    rest = np.square(offset - bias).reshape(-1, 2, 2).mean(2)
    spread = np.sqrt((rest.sum(0) + PRIOR_KEYS * prior) / (len(rest) + PRIOR_KEYS))
    middle = np.flatnonzero((track[2:] == track[1:-1]) & (track[1:-1] == track[:-2])) + 1
    scale = _scales(middle, frame, course + bias * unit_of(course), drawn, bend, spread, count[own], rate)
    return Offsets(bias, spread, *scale, len(track))


def _scales(
    middle: NDArray[np.int64], frame: NDArray[np.int64], course: Floats, drawn: Floats, bend: Floats, spread: Floats,
    keys: NDArray[np.int64], rate: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Factors on the variances of course and straight line, by how each predicts drawn boxes from their neighbours."""
    if not len(middle):
        return np.ones(2), np.ones(2)
    left, right = middle - 1, middle + 1
    before, behind = (frame[middle] - frame[left]) / rate, (frame[right] - frame[middle]) / rate
    part = (before / (before + behind))[:, None]
    unit = unit_of(drawn[middle])
    straight = drawn[left] * (1 - part) + drawn[right] * part
    one, two = _bridge(before, behind)
    gap = drawn - course
    bent = course[middle] + one * gap[left] + two * gap[right]
    seen = [
        np.square(np.clip((drawn[middle] - guess) / unit, -1, 1)).reshape(-1, 2, 2).mean(2)
        for guess in (bent, straight)
    ]
    expected = (
        np.square(spread) * course_variance(before, behind, keys[middle])[:, None],
        straight_variance(before, behind, bend[middle]),
    )
    factors = []
    for found, wanted in zip(seen, expected, strict=True):
        ratio = np.clip(found / np.maximum(wanted, 1e-8), 0, 100)
        # one wild box must not speak for all: the mean of logarithms is robust, and a normal's is known
        factors.append(np.exp((np.log(np.maximum(ratio, 1e-2)) + 0.6).sum(0) / (len(middle) + PRIOR_KEYS)))
    return np.clip(factors[0], 0.1, 10), np.clip(factors[1], 0.1, 10)


def _bridge(before: Floats, behind: Floats) -> tuple[Floats, Floats]:
    """(N, 1) weights of the fading offsets of the drawn boxes before and behind; one alone if the other is far."""
    a, b = np.minimum(before / FADE, 30), np.minimum(behind / FADE, 30)
    whole = np.sinh(np.maximum(a + b, 1e-9))
    return (np.sinh(b) / whole)[:, None], (np.sinh(a) / whole)[:, None]


def pin(
    track: NDArray[np.int64], frame: NDArray[np.int64], course: Floats, drawn: Floats, is_drawn: NDArray[np.bool_],
    has_course: NDArray[np.bool_], bend: Floats, offsets: Offsets, rate: float,
) -> Floats:  # fmt: skip
    """(N, 4) states of the tracks with every drawn box where it was drawn.

    Args:
        track: (N,) int64, rows sorted by (track, frame).
        frame: (N,) int64.
        course: (N, 4) the candidates' course, where there is one.
        drawn: (N, 4) the drawn box, where there is one.
        is_drawn: (N,) bool.
        has_course: (N,) bool, where the candidates tell a course.
        bend: (N, 4) of the row's track.
        offsets: what the drawn boxes of the video teach.
        rate: frames per second.
    """
    unit = unit_of(course)
    moved = course + offsets.bias * unit
    key = is_drawn & has_course
    own = np.where(key[:, None], (drawn - moved) / unit, 0.0)
    size = int(track.max(initial=-1)) + 1
    tell = key & (np.abs(own) < ASTRAY).all(1)
    keys = np.bincount(track[tell], minlength=size)
    mean = (
        np.stack([np.bincount(track[tell], column[tell], size) for column in own.T], 1) / np.maximum(keys, 1)[:, None]
    )
    stays = (mean * (STAYS * keys / (1 + np.maximum(keys - 1, 0) * STAYS))[:, None])[track]
    left, right = neighbours(track, key)
    before, behind = seconds_to(frame, left, rate), seconds_to(frame, right, rate)
    one, two = _bridge(before, behind)
    one = one * np.where(tell[left] | (left < 0), 1.0, np.exp(-np.minimum(before, 30) / FADE_ASTRAY))[:, None]
    two = two * np.where(tell[right] | (right < 0), 1.0, np.exp(-np.minimum(behind, 30) / FADE_ASTRAY))[:, None]
    fading = np.where((left >= 0)[:, None], one * (own[left] - stays), 0.0)
    fading = fading + np.where((right >= 0)[:, None], two * (own[right] - stays), 0.0)
    fading = np.where((left == right)[:, None] & (left >= 0)[:, None], own - stays, fading)
    out = moved + (stays + fading) * unit

    a, b = neighbours(track, is_drawn)
    inner = (a >= 0) & (b > a) & ~is_drawn
    if inner.any():
        a, b = a[inner], b[inner]
        before, behind = seconds_to(frame, a, rate, inner), seconds_to(frame, b, rate, inner)
        share = (before / (before + behind))[:, None]
        straight = drawn[a] * (1 - share) + drawn[b] * share
        of_line = offsets.straight * straight_variance(before, behind, bend[inner])
        of_course = (
            offsets.course * np.square(offsets.spread) * course_variance(before, behind, keys[track[inner]])[:, None]
        )
        follow = np.repeat(of_line / np.maximum(of_line + of_course, 1e-12), 2, axis=1) * has_course[inner][:, None]
        out[inner] = straight + follow * (out[inner] - straight)
    out[is_drawn] = drawn[is_drawn]
    return out


def blend(
    track: NDArray[np.int64], frame: NDArray[np.int64], state: Floats, filled: Floats, trust: Floats,
    is_key: NDArray[np.bool_], has_course: NDArray[np.bool_], bend: Floats, offsets: Offsets, rate: float,
) -> Floats:  # fmt: skip
    """(N, 4) states of the tracks with the boxes that a tracker filled in taken in, each opinion by its variance.

    Where the course and what the tracker saw are too far apart for both to be right, the tracker is: it saw pictures.

    Args:
        track: (N,) int64, rows sorted by (track, frame).
        frame: (N,) int64.
        state: (N, 4) of ``pin``.
        filled: (N, 4) state of the box that was filled in, where there is one.
        trust: (N,) its confidence; nan where there is none.
        is_key: (N,) bool, drawn by a person.
        has_course: (N,) bool, where the candidates tell a course.
        bend: (N, 4) of the row's track.
        offsets: what the drawn boxes of the video teach.
        rate: frames per second.
    """
    here = np.flatnonzero(~np.isnan(trust))
    left, right = neighbours(track, is_key)
    keys = np.bincount(track[is_key], minlength=int(track.max(initial=-1)) + 1)[track[here]]
    before = seconds_to(frame, left[here], rate, here)
    behind = seconds_to(frame, right[here], rate, here)
    inner, seen = np.isfinite(before) & np.isfinite(behind), has_course[here]
    line = offsets.straight * straight_variance(before, behind, bend[here])
    course = offsets.course * np.square(offsets.spread) * course_variance(before, behind, keys)[:, None]
    line, course = np.where(inner[:, None], line, np.inf), np.where(seen[:, None], course, np.inf)
    known = (inner | seen)[:, None]
    own = np.square(FILLED) / np.square(trust[here])[:, None]
    with np.errstate(divide="ignore"):
        now = 1 / (1 / np.maximum(line, 1e-12) + 1 / np.maximum(course, 1e-12))
    off = (filled[here] - state[here]) / unit_of(filled[here])
    apart = np.square(off).reshape(-1, 2, 2).mean(2)
    now = np.where(known, now, 1.0)
    now = now + np.maximum(apart - OUTLIER**2 * (now + own), 0.0)
    share = np.where(known, now / (now + own), 1.0)
    out = state.copy()
    out[here] += np.repeat(share, 2, axis=1) * (filled[here] - state[here])
    return out


def seconds_to(frame: NDArray[np.int64], row: NDArray[np.int64], rate: float, here: NDArray | None = None) -> Floats:
    """(n,) seconds from some rows (all, or those of ``here``) to the rows named; infinite for -1."""
    own = frame if here is None else frame[here]
    return np.where(row >= 0, np.abs(frame[row] - own) / rate, np.inf)


def neighbours(track: NDArray[np.int64], key: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nearest key row at or before, and at or behind, every row of the same track; -1 for none.

    Args:
        track: (N,) int64, sorted.
        key: (N,) bool.
    """
    number = len(track)
    rows = np.arange(number)
    left = np.maximum.accumulate(np.where(key, rows, -1)) if number else rows
    right = number - 1 - np.maximum.accumulate(np.where(key[::-1], rows, -1))[::-1] if number else rows
    right = np.where(right >= number, -1, right)
    left[(left >= 0) & (track[left] != track)] = -1
    right[(right >= 0) & (track[right] != track)] = -1
    return left, right


def bends(
    track: NDArray[np.int64], frame: NDArray[np.int64], state: Floats, is_seen: NDArray[np.bool_], rate: float
) -> Floats:
    """(T, 4) how far each track leaves its chords: root mean square over ``CHORD``, then the power of its growth.

    Of the centre, in sizes of the box, and of the logarithm of the size. The power is that of the variance, from a
    short chord to the long one. Tracks that are too short to tell have the video's median.

    Args:
        track: (N,) int64 from 0, rows sorted by (track, frame).
        frame: (N,) int64.
        state: (N, 4).
        is_seen: (N,) bool, whether the row was observed rather than filled.
        rate: frames per second.
    """
    long, short = max(2, round(CHORD * rate)), max(1, round(SHORT_CHORD * rate))
    far = _off_chord(track, frame, state, is_seen, long) * (CHORD * rate / long) ** (MOST_POWER / 2)
    near = _off_chord(track, frame, state, is_seen, short)
    far, near = np.maximum(far, LEAST_BEND), np.maximum(near, LEAST_BEND)
    with np.errstate(invalid="ignore"):
        power = 2 * np.log(far / near) / np.log(long / short)
    both = np.concatenate([far, np.clip(power, LEAST_POWER, MOST_POWER)], 1)
    for column in range(4):
        known = np.isfinite(both[:, column])
        usual = np.median(both[known, column]) if known.any() else (USUAL_BEND if column < 2 else MOST_POWER)
        both[~known, column] = usual
    return both


def _off_chord(
    track: NDArray[np.int64], frame: NDArray[np.int64], state: Floats, is_seen: NDArray[np.bool_], reach: int
) -> Floats:
    """(T, 2) root mean square distance of each track's boxes from chords of ``reach`` frames to both sides, or nan."""
    size = int(track.max(initial=-1)) + 1
    out = np.full((size, 2), np.nan)
    if not len(track):
        return out
    key = track * (1 << 40) + frame
    left = np.searchsorted(key, key - reach)
    right = np.minimum(np.searchsorted(key, key + reach), len(key) - 1)
    rows = np.flatnonzero(is_seen & (key[left] == key - reach) & (key[right] == key + reach))
    off = (state[rows] - (state[left[rows]] + state[right[rows]]) / 2) / unit_of(state[rows])
    square = np.square(off).reshape(-1, 2, 2).mean(2)
    count = np.bincount(track[rows], minlength=size)
    total = np.stack([np.bincount(track[rows], column, size) for column in square.T], 1)
    known = count > 0
    out[known] = np.sqrt(total[known] / count[known, None])
    return out


def credible_gap(bend: NDArray, rate: float) -> NDArray[np.int64]:
    """(N,) longest gap in frames that may be interpolated over, by the bends (N, 4) of its track."""
    return (2 * CHORD * (FAR_OFF / (bend[:, :2] @ LOSS)) ** (2 / bend[:, 2]) * rate).astype(np.int64)
