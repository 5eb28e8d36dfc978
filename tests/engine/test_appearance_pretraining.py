"""Making the default appearance: measured on films that it never saw, recorded, and the same when run again."""

import json

import numpy as np
import pytest

from spam_plugin.engine import appearance_pretraining
from spam_plugin.engine.appearance_pretraining import CHOOSING_SEED, TEST_SEED, film_crops, look, pretrain_appearance
from spam_plugin.models.appearance.model import AppearanceModel
from spam_plugin.models.appearance.network import AppearanceConfig
from spam_plugin.models.appearance.pretraining import PretrainingConfig, RetrievalSet
from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitSettings
from spam_plugin.plugin.cli import main

TINY = PretrainingConfig(
    AppearanceConfig(8, (4, 4, 8, 8), 4), identities=4, views=3, scenes=1, batch_scenes=1, batch_identities=4,
    batch_views=3,
)  # fmt: skip


@pytest.fixture
def few(monkeypatch):
    """A handful of crops instead of rendered films, as they are there at once."""

    def crops(seed, films):
        rng = np.random.default_rng(seed)
        looks = np.repeat(rng.integers(0, 255, (4, 1, 1, 3)), 5, 0) + rng.integers(0, 9, (20, 96, 48, 3))
        identity, frame = np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4)
        return RetrievalSet(looks.clip(0, 255).astype(np.uint8), identity, frame, np.zeros(20, np.int64), 1)

    monkeypatch.setattr(appearance_pretraining, "film_crops", crops)


def test_films_give_crops_of_objects_that_come_again(monkeypatch):
    monkeypatch.setattr(appearance_pretraining, "_SIZES", ((320, 180),))
    given = film_crops(CHOOSING_SEED, 1)
    assert given.crops.shape[1:] == (96, 48, 3)
    assert len(given.crops) == len(given.identity) == len(given.frame) == len(given.video)
    assert np.bincount(given.identity).max() > given.apart
    assert look(AppearanceModel.load(), given).rank1 > 0.8  # the shipped weights
    assert CHOOSING_SEED != TEST_SEED


def test_a_release_says_how_it_was_made_and_is_the_same_again(few, tmp_path):
    settings = FitSettings(3, tensorboard=False)
    first = pretrain_appearance(TINY, settings, tmp_path / "run", tmp_path / "a.safetensors", "a", "the command")
    record = json.loads(first.record.read_text())
    assert (record["version"], record["command"], record["config"]["identities"]) == ("a", "the command", 4)
    assert record["mAP"] == round(first.retrieval.mean_average_precision, 4)
    assert len(record["code_sha256"]) == 64
    assert json.loads(first.weights.with_suffix(".log").read_text().splitlines()[-1])["step"] == 3
    other = pretrain_appearance(TINY, settings, tmp_path / "other", tmp_path / "b.safetensors", "a", "")
    assert other.weights.read_bytes() == first.weights.read_bytes()


def test_a_second_stage_begins_with_the_first(few, tmp_path):
    settings = FitSettings(1, tensorboard=False)
    first = pretrain_appearance(TINY, settings, tmp_path / "one", tmp_path / "one.safetensors", "one", "")
    second = pretrain_appearance(
        TINY, settings, tmp_path / "two", tmp_path / "two.safetensors", "two", "", start=first.weights
    )
    assert json.loads(second.record.read_text())["start"] == "one.safetensors"
    own, before = (AppearanceModel.load(each.weights).network.embed.weight for each in (second, first))
    assert float((own - before).detach().abs().max()) < 0.1


def test_the_command_trains_and_says_what_came_out(few, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("spam_plugin.models.appearance.pretraining.PretrainingConfig", lambda **_: TINY)
    target = tmp_path / "mine.safetensors"
    with pytest.raises(SystemExit) as done:
        main(["pretrain-appearance", "--out", str(target), "--steps", "2", "--held-out", "1"])
    assert done.value.code in (0, None)
    assert "rank-1" in capsys.readouterr().out
    assert AppearanceModel.load(target).version == "mine"


@pytest.mark.parametrize("options", [["--held-out", "0"], ["--steps", "0"], ["--views", "9"], ["--start", "nothing"]])
def test_what_cannot_be_trained_is_refused_before_anything_is_drawn(options, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["pretrain-appearance", "--out", str(tmp_path / "mine.safetensors"), *options])
    assert done.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_settings_that_cannot_be_are_refused():
    for values in ({"batch_scenes": 9}, {"batch_views": 1}, {"learning_rate": 2.0}, {"scenes": 0}):
        with pytest.raises(InputError, match="appearance:"):
            PretrainingConfig(**values)
