"""Walk through all gaps of a video while every picture is decoded once.

Walks go forward and backward, but pictures come forward only. So the gaps are taken in waves: those that fit into a
stretch of frames whose pictures the memory holds. The pictures of a stretch are read, what human boxes show is
remembered, and then all walks of the wave go through them, once forward and once backward, each picture serving all
walks that come by. What the next wave needs of them, too, is kept. Pictures are kept as they are where the memory
allows, else as JPEG of quality 95.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ..models.spot.following import Trail, Walks, plan_walks, walk_on
from ..models.spot.gaps import Gaps
from ..models.spot.model import Tracker
from ..models.spot.templates import Templates

if TYPE_CHECKING:
    from .fills import FillSettings, Frames

_JPEG = 95
_SQUEEZED = 1 / 4  # of its bytes, what a picture of that quality takes at most
_CUT = 0.5  # share of the pixels whose colour must go, in a cut
_CUT_TIMES = 4.0  # times as much as usual that must go

Ints = NDArray[np.int64]


@dataclass
class Reel:
    """Pictures of a stretch of frames.

    Attributes:
        squeeze: keep them as JPEG.
        kept: pictures by frame; None for those that cannot be read.
    """

    squeeze: bool
    kept: dict[int, NDArray[np.uint8] | None] = field(default_factory=dict)

    def keep(self, frame: int, image: NDArray[np.uint8] | None) -> None:
        """Keep a picture."""
        if image is not None and self.squeeze:
            done, image = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
            assert done
        self.kept[frame] = image

    def show(self, frame: int) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB, or None if the frame cannot be read."""
        image = self.kept[frame]
        if image is None or not self.squeeze:
            return image
        colour = cv2.imdecode(image, cv2.IMREAD_COLOR)
        assert colour is not None
        return np.ascontiguousarray(colour[..., ::-1]).astype(np.uint8, copy=False)

    def drop_before(self, frame: int) -> None:
        """Forget the pictures before a frame."""
        for old in [each for each in self.kept if each < frame]:
            del self.kept[old]


@dataclass
class Cuts:
    """Where scenes begin, found while pictures come by: suddenly most colours are others, as they hardly ever were.

    Attributes:
        found: frames, ascending.
    """

    found: list[int] = field(default_factory=list)
    _last: tuple[int, NDArray[np.float64]] | None = None
    _usual: list[float] = field(default_factory=list)

    def see(self, frame: int, image: NDArray[np.uint8]) -> None:
        """Look at the next picture."""
        small = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
        colour = ((small.astype(np.int64) >> 5) << (6, 3, 0)).sum(2)
        cube = np.bincount(colour.ravel(), minlength=512).reshape(8, 8, 8) / colour.size
        # Neighbouring colours are nearly the same colour: brightness wanders over the borders of the bins.
        shares = gaussian_filter(cube, 0.7, mode="nearest").ravel()
        if self._last is not None and self._last[0] == frame - 1:
            gone = float(np.abs(shares - self._last[1]).sum() / 2)
            usual = float(np.median(self._usual[-25:])) if self._usual else 0.0
            if gone > max(_CUT, _CUT_TIMES * usual):
                self.found.append(frame)
            else:
                self._usual.append(gone)
        self._last = (frame, shares)


@dataclass
class Journey:
    """What following cost and met with.

    Attributes:
        looks: how often the tracker looked.
        reads: pictures decoded.
        unreadable: frames that cannot be read, ascending.
        cuts: frames in which a scene begins, ascending.
    """

    looks: int = 0
    reads: int = 0
    unreadable: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)


def follow(
    tracker: Tracker, frames: Frames, gaps: Gaps, key_frame: Ints, key_xyxy: NDArray[np.floating],
    size: tuple[float, float], settings: FillSettings, progress: Callable[[int, int], None] | None = None,
) -> tuple[Trail, Journey]:  # fmt: skip
    """Walk through gaps.

    Args:
        tracker: that looks.
        frames: the pictures.
        gaps: in any order.
        key_frame: (K,) of the human boxes.
        key_xyxy: (K, 4) of the same.
        size: of the pictures, width and height.
        settings: how.
        progress: called with frames done and frames in all.

    Returns:
        What was seen, in the order of the gaps; after a cut nobody walks on. And what it cost.
    """
    walks, trail = plan_walks(gaps, key_frame, settings.bidirectional)
    journey, watch, boxes = Journey(), Cuts(), np.asarray(key_xyxy, np.float64)
    if not len(walks.gap):
        return trail, journey
    low = np.minimum(walks.start, walks.stop)
    high = np.maximum(walks.start, walks.stop)
    waves, squeeze = _waves(low, high, size, settings.memory)
    reel, templates = Reel(squeeze), _no_templates(tracker, len(key_frame))
    known = np.zeros(len(key_frame), bool)
    total = int(np.unique(np.concatenate([np.arange(a, b + 1) for a, b in zip(low, high, strict=True)])).size)
    for wave in waves:
        reel.drop_before(int(low[wave].min()))
        wanted = np.unique(np.concatenate([np.arange(low[w], high[w] + 1) for w in wave]))
        _read(frames, [int(f) for f in wanted if int(f) not in reel.kept], reel, journey, watch)
        used = np.unique(np.concatenate([walks.own[wave], walks.other[wave]]))
        _remember(tracker, reel, key_frame, boxes, used[used >= 0], templates, known, settings.batch)
        stop = _until_cut(walks, np.array(watch.found, np.int64))
        for step in (1, -1):
            going = wave[walks.step[wave] == step]
            for frame in [int(f) for f in wanted[::step]]:
                here = going[((frame - walks.start[going]) * step >= 0) & ((stop[going] - frame) * step >= 0)]
                if len(here):
                    journey.looks += walk_on(
                        tracker, reel.show(frame), frame, walks, here, trail, templates, known, boxes, size,
                        settings.hann, settings.low, settings.batch,
                    )  # fmt: skip
            if progress is not None:
                progress(journey.reads + len(journey.unreadable) if step < 0 else journey.reads, total)
    journey.cuts = watch.found
    return trail, journey


def _waves(low: Ints, high: Ints, size: tuple[float, float], memory: int) -> tuple[list[Ints], bool]:
    """Walks that are made together, and whether their pictures must be squeezed.

    The stretch of a wave has as many frames as the memory holds, and never fewer than the longest walk: less would mean
    decoding pictures twice.
    """
    each = size[0] * size[1] * 3
    whole = int(high.max() - low.min()) + 1
    squeeze = whole * each > memory
    room = max(int(memory / (each * _SQUEEZED)), int((high - low).max()) + 1) if squeeze else whole
    order = np.lexsort((high, low))
    waves = []
    while len(order):
        taken = high[order] < low[order[0]] + room
        waves.append(np.sort(order[taken]))
        order = order[~taken]
    return waves, squeeze


def _read(frames: Frames, wanted: list[int], reel: Reel, journey: Journey, watch: Cuts) -> None:
    """Decode frames into the reel."""
    if not wanted:
        return
    for frame, image in frames.read(wanted):
        reel.keep(int(frame), image)
        watch.see(int(frame), image)
        journey.reads += 1
    for frame in wanted:
        if frame not in reel.kept:
            reel.keep(frame, None)
            journey.unreadable.append(frame)


def _no_templates(tracker: Tracker, count: int) -> Templates:
    blank = torch.zeros(8, 8, 3, dtype=torch.uint8)
    return tracker.remember(blank, torch.tensor([[1.0, 1.0, 7.0, 7.0]])).blank(count)


def _remember(
    tracker: Tracker, reel: Reel, key_frame: Ints, boxes: NDArray[np.float64], used: Ints, templates: Templates,
    known: NDArray[np.bool_], batch: int,
) -> None:  # fmt: skip
    """Fill in what human boxes show; of those in frames that cannot be read nothing is known."""
    for frame in np.unique(key_frame[used]):
        image = reel.show(int(frame))
        if image is None:
            continue
        rows = used[key_frame[used] == frame]
        picture = torch.from_numpy(np.ascontiguousarray(image))
        shown = tracker.remember(picture, torch.from_numpy(boxes[rows]).float(), batch)
        templates.put(torch.from_numpy(rows).to(templates.tokens.device), shown)
        known[rows] = True


def _until_cut(walks: Walks, cuts: Ints) -> Ints:
    """(W,) last frame of each walk: before the next cut on its way."""
    if not len(cuts):
        return walks.stop
    ahead = np.searchsorted(cuts, walks.start, "right")  # first cut behind the start
    limit = np.append(cuts, np.iinfo(np.int64).max)[ahead] - 1
    behind = np.insert(cuts, 0, np.iinfo(np.int64).min)[ahead]  # last cut at or before the start
    return np.where(walks.step > 0, np.minimum(walks.stop, limit), np.maximum(walks.stop, behind))
