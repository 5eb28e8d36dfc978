"""Temperature scaling: what the network's logits are worth as probabilities, measured on synthetic streams.

Guo et al., ICML 2017; with an offset beside the temperature, as links that were chosen and boxes that were kept are a
selection whose mean the raw logits do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..synthetic.streams import Stream
from .decoding import Chains, Decisions
from .model import SpamModel
from .settings import LabelSettings


def fit_scale(logit: NDArray, right: NDArray, prior: float = 20.0) -> tuple[float, float]:
    """Slope and offset that make sigmoid(slope * logit + offset) the probability of ``right``.

    Newton's method on the logistic loss, pulled towards (1, 0) as ``prior`` imagined cases would.

    Args:
        logit: (N,) floating.
        right: (N,) bool.
        prior: weight of the pull.
    """
    x = np.stack([np.clip(logit, -15, 15), np.ones(len(logit))], 1)
    theta = np.array([1.0, 0.0])
    for _ in range(30):
        p = 1 / (1 + np.exp(-(x @ theta)))
        gradient = x.T @ (p - right) + prior * (theta - [1.0, 0.0])
        hessian = (x * (p * (1 - p))[:, None]).T @ x + prior * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-6:
            break
    return float(max(theta[0], 0.05)), float(theta[1])


def stream_truth(streams: Sequence[Stream], video: NDArray, row: NDArray) -> tuple[NDArray, NDArray]:
    """(N,) identity (-1 for none, unique over streams) and (N,) validity of candidates by video and row."""
    start = np.cumsum([0] + [len(s.identity) for s in streams])
    size = np.cumsum([0] + [int(s.identity.max(initial=-1)) + 1 for s in streams])
    identity = np.concatenate(
        [np.where(s.identity >= 0, s.identity + n, -1) for s, n in zip(streams, size, strict=False)]
    )
    valid = np.concatenate([s.valid for s in streams])
    place = start[video] + row
    return identity[place], valid[place]


def calibrate(model: SpamModel, streams: Sequence[Stream]) -> Decisions:
    """The model's decisions with calibration fitted on streams it has not seen."""
    boxes, chains = model.chains([(s.info, s.candidates) for s in streams], LabelSettings())
    video = boxes.lane_video[boxes.lane].cpu().numpy()
    identity, valid = stream_truth(streams, video, boxes.row.cpu().numpy())
    node = chains.node.cpu().numpy()
    inside = node >= 0
    # a box is right if it lies on an object, and on the one that most of its track follows
    owner = _owners(node[inside], identity[inside], chains.num_nodes)
    right = valid[inside] & (identity[inside] == owner[node[inside]])
    box = fit_scale(chains.box_logit.cpu().numpy()[inside], right)
    links = _link_scales(chains, boxes.time.cpu().numpy(), identity, len(model.decisions.link_calibration))
    return replace(model.decisions, box_calibration=box, link_calibration=links)


def _owners(node: NDArray, identity: NDArray, nodes: int) -> NDArray:
    """(nodes,) most frequent identity of every node; -2 where it is none."""
    pairs, count = np.unique(np.stack([node, identity], 1), axis=0, return_counts=True)
    pairs, count = pairs[pairs[:, 1] >= 0], count[pairs[:, 1] >= 0]
    order = np.argsort(count, kind="stable")
    owner = np.full(nodes, -2)
    owner[pairs[order, 0]] = pairs[order, 1]
    return owner


def _link_scales(chains: Chains, time: NDArray, identity: NDArray, levels: int) -> tuple[tuple[float, float], ...]:
    """Slope and offset for the links of every level; right if both boxes are of one object."""
    node, level = chains.node.cpu().numpy(), chains.link_level.cpu().numpy()
    order = np.lexsort((time, node))
    following = np.full(len(node), -1)
    same = node[order][1:] == node[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    used = (level >= 0) & (node >= 0) & (following >= 0)
    right = np.zeros(len(node), bool)
    right[used] = (identity[used] == identity[following[used]]) & (identity[used] >= 0)
    # a link between two boxes of nothing is neither right nor wrong
    used &= (identity >= 0) | (np.where(following >= 0, identity[following], -1) >= 0)
    logit = torch.nan_to_num(chains.link_next).cpu().numpy()
    return tuple(fit_scale(logit[used & (level == n)], right[used & (level == n)]) for n in range(levels))
