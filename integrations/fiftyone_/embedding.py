"""Gives every candidate a vector that says how it looks: videos are decoded once, boxes described as they pass.

Vectors go beside the database (``Describer``, ``describe_videos``), where what has not changed is found again, or into
an attribute of the boxes (``embed_videos``), where everybody sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from bson import ObjectId
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray
from pymongo import UpdateOne

from ...engine.label import Step
from ...models.errors import InputError
from ..appearances import AppearanceDescriber, appearance_version, open_appearance
from .candidates import NOT_FINITE
from .columns import four_columns, pack_vectors, read_boxes
from .frames import ahead, sequence_frames, video_frames
from .raw import declare_detections, frame_documents, image_documents
from .vectors import VectorShelf
from .videos import StoredVideo, box_field, open_videos

Describe = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating]]

_OWN_ATTRIBUTES = {"id", "label", "bounding_box", "confidence", "index", "mask", "tags", "attributes", "instance"}
_FRAMES_PER_WRITE = 500
_BOXES_PER_WRITE = 20_000
_HELD = 8  # frames that are decoded ahead


@dataclass
class EmbedReport:
    """What was described.

    Attributes:
        boxes: video's name -> how many of its boxes were.
        left_out: reason -> number of boxes that were not.
        skipped: video's name -> why, of those that could not be decoded.
        new: video's name -> how many of its boxes had no vector before, where vectors lie beside the database.
    """

    boxes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {"videos": self.boxes, "left_out": self.left_out, "skipped": self.skipped, "new": self.new}


class Describer:
    """Sees boxes and keeps their vectors beside the database; whatever has one already is not described again.

    Args:
        dataset: that the videos are of.
        appearance: name of an appearance (see ``appearances.open_appearance``), or one that is loaded.
        device: where it runs, as torch names it.

    Attributes:
        version: of the appearance.

    Raises:
        MissingError: for an appearance that is not there.
        InputError: for one that cannot be used.
    """

    def __init__(
        self, dataset: fo.Dataset, appearance: str | Path | AppearanceDescriber | None = None, device: str = "cpu"
    ) -> None:
        loaded = appearance is not None and not isinstance(appearance, (str, Path))
        self._name, self._device = appearance, device
        self._appearance: AppearanceDescriber | None = open_appearance(appearance) if loaded else None
        self.version = (
            self._appearance.version if self._appearance is not None else appearance_version(appearance)  # type: ignore[arg-type]
        )
        self._shelf = VectorShelf.open(dataset, self.version)

    def see(self, video: StoredVideo, frame: int, image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> None:
        """Describe the boxes (N, 4), in pixels, of one 0-based frame (H, W, 3) BGR that have no vector yet."""
        self._add(video, frame, image, xyxy, (image.shape[1], image.shape[0]))

    def flush(self) -> None:
        """Write what was seen; see ``VectorShelf.flush``."""
        self._shelf.flush()

    def complete(
        self, video: StoredVideo, frame: NDArray[np.int64], xyxy: NDArray[np.floating], size: tuple[float, float]
    ) -> int:
        """Describe what has no vector yet of a video's boxes; if nothing lacks one, nothing is decoded.

        Interrupted, it goes on where it was.

        Args:
            video: whose boxes they are.
            frame: (N,) int64, 0-based.
            xyxy: (N, 4) floating, pixels; those that are no boxes are passed over.
            size: width and height that the pixels are of.

        Returns:
            how many were described.

        Raises:
            InputError: where the video cannot be decoded as far as its boxes go.
        """
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(xyxy).all(1) & (xyxy[:, 2:] > xyxy[:, :2]).all(1)
        rows = np.flatnonzero(usable)
        rows = rows[self._shelf.missing(video, frame[rows], xyxy[rows])]
        if not len(rows):
            return 0
        rows = rows[np.argsort(frame[rows], kind="stable")]
        wanted, starts = np.unique(frame[rows], return_index=True)
        boxes = dict(zip(wanted.tolist(), np.split(xyxy[rows], starts[1:]), strict=True))
        done = waiting = 0
        for number, image in ahead(lambda: _pictures(video, wanted), _HELD):
            if number in boxes:
                found = self._add(video, number, image, boxes[number], size)
                done, waiting = done + found, waiting + found
                if waiting >= _BOXES_PER_WRITE:
                    self.flush()
                    waiting = 0
        self.flush()
        return done

    def lookup(self, video: StoredVideo, frame: NDArray[np.int64], xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, D) float32 vectors of boxes in pixels; NaN for those that have none."""
        return self._shelf.lookup(video, frame, xyxy).astype(np.float32)

    def _add(
        self, video: StoredVideo, frame: int, image: NDArray[np.uint8], xyxy: NDArray[np.floating],
        size: tuple[float, float],
    ) -> int:  # fmt: skip
        missing = self._shelf.missing(video, frame, xyxy)
        if not missing.any():
            return 0
        if self._appearance is None:
            self._appearance = open_appearance(self._name, self._device)
        box = np.asarray(xyxy, np.float64)[missing]
        scale = np.array([image.shape[1] / size[0], image.shape[0] / size[1]] * 2)
        vectors = self._appearance.describe(image, box * scale)
        self._shelf.add(video, frame, box, vectors)
        return int(missing.sum())


def describe_videos(
    collection: SampleCollection,
    candidates: str,
    describer: Describer,
    *,
    skip_bad: bool = False,
    tell: Callable[[Step], None] = lambda step: None,
) -> EmbedReport:
    """See that every box of a field has a vector beside the database; run again, it does what has changed.

    Args:
        collection: videos, or images that are the frames of sequences.
        candidates: ``Detections`` field of the boxes.
        describer: keeps the vectors.
        skip_bad: leave out and count boxes without a place and videos that cannot be decoded, instead of raising.
        tell: called after every video.

    Raises:
        MissingError: for a field that is not there.
        InputError: for what cannot be used; names video and frame.
    """
    videos = open_videos(collection)
    name = box_field(videos, candidates)
    report = EmbedReport()
    for number, video in enumerate(videos, 1):
        try:
            info = video.info()
            boxes = read_boxes(video, name, info.width, info.height)
            good = np.isfinite(boxes.xyxy).all(1) & (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all(1)
            if not good.all() and not skip_bad:
                raise _no_place(video, int(boxes.frame[int((~good).argmax())]), name)
            size = (info.width, info.height)
            report.new[video.name] = describer.complete(video, boxes.frame[good], boxes.xyxy[good], size)
            report.boxes[video.name] = int(good.sum())
            if not good.all():
                report.left_out[NOT_FINITE] = report.left_out.get(NOT_FINITE, 0) + int((~good).sum())
        except InputError as error:
            if not skip_bad:
                raise
            report.skipped[video.name] = str(error)
        tell(Step("embedding", number, len(videos), video.name))
    return report


def cut_crops(
    video: StoredVideo, frame: NDArray[np.int64], xyxy: NDArray[np.floating], size: tuple[float, float]
) -> NDArray[np.uint8]:
    """Crops (N, 96, 48, 3) uint8 RGB of boxes of a video, which is decoded once: what the appearance learns from.

    Args:
        video: whose boxes they are.
        frame: (N,) int64, 0-based, in any order.
        xyxy: (N, 4) floating, pixels, of some area.
        size: width and height that the pixels are of.

    Raises:
        InputError: where the video cannot be decoded as far as its boxes go.
    """
    from ...models.appearance.crops import CROP_SIZE, cut

    out = np.zeros((len(frame), *CROP_SIZE, 3), np.uint8)
    order = np.argsort(frame, kind="stable")
    wanted, starts = np.unique(frame[order], return_index=True)
    rows = dict(zip(wanted.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}
    for number, image in ahead(lambda: _pictures(video, wanted), _HELD):
        if number in rows:
            scale = np.array([image.shape[1] / size[0], image.shape[0] / size[1]] * 2)
            out[rows[number]] = cut(image, xyxy[rows[number]] * scale)[..., ::-1]
    return out


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
            raise _no_place(video, frame, name)
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
        images = video_frames(video, max(found, default=-1) + 1)
    else:
        frames = dict(zip(video.sample_ids, video.image_frame.tolist(), strict=True))
        documents = image_documents(video.dataset, video.sample_ids, name, ["bounding_box"])
        found = {frames[key]: ({"_id": ObjectId(key)}, boxes) for key, boxes in documents}
        images = sequence_frames(video, set(found))
    for frame, image in images:
        if frame in found:
            key, boxes = found[frame]
            xywh = four_columns([box.get("bounding_box") for box in boxes])
            good = np.asarray(np.isfinite(xywh).all(1) & (xywh[:, 2:] > 0).all(1))
            yield key, frame, image, xywh, good


def _pictures(video: StoredVideo, wanted: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The frames from the first to the last that are wanted, of a sequence only those; ``wanted`` is sorted."""
    if not len(wanted):
        return iter(())
    if video.image_frame is not None:
        return sequence_frames(video, set(wanted.tolist()))
    return video_frames(video, int(wanted[-1]) + 1, int(wanted[0]))


def _no_place(video: StoredVideo, frame: int, name: str) -> InputError:
    return InputError(
        f"{video.title(frame)}, field {name!r}: {NOT_FINITE}, or it has no area; mend or delete it, or leave such "
        f"boxes out with --skip-bad"
    )
