"""From link probabilities to valid tracks: at most one successor and one predecessor a node.

SUSHI (section 3.4) solves a linear programme on the nodes in conflict. Its constraints are those of a bipartite
matching between "who continues" and "who is continued", so that a sparse assignment gives the same optimum.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor


def round_links(source: Tensor, target: Tensor, gain: Tensor) -> Tensor:
    """(E,) bool: the set of links of greatest total gain in which no node has two successors or two predecessors.

    Args:
        source: (E,) int64, the earlier node of every hypothesis.
        target: (E,) int64, the later node; no pair occurs twice.
        gain: (E,) float, what a link is worth; links of no positive gain are never chosen.
    """
    chosen = gain > 0
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return chosen
    outgoing, incoming = torch.bincount(source[rows]), torch.bincount(target[rows])
    contested = rows[(outgoing[source[rows]] > 1) | (incoming[target[rows]] > 1)]
    if len(contested):
        chosen[contested] = False
        chosen[contested[_best_matching(source[contested], target[contested], gain[contested])]] = True
    return chosen


def _best_matching(source: Tensor, target: Tensor, gain: Tensor) -> Tensor:
    """Rows of the matching of greatest total gain."""
    left, row = np.unique(source.cpu().numpy(), return_inverse=True)
    right, column = np.unique(target.cpu().numpy(), return_inverse=True)
    value = gain.double().cpu().numpy()
    # Every left node also has a private "no successor" column of gain 0, so that a full matching always exists; the
    # shift by one keeps stored entries from being zero and is the same for every full matching.
    alone = np.arange(len(left))
    matrix = coo_matrix(
        (np.concatenate([value, np.zeros(len(left))]) + 1.0,
         (np.concatenate([row, alone]), np.concatenate([column, len(right) + alone]))),
        shape=(len(left), len(right) + len(left)),
    ).tocsr()  # fmt: skip
    matched_row, matched_column = min_weight_full_bipartite_matching(matrix, maximize=True)
    partner = np.full(len(left), -1)
    partner[matched_row] = matched_column
    return torch.as_tensor(np.flatnonzero(partner[row] == column), device=source.device)


def chain_roots(nodes: int, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """First node of every node's chain, and the last node of the chain of every root, (M,) int64 each.

    Links must form paths that go up in node number. Pointer doubling: log2(M) steps.
    """
    root = torch.arange(nodes, device=source.device)
    root[target] = source
    tail = torch.arange(nodes, device=source.device)
    tail[source] = target
    for _ in range(max(1, int(nodes).bit_length())):
        further, later = root[root], tail[tail]
        if torch.equal(further, root) and torch.equal(later, tail):
            break
        root, tail = further, later
    return root, tail
