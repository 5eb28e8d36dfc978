"""Detectors of ``transformers`` as candidates' makers: D-FINE, RT-DETR, DETR, YOLOS and their kin, without torchvision.

They take a batch of prepared pictures, and give for each of some hundred queries the logits of the classes and a
relative box (centre, size). Pictures are prepared here, on the device, as the checkpoint's ``preprocessor_config.json``
says: the image processors of ``transformers`` go picture by picture on the CPU, and some want torchvision.

A query is one object: it gives at most one box, of its best class. Scores are sigmoids, or, where the head has a class
"no object" more than there are names (DETR, YOLOS), softmax. Low scores bring doubles, which are suppressed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .decoding import Decoded, suppress
from .detector import Detections, DetectSettings, Image, check_device, check_images
from .memory import in_batches

_MODES = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # as Pillow numbers them; others are taken for bicubic
_NO_CLASS = "N/A"  # COCO's numbers have holes, which many heads carry along


@dataclass(frozen=True)
class Preparation:
    """What a detector wants of its pictures.

    Attributes:
        size: what "size" says: "height" and "width", or "shortest_edge" and "longest_edge", or "max_height" and
            "max_width", in pixels; empty to leave pictures as large as they are.
        resample: as Pillow numbers its filters.
        factor: that values from 0 to 255 are multiplied by.
        mean: of red, green and blue, subtracted then.
        deviation: divided by then.
        multiple: that sides are cut down to after "shortest_edge", as YOLOS' patches want it.
    """

    size: Mapping[str, int]
    resample: int = 2
    factor: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    deviation: tuple[float, ...] = (1.0, 1.0, 1.0)
    multiple: int = 1

    def __post_init__(self) -> None:
        known = ({"height", "width"}, {"shortest_edge"}, {"shortest_edge", "longest_edge"}, {"max_height", "max_width"})
        if self.size and (set(self.size) not in known or min(self.size.values()) < 1):
            raise InputError(
                f"preprocessor_config.json: size is {dict(self.size)}; it must give height and width, shortest_edge "
                f"and longest_edge, or max_height and max_width, in pixels"
            )
        if len(self.mean) != 3 or len(self.deviation) != 3 or min(self.deviation) <= 0:
            raise InputError("preprocessor_config.json: image_mean and image_std must have three numbers, std positive")

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Preparation:
        """From the values of a ``preprocessor_config.json``, of old and of new ones.

        Raises:
            InputError: for values that cannot be used.
        """
        try:
            size = said.get("size") or {}
            if not isinstance(size, Mapping):
                size = {"shortest_edge": size, "longest_edge": said.get("max_size") or 1333}
            size = {key: int(value) for key, value in size.items() if value is not None}
            normal = said.get("do_normalize", True) and said.get("image_mean") is not None
            return cls(
                size if said.get("do_resize", True) else {},
                int(said.get("resample", 2)),
                float(said.get("rescale_factor") or 1 / 255) if said.get("do_rescale", True) else 1.0,
                tuple(map(float, said["image_mean"])) if normal else (0.0,) * 3,
                tuple(map(float, said["image_std"])) if normal else (1.0,) * 3,
                16
                if "yolos" in f"{said.get('image_processor_type')}{said.get('feature_extractor_type')}".lower()
                else 1,
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"preprocessor_config.json cannot be used ({error}); choose another checkpoint") from error

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture of this size gets, in pixels."""
        if not self.size:
            return height, width
        if "height" in self.size:
            return self.size["height"], self.size["width"]
        if "max_height" in self.size:
            scale = min(self.size["max_height"] / height, self.size["max_width"] / width)
            return max(int(height * scale), 1), max(int(width * scale), 1)
        short, long = sorted((height, width))
        edge = self.size["shortest_edge"]
        ratio = long / short
        if "longest_edge" in self.size and ratio * edge > self.size["longest_edge"]:
            exact = self.size["longest_edge"] / ratio
            edge, other = max(round(exact), 1), int(exact * ratio)
        else:
            other = int(edge * ratio)
        edge, other = (max(side // self.multiple, 1) * self.multiple for side in (edge, other))
        return (edge, other) if height <= width else (other, edge)

    def apply(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB to (B, 3, h, w) float32, on the same device."""
        pixels, target = pictures.float(), self.target(*pictures.shape[-2:])
        if target != tuple(pictures.shape[-2:]):
            mode = _MODES.get(self.resample, "bicubic")
            smooth = {} if mode == "nearest" else {"antialias": True, "align_corners": False}
            pixels = F.interpolate(pixels, target, mode=mode, **smooth).round().clamp(0, 255)
        mean, deviation = (pixels.new_tensor(values)[:, None, None] for values in (self.mean, self.deviation))
        return (pixels * self.factor - mean) / deviation


class TransformersDetector:
    """A loaded object detector of ``transformers`` that finds candidates in single images.

    Args:
        model: with ``config.id2label``, giving ``logits`` and ``pred_boxes``.
        preparation: what it wants of its pictures.
        version: name of its weights.
        device: where it runs, as torch names it; half precision on a GPU.
        settings: what to report.
        keep: names of the classes to report; None for all.

    Attributes:
        version: name of its weights.
        classes: names of all classes of the model, in the order of ``class_index``.

    Raises:
        InputError: for a class that the model does not know, or a device that is not to be had.
    """

    def __init__(
        self,
        model: nn.Module,
        preparation: Preparation,
        version: str,
        device: str = "cpu",
        settings: DetectSettings | None = None,
        keep: Sequence[str] | None = None,
    ) -> None:
        check_device(device)
        names: Mapping[int, str] = model.config.id2label  # type: ignore[union-attr,assignment]
        self.classes = tuple(str(names[key]) for key in sorted(names, key=int))
        unknown = [name for name in keep or () if name not in self.classes]
        if unknown:
            some = ", ".join(self.classes[:20]) + (", ..." if len(self.classes) > 20 else "")
            raise InputError(f"the detector knows no class {unknown[0]!r}; it knows: {some}")
        wanted = [name in keep if keep is not None else name != _NO_CLASS for name in self.classes]
        self.version = version
        self._device = torch.device(device)
        self._model = model.to(self._device).eval()
        self._preparation = preparation
        self._settings = settings or DetectSettings()
        self._wanted = torch.tensor(wanted, device=self._device)

    @torch.inference_mode()
    def detect(self, images: Sequence[Image]) -> Detections:
        """Boxes of every image, sorted by image, then by falling score.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes; those of one size are run together.

        Raises:
            InputError: for an image of another kind, one that alone is too large for the GPU's memory, or a model that
                gives no boxes.
        """
        check_images(images)
        sizes: dict[tuple[int, int], list[int]] = {}
        for place, image in enumerate(images):
            sizes.setdefault((image.shape[0], image.shape[1]), []).append(place)
        none = np.zeros(0, np.int64)
        found = [(none, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), none)]
        for (height, width), members in sizes.items():
            what = f"one image of {width} x {height} pixels"

            def work(part: slice, members: list[int] = members) -> Decoded:
                return self._run(np.stack([images[place] for place in members[part]]))

            for part, boxes in in_batches(len(members), self._settings.batch, work, what, self._device):
                own = np.array(members[part], np.int64)[boxes.image.cpu().numpy()]
                found.append(
                    (own, boxes.xyxy.cpu().numpy(), boxes.score.cpu().numpy(), boxes.class_index.cpu().numpy())
                )
        frame, xyxy, score, class_index = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(frame, kind="stable")
        return Detections(frame[order], xyxy[order], score[order], class_index[order])

    def _run(self, pictures: np.ndarray) -> Decoded:
        """Boxes of pictures (B, H, W, 3) of one size."""
        height, width = pictures.shape[1:3]
        pixels = self._preparation.apply(torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2))
        with torch.autocast(self._device.type, torch.float16, enabled=self._device.type == "cuda"):
            given = self._model(pixel_values=pixels)
        logits, boxes = getattr(given, "logits", None), getattr(given, "pred_boxes", None)
        if logits is None or boxes is None or logits.shape[-1] not in (len(self.classes), len(self.classes) + 1):
            raise InputError(
                f"detector {self.version!r} gives no boxes with a score for each of its {len(self.classes)} classes, "
                f"as D-FINE, RT-DETR or DETR do; choose another checkpoint"
            )
        scale = boxes.new_tensor([width, height, width, height], dtype=torch.float32)
        return self._decoded(logits.float(), boxes.float() * scale)

    def _decoded(self, logits: Tensor, boxes: Tensor) -> Decoded:
        """From logits (B, Q, C) or (B, Q, C + 1), and boxes (B, Q, 4) of centre and size in pixels."""
        count = len(self.classes)
        each = logits.sigmoid() if logits.shape[-1] == count else logits.softmax(-1)[..., :-1]
        score, class_index = each.masked_fill(~self._wanted, -1).max(-1)
        score, order = score.nan_to_num(nan=-1).sort(dim=1, descending=True, stable=True)
        class_index = class_index.gather(1, order)
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        xyxy = torch.cat([centre - half, centre + half], -1).gather(1, order[..., None].expand(-1, -1, 4))
        alive = (score >= self._settings.least_score) & (score >= 0) & xyxy.isfinite().all(-1)
        kept = suppress(xyxy, class_index, alive, self._settings.overlap)
        kept &= kept.cumsum(1) <= self._settings.most
        image, row = kept.nonzero(as_tuple=True)
        return Decoded(image, xyxy[image, row], score[image, row], class_index[image, row])
