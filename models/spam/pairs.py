"""Pairs of rows of a sorted time column, without loops over rows.

All pairs (i, j) whose times lie in a range are contiguous once rows are sorted by time; they are expanded in blocks of
bounded size, so that memory stays flat whatever the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1_500_000  # pairs expanded at once; about 100 MB of features


def expand_ranges(first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """All (i, j) with first[i] <= j < last[i]; two (P,) int64 tensors, sorted by i and then j."""
    counts = (last - first).clamp_min(0)
    source = torch.repeat_interleave(torch.arange(len(first), device=first.device), counts)
    begin = counts.cumsum(0) - counts
    return source, torch.arange(len(source), device=first.device) - begin[source] + first[source]


def blocks_of_pairs(first: Tensor, last: Tensor, limit: int = BLOCK) -> Iterator[tuple[Tensor, Tensor]]:
    """The pairs of ``expand_ranges`` in blocks of about ``limit`` pairs, every i whole in one block."""
    total = (last - first).clamp_min(0).cumsum(0)
    count = int(total[-1]) if len(total) else 0
    if count <= limit:
        yield expand_ranges(first, last)
        return
    cuts = torch.searchsorted(total, torch.arange(limit, count + limit, limit, device=total.device), right=True)
    edges = torch.unique(torch.cat([cuts.new_zeros(1), cuts.clamp_max(len(first)), cuts.new_full((1,), len(first))]))
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):  # blocks, not rows
        source, target = expand_ranges(first[begin:end], last[begin:end])
        yield source + begin, target


def rank_within(group: Tensor, cost: Tensor) -> Tensor:
    """(P,) int64: place of every row among the rows of its group by ascending cost; ties by row order."""
    order = torch.argsort(cost, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    grouped = group[order]
    start = torch.searchsorted(grouped, grouped)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - start
    return rank
