"""Make the default detector: train on rendered pictures, measure on scenes it never saw, and write down how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..models.detector import frames as detector_frames
from ..models.detector.augmentation import Scene
from ..models.detector.detector import Detector, check_device
from ..models.detector.judging import judge, look
from ..models.detector.training import TrainingConfig, train
from ..models.synthetic import figures, motion, render, scenery, scenes

#: Sizes of the films that the detector is measured on; training films none of these.
TEST_SIZES = ((448, 336), (560, 315), (720, 405), (800, 450), (960, 540))

#: Films for tests have seeds from here on; training draws its own otherwise.
_TEST_SEED = 7_777_777


@dataclass(frozen=True)
class DetectorRelease:
    """What one training made.

    Attributes:
        weights: the safetensors file.
        record: JSON beside it: configuration, seed, hash of the code, precision on unseen scenes.
        precision: average precision at an overlap of 0.5, of each class and of all.
    """

    weights: Path
    record: Path
    precision: dict[str, float]


def unseen_scenes(seed: int, films: int, domain: str = "town") -> Iterator[Scene]:
    """Frames of films that training never draws: other seeds, other sizes; people and cars in turn.

    Args:
        seed: of all of them.
        films: how many; each gives 16 frames.
        domain: which world they are filmed in.
    """
    for number in range(films):
        rng = np.random.default_rng([seed, _TEST_SEED, number])
        drawn = detector_frames.draw_settings(rng, TEST_SIZES)
        drawn = replace(drawn, scene="road" if number % 2 else "street", domain=domain)
        yield from map(detector_frames.scene_of, render.render(drawn, rng))


def code_hash() -> str:
    """SHA-256 over the sources that decide what weights come out: the detector and the renderer."""
    folder = Path(detector_frames.__file__).parent
    drawing = (figures, motion, render, scenery, scenes)
    files = sorted(folder.glob("*.py")) + [Path(module.__file__ or "") for module in drawing]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def pretrain_detector(
    config: TrainingConfig, folder: Path, target: Path, version: str, command: str, device: str = "cpu",
    start: str | Path | None = None, films: int = 20, progress: Callable[[int, dict[str, float]], None] | None = None,
) -> DetectorRelease:  # fmt: skip
    """Train (or go on), measure, and write weights, record and log.

    Args:
        config: of the training.
        folder: for the checkpoint and the log; start again with the same folder to go on.
        target: the safetensors file to write; record and log go beside it.
        version: name of the weights.
        command: how the user asked for this, for the record.
        device: as torch names it.
        start: weights to start from instead of nothing.
        films: unseen films to measure on.
        progress: called after every step with its number and losses.
    """
    check_device(device)
    begin = Detector.load(start).network if start else None
    code = _code_of(folder)
    network = train(config, folder, device, progress, begin)
    target.parent.mkdir(parents=True, exist_ok=True)
    Detector(network.to("cpu", memory_format=torch.contiguous_format), version).save(target)  # type: ignore[call-overload]
    detector = Detector.load(target, device)  # half precision, as users will have it
    scores = judge(*look(detector, unseen_scenes(config.seed, films)), len(detector.classes))
    by_class = dict(zip(detector.classes, scores.average, strict=True)) | {"all": scores.mean}
    precision = {name: round(float(value), 4) for name, value in by_class.items()}
    recall = {name: round(float(value), 4) for name, value in zip(detector.classes, scores.recall, strict=True)}
    content = {
        "version": version, "command": command, "config": asdict(config), "start": Path(start).name if start else "",
        "code_sha256": code, "films": films, "AP50": precision, "recall": recall,
    }  # fmt: skip
    record = target.with_suffix(".json")
    record.write_text(json.dumps(content, indent=1) + "\n")
    target.with_suffix(".log").write_text((folder / "log.jsonl").read_text())
    return DetectorRelease(target, record, precision)


def _code_of(folder: Path) -> str:
    """The hash of the code that began the training in this folder, which may be older than what ends it."""
    note = folder / "code.sha256"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(code_hash() + "\n")
    return note.read_text().strip()
