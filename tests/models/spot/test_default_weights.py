import json

import torch

from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.spot.pretraining import PretrainingConfig, found_overlap, held_out_pairs
from spam_plugin.models.spot.weights_file import DEFAULT_WEIGHTS


def test_the_default_weights_find_most_of_what_they_never_saw() -> None:
    tracker = Tracker.load()
    assert tracker.version == "spot-2"
    pairs = held_out_pairs(PretrainingConfig(objects=24, grounds=6, held_out=48), seed=2)
    found = found_overlap(tracker.network, pairs)
    assert float(found.mean()) > 0.3  # nothing learned is below 0.1; the record says 0.52 of many more
    assert float((found > 0.1).float().mean()) > 0.6


def test_the_record_beside_the_weights_tells_how_they_came_to_be() -> None:
    record = json.loads(DEFAULT_WEIGHTS.with_suffix(".json").read_text())
    tracker = Tracker.load()
    assert record["version"] == tracker.version
    assert record["parameters"] == sum(p.numel() for p in tracker.network.parameters())
    assert {"pairs", "films", "code_sha256", "command", "config"} <= set(record)
    assert DEFAULT_WEIGHTS.with_suffix(".log").read_text().count("\n") >= 10
    assert DEFAULT_WEIGHTS.stat().st_size < 4 * 2**20
    assert all(torch.isfinite(p).all() for p in tracker.network.parameters())
