"""Learn on rendered films what a tracker's words are worth, and keep it with its weights.

Films are of seeds that no pretraining draws. Objects get human boxes at intervals from a third of a second to some
seconds, the gaps are followed, and the truth says how far off everything was. Half of the films say whether the
confidence that was learned on the other half holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..models.columns import VideoInfo
from ..models.spot.confidence import Calibration, calibration_error, fit_logistic, fit_variance, probability
from ..models.spot.evidence import weigh
from ..models.spot.fusing import Course, course_features, fuse, on_the_line
from ..models.spot.gaps import overlap, to_offset
from ..models.synthetic.render import RenderSettings, Truth, render
from .filling import RIGHT, Sights, look_through
from .fills import FillSettings, Keyframes

if TYPE_CHECKING:
    from ..models.spot.model import Tracker

#: Seeds from here on are those of calibration.
FIRST_SEED = 770_000

_SPACINGS = (8, 16, 32, 64)  # frames between the human boxes of an object, by its number
_SETTINGS = FillSettings(open_frames=20, checks=12)
_DRIFTED = 0.01  # variance that is known from the ends of a walk; beyond, it says nothing of the rest
_FEWEST = 50  # boxes to fit something to

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationReport:
    """How well the confidence holds on films that it was not fitted on.

    Attributes:
        boxes: filled boxes there.
        error: expected calibration error.
        confidence: mean confidence.
        right: share of boxes with an overlap of at least 0.7.
        fused_iou: mean overlap of boxes in gaps between two human boxes.
        line_iou: the same of the straight line.
    """

    boxes: int
    error: float
    confidence: float
    right: float
    fused_iou: float
    line_iou: float


@dataclass(frozen=True)
class Film:
    """Pictures of a rendered film, in memory."""

    info: VideoInfo
    images: Sequence[NDArray[np.uint8]]
    truth: Truth

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """See ``Frames``."""
        for frame in frames:
            yield frame, self.images[frame]


@dataclass(frozen=True)
class Sample:
    """What was seen in one film, and the truth of every row of the line.

    Attributes:
        sights: through the film.
        keys: the human boxes.
        rate: frames per second.
        truth: (R, 4) true boxes.
        known: (R,) whether the truth knows a box.
    """

    sights: Sights
    keys: Keyframes
    rate: float
    truth: Floats
    known: NDArray[np.bool_]


def film_settings(count: int, frames: int = 80) -> list[RenderSettings]:
    """Films of both scenes, all cameras and both domains, fast and slow, small and large."""
    cameras, rates = ("still", "shake", "walk", "pan"), (25.0, 12.0, 8.0)
    sizes = ((480, 270), (320, 180), (640, 360))
    films = []
    for n in range(count):
        scene, domain = "street" if n % 2 == 0 else "road", "town" if n // 4 % 2 == 0 else "depot"
        camera, size, rate = cameras[n // 2 % 4], sizes[n % 3], rates[n % 3]
        films.append(RenderSettings(f"film {n}", frames, *size, rate, scene, 6, 3, camera, 0.15, domain))
    return films


def shoot(settings: RenderSettings, seed: int) -> Film:
    """Render a film."""
    frames = list(render(settings, np.random.default_rng(seed)))
    images = [np.ascontiguousarray(each.image[..., ::-1]) for each in frames]
    return Film(settings.info, images, Truth.join([each.truth for each in frames]))


def draw_keys(truth: Truth, spacings: Sequence[int] = _SPACINGS) -> Keyframes:
    """Human boxes of the objects of a film at intervals that differ by object; of every other one without its ends."""
    order = np.lexsort((truth.frame, truth.track))
    track, frame = truth.track[order], truth.frame[order]
    number = np.arange(len(track)) - np.searchsorted(track, track)
    spacing = np.array(spacings)[track // 2 % len(spacings)]
    count = np.searchsorted(track, track, "right") - np.searchsorted(track, track)
    whole = (number % spacing == 0) | (number == count - 1)
    inside = (number % spacing == 0) & (number > 0) & (number < count - 1) | (number == count // 3)
    taken = np.where(track % 2 == 0, whole, inside)
    return Keyframes(track[taken], frame[taken], truth.xyxy[order][taken])


def observe(tracker: Tracker, film: Film, keys: Keyframes) -> Sample:
    """Follow the objects of a film."""
    sights = look_through(tracker, film, keys, film.info, _SETTINGS)
    wanted = sights.gaps.track[sights.line.gap] * (1 << 32) + sights.line.frame
    there = film.truth.track * (1 << 32) + film.truth.frame
    order = np.argsort(there)
    place = np.minimum(np.searchsorted(there[order], wanted), len(there) - 1)
    row = order[place]
    truth = film.truth.xyxy[row].astype(np.float64)
    return Sample(sights, keys, film.info.frame_rate, truth, there[row] == wanted)


def calibrate(
    tracker: Tracker, count: int = 12, frames: int = 80, report: Callable[[str], None] | None = None
) -> tuple[Calibration, CalibrationReport]:
    """The calibration of a tracker.

    Args:
        tracker: to calibrate; its own calibration plays no part.
        count: films.
        frames: of each.
        report: told of every film.
    """
    samples = []
    for number, settings in enumerate(film_settings(count, frames)):
        film = shoot(settings, FIRST_SEED + number)
        keys = draw_keys(film.truth)
        if len(keys):
            samples.append(observe(tracker, film, keys))
        if report is not None:
            report(f"film {number + 1} of {count}")
    one, two = samples[::2], samples[1::2]
    checked = [_judge(fit(some), others) for some, others in ((one, two), (two, one)) if some and others]
    return fit(samples), _reported(checked)


def fit(samples: Sequence[Sample]) -> Calibration:
    """The calibration that the films tell; what they do not tell stays as it is by default."""
    usual = Calibration()
    features, square = _walk_errors(samples)
    if len(features) >= _FEWEST:
        both = [fit_variance(features, column) for column in square.T]
        usual = replace(usual, centre=both[0], sides=both[1])
    usual = replace(usual, bend=_fit_bend(samples, usual.bend))
    parts: dict[str, list[tuple[Floats, NDArray[np.bool_]]]] = {"inner": [], "open": [], "line": []}
    for sample in samples:
        gaps, line = sample.sights.gaps, sample.sights.line
        inner = gaps.inner[line.gap]
        course, _ = _fused(sample, usual)
        straight = on_the_line(gaps, line, course)
        for name, one, wanted in (
            ("inner", course, inner & course.tracked), ("open", course, ~inner & sample.sights.opinions.seen.any(0)),
            ("line", straight, inner),
        ):  # fmt: skip
            rows = np.flatnonzero(wanted & sample.known)
            right = overlap(one.xyxy[rows], sample.truth[rows]) >= RIGHT
            parts[name].append((course_features(gaps, line, one)[rows], right))
    fitted = {}
    for name, part in parts.items():
        told = np.concatenate([each[0] for each in part])
        right = np.concatenate([each[1] for each in part])
        if len(told) >= _FEWEST and 0 < right.mean() < 1:
            fitted[name] = fit_logistic(told, right)
    return replace(usual, **fitted)


def _fused(sample: Sample, calibration: Calibration) -> tuple[Course, NDArray[np.bool_]]:
    """The course through a film, and in which gaps human boxes let the tracker be used."""
    sights, keys = sample.sights, sample.keys
    proof = weigh(
        sights.gaps, sights.line, sights.opinions, sights.checks, keys.track, keys.frame, keys.xyxy, sample.rate,
        calibration, _SETTINGS.max_gap,
    )  # fmt: skip
    return fuse(sights.gaps, sights.line, sights.opinions, sample.rate, calibration, proof.faith), proof.useful


def _walk_errors(samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Features (N, F) of what walks saw, and their squared errors (N, 2)."""
    features, square = [], []
    for sample in samples:
        own = sample.sights.opinions
        true = to_offset(sample.truth, sample.sights.line.xyxy)
        rows = own.seen & sample.known & (own.drifted < _DRIFTED).all(2)
        off = np.square(own.offset - true).reshape(2, -1, 2, 2).mean(3)
        features.append(own.features[rows])
        square.append(off[rows])
    return np.concatenate(features), np.concatenate(square)


def _fit_bend(samples: Sequence[Sample], usual: tuple[float, ...]) -> tuple[float, ...]:
    """How far objects leave the straight line, by the seconds between their human boxes; see ``Calibration.bend``."""
    seconds, size = [], []
    for sample in samples:
        gaps, line = sample.sights.gaps, sample.sights.line
        square = np.square(to_offset(sample.truth, line.xyxy)).reshape(-1, 2, 2).mean(2)
        total = np.stack([np.bincount(line.gap, column * sample.known, len(gaps)) for column in square.T], 1)
        count = np.bincount(line.gap, sample.known, len(gaps))
        rows = gaps.inner & (count >= 3)
        size.append(np.log(total[rows] / count[rows, None] + 1e-6) / 2)
        seconds.append(np.log((gaps.last - gaps.first + 2)[rows] / sample.rate))
    x, y = np.concatenate(seconds), np.concatenate(size)
    if len(x) < _FEWEST // 2 or x.std() < 0.1:
        return usual
    slope = np.clip(((x - x.mean())[:, None] * (y - y.mean(0))).mean(0) / x.var(), 0.3, 2.0)
    offset = y.mean(0) - slope * x.mean()
    return float(offset[0]), float(slope[0]), float(offset[1]), float(slope[1])


def _judge(calibration: Calibration, samples: Sequence[Sample]) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Confidence (N,) and whether right (N,) of what would be filled, and overlaps (M, 2) in gaps, fused and line."""
    confidence, right, both = [], [], []
    for sample in samples:
        gaps, line = sample.sights.gaps, sample.sights.line
        inner = gaps.inner[line.gap]
        course, useful = _fused(sample, calibration)
        course = on_the_line(gaps, line, course, ~useful)
        features = course_features(gaps, line, course)
        said = np.where(inner & course.tracked, probability(features, calibration.inner), 0.0)
        said = np.where(inner & ~course.tracked, probability(features, calibration.line), said)
        said = np.where(~inner, probability(features, calibration.open), said)
        rows = sample.known & (inner | sample.sights.opinions.seen.any(0))
        over = overlap(course.xyxy, sample.truth)
        confidence.append(said[rows])
        right.append(over[rows] >= RIGHT)
        kept = inner & sample.known
        both.append(np.stack([over, overlap(line.xyxy, sample.truth)], 1)[kept])
    return np.concatenate(confidence), np.concatenate(right), np.concatenate(both)


def _reported(checked: Sequence[tuple[Floats, NDArray[np.bool_], Floats]]) -> CalibrationReport:
    if not checked:
        return CalibrationReport(0, *[float("nan")] * 5)
    confidence, right, both = (np.concatenate(each) for each in zip(*checked, strict=True))
    over = both.mean(0) if len(both) else np.full(2, np.nan)
    return CalibrationReport(
        len(right), calibration_error(confidence, right), float(confidence.mean()), float(right.mean()),
        float(over[0]), float(over[1]),
    )  # fmt: skip


def calibrate_file(path: Path, count: int = 12, frames: int = 80) -> CalibrationReport:
    """Calibrate the tracker of a weights file and write the calibration into the file."""
    from ..models.spot.model import Tracker

    tracker = Tracker.load(path)
    calibration, found = calibrate(tracker, count, frames)
    tracker.calibration = {**calibration.plain()}
    tracker.save(path)
    return found
