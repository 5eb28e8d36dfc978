"""Run a trained hierarchy over videos of any length: chains of boxes, and how sure the model is of each step.

Levels with windows run on stretches of whole top windows, so that memory does not grow with the video; the seam level
joins what is left over the whole of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .boxes import box_features
from .columns import BoxColumns
from .graph import Appearance
from .hierarchy import WINDOWS, Level, LevelOutput, Partition, plan_levels, run_level, windows_in_blocks
from .network import SpamNetwork
from .rounding import round_links
from .ties import NodeTies, Ties, node_ties, nothing_tied, tie_links

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
        link_to: (N,) int64, the next box of the track, or -1.
        settled: (N,) bool, links to the next box that exist because a person said so.
        open_source: (E,) int64, last box of a track that the model could have gone on with, but did not.
        open_target: (E,) int64, first box of the other track.
        open_logit: (E,) float32, raw logit of that link.
    """

    node: Tensor
    num_nodes: int
    box_logit: Tensor
    link_next: Tensor
    link_level: Tensor
    rival: Tensor
    link_to: Tensor
    settled: Tensor
    open_source: Tensor
    open_target: Tensor
    open_logit: Tensor


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

    def copy(self) -> _Links:
        return _Links(self.to.clone(), self.logit.clone(), self.level.clone())


@dataclass(frozen=True)
class _Pass:
    """Where a pass ended: the rows still in tracks, their partition, and the links made."""

    rows: Tensor
    part: Partition
    links: _Links


@dataclass
class Memory:
    """What a run over the same candidates can take over from the one before.

    Attributes:
        agreed: links that both phases made; no answer changes them.
        ties: that the windows below were computed with.
        begun: (N,) int64, links that the last pass began with, -1 for none.
        links: that it had made before the seam level.
        alive: (N,) bool, boxes still in play before the seam level.
        windows_computed: top windows that the last run had to compute.
    """

    agreed: _Links | None = None
    ties: Ties | None = None
    begun: Tensor | None = None
    links: _Links | None = None
    alive: Tensor | None = None
    windows_computed: int = 0


@dataclass(frozen=True)
class _Judge:
    """What every level of a run needs alike."""

    network: SpamNetwork
    boxes: BoxColumns
    context: Tensor
    appearance: Appearance | None
    decisions: Decisions
    classify_nodes: bool

    def look(self, rows: Tensor, part: Partition, level: Level) -> LevelOutput:
        """What the network says of a level of some boxes."""
        return run_level(self.network, self.boxes.take(rows), self.context[rows], part, level, self.appearance)


@torch.no_grad()
def decode(
    network: SpamNetwork, boxes: BoxColumns, context: Tensor, appearance: Appearance | None, decisions: Decisions,
    longest: int, num_levels: int | None = None, classify_nodes: bool = True, consensus: bool = True,
    ties: Ties | None = None, memory: Memory | None = None,
) -> Chains:  # fmt: skip
    """Chains of all lanes.

    A wrong link of a low level cannot be mended above it, and where windows begin is an accident. With ``consensus``
    the hierarchy therefore runs twice, with windows that begin elsewhere, and a third time, from its third level on,
    on what both agree on. What people said is kept to in the third pass, before and at every level of it, so that
    another answer leaves the first two as they are.

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
        ties: what people said, or None.
        memory: of earlier runs with the same arguments but for ``ties``; it is brought up to date.
    """
    levels = plan_levels(longest, num_levels)
    judge = _Judge(network, boxes, context, appearance, decisions, classify_nodes)
    memory = memory if memory is not None else Memory()
    nothing = _Links.nothing(len(boxes), boxes.scale)
    if consensus and len(levels) > 3 and len(boxes):
        if memory.agreed is None:
            done = _run(judge, levels, nothing, None, Memory())
            other = _run(replace(judge, boxes=boxes.shifted(PHASE)), levels, nothing, None, Memory())
            memory.agreed = _agreed(boxes, done, other)
            del done, other  # an hour of video leaves much behind
        begin, levels = memory.agreed, levels[2:]
    else:
        begin = nothing
    settled = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.time.device)
    if ties is not None:
        to, settled = tie_links(begin.to, torch.nan_to_num(begin.logit, nan=0.0), boxes.time, ties)
        same = to == begin.to
        begin = _Links(to, torch.where(same, begin.logit, torch.nan), torch.where(same, begin.level, -1))
    done = _run(judge, levels, begin, ties, memory)
    return _judge(judge, done, levels[-1], ties, settled)


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


def _run(judge: _Judge, levels: list[Level], begin: _Links, ties: Ties | None, memory: Memory) -> _Pass:
    """One pass over the levels (the last is the seam level), from the tracklets that ``begin`` already makes.

    Levels with windows never look beyond a top window. So only those are computed in which something has changed since
    ``memory`` was made, and the seam level over all.
    """
    boxes = judge.boxes
    inside = _inside_windows(boxes, begin.to)
    fresh = _fresh(boxes, begin.to, ties, memory)
    if memory.links is None or memory.alive is None:
        links, alive = begin.copy(), torch.ones(len(boxes), dtype=torch.bool, device=boxes.time.device)
    else:
        links, alive = memory.links.copy(), memory.alive.clone()
        for old, new in ((links.to, begin.to), (links.logit, begin.logit), (links.level, begin.level)):
            old[fresh] = new[fresh]
        alive[fresh] = True
    links.to[fresh] = torch.where(inside, begin.to, -1)[fresh]
    if ties is not None:
        alive &= ~ties.gone
    # Links of people over the border of a window wait for the seam level; until then nothing may take their place.
    waiting = (begin.to >= 0) & ~inside
    awaited = torch.zeros_like(waiting)
    awaited[begin.to[waiting]] = True
    chosen = (fresh & alive).nonzero()[:, 0]
    for block in windows_in_blocks(boxes.time[chosen], WINDOWS[-1], BLOCK_OF_BOXES):
        rows = chosen[block]
        part = _partition(rows, links.to)
        for level in levels[:-1]:
            output = judge.look(rows, part, level)
            tied = None if ties is None else node_ties(ties, rows, part.node, len(part.first), waiting, awaited)
            part, kept = _advance(output, part, level, judge, rows, links, tied)
            alive[rows[~kept]] = False
            rows = rows[kept]
    memory.ties, memory.begun, memory.links, memory.alive = ties, begin.to, links.copy(), alive
    memory.windows_computed = len(torch.unique(_window(boxes)[fresh]))
    alive = alive.clone()
    links.to[waiting] = begin.to[waiting]
    rows = alive.nonzero()[:, 0]
    part = _partition(rows, links.to)
    output = judge.look(rows, part, levels[-1])
    never = torch.zeros_like(waiting)
    tied = None if ties is None else node_ties(ties, rows, part.node, len(part.first), never, never)
    part, kept = _advance(output, part, levels[-1], judge, rows, links, tied)
    return _Pass(rows[kept], part, links)


def _window(boxes: BoxColumns) -> Tensor:
    """(N,) int64, top window of every box."""
    return torch.div(boxes.time, WINDOWS[-1], rounding_mode="floor")


def _inside_windows(boxes: BoxColumns, to: Tensor) -> Tensor:
    """(N,) bool: links that do not cross the border of a top window."""
    window = _window(boxes)
    return (to >= 0) & (window[to.clamp_min(0)] == window)


def _fresh(boxes: BoxColumns, begun: Tensor, ties: Ties | None, memory: Memory) -> Tensor:
    """(N,) bool: boxes of the top windows in which something has changed since ``memory`` was made."""
    if memory.begun is None:
        return torch.ones(len(boxes), dtype=torch.bool, device=boxes.time.device)
    nothing = nothing_tied(len(boxes), boxes.time.device)
    changed = (ties or nothing).changed(memory.ties or nothing)
    other = begun != memory.begun
    changed |= other
    for links in (begun, memory.begun):
        ends = links[other]
        changed[ends[ends >= 0]] = True
    window = _window(boxes)
    return torch.isin(window, window[changed].unique())


def _partition(rows: Tensor, to: Tensor) -> Partition:
    """Tracklets of the rows that links between them make."""
    place = torch.full_like(to, -1)
    place[rows] = torch.arange(len(rows), device=rows.device)
    target = torch.where(to[rows] >= 0, place[to[rows].clamp_min(0)], -1)
    source = (target >= 0).nonzero()[:, 0]
    return Partition.singletons(len(rows), rows.device).joined(source, target[source])


def _advance(
    output: LevelOutput, part: Partition, level: Level, judge: _Judge, rows: Tensor, links: _Links,
    tied: NodeTies | None,
) -> tuple[Partition, Tensor]:  # fmt: skip
    """Round a level: the joined partition, and which of the boxes stay; the links are written down."""
    decisions = judge.decisions
    depth = len(WINDOWS) if level.window is None else WINDOWS.index(level.window)
    share = depth / len(WINDOWS)
    limit = torch.logit(torch.tensor(decisions.link[0] * (1 - share) + decisions.link[1] * share))
    source, target = output.edges.source, output.edges.target
    gain = output.edge_logit - limit.to(output.edge_logit)
    start, end = output.nodes.start, output.nodes.end
    if tied is not None:
        gain = torch.where(tied.forbids(source, target, start, end), -torch.inf, gain)
    chosen = round_links(source, target, gain)
    if tied is not None:
        rank = chosen.nonzero()[:, 0]
        chosen[rank[~tied.mend(source[chosen], target[chosen], gain[chosen], start, end)]] = False
    from_row = rows[output.nodes.last[source[chosen]]]
    links.to[from_row] = rows[output.nodes.first[target[chosen]]]
    links.logit[from_row] = output.edge_logit[chosen]
    links.level[from_row] = level.index
    joined = part.joined(source[chosen], target[chosen])
    drop = torch.sigmoid(output.node_logit) < decisions.drop
    drop[source[chosen]] = False
    drop[target[chosen]] = False
    if tied is not None:
        drop &= ~tied.stays
    if not judge.classify_nodes or depth < decisions.drop_from or not drop.any():
        return joined, torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    whole = torch.zeros(len(joined.first), dtype=torch.bool, device=drop.device)
    whole[joined.node[drop[part.node]]] = True
    return joined.without(whole)


def _judge(judge: _Judge, done: _Pass, seam: Level, ties: Ties | None, settled: Tensor) -> Chains:
    """A last look at the finished tracks: validity of every box, and the links that were not made."""
    rows, part, boxes = done.rows, done.part, judge.boxes
    number = len(boxes)
    node = torch.full((number,), -1, dtype=torch.int64, device=rows.device)
    node[rows] = part.node
    logit = boxes.scale.new_full((number,), -20.0)
    rival = boxes.scale.new_full((number,), float("-inf"))
    gone = node < 0
    done.links.logit[gone], done.links.level[gone], done.links.to[gone] = float("nan"), -1, -1
    source = target = rows.new_zeros(0)
    gain = boxes.scale.new_zeros(0)
    if len(rows):
        output = judge.look(rows, part, seam)
        source, target, gain = output.edges.source, output.edges.target, output.edge_logit
        if ties is not None:
            never = torch.zeros_like(gone)
            tied = node_ties(ties, rows, part.node, len(part.first), never, never)
            free = ~tied.forbids(source, target, output.nodes.start, output.nodes.end)
            source, target, gain = source[free], target[free], gain[free]
        source, target = rows[output.nodes.last[source]], rows[output.nodes.first[target]]
        rival.scatter_reduce_(0, source, gain, "amax")
        rival.scatter_reduce_(0, target, gain, "amax")
        own, own_context = boxes.take(rows), judge.context[rows]
        place = box_features(own, own_context, part.node, output.nodes, output.node_logit)
        for piece in torch.arange(len(rows), device=rows.device).split(50_000):  # blocks, not boxes
            states = output.state[part.node[piece]]
            logit[rows[piece]] = judge.network.judge_boxes(own_context[piece], place[piece], states)
    return Chains(
        node, len(part.first), logit, done.links.logit, done.links.level, rival, done.links.to,
        settled & (done.links.to >= 0), source, target, gain,
    )  # fmt: skip
