"""What the tracker learns from in a user's videos: a few boxes of some objects, and the frames around them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .crops import cut

_HELD = 256 << 20  # bytes of decoded pictures that are kept for the next time they are wanted


@dataclass(frozen=True)
class AdaptClip:
    """One video, with the boxes to begin with.

    Attributes:
        read: gives a frame as (H, W, 3) uint8, RGB; the same frame is the same picture whenever it is read.
        num_frames: of the video.
        track: (K,) int64, the object of each box.
        frame: (K,) int64, 0-based.
        xyxy: (K, 4) float32, pixels.
        human: (K,) bool, whether a person says so; boxes of confident tracks are anchors as well, but weigh less.
        absent: (A, 3) int64 of track, first and last frame: there the object is known not to be seen.
        frames: (F,) int64, rising, the frames that can be read; None for all.
        name: what messages call it.

    Raises:
        InputError: for columns of different lengths, frames outside the video or that cannot be read, two boxes of one
            object in one frame, or a box that is not finite or has no area.
    """

    read: Callable[[int], NDArray[np.uint8]]
    num_frames: int
    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    human: NDArray[np.bool_]
    absent: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    frames: NDArray[np.int64] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        count, title = len(self.track), f"video {self.name!r}"
        for key in ("frame", "xyxy", "human"):
            if len(getattr(self, key)) != count:
                raise InputError(f"{title}: {key} has {len(getattr(self, key))} rows, track has {count}")
        if self.xyxy.shape != (count, 4) or self.absent.shape[1:] != (3,):
            raise InputError(f"{title}: boxes have shape {self.xyxy.shape} and absences {self.absent.shape}")
        if self.frames is not None and (np.diff(self.frames) <= 0).any():
            raise InputError(f"{title}: the frames that can be read must rise")
        if not count:
            return
        sides = self.xyxy[:, 2:] - self.xyxy[:, :2]
        bad = ~(np.isfinite(self.xyxy).all(1) & (sides > 0).all(1))
        bad |= (self.frame < 0) | (self.frame >= self.num_frames)
        if self.frames is not None:
            bad |= ~np.isin(self.frame, self.frames)
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"{title}: the box {self.xyxy[row].tolist()} in frame {int(self.frame[row]) + 1} cannot teach: "
                "boxes need some area, and frames that can be read"
            )
        order = np.lexsort((self.frame, self.track))
        twice = (np.diff(self.track[order]) == 0) & (np.diff(self.frame[order]) == 0)
        if twice.any():
            row = order[int(twice.argmax())]
            raise InputError(
                f"{title}: object {int(self.track[row])} has two boxes in frame {int(self.frame[row]) + 1}"
            )

    @property
    def readable(self) -> NDArray[np.int64]:
        """(F,) int64, all frames that can be read."""
        return np.arange(self.num_frames) if self.frames is None else self.frames

    def digest(self) -> str:
        """The same for the same boxes; pictures are not looked at."""
        digest = hashlib.sha256(f"{self.num_frames}".encode())
        for column in (self.track, self.frame, self.xyxy, self.human, self.absent, self.readable):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Keys:
    """The boxes of all clips in one table, tracks numbered from 0 over all of them; sorted by (track, frame).

    Attributes:
        clip: (K,) int64.
        track: (K,) int64.
        frame: (K,) int64.
        xyxy: (K, 4) float32 pixels.
        human: (K,) bool.
    """

    clip: Tensor
    track: Tensor
    frame: Tensor
    xyxy: Tensor
    human: Tensor

    def __len__(self) -> int:
        return len(self.track)

    def take(self, rows: Tensor) -> Keys:
        """Some of them, in order."""
        return Keys(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def join(clips: Sequence[AdaptClip]) -> tuple[Keys, Tensor]:
    """The boxes of all clips, and (A, 4) int64 clip, track, first and last frame of absences.

    Raises:
        InputError: if there is no box at all.
    """
    if not sum(len(clip.track) for clip in clips):
        raise InputError("the tracker has nothing to learn from: no object has a box; draw some boxes first")
    clip = np.repeat(np.arange(len(clips)), [len(one.track) for one in clips])
    columns = [np.concatenate([getattr(one, name) for one in clips]) for name in ("track", "frame", "xyxy", "human")]
    pairs = np.stack([clip, columns[0]], 1)
    named, track = np.unique(pairs, axis=0, return_inverse=True)
    track = track.reshape(-1)
    order = np.lexsort((columns[1], track))
    rows = [clip, track, columns[1], columns[2].astype(np.float32), columns[3]]
    keys = Keys(*(torch.from_numpy(np.ascontiguousarray(row[order])) for row in rows))
    number = {(int(a), int(b)): n for n, (a, b) in enumerate(named)}
    absent = [
        (at, number[at, int(one[0])], int(one[1]), int(one[2]))
        for at, each in enumerate(clips)
        for one in each.absent
        if (at, int(one[0])) in number
    ]
    return keys, torch.tensor(absent, dtype=torch.long).reshape(-1, 4)


def hold_out(keys: Keys, most: int, draw: torch.Generator) -> tuple[Keys, Keys]:
    """Boxes to learn from, and boxes to judge by.

    A box that judges is lost for learning, and there are few. So an inner box of every second track that has three is
    held out at most, the one nearest to the middle of its row, and of no more than ``most`` tracks.

    Returns:
        those to learn from, and those to judge by; the latter are none if no track has three boxes of people.
    """
    counts = torch.bincount(keys.track[keys.human], minlength=int(keys.track.max()) + 1)
    able = (counts >= 3).nonzero()[:, 0]
    share = (len(able) + 1) // 2
    chosen = able[torch.randperm(len(able), generator=draw)][: min(share, most)]
    rows = torch.arange(len(keys))
    first = torch.searchsorted(keys.track, chosen)
    every = torch.bincount(keys.track, minlength=len(counts))[chosen]
    middle = first + every // 2
    held = torch.isin(rows, middle) & keys.human  # of a track that a model has joined in, perhaps none
    return keys.take(~held), keys.take(held)


class Footage:
    """Crops of the frames of clips.

    Args:
        clips: whose ``read`` is called; a bounded number of pictures is kept.
    """

    def __init__(self, clips: Sequence[AdaptClip], held: int = _HELD) -> None:
        self._clips, self._most, self._bytes = clips, held, 0
        self._kept: OrderedDict[tuple[int, int], Tensor] = OrderedDict()

    def crops(self, clip: Tensor, frame: Tensor, windows: Tensor, size: int) -> Tensor:
        """Crops (N, 3, size, size) float32 of windows (N, 3), each in the frame (N,) of a clip (N,)."""
        out = torch.zeros(len(windows), 3, size, size)
        places, row = torch.stack([clip, frame], 1).unique(dim=0, return_inverse=True)
        for number, (which, at) in enumerate(places.tolist()):  # pictures: each is read once
            mine = row == number
            out[mine] = cut(self._picture(which, at), windows[mine], size)
        return out

    def between(self, clip: int, first: int, last: int, most: int) -> Tensor:
        """Frames that can be read on the way from one (itself left out) to another, in order, at most so many."""
        low, high = sorted((first, last))
        readable = self._clips[clip].readable
        frames = torch.from_numpy(readable[(readable >= low) & (readable <= high)].astype(np.int64))
        frames = (frames if first <= last else frames.flip(0))[1:]
        if len(frames) <= most:
            return frames
        return frames[torch.linspace(len(frames) / most - 1, len(frames) - 1, most).round().long()]

    def _picture(self, clip: int, frame: int) -> Tensor:
        found = self._kept.pop((clip, frame), None)
        if found is None:
            found = torch.from_numpy(np.ascontiguousarray(self._clips[clip].read(frame)))
            self._bytes += found.numel()
        self._kept[clip, frame] = found
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].numel()
        return found


@dataclass(frozen=True)
class Rivals:
    """Pairs in which a target must be told from others, or is not there at all; columns of R rows.

    Attributes:
        template: (R,) int64, key of the target.
        clip: (R,) int64, where it is looked for.
        frame: (R,) int64.
        around: (R, 4) float32 pixels, what lies in the middle of the search.
        truth: (R, 4) float32 pixels, where the target is, if it is there.
        there: (R,) bool.
    """

    template: Tensor
    clip: Tensor
    frame: Tensor
    around: Tensor
    truth: Tensor
    there: Tensor


def find_rivals(keys: Keys, absent: Tensor, clips: Sequence[AdaptClip], draw: torch.Generator) -> Rivals:
    """Where targets can be mistaken for others.

    Two objects with boxes in one frame; objects of other clips, which are surely different ones; and frames in which a
    person said that the object is not there.

    Args:
        keys: known boxes.
        absent: as ``join`` gives them.
        clips: that they are of.
        draw: decides which objects of other clips.
    """
    one, two = (
        (keys.clip[:, None] == keys.clip) & (keys.frame[:, None] == keys.frame) & (keys.track[:, None] != keys.track)
    ).nonzero(as_tuple=True)  # pairs of boxes in one frame
    parts = [(one, keys.clip[one], keys.frame[one], keys.xyxy[two], keys.xyxy[one], torch.ones(len(one)).bool())]
    other = torch.randint(len(keys), (2 * len(keys) if len(clips) > 1 else 0,), generator=draw)
    target = torch.arange(len(other)) % len(keys)
    apart = keys.clip[target] != keys.clip[other]
    target, other = target[apart], other[apart]
    no = torch.zeros(len(target)).bool()
    parts.append((target, keys.clip[other], keys.frame[other], keys.xyxy[other], keys.xyxy[other], no))
    for clip, track, first, last in absent.tolist():  # a handful that people said
        readable = clips[clip].readable
        gone = torch.from_numpy(readable[(readable >= first) & (readable <= last)].astype(np.int64))
        gone = gone[torch.linspace(0, len(gone) - 1, min(len(gone), 3)).long()]
        own = (keys.track == track).nonzero()[:, 0]
        if len(own) and len(gone):
            row = own[(keys.frame[own] - gone[:, None]).abs().argmin(1)]
            none = torch.zeros(len(gone)).bool()
            parts.append((row, keys.clip[row], gone, keys.xyxy[row], keys.xyxy[row], none))
    return Rivals(*(torch.cat(column) for column in zip(*parts, strict=True)))


def places_of(clips: Sequence[AdaptClip], keys: Keys, absent: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where tracks may be looked for, as ``Exploration`` wants it.

    Returns:
        frame (T, P), open (T, P), row (T, P) int64 of the key in that place or -1, and the clip (T,) of each track.
    """
    from .exploring import NOWHERE

    count = int(keys.track.max()) + 1
    clip = torch.zeros(count, dtype=torch.long)
    clip[keys.track] = keys.clip
    readable = [torch.from_numpy(np.ascontiguousarray(one.readable, np.int64)) for one in clips]
    longest = max(map(len, readable))
    table = torch.full((len(clips), longest), NOWHERE)
    for number, frames in enumerate(readable):  # clips
        table[number, : len(frames)] = frames
    frame = table[clip]
    away = torch.zeros(count, longest, dtype=torch.bool)
    for _, track, first, last in absent.tolist():  # a handful that people said
        away[track] |= (frame[track] >= first) & (frame[track] <= last)
    row = torch.full((count, longest), -1)
    place = torch.searchsorted(table[keys.clip].contiguous(), keys.frame[:, None])[:, 0]
    row[keys.track, place] = torch.arange(len(keys))
    return frame, (frame < NOWHERE) & ~away, row, clip


def without(clip: AdaptClip, rows: NDArray[np.bool_]) -> AdaptClip:
    """A clip that knows only some of its boxes."""
    kept = {name: getattr(clip, name)[rows] for name in ("track", "frame", "xyxy", "human")}
    return replace(clip, **kept)
