"""Features by which the boxes of a finished track are judged one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from .columns import BoxColumns
from .tracklets import Tracklets


def box_features(boxes: BoxColumns, context: Tensor, node: Tensor, nodes: Tracklets, node_logit: Tensor) -> Tensor:
    """(N, 11): how every box sits between its neighbours in the track, and what the network says of the track.

    Together with the box's own context these are the features of ``SpamNetwork.judge_boxes``; they are not put together
    here, as for an hour of video that would be the largest array of all.
    """
    order = torch.argsort(node, stable=True)
    group = node[order]
    time = boxes.time[order].float()
    same = torch.zeros(len(order) + 1, dtype=torch.bool, device=node.device)
    same[1:-1] = group[1:] == group[:-1]
    has_previous, has_next = same[:-1], same[1:]
    before = torch.arange(len(order), device=node.device) - has_previous.long()
    after = torch.arange(len(order), device=node.device) + has_next.long()
    state = boxes.state[order]
    back, ahead = time - time[before], time[after] - time
    inside = has_previous & has_next
    part = (back / (back + ahead).clamp_min(1))[:, None]
    expected = torch.where(inside[:, None], state[before] * (1 - part) + state[after] * part,
                           torch.where(has_previous[:, None], state[before], state[after]))  # fmt: skip
    miss = state - expected
    away = miss[:, :2].norm(dim=1) / boxes.scale[order]
    rate = boxes.rate[order]
    own = torch.stack(
        [
            torch.log(away + 0.02), miss[:, 2].abs().clamp_max(2), miss[:, 3].abs().clamp_max(2),
            torch.log1p(back * 15 / rate), torch.log1p(ahead * 15 / rate),
            has_previous.float(), has_next.float(), nodes.count[group].log(),
            nodes.count[group] / (nodes.end - nodes.start + 1).float()[group],
            context[order, 1] - nodes.context[group, 1], node_logit[group].clamp(-6, 6),
        ], 1,
    )  # fmt: skip
    out = torch.empty_like(own)
    out[order] = own
    return out
