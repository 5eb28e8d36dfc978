"""The default appearance network as users of this package meet it: a picture and boxes in, unit vectors out."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import InputError, MissingError
from .crops import CROP_SIZE, cut
from .network import AppearanceConfig, AppearanceNetwork
from .pretraining import as_input
from .weights_file import DEFAULT_WEIGHTS


class AppearanceModel:
    """A trained network that says how boxes look.

    Attributes:
        network: the weights, in single precision, on the device.
        version: name of this set of weights.
        dimensions: length of a vector.
    """

    def __init__(self, network: AppearanceNetwork, version: str, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.float().eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.version = version
        self.dimensions = network.config.dimensions

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "cpu") -> AppearanceModel:
        """The network of a safetensors file; the default weights if no path is given. Nothing in it is executed.

        Raises:
            MissingError: if there is no such file.
            InputError: if the file holds no weights of this network, or the device is not to be had.
        """
        check_device(device)
        file = Path(path) if path is not None else DEFAULT_WEIGHTS
        if not file.is_file():
            raise MissingError(f"weights {file}: no such file; leave the path out to use the default appearance")
        try:
            with safe_open(str(file), "pt") as stored:
                meta = stored.metadata() or {}
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
            said = json.loads(meta["appearance"])
            network = AppearanceNetwork(AppearanceConfig.read(said["network"]))
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
            version = str(said["version"])
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"weights {file}: not an appearance network of this version ({why}); choose another file"
            ) from error
        if not all(bool(torch.isfinite(v).all()) for v in network.state_dict().values()):
            raise InputError(f"weights {file}: hold numbers that are not finite; choose another file")
        return cls(network, version, device)

    def save(self, path: str | Path) -> None:
        """Write weights (half precision) and their description as one safetensors file, whole or not at all.

        Raises:
            InputError: if there is no room for it; what was there before stays.
        """
        file = Path(path)
        meta = {"version": self.version, "network": asdict(self.network.config)}
        state = self.network.state_dict()
        tensors = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}
        draft = file.with_suffix(".tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, str(draft), {"appearance": json.dumps(meta)})
            os.replace(draft, file)
        except (OSError, SafetensorError) as error:
            draft.unlink(missing_ok=True)
            raise InputError(
                f"{file}: the weights could not be written ({error}); make room, or name another"
            ) from error

    def describe(self, image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors of the boxes of one picture.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it.
            xyxy: (N, 4) floating, pixels, x1 < x2 and y1 < y2.

        Returns:
            (N, ``dimensions``) float32 of unit length.

        Raises:
            InputError: for an image or boxes of another kind.
        """
        return self.describe_crops(cut(image, xyxy)[..., ::-1])

    def describe_crops(self, crops: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
        """Vectors (N, D) float32 of crops (N, 96, 48, 3) uint8, RGB; fewer at a time if a GPU's memory is short.

        Raises:
            InputError: for crops of another kind, or one that alone is too large for the GPU's memory.
        """
        if crops.ndim != 4 or crops.shape[1:] != (*CROP_SIZE, 3) or crops.dtype != np.uint8:
            raise InputError(f"crops have shape {crops.shape} and type {crops.dtype}; expected (N, 96, 48, 3) uint8")
        out = np.zeros((len(crops), self.dimensions), np.float32)
        first = 0
        while first < len(crops):
            part = crops[first : first + batch]
            try:
                out[first : first + len(part)] = self._run(part)
            except torch.OutOfMemoryError as error:
                if batch == 1:
                    raise InputError(f"appearance: the memory of {self.device} holds no crop; use 'cpu'") from error
                batch = max(batch // 2, 1)
                torch.cuda.empty_cache()
                continue
            first += len(part)
        return out

    @torch.inference_mode()
    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        given = as_input(torch.from_numpy(np.ascontiguousarray(crops)).to(self.device))
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            vectors = self.network(given).float()
        return np.asarray(torch.nn.functional.normalize(vectors, dim=1).cpu().numpy())


def check_device(device: str) -> None:
    """Raise ``InputError`` for a device that torch does not have here."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device!r}: torch sees no GPU here; use 'cpu'")
    try:
        torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r}: torch knows no such device; use 'cpu' or 'cuda'") from error
