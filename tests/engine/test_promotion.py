"""The gate lets through what is better, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spam_plugin.engine.agreement import Agreement
from spam_plugin.engine.promotion import GateSettings, Verdict, judge
from spam_plugin.models.errors import InputError


def scores(*values: float, per_place: int = 1, names: str = "a") -> Agreement:
    number = len(values)
    return Agreement(
        tuple(f"{names}{n}" for n in range(number)), ("valid",) * number,
        tuple(f"v/{n // per_place}" for n in range(number)), np.array(values, float),
    )  # fmt: skip


def test_a_clearly_better_model_is_promoted_and_a_clearly_worse_one_is_not() -> None:
    weak, strong = scores(*[0.0, 1.0] * 30), scores(*[1.0, 1.0] * 30)
    found = judge(weak, strong)
    assert found.promoted
    assert found.difference == pytest.approx(0.5)
    assert 0 < found.interval[0] < 0.5 < found.interval[1]
    assert "100.0% of 60 answers" in found.reason
    other = judge(strong, weak)
    assert not other.promoted
    assert "as it is worse" in other.reason
    assert other.difference == pytest.approx(-0.5)


def test_without_held_out_answers_nothing_is_promoted() -> None:
    found = judge(scores(), scores())
    assert not found.promoted
    assert "no answers are held out" in found.reason
    assert found.current is None


def test_too_few_answers_or_places_do_not_judge() -> None:
    assert "only 10 answers from 10 places" in judge(scores(*[0] * 10), scores(*[1] * 10)).reason
    crowded = judge(scores(*[0] * 60, per_place=30), scores(*[1] * 60, per_place=30))
    assert not crowded.promoted
    assert "60 answers from 2 places" in crowded.reason


def test_two_that_cannot_be_told_apart_leave_the_one_in_use() -> None:
    found = judge(scores(*[0.5] * 40), scores(*[0.5] * 40))
    assert not found.promoted
    assert "do not tell the two apart" in found.reason
    assert found.interval == (0.0, 0.0)


def test_one_lucky_answer_promotes_nothing() -> None:
    assert not judge(scores(*[0.5] * 40), scores(1.0, *[0.5] * 39)).promoted


def test_answers_of_one_place_count_as_one_witness() -> None:
    rng = np.random.default_rng(0)
    gain = np.repeat(rng.choice([-0.4, 0.6], 12), 10)
    apart = judge(scores(*[0.5] * 120), scores(*(0.5 + gain / 2)))
    together = judge(scores(*[0.5] * 120, per_place=10), scores(*(0.5 + gain / 2), per_place=10))
    assert apart.difference == pytest.approx(together.difference)
    assert np.diff(together.interval) > 2 * np.diff(apart.interval)


def test_a_pair_needs_both_of_an_answer() -> None:
    old, new = scores(*[0.0] * 30), scores(*[1.0] * 50)
    assert judge(old, new).answers == 30
    assert judge(old, scores(*[1.0] * 50, names="b")).answers == 0


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_of_many_models_that_are_no_better_few_are_promoted(wrong: float) -> None:
    rng = np.random.default_rng(1)
    promoted = 0
    for _ in range(200):
        truth = rng.random(80) >= wrong  # whether each answer is right
        one, two = (np.where(truth, right, 1 - right) for right in (rng.random((2, 80)) < 0.7).astype(float))
        promoted += judge(scores(*one), scores(*two), GateSettings(resamples=300)).promoted
    assert promoted <= 36  # 10 percent are expected; 18 are four standard deviations off


def test_the_same_scores_give_the_same_verdict_which_survives_json() -> None:
    rng = np.random.default_rng(2)
    one, two = scores(*rng.random(50)), scores(*rng.random(50))
    found = judge(one, two)
    assert found == judge(one, two)
    assert Verdict.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="level is 1"):
        GateSettings(level=1)
    with pytest.raises(InputError, match="least_places is 0"):
        GateSettings(least_places=0)
