"""Fine-tune the appearance network on the tracks of a user's videos, mixed with drawn identities against forgetting.

Two crops of one track are one object. Two tracks are surely different objects where both are there at one time, or in
different videos; two tracks of one video that follow each other may be one, so they teach nothing about each other
unless a lesson says that they are different.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..fitting import FitResult, FitSettings, FitTask, fit
from .crops import CROP_SIZE
from .losses import contrast
from .model import AppearanceModel
from .network import AppearanceNetwork
from .pretraining import (
    DrawnIdentities,
    PretrainingConfig,
    as_input,
    average,
    optimiser_of,
    vectors_of,
)
from .retrieval import measure_retrieval

_DRAWN_SEED = 80_000_000  # seeds of drawn identities lie beyond those of pretraining


@dataclass(frozen=True)
class AppearanceLessons:
    """Crops of known tracks.

    Attributes:
        crops: (K, 96, 48, 3) uint8, RGB.
        identity: (K,) int64, the object of each crop within its video; -1 for crops that teach nothing.
        weight: (K,) float32, how much each counts; 0 is masked.
        video: (K,) int64.
        frame: (K,) int64, 0-based.
        group: (K,) int64, objects of a video that may be one share a group, and objects of two groups are different;
            -1, or None for all, where that is unknown.

    Raises:
        InputError: for columns of different lengths or of the wrong kind.
    """

    crops: NDArray[np.uint8]
    identity: NDArray[np.int64]
    weight: NDArray[np.float32]
    video: NDArray[np.int64]
    frame: NDArray[np.int64]
    group: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.crops.shape[1:] != (*CROP_SIZE, 3) or self.crops.dtype != np.uint8:
            raise InputError(f"lessons: crops have shape {self.crops.shape}; expected (K, 96, 48, 3) uint8")
        for key in ("identity", "weight", "video", "frame", "group"):
            column = getattr(self, key)
            if column is not None and column.shape != (len(self.crops),):
                raise InputError(f"lessons: {key} has shape {column.shape}; expected ({len(self.crops)},)")
        if not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise InputError("lessons: weights must be finite and not negative")

    def tracks(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Tracks of all videos under one numbering.

        Returns:
            (K,) int64, the track of each crop, -1 for those that teach nothing; and (T, T) bool, whether two tracks
            are surely different objects.
        """
        used = (self.identity >= 0) & (self.weight > 0)
        pairs = np.stack([self.video, self.identity], 1)
        named, track = np.unique(pairs[used], axis=0, return_inverse=True)
        number = np.full(len(pairs), -1)
        number[used] = track.reshape(-1)
        count = len(named)
        first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
        np.minimum.at(first, number[used], self.frame[used])
        np.maximum.at(last, number[used], self.frame[used])
        apart = named[:, None, 0] != named[None, :, 0]
        together = (first[:, None] <= last[None]) & (first[None] <= last[:, None])
        differs = apart | together
        if self.group is not None:
            group = np.full(count, -1)
            np.maximum.at(group, number[used], self.group[used])
            known = (group[:, None] >= 0) & (group[None] >= 0)
            differs |= known & (group[:, None] != group[None])
            differs &= ~(known & (group[:, None] == group[None])) | together | apart
        np.fill_diagonal(differs, False)
        return number, differs


@dataclass(frozen=True)
class FinetuneConfig:
    """How the appearance is fine-tuned.

    Attributes:
        tracks: of the lessons that a step sees.
        views: crops of each; tracks of fewer are seen several times.
        drawn: how much drawn identities count against the lessons; 0 draws none.
        learning_rate: peak (AdamW); rises over a tenth of the steps and falls as a half cosine.
        weight_decay: of AdamW, on kernels only.
        temperature: of the loss.
        average: how much of the averaged weights a step keeps.
        apart: frames that a query and what it may find must be apart when held-out lessons are measured.

    Raises:
        InputError: for values out of range.
    """

    tracks: int = 16
    views: int = 4
    drawn: float = 0.4
    learning_rate: float = 5e-4
    weight_decay: float = 0.02
    temperature: float = 0.1
    average: float = 0.97
    apart: int = 25

    def __post_init__(self) -> None:
        for key in ("tracks", "views"):
            if getattr(self, key) < 2:
                raise InputError(f"fine-tuning of the appearance: {key} is {getattr(self, key)}; it must be at least 2")
        for key in ("drawn", "average"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(f"fine-tuning of the appearance: {key} is {getattr(self, key)}; it must lie in [0, 1)")
        if not 0 < self.learning_rate < 1 or self.temperature <= 0 or self.apart < 1:
            raise InputError("fine-tuning: learning_rate must lie in (0, 1), temperature and apart be positive")


@dataclass(frozen=True)
class _Step:
    """The batch of one step: crops of the lessons first, then drawn ones; tensors (B, ...)."""

    crops: Tensor
    identity: Tensor
    rival: Tensor
    weight: Tensor
    lessons: int


class AppearanceTask(FitTask):
    """Fine-tuning of one appearance.

    Attributes:
        network: what is trained.
        averaged: its weights averaged over the last steps; what is kept.

    Raises:
        InputError: if no track has two crops, or no two tracks are known to differ.
    """

    network: AppearanceNetwork
    averaged: AppearanceNetwork

    def __init__(
        self, start: AppearanceModel, lessons: AppearanceLessons, settings: FitSettings, config: FinetuneConfig,
        held_out: AppearanceLessons | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = copy.deepcopy(start.network).cpu().train()
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self._lessons, self._settings, self._config, self._held_out = lessons, settings, config, held_out
        self._track, self._differs = lessons.tracks()
        sizes = np.bincount(self._track[self._track >= 0], minlength=len(self._differs))
        self._able = np.flatnonzero((sizes >= 2) & self._differs.any(1))
        if not len(self._able):
            raise InputError(
                "the appearance has nothing to learn: no two confident tracks are in one frame or in different videos; "
                "label with other candidates, or answer some questions first"
            )
        order = np.argsort(self._track, kind="stable")
        self._rows = np.split(order, np.cumsum([(self._track < 0).sum(), *sizes]))[1:-1]
        drawn = PretrainingConfig(
            network=self.network.config, identities=16, views=4, scenes=2, batch_scenes=1, batch_identities=16, reuse=4
        )
        self._drawn = DrawnIdentities(_DRAWN_SEED + settings.seed, drawn)

    def draw(self, step: int) -> _Step:
        """Crops of some tracks that are known to differ, as other frames could show them, and drawn identities."""
        rng = np.random.default_rng([self._settings.seed, step, 7])
        config, lessons = self._config, self._lessons
        # Beginning with one track, those that differ from it: otherwise a batch of a long video has hardly a rival.
        heavy = np.array([lessons.weight[self._rows[track]].mean() for track in self._able.tolist()])
        first = rng.choice(self._able, p=heavy / heavy.sum())
        others = self._able[self._differs[first, self._able]]
        rest = rng.permutation(self._able[(self._able != first) & ~self._differs[first, self._able]])
        chosen = np.concatenate([[first], rng.permutation(others), rest])[: config.tracks]
        views = [
            rng.choice(self._rows[track], config.views, replace=len(self._rows[track]) < config.views)
            for track in chosen.tolist()  # a handful of tracks
        ]
        rows = np.concatenate(views)
        track = self._track[rows]
        crops = vary(torch.from_numpy(lessons.crops[rows]), rng)
        rival = torch.from_numpy(self._differs[track[:, None], track[None]])
        identity, weight = torch.from_numpy(track), torch.from_numpy(lessons.weight[rows].astype(np.float32))
        count = len(rows)
        if not config.drawn:
            return _Step(crops, identity, rival, weight, count)
        more, who, _ = (torch.from_numpy(each) for each in self._drawn.batch(step))
        every = torch.zeros(count + len(who), count + len(who), dtype=torch.bool)
        every[:count, :count] = rival
        every[count:, count:] = who[:, None] != who[None]
        return _Step(torch.cat([crops, more]), torch.cat([identity, who + len(self._differs)]), every,
                     torch.cat([weight, torch.ones(len(who))]), count)  # fmt: skip

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on a device; lightning's own batches are numbers of steps."""
        if not isinstance(batch, _Step):
            return batch
        crops, identity = batch.crops.to(device), batch.identity.to(device)
        return _Step(crops, identity, batch.rival.to(device), batch.weight.to(device), batch.lessons)

    def loss(self, batch: _Step) -> tuple[Tensor, dict[str, float]]:
        """The contrast among the lessons and among what was drawn, weighted."""
        vectors = self.network(as_input(batch.crops))
        own, drawn = slice(0, batch.lessons), slice(batch.lessons, None)
        values = [
            contrast(vectors[part], batch.identity[part], batch.rival[part, part], batch.weight[part],
                     self._config.temperature) for part in (own, drawn)
        ]  # fmt: skip
        share = self._config.drawn if batch.lessons < len(vectors) else 0.0
        logged = {"lessons": float(values[0].detach()), "drawn": float(values[1].detach())}
        return (1 - share) * values[0] + share * values[1], logged

    def after_step(self, step: int) -> None:
        """Average the weights."""
        average(self.averaged, self.network, min(self._config.average, (step + 1) / (step + 11)))

    def measure(self) -> float | None:
        """Mean average precision among the held-out tracks that are known to differ."""
        held_out = self._held_out
        if held_out is None or not len(held_out.crops):
            return None
        track, differs = held_out.tracks()
        vectors = vectors_of(self.averaged.eval(), held_out.crops)
        found = measure_retrieval(vectors, track, held_out.frame, self._config.apart, held_out.video, differs)
        return None if math.isnan(found.mean_average_precision) else found.mean_average_precision

    def weights(self) -> dict[str, Tensor]:
        """The averaged ones."""
        return self.averaged.state_dict()

    def take(self, weights: dict[str, Tensor]) -> None:
        """Both networks are what was kept."""
        self.network.load_state_dict(weights)
        self.averaged.load_state_dict(weights)

    def describe(self) -> dict[str, Any]:
        """Configuration, and a digest of the lessons."""
        lessons, digest = self._lessons, hashlib.sha256()
        columns = [lessons.crops, lessons.identity, lessons.weight, lessons.video, lessons.frame]
        for column in [*columns, *([] if lessons.group is None else [lessons.group])]:
            digest.update(np.ascontiguousarray(column).data)
        return {"config": asdict(self._config), "lessons": digest.hexdigest()}

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule."""
        steps = self._settings.steps
        warm_up = max(steps // 10, 1)
        return optimiser_of(self.network, self._config.learning_rate, self._config.weight_decay, warm_up, steps)


def finetune(
    start: AppearanceModel, lessons: AppearanceLessons, settings: FitSettings, folder: Path,
    report: Callable[[int, dict[str, float]], None] | None = None, *, config: FinetuneConfig | None = None,
    held_out: AppearanceLessons | None = None, version: str | None = None,
) -> tuple[AppearanceModel, FitResult]:  # fmt: skip
    """Fine-tune an appearance, or go on where the checkpoint in ``folder`` ends.

    Args:
        start: what to begin with; it stays as it is.
        lessons: crops of known tracks.
        settings: of the training.
        folder: for checkpoints and logs.
        report: called after every step with the number of steps done and its numbers.
        config: how.
        held_out: tracks that nothing is learnt from, which choose the best weights.
        version: name of what comes out; that of ``start`` with a "+" if None.

    Returns:
        The fine-tuned appearance on the device of ``start``, and how the training went.

    Raises:
        InputError: if there is nothing to learn from; and as ``models.fitting.fit``.
    """
    task = AppearanceTask(start, lessons, settings, config or FinetuneConfig(), held_out)
    result = fit(task, settings, folder, report)
    name = version if version is not None else f"{start.version}+"
    return AppearanceModel(task.averaged, name, str(start.device)), result


def vary(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops (B, 96, 48, 3) uint8 as other frames could show them: moved, mirrored, in other light, partly hidden."""
    count = len(crops)

    def drawn(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values).float()

    scale = drawn(np.exp(rng.normal(0, 0.06, (count, 2))))
    scale[:, 0] *= drawn(np.where(rng.random(count) < 0.5, -1.0, 1.0))
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale[:, 0], scale[:, 1]
    theta[:, :, 2] = drawn(rng.normal(0, 0.06, (count, 2)))
    grid = functional.affine_grid(theta, [count, 3, *CROP_SIZE], align_corners=False)
    pixels = functional.grid_sample(as_input(crops), grid, padding_mode="border", align_corners=False)
    light = np.exp(rng.normal(0, 0.1, (count, 1)) + rng.normal(0, 0.03, (count, 3)))
    pixels = pixels * drawn(light)[:, :, None, None]
    # Something in front: a box of the batch's mean colour over part of a third of the crops.
    low = drawn(rng.uniform(-0.2, 0.9, (count, 2))) * torch.tensor(CROP_SIZE)
    high = low + drawn(rng.uniform(0.15, 0.45, (count, 2))) * torch.tensor(CROP_SIZE)
    down, across = torch.arange(CROP_SIZE[0]), torch.arange(CROP_SIZE[1])
    rows = (down >= low[:, :1]) & (down < high[:, :1])
    columns = (across >= low[:, 1:]) & (across < high[:, 1:])
    hidden = rows[:, None, :, None] & columns[:, None, None, :]
    hidden &= torch.from_numpy(rng.random(count) < 0.33)[:, None, None, None]
    pixels = torch.where(hidden, pixels.mean((0, 2, 3), keepdim=True), pixels)
    return pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def thinned(lessons: AppearanceLessons, most: int, seed: int = 0) -> AppearanceLessons:
    """Lessons of at most so many crops of each track, spread over its length."""
    track, _ = lessons.tracks()
    rng = np.random.default_rng([seed, 11])
    order = np.lexsort((lessons.frame, track))
    kept = []
    for rows in np.split(order, np.flatnonzero(np.diff(track[order])) + 1):  # tracks
        if len(rows) and track[rows[0]] >= 0:
            at = (np.arange(min(most, len(rows))) + rng.random()) / min(most, len(rows)) * len(rows)
            kept.append(rows[np.clip(at.astype(int), 0, len(rows) - 1)])
    rows = np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)
    columns = {key: getattr(lessons, key)[rows] for key in ("crops", "identity", "weight", "video", "frame")}
    return replace(lessons, **columns, group=None if lessons.group is None else lessons.group[rows])
