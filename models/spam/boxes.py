"""Features by which the boxes of a finished track are judged one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from .columns import BoxColumns
from .tracklets import PIECE, Tracklets


def box_features(boxes: BoxColumns, context: Tensor, node: Tensor, nodes: Tracklets, node_logit: Tensor) -> Tensor:
    """(N, 11): how every box sits between its neighbours in the track, and what the network says of the track.

    Together with the box's own context these are the features of ``SpamNetwork.judge_boxes``; they are not put together
    here, as for an hour of video that would be the largest array of all.
    """
    order = torch.argsort(node, stable=True)
    group = node[order]
    same = torch.zeros(len(order) + 1, dtype=torch.bool, device=node.device)
    same[1:-1] = group[1:] == group[:-1]
    has_previous, has_next = same[:-1], same[1:]
    place = torch.arange(len(order), device=node.device)
    before, after = place - has_previous.long(), place + has_next.long()
    out = boxes.scale.new_empty(len(order), 11)
    for rows in place.split(PIECE):  # blocks of boxes, to bound what is in memory at once
        out[order[rows]] = _of_rows(boxes, context, nodes, node_logit, order, group, rows, before[rows], after[rows])
    return out


def _of_rows(
    boxes: BoxColumns, context: Tensor, nodes: Tracklets, node_logit: Tensor, order: Tensor, group: Tensor,
    rows: Tensor, before: Tensor, after: Tensor,
) -> Tensor:  # fmt: skip
    """Features of some places in the order of tracks; ``before`` and ``after`` are their neighbours' places."""
    own, group = order[rows], group[rows]
    time = boxes.time[own]
    back, ahead = (time - boxes.time[order[before]]).float(), (boxes.time[order[after]] - time).float()
    has_previous, has_next = before < rows, after > rows
    state, left, right = boxes.state[own], boxes.state[order[before]], boxes.state[order[after]]
    part = (back / (back + ahead).clamp_min(1))[:, None]
    expected = torch.where(
        (has_previous & has_next)[:, None],
        left * (1 - part) + right * part,
        torch.where(has_previous[:, None], left, right),
    )
    miss = state - expected
    away = miss[:, :2].norm(dim=1) / boxes.scale[own]
    rate = boxes.lane_rate[boxes.lane[own]]
    return torch.stack(
        [
            torch.log(away + 0.02), miss[:, 2].abs().clamp_max(2), miss[:, 3].abs().clamp_max(2),
            torch.log1p(back * 15 / rate), torch.log1p(ahead * 15 / rate),
            has_previous.float(), has_next.float(), nodes.count[group].log(),
            nodes.count[group] / (nodes.end - nodes.start + 1).float()[group],
            context[own, 1] - nodes.context[group, 1], node_logit[group].clamp(-6, 6),
        ], 1,
    )  # fmt: skip
