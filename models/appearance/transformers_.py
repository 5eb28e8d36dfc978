"""Vision backbones of ``transformers`` as appearances: ViT, DINOv2, CLIP's and SigLIP's towers, ResNet and their kin.

Crops are prepared here, on the device, by the mean, the deviation and the size that ``preprocessor_config.json`` says,
so that torchvision is not needed. A picture's vector is the model's pooled output; where there is none, the mean of its
last hidden state.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..detector.memory import in_batches
from ..detector.transformers_ import Preparation
from ..errors import InputError
from .crops import cut
from .model import check_device

_LARGEST = 1024  # pixels along each side of a crop


class TransformersAppearance:
    """A loaded vision backbone that says how boxes look.

    Args:
        model: takes ``pixel_values``.
        preparation: what it wants of its pictures.
        size: height and width of crops in pixels.
        version: name of its weights.
        device: where it runs, as torch names it; half precision on a GPU.
        batch: crops at a time; fewer if a GPU's memory does not hold them.
        pooled: whether the model's own pooled output can be used; else its last states are averaged.

    Attributes:
        version: name of its weights.
        dimensions: length of a vector.

    Raises:
        InputError: for a model that takes no pictures or gives no vectors, or a device that is not to be had.
    """

    def __init__(
        self, model: nn.Module, preparation: Preparation, size: tuple[int, int], version: str, device: str = "cpu",
        batch: int = 64, pooled: bool = True,
    ) -> None:  # fmt: skip
        check_device(device)
        self.version = version
        self._device = torch.device(device)
        self._model = _picture_tower(model, version).to(self._device).eval()
        self._preparation, self._size, self._batch, self._use = preparation, size, batch, pooled
        if not all(0 < side <= _LARGEST for side in size):
            raise InputError(f"appearance {version!r}: crops of {size[1]} x {size[0]} pixels; at most {_LARGEST}")
        try:
            self.dimensions = int(self._run(np.zeros((1, *size, 3), np.uint8)).shape[1])
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            why = (" ".join(str(error).split()) or type(error).__name__)[:200]
            raise InputError(
                f"appearance {version!r} gives no vector for a picture of {size[1]} x {size[0]} pixels ({why}); choose "
                f"another checkpoint"
            ) from error

    def describe(self, image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors (N, ``dimensions``) float32 of unit length of boxes (N, 4) in pixels of an image (H, W, 3) BGR."""
        crops = cut(image, xyxy, self._size)[..., ::-1]
        out = np.zeros((len(crops), self.dimensions), np.float32)
        what = f"appearance {self.version!r}: one crop of {self._size[1]} x {self._size[0]} pixels"
        work = in_batches(len(crops), self._batch, lambda part: self._run(crops[part]), what, self._device)
        for part, vectors in work:
            out[part] = vectors
        return out

    @torch.inference_mode()
    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        pictures = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device).permute(0, 3, 1, 2)
        pixels = self._preparation.apply(pictures)
        with torch.autocast(self._device.type, torch.float16, enabled=self._device.type == "cuda"):
            given = self._model(pixel_values=pixels)
        vectors = _pooled(given, self._use).float()
        if not bool(torch.isfinite(vectors).all()):
            raise InputError(
                f"appearance {self.version!r} gives numbers that are not finite; choose another checkpoint"
            )
        return np.asarray(functional.normalize(vectors, dim=1).cpu().numpy())


def _pooled(given: Any, pooled: bool) -> Tensor:
    """(B, D) of whatever a backbone gives."""
    for key in ("image_embeds", "pooler_output") if pooled else ():
        found = getattr(given, key, None)
        if isinstance(found, Tensor) and found.shape[0]:
            return found.flatten(1)
    last = given.last_hidden_state
    return last.mean(1) if last.ndim == 3 else last.mean((2, 3))


def _picture_tower(model: nn.Module, version: str) -> nn.Module:
    """The part of a model that takes pictures alone: of CLIP and its kin, the vision tower."""
    tower = getattr(model, "vision_model", None)
    for part in (tower, model) if isinstance(tower, nn.Module) else (model,):
        takes = inspect.signature(part.forward).parameters
        if "pixel_values" in takes and not ("input_ids" in takes and part is model):
            return part
    raise InputError(f"appearance {version!r} takes no pictures; choose a vision backbone, such as a ViT or DINOv2")
