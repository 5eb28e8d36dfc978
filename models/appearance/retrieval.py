"""How well vectors find an object again: rank-1 and mean average precision within a video.

As re-identification is measured (Zheng et al., "Scalable Person Re-identification", ICCV 2015), with the camera's part
taken by time: each box asks for the others of its video, but for those of its own object that are so near in time that
anything would find them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_CHUNK = 2048  # queries that are compared with all boxes at one time


@dataclass(frozen=True)
class Retrieval:
    """What a measurement came to.

    Attributes:
        rank1: share of queries whose most similar box is of their object, in [0, 1]; NaN without queries.
        mean_average_precision: over queries, in [0, 1]; NaN without queries.
        queries: how many boxes had anything to be found.
    """

    rank1: float
    mean_average_precision: float
    queries: int


def measure_retrieval(
    vectors: NDArray[np.floating], identity: NDArray[np.int64], frame: NDArray[np.int64], apart: int,
    video: NDArray[np.int64] | None = None, comparable: NDArray[np.bool_] | None = None,
) -> Retrieval:  # fmt: skip
    """Rank-1 and mean average precision of every box as a query.

    The gallery of a query is every box of its video that is at least ``apart`` frames away, and of them all that is
    comparable: those of its own object, and those of objects that are known to be others. Queries of whose object
    nothing is in the gallery, or nothing else is, do not count. Equal similarities rank the other objects first.

    Args:
        vectors: (N, D) of unit length.
        identity: (N,) int64, object; -1 for boxes that are nobody's, which are in galleries and ask nothing.
        frame: (N,) int64.
        apart: frames, at least 1.
        video: (N,) int64; None for one video.
        comparable: (I, I) bool by identity, whether two objects are surely different; None for all.

    Raises:
        InputError: for columns of different lengths.
    """
    video = np.zeros(len(vectors), np.int64) if video is None else video
    if not len(vectors) == len(identity) == len(frame) == len(video):
        raise InputError("retrieval: vectors, identity, frame and video must be equally long")
    firsts, precisions = [np.zeros(0)], [np.zeros(0)]
    for each in np.unique(video):  # videos
        rows = np.flatnonzero(video == each)
        table = np.ascontiguousarray(vectors[rows], np.float32)
        for begin in range(0, len(rows), _CHUNK):
            part = np.flatnonzero(identity[rows[begin : begin + _CHUNK]] >= 0) + begin
            first, precision = _ranked(table, identity[rows], frame[rows], part, max(apart, 1), comparable)
            firsts.append(first)
            precisions.append(precision)
    first, precision = np.concatenate(firsts), np.concatenate(precisions)
    if not len(first):
        return Retrieval(float("nan"), float("nan"), 0)
    return Retrieval(float(first.mean()), float(precision.mean()), len(first))


def _ranked(
    table: NDArray[np.float32], identity: NDArray[np.int64], frame: NDArray[np.int64], part: NDArray[np.int64],
    apart: int, comparable: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Whether the first is right, and the average precision, of the queries ``part`` that count."""
    own = identity[part][:, None] == identity[None]
    gallery = np.abs(frame[part][:, None] - frame[None]) >= apart
    if comparable is not None:
        gallery &= own | ((identity >= 0)[None] & comparable[identity[part]][:, np.maximum(identity, 0)])
    hit = own & gallery
    counts = hit.any(1) & (gallery & ~own).any(1)
    part, gallery, hit = part[counts], gallery[counts], hit[counts]
    score = np.where(gallery, table[part] @ table.T, -np.inf)
    order = np.lexsort((hit, -score), axis=1)
    right = np.take_along_axis(hit, order, 1)
    found = right.cumsum(1)
    precision = np.where(right, found / np.arange(1, right.shape[1] + 1), 0).sum(1) / np.maximum(found[:, -1], 1)
    return right[:, 0].astype(np.float64), precision.astype(np.float64)
