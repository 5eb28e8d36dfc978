"""Make the default tracker: train on drawn pairs, follow in films that it never saw, write down how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..models.fitting import FitSettings, fit
from ..models.spot import crops, depiction, drawing, losses, model, network, pretraining
from ..models.spot.losses import overlaps
from ..models.spot.model import Tracker
from ..models.spot.network import TrackerNetwork
from ..models.spot.pretraining import PretrainingConfig, PretrainingTask, found_overlap, held_out_pairs
from ..models.synthetic import depot, figures, motion, render, scenery, scenes
from .filling_calibration import calibrate_file

#: Seed of the films that the record is measured on; training draws its own pictures.
FILM_SEED = 8_888_888

_LEAST_VISIBLE = 0.3
_START_VISIBLE = 0.9
_SIZES = ((480, 270), (640, 360), (960, 540))
_CAMERAS = ("still", "shake", "pan", "walk")
_CALIBRATION_FRAMES = 40  # of each film


@dataclass(frozen=True)
class Following:
    """How well a tracker follows objects that it was shown once.

    Attributes:
        overlap: mean overlap (IoU) with the truth.
        good: share of boxes whose overlap is above 0.5.
        boxes: that were measured.
    """

    overlap: float
    good: float
    boxes: int


@dataclass(frozen=True)
class TrackerRelease:
    """What one training made.

    Attributes:
        weights: the safetensors file.
        record: JSON beside it: configuration, seed, hash of the code, how it follows in unseen films.
        following: measured on films that neither training nor the choice of weights saw.
    """

    weights: Path
    record: Path
    following: Following


def follow_films(tracker: Tracker, seed: int, films: int, frames: int = 24) -> Following:
    """Follow every object that is in full view in the first frame of a rendered film, forwards, without help.

    Boxes count where at least 0.3 of the object shows.

    Args:
        tracker: what is measured.
        seed: of the films.
        films: how many, of people, cars, robots and beasts in turn, at 12.5 frames per second.
        frames: of each.
    """
    found = []
    for number in range(films):
        rng = np.random.default_rng([seed, number])
        width, height = _SIZES[rng.integers(len(_SIZES))]
        settings = render.RenderSettings(
            num_frames=frames, width=width, height=height, frame_rate=12.5, scene=("street", "road")[number % 2],
            num_objects=int(rng.integers(6, 20)), num_occluders=int(rng.integers(0, 5)),
            camera=_CAMERAS[rng.integers(len(_CAMERAS))], light_change=float(rng.uniform(0, 0.3)),
            domain=("town", "depot")[number // 2 % 2],
        )  # fmt: skip
        found.append(_follow_film(tracker, settings, rng))
    overlap = torch.cat(found)
    return Following(float(overlap.mean()), float((overlap > 0.5).float().mean()), len(overlap))


def _follow_film(tracker: Tracker, settings: render.RenderSettings, rng: np.random.Generator) -> torch.Tensor:
    """(N,) overlaps of the boxes of one film."""
    parts = [torch.zeros(0)]
    for number, shown in enumerate(render.render(settings, rng)):
        image = torch.from_numpy(np.ascontiguousarray(shown.image[..., ::-1]))
        truth = torch.from_numpy(shown.truth.xyxy.astype(np.float32))
        track, visible = (torch.from_numpy(np.asarray(each)) for each in (shown.truth.track, shown.truth.visibility))
        if number == 0:
            rows = visible >= _START_VISIBLE
            who, boxes = track[rows], truth[rows]
            templates = tracker.remember(image, boxes)
            continue
        boxes = tracker.look(templates, image, boxes).xyxy
        same = (who[:, None] == track[None]) & (visible >= _LEAST_VISIBLE)
        mine, theirs = same.nonzero(as_tuple=True)
        parts.append(overlaps(boxes[mine], truth[theirs])[0])
    return torch.cat(parts)


def code_hash() -> str:
    """SHA-256 over the sources that decide what weights come out."""
    modules = (crops, depiction, drawing, losses, model, network, pretraining)
    pictures = (depot, figures, motion, render, scenery, scenes)
    digest = hashlib.sha256()
    for module in (*modules, *pictures):
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()


def pretrain_tracker(
    config: PretrainingConfig, settings: FitSettings, folder: Path, target: Path, version: str, command: str,
    start: str | Path | TrackerNetwork | None = None, films: int = 8, calibration: int = 16,
    progress: Callable[[int, dict[str, float]], None] | None = None,
) -> TrackerRelease:  # fmt: skip
    """Train (or go on), measure, calibrate, and write weights, record and log.

    Args:
        config: of the training.
        settings: of its steps.
        folder: for checkpoints and logs; start again with the same folder to go on.
        target: the safetensors file to write; record and log go beside it.
        version: name of the weights.
        command: how the user asked for this, for the record.
        start: weights, or a network, to start from instead of nothing.
        films: rendered films to measure the result on.
        calibration: other films, which say what the tracker's words are worth (``filling_calibration``); 0 for none.
        progress: called after every step with its number and losses.
    """
    begin = start if isinstance(start, TrackerNetwork) else Tracker.load(start).network if start else None
    code = _code_of(folder)
    task = PretrainingTask(settings, config, begin)
    result = fit(task, settings, folder, progress)
    Tracker(task.averaged, version).save(target)
    tracker = Tracker.load(target)  # half precision, as users will have it
    overlap = found_overlap(tracker.network, held_out_pairs(config, seed=1))
    following = follow_films(tracker, FILM_SEED, films)
    checked = calibrate_file(target, calibration, _CALIBRATION_FRAMES) if calibration else None
    content = {
        "version": version, "command": command, "config": asdict(config),
        "settings": asdict(replace(settings, devices="", accelerator="", strategy="")),
        "start": Path(start).name if isinstance(start, str | Path) else "", "code_sha256": code,
        "best_step": result.best_step,
        "pairs": {"overlap": round(float(overlap.mean()), 4), "good": round(float((overlap > 0.5).float().mean()), 4)},
        "films": {"overlap": round(following.overlap, 4), "good": round(following.good, 4), "boxes": following.boxes},
        "calibration": None if checked is None else {k: round(v, 4) for k, v in asdict(checked).items()},
        "parameters": sum(p.numel() for p in tracker.network.parameters()),
    }  # fmt: skip
    record = target.with_suffix(".json")
    record.write_text(json.dumps(content, indent=1) + "\n")
    lines = (json.dumps({key: round(value, 5) for key, value in point.items()}) for point in result.curve)
    target.with_suffix(".log").write_text("\n".join(lines) + "\n")
    return TrackerRelease(target, record, following)


def _code_of(folder: Path) -> str:
    """The hash of the code that began the training in this folder, which may be older than what ends it."""
    note = folder / "code.sha256"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(code_hash() + "\n")
    return note.read_text().strip()
