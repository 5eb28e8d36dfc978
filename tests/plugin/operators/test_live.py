"""Work that shows a bar: steps, what comes of it, and values that the App can read."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from spam_plugin.models.errors import InputError
from spam_plugin.plugin.operators.live import Live, paced, parts, plain


def test_steps_come_in_order_and_end_with_the_work():
    go = threading.Event()

    def work(tell):
        tell(0.25, "a")
        go.wait(30)
        tell(2.0, "b")
        return 7

    live = Live(work)
    steps = live.steps()
    assert next(steps) == (0.25, "a")
    go.set()
    assert list(steps) == [(1.0, "b")]
    assert live.result() == 7


def test_of_steps_that_nobody_waited_for_the_last_one_is_shown():
    told, seen = threading.Event(), threading.Event()

    def work(tell):
        tell(0.1, "first")
        seen.wait(30)
        for number in range(100):
            tell(number / 100, str(number))
        told.set()

    live = Live(work)
    steps = live.steps()
    assert next(steps) == (0.1, "first")
    seen.set()
    assert told.wait(30)
    assert list(steps) == [(0.99, "99")]


def test_what_the_work_raises_comes_out_in_the_end():
    def work(tell):
        raise InputError("no boxes")

    live = Live(work)
    assert list(live.steps()) == []
    with pytest.raises(InputError, match="no boxes"):
        live.result()


def test_the_work_goes_on_when_nobody_listens_any_more():
    left, done = threading.Event(), threading.Event()

    def work(tell):
        tell(0.5, "half")
        left.wait(30)
        tell(1.0, "all")
        done.set()

    steps = Live(work).steps()
    next(steps)
    steps.close()
    left.set()
    assert done.wait(30)


def test_stages_share_one_bar_that_does_not_go_back():
    told = []
    step = parts(lambda share, what: told.append((share, what)), ("reading", 1), ("labelling", 3))
    step("reading", 1, 2, "a")
    step("reading", 2, 2, "")
    step("labelling", 1, 2, "a")
    step("uploading", 1, 2, "a")
    step("reading", 1, 2, "a")
    step("labelling", 2, 2, "b")
    assert [share for share, _ in told] == [0.125, 0.25, 0.625, 0.625, 0.625, 1.0]
    assert told[0][1] == "reading: 1 of 2, a"
    assert told[1][1] == "reading: 2 of 2"


def test_a_stage_without_steps_divides_by_nothing():
    told = []
    parts(lambda share, what: told.append(share), ("reading", 1))("reading", 0, 0, "")
    assert told == [0.0]


def test_few_steps_are_written_to_the_database_and_the_last_one_always():
    told = []
    step = paced(lambda share, what: told.append(share), seconds=3600)
    for number in range(11):
        step(number / 10, "")
    assert told == [0.0, 1.0]


def test_numbers_of_numpy_become_plain():
    values = {"a": np.float32(0.5), 3: [np.int64(2), (np.bool_(True), "x", None)]}
    assert json.loads(json.dumps(plain(values))) == {"a": 0.5, "3": [2, [True, "x", None]]}
