"""Forms: what they offer, what they refuse, and at which field."""

from __future__ import annotations

import json

import pytest
from pymongo.errors import AutoReconnect

from spam_plugin.models.errors import InputError, MissingError


@pytest.fixture
def form(ops):
    """A function that makes an empty form with something filled in."""
    from spam_plugin.plugin.operators.forms import Form

    return lambda **params: Form(ops.ctx("label_tracks", None, params), "title", "Go")


def shown(form):
    """name -> property, as JSON."""
    return json.loads(json.dumps(form.property().to_json()))["type"]["properties"]


def test_title_and_button_are_on_the_form(form):
    view = form().property().to_json()["view"]
    assert (view["label"], view["submit_button_label"]) == ("title", "Go")


def test_what_is_filled_in_counts_and_else_what_stands_there(form):
    assert form().pick("a", "A", ["x", "y"], "x") == "x"
    assert form(a="y").pick("a", "A", ["x", "y"], "x") == "y"
    assert form().number("n", "N", 3.0) == 3.0
    assert form(n=4).number("n", "N", 3.0) == 4.0
    assert form(b=False).switch("b", "B", True) is False
    assert form().switch("b", "B", True) is True
    assert form(t="  words ").text("t", "T", "other") == "words"
    assert form().several("s", "S", ["x", "y"], ["x"]) == ("x",)
    assert form(s=[]).several("s", "S", ["x", "y"], ["x"]) == ()


def test_what_is_gone_since_it_was_chosen_is_refused_at_the_field(form):
    from spam_plugin.plugin.operators.forms import UnfinishedError

    made = form(a="gone")
    with pytest.raises(UnfinishedError):
        made.pick("a", "A", ["x"])
    assert shown(made)["a"]["invalid"]
    assert shown(made)["a"]["error_message"] == "'gone' is not there any more; choose again"
    assert made.refused == "'gone' is not there any more; choose again"


def test_what_must_be_chosen_ends_the_form_without_an_error(form):
    made = form()
    with made.refusing():
        made.pick("a", "A", ["x", "y"])
        raise AssertionError("nothing comes behind it")
    assert shown(made)["a"]["required"]
    assert not shown(made)["a"]["invalid"]
    assert made.refused == "nothing is chosen for 'A'"


def test_a_text_that_must_be_written_keeps_the_form_from_being_sent(form):
    made = form(t="   ")
    assert made.text("t", "T", required=True) == ""
    assert made.refused == "nothing is written for 'T'"
    assert form().text("t", "T", "usual", required=True) == "usual"


@pytest.mark.parametrize("value", ["three", True, 0.5, 11, float("nan")], ids=str)
def test_a_number_that_cannot_be_is_refused_at_the_field(form, value):
    made = form(n=value)
    with made.refusing():
        made.number("n", "N", 3.0, low=1, high=10)
        raise AssertionError("nothing comes behind it")
    assert "write a number from 1 and up to 10" in shown(made)["n"]["error_message"]


def test_a_choice_of_several_that_is_none_of_them_is_refused_at_the_field(form):
    made = form(s=["z"])
    made.several("s", "S", ["x", "y"])
    assert shown(made)["s"]["error_message"] == "'z' is none of: x, y"


def test_an_error_stands_at_its_field_or_alone(form):
    made = form()
    made.text("t", "T")
    with made.refusing("t"):
        raise InputError("no\nsuch thing")
    with made.refusing("not there"):
        raise MissingError("nothing here")
    assert shown(made)["t"]["error_message"] == "no such thing"
    assert shown(made)["refused"]["view"]["description"] == "nothing here"
    assert made.refused == "no such thing"


def test_a_database_that_is_gone_is_a_sentence_and_a_defect_is_none(form):
    made = form()
    with made.refusing():
        raise AutoReconnect("127.0.0.1:27017: connection refused, long dump of a topology")
    assert made.refused == "the database does not answer; see that it runs (spam-plugin doctor), then try again"
    with pytest.raises(ZeroDivisionError), made.refusing():
        raise ZeroDivisionError


def test_a_script_is_given_what_stands_in_the_form(form):
    made = form(n=4)
    made.number("n", "N", 3.0)
    made.pick("a", "A", ["x"], "x")
    made.text("t", "T")
    made.fill()
    assert made.params == {"n": 4, "a": "x"}


def test_what_is_filled_in_from_the_start_is_not_marked_as_required(form):
    made = form()
    made.pick("a", "A", ["x"], "x")
    made.number("n", "N", 3.0)
    made.text("t", "T", "usual", required=True)
    assert not any(one["required"] for one in shown(made).values())
