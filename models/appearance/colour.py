"""Describes how boxes look by the colours of their horizontal stripes: no weights, no training, no GPU.

Clothes and cars are told apart by what colour they are and where: a head, a torso, legs, feet. Each box is resampled to
a small grid, its pixels are taken to CIELAB (where distances are as people see them), and every stripe becomes two soft
histograms: lightness, and chroma ``(a, b)`` jointly. Bins share a pixel linearly, so that a small change of light moves
a little mass and not all of it. Square roots of histograms compared by dot product are Bhattacharyya coefficients
(Hellinger's kernel), which few large bins do not dominate.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError

STRIPES = 4
LIGHTNESS_BINS = 8
CHROMA_BINS = 5  # along a and along b
DIMENSIONS = STRIPES * (LIGHTNESS_BINS + CHROMA_BINS**2)

_ROWS, _COLUMNS = 48, 24  # samples of a box
_CENTRE = (0.7, 0.92)  # share of the box's width and height that is looked at: corners show the background
_CHROMA_SCALE = 25.0  # chroma at which bins are half used: streets are grey, so bins are narrow near grey

_BGR_TO_XYZ = (
    (0.1804375 / 0.95047, 0.3575761 / 0.95047, 0.4124564 / 0.95047),
    (0.0721750, 0.7151522, 0.2126729),
    (0.9503041 / 1.08883, 0.1191920 / 1.08883, 0.0193339 / 1.08883),
)  # linear sRGB to XYZ relative to the white point D65 (IEC 61966-2-1)


@torch.no_grad()
def describe(image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
    """Colour descriptors of the boxes of one image.

    Args:
        image: (H, W, 3) uint8, BGR as OpenCV reads it.
        xyxy: (N, 4) floating, pixels, x1 < x2 and y1 < y2. What lies outside the image is not counted.

    Returns:
        (N, ``DIMENSIONS``) float32 of unit length; the dot product of two rows is the mean Bhattacharyya coefficient of
        their histograms, from 0 (no colour in common) to 1.

    Raises:
        InputError: for an image that is not (H, W, 3) uint8 or boxes that are not (N, 4).
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"image has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8, BGR")
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise InputError(f"boxes have shape {xyxy.shape}; expected (N, 4)")
    if not len(xyxy):
        return np.zeros((0, DIMENSIONS), np.float32)
    pixels, weight = _sample(image, torch.from_numpy(np.ascontiguousarray(xyxy, dtype=np.float32)))
    lightness, a, b = _lab(pixels).unbind(-1)
    soft_a, soft_b = _soft_bins(_squash(a), CHROMA_BINS), _soft_bins(_squash(b), CHROMA_BINS)
    chroma = (soft_a * weight[..., None]).transpose(-1, -2) @ soft_b  # (N, stripes, bins, bins)
    light = (_soft_bins(lightness / 100, LIGHTNESS_BINS) * weight[..., None]).sum(-2)  # (N, stripes, bins)
    histograms = torch.cat([light, chroma.flatten(-2)], -1) / weight.sum(-1, keepdim=True)
    return F.normalize(histograms.sqrt().flatten(1), dim=1).numpy()


def _sample(image: NDArray[np.uint8], xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of each stripe of each box, and their weights.

    Returns:
        (N, STRIPES, P, 3) float32 BGR in [0, 1], and (N, STRIPES, P) float32 weights: greatest along the box's vertical
        axis, next to nothing outside the image (not nothing, so that every box has a descriptor).
    """
    height, width = image.shape[:2]
    across = (torch.arange(_COLUMNS) + 0.5) / _COLUMNS - 0.5  # (columns,) from -0.5 to 0.5
    down = (torch.arange(_ROWS) + 0.5) / _ROWS - 0.5
    centre, side = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
    x = centre[:, :1] + side[:, :1] * _CENTRE[0] * across  # (N, columns) pixels
    y = centre[:, 1:] + side[:, 1:] * _CENTRE[1] * down  # (N, rows)
    # The nearest pixel is enough for a histogram, and spares the floating copy of the image that grid_sample wants.
    column, row = x.long().clamp(0, width - 1), y.long().clamp(0, height - 1)
    pixels = torch.from_numpy(np.ascontiguousarray(image))[row[:, :, None], column[:, None]]  # (N, rows, columns, 3)
    inside = ((x >= 0) & (x <= width))[:, None] & ((y >= 0) & (y <= height))[:, :, None]
    weight = (1 - (2 * across).square() * 0.75) * (inside + 1e-6)
    shape = (len(xyxy), STRIPES, _ROWS // STRIPES * _COLUMNS)
    return pixels.reshape(*shape, 3).float() / 255, weight.reshape(shape)


def _lab(bgr: Tensor) -> Tensor:
    """Turns sRGB in [0, 1] into CIELAB: (..., 3) BGR to (..., 3) with L in [0, 100], a and b about [-110, 110]."""
    linear = torch.where(bgr <= 0.04045, bgr / 12.92, ((bgr + 0.055) / 1.055).clamp(min=0) ** 2.4)
    xyz = linear @ torch.tensor(_BGR_TO_XYZ).T
    f = torch.where(xyz > 216 / 24389, xyz.clamp(min=1e-9) ** (1 / 3), xyz * (841 / 108) + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _squash(chroma: Tensor) -> Tensor:
    """Chroma of either sign to (0, 1), finest near grey."""
    return 0.5 + 0.5 * chroma / (chroma.abs() + _CHROMA_SCALE)


def _soft_bins(value: Tensor, bins: int) -> Tensor:
    """Shares of values among bins: (...) in [0, 1] to (..., bins), each row summing to 1, at most two not zero."""
    place = value.clamp(0, 1) * (bins - 1)
    return (1 - (place[..., None] - torch.arange(bins)).abs()).clamp(min=0)
