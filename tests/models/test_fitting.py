"""Training: the same weights however often it is stopped, the best ones at the end, clear words when it fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from fit_tasks import CurveTask, train_slowly

from spam_plugin.models import checkpoints
from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitSettings, fit

SETTINGS = FitSettings(steps=24, validate_every=6, save_every=4, tensorboard=False, accelerator="cpu")


class Stopped(Exception):
    """What ends a training in the middle."""


def stop_at(step: int):
    def report(done: int, numbers: dict[str, float]) -> None:
        if done == step:
            raise Stopped

    return report


def same(a: CurveTask, b: CurveTask) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    task = CurveTask()
    return task, fit(task, SETTINGS, tmp_path_factory.mktemp("fit"))


def test_a_training_learns_and_says_how_it_went(undisturbed):
    task, result = undisturbed
    assert result.steps == 24
    assert result.resumed_at == 0
    assert [point["step"] for point in result.curve] == [0, 6, 12, 18, 24]
    assert result.best_value == max(point["value"] for point in result.curve)
    assert result.curve[-1]["fit"] < result.curve[1]["fit"]
    assert result.curve[-1]["learning_rate"] > 0
    assert not task.training


@pytest.mark.parametrize("step", [1, 5, 8, 13, 23])
def test_a_training_that_was_stopped_ends_with_the_same_weights(undisturbed, tmp_path, step):
    with pytest.raises(Stopped):
        fit(CurveTask(), SETTINGS, tmp_path, stop_at(step))
    task = CurveTask()
    result = fit(task, SETTINGS, tmp_path)
    assert result.resumed_at == step // 4 * 4
    assert replace(result, resumed_at=0) == undisturbed[1]
    assert same(task, undisturbed[0])


def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # of the process that the others are forked from
    context = get_context("forkserver")
    context.set_forkserver_preload(["fit_tasks"])
    settings = replace(SETTINGS, save_every=1)
    for step in (2, 9, 17):
        process = context.Process(target=train_slowly, args=(str(tmp_path), settings))
        process.start()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.is_alive() and steps_saved(tmp_path) < step:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert steps_saved(tmp_path) >= step
    task = CurveTask()
    fit(task, settings, tmp_path)
    assert same(task, undisturbed[0])


def steps_saved(folder: Path) -> int:
    """Of the newest checkpoint; of the one before it if the newest is just being put in its place."""
    saved = checkpoints.Checkpoints(folder)
    for file in (saved.newest, saved.before):
        try:
            return torch.load(file, weights_only=True)["state"]["progress"]["step"]
        except (OSError, RuntimeError):
            continue
    return 0


def test_a_training_that_is_done_is_not_done_again(undisturbed, tmp_path):
    fit(CurveTask(), SETTINGS, tmp_path)
    task = CurveTask()
    result = fit(task, SETTINGS, tmp_path)
    assert result.resumed_at == 24
    assert not task.seen
    assert same(task, undisturbed[0])


def test_a_training_that_only_makes_things_worse_hands_back_what_it_was_given(tmp_path):
    class Spoiled(CurveTask):
        def measure(self):
            self.calls += 1
            return -float(self.calls)

    task, given = Spoiled(), CurveTask()
    result = fit(task, SETTINGS, tmp_path)
    assert result.best_step == 0
    assert same(task, given)


def test_training_stops_when_nothing_gets_better_any_more_also_after_a_stop(tmp_path):
    class Flat(CurveTask):
        def measure(self):
            return 0.0

    settings = replace(SETTINGS, patience=3)
    with pytest.raises(Stopped):
        fit(Flat(), settings, tmp_path, stop_at(13))
    result = fit(Flat(), settings, tmp_path)
    assert (result.steps, result.best_step) == (18, 0)


def test_without_anything_to_measure_the_last_weights_are_kept(tmp_path):
    task = CurveTask(held_out=False)
    result = fit(task, SETTINGS, tmp_path)
    assert result.best_value is None
    assert result.best_step == 24
    assert not same(task, CurveTask())


def test_measuring_more_often_does_not_change_what_is_learnt(tmp_path):
    often, seldom = CurveTask(held_out=False), CurveTask(held_out=False)
    fit(often, replace(SETTINGS, validate_every=1), tmp_path / "often")
    fit(seldom, SETTINGS, tmp_path / "seldom")
    assert same(often, seldom)


@pytest.mark.parametrize("other", [{"steps": 25}, {"seed": 1}, {"clip": 1.0}])
def test_a_checkpoint_of_another_configuration_is_refused_by_name(tmp_path, other):
    with pytest.raises(Stopped):
        fit(CurveTask(), SETTINGS, tmp_path, stop_at(5))
    with pytest.raises(InputError, match=f"{tmp_path}: .*{next(iter(other))}"):
        fit(CurveTask(), replace(SETTINGS, **other), tmp_path)


def test_a_checkpoint_of_other_starting_weights_or_lessons_is_refused(tmp_path):
    class Other(CurveTask):
        def describe(self):
            return {"lessons": "others"}

    with pytest.raises(Stopped):
        fit(CurveTask(), SETTINGS, tmp_path, stop_at(5))
    with pytest.raises(InputError, match="start"):
        fit(CurveTask(first=1), SETTINGS, tmp_path)
    with pytest.raises(InputError, match="lessons"):
        fit(Other(), SETTINGS, tmp_path)


def test_how_often_is_saved_may_change_from_one_start_to_the_next(undisturbed, tmp_path):
    with pytest.raises(Stopped):
        fit(CurveTask(), SETTINGS, tmp_path, stop_at(9))
    task = CurveTask()
    fit(task, replace(SETTINGS, save_every=3), tmp_path)
    assert same(task, undisturbed[0])


@pytest.mark.parametrize("left", [0, 100, 3000])
def test_a_truncated_checkpoint_gives_way_to_the_one_before(undisturbed, tmp_path, left):
    with pytest.raises(Stopped):
        fit(CurveTask(), SETTINGS, tmp_path, stop_at(13))
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:left])
    task = CurveTask()
    assert fit(task, SETTINGS, tmp_path).resumed_at == 8
    assert same(task, undisturbed[0])


def test_a_kill_between_the_two_files_leaves_the_older_one_in_use(tmp_path):
    with pytest.raises(Stopped):
        fit(CurveTask(), SETTINGS, tmp_path, stop_at(13))
    (tmp_path / "checkpoint.pt").rename(tmp_path / "checkpoint.tmp")
    assert fit(CurveTask(), SETTINGS, tmp_path).resumed_at == 8


def test_where_no_checkpoint_can_be_read_the_folder_is_named(tmp_path):
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=f"{tmp_path}: no checkpoint .* delete them"):
        fit(CurveTask(), SETTINGS, tmp_path)


def test_a_checkpoint_that_would_run_code_does_not(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"config": {}, "state": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="no checkpoint"):
        fit(CurveTask(), SETTINGS, tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_is_said_and_the_last_checkpoint_stays_usable(undisturbed, tmp_path, monkeypatch):
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    with pytest.raises(InputError, match=f"{tmp_path}: .*No space left"):
        fit(CurveTask(), SETTINGS, tmp_path)
    assert not (tmp_path / "checkpoint.tmp").exists()
    task = CurveTask()
    assert fit(task, SETTINGS, tmp_path).resumed_at == 8
    assert same(task, undisturbed[0])


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path):
    task = CurveTask(held_out=False)
    task.fits = 2
    fit(task, replace(SETTINGS, steps=3), tmp_path)
    assert task.seen == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]


def test_the_parts_of_a_halved_batch_add_up_to_its_gradient(tmp_path):
    class Plain(CurveTask):
        def __init__(self):
            super().__init__(held_out=False)
            self.network = torch.nn.Linear(1, 1)
            torch.nn.init.constant_(self.network.weight, 0.5)
            torch.nn.init.constant_(self.network.bias, 0.5)

    whole, halved = Plain(), Plain()
    halved.fits = 4
    fit(whole, SETTINGS, tmp_path / "whole")
    fit(halved, SETTINGS, tmp_path / "halved")
    pairs = zip(whole.network.parameters(), halved.network.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_an_item_that_does_not_fit_alone_is_a_clear_error(tmp_path):
    task = CurveTask()
    task.fits = 0
    with pytest.raises(InputError, match="step 0 does not fit into the memory"):
        fit(task, SETTINGS, tmp_path)


def test_a_loss_that_is_no_number_is_a_clear_error(tmp_path):
    class Broken(CurveTask):
        def loss(self, batch):
            loss, numbers = super().loss(batch)
            return loss * float("nan"), numbers

    with pytest.raises(InputError, match="the loss of step 0 is nan"):
        fit(Broken(), SETTINGS, tmp_path)


def test_an_interrupt_stays_an_interrupt(tmp_path):
    def interrupt(done: int, numbers: dict[str, float]) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(CurveTask(), SETTINGS, tmp_path, interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    task = CurveTask()
    torch.manual_seed(5)
    fit(task, replace(SETTINGS, steps=2), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_several_processes_share_a_batch_and_agree(tmp_path):
    task = CurveTask(held_out=False)
    task.network = torch.nn.Linear(1, 1)
    alone = CurveTask(held_out=False)
    alone.network = torch.nn.Linear(1, 1)
    alone.network.load_state_dict(task.network.state_dict())
    settings = replace(SETTINGS, steps=4, devices="2")
    assert fit(task, settings, tmp_path / "two").steps == 4
    fit(alone, replace(settings, devices="1"), tmp_path / "one")
    pairs = zip(task.network.parameters(), alone.network.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_training_says_nothing_by_itself_and_logs_for_tensorboard(tmp_path):
    script = (
        "import sys; from pathlib import Path; from fit_tasks import CurveTask; "
        "from spam_plugin.models.fitting import FitSettings, fit; "
        "fit(CurveTask(), FitSettings(steps=3, validate_every=2, accelerator='cpu'), Path(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"save_every": 0}, {"validate_every": 0}, {"patience": -1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        replace(SETTINGS, **wrong)
