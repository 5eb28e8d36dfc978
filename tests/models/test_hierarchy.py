"""The hierarchy: which levels there are, how nodes are joined, and that no pair leaves its window, video or class."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.spam.columns import BoxColumns, gather_boxes
from spam_plugin.models.spam.context import describe
from spam_plugin.models.spam.graph import Edges, build_edges
from spam_plugin.models.spam.hierarchy import WINDOWS, Partition, plan_levels, windows_in_blocks
from spam_plugin.models.spam.tracklets import build_tracklets
from spam_plugin.models.spam.training import edge_targets, node_identity

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("longest", "windows"),
    [
        (1, [2, None]),
        (2, [2, None]),
        (3, [2, 4, None]),
        (16, [2, 4, 8, 16, None]),
        (512, [*WINDOWS, None]),
        (100_000, [*WINDOWS, None]),
    ],
)
def test_levels_end_where_a_window_holds_the_whole_video_and_then_comes_the_seam(
    longest: int, windows: list[int | None]
) -> None:
    assert [level.window for level in plan_levels(longest)] == windows


@pytest.mark.parametrize("number", [1, 2, 5, 9])
def test_a_cut_hierarchy_keeps_its_lowest_levels_and_the_seam(number: int) -> None:
    assert plan_levels(1000, number) == [*plan_levels(1000)[:number], plan_levels(1000)[-1]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=48), st.integers(0, 1 << 12))
def test_joined_and_thinned_partitions_are_those_of_plain_bookkeeping(
    labels: list[tuple[int, int]], dropped_bits: int
) -> None:
    """Boxes in windows of 8 rows get a label; boxes of a window's label are joined, then nodes across windows."""
    small = [(row // 8, label) for row, (label, _) in enumerate(labels)]
    first = joined(Partition.singletons(len(small), CPU), small, small)
    large = [label for _, label in small]
    second = joined(first, small, large)
    dropped = torch.tensor([bool(dropped_bits >> n & 1) for n in range(len(second.first))])
    third, stays = second.without(dropped)
    expected = [row for row in range(len(large)) if not dropped[second.node[row]]]
    assert stays.nonzero()[:, 0].tolist() == expected
    check(third, [large[row] for row in expected])


def joined(partition: Partition, nodes: list, groups: list) -> Partition:
    """``partition``, whose nodes are numbered by first row, with the nodes of a group linked one after another."""
    group_of = [groups[row] for row in partition.first.tolist()]
    links = [
        (earlier[-1], number)
        for number, group in enumerate(group_of)
        if (earlier := [n for n in range(number) if group_of[n] == group])
    ]
    pairs = torch.tensor(links, dtype=torch.int64).reshape(-1, 2)
    out = partition.joined(pairs[:, 0], pairs[:, 1])
    check(out, groups)
    return out


def check(partition: Partition, groups: list) -> None:
    """Boxes of a group are one node; nodes are numbered by their first row and know their last one."""
    order = list(dict.fromkeys(groups))
    assert partition.node.tolist() == [order.index(group) for group in groups]
    assert partition.first.tolist() == [groups.index(group) for group in order]
    assert partition.last.tolist() == [len(groups) - 1 - groups[::-1].index(group) for group in order]


@given(st.lists(st.integers(0, 60), max_size=60).map(sorted), st.sampled_from([1, 2, 8]), st.integers(1, 30))
def test_blocks_cover_every_box_once_and_cut_no_window(time: list[int], window: int, limit: int) -> None:
    boxes = SimpleNamespace(time=torch.tensor(time, dtype=torch.int64))
    blocks = list(windows_in_blocks(boxes.time, window, limit))
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(len(time)))
    held = [{t // window for t in time[block]} for block in blocks]
    assert sum(map(len, held)) == len({t // window for t in time})
    assert all(block.stop - block.start <= limit or len(own) == 1 for block, own in zip(blocks, held, strict=True))


def crowd(seed: int, videos: int = 3) -> BoxColumns:
    """Boxes in the middle of small images, in videos of several classes and lengths: every pair looks plausible."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(videos):
        frames, count = int(rng.integers(1, 90)), int(rng.integers(0, 40))
        corner = rng.uniform(40, 50, (count, 2))
        made.append(
            (
                VideoInfo("crowd", frames, 100, 100, float(rng.uniform(5, 60))),
                Candidates(
                    np.sort(rng.integers(0, frames, count)),
                    np.concatenate([corner, corner + 20], 1).astype(np.float32),
                    rng.random(count).astype(np.float32),
                    rng.integers(0, 3, count),
                ),
            )
        )
    return gather_boxes(made, WINDOWS[-1], CPU)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([2, 8, 64, None]), st.integers(1, 8))
def test_pairs_stay_in_their_window_video_and_class_and_run_forward(seed: int, window: int | None, k: int) -> None:
    boxes = crowd(seed)
    part = Partition.singletons(len(boxes), CPU)
    nodes = build_tracklets(boxes, describe(boxes)[0], part.node, part.first, part.last)
    gap = torch.full((len(nodes),), 30)
    edges = build_edges(nodes, boxes, window, gap, k, None)
    i, j = edges.source, edges.target
    assert (nodes.lane[i] == nodes.lane[j]).all()
    assert (nodes.end[i] < nodes.start[j]).all()
    assert (nodes.start[j] - nodes.end[i] <= 30).all()
    assert edges.features.isfinite().all()
    assert len(torch.unique(torch.stack([i, j]), dim=1).T) == len(i)
    for ends in (i, j):
        assert torch.bincount(ends, minlength=1).max() <= k
    if window is not None:
        assert (nodes.end[i] // window == nodes.start[j] // window).all()


def test_objects_that_may_continue_each_other_do_get_a_pair() -> None:
    boxes = crowd(7)
    part = Partition.singletons(len(boxes), CPU)
    nodes = build_tracklets(boxes, describe(boxes)[0], part.node, part.first, part.last)
    assert len(build_edges(nodes, boxes, None, torch.full((len(nodes),), 30), 4, None).source) > 20


@pytest.mark.parametrize(
    ("identities", "expected"),
    [
        ([[4, 4, 7]], [4]),
        ([[4, -1]], [4]),
        ([[4, -1, -1]], [-1]),
        ([[-1, -1], [2]], [-1, 2]),
        ([[1, 2, 3], [3, 3, -1, -1]], [-1, 3]),
        ([[-1]], [-1]),
    ],
)
def test_a_node_is_whom_half_of_its_boxes_are(identities: list[list[int]], expected: list[int]) -> None:
    node = torch.tensor([n for n, own in enumerate(identities) for _ in own])
    rows = torch.tensor([0] + [len(own) for own in identities]).cumsum(0)
    whole = torch.tensor([who for own in identities for who in own])
    assert node_identity(Partition(node, rows[:-1], rows[1:] - 1), whole).tolist() == expected


def targets(spans: list[tuple[int, int]], pairs: list[tuple[int, int]], identity: list[int]) -> list[float]:
    table, index = torch.tensor(spans), torch.tensor(pairs)
    output = SimpleNamespace(nodes=SimpleNamespace(start=table[:, 0], end=table[:, 1]))
    edges = Edges(index[:, 0], index[:, 1], torch.zeros(len(pairs), 0))
    return edge_targets(edges, output, torch.tensor(identity)).tolist()


def test_a_pair_is_true_if_one_object_goes_on_and_nothing_of_it_lies_between() -> None:
    spans = [(0, 1), (2, 3), (6, 7), (2, 3)]
    pairs = [(0, 1), (1, 2), (0, 2), (0, 3), (3, 2)]
    assert targets(spans, pairs, [5, 5, 5, 8]) == [1, 1, 0, 0, 0]


def test_a_pair_over_a_missing_tracklet_is_true_when_it_is_the_nearest_that_is_left() -> None:
    spans = [(0, 1), (2, 3), (6, 7)]
    assert targets(spans, [(0, 2)], [5, 5, 5]) == [1]
    assert targets(spans, [(0, 2), (0, 1)], [5, 8, 5]) == [1, 0]


def test_false_boxes_continue_nothing() -> None:
    assert targets([(0, 0), (1, 1)], [(0, 1)], [-1, -1]) == [0]
