"""Train anything of ours with lightning: stopped and killed at will, with the same weights at the end.

A task says what a step learns from (``FitTask.draw``: decided by seed and step number alone), what it costs and how
good the network is; ``fit`` does the rest. Nothing but the step number decides what a step sees, not even the state of
the random numbers, which begin anew with every step. So a training that goes on from any checkpoint ends, on a CPU,
with bitwise the weights of one that nothing disturbed.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from .checkpoints import Checkpoints
from .errors import InputError
from .manners import hush, interruptible, quietly

Report = Callable[[int, dict[str, float]], None]

#: Several processes, each begun anew: they see the training only, not the command that asked for it.
_SEVERAL = "ddp_spawn_find_unused_parameters_true"


@dataclass(frozen=True)
class FitSettings:
    """How a task is trained.

    Attributes:
        steps: optimiser steps.
        seed: of everything random.
        validate_every: steps between measurements.
        patience: measurements without a better value after which the training stops; 0 is never.
        save_every: steps between checkpoints.
        precision: as lightning names it; "auto" is bfloat16 where a GPU knows it and single precision elsewhere.
        devices: as lightning names them; "auto" is every GPU, or the CPU.
        accelerator: as lightning names it.
        strategy: as lightning names it; "auto" is one process per device.
        clip: greatest length of the gradient; 0 is any.
        tensorboard: whether to write logs for TensorBoard.
    """

    steps: int
    seed: int = 0
    validate_every: int = 100
    patience: int = 0
    save_every: int = 50
    precision: str = "auto"
    devices: str = "auto"
    accelerator: str = "auto"
    strategy: str = "auto"
    clip: float = 5.0
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for key in ("steps", "validate_every", "save_every"):
            if getattr(self, key) < 1:
                raise InputError(f"training: {key} is {getattr(self, key)}; it must be at least 1")
        for key in ("seed", "patience", "clip"):
            if getattr(self, key) < 0:
                raise InputError(f"training: {key} is {getattr(self, key)}; it must not be negative")


@dataclass(frozen=True)
class FitResult:
    """What a training came to.

    Attributes:
        steps: done in all.
        best_step: after which the network was best; 0 is the network as it came. The last one, if nothing is measured.
        best_value: measured there; None if nothing is measured.
        curve: at every measurement the step, the means of the losses since the one before, the learning rate, and the
            measured value, as "step", their own names, "learning_rate" and "value".
        resumed_at: step from which this call went on; 0 if it began anew.
    """

    steps: int
    best_step: int
    best_value: float | None
    curve: tuple[dict[str, float], ...]
    resumed_at: int


class FitTask(lightning.LightningModule):
    """A network and what it learns from; subclasses say how.

    Attributes:
        network: what is trained and, after ``fit``, what came out.
    """

    network: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.fit_settings = FitSettings(steps=1)
        self.logged: dict[str, float] = {}
        self._parts = 1

    def draw(self, step: int) -> Any:
        """The batch of a step, on the CPU, decided by the seed and the number of the step (from 0) alone."""
        raise NotImplementedError

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """What a batch on the device costs (a scalar), and numbers to log of it."""
        raise NotImplementedError

    def measure(self) -> float | None:
        """How good the network is on lessons that it does not learn from, greater is better; None if there are none.

        Called with the task in evaluation mode and without gradients, before the first step too: a training that only
        makes things worse hands back what it was given.
        """
        return None

    def split(self, batch: Any, parts: int) -> Sequence[Any]:
        """A batch in about equal parts, fewer where it has not as many items; this one cannot be split."""
        return [batch]

    def after_step(self, step: int) -> None:
        """Called after the optimiser's step number ``step`` (from 0), say to average weights."""

    def weights(self) -> dict[str, Tensor]:
        """What is kept of the best network; ``take`` takes it back."""
        return self.network.state_dict()

    def take(self, weights: dict[str, Tensor]) -> None:
        """Have the network be what ``weights`` gave."""
        self.network.load_state_dict(weights)

    def describe(self) -> dict[str, Any]:
        """Plain values that decide what comes out, beside settings and starting weights: a hash of the lessons, say.

        A checkpoint with others is refused.
        """
        return {}

    def training_step(self, step: int, batch_index: int) -> None:
        """One step of the optimiser; lightning calls this."""
        optimiser = self.optimizers()
        if not isinstance(optimiser, lightning.pytorch.core.optimizer.LightningOptimizer):
            raise TypeError("a task has one optimiser")
        batch = self.draw(step)
        world = self.trainer.world_size
        if world > 1:
            shares = self.split(batch, world)
            batch = shares[self.global_rank % len(shares)]
        while not self._try(step, batch, optimiser):
            optimiser.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            pieces = len(self.split(batch, 2 * self._parts))
            if pieces <= self._parts or world > 1:
                raise InputError(
                    f"training: step {step} does not fit into the memory of {self.device} even in {self._parts} parts; "
                    "use smaller pictures or batches, or the CPU"
                )
            logging.getLogger(__name__).warning("out of memory: batches are taken in %d parts from now on", pieces)
            self._parts = pieces
        if self.fit_settings.clip:
            self.clip_gradients(optimiser.optimizer, self.fit_settings.clip, "norm")
        optimiser.step()
        schedule = self.lr_schedulers()
        if isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
            schedule.step()
        self.after_step(step)

    def _try(self, step: int, batch: Any, optimiser: Any) -> bool:
        """Gradients of a batch, part by part; False if the memory does not suffice."""
        _begin_random(self.fit_settings.seed, step, self.global_rank)
        optimiser.zero_grad()
        logged: dict[str, float] = {}
        try:
            pieces = [batch] if self._parts == 1 else self.split(batch, self._parts)
            for number, piece in enumerate(pieces):
                with nullcontext() if number == len(pieces) - 1 else self._unsynchronised():
                    loss, numbers = self.loss(self.transfer_batch_to_device(piece, self.device, 0))
                    if not torch.isfinite(loss):
                        raise InputError(
                            f"training: the loss of step {step} is {loss.item()}; use a lower learning rate, or look "
                            "for boxes of no size in the lessons"
                        )
                    self.manual_backward(loss / len(pieces))
                for key, value in numbers.items():
                    logged[key] = logged.get(key, 0.0) + value / len(pieces)
        except torch.OutOfMemoryError:
            return False
        self.logged = logged
        return True

    def _unsynchronised(self) -> Any:
        """Let gradients of other devices wait for the last part of the batch."""
        model = self.trainer.strategy.model
        return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else nullcontext()


def fit(task: FitTask, settings: FitSettings, folder: Path, report: Report | None = None) -> FitResult:
    """Train a task, or go on where the checkpoint in ``folder`` ends; the end is the same.

    On several devices the script that calls must be importable without side effects (``if __name__ == "__main__"``),
    tasks must be picklable, and ``report`` is not called.

    Args:
        task: holds the network; afterwards the best one (the last, if nothing is measured), on the CPU.
        settings: how.
        folder: for checkpoints and, in ``tensorboard``, the logs; one training each.
        report: called after every step with the number of steps done and the step's numbers.

    Raises:
        InputError: if the folder holds a training of another configuration or one that cannot be read, the disk is
            full, the memory does not hold a single item, or a loss is not a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = Checkpoints(folder)
    config = _config(task, settings)
    state = store.load(config)
    begin = int(state["progress"]["step"]) if state else 0
    if state is None or not state["progress"]["done"]:
        several = _device_count(settings) > 1
        keeper = _Keeper(store, config, settings, None if several else report)
        keeper.resume = state
        task.fit_settings = settings
        task.train()
        _run(task, settings, folder, keeper, begin)
        state = store.load(config)
    assert state is not None
    task.take(state["best"])
    task.eval()
    progress = state["progress"]
    return FitResult(progress["step"], progress["best_step"], progress["best_value"], tuple(progress["curve"]), begin)


def _config(task: FitTask, settings: FitSettings) -> dict[str, Any]:
    """What a checkpoint must have been made with, so that going on from it is the same training."""
    digest = hashlib.sha256()
    for name, tensor in sorted(task.weights().items()):  # tensors of the network
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    kept = ("steps", "seed", "validate_every", "patience", "precision", "clip")
    said = {key: getattr(settings, key) for key in kept}
    return {"task": type(task).__name__, "start": digest.hexdigest(), **said, **task.describe()}


def _run(task: FitTask, settings: FitSettings, folder: Path, keeper: _Keeper, begin: int) -> None:
    """Have lightning do the steps that are left."""
    logs: TensorBoardLogger | bool = False
    if settings.tensorboard:
        logs = TensorBoardLogger(folder, name="tensorboard", version="", purge_step=begin)
    strategy = settings.strategy
    if strategy == "auto" and _device_count(settings) > 1:
        strategy = _SEVERAL
    with quietly(), interruptible(lambda: keeper.interrupted), torch.random.fork_rng(devices=[]):
        try:
            trainer = lightning.Trainer(
                accelerator=settings.accelerator,
                devices=settings.devices,
                strategy=strategy,
                precision=_precision(settings),  # type: ignore[arg-type]
                max_epochs=1,
                logger=logs,
                callbacks=[keeper],
                default_root_dir=folder,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
            )
            trainer.fit(task, _Steps(begin, settings.steps))
        except lightning.fabric.utilities.exceptions.MisconfigurationException as error:
            raise InputError(f"training: {str(error).splitlines()[0]}") from error
        except torch.multiprocessing.ProcessRaisedException as error:  # another process, which cannot raise here
            kind, _, said = str(error).strip().splitlines()[-1].partition(": ")
            raise (InputError(said) if kind.endswith("InputError") else error) from error
        except OSError as error:  # of the logs; checkpoints say it themselves
            raise InputError(
                f"{folder}: the training's logs could not be written ({error.strerror or error}); make room and start "
                "it again, it goes on from its last checkpoint"
            ) from error


class _Steps:
    """Numbers of the steps that are left; lightning copies what it iterates over, and can copy no range."""

    def __init__(self, first: int, end: int) -> None:
        self.first, self.end = first, end

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.end))

    def __len__(self) -> int:
        return self.end - self.first


@dataclass
class _Progress:
    """What is remembered of a training beside weights and optimiser; plain values."""

    step: int = 0
    done: bool = False
    best_step: int = 0
    best_value: float | None = None
    stale: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, list[float]] = field(default_factory=dict)


class _Keeper(lightning.Callback):
    """Measures, keeps the best weights, saves, and says when to stop."""

    def __init__(
        self, store: Checkpoints, config: dict[str, Any], settings: FitSettings, report: Report | None
    ) -> None:
        self.store = store
        self.config = config
        self.settings = settings
        self.report = report
        self.resume: dict[str, Any] | None = None
        self.progress = _Progress()
        self.best: dict[str, Tensor] = {}
        self.interrupted = False

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Processes of their own begin with filters of their own."""
        if trainer.world_size > 1:
            hush()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go on from a checkpoint, or measure the network as it came."""
        assert isinstance(pl_module, FitTask)
        if self.resume is None:
            self._measure(trainer, pl_module)
            return
        state, self.resume = self.resume, None
        pl_module.load_state_dict(state["task"])
        for optimiser, saved in zip(trainer.optimizers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for schedule, saved in zip(trainer.lr_scheduler_configs, state["schedules"], strict=True):
            schedule.scheduler.load_state_dict(saved)
        self.progress, self.best = _Progress(**state["progress"]), state["best"]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After every step: ``batch`` is its number."""
        assert isinstance(pl_module, FitTask)
        progress, settings = self.progress, self.settings
        progress.step = batch + 1
        for key, value in pl_module.logged.items():
            progress.sums[key] = [a + b for a, b in zip(progress.sums.get(key, [0, 0]), (value, 1), strict=True)]
        numbers = dict(pl_module.logged)
        last = progress.step >= settings.steps
        if last or progress.step % settings.validate_every == 0:
            numbers |= {key: value for key, value in self._measure(trainer, pl_module).items() if key == "value"}
        progress.done = last or bool(settings.patience and progress.stale >= settings.patience)
        trainer.should_stop = progress.done
        if trainer.is_global_zero and (progress.done or progress.step % settings.save_every == 0):
            self._save(trainer, pl_module)
        for logs in trainer.loggers:
            logs.log_metrics(numbers, progress.step)
        if self.report is not None:
            self.report(progress.step, numbers)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Remember why lightning gives up: it ends the whole program when a user interrupts."""
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    def _measure(self, trainer: lightning.Trainer, task: FitTask) -> dict[str, float]:
        """A point of the curve; the weights are kept if they are the best so far."""
        progress = self.progress
        value = None
        if trainer.is_global_zero:
            _begin_random(self.settings.seed, progress.step, -1)
            task.eval()
            with torch.no_grad():
                value = task.measure()
            task.train()
        value = trainer.strategy.broadcast(value)
        point: dict[str, float] = {"step": progress.step}
        point |= {key: total / count for key, (total, count) in progress.sums.items()}
        if progress.step:
            point["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        progress.sums = {}
        if value is not None and not math.isnan(value):
            point["value"] = float(value)
            better = progress.best_value is None or value > progress.best_value
            progress.stale = 0 if better else progress.stale + 1
            if better:
                progress.best_step, progress.best_value = progress.step, float(value)
                self.best = _copied(task.weights())
        if progress.step or value is not None:
            progress.curve.append(point)
        return point

    def _save(self, trainer: lightning.Trainer, task: FitTask) -> None:
        if self.progress.done and self.progress.best_value is None:
            self.progress.best_step, self.best = self.progress.step, _copied(task.weights())
        state = {
            "task": task.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in trainer.optimizers],
            "schedules": [each.scheduler.state_dict() for each in trainer.lr_scheduler_configs],
            "progress": asdict(self.progress),
            "best": self.best,
        }
        self.store.save(self.config, state)


def _begin_random(seed: int, step: int, rank: int) -> None:
    """Begin torch's random numbers anew, those of dropout for instance; -1 is the rank of measuring."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank + 1]).generate_state(1)[0]))


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu", copy=True) for key, value in weights.items()}


def _on_gpu(settings: FitSettings) -> bool:
    return settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _device_count(settings: FitSettings) -> int:
    """How many devices the settings mean."""
    if settings.devices in ("auto", "-1"):
        return torch.cuda.device_count() if _on_gpu(settings) else 1
    return int(settings.devices) if settings.devices.isdigit() else settings.devices.count(",") + 1


def _precision(settings: FitSettings) -> str:
    if settings.precision != "auto":
        return settings.precision
    return "bf16-mixed" if _on_gpu(settings) and torch.cuda.is_bf16_supported() else "32-true"
