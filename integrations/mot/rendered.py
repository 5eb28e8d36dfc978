"""Writes rendered videos as MOTChallenge sequences: images, ground truth, and candidates of a simulated detector."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ...models.columns import Candidates
from ...models.errors import InputError
from ...models.synthetic.candidates import DetectorSettings, simulate_candidates
from ...models.synthetic.figures import CLASS_NAMES as FIGURE_NAMES
from ...models.synthetic.render import RENDER_VERSION, RenderSettings, Truth, render
from .classes import CLASS_NAMES
from .sequence import INFO_FILE
from .text import NO_TRACK, Table, write_table

#: Written last, so that a folder that holds it is complete; says what the folder was rendered from.
STAMP_FILE = "rendered.json"

_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Recording:
    """A video to render and the detector that looks at it.

    Attributes:
        video: what is filmed.
        detector: how imperfect the simulated detector is.
        seed: of both.
    """

    video: RenderSettings
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    seed: int = 0


def write_rendered(
    recordings: Sequence[Recording], folder: Path, progress: Callable[[str, int, int], None] | None = None
) -> list[Path]:
    """Renders videos into a folder, one sequence folder each; those that are there already are kept.

    Args:
        recordings: what to render; their names must differ.
        folder: where to; it is made.
        progress: called with the video's name, the frames done and the frames in all.

    Returns:
        The sequence folders, in the order of the recordings.

    Raises:
        InputError: if a folder of a recording's name is there that this function did not make.
    """
    paths = []
    for recording in recordings:
        path = folder / recording.video.name
        stamp = {"render_version": RENDER_VERSION, **asdict(recording)}
        if _stamp_of(path) != json.loads(json.dumps(stamp)):
            _make_room(path)
            _write(recording, path, progress)
            (path / STAMP_FILE).write_text(json.dumps(stamp, indent=1) + "\n")
        paths.append(path)
    return paths


def _stamp_of(path: Path) -> dict | None:
    try:
        return json.loads((path / STAMP_FILE).read_text())
    except (OSError, ValueError):
        return None


def _make_room(path: Path) -> None:
    """Removes what an earlier, other or interrupted rendering left; never anything else."""
    if not path.exists():
        return
    known = {"img1", "gt", "det", INFO_FILE, STAMP_FILE}
    if not path.is_dir() or {entry.name for entry in path.iterdir()} - known:
        raise InputError(f"{path}: is there already and was not rendered by this program; choose another --out")
    shutil.rmtree(path)


def _write(recording: Recording, path: Path, progress: Callable[[str, int, int], None] | None) -> None:
    video = recording.video
    rng = np.random.default_rng(recording.seed)
    (path / "img1").mkdir(parents=True)
    parts = []
    for number, shot in enumerate(render(video, rng), 1):
        cv2.imwrite(str(path / "img1" / f"{number:06d}.jpg"), shot.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        parts.append(shot.truth)
        if progress:
            progress(video.name, number, video.num_frames)
    truth = Truth.join(parts)
    write_table(path / "gt" / "gt.txt", _truth_table(truth))
    candidates = simulate_candidates(truth, video.info, rng, recording.detector)
    # The ground truth's columns, because those of detections have no place for the class.
    write_table(path / "det" / "det.txt", _candidate_table(candidates))
    (path / INFO_FILE).write_text(
        f"[Sequence]\nname={video.name}\nimDir=img1\nframeRate={video.frame_rate:g}\nseqLength={video.num_frames}\n"
        f"imWidth={video.width}\nimHeight={video.height}\nimExt=.jpg\n"
    )


def _class_id(class_index: np.ndarray) -> np.ndarray:
    """MOTChallenge's numbers of the renderer's classes."""
    number = {name: number for number, name in CLASS_NAMES.items()}
    return np.array([number[name] for name in FIGURE_NAMES], np.int64)[class_index]


def _truth_table(truth: Truth) -> Table:
    return Table(
        frame=truth.frame,
        track_id=truth.track + 1,
        xyxy=truth.xyxy.astype(np.float64),
        confidence=np.ones(len(truth)),
        class_id=_class_id(truth.class_index),
        visibility=truth.visibility.astype(np.float64),
    )


def _candidate_table(candidates: Candidates) -> Table:
    return Table(
        frame=candidates.frame,
        track_id=np.full(len(candidates), NO_TRACK),
        xyxy=candidates.xyxy.astype(np.float64),
        confidence=candidates.score.astype(np.float64),
        class_id=_class_id(candidates.class_index),
        visibility=np.ones(len(candidates)),
    )
