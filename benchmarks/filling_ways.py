"""Ways of filling with the tracker, adapted or not; answers are kept on disk, so that a run that was cut goes on."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filling_world import Gaps, Scene
from numpy.typing import NDArray
from sequences import ROOT

from spam_plugin.engine.filling import Fills, FillSettings, Keyframes, fill_gaps
from spam_plugin.models.spot.adaptation import AdaptSettings, adapt
from spam_plugin.models.spot.lessons import AdaptClip
from spam_plugin.models.spot.model import Tracker

#: What decides what a tracker sees on its way, besides weights and settings: what it saw is kept while this stays.
SEEING = (
    "models/spot/crops.py", "models/spot/network.py", "models/spot/model.py", "models/spot/gaps.py",
    "models/spot/following.py", "engine/following.py",
)  # fmt: skip
#: What decides an answer: those that other code gave are told apart.
CODE = (
    *SEEING, "models/spot/fusing.py", "models/spot/confidence.py", "models/spot/evidence.py", "models/spot/rivals.py",
    "engine/filling.py", "engine/fills.py",
)  # fmt: skip
#: What decides what an adaptation comes to.
LEARNING = (
    "models/spot/crops.py", "models/spot/network.py", "models/spot/model.py", "models/spot/adaptation.py",
    "models/spot/augmentation.py", "models/spot/exploring.py", "models/spot/lessons.py", "models/spot/losses.py",
    "models/fitting.py",
)  # fmt: skip


@dataclass(frozen=True)
class Filled:
    """An answer for the frames between a person's boxes.

    Attributes:
        xyxy: (M, 4) float64 pixels, in the order of ``Gaps.truth``; not a number where nothing was filled.
        confidence: (M,) float64, stated probability of an overlap of at least 0.7; 0 where nothing was filled.
        how: (M,) int64, as ``engine.filling.How``; -1 where nothing was filled.
        seconds: of processor time, reading of pictures included.
        report: what the engine said of it.
        code: digest of the code that gave it.
    """

    xyxy: NDArray[np.float64]
    confidence: NDArray[np.float64]
    how: NDArray[np.int64]
    seconds: float
    report: dict[str, Any]
    code: str

    @property
    def stale(self) -> bool:
        """Whether other code than today's gave the answer."""
        return self.code != code_digest()


def fill(
    tracker: Tracker, scene: Scene, gaps: Gaps, settings: FillSettings, kept: Path | None = None,
    ends: Keyframes | None = None,
) -> Filled:  # fmt: skip
    """What a tracker fills between the boxes; the kept answer if there is one for these weights, boxes and settings.

    What the tracker saw is kept as well, so that other code or settings of what comes after it cost little.

    Args:
        tracker: whose weights fill.
        scene: the video.
        gaps: a person's boxes, and what is to be filled.
        settings: of filling.
        kept: file of the answer.
        ends: key frames to fill from instead of those of the gaps.
    """
    keys = ends or keyframes_of(gaps)
    asked = json.dumps(
        [digest_of(tracker), asdict(settings), _digest([keys.track, keys.frame, keys.xyxy])], sort_keys=True
    )
    if kept is not None and kept.exists():
        with np.load(kept) as stored:
            if str(stored["asked"]) == asked:
                return Filled(
                    stored["xyxy"], stored["confidence"], stored["how"], float(stored["seconds"]),
                    json.loads(str(stored["report"])), str(stored["code"]),
                )  # fmt: skip
    seen = kept and kept.parent / f"seen-{scene.name}-{network_digest(tracker)}-{code_digest(SEEING)}.pickle"
    cache: dict[bytes, Any] = pickle.loads(seen.read_bytes()) if seen and seen.exists() else {}
    begin = time.process_time()
    fills, report = fill_gaps(tracker, scene, keys, scene.video, None, settings, cache=cache)
    seconds = time.process_time() - begin
    looking = f"seconds {_digest([keys.track, keys.frame])} {settings.bidirectional}".encode()
    if report.looks:
        cache[looking] = seconds
    else:
        seconds = max(seconds, cache.get(looking, 0.0))  # what it cost when the tracker looked
    answer = _answer(gaps, fills, seconds, asdict(report))
    if kept is not None and seen is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if report.looks:
            draft = seen.with_suffix(".partial")
            draft.write_bytes(pickle.dumps(cache))
            os.replace(draft, seen)
        draft = kept.with_suffix(".partial.npz")
        np.savez_compressed(
            draft, asked=asked, xyxy=answer.xyxy, confidence=answer.confidence, how=answer.how, seconds=answer.seconds,
            report=json.dumps(answer.report, default=float), code=answer.code,
        )  # fmt: skip
        os.replace(draft, kept)
    return answer


def keyframes_of(gaps: Gaps) -> Keyframes:
    """A person's boxes as the engine wants them; tracks begin with their first box and end with their last."""
    number = int(gaps.track.max()) + 1
    first, last = np.full(number, -1, np.int64), np.full(number, -1, np.int64)
    last[gaps.track] = gaps.frame  # rows rise
    first[gaps.track[::-1]] = gaps.frame[::-1]
    return Keyframes(gaps.track, gaps.frame, gaps.xyxy.astype(np.float32), gaps.absent, first, last)


def clip_of(scene: Scene, gaps: Gaps, chosen: NDArray[np.bool_]) -> AdaptClip:
    """What adaptation may see: some of a person's boxes, and the pictures."""
    return AdaptClip(
        scene.picture, scene.video.num_frames, gaps.track[chosen], gaps.frame[chosen],
        gaps.xyxy[chosen].astype(np.float32), np.ones(int(chosen.sum()), bool), gaps.absent, name=scene.name,
    )  # fmt: skip


def adapted(
    start: Tracker, clips: Sequence[AdaptClip], settings: AdaptSettings, kept: Path, what: str
) -> tuple[Tracker, dict[str, Any]]:
    """A tracker adapted to clips, and what that took; it goes on where it was cut short.

    Args:
        start: to begin with.
        clips: to adapt to.
        settings: of adaptation.
        kept: file of the weights; beside it lie the note, and, until the end, checkpoints.
        what: name of it in what is shown meanwhile.

    Returns:
        The tracker as it is kept, in half precision; and "seconds" of processor time (of the last run, where it was
        cut), "best_step", "best_value", "curve", "boxes", and "code", a digest of the code that did it.
    """
    plain = {key: value for key, value in asdict(settings).items() if key != "precision"}
    asked = json.dumps([digest_of(start), plain, [clip.digest() for clip in clips]], sort_keys=True)
    note = kept.with_suffix(".json")
    if kept.exists() and note.exists():
        said = json.loads(note.read_text())
        if said["asked"] == asked:
            return Tracker.load(kept, start.device), said
    folder = kept.parent / f"adapting-{kept.stem}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    begin = time.process_time()

    def report(step: int, said: Mapping[str, float]) -> None:
        if step % 30 == 0 or step == settings.steps:
            values = ", ".join(f"{key} {value:.3f}" for key, value in said.items())
            print(f"{what}: adaptation {step}/{settings.steps}: {values}", file=sys.stderr, flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    tracker, *results = adapt(start, clips, settings, folder, report)
    said = {
        "asked": asked, "seconds": time.process_time() - begin, "best_step": results[-1].best_step,
        "best_value": results[-1].best_value, "curve": [point for each in results for point in each.curve],
        "boxes": sum(len(clip.track) for clip in clips), "code": code_digest(LEARNING),
    }  # fmt: skip
    tracker.save(kept)
    note.write_text(json.dumps(said, default=float) + "\n")
    shutil.rmtree(folder)
    return Tracker.load(kept, start.device), said


def _answer(gaps: Gaps, fills: Fills, seconds: float, report: dict[str, Any]) -> Filled:
    """The fills in the order of the truth."""
    count = len(gaps.truth)
    xyxy, confidence, how = np.full((count, 4), np.nan), np.zeros(count), np.full(count, -1, np.int64)
    rows = gaps.rows_of(fills.track, fills.frame)
    known = rows >= 0
    xyxy[rows[known]] = fills.xyxy[known]
    confidence[rows[known]] = fills.confidence[known]
    how[rows[known]] = fills.how[known]
    return Filled(xyxy, confidence, how, seconds, report, code_digest())


def digest_of(tracker: Tracker) -> str:
    """The same for the same weights and calibration, whatever they are called."""
    said = json.dumps([network_digest(tracker), tracker.calibration], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def network_digest(tracker: Tracker) -> str:
    """The same for the same weights."""
    digest = hashlib.sha256()
    for name, value in sorted(tracker.network.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def code_digest(files: Sequence[str] = CODE) -> str:
    """Of sources, comments and all."""
    digest = hashlib.sha256()
    for name in files:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def _digest(columns: Sequence[NDArray]) -> str:
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]
