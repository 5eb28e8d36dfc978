"""The network of the default detector: anchor-free, one stage, three levels, small enough for a CPU.

Every cell of a level says for each class how well its box would fit an object of that class (a quality in (0, 1), which
serves as the score), and how far the four sides of that box are away:

    x1 = x - s exp(l),  y1 = y - s exp(t),  x2 = x + s exp(r),  y2 = y + s exp(b)

with (x, y) the cell's centre and s the level's stride. Sources: FCOS (Tian et al., ICCV 2019) for cells and distances,
feature pyramids (Lin et al., CVPR 2017), "Generalized Focal Loss" (Li et al., NeurIPS 2020) for one number that is
class score and quality of the box at once, residual blocks (He et al., CVPR 2016).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from ..synthetic.figures import CLASS_NAMES

#: Pixels from cell to cell, by level.
STRIDES = (8, 16, 32)

#: Images are padded to a multiple of this.
MULTIPLE = STRIDES[-1]

#: Limits of the logarithm of a distance in strides: from an eighth of a stride to some 50 strides.
_REACH = (-2.0, 4.0)


@dataclass(frozen=True)
class DetectorConfig:
    """Shape of the network.

    Attributes:
        classes: names, in the order of the scores.
        widths: channels at strides 4, 8, 16 and 32.
        blocks: residual blocks at the same strides.
        head: channels of pyramid and heads.
    """

    classes: tuple[str, ...] = CLASS_NAMES
    widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: tuple[int, ...] = (1, 1, 2, 2)
    head: int = 64

    @classmethod
    def read(cls, stored: dict[str, Any]) -> DetectorConfig:
        """The configuration that ``dataclasses.asdict`` and JSON have been through."""
        shape: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in stored.items()}
        return cls(**shape)

    def __post_init__(self) -> None:
        names_ok = all(isinstance(name, str) and name for name in self.classes)
        if not self.classes or not names_ok or len(set(self.classes)) < len(self.classes):
            raise InputError(f"detector: classes {self.classes!r} must be different names, at least one")
        for key in ("widths", "blocks"):
            value = getattr(self, key)
            if len(value) != 1 + len(STRIDES) or not all(isinstance(n, int) and n > 0 for n in value):
                raise InputError(f"detector: {key} is {value!r}; it must be {1 + len(STRIDES)} positive whole numbers")
        if not isinstance(self.head, int) or self.head < 1:
            raise InputError(f"detector: head is {self.head!r}; it must be a positive whole number")


def cell_grid(height: int, width: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Centres of all cells of a padded image, level by level, row by row.

    Args:
        height: in pixels, a multiple of ``MULTIPLE``.
        width: likewise.
        device: where the result lies.

    Returns:
        (N, 2) float32 x and y in pixels, and (N,) float32 strides.
    """
    centres, strides = [], []
    for stride in STRIDES:  # levels
        y = (torch.arange(height // stride, device=device) + 0.5) * stride
        x = (torch.arange(width // stride, device=device) + 0.5) * stride
        centres.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2))
        strides.append(torch.full((len(centres[-1]),), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)


def boxes_of(distance: Tensor, centre: Tensor, stride: Tensor) -> Tensor:
    """(..., N, 4) xyxy in pixels from (..., N, 4) logarithms of left, top, right and bottom distance in strides."""
    reach = distance.clamp(*_REACH).exp() * stride[:, None]
    return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], -1)


class DetectorNetwork(nn.Module):
    """Images in, class logits and box distances of every cell out.

    Shapes:
        images: (B, 3, H, W) float, RGB in 0 to 255, H and W multiples of 32.
        logits: (B, N, C), N = H W (1/8^2 + 1/16^2 + 1/32^2); the sigmoid is the quality.
        distances: (B, N, 4) logarithms of distances in strides; ``boxes_of`` makes boxes of them.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        stem, *others = config.widths
        self.stem = _convolution(3, stem, 7, 4)
        self.fine = nn.Sequential(*(_Block(stem) for _ in range(config.blocks[0])))
        stages, before = [], stem
        for width, blocks in zip(others, config.blocks[1:], strict=True):  # levels
            stages.append(nn.Sequential(_convolution(before, width, 3, 2), *(_Block(width) for _ in range(blocks))))
            before = width
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(nn.Conv2d(width, config.head, 1) for width in others)
        self.score_tower = _convolution(config.head, config.head, 3)
        self.box_tower = _convolution(config.head, config.head, 3)
        self.score = nn.Conv2d(config.head, len(config.classes), 3, padding=1)
        self.box = nn.Conv2d(config.head, 4, 3, padding=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Few objects among many cells, boxes of a few strides (RetinaNet, section 4.1)."""
        for layer in (self.score, self.box):
            nn.init.normal_(layer.weight, std=0.01)
        nn.init.constant_(self.score.bias, -math.log((1 - 0.01) / 0.01))  # type: ignore[arg-type]
        nn.init.constant_(self.box.bias, 1.0)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and distances; see the class for shapes."""
        at = self.fine(self.stem((images - 127.5) / 64))
        levels = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            at = stage(at)
            levels.append((at, lateral))
        merged: list[Tensor] = []
        for features, lateral in reversed(levels):  # from coarse to fine
            here = lateral(features)
            if merged:
                here = here + functional.interpolate(merged[-1], scale_factor=2.0, mode="nearest")
            merged.append(here)
        logits, distances = [], []
        for features in reversed(merged):
            logits.append(self.score(self.score_tower(features)).flatten(2))
            distances.append(self.box(self.box_tower(features)).flatten(2))
        return torch.cat(logits, 2).transpose(1, 2), torch.cat(distances, 2).transpose(1, 2)


class _Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, 3)
        self.second = _convolution(width, width, 3, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)), inplace=True)


def _convolution(before: int, width: int, size: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(before, width, size, stride, size // 2, bias=False), nn.BatchNorm2d(width)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else []))
