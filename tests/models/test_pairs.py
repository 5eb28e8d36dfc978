"""Pairs and ranks without loops are those of the plain loops."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.models.spam.pairs import blocks_of_pairs, expand_ranges, rank_within

RANGES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=12)


def plain_pairs(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(i, j) for i, (first, last) in enumerate(ranges) for j in range(first, last)]


def columns(ranges: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    table = torch.tensor(ranges, dtype=torch.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@given(RANGES)
def test_expanded_ranges_are_all_pairs_in_order_and_ranges_that_run_backwards_are_empty(
    ranges: list[tuple[int, int]],
) -> None:
    source, target = expand_ranges(*columns(ranges))
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == plain_pairs(ranges)


@given(RANGES, st.integers(1, 40))
def test_blocks_hold_every_pair_once_and_every_row_whole(ranges: list[tuple[int, int]], limit: int) -> None:
    blocks = [(i.tolist(), j.tolist()) for i, j in blocks_of_pairs(*columns(ranges), limit)]
    assert [pair for i, j in blocks for pair in zip(i, j, strict=True)] == plain_pairs(ranges)
    rows = [row for i, _ in blocks for row in set(i)]
    assert len(rows) == len(set(rows))
    longest = max((last - first for first, last in ranges), default=0)
    assert all(len(i) <= limit + max(longest, 0) for i, _ in blocks)


def test_without_rows_there_is_one_empty_block() -> None:
    blocks = list(blocks_of_pairs(*columns([])))
    assert len(blocks) == 1
    assert len(blocks[0][0]) == len(blocks[0][1]) == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([-1.5, 0.0, 0.25, 0.5, 7.0, float("inf")])), max_size=30))
def test_a_rank_is_the_place_among_the_rows_of_the_group_and_ties_go_by_row(rows: list[tuple[int, float]]) -> None:
    group = torch.tensor([g for g, _ in rows], dtype=torch.int64)
    cost = torch.tensor([c for _, c in rows], dtype=torch.float32)
    expected = [
        sum(g == group_ and (c, n) < (cost_, row) for n, (g, c) in enumerate(rows))
        for row, (group_, cost_) in enumerate(rows)
    ]
    assert rank_within(group, cost).tolist() == expected
