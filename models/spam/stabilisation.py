"""Take the camera's unsteadiness out of the boxes, told from the boxes alone.

A turning or shaking camera moves everything in the image alike; objects move each in their own way, in proportion to
their size. The common displacement from frame to frame is estimated from pairs of boxes that are each other's best
partner, far (small) objects counting most, and shrunk by empirical Bayes: frames with few objects and videos with a
steady camera are left as they are. A steady drift is left in, as straight motion already explains it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .columns import BoxColumns

OWN_SPEED = 1.5  # scales a second: spread of the objects' own motion
JITTER = 0.05  # scales: spread of a detector's noise between two frames


@dataclass(frozen=True)
class Partners:
    """Pairs of boxes of neighbouring frames, each the other's best partner.

    Attributes:
        before: (P,) int64, row of the box of the earlier frame.
        after: (P,) int64, row of its partner, one frame later.
    """

    before: Tensor
    after: Tensor


def stabilise(boxes: BoxColumns, partners: Partners) -> BoxColumns:
    """The boxes as a steady camera would have seen them; sizes, and everything but the centres, stay."""
    i, j = partners.before, partners.after
    if not len(i):
        return boxes
    frames = int(boxes.time[-1]) + 2
    lane_of_frame = torch.full((frames,), -1, dtype=torch.int64, device=i.device)
    lane_of_frame[boxes.time] = boxes.lane
    moved = boxes.state[j, :2] - boxes.state[i, :2]
    spread = boxes.scale[i] * (OWN_SPEED / boxes.rate[i] + JITTER)
    weight = (1 / spread**2)[:, None]
    shift = torch.zeros(frames, 2, device=i.device)
    trust = torch.zeros(frames, 2, device=i.device)
    factor = torch.ones_like(moved)
    for _ in range(3):  # re-weighting passes: partners that were none pull less
        w = weight * factor
        trust = torch.zeros_like(trust).index_add_(0, boxes.time[j], w)
        shift = torch.zeros_like(shift).index_add_(0, boxes.time[j], w * moved) / trust.clamp_min(1e-12)
        miss = (moved - shift[boxes.time[j]]) / spread[:, None]
        factor = 1 / (1 + miss.abs())
    seen = trust[:, 0] > 0
    change = _unsteady(shift[seen], trust[seen], lane_of_frame[seen], len(boxes.lane_rate))
    path = torch.zeros(frames, 2, dtype=torch.float64, device=i.device)
    path[seen] = change.double()
    path = path.cumsum(0)
    centre = boxes.state[:, :2] - (path[boxes.time] - path[boxes.lane_start[boxes.lane]]).float()
    return replace(boxes, state=torch.cat([centre, boxes.state[:, 2:]], 1))


def _unsteady(shift: Tensor, trust: Tensor, lane: Tensor, lanes: int) -> Tensor:
    """(F, 2) what of the frames' displacements is neither steady drift nor the objects' own motion, pixels."""
    count = torch.bincount(lane, minlength=lanes).clamp_min(1)[:, None]
    zero = shift.new_zeros(lanes, 2)
    total = zero.index_add(0, lane, trust)
    drift = zero.index_add(0, lane, trust * shift) / total.clamp_min(1e-12)
    rest = shift - drift[lane]
    own = 1 / trust
    # variance of the camera's motion: what the frames vary by more than the objects' own motion explains
    excess = zero.index_add(0, lane, rest**2 - own) / count
    camera = excess.clamp_min(0)[lane]
    return rest * camera / (camera + own)
