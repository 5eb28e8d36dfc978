"""What is known of the frames between human boxes, and which frame is looked at next: the sampler of SPOT (TIP 2024).

For every track there are key frames, whose boxes never change, and explored ones, whose boxes the teacher has found.
Exploration goes from what is known outwards: the nearer a frame, the smaller the step that the teacher must make. What
the teacher says during an epoch is noted, and merged at its end. All is held in buffers of one size, so that a
checkpoint holds it, and everything random comes from the generator that the caller gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

CLOSE = 4  # frames between two explored ones, up to which the box between them is interpolated
NOWHERE = 1 << 40  # frames: farther than any video is long
_NEVER = -1.0  # confidence of frames that were not looked at in this epoch


@dataclass(frozen=True)
class Proposals:
    """What is looked at next, one row each.

    Attributes:
        track: (N,) int64.
        unlabelled: (N,) int64, place of the frame to look at.
        relay: (N,) int64, place of an explored frame that the student remembers the target from.
        anchor: (N,) int64, place of the key frame that is nearest to it, which the teacher remembers it from.
        around: (N, 4) float32 pixels, about where the target must be.
    """

    track: Tensor
    unlabelled: Tensor
    relay: Tensor
    anchor: Tensor
    around: Tensor


class Exploration(nn.Module):
    """The boxes of T tracks in P places each; a place is a frame that can be read, and they are in order of time.

    Args:
        frame: (T, P) int64, 0-based frame of each place, rising; ``NOWHERE`` behind the last one.
        open_: (T, P) bool, whether a place may be looked at: not where the target is known to be absent.
        key: (T, P) bool, whether there is a key box.
        xyxy: (T, P, 4) float32 pixels, read where ``key`` is.
        step: how many frames from an explored one a frame may be that is looked at.

    Raises:
        InputError: for a track without a key box, or a step below 1.
    """

    frame: Tensor
    open: Tensor
    key: Tensor
    xyxy: Tensor
    confidence: Tensor
    noted_xyxy: Tensor
    noted: Tensor

    def __init__(self, frame: Tensor, open_: Tensor, key: Tensor, xyxy: Tensor, step: int = 1) -> None:
        super().__init__()
        if step < 1:
            raise InputError(f"exploration: step is {step}; it must be at least 1 frame")
        lacking = ~key.any(1)
        if bool(lacking.any()):
            raise InputError(f"exploration: track {int(lacking.int().argmax())} has no box to begin with")
        self.step = step
        self.register_buffer("frame", frame.long())
        self.register_buffer("open", (open_ | key) & (frame < NOWHERE))
        self.register_buffer("key", key)
        self.register_buffer("xyxy", torch.where(key[..., None], xyxy.float(), 0.0))
        self.register_buffer("confidence", key.float())
        self.register_buffer("noted_xyxy", torch.zeros_like(xyxy, dtype=torch.float32))
        self.register_buffer("noted", torch.full_like(self.confidence, _NEVER))

    def _apply(self, fn: Any, recurse: bool = True) -> Exploration:
        """Stays where it is: what is next is decided on the CPU, wherever networks compute."""
        return self

    @property
    def explored(self) -> Tensor:
        """(T, P) bool, whether there is a box."""
        return self.confidence > 0

    def share(self) -> Tensor:
        """(T,) float32, explored share of the places that may be looked at."""
        return (self.explored & self.open).sum(1) / self.open.sum(1).clamp_min(1)

    def propose(self, track: Tensor, draw: torch.Generator, calibrated: bool = True) -> Proposals:
        """What to look at next, for each of some tracks.

        With the explored share as probability an explored frame is reviewed; otherwise one is looked at that is at most
        ``step`` frames from an explored one, and farther than half of that.

        Args:
            track: (N,) int64; one track may be named many times.
            draw: decides which frame.
            calibrated: look around the boxes of the nearest explored frames; False for the nearest key box.
        """
        count = len(track)
        explored, opened = self.explored[track], self.open[track]
        away = self._distance(explored, self.frame[track])
        far = torch.randint(self.step // 2 + 1, self.step + 1, (count, 1), generator=draw)
        beside = opened & ~explored & (away > self.step // 2) & (away <= far)
        wanted = torch.rand(count, generator=draw) < self.share()[track]
        review = wanted | ~beside.any(1)
        unlabelled = _pick(torch.where(review[:, None], explored & opened, beside), draw)
        relay = _pick(explored, draw)
        anchor = self._nearest(self.key[track], self.frame[track], unlabelled)
        around = self.coarse(track, unlabelled) if calibrated else self.xyxy[track, anchor]
        return Proposals(track, unlabelled, relay, anchor, around)

    def coarse(self, track: Tensor, place: Tensor) -> Tensor:
        """About where targets are: (N, 4) float32 pixels.

        The nearest explored box, or what lies on the line between the two nearest if these are close.
        """
        explored, frame = self.explored[track], self.frame[track]
        before, after = _beside(explored, place)
        row = torch.arange(len(track))
        at, first, last = frame[row, place], frame[row, before], frame[row, after]
        there = explored[row, place]
        both = explored[row, before] & explored[row, after] & (before < place) & (place < after) & ~there
        both &= last - first <= CLOSE
        share = ((at - first) / (last - first).clamp_min(1))[:, None]
        line = torch.lerp(self.xyxy[track, before], self.xyxy[track, after], share.float())
        nearest = self.xyxy[track, self._nearest(explored, frame, place)]
        return torch.where(both[:, None], line, nearest)

    def note(self, track: Tensor, place: Tensor, xyxy: Tensor, confidence: Tensor) -> None:
        """Keeps what the teacher said of some places until the epoch ends; of one place, what it is surest of.

        Args:
            track: (N,) int64.
            place: (N,) int64.
            xyxy: (N, 4) float32 pixels.
            confidence: (N,) float32 in [0, 1].
        """
        order = confidence.argsort(stable=True)
        order = order[confidence[order] > self.noted[track[order], place[order]]]
        flat = (track * self.key.shape[1] + place)[order]
        # The last of one place wins: written one place at a time, so that it is so on every device.
        last = torch.full((self.noted.numel(),), -1, dtype=torch.long)
        last.scatter_reduce_(0, flat, torch.arange(len(flat)), "amax")
        rows = order[last[last >= 0]]
        self.noted[track[rows], place[rows]] = confidence[rows].float()
        self.noted_xyxy[track[rows], place[rows]] = xyxy[rows].float()

    def merge(self, least: float, decay: float = 0.99) -> dict[str, int]:
        """Ends an epoch: what was noted is taken over where it is confident and surer than what was known.

        Key boxes never change. The confidence of the other boxes decays, so that old ones give way to new ones; a box
        that was looked at again and not confirmed is forgotten.

        Args:
            least: confidence from which a box is taken.
            decay: what an epoch leaves of a confidence.

        Returns:
            "inserted", "replaced" and "forgotten" -> how many boxes.
        """
        known = self.explored & ~self.key
        self.confidence = torch.where(known, self.confidence * decay, self.confidence)
        looked = (self.noted > _NEVER) & ~self.key
        sure = looked & (self.noted >= least) & (self.noted > 0)
        taken = sure & (self.noted > self.confidence)
        gone = looked & ~sure & known
        self.xyxy = torch.where(taken[..., None], self.noted_xyxy, self.xyxy)
        self.confidence = torch.where(taken, self.noted, self.confidence).masked_fill(gone, 0.0)
        self.noted = torch.full_like(self.noted, _NEVER)
        counts = {"inserted": taken & ~known, "replaced": taken & known, "forgotten": gone}
        return {name: int(rows.sum()) for name, rows in counts.items()}

    @staticmethod
    def _distance(explored: Tensor, frame: Tensor) -> Tensor:
        """(N, P) int64, frames from every place to the nearest explored one."""
        before = torch.where(explored, frame, -NOWHERE).cummax(1).values
        after = torch.where(explored, frame, 2 * NOWHERE).flip(1).cummin(1).values.flip(1)
        return torch.minimum(frame - before, after - frame)

    @staticmethod
    def _nearest(which: Tensor, frame: Tensor, place: Tensor) -> Tensor:
        """(N,) int64, the place among ``which`` (N, P) that is nearest in time to another; the earlier of two."""
        away = (frame - frame.gather(1, place[:, None])).abs()
        return torch.where(which, away, 4 * NOWHERE).argmin(1)


def _pick(which: Tensor, draw: torch.Generator) -> Tensor:
    """(N,) int64, one place of each row of (N, P) bool, all alike; every row has one."""
    number = (torch.rand(len(which), generator=draw) * which.sum(1)).long().clamp_max(which.sum(1) - 1)
    return ((which.cumsum(1) - 1 == number[:, None]) & which).int().argmax(1)


def _beside(explored: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the last explored place up to a place and the first one from it on; the place itself where there is none."""
    at = torch.arange(explored.shape[1]).expand_as(explored)
    before = torch.where(explored & (at <= place[:, None]), at, -1).amax(1)
    after = torch.where(explored & (at >= place[:, None]), at, explored.shape[1]).amin(1)
    return torch.where(before < 0, place, before), torch.where(after >= explored.shape[1], place, after)
