"""Decodes videos of a dataset frame by frame, however FiftyOne holds them, each frame once and ahead of its use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Iterator
from hashlib import blake2b
from queue import Full, Queue
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.errors import InputError
from .videos import StoredVideo

#: (H, W, 3) uint8, BGR as OpenCV reads it.
Image = NDArray[np.uint8]

_T = TypeVar("_T")


def video_frames(
    video: StoredVideo, stop: int, first: int = 0, least: int | None = None
) -> Iterator[tuple[int, Image]]:
    """Frames of a video file, in order; those before ``first`` are passed over without being converted.

    Args:
        video: a video sample.
        stop: 0-based frame behind the last one that is wanted.
        first: 0-based frame to begin with.
        least: frames that the file must have; ``stop`` if it is None. Fewer than ``stop`` end the stream silently.

    Raises:
        InputError: where the file cannot be decoded as far as it must.
    """
    path = video.dataset[video.key].filepath
    capture = cv2.VideoCapture(path)
    try:
        for frame in range(stop):
            readable, image = capture.read() if frame >= first else (capture.grab(), None)
            if not readable:
                if frame < (stop if least is None else least):
                    raise InputError(
                        f"{video.title(frame)}: {path} cannot be decoded that far; replace the file or remove the "
                        f"sample"
                    )
                return
            if image is not None:
                yield frame, image.astype(np.uint8, copy=False)
    finally:
        capture.release()


def sequence_frames(video: StoredVideo, wanted: Container[int] | None = None, first: int = 0) -> Iterator[
    tuple[int, Image]
]:  # fmt: skip
    """Images of a sequence, in the order of the frames.

    Args:
        video: a sequence of images.
        wanted: 0-based frames; None for all that there are.
        first: 0-based frame to begin with.

    Raises:
        InputError: for an image that cannot be read.
    """
    assert video.image_frame is not None
    paths = _paths(video)
    for path, frame in zip(paths, video.image_frame.tolist(), strict=True):
        if frame >= first and (wanted is None or frame in wanted):
            image = cv2.imread(path)
            if image is None:
                raise InputError(f"{video.title(frame)}: {path} cannot be read; replace the file or remove the sample")
            yield frame, image.astype(np.uint8, copy=False)


def media_digest(video: StoredVideo) -> str:
    """A digest of names, sizes and times of the files; it changes when a file is replaced, and reads none of them.

    Raises:
        InputError: for a file that is not there.
    """
    digest = blake2b(digest_size=16)
    for path in _paths(video):
        try:
            about = os.stat(path)
        except OSError as error:
            raise InputError(
                f"{video.title()} cannot be read: {path}: no such file; replace the file or remove the sample"
            ) from error
        digest.update(repr((path, about.st_size, about.st_mtime_ns)).encode())
    return digest.hexdigest()


def ahead(source: Callable[[], Iterator[_T]], held: int) -> Iterator[_T]:
    """What an iterator gives, made by a thread of its own while the caller works with what came before.

    Args:
        source: makes the iterator, in the thread.
        held: how many things may wait; frames are large.

    Raises:
        BaseException: whatever the iterator raises, at its place in the order.
    """
    waiting: Queue[tuple[bool, object]] = Queue(maxsize=held)
    over = threading.Event()

    def give(done: bool, thing: object) -> bool:
        while not over.is_set():
            try:
                waiting.put((done, thing), timeout=0.1)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        items = source()
        try:
            for item in items:
                if not give(False, item):
                    return
        except BaseException as error:  # it is the caller's
            give(True, error)
        else:
            give(True, None)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="decoding", daemon=True)
    thread.start()
    try:
        while True:
            done, thing = waiting.get()
            if done:
                if isinstance(thing, BaseException):
                    raise thing
                return
            yield thing  # type: ignore[misc]
    finally:
        over.set()
        thread.join()


def _paths(video: StoredVideo) -> list[str]:
    """Files of the video, in the order of the frames."""
    ids = list(video.sample_ids)
    found = dict(zip(*video.dataset.select(ids).values(["id", "filepath"]), strict=True))
    return [found[key] for key in ids]
