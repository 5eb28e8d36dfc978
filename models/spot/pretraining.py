"""Pretrain the tracker on drawn pairs (``drawing``), in rounds of objects by seed."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..fitting import FitSettings, FitTask
from .crops import usual_sides
from .depiction import Library, draw_library
from .drawing import Jitter, Pairs, draw_pairs
from .losses import LossWeights, believed_sides, clipped, overlaps, tracking_loss
from .model import chosen, hann_window
from .network import TrackerConfig, TrackerNetwork

#: What keeps the objects of the measurement from those of training, whatever the seed.
_HELD_OUT = 7_777_777


@dataclass(frozen=True)
class PretrainingConfig:
    """How the tracker is pretrained.

    Attributes:
        network: its shape.
        jitter: how far searches are off.
        weights: of the losses. Boxes count more than in TransT: a network that starts from nothing learns where a
            target is long before it learns how large it is.
        batch: pairs of a step.
        objects: drawn for a round.
        grounds: backgrounds drawn for a round.
        steps_of_round: steps that a round serves.
        learning_rate: peak; rises over ``warm_up`` steps and falls as a half cosine (AdamW).
        warm_up: steps.
        weight_decay: of AdamW, on kernels only.
        average: how much of the averaged weights a step keeps.
        held_out: pairs of other objects to choose the best weights by.

    Raises:
        InputError: for values out of range.
    """

    network: TrackerConfig = field(default_factory=TrackerConfig)
    jitter: Jitter = field(default_factory=Jitter)
    weights: LossWeights = field(default_factory=lambda: LossWeights(4.0, 20.0, 5.0, 1.0))
    batch: int = 16
    objects: int = 160
    grounds: int = 32
    steps_of_round: int = 250
    learning_rate: float = 1e-3
    warm_up: int = 200
    weight_decay: float = 1e-4
    average: float = 0.998
    held_out: int = 256

    def __post_init__(self) -> None:
        for key, least in (("batch", 1), ("objects", 2), ("grounds", 1), ("steps_of_round", 1), ("held_out", 1)):
            if getattr(self, key) < least:
                raise InputError(f"pretraining: {key} is {getattr(self, key)}; it must be at least {least}")
        if not (self.learning_rate > 0 and self.warm_up >= 0 and self.weight_decay >= 0):
            raise InputError("pretraining: learning_rate must be above 0, warm_up and weight_decay not negative")
        if not 0 <= self.average < 1:
            raise InputError(f"pretraining: average is {self.average}; it must be at least 0 and below 1")


class PretrainingTask(FitTask):
    """Pretraining of one network.

    Attributes:
        network: what is trained.
        averaged: its weights averaged over the last steps; what is kept.
    """

    network: TrackerNetwork
    averaged: TrackerNetwork

    def __init__(self, settings: FitSettings, config: PretrainingConfig, start: TrackerNetwork | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = TrackerNetwork(config.network)
        if start is not None:
            network.load_state_dict(start.state_dict())
        self.network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self._settings, self._config = settings, config
        self._round: tuple[int, Library] | None = None
        self._exam: Pairs | None = None

    def draw(self, step: int) -> Pairs:
        """Pairs of a step."""
        config = self._config
        number = step // config.steps_of_round
        if self._round is None or self._round[0] != number:
            rng = np.random.default_rng([self._settings.seed, number, 20_262])
            self._round = (number, draw_library(rng, config.objects, config.grounds))
        random = torch.Generator().manual_seed(self._settings.seed * 1_000_003 + step)
        return draw_pairs(self._round[1], config.batch, config.network, random, config.jitter)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Lightning moves no dataclasses that are frozen."""
        if not isinstance(batch, Pairs):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return Pairs(*(getattr(batch, each).to(device) for each in ("template", "search", "xyxy", "present")))

    def loss(self, batch: Pairs) -> tuple[Tensor, dict[str, float]]:
        """The tracking loss."""
        template, search = (
            each.contiguous(memory_format=torch.channels_last) for each in (batch.template, batch.search)
        )
        sides = believed_sides(batch.xyxy, self.network.config.search_factor)
        found = self.network(self.network.encode(template), search, sides)
        costs = tracking_loss(found, batch.xyxy, present=batch.present, weights=self._config.weights)
        numbers = {key: float(getattr(costs, key).detach()) for key in ("score", "l1", "giou", "quality", "total")}
        return costs.total, numbers

    def split(self, batch: Pairs, parts: int) -> list[Pairs]:
        """Rows in turn."""
        parts = min(parts, len(batch))
        columns = (batch.template, batch.search, batch.xyxy, batch.present)
        return [Pairs(*(column[first::parts] for column in columns)) for first in range(parts)]

    def after_step(self, step: int) -> None:
        """Average the weights."""
        average(self.averaged, self.network, min(self._config.average, (step + 1) / (step + 11)))

    def measure(self) -> float | None:
        """Mean overlap of the boxes found in pairs of objects that training never draws."""
        if self._exam is None:
            self._exam = held_out_pairs(self._config)
        return float(found_overlap(self.averaged.eval(), self._exam).mean())

    def weights(self) -> dict[str, Tensor]:
        """The averaged ones."""
        return self.averaged.state_dict()

    def take(self, weights: dict[str, Tensor]) -> None:
        """Both networks are what was kept."""
        self.network.load_state_dict(weights)
        self.averaged.load_state_dict(weights)

    def describe(self) -> dict[str, Any]:
        """The configuration."""
        plain = asdict(self._config)
        plain["network"] = {k: list(v) if isinstance(v, tuple) else v for k, v in plain["network"].items()}
        return {"config": plain}

    def configure_optimizers(self) -> Any:
        """AdamW whose rate rises over the warm-up and falls as a half cosine to a hundredth, as lightning wants it."""
        config = self._config
        kernels = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        rest = max(self._settings.steps - config.warm_up, 1)

        def factor(step: int) -> float:
            if step < config.warm_up:
                return (step + 1) / config.warm_up
            return 0.01 + 0.99 * (1 + math.cos(math.pi * min((step - config.warm_up) / rest, 1.0))) / 2

        return {"optimizer": optimiser, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, factor)}


def held_out_pairs(config: PretrainingConfig, seed: int = 0) -> Pairs:
    """Pairs of objects and places that no round of training draws; the target is in each of them."""
    library = draw_library(np.random.default_rng([_HELD_OUT, seed]), config.objects, config.grounds)
    random = torch.Generator().manual_seed(_HELD_OUT + seed)
    jitter = Jitter(config.jitter.shift, config.jitter.scale, 0.0)
    return draw_pairs(library, config.held_out, config.network, random, jitter)


@torch.no_grad()
def found_overlap(network: TrackerNetwork, pairs: Pairs, batch: int = 32) -> Tensor:
    """(B,) overlap (IoU) of the boxes that a network finds in pairs with the truth, where the crops show it."""
    prior = hann_window(network.config.cells).to(pairs.search.device)
    parts = []
    for first in range(0, len(pairs), batch):  # batches
        rows = slice(first, first + batch)
        sides = usual_sides(pairs.xyxy[rows], network.config.search_factor)
        found = network(network.encode(pairs.template[rows]), pairs.search[rows], sides)
        boxes, _, _ = chosen(found, prior, 0.0)
        truth, _ = clipped(pairs.xyxy[rows])
        parts.append(overlaps(clipped(boxes)[0], truth)[0])
    return torch.cat(parts)


@torch.no_grad()
def average(averaged: TrackerNetwork, network: TrackerNetwork, keep: float) -> None:
    """Move the averaged weights towards those of the network."""
    pairs = zip(averaged.state_dict().values(), network.state_dict().values(), strict=True)
    for mean, value in pairs:  # tensors of the network; a backbone of others may have statistics, and may count
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)
