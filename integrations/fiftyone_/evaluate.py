"""Scores a field of predicted tracks against a field of ground truth.

Both fields are read as columns, one video at a time, never as ``fo.Detection`` objects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from ...engine.metrics import DISTRACTORS, PEDESTRIAN, TrackTable, TruthTable, VideoScores, combine, evaluate_video
from ...models.errors import InputError, MissingError
from ..mot.classes import CLASS_NAMES
from .dataset import some

SEQUENCE_FIELD = "sequence"
FRAME_NUMBER_FIELD = "frame_number"
# Relative boxes times the frame's size miss the pixels they came from by rounding; so an overlap of exactly one half
# would fall on either side of the threshold. Coordinates are taken to mean the nearest millionth of a pixel.
PIXEL_DECIMALS = 6
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
            (also MOT16) or "mot20". Labels of the ground truth must then be names of MOTChallenge's classes.
        videos: names of the videos to score, or None for all.
        progress: whether to show it, on standard error.

    Raises:
        MissingError: for a field or video that is not there.
        InputError: for a field of another type, media of another type, no ground truth at all, boxes without index, and
            what ``evaluate_video`` refuses; names video and frame.
    """
    if preprocess is not None and preprocess not in DISTRACTORS:
        raise InputError(f"unknown preprocessing {preprocess!r}; known are {', '.join(sorted(DISTRACTORS))}")
    source = _open(dataset)
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


@dataclass(frozen=True)
class _Boxes:
    """One field of one video, as it was read.

    Attributes:
        video: its name.
        field: the field's name.
        frame: (N,) int64, 0-based.
        index: (N,) of int or None.
        label: (N,) of str or None.
        xyxy: (N, 4) float64, pixels.
        ignored: (N,) bool.
        no_frames_labelled: whether the field is empty in every frame, which is something else than no boxes.
    """

    video: str
    field: str
    frame: NDArray[np.int64]
    index: list[int | None]
    label: list[str | None]
    xyxy: NDArray[np.float64]
    ignored: NDArray[np.bool_]
    no_frames_labelled: bool

    def as_prediction(self) -> TrackTable:
        return TrackTable(self.frame, self._track_id(), self.xyxy)

    def as_truth(self, with_classes: bool) -> TruthTable:
        return TruthTable(
            self.frame, self._track_id(), self.xyxy, self._class_id() if with_classes else None, self.ignored
        )

    def _track_id(self) -> NDArray[np.int64]:
        """The index; made unique per label where it is unique only so, as many FiftyOne datasets have it."""
        if None in self.index:
            row = self.index.index(None)
            raise InputError(
                f"video {self.video!r}, frame {self.frame[row] + 1}: a box in field {self.field!r} has no index; "
                f"tracks need one"
            )
        index = np.array(self.index, np.int64)
        if _unique_rows(self.frame, index):
            return index
        label = np.unique([str(label) for label in self.label], return_inverse=True)[1]
        if not _unique_rows(self.frame, index, label):
            return index
        return np.unique(np.column_stack([label, index]), axis=0, return_inverse=True)[1].ravel()

    def _class_id(self) -> NDArray[np.int64]:
        """Numbers of MOTChallenge's classes, from 1."""
        number = {_plain(name): position for position, name in CLASS_NAMES.items()}
        found = [number.get(_plain(label), 0) for label in self.label]
        if 0 in found:
            row = found.index(0)
            raise InputError(
                f"video {self.video!r}, frame {self.frame[row] + 1}: label {self.label[row]!r} in field "
                f"{self.field!r} is no class of MOTChallenge; evaluate without preprocessing"
            )
        return np.array(found, np.int64)


def _plain(label: str | None) -> str:
    """A class name without the ways in which people write it."""
    return (label or "").strip().lower().replace("-", " ").replace("_", " ")


def _unique_rows(*columns: NDArray) -> bool:
    order = np.lexsort(columns)
    same = [column[order][1:] == column[order][:-1] for column in columns]
    return not np.logical_and.reduce(same).any()


class _Source(ABC):
    """Videos by name, and a way to read a field of each; one subclass per way in which FiftyOne holds video.

    Attributes:
        title: the dataset's name, for messages.
        names: of the videos, in order.
    """

    title: str
    names: list[str]

    def __init__(self, view: SampleCollection, prefix: str) -> None:
        self.title = f"dataset {view._dataset.name!r}"
        self._view = view
        self._prefix = prefix

    def path(self, field: str) -> str:
        """The full path of a field.

        Raises:
            MissingError: if it is not there.
            InputError: if it does not hold ``Detections``.
        """
        path = self._prefix + field.removeprefix("frames.")
        found = self._view.get_field(path)
        if found is None:
            raise MissingError(f"{self.title} has no field {path!r}; fields with boxes: {some(self._box_fields())}")
        if getattr(found, "document_type", None) is not fo.Detections:
            kind = getattr(found, "document_type", None) or type(found)
            raise InputError(
                f"field {path!r} of {self.title} is of type {kind.__name__}, not Detections; "
                f"fields with boxes: {some(self._box_fields())}"
            )
        return path

    def _box_fields(self) -> list[str]:
        schema = self._view.get_frame_field_schema() if self._prefix else self._view.get_field_schema()
        return [name for name, kind in schema.items() if getattr(kind, "document_type", None) is fo.Detections]

    @abstractmethod
    def read(self, name: str, path: str) -> tuple[_Boxes, int]:
        """One field of one video, and the video's length in frames."""

    def _attributes(self, path: str) -> list[str]:
        """What is read of each box; only ground truth that was imported with flags has the last one."""
        inside = f"{path}.detections."
        columns = [inside + key for key in ("bounding_box", "index", "label", "ignored")]
        return columns if self._view.get_field(columns[-1]) is not None else columns[:-1]


class _VideoSource(_Source):
    """Video samples with frame labels."""

    def __init__(self, view: SampleCollection) -> None:
        super().__init__(view, "frames.")
        size = ["total_frame_count", "frame_width", "frame_height"]
        named = view.get_field(SEQUENCE_FIELD) is not None
        ids, files, *columns = view.values(
            ["id", "filepath", *(f"metadata.{key}" for key in size), *([SEQUENCE_FIELD] if named else [])]
        )
        given = columns.pop() if named else [None] * len(ids)
        self.names = _unique_names([name or Path(file).stem for name, file in zip(given, files, strict=True)], files)
        self._samples = dict(zip(self.names, zip(ids, *columns, strict=True), strict=True))

    def read(self, name: str, path: str) -> tuple[_Boxes, int]:
        sample_id, length, width, height = self._samples[name]
        values = self._view.select(sample_id).values(["frames.frame_number", *self._attributes(path)])
        numbers, *columns = (value[0] if value else [] for value in values)
        boxes = _boxes(name, path, np.array(numbers, np.int64) - 1, columns, (width, height))
        return boxes, max([length or 1, *numbers])


class _ImageSource(_Source):
    """Image samples that are the frames of sequences."""

    def __init__(self, view: SampleCollection) -> None:
        super().__init__(view, "")
        for field in (SEQUENCE_FIELD, FRAME_NUMBER_FIELD):
            if view.get_field(field) is None:
                raise InputError(
                    f"{self.title} holds images but no field {field!r}; image sequences need {SEQUENCE_FIELD!r} and "
                    f"{FRAME_NUMBER_FIELD!r}"
                )
        ids: dict[str, list[str]] = {}
        for sample_id, name in zip(*view.values(["id", SEQUENCE_FIELD]), strict=True):
            ids.setdefault(str(name), []).append(sample_id)
        self.names = list(ids)
        self._ids = ids

    def read(self, name: str, path: str) -> tuple[_Boxes, int]:
        keys = [FRAME_NUMBER_FIELD, "metadata.width", "metadata.height"]
        view = self._view.select(self._ids[name])
        numbers, widths, heights, *columns = view.values([*keys, *self._attributes(path)])
        if None in numbers or len(set(numbers)) < len(numbers):
            raise InputError(
                f"sequence {name!r} of {self.title} has images without a {FRAME_NUMBER_FIELD} of their own; "
                f"number its frames"
            )
        frame = np.array(numbers, np.int64) - min(1, *numbers)
        boxes = _boxes(name, path, frame, columns, (widths[0], heights[0]))
        return boxes, int(frame.max()) + 1


def _open(dataset: SampleCollection) -> _Source:
    """The videos of a dataset or view."""
    if dataset._is_dynamic_groups:
        dataset = dataset.flatten()
    if dataset.media_type == "video" and not dataset._is_clips:
        return _VideoSource(dataset)
    if dataset.media_type == "image" and not dataset._is_patches:
        return _ImageSource(dataset)
    raise InputError(
        f"dataset {dataset._dataset.name!r} holds media of type {dataset.media_type!r} here; "
        f"evaluation needs whole videos, or images that are the frames of sequences"
    )


def _unique_names(names: Sequence[str], files: Sequence[str]) -> list[str]:
    """Names of videos; where two are called the same, all go by their files."""
    return list(names) if len(set(names)) == len(names) else list(files)


def _boxes(
    video: str,
    path: str,
    frame: NDArray[np.int64],
    columns: Sequence[Sequence[list | None]],
    size: tuple[float | None, float | None],
) -> _Boxes:
    """Lists per frame, as FiftyOne gives them, to flat columns in pixels.

    Without the frame's size boxes stay relative: overlaps do not change when an axis is scaled.
    """
    box, index, label, *rest = (list(_flat(column)) for column in columns)
    counts = [len(frame_boxes or ()) for frame_boxes in columns[0]]
    frame_of_box = np.repeat(frame, counts)
    xywh = _four_columns(video, path, frame_of_box, box)
    width, height = size
    if width and height:
        xywh = (xywh * [width, height, width, height]).round(PIXEL_DECIMALS)
    return _Boxes(
        video=video,
        field=path,
        frame=frame_of_box,
        index=index,
        label=label,
        xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        ignored=np.array(rest[0] if rest else [False] * len(box), dtype=object).astype(bool),
        no_frames_labelled=all(frame_boxes is None for frame_boxes in columns[0]),
    )


def _flat(per_frame: Sequence[list | None]) -> Iterator[Any]:
    return chain.from_iterable(items or () for items in per_frame)


def _four_columns(video: str, path: str, frame: NDArray[np.int64], box: list) -> NDArray[np.float64]:
    """(N, 4) boxes; one that is not four numbers is named."""
    if not box:
        return np.zeros((0, 4))
    try:
        xywh = np.array(box, np.float64)
    except (TypeError, ValueError):
        xywh = np.zeros(0)
    if xywh.shape != (len(box), 4):
        bad = (row for row, numbers in enumerate(box) if numbers is None or len(numbers) != 4 or None in numbers)
        row = next(bad, 0)
        raise InputError(
            f"video {video!r}, frame {frame[row] + 1}: a box in field {path!r} is {box[row]}, not [x, y, w, h]"
        )
    return xywh
