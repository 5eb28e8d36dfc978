"""Making the default tracker: measured and calibrated on films that it never saw, recorded, the same when run again."""

import json

import pytest

from spam_plugin.engine import tracker_pretraining
from spam_plugin.engine.tracker_pretraining import pretrain_tracker
from spam_plugin.models.fitting import FitSettings
from spam_plugin.models.spot.confidence import Calibration
from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.spot.network import TrackerConfig
from spam_plugin.models.spot.pretraining import PretrainingConfig
from spam_plugin.plugin.cli import main

TINY = PretrainingConfig(
    TrackerConfig(32, 64, widths=(8, 16, 16), channels=16, heads=2, hidden=32),
    batch=4, objects=8, grounds=1, held_out=8,
)  # fmt: skip


@pytest.fixture
def short(monkeypatch):
    """Small pictures and few of them."""
    monkeypatch.setattr(tracker_pretraining, "_SIZES", ((320, 180),))
    monkeypatch.setattr(tracker_pretraining, "_CALIBRATION_FRAMES", 16)


def test_a_release_says_how_it_was_made_what_its_words_are_worth_and_is_the_same_again(short, tmp_path):
    settings = FitSettings(2, tensorboard=False)
    runs = [
        pretrain_tracker(
            TINY, settings, tmp_path / name, tmp_path / f"{name}.safetensors", "v", "it", films=1, calibration=2
        )
        for name in ("a", "b")
    ]
    assert runs[0].weights.read_bytes() == runs[1].weights.read_bytes()
    record = json.loads(runs[0].record.read_text())
    assert (record["version"], record["command"], record["config"]["batch"]) == ("v", "it", 4)
    assert record["films"]["boxes"] == runs[0].following.boxes > 0
    assert record["calibration"]["boxes"] > 0
    assert 0 <= record["calibration"]["error"] <= 1
    assert Tracker.load(runs[0].weights).calibration.keys() == Calibration().plain().keys()
    assert json.loads(runs[0].weights.with_suffix(".log").read_text().splitlines()[-1])["step"] == 2


def test_the_command_trains_and_says_what_came_out(short, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("spam_plugin.models.spot.pretraining.PretrainingConfig", lambda *_, **__: TINY)
    target = tmp_path / "mine.safetensors"
    with pytest.raises(SystemExit) as done:
        main(["pretrain-tracker", "--out", str(target), "--steps", "1", "--films", "1", "--calibration", "0"])
    assert done.value.code in (0, None)
    assert "on 1 unseen films" in capsys.readouterr().out
    tracker = Tracker.load(target)
    assert (tracker.version, tracker.calibration) == ("mine", {})
    record = json.loads(target.with_suffix(".json").read_text())
    assert record["command"].endswith("--films 1 --calibration 0 --precision auto")
    assert record["calibration"] is None


@pytest.mark.parametrize(
    "options", [["--films", "0"], ["--calibration", "-1"], ["--steps", "0"], ["--start", "nothing"]]
)
def test_what_cannot_be_trained_is_refused_before_anything_is_drawn(options, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["pretrain-tracker", "--out", str(tmp_path / "mine.safetensors"), *options])
    assert done.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not any(tmp_path.iterdir())
