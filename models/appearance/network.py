"""The appearance network: crops in, unit vectors out, small enough for a CPU.

Two paths see a crop. Convolutions with ways around them (He et al., CVPR 2016) look at shape and pattern and are pooled
row by row, because heads are above legs (Sun et al., "Beyond Part Models", ECCV 2018). A learned palette, a soft
histogram of colours in horizontal stripes, keeps what tells clothes apart even at twenty pixels of height. Both meet in
one linear layer; its output is normalised by batch (Luo et al., "Bag of Tricks", CVPRW 2019) and to unit length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .crops import CROP_SIZE

_STRIPES = 8  # of the palette's histograms


@dataclass(frozen=True)
class AppearanceConfig:
    """Shape of the network.

    Attributes:
        dimensions: length of a vector.
        widths: channels at strides 2, 4, 8 and 16.
        palette: colours of the learned histogram.
        rows: horizontal parts that features are pooled in.
    """

    dimensions: int = 96
    widths: tuple[int, ...] = (32, 64, 96, 128)
    palette: int = 32
    rows: int = 3

    @classmethod
    def read(cls, stored: dict[str, Any]) -> AppearanceConfig:
        """The configuration that ``dataclasses.asdict`` and JSON have been through."""
        shape: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in stored.items()}
        return cls(**shape)

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or not all(isinstance(n, int) and 0 < n <= 4096 for n in self.widths):
            raise InputError(f"appearance: widths are {self.widths!r}; they must be 4 positive whole numbers")
        for key in ("dimensions", "palette", "rows"):
            value = getattr(self, key)
            if not isinstance(value, int) or not 0 < value <= 4096:
                raise InputError(f"appearance: {key} is {value!r}; it must be a positive whole number")


class AppearanceNetwork(nn.Module):
    """Crops in, unit vectors out.

    Shapes:
        crops: (B, 3, 96, 48) float, RGB in 0 to 255.
        vectors: (B, D) float of unit length.
    """

    def __init__(self, config: AppearanceConfig) -> None:
        super().__init__()
        self.config = config
        stem, second, third, fourth = config.widths
        self.stem = _convolution(3, stem, 5, 2)
        self.stages = nn.Sequential(_Block(stem, second), _Block(second, third), _Block(third, fourth))
        self.palette = nn.Sequential(nn.Conv2d(3, 32, 1), nn.ReLU(inplace=True), nn.Conv2d(32, config.palette, 1))
        pooled = config.rows * fourth + fourth + _STRIPES * config.palette
        self.scale = nn.BatchNorm1d(pooled)
        self.embed = nn.Linear(pooled, config.dimensions, bias=False)
        self.norm = nn.BatchNorm1d(config.dimensions)

    def forward(self, crops: Tensor) -> Tensor:
        """Vectors; see the class for shapes."""
        if crops.shape[1:] != (3, *CROP_SIZE):
            raise InputError(f"crops have shape {tuple(crops.shape)}; expected (B, 3, {CROP_SIZE[0]}, {CROP_SIZE[1]})")
        pixels = (crops - 118) / 64
        features = self.stages(self.stem(pixels))
        parts = functional.adaptive_avg_pool2d(features, (self.config.rows, 1)).flatten(1)
        peaks = features.amax((2, 3))
        shares = self.palette(functional.avg_pool2d(pixels, 2)).softmax(1)
        across = torch.linspace(-1, 1, shares.shape[3], device=shares.device, dtype=shares.dtype)
        centred = shares * (1 - 0.8 * across**2)  # the sides of a box show the background
        stripes = functional.adaptive_avg_pool2d(centred, (_STRIPES, 1)).flatten(1)
        joined = torch.cat([parts, peaks, (stripes + 1e-4).sqrt()], 1)
        return functional.normalize(self.norm(self.embed(self.scale(joined))), dim=1)


class _Block(nn.Module):
    """Halves the picture: two convolutions and a way around them."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.first = _convolution(before, width, 3, 2)
        self.second = _convolution(width, width, 3, active=False)
        self.around = nn.Sequential(nn.AvgPool2d(2), *_convolution(before, width, 1, active=False))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.around(x) + self.second(self.first(x)), inplace=True)


def _convolution(before: int, width: int, size: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(before, width, size, stride, size // 2, bias=False), nn.BatchNorm2d(width)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else []))
