"""Pictures of a video for those who can do without some: what cannot be decoded is left out, and nothing is raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ...models.columns import VideoInfo
from .videos import StoredVideo

Image = NDArray[np.uint8]


class VideoPictures:
    """The pictures of one video; see ``engine.filling.Frames``.

    Of a file, frames are decoded in order: asking for what lies ahead of the last picture goes on from there, asking
    for earlier ones begins anew. Behind a frame that cannot be decoded no other one is, as its number would be a guess.

    Args:
        video: which one.
        info: of it; pictures of another size are scaled to it.
    """

    def __init__(self, video: StoredVideo, info: VideoInfo) -> None:
        self._video, self._size = video, (round(info.width), round(info.height))
        ids = list(video.sample_ids)
        found = dict(zip(*video.dataset.select(ids).values(["id", "filepath"]), strict=True))
        self._paths = [found[key] for key in ids]
        self._capture: cv2.VideoCapture | None = None
        self._next = 0

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        """Frames, 0-based and ascending, each with its picture (H, W, 3) uint8 RGB; unreadable ones are left out."""
        yield from self._of_file(frames) if self._video.image_frame is None else self._of_sequence(frames)

    def close(self) -> None:
        """Lets the file go."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _of_sequence(self, frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        assert self._video.image_frame is not None
        paths = dict(zip(self._video.image_frame.tolist(), self._paths, strict=True))
        for frame in frames:
            image = cv2.imread(paths[frame]) if frame in paths else None
            if image is not None:
                yield frame, self._fitting(image)

    def _of_file(self, frames: Sequence[int]) -> Iterator[tuple[int, Image]]:
        for frame in frames:
            if self._capture is None or self._next > frame:
                self.close()
                self._capture, self._next = cv2.VideoCapture(self._paths[0]), 0
            while self._next < frame:
                if not self._capture.grab():
                    return
                self._next += 1
            readable, image = self._capture.read()
            if not readable or image is None:
                return
            self._next += 1
            yield frame, self._fitting(image)

    def _fitting(self, image: NDArray) -> Image:
        """RGB of the size that boxes are in pixels of."""
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8, copy=False)
