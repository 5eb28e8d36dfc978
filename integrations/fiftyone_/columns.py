"""Boxes of one video between FiftyOne's documents and columns: read as arrays, written from arrays, never as objects.

The border where relative ``[x, y, w, h]`` and 1-based frame numbers become pixels ``xyxy`` and 0-based frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from ...models.columns import Source, Tracks
from .raw import detection_dict, frame_documents, image_documents, write_frame_labels, write_image_labels
from .videos import StoredVideo

ROWS_PER_CHUNK = 50_000  # boxes that exist as Python lists at one time

SOURCE_NAMES = {source: source.name.lower() for source in Source}


@dataclass(frozen=True)
class StoredBoxes:
    """The boxes of a field of one video as they are stored, sorted by frame, and not yet checked.

    Attributes:
        frame: (N,) int64, 0-based.
        xyxy: (N, 4) float64, pixels; NaN where there is no box of four numbers.
        score: (N,) float64; NaN where there is none.
        label_index: (N,) int64, into ``labels``.
        labels: names of the classes, in alphabetical order.
        index: (N,) int64; -1 where there is none.
        embedding: (N, D) float32, NaN where there is none or one of another length; None if not asked for.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    score: NDArray[np.float64]
    label_index: NDArray[np.int64]
    labels: tuple[str | None, ...]
    index: NDArray[np.int64]
    embedding: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.frame)


def read_boxes(
    video: StoredVideo, field: str, width: float, height: float, embedding: str | None = None
) -> StoredBoxes:
    """Reads a ``Detections`` field of one video.

    Args:
        video: which one.
        field: the field's name, without ``frames.``.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        embedding: name of a vector attribute of the boxes to read, too.
    """
    keys = ["bounding_box", "confidence", "label", "index", *([embedding] if embedding else [])]
    labels: dict[str | None, int] = {}
    parts: list[list[NDArray]] = [[] for _ in range(5)]
    vectors: list[NDArray[np.float32]] = []
    for numbers, columns in _chunks(video, field, keys):
        parts[0].append(numbers)
        parts[1].append(four_columns(columns[0]))
        parts[2].append(np.array(columns[1], np.float64))
        parts[3].append(np.array([labels.setdefault(label, len(labels)) for label in columns[2]], np.int64))
        parts[4].append(np.array([-1 if index is None else index for index in columns[3]], np.int64))
        if embedding:
            vectors.append(unpack_vectors(columns[4]))
    shapes: list[tuple[tuple[int, ...], type]] = [
        ((0,), np.int64), ((0, 4), np.float64), ((0,), np.float64), ((0,), np.int64), ((0,), np.int64)
    ]  # fmt: skip
    frame, box, score, label, index = (
        np.concatenate(part) if part else np.zeros(shape, kind)
        for part, (shape, kind) in zip(parts, shapes, strict=True)
    )
    names = sorted(labels, key=lambda name: (name is not None, str(name)))
    place = np.array([names.index(name) for name in labels], np.int64)  # labels are few: these are classes, not boxes
    box *= np.array([width, height, width, height])
    box[:, 2:] += box[:, :2]
    return StoredBoxes(
        frame, box, score, place[label] if len(label) else label, tuple(names), index,
        _same_width(vectors) if embedding else None,
    )  # fmt: skip


def write_tracks(
    video: StoredVideo,
    field: str,
    tracks: Tracks,
    classes: Sequence[str | None],
    width: float,
    height: float,
    numbers: Sequence[int],
    identity: str,
    kept: Mapping[int, Sequence[dict[str, Any]]],
) -> None:
    """Replaces the field of one video by tracks.

    Args:
        video: which one.
        field: the field's name, without ``frames.``.
        tracks: what to write; boxes in frames for which a sequence has no image are not written.
        classes: names of the tracks' classes.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        numbers: (T,) the stored ``index`` of every track.
        identity: what instance ids are made from, together with the number: the same for the same tracks, so that the
            same input gives the same ids, and other tracks do not inherit them.
        kept: 0-based frame -> raw detections that are written as they are, before those of the tracks.
    """
    instances = [track_instance(identity, number) for number in numbers]
    per_frame = _track_documents(tracks, classes, (width, height), numbers, instances)
    merged = _with_kept(per_frame, kept)
    if video.image_frame is None:
        write_frame_labels(video.dataset, video.key, field, ((frame + 1, found) for frame, found in merged))
    else:
        by_frame = dict(merged)
        pairs = zip(video.sample_ids, video.image_frame.tolist(), strict=True)
        write_image_labels(video.dataset, field, ((key, by_frame.get(frame, [])) for key, frame in pairs))


def track_instance(identity: str, number: int) -> ObjectId:
    """The instance id of a track."""
    return ObjectId(blake2b(f"{identity}/{number}".encode(), digest_size=12).digest())


def pack_vectors(vectors: NDArray[np.floating]) -> list[bytes]:
    """Vectors as FiftyOne stores NumPy arrays (compressed ``.npy``), in half precision: a fraction of a list's size.

    Args:
        vectors: (N, D) floating.
    """
    if not len(vectors):
        return []
    rows = np.ascontiguousarray(vectors, np.float16)
    with BytesIO() as buffer:
        np.save(buffer, rows[0], allow_pickle=False)
        header = buffer.getvalue()[: -rows[0].nbytes]  # the same for all rows, and costly to make
    return [zlib.compress(header + row.tobytes(), 1) for row in rows]


def unpack_vectors(stored: Sequence[Any]) -> NDArray[np.float32]:
    """(N, D) float32 of vectors stored as lists or as FiftyOne's binary arrays; NaN for rows of another length."""
    if not stored:
        return np.zeros((0, 0), np.float32)
    rows = [_unpacked(value) if isinstance(value, bytes) else value for value in stored]
    width = max((len(row) for row in rows if row is not None), default=0)
    empty = np.full(width, np.nan, np.float32)
    same = [empty if row is None or len(row) != width else row for row in rows]
    return np.array(same, np.float32).reshape(len(rows), width)


def _chunks(video: StoredVideo, field: str, keys: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], list[list[Any]]]]:
    """Frames (n,) and, for every key, n values, of some thousand boxes at a time, in the order of the frames."""
    numbers: list[int] = []
    counts: list[int] = []
    columns: list[list[Any]] = [[] for _ in keys]
    rows = 0
    for frame, detections in video_documents(video, field, keys):
        numbers.append(frame)
        counts.append(len(detections))
        rows += len(detections)
        for column, key in zip(columns, keys, strict=True):
            column += [detection.get(key) for detection in detections]
        if rows >= ROWS_PER_CHUNK:
            yield np.repeat(np.array(numbers, np.int64), counts), columns
            numbers, counts, columns, rows = [], [], [[] for _ in keys], 0
    if rows:
        yield np.repeat(np.array(numbers, np.int64), counts), columns


def video_documents(
    video: StoredVideo, field: str, keys: Sequence[str] | None = None
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """0-based frames of one video and the raw boxes in them, in order.

    Args:
        video: which one.
        field: the field's name, without ``frames.``; it may not exist.
        keys: attributes that are fetched; None for all.
    """
    if video.image_frame is None:
        for number, detections in frame_documents(video.dataset, video.key, field, keys):
            yield number - 1, detections
        return
    frames = dict(zip(video.sample_ids, video.image_frame.tolist(), strict=True))
    found = ((frames[key], boxes) for key, boxes in image_documents(video.dataset, video.sample_ids, field, keys))
    yield from sorted(found, key=lambda pair: pair[0])


def four_columns(boxes: list[Any]) -> NDArray[np.float64]:
    """(n, 4) of a list of boxes; NaN for what is not four numbers."""
    try:
        columns = np.array(boxes, np.float64)
    except (TypeError, ValueError):
        columns = np.zeros(0)
    if columns.shape == (len(boxes), 4):
        return columns
    nothing = [np.nan] * 4
    return np.array([box if _is_box(box) else nothing for box in boxes], np.float64).reshape(-1, 4)


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(number, (int, float)) for number in box)


def _same_width(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """One (N, D) array of parts that may differ in D; narrower ones hold no usable vector and become NaN."""
    width = max((part.shape[1] for part in parts), default=0)
    wide = [part if part.shape[1] == width else np.full((len(part), width), np.nan, np.float32) for part in parts]
    return np.concatenate(wide) if wide else np.zeros((0, width), np.float32)


def _unpacked(value: bytes) -> NDArray:
    """One vector of a compressed ``.npy``."""
    raw = zlib.decompress(value)
    size = 10 + int.from_bytes(raw[8:10], "little")  # of the header of version 1, which NumPy writes for plain arrays
    return np.frombuffer(raw, _dtype_of(raw[:size]), offset=size)


@lru_cache(maxsize=16)
def _dtype_of(header: bytes) -> np.dtype:
    """The type that a ``.npy`` header tells; parsing it takes longer than all the rest."""
    with BytesIO(header) as buffer:
        np.lib.format.read_magic(buffer)
        return np.lib.format.read_array_header_1_0(buffer)[2]


def _track_documents(
    tracks: Tracks,
    classes: Sequence[str | None],
    size: tuple[float, float],
    numbers: Sequence[int],
    instances: Sequence[ObjectId],
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """0-based frames and raw boxes, in order; made from the columns a chunk at a time."""
    starts = np.flatnonzero(np.diff(tracks.frame, prepend=-1))  # first row of every frame
    scale = np.array([*size, *size])
    step = np.searchsorted(starts, np.arange(0, len(tracks), ROWS_PER_CHUNK))
    bounds = [*starts[np.unique(step.clip(max=max(len(starts) - 1, 0)))].tolist(), len(tracks)] if len(tracks) else []
    for low, high in pairwise(bounds):
        rows = slice(low, high)
        box = tracks.xyxy[rows].astype(np.float64)
        box[:, 2:] -= box[:, :2]
        documents = [
            detection_dict(
                classes[class_index], xywh, numbers[track], instances[track], confidence=validity,
                uncertainty=uncertainty, link_uncertainty=link, source=SOURCE_NAMES[source], keyframe=keyframe,
                answered=True if source == Source.HUMAN else None,
            )
            for class_index, xywh, track, validity, uncertainty, link, source, keyframe in zip(
                tracks.class_index[rows].tolist(), (box / scale).tolist(), tracks.track_index[rows].tolist(),
                tracks.validity[rows].tolist(), tracks.uncertainty[rows].tolist(),
                tracks.link_uncertainty[rows].tolist(), tracks.source[rows].tolist(), tracks.keyframe[rows].tolist(),
                strict=True,
            )
        ]  # fmt: skip
        first = starts[(starts >= low) & (starts < high)]
        for start, stop in zip(first.tolist(), [*first[1:].tolist(), high], strict=True):
            yield int(tracks.frame[start]), documents[start - low : stop - low]


def _with_kept(
    per_frame: Iterator[tuple[int, list[dict[str, Any]]]], kept: Mapping[int, Sequence[dict[str, Any]]]
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    seen = set()
    for frame, found in per_frame:
        seen.add(frame)
        yield frame, [*kept.get(frame, ()), *found]
    for frame in sorted(set(kept) - seen):
        yield frame, list(kept[frame])
