"""The graph of one level: which tracklets may continue which, and what is measured of every such pair.

All windows of all videos are one disconnected graph. A pair (i, j) is considered if j starts after i has ended, in the
same window; it survives if motion can explain it and if each is among the other's k best (SUSHI, section 3.2:
reciprocal k-nearest pruning, here on past and future neighbours apart).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import geometry
from .columns import BoxColumns
from .pairs import blocks_of_pairs, rank_within
from .tracklets import HORIZONS, Tracklets

NUM_EDGE_FEATURES = 33


@dataclass(frozen=True)
class Edges:
    """Hypotheses "target directly continues source".

    Attributes:
        source: (E,) int64, the earlier node.
        target: (E,) int64, the later node.
        features: (E, NUM_EDGE_FEATURES) float32.
    """

    source: Tensor
    target: Tensor
    features: Tensor


def build_edges(
    nodes: Tracklets,
    boxes: BoxColumns,
    window: int | None,
    max_gap: Tensor,
    neighbours: int,
    appearance: Appearance | None,
) -> Edges:
    """Pruned pairs of a level.

    Args:
        nodes: sorted by start.
        boxes: the boxes behind them.
        window: length of the level's windows in frames; None for the seam level, where only the gap is bounded.
        max_gap: (M,) int64, longest gap after every node in frames (start of the later minus end of the earlier).
        neighbours: k of the reciprocal pruning.
        appearance: how to read distances of embeddings; None without embeddings.
    """
    limit = nodes.end + torch.minimum(max_gap, _reach(nodes, boxes))
    limit = torch.minimum(limit, boxes.lane_last[nodes.lane])
    if window is not None:
        limit = torch.minimum(limit, (nodes.end // window + 1) * window - 1)
    first = torch.searchsorted(nodes.start, nodes.end, right=True)
    last = torch.searchsorted(nodes.start, limit, right=True)
    ends, starts = _bounds(nodes, boxes, 0), _bounds(nodes, boxes, 1)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for i, j in blocks_of_pairs(first, last):
        near = _reachable(nodes, boxes, i, j, ends, starts)
        i, j = i[near], j[near]
        cost = _cost(nodes, boxes, i, j, appearance)
        best = rank_within(i, cost) < neighbours  # all pairs of a source are in one block
        kept.append((i[best], j[best], cost[best]))
    source, target, cost = (torch.cat([k[n] for k in kept]) for n in range(3))
    best = rank_within(target, cost) < neighbours
    source, target, cost = source[best], target[best], cost[best]
    return Edges(source, target, _features(nodes, boxes, source, target, cost, window, appearance))


def _scale(nodes: Tracklets, boxes: BoxColumns, i: Tensor, j: Tensor) -> Tensor:
    """(P,) size that displacements of a pair are measured in: mean of the facing ends' scales, pixels."""
    return (boxes.scale[nodes.last[i]] + boxes.scale[nodes.first[j]]) / 2


def _gap(nodes: Tracklets, boxes: BoxColumns, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
    """Gap in frames and in seconds, (P,) float32 each."""
    frames = (nodes.start[j] - nodes.end[i]).float()
    return frames, frames / boxes.lane_rate[nodes.lane[i]]


def _miss(nodes: Tracklets, i: Tensor, j: Tensor, seconds: Tensor, horizon: int) -> Tensor:
    """(P, 2) pixels between both ends when each goes half the gap towards the other."""
    one, two = nodes.ends[i, 0, horizon], nodes.ends[j, 1, horizon]
    half = (seconds / 2).clamp_max(2.0)[:, None]
    return two[:, :2] - two[:, 4:6] * half - one[:, :2] - one[:, 4:6] * half


def _reach(nodes: Tracklets, boxes: BoxColumns) -> Tensor:
    """(M,) int64, frames that a node may bridge: a lone box says too little to be found again after a long gap."""
    return ((0.5 + 0.5 * nodes.count) * boxes.lane_rate[nodes.lane]).ceil().clamp(2, 1 << 20).long()


def _reachable(nodes: Tracklets, boxes: BoxColumns, i: Tensor, j: Tensor, ends: Tensor, starts: Tensor) -> Tensor:
    """Rows of the pairs that an object could bridge at the speed that it shows, or one that has shown none.

    Most pairs are far apart. A first bound reads four numbers of each end (``_bounds``): extrapolation cannot bring two
    ends nearer than their distance less what both speeds cover. Only what passes it is looked at closely.
    """
    seconds = (nodes.start[j] - nodes.end[i]).float() / boxes.lane_rate[nodes.lane[i]]
    one, two = ends[i], starts[j]
    room = (1.2 + 3.0 * seconds).clamp_max(9.0) * ((one[:, 2] + two[:, 2]) / 2)
    still = (one[:, :2] - two[:, :2]).abs().sum(1)
    near = still < room + (one[:, 3] + two[:, 3]) * (seconds / 2).clamp_max(2.0) + 1e-3
    rows = near.nonzero()[:, 0]
    i, j, seconds, room, still = i[rows], j[rows], seconds[rows], room[rows], still[rows]
    fitted = _miss(nodes, i, j, seconds, 1).abs().sum(1)
    change = (boxes.state[nodes.first[j], 2:] - boxes.state[nodes.last[i], 2:]).abs().sum(1)
    known = nodes.start[j] - nodes.end[i] <= _reach(nodes, boxes)[j]
    good = known & (torch.minimum(still, fitted) < room) & (change < 1.2 + 0.8 * seconds.clamp_max(2.0))
    return rows[good]


def _bounds(nodes: Tracklets, boxes: BoxColumns, side: int) -> Tensor:
    """(M, 4): centre, scale, speed (sum of both axes, pixels a second) at a node's last (side 0) or first (1) box."""
    row = nodes.first if side else nodes.last
    speed = nodes.ends[:, side, 1, 4:6].abs().sum(1)
    return torch.cat([boxes.state[row, :2], boxes.scale[row, None], speed[:, None]], 1)


def _cost(nodes: Tracklets, boxes: BoxColumns, i: Tensor, j: Tensor, appearance: Appearance | None) -> Tensor:
    """(P,) pruning cost: the less it is, the likelier the pair; motion and size, and appearance where there is any."""
    frames, seconds = _gap(nodes, boxes, i, j)
    scale = _scale(nodes, boxes, i, j)
    still = (boxes.state[nodes.first[j], :2] - boxes.state[nodes.last[i], :2]).norm(dim=1)
    best = torch.stack([still] + [_miss(nodes, i, j, seconds, h).norm(dim=1) for h in range(len(HORIZONS))], 1)
    change = (boxes.state[nodes.first[j], 2:] - boxes.state[nodes.last[i], 2:]).abs().sum(1)
    cost = (0.6 * best.min(1).values + 0.4 * best[:, 2]) / (scale * (0.25 + seconds.clamp_max(2.0)))
    cost = cost + change + 0.15 * torch.log1p(frames)
    if appearance is not None:
        cost = cost - 0.2 * appearance.evidence(nodes, i, j)
    return cost


def _features(
    nodes: Tracklets, boxes: BoxColumns, i: Tensor, j: Tensor, cost: Tensor, window: int | None,
    appearance: Appearance | None,
) -> Tensor:  # fmt: skip
    """(P, NUM_EDGE_FEATURES), signed quantities through asinh so that outliers stay readable."""
    frames, seconds = _gap(nodes, boxes, i, j)
    scale = _scale(nodes, boxes, i, j)[:, None]
    end, begin = boxes.state[nodes.last[i]], boxes.state[nodes.first[j]]
    out = [frames.log()[:, None], seconds.sqrt()[:, None]]
    out += [torch.asinh(2 * (begin[:, :2] - end[:, :2]) / scale), 2 * (begin[:, 2:] - end[:, 2:])]
    slack = (0.25 + seconds)[:, None]
    for horizon in range(len(HORIZONS)):
        miss = _miss(nodes, i, j, seconds, horizon)
        length = miss.norm(dim=1, keepdim=True) / scale
        one, two = nodes.ends[i, 0, horizon], nodes.ends[j, 1, horizon]
        turn = (two[:, 4:6] - one[:, 4:6]) / scale
        half = (seconds / 2).clamp_max(2.0)[:, None]
        ahead = torch.cat([one[:, :2] + one[:, 4:6] * half, one[:, 2:4]], 1)
        back = torch.cat([two[:, :2] - two[:, 4:6] * half, two[:, 2:4]], 1)
        overlap = geometry.giou(geometry.corners(ahead), geometry.corners(back))[:, None]
        growth = (two[:, 2:4] - one[:, 2:4]) / slack
        weight = torch.log1p(torch.stack([nodes.weight[i, 0, horizon], nodes.weight[j, 1, horizon]], 1))
        out += [torch.asinh(2 * miss / scale), torch.log(length + 0.02), torch.log(length / slack + 0.02),
                torch.asinh(turn.norm(dim=1, keepdim=True)), overlap, growth.clamp(-3, 3), weight]  # fmt: skip
    rival = torch.stack([_margin(i, cost, len(nodes)), _margin(j, cost, len(nodes))], 1)
    out += [cost[:, None].clamp(-3, 6), rival.clamp(-4, 4)]
    noise = (nodes.noise[i, :2].norm(dim=1) + nodes.noise[j, :2].norm(dim=1)) / 2
    out += [torch.log(noise + 0.01)[:, None]]
    # Without embeddings the evidence is nil, but whether a pair has rivals at all is still told.
    nil = torch.zeros_like(cost)
    evidence = nil if appearance is None else appearance.evidence(nodes, i, j)
    known = nil if appearance is None else appearance.known[nodes.lane[i]].float()
    lead = evidence - _best_rival(i, j, evidence, len(nodes))
    out += [evidence[:, None], lead[:, None], known[:, None]]
    return torch.cat(out, 1)


def _margin(group: Tensor, cost: Tensor, groups: int) -> Tensor:
    """(P,) how much the best other pair of the group is dearer than this one; 4 where there is no other."""
    infinite = cost.new_full((groups,), float("inf"))
    lowest = infinite.scatter_reduce(0, group, cost, "amin")
    is_lowest = cost <= lowest[group]
    second = infinite.scatter_reduce(0, group, torch.where(is_lowest, torch.inf, cost), "amin")
    other = torch.where(is_lowest, second[group], lowest[group])
    return torch.where(other.isfinite(), other - cost, torch.full_like(cost, 4.0))


def _best_rival(i: Tensor, j: Tensor, evidence: Tensor, groups: int) -> Tensor:
    """(P,) greatest evidence among the other pairs of either node."""
    return torch.maximum(
        -(_margin(i, -evidence, groups).clamp_max(4.0) - evidence),
        -(_margin(j, -evidence, groups).clamp_max(4.0) - evidence),
    )


@dataclass(frozen=True)
class Appearance:
    """How distances of embeddings are read, video by video.

    Two boxes of one frame are never one object, and boxes of neighbouring frames that overlap almost wholly nearly
    always are: these give the spread of similarities for different and for equal objects, whatever network made the
    vectors.

    Attributes:
        known: (L,) bool, whether the lane has embeddings.
        different: (L, 2) float32, mean and spread of the cosine similarity of different objects.
        same: (L, 2) float32, of the same object.
    """

    known: Tensor
    different: Tensor
    same: Tensor

    def evidence(self, nodes: Tracklets, i: Tensor, j: Tensor) -> Tensor:
        """(P,) log-likelihood ratio "same object", in [-4, 4]; 0 where the lane has no embeddings."""
        assert nodes.embedding is not None
        cosine = (nodes.embedding[i] * nodes.embedding[j]).sum(1)
        lane = nodes.lane[i]

        def likelihood(curve: Tensor) -> Tensor:
            return -0.5 * ((cosine - curve[lane, 0]) / curve[lane, 1]) ** 2 - curve[lane, 1].log()

        # above the mean of "same" nothing speaks against it
        ratio = likelihood(self.same) - likelihood(self.different)
        return torch.where(self.known[lane], ratio.clamp(-4, 4), torch.zeros_like(ratio))


def fit_appearance(boxes: BoxColumns, limit: int = 200_000) -> Appearance | None:
    """The lane-wise reading of embedding similarities; None without embeddings."""
    if boxes.embedding is None:
        return None
    lanes = len(boxes.lane_rate)
    rows = torch.arange(len(boxes), device=boxes.time.device)
    same_frame = torch.searchsorted(boxes.time, boxes.time, right=True)
    next_frame = torch.searchsorted(boxes.time, boxes.time + 1, right=True)
    stats = []
    for first, last, close in ((rows + 1, same_frame, False), (same_frame, next_frame, True)):
        total = boxes.scale.new_zeros(lanes, 3)
        for i, j in blocks_of_pairs(first, last, limit):
            lane = boxes.lane[i]
            if close:
                change = (boxes.state[i] - boxes.state[j]).abs()
                good = ((change[:, 0] + change[:, 1]) / boxes.scale[i] < 0.2) & (change[:, 2:].sum(1) < 0.2)
                good &= boxes.lane[j] == lane
            else:
                good = geometry.intersection(geometry.corners(boxes.state[i]), geometry.corners(boxes.state[j])) == 0
            i, j, lane = i[good], j[good], lane[good]
            cosine = (boxes.embedding[i] * boxes.embedding[j]).sum(1)
            total.index_add_(0, lane, torch.stack([torch.ones_like(cosine), cosine, cosine**2], 1))
        # a few imagined pairs keep lanes with little evidence sane
        prior = 5.0 * torch.tensor([1.0, 0.6, 0.45] if close else [1.0, 0.0, 0.09], device=total.device)
        total = total + prior
        mean = total[:, 1] / total[:, 0]
        stats.append(torch.stack([mean, (total[:, 2] / total[:, 0] - mean**2).clamp_min(1e-3).sqrt()], 1))
    known = torch.zeros(lanes, device=rows.device).index_add_(0, boxes.lane, boxes.embedding.abs().sum(1)) > 0
    return Appearance(known, stats[0], stats[1])
