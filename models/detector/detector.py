"""The default detector as users of this package meet it: pictures in, candidates out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import InputError, MissingError
from .decoding import Decoded, decode
from .memory import in_batches
from .network import MULTIPLE, DetectorConfig, DetectorNetwork, cell_grid

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "detector-1.safetensors"

#: (H, W, 3) uint8, RGB.
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class DetectSettings:
    """What to report.

    Attributes:
        least_score: boxes below are dropped; low, so that the hierarchy may choose.
        overlap: of two boxes of one class that overlap by more, the worse is dropped.
        most: boxes that an image may have.
        batch: images at a time; fewer if a GPU's memory does not hold them.
    """

    least_score: float = 0.05
    overlap: float = 0.6
    most: int = 300
    batch: int = 8

    def __post_init__(self) -> None:
        for key in ("least_score", "overlap"):
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"detector: {key} is {getattr(self, key)!r}; it must lie in [0, 1]")
        for key in ("most", "batch"):
            if getattr(self, key) < 1:
                raise InputError(f"detector: {key} is {getattr(self, key)!r}; it must be at least 1")


@dataclass(frozen=True)
class Detections:
    """Boxes of some images, sorted by image, then by falling score.

    Attributes:
        frame: (K,) int64, which of the images.
        xyxy: (K, 4) float32 pixels of the original image, amodal: a box may leave it.
        score: (K,) float32 in (0, 1): how well the box is expected to fit an object of its class.
        class_index: (K,) int64, an index into ``Detector.classes``.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    score: NDArray[np.float32]
    class_index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)


class Detector:
    """A trained network that finds objects in single images.

    Attributes:
        network: the weights, in single precision and ready to be trained on.
        version: name of this set of weights.
        classes: names, in the order of ``class_index``.
    """

    def __init__(self, network: DetectorNetwork, version: str, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.float().eval()
        self.version = version
        self.classes = network.config.classes
        self._dtype = torch.float16 if self.device.type == "cuda" else torch.float32
        fast = _fused(copy.deepcopy(network)).to(self.device, self._dtype).requires_grad_(False)
        self._fast = fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "cpu") -> Detector:
        """The detector of a safetensors file; the default weights if no path is given. Nothing in it is executed.

        Raises:
            MissingError: if there is no such file.
            InputError: if the file holds no weights of this detector, or the device is not to be had.
        """
        check_device(device)
        file = Path(path) if path is not None else DEFAULT_WEIGHTS
        if not file.is_file():
            raise MissingError(f"weights {file}: no such file; leave the path out to use the default detector")
        try:
            with safe_open(str(file), "pt") as stored:
                meta = stored.metadata() or {}
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
            said = json.loads(meta["detector"])
            network = DetectorNetwork(DetectorConfig.read(said["network"]))
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
            version = str(said["version"])
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"weights {file}: not a detector of this version ({why}); choose another file") from error
        return cls(network, version, device)

    def save(self, path: str | Path) -> None:
        """Write weights (half precision) and their description as one safetensors file."""
        meta = {"version": self.version, "network": asdict(self.network.config)}
        state = self.network.state_dict()
        tensors = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, str(path), {"detector": json.dumps(meta)})

    def detect(self, images: Sequence[Image] | Image, settings: DetectSettings | None = None) -> Detections:
        """Boxes of every image; what an image gives does not depend on the others' sizes.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes, or one array (B, H, W, 3).
            settings: what to report.

        Raises:
            InputError: for an image of another kind, or one that alone is too large for the GPU's memory.
        """
        settings = settings or DetectSettings()
        check_images(images)
        found: list[tuple[NDArray, ...]] = []
        for (height, width), members in _by_size(images):
            for rows, decoded in self._run([images[n] for n in members], height, width, settings):
                own = np.array(members)[rows][decoded.image.cpu().numpy()]
                columns = (decoded.xyxy, decoded.score, decoded.class_index)
                found.append((own, *(column.cpu().numpy() for column in columns)))
        if not found:
            none = np.zeros(0, np.int64)
            return Detections(none, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), none)
        frame, xyxy, score, class_index = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(frame, kind="stable")
        return Detections(frame[order].astype(np.int64), xyxy[order], score[order], class_index[order])

    @torch.inference_mode()
    def _run(
        self, images: list[Image], height: int, width: int, settings: DetectSettings
    ) -> Iterator[tuple[slice, Decoded]]:
        """Boxes of images of one padded size, a batch at a time."""
        centre, stride = cell_grid(height, width, self.device)

        def work(part: slice) -> Decoded:
            logits, distances = self._fast(self._padded(images[part], height, width))
            return decode(logits, distances, centre, stride, settings.least_score, settings.overlap, settings.most)

        yield from in_batches(len(images), settings.batch, work, f"one image of {width} x {height} pixels", self.device)

    def _padded(self, images: list[Image], height: int, width: int) -> torch.Tensor:
        """(B, 3, height, width) on the device; black to the right and below, as in training."""
        batch = np.zeros((len(images), height, width, 3), np.uint8)
        for place, image in enumerate(images):  # pictures
            batch[place, : image.shape[0], : image.shape[1]] = image
        return torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).to(self._dtype)


def check_images(images: Sequence[Image] | Image) -> None:
    """Raise ``InputError`` for the first image that is not (H, W, 3) uint8, or has no pixels."""
    for index, image in enumerate(images):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise InputError(f"detector: image {index} is {kind}; it must be (height, width, 3) uint8")
        if not image.size:
            raise InputError(f"detector: image {index} has no pixels")


def check_device(device: str) -> None:
    """Raise ``InputError`` for a device that torch does not have here."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device!r}: torch sees no GPU here; use 'cpu'")
    try:
        torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r}: torch knows no such device; use 'cpu' or 'cuda'") from error


def _by_size(images: Sequence[Image] | Image) -> list[tuple[tuple[int, int], list[int]]]:
    """Which images share a padded size, in pixels."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(images):
        height, width = (-(-n // MULTIPLE) * MULTIPLE for n in image.shape[:2])
        groups.setdefault((height, width), []).append(index)
    return list(groups.items())


def _fused(network: DetectorNetwork) -> DetectorNetwork:
    """The same function with normalisation folded into the convolutions before it; in place."""
    for module in network.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])  # type: ignore[type-var]
            module[1] = nn.Identity()
    return network
