"""Reads a field of tracks as columns, one video at a time, however FiftyOne holds the video.

``values()`` of single attributes costs some microseconds per box; ``fo.Detection`` objects cost half a millisecond.
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

from ...engine.metrics import TrackTable, TruthTable
from ...models.errors import InputError, MissingError
from ..mot.classes import CLASS_NAMES
from .dataset import some

SEQUENCE_FIELD = "sequence"
FRAME_NUMBER_FIELD = "frame_number"
# Relative boxes times the frame's size miss the pixels they came from by rounding; so an overlap of exactly one half
# would fall on either side of the threshold. Coordinates are taken to mean the nearest millionth of a pixel.
PIXEL_DECIMALS = 6


@dataclass(frozen=True)
class FieldBoxes:
    """One field of one video, as it was read.

    Attributes:
        video: its name.
        field: the field's name.
        frame: (N,) int64, 0-based.
        index: (N,) of int or None.
        label: (N,) of str or None.
        xyxy: (N, 4) float64, pixels.
        class_id: (N,) of int or None, MOTChallenge's number of the class where an import wrote it.
        ignored: (N,) bool.
        no_frames_labelled: whether the field is empty in every frame, which is something else than no boxes.
    """

    video: str
    field: str
    frame: NDArray[np.int64]
    index: list[int | None]
    label: list[str | None]
    xyxy: NDArray[np.float64]
    class_id: list[int | None]
    ignored: NDArray[np.bool_]
    no_frames_labelled: bool

    def as_prediction(self) -> TrackTable:
        """The boxes as predictions.

        Raises:
            InputError: for a box without index.
        """
        return TrackTable(self.frame, self._track_id(), self.xyxy)

    def as_truth(self, with_classes: bool) -> TruthTable:
        """The boxes as ground truth, with MOTChallenge's classes if asked for.

        Raises:
            InputError: for a box without index, or, if asked for, without a class of MOTChallenge.
        """
        class_id = self._class_numbers() if with_classes else None
        return TruthTable(self.frame, self._track_id(), self.xyxy, class_id, self.ignored)

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

    def _class_numbers(self) -> NDArray[np.int64]:
        """Numbers of MOTChallenge's classes, from 1: those that came with the boxes, else told from the labels."""
        number = {_plain(name): position for position, name in CLASS_NAMES.items()}
        found = [
            number.get(_plain(label), 0) if class_id is None else class_id
            for class_id, label in zip(self.class_id, self.label, strict=True)
        ]
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


class FieldSource(ABC):
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
    def read(self, name: str, path: str) -> tuple[FieldBoxes, int]:
        """One field of one video, and the video's length in frames."""

    def _keys(self, path: str) -> dict[str, str]:
        """What is read of each box, by name: always its geometry and identity, the rest where it is declared."""
        paths = {key: f"{path}.detections.{key}" for key in ("bounding_box", "index", "label")}
        optional = {key: f"{path}.detections.{key}" for key in ("class_id", "ignored")}
        return paths | {key: path for key, path in optional.items() if self._view.get_field(path) is not None}


class _VideoSource(FieldSource):
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

    def read(self, name: str, path: str) -> tuple[FieldBoxes, int]:
        sample_id, length, width, height = self._samples[name]
        keys = self._keys(path)
        values = self._view.select(sample_id).values(["frames.frame_number", *keys.values()])
        numbers, *columns = (value[0] if value else [] for value in values)
        attributes = dict(zip(keys, columns, strict=True))
        boxes = _boxes(name, path, np.array(numbers, np.int64) - 1, attributes, (width, height))
        return boxes, max([length or 1, *numbers])


class _ImageSource(FieldSource):
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

    def read(self, name: str, path: str) -> tuple[FieldBoxes, int]:
        own, keys = [FRAME_NUMBER_FIELD, "metadata.width", "metadata.height"], self._keys(path)
        view = self._view.select(self._ids[name])
        numbers, widths, heights, *columns = view.values([*own, *keys.values()])
        if None in numbers or len(set(numbers)) < len(numbers):
            raise InputError(
                f"sequence {name!r} of {self.title} has images without a {FRAME_NUMBER_FIELD} of their own; "
                f"number its frames"
            )
        frame = np.array(numbers, np.int64) - min(1, *numbers)
        boxes = _boxes(name, path, frame, dict(zip(keys, columns, strict=True)), (widths[0], heights[0]))
        return boxes, int(frame.max()) + 1


def open_source(dataset: SampleCollection) -> FieldSource:
    """The videos of a dataset or view.

    Raises:
        InputError: for media that are neither whole videos nor images of sequences.
    """
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
    attributes: Mapping[str, Sequence[list | None]],
    size: tuple[float | None, float | None],
) -> FieldBoxes:
    """Lists per frame, as FiftyOne gives them, to flat columns in pixels.

    Without the frame's size boxes stay relative: overlaps do not change when an axis is scaled.
    """
    columns = {key: list(_flat(column)) for key, column in attributes.items()}
    box, per_frame = columns["bounding_box"], attributes["bounding_box"]
    counts = [len(frame_boxes or ()) for frame_boxes in per_frame]
    frame_of_box = np.repeat(frame, counts)
    xywh = _four_columns(video, path, frame_of_box, box)
    width, height = size
    if width and height:
        xywh = (xywh * [width, height, width, height]).round(PIXEL_DECIMALS)
    return FieldBoxes(
        video=video,
        field=path,
        frame=frame_of_box,
        index=columns["index"],
        label=columns["label"],
        xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        class_id=columns.get("class_id", [None] * len(box)),
        ignored=np.array(columns.get("ignored", [False] * len(box)), dtype=object).astype(bool),
        no_frames_labelled=all(frame_boxes is None for frame_boxes in per_frame),
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
