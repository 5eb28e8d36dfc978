"""Gives every candidate a vector that says how it looks: videos are decoded once, boxes described as they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import cv2
import fiftyone as fo
import numpy as np
from bson import ObjectId
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray
from pymongo import UpdateOne

from ...engine.label import Step
from ...models.errors import InputError
from .candidates import NOT_FINITE
from .columns import four_columns, pack_vectors
from .raw import declare_detections, frame_documents, image_documents
from .videos import StoredVideo, box_field, open_videos

Describe = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating]]

_OWN_ATTRIBUTES = {"id", "label", "bounding_box", "confidence", "index", "mask", "tags", "attributes", "instance"}
_FRAMES_PER_WRITE = 500


@dataclass
class EmbedReport:
    """What was described.

    Attributes:
        boxes: video's name -> how many of its boxes were.
        left_out: reason -> number of boxes that were not.
        skipped: video's name -> why, of those that could not be decoded.
    """

    boxes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {"videos": self.boxes, "left_out": self.left_out, "skipped": self.skipped}


def embed_videos(
    collection: SampleCollection,
    candidates: str,
    attribute: str,
    describe: Describe,
    *,
    skip_bad: bool = False,
    tell: Callable[[Step], None] = lambda step: None,
) -> EmbedReport:
    """Write an appearance vector into every box of a field; run again, it replaces its own.

    Args:
        collection: videos, or images that are the frames of sequences.
        candidates: ``Detections`` field of the boxes.
        attribute: of the boxes, that the vectors go to.
        describe: (H, W, 3) uint8 BGR and (N, 4) ``xyxy`` pixels to (N, D).
        skip_bad: leave out and count boxes without a place and videos that cannot be decoded, instead of raising.
        tell: called after every video.

    Raises:
        MissingError: for a field that is not there.
        InputError: for what cannot be used; names video and frame.
    """
    videos = open_videos(collection)
    name = box_field(videos, candidates)
    path = videos[0].prefix + name
    found = videos[0].dataset.get_field(f"{path}.detections.{attribute}")
    if (
        not attribute.isidentifier()
        or attribute in _OWN_ATTRIBUTES
        or not isinstance(found, (type(None), fo.VectorField))
    ):
        raise InputError(f"{attribute!r} cannot hold the vectors of boxes in {candidates!r}; choose another name")
    declare_detections(videos[0].dataset, path, {attribute: (fo.VectorField, "how the box looks")})
    report = EmbedReport()
    for number, video in enumerate(videos, 1):
        try:
            report.boxes[video.name], without = _embed(video, name, attribute, describe, skip_bad)
            if without:
                report.left_out[NOT_FINITE] = report.left_out.get(NOT_FINITE, 0) + without
        except InputError as error:
            if not skip_bad:
                raise
            report.skipped[video.name] = str(error)
        tell(Step("embedding", number, len(videos), video.name))
    return report


def _embed(video: StoredVideo, name: str, attribute: str, describe: Describe, skip_bad: bool) -> tuple[int, int]:
    """Describes the boxes of one video; (how many were, how many could not be)."""
    boxes, without, updates = 0, 0, []
    for key, frame, image, xywh, good in _frames(video, name):
        if not good.all() and not skip_bad:
            raise InputError(
                f"{video.title(frame)}, field {name!r}: {NOT_FINITE}, or it has no area; mend or delete it, or leave "
                f"such boxes out with --skip-bad"
            )
        height, width = image.shape[:2]
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1) * ([width, height] * 2)
        vectors = iter(pack_vectors(describe(image, xyxy[good])))
        values: dict[str, Any] = {
            f"{name}.detections.{row}.{attribute}": next(vectors) if usable else None
            for row, usable in enumerate(good.tolist())
        }
        values["last_modified_at"] = datetime.now(timezone.utc)
        updates.append(UpdateOne(key, {"$set": values}))
        boxes, without = boxes + int(good.sum()), without + int((~good).sum())
        if len(updates) >= _FRAMES_PER_WRITE:
            video.dataset._bulk_write(updates, frames=video.image_frame is None)
            updates = []
    if updates:
        video.dataset._bulk_write(updates, frames=video.image_frame is None)
    return boxes, without


def _frames(
    video: StoredVideo, name: str
) -> Iterator[tuple[dict[str, Any], int, NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]]:
    """Query, 0-based frame, image, relative boxes (n, 4), and (n,) whether they can be used, of frames with boxes."""
    sample = ObjectId(video.key)
    if video.image_frame is None:
        found = {
            number - 1: ({"_sample_id": sample, "frame_number": number}, boxes)
            for number, boxes in frame_documents(video.dataset, video.key, name, ["bounding_box"])
        }
        images = _decoded(video, max(found, default=-1) + 1)
    else:
        frames = dict(zip(video.sample_ids, video.image_frame.tolist(), strict=True))
        documents = image_documents(video.dataset, video.sample_ids, name, ["bounding_box"])
        found = {frames[key]: ({"_id": ObjectId(key)}, boxes) for key, boxes in documents}
        images = _image_files(video, set(found))
    for frame, image in images:
        if frame in found:
            key, boxes = found[frame]
            xywh = four_columns([box.get("bounding_box") for box in boxes])
            good = np.asarray(np.isfinite(xywh).all(1) & (xywh[:, 2:] > 0).all(1))
            yield key, frame, image, xywh, good


def _decoded(video: StoredVideo, length: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The first ``length`` frames of a video file."""
    path = video.dataset[video.key].filepath
    capture = cv2.VideoCapture(path)
    try:
        for frame in range(length):
            readable, image = capture.read()
            if not readable:
                raise InputError(
                    f"{video.title(frame)}: {path} cannot be decoded that far; replace the file or remove the sample"
                )
            yield frame, image.astype(np.uint8, copy=False)
    finally:
        capture.release()


def _image_files(video: StoredVideo, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The images of a sequence that are wanted."""
    assert video.image_frame is not None
    ids = list(video.sample_ids)
    paths = dict(zip(*video.dataset.select(ids).values(["id", "filepath"]), strict=True))
    for key, frame in zip(ids, video.image_frame.tolist(), strict=True):
        if frame in wanted:
            image = cv2.imread(paths[key])
            if image is None:
                raise InputError(
                    f"{video.title(frame)}: {paths[key]} cannot be read; replace the file or remove the sample"
                )
            yield frame, image.astype(np.uint8, copy=False)
