"""The loop: what it does in which order, when it stops, and that being killed anywhere changes nothing."""

from __future__ import annotations

import copy

import pytest

from spam_plugin.engine.loop import Chosen, LoopSettings, LoopState, run_loop
from spam_plugin.engine.queries import Budget
from spam_plugin.models.errors import InputError


class KilledError(BaseException):
    """As if somebody had pulled the plug."""


class StandIn:
    """A world that notes what was done to it; a person answers one question for two clicks.

    ``plug`` counts down with everything that leaves a trace, and is pulled at 0: before, or in the middle of, a step.
    """

    def __init__(self, questions: int = 100, wrong: tuple[float, ...] = (), candidates: bool = False) -> None:
        self.disk: dict = {"answers": {}, "candidates": candidates, "versions": {}, "labels": None, "sent": {}}
        self.log: list[str] = []
        self.questions, self.wrong = questions, wrong
        self.plug: int | None = None
        self.state: LoopState | None = None

    def tick(self, what: str = "") -> None:
        if self.plug is not None:
            self.plug -= 1
            if self.plug < 0:
                raise KilledError
        if what:
            self.log.append(what)

    def load(self):
        return None if self.state is None else LoopState.from_dict(self.state.as_dict())

    def save(self, state):
        self.tick()
        self.state = state

    def has_candidates(self):
        return self.disk["candidates"]

    def detect(self, tell):
        self.tick("detect")
        self.disk["candidates"] = True

    def label(self, tell):
        self.tick("label")
        self.disk["labels"] = (len(self.disk["answers"]), len(self.disk["versions"]))

    def fill(self, tell):
        self.tick("fill")
        self.disk["fills"] = len(self.disk["answers"])

    def learn(self, tell):
        self.tick("learn")
        self.disk["versions"].setdefault("first", "v000")
        self.tick()
        return self.disk["versions"]["first"]

    def choose(self, budget, tell):
        self.tick("choose")
        clicks = budget if isinstance(budget, int) else budget.clicks(100.0)
        count = min(clicks // 2, self.questions - len(self.disk["answers"]))
        turn = len(self.disk["versions"])
        self.disk["open"] = count
        return Chosen(count, 2 * count, 100.0, self.wrong[turn] if turn < len(self.wrong) else None)

    def spent(self):
        return 2 * len(self.disk["answers"])

    def answers(self):
        return len(self.disk["answers"])

    def ask(self, number, tell):
        self.tick("ask")
        self.disk["sent"][number] = self.disk["open"]

    def wait(self, number, allowed, tell):
        self.tick("wait")

    def take(self, number, tell):
        for one in range(self.disk["sent"][number]):
            self.tick("" if one else "take")
            self.disk["answers"][number, one] = True

    def retrain(self, number, tell):
        self.tick("retrain")
        self.disk["versions"].setdefault(number, f"v{number:03d}")
        self.tick()
        return self.disk["versions"][number]


def settings(budget="30 clicks", **more):
    return LoopSettings(Budget.parse(budget), **{"fill": True, **more})


def test_a_round_is_label_choose_ask_wait_take_and_retrain_and_the_end_is_labelled_once_more():
    world = StandIn()
    run_loop(world, world, settings(rounds=2, fill=False))
    one = ["label", "choose", "ask", "wait", "take", "retrain"]
    assert world.log == ["detect", *one, *one, "label"]


def test_before_it_labels_it_fills_what_lies_between_the_boxes_that_people_drew():
    world = StandIn()
    run_loop(world, world, settings(rounds=2))
    one = ["fill", "label", "choose", "ask", "wait", "take", "retrain"]
    assert world.log == ["detect", *one, *one, "fill", "label"]
    assert world.disk["fills"] == len(world.disk["answers"])


def test_it_may_learn_from_its_own_labels_once_before_anybody_is_asked():
    world = StandIn()
    end = run_loop(world, world, settings(rounds=2, learn_first=True, fill=False))
    one = ["label", "choose", "ask", "wait", "take", "retrain"]
    assert world.log == ["detect", "label", "learn", *one, *one, "label"]
    assert end.learnt == "v000"
    world.state = LoopState.from_dict(end.as_dict())
    assert run_loop(world, world, settings(rounds=2, learn_first=True, fill=False)) == end


def test_where_nothing_came_of_it_nothing_is_labelled_again():
    world = StandIn()
    world.learn = lambda tell: world.tick("learn") or ""
    run_loop(world, world, settings(rounds=1, learn_first=True, fill=False))
    assert world.log == ["detect", "label", "learn", "choose", "ask", "wait", "take", "retrain", "label"]


def test_candidates_that_are_there_are_not_detected_again():
    world = StandIn(candidates=True)
    run_loop(world, world, settings(rounds=1))
    assert "detect" not in world.log


def test_the_budget_is_split_over_the_rounds_and_never_exceeded():
    world = StandIn()
    end = run_loop(world, world, settings("30 clicks", rounds=3))
    assert [one.clicks for one in end.reports] == [10, 10, 10]
    assert end.clicks == world.spent() == 30
    assert "rounds are done" in end.why


def test_what_one_round_leaves_of_the_budget_the_next_ones_may_spend():
    world = StandIn()
    end = run_loop(world, world, settings("33 clicks", rounds=3))
    assert [one.allowed for one in end.reports] == [11, 11, 13], "11 pay for 5 questions, the last round has 13 left"
    assert end.clicks == 32


def test_a_budget_in_percent_is_a_share_of_labelling_by_hand():
    world = StandIn()
    end = run_loop(world, world, settings("10%", rounds=3))
    assert end.allowed == 30  # of 100 boxes at three clicks
    assert end.clicks == 30


def test_clicks_of_before_the_loop_are_not_counted_against_its_budget():
    world = StandIn()
    world.disk["answers"] = {("before", one): True for one in range(20)}
    end = run_loop(world, world, settings("10 clicks", rounds=1))
    assert end.clicks == 10


def test_it_stops_when_no_more_is_expected_to_be_wrong_than_was_wished_for():
    world = StandIn(wrong=(0.2, 0.04, 0.01))
    end = run_loop(world, world, settings(rounds=3, wish=0.05))
    assert len(end.reports) == 1
    assert "4.0%" in end.why
    assert world.log[-3:] == ["choose", "fill", "label"]


def test_it_stops_when_nothing_is_left_to_ask():
    world = StandIn(questions=3)
    end = run_loop(world, world, settings(rounds=3))
    assert "no question is left" in end.why
    assert end.clicks == 6


def test_a_budget_of_less_than_a_click_ends_it_before_anybody_is_asked():
    world = StandIn()
    end = run_loop(world, world, settings("0.1%", rounds=3))
    assert "no click" in end.why
    assert "ask" not in world.log


@pytest.mark.parametrize("first", [False, True])
def test_killed_at_every_step_and_started_again_it_ends_the_same(first):
    whole = StandIn()
    run_loop(whole, whole, settings(rounds=2, learn_first=first))
    killed = 0
    for plug in range(100):
        world = StandIn()
        world.plug = plug
        try:
            run_loop(world, world, settings(rounds=2, learn_first=first))
        except KilledError:
            killed += 1
            world.plug = None
            run_loop(world, world, settings(rounds=2, learn_first=first))
        assert world.disk == whole.disk
        assert world.state == whole.state
    assert killed > 30


@pytest.mark.parametrize("first", [False, True])
def test_killed_again_and_again_it_still_comes_to_its_end(first):
    whole, world = StandIn(), StandIn()
    run_loop(whole, whole, settings(rounds=2, learn_first=first))
    for _ in range(300):
        world.plug = 9  # the longest step, taking eight answers, has to fit
        try:
            run_loop(world, world, settings(rounds=2, learn_first=first))
            break
        except KilledError:
            pass
    assert world.disk == whole.disk


def test_a_loop_that_has_ended_is_not_done_again():
    world = StandIn()
    run_loop(world, world, settings(rounds=1))
    before = copy.deepcopy(world.disk)
    world.log.clear()
    run_loop(world, world, settings(rounds=1))
    assert world.log == []
    assert world.disk == before


def test_the_state_survives_being_written_as_plain_values():
    world = StandIn()
    end = run_loop(world, world, settings(rounds=2))
    assert LoopState.from_dict(end.as_dict()) == end


@pytest.mark.parametrize(("values", "said"), [({"rounds": 0}, "rounds"), ({"wish": 2.0}, "wish")])
def test_what_cannot_be_is_refused(values, said):
    with pytest.raises(InputError, match=said):
        settings(**values)
