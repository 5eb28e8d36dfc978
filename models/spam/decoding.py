"""Run a trained hierarchy over videos of any length: chains of boxes, and how sure the model is of each step.

Levels with windows run on stretches of whole top windows, so that memory does not grow with the video; the seam level
joins what is left over the whole of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import box_features
from .columns import BoxColumns
from .graph import Appearance
from .hierarchy import WINDOWS, Level, LevelOutput, Partition, plan_levels, run_level, windows_in_blocks
from .network import SpamNetwork
from .rounding import round_links

BLOCK_OF_BOXES = 120_000  # boxes that go through the windowed levels together


@dataclass(frozen=True)
class Decisions:
    """Thresholds and calibration, all chosen on synthetic streams.

    Attributes:
        link: least probability of a link, at the first level and at the last; levels between are interpolated.
        drop: tracklets of a lower validity take no part in the levels above, from level ``drop_from`` on.
        drop_from: first level that drops.
        track: least expected share of true boxes of a track that is kept.
        box: least validity of a box that is kept in a kept track.
        link_calibration: per level index (seam last), slope and offset on the link's logit.
        box_calibration: slope and offset on the box's logit.
    """

    link: tuple[float, float] = (0.6, 0.5)
    drop: float = 0.05
    drop_from: int = 3
    track: float = 0.5
    box: float = 0.3
    link_calibration: tuple[tuple[float, float], ...] = ((1.0, 0.0),) * 8
    box_calibration: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True)
class Chains:
    """What the hierarchy decided, box by box.

    Attributes:
        node: (N,) int64, track of every box, or -1 for boxes of dropped tracklets; numbered by start time.
        num_nodes: number of tracks.
        box_logit: (N,) float32, raw validity logit.
        link_next: (N,) float32, raw logit of the link from this box to the next of its track; NaN at a track's end.
        link_level: (N,) int64, level index at which that link was made; -1 at the end of a track.
        rival: (N,) float32, at a track's first and last box the greatest raw logit of a link that was not made; else
            -inf.
    """

    node: Tensor
    num_nodes: int
    box_logit: Tensor
    link_next: Tensor
    link_level: Tensor
    rival: Tensor


@torch.no_grad()
def decode(
    network: SpamNetwork, boxes: BoxColumns, context: Tensor, appearance: Appearance | None, decisions: Decisions,
    longest: int, num_levels: int | None = None, classify_nodes: bool = True,
) -> Chains:  # fmt: skip
    """Chains of all lanes; ``longest`` is the length of the longest video in frames."""
    number = len(boxes)
    levels = plan_levels(longest, num_levels)
    link_next = boxes.scale.new_full((number,), float("nan"))
    link_level = torch.full((number,), -1, dtype=torch.int64, device=boxes.time.device)
    alive: list[Tensor] = []
    parts: list[Partition] = []
    for block in windows_in_blocks(boxes, WINDOWS[-1], BLOCK_OF_BOXES):
        rows = torch.arange(block.start, block.stop, device=boxes.time.device)
        part = Partition.singletons(len(rows), rows.device)
        for depth, level in enumerate(levels[:-1]):
            output = run_level(network, boxes.take(rows), context[rows], part, level, appearance)
            part, kept = _advance(output, part, level, depth, decisions, classify_nodes, rows, link_next, link_level)
            rows = rows[kept]
        alive.append(rows)
        parts.append(part)
    rows, part = _concatenate(alive, parts, boxes.time.device)
    seam = levels[-1]
    output = run_level(network, boxes.take(rows), context[rows], part, seam, appearance)
    part, kept = _advance(output, part, seam, len(WINDOWS), decisions, classify_nodes, rows, link_next, link_level)
    rows = rows[kept]
    return _judge(network, boxes, context, appearance, rows, part, seam, link_next, link_level)


def _advance(
    output: LevelOutput, part: Partition, level: Level, depth: int, decisions: Decisions, classify_nodes: bool,
    rows: Tensor, link_next: Tensor, link_level: Tensor,
) -> tuple[Partition, Tensor]:  # fmt: skip
    """Round a level: the joined partition, and which of the boxes stay; the links are written down."""
    share = min(depth / len(WINDOWS), 1.0)
    limit = torch.logit(torch.tensor(decisions.link[0] * (1 - share) + decisions.link[1] * share))
    source, target = output.edges.source, output.edges.target
    chosen = round_links(source, target, output.edge_logit - limit.to(output.edge_logit))
    from_row = rows[output.nodes.last[source[chosen]]]
    link_next[from_row] = output.edge_logit[chosen]
    link_level[from_row] = level.index
    joined = part.joined(source[chosen], target[chosen])
    drop = torch.sigmoid(output.node_logit) < decisions.drop
    drop[source[chosen]] = False
    drop[target[chosen]] = False
    if not classify_nodes or depth < decisions.drop_from or not drop.any():
        return joined, torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    whole = torch.zeros(len(joined.first), dtype=torch.bool, device=drop.device)
    whole[joined.node[drop[part.node]]] = True
    return joined.without(whole)


def _concatenate(alive: list[Tensor], parts: list[Partition], device: torch.device) -> tuple[Tensor, Partition]:
    """One partition of all blocks; nodes stay in the order of their start, as blocks follow each other in time."""
    if not parts:
        return torch.zeros(0, dtype=torch.int64, device=device), Partition.singletons(0, device)
    nodes = torch.tensor([0] + [len(p.first) for p in parts]).cumsum(0).tolist()
    boxes = torch.tensor([0] + [len(r) for r in alive]).cumsum(0).tolist()
    return torch.cat(alive), Partition(
        torch.cat([p.node + n for p, n in zip(parts, nodes, strict=False)]),
        torch.cat([p.first + n for p, n in zip(parts, boxes, strict=False)]),
        torch.cat([p.last + n for p, n in zip(parts, boxes, strict=False)]),
    )


def _judge(
    network: SpamNetwork, boxes: BoxColumns, context: Tensor, appearance: Appearance | None, rows: Tensor,
    part: Partition, seam: Level, link_next: Tensor, link_level: Tensor,
) -> Chains:  # fmt: skip
    """A last look at the finished tracks: validity of every box, and the best links that were not made."""
    number = len(boxes)
    node = torch.full((number,), -1, dtype=torch.int64, device=rows.device)
    node[rows] = part.node
    logit = boxes.scale.new_full((number,), -20.0)
    rival = boxes.scale.new_full((number,), float("-inf"))
    gone = node < 0
    link_next[gone], link_level[gone] = float("nan"), -1
    if len(rows):
        own, own_context = boxes.take(rows), context[rows]
        output = run_level(network, own, own_context, part, seam, appearance)
        rival.scatter_reduce_(0, rows[output.nodes.last[output.edges.source]], output.edge_logit, "amax")
        rival.scatter_reduce_(0, rows[output.nodes.first[output.edges.target]], output.edge_logit, "amax")
        features = box_features(own, own_context, part.node, output.nodes, output.node_logit)
        for piece in torch.arange(len(rows), device=rows.device).split(500_000):  # blocks, not boxes
            logit[rows[piece]] = network.judge_boxes(features[piece], output.state[part.node[piece]])
    return Chains(node, len(part.first), logit, link_next, link_level, rival)
