"""Overlap of paired boxes in the (centre x, centre y, log width, log height) form that the hierarchy uses."""

from __future__ import annotations

import torch
from torch import Tensor


def corners(state: Tensor) -> Tensor:
    """(..., 4) state to (..., 4) xyxy, pixels."""
    half = state[..., 2:].clamp(-10, 10).exp() / 2
    return torch.cat([state[..., :2] - half, state[..., :2] + half], -1)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """(P,) shared area of paired xyxy boxes."""
    return (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(1)


def area(a: Tensor) -> Tensor:
    """(P,) area of xyxy boxes."""
    return (a[:, 2:] - a[:, :2]).prod(1)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """(P,) generalised IoU of paired xyxy boxes, in [-1, 1] (Rezatofighi et al., CVPR 2019)."""
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return shared / union.clamp_min(1e-9) - (hull - union) / hull.clamp_min(1e-9)
