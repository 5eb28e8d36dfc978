"""Pretrain the appearance network on drawn identities (``figures``), in rounds by seed."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..fitting import FitSettings, FitTask
from .figures import draw_scene
from .losses import contrast
from .network import AppearanceConfig, AppearanceNetwork
from .retrieval import measure_retrieval

Crops = NDArray[np.uint8]


@dataclass(frozen=True)
class PretrainingConfig:
    """How the network is pretrained.

    Attributes:
        network: its shape.
        identities: of a scene.
        views: that are drawn of each identity.
        scenes: drawn at one time.
        batch_scenes: scenes that a step sees.
        batch_identities: identities of each of them.
        batch_views: crops of each of those.
        reuse: how often a round of scenes is gone through, in other mixtures.
        learning_rate: peak; rises over ``warm_up`` steps and falls as a half cosine (AdamW).
        warm_up: steps.
        weight_decay: of AdamW, on kernels only.
        temperature: of the loss.
        average: how much of the averaged weights a step keeps.

    Raises:
        InputError: for values out of range.
    """

    network: AppearanceConfig = field(default_factory=AppearanceConfig)
    identities: int = 24
    views: int = 8
    scenes: int = 8
    batch_scenes: int = 2
    batch_identities: int = 12
    batch_views: int = 4
    reuse: int = 2
    learning_rate: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 0.02
    temperature: float = 0.1
    average: float = 0.998

    def __post_init__(self) -> None:
        for key in ("identities", "views", "scenes", "batch_scenes", "reuse"):
            if getattr(self, key) < 1:
                raise InputError(f"appearance: {key} is {getattr(self, key)}; it must be at least 1")
        for key, most in (("batch_identities", self.identities), ("batch_views", self.views)):
            if not 2 <= getattr(self, key) <= most:
                raise InputError(f"appearance: {key} is {getattr(self, key)}; it must lie in [2, {most}]")
        if self.batch_scenes > self.scenes:
            raise InputError(f"appearance: batch_scenes is {self.batch_scenes}; there are {self.scenes} scenes")
        if not 0 < self.learning_rate < 1 or self.temperature <= 0:
            raise InputError("appearance: learning_rate must lie in (0, 1) and temperature be positive")

    @property
    def steps_of_round(self) -> int:
        """Steps for which one round of scenes lasts."""
        shares = (self.identities / self.batch_identities, self.views / self.batch_views)
        return max(round(self.reuse * self.scenes / self.batch_scenes * shares[0] * shares[1]), 1)


class DrawnIdentities:
    """Batches of drawn identities; which one a step sees depends on the seed and its number alone."""

    def __init__(self, seed: int, config: PretrainingConfig) -> None:
        self._seed, self._config = seed, config
        self._round: tuple[int, Crops] | None = None

    def batch(self, step: int) -> tuple[Crops, NDArray[np.int64], NDArray[np.int64]]:
        """Crops (B, 96, 48, 3) uint8 RGB, identity (B,) and scene (B,) int64."""
        config = self._config
        crops = self._scenes(step // config.steps_of_round)
        rng = np.random.default_rng([self._seed, step, 20_261])
        parts, identity, scene = [], [], []
        for number in rng.permutation(config.scenes)[: config.batch_scenes].tolist():  # a few scenes
            who = rng.permutation(config.identities)[: config.batch_identities]
            views = rng.permuted(np.tile(np.arange(config.views), (len(who), 1)), axis=1)[:, : config.batch_views]
            parts.append(crops[number][who[:, None], views].reshape(-1, *crops.shape[3:]))
            identity.append(np.repeat(who + number * config.identities, config.batch_views))
            scene.append(np.full(len(identity[-1]), number))
        return np.concatenate(parts), np.concatenate(identity), np.concatenate(scene)

    def _scenes(self, number: int) -> Crops:
        if self._round is None or self._round[0] != number:
            config = self._config
            rngs = [np.random.default_rng([self._seed, number, scene, 20_260]) for scene in range(config.scenes)]
            drawn = [draw_scene(rng, config.identities, config.views) for rng in rngs]
            self._round = (number, np.stack(drawn))
        return self._round[1]


@dataclass(frozen=True)
class RetrievalSet:
    """Crops of known objects to measure a network on.

    Attributes:
        crops: (N, 96, 48, 3) uint8, RGB.
        identity: (N,) int64.
        frame: (N,) int64.
        video: (N,) int64.
        apart: frames that a query and what it may find must be apart.
    """

    crops: Crops
    identity: NDArray[np.int64]
    frame: NDArray[np.int64]
    video: NDArray[np.int64]
    apart: int


class PretrainingTask(FitTask):
    """Pretraining of one network.

    Attributes:
        network: what is trained.
        averaged: its weights averaged over the last steps; what is kept.
    """

    network: AppearanceNetwork
    averaged: AppearanceNetwork

    def __init__(
        self, settings: FitSettings, config: PretrainingConfig, held_out: RetrievalSet | None = None,
        start: AppearanceNetwork | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            network = AppearanceNetwork(config.network)
        if start is not None:
            network.load_state_dict(start.state_dict())
        self.network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self._drawn = DrawnIdentities(settings.seed, config)
        self._settings, self._config, self._held_out = settings, config, held_out

    def draw(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Crops (B, 96, 48, 3) uint8, identity (B,) and scene (B,)."""
        crops, identity, scene = (torch.from_numpy(each) for each in self._drawn.batch(step))
        return crops, identity, scene

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The contrast of all crops; identities of other scenes are rivals, too."""
        crops, identity, _ = batch
        vectors = self.network(as_input(crops))
        value = contrast(vectors, identity, identity[:, None] != identity[None], None, self._config.temperature)
        return value, {"contrast": float(value.detach())}

    def after_step(self, step: int) -> None:
        """Average the weights."""
        average(self.averaged, self.network, min(self._config.average, (step + 1) / (step + 11)))

    def measure(self) -> float | None:
        """Mean average precision on the set that is held out."""
        if self._held_out is None:
            return None
        held_out = self._held_out
        vectors = vectors_of(self.averaged.eval(), held_out.crops)
        found = measure_retrieval(vectors, held_out.identity, held_out.frame, held_out.apart, held_out.video)
        return None if math.isnan(found.mean_average_precision) else found.mean_average_precision

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
        """AdamW and its schedule."""
        return optimiser_of(
            self.network, self._config.learning_rate, self._config.weight_decay, self._config.warm_up,
            self._settings.steps,
        )  # fmt: skip


def optimiser_of(
    network: AppearanceNetwork, learning_rate: float, weight_decay: float, warm_up: int, steps: int
) -> dict[str, Any]:
    """AdamW whose rate rises over the warm-up and falls as a half cosine to a hundredth, as lightning wants them."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate)

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / max(steps - warm_up, 1)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    return {"optimizer": optimiser, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, factor)}


def as_input(crops: Tensor) -> Tensor:
    """(B, 96, 48, 3) uint8 to (B, 3, 96, 48) float32, channels last in memory."""
    return crops.permute(0, 3, 1, 2).float()


@torch.no_grad()
def average(averaged: AppearanceNetwork, network: AppearanceNetwork, keep: float) -> None:
    """Move the averaged weights, and the statistics of normalisation, towards those of the network."""
    pairs = zip(averaged.state_dict().values(), network.state_dict().values(), strict=True)
    for mean, value in pairs:  # tensors of the network
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


@torch.no_grad()
def vectors_of(network: AppearanceNetwork, crops: Crops, batch: int = 256) -> NDArray[np.float32]:
    """(N, D) float32 of crops (N, 96, 48, 3) uint8 RGB; the network must be in evaluation mode."""
    device = next(network.parameters()).device
    out = np.zeros((len(crops), network.config.dimensions), np.float32)
    for first in range(0, len(crops), batch):  # batches
        part = torch.from_numpy(np.ascontiguousarray(crops[first : first + batch])).to(device)
        out[first : first + len(part)] = network(as_input(part)).cpu().numpy()
    return out
