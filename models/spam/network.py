"""The graph neural network of the hierarchy: node and edge classification by time-aware message passing.

After Braso and Leal-Taixe, CVPR 2020 (time-aware message passing) and SUSHI (Cetintas et al., CVPR 2023); SPAM
(Cetintas et al., ECCV 2024) adds the classification of nodes. Unlike there, nodes carry features of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from .context import NAMES
from .graph import NUM_EDGE_FEATURES
from .tracklets import NUM_NODE_FEATURES


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network.

    Attributes:
        node_size: length of a node's state.
        edge_size: length of an edge's state.
        steps: message-passing steps of a block.
        levels: levels of the hierarchy that have an embedding of their own, the seam level included.
        blocks: index of the block that serves every level.
    """

    node_size: int = 32
    edge_size: int = 24
    steps: int = 4
    levels: int = 10
    blocks: tuple[int, ...] = (0, 1, 1, 2, 2, 2, 2, 2, 2, 2)


class Standardise(nn.Module):
    """Shift and scale features by constants measured once on training data; clamps what lies far outside."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) features in units of their spread, in [-6, 6]."""
        return ((x - self.mean) / self.spread).clamp(-6, 6)


class TimeAwareStep(MessagePassing):
    r"""One step of message passing; past and future neighbours speak through different layers.

    .. math::
        e'_{ij} = e_{ij} + \mathrm{MLP}_e([h_i, h_j, e_{ij}, e^0_{ij}]), \quad
        h'_i = h_i + \mathrm{MLP}_h([h_i, \sum_{j \to i} M_p(h_j, e'_{ji}), \sum_{i \to j} M_f(h_j, e'_{ij})])

    Shapes: h (M, node_size), e and e0 (E, edge_size), edge_index (2, E) from the earlier to the later node.
    """

    def __init__(self, node_size: int, edge_size: int) -> None:
        super().__init__(aggr="add", node_dim=0)
        # A linear layer on a concatenation is a sum of layers; node parts are computed once a node, not once an edge.
        self.edge_source = nn.Linear(node_size, 2 * edge_size, bias=False)
        self.edge_target = nn.Linear(node_size, 2 * edge_size, bias=False)
        self.edge_own = nn.Linear(edge_size, 2 * edge_size)
        self.edge_first = nn.Linear(edge_size, 2 * edge_size, bias=False)
        self.edge_out = nn.Linear(2 * edge_size, edge_size)
        self.past_node = nn.Linear(node_size, node_size, bias=False)
        self.past_edge = nn.Linear(edge_size, node_size)
        self.future_node = nn.Linear(node_size, node_size, bias=False)
        self.future_edge = nn.Linear(edge_size, node_size)
        self.node_update = nn.Sequential(
            nn.Linear(3 * node_size, 2 * node_size), nn.ReLU(), nn.Linear(2 * node_size, node_size)
        )
        self.node_norm = nn.LayerNorm(node_size)
        self.edge_norm = nn.LayerNorm(edge_size)

    def forward(self, h: Tensor, e: Tensor, e0: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """States of nodes (M, node_size) and edges (E, edge_size) after the step; ``e0`` is the edges' first state."""
        source, target = edge_index
        mixed = self.edge_source(h)[source] + self.edge_target(h)[target] + self.edge_own(e) + self.edge_first(e0)
        e = self.edge_norm(e + self.edge_out(mixed.relu()))
        past = self.propagate(edge_index, x=self.past_node(h), e=self.past_edge(e), size=None)
        future = self.propagate(edge_index.flip(0), x=self.future_node(h), e=self.future_edge(e), size=None)
        h = self.node_norm(h + self.node_update(torch.cat([h, past, future], 1)))
        return h, e

    def message(self, x_j: Tensor, e: Tensor) -> Tensor:
        """(E, node_size) what a neighbour says along an edge."""
        return (x_j + e).relu()


class Block(nn.Module):
    """Encoders, message passing and both classifiers of one or several levels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        node, edge = config.node_size, config.edge_size
        self.node_encoder = nn.Sequential(nn.Linear(NUM_NODE_FEATURES, node), nn.ReLU(), nn.Linear(node, node))
        self.edge_encoder = nn.Sequential(nn.Linear(NUM_EDGE_FEATURES, 2 * edge), nn.ReLU(), nn.Linear(2 * edge, edge))
        self.level_node = nn.Embedding(config.levels, node)
        self.level_edge = nn.Embedding(config.levels, edge)
        self.steps = nn.ModuleList([TimeAwareStep(node, edge) for _ in range(config.steps)])
        self.node_head = nn.Sequential(nn.Linear(node, node), nn.ReLU(), nn.Linear(node, 1))
        self.edge_head = nn.Sequential(nn.Linear(2 * edge, edge), nn.ReLU(), nn.Linear(edge, 1))

    def forward(self, nodes: Tensor, edges: Tensor, edge_index: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of nodes (M,) and edges (E,), and the final node states (M, node_size)."""
        h = self.node_encoder(nodes) + self.level_node.weight[level]
        e = e0 = self.edge_encoder(edges) + self.level_edge.weight[level]
        for step in self.steps:
            h, e = step(h, e, e0, edge_index)
        return self.node_head(h)[:, 0], self.edge_head(torch.cat([e, e0], 1))[:, 0], h


class SpamNetwork(nn.Module):
    """All blocks of the hierarchy, and the head that judges the boxes of finished tracks."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        self.node_scale = Standardise(NUM_NODE_FEATURES)
        self.edge_scale = Standardise(NUM_EDGE_FEATURES)
        self.box_scale = Standardise(NUM_BOX_FEATURES)
        self.blocks = nn.ModuleList([Block(self.config) for _ in range(max(self.config.blocks) + 1)])
        size = self.config.node_size
        self.box_head = nn.Sequential(
            nn.Linear(NUM_BOX_FEATURES + size, 2 * size),
            nn.ReLU(),
            nn.Linear(2 * size, size),
            nn.ReLU(),
            nn.Linear(size, 1),
        )

    def forward(self, nodes: Tensor, edges: Tensor, edge_index: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Raw features of a level's graph to node logits, edge logits and node states."""
        block = self.blocks[self.config.blocks[level]]
        out: tuple[Tensor, Tensor, Tensor] = block(self.node_scale(nodes), self.edge_scale(edges), edge_index, level)
        return out

    def judge_boxes(self, context: Tensor, place: Tensor, states: Tensor) -> Tensor:
        """(N,) validity logits of boxes from their context, ``boxes.box_features`` and their track's state."""
        features = self.box_scale(torch.cat([context, place], 1))
        return self.box_head(torch.cat([features, states], 1))[:, 0]


NUM_BOX_FEATURES = len(NAMES) + 11
