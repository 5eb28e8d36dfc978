"""How much is expected to be wrong still, and what it would cost to mend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.engine.acquisition import rule
from spam_plugin.engine.pool import all_queries
from spam_plugin.engine.stopping import Share, StoppingEstimate, estimate


@pytest.fixture(scope="module")
def crowd(worlds: Callable):
    return worlds(3, num_frames=60, miss=0.3, false=2.0, spacing=40.0, noise=5.0)


def everything(world) -> tuple:
    """All that can be said of the candidates."""
    said = [world.say("invalid", *np.flatnonzero(world.who < 0))]
    for who in range(3):
        rows = np.flatnonzero(world.who == who)
        said += [world.say("valid", *rows), world.say("same", *rows)]
    return tuple(said)


def assert_share(share: Share) -> None:
    assert 0 <= share.low <= share.expected <= share.high <= 1


def test_an_expectation_lies_in_its_interval(crowd, look: Callable, worlds: Callable) -> None:
    views = [look(crowd), look(worlds(8, num_frames=30)), look(worlds(9, num_frames=1, objects=1))]
    for some in ([views[0]], [views[1]], views):
        found = estimate(some)
        for share in (found.wrong_boxes, found.wrong_links):
            assert_share(share)
        assert found.wrong_boxes.count == sum(len(view.tracks) for view in some)
    hard, easy = estimate(views[:1]).wrong_links, estimate(views[1:2]).wrong_links
    assert hard.expected > easy.expected


def test_what_people_settle_is_no_longer_expected_to_be_wrong(crowd, look: Callable) -> None:
    said = everything(crowd)
    found = [estimate([look(crowd, said[:count])]) for count in (0, 1, 3, 5, 7)]
    links = [one.wrong_links.expected for one in found]
    assert links[0] > links[-1] == 0
    assert found[0].wrong_boxes.expected > found[-1].wrong_boxes.expected
    assert found[-1].wrong_links.high == 0
    for one in found:
        assert_share(one.wrong_boxes)
        assert_share(one.wrong_links)


def test_a_wish_tells_the_clicks_that_lead_there(crowd, look: Callable) -> None:
    view = look(crowd)
    queries = rule("boxes")(all_queries(view), {view.key: view}, np.random.default_rng(0))
    now = estimate([view]).wrong_boxes.expected
    assert estimate([view], queries, 1.0).clicks == 0
    wishes = [now * 0.99, now * 0.9, now * 0.8]
    clicks = [estimate([view], queries, wish).clicks for wish in wishes]
    known = [one for one in clicks if one is not None]
    assert known
    assert known == sorted(known)
    assert known[0] >= queries[0].cost
    assert estimate([view], [], now * 0.5).clicks is None
    assert estimate([view], queries).clicks is None


def test_nothing_is_expected_to_be_wrong_in_nothing(look: Callable, worlds: Callable, world) -> None:
    nothing = look(world, (world.say("invalid", *range(len(world.candidates))),))
    assert len(nothing.tracks) == 0
    for views in ([], [nothing]):
        found = estimate(views, wish=0.1)
        assert found.wrong_boxes == found.wrong_links == Share(0.0, 0.0, 0.0, 0)
    assert isinstance(found, StoppingEstimate)
    assert replace(found).as_dict()["wrong_boxes"]["count"] == 0
