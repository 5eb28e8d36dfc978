"""Any appearance by its name: ours, a file of ours, the colours, a vision backbone of ``transformers``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ..models.errors import InputError, MissingError
from .hub import checkpoint_folder, digest_of, load_checkpoint, read_json, refuse_pickled, weight_files

DEFAULT, COLOUR = "default", "colour"

_POOLER = "pooler"  # in the names of a pooling layer's weights, which a vector can do without


class AppearanceDescriber(Protocol):
    """Says how boxes look."""

    @property
    def version(self) -> str:
        """Names the weights; vectors are kept under it."""

    @property
    def dimensions(self) -> int:
        """Length of a vector."""

    def describe(self, image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length of boxes (N, 4) in pixels of an image (H, W, 3), BGR."""


class ColourAppearance:
    """The colours of horizontal stripes; see ``models.appearance.colour``."""

    version = "colour-1"

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        from ..models.appearance.colour import DIMENSIONS

        return DIMENSIONS

    def describe(self, image: NDArray[np.uint8], xyxy: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors of the boxes of one image."""
        from ..models.appearance.colour import describe

        return describe(image, xyxy)


def open_appearance(name: str | Path | Any | None = None, device: str = "cpu") -> AppearanceDescriber:
    """An appearance that is ready to be used.

    Args:
        name: None or "default" for the small network of this package, "colour" for the colours of stripes, a
            ``.safetensors`` of ours, a folder or hub id of a vision backbone of ``transformers``, or what is an
            appearance already.
        device: where it runs, as torch names it.

    Raises:
        MissingError: for a file, folder or name that is not there.
        InputError: for weights that cannot be used, a device that is not to be had, or a hub that cannot be reached.
    """
    if name is not None and not isinstance(name, (str, Path)):
        if callable(getattr(name, "describe", None)) and hasattr(name, "version"):
            return name
        raise InputError(f"appearance: {type(name).__name__} is none: it has no describe() and no version")
    if name == COLOUR:
        return ColourAppearance()
    from ..models.appearance.model import AppearanceModel, check_device

    if name is None or name == DEFAULT:
        return AppearanceModel.load(None, device)
    refuse_pickled(Path(name), "appearance")
    if Path(name).suffix == ".safetensors":
        model = AppearanceModel.load(name, device)
        model.version = appearance_version(name)
        return model
    check_device(device)
    return _of_transformers(name, device)


def appearance_version(name: str | Path | None = None) -> str:
    """The version of an appearance, under which its vectors are kept, without loading it.

    Raises:
        MissingError: for a file, folder or name that is not there.
        InputError: for a file that is no appearance, or a hub that cannot be reached.
    """
    if name == COLOUR:
        return ColourAppearance.version
    if name is None or name == DEFAULT:
        from ..models.appearance.weights_file import DEFAULT_WEIGHTS

        return _own_version(DEFAULT_WEIGHTS)
    refuse_pickled(Path(name), "appearance")
    if Path(name).suffix == ".safetensors":
        return f"{_own_version(Path(name))}-{digest_of([Path(name)])}"
    folder = checkpoint_folder(name, "appearance")
    kind = str(read_json(folder / "config.json", "appearance").get("model_type", "model"))
    title = str(name) if folder != Path(name).expanduser() else folder.resolve().name
    return f"{kind}:{title}-{digest_of(weight_files(folder, 'appearance'))}"


def is_appearance(name: str | Path) -> bool:
    """Whether a name is one of an appearance that is on this machine; the hub is not asked."""
    path = Path(name).expanduser()
    return str(name) in (DEFAULT, COLOUR) or path.suffix == ".safetensors" or path.is_dir() or "/" in str(name)


def _own_version(file: Path) -> str:
    """What a file of weights of ours says of itself."""
    if not file.is_file():
        raise MissingError(f"weights {file}: no such file; leave the path out to use the default appearance")
    try:
        with safe_open(str(file), "np") as stored:
            return str(json.loads((stored.metadata() or {})["appearance"])["version"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"weights {file}: not an appearance network of this version ({why}); choose another file"
        ) from error


def _of_transformers(name: str | Path, device: str) -> AppearanceDescriber:
    folder = checkpoint_folder(name, "appearance")
    said = read_json(folder / "preprocessor_config.json", "appearance")
    if not said:
        raise InputError(f"appearance {folder}: there is no preprocessor_config.json beside the weights; add it")
    model = load_checkpoint("AutoModel", folder, "appearance", (_POOLER,))
    from ..models.appearance.transformers_ import TransformersAppearance
    from ..models.detector.transformers_ import Preparation

    preparation = Preparation.read({**said, "size": None, "do_resize": False})
    # Some checkpoints come without their pooling layer, which is random then: their last states are averaged instead.
    wants = any(_POOLER in key for key, _ in model.named_parameters())
    pooled = not wants or any(_POOLER in key for file in weight_files(folder, "appearance") for key in _keys(file))
    version, size = appearance_version(name), _crop_size(said, folder)
    return TransformersAppearance(model, preparation, size, version, device, pooled=pooled)


def _keys(file: Path) -> list[str]:
    """Names of the tensors in a file."""
    with safe_open(str(file), "np") as stored:
        return list(stored.keys())


def _crop_size(said: dict[str, Any], folder: Path) -> tuple[int, int]:
    """Height and width of crops: as pictures are cropped, else as they are resized.

    Raises:
        InputError: for what names no size.
    """
    for key, wanted in (("crop_size", said.get("do_center_crop", True)), ("size", True)):
        size = said.get(key)
        if not wanted or size is None:
            continue
        if isinstance(size, int):
            return size, size
        if isinstance(size, dict):
            edge = size.get("shortest_edge")
            tall, wide = size.get("height", edge), size.get("width", edge)
            if isinstance(tall, int) and isinstance(wide, int) and min(tall, wide) > 0:
                return tall, wide
    raise InputError(
        f"appearance {folder}: preprocessor_config.json names no size of pictures ({said.get('size')!r}); give height "
        f"and width there"
    )
