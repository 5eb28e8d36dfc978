"""Rules that put questions into an order, and the questions that there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.engine.acquisition import ACQUISITIONS, rule, spread_out
from spam_plugin.engine.pool import all_queries
from spam_plugin.engine.queries import COST, Query, Question
from spam_plugin.models.errors import InputError


@pytest.fixture(scope="module")
def views(worlds: Callable, look: Callable) -> dict:
    """Two videos that are hard to label."""
    hard = [worlds(seed, num_frames=60, miss=0.3, false=2.0, spacing=40.0, noise=5.0) for seed in (1, 2)]
    return {world.info.name: look(world) for world in hard}


@pytest.fixture(scope="module")
def queries(views: dict) -> list[Query]:
    return [query for view in views.values() for query in all_queries(view)]


def test_every_question_can_be_answered_and_is_worth_something(views: dict, queries: list[Query]) -> None:
    assert {query.question for query in queries} >= {Question.VALID, Question.LINK, Question.BOX, Question.MISSING}
    assert len({query.key for query in queries}) == len(queries)
    for query in queries:
        view = views[query.video]
        assert 0 <= query.probability <= 1
        assert query.gain > 0
        assert query.cost == COST[query.question]
        assert 0 <= query.frames[0] <= query.frames[1] < view.info.num_frames
        assert -1 <= query.track < view.tracks.num_tracks
        assert bool(query.boxes) == (query.question is not Question.MISSING)
        assert bool(query.others) == (query.question is Question.LINK)
        known = {view.box(row) for row in range(len(view.candidates))}
        assert set(query.boxes + query.others) <= known


@pytest.mark.parametrize("name", ["boxes", "random"])
def test_a_rule_gives_all_questions_once(name: str, views: dict, queries: list[Query]) -> None:
    ordered = rule(name)(queries, views, np.random.default_rng(0))
    assert sorted(query.key for query in ordered) == sorted(query.key for query in queries)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_a_rule_asks_nothing_twice_and_does_not_care_how_questions_came_in(
    name: str, views: dict, queries: list[Query]
) -> None:
    one = rule(name)(queries, views, np.random.default_rng(3))
    two = rule(name)(queries[::-1], views, np.random.default_rng(3))
    assert len(one) > 10
    assert len({query.key for query in one}) == len(one)
    same = (lambda query: (query.video, query.frame)) if name == "frames" else (lambda query: query.key)
    assert list(map(same, one)) == list(map(same, two))


def test_entropy_gives_its_kinds_of_questions_and_takes_turns_between_levels(views: dict, queries: list[Query]) -> None:
    ordered = rule("entropy")(queries, views, np.random.default_rng(0))
    kinds = {Question.VALID, Question.LINK, Question.BOX}
    assert {query.key for query in ordered} == {query.key for query in queries if query.question in kinds}
    nodes = [query for query in ordered if query.question is not Question.BOX]
    levels = {query.level + 1 if query.question is Question.LINK else 0 for query in nodes}
    first = [query.level + 1 if query.question is Question.LINK else 0 for query in nodes[: len(levels)]]
    assert sorted(first) == sorted(levels)
    assert all(query.question is Question.BOX for query in ordered[len(nodes) :])


def test_whole_frames_are_asked_one_after_the_other(views: dict, queries: list[Query]) -> None:
    ordered = rule("frames")(queries, views, np.random.default_rng(0))
    places = [(query.video, query.frame) for query in ordered]
    runs = [place for place, before in zip(places, [None, *places], strict=False) if place != before]
    assert len(runs) == len(set(runs)) > 3
    for video, frame in runs:
        tracks = views[video].tracks
        here = [query for query in ordered if (query.video, query.frame) == (video, frame)]
        boxed = [query.track for query in here if query.question is Question.BOX]
        assert sorted(boxed) == tracks.track_index[tracks.frame == frame].tolist()
        assert all(0 <= query.frame < views[query.video].info.num_frames for query in here)


def test_random_order_is_the_same_for_the_same_seed_only(views: dict, queries: list[Query]) -> None:
    one, two, three = (rule("random")(queries, views, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == two != three


def test_one_scene_does_not_eat_the_budget(views: dict) -> None:
    """All of one second of the first video is worth a little more than anything else."""
    one, two = views
    plain = Query(one, Question.MISSING, (), (), 0, -1, -1, 0.5, 2, 1.0)
    scene = [replace(plain, frame=frame, gain=1.1) for frame in range(10)] * 3
    elsewhere = [replace(plain, frame=frame) for frame in (30, 50)] + [
        replace(plain, video=two, frame=f) for f in (0, 50)
    ]
    ordered = spread_out([*scene, *elsewhere], views)
    assert len(ordered) == len(scene) + len(elsewhere)
    head = ordered[:8]
    assert sum(query in scene for query in head) <= 4
    assert all(query in head for query in elsewhere)
    assert ordered[0] in scene


def test_a_second_question_about_a_track_waits_for_others(views: dict) -> None:
    (one, _) = views
    about = Query(one, Question.VALID, (), (), 0, 4, 0, 0.5, 1, 1.0)
    again = replace(about, question=Question.START, frame=30)
    other = replace(about, track=5, frame=50, gain=0.9)
    assert spread_out([about, again, other], views) == [about, other, again]


def test_a_rule_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(InputError, match="'entropie'; there are: boxes, entropy, random, frames"):
        rule("entropie")


def test_what_a_person_settled_is_not_asked_again(worlds: Callable, look: Callable) -> None:
    world = worlds(1, num_frames=60, miss=0.3, false=2.0, spacing=40.0, noise=5.0)
    rows = np.flatnonzero(world.who == 0)
    said = (
        world.say("valid", *rows), world.say("same", *rows), world.say("starts", rows[0], rows[0]),
        world.say("ends", rows[-1], rows[-1]), world.say("complete", rows[10]),
    )  # fmt: skip
    mine = {world.box(row) for row in rows}
    before, after = all_queries(look(world)), all_queries(look(world, said))

    def about(queries: list[Query]) -> set[Question]:
        return {q.question for q in queries if set(q.boxes + q.others) & mine and set(q.boxes + q.others) <= mine}

    assert about(before) & {Question.LINK, Question.START, Question.END}
    assert about(after) <= {Question.BOX}
    complete = int(world.candidates.frame[rows[10]])
    assert complete not in [q.frame for q in after if q.question is Question.MISSING]
