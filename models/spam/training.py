"""Targets and loss of the hierarchy, level by level (SUSHI, section 3.5; SPAM adds the nodes)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .graph import Edges
from .hierarchy import LevelOutput, Partition


@dataclass(frozen=True)
class Truth:
    """What is known of every box.

    Attributes:
        identity: (N,) int64, true object, unique over all videos of the batch, or -1.
        valid: (N,) bool, whether the box overlaps its object by an IoU of 0.5.
        weight: (N,) float32, how much ``valid`` counts; None for 1 everywhere.
        link_weight: (N,) float32, how much ``identity`` counts; None for 1 everywhere.
        group: (N,) int64, objects that may be one, unique over the batch, or -1: what is of one group and of different
            objects is no lesson; None where every object is known.
    """

    identity: Tensor
    valid: Tensor
    weight: Tensor | None = None
    link_weight: Tensor | None = None
    group: Tensor | None = None

    def take(self, rows: Tensor) -> Truth:
        """The truth of these boxes."""
        columns = (self.identity, self.valid, self.weight, self.link_weight, self.group)
        return Truth(*(None if column is None else column[rows] for column in columns))  # type: ignore[arg-type]


def node_identity(partition: Partition, identity: Tensor) -> Tensor:
    """(M,) identity of at least half of a node's boxes, else -1 (false boxes vote as -1)."""
    nodes = len(partition.first)
    key = partition.node * (int(identity.max()) + 2) + identity + 1
    values, counts = torch.unique(key, return_counts=True)
    node, who = values // (int(identity.max()) + 2), values % (int(identity.max()) + 2) - 1
    size = torch.bincount(partition.node, minlength=nodes)
    winner = counts * 2 >= size[node]
    out = torch.full((nodes,), -1, dtype=torch.int64, device=identity.device)
    # when two share a node half and half the lower count never wins; of equals the real object does
    order = torch.argsort(counts[winner] * 2 + (who[winner] >= 0), stable=True)
    out[node[winner][order]] = who[winner][order]
    return out


def edge_targets(edges: Edges, output: LevelOutput, identity: Tensor) -> Tensor:
    """(E,) float: 1 where both ends are one object and, for one of them, no surviving pair is nearer in time."""
    i, j = edges.source, edges.target
    same = (identity[i] == identity[j]) & (identity[i] >= 0)
    nodes = len(identity)
    start, end = output.nodes.start, output.nodes.end
    big = torch.iinfo(torch.int64).max
    soonest = torch.full((nodes,), big, dtype=torch.int64, device=i.device)
    soonest = soonest.scatter_reduce(0, i, torch.where(same, start[j], big), "amin")
    latest = torch.full((nodes,), -1, dtype=torch.int64, device=i.device)
    latest = latest.scatter_reduce(0, j, torch.where(same, end[i], -1), "amax")
    return (same & ((start[j] == soonest[i]) | (end[i] == latest[j]))).float()


def focal_loss(logit: Tensor, target: Tensor, gamma: float = 1.0) -> Tensor:
    """(E,) focal binary cross-entropy (Lin et al., ICCV 2017)."""
    loss = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    return loss * (1 - torch.exp(-loss)).pow(gamma) if gamma else loss


def level_loss(output: LevelOutput, partition: Partition, truth: Truth, gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of edges and of nodes at one level (scalars), and the edge targets (E,).

    A hypothesis weighs as much as the boxes it concerns (root of their number), a node likewise; what is masked weighs
    nothing.
    """
    identity = node_identity(partition, truth.identity)
    count = output.nodes.count
    mass, link = _node_mean(partition, truth.weight, count), _node_mean(partition, truth.link_weight, count)
    valid = truth.valid.float() if truth.weight is None else truth.valid.float() * truth.weight
    share = torch.zeros_like(count).index_add_(0, partition.node, valid) / (count * mass).clamp_min(1e-6)
    node_loss = functional.binary_cross_entropy_with_logits(output.node_logit, share.clamp(0, 1), reduction="none")
    weight = count.sqrt() * mass
    node = (node_loss * weight).sum() / weight.sum().clamp_min(1e-6)
    target = edge_targets(output.edges, output, identity)
    if not len(target):
        return node.new_zeros(()), node, target
    i, j = output.edges.source, output.edges.target
    weight = torch.minimum(count[i], count[j]).sqrt() * torch.minimum(link[i], link[j])
    if truth.group is not None:
        group = node_identity(partition, truth.group)
        weight = weight * ~((group[i] == group[j]) & (group[i] >= 0) & (identity[i] != identity[j]))
    edge = (focal_loss(output.edge_logit, target, gamma) * weight).sum() / weight.sum().clamp_min(1e-6)
    return edge, node, target


def _node_mean(partition: Partition, weight: Tensor | None, count: Tensor) -> Tensor:
    """(M,) mean weight of every node's boxes."""
    if weight is None:
        return torch.ones_like(count)
    return torch.zeros_like(count).index_add_(0, partition.node, weight) / count
