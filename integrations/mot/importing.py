"""MOTChallenge folders become a FiftyOne dataset: video samples with frame labels, or images grouped by sequence.

Boxes become raw documents, one sequence at a time; see ``integrations/fiftyone_/raw.py``. A sequence counts as imported
only when its ``mot_complete`` says so, which is written last.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fiftyone as fo
import numpy as np
from bson import ObjectId

from ...models.errors import InputError
from ..fiftyone_.raw import detection_dict, write_frame_labels, write_image_labels
from . import fields
from .classes import with_names
from .sequence import Sequence, find_sequences
from .text import Table
from .video import encode

Media = Literal["video", "images"]
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes:
        dataset: the dataset.
        added: names of the sequences that are new in it.
        kept: names of those that an earlier run had finished.
        skipped: sequence -> reason -> how many lines were left out.
        boxes: how many boxes were written.
    """

    dataset: fo.Dataset
    added: tuple[str, ...]
    kept: tuple[str, ...]
    skipped: Mapping[str, Mapping[str, int]]
    boxes: int


@dataclass(frozen=True)
class _Boxes:
    """What the text files of one sequence hold."""

    ground_truth: Table | None
    candidates: Table | None


def import_mot(
    paths: Iterable[Path | str] | Path | str,
    dataset_name: str,
    detections: str = "det.txt",
    media: Media = "video",
    overwrite: bool = False,
    skip_bad: bool = False,
    persistent: bool = True,
    progress: Progress | None = None,
    media_dir: Path | str | None = None,
    class_names: Mapping[int, str] | None = None,
) -> ImportResult:
    """Imports MOTChallenge sequences into a dataset, which is made if there is none of the name.

    Ground truth goes to the field ``ground_truth`` (``index``, ``instance``, ``class_id``, ``visibility`` and
    ``ignored``), detections to ``candidates`` (``confidence``, the raw score). All text is read, and every image is
    looked at, before anything is written. What an interrupted import has not finished, the next run does; sequences
    that it has finished are kept.

    Args:
        paths: sequence folders, or folders of such.
        dataset_name: of the dataset.
        detections: which file of each ``det`` folder becomes the candidates; "none" for no candidates.
        media: "video" (one sample a sequence, with H.264 made of its images, or dark if it has none) or "images" (one
            sample a frame, with ``sequence`` and ``frame_number`` and the saved view ``sequences``; the image files
            stay where they are).
        overwrite: replace sequences that are in the dataset, with all that was added to them.
        skip_bad: leave out lines that cannot be used instead of refusing them.
        persistent: keep the dataset when FiftyOne ends; of a dataset that is there already, this stays as it is.
        progress: called with the share that is done, in [0, 1], and what is being done.
        media_dir: folder of the videos; None for one of the dataset's name in FiftyOne's ``default_dataset_dir``.
        class_names: class number -> name, where MOTChallenge's own do not fit, e.g. ``{1: "car"}``.

    Raises:
        MissingError: for a folder, file or key that is not there, or ffmpeg.
        InputError: for bad input, a sequence that is in the dataset already, or a dataset of other media.
    """
    if not dataset_name.strip():
        raise InputError("the dataset's name is empty; give one")
    names = with_names(class_names)
    sequences = find_sequences([paths] if isinstance(paths, (str, Path)) else paths)
    for sequence in sequences:
        if media == "images" and not sequence.images:
            raise InputError(f"{sequence.folder}: has no images; import it as video, which needs none")
    present = _present(dataset_name, media)
    todo = _todo(sequences, present, dataset_name, detections, overwrite)
    boxes = {}
    for sequence in todo:
        sequence.check_images()
        truth = sequence.ground_truth(names, skip_bad)
        boxes[sequence.name] = _Boxes(truth, sequence.detections(detections, names, skip_bad))

    existed = fo.dataset_exists(dataset_name)
    dataset = fo.load_dataset(dataset_name) if existed else fo.Dataset(dataset_name, persistent=persistent)
    try:
        fields.declare(dataset, media)
        for done, sequence in enumerate(todo):
            earlier = present.get(sequence.name)
            writer = _Writer(dataset, sequence, boxes[sequence.name], detections, names)
            writer.report = _part_of(progress, done, len(todo), sequence.name)
            if media == "video":
                writer.write_video(_media_dir(media_dir, dataset_name), earlier)
            else:
                writer.write_images(earlier)
    finally:
        if not existed and not len(dataset):
            fo.delete_dataset(dataset_name)
    if progress:
        progress(1.0, "done")
    todo_names = {sequence.name for sequence in todo}
    return ImportResult(
        dataset=dataset,
        added=tuple(sequence.name for sequence in todo),
        kept=tuple(sequence.name for sequence in sequences if sequence.name not in todo_names),
        skipped={name: skipped for name, found in boxes.items() if (skipped := _skipped(found))},
        boxes=sum(len(table) for found in boxes.values() for table in _tables(found)),
    )


@dataclass(frozen=True)
class _Present:
    """A sequence that the dataset holds, wholly or in part."""

    ids: tuple[str, ...]
    complete: bool
    folder: str | None
    detections: str | None

    @property
    def ours(self) -> bool:
        return self.folder is not None


def _present(dataset_name: str, media: Media) -> dict[str, _Present]:
    """Sequences of the dataset by name; none if there is no such dataset.

    Raises:
        InputError: if the dataset is one of other media.
    """
    if not fo.dataset_exists(dataset_name):
        return {}
    dataset = fo.load_dataset(dataset_name)
    wanted = "video" if media == "video" else "image"
    if dataset.media_type not in {None, wanted}:
        raise InputError(
            f"dataset {dataset_name!r} holds media of the type {dataset.media_type!r}, not {wanted!r}; "
            "choose another name, or delete that dataset first"
        )
    keys = (fields.SEQUENCE, fields.COMPLETE, fields.FOLDER, fields.DETECTIONS, fields.LENGTH)
    if not len(dataset) or dataset.get_field(fields.SEQUENCE) is None:
        return {}
    columns = [
        dataset.values(key) if dataset.get_field(key) is not None else [None] * len(dataset) for key in ("id", *keys)
    ]
    rows: dict[str, list[tuple]] = {}
    for sample_id, name, *rest in zip(*columns, strict=True):
        if name is not None:
            rows.setdefault(name, []).append((sample_id, *rest))
    return {name: _one_present(found, media) for name, found in rows.items()}


def _one_present(rows: list[tuple], media: Media) -> _Present:
    ids, complete, folder, detections, length = zip(*rows, strict=True)
    whole = all(complete) and len(rows) == (1 if media == "video" else length[0])
    return _Present(ids, whole, folder[0], detections[0])


def _todo(
    sequences: list[Sequence], present: Mapping[str, _Present], dataset_name: str, detections: str, overwrite: bool
) -> list[Sequence]:
    """Sequences that are to be written.

    Raises:
        InputError: for a sequence that is in the dataset already, unless it came there by the very same import and
            others of the sequences did not yet.
    """
    todo = []
    for sequence in sequences:
        there = present.get(sequence.name)
        if there and not there.ours:
            raise InputError(
                f"dataset {dataset_name!r} has a sequence {sequence.name!r} that import-mot did not make; "
                "choose another dataset"
            )
        if there and there.complete and not overwrite:
            if (there.folder, there.detections) != (str(sequence.folder), detections):
                raise InputError(
                    f"dataset {dataset_name!r} has the sequence {sequence.name!r} already, from {there.folder} with "
                    f"detections {there.detections!r}; replace it with --overwrite, or choose another dataset"
                )
        else:
            todo.append(sequence)
    if not todo:
        shown = ", ".join(sequence.name for sequence in sequences[:5]) + (", ..." if len(sequences) > 5 else "")
        raise InputError(f"dataset {dataset_name!r} has {shown} already; replace what is there with --overwrite")
    return todo


class _Writer:
    """Writes one sequence into the dataset; what a failure leaves is removed.

    Attributes:
        report: called with the share of this sequence that is done, and what is being done.
    """

    def __init__(
        self, dataset: fo.Dataset, sequence: Sequence, boxes: _Boxes, detections: str, names: Mapping[int, str]
    ) -> None:
        self.report: Callable[[float, str], None] = lambda share, what: None
        self._dataset = dataset
        self._sequence = sequence
        self._boxes = boxes
        self._names = names
        self._values = fields.values_of(sequence, detections)

    def write_video(self, media_dir: Path, earlier: _Present | None) -> None:
        """One sample, whose video is made before anything that is there is touched."""
        frames = self._sequence.info.num_frames
        video = encode(
            self._sequence,
            media_dir / f"{self._sequence.name}.mp4",
            lambda done: self.report(0.7 * done / frames, "video"),
        )
        metadata = fo.VideoMetadata(
            size_bytes=video.path.stat().st_size,
            mime_type="video/mp4",
            frame_width=video.width,
            frame_height=video.height,
            frame_rate=video.frame_rate,
            total_frame_count=video.num_frames,
            duration=video.num_frames / video.frame_rate,
            encoding_str="avc1",
        )
        self._replace(
            [fo.Sample(str(video.path), metadata=metadata, **self._values)], earlier, video.width, video.height
        )

    def write_images(self, earlier: _Present | None) -> None:
        """A sample for each image, which stays where it is."""
        self.report(0.0, "images")
        self._sequence.check_images(decode=True)
        width, height = self._sequence.size
        samples = []
        for number, path in enumerate(self._sequence.images, 1):
            kind, _ = mimetypes.guess_type(path.name)
            metadata = fo.ImageMetadata(size_bytes=path.stat().st_size, mime_type=kind, width=width, height=height)
            samples.append(fo.Sample(str(path), metadata=metadata, **{fields.FRAME_NUMBER: number}, **self._values))
        self._replace(samples, earlier, width, height)

    def _replace(self, samples: list[fo.Sample], earlier: _Present | None, width: int, height: int) -> None:
        if earlier:
            self._dataset.delete_samples(list(earlier.ids))
        try:
            ids = self._dataset.add_samples(samples, dynamic=False, progress=False)
            for step, (field, table) in enumerate(self._tables(), 1):
                self.report(0.7 + 0.1 * step, "boxes")
                dicts = _per_frame(table, self._sequence.info.num_frames, self._names, width, height, field)
                if self._dataset.media_type == "video":
                    write_frame_labels(self._dataset, ids[0], field, dicts)
                else:
                    write_image_labels(self._dataset, field, ((ids[number - 1], found) for number, found in dicts))
            self._dataset.select(ids).set_values(fields.COMPLETE, [True] * len(ids), progress=False)
        except BaseException:
            # By name, because add_samples may have been stopped before it said what it had added.
            self._dataset.delete_samples(self._dataset.match({fields.SEQUENCE: self._sequence.name}))
            raise

    def _tables(self) -> Iterator[tuple[str, Table]]:
        if self._boxes.ground_truth is not None:
            yield fields.GROUND_TRUTH, self._boxes.ground_truth
        if self._boxes.candidates is not None:
            yield fields.CANDIDATES, self._boxes.candidates


def _per_frame(
    table: Table, num_frames: int, names: Mapping[int, str], width: int, height: int, field: str
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """1-based frame numbers and the raw documents of their boxes; frames without boxes have an empty list."""
    xywh = np.concatenate([table.xyxy[:, :2], table.xyxy[:, 2:] - table.xyxy[:, :2]], 1)
    columns: dict[str, list] = {
        "label": [names[number] for number in table.class_id.tolist()],
        "bounding_box": (xywh / [width, height, width, height]).tolist(),
    }
    if field == fields.GROUND_TRUTH:
        instances = {track: ObjectId() for track in np.unique(table.track_id).tolist()}
        columns["index"] = table.track_id.tolist()
        columns["instance_id"] = [instances[track] for track in columns["index"]]
        columns["visibility"] = table.visibility.tolist()
        columns["ignored"] = table.ignored.tolist()
    if field == fields.CANDIDATES or not np.isin(table.confidence, (0, 1)).all():
        columns["confidence"] = table.confidence.tolist()
    if field == fields.GROUND_TRUTH or table.has_class:
        columns["class_id"] = table.class_id.tolist()
    bounds = np.searchsorted(table.frame, np.arange(num_frames + 1)).tolist()
    for number in range(1, num_frames + 1):
        start, end = bounds[number - 1], bounds[number]
        rows = zip(*(column[start:end] for column in columns.values()), strict=True)
        yield number, [detection_dict(**dict(zip(columns, row, strict=True))) for row in rows]


def _media_dir(given: Path | str | None, dataset_name: str) -> Path:
    if given is not None:
        return Path(given)
    return Path(fo.config.default_dataset_dir) / (re.sub(r"[^\w.-]+", "-", dataset_name).strip(".-") or "dataset")


def _part_of(progress: Progress | None, done: int, of: int, name: str) -> Callable[[float, str], None]:
    """Progress of one sequence as a share of all."""

    def report(share: float, what: str) -> None:
        if progress:
            progress((done + share) / of, f"{name}: {what}")

    return report


def _tables(boxes: _Boxes) -> list[Table]:
    return [table for table in (boxes.ground_truth, boxes.candidates) if table is not None]


def _skipped(boxes: _Boxes) -> dict[str, int]:
    total: dict[str, int] = {}
    for table in _tables(boxes):
        for reason, count in table.skipped.items():
            total[reason] = total.get(reason, 0) + count
    return total
