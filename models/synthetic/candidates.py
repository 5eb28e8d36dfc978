"""Pretend to be an imperfect detector that looks at a rendered video, for demos and tests.

It is kept apart from the simulator that the default weights were trained on (``streams``), so that a demo does not show
the model the very faults that it was taught.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ..columns import Candidates, VideoInfo
from ..errors import InputError
from .render import Truth
from .scenes import correlated_noise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DetectorSettings:
    """How imperfect the detector is.

    Attributes:
        recall: share of clearly visible objects that it finds.
        needed_visibility: visibility at which it misses half of what it would find otherwise.
        jitter: standard deviation of box sides, as a share of the box.
        duplicate_rate: chance of a second box on a found object.
        false_places: places where it sees something that is not there, again and again.
        false_rate: further false boxes per frame.
        memory: seconds for which a miss or an offset lasts.

    Raises:
        InputError: for shares outside [0, 1] or negative amounts.
    """

    recall: float = 0.93
    needed_visibility: float = 0.35
    jitter: float = 0.03
    duplicate_rate: float = 0.05
    false_places: int = 6
    false_rate: float = 0.25
    memory: float = 0.3

    def __post_init__(self) -> None:
        for key in ("recall", "needed_visibility", "duplicate_rate"):
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"simulated detector: {key} is {getattr(self, key)}; it must lie in [0, 1]")
        for key in ("jitter", "false_places", "false_rate", "memory"):
            if not 0 <= getattr(self, key) < np.inf:
                raise InputError(f"simulated detector: {key} is {getattr(self, key)}; it must not be negative")


@dataclass(frozen=True)
class _Found:
    """Boxes in any order: frame, box, how sure the detector is (in units of its own noise), class."""

    frame: NDArray[np.int64]
    xyxy: Array
    confidence: Array
    class_index: NDArray[np.int64]


def simulate_candidates(
    truth: Truth, info: VideoInfo, rng: np.random.Generator, settings: DetectorSettings | None = None
) -> Candidates:
    """What the detector reports of this video.

    Args:
        truth: true boxes of the video.
        info: its length, size and frame rate.
        rng: decides every fault; the same generator state gives the same candidates.
        settings: how imperfect it is.

    Returns:
        Candidates at least partly inside the image, amodal as the truth is, sorted by frame. The scale and offset of
        their raw scores are drawn anew for every video, as real detectors' differ.
    """
    settings = settings or DetectorSettings()
    found = _look(truth, info, rng, settings)
    seen = [found, _repeat(found, rng, settings), _imagine(found, truth, info, rng, settings)]
    frame, xyxy, confidence, class_index = (
        np.concatenate([getattr(part, key) for part in seen]) for key in _Found.__dataclass_fields__
    )
    size = (info.width, info.height)
    sides = xyxy[:, 2:] - xyxy[:, :2]
    inside = np.clip(np.minimum(xyxy[:, 2:], size) - np.maximum(xyxy[:, :2], 0), 0, None).prod(1)
    rows = np.flatnonzero((sides > 3).all(1) & (inside > 0.15 * sides.prod(1)))
    rows = rows[np.lexsort((rng.random(len(rows)), frame[rows]))]
    scale, offset = np.exp(rng.normal(0, 0.7)), rng.normal(0, 2.0)
    return Candidates(
        frame[rows].astype(np.int64),
        xyxy[rows].astype(np.float32),
        (offset + scale * confidence[rows]).astype(np.float32),
        class_index[rows].astype(np.int64),
    )


def _look(truth: Truth, info: VideoInfo, rng: np.random.Generator, settings: DetectorSettings) -> _Found:
    """The true boxes that it finds, not quite in place; whoever is missed is missed for a while."""
    frames, tracks = info.num_frames, int(truth.track.max(initial=-1)) + 1
    memory = settings.memory * info.frame_rate
    at = (truth.frame, truth.track)
    mood = correlated_noise(rng, frames, tracks, memory)[at]
    drift = correlated_noise(rng, frames, tracks * 4, memory).reshape(frames, tracks, 4)[at]
    sides = truth.xyxy[:, 2:].astype(float) - truth.xyxy[:, :2]
    # Found where confidence is positive: half the time at the needed visibility, as often as recall says from 0.85 on.
    span = max(0.85 - settings.needed_visibility, 0.05)
    clear = np.minimum((truth.visibility - settings.needed_visibility) / span, 1)
    tiny = np.minimum(np.log(np.maximum(sides[:, 1], 1) / (0.08 * info.height)), 0)
    confidence = ndtri(np.clip(settings.recall, 0.01, 1 - 1e-6)) * clear + tiny + mood
    hit = (confidence > 0) & (truth.visibility > 0.08)
    loose = settings.jitter * (1.6 - 0.8 * truth.visibility[:, None])
    offset = loose * (0.7 * drift + 0.7 * rng.standard_normal((len(truth), 4))) * np.tile(sides, 2)
    return _Found(truth.frame[hit], (truth.xyxy + offset)[hit], confidence[hit], truth.class_index[hit])


def _repeat(found: _Found, rng: np.random.Generator, settings: DetectorSettings) -> _Found:
    """Second boxes on objects that were found: shifted, or of another size."""
    rows = np.flatnonzero(rng.random(len(found.frame)) < settings.duplicate_rate)
    box = found.xyxy[rows]
    sides = box[:, 2:] - box[:, :2]
    middle = (box[:, :2] + box[:, 2:]) / 2 + rng.normal(0, 0.15, sides.shape) * sides
    half = 0.5 * sides * np.exp(rng.normal(0, 0.15, (len(rows), 1)))
    confidence = found.confidence[rows] - np.abs(rng.normal(1.2, 0.5, len(rows)))
    return _Found(found.frame[rows], np.hstack([middle - half, middle + half]), confidence, found.class_index[rows])


def _imagine(
    found: _Found, truth: Truth, info: VideoInfo, rng: np.random.Generator, settings: DetectorSettings
) -> _Found:
    """Boxes of nothing: at places that fool the detector again and again, and anywhere, once."""
    if not len(truth):
        none = np.zeros(0, np.int64)
        return _Found(none, np.zeros((0, 4)), np.zeros(0), none)
    places = settings.false_places
    firing = correlated_noise(rng, info.num_frames, places, 2 * settings.memory * info.frame_rate) > rng.uniform(
        0.3, 1.6, places
    )
    frame, place = np.nonzero(firing)
    once = rng.integers(0, info.num_frames, rng.poisson(settings.false_rate * info.num_frames))
    frame, place = np.concatenate([frame, once]), np.concatenate([place, places + np.arange(len(once))])
    model = rng.integers(0, len(truth), places + len(once))  # as large as some object, at its height in the image
    box = truth.xyxy[model].astype(float)
    left = rng.uniform(0, np.maximum(info.width - (box[:, 2] - box[:, 0]), 1))
    box[:, [0, 2]] += (left - box[:, 0])[:, None]
    sides = (box[:, 2:] - box[:, :2])[place]
    xyxy = box[place] + rng.normal(0, settings.jitter, (len(place), 4)) * np.tile(sides, 2)
    usual = np.median(found.confidence) if len(found.frame) else 1.0
    confidence = usual - 1.0 + rng.normal(0, 0.4, len(model))[place] + rng.normal(0, 0.4, len(place))
    return _Found(frame, xyxy, confidence, truth.class_index[model][place])
