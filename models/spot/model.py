"""The tracker as users of this package meet it: a picture and boxes to remember, pictures in which to look for them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from ..errors import InputError, MissingError
from .crops import as_xyxy, cut, to_image, usual_sides, windows_around
from .likeness import SIZES, likeness
from .network import Prediction, TrackerConfig, TrackerNetwork
from .templates import Templates
from .weights_file import DEFAULT_WEIGHTS

#: Share of what pixels say in the choice of a place, beside network and Hann window.
WEIGHT_OF_LIKENESS = 0.5

#: Correlations up to which the network alone says what the box is, and from which pixels alone do.
UNLIKE, ALIKE = 0.3, 0.6

#: Share of the Hann window in the choice of a cell, as in TransT's tracker.
HANN = 0.49


@dataclass(frozen=True)
class Look:
    """Where targets were found in one picture, a row for each; on the CPU.

    Attributes:
        xyxy: (N, 4) float32, pixels; may reach outside the picture.
        score: (N,) float32, probability that the chosen cell shows the target.
        quality: (N,) float32, the overlap (IoU) that the network expects of the box with the truth.
    """

    xyxy: Tensor
    score: Tensor
    quality: Tensor


class Tracker:
    """A trained network that follows whatever a box shows.

    Attributes:
        network: the weights, in single precision and evaluation mode, on the device.
        config: of the network.
        version: name of this set of weights.
        device: where it computes.
        calibration: plain values that turn what it says into confidence; they are kept with the weights. Empty if the
            weights have none.
    """

    def __init__(
        self, network: TrackerNetwork, version: str, device: str = "cpu", calibration: dict[str, Any] | None = None
    ) -> None:
        self.device = device
        self.network = network.float().eval().to(torch.device(device))
        self.config: TrackerConfig = network.config
        self.version = version
        self.calibration: dict[str, Any] = dict(calibration or {})

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "cpu") -> Tracker:
        """The tracker of a safetensors file; the default weights if no path is given. Nothing in it is executed.

        Raises:
            MissingError: if there is no such file.
            InputError: if the file holds no weights of this network, or the device is not to be had.
        """
        check_device(device)
        file = Path(path) if path is not None else DEFAULT_WEIGHTS
        if not file.is_file():
            raise MissingError(f"weights {file}: no such file; leave the path out to use the default tracker")
        try:
            with safe_open(str(file), "pt") as stored:
                meta = stored.metadata() or {}
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
            said = json.loads(meta["spot"])
            network = TrackerNetwork(TrackerConfig.read(said["network"]))
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
            version, calibration = str(said["version"]), dict(said.get("calibration") or {})
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"weights {file}: not a tracker of this version ({why}); choose another file") from error
        if not all(bool(torch.isfinite(v).all()) for v in network.state_dict().values()):
            raise InputError(f"weights {file}: hold numbers that are not finite; choose another file")
        return cls(network, version, device, calibration)

    def save(self, path: str | Path) -> None:
        """Write weights (half precision) and their description as one safetensors file, whole or not at all.

        Raises:
            InputError: if there is no room for it; what was there before stays.
        """
        file = Path(path)
        meta = {"version": self.version, "network": asdict(self.config), "calibration": self.calibration}
        state = self.network.state_dict()
        tensors = {k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}
        draft = file.with_suffix(".tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, str(draft), {"spot": json.dumps(meta)})
            os.replace(draft, file)
        except (OSError, SafetensorError) as error:
            draft.unlink(missing_ok=True)
            raise InputError(
                f"{file}: the weights could not be written ({error}); make room, or name another"
            ) from error

    @torch.inference_mode()
    def remember(self, image: Tensor, xyxy: Tensor, batch: int = 64) -> Templates:
        """What boxes of a picture show, to be looked for in others.

        Args:
            image: (H, W, 3) uint8, RGB.
            xyxy: (N, 4) floating, pixels.
            batch: boxes at a time; fewer if a GPU's memory is short.

        Returns:
            N templates, on the device.

        Raises:
            InputError: for a picture or boxes of another kind, or one box that alone is too large for the memory.
        """
        image = image.to(self.device)
        windows = windows_around(xyxy.to(self.device), self.config.template_factor)

        def encode(part: slice) -> tuple[Tensor, ...]:
            crops = cut(image, windows[part], self.config.template)
            return self.network.encode(crops).tokens.float(), crops

        size = self.config.template
        shapes: tuple[tuple[int, ...], ...] = (((size // 8) ** 2, self.config.channels), (3, size, size))
        tokens, pixels = self._in_parts(encode, len(windows), batch, shapes)
        sides = usual_sides(xyxy.to(self.device), self.config.template_factor)
        return Templates(tokens, pixels.round().to(torch.uint8), sides)

    @torch.inference_mode()
    def look(
        self, templates: Templates, image: Tensor, around_xyxy: Tensor, hann: float = HANN, batch: int = 64
    ) -> Look:
        """Look for targets in one picture, each around the place of a box.

        Args:
            templates: N of them, as ``remember`` gives them.
            image: (H, W, 3) uint8, RGB.
            around_xyxy: (N, 4) floating, pixels: where a target was, or is believed to be. Its size sets how much of
                the picture is searched, its shape what boxes start from.
            hann: share, 0 to 1, of a window that prefers the middle of what is searched in the choice of a cell.
            batch: targets at a time; fewer if a GPU's memory is short. Says nothing about what comes out.

        Raises:
            InputError: for columns of the wrong shape, or one target that alone is too large for the memory.
        """
        if len(templates) != len(around_xyxy):
            raise InputError(f"{len(templates)} templates for {len(around_xyxy)} places to look at; each has one")
        image = image.to(self.device)
        windows = windows_around(around_xyxy.to(self.device), self.config.search_factor)
        sides = usual_sides(around_xyxy.to(self.device), self.config.search_factor)
        prior = hann_window(self.config.cells).to(self.device)
        index = torch.arange(len(templates), device=self.device)

        def search(part: slice) -> tuple[Tensor, ...]:
            crops = cut(image, windows[part], self.config.search)
            told = templates.take(index[part])
            found = self.network(told, crops, sides[part])
            if told.pixels is None or told.sides is None:
                boxes, score, quality = chosen(found, prior, hann)
            else:
                like = likeness(told.pixels.float(), told.sides, crops, sides[part])
                boxes, score, quality = agreed(found, prior, hann, like, sides[part])
            return to_image(boxes, windows[part]), score, quality

        xyxy, score, quality = self._in_parts(search, len(windows), batch, ((4,), (), ()))
        return Look(xyxy.cpu(), score.cpu(), quality.cpu())

    def _in_parts(
        self, run: Callable[[slice], tuple[Tensor, ...]], count: int, batch: int, shapes: tuple[tuple[int, ...], ...]
    ) -> tuple[Tensor, ...]:
        """Columns of ``count`` rows, as many at a time as the memory holds."""
        parts: list[tuple[Tensor, ...]] = [tuple(torch.zeros(0, *shape, device=self.device) for shape in shapes)]
        first = 0
        while first < count:
            try:
                with torch.autocast(torch.device(self.device).type, torch.float16, enabled=self.device != "cpu"):
                    parts.append(run(slice(first, min(first + batch, count))))
            except torch.OutOfMemoryError as error:
                if batch == 1:
                    raise InputError(f"tracker: the memory of {self.device} holds no target; use 'cpu'") from error
                batch = max(batch // 2, 1)
                torch.cuda.empty_cache()
                continue
            first += batch
        return tuple(torch.cat([each.float() for each in column]) for column in zip(*parts, strict=True))


def chosen(found: Prediction, prior: Tensor, hann: float) -> tuple[Tensor, Tensor, Tensor]:
    """The cell of each search crop that is believed.

    Args:
        found: of B crops with L cells.
        prior: (L,), as ``hann_window`` gives it.
        hann: share of it in the choice, 0 to 1.

    Returns:
        Boxes (B, 4) as xyxy in shares of the crop, probability (B,) and expected overlap (B,) of the cell.
    """
    score = found.logits.float().sigmoid()
    cell = ((1 - hann) * score + hann * prior).argmax(1, keepdim=True)
    boxes = found.cxcywh.float().gather(1, cell[..., None].expand(-1, -1, 4))[:, 0]
    return as_xyxy(boxes), score.gather(1, cell)[:, 0], found.quality.float().gather(1, cell)[:, 0]


def agreed(found: Prediction, prior: Tensor, hann: float, like: Tensor, sides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The box of each search crop that network and pixels (``likeness``) agree on best.

    Args:
        found: of B crops with L cells.
        prior: (L,), as ``hann_window`` gives it.
        hann: share of it in the choice, 0 to 1.
        like: (B, S, s, s), how like every pixel is.
        sides: (B, 2) that targets are believed to have, in shares of the crop.

    Returns:
        As ``chosen``.
    """
    size, cells = like.shape[2], math.isqrt(found.logits.shape[1])
    score = found.logits.float().sigmoid()
    coarse = ((1 - hann) * score + hann * prior).unflatten(1, (cells, cells))[:, None]
    whole = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    total = WEIGHT_OF_LIKENESS * like + (1 - WEIGHT_OF_LIKENESS) * whole
    place = total.flatten(1).argmax(1)  # (B,) over sizes, rows and columns
    each, y, x = place // size**2, place // size % size, place % size
    rows = torch.arange(len(place), device=place.device)
    peak = like[rows, each, y, x]
    middle = torch.stack([x, y], 1).float()
    shift = torch.stack([_summit(like, rows, each, y, x, 0, 1), _summit(like, rows, each, y, x, 1, 0)], 1)
    fine = torch.cat([(middle + shift + 0.5) / size, sides * sides.new_tensor(SIZES)[each][:, None]], 1)
    cell = (y * cells // size) * cells + x * cells // size
    rough = found.cxcywh.float()[rows, cell]
    known, expected = score[rows, cell], found.quality.float()[rows, cell]
    trust = ((peak - UNLIKE) / (ALIKE - UNLIKE)).clamp(0, 1)[:, None]
    return as_xyxy(trust * fine + (1 - trust) * rough), known, (expected + peak.clamp(0, 1)) / 2


def _summit(like: Tensor, rows: Tensor, each: Tensor, y: Tensor, x: Tensor, down: int, right: int) -> Tensor:
    """(B,) where between pixels the peak is, along one axis: the top of the parabola through three of them."""
    size = like.shape[2]
    here = like[rows, each, y, x]
    one = like[rows, each, (y - down).clamp_min(0), (x - right).clamp_min(0)]
    two = like[rows, each, (y + down).clamp_max(size - 1), (x + right).clamp_max(size - 1)]
    bend = 2 * here - one - two
    return torch.where(bend > 1e-4, (two - one) / (2 * bend.clamp_min(1e-4)), 0.0).clamp(-0.5, 0.5)


def hann_window(cells: int) -> Tensor:
    """(cells^2,) float32, 1 in the middle of a search crop and near 0 at its edge, row by row."""
    line = torch.hann_window(cells + 2, periodic=False)[1:-1]
    window = torch.outer(line, line).flatten()
    return window / window.max()


def check_device(device: str) -> None:
    """Raise ``InputError`` for a device that torch does not have here."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device!r}: torch sees no GPU here; use 'cpu'")
    try:
        torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r}: torch knows no such device; use 'cpu' or 'cuda'") from error
