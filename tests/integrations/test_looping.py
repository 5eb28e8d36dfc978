"""What is kept of a loop with its dataset: gone on with by the same call only, done once, begun anew when asked to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spam_plugin.engine.desk.ports import DeskError
from spam_plugin.engine.loop import DONE, TAKE, LoopState
from spam_plugin.integrations.fiftyone_.looping import LoopNotes, Work
from spam_plugin.models.errors import InputError

STATE = LoopState(TAKE, 2, allowed=30)


@pytest.fixture
def notes(new_dataset):
    """A function that opens the notes of one dataset for a request."""
    dataset = new_dataset()
    return lambda **request: LoopNotes(dataset, "spam_tracks", request)


def test_the_same_request_goes_on_and_another_one_is_refused_by_name(notes):
    with notes(budget="3%", rounds=3).hold():
        notes(budget="3%", rounds=3).save(STATE)
    assert notes(budget="3%", rounds=3).load() == STATE
    with pytest.raises(InputError, match=r"other settings \(rounds\) and stopped in round 2.*--again"):
        notes(budget="3%", rounds=4).load()


def test_a_loop_that_has_ended_is_remembered_and_in_nobodys_way(notes):
    end = LoopState(DONE, 3, why="all rounds are done")
    with notes(rounds=3).hold():
        notes(rounds=3).save(end)
    assert notes(rounds=3).load() == end
    assert notes(rounds=4).load() is None


def test_begun_anew_it_has_another_number_and_nothing_of_the_old(notes):
    mine = notes(rounds=3)
    with mine.hold():
        assert mine.number() == 1
        mine.save(STATE)
        mine.notes.set("said/1", [1, 2])
        assert mine.number() == 1
        mine.begin_anew()
        assert mine.load() is None
        assert mine.notes.get("said/1") is None
        assert mine.number() == 2
        mine.begin_anew()
        assert mine.number() == 2, "nothing was begun in between"


def test_two_loops_at_once_are_refused(notes):
    with notes().hold(), pytest.raises(DeskError, match="the loop for field"):
        notes().hold().__enter__()


def test_what_was_learnt_before_the_first_question_is_used_and_not_learnt_again_after_a_kill(new_dataset, monkeypatch):
    from spam_plugin.integrations.fiftyone_ import looping

    class Shelf:
        made, used = [], "default"

        def versions(self):
            return self.made

        def in_use(self):
            return SimpleNamespace(name=Shelf.used)

        def use(self, name):
            Shelf.used = name

    calls = []

    def retrain(collection, candidates, *, settings, use, **rest):
        calls.append((settings.self_training, use))
        version = SimpleNamespace(name="v001", config={"tag": settings.tag}, is_there=True)
        Shelf.made.append(version)
        return [SimpleNamespace(version=version, used=True)]

    monkeypatch.setattr(looping, "retrain", retrain)
    world = looping.DatasetWorld(new_dataset(), Work(), None, tag="loop 1")
    world._shelf = Shelf()
    for _ in range(2):
        assert world.learn(lambda share, what: None) == "v001"
    assert calls == [(True, True)]
    assert Shelf.used == "v001"
    idle = looping.DatasetWorld(new_dataset(), Work(parts=None), None)
    assert idle.learn(lambda share, what: None) == ""


def test_where_models_run_is_no_other_loop():
    from spam_plugin.integrations.fiftyone_.looping import _plain

    assert _plain(Work(device="cuda")) == _plain(Work())
    assert _plain(Work(seed=1)) != _plain(Work())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"reviewer": "nobody"}, "no reviewer 'nobody'"), ({"reviewer": "simulated"}, "ground truth"),
        ({"reviewer": "cvat", "gt": "truth"}, "ground truth"), ({"every": 0.0}, "more than 0"),
        ({"budget": "lots"}, "write 3.3%"), ({"reviewer": "cvat", "rounds": 0}, "0 rounds"),
    ],
)  # fmt: skip
def test_a_loop_that_cannot_be_is_refused(new_dataset, values, said):
    from spam_plugin.integrations.looping import run

    with pytest.raises(InputError, match=said):
        run(new_dataset(), **values)


def test_a_simulated_person_needs_an_error_rate_that_can_be(new_dataset):
    from spam_plugin.integrations.fiftyone_.looping import SimulatedReviewer

    with pytest.raises(InputError, match="not between 0 and 1"):
        SimulatedReviewer(new_dataset(), Work(), "truth", None, 1.0)
