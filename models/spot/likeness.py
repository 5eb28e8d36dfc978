"""Where a search crop looks like the template, pixel by pixel: fine where the network is coarse.

Weighted normalised correlation (Lewis, "Fast Normalized Cross-Correlation", 1995; with weights as Padfield, IEEE TIP
2012) of what the box shows with every place of the search crop, in some sizes, through Fourier transforms. Weights fall
from the middle of the box to the ellipse inside it: corners of boxes show what is behind.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Sizes of the target, as factors of what it is believed to be.
SIZES = (0.94, 1.0, 1.06)

_BLANK = 4.0  # grey levels of spread: less is a plain surface, on which everything is equally like
_RIM = 0.3  # of the squared radius of the ellipse, over which weights fall


def likeness(template: Tensor, box: Tensor, search: Tensor, sides: Tensor) -> Tensor:
    """How like each place of a search crop is to what the box of the template shows.

    Args:
        template: (B, 3, t, t) float, RGB in 0 to 255, as ``crops.cut`` gives it.
        box: (B, 2) sides of the target in shares of the template crop, in whose middle it is.
        search: (B, 3, s, s) likewise.
        sides: (B, 2) sides that the target is believed to have, in shares of the search crop.

    Returns:
        (B, S, s, s) float32 in [-1, 1] for each of ``SIZES``: the correlation if the target's middle is in that pixel.
    """
    size, count = search.shape[2], len(SIZES)
    sight, seen = _grey(search), template.new_tensor(SIZES)
    line = (torch.arange(size, device=search.device) - size // 2) / size
    # In half sides of the target, so that its box reaches from -1 to 1.
    reach = sides[:, None] * seen[:, None] / 2  # (B, S, 2)
    x, y = (line / reach[..., each, None] for each in (0, 1))  # (B, S, s)
    weight = (1 - (x[:, :, None].square() + y[..., None].square())).div(_RIM).clamp(0, 1)  # (B, S, s, s)
    grid = torch.stack(
        [(x * box[:, None, :1])[:, :, None].expand_as(weight), (y * box[:, None, 1:])[..., None].expand_as(weight)], -1
    )
    shown = functional.grid_sample(
        _grey(template), grid.flatten(1, 2), align_corners=False, padding_mode="border"
    ).reshape(weight.shape)
    total = weight.sum((2, 3), keepdim=True).clamp_min(1e-3)
    shown = shown - (weight * shown).sum((2, 3), keepdim=True) / total
    own = (weight * shown.square()).sum((2, 3), keepdim=True) / total
    level = sight.mean((2, 3), keepdim=True)
    sight = sight - level
    spectrum = torch.fft.rfft2(torch.cat([sight, sight.square()], 1))
    found = torch.fft.rfft2(torch.cat([weight * shown, weight], 1)).conj()
    kernel, window = found[:, :count], found[:, count:]
    products = torch.cat([spectrum[:, :1] * kernel, spectrum[:, :1] * window, spectrum[:, 1:] * window], 1)
    cross, mean, square = torch.fft.irfft2(products, (size, size)).split(count, 1)
    spread = (square / total - (mean / total).square()).clamp_min(0)
    like = cross / total / ((own + _BLANK**2) * (spread + _BLANK**2)).sqrt()
    return torch.roll(like, (size // 2, size // 2), (2, 3)).clamp(-1, 1)


def _grey(crops: Tensor) -> Tensor:
    """(B, 1, s, s) luma, from the middle of its range."""
    return (crops.float() * crops.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True) - 127.5
