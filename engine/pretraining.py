"""Make default weights: pretrain on synthetic streams, calibrate, choose thresholds, and write down how.

Every choice here is made on simulated streams; real sequences play no part.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..models import columns as model_columns
from ..models.spam import Decisions, LabelSettings, SpamModel
from ..models.spam.calibration import calibrate
from ..models.spam.pretraining import PretrainConfig, pretrain
from ..models.synthetic import scenes, streams
from ..models.synthetic.streams import Stream, StreamSettings, simulate_stream
from .metrics import TrackTable, TruthTable, VideoScores, combine, evaluate_video

Report = Callable[[str], None]


@dataclass(frozen=True)
class Release:
    """What one pretraining made.

    Attributes:
        weights: the safetensors file.
        record: JSON beside it: configuration, seed, hash of the code, scores on synthetic streams.
        scores: HOTA, IDF1 and MOTA (fractions) on streams that nothing was trained or chosen on.
    """

    weights: Path
    record: Path
    scores: dict[str, float]


def code_hash() -> str:
    """SHA-256 over the sources that decide what weights come out: the hierarchy, its columns and the simulator."""
    folder = Path(model_columns.__file__).parent
    files = sorted((folder / "spam").glob("*.py")) + [Path(m.__file__ or "") for m in (model_columns, scenes, streams)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _code_of(folder: Path) -> str:
    """The hash of the code that began the training in this folder, which may be older than what ends it."""
    note = folder / "code.sha256"
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(code_hash() + "\n")
    return note.read_text().strip()


def held_out_streams(seed: int, count: int) -> list[Stream]:
    """Streams that pretraining never draws (their seeds lie beyond those it draws), for choices and tests."""
    rng = np.random.default_rng([seed, 7_777_777])
    kinds = (
        StreamSettings(num_frames=(150, 500)),
        StreamSettings(num_frames=(150, 300), density=(20.0, 45.0)),
        StreamSettings(num_frames=(300, 700), density=(2.0, 12.0)),
    )
    found: list[Stream] = []
    while len(found) < count:
        stream = simulate_stream(int(rng.integers(1 << 41, 1 << 42)), kinds[len(found) % len(kinds)])
        if len(stream.candidates) >= 50:
            found.append(stream)
    return found


def score_streams(model: SpamModel, given: Sequence[Stream], settings: LabelSettings | None = None) -> VideoScores:
    """Scores of the model's labels over all streams together."""
    scores = []
    for stream in given:
        tracks = model.label([(stream.info, stream.candidates)], settings)[0]
        truth = TruthTable(stream.truth_frame, stream.truth_identity, stream.truth_xyxy)
        found = TrackTable(tracks.frame, tracks.track_index, tracks.xyxy)
        scores.append(evaluate_video(truth, found, stream.info.num_frames, name=stream.info.name))
    return combine(scores)


def stream_quality(
    model: SpamModel, given: Sequence[Stream], settings: LabelSettings | None = None
) -> NDArray[np.float64]:
    """Per stream the mean of HOTA, IDF1 and MOTA: what thresholds are chosen by."""
    rows = [score_streams(model, [stream], settings).as_dict() for stream in given]
    return np.array([(row["HOTA"] + row["IDF1"] + max(row["MOTA"], 0.0)) / 3 for row in rows])


# What is tried for every threshold, in this order, each with the others fixed. At the last level a link is made when it
# is likelier than not; what is chosen is how much stricter the first levels are, whose errors nothing above can mend.
CHOICES: tuple[tuple[str, tuple], ...] = (
    ("link", ((0.5, 0.5), (0.6, 0.5), (0.7, 0.5), (0.75, 0.5), (0.8, 0.5), (0.7, 0.6))),
    ("track", (0.3, 0.4, 0.5, 0.6)),
    ("box", (0.1, 0.2, 0.3, 0.4, 0.5)),
    ("drop", (0.02, 0.05, 0.1, 0.2)),
)


def choose_decisions(model: SpamModel, given: Sequence[Stream], say: Report) -> Decisions:
    """Thresholds of the greatest mean quality on synthetic streams, one after the other.

    A threshold is moved only if the gain over the one in use exceeds its standard error over the streams: what chance
    explains is no reason to leave the default.
    """
    best = stream_quality(model, given)
    say(f"thresholds as they are: {best.mean():.4f}")
    for key, values in CHOICES:
        start, base = model.decisions, best
        for value in values:
            if value == getattr(start, key):
                continue
            tried = replace(start, **{key: value})
            quality = stream_quality(SpamModel(model.network, tried, model.version, str(model.device)), given)
            gain = quality - base
            error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
            say(f"{key} {value}: {quality.mean():.4f} (gain {gain.mean():+.4f}, standard error {error:.4f})")
            if gain.mean() > error and quality.mean() > best.mean():
                best, model.decisions = quality, tried
    return model.decisions


def make_weights(
    config: PretrainConfig, folder: Path, target: Path, version: str, command: str, device: str = "cpu",
    held_out: int = 30, progress: Callable[[int, dict], None] | None = None, say: Report = lambda _: None,
) -> Release:  # fmt: skip
    """Pretrain (or go on), calibrate, choose, test, and write weights, record and log.

    Args:
        config: of the training.
        folder: for the checkpoint and the log; start again with the same folder to go on.
        target: the safetensors file to write; record and log go beside it.
        version: name of the weights.
        command: how the user asked for this, for the record.
        device: as torch names it.
        held_out: streams for calibration, as many more for thresholds, and as many more for the scores.
        progress: called after every iteration with its number and loss.
        say: called with a line on every choice.
    """
    import torch

    code = _code_of(folder)
    network = pretrain(config, folder, torch.device(device), progress)
    model = SpamModel(network, Decisions(), version, device)
    known = held_out_streams(config.seed + 1, held_out)
    model.decisions = calibrate(model, known)
    model.decisions = choose_decisions(model, held_out_streams(config.seed + 2, held_out), say)
    model.decisions = calibrate(model, known)
    target.parent.mkdir(parents=True, exist_ok=True)
    model.save(target)
    model = SpamModel.load(target, device)  # half precision, as users will have it
    scores = score_streams(model, held_out_streams(config.seed + 3, held_out)).as_dict()
    kept = {key: round(float(scores[key]), 4) for key in ("HOTA", "DetA", "AssA", "IDF1", "MOTA")}
    record = target.with_suffix(".json")
    settings = asdict(config) | {"start": Path(config.start).name}
    content = {"version": version, "command": command, "config": settings, "code_sha256": code,
               "decisions": asdict(model.decisions), "synthetic_scores": kept}  # fmt: skip
    record.write_text(json.dumps(content, indent=1) + "\n")
    shutil.copyfile(folder / "log.jsonl", target.with_suffix(".log"))
    return Release(target, record, kept)
