"""Answers check themselves, and survive being stored."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.models.errors import InputError

SIDES = st.floats(-1e5, 1e5, width=32)
EXTENT = st.floats(0.125, 1e5, width=32)
BOX = st.builds(
    lambda frame, x, y, w, h: Box(frame, (x, y, x + w, y + h)), st.integers(0, 10**6), SIDES, SIDES, EXTENT, EXTENT
)
HERE = Box(3, (1.0, 2.0, 30.0, 40.0))


@st.composite
def any_answer(draw: st.DrawFn) -> Answer:
    verdict = draw(st.sampled_from(list(Verdict)))
    return Answer(
        draw(st.text(max_size=5)),
        verdict,
        tuple(draw(st.lists(BOX, min_size=2, max_size=4))),
        draw(BOX) if verdict is Verdict.BOX else None,
        draw(st.sampled_from(["", "new"])),
        draw(st.sampled_from(["cat", "dog"])) if verdict is Verdict.CLASS else None,
        draw(st.text(max_size=3)),
        draw(st.none() | st.floats(0, 1)),
        draw(st.text(max_size=3)),
        draw(st.floats(0, 2e9)),
    )


@given(any_answer())
def test_an_answer_comes_back_from_json_as_it_was(answer: Answer) -> None:
    again = Answer.from_dict(json.loads(json.dumps(answer.as_dict())))
    assert again == answer
    assert again.key == answer.key


def test_the_key_is_about_what_was_said_and_not_about_who_asked() -> None:
    one = Answer("v", Verdict.VALID, (HERE,), query="q1", believed=0.2)
    two = Answer("v", Verdict.VALID, (HERE,), query="q2")
    assert one.key == two.key
    other = [
        Answer("w", Verdict.VALID, (HERE,)),
        Answer("v", Verdict.INVALID, (HERE,)),
        Answer("v", Verdict.VALID, (Box(4, HERE.xyxy),)),
        Answer("v", Verdict.VALID, (HERE,), source="anna"),
        Answer("v", Verdict.VALID, (HERE,), when=1.0),
    ]
    assert len({answer.key for answer in [one, *other]}) == 6


@pytest.mark.parametrize(
    ("frame", "xyxy"),
    [
        (-1, (0, 0, 1, 1)), (0, (1, 0, 1, 1)), (0, (0, 2, 1, 1)), (0, (0, 0, float("nan"), 1)), (0, (0, 0, 1)),
        (0, (0, 0, float("inf"), 1)), (0, (0, 0, 1e9, 1)),
    ],
)  # fmt: skip
def test_a_box_without_sense_is_refused(frame: int, xyxy: tuple) -> None:
    with pytest.raises(InputError, match="four finite numbers"):
        Box(frame, xyxy)


@pytest.mark.parametrize(
    ("verdict", "rest", "why"),
    [
        ("valid", {}, "names 0 boxes"),
        ("same", {"boxes": (HERE,)}, "names 1 boxes or objects, but needs 2"),
        ("different", {"boxes": (HERE,)}, "needs 2"),
        ("box", {"boxes": (HERE,)}, "must have a drawn box"),
        ("box", {"drawn": HERE}, "names 0 boxes"),
        ("valid", {"boxes": (HERE,), "drawn": HERE}, "if, and only if"),
        ("class", {"boxes": (HERE,)}, "names no class"),
    ],
)
def test_an_answer_that_lacks_what_it_needs_is_refused_by_name(verdict: str, rest: dict, why: str) -> None:
    with pytest.raises(InputError, match=f"'{verdict}' of anna in video 'v': .*{why}"):
        Answer("v", Verdict(verdict), source="anna", **rest)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"verdict": "valid"}, "no 'video'"),
        ({"video": "v"}, "no 'verdict'"),
        ({"video": "v", "verdict": "perhaps"}, "'perhaps'; there are: valid, invalid"),
        ({"video": "v", "verdict": "valid", "colour": 1}, "'colour'"),
        ({"video": "v", "verdict": "valid", "boxes": [{"frame": 1.5, "xyxy": [0, 0, 1, 1]}]}, "whole number"),
        ({"video": "v", "verdict": "valid", "boxes": [[0, 0, 1, 1]]}, "needs 'frame'"),
        ({"video": "v", "verdict": "valid", "boxes": [{"frame": 1, "xyxy": ["a", 0, 1, 1]}]}, "no answer"),
        ({"video": "v", "verdict": "valid", "boxes": "all"}, "no list of boxes"),
        ({"video": "v", "verdict": "valid", "when": float("nan")}, "no number"),
        ({"video": "v", "verdict": "valid", "when": True}, "no number"),
        ({"video": 5, "verdict": "valid"}, "no text"),
    ],
)
def test_values_that_are_no_answer_are_refused_with_a_reason(values: dict, why: str) -> None:
    with pytest.raises(InputError, match=why):
        Answer.from_dict(values)
