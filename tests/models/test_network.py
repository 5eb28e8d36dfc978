"""The network sees a graph, not an order of edges nor what else is in the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spam_plugin.models.spam.graph import NUM_EDGE_FEATURES
from spam_plugin.models.spam.network import NUM_BOX_FEATURES, SpamNetwork
from spam_plugin.models.spam.tracklets import NUM_NODE_FEATURES

Graph = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def network() -> SpamNetwork:
    torch.manual_seed(0)
    return SpamNetwork().eval()


def random_graph(seed: int, nodes: int, edges: int) -> Graph:
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(0, nodes, (2, edges), generator=generator)
    return (
        torch.randn(nodes, NUM_NODE_FEATURES, generator=generator),
        torch.randn(edges, NUM_EDGE_FEATURES, generator=generator),
        ends.sort(0).values,
    )


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 3, 7])
def test_the_order_of_edges_does_not_matter(network: SpamNetwork, level: int) -> None:
    nodes, edges, index = random_graph(1, 12, 40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    one = network(nodes, edges, index, level)
    two = network(nodes, edges[order], index[:, order], level)
    torch.testing.assert_close(two[0], one[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(two[1], one[1][order], atol=1e-5, rtol=0)
    torch.testing.assert_close(two[2], one[2], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_numbering_of_nodes_does_not_matter(network: SpamNetwork) -> None:
    nodes, edges, index = random_graph(3, 10, 30)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(4))
    place = order.argsort()
    one, two = network(nodes, edges, index, 2), network(nodes[order], edges, place[index], 2)
    torch.testing.assert_close(two[0], one[0][order], atol=1e-5, rtol=0)
    torch.testing.assert_close(two[1], one[1], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("count", [0, 1, 5])
def test_graphs_without_edges_are_judged_node_by_node(network: SpamNetwork, count: int) -> None:
    nodes, edges, index = random_graph(5, max(count, 1), 0)
    node, edge, state = network(nodes[:count], edges, index, 1)
    assert node.shape == (count,)
    assert edge.shape == (0,)
    assert state.shape == (count, network.config.node_size)
    assert node.isfinite().all()


@torch.no_grad()
def test_graphs_that_do_not_touch_are_judged_together_as_alone(network: SpamNetwork) -> None:
    graphs = [random_graph(6, 7, 15), random_graph(7, 1, 0), random_graph(8, 11, 40)]
    starts = [0, 7, 8]
    together = network(
        torch.cat([g[0] for g in graphs]),
        torch.cat([g[1] for g in graphs]),
        torch.cat([g[2] + start for g, start in zip(graphs, starts, strict=True)], 1),
        4,
    )
    alone = [network(*graph, 4) for graph in graphs]
    for got, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(got, torch.cat(parts), atol=1e-5, rtol=0)


@torch.no_grad()
def test_features_far_outside_what_training_saw_stay_harmless(network: SpamNetwork) -> None:
    nodes, edges, index = random_graph(9, 6, 10)
    for out in network(nodes * 1e30, edges * -1e30, index, 0):
        assert out.isfinite().all()
    far = torch.full((2, NUM_BOX_FEATURES), 1e30)
    logit = network.judge_boxes(far[:, :9], far[:, 9:], torch.zeros(2, network.config.node_size))
    assert logit.isfinite().all()
