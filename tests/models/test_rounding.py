"""Rounding gives valid tracks whatever the network says, and the best ones of all."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from spam_plugin.models.spam.rounding import chain_roots, round_links

Links = list[tuple[tuple[int, int], float]]
PAIRS = list(combinations(range(7), 2))


def hypotheses(max_size: int) -> st.SearchStrategy[Links]:
    """Links of a random graph whose edges go up in node number, with what each is worth."""
    gain = st.integers(-8, 16).map(lambda n: n / 8)
    return st.lists(st.tuples(st.sampled_from(PAIRS), gain), max_size=max_size, unique_by=lambda link: link[0])


def rounded(links: Links) -> list[bool]:
    pairs = torch.tensor([pair for pair, _ in links], dtype=torch.int64).reshape(-1, 2)
    return round_links(pairs[:, 0], pairs[:, 1], torch.tensor([gain for _, gain in links])).tolist()


def is_valid(pairs: list[tuple[int, int]]) -> bool:
    return len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


@given(hypotheses(21))
def test_no_node_gets_two_successors_or_predecessors_nor_a_link_that_is_worth_nothing(links: Links) -> None:
    chosen = [link for link, taken in zip(links, rounded(links), strict=True) if taken]
    assert is_valid([pair for pair, _ in chosen])
    assert all(gain > 0 for _, gain in chosen)


@given(hypotheses(9))
def test_no_valid_choice_is_worth_more(links: Links) -> None:
    best = max(
        sum(gain for _, gain in choice)
        for size in range(len(links) + 1)
        for choice in combinations(links, size)
        if is_valid([pair for pair, _ in choice])
    )
    assert sum(gain for (_, gain), taken in zip(links, rounded(links), strict=True) if taken) == best


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9))
def test_a_dense_conflict_is_solved_as_an_assignment_is(seed: int, left: int, right: int) -> None:
    gain = np.random.default_rng(seed).normal(0.3, 1, (left, right))
    row, column = np.indices(gain.shape).reshape(2, -1)
    chosen = round_links(torch.as_tensor(row), torch.as_tensor(column + left), torch.as_tensor(gain.ravel())).numpy()
    useful = np.maximum(gain, 0)
    np.testing.assert_allclose(gain.ravel()[chosen].sum(), useful[linear_sum_assignment(useful, maximize=True)].sum())


def test_without_hypotheses_nothing_is_chosen() -> None:
    assert rounded([]) == []


@given(st.lists(st.integers(0, 5), max_size=40))
def test_the_root_of_a_chain_is_its_first_node_and_the_tail_its_last(chain: list[int]) -> None:
    members = {c: [node for node, own in enumerate(chain) if own == c] for c in chain}
    links = [pair for nodes in members.values() for pair in pairwise(nodes)]
    pairs = torch.tensor(links, dtype=torch.int64).reshape(-1, 2)
    root, tail = chain_roots(len(chain), pairs[:, 0], pairs[:, 1])
    assert root.tolist() == [members[c][0] for c in chain]
    assert [int(tail[nodes[0]]) for nodes in members.values()] == [nodes[-1] for nodes in members.values()]
