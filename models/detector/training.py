"""Train the detector: plain torch, one process, and the same weights whether or not it was interrupted."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from .frames import rounds
from .losses import Objects, detection_loss
from .network import DetectorConfig, DetectorNetwork, cell_grid

Report = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class TrainingConfig:
    """How the detector is trained.

    Attributes:
        network: its shape.
        seed: of the weights and of every picture.
        iterations: optimiser steps.
        batch: pictures per step.
        side: of the pictures in pixels, a multiple of 32.
        films: rendered per round of pictures; each has 16 frames.
        cuts: pictures cut out of each frame.
        learning_rate: peak; rises over ``warm_up`` steps and falls as a half cosine (AdamW).
        warm_up: steps.
        weight_decay: of AdamW, on convolutions only.
        box_weight: of the boxes' loss against that of the scores.
        average: how much of the averaged weights a step keeps, once it has seen enough steps.
        clip: greatest length of the gradient.
        half: whether to multiply in bfloat16; sums, losses and weights stay in single precision.
        save_every: steps between checkpoints.
        background: whether another process draws the pictures.
    """

    network: DetectorConfig = field(default_factory=DetectorConfig)
    seed: int = 0
    iterations: int = 6000
    batch: int = 8
    side: int = 320
    films: int = 6
    cuts: int = 10
    learning_rate: float = 1.5e-3
    warm_up: int = 200
    weight_decay: float = 0.02
    box_weight: float = 1.0
    average: float = 0.999
    clip: float = 5.0
    half: bool = True
    save_every: int = 200
    background: bool = True

    def __post_init__(self) -> None:
        for key in ("iterations", "batch", "films", "cuts", "save_every"):
            if getattr(self, key) < 1:
                raise InputError(f"detector training: {key} is {getattr(self, key)}; it must be at least 1")
        if self.side < 32 or self.side % 32:
            raise InputError(f"detector training: side is {self.side}; it must be a multiple of 32")
        if not 0 <= self.average < 1:
            raise InputError(f"detector training: average is {self.average}; it must lie in [0, 1)")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"detector training: learning_rate is {self.learning_rate}; it must lie in (0, 1)")


@dataclass
class TrainingState:
    """Everything that a training must remember: network, averaged network, optimiser, steps done, log lines."""

    network: DetectorNetwork
    averaged: DetectorNetwork
    optimiser: torch.optim.Optimizer
    iteration: int = 0
    log: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, config: TrainingConfig, device: torch.device, start: DetectorNetwork | None = None) -> TrainingState:
        """A new training, of weights from the seed or of those of ``start``."""
        torch.manual_seed(config.seed)
        network = DetectorNetwork(config.network)
        if start is not None:
            network.load_state_dict(start.state_dict())
        network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        kernels = [p for p in network.parameters() if p.ndim > 1]
        others = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        averaged = copy.deepcopy(network).requires_grad_(False).eval()
        return cls(network, averaged, torch.optim.AdamW(groups, lr=config.learning_rate))

    def save(self, path: Path, config: TrainingConfig) -> None:
        """Write the checkpoint whole or not at all."""
        state = {"config": asdict(config), "network": self.network.state_dict(), "iteration": self.iteration,
                 "averaged": self.averaged.state_dict(), "optimiser": self.optimiser.state_dict(),
                 "log": self.log}  # fmt: skip
        draft = path.with_suffix(".tmp")
        torch.save(state, draft)
        os.replace(draft, path)

    def resume(self, path: Path, config: TrainingConfig) -> None:
        """Go on where a checkpoint ends, if there is one.

        Raises:
            InputError: if it was made with another configuration, or is no checkpoint.
        """
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True, map_location=next(self.network.parameters()).device)
            given = state["config"]
        except Exception as error:  # torch.load raises whatever the broken file makes its parts raise
            raise InputError(f"{path}: not a checkpoint of a detector training ({type(error).__name__})") from error
        if given != asdict(config):
            raise InputError(f"{path}: was made with another configuration; give the same one, or another folder")
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.iteration, self.log = state["iteration"], state["log"]


def train(
    config: TrainingConfig, folder: Path, device: torch.device | str = "cpu", report: Report | None = None,
    start: DetectorNetwork | None = None,
) -> DetectorNetwork:  # fmt: skip
    """Train on rendered pictures, or go on from the checkpoint in ``folder``; the end state is the same.

    Writes ``checkpoint.pt`` and ``log.jsonl`` (one line per checkpoint). With ``background`` the calling script must be
    importable without side effects (``if __name__ == "__main__"``), as another process imports it.

    Args:
        config: how.
        folder: of checkpoint and log.
        device: as torch names it.
        report: called after every step with its number and losses.
        start: weights to begin with instead of random ones.

    Returns:
        The network with averaged weights, in evaluation mode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device(device)
    state = TrainingState.begin(config, device, start)
    state.resume(folder / "checkpoint.pt", config)
    centre, stride = cell_grid(config.side, config.side, device)
    seen: list[tuple[float, float]] = []
    with closing(_batches(config, state.iteration)) as batches:
        while state.iteration < config.iterations:
            images, objects = next(batches)
            losses = step(state, config, images.to(device), objects.to(device), centre, stride)
            seen.append(losses)
            if report is not None:
                report(state.iteration, {"score": losses[0], "box": losses[1]})
            if state.iteration % config.save_every == 0 or state.iteration == config.iterations:
                score, box = (sum(each) / len(seen) for each in zip(*seen, strict=True))
                line = {"iteration": state.iteration, "score_loss": round(score, 4), "box_loss": round(box, 4),
                        "learning_rate": round(learning_rate(config, state.iteration), 7)}  # fmt: skip
                state.log.append(json.dumps(line))
                seen = []
                state.save(folder / "checkpoint.pt", config)
                (folder / "log.jsonl").write_text("\n".join(state.log) + "\n")
    return state.averaged


def step(
    state: TrainingState, config: TrainingConfig, images: Tensor, objects: Objects, centre: Tensor, stride: Tensor
) -> tuple[float, float]:
    """One step of the optimiser.

    Args:
        state: is changed.
        config: of the training.
        images: (B, H, W, 3) uint8, RGB.
        objects: in the images.
        centre: (N, 2) of the cells.
        stride: (N,) of the cells.

    Returns:
        Loss of the scores and of the boxes.
    """
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(config, state.iteration)
    pictures = images.permute(0, 3, 1, 2).float()  # channels last in memory, as they came
    with torch.autocast(pictures.device.type, torch.bfloat16, enabled=config.half):
        logits, distances = state.network(pictures)
    score, box = detection_loss(logits, distances, objects, centre, stride, (images.shape[1], images.shape[2]))
    state.optimiser.zero_grad()
    (score + config.box_weight * box).backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.clip)
    state.optimiser.step()
    state.iteration += 1
    _average(state, min(config.average, state.iteration / (state.iteration + 10)))
    return float(score.detach()), float(box.detach())


def learning_rate(config: TrainingConfig, iteration: int) -> float:
    """Rises in a line over the warm-up, then falls as a half cosine to a hundredth."""
    if iteration < config.warm_up:
        return config.learning_rate * (iteration + 1) / config.warm_up
    done = (iteration - config.warm_up) / max(config.iterations - config.warm_up, 1)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


@torch.no_grad()
def _average(state: TrainingState, keep: float) -> None:
    """Move the averaged weights, and the statistics of normalisation, towards those of the network."""
    pairs = zip(state.averaged.state_dict().values(), state.network.state_dict().values(), strict=True)
    for average, value in pairs:  # tensors of the network
        if average.is_floating_point():
            average.lerp_(value, 1 - keep)
        else:
            average.copy_(value)


def _batches(config: TrainingConfig, done: int) -> Generator[tuple[Tensor, Objects], None, None]:
    """Batches from step number ``done`` on: which one a step sees depends on the seed and its number alone."""
    per_round = max(config.films * 16 * config.cuts // config.batch, 1)
    first, within = divmod(done, per_round)
    with closing(rounds(config.seed, first, config.films, config.cuts, config.side, config.background)) as drawn:
        for each in drawn:
            for number in range(within, per_round):
                yield each.batch(number * config.batch, config.batch)
            within = 0
