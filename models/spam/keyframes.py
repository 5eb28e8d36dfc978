"""People's boxes pin a track: what they teach of the detector's bias, and the course between them.

A drawn box is exact. Between two of them the track follows the candidates, moved by the offset that the drawn boxes
show, as far as the drawn boxes of the video bear the candidates out; else it is interpolated. What all drawn boxes of
a video have in common (a detector whose boxes are too wide, say) moves the other tracks, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_SPREAD = (0.06, 0.04, 0.10, 0.06)  # of our courses on simulated streams, and
PRIOR_SPREAD_KEYS = 4.0  # as many imagined drawn boxes behind it
PRIOR_TRACKS = 2.0  # imagined tracks without any bias, against which the drawn boxes of a video speak
PRIOR_KEYS = 3.0  # imagined drawn boxes that bear the candidates out wholly
CHORD = 1.0  # seconds, half the stretch over which a track's bend is measured
USUAL_BEND = 0.1  # of tracks that are too short to show one, in a video without longer ones
FAR_OFF = 0.5  # sizes of the box by which an interpolated one may be expected to be off; beyond, nothing is filled
FADE = 3.0  # seconds after which a track's own offset has faded towards the video's by 1/e, beyond its drawn boxes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Offsets:
    """What drawn boxes show of the candidates' courses in one video.

    Attributes:
        bias: (4,) mean offset of the detector: centre in units of width and height, logarithms of width and height.
        spread: (4,) standard deviation of what is left, from object to object and over time.
        trust: (2,) in [0, 1], how far the candidates' motion is followed between drawn boxes: of the centre, and of
            the size.
        num_keys: drawn boxes that this rests on.
    """

    bias: Floats
    spread: Floats
    trust: Floats
    num_keys: int


def to_state(xyxy: NDArray) -> Floats:
    """(N, 4) centre x, centre y, log width, log height of boxes in pixels."""
    box = np.asarray(xyxy, np.float64)
    return np.concatenate([(box[:, :2] + box[:, 2:]) / 2, np.log(np.maximum(box[:, 2:] - box[:, :2], 1e-3))], 1)


def to_xyxy(state: Floats) -> Floats:
    """(N, 4) boxes in pixels of states."""
    half = np.exp(state[:, 2:]) / 2
    return np.concatenate([state[:, :2] - half, state[:, :2] + half], 1)


def _unit(state: Floats) -> Floats:
    """(N, 4) what an offset of 1 means in a state: its width, its height, 1, 1."""
    return np.concatenate([np.exp(state[:, 2:]), np.ones_like(state[:, 2:])], 1)


def learn_offsets(track: NDArray[np.int64], frame: NDArray[np.int64], course: Floats, drawn: Floats) -> Offsets:
    """What the drawn boxes of a video teach.

    Args:
        track: (K,) int64, track of every drawn box that has a course of candidates at its frame, sorted.
        frame: (K,) int64, ascending inside a track.
        course: (K, 4) state of the candidates' course there.
        drawn: (K, 4) state of the drawn box.
    """
    if not len(track):
        return Offsets(np.zeros(4), np.array(PRIOR_SPREAD), np.ones(2), 0)
    offset = (drawn - course) / _unit(course)
    _, first, own = np.unique(track, return_index=True, return_inverse=True)
    count = np.bincount(own)
    of_track = np.stack([np.bincount(own, np.clip(column, -0.5, 0.5)) for column in offset.T], 1) / count[:, None]
    bias = of_track.sum(0) / (len(first) + PRIOR_TRACKS)
    rest = np.clip(offset - bias, -0.5, 0.5)
    prior = PRIOR_SPREAD_KEYS * np.square(PRIOR_SPREAD)
    spread = np.sqrt((np.square(rest).sum(0) + prior) / (len(rest) + PRIOR_SPREAD_KEYS))
    return Offsets(bias, spread, _trust(track, frame, course, drawn), len(track))


def _trust(track: NDArray[np.int64], frame: NDArray[np.int64], course: Floats, drawn: Floats) -> Floats:
    """(2,) the least-squares share of the candidates' motion that predicts each drawn box from its two neighbours."""
    middle = np.flatnonzero((track[2:] == track[1:-1]) & (track[1:-1] == track[:-2])) + 1
    if not len(middle):
        return np.ones(2)
    left, right = middle - 1, middle + 1
    part = ((frame[middle] - frame[left]) / (frame[right] - frame[left]))[:, None]
    straight = drawn[left] * (1 - part) + drawn[right] * part
    bent = course[middle] - (course[left] * (1 - part) + course[right] * part)
    unit = _unit(drawn[middle])
    said, given = np.clip((drawn[middle] - straight) / unit, -1, 1), np.clip(bent / unit, -1, 1)
    prior = PRIOR_KEYS * np.square(given).mean(0) + 1e-6
    both, square = (said * given).sum(0) + prior, np.square(given).sum(0) + prior
    return np.clip([both[:2].sum() / square[:2].sum(), both[2:].sum() / square[2:].sum()], 0, 1)


def pin(
    track: NDArray[np.int64], frame: NDArray[np.int64], course: Floats, drawn: Floats, is_drawn: NDArray[np.bool_],
    has_course: NDArray[np.bool_], offsets: Offsets, frame_rate: float,
) -> Floats:  # fmt: skip
    """(N, 4) states of the tracks with every drawn box where it was drawn.

    Args:
        track: (N,) int64, rows sorted by (track, frame).
        frame: (N,) int64.
        course: (N, 4) the candidates' course, where there is one.
        drawn: (N, 4) the drawn box, where there is one.
        is_drawn: (N,) bool.
        has_course: (N,) bool, frames between two candidates of the track that are near enough to each other.
        offsets: what the drawn boxes of the video teach.
        frame_rate: of the video, per second.
    """
    number = len(track)
    unit = _unit(course)
    moved = course + offsets.bias * unit
    key = is_drawn & has_course
    left, right = _neighbours(track, key)
    own = np.zeros((number, 4))
    own[key] = ((drawn - moved) / unit)[key]
    has_left, has_right = left >= 0, right >= 0
    part = np.zeros(number)
    both = has_left & has_right & (right > left)
    part[both] = (frame[both] - frame[left[both]]) / (frame[right[both]] - frame[left[both]])
    gone = np.where(has_left, frame - frame[left], np.where(has_right, frame[right] - frame, 0)) / frame_rate
    fade = np.exp(-gone / FADE)
    one = np.where((has_left | has_right)[:, None], own[np.where(has_left, left, right)], 0.0)
    two = np.where(both[:, None], own[right], 0.0)
    deviation = np.where(both[:, None], one * (1 - part[:, None]) + two * part[:, None], one * fade[:, None])
    out = moved + deviation * unit
    # between two drawn boxes: as much of the candidates' motion as has proved right, the rest straight
    before, behind = _neighbours(track, is_drawn)
    inner = (before >= 0) & (behind > before) & ~is_drawn
    if inner.any():
        a, b = before[inner], behind[inner]
        share = ((frame[inner] - frame[a]) / (frame[b] - frame[a]))[:, None]
        straight = drawn[a] * (1 - share) + drawn[b] * share
        follow = np.repeat(offsets.trust, 2)[None] * has_course[inner][:, None]
        out[inner] = straight + follow * (out[inner] - straight)
    out[is_drawn] = drawn[is_drawn]
    return out


def _neighbours(track: NDArray[np.int64], key: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nearest key row at or before, and at or behind, every row of the same track; -1 for none."""
    number = len(track)
    rows = np.arange(number)
    left = np.maximum.accumulate(np.where(key, rows, -1))
    right = number - 1 - np.maximum.accumulate(np.where(key[::-1], rows, -1))[::-1]
    right = np.where(right >= number, -1, right)
    left[(left >= 0) & (track[left] != track)] = -1
    right[(right >= 0) & (track[right] != track)] = -1
    return left, right


def bends(
    track: NDArray[np.int64], frame: NDArray[np.int64], state: Floats, is_seen: NDArray[np.bool_], rate: float
) -> Floats:
    """(T,) how far each track leaves the chord over two seconds, in sizes of its box.

    Tracks that are too short to tell have the video's median.

    Args:
        track: (N,) int64 from 0, rows sorted by (track, frame).
        frame: (N,) int64.
        state: (N, 4).
        is_seen: (N,) bool, whether the row was observed rather than filled.
        rate: frames per second.
    """
    size = int(track.max(initial=-1)) + 1
    reach = max(1, round(CHORD * rate))
    key = track * (1 << 40) + frame
    left, right = np.searchsorted(key, key - reach), np.searchsorted(key, key + reach)
    inside = is_seen & (right < len(key))
    inside &= (key[left] == key - reach) & (key[np.minimum(right, len(key) - 1)] == key + reach)
    rows = np.flatnonzero(inside)
    out = np.full(size, np.nan)
    if len(rows):
        off = np.abs(state[rows] - (state[left[rows]] + state[right[rows]]) / 2) / _unit(state[rows])
        total = off[:, :2].sum(1) + 0.5 * off[:, 2:].sum(1)
        count = np.bincount(track[rows], minlength=size)
        with np.errstate(invalid="ignore"):
            out = np.where(count > 0, np.bincount(track[rows], total, size) / np.maximum(count, 1), np.nan)
    known = out[np.isfinite(out)]
    return np.where(np.isfinite(out), out, np.median(known) if len(known) else USUAL_BEND)


def credible_gap(
    track: NDArray[np.int64], frame: NDArray[np.int64], state: Floats, is_seen: NDArray[np.bool_], rate: float
) -> NDArray[np.int64]:
    """(N,) longest gap in frames that each row's track may be interpolated over, by how much it bends.

    What lies between two observations bends with the gap to the power of 3/2 (an integrated random walk).
    """
    bend = np.maximum(bends(track, frame, state, is_seen, rate), 1e-3)[track]
    return (2 * CHORD * (FAR_OFF / bend) ** (2 / 3) * rate).astype(np.int64)
