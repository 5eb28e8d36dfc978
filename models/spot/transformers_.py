"""A vision backbone of ``transformers`` in the place of the tracker's own: ViT, DINOv2, ResNet, ConvNeXt and their kin.

What the backbone is stands in ``TrackerConfig.backbone`` as a line of JSON: its configuration as ``transformers``
writes it, and mean and deviation of its pictures. So a file of weights is whole, and loading it needs neither the
checkpoint that it began with nor a network connection, and executes nothing.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError

_LARGEST = 1024  # pixels along a side of what a backbone sees
_PROBE = 224  # pixels, usual in pretraining


class TransformersBackbone(nn.Module):
    """A backbone whose last states become tokens of our cells.

    Crops are enlarged so that the backbone's cells are ours, and its states resampled where they are not.

    Shapes:
        crops: (N, 3, S, S) float, RGB in 0 to 255.
        tokens: (N, (S / 8)^2, C), row by row.

    Args:
        model: takes ``pixel_values``.
        mean: of red, green and blue, in 0 to 1.
        deviation: of the same.
        channels: C.
        stride: pixels from cell to cell of ours.

    Raises:
        InputError: for a model that gives no states in a square for a square picture.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, model: nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...], channels: int, stride: int
    ) -> None:
        super().__init__()
        self.model, self._stride = model, stride
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(deviation).reshape(3, 1, 1), persistent=False)
        self._any_size = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        side = self._fixed_side() or _PROBE
        try:
            with torch.no_grad():
                probe = self._states(torch.zeros(1, 3, side, side))
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            why = (" ".join(str(error).split()) or type(error).__name__)[:200]
            raise InputError(
                f"tracker: the backbone gives no states for a square picture ({why}); choose another"
            ) from error
        self._own_stride = side // probe.shape[-1]
        self.project = nn.Conv2d(probe.shape[1], channels, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Tokens; see the class for shapes."""
        cells = crops.shape[-1] // self._stride
        side = self._fixed_side() or min(cells * self._own_stride, _LARGEST)
        crops = (crops - self.mean) / self.deviation
        if side != crops.shape[-1]:
            crops = functional.interpolate(crops, size=(side, side), mode="bilinear", align_corners=False)
        states = self._states(crops)
        if states.shape[-1] != cells:
            states = functional.interpolate(states, size=(cells, cells), mode="bilinear", align_corners=False)
        return self.project(states).flatten(2).transpose(1, 2)

    def _fixed_side(self) -> int:
        """Pixels of the only pictures that the backbone takes; 0 if it takes any."""
        config: Any = self.model.config
        fixed = getattr(config, "patch_size", None) and not self._any_size and config.model_type not in _ANY_SIZE
        return int(config.image_size) if fixed and isinstance(getattr(config, "image_size", None), int) else 0

    def _states(self, pixels: Tensor) -> Tensor:
        """(N, D, g, g) last states, without those that stand for no place."""
        more = {"interpolate_pos_encoding": True} if self._any_size else {}
        last = self.model(pixel_values=pixels, **more).last_hidden_state
        if last.ndim == 3:
            side = math.isqrt(last.shape[1])
            last = last[:, last.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))
        if last.ndim != 4 or last.shape[2] != last.shape[3]:
            raise ValueError(f"states of shape {tuple(last.shape)}")
        return last


_ANY_SIZE = ("dinov2", "dinov2_with_registers")  # resample their places without being asked


def described(model: nn.Module, preparation: Mapping[str, Any]) -> str:
    """What ``TrackerConfig.backbone`` must say for a model of ``transformers``.

    Args:
        model: the backbone.
        preparation: "image_mean" and "image_std" of a ``preprocessor_config.json``; those of ImageNet if it has none.
    """
    mean = preparation.get("image_mean") or (0.485, 0.456, 0.406)
    deviation = preparation.get("image_std") or (0.229, 0.224, 0.225)
    config: Any = model.config
    said = {"model": config.to_dict(), "mean": list(mean), "deviation": list(deviation)}
    return json.dumps(said, sort_keys=True, default=str)


def built(text: str, channels: int, stride: int) -> TransformersBackbone:
    """The backbone of a ``TrackerConfig.backbone``, with random weights.

    Raises:
        InputError: for a text that describes no backbone, or where ``transformers`` is not installed or too old for it.
    """
    try:
        from transformers import AutoConfig, AutoModel

        said = json.loads(text)
        plain = dict(said["model"])
        config = AutoConfig.for_model(plain.pop("model_type"), **plain)
        model = AutoModel.from_config(config)
        mean, deviation = (tuple(map(float, said[key])) for key in ("mean", "deviation"))
        if len(mean) != 3 or len(deviation) != 3 or min(deviation) <= 0:
            raise ValueError("mean and deviation must have three numbers, deviation positive")
    except (ImportError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise InputError(
            f"tracker: backbone cannot be built ({why}); install transformers or choose another"
        ) from error
    return TransformersBackbone(model, mean, deviation, channels, stride)
