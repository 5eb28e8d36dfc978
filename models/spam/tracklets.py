"""State of tracklets: what a level of the hierarchy knows of every node.

Motion at both ends is a weighted straight-line fit (weights fall off with the time from the end; SUSHI, Cetintas et
al., CVPR 2023, section 3.3 takes mean velocities), at a short and at a long time scale. Fits are closed-form from sums
over a node's boxes, so that a level costs a handful of scatter operations whatever the lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .columns import BoxColumns
from .context import NAMES

# Time constants of the end fits in seconds, and the ridge on their velocity: (noise / expected speed)^2 in s^2.
PIECE = 200_000  # boxes whose moments are in memory at once
HORIZONS = ((0.2, 4e-4), (1.2, 4e-3))


@dataclass(frozen=True)
class Tracklets:
    """Nodes of a level, sorted by start time.

    Attributes:
        start: (M,) int64, global time of the first box.
        end: (M,) int64, global time of the last box.
        first: (M,) int64, row of the first box.
        last: (M,) int64, row of the last box.
        count: (M,) float32, number of boxes.
        lane: (M,) int64.
        scale: (M,) float32, geometric mean of the boxes' scales, pixels.
        ends: (M, 2 sides, 2 horizons, 8) float32, fitted state (4) at the end and its change a second (4); side 0 is
            the last box's.
        weight: (M, 2, 2) float32, effective number of boxes behind every fit.
        noise: (M, 4) float32, spread of the boxes around the short fits, positions in units of scale.
        context: (M, C) float32, mean of the boxes' context.
        embedding: (M, D) float32 of unit length, or None.
    """

    start: Tensor
    end: Tensor
    first: Tensor
    last: Tensor
    count: Tensor
    lane: Tensor
    scale: Tensor
    ends: Tensor
    weight: Tensor
    noise: Tensor
    context: Tensor
    embedding: Tensor | None

    def __len__(self) -> int:
        return len(self.start)


def group_sum(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """(groups, ...) sum of the rows of every group."""
    return values.new_zeros(groups, *values.shape[1:]).index_add_(0, group, values)


def build_tracklets(boxes: BoxColumns, context: Tensor, node: Tensor, first: Tensor, last: Tensor) -> Tracklets:
    """Nodes from boxes and the node of every box.

    Args:
        boxes: N boxes.
        context: (N, C) of ``context.describe``.
        node: (N,) int64, node of every box; nodes are numbered by start time.
        first: (M,) int64, row of every node's first box.
        last: (M,) int64, row of every node's last box.
    """
    nodes = len(first)
    count = torch.bincount(node, minlength=nodes).float()
    scale = (group_sum(boxes.scale.log(), node, nodes) / count).exp()
    ends, weight, noise = _end_fits(boxes, node, first, last, scale)
    embedding = None
    if boxes.embedding is not None:
        embedding = torch.nn.functional.normalize(group_sum(boxes.embedding, node, nodes), dim=1)
    return Tracklets(
        start=boxes.time[first], end=boxes.time[last], first=first, last=last, count=count, lane=boxes.lane[first],
        scale=scale, ends=ends, weight=weight, noise=noise,
        context=group_sum(context, node, nodes) / count[:, None], embedding=embedding,
    )  # fmt: skip


def _end_fits(
    boxes: BoxColumns, node: Tensor, first: Tensor, last: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Straight-line fits at both ends: states and velocities, effective counts, spread around the short fit."""
    nodes = len(first)
    fits, weights = [], []
    noise = boxes.scale.new_zeros(nodes, 4)
    pieces = torch.arange(len(boxes), device=node.device).split(PIECE)
    for anchor, sign in ((last, -1.0), (first, 1.0)):
        base, moment = boxes.state[anchor], boxes.time[anchor]

        def seen_from(
            rows: Tensor, base: Tensor = base, moment: Tensor = moment, sign: float = sign, horizon: float = 1.0
        ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Node, signed seconds from the end, offset from its state, and weight of some boxes."""
            own = node[rows]
            away = (boxes.time[rows] - moment[own]).float() / boxes.lane_rate[boxes.lane[rows]]
            return own, away, boxes.state[rows] - base[own], torch.exp(-sign * away / horizon)

        for horizon, ridge in HORIZONS:
            s = boxes.scale.new_zeros(nodes, 11)
            for rows in pieces:  # blocks of boxes, to bound what is in memory at once
                own, away, offset, w = seen_from(rows, horizon=horizon)
                moments = [
                    torch.stack([w, w * away, w * away**2], 1),
                    w[:, None] * offset,
                    (w * away)[:, None] * offset,
                ]
                s.index_add_(0, own, torch.cat(moments, 1))
            s0, s1, s2, p, q = s[:, :1], s[:, 1:2], s[:, 2:3], s[:, 3:7], s[:, 7:]
            velocity = (s0 * q - s1 * p) / (s0 * (s2 + ridge) - s1**2)
            state = (p - velocity * s1) / s0
            fits.append(torch.cat([state + base, velocity], 1))
            weights.append(s0[:, 0])
            if len(fits) > 1:
                continue
            for rows in pieces:  # blocks of boxes
                own, away, offset, w = seen_from(rows, horizon=horizon)
                miss = offset - state[own] - velocity[own] * away[:, None]
                miss = torch.cat([miss[:, :2] / scale[own, None], miss[:, 2:]], 1)
                noise.index_add_(0, own, w[:, None] * miss**2)
            noise = (noise / s0).sqrt()
    ends = torch.stack(fits, 1).view(nodes, 2, len(HORIZONS), 8)
    return ends, torch.stack(weights, 1).view(nodes, 2, len(HORIZONS)), noise


def node_features(nodes: Tracklets, boxes: BoxColumns, context: Tensor) -> Tensor:
    """(M, F) float32 features of every node, each about of unit size."""
    rate = boxes.lane_rate[nodes.lane]
    span = (nodes.end - nodes.start).float()
    speed = nodes.ends[:, :, 1, 4:6].norm(dim=-1) / nodes.scale[:, None]  # (M, 2) scales a second
    growth = nodes.ends[:, :, 1, 6:8].mean(-1)
    edges = torch.cat([context[nodes.last][:, BORDER], context[nodes.first][:, BORDER]], 1)
    own = torch.stack(
        [nodes.count.log(), (span / rate + 0.1).log(), nodes.count / (span + 1), (nodes.count == 1).float()], 1
    )
    return torch.cat(
        [nodes.context, edges, own, torch.log1p(speed), growth.clamp(-2, 2), torch.log(nodes.noise + 0.01)], 1
    )


# Columns of the context that matter at the ends of a tracklet: hidden, border_side, border_bottom, covered_by_better.
BORDER = [6, 11, 12, 4]
NUM_NODE_FEATURES = len(NAMES) + 2 * len(BORDER) + 4 + 2 + 2 + 4
