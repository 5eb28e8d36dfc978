"""Frames of a video held in memory, packed, so that any of them is at hand at any time while something learns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ..models.errors import InputError

_QUALITY = 95  # of JPEG; what is read is always what was packed, so a frame is the same whenever it is read


class Reel:
    """Some frames of one video.

    Args:
        name: of the video, for messages.
        pictures: frames in rising order with their pictures, (H, W, 3) uint8 RGB; those that are missing are left out.
        most: bytes that they may take.

    Attributes:
        frames: (F,) int64, those that are held.
        bytes: that they take.

    Raises:
        InputError: if they take more than they may.
    """

    def __init__(self, name: str, pictures: Iterable[tuple[int, NDArray[np.uint8]]], most: int) -> None:
        self._name = name
        self._packed: dict[int, NDArray[np.uint8]] = {}
        self.bytes = 0
        for frame, picture in pictures:
            packed = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
            self._packed[frame] = packed.astype(np.uint8, copy=False)
            self.bytes += len(packed)
            if self.bytes > most:
                raise InputError(
                    f"video {name!r}: {len(self._packed)} frames take more than {most >> 20} MB; learn from fewer "
                    "objects, videos or boxes (--k, --view)"
                )
        self.frames = np.array(list(self._packed), np.int64)

    def read(self, frame: int) -> NDArray[np.uint8]:
        """A frame that is held, (H, W, 3) uint8 RGB.

        Raises:
            InputError: for one that is not.
        """
        packed = self._packed.get(frame)
        picture = None if packed is None else cv2.imdecode(packed, cv2.IMREAD_COLOR)
        if picture is None:
            raise InputError(f"video {self._name!r}: frame {frame + 1} is not at hand; replace the file")
        return np.ascontiguousarray(picture[:, :, ::-1]).astype(np.uint8, copy=False)


def near(frames: NDArray[np.int64], num_frames: int, reach: int, most: int) -> NDArray[np.int64]:
    """Frames that are worth having: those near some frames, and all between two of these that are close to each other.

    Args:
        frames: 0-based.
        num_frames: of the video.
        reach: how far around them; less if that would be more frames than ``most``.
        most: frames; those given are always among them.

    Returns:
        (F,) int64, rising.
    """
    for width in _widths(reach):
        marks = np.zeros(num_frames + 1, np.int64)
        np.add.at(marks, np.clip(frames - width, 0, num_frames), 1)
        np.add.at(marks, np.clip(frames + width + 1, 0, num_frames), -1)
        found = np.flatnonzero(marks.cumsum()[:num_frames] > 0)
        if len(found) <= most:
            break
    return found


def _widths(reach: int) -> Iterator[int]:
    while reach > 0:
        yield reach
        reach //= 2
    yield 0
