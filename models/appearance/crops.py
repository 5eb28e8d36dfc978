"""Cut boxes out of pictures, all of one size: what the appearance network looks at."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..errors import InputError

#: Pixels of a crop: height and width. Boxes of any shape are squeezed into it.
CROP_SIZE = (96, 48)

_LEVELS = 6  # halvings of the picture at most; a box of 96 x 2^6 pixels is larger than any picture


def cut(image: NDArray[np.uint8], xyxy: NDArray[np.floating], size: tuple[int, int] = CROP_SIZE) -> NDArray[np.uint8]:
    """Crops of the boxes of one picture.

    Large boxes are read from a picture that was halved until a crop's pixel is at most two of its pixels wide, so that
    nothing flickers; all boxes of one such picture are one operation.

    Args:
        image: (H, W, 3) uint8, channels in any order.
        xyxy: (N, 4) floating, pixels, x1 < x2 and y1 < y2; outside the picture its border goes on.
        size: height and width of a crop.

    Returns:
        (N, height, width, 3) uint8, channels as in the picture.

    Raises:
        InputError: for an image that is not (H, W, 3) uint8 with pixels, or boxes that are not (N, 4), finite and of
            some area.
    """
    _check(image, xyxy)
    height, width = size
    out = np.zeros((len(xyxy), height, width, 3), np.uint8)
    if not len(xyxy):
        return out
    boxes = np.asarray(xyxy, np.float64)
    shrink = np.maximum((boxes[:, 3] - boxes[:, 1]) / height, (boxes[:, 2] - boxes[:, 0]) / width)
    level = np.clip(np.floor(np.log2(np.maximum(shrink, 1.0))), 0, _LEVELS).astype(int)
    picture, at = image, 0
    for wanted in np.unique(level).tolist():  # a few sizes of the picture
        while at < wanted:
            half = (max(picture.shape[1] // 2, 1), max(picture.shape[0] // 2, 1))
            picture, at = cv2.resize(picture, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), at + 1
        rows = np.flatnonzero(level == wanted)
        scale = np.array([picture.shape[1] / image.shape[1], picture.shape[0] / image.shape[0]] * 2)
        out[rows] = _sample(picture, boxes[rows] * scale, size)
    return out


def _sample(picture: NDArray[np.uint8], boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear samples of boxes (n, 4) in pixels of a picture; only the part that they cover becomes floating."""
    height, width = size
    tall, wide = picture.shape[:2]
    low = np.clip(np.floor(boxes[:, :2].min(0)) - 1, 0, [wide - 1, tall - 1]).astype(int)
    high = np.clip(np.ceil(boxes[:, 2:].max(0)) + 1, low + 1, [wide, tall]).astype(int)
    part = torch.from_numpy(np.ascontiguousarray(picture[low[1] : high[1], low[0] : high[0]]))
    span = torch.from_numpy(high - low).float()
    box = torch.from_numpy(boxes - np.concatenate([low, low])).float()
    across = box[:, :1] + (box[:, 2:3] - box[:, :1]) * (torch.arange(width) + 0.5) / width
    down = box[:, 1:2] + (box[:, 3:] - box[:, 1:2]) * (torch.arange(height) + 0.5) / height
    x = (2 * across / span[0] - 1)[:, None].expand(-1, height, -1)
    y = (2 * down / span[1] - 1)[:, :, None].expand(-1, -1, width)
    grid = torch.stack([x, y], -1).reshape(1, -1, width, 2)  # all boxes below each other: the picture is not repeated
    values = functional.grid_sample(
        part.permute(2, 0, 1)[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    crops: Tensor = values[0].reshape(3, len(boxes), height, width).permute(1, 2, 3, 0)
    return crops.round().clamp(0, 255).to(torch.uint8).numpy()


def _check(image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(f"image has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8")
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise InputError(f"boxes have shape {xyxy.shape}; expected (N, 4)")
    bad = ~(np.isfinite(xyxy).all(1) & (xyxy[:, 2:] > xyxy[:, :2]).all(1))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"box {row} is {np.asarray(xyxy[row]).tolist()}; boxes are xyxy in pixels and have some area")
