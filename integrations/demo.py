"""The demo: videos become a dataset, candidates become tracks, and tracks are scored where there is ground truth."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import fiftyone as fo
import numpy as np

from ..engine.ports import Labeller
from ..models.errors import InputError, MissingError
from ..models.synthetic.render import RenderSettings
from .fiftyone_.api import Evaluation, embed, evaluate, label
from .fiftyone_.looking import colour_by_track
from .mot.importing import import_mot
from .mot.rendered import Recording, write_rendered
from .mot.sequence import find_sequences

RECORDINGS = (
    Recording(RenderSettings("street-crowd", 150, num_objects=26, light_change=0.15), seed=11),
    Recording(RenderSettings("street-walking-camera", 150, num_objects=26, num_occluders=5, camera="walk"), seed=22),
    Recording(
        RenderSettings("road-10-fps", 120, frame_rate=10.0, scene="road", num_objects=30, camera="shake"), seed=38
    ),
)

TRUTH, CANDIDATES, COLOURS, TRACKS = "ground_truth", "candidates", "embedding", "spam_tracks"

#: A box or link counts as settled if the model gives it at least this probability of being right.
SURE = 0.9

_MARK = "spam_plugin_demo"  # key in the dataset's info: this dataset is the demo's own and may be replaced

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class DemoResult:
    """What the demo did.

    Attributes:
        dataset: with candidates and tracks.
        videos: number of videos.
        frames: number of their frames.
        candidates: number of boxes that the detector proposed.
        boxes: number of boxes of tracks.
        tracks: number of tracks.
        settled_boxes: boxes of which the model is at least ``SURE``, as objects and in their links.
        settled_tracks: tracks all of whose boxes are settled.
        evaluation: scores, or None if nothing has ground truth.
    """

    dataset: fo.Dataset
    videos: int
    frames: int
    candidates: int
    boxes: int
    tracks: int
    settled_boxes: int
    settled_tracks: int
    evaluation: Evaluation | None


def default_folder() -> Path:
    """Where rendered videos are kept from one demo to the next: the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spam-plugin" / "demo"


def run_demo(
    dataset_name: str,
    folder: Path,
    data: Path | None = None,
    recordings: tuple[Recording, ...] = RECORDINGS,
    model: Labeller | Path | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Render videos (or take given ones), import, label and evaluate them.

    Args:
        dataset_name: of the dataset; one of an earlier demo is replaced, one of anybody else never.
        folder: for rendered sequences and for the videos that the App plays.
        data: a MOTChallenge sequence, or a folder of some, instead of rendered videos.
        recordings: what to render.
        model: a loaded model, a file of weights, or None for the default weights.
        progress: called with the share that is done, in [0, 1], and what is being done.

    Raises:
        InputError: for a dataset or folder of the name that is not the demo's, or for bad input.
        MissingError: for data that is not there.
    """
    report = progress or (lambda share, what: None)
    if data is not None and not data.is_dir():
        raise MissingError(f"--data {data}: no such folder; name a MOTChallenge sequence or a folder of some")
    dataset = _own_dataset(dataset_name)
    try:
        paths = [data] if data is not None else _render(recordings, folder / "sequences", report)
        import_mot(
            paths,
            dataset_name,
            media_dir=folder / "videos" / dataset_name,
            progress=lambda share, what: report(0.4 + 0.3 * share, f"importing {what}"),
        )
    finally:
        if not len(dataset):  # nothing came of it
            fo.delete_dataset(dataset_name)
    # Plain dark videos of sequences without images have no colours to compare.
    colours = all(sequence.images for sequence in find_sequences(paths))
    if colours:
        report(0.7, "looking at colours")
        embed(dataset, CANDIDATES, out=COLOURS, progress=False)
    label(
        dataset,
        CANDIDATES,
        embeddings=COLOURS if colours else None,
        out=TRACKS,
        model=model,
        progress=lambda step: report(0.8 + 0.1 * step.done / max(step.total, 1), f"{step.stage} {step.video}"),
    )
    report(0.9, "evaluating")
    evaluation = evaluate(dataset, TRACKS, TRUTH, progress=False) if _has_truth(dataset) else None
    colour_by_track(dataset, TRACKS)
    result = _count(dataset, evaluation)
    report(1.0, "done")
    return result


def _own_dataset(name: str) -> fo.Dataset:
    """An empty dataset of this name, in place of what an earlier demo left."""
    if fo.dataset_exists(name):
        if not (fo.load_dataset(name).info or {}).get(_MARK):
            raise InputError(f"dataset {name!r} is not the demo's own, so it stays as it is; choose another --dataset")
        fo.delete_dataset(name)
    dataset = fo.Dataset(name, persistent=True)
    dataset.info[_MARK] = True  # before anything else, so that an interrupted demo can be repeated
    dataset.save()
    return dataset


def _render(recordings: tuple[Recording, ...], folder: Path, report: Progress) -> list[Path]:
    total = sum(recording.video.num_frames for recording in recordings)
    before = dict(
        zip(
            (recording.video.name for recording in recordings),
            np.cumsum([0, *(recording.video.num_frames for recording in recordings[:-1])]).tolist(),
            strict=True,
        )
    )

    def tell(name: str, done: int, frames: int) -> None:
        report(0.4 * (before[name] + done) / total, f"rendering {name}, frame {done} of {frames}")

    return write_rendered(recordings, folder, tell)


def _has_truth(dataset: fo.Dataset) -> bool:
    path = f"frames.{TRUTH}.detections"
    return dataset.has_frame_field(TRUTH) and dataset.count(path) > 0


def _count(dataset: fo.Dataset, evaluation: Evaluation | None) -> DemoResult:
    threshold = -(SURE * np.log2(SURE) + (1 - SURE) * np.log2(1 - SURE))
    inside = f"frames.{TRACKS}.detections."
    columns = dataset.values([inside + key for key in ("index", "uncertainty", "link_uncertainty")])
    boxes = tracks = settled_boxes = settled_tracks = 0
    for video in zip(*columns, strict=True):
        index, *doubts = (np.array(list(chain.from_iterable(frame or [] for frame in column))) for column in video)
        sure = (np.array(doubts, float) <= threshold).all(0) if len(index) else np.zeros(0, bool)
        boxes += len(index)
        settled_boxes += int(sure.sum())
        tracks += len(np.unique(index))
        settled_tracks += len(np.setdiff1d(index, index[~sure]))
    return DemoResult(
        dataset=dataset,
        videos=len(dataset),
        frames=sum(dataset.values("metadata.total_frame_count")),
        candidates=dataset.count(f"frames.{CANDIDATES}.detections"),
        boxes=boxes,
        tracks=tracks,
        settled_boxes=settled_boxes,
        settled_tracks=settled_tracks,
        evaluation=evaluation,
    )
