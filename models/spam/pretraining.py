"""Synthetic pretraining of the hierarchy: levels unlocked in turn, on the model's own lower levels.

SUSHI, section 3.5: one level more is trained every so many iterations, all unlocked levels keep training. Differences,
each from a measured failure: thresholds are drawn anew every iteration, so that upper levels know what both strict and
lax lower levels leave them; early on, lower levels are sometimes rounded by the truth, so that upper ones see sane
tracklets.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..synthetic.streams import Stream, StreamSettings, simulate_stream
from .boxes import box_features
from .columns import BoxColumns, gather_boxes
from .context import describe
from .graph import fit_appearance
from .hierarchy import WINDOWS, LevelOutput, Partition, plan_levels, run_level
from .model import SpamModel
from .network import NetworkConfig, SpamNetwork
from .rounding import round_links
from .stabilisation import stabilise
from .training import Truth, level_loss, node_identity


@dataclass(frozen=True)
class PretrainConfig:
    """How the hierarchy is pretrained.

    Attributes:
        seed: of the weights and of every stream.
        iterations: optimiser steps.
        boxes: about how many boxes a batch holds.
        learning_rate: peak of a one-cycle schedule (AdamW).
        weight_decay: of AdamW.
        unlock_every: iterations until one more level is trained.
        truth_rounding: iterations over which rounding by the truth fades out.
        gamma: focusing of the edges' loss.
        save_every: iterations between checkpoints.
        crowds: share of streams that are short and dense. With more than the default, half of these have detectors that
            see through occlusion and whose boxes scatter independently.
        start: weights file to start from instead of nothing; all levels are then trained at once.
    """

    seed: int = 0
    iterations: int = 3000
    boxes: int = 6000
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    unlock_every: int = 40
    truth_rounding: int = 500
    gamma: float = 1.0
    save_every: int = 100
    crowds: float = 0.15
    start: str = ""

    def __post_init__(self) -> None:
        for key in ("iterations", "boxes", "unlock_every", "save_every"):
            if getattr(self, key) < 1:
                raise InputError(f"pretraining: {key} is {getattr(self, key)}; it must be at least 1")
        if not 0 <= self.crowds <= 0.9:
            raise InputError(f"pretraining: crowds is {self.crowds}; it must lie in [0, 0.9]")


@dataclass(frozen=True)
class Batch:
    """Streams as columns, with their context and truth."""

    boxes: BoxColumns
    context: Tensor
    truth: Truth
    longest: int

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(_moved(self.boxes, device), self.context.to(device), _moved(self.truth, device), self.longest)


def _moved(columns: Any, device: torch.device) -> Any:
    """A dataclass of tensors with all of them on a device."""
    moved = {key: value.to(device) for key, value in vars(columns).items() if isinstance(value, Tensor)}
    return replace(columns, **moved)


def make_batch(streams: list[Stream], device: torch.device) -> Batch:
    """Columns, context and truth of some streams."""
    boxes = gather_boxes([(s.info, s.candidates) for s in streams], WINDOWS[-1], device)
    offset = np.cumsum([0] + [int(s.identity.max(initial=-1)) + 1 for s in streams])
    parts = [(np.where(s.identity >= 0, s.identity + offset[n], -1), s.valid) for n, s in enumerate(streams)]
    start = np.cumsum([0] + [len(s.identity) for s in streams])[:-1]
    row = torch.as_tensor(start, device=device)[boxes.lane_video[boxes.lane]] + boxes.row
    identity, valid = (torch.as_tensor(np.concatenate(p), device=device)[row] for p in zip(*parts, strict=True))
    context, partners = describe(boxes)
    longest = max(s.info.num_frames for s in streams)
    return Batch(stabilise(boxes, partners), context, Truth(identity, valid), longest)


def draw_batch(seed: int, iteration: int, boxes: int, device: torch.device, crowds: float = 0.15) -> Batch:
    """The batch of an iteration: the same seed gives the same streams."""
    rng = np.random.default_rng([seed, iteration])
    streams, total = [], 0
    while total < boxes:  # streams, until the batch is full
        kind = rng.random()
        settings = StreamSettings()
        if kind < 0.1:
            settings = replace(settings, num_frames=(300, 700), density=(2.0, 8.0))
        elif kind < 0.1 + crowds:
            settings = replace(settings, num_frames=(24, 80), density=(25.0, 70.0))
            if crowds > 0.15:
                settings = replace(settings, blind_share=0.5, independent_share=0.7)
        stream = simulate_stream(int(rng.integers(1 << 40)), settings)
        if len(stream.candidates) < 20 or len(stream.candidates) > 2 * boxes:
            continue
        streams.append(stream)
        total += len(stream.candidates)
    return make_batch(streams, device)


@dataclass(frozen=True)
class HierarchyLoss:
    """Losses of one pass through the hierarchy, and what to log of it."""

    total: Tensor
    edge: list[float]
    node: list[float]
    box: float


def hierarchy_loss(
    network: SpamNetwork, batch: Batch, unlocked: int, rng: np.random.Generator, truth_share: float, gamma: float
) -> HierarchyLoss:
    """One pass over the unlocked levels, rounding by the model (or, at times, by the truth) between them."""
    boxes, context, truth = batch.boxes, batch.context, batch.truth
    partition = Partition.singletons(len(boxes), context.device)
    levels = plan_levels(batch.longest)
    levels = [*levels, levels[-1]] if unlocked > len(levels) else levels[:unlocked]
    appearance = None if boxes.embedding is None else fit_appearance(boxes)
    total = context.new_zeros(())
    edge_log, node_log = [], []
    by_truth = rng.random() < truth_share
    strict = rng.uniform(0.3, 0.8)
    output: LevelOutput | None = None
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        output = run_level(network, boxes, context, partition, level, appearance)
        edge, node, target = level_loss(output, partition, truth, gamma)
        total = total + edge + 0.5 * node
        edge_log.append(float(edge.detach()))
        node_log.append(float(node.detach()))
        if last:
            break
        limit = math.log(strict / (1 - strict)) * (1 - number / len(WINDOWS))
        gain = target - 0.5 if by_truth else output.edge_logit.detach() - limit
        chosen = round_links(output.edges.source, output.edges.target, gain)
        drop = torch.sigmoid(output.node_logit.detach()) < (
            rng.uniform(0.02, 0.2) if number >= 2 and rng.random() < 0.7 else 0.0
        )
        source, target_node = output.edges.source[chosen], output.edges.target[chosen]
        drop[source] = False
        drop[target_node] = False
        joined = partition.joined(source, target_node)
        if drop.any() and not drop.all():
            dropped_boxes = drop[partition.node]
            whole = torch.zeros(len(joined.first), dtype=torch.bool, device=drop.device)
            whole[joined.node[dropped_boxes]] = True
            joined, rows = joined.without(whole)
            boxes, context, truth = boxes.take(rows), context[rows], truth.take(rows)
        partition = joined
    assert output is not None
    place = box_features(boxes, context, partition.node, output.nodes, output.node_logit.detach())
    logit = network.judge_boxes(context, place, output.state[partition.node])
    # A box is worth keeping in a track only if it lies on the track's own object.
    own = node_identity(partition, truth.identity)[partition.node]
    good = truth.valid.float() * ((own == truth.identity) | (output.nodes.count[partition.node] == 1))
    box = functional.binary_cross_entropy_with_logits(logit, good, truth.weight, reduction="sum")
    box = box / (len(good) if truth.weight is None else truth.weight.sum().clamp_min(1e-6))
    return HierarchyLoss(total + box, edge_log, node_log, float(box.detach()))


@torch.no_grad()
def measure_features(network: SpamNetwork, seed: int, device: torch.device, batches: int = 6) -> None:
    """Set the network's feature constants from some batches, lower levels rounded by the truth."""
    seen: dict[str, list[Tensor]] = {"node": [], "edge": [], "box": []}

    def watch(key: str) -> Callable[..., None]:
        return lambda module, inputs, _: seen[key].append(
            inputs[0][torch.randperm(len(inputs[0]), generator=shuffle)[:2000]]
        )

    shuffle = torch.Generator(device="cpu").manual_seed(seed)
    handles = [getattr(network, f"{key}_scale").register_forward_hook(watch(key)) for key in seen]
    for number in range(batches):
        batch = draw_batch(seed, -1 - number + (1 << 20), 6000, device)
        hierarchy_loss(network, batch, 99, np.random.default_rng(number), 1.0, 1.0)
    for handle in handles:
        handle.remove()
    for key, values in seen.items():
        whole = torch.cat(values)
        scale = getattr(network, f"{key}_scale")
        scale.mean.copy_(whole.mean(0))
        scale.spread.copy_(whole.std(0).clamp_min(0.05))


def pretrain(
    config: PretrainConfig, folder: Path, device: torch.device, report: Callable[[int, dict], None] | None = None
) -> SpamNetwork:
    """Train from nothing, or go on from the checkpoint in ``folder``; the end state is the same.

    Writes ``checkpoint.pt`` (resumable), ``log.jsonl`` (one line per save) and returns the trained network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = SpamNetwork(NetworkConfig()).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.iterations + 1, pct_start=0.1, final_div_factor=100
    )
    begin = _resume(folder / "checkpoint.pt", config, network, optimiser, schedule)
    if begin == 0 and config.start:
        network.load_state_dict(SpamModel.load(config.start, str(device)).network.state_dict())
    elif begin == 0:
        measure_features(network, config.seed, device)
    network.train()
    recent: list[HierarchyLoss] = []
    for iteration in range(begin, config.iterations):  # optimiser steps
        batch = draw_batch(config.seed, iteration, config.boxes, device, config.crowds)
        rng = np.random.default_rng([config.seed, iteration, 1])
        share = max(0.0, 1 - iteration / max(config.truth_rounding, 1)) * 0.7 + 0.05
        unlocked = len(WINDOWS) + 2 if config.start else 2 + iteration // config.unlock_every
        loss = hierarchy_loss(network, batch, unlocked, rng, share, config.gamma)
        optimiser.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append(loss)
        if report is not None:
            report(iteration, {"loss": float(loss.total.detach())})
        if (iteration + 1) % config.save_every == 0 or iteration + 1 == config.iterations:
            line = _summary(iteration + 1, recent)
            recent = []
            with (folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            _save(folder / "checkpoint.pt", config, network, optimiser, schedule, iteration + 1)
    return network.eval()


def _summary(iteration: int, recent: list[HierarchyLoss]) -> dict[str, object]:
    depth = max(len(r.edge) for r in recent)

    def mean(key: str) -> list[float]:
        rows = [[getattr(r, key)[n] for r in recent if len(r.edge) > n] for n in range(depth)]
        return [round(float(np.mean(row)), 4) for row in rows]

    return {
        "iteration": iteration, "loss": round(float(np.mean([float(r.total.detach()) for r in recent])), 4),
        "edge": mean("edge"), "node": mean("node"), "box": round(float(np.mean([r.box for r in recent])), 4),
    }  # fmt: skip


def _save(
    path: Path, config: PretrainConfig, network: SpamNetwork, optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler, iteration: int,
) -> None:  # fmt: skip
    """Write the checkpoint whole or not at all."""
    state = {"config": asdict(config), "network": network.state_dict(), "optimiser": optimiser.state_dict(),
             "schedule": schedule.state_dict(), "iteration": iteration}  # fmt: skip
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _resume(
    path: Path, config: PretrainConfig, network: SpamNetwork, optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> int:  # fmt: skip
    """Iterations already done according to the checkpoint, which is loaded."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["config"] != asdict(config):
        raise InputError(f"{path}: was made with another configuration; give the same one, or another folder")
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return int(state["iteration"])
