"""Make a pair of crops harder for the student than for the teacher: asymmetric augmentation of SPOT (TIP 2024).

The teacher sees every target as it is. What the student searches is cut elsewhere and at another size, lighter or
darker, now and then without colour, turned, and mirrored; so it has to learn what the teacher could tell with ease.
Boxes go along, in shares of the crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError

_LUMA = (0.299, 0.587, 0.114)  # of R, G and B, ITU-R BT.601


@dataclass(frozen=True)
class Distortion:
    """How much crops are changed; the defaults are SPOT's.

    Attributes:
        centre: how far the middle of a search window may be off, in mean sides of the target: half of it either way.
        scale: standard deviation of the logarithm of the sides that a search window is cut for.
        brightness: pixels are multiplied by 1 plus or minus this at most.
        grey: share of pairs that lose their colour.
        rotation: degrees by which a crop is turned at most.
        mirror: share of crops that are mirrored left to right.
        upset: share of crops that stand on their head.

    Raises:
        InputError: for a value that is negative, or a share above 1.
    """

    centre: float = 3.0
    scale: float = 0.25
    brightness: float = 0.2
    grey: float = 0.05
    rotation: float = 10.0
    mirror: float = 0.35
    upset: float = 0.10

    def __post_init__(self) -> None:
        for each in fields(self):
            value, most = getattr(self, each.name), math.inf
            if each.name in ("brightness", "grey", "mirror", "upset"):
                most = 1.0
            if not 0 <= value <= most or not math.isfinite(value):
                raise InputError(f"augmentation: {each.name} is {value!r}; it must lie between 0 and {most:g}")


def jitter(xyxy: Tensor, distortion: Distortion, draw: torch.Generator) -> Tensor:
    """Boxes to cut search windows around, so that targets are off the middle and of another size.

    Args:
        xyxy: (N, 4) floating, pixels, with some area.
        distortion: ``centre`` and ``scale`` of it.
        draw: decides by how much.

    Returns:
        (N, 4) float32 pixels.
    """
    boxes = xyxy.float()
    sides = (boxes[:, 2:] - boxes[:, :2]) * (distortion.scale * torch.randn(len(boxes), 2, generator=draw)).exp()
    reach = distortion.centre * sides.mean(1, keepdim=True)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 + reach * (torch.rand(len(boxes), 2, generator=draw) - 0.5)
    return torch.cat([middle - sides / 2, middle + sides / 2], 1)


def relight(template: Tensor, search: Tensor, distortion: Distortion, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of crops in other light, each crop for itself, and some pairs without colour.

    Args:
        template: (N, 3, t, t) float, RGB in 0 to 255.
        search: (N, 3, s, s) likewise.
        distortion: ``brightness`` and ``grey`` of it.
        draw: decides which and how much.

    Returns:
        crops of the same shapes.
    """
    count = len(template)
    light = 1 + distortion.brightness * (2 * torch.rand(2, count, 1, 1, 1, generator=draw) - 1)
    colourless = (torch.rand(count, generator=draw) < distortion.grey)[:, None, None, None]
    luma = template.new_tensor(_LUMA)[:, None, None]

    def changed(crops: Tensor, factor: Tensor) -> Tensor:
        lit = (crops * factor.to(crops)).clamp(0, 255)
        return torch.where(colourless.to(crops.device), (lit * luma).sum(1, keepdim=True), lit)

    return changed(template, light[0]), changed(search, light[1])


def turn(crops: Tensor, xyxy: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Crops turned clockwise about their middles; what comes in from outside has the crop's mean colour.

    A box becomes the box around its turned inscribed ellipse, which is closer to most objects than its turned corners.

    Args:
        crops: (N, 3, S, S) float.
        xyxy: (N, 4) float, shares of the crop.
        degrees: (N,) float.

    Returns:
        (N, 3, S, S) crops, nearest pixels, and (N, 4) boxes, not clipped.
    """
    angle = torch.deg2rad(degrees.to(crops))
    cos, sin = angle.cos(), angle.sin()
    zero = torch.zeros_like(cos)
    # Where the pixel of the turned crop comes from: turned back.
    theta = torch.stack([torch.stack([cos, sin, zero], 1), torch.stack([-sin, cos, zero], 1)], 1)
    grid = functional.affine_grid(theta, list(crops.shape), align_corners=False)
    mean = crops.mean((2, 3), keepdim=True)
    turned = functional.grid_sample(crops - mean, grid, mode="nearest", align_corners=False) + mean
    x, y = ((xyxy[:, :2] + xyxy[:, 2:]) / 2 - 0.5).unbind(1)
    half = (xyxy[:, 2:] - xyxy[:, :2]) / 2
    middle = torch.stack([cos * x - sin * y, sin * x + cos * y], 1) + 0.5
    wide = ((half[:, 0] * cos) ** 2 + (half[:, 1] * sin) ** 2).sqrt()
    tall = ((half[:, 0] * sin) ** 2 + (half[:, 1] * cos) ** 2).sqrt()
    reach = torch.stack([wide, tall], 1)
    return turned, torch.cat([middle - reach, middle + reach], 1)


def mirror(crops: Tensor, xyxy: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Some crops and boxes mirrored left to right.

    Args:
        crops: (N, 3, S, S) float.
        xyxy: (N, 4) float, shares of the crop.
        which: (N,) bool.

    Returns:
        crops and boxes of the same shapes.
    """
    other = torch.stack([1 - xyxy[:, 2], xyxy[:, 1], 1 - xyxy[:, 0], xyxy[:, 3]], 1)
    return torch.where(which[:, None, None, None], crops.flip(3), crops), torch.where(which[:, None], other, xyxy)


def distort(crops: Tensor, xyxy: Tensor, distortion: Distortion, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Search crops turned and mirrored at random, as only the student sees them.

    Args:
        crops: (N, 3, S, S) float.
        xyxy: (N, 4) float, shares of the crop.
        distortion: ``rotation``, ``mirror`` and ``upset`` of it.
        draw: decides which and how much.

    Returns:
        crops and boxes of the same shapes; boxes are not clipped, the loss does that and drops what is hardly there.
    """
    count, most = len(crops), int(distortion.rotation)
    degrees = torch.randint(-most, most + 1, (count,), generator=draw).float()
    degrees = degrees + 180.0 * (torch.rand(count, generator=draw) < distortion.upset)
    mirrored = torch.rand(count, generator=draw) < distortion.mirror
    device = crops.device
    return mirror(*turn(crops, xyxy, degrees.to(device)), mirrored.to(device))
