from pathlib import Path

import pytest
import torch

from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitSettings, fit
from spam_plugin.models.spot.network import TrackerConfig
from spam_plugin.models.spot.pretraining import PretrainingConfig, PretrainingTask, found_overlap, held_out_pairs

TINY = PretrainingConfig(
    TrackerConfig(32, 64, widths=(8, 16, 16), channels=16, heads=2, hidden=32),
    batch=6, objects=8, grounds=1, steps_of_round=40, learning_rate=2e-3, warm_up=10, held_out=16,
)  # fmt: skip


def settings(steps: int) -> FitSettings:
    return FitSettings(steps, validate_every=30, save_every=5, clip=1.0, accelerator="cpu", tensorboard=False)


def test_sixty_steps_lower_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    task = PretrainingTask(settings(60), TINY)
    result = fit(task, settings(60), tmp_path, lambda step, numbers: losses.append(numbers["total"]))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert result.steps == 60
    assert {"score", "l1", "giou", "quality", "total", "value"} <= set(result.curve[-1])


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, numbers: dict[str, float]) -> None:
        if step == 7:
            raise Stop

    whole = PretrainingTask(settings(12), TINY)
    fit(whole, settings(12), tmp_path / "whole")
    with pytest.raises(Stop):
        fit(PretrainingTask(settings(12), TINY), settings(12), tmp_path / "parts", stop)
    parts = PretrainingTask(settings(12), TINY)
    result = fit(parts, settings(12), tmp_path / "parts")
    assert result.resumed_at == 5
    for name, tensor in whole.averaged.state_dict().items():
        assert torch.equal(parts.averaged.state_dict()[name], tensor), name


def test_steps_and_rounds_differ_and_come_again() -> None:
    task = PretrainingTask(settings(80), TINY)
    first, second, third = (task.draw(step) for step in (0, 1, 40))
    assert not torch.equal(first.search, second.search)
    assert not torch.equal(first.search, third.search)
    assert torch.equal(PretrainingTask(settings(80), TINY).draw(0).search, first.search)


def test_the_best_weights_are_chosen_by_objects_that_training_does_not_draw() -> None:
    task = PretrainingTask(settings(20), TINY)
    exam = held_out_pairs(TINY)
    assert exam.present.all()
    assert not torch.equal(exam.search[:6], task.draw(0).search)
    with torch.no_grad():
        value = task.measure()
    assert value == pytest.approx(float(found_overlap(task.averaged, exam).mean()), abs=1e-6)
    assert 0 <= value < 0.5


def test_a_batch_in_parts_loses_no_pair() -> None:
    batch = PretrainingTask(settings(20), TINY).draw(0)
    parts = PretrainingTask(settings(20), TINY).split(batch, 3)
    assert sum(len(part) for part in parts) == 6
    assert torch.equal(torch.cat([part.xyxy for part in parts]).sort(0).values, batch.xyxy.sort(0).values)


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch", 0), ("objects", 1), ("steps_of_round", 0), ("learning_rate", 0.0), ("average", 1.0), ("warm_up", -1)],
)
def test_a_configuration_that_cannot_be_trained_is_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        PretrainingConfig(**{field: value})
