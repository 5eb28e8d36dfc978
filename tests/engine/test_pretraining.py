import json
from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.engine import pretraining
from spam_plugin.models.spam import SpamModel
from spam_plugin.models.spam.calibration import fit_scale
from spam_plugin.models.spam.pretraining import PretrainConfig
from spam_plugin.models.synthetic.streams import StreamSettings, simulate_stream
from spam_plugin.plugin.cli import main

SMALL = StreamSettings(num_frames=(20, 40), density=(3.0, 6.0))


@pytest.fixture
def small_streams(monkeypatch):
    """Held-out streams of a few frames, and few thresholds to try."""
    monkeypatch.setattr(
        pretraining,
        "held_out_streams",
        lambda seed, count: [simulate_stream(100 * seed + n, SMALL) for n in range(count)],
    )
    monkeypatch.setattr(pretraining, "CHOICES", (("track", (0.3, 0.5)),))


def test_a_temperature_and_an_offset_are_found_again():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20_000)
    right = rng.random(len(logit)) < 1 / (1 + np.exp(-(0.5 * logit - 0.7)))
    slope, offset = fit_scale(logit, right)
    assert slope == pytest.approx(0.5, abs=0.05)
    assert offset == pytest.approx(-0.7, abs=0.05)


def test_without_evidence_logits_stay_what_they_are():
    assert fit_scale(np.zeros(0), np.zeros(0, bool)) == (1.0, 0.0)


def test_weights_come_with_a_record_and_a_log_and_label_alike(tmp_path, small_streams):
    config = PretrainConfig(iterations=2, boxes=200, save_every=1)
    target = tmp_path / "weights" / "tiny.safetensors"
    release = pretraining.make_weights(config, tmp_path / "run", target, "tiny", "the command", held_out=2)
    record = json.loads(release.record.read_text())
    assert (record["version"], record["command"]) == ("tiny", "the command")
    assert record["code_sha256"] == pretraining.code_hash()
    assert record["synthetic_scores"] == release.scores
    assert len(target.with_suffix(".log").read_text().splitlines()) == 2
    again = pretraining.make_weights(config, tmp_path / "run", tmp_path / "again.safetensors", "tiny", "", held_out=2)
    assert (tmp_path / "again.safetensors").read_bytes() == target.read_bytes()
    assert again.scores == release.scores


def test_a_threshold_is_left_alone_when_chance_explains_the_gain(monkeypatch, small_streams):
    model = SpamModel.load()
    model.decisions = replace(model.decisions, track=0.5)
    gains = {0.5: np.array([0.5, 0.5, 0.5]), 0.3: np.array([0.9, 0.2, 0.5])}
    monkeypatch.setattr(pretraining, "stream_quality", lambda tried, *_: gains[tried.decisions.track])
    assert pretraining.choose_decisions(model, [], print).track == 0.5
    gains[0.3] = np.array([0.6, 0.61, 0.6])
    assert pretraining.choose_decisions(model, [], print).track == 0.3


def test_the_command_makes_weights_that_load(tmp_path, small_streams, capsys):
    target = tmp_path / "mine.safetensors"
    options = ["--iterations", "2", "--boxes", "200", "--held-out", "2"]
    with pytest.raises(SystemExit) as end:
        main(["pretrain", "--out", str(target), *options])
    assert end.value.code in (0, None)
    assert SpamModel.load(target).version == "mine"
    assert str(tmp_path) not in target.with_suffix(".json").read_text()


@pytest.mark.parametrize(
    "options", [["--iterations", "0"], ["--held-out", "0"], ["--crowds", "2"], ["--device", "cuda"]]
)
def test_a_choice_that_makes_no_sense_is_refused_in_one_line(tmp_path, capsys, options):
    with pytest.raises(SystemExit) as end:
        main(["pretrain", "--out", str(tmp_path / "mine.safetensors"), *options])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
