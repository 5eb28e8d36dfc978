"""Scores a field of predicted tracks against a field of ground truth.

Both fields are read as columns, one video at a time, never as ``fo.Detection`` objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fiftyone.core.collections import SampleCollection
from rich.console import Console
from rich.progress import Progress

from ...engine.metrics import DISTRACTORS, PEDESTRIAN, VideoScores, combine, evaluate_video
from ...models.errors import InputError, MissingError
from ..mot.classes import CLASS_NAMES
from .dataset import some
from .track_fields import open_source

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
    dataset: SampleCollection,
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
        dataset: a dataset or view of videos, or of images with the fields ``sequence`` and ``frame_number``, also
            grouped by sequence.
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
    source = open_source(dataset)
    pred_path, gt_path = source.path(pred), source.path(gt)
    chosen = _chosen(source.names, videos)
    scores: dict[str, VideoScores] = {}
    without_truth = []
    console = Console(stderr=True)
    seen = progress and (console.is_terminal or console.is_jupyter)
    with Progress(console=console, transient=True, disable=not seen) as bar:
        for name in bar.track(chosen, description="evaluating"):
            truth, num_frames = source.read(name, gt_path)
            if truth.no_frames_labelled:
                without_truth.append(name)
                continue
            prediction, num_frames2 = source.read(name, pred_path)
            scores[name] = evaluate_video(
                truth.as_truth(preprocess is not None),
                prediction.as_prediction(),
                max(num_frames, num_frames2),
                preprocess,
                name=name,
            )
    if not scores:
        raise InputError(f"no frame of {source.title} has ground truth in field {gt!r}; name a field that has")
    overall = combine(list(scores.values()))
    if preprocess is not None and not overall.num_truth:
        raise InputError(
            f"preprocessing {preprocess!r} leaves no ground truth: no box in field {gt!r} of {source.title} is "
            f"labelled {CLASS_NAMES[PEDESTRIAN]!r} and not ignored; evaluate without preprocessing"
        )
    return Evaluation(scores, overall, tuple(without_truth))


def _chosen(names: Sequence[str], videos: Sequence[str] | None) -> list[str]:
    """The videos to score, in the dataset's order."""
    if videos is None:
        return list(names)
    missing = sorted(set(videos) - set(names))
    if missing:
        raise MissingError(f"there is no video {missing[0]!r}; there are {some(names)}")
    return [name for name in names if name in set(videos)]
