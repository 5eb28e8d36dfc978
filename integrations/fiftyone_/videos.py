"""Finds the videos of a dataset or view, however FiftyOne holds them: as video samples, or as sequences of images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray

from ...models.columns import VideoInfo
from ...models.errors import InputError, MissingError
from .dataset import some

SEQUENCE_FIELD = "sequence"
FRAME_NUMBER_FIELD = "frame_number"
FRAME_RATE_FIELD = "frame_rate"
DEFAULT_FRAME_RATE = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredVideo:
    """One video of a dataset.

    Attributes:
        dataset: that it is in.
        name: what people call it: its field ``sequence``, or its file's name.
        sample_ids: of its video sample, or of its images in the order of the frames.
        image_frame: (S,) int64, 0-based frame of every image; None for a video sample.
        prefix: ``"frames."`` for a video sample, empty for images: where its fields are.
    """

    dataset: fo.Dataset
    name: str
    sample_ids: tuple[str, ...]
    image_frame: NDArray[np.int64] | None = None

    @property
    def key(self) -> str:
        """Names the video for as long as the dataset exists."""
        return self.sample_ids[0]

    @property
    def prefix(self) -> str:
        """Where its fields are."""
        return "frames." if self.image_frame is None else ""

    def info(self) -> VideoInfo:
        """Length, size and frame rate, from the metadata, which is computed where it is missing.

        Raises:
            InputError: for a file that cannot be read, or a video without frames.
        """
        return _video_info(self) if self.image_frame is None else _sequence_info(self)

    def title(self, frame: int | None = None) -> str:
        """Names the video, and maybe one of its 0-based frames, in a message."""
        where = f"video {self.name!r} of dataset {self.dataset.name!r} (sample {self.key})"
        return where if frame is None else f"{where}, frame {frame + 1}"


def open_videos(collection: SampleCollection) -> list[StoredVideo]:
    """The videos of a dataset or view, in its order. A view chooses videos; it does not hide boxes of theirs.

    Args:
        collection: video samples, or images with fields ``sequence`` and ``frame_number``, also grouped by sequence.

    Raises:
        InputError: for other media, images that are not numbered, or no samples at all.
    """
    dataset = collection._dataset
    if collection._is_dynamic_groups:
        collection = collection.flatten()
    if not len(collection):
        raise InputError(f"dataset {dataset.name!r} has no samples here; add videos first")
    if collection.media_type == "video" and not collection._is_clips:
        return _video_samples(collection)
    if collection.media_type == "image" and not (collection._is_patches or collection._is_frames):
        return _image_sequences(collection)
    raise InputError(
        f"dataset {dataset.name!r} holds media of type {collection.media_type!r} here; labelling needs whole videos "
        f"or images that are the frames of sequences"
    )


def box_field(videos: Sequence[StoredVideo], field: str) -> str:
    """The name of a ``Detections`` field of the videos, without ``frames.``.

    Raises:
        MissingError: if there is no such field; names those that there are.
        InputError: if it holds something else.
    """
    dataset, prefix = videos[0].dataset, videos[0].prefix
    name = field.removeprefix("frames.")
    found = dataset.get_field(prefix + name)
    schema = dataset.get_frame_field_schema() if prefix else dataset.get_field_schema()
    able = [key for key, kind in schema.items() if getattr(kind, "document_type", None) is fo.Detections]
    if found is None:
        raise MissingError(f"dataset {dataset.name!r} has no field {prefix + name!r}; fields with boxes: {some(able)}")
    kind = getattr(found, "document_type", None) or type(found)
    if kind is not fo.Detections:
        raise InputError(
            f"field {prefix + name!r} of dataset {dataset.name!r} is of type {kind.__name__}, not Detections; "
            f"fields with boxes: {some(able)}"
        )
    return name


def _video_samples(collection: SampleCollection) -> list[StoredVideo]:
    named = collection.get_field(SEQUENCE_FIELD) is not None
    ids, files, *given = collection.values(["id", "filepath", *([SEQUENCE_FIELD] if named else [])])
    names = [
        name or Path(file).stem for name, file in zip(given[0] if named else [None] * len(ids), files, strict=True)
    ]
    if len(set(names)) < len(names):  # evaluation calls them so, too
        names = list(files)
    return [StoredVideo(collection._dataset, str(name), (key,)) for name, key in zip(names, ids, strict=True)]


def _image_sequences(collection: SampleCollection) -> list[StoredVideo]:
    dataset = collection._dataset
    for field in (SEQUENCE_FIELD, FRAME_NUMBER_FIELD):
        if dataset.get_field(field) is None:
            raise InputError(
                f"dataset {dataset.name!r} holds images but no field {field!r}; image sequences need "
                f"{SEQUENCE_FIELD!r} and {FRAME_NUMBER_FIELD!r}"
            )
    images: dict[str, list[tuple[Any, str]]] = {}
    for key, name, number in zip(*collection.values(["id", SEQUENCE_FIELD, FRAME_NUMBER_FIELD]), strict=True):
        images.setdefault(str(name), []).append((number, key))
    return [_image_sequence(dataset, name, found) for name, found in images.items()]


def _image_sequence(dataset: fo.Dataset, name: str, images: list[tuple[Any, str]]) -> StoredVideo:
    numbers = [number for number, _ in images]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise InputError(
            f"sequence {name!r} of dataset {dataset.name!r} has images without a {FRAME_NUMBER_FIELD} of their own; "
            f"number its frames"
        )
    images = sorted(images)
    frame = np.array([number for number, _ in images], np.int64)
    return StoredVideo(dataset, name, tuple(key for _, key in images), frame - min(1, int(frame[0])))


def _video_info(video: StoredVideo) -> VideoInfo:
    sample = video.dataset[video.key]
    with _readable(video, sample.filepath):
        if sample.metadata is None or not getattr(sample.metadata, "total_frame_count", None):
            sample.compute_metadata(overwrite=True)
    found = sample.metadata
    if not getattr(found, "total_frame_count", None):
        raise InputError(f"{video.title()} has no frames: {sample.filepath}; replace the file or remove the sample")
    size = (found.frame_width, found.frame_height, found.frame_rate)
    if not all(size):
        raise InputError(
            f"{video.title()}: width, height or frame rate of {sample.filepath} are not known {size}; "
            f"replace the file or set the sample's metadata"
        )
    return VideoInfo(video.name, int(found.total_frame_count), *map(float, size))


def _sequence_info(video: StoredVideo) -> VideoInfo:
    assert video.image_frame is not None
    sample = video.dataset[video.key]
    with _readable(video, sample.filepath):
        if sample.metadata is None or not getattr(sample.metadata, "width", None):
            sample.compute_metadata(overwrite=True)
        if not sample.metadata.width or not sample.metadata.height:
            raise ValueError("it has no size")
    rate = sample[FRAME_RATE_FIELD] if video.dataset.get_field(FRAME_RATE_FIELD) is not None else None
    if rate is None:
        logger.warning(
            "%s has no %s; %g frames per second are taken", video.title(), FRAME_RATE_FIELD, DEFAULT_FRAME_RATE
        )
    length = int(video.image_frame[-1]) + 1
    return VideoInfo(
        video.name,
        length,
        float(sample.metadata.width),
        float(sample.metadata.height),
        float(rate or DEFAULT_FRAME_RATE),
    )


@contextmanager
def _readable(video: StoredVideo, path: str) -> Iterator[None]:
    """Puts whatever FiftyOne, ffmpeg and Pillow say of a bad file into one line."""
    try:
        yield
    except Exception as error:
        why = "no such file" if not Path(path).is_file() else " ".join(str(error).split())[-200:]
        raise InputError(
            f"{video.title()} cannot be read: {path}: {why}; replace the file or remove the sample"
        ) from error
