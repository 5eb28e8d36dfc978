"""Reads a field of tracks as columns, one video at a time, however FiftyOne holds the video.

``values()`` of single attributes costs some microseconds per box; ``fo.Detection`` objects cost half a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray

from ...engine.metrics import TrackTable, TruthTable
from ...models.errors import InputError, MissingError
from ..mot.classes import CLASS_NAMES
from .videos import StoredVideo

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
        labelled_until: number of frames up to the last one that has the field, be it without boxes; 0 for none.
    """

    video: str
    field: str
    frame: NDArray[np.int64]
    index: list[int | None]
    label: list[str | None]
    xyxy: NDArray[np.float64]
    class_id: list[int | None]
    ignored: NDArray[np.bool_]
    labelled_until: int

    @property
    def no_frames_labelled(self) -> bool:
        """Whether the field is empty in every frame, which is something else than no boxes."""
        return not self.labelled_until

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


def read_track_field(
    view: SampleCollection, video: StoredVideo, field: str, size: tuple[float, float] | None = None
) -> tuple[FieldBoxes, int]:
    """One field of one video, and the video's length in frames.

    Args:
        view: what the video was opened from; boxes that it hides are not read.
        video: which one.
        field: a ``Detections`` field, without ``frames.`` before it.
        size: width and height of a frame in pixels, if the caller knows; else the metadata tell, where there are any.

    Raises:
        MissingError: for a field that the view hides.
        InputError: for a box that is not four numbers; names video and frame.
    """
    path = video.prefix + field
    if view.get_field(path) is None:
        raise MissingError(f"the view of dataset {video.dataset.name!r} hides field {path!r}; choose another view")
    paths = {key: f"{path}.detections.{key}" for key in ("bounding_box", "index", "label", "class_id", "ignored")}
    # The last two are there where an import or a user declared them.
    keys = {key: path for key, path in paths.items() if view.get_field(path) is not None}
    if video.image_frame is None:
        own = ["metadata.frame_width", "metadata.frame_height", "metadata.total_frame_count", "frames.frame_number"]
        values = view.select(video.key).values([*own, *keys.values()])
        width, height, length, numbers, *columns = (value[0] for value in values)
        frame = np.array(numbers, np.int64) - 1
    else:
        own = ["id", "metadata.width", "metadata.height"]
        ids, widths, heights, *columns = view.select(list(video.sample_ids)).values([*own, *keys.values()])
        frames = dict(zip(video.sample_ids, video.image_frame.tolist(), strict=True))
        frame = np.array([frames[sample_id] for sample_id in ids], np.int64)
        width, height, length = widths[0], heights[0], 0
    boxes = _boxes(video.name, path, frame, dict(zip(keys, columns, strict=True)), size or (width, height))
    # A container may count its frames wrongly; boxes in a frame beyond that count are scored all the same.
    return boxes, max(length or 1, 1 + int(frame.max(initial=0)))


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
        labelled_until=max(
            (int(f) + 1 for f, found in zip(frame, per_frame, strict=True) if found is not None), default=0
        ),
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
