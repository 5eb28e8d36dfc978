"""The hierarchy: tracklets over windows that double in length, joined level by level.

SUSHI, section 3.1 (Cetintas et al., CVPR 2023), with the node classification of SPAM (ECCV 2024) at every level: the
same pass over a level's graph says which tracklets are objects and which continue which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .columns import BoxColumns
from .graph import Appearance, Edges, build_edges
from .network import SpamNetwork
from .rounding import chain_roots, round_links
from .tracklets import Tracklets, build_tracklets, node_features

WINDOWS = (2, 4, 8, 16, 32, 64, 128, 256, 512)  # frames; SUSHI's nine levels
NEIGHBOURS = (4, 5, 6, 8, 8, 8, 8, 8, 8, 8)  # k of the pruning, the seam level last
LONGEST_LINK = 5.0  # seconds that a link may bridge


@dataclass(frozen=True)
class Level:
    """One level of a hierarchy.

    Attributes:
        window: its windows' length in frames; None for the seam level over the whole video.
        neighbours: k of the reciprocal pruning.
        index: which level embedding and block of the network serve it.
    """

    window: int | None
    neighbours: int
    index: int


def plan_levels(longest: int, num_levels: int | None = None) -> list[Level]:
    """The levels for videos of up to ``longest`` frames.

    A level is left out when the one below already saw every video whole. The seam level comes last: it knows no
    windows, only the longest gap, so that tracks of videos longer than the top window have no seams.

    Args:
        longest: frames of the longest video.
        num_levels: use only that many levels below the seam level (an ablation).
    """
    windows = [w for n, w in enumerate(WINDOWS) if n == 0 or WINDOWS[n - 1] < longest]
    levels = [Level(w, NEIGHBOURS[n], min(n, 6)) for n, w in enumerate(windows[:num_levels])]
    return [*levels, Level(None, NEIGHBOURS[-1], 7)]


@dataclass(frozen=True)
class Partition:
    """Which node every box belongs to.

    Attributes:
        node: (N,) int64; nodes are numbered by start time.
        first: (M,) int64, row of every node's first box.
        last: (M,) int64, row of every node's last box.
    """

    node: Tensor
    first: Tensor
    last: Tensor

    @classmethod
    def singletons(cls, count: int, device: torch.device) -> Partition:
        """Every box a node of its own."""
        rows = torch.arange(count, device=device)
        return cls(rows, rows, rows)

    def joined(self, source: Tensor, target: Tensor) -> Partition:
        """Nodes joined along links that form paths."""
        root, tail = chain_roots(len(self.first), source, target)
        is_root = root == torch.arange(len(root), device=root.device)
        number = is_root.cumsum(0) - 1
        return Partition(number[root][self.node], self.first[is_root], self.last[tail[is_root]])

    def without(self, dropped: Tensor) -> tuple[Partition, Tensor]:
        """The partition without the dropped nodes ((M,) bool), and the mask of the boxes that stay."""
        stays = ~dropped
        rows = stays[self.node]
        place = rows.cumsum(0) - 1
        number = stays.cumsum(0) - 1
        return Partition(number[self.node[rows]], place[self.first[stays]], place[self.last[stays]]), rows


@dataclass(frozen=True)
class LevelOutput:
    """What the network said of a level's graph."""

    nodes: Tracklets
    edges: Edges
    node_logit: Tensor
    edge_logit: Tensor
    state: Tensor


def run_level(
    network: SpamNetwork, boxes: BoxColumns, context: Tensor, partition: Partition, level: Level,
    appearance: Appearance | None,
) -> LevelOutput:  # fmt: skip
    """One level: tracklets, graph, message passing. Gradients flow into the network only."""
    with torch.no_grad():
        nodes = build_tracklets(boxes, context, partition.node, partition.first, partition.last)
        longest = (LONGEST_LINK * boxes.lane_rate[nodes.lane]).ceil().long()
        edges = build_edges(nodes, boxes, level.window, longest, level.neighbours, appearance)
        features = node_features(nodes, boxes, context)
    node_logit, edge_logit, state = network(
        features, edges.features, torch.stack([edges.source, edges.target]), level.index
    )
    return LevelOutput(nodes, edges, node_logit, edge_logit, state)


def windows_in_blocks(time: Tensor, window: int, limit: int) -> Iterator[slice]:
    """Runs of whole windows of about ``limit`` boxes; their times are sorted, so that each run is a slice."""
    number = torch.div(time, window, rounding_mode="floor")
    border = torch.cat([(number[1:] != number[:-1]).nonzero()[:, 0] + 1, number.new_tensor([len(number)])])
    begin = 0
    while begin < len(number):  # blocks, not boxes
        fitting = border[(border > begin) & (border <= begin + limit)]
        end = int(fitting[-1]) if len(fitting) else int(border[border > begin][0])
        yield slice(begin, end)
        begin = end


def link(output: LevelOutput, threshold: float, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Rounded links of a level: source, target, and the (E,) mask of chosen hypotheses."""
    limit = float(torch.logit(torch.tensor(threshold)))
    chosen = round_links(output.edges.source, output.edges.target, output.edge_logit.detach() / temperature - limit)
    return output.edges.source[chosen], output.edges.target[chosen], chosen
