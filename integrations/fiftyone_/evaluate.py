"""Scores a field of predicted tracks against a field of ground truth.

Both fields are read as columns, one video at a time, never as ``fo.Detection`` objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from rich.console import Console
from rich.progress import Progress

from ...engine.metrics import DISTRACTORS, PEDESTRIAN, VideoScores, combine, evaluate_video
from ...models.errors import InputError, MissingError
from ..mot.classes import CLASS_NAMES
from .dataset import open_dataset, some
from .fields import OWNER
from .ledger import Ledger
from .track_fields import read_track_field
from .videos import StoredVideo, box_field, open_videos

TABLE_RATES = ("HOTA", "DetA", "AssA", "MOTA", "IDF1")


@dataclass(frozen=True)
class Evaluation:
    """What the tracks of a field are worth.

    Attributes:
        videos: scores of each video, by its name.
        overall: scores of all videos as one; a video weighs by its boxes.
        without_truth: names of videos that were left out because none of their frames has ground truth.
    """

    videos: Mapping[str, VideoScores]
    overall: VideoScores
    without_truth: tuple[str, ...] = ()

    def as_dict(self, *, percent: bool = False) -> dict[str, Any]:
        """``{"videos": {name: {...}}, "overall": {...}}`` of plain numbers; see ``VideoScores.as_dict``."""
        return {
            "videos": {name: scores.as_dict(percent=percent) for name, scores in self.videos.items()},
            "overall": self.overall.as_dict(percent=percent),
        }

    def table(self) -> list[tuple[str, ...]]:
        """Rows of text, header first and overall last: rates in percent, and the number of identity switches."""
        rows: list[tuple[str, ...]] = [("video", *TABLE_RATES, "IDSW")]
        for name, scores in (*self.videos.items(), ("overall", self.overall)):
            values = scores.as_dict(percent=True)
            rows.append((name, *(f"{values[key]:.2f}" for key in TABLE_RATES), str(values["IDSW"])))
        return rows

    def __str__(self) -> str:
        rows = self.table()
        name_width = max(len(row[0]) for row in rows)
        return "\n".join(row[0].ljust(name_width) + "".join(cell.rjust(9) for cell in row[1:]) for row in rows)


def evaluate(
    dataset: SampleCollection | str,
    pred: str,
    gt: str,
    *,
    preprocess: str | None = None,
    videos: Sequence[str] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score predicted tracks with HOTA, CLEAR and identity metrics.

    Boxes are matched whatever their labels. Ground truth whose attribute ``ignored`` is true is not scored. Tracks are
    told apart by ``index``; where one index stands twice in a frame under two labels, by label and index.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
            Boxes that a view hides are not scored.
        pred: the ``Detections`` field of the predicted tracks, with or without ``frames.`` before it.
        gt: the ``Detections`` field of the ground truth.
        preprocess: None, or the rules of a benchmark by which distractors and other classes are taken out: "mot17"
            (also MOT16) or "mot20". The attribute ``class_id`` of the ground truth, or else its label, must then be a
            class of MOTChallenge.
        videos: names of the videos to score, or None for all.
        progress: whether to show it, on standard error.

    Raises:
        MissingError: for a field or video that is not there.
        InputError: for a field of another type, media of another type, no ground truth at all, boxes without index, and
            what ``evaluate_video`` refuses; names video and frame.
    """
    if preprocess is not None and preprocess not in DISTRACTORS:
        raise InputError(f"unknown preprocessing {preprocess!r}; known are {', '.join(sorted(DISTRACTORS))}")
    view = open_dataset(dataset) if isinstance(dataset, str) else dataset
    if view._is_dynamic_groups:
        view = view.flatten()
    stored = open_videos(view)
    pred, truth_field = box_field(stored, pred), box_field(stored, gt)
    chosen = _chosen(stored, videos)
    title = f"dataset {stored[0].dataset.name!r}"
    scores: dict[str, VideoScores] = {}
    without_truth = []
    console = Console(stderr=True)
    seen = progress and (console.is_terminal or console.is_jupyter)
    with Progress(console=console, transient=True, disable=not seen) as bar:
        for video in bar.track(chosen, description="evaluating"):
            truth, num_frames = read_track_field(view, video, truth_field)
            if truth.no_frames_labelled:
                without_truth.append(video.name)
                continue
            prediction, num_frames2 = read_track_field(view, video, pred)
            scores[video.name] = evaluate_video(
                truth.as_truth(preprocess is not None),
                prediction.as_prediction(),
                max(num_frames, num_frames2),
                preprocess,
                name=video.name,
            )
    if not scores:
        raise InputError(f"no frame of {title} has ground truth in field {gt!r}; name a field that has")
    overall = combine(list(scores.values()))
    if preprocess is not None and not overall.num_truth:
        raise InputError(
            f"preprocessing {preprocess!r} leaves no ground truth: no box in field {gt!r} of {title} is labelled "
            f"{CLASS_NAMES[PEDESTRIAN]!r} and not ignored; evaluate without preprocessing"
        )
    evaluation = Evaluation(scores, overall, tuple(without_truth))
    if videos is None and view is view._dataset:  # what a part of the dataset scores says nothing of a round
        _note(view, stored[0].prefix, pred, evaluation)
    return evaluation


def _note(dataset: fo.Dataset, prefix: str, field: str, evaluation: Evaluation) -> None:
    """Keeps the scores of a field of tracks that this plugin labels."""
    if (dataset.get_field(prefix + field).info or {}).get(OWNER) == field:
        values = evaluation.overall.as_dict()
        Ledger(dataset, field).note("evaluate", scores={name: float(values[name]) for name in TABLE_RATES})


def _chosen(stored: Sequence[StoredVideo], videos: Sequence[str] | None) -> list[StoredVideo]:
    """The videos to score, in the dataset's order."""
    names = [video.name for video in stored]
    missing = sorted(set(videos or ()) - set(names))
    if missing:
        raise MissingError(f"there is no video {missing[0]!r}; there are {some(names)}")
    return [video for video in stored if videos is None or video.name in videos]
