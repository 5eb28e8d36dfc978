"""Small trainings of each part, decided by nothing but their name, and the process that runs one until it is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from spam_plugin.models.appearance.finetuning import AppearanceLessons, AppearanceTask
from spam_plugin.models.appearance.finetuning import FinetuneConfig as AppearanceConfig
from spam_plugin.models.appearance.model import AppearanceModel
from spam_plugin.models.detector.detector import Detector
from spam_plugin.models.detector.finetuning import DetectorTask, StoredScenes
from spam_plugin.models.detector.finetuning import FinetuneConfig as DetectorConfig
from spam_plugin.models.detector.frames import scene_of
from spam_plugin.models.fitting import FitSettings, FitTask, fit
from spam_plugin.models.spam.finetuning import FinetuneConfig as HierarchyConfig
from spam_plugin.models.spam.finetuning import HierarchyTask, Lesson
from spam_plugin.models.spam.model import SpamModel
from spam_plugin.models.synthetic.render import RenderSettings, render
from spam_plugin.models.synthetic.streams import Stream, StreamSettings, simulate_stream


def settings_of(steps: int) -> FitSettings:
    """A checkpoint after every step, so that kills often hit one that is being written."""
    return FitSettings(
        steps=steps, seed=3, validate_every=7, save_every=1, accelerator="cpu", precision="32-true", tensorboard=True
    )


def detector_task(settings: FitSettings) -> FitTask:
    """The default detector on a few rendered frames."""
    film = RenderSettings(num_frames=4, width=160, height=120, num_objects=6)
    lessons, held_out, rehearsal = (
        StoredScenes(map(scene_of, render(film, np.random.default_rng(seed)))) for seed in (1, 2, 3)
    )
    config = DetectorConfig(batch=4, side=64)
    return DetectorTask(Detector.load().network, lessons, held_out, config, settings.seed, rehearsal)


def hierarchy_task(settings: FitSettings) -> FitTask:
    """The default hierarchy on two simulated streams."""
    lessons = [_lesson(simulate_stream(seed, StreamSettings(num_frames=(40, 60)))) for seed in (1, 2)]
    config = HierarchyConfig(boxes=200, measured=200)
    return HierarchyTask(SpamModel.load(), lessons[:1], settings, config, lessons[1:])


def appearance_task(settings: FitSettings) -> FitTask:
    """The default appearance on crops of noise in colours of their own."""
    lessons, held_out = (_crops(seed) for seed in (1, 2))
    config = AppearanceConfig(tracks=4, views=2, drawn=0.0)
    return AppearanceTask(AppearanceModel.load(), lessons, settings, config, held_out)


TASKS: dict[str, Callable[[FitSettings], FitTask]] = {
    "detector": detector_task,
    "hierarchy": hierarchy_task,
    "appearance": appearance_task,
}


def train(name: str, steps: int, folder: str) -> None:
    """Train in this process until it ends or is killed; ``weights.pt`` tells that it ended."""
    torch.set_num_threads(1)
    settings = settings_of(steps)
    task = TASKS[name](settings)
    result = fit(task, settings, Path(folder))
    state = {"weights": dict(task.weights()), "curve": [dict(point) for point in result.curve]}
    torch.save(state, Path(folder) / "weights.pt")


def _lesson(stream: Stream) -> Lesson:
    ones = np.ones(len(stream.candidates), np.float32)
    nobody = np.full(len(stream.candidates), -1, np.int64)
    valid = stream.valid.astype(np.float32)
    return Lesson(stream.info, stream.candidates, stream.identity, nobody, valid, ones, ones)


def _crops(seed: int) -> AppearanceLessons:
    rng = np.random.default_rng(seed)
    colour = rng.integers(40, 215, (6, 1, 1, 1, 3))
    crops = np.clip(colour + rng.normal(0, 25, (6, 8, 96, 48, 3)), 0, 255).astype(np.uint8)
    identity, frame = np.repeat(np.arange(6), 8), np.tile(np.arange(8) * 30, 6)
    ones = np.ones(48, np.float32)
    return AppearanceLessons(crops.reshape(-1, 96, 48, 3), identity, ones, np.zeros(48, np.int64), frame)
