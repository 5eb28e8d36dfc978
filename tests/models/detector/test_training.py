"""Training: pictures that fit their boxes, a network that learns, a run that goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from spam_plugin.models.detector import training
from spam_plugin.models.detector.augmentation import Scene, vary
from spam_plugin.models.detector.detector import Detector
from spam_plugin.models.detector.frames import draw_round, pack, rounds, scene_of
from spam_plugin.models.detector.network import DetectorConfig, DetectorNetwork, cell_grid
from spam_plugin.models.detector.precision import Boxes, average_precision
from spam_plugin.models.detector.training import TrainingConfig, TrainingState, learning_rate, train
from spam_plugin.models.errors import InputError
from spam_plugin.models.synthetic.render import RenderSettings, render

CPU = torch.device("cpu")
SMALL = DetectorConfig(widths=(8, 16, 24, 32), blocks=(1, 1, 1, 1), head=16)
TINY = TrainingConfig(
    network=SMALL, iterations=5, batch=8, side=64, films=1, cuts=1, save_every=2, background=False, half=False
)


class Stopped(Exception):
    """What ends a run in the middle."""


@pytest.fixture
def flat_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of coloured rectangles instead of rendered films, as they are there at once."""

    def draw(seed: int, first: int, films: int, cuts: int, side: int, background: bool):
        number = first
        while True:
            rng = np.random.default_rng([seed, number])
            yield pack([rectangle(rng, side) for _ in range(films * 16 * cuts)])
            number += 1

    monkeypatch.setattr(training, "rounds", draw)


def rectangle(rng: np.random.Generator, side: int) -> Scene:
    image = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
    low = rng.integers(0, side // 2, 2)
    high = low + rng.integers(12, side // 2, 2)
    kind = int(rng.integers(2))
    image[low[1] : high[1], low[0] : high[0]] = (230, 60, 40) if kind else (30, 90, 240)
    box = np.array([[*low, *high]], np.float32)
    return Scene(image, box, np.array([kind]), np.ones(1, np.float32))


def stop_at(iteration: int):
    def report(now: int, _: dict) -> None:
        if now == iteration:
            raise Stopped

    return report


def assert_equal(one: DetectorNetwork, two: DetectorNetwork) -> None:
    for key, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[key], value, atol=0, rtol=0, msg=key)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, flat_rounds: None, stop: int
) -> None:
    whole = train(TINY, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(TINY, tmp_path / "parts", report=stop_at(stop))
    torch.rand(7)  # the state of the global generator must not matter
    assert_equal(whole, train(TINY, tmp_path / "parts"))
    logs = [(tmp_path / folder / "log.jsonl").read_text() for folder in ("whole", "parts")]
    lines = [json.loads(line) for line in logs[0].splitlines()]
    assert [line["iteration"] for line in lines] == [2, 4, 5]
    assert logs[0] == logs[1]
    assert not whole.training


def test_a_finished_training_is_left_alone_and_another_configuration_is_refused(
    tmp_path: Path, flat_rounds: None
) -> None:
    first = train(TINY, tmp_path)
    assert_equal(first, train(TINY, tmp_path, report=stop_at(1)))
    with pytest.raises(InputError, match="another configuration"):
        train(replace(TINY, seed=1), tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(InputError, match="not a checkpoint"):
        train(TINY, tmp_path)


def test_training_starts_from_given_weights(tmp_path: Path, flat_rounds: None) -> None:
    torch.manual_seed(9)
    given = DetectorNetwork(SMALL)
    state = TrainingState.begin(TINY, CPU, given)
    assert_equal(given, state.network)
    assert_equal(given, state.averaged)


def test_the_loss_falls_on_one_batch() -> None:
    rng = np.random.default_rng(0)
    images, objects = pack([rectangle(rng, 64) for _ in range(4)]).batch(0, 4)
    config = replace(TINY, iterations=30, warm_up=1)
    state = TrainingState.begin(config, CPU)
    losses = [sum(training.step(state, config, images, objects, *cell_grid(64, 64))) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_small_network_learns_eight_frames_by_heart() -> None:
    filmed = RenderSettings(num_frames=8, width=192, height=160, frame_rate=2, num_objects=4, num_occluders=0)
    scenes = [scene_of(frame) for frame in render(filmed, np.random.default_rng(2))]
    images, objects = pack(scenes).batch(0, 8)
    config = replace(TINY, iterations=80, warm_up=10, learning_rate=6e-3, average=0.9)
    state = TrainingState.begin(config, CPU)
    for _ in range(config.iterations):
        training.step(state, config, images, objects, *cell_grid(160, 192))
    found = Detector(state.averaged, "by heart").detect([scene.image for scene in scenes])
    frame = np.repeat(np.arange(8), [len(scene.xyxy) for scene in scenes])
    seen = np.concatenate([scene.visibility for scene in scenes])
    truth = Boxes(
        frame,
        np.concatenate([scene.xyxy for scene in scenes]),
        np.concatenate([scene.class_index for scene in scenes]),
        (seen >= 0.25).astype(np.float32),
    )
    assert (seen >= 0.25).sum() >= 8
    assert average_precision(Boxes(found.frame, found.xyxy, found.class_index, found.score), truth, 2).mean > 0.9


def test_a_cut_moves_boxes_with_their_pixels() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:80, 50:90, 0] = 200
    owner = np.where(image[..., 0] > 0, 0, -1).astype(np.int16)
    scene = Scene(image, np.float32([[50, 40, 90, 80]]), np.array([1]), np.float32([0.8]), owner)
    for seed in range(40):
        varied = vary(scene, 96, np.random.default_rng(seed))
        assert varied.image.shape == (96, 96, 3)
        if not len(varied.xyxy):
            continue
        assert 0 < varied.visibility[0] <= np.float32(0.8)
        x1, y1, x2, y2 = np.clip(varied.xyxy[0], 0, 96)
        if (x2 - x1) * (y2 - y1) < 100:
            continue
        values = varied.image[..., 0].astype(float)
        inside = values[int(y1) + 3 : int(y2) - 3, int(x1) + 3 : int(x2) - 3]
        rest = values.copy()
        rest[max(int(y1) - 3, 0) : int(y2) + 4, max(int(x1) - 3, 0) : int(x2) + 4] = np.nan
        if inside.size and np.isfinite(rest).any():
            assert inside.mean() > np.nanmean(rest) + 20


def test_a_part_of_an_object_is_visible_by_its_pixels_in_the_cut() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    owner = np.full((64, 64), -1, np.int16)
    owner[:, 32:] = 0
    scene = Scene(image, np.float32([[32, 0, 64, 64]]), np.array([0]), np.float32([1]), owner)
    cut = [vary(scene, 32, np.random.default_rng(seed), scales=(1.0, 1.0)) for seed in range(20)]
    shares = [float(each.visibility[0]) for each in cut if len(each.xyxy)]
    assert max(shares) <= 0.52
    assert min(shares) < 0.45


def test_a_round_depends_on_seed_and_number_alone() -> None:
    one, two, other = draw_round(4, 7, 1, 1, 64), draw_round(4, 7, 1, 1, 64), draw_round(4, 8, 1, 1, 64)
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.xyxy, two.xyxy)
    assert (one.images != other.images).mean() > 0.5
    images, objects = one.batch(8, 8)
    assert images.shape == (8, 64, 64, 3)
    assert objects.xyxy.shape[:2] == objects.class_index.shape == objects.visibility.shape


def test_rounds_drawn_in_another_process_are_the_same() -> None:
    here, there = (rounds(4, 7, 1, 1, 64, background) for background in (False, True))
    np.testing.assert_array_equal(next(here).images, next(there).images)
    here.close()
    there.close()


def test_a_killed_training_leaves_no_process_behind() -> None:
    code = """if True:
        from multiprocessing import active_children
        from spam_plugin.models.detector.frames import rounds
        drawn = rounds(4, 7, 1, 1, 64, True)
        next(drawn)
        print(active_children()[0].pid, flush=True)
        import time
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        helper = int(run.stdout.readline())
        os.kill(helper, 0)  # it is there
        run.kill()
    for _ in range(600):  # until it is gone; it has a minute
        if not alive(helper):
            return
        time.sleep(0.1)
    os.kill(helper, signal.SIGKILL)
    pytest.fail("the process that draws was still there")


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended may wait to be taken note of by whoever inherited it."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_rows_of_a_scene_are_those_that_its_pixels_show() -> None:
    filmed = RenderSettings(num_frames=3, width=160, height=120, num_objects=8)
    for frame in render(filmed, np.random.default_rng(5)):
        scene = scene_of(frame)
        for row, track in enumerate(frame.truth.track):
            np.testing.assert_array_equal(scene.owner == row, frame.owner == track)
        assert set(np.unique(scene.owner)) <= set(range(-1, len(frame.truth)))


def test_the_learning_rate_rises_and_falls() -> None:
    config = replace(TINY, iterations=100, warm_up=10, learning_rate=1e-3)
    rates = [learning_rate(config, n) for n in range(100)]
    assert np.argmax(rates) in (9, 10)
    assert max(rates) == pytest.approx(1e-3)
    assert all(later < rate for rate, later in pairwise(rates[10:]))
    assert rates[-1] < 2e-5


@pytest.mark.parametrize(
    "change", [{"side": 100}, {"iterations": 0}, {"average": 1.0}, {"learning_rate": 0.0}, {"cuts": 0}]
)
def test_a_configuration_that_cannot_be_is_refused(change: dict) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        replace(TINY, **change)
