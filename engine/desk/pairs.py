"""Pairs of rows of two tables that are in one frame, in columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAME_OBJECT = 0.5  # overlap from which two boxes in one frame are taken to be about one object
NAMESAKE = 0.2  # overlap that a name is worth when a box is looked for again


def pairs_in_frames(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of rows, one of each side, that are in one frame.

    Args:
        a: (N,) int64 frames, in any order.
        b: (M,) int64 frames, in any order.

    Returns:
        rows of ``a`` and rows of ``b``, (P,) each.
    """
    order = np.argsort(b, kind="stable")
    first = np.searchsorted(b[order], a, "left")
    count = np.searchsorted(b[order], a, "right") - first
    row = np.repeat(np.arange(len(a)), count)
    step = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    return row, order[first[row] + step] if len(row) else row


def assign(taken: NDArray[np.int64], rows: NDArray[np.int64], others: NDArray[np.int64], score: NDArray) -> None:
    """Pairs rows with others, best score first, each once; fills in ``taken`` (-1 where there is none) in place.

    Args:
        taken: (N,) int64, the other of every row so far.
        rows: (P,) int64 into ``taken``.
        others: (P,) int64.
        score: (P,) how good each pair is.
    """
    used = set(taken[taken >= 0].tolist())
    for at in np.lexsort((others, rows, -score)).tolist():
        row, other = int(rows[at]), int(others[at])
        if taken[row] < 0 and other not in used:
            taken[row] = other
            used.add(other)
