"""Making the default detector: measured on what it never saw, written with its record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spam_plugin.engine import detector_pretraining
from spam_plugin.engine.detector_pretraining import judge, look, pretrain_detector, unseen_scenes
from spam_plugin.models.detector import frames
from spam_plugin.models.detector.augmentation import Scene
from spam_plugin.models.detector.detector import DEFAULT_WEIGHTS, Detections, Detector
from spam_plugin.models.detector.network import DetectorConfig
from spam_plugin.models.detector.precision import Precision
from spam_plugin.models.detector.training import TrainingConfig
from spam_plugin.plugin.cli import main

TINY = TrainingConfig(
    network=DetectorConfig(widths=(8, 16, 24, 32), blocks=(1, 1, 1, 1), head=16),
    iterations=2, side=64, films=1, cuts=1, save_every=1, background=False,
)  # fmt: skip


@pytest.fixture
def small_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unseen films of few pixels."""
    monkeypatch.setattr(detector_pretraining, "TEST_SIZES", ((96, 64),))


class Oracle:
    """Stands in for a detector: reports what it is told to, frame by frame."""

    classes = ("pedestrian", "car")

    def __init__(self, answers: list[np.ndarray]) -> None:
        self.answers = iter(answers)

    def detect(self, images: list[np.ndarray], settings: object) -> Detections:
        boxes = next(self.answers)
        count = len(boxes)
        return Detections(np.zeros(count, np.int64), boxes, np.linspace(0.9, 0.5, count, dtype=np.float32),
                          np.zeros(count, np.int64))  # fmt: skip


def scene(*rows: tuple[float, float]) -> Scene:
    """Pedestrians of 10 by 10 pixels: left side, visibility."""
    left, visibility = (np.array(column, np.float32) for column in zip(*rows, strict=True))
    xyxy = np.stack([left, left * 0, left + 10, left * 0 + 10], 1)
    return Scene(np.zeros((32, 200, 3), np.uint8), xyxy, np.zeros(len(rows), np.int64), visibility)


def measure(answers: list[np.ndarray], given: list[Scene], least_visible: float = 0.25) -> Precision:
    return judge(*look(Oracle(answers), given), 2, least_visible)


def test_what_is_hardly_visible_counts_neither_way_and_what_is_hidden_is_not_there() -> None:
    given = [scene((0, 1.0), (50, 0.1), (100, 0.01)), scene((0, 0.3))]
    seen = [given[0].xyxy[:1], given[1].xyxy]
    assert measure(seen, given).mean == pytest.approx(1)
    assert measure([given[0].xyxy[[1, 0]], given[1].xyxy], given).mean == pytest.approx(1)
    # a box on the hidden one is false, and comes first
    assert measure([given[0].xyxy[[2, 0]], given[1].xyxy], given).mean < 0.9
    # who asks for more objects finds the one that was missed
    assert measure(seen, given, least_visible=0.05).mean == pytest.approx(67 / 101)


def test_unseen_scenes_are_the_same_every_time_and_not_those_of_the_training(small_films: None) -> None:
    one, two = (list(unseen_scenes(0, 2)) for _ in range(2))
    assert len(one) == 32
    assert {tuple(s.image.shape) for s in one} == {(64, 96, 3)}
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    assert {int(k) for s in one[:16] for k in s.class_index} == {0}
    assert {int(k) for s in one[16:] for k in s.class_index} == {1}


def test_no_size_is_both_trained_and_tested_on() -> None:
    assert not set(detector_pretraining.TEST_SIZES) & set(frames._SIZES)


def test_weights_come_with_a_record_and_a_log_and_are_the_same_again(tmp_path: Path, small_films: None) -> None:
    target = tmp_path / "weights" / "tiny.safetensors"
    release = pretrain_detector(TINY, tmp_path / "run", target, "tiny", "the command", films=2)
    record = json.loads(release.record.read_text())
    assert (record["version"], record["command"], record["config"]["seed"]) == ("tiny", "the command", 0)
    assert record["code_sha256"] == detector_pretraining.code_hash()
    assert record["AP50"] == release.precision
    assert set(release.precision) == {"pedestrian", "car", "all"}
    assert len(target.with_suffix(".log").read_text().splitlines()) == 2
    again = pretrain_detector(TINY, tmp_path / "other", tmp_path / "again.safetensors", "tiny", "", films=2)
    assert (tmp_path / "again.safetensors").read_bytes() == target.read_bytes()
    assert again.precision == release.precision
    assert Detector.load(target).version == "tiny"


def test_training_goes_on_from_given_weights(tmp_path: Path, small_films: None) -> None:
    first = pretrain_detector(TINY, tmp_path / "one", tmp_path / "one.safetensors", "one", "", films=1)
    still = replace(TINY, iterations=1, learning_rate=1e-9)
    second = pretrain_detector(
        still, tmp_path / "two", tmp_path / "two.safetensors", "two", "", start=first.weights, films=1
    )
    states = [Detector.load(release.weights).network.state_dict() for release in (first, second)]
    for key in ("score.weight", "box.bias", "stem.0.weight"):
        np.testing.assert_allclose(states[0][key], states[1][key], atol=1e-3)


def test_the_command_makes_a_detector_that_loads(tmp_path: Path, small_films: None, capsys) -> None:
    target = tmp_path / "mine.safetensors"
    options = ["--iterations", "1", "--batch", "2", "--side", "32", "--films", "1", "--cuts", "1", "--held-out", "1"]
    with pytest.raises(SystemExit) as end:
        main(["pretrain-detector", "--out", str(target), *options])
    assert end.value.code in (0, None)
    assert "AP50 on 1 unseen films" in capsys.readouterr().out
    assert Detector.load(target).version == "mine"
    assert str(tmp_path) not in target.with_suffix(".json").read_text()


@pytest.mark.parametrize(
    "options", [["--iterations", "0"], ["--held-out", "0"], ["--side", "100"], ["--device", "abacus"],
                ["--start", "nowhere.safetensors"]],
)  # fmt: skip
def test_a_choice_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, capsys, options: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["pretrain-detector", "--out", str(tmp_path / "mine.safetensors"), *options])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_default_weights_find_what_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_pretraining, "TEST_SIZES", ((400, 224),))
    detector = Detector.load()
    assert detector.version.startswith("detector-")
    assert DEFAULT_WEIGHTS.stat().st_size < 3_000_000
    result = judge(*look(detector, unseen_scenes(5, 4)), 2)
    assert min(result.average) > 0.7
    assert result.mean > 0.8
