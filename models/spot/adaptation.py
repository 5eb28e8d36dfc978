"""Adapt the tracker to videos of which a few boxes are known: sparse training of SPOT (TIP 2024).

First it learns from pairs of known boxes alone. Then a teacher, the average of the student's past weights, looks at the
frames between them, nearest first, and what it is sure of teaches the student, which must find the same from another
frame of the same object and in a harder crop (transitive consistency: if anchor -> U and anchor -> R hold, so must
R -> U). See ``exploring`` for where it looks, and ``augmentation`` for how much harder it is made.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..fitting import FitResult, FitSettings, FitTask, Report, fit
from .augmentation import Distortion, distort, jitter, relight
from .crops import to_crop, to_image, windows_around
from .exploring import Exploration, Proposals
from .judging import follow, look, sound
from .lessons import AdaptClip, Footage, Keys, Rivals, find_rivals, hold_out, join, places_of
from .losses import believed_sides, clipped, tracking_loss
from .model import Tracker
from .network import TrackerNetwork

#: What a box of a confident track counts, where one of a person's counts 1.
_TRACKED = 0.5
_GONE = (
    0.1  # share of a target in the crop below which it is not there; between this and the loss's VISIBLE, nobody knows
)


@dataclass(frozen=True)
class AdaptSettings:
    """How the tracker is adapted.

    The defaults are SPOT's where a training of two minutes allows it, and reasoned where not; none was tuned.

    Attributes:
        consistency: the student remembers targets from explored frames, not from the teacher's own anchor.
        filtering: only boxes of which the teacher is sure teach.
        asymmetric: the student's crops are harder than the teacher's.
        calibration: the teacher looks around what is known nearby, and prefers the middle.
        steps: of the optimiser in all.
        burn_in: share of them that learns from known boxes alone.
        batch: pairs of a step.
        known: share of the pairs of known boxes after that.
        rivals: share of those pairs in which the target must be told from others, or is not there.
        learning_rate: peak (AdamW); rises over a tenth of the steps and falls as a half cosine.
        weight_decay: of AdamW.
        tau: expected overlap from which a box of the teacher's is taken.
        hann: share of the window that prefers the middle, in the teacher's choice.
        keep: what a step leaves of the averaged weights.
        epoch: steps after which what the teacher said is merged.
        step: frames from a known box to the farthest frame that is looked at next.
        decay: what an epoch leaves of the confidence of a box.
        judges: tracks of which a box is held out at most, to choose the best weights by; 0 for none.
        looks: at most so many on the way to a box that is held out.
        seed: of everything random.
        precision: as lightning names it.
        distortion: of what the student searches.

    Raises:
        InputError: for values out of range.
    """

    consistency: bool = True
    filtering: bool = True
    asymmetric: bool = True
    calibration: bool = True
    steps: int = 240
    burn_in: float = 0.5
    batch: int = 16
    known: float = 0.25
    rivals: float = 0.25
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    tau: float = 0.7
    hann: float = 0.4
    keep: float = 0.98
    epoch: int = 10
    step: int = 3
    decay: float = 0.99
    judges: int = 12
    looks: int = 30
    seed: int = 0
    precision: str = "auto"
    distortion: Distortion = field(default_factory=Distortion)

    def __post_init__(self) -> None:
        for key in ("steps", "batch", "epoch", "step", "looks"):
            if getattr(self, key) < 1:
                raise InputError(f"adaptation: {key} is {getattr(self, key)}; it must be at least 1")
        for key in ("burn_in", "known", "rivals", "tau", "hann", "keep", "decay"):
            if not 0 <= getattr(self, key) <= 1:
                raise InputError(f"adaptation: {key} is {getattr(self, key)}; it must lie between 0 and 1")
        if not 0 < self.learning_rate < 1 or self.weight_decay < 0 or self.judges < 0 or self.seed < 0:
            raise InputError("adaptation: learning_rate must lie in (0, 1); weight_decay, judges, seed not be negative")

    @property
    def burn_in_steps(self) -> int:
        """Steps that learn from known boxes alone."""
        return round(self.steps * self.burn_in)


@dataclass(frozen=True)
class Pairs:
    """A batch: crops, and what the student must say of them; tensors (B, ...)."""

    template: Tensor
    search: Tensor
    xyxy: Tensor
    weight: Tensor
    quality: Tensor
    present: Tensor

    def map(self, change: Any) -> Pairs:
        """All columns changed in the same way."""
        return Pairs(*(change(getattr(self, name)) for name in self.__dataclass_fields__))


class AdaptTask(FitTask):
    """The adaptation of one tracker to some clips.

    What a step sees is decided by its number, the seed and what was explored before, which checkpoints hold.

    Attributes:
        network: the student.
        teacher: the average of its past weights, always in evaluation mode; what is kept.
        exploration: what is known of all frames.
        held_out: boxes that nothing is learnt from, which choose the best weights.
    """

    network: TrackerNetwork
    teacher: TrackerNetwork

    def __init__(self, start: Tracker, clips: Sequence[AdaptClip], settings: AdaptSettings) -> None:
        super().__init__()
        self.network = copy.deepcopy(start.network).cpu().train()
        self.teacher = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.settings, self._clips, self._footage = settings, clips, Footage(clips)
        _, absent = join(clips)
        self.keys, self.held_out = judges_of(clips, settings)
        frame, open_, self._row, self._clip = places_of(clips, self.keys, absent)
        key = self._row >= 0
        xyxy = self.keys.xyxy[self._row.clamp_min(0)]
        self.exploration = Exploration(frame, open_, key, xyxy, settings.step)
        config = self.network.config
        windows = windows_around(self.keys.xyxy, config.template_factor)
        self._remembered = self._footage.crops(self.keys.clip, self.keys.frame, windows, config.template)
        # Known boxes of people teach first; boxes of confident tracks only where there are no others.
        self._taught = self.keys.human.nonzero()[:, 0] if self.keys.human.any() else torch.arange(len(self.keys))
        self._rivals: Rivals = find_rivals(self.keys, absent, clips, _generator(settings.seed, -2))
        self._batch: Pairs | None = None
        self._shared = 0.0

    def train(self, mode: bool = True) -> AdaptTask:
        """The teacher is never in training mode: what it says must not depend on chance."""
        super().train(mode)
        self.teacher.eval()
        return self

    # --- a step

    def training_step(self, step: int, batch_index: int) -> None:
        """One step; where the teacher is sure of nothing, the optimiser does none."""
        self._batch = self._pairs(step)
        if self._batch is None:
            self.logged = {"kept": 0.0}
        else:
            super().training_step(step, batch_index)
        self._end(step)

    def draw(self, step: int) -> Pairs:
        """The pairs of the step, as they were made at its beginning."""
        assert self._batch is not None
        return self._batch

    def _pairs(self, step: int) -> Pairs | None:
        settings = self.settings
        draw = _generator(settings.seed, step)
        if step < settings.burn_in_steps:
            return self._known(settings.batch, draw)
        known = max(round(settings.batch * settings.known), 1)
        unknown = self._unknown(settings.batch - known, draw)
        if unknown is None:
            return None
        parts = (self._known(known, draw), unknown)
        names = Pairs.__dataclass_fields__
        return Pairs(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def _known(self, count: int, draw: torch.Generator) -> Pairs:
        """Pairs of known boxes of one object, either may be the template, and rivals."""
        keys, taught = self.keys, self._taught
        track = keys.track[taught]
        named = track.unique()
        of = named[torch.randint(len(named), (count,), generator=draw)]  # objects of many boxes count no more
        first, end = torch.searchsorted(track, of), torch.searchsorted(track, of, right=True)
        one, two = (
            taught[first + (torch.rand(count, generator=draw) * (end - first)).long().clamp_max(end - first - 1)]
            for _ in range(2)
        )
        clip, frame = keys.clip[two], keys.frame[two]
        around, truth, there = keys.xyxy[two], keys.xyxy[two], torch.ones(count, dtype=torch.bool)
        hard = torch.rand(count, generator=draw) < self.settings.rivals
        if len(self._rivals.template):
            at = torch.randint(len(self._rivals.template), (count,), generator=draw)
            rival = self._rivals
            one = torch.where(hard, rival.template[at], one)
            clip, frame = torch.where(hard, rival.clip[at], clip), torch.where(hard, rival.frame[at], frame)
            around = torch.where(hard[:, None], rival.around[at], around)
            truth = torch.where(hard[:, None], rival.truth[at], truth)
            there = torch.where(hard, rival.there[at], there)
        windows = windows_around(jitter(around, self.settings.distortion, draw), self.network.config.search_factor)
        search = self._footage.crops(clip, frame, windows, self.network.config.search)
        template, search = relight(self._remembered[one], search, self.settings.distortion, draw)
        box = to_crop(truth, windows)
        present = there & (clipped(box)[1] >= _GONE)
        human = keys.human[one].float()
        return Pairs(template, search, box, _TRACKED + (1 - _TRACKED) * human, human, present)

    def _unknown(self, count: int, draw: torch.Generator) -> Pairs | None:
        """What the teacher is sure of, made harder for the student; None if it is sure of nothing."""
        settings, config = self.settings, self.network.config
        track = torch.randint(len(self._clip), (count,), generator=draw)
        found = self.exploration.propose(track, draw, settings.calibration)
        box, quality, windows = self._taught_by_teacher(found)
        self.exploration.note(track, found.unlabelled, box, quality)
        kept = (quality >= self._least).nonzero()[:, 0]
        self._shared = len(kept) / count
        if not len(kept):
            return None
        rows = kept[torch.arange(count) % len(kept)]  # clones in the place of those that are discarded
        track, place, box = track[rows], found.unlabelled[rows], box[rows]
        clip, frame = self._clip[track], self.exploration.frame[track, place]
        relay = found.relay[rows] if settings.consistency else found.anchor[rows]
        beside = windows_around(self.exploration.xyxy[track, relay], config.template_factor)
        template = self._footage.crops(clip, self.exploration.frame[track, relay], beside, config.template)
        windows = windows[rows]
        if settings.asymmetric:
            windows = windows_around(jitter(box, settings.distortion, draw), config.search_factor)
        search, truth = self._footage.crops(clip, frame, windows, config.search), to_crop(box, windows)
        if settings.asymmetric:
            template, search = relight(template, search, settings.distortion, draw)
            search, truth = distort(search, truth, settings.distortion, draw)
        none, all_ = torch.zeros(count), torch.ones(count)
        return Pairs(template, search, truth, all_, none, all_.bool())  # the head of quality learns from truth alone

    @torch.no_grad()
    def _taught_by_teacher(self, found: Proposals) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, 4) in pixels and their expected overlap (N,) by the teacher, and the windows it looked at."""
        config, clip = self.network.config, self._clip[found.track]
        windows = windows_around(found.around, config.search_factor)
        frame = self.exploration.frame[found.track, found.unlabelled]
        search = self._footage.crops(clip, frame, windows, config.search)
        row = self._row[found.track, found.anchor]
        template = self._remembered[row]
        hann = self.settings.hann if self.settings.calibration else 0.0
        box, _, quality = look(self.teacher, template, self.keys.xyxy[row], search, found.around, hann)
        return sound(to_image(box, windows)), quality, windows

    @property
    def _least(self) -> float:
        return self.settings.tau if self.settings.filtering else 0.0

    def _end(self, step: int) -> None:
        """What the teacher said is taken over at the ends of epochs."""
        after = step + 1 - self.settings.burn_in_steps
        if after > 0 and after % self.settings.epoch == 0:
            self.exploration.merge(self._least, self.settings.decay)

    # --- what FitTask asks for

    def loss(self, batch: Pairs) -> tuple[Tensor, dict[str, float]]:
        """The tracking loss of all pairs; the head of quality learns from known boxes alone."""
        sides = believed_sides(batch.xyxy, self.network.config.search_factor)
        said = self.network(self.network.encode(batch.template), batch.search, sides)
        losses = tracking_loss(said, batch.xyxy, batch.weight, batch.quality, batch.present)
        logged = {name: float(getattr(losses, name).detach()) for name in ("score", "l1", "giou", "quality")}
        if bool((batch.quality == 0).any()):
            logged["kept"] = self._shared
        return losses.total, logged

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on a device; lightning's own batches are numbers of steps."""
        return batch.map(lambda column: column.to(device)) if isinstance(batch, Pairs) else batch

    def split(self, batch: Pairs, parts: int) -> Sequence[Pairs]:
        """The pairs in parts."""
        rows = torch.arange(len(batch.xyxy)).tensor_split(min(parts, len(batch.xyxy)))
        return [batch.map(lambda column, mine=mine: column[mine]) for mine in rows]

    def after_step(self, step: int) -> None:
        """Average the weights."""
        average(self.teacher, self.network, min(self.settings.keep, (step + 1) / (step + 11)))

    def measure(self) -> float | None:
        """Mean overlap with the boxes that are held out, each reached through the frames from the nearest known box."""
        if not len(self.held_out):
            return None
        return float(follow(self.teacher, self._footage, self.keys, self.held_out, self.settings.looks).mean())

    def weights(self) -> dict[str, Tensor]:
        """The teacher's."""
        return self.teacher.state_dict()

    def take(self, weights: dict[str, Tensor]) -> None:
        """Both networks are what was kept."""
        self.network.load_state_dict(weights)
        self.teacher.load_state_dict(weights)

    def describe(self) -> dict[str, Any]:
        """The settings, and a digest of the boxes."""
        plain = {k: v for k, v in asdict(self.settings).items() if k != "precision"}
        return {"adaptation": plain, "clips": [clip.digest() for clip in self._clips]}

    def configure_optimizers(self) -> Any:
        """AdamW whose rate rises over a tenth of the steps and falls as a half cosine to a hundredth."""
        settings = self.settings
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        warm_up = max(settings.steps // 10, 1)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            done = (step - warm_up) / max(settings.steps - warm_up, 1)
            return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2

        return {"optimizer": optimiser, "lr_scheduler": torch.optim.lr_scheduler.LambdaLR(optimiser, factor)}


def adapt(
    start: Tracker, clips: Sequence[AdaptClip], settings: AdaptSettings, folder: Path, report: Report | None = None
) -> tuple[Tracker, FitResult]:
    """Adapt a tracker to clips, or go on where the checkpoint in ``folder`` ends; the end is the same.

    Args:
        start: what to begin with; it stays as it is.
        clips: videos with some known boxes; without one of a person's, boxes of confident tracks teach alone.
        settings: how.
        folder: for checkpoints and logs.
        report: called after every step with the number of steps done and its numbers.

    Returns:
        The adapted tracker on the device of ``start``, never worse than it on boxes that are held out, with the
        calibration of ``start``; and how it went.

    Raises:
        InputError: if there is no box to learn from; and as ``models.fitting.fit``.
    """
    task = AdaptTask(start, clips, settings)
    kind = "cpu" if start.device == "cpu" else "gpu" if start.device.startswith("cuda") else "auto"
    every = max(settings.steps // 4, 1)
    fitting = FitSettings(
        settings.steps, settings.seed, validate_every=every, save_every=min(every, 20), precision=settings.precision,
        devices="1", accelerator=kind, clip=1.0,
    )  # fmt: skip
    result = fit(task, fitting, folder, report)
    return Tracker(task.teacher.requires_grad_(True), f"{start.version}+", start.device, start.calibration), result


def judges_of(clips: Sequence[AdaptClip], settings: AdaptSettings) -> tuple[Keys, Keys]:
    """The boxes that are learnt from, and those that are held out; see ``lessons.hold_out``."""
    return hold_out(join(clips)[0], settings.judges, _generator(settings.seed, -1))


def _generator(seed: int, step: int) -> torch.Generator:
    """Random numbers of a step; negative ones are for what is decided before the first."""
    number = int(np.random.SeedSequence([seed, step + 10]).generate_state(1)[0])
    return torch.Generator().manual_seed(number)


@torch.no_grad()
def average(teacher: TrackerNetwork, student: TrackerNetwork, keep: float) -> None:
    """Moves the teacher towards the student: keep * teacher + (1 - keep) * student; whole numbers are copied."""
    for mean, value in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):  # tensors
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)
