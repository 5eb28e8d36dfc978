"""A field of boxes in FiftyOne becomes MOTChallenge text, one file a sequence: the inverse of ``importing``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray

from ...models.errors import InputError, MissingError
from . import fields
from .classes import CLASS_NAMES, DEFAULT_CLASS
from .text import NO_TRACK, Table, write_table

Progress = Callable[[float, str], None]

_COLUMNS = ("bounding_box", "index", "label", "confidence", "class_id", "visibility", "ignored")


def export_mot(
    dataset: SampleCollection,
    field: str,
    out_dir: Path | str,
    with_ids: bool = True,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes one ``SEQUENCE.txt`` for each video, or each image sequence, of a dataset or view.

    A line is ``frame, id, x, y, width, height, confidence, -1, -1, -1``; where boxes have ``class_id``, as imported
    ground truth does, it is ``frame, id, x, y, width, height, flag or confidence, class, visibility``. Every sequence
    is read before anything is written, and files are renamed when complete.

    Args:
        dataset: of videos with frame labels, or of images with the fields ``sequence`` and ``frame_number``.
        field: the ``Detections`` field, with or without ``frames.``.
        out_dir: folder of the files; files of these names are replaced.
        with_ids: whether boxes belong to tracks; False writes the id -1, as files of detections have it.
        progress: called with the share that is done, in [0, 1], and what is being done.

    Returns:
        The files, in the dataset's order.

    Raises:
        MissingError: for a field that is not there, or an empty dataset.
        InputError: for a field that holds no ``Detections``, media of other kinds, a box without index or with one that
            its frame holds twice, or two videos of the same name; names sample and frame.
    """
    source = _open(dataset)
    path = _path_of(source, field)
    names = source.names
    if not names:
        raise MissingError(f"{_title(dataset)} holds no samples here; there is nothing to export")
    for name in names:
        if names.count(name) > 1 or "/" in name or "\\" in name:
            raise InputError(
                f"{_title(dataset)}: {name!r} cannot name a file of its own; give each video a different "
                f"{fields.SEQUENCE!r} without slashes"
            )
    tables = []
    for done, name in enumerate(names):
        if progress:
            progress(0.9 * done / len(names), f"{name}: reading")
        tables.append(_table(source.read(done, path), with_ids))
    written = []
    for name, table in zip(names, tables, strict=True):
        written.append(Path(out_dir) / f"{name}.txt")
        write_table(written[-1], table)
    if progress:
        progress(1.0, "done")
    return written


@dataclass(frozen=True)
class _Labels:
    """One field of one sequence as FiftyOne gives it.

    Attributes:
        title: the sample, for messages.
        field: name of the field, for messages.
        number: (F,) int, 1-based numbers of the frames.
        size: (F, 2) float64, width and height by which the boxes are relative, in pixels.
        columns: attribute -> per frame a list of values, or None.
    """

    title: str
    field: str
    number: list[int]
    size: NDArray[np.float64]
    columns: dict[str, list]

    def where(self, frame: int) -> str:
        """How a message names a box of a 0-based frame."""
        return f"{self.title}, frame {frame + 1}: a box in field {self.field!r}"


class _Videos:
    """Video samples with frame labels."""

    prefix = "frames."

    def __init__(self, view: SampleCollection) -> None:
        self.view = view
        keys = ["id", "filepath", "metadata.frame_width", "metadata.frame_height"]
        named = view.get_field(fields.SEQUENCE) is not None
        ids, files, widths, heights, *rest = view.values([*keys, *([fields.SEQUENCE] if named else [])])
        given = rest[0] if named else [None] * len(ids)
        self.names = [name or Path(file).stem for name, file in zip(given, files, strict=True)]
        self._ids = ids
        self._files = files
        self._sizes = list(zip(widths, heights, strict=True))

    def read(self, position: int, path: str) -> _Labels:
        """Labels of the video at that position."""
        width, height = self._sizes[position]
        if not width or not height:
            metadata = fo.VideoMetadata.build_for(self._files[position])
            width, height = metadata.frame_width, metadata.frame_height
        view = self.view.select(self._ids[position])
        present = _present(self.view, path)
        number, *columns = view.values(["frames.frame_number", *present.values()])
        return _Labels(
            title=f"sample {self.names[position]!r} ({self._ids[position]})",
            field=path.removeprefix(self.prefix),
            number=number[0] or [],
            size=np.tile([float(width), float(height)], (len(number[0] or []), 1)),
            columns={key: column[0] or [] for key, column in zip(present, columns, strict=True)},
        )


class _Images:
    """Image samples that are the frames of sequences."""

    prefix = ""

    def __init__(self, view: SampleCollection) -> None:
        for name in (fields.SEQUENCE, fields.FRAME_NUMBER):
            if view.get_field(name) is None:
                raise InputError(
                    f"{_title(view)} holds images without the field {name!r}; image sequences have "
                    f"{fields.SEQUENCE!r} and {fields.FRAME_NUMBER!r}"
                )
        self.view = view
        self._ids: dict[str, list[str]] = {}
        for sample_id, sequence in zip(*view.values(["id", fields.SEQUENCE]), strict=True):
            self._ids.setdefault(str(sequence), []).append(sample_id)
        self.names = list(self._ids)

    def read(self, position: int, path: str) -> _Labels:
        """Labels of the sequence at that position."""
        name = self.names[position]
        view = self.view.select(self._ids[name])
        present = _present(self.view, path)
        keys = [fields.FRAME_NUMBER, "filepath", "metadata.width", "metadata.height"]
        number, files, widths, heights, *columns = view.values([*keys, *present.values()])
        if None in number or len(set(number)) < len(number):
            raise InputError(
                f"sequence {name!r} of {_title(self.view)} has images without a {fields.FRAME_NUMBER} of their own; "
                "number its frames"
            )
        size = [
            (width, height) if width and height else _image_size(file)
            for file, width, height in zip(files, widths, heights, strict=True)
        ]
        return _Labels(
            title=f"sequence {name!r}",
            field=path,
            number=number,
            size=np.array(size, np.float64),
            columns=dict(zip(present, columns, strict=True)),
        )


def _open(view: SampleCollection) -> _Videos | _Images:
    if view._is_dynamic_groups:
        view = view.flatten()
    if view.media_type == "video" and not view._is_clips:
        return _Videos(view)
    if view.media_type == "image" and not view._is_patches:
        return _Images(view)
    if view.media_type is None:
        raise MissingError(f"{_title(view)} is empty; there is nothing to export")
    raise InputError(
        f"{_title(view)} holds media of the type {view.media_type!r} here; export whole videos, or images that are the "
        "frames of sequences"
    )


def _path_of(source: _Videos | _Images, field: str) -> str:
    """Full path of a field that holds ``Detections``."""
    path = source.prefix + field.removeprefix("frames.")
    found = source.view.get_field(path)
    if found is None:
        schema = source.view.get_frame_field_schema() if source.prefix else source.view.get_field_schema()
        boxes = [name for name, kind in schema.items() if getattr(kind, "document_type", None) is fo.Detections]
        raise MissingError(
            f"{_title(source.view)} has no field {path!r}; fields with boxes: {', '.join(boxes) or 'none'}"
        )
    if getattr(found, "document_type", None) is not fo.Detections:
        raise InputError(f"field {path!r} of {_title(source.view)} does not hold Detections; name one that does")
    return path


def _present(view: SampleCollection, path: str) -> dict[str, str]:
    """Attributes that boxes of the field can have: name -> full path."""
    paths = {key: f"{path}.detections.{key}" for key in _COLUMNS}
    return {key: full for key, full in paths.items() if view.get_field(full) is not None}


def _table(labels: _Labels, with_ids: bool) -> Table:
    """Columns of text, sorted by frame and track.

    Raises:
        InputError: for a box without area, coordinates, index or class number; names sample and frame.
    """
    counts = [len(boxes or ()) for boxes in labels.columns["bounding_box"]]
    frame = np.repeat(np.array(labels.number, np.int64) - 1, counts)
    flat = {key: list(_flat(per_frame)) for key, per_frame in labels.columns.items()}
    nothing = [None] * len(frame)
    size = np.repeat(labels.size.reshape(-1, 2), counts, 0)
    xywh = _boxes(labels, frame, flat["bounding_box"]) * np.concatenate([size, size], 1)
    ignored = flat.get("ignored", nothing)
    confidence = [
        score if score is not None else float(not flag)
        for score, flag in zip(flat.get("confidence", nothing), ignored, strict=True)
    ]
    numbers = flat.get("class_id", nothing)
    has_class = any(number is not None for number in numbers)
    visible = flat.get("visibility", nothing)
    table = Table(
        frame=frame,
        track_id=_tracks(labels, frame, flat.get("index", nothing)) if with_ids else np.full(len(frame), NO_TRACK),
        xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
        confidence=np.array(confidence, np.float64),
        class_id=_classes(labels, frame, numbers, flat["label"]) if has_class else np.full(len(frame), DEFAULT_CLASS),
        visibility=np.array([1.0 if share is None else share for share in visible], np.float64),
        has_class=has_class,
    )
    order = np.lexsort((table.track_id, table.frame))  # stable: without tracks the order within a frame stays
    columns = ("frame", "track_id", "xyxy", "confidence", "class_id", "visibility")
    return replace(table, **{key: getattr(table, key)[order] for key in columns})


def _boxes(labels: _Labels, frame: NDArray[np.int64], boxes: Sequence[Any]) -> NDArray[np.float64]:
    """(N, 4) relative boxes."""
    try:
        found = np.array(boxes, np.float64).reshape(len(boxes), 4)
    except (TypeError, ValueError):
        found = np.full((len(boxes), 4), np.nan)
        for row, box in enumerate(boxes):
            if isinstance(box, list) and len(box) == 4 and None not in box:
                found[row] = box
    bad = ~(np.isfinite(found).all(1) & (found[:, 2:] > 0).all(1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{labels.where(int(frame[row]))} is {boxes[row]}, not [x, y, w, h] with an area; remove it")
    return found


def _tracks(labels: _Labels, frame: NDArray[np.int64], index: Sequence[int | None]) -> NDArray[np.int64]:
    if None in index:
        where = labels.where(int(frame[index.index(None)]))
        raise InputError(f"{where} has no index; give all boxes one, or export detections with --without-ids")
    track = np.array(index, np.int64)
    order = np.lexsort((track, frame))
    twice = (np.diff(frame[order]) == 0) & (np.diff(track[order]) == 0)
    if twice.any():
        row = order[int(twice.argmax())]
        raise InputError(f"{labels.where(int(frame[row]))} has the index {track[row]}, as another one has; remove one")
    return track


def _classes(
    labels: _Labels, frame: NDArray[np.int64], numbers: Sequence[int | None], names: Sequence[str | None]
) -> NDArray[np.int64]:
    """Class numbers; of boxes that lack one, such as those drawn by hand, by what others of the same label have."""
    known: dict[str | None, int] = {name: number for number, name in CLASS_NAMES.items()}
    known |= {name: number for number, name in zip(numbers, names, strict=True) if number is not None}
    found = [known.get(name) if number is None else number for number, name in zip(numbers, names, strict=True)]
    if None in found:
        row = found.index(None)
        raise InputError(
            f"{labels.where(int(frame[row]))} is labelled {names[row]!r}, which has no number in MOTChallenge; "
            "set its class_id"
        )
    return np.array(found, np.int64)


def _flat(per_frame: Sequence[list | None]) -> Iterator[Any]:
    return chain.from_iterable(items or () for items in per_frame)


def _image_size(file: str) -> tuple[int, int]:
    metadata = fo.ImageMetadata.build_for(file)
    return metadata.width, metadata.height


def _title(view: SampleCollection) -> str:
    return f"dataset {view._dataset.name!r}"
