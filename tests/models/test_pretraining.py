"""Pretraining goes on where it stopped, and ends where it would have ended anyway."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import pretraining
from spam_plugin.models.spam.network import SpamNetwork
from spam_plugin.models.spam.pretraining import PretrainConfig, draw_batch, hierarchy_loss, measure_features, pretrain

CPU = torch.device("cpu")
TINY = PretrainConfig(seed=3, iterations=3, boxes=300, save_every=1, unlock_every=1)


class Stopped(Exception):
    """What ends a run in the middle."""


@pytest.fixture(autouse=True)
def _small_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The feature constants come from one small batch here; what is tested does not hang on them."""

    def measure(network: SpamNetwork, seed: int, device: torch.device) -> None:
        batch = draw_batch(seed, 1 << 20, TINY.boxes, device)
        network.edge_scale.mean.fill_(len(batch.boxes) / 1000)

    monkeypatch.setattr(pretraining, "measure_features", measure)


def stop_at(iteration: int):
    def report(now: int, _: dict) -> None:
        if now == iteration:
            raise Stopped

    return report


def assert_equal(one: SpamNetwork, two: SpamNetwork) -> None:
    for key, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[key], value, atol=0, rtol=0, msg=key)


def test_an_interrupted_run_goes_on_and_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    seen: list[int] = []
    whole = pretrain(TINY, tmp_path / "whole", CPU, lambda now, _: seen.append(now))
    with pytest.raises(Stopped):
        pretrain(TINY, tmp_path / "parts", CPU, stop_at(2))
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["iteration"] == 2
    torch.rand(7)  # the state of the global generator must not matter
    resumed: list[int] = []
    again = pretrain(TINY, tmp_path / "parts", CPU, lambda now, _: resumed.append(now))
    assert seen == [0, 1, 2]
    assert resumed == [2]
    assert_equal(whole, again)
    logs = [(tmp_path / folder / "log.jsonl").read_text() for folder in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [json.loads(line)["iteration"] for line in logs[0].splitlines()] == [1, 2, 3]
    assert not whole.training
    assert all(value.isfinite().all() for value in whole.state_dict().values())


def test_a_finished_run_is_not_trained_again_and_another_configuration_is_refused(tmp_path: Path) -> None:
    config = replace(TINY, iterations=1)
    first = pretrain(config, tmp_path, CPU)
    assert_equal(first, pretrain(config, tmp_path, CPU, stop_at(0)))
    with pytest.raises(InputError, match=r"checkpoint\.pt.*another configuration"):
        pretrain(replace(config, seed=4), tmp_path, CPU)


@pytest.mark.parametrize("key", ["iterations", "boxes", "unlock_every", "save_every"])
def test_a_configuration_that_cannot_run_is_named(key: str) -> None:
    with pytest.raises(InputError, match=f"{key} is 0"):
        replace(TINY, **{key: 0})


def test_the_same_seed_draws_the_same_batch_and_another_iteration_another() -> None:
    one, two, other = (draw_batch(5, iteration, 100, CPU) for iteration in (0, 0, 1))
    torch.testing.assert_close(one.boxes.state, two.boxes.state, atol=0, rtol=0)
    torch.testing.assert_close(one.context, two.context, atol=0, rtol=0)
    assert one.truth.identity.tolist() == two.truth.identity.tolist()
    assert one.boxes.state.shape != other.boxes.state.shape or not torch.equal(one.boxes.state, other.boxes.state)


def test_every_part_of_the_network_learns_when_all_levels_are_unlocked() -> None:
    torch.manual_seed(0)
    network = SpamNetwork()
    loss = hierarchy_loss(network, draw_batch(1, 0, 300, CPU), 99, pretraining.np.random.default_rng(0), 1.0, 1.0)
    loss.total.backward()
    assert len(loss.edge) == len(loss.node) > 3
    still = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.isfinite().all()]
    assert still == []


def test_measured_features_are_about_of_unit_size() -> None:
    torch.manual_seed(0)
    network = SpamNetwork()
    measure_features(network, 0, CPU, batches=1)
    assert (network.node_scale.spread > 0).all()
    assert network.node_scale.mean.abs().max() > 0
    assert not torch.equal(network.edge_scale.spread, torch.ones_like(network.edge_scale.spread))
    assert network.box_scale.mean.isfinite().all()
