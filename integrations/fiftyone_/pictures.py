"""Pictures of a video for those who can do without some: what cannot be decoded is left out, and nothing is raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.columns import VideoInfo
from .videos import StoredVideo

Image = NDArray[np.uint8]


class VideoFile:
    """The pictures of a video file; see ``engine.filling.Frames``.

    Frames are decoded in order: asking for what lies ahead of the last picture goes on from there, asking for earlier
    ones begins anew. Behind a frame that cannot be decoded no other one is, as its number would be a guess.

    Args:
        path: of the file.
        info: of the video; pictures of another size are scaled to it.
    """

    def __init__(self, path: str, info: VideoInfo) -> None:
        self._path, self._info = path, info
        self._capture: cv2.VideoCapture | None = None
        self._next = 0

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        """Frames, 0-based and ascending, each with its picture (H, W, 3) uint8 RGB; unreadable ones are left out."""
        for frame in frames:
            if self._capture is None or self._next > frame:
                self.close()
                self._capture, self._next = cv2.VideoCapture(self._path), 0
            while self._next < frame:
                if not self._capture.grab():
                    return
                self._next += 1
            readable, image = self._capture.read()
            if not readable or image is None:
                return
            self._next += 1
            yield frame, fitting(image, self._info)

    def close(self) -> None:
        """Lets the file go."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class ImageFiles:
    """The pictures of a sequence of images; see ``engine.filling.Frames``.

    Args:
        paths: 0-based frame -> file.
        info: of the video; pictures of another size are scaled to it.
    """

    def __init__(self, paths: dict[int, str], info: VideoInfo) -> None:
        self._paths, self._info = paths, info

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        """Frames, 0-based and ascending, each with its picture (H, W, 3) uint8 RGB; unreadable ones are left out."""
        for frame in frames:
            image = cv2.imread(self._paths[frame]) if frame in self._paths else None
            if image is not None:
                yield frame, fitting(image, self._info)

    def close(self) -> None:
        """There is nothing to let go."""


def pictures_of(video: StoredVideo, info: VideoInfo) -> VideoFile | ImageFiles:
    """The pictures of a video of a dataset."""
    ids = list(video.sample_ids)
    found = dict(zip(*video.dataset.select(ids).values(["id", "filepath"]), strict=True))
    if video.image_frame is None:
        return VideoFile(found[video.key], info)
    return ImageFiles({frame: found[key] for key, frame in zip(ids, video.image_frame.tolist(), strict=True)}, info)


def fitting(image: NDArray, info: VideoInfo) -> Image:
    """RGB of a picture that OpenCV has read, in the size that boxes are in pixels of."""
    size = (round(info.width), round(info.height))
    if (image.shape[1], image.shape[0]) != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8, copy=False)
