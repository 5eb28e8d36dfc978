"""Questions and budgets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.engine.answers import Box
from spam_plugin.engine.choosing import within
from spam_plugin.engine.queries import COST, Budget, Query, Question
from spam_plugin.models.errors import InputError

QUERY = Query(
    "v", Question.LINK, (Box(4, (0, 0, 1, 1)),), (Box(9, (0, 0, 1, 1)),), 4, 2, 1, 0.25, COST[Question.LINK], 1.5
)


@pytest.mark.parametrize(
    ("text", "clicks"),
    [("10%", 30), (" 3.3 % ", 9), ("120", 120), ("120 clicks", 120), ("1 click", 1), ("2h", 40), ("0.5 hours", 10),
     ("1 hour", 20), ("100%", 300), ("1e1", 10)],
)  # fmt: skip
def test_budgets_are_read_as_people_write_them(text: str, clicks: int) -> None:
    assert Budget.parse(text, clicks_per_hour=20).clicks(100) == clicks


@pytest.mark.parametrize(
    ("text", "why"),
    [("-3%", "more than 0"), ("0", "more than 0"), ("0%", "more than 0"), ("-1 clicks", "more than 0"),
     ("nan", "more than 0"), ("inf h", "more than 0"), ("100.1%", "100 %"), ("5 apples", "write 3.3%"),
     ("", "write 3.3%"), ("%", "write 3.3%"), ("ten clicks", "write 3.3%"), ("3 km", "write 3.3%")],
)  # fmt: skip
def test_a_budget_that_cannot_be_spent_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        Budget.parse(text)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_nobody_clicks_at_a_rate_that_is_not_positive(rate: float) -> None:
    with pytest.raises(InputError):
        Budget.parse("1h", clicks_per_hour=rate)


def test_an_unknown_unit_is_named() -> None:
    with pytest.raises(InputError, match="'apples' is none of"):
        Budget(3, "apples")


@given(st.lists(st.sampled_from([1, 2, 5]), max_size=20), st.integers(0, 40))
def test_a_budget_is_never_overspent_and_nothing_that_fits_is_left(costs: list[int], clicks: int) -> None:
    ordered = [replace(QUERY, cost=cost, frame=place) for place, cost in enumerate(costs)]
    chosen = within(ordered, clicks)
    spent = sum(query.cost for query in chosen)
    assert spent <= clicks
    assert [query.frame for query in chosen] == sorted(query.frame for query in chosen)
    left = [query.cost for query in ordered if query not in chosen]
    assert all(cost > clicks - spent for cost in left)


def test_a_question_is_the_same_whatever_the_model_thinks_of_it() -> None:
    assert replace(QUERY, probability=0.9, gain=0.1, track=7, level=0).key == QUERY.key
    for other in ({"video": "w"}, {"frame": 5}, {"boxes": ()}, {"others": ()}, {"question": Question.VALID}):
        assert replace(QUERY, **other).key != QUERY.key


@pytest.mark.parametrize("question", list(Question))
def test_every_question_has_a_price_and_words_with_the_frame_as_people_count(question: Question) -> None:
    query = replace(QUERY, question=question, frame=11, cost=COST[question])
    assert query.cost in (1, 2)
    if question is not Question.VALID:
        assert ("12" in query.text) or ("frame 5" in query.text and "frame 10" in query.text)
    assert query.as_dict()["question"] == question.value
    assert query.frames == (4, 11)
