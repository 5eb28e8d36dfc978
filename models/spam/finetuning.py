"""Fine-tune the hierarchy on what is known of a user's videos, mixed with simulated streams against forgetting.

SPAM (ECCV 2024) retrains on its own confident labels and on people's corrections. What is neither is masked: it has no
weight as a node, and no edge that touches it has any.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..columns import Candidates, VideoInfo
from ..errors import InputError
from ..fitting import FitResult, FitSettings, FitTask, fit
from .columns import gather_boxes
from .context import describe
from .hierarchy import WINDOWS
from .model import SpamModel
from .network import SpamNetwork
from .pretraining import Batch, draw_batch, hierarchy_loss
from .stabilisation import stabilise
from .training import Truth

_ALL = len(WINDOWS) + 2  # levels: all, the seam included
_TRUTH_ROUNDING = 0.3  # share of steps whose levels are rounded by what is known
_SIMULATED = 90_000_000  # seeds of simulated streams lie beyond those of pretraining


@dataclass(frozen=True)
class Lesson:
    """What is known of the candidates of one video; see ``engine.lessons.VideoLessons``.

    Attributes:
        info: of the video.
        candidates: N, of all its frames.
        identity: (N,) int64, object or -1.
        group: (N,) int64, objects that may be one, or -1.
        valid: (N,) float32 in [0, 1].
        weight: (N,) float32, of ``valid``; 0 is masked.
        link_weight: (N,) float32, of ``identity``; 0 is masked.
    """

    info: VideoInfo
    candidates: Candidates
    identity: NDArray[np.int64]
    group: NDArray[np.int64]
    valid: NDArray[np.float32]
    weight: NDArray[np.float32]
    link_weight: NDArray[np.float32]


@dataclass(frozen=True)
class FinetuneConfig:
    """How the hierarchy is fine-tuned.

    Attributes:
        boxes: about how many boxes of the videos a step sees, and as many simulated ones.
        synthetic: how much the simulated ones count against those of the videos; 0 draws none.
        learning_rate: peak (AdamW); rises over a tenth of the steps and falls as a half cosine.
        weight_decay: of AdamW.
        average: how much of the averaged weights a step keeps.
        gamma: focusing of the edges' loss.
        measured: boxes of held-out lessons that the network is measured on.

    Raises:
        InputError: for values out of range.
    """

    boxes: int = 3000
    synthetic: float = 0.5
    learning_rate: float = 5e-4
    weight_decay: float = 1e-4
    average: float = 0.97
    gamma: float = 1.0
    measured: int = 20_000

    def __post_init__(self) -> None:
        for key in ("boxes", "measured"):
            if getattr(self, key) < 1:
                raise InputError(f"fine-tuning of the hierarchy: {key} is {getattr(self, key)}; it must be at least 1")
        for key in ("synthetic", "average"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(f"fine-tuning of the hierarchy: {key} is {getattr(self, key)}; it must lie in [0, 1)")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"fine-tuning: learning_rate is {self.learning_rate}; it must lie in (0, 1)")


class HierarchyTask(FitTask):
    """Fine-tuning of one hierarchy.

    Attributes:
        network: what is trained.
        averaged: its weights averaged over the last steps; what is kept.
    """

    network: SpamNetwork
    averaged: SpamNetwork

    def __init__(
        self, start: SpamModel, lessons: Sequence[Lesson], settings: FitSettings, config: FinetuneConfig,
        held_out: Sequence[Lesson] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = copy.deepcopy(start.network).cpu().train()
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self._lessons = [one for one in lessons if (one.weight > 0).any()]
        self._held_out = [one for one in held_out if (one.weight > 0).any()]
        self._settings, self._config = settings, config
        if not self._lessons:
            raise InputError(
                "the hierarchy has nothing to learn: no candidate is confident or confirmed; label with another "
                "detector's candidates, or answer some questions first"
            )

    def draw(self, step: int) -> tuple[Batch, Batch | None, int]:
        """Stretches of the videos, simulated streams, and the number of the step."""
        rng = np.random.default_rng([self._settings.seed, step, 0])
        cpu = torch.device("cpu")
        given = lesson_batch(draw_lessons(self._lessons, self._config.boxes, rng), cpu)
        simulated = None
        if self._config.synthetic:
            simulated = draw_batch(_SIMULATED + self._settings.seed, step, self._config.boxes, cpu)
        return given, simulated, step

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch with its columns on a device; lightning also passes the number of a step."""
        if isinstance(batch, int):
            return batch
        given, simulated, step = batch
        return given.to(device), None if simulated is None else simulated.to(device), step

    def loss(self, batch: tuple[Batch, Batch | None, int]) -> tuple[Tensor, dict[str, float]]:
        """The hierarchy's loss on both, weighted."""
        given, simulated, step = batch
        share = self._config.synthetic if simulated is not None else 0.0
        total = self._of(given, step, 1)
        logged = {"lessons": float(total.detach())}
        total = (1 - share) * total
        if simulated is not None:
            other = self._of(simulated, step, 2)
            logged["simulated"] = float(other.detach())
            total = total + share * other
        return total, logged

    def _of(self, batch: Batch, step: int, which: int) -> Tensor:
        rng = np.random.default_rng([self._settings.seed, step, which])
        return hierarchy_loss(self.network, batch, _ALL, rng, _TRUTH_ROUNDING, self._config.gamma).total

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Moves the averaged weights towards those of the network."""
        keep = min(self._config.average, (step + 1) / (step + 10))
        pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
        for average, value in pairs:  # tensors of the network
            average.lerp_(value, 1 - keep)

    def measure(self) -> float | None:
        """The loss on lessons that are held out, its sign turned."""
        if not self._held_out:
            return None
        rng = np.random.default_rng([self._settings.seed, 1 << 40])
        batch = lesson_batch(draw_lessons(self._held_out, self._config.measured, rng), torch.device("cpu"))
        network = self.averaged
        return -float(hierarchy_loss(network, batch.to(self.device), _ALL, rng, 0.0, self._config.gamma).total)

    def weights(self) -> dict[str, Tensor]:
        """The averaged ones."""
        return self.averaged.state_dict()

    def take(self, weights: dict[str, Tensor]) -> None:
        """Has the averaged network be what ``weights`` gave."""
        self.averaged.load_state_dict(weights)

    def configure_optimizers(self) -> Any:
        """AdamW, warmed up and let go."""
        config, steps = self._config, self._settings.steps
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        rise = max(steps // 10, 1)

        def rate(step: int) -> float:
            return min((step + 1) / rise, 0.01 + 0.99 * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2)

        return [optimiser], [torch.optim.lr_scheduler.LambdaLR(optimiser, rate)]

    def describe(self) -> dict[str, Any]:
        """A digest of the lessons, and the configuration."""
        digest = hashlib.sha256()
        for one in (*self._lessons, *self._held_out):  # videos
            digest.update(repr(one.info).encode())
            columns = (one.candidates.xyxy, one.candidates.frame, one.identity, one.valid, one.weight, one.link_weight)
            for column in columns:
                digest.update(np.ascontiguousarray(column).tobytes())
        return {"lessons": digest.hexdigest(), **asdict(self._config)}


def finetune(
    start: SpamModel, lessons: Sequence[Lesson], settings: FitSettings, folder: Path, *,
    config: FinetuneConfig | None = None, held_out: Sequence[Lesson] = (), version: str = "",
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[SpamModel, FitResult]:  # fmt: skip
    """Train a hierarchy further; killed and called again with the same folder, it ends with the same weights.

    Args:
        start: the hierarchy to begin with; thresholds and calibration stay its own.
        lessons: of the videos.
        settings: of the training.
        folder: for checkpoints and logs.
        config: of what is learnt how.
        held_out: lessons that the best state is chosen by; none of them is learnt from.
        version: name of the new weights.
        report: called after every step.

    Raises:
        InputError: if there is nothing to learn, and as ``models.fitting.fit``.
    """
    task = HierarchyTask(start, lessons, settings, config or FinetuneConfig(), held_out)
    result = fit(task, settings, folder, report)
    network = task.averaged.eval()
    return SpamModel(network, start.decisions, version or f"{start.version}+", str(start.device)), result


def lesson_batch(lessons: Sequence[Lesson], device: torch.device) -> Batch:
    """Columns, context and truth of some lessons."""
    boxes = gather_boxes([(one.info, one.candidates) for one in lessons], WINDOWS[-1], device)
    start = np.cumsum([0] + [len(one.identity) for one in lessons])[:-1]
    row = torch.as_tensor(start, device=device)[boxes.lane_video[boxes.lane]] + boxes.row
    context, partners = describe(boxes)
    names = ("identity", "valid", "weight", "link_weight", "group")
    columns = (torch.as_tensor(_together(lessons, name), device=device)[row] for name in names)
    longest = max(one.info.num_frames for one in lessons)
    return Batch(stabilise(boxes, partners), context, Truth(*columns), longest)


def _together(lessons: Sequence[Lesson], name: str) -> NDArray:
    """One column of all lessons, its objects unique over them."""
    parts, offset = [], 0
    for one in lessons:
        column = getattr(one, name)
        if name in ("identity", "group"):
            column = np.where(column >= 0, column + offset, -1)
            offset = max(offset, int(column.max(initial=-1)) + 1)
        parts.append(column)
    return np.concatenate(parts)


def cut(lesson: Lesson, first: int, last: int) -> Lesson:
    """The frames from ``first`` to before ``last`` as a video of their own."""
    rows = slice(*np.searchsorted(lesson.candidates.frame, [first, last]))
    given = lesson.candidates
    part = Candidates(
        given.frame[rows] - first, given.xyxy[rows], given.score[rows], given.class_index[rows],
        None if given.embedding is None else given.embedding[rows],
    )  # fmt: skip
    info = replace(lesson.info, num_frames=max(last - first, 1))
    names = ("identity", "group", "valid", "weight", "link_weight")
    return Lesson(info, part, *(getattr(lesson, name)[rows] for name in names))


def draw_lessons(lessons: Sequence[Lesson], boxes: int, rng: np.random.Generator) -> list[Lesson]:
    """Stretches of videos with about so many boxes in all: each video as likely as the root of what it teaches."""
    worth = np.sqrt([max(float((one.weight > 0).sum()), 1e-6) for one in lessons])
    drawn: list[Lesson] = []
    total = 0
    for _ in range(64):  # stretches, until the batch is full
        one = lessons[rng.choice(len(lessons), p=worth / worth.sum())]
        length = min(int(2 ** rng.uniform(5, 9)), one.info.num_frames)
        per_frame = max(len(one.candidates) / one.info.num_frames, 1e-6)
        length = max(min(length, int(boxes / per_frame)), min(8, one.info.num_frames))
        first = int(rng.integers(0, one.info.num_frames - length + 1))
        part = cut(one, first, first + length)
        if len(part.candidates) < 2 or not part.weight.any():
            continue
        drawn.append(part)
        total += len(part.candidates)
        if total >= boxes:
            break
    return drawn
