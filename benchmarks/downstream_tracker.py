"""The tracker behind the detectors of ``downstream.py``: ByteTrack of ``trackers``, and how its settings are chosen.

They are chosen on rendered films with the default detector, by mean HOTA, so that no real sequence has a say in them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().with_name("peers")))

from run import run_peer
from scoring import score
from selftraining import PERSON

from spam_plugin.engine.metrics import TrackTable, TruthTable
from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.detector.detector import Detector, DetectSettings
from spam_plugin.models.synthetic.figures import CLASS_NAMES
from spam_plugin.models.synthetic.render import RenderSettings, Truth, render

# The tracker of the tables of peers with the lower thresholds; score of a first look, and of a new track.
PEER = "trackers ByteTrack-low"
THRESHOLDS = (0.4, 0.5)
LEAST_SCORE = 0.1
# Size in pixels, frames a second, camera: sizes are none that the detector learnt from, rates those of real sequences.
FILMS = (((720, 405), 25.0, "still"), ((560, 315), 10.0, "walk"), ((960, 540), 10.0, "pan"), ((448, 336), 25.0, "walk"))
_FRAMES = 60
_SEEN = 0.25  # visible share from which an object of a film must be found
_DISTRACTOR = 8  # class of MOT17 whose boxes count neither way


@dataclass(frozen=True)
class Setting:
    """How the tracker is set.

    Attributes:
        least: boxes with a lower score are not shown to it.
        lower: by how much its thresholds lie lower than ``THRESHOLDS``.
    """

    least: float
    lower: float

    @property
    def title(self) -> str:
        """Least score, and the two thresholds."""
        return " / ".join(f"{value:.1f}" for value in (self.least, *(limit - self.lower for limit in THRESHOLDS)))

    def near(self, other: Setting) -> bool:
        """Whether it is another one, one step away."""
        return bool(np.isclose(abs(self.least - other.least) + abs(self.lower - other.lower), 0.1))


GRID = tuple(Setting(*both) for both in product((0.1, 0.2, 0.3, 0.4, 0.5), (-0.1, 0.0, 0.1, 0.2)))


@dataclass(frozen=True)
class Clip:
    """One rendered film and what was found in it."""

    video: VideoInfo
    truth: TruthTable
    found: Candidates

    @property
    def name(self) -> str:
        """Of the film."""
        return self.video.name


def lowered(values: NDArray[np.floating], by: float) -> NDArray[np.float64]:
    """Scores with which a tracker behaves as if its thresholds lay lower: ByteTrack compares scores and no more."""
    return np.clip(values.astype(np.float64) + by, 0.0, 1.0)


def follow(
    videos: Mapping[str, tuple[VideoInfo, Candidates]], settings: Iterable[Setting]
) -> dict[tuple[Setting, str], TrackTable]:
    """What the tracker says of every video with every setting."""
    places, jobs = [], {}
    for setting, (key, (video, boxes)) in product(settings, videos.items()):
        kept = boxes.score >= setting.least
        shown = (boxes.frame[kept], boxes.xyxy[kept], lowered(boxes.score[kept], setting.lower))
        jobs[str(len(places))] = (video, shown)
        places.append((setting, key))
    said = run_peer(PEER, jobs).values()
    return {
        place: TrackTable(answer["frame"], answer["track"], answer["xyxy"])
        for place, answer in zip(places, said, strict=True)
    }


def truth_table(truth: Truth) -> TruthTable:
    """People of a film; what is hardly visible, or no person, counts neither way."""
    person = truth.class_index == CLASS_NAMES.index(PERSON[0])
    counts = person & (truth.visibility >= _SEEN)
    return TruthTable(truth.frame, truth.track, truth.xyxy, np.where(counts, 1, _DISTRACTOR), ~counts)


def clips(detector: Detector) -> Iterator[Clip]:
    """Rendered films of people, and what a detector finds in them."""
    settings = DetectSettings(least_score=LEAST_SCORE)
    for number, ((width, height), rate, camera) in enumerate(FILMS):
        wanted = RenderSettings(f"film {number}", _FRAMES, width, height, rate, num_objects=14, camera=camera)
        truth, parts = [], []
        for frame, shot in enumerate(render(wanted, np.random.default_rng([number, 20_270]))):
            boxes = detector.detect([np.ascontiguousarray(shot.image[..., ::-1])], settings)
            own = boxes.class_index == detector.classes.index(PERSON[0])
            parts.append((np.full(own.sum(), frame), boxes.xyxy[own], boxes.score[own]))
            truth.append(shot.truth)
        frames, xyxy, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        found = Candidates(frames.astype(np.int64), xyxy, value, np.zeros(len(frames), np.int64))
        yield Clip(wanted.info, truth_table(Truth.join(truth)), found)


def judged(films: Iterable[Clip]) -> dict[Setting, float]:
    """HOTA of every setting, the mean over films."""
    by_name = {film.name: film for film in films}
    said = follow({name: (film.video, film.found) for name, film in by_name.items()}, GRID)
    values: dict[Setting, list[float]] = {}
    for (setting, name), tracks in said.items():
        values.setdefault(setting, []).append(score(by_name[name], by_name[name].truth, tracks)["HOTA"])  # type: ignore[arg-type]
    return {setting: float(np.mean(of_film)) for setting, of_film in values.items()}
