"""Gives every frame of a dataset candidates; it is decoded once, for the detector and for whoever looks at the boxes.

Boxes are written a few dozen frames at a time, and how far a video has come is noted behind them. A run that was
interrupted goes on there; as a detector sees nothing but single images, the boxes are the same as without it, ids
included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol

import cv2
import numpy as np
from bson import ObjectId
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray

from ...engine.label import Step
from ...engine.ports import ObjectDetector
from ...models.detector.detector import Detections
from ...models.errors import InputError
from .combining import boxes_digest, combine, stored_boxes
from .detect_runs import DetectRuns, VideoNote
from .frames import Image, ahead, media_digest, sequence_frames, video_frames
from .fusing import Labels
from .raw import clear_labels, detection_dict, put_labels
from .videos import StoredVideo, box_field, open_videos

FRAMES_PER_WRITE = 64
DEFAULT_GROUP = 16  # frames that the detector is given at one time; as many more are decoded meanwhile

_MISSING_FRAMES = 0.01  # share of a file's frames that may be missing at its end: containers round


class Looks(Protocol):
    """Who sees boxes while their frame is in memory, to describe how they look."""

    def see(self, video: StoredVideo, frame: int, image: Image, xyxy: NDArray[np.float64]) -> None:
        """Boxes (N, 4) in pixels of one 0-based frame (H, W, 3) BGR."""

    def flush(self) -> None:
        """Keeps what was seen so far, before it is noted as done."""


@dataclass
class DetectReport:
    """What a run did.

    Attributes:
        candidates: field that the boxes are in.
        detector: version of the detector.
        videos: name -> frames that were looked at, boxes and seconds, of videos of this call.
        before: how many videos had been done before.
        skipped: name -> why, of videos that could not be decoded.
        short: name -> a sentence, of videos with fewer frames than their files say.
        run: key of the run that is registered with the dataset.
    """

    candidates: str
    detector: str
    videos: dict[str, dict[str, float]] = field(default_factory=dict)
    before: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    short: dict[str, str] = field(default_factory=dict)
    run: str = ""

    @property
    def boxes(self) -> int:
        """Of the videos of this call."""
        return int(sum(one["boxes"] for one in self.videos.values()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return dict(self.__dict__)


def detect(
    collection: SampleCollection,
    detector: ObjectDetector,
    candidates: str = "candidates",
    appearance: Looks | None = None,
    add_to: str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    group: int = DEFAULT_GROUP,
    again: bool = False,
    skip_bad: bool = False,
    tell: Callable[[Step], None] = lambda step: None,
    labels: Labels | None = None,
) -> DetectReport:
    """Write a detector's boxes into every frame; run again, it does what is not done yet.

    Args:
        collection: videos, or images that are the frames of sequences; all frames of each.
        detector: finds the boxes.
        candidates: ``Detections`` field that they go to; made if it does not exist, and refused if it is another's.
        appearance: sees the boxes of the frames that are decoded, while they are in memory.
        add_to: field of boxes that stay as they are, in ``candidates``, with the detector's beside them where they
            cover none; see ``combining``.
        settings: plain values that the boxes depend on besides the detector's version, as its least score.
        group: frames that the detector is given at one time.
        again: do anew what is done.
        skip_bad: leave out videos that cannot be decoded, and name them, instead of raising.
        tell: called after every group of frames.
        labels: with ``add_to``, what labels say of a video, so that boxes that both found become one; see ``fusing``.

    Raises:
        MissingError: for a field that is not there.
        InputError: for a field of somebody else's, or videos that cannot be decoded; names video and frame.
        DeskError: if another process detects into the same field.
    """
    videos = open_videos(collection)
    dataset, name = videos[0].dataset, candidates.removeprefix("frames.")
    other = box_field(videos, add_to) if add_to is not None else None
    if name == other:
        raise InputError(
            f"boxes cannot be added to {add_to!r} in place; name a new field (candidates=..., --candidates)"
        )
    runs = DetectRuns(dataset, videos[0].prefix, name)
    configuration = {"detector": detector.version, "settings": dict(settings or {}), "add_to": other}
    report = DetectReport(name, detector.version)
    with runs.hold():
        notes = runs.begin(configuration, {video.key for video in videos}, again)
        report.run = runs.run_key
        work = _Work(runs, detector, name, other, appearance, max(group, 1), tell, labels)
        for number, video in enumerate(videos):
            try:
                _do(work, video, notes.get(video.key), report, (number, len(videos)))
            except InputError as error:
                if not skip_bad:
                    raise
                report.skipped[video.name] = str(error)
        runs.finish()
    return report


@dataclass(frozen=True)
class _Work:
    """What stays the same from video to video."""

    runs: DetectRuns
    detector: ObjectDetector
    field: str
    other: str | None
    looks: Looks | None
    group: int
    tell: Callable[[Step], None]
    labels: Labels | None = None


def _do(
    work: _Work, video: StoredVideo, note: VideoNote | None, report: DetectReport, place: tuple[int, int]
) -> None:  # fmt: skip
    """Detects in one video, or in the rest of it, unless it is done."""
    source = media_digest(video)
    if work.other is not None:
        source += boxes_digest(video, work.other)
    if note is None or note.source != source or note.state == "mixing":
        note = VideoNote(video.name, source)
    if note.state == "done":
        report.before += 1
        work.tell(Step("detecting", place[0] + 1, place[1], video.name))
        return
    if not note.frames:
        clear_labels(video.dataset, work.field, video.sample_ids)
        work.runs.record(video.key, note)
    for so_far in _detected(work, video, note):
        note = so_far
        work.runs.record(video.key, note)
    if work.other is not None:
        begin = time.perf_counter()
        work.runs.record(video.key, replace(note, state="mixing"))
        boxes = combine(video, work.field, work.other, work.detector.version, work.labels)
        note = replace(note, boxes=boxes, seconds=note.seconds + time.perf_counter() - begin)
    work.runs.record(video.key, replace(note, state="done"))
    report.videos[video.name] = {"frames": note.frames, "boxes": note.boxes, "seconds": round(note.seconds, 3)}
    if note.short:
        report.short[video.name] = note.short
    work.tell(Step("detecting", place[0] + 1, place[1], video.name))


def _detected(work: _Work, video: StoredVideo, note: VideoNote) -> Iterator[VideoNote]:
    """Writes boxes of the frames from ``note.next`` on; how far the video has come, after every write."""
    info = video.info()
    theirs = stored_boxes(video, work.other) if work.other is not None and work.looks is not None else {}
    begin = time.perf_counter()
    waiting: list[tuple[int, list[dict[str, Any]]]] = []
    stream = ahead(partial(_frames, video, info.num_frames, note.next), work.group)
    for group in _groups(stream, work.group):
        waiting += _boxes(work, video, group, theirs)
        note = replace(note, frames=note.frames + len(group), next=group[-1][0] + 1)
        if len(waiting) >= FRAMES_PER_WRITE:
            note, begin, waiting = _written(work, video, note, waiting, begin)
            yield note
        work.tell(Step("frames", note.next, info.num_frames, video.name))
    note, begin, waiting = _written(work, video, note, waiting, begin)
    if video.image_frame is None and note.next < info.num_frames:
        note = replace(note, short=f"{note.next} of the {info.num_frames} frames that the file promises can be decoded")
    yield note


def _written(
    work: _Work, video: StoredVideo, note: VideoNote, waiting: list[tuple[int, list[dict[str, Any]]]], begin: float
) -> tuple[VideoNote, float, list[tuple[int, list[dict[str, Any]]]]]:
    if work.looks is not None:
        work.looks.flush()
    samples = _samples(video)
    put_labels(video.dataset, work.field, [(*samples(frame), found) for frame, found in waiting])
    now, boxes = time.perf_counter(), sum(len(found) for _, found in waiting)
    return replace(note, boxes=note.boxes + boxes, seconds=note.seconds + now - begin), now, []


def _boxes(
    work: _Work, video: StoredVideo, group: Sequence[tuple[int, Image]], theirs: Mapping[int, NDArray[np.float64]]
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """0-based frames of a group, and the raw boxes that are to be written there."""
    found = work.detector.detect([cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8) for _, image in group])
    classes = work.detector.classes
    origin = work.detector.version if work.other is not None else None
    for at, (frame, image) in enumerate(group):
        rows, xywh = _usable(found, at, image.shape)
        if work.looks is not None:
            seen = xywh if frame not in theirs else np.concatenate([xywh, theirs[frame]])
            size = np.array([image.shape[1], image.shape[0]] * 2)
            work.looks.see(video, frame, image, np.concatenate([seen[:, :2], seen[:, :2] + seen[:, 2:]], 1) * size)
        documents = [
            detection_dict(classes[class_index], box, confidence=score, detector=origin)
            for class_index, box, score in zip(
                found.class_index[rows].tolist(), xywh.tolist(), found.score[rows].astype(np.float64).tolist(),
                strict=True,
            )
        ]  # fmt: skip
        for number, document in enumerate(documents):
            document["_id"] = _box_id(work.runs.run_key, video.key, work.field, frame, number)
        yield frame, documents


def _usable(found: Detections, image: int, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n,) rows of an image's boxes that have area and show in it, and (n, 4) relative ``[x, y, w, h]``."""
    height, width = shape[:2]
    low, high = np.searchsorted(found.frame, [image, image + 1])
    box = found.xyxy[low:high].astype(np.float64)
    box = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], 1) / [width, height, width, height]
    with np.errstate(invalid="ignore"):
        good = np.isfinite(box).all(1) & (box[:, 2:] * [width, height] > 0.01).all(1)
        good &= (box[:, :2] < 1).all(1) & (box[:, :2] + box[:, 2:] > 0).all(1)
        good &= np.isfinite(found.score[low:high])
    return np.flatnonzero(good) + low, box[good]


def _frames(video: StoredVideo, length: int, first: int) -> Iterator[tuple[int, Image]]:
    if video.image_frame is not None:
        return sequence_frames(video, first=first)
    return video_frames(video, length, first, least=length - max(2, int(length * _MISSING_FRAMES)))


def _groups(stream: Iterator[tuple[int, Image]], size: int) -> Iterator[list[tuple[int, Image]]]:
    group: list[tuple[int, Image]] = []
    for one in stream:
        group.append(one)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _samples(video: StoredVideo) -> Callable[[int], tuple[str, int | None]]:
    """Where a 0-based frame lies in the database."""
    if video.image_frame is None:
        return lambda frame: (video.key, frame + 1)
    keys = dict(zip(video.image_frame.tolist(), video.sample_ids, strict=True))
    return lambda frame: (keys[frame], None)


def _box_id(run: str, video: str, name: str, frame: int, number: int) -> ObjectId:
    """The same for the same box of the same run, whether or not it was interrupted."""
    return ObjectId(blake2b(f"{run}/{video}/{name}/{frame}/{number}".encode(), digest_size=12).digest())
