"""Who trains the parts of a version further: what is known of videos, as each part's own training wants it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..models.spam import SpamModel
from .lessons import VideoLessons
from .retraining import Taught, Tell

POINTS = 12  # of a learning curve


class HierarchyTeacher:
    """Trains the hierarchy further; needs no pictures.

    Args:
        start: the hierarchy to begin with.
        accelerator: as lightning names it.
    """

    part = "hierarchy"
    steps = 120

    def __init__(self, start: SpamModel, accelerator: str = "cpu") -> None:
        self._start, self._accelerator = start, accelerator

    def lacks(self, lessons: Sequence[VideoLessons]) -> str | None:
        """Candidates that somebody is sure of."""
        if any((one.weight > 0).any() for one in lessons):
            return None
        return "no candidate is confident or confirmed; answer some questions first, or use another detector's boxes"

    def learn(self, lessons: Sequence[VideoLessons], steps: int, seed: int, folder: Path, tell: Tell) -> Taught:
        """Trains, or goes on; see ``retraining.Teacher``."""
        from ..models.fitting import FitSettings
        from ..models.spam.finetuning import Lesson, finetune

        settings = FitSettings(
            steps, seed=seed, validate_every=max(steps // POINTS, 1), save_every=max(min(steps // 4, 20), 1),
            accelerator=self._accelerator,
        )  # fmt: skip
        given = [
            Lesson(one.info, one.candidates, one.identity, one.group, one.valid, one.weight, one.link_weight)
            for one in lessons
        ]
        model, result = finetune(self._start, given, settings, folder, report=told(tell, steps))
        file = folder / f"{self.part}.safetensors"
        model.save(file)
        return Taught(file, result.steps, result.best_step, result.curve, result.resumed_at)


def told(tell: Tell, steps: int) -> Callable[[int, dict[str, float]], None]:
    """What ``models.fitting`` is to call after every step."""

    def report(step: int, numbers: dict[str, float]) -> None:
        losses = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items() if name != "step")
        tell(step / steps, f"step {step} of {steps}" + (f", {losses}" if losses else ""))

    return report
