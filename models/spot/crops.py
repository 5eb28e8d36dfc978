"""Cut what the tracker looks at out of a picture, for many targets at once, and take boxes there and back.

A window is the square that a crop shows: its middle and its side in pixels of the picture. A crop of a target with
sides (w, h) and context factor f shows (TransT, Chen et al., CVPR 2021, section 3.4; SiamFC for the context)

    side = ceil(sqrt((w + c) (h + c))),   c = (f - 1) (w + h) / 2

with f = 2 for templates and 4 for search. What lies outside the picture has the picture's mean colour. Pixels are
squares: the first one reaches from 0 to 1, and a box (0, 0, width, height) covers the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError

_LEVELS = 6  # halvings of the picture at most; a window of 64 x 2^7 pixels is larger than most pictures


def windows_around(xyxy: Tensor, factor: float) -> Tensor:
    """Square windows around boxes. To jitter a window, jitter the box.

    Args:
        xyxy: (N, 4) floating, pixels; may lie partly or wholly outside the picture.
        factor: context, at least 1; see the module.

    Returns:
        (N, 3) float32 pixels, on the device of the boxes: x and y of the middle, and the side.

    Raises:
        InputError: for boxes that are not (N, 4), finite and of some area, or a factor below 1.
    """
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise InputError(f"boxes have shape {tuple(xyxy.shape)}; expected (N, 4)")
    if not factor >= 1:
        raise InputError(f"context factor is {factor!r}; it must be at least 1, or crops would not hold their targets")
    boxes = xyxy.float()
    bad = ~(boxes.isfinite().all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1))
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise InputError(f"box {row} is {boxes[row].tolist()}; boxes are xyxy in pixels and have some area")
    sides = boxes[:, 2:] - boxes[:, :2]
    context = (factor - 1) * sides.mean(1, keepdim=True)
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, (sides + context).prod(1, keepdim=True).sqrt().ceil()], 1)


def usual_sides(xyxy: Tensor, factor: float) -> Tensor:
    """Sides of boxes in shares of windows that are cut around them: what shape a target has, whatever its size.

    Args:
        xyxy: (N, 4) floating, any unit; what has no area is taken for a square.
        factor: context, see the module.

    Returns:
        (N, 2) float32, width and height.
    """
    sides = xyxy[:, 2:].float() - xyxy[:, :2].float()
    solid = (sides > 0).all(1, keepdim=True) & sides.isfinite().all(1, keepdim=True)
    sides = torch.where(solid, sides, 1.0)
    context = (factor - 1) * sides.mean(1, keepdim=True)
    return sides / (sides + context).prod(1, keepdim=True).sqrt()


@torch.no_grad()
def cut(image: Tensor, windows: Tensor, size: int) -> Tensor:
    """Crops of one picture: all windows are one sampling, on the device where the picture lies.

    Windows that are more than twice as wide as the crop are read from the picture halved as often as it takes, so that
    nothing flickers. The halved pictures lie beside each other in one sheet, in which each window knows its place. Only
    the part of the picture that windows cover becomes floating. A crop takes 12 size^2 bytes: of thousands of targets,
    cut as many at a time as the memory holds.

    Args:
        image: (H, W, 3) uint8, channels in any order.
        windows: (N, 3) float32 pixels, as ``windows_around`` gives them.
        size: pixels along a side of a crop.

    Returns:
        (N, 3, size, size) float32 in 0 to 255, channels as in the picture.

    Raises:
        InputError: for a picture that is not (H, W, 3) uint8 with pixels, windows that are not (N, 3), finite and of
            some side, or a size below 1.
    """
    _check(image, windows, size)
    if not len(windows):
        return torch.zeros(0, 3, size, size, device=image.device)
    windows = windows.float()
    middle, side = windows[:, :2], windows[:, 2:]
    level = (side[:, 0] / size).log2().floor().clamp(0, _LEVELS).long()  # (N,)
    mean = image.float().mean((0, 1))
    most = int(level.max())
    part, low = _covered(image, windows, most)
    sheet, left = _sheet(part.permute(2, 0, 1).contiguous().float().sub_(mean[:, None, None]), most)
    scale = torch.exp2(level.float())[:, None]
    step = (torch.arange(size, device=image.device) + 0.5) / size - 0.5
    origin = torch.tensor(low, device=image.device, dtype=torch.float32)
    place = ((middle - origin)[:, None] + side[:, None] * step[:, None]) / scale[:, None]  # (N, size, 2) of x and y
    # Half a pixel outside is the middle of the empty rim around each picture of the sheet: zero, the mean.
    extent = torch.tensor([part.shape[1], part.shape[0]], device=image.device) / scale
    place = place.clamp_min(-0.5).minimum(extent.ceil()[:, None] + 0.5) + 1
    x = (place[..., 0] + left[level][:, None]) * (2 / sheet.shape[2]) - 1
    y = place[..., 1] * (2 / sheet.shape[1]) - 1
    grid = torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], -1)
    # All crops below each other: the sheet is not repeated.
    values = functional.grid_sample(sheet[None], grid.reshape(1, -1, size, 2), align_corners=False)
    return (values[0].reshape(3, -1, size, size) + mean[:, None, None, None]).transpose(0, 1).contiguous()


def to_crop(xyxy: Tensor, windows: Tensor) -> Tensor:
    """Boxes in shares of their windows, 0 at the left and upper edge and 1 at the right and lower one.

    Args:
        xyxy: (N, ..., 4) floating, pixels of the picture.
        windows: (N, 3).

    Returns:
        (N, ..., 4) float32; ``to_image`` is the inverse.
    """
    corner, side = _frames(windows, xyxy.ndim)
    return (xyxy.float() - corner) / side


def to_image(xyxy: Tensor, windows: Tensor) -> Tensor:
    """Boxes in pixels of the picture, not clipped to it.

    Args:
        xyxy: (N, ..., 4) floating, shares of the windows.
        windows: (N, 3).

    Returns:
        (N, ..., 4) float32; ``to_crop`` is the inverse.
    """
    corner, side = _frames(windows, xyxy.ndim)
    return xyxy.float() * side + corner


def as_xyxy(cxcywh: Tensor) -> Tensor:
    """(..., 4) corners of boxes that are given by (..., 4) middle and sides."""
    middle, half = cxcywh[..., :2], cxcywh[..., 2:] / 2
    return torch.cat([middle - half, middle + half], -1)


def as_cxcywh(xyxy: Tensor) -> Tensor:
    """(..., 4) middle and sides of boxes that are given by (..., 4) corners."""
    return torch.cat([(xyxy[..., :2] + xyxy[..., 2:]) / 2, xyxy[..., 2:] - xyxy[..., :2]], -1)


def _frames(windows: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Left upper corner twice, (N, ..., 4), and side, (N, ..., 1), of windows, for boxes of so many dimensions."""
    windows = windows.float().reshape(-1, *[1] * (ndim - 2), 3)
    side = windows[..., 2:]
    corner = windows[..., :2] - side / 2
    return torch.cat([corner, corner], -1), side


def _covered(image: Tensor, windows: Tensor, most: int) -> tuple[Tensor, tuple[int, int]]:
    """The part of a picture that windows can see, and x and y of its corner, where it is halved ``most`` times.

    The corner is a multiple of the largest halved pixel, so that halving the part and halving the picture give the same
    pixels; and a margin makes sure that samples at the edge do not mistake the edge of the part for the picture's.
    """
    height, width = image.shape[:2]
    grain = 2**most
    half = windows[:, 2:] / 2
    bounds = torch.cat([(windows[:, :2] - half).amin(0), (windows[:, :2] + half).amax(0)]).tolist()
    limits = (width, height) * 2
    bounds = [min(max(bound, 0.0), float(limit)) for bound, limit in zip(bounds, limits, strict=True)]  # two corners
    left, top = (max(int(bound // grain - 1) * grain, 0) for bound in bounds[:2])
    right, bottom = (int(bound // grain + 2) * grain for bound in bounds[2:])
    left, top = (min(at, (limit - 1) // grain * grain) for at, limit in ((left, width), (top, height)))
    return image[top:bottom, left:right], (left, top)


def _sheet(picture: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """A picture and its halves beside each other, each with a rim of one empty pixel.

    Args:
        picture: (3, H, W) float32, zero where there is nothing.
        most: how often it is halved.

    Returns:
        (3, H', W') float32, and (most + 1,) float32 columns in which the pictures begin, their rims included.
    """
    grain = 2**most
    tall, wide = picture.shape[1:]
    picture = functional.pad(picture, (0, -wide % grain, 0, -tall % grain))
    pictures = [picture]
    for _ in range(most):  # halvings
        pictures.append(functional.avg_pool2d(pictures[-1], 2))
    height = picture.shape[1]
    framed = [functional.pad(each, (1, 1, 1, 1 + height - each.shape[1])) for each in pictures]
    widths = torch.tensor([0, *(each.shape[2] for each in framed)], device=picture.device)
    return (torch.cat(framed, 2) if most else framed[0]), widths.cumsum(0)[:-1].float()


def _check(image: Tensor, windows: Tensor, size: int) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != torch.uint8 or not image.numel():
        raise InputError(f"image has shape {tuple(image.shape)} and type {image.dtype}; expected (H, W, 3) uint8")
    if windows.ndim != 2 or windows.shape[1] != 3:
        raise InputError(f"windows have shape {tuple(windows.shape)}; expected (N, 3)")
    if size < 1:
        raise InputError(f"crops of {size} pixels cannot be cut; size must be at least 1")
    bad = ~(windows.isfinite().all(1) & (windows[:, 2] > 0))
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise InputError(f"window {row} is {windows[row].tolist()}; windows are a middle and a side above 0, in pixels")
