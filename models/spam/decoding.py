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
PHASE = 341  # frames (binary 101010101) by which windows of every length begin elsewhere in the second pass


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


@dataclass(frozen=True)
class _Links:
    """Links of one pass, by the row of the earlier box: the later box's row (-1 for none), raw logit, level index."""

    to: Tensor
    logit: Tensor
    level: Tensor

    @classmethod
    def nothing(cls, number: int, like: Tensor) -> _Links:
        none = torch.full((number,), -1, dtype=torch.int64, device=like.device)
        return cls(none, like.new_full((number,), float("nan")), none.clone())


@dataclass(frozen=True)
class _Pass:
    """Where a pass ended: the rows still in tracks, their partition, and the links made."""

    rows: Tensor
    part: Partition
    links: _Links


@torch.no_grad()
def decode(
    network: SpamNetwork, boxes: BoxColumns, context: Tensor, appearance: Appearance | None, decisions: Decisions,
    longest: int, num_levels: int | None = None, classify_nodes: bool = True, consensus: bool = True,
) -> Chains:  # fmt: skip
    """Chains of all lanes.

    A wrong link of a low level cannot be mended above it, and where windows begin is an accident. With ``consensus``
    the hierarchy therefore runs twice, with windows that begin elsewhere, and a third time, from its third level on,
    on what both agree on.

    Args:
        network: the weights.
        boxes: of all lanes.
        context: (N, C) of ``context.describe``.
        appearance: how to read embeddings, or None.
        decisions: thresholds.
        longest: length of the longest video in frames.
        num_levels: use only that many levels below the seam level.
        classify_nodes: drop tracklets that are no objects.
        consensus: make three passes instead of one.
    """
    levels = plan_levels(longest, num_levels)

    def run(columns: BoxColumns, steps: list[Level], links: _Links) -> _Pass:
        return _run(network, columns, context, appearance, decisions, steps, classify_nodes, links)

    done = run(boxes, levels, _Links.nothing(len(boxes), boxes.scale))
    if consensus and len(levels) > 3 and len(boxes):
        other = run(boxes.shifted(PHASE), levels, _Links.nothing(len(boxes), boxes.scale))
        both = _agreed(boxes, done, other)
        del done, other  # an hour of video leaves much behind
        done = run(boxes, levels[2:], both)
    return _judge(network, boxes, context, appearance, done, levels[-1])


def _agreed(boxes: BoxColumns, one: _Pass, two: _Pass) -> _Links:
    """The links that both passes made and that stay inside a top window."""
    same = (one.links.to == two.links.to) & (one.links.to >= 0)
    window = torch.div(boxes.time, WINDOWS[-1], rounding_mode="floor")
    same &= window[one.links.to.clamp_min(0)] == window
    lower = torch.minimum(one.links.logit, two.links.logit)
    return _Links(
        torch.where(same, one.links.to, -1),
        torch.where(same, lower, torch.nan),
        torch.where(same, one.links.level, -1),
    )


def _run(
    network: SpamNetwork, boxes: BoxColumns, context: Tensor, appearance: Appearance | None, decisions: Decisions,
    levels: list[Level], classify_nodes: bool, links: _Links,
) -> _Pass:  # fmt: skip
    """One pass over the levels (the last is the seam level), from the tracklets that ``links`` already makes."""
    alive: list[Tensor] = []
    parts: list[Partition] = []
    for block in windows_in_blocks(boxes, WINDOWS[-1], BLOCK_OF_BOXES):
        rows = torch.arange(block.start, block.stop, device=boxes.time.device)
        to = links.to[rows]
        part = Partition.singletons(len(rows), rows.device).joined((to >= 0).nonzero()[:, 0], to[to >= 0] - block.start)
        for level in levels[:-1]:
            output = run_level(network, boxes.take(rows), context[rows], part, level, appearance)
            part, kept = _advance(output, part, level, decisions, classify_nodes, rows, links)
            rows = rows[kept]
        alive.append(rows)
        parts.append(part)
    rows, part = _concatenate(alive, parts, boxes.time.device)
    output = run_level(network, boxes.take(rows), context[rows], part, levels[-1], appearance)
    part, kept = _advance(output, part, levels[-1], decisions, classify_nodes, rows, links)
    return _Pass(rows[kept], part, links)


def _advance(
    output: LevelOutput, part: Partition, level: Level, decisions: Decisions, classify_nodes: bool, rows: Tensor,
    links: _Links,
) -> tuple[Partition, Tensor]:  # fmt: skip
    """Round a level: the joined partition, and which of the boxes stay; the links are written down."""
    depth = len(WINDOWS) if level.window is None else WINDOWS.index(level.window)
    share = depth / len(WINDOWS)
    limit = torch.logit(torch.tensor(decisions.link[0] * (1 - share) + decisions.link[1] * share))
    source, target = output.edges.source, output.edges.target
    chosen = round_links(source, target, output.edge_logit - limit.to(output.edge_logit))
    from_row = rows[output.nodes.last[source[chosen]]]
    links.to[from_row] = rows[output.nodes.first[target[chosen]]]
    links.logit[from_row] = output.edge_logit[chosen]
    links.level[from_row] = level.index
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
    network: SpamNetwork, boxes: BoxColumns, context: Tensor, appearance: Appearance | None, done: _Pass, seam: Level
) -> Chains:
    """A last look at the finished tracks: validity of every box, and the best links that were not made."""
    rows, part = done.rows, done.part
    number = len(boxes)
    node = torch.full((number,), -1, dtype=torch.int64, device=rows.device)
    node[rows] = part.node
    logit = boxes.scale.new_full((number,), -20.0)
    rival = boxes.scale.new_full((number,), float("-inf"))
    gone = node < 0
    done.links.logit[gone], done.links.level[gone] = float("nan"), -1
    if len(rows):
        own, own_context = boxes.take(rows), context[rows]
        output = run_level(network, own, own_context, part, seam, appearance)
        rival.scatter_reduce_(0, rows[output.nodes.last[output.edges.source]], output.edge_logit, "amax")
        rival.scatter_reduce_(0, rows[output.nodes.first[output.edges.target]], output.edge_logit, "amax")
        place = box_features(own, own_context, part.node, output.nodes, output.node_logit)
        for piece in torch.arange(len(rows), device=rows.device).split(50_000):  # blocks, not boxes
            states = output.state[part.node[piece]]
            logit[rows[piece]] = network.judge_boxes(own_context[piece], place[piece], states)
    return Chains(node, len(part.first), logit, done.links.logit, done.links.level, rival)
