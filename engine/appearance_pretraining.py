"""Make the default appearance network: train on drawn identities, measure on films it never saw, write down how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..models.appearance import crops as appearance_crops
from ..models.appearance import figures as appearance_figures
from ..models.appearance import losses, network, pretraining
from ..models.appearance.crops import cut
from ..models.appearance.model import AppearanceModel
from ..models.appearance.network import AppearanceNetwork
from ..models.appearance.pretraining import PretrainingConfig, PretrainingTask, RetrievalSet
from ..models.appearance.retrieval import Retrieval, measure_retrieval
from ..models.fitting import FitSettings, fit
from ..models.synthetic import figures, motion, render, scenery, scenes

#: Seeds of films that choose the best weights, and of films that only the record is measured on.
CHOOSING_SEED, TEST_SEED = 5_555_555, 6_666_666

_SIZES = ((480, 270), (640, 360), (720, 405), (960, 540))
_CAMERAS = ("still", "shake", "pan", "walk")
_LEAST_VISIBLE = 0.3
_FRAME_RATE = 4.0


@dataclass(frozen=True)
class AppearanceRelease:
    """What one training made.

    Attributes:
        weights: the safetensors file.
        record: JSON beside it: configuration, seed, hash of the code, retrieval in unseen films.
        retrieval: measured on films that neither training nor the choice of weights saw.
    """

    weights: Path
    record: Path
    retrieval: Retrieval


def film_crops(seed: int, films: int) -> RetrievalSet:
    """Crops of rendered films, as a detector would cut them: boxes a little off, of what can be seen of each object.

    The films come from the renderer as it is, which dresses and moves its figures otherwise than training's crops.

    Args:
        seed: of the films.
        films: how many, people and cars in turn, 24 frames of a quarter of a second each.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for number in range(films):
        rng = np.random.default_rng([seed, number])
        width, height = _SIZES[rng.integers(len(_SIZES))]
        road = number % 3 == 2
        settings = render.RenderSettings(
            num_frames=24, width=width, height=height, frame_rate=_FRAME_RATE, scene="road" if road else "street",
            num_objects=int(rng.integers(8, 24)), num_occluders=int(rng.integers(0, 6)),
            camera=_CAMERAS[rng.integers(len(_CAMERAS))], light_change=float(rng.uniform(0, 0.3)),
        )  # fmt: skip
        for frame, shown in enumerate(render.render(settings, rng)):
            truth = shown.truth
            seen = np.flatnonzero(truth.visibility >= _LEAST_VISIBLE)
            box = truth.xyxy[seen].astype(np.float64)
            side = np.tile(box[:, 2:] - box[:, :2], 2)
            jittered = box + rng.normal(0, 0.04, box.shape) * side
            identity = truth.track[seen] + 1000 * number
            places = (np.full(len(seen), frame), np.full(len(seen), number))
            parts.append((cut(shown.image, jittered)[..., ::-1], identity, *places))
    crops, who, when, where = (np.concatenate(column) for column in zip(*parts, strict=True))
    return RetrievalSet(np.ascontiguousarray(crops), who, when, where, int(_FRAME_RATE))


def code_hash() -> str:
    """SHA-256 over the sources that decide what weights come out."""
    modules = (appearance_crops, appearance_figures, losses, network, pretraining)
    drawing = (figures, motion, render, scenery, scenes)
    digest = hashlib.sha256()
    for module in (*modules, *drawing):
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()


def pretrain_appearance(
    config: PretrainingConfig, settings: FitSettings, folder: Path, target: Path, version: str, command: str,
    start: str | Path | None = None, films: int = 12, progress: Callable[[int, dict[str, float]], None] | None = None,
) -> AppearanceRelease:  # fmt: skip
    """Train (or go on), measure, and write weights, record and log.

    Args:
        config: of the training.
        settings: of its steps.
        folder: for checkpoints and logs; start again with the same folder to go on.
        target: the safetensors file to write; record and log go beside it.
        version: name of the weights.
        command: how the user asked for this, for the record.
        start: weights to start from instead of nothing.
        films: rendered films to choose the best weights by, and as many others to measure them on.
        progress: called after every step with its number and losses.
    """
    begin = AppearanceModel.load(start).network if start else None
    code = _code_of(folder)
    task = PretrainingTask(settings, config, film_crops(CHOOSING_SEED, films), begin)
    result = fit(task, settings, folder, progress)
    AppearanceModel(task.averaged, version).save(target)
    model = AppearanceModel.load(target)  # half precision, as users will have it
    found = look(model, film_crops(TEST_SEED, films))
    content = {
        "version": version, "command": command, "config": asdict(config),
        "settings": asdict(replace(settings, devices="", accelerator="", strategy="")),
        "start": Path(start).name if start else "", "code_sha256": code, "films": films, "best_step": result.best_step,
        "rank1": round(found.rank1, 4), "mAP": round(found.mean_average_precision, 4), "queries": found.queries,
        "parameters": sum(p.numel() for p in model.network.parameters()),
    }  # fmt: skip
    record = target.with_suffix(".json")
    record.write_text(json.dumps(content, indent=1) + "\n")
    lines = (json.dumps({key: round(value, 5) for key, value in point.items()}) for point in result.curve)
    target.with_suffix(".log").write_text("\n".join(lines) + "\n")
    return AppearanceRelease(target, record, found)


def look(model: AppearanceModel, given: RetrievalSet) -> Retrieval:
    """How well a model finds the objects of some crops again."""
    vectors = model.describe_crops(given.crops)
    return measure_retrieval(vectors, given.identity, given.frame, given.apart, given.video)


def parameters(config: PretrainingConfig) -> int:
    """How many numbers the network has."""
    return sum(p.numel() for p in AppearanceNetwork(config.network).parameters())


def _code_of(folder: Path) -> str:
    """The hash of the code that began the training in this folder, which may be older than what ends it."""
    note = folder / "code.sha256"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(code_hash() + "\n")
    return note.read_text().strip()
