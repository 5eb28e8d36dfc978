"""What a wrong prediction costs: whether a cell shows the target, where its box is, how well the network knows.

As TransT (Chen et al., CVPR 2021, section 3.5): all cells in the target's box are positive and all others background,
which counts less for there are more of it; positive cells pay the L1 distance of their box and its generalised overlap
(Rezatofighi et al., CVPR 2019). As in SPOT (TIP 2024) the head of quality learns, with L1, the overlap that boxes have
with the truth, in the target's cells and in a ring around them, so that it is not over-confident just beside a target.

Every loss is taken for each sample alone, over its own cells, and then the samples are averaged by their weights:
large targets do not count for more than small ones, and nothing depends on what else is in the batch but the average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .crops import as_cxcywh, as_xyxy, usual_sides
from .network import Prediction

#: Share of the crop's side that the ring around a target is wide: 3 of 32 cells.
RING = 3 / 32

#: Share of a target's box that must be in the search crop for the sample to count.
VISIBLE = 0.5


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts; the defaults are those of SP-TransT.

    Attributes:
        score: of the cells' scores.
        l1: of the distance of boxes.
        giou: of the generalised overlap of boxes.
        quality: of the expected overlap.
        background: how much a cell of the background counts beside one of the target.

    Raises:
        InputError: for a weight that is negative or not finite.
    """

    score: float = 8.334
    l1: float = 5.0
    giou: float = 2.0
    quality: float = 1.0
    background: float = 0.0625

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise InputError(f"loss weights: {field.name} is {value!r}; it must be finite and not negative")


@dataclass(frozen=True)
class Losses:
    """The four losses, scalars, each averaged over the samples by their weights, and their weighted sum.

    Attributes:
        score: binary cross-entropy of cells.
        l1: mean distance of middle and sides, in shares of the crop.
        giou: 1 - generalised overlap.
        quality: distance of the expected overlap.
        total: what to minimise.
    """

    score: Tensor
    l1: Tensor
    giou: Tensor
    quality: Tensor
    total: Tensor


def believed_sides(xyxy: Tensor, factor: float, spread: float = 0.1) -> Tensor:
    """Shapes of true boxes (B, 4) as something that is about right would tell them: what training gives the network.

    The size is not told. ``spread`` is that of the logarithm of the sides; torch's own random numbers decide.

    Returns:
        (B, 2) float32, as ``crops.usual_sides``.
    """
    middle, sides = as_cxcywh(xyxy.float()).split(2, 1)
    return usual_sides(as_xyxy(torch.cat([middle, sides * (spread * torch.randn_like(sides)).exp()], 1)), factor)


def tracking_loss(
    prediction: Prediction,
    xyxy: Tensor,
    weight: Tensor | None = None,
    quality_weight: Tensor | None = None,
    present: Tensor | None = None,
    weights: LossWeights | None = None,
) -> Losses:
    """What the predictions of a batch cost.

    Args:
        prediction: of B search crops with L cells, L a square.
        xyxy: (B, 4) floating, the true boxes in shares of the crop. They are clipped to it, and a sample whose box lies
            in the crop by less than ``VISIBLE`` of its area, or is no box at all (NaN), counts nothing.
        weight: (B,) floating, how much each sample counts, not negative; None if all count alike. Only ratios matter;
            a batch in which nothing counts costs zero, and its gradients are zero.
        quality_weight: (B,) likewise for the head of quality, which pseudo-labels must not teach (they know no truth);
            None for the same as ``weight``.
        present: (B,) bool, whether the target is in the crop. Where it is not, ``xyxy`` is not read, all cells are
            background, and no box has any overlap. None if it always is.
        weights: of the losses among each other.

    Returns:
        The losses in float32.

    Raises:
        InputError: for columns of the wrong shape, or cells that form no square.
    """
    weights = weights or LossWeights()
    logits, cxcywh, quality = prediction.logits.float(), prediction.cxcywh.float(), prediction.quality.float()
    batch, cells = logits.shape
    side = math.isqrt(cells)
    _check(batch, cells, xyxy, weight, quality_weight, present)
    there = torch.ones(batch, dtype=torch.bool, device=logits.device) if present is None else present
    count = torch.ones_like(logits[:, 0]) if weight is None else weight.float()
    quality_count = count if quality_weight is None else quality_weight.float()

    whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=logits.device)
    truth, share = clipped(torch.where(there[:, None], xyxy.float(), whole))
    usable = share >= VISIBLE
    truth = torch.where(usable[:, None], truth, whole)
    count, quality_count = count * usable, quality_count * usable

    positive = target_cells(truth, side) & there[:, None]
    ring = ring_cells(truth, side)
    overlap, generalised = overlaps(as_xyxy(cxcywh), truth[:, None].expand(-1, cells, -1))

    blame = functional.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")
    cell_count = torch.where(positive, 1.0, weights.background)
    score = (blame * cell_count).sum(1) / cell_count.sum(1).clamp_min(1e-6)
    distance = (cxcywh - as_cxcywh(truth)[:, None]).abs().mean(2)
    known = overlap.detach().clamp(0, 1) * there[:, None]
    doubt = (quality - known).abs()
    near = _mean(doubt, positive) + _mean(doubt, ring & there[:, None])
    doubted = torch.where(there, near, doubt.mean(1))

    box_count = count * there
    parts = (
        _average(score, count),
        _average(_mean(distance, positive), box_count),
        _average(_mean(1 - generalised, positive), box_count),
        _average(doubted, quality_count),
    )
    total = sum(
        (part * factor for part, factor in zip(parts[1:], (weights.l1, weights.giou, weights.quality), strict=True)),
        parts[0] * weights.score,
    )
    return Losses(*parts, total)


def target_cells(xyxy: Tensor, side: int) -> Tensor:
    """Cells that answer for a target: from ceil(first edge) to before ceil(last edge), in cells; at least one.

    Args:
        xyxy: (B, 4) float, shares of the crop, within it.
        side: cells along a side of the crop.

    Returns:
        (B, side^2) bool, row by row.
    """
    first, last = _bounds(xyxy, side)
    return _block(first, last, side)


def ring_cells(xyxy: Tensor, side: int) -> Tensor:
    """Cells around those that answer for a target, ``RING`` of the crop wide, at least one cell; (B, side^2) bool."""
    first, last = _bounds(xyxy, side)
    width = max(round(side * RING), 1)
    return _block(first - width, last + width, side) & ~_block(first, last, side)


def clipped(xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (B, 4) in shares of the crop cut to it, and (B,) the share of their area that is in it."""
    inside = xyxy.clamp(0, 1)
    area = (xyxy[:, 2:] - xyxy[:, :2]).prod(1).clamp_min(1e-12)
    return inside, (inside[:, 2:] - inside[:, :2]).prod(1) / area


def overlaps(xyxy: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Overlap (IoU, 0 to 1) and generalised overlap (GIoU, -1 to 1) of boxes in pairs, (...) from twice (..., 4)."""
    shared = (torch.minimum(xyxy[..., 2:], other[..., 2:]) - torch.maximum(xyxy[..., :2], other[..., :2])).clamp_min(0)
    hull = (torch.maximum(xyxy[..., 2:], other[..., 2:]) - torch.minimum(xyxy[..., :2], other[..., :2])).prod(-1)
    inter = shared.prod(-1)
    union = (xyxy[..., 2:] - xyxy[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1) - inter
    iou = inter / union.clamp_min(1e-9)
    return iou, iou - (hull - union) / hull.clamp_min(1e-9)


def _bounds(xyxy: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """First cell of a target and the cell behind its last one, (B, 2) int64 column and row each."""
    first = (xyxy[:, :2] * side).ceil().clamp(0, side - 1)
    last = torch.maximum((xyxy[:, 2:] * side).ceil().clamp_max(side), first + 1)
    return first.long(), last.long()


def _block(first: Tensor, last: Tensor, side: int) -> Tensor:
    """(B, side^2) bool: cells of a rectangle, of which (B, 2) first is in it and last is not."""
    cell = torch.arange(side, device=first.device)
    inside = (cell[:, None] >= first[:, None]) & (cell[:, None] < last[:, None])  # (B, side, 2) of column and row
    return (inside[:, :, None, 1] & inside[:, None, :, 0]).flatten(1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) means of (B, L) values where the mask is, 0 where it is nowhere."""
    return torch.where(mask, values, 0.0).sum(1) / mask.sum(1).clamp_min(1)


def _average(values: Tensor, count: Tensor) -> Tensor:
    """Mean of (B,) values by (B,) weights; 0 where nothing counts."""
    return (values * count).sum() / torch.where(count.sum() > 0, count.sum(), 1.0)


def _check(
    batch: int, cells: int, xyxy: Tensor, weight: Tensor | None, quality_weight: Tensor | None, present: Tensor | None
) -> None:
    if math.isqrt(cells) ** 2 != cells:
        raise InputError(f"a prediction has {cells} cells; a search crop has as many along as across")
    if xyxy.shape != (batch, 4):
        raise InputError(f"true boxes have shape {tuple(xyxy.shape)}; expected ({batch}, 4)")
    for name, column in (("weight", weight), ("quality_weight", quality_weight), ("present", present)):
        if column is not None and column.shape != (batch,):
            raise InputError(f"{name} has shape {tuple(column.shape)}; expected ({batch},)")
