"""What vectors cost: crops of one object should be more alike than crops of different ones.

Supervised contrastive learning (Khosla et al., NeurIPS 2020, equation 2), with two additions for labels that nobody
confirmed: anchors have weights, and pairs of objects that may be one and the same count neither way.
"""

from __future__ import annotations

import torch
from torch import Tensor


def contrast(
    vectors: Tensor, identity: Tensor, rival: Tensor, weight: Tensor | None = None, temperature: float = 0.1
) -> Tensor:
    r"""What the vectors of a batch cost: the mean over anchors of a softmax's logarithm.

    .. math::
        L_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)}
              \log \frac{\exp(z_i \cdot z_p / t)}{\sum_{a \in P(i) \cup R(i)} \exp(z_i \cdot z_a / t)}

    with P(i) the other crops of the anchor's object and R(i) its rivals: those of objects that are surely others.

    Args:
        vectors: (B, D) of unit length.
        identity: (B,) int64.
        rival: (B, B) bool, symmetric; pairs of one identity are never rivals.
        weight: (B,) of the anchors and of their positives; None for 1 each.
        temperature: the less it is, the more the hardest pairs count.

    Returns:
        A scalar; 0 if no anchor has a positive.
    """
    weight = torch.ones(len(vectors), device=vectors.device) if weight is None else weight.float()
    same = identity[:, None] == identity[None]
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    positive = (same & ~itself).float() * weight[None]
    likeness = (vectors @ vectors.T).float() / temperature
    seen = (same | rival) & ~itself
    total = likeness.masked_fill(~seen, float("-inf")).logsumexp(1, keepdim=True)
    reach = positive.sum(1)
    log_share = torch.where(positive > 0, likeness - total, torch.zeros_like(likeness))
    each = -(positive * log_share).sum(1) / reach.clamp_min(1e-9)
    counted = weight * (reach > 0)
    return (each * counted).sum() / counted.sum().clamp_min(1e-9)
