"""What the benchmark of the promotion gate counts, and the domain that it learns in."""

import sys
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from promotion import report, with_posters  # noqa: E402

from spam_plugin.models.synthetic.streams import StreamSettings, simulate_stream  # noqa: E402


def run(seed, gained, new, domain="posters", errors=0.3):
    number = 40
    return {
        "domain": domain, "errors": errors, "seed": seed, "answers": 99, "before": 60.0, "after": 60.0 + gained,
        "kind": ["valid"] * number, "place": [str(n) for n in range(number)], "current": [0.5] * number,
        "new": [new] * number, "seconds": {"training": 60.0},
    }  # fmt: skip


def test_only_a_worse_model_that_was_promoted_counts_against_the_gate():
    harmful, caught, better = run(1, -3.0, 0.9), run(2, -3.0, 0.1), run(3, 2.0, 0.9)
    aims, counts = report([caught, better])[:2]
    assert "| 0 of 2" in aims
    assert "**no**" not in aims
    assert [cell.strip() for cell in counts.splitlines()[2].split("|")[1:6]] == [
        "poisoned, posters",
        "2",
        "1",
        "1",
        "0",
    ]
    aims = report([harmful, caught, better])[0]
    assert "| 1 of 3" in aims
    assert "**no**" in aims  # more than 2 of 20


def test_clean_runs_must_be_promoted():
    clean = [run(seed, 1.0, 0.9 if seed < 15 else 0.5, errors=0.0) for seed in range(20)]
    assert "| 15 of 20" in report(clean)[0]
    assert "**no**" not in report(clean)[0]
    clean[0]["new"] = clean[0]["current"]
    assert "**no**" in report(clean)[0]


def test_posters_stand_still_look_like_objects_and_are_none():
    stream = simulate_stream(3, StreamSettings(num_frames=(60, 60), density=(6.0, 6.0), embedding_share=0.0))
    seen = with_posters(stream, 3)
    assert seen.valid.sum() == stream.valid.sum()
    added = len(seen.valid) - len(stream.valid)
    assert added > 0.3 * stream.valid.sum()
    assert (np.diff(seen.candidates.frame) >= 0).all()
    assert np.array_equal(seen.candidates.xyxy[seen.valid], stream.candidates.xyxy[stream.valid])
    assert np.array_equal(with_posters(stream, 3).candidates.xyxy, seen.candidates.xyxy)
