"""Which cell answers for which object, and what a wrong answer costs.

An object belongs to the level that suits its size, and there to the cells around the middle of the part of its box that
lies in the image (centre sampling of FCOS, Tian et al., ICCV 2019); a cell in reach of several objects goes to the one
whose middle is nearest in units of the box, with a small advantage for the one that is better visible. Loss: quality
focal loss (Li et al., "Generalized Focal Loss", NeurIPS 2020), whose target is the overlap that the predicted box has
with its object, plus the generalised overlap of the boxes (Rezatofighi et al., CVPR 2019), both over the number of
cells that answer for an object.

What counts as an object is decided by visibility, the share of its pixels that can be seen: from ``VISIBLE`` on it must
be found; below ``HIDDEN`` it is background; in between nobody can be blamed either way, and cells there are left out.
In pictures that are not complete only the cells of objects and of such background are judged: of the rest nobody knows
what it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from .network import STRIDES, boxes_of

#: Visible share from which an object must be found, and below which it does not count as there at all.
VISIBLE, HIDDEN = 0.25, 0.05

#: Root of the box's area in pixels up to which a level is meant, the coarsest for all above.
LEVEL_SIZES = (56.0, 128.0)

#: Cells are not blamed for objects whose size exceeds their level's limits by up to this factor.
_TOLERANCE = 1.3

#: Half of the middle part of a box whose cells answer for it, as a share of the box, and at least in strides.
_MIDDLE, _LEAST = 0.2, 0.75

#: How much an object that is hardly visible stands back behind one in front, in squared box units.
_STAND_BACK = 0.05


@dataclass(frozen=True)
class Objects:
    """Objects of a batch of images, padded to the same number.

    Attributes:
        xyxy: (B, M, 4) float32, amodal boxes in pixels; may leave the image.
        class_index: (B, M) int64; -1 for padding.
        visibility: (B, M) float32 in [0, 1].
        weight: (B, M) float32, how much each counts; None if all count alike.
        complete: (B,) bool, whether what is no object is background; None if it always is.
    """

    xyxy: Tensor
    class_index: Tensor
    visibility: Tensor
    weight: Tensor | None = None
    complete: Tensor | None = None

    def to(self, device: torch.device | str) -> Objects:
        """The same on a device."""
        return self._each(lambda column: column.to(device))

    def take(self, rows: slice) -> Objects:
        """Those of some images."""
        return self._each(lambda column: column[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Objects:
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        return Objects(**{name: change(column) for name, column in columns.items() if column is not None})


@dataclass(frozen=True)
class Assignment:
    """What every cell is to say.

    Attributes:
        owner: (B, N) int64, the object that the cell answers for, or -1.
        ignored: (B, N) bool, cells that nobody is to judge.
        weight: (B, N) float32, how much each cell counts; None if all count alike.
    """

    owner: Tensor
    ignored: Tensor
    weight: Tensor | None = None


def assign(objects: Objects, centre: Tensor, stride: Tensor, size: tuple[int, int]) -> Assignment:
    """Give cells to objects.

    Args:
        objects: M objects of B images.
        centre: (N, 2) pixels.
        stride: (N,) pixels.
        size: height and width of the images in pixels; middles are those of the part of a box inside.
    """
    batch, most = objects.class_index.shape
    if most == 0:
        nobody = torch.full((batch, len(centre)), -1, dtype=torch.int64, device=centre.device)
        unknown = torch.zeros_like(nobody, dtype=torch.bool)
        return Assignment(nobody, unknown if objects.complete is None else unknown | ~objects.complete[:, None])
    limit = torch.tensor([size[1], size[0]], device=centre.device, dtype=torch.float32)
    low = torch.minimum(objects.xyxy[..., :2].clamp_min(0), limit)
    high = torch.minimum(objects.xyxy[..., 2:].clamp_min(0), limit)
    extent = (high - low).clamp_min(1e-3)  # (B, M, 2) of the part inside
    offset = (centre[None, :, None] - (low + high)[:, None] / 2).abs()  # (B, N, M, 2)
    reach = torch.maximum(_MIDDLE * extent[:, None], _LEAST * stride[None, :, None, None])
    there = objects.class_index >= 0
    inside = (offset <= reach).all(-1) & there[:, None]
    side = (objects.xyxy[..., 2:] - objects.xyxy[..., :2]).clamp_min(1e-3).prod(-1).sqrt()  # (B, M)
    above, upto = _level_limits(stride)
    right = (side[:, None] > above[:, None]) & (side[:, None] <= upto[:, None])
    near = (side[:, None] > above[:, None] / _TOLERANCE) & (side[:, None] <= upto[:, None] * _TOLERANCE)
    counts = (objects.visibility >= VISIBLE)[:, None]
    unclear = ((objects.visibility >= HIDDEN) & (objects.visibility < VISIBLE))[:, None]
    distance = (offset / extent[:, None]).square().sum(-1) + _STAND_BACK * (1 - objects.visibility[:, None])
    best, owner = torch.where(inside & right & counts, distance, torch.inf).min(-1)
    owner = torch.where(best.isfinite(), owner, -1)
    ignored = (inside & ((near & counts) | unclear)).any(-1) & (owner < 0)
    background = inside & (objects.visibility < HIDDEN)[:, None]  # (B, N, M)
    if objects.complete is not None:
        ignored |= ~objects.complete[:, None] & ~background.any(-1) & (owner < 0)
    return Assignment(owner, ignored, None if objects.weight is None else _weights(objects.weight, owner, background))


def _weights(weight: Tensor, owner: Tensor, background: Tensor) -> Tensor:
    """(B, N): a cell counts as much as its object, else as the weightiest box that it is to be silent about, else 1."""
    silent = torch.where(background, weight[:, None], 0.0).amax(-1)
    silent = torch.where(background.any(-1), silent, 1.0)
    return torch.where(owner >= 0, weight.gather(1, owner.clamp_min(0)), silent)


def detection_loss(
    logits: Tensor, distances: Tensor, objects: Objects, centre: Tensor, stride: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Loss of the scores and of the boxes, two scalars.

    Args:
        logits: (B, N, C).
        distances: (B, N, 4), as the network gives them.
        objects: the truth.
        centre: (N, 2) pixels of the cells.
        stride: (N,) pixels.
        size: height and width of the images in pixels.
    """
    logits, distances = logits.float(), distances.float()
    given = assign(objects, centre, stride, size)
    image, cell = (given.owner >= 0).nonzero(as_tuple=True)
    which = given.owner[image, cell]
    predicted = boxes_of(distances[image, cell], centre[cell], stride[cell])
    overlap, generalised = _overlaps(predicted, objects.xyxy[image, which])
    target = torch.zeros_like(logits)
    target[image, cell, objects.class_index[image, which]] = overlap.detach().clamp(0, 1)
    blame = (target - logits.sigmoid()).detach().abs().square()
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * blame
    count = max(len(which), 1)
    fit = 1 - generalised
    if given.weight is not None:
        loss, fit = loss * given.weight[..., None], fit * given.weight[image, cell]
    score = loss.masked_fill(given.ignored[..., None], 0.0).sum() / count
    return score, fit.sum() / count


def _level_limits(stride: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) sizes above which, and up to which, the level of each cell is meant."""
    bounds = torch.tensor([0.0, *LEVEL_SIZES, torch.inf], device=stride.device)
    level = torch.searchsorted(torch.tensor(STRIDES, dtype=torch.float32, device=stride.device), stride)
    return bounds[level], bounds[level + 1]


def _overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) intersection over union, and its generalised form, of boxes in pairs."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1).clamp_min(1e-6)
    union = ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared).clamp_min(1e-6)
    overlap = shared / union
    return overlap, overlap - (hull - union) / hull
