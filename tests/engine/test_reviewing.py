"""A simulated person's round: within its budget, the same again, and later than the rounds before."""

from __future__ import annotations

from spam_plugin.engine.clicks import count_clicks
from spam_plugin.engine.pool import all_queries
from spam_plugin.engine.reviewing import ROUND, answer_round


def ask(look, worlds, number=1, allowed=20, **more):
    world = worlds(seed=4, miss=0.15, false=0.4)
    view = look(world)
    queries = sorted(all_queries(view), key=lambda one: -one.gain)
    return answer_round(number, queries, {view.key: view}, {view.key: world.truth}, allowed, **more)


def test_a_round_costs_no_more_than_it_may(look, worlds):
    for allowed in (0, 1, 5, 20):
        assert count_clicks(ask(look, worlds, allowed=allowed)) <= allowed
    assert count_clicks(ask(look, worlds, allowed=20)) > 15


def test_the_same_round_is_answered_the_same_and_a_later_one_later(look, worlds):
    first, again, later = ask(look, worlds), ask(look, worlds), ask(look, worlds, number=2)
    assert first == again
    assert max(one.when for one in first) < 2 * ROUND <= min(one.when for one in later)
    assert not {one.object for one in first} & {one.object for one in later} - {""}


def test_errors_follow_the_seed(look, worlds):
    wrong = ask(look, worlds, error_rate=0.5, seed=1)
    assert wrong == ask(look, worlds, error_rate=0.5, seed=1)
    assert wrong != ask(look, worlds, error_rate=0.5, seed=2)


def test_nothing_is_said_of_videos_without_truth(look, worlds):
    view = look(worlds())
    assert answer_round(1, all_queries(view), {view.key: view}, {}, 50) == []
