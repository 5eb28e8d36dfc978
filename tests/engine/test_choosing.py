"""What to ask next about the videos of a store, within a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.engine.answers import Answer, Verdict
from spam_plugin.engine.choosing import choose_queries
from spam_plugin.engine.ports import VideoInput
from spam_plugin.engine.queries import Budget, Question
from spam_plugin.models.columns import Candidates
from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import SpamModel


class Store:
    """Videos in memory."""

    def __init__(self, *worlds, answers: tuple[Answer, ...] = ()) -> None:
        self.worlds = {world.info.name: world for world in worlds}
        self.answers = answers

    def videos(self) -> list[tuple[str, str]]:
        return [(name, name) for name in self.worlds]

    def read(self, key: str, skip_bad: bool) -> VideoInput:
        world = self.worlds[key]
        if world.who is None:
            raise InputError(f"video {key!r} cannot be read")
        mine = tuple(answer for answer in self.answers if answer.video == key)
        return VideoInput(world.info, world.candidates, "", answers=mine)


@pytest.fixture
def store(worlds: Callable) -> Store:
    return Store(*(worlds(seed, num_frames=40, miss=0.3, false=2.0, spacing=40.0, noise=5.0) for seed in (1, 2)))


@pytest.mark.parametrize("text", ["1 click", "7 clicks", "3%", "0.01h"])
@pytest.mark.parametrize("acquisition", ["boxes", "entropy", "random", "frames"])
def test_questions_cost_no_more_than_the_budget(model: SpamModel, store: Store, text: str, acquisition: str) -> None:
    plan = choose_queries(store, model, Budget.parse(text), acquisition)
    assert plan.clicks == sum(query.cost for query in plan.queries) <= plan.allowed
    assert plan.allowed - plan.clicks <= 1
    assert len(plan.queries) > 0 or plan.allowed == 1
    assert sum(plan.by_question.values()) == len(plan.queries)
    assert plan.model_version == model.version


def test_a_budget_in_percent_is_of_what_labelling_by_hand_takes(model: SpamModel, store: Store) -> None:
    plan = choose_queries(store, model, Budget.parse("10%"))
    assert plan.allowed == int(0.3 * plan.hand_boxes)
    assert 150 < plan.hand_boxes < 300


def test_what_was_answered_is_not_asked_again_unless_the_answer_does_not_hold(model: SpamModel, store: Store) -> None:
    first = choose_queries(store, model, Budget.parse("300 clicks")).queries
    query = next(query for query in first if query.question is Question.LINK)
    pair = (query.boxes[-1], query.others[0])
    same = Answer(query.video, Verdict.DIFFERENT, pair, query=query.key, source="anna", when=1.0)
    store.answers = (same,)
    assert query.key not in {one.key for one in choose_queries(store, model, Budget.parse("300 clicks")).queries}
    store.answers = (same, replace(same, verdict=Verdict.SAME, query="", source="bob", when=2.0))
    plan = choose_queries(store, model, Budget.parse("300 clicks"))
    assert [problem.answer.source for problem in plan.problems] == ["anna"]


def test_a_wish_is_a_share(model: SpamModel, store: Store) -> None:
    for wish in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            choose_queries(store, model, Budget.parse("5"), wish=wish)
    plan = choose_queries(store, model, Budget.parse("5"), wish=1.0)
    assert (plan.estimates["wish"], plan.estimates["clicks"]) == (1.0, 0)


def test_there_is_nothing_to_ask_where_no_video_has_a_candidate(model: SpamModel, worlds: Callable) -> None:
    empty = replace(worlds(1), candidates=Candidates.empty(), who=np.zeros(0, int))
    with pytest.raises(InputError, match="nothing to ask"):
        choose_queries(Store(empty), model, Budget.parse("5"))


def test_a_video_that_cannot_be_read_is_named_or_skipped(model: SpamModel, worlds: Callable) -> None:
    bad = replace(worlds(1), who=None)
    store = Store(worlds(2, miss=0.3, noise=5.0), bad)
    with pytest.raises(InputError, match="'world-1' cannot be read"):
        choose_queries(store, model, Budget.parse("5"))
    plan = choose_queries(store, model, Budget.parse("5"), skip_bad=True)
    assert list(plan.skipped) == ["world-1"]
    assert {query.video for query in plan.queries} <= {"world-2"}


def test_an_acquisition_that_does_not_exist_is_refused_before_any_work(model: SpamModel) -> None:
    with pytest.raises(InputError, match="no acquisition 'best'"):
        choose_queries(Store(), model, Budget.parse("5"), "best")
