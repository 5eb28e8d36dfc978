"""Fine-tune the detector on frames that people corrected and on what the labels are sure of.

Lessons are pictures with boxes. A box that is unsettled is neither object nor background, and in a picture that is not
complete nothing is background but what somebody said is none. A share of every batch is rendered pictures of the kind
that the detector was trained on first, so that it forgets little of them (rehearsal, Robins 1995). What is kept are
averaged weights, as in the first training.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError
from ..fitting import FitResult, FitSettings, FitTask, Report, fit
from ..synthetic.figures import CLASS_NAMES
from ..synthetic.render import render
from .augmentation import Image, Scene, vary
from .detector import Detector
from .frames import draw_settings, pack, scene_of
from .judging import judge, look
from .losses import VISIBLE, Objects, detection_loss
from .network import DetectorNetwork, cell_grid

#: Visibility that stands for "nobody knows whether this is an object".
UNKNOWN = 0.15

#: Other names that people have for the classes of the renderer.
_SAME = {"person": "pedestrian", "people": "pedestrian", "human": "pedestrian", "vehicle": "car", "automobile": "car"}


@dataclass(frozen=True)
class FinetuneConfig:
    """How a detector is fine-tuned, beside what ``FitSettings`` says.

    Attributes:
        batch: pictures per step.
        side: of the pictures in pixels, a multiple of 32; larger frames are cut.
        scales: least and greatest magnification of a frame.
        rehearsal: share of every batch that is rendered as for the first training.
        films: of 16 frames each, rendered for that.
        learning_rate: peak (AdamW); rises over a tenth of the steps and falls as a half cosine.
        weight_decay: of AdamW, on convolutions only.
        box_weight: of the boxes' loss against that of the scores.
        average: how much of the averaged weights a step keeps, once it has seen enough steps.
        still: whether the statistics of normalisation stay as they were. On 160 frames of the renderer's other world,
            after 300 steps, AP50 is 0.79 with them still and 0.71 without, and on its own world 0.85 and 0.75.
    """

    batch: int = 8
    side: int = 320
    scales: tuple[float, float] = (0.5, 2.0)
    rehearsal: float = 0.25
    films: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    box_weight: float = 1.0
    average: float = 0.99
    still: bool = True

    def __post_init__(self) -> None:
        if self.batch < 1 or self.films < 1:
            raise InputError(f"detector lessons: batch is {self.batch}, films {self.films}; both must be at least 1")
        if self.side < 32 or self.side % 32:
            raise InputError(f"detector lessons: side is {self.side}; it must be a multiple of 32")
        if not 0 <= self.rehearsal < 1:
            raise InputError(f"detector lessons: rehearsal is {self.rehearsal}; it must lie in [0, 1)")
        if not 0 < self.scales[0] <= self.scales[1]:
            raise InputError(
                f"detector lessons: scales are {self.scales}; the first must be positive, the second no less"
            )
        if not 0 < self.learning_rate < 1 or not 0 <= self.average < 1:
            raise InputError("detector lessons: learning_rate must lie in (0, 1), average in [0, 1)")


class StoredScenes(Sequence[Scene]):
    """Scenes whose pictures are kept compressed: a thousand frames of video fit into memory.

    Attributes:
        fingerprint: of what they hold.
        mean_weight: of all objects.
    """

    def __init__(self, scenes: Iterable[Scene], quality: int = 95) -> None:
        digest = hashlib.sha256()
        self._scenes, self._pictures = [], []
        nothing = np.zeros((0, 0, 3), np.uint8)
        for scene in scenes:  # frames, decoded one after the other
            picture = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            self._scenes.append(replace(scene, image=nothing))
            self._pictures.append(picture)
            digest.update(picture.tobytes())
            digest.update(_bytes(scene))
        self.fingerprint = digest.hexdigest()
        self.mean_weight = mean_weight(self._scenes)

    def __len__(self) -> int:
        return len(self._scenes)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...
    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        """One scene, decoded, or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        image = cv2.imdecode(self._pictures[index], cv2.IMREAD_COLOR)
        return replace(self._scenes[index], image=np.asarray(image, np.uint8))


def lesson(
    image: Image, xyxy: NDArray[np.float32], class_index: NDArray[np.int64], weight: NDArray[np.float32],
    rejected: NDArray[np.float32] | None = None, rejected_weight: NDArray[np.float32] | None = None,
    complete: bool = True,
) -> Scene:  # fmt: skip
    """What one frame teaches; boxes without an area teach nothing and are left out.

    Args:
        image: (H, W, 3) uint8, RGB.
        xyxy: (M, 4) pixels.
        class_index: (M,) index into the classes of the lessons.
        weight: (M,) how much a box counts; one of weight 0 is neither object nor background.
        rejected: (R, 4) boxes of which somebody said that they are no object.
        rejected_weight: (R,) how much each counts; 1 if left out.
        complete: whether all else is background.

    Raises:
        InputError: for boxes that are no number, or weights that are negative.
    """
    none = np.zeros((0, 4), np.float32) if rejected is None else rejected
    silence = np.ones(len(none), np.float32) if rejected_weight is None else rejected_weight
    boxes = np.concatenate([xyxy, none]).astype(np.float32).reshape(-1, 4)
    weights = np.concatenate([weight, silence]).astype(np.float32)
    if not np.isfinite(boxes).all():
        raise InputError("detector lessons: a box is no number; leave it out of the lessons")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError("detector lessons: a weight is negative or no number; weights must be 0 or more")
    visibility = np.where(np.asarray(weight) > 0, 1.0, UNKNOWN)
    which = np.concatenate([class_index, np.zeros(len(none), np.int64)]).astype(np.int64)
    visibility = np.concatenate([visibility, np.zeros(len(none))]).astype(np.float32)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    image = np.ascontiguousarray(image)
    return Scene(image, boxes[kept], which[kept], visibility[kept], weight=weights[kept], complete=complete)


def mean_weight(scenes: Iterable[Scene]) -> float:
    """Mean weight of all objects of some scenes; 1 if they have none."""
    given = [scene.weight[scene.visibility >= VISIBLE] for scene in scenes if scene.weight is not None]
    every = np.concatenate(given) if given else np.zeros(0, np.float32)
    return float(every.mean(dtype=np.float64)) if every.any() else 1.0


def with_classes(network: DetectorNetwork, classes: Sequence[str]) -> DetectorNetwork:
    """A network for other classes: those it knows keep their scores, a new one begins with the mean of all it knows."""
    known = list(network.config.classes)
    grown = DetectorNetwork(replace(network.config, classes=tuple(classes)))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    for key in ("score.weight", "score.bias"):
        rows = state[key]
        state[key] = torch.stack([rows[known.index(name)] if name in known else rows.mean(0)
                                  for name in _as_known(classes, known)])  # fmt: skip
    grown.load_state_dict(state)
    return grown


def rehearsal_scenes(seed: int, films: int, classes: Sequence[str]) -> StoredScenes:
    """Rendered pictures as in the first training, with the objects whose class is among those given.

    Args:
        seed: decides the pictures.
        films: of 16 frames each.
        classes: of the detector that learns; objects of others are background to it.
    """
    names = _as_known(classes, list(CLASS_NAMES))
    index = np.array([names.index(name) if name in names else -1 for name in CLASS_NAMES])

    def frames() -> Iterable[Scene]:
        for number in range(films):
            rng = np.random.default_rng([seed, number, 20_261])
            drawn = replace(draw_settings(rng), scene="road" if number % 2 else "street")
            for scene in map(scene_of, render(drawn, rng)):
                given = index[scene.class_index]
                visibility = np.where(given >= 0, scene.visibility, 0).astype(np.float32)
                yield replace(scene, class_index=given.clip(0), visibility=visibility)

    return StoredScenes(frames())


class DetectorTask(FitTask):
    """The detector and the frames that it learns from.

    Args:
        network: to go on from; is changed.
        scenes: lessons; any sequence will do that gives the same scene for an index every time.
        held_out: lessons that it is measured on, and does not learn from.
        config: how.
        seed: of the order of the lessons and of everything done to them.
        rehearsal: rendered pictures; rendered here if not given.
    """

    network: DetectorNetwork

    def __init__(
        self, network: DetectorNetwork, scenes: Sequence[Scene], held_out: Sequence[Scene] = (),
        config: FinetuneConfig | None = None, seed: int = 0, rehearsal: Sequence[Scene] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if not len(scenes):
            raise InputError("detector lessons: there are none; confirm or correct some frames first")
        self.config = config or FinetuneConfig()
        self.seed = seed
        self.scenes, self.held_out = scenes, held_out
        in_memory = isinstance(scenes, list | tuple)
        self.mean_weight = mean_weight(scenes) if in_memory else float(getattr(scenes, "mean_weight", 1.0))
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(network).requires_grad_(False).eval()
        count = round(self.config.batch * self.config.rehearsal)
        self.rehearsed = min(max(count, 1 if self.config.rehearsal else 0), max(self.config.batch - 1, 0))
        self.rehearsal: Sequence[Scene] = ()
        if self.rehearsed:
            classes = network.config.classes
            self.rehearsal = rehearsal_scenes(seed, self.config.films, classes) if rehearsal is None else rehearsal

    def draw(self, step: int) -> tuple[Tensor, Objects]:
        """Pictures (B, side, side, 3) uint8 and their objects."""
        side, new = self.config.side, self.config.batch - self.rehearsed
        rng = np.random.default_rng([self.seed, step, 20_262])
        chosen = [self._weighed(_scene(self.scenes, step * new + place, self.seed)) for place in range(new)]
        varied = [vary(scene, side, rng, self.config.scales) for scene in chosen]
        old = [_scene(self.rehearsal, step * self.rehearsed + place, self.seed) for place in range(self.rehearsed)]
        varied += [vary(scene, side, rng) for scene in old]
        return pack(varied).batch(0, len(varied))

    def _weighed(self, scene: Scene) -> Scene:
        """Weights relative to the mean of all, so that objects keep their balance with the background."""
        return scene if scene.weight is None else replace(scene, weight=scene.weight / np.float32(self.mean_weight))

    def split(self, batch: tuple[Tensor, Objects], parts: int) -> list[tuple[Tensor, Objects]]:
        """The batch in parts of whole pictures, the rendered ones spread over them."""
        images, objects = batch
        parts = min(parts, len(images))
        return [(images[first::parts], objects.take(slice(first, None, parts))) for first in range(parts)]

    def loss(self, batch: tuple[Tensor, Objects]) -> tuple[Tensor, dict[str, float]]:
        """Of scores and boxes."""
        images, objects = batch
        height, width = images.shape[1:3]
        centre, stride = cell_grid(height, width, images.device)
        logits, distances = self.network(images.permute(0, 3, 1, 2).float())
        score, box = detection_loss(logits, distances, objects, centre, stride, (height, width))
        numbers = {"score": float(score.detach()), "box": float(box.detach())}
        return score + self.config.box_weight * box, numbers

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the averaged weights towards those of the network."""
        keep = min(self.config.average, (step + 1) / (step + 11))
        pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
        for average, value in pairs:  # tensors of the network
            if average.is_floating_point():
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    def measure(self) -> float | None:
        """AP50 of the averaged weights on the held-out lessons, the mean over their classes."""
        if not len(self.held_out):
            return None
        device = str(self.device)
        detector = Detector(copy.deepcopy(self.averaged), "measured", device)
        return judge(*look(detector, self.held_out), len(detector.classes)).mean

    def weights(self) -> dict[str, Tensor]:
        """The averaged ones."""
        return self.averaged.state_dict()

    def take(self, weights: dict[str, Tensor]) -> None:
        """Have both networks be what ``weights`` gave."""
        self.network.load_state_dict(weights)
        self.averaged.load_state_dict(weights)

    def train(self, mode: bool = True) -> DetectorTask:
        """Train or not; the averaged weights never do, and the statistics of normalisation only if they are to."""
        super().train(mode)
        self.averaged.eval()
        if self.config.still:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def describe(self) -> dict[str, Any]:
        """Configuration and fingerprint of the lessons."""
        return {"config": asdict(self.config), "scenes": _fingerprint(self.scenes),
                "held_out": _fingerprint(self.held_out)}  # fmt: skip

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate follows the step."""
        kernels = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": self.config.weight_decay},
                  {"params": others, "weight_decay": 0.0}]  # fmt: skip
        optimiser = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        steps = self.fit_settings.steps

        def share(step: int) -> float:
            warm = max(steps // 10, 1)
            if step < warm:
                return (step + 1) / warm
            return 0.01 + 0.99 * (1 + math.cos(math.pi * min((step - warm) / max(steps - warm, 1), 1.0))) / 2

        return {"optimizer": optimiser, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, share)}


def finetune(
    start: Detector, scenes: Sequence[Scene], settings: FitSettings, folder: Path, *,
    config: FinetuneConfig | None = None, held_out: Sequence[Scene] = (), classes: Sequence[str] | None = None,
    version: str = "", report: Report | None = None,
) -> tuple[Detector, FitResult]:  # fmt: skip
    """Train a detector further; killed and called again with the same folder, it ends with the same weights.

    Args:
        start: what it knows already; it is not changed.
        scenes: lessons, as ``lesson`` makes them; weights are taken relative to the mean of all objects.
        settings: of the training.
        folder: for checkpoints and logs.
        config: of what is learnt how.
        held_out: lessons that the best weights are chosen by; none of them is learnt from.
        classes: what ``class_index`` of the lessons means, and the classes of the result; those of ``start`` if left
            out.
        version: name of the new weights.
        report: called after every step.

    Raises:
        InputError: if there are no lessons, and as ``models.fitting.fit``.
    """
    network = with_classes(start.network, classes or start.classes)
    task = DetectorTask(network, scenes, held_out, config, settings.seed)
    result = fit(task, settings, folder, report)
    network = copy.deepcopy(task.averaged).requires_grad_(True)
    network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Detector(network, version or f"{start.version}+", str(start.device)), result


def _as_known(classes: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names as the detector has them where it has them, if by another word."""
    lowered = {name.lower(): name for name in known}
    return [lowered.get(name.lower()) or lowered.get(_SAME.get(name.lower(), ""), name) for name in classes]


def _scene(scenes: Sequence[Scene], place: int, seed: int) -> Scene:
    """The scene at a place of an endless row in which every pass over all is in an order of its own."""
    turn, number = divmod(place, len(scenes))
    return scenes[int(np.random.default_rng([seed, turn, 20_263]).permutation(len(scenes))[number])]


def _bytes(scene: Scene) -> bytes:
    columns = (scene.xyxy, scene.class_index, scene.visibility, scene.weight)
    said = b"".join(column.tobytes() for column in columns if column is not None)
    return said + bytes([scene.complete])


def _fingerprint(scenes: Sequence[Scene]) -> str:
    """What tells one set of lessons from another: its own fingerprint, or the boxes of scenes that lie in memory."""
    if hasattr(scenes, "fingerprint"):
        return str(scenes.fingerprint)
    digest = hashlib.sha256(str(len(scenes)).encode())
    if isinstance(scenes, list | tuple):
        digest.update(b"".join(map(_bytes, scenes)))
    return digest.hexdigest()
