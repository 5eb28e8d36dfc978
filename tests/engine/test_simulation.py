"""A person in simulation: what they say, what they pay, and what their answers make of the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from spam_plugin.engine.acquisition import ACQUISITIONS
from spam_plugin.engine.annotator import SimulatedAnnotator
from spam_plugin.engine.answers import Answer, Verdict
from spam_plugin.engine.filling import Fills, Keyframes
from spam_plugin.engine.metrics import TruthTable
from spam_plugin.engine.pool import all_queries
from spam_plugin.engine.queries import Query, Question
from spam_plugin.engine.resolve import resolve
from spam_plugin.engine.simulation import CLICKS_PER_BOX, Plan, SimulatedVideo, simulate
from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import SpamModel
from spam_plugin.models.synthetic.streams import StreamSettings, simulate_stream


def video_of(world) -> SimulatedVideo:
    return SimulatedVideo(world.info.name, world.info, world.candidates, world.truth)


def stream_of(seed: int) -> SimulatedVideo:
    stream = simulate_stream(seed, StreamSettings(num_frames=(50, 50), density=(4.0, 4.0), embedding_share=0.0))
    truth = TruthTable(stream.truth_frame, stream.truth_identity, stream.truth_xyxy.astype(float))
    return SimulatedVideo(stream.info.name, stream.info, stream.candidates, truth)


@pytest.fixture(scope="module")
def crowd(worlds: Callable):
    return worlds(3, num_frames=60, miss=0.3, false=2.0, spacing=40.0, noise=5.0)


def without(truth: TruthTable, who: int) -> TruthTable:
    keep = truth.track_id != who
    return TruthTable(truth.frame[keep], truth.track_id[keep], truth.xyxy[keep])


def ask(world, look: Callable, question: Question, pick: Callable[[Query], bool] = lambda query: True):
    """A person who knows the world, what they see, and the first question of a kind."""
    view = look(world)
    person = SimulatedAnnotator(world.info.name, world.truth)
    query = next(query for query in all_queries(view) if query.question is question and pick(query))
    return person, person.look(view), query


def test_a_person_sees_each_track_on_its_object(world, look: Callable) -> None:
    view = look(world)
    sight = SimulatedAnnotator("v", world.truth).look(view)
    seen = view.tracks.candidate_index >= 0
    assert sight.name[seen].tolist() == world.who[view.tracks.candidate_index[seen]].tolist()
    assert sight.on.all()
    assert (sight.track_on >= 0).all()


def test_to_accept_costs_a_click(world, look: Callable) -> None:
    view = look(world)
    person = SimulatedAnnotator("v", world.truth)
    boxes = tuple(world.box(world.row(1, frame)) for frame in range(40))
    track = int(view.tracks.track_index[view.tracks.candidate_index == world.row(1, 0)][0])
    query = Query("v", Question.VALID, boxes, (), 20, track, 0, 0.9, 1, 1.0)
    reply = person.answer(query, person.look(view))
    assert reply.clicks == 1
    assert {answer.verdict for answer in reply.answers} == {Verdict.VALID, Verdict.SAME}
    assert all(answer.query == query.key for answer in reply.answers)


def test_to_reject_costs_a_click_and_nothing_more_is_asked_of_the_track(world, look: Callable) -> None:
    view = look(world)
    person = SimulatedAnnotator("v", without(world.truth, 1))
    track = int(view.tracks.track_index[view.tracks.candidate_index == world.row(1, 0)][0])
    boxes = tuple(world.box(world.row(1, frame)) for frame in range(40))
    query = Query("v", Question.VALID, boxes, (), 20, track, 0, 0.9, 1, 1.0)
    sight = person.look(view)
    reply = person.answer(query, sight)
    assert (reply.clicks, [answer.verdict for answer in reply.answers]) == (1, [Verdict.INVALID])
    again = person.answer(replace(query, question=Question.BOX), sight)
    assert (again.clicks, again.answers) == (0, ())


def test_a_link_is_answered_with_a_click(world, look: Callable) -> None:
    view = look(world)
    person = SimulatedAnnotator("v", world.truth)
    sight = person.look(view)
    for other, verdict in ((0, Verdict.SAME), (1, Verdict.DIFFERENT)):
        pair = (world.box(world.row(0, 3)),), (world.box(world.row(other, 9)),)
        reply = person.answer(Query("v", Question.LINK, *pair, 3, -1, 0, 0.5, 1, 1.0), sight)
        assert (reply.clicks, [answer.verdict for answer in reply.answers]) == (1, [verdict])


def test_to_draw_a_box_costs_two_clicks_and_it_is_the_true_one(crowd, look: Callable) -> None:
    person, sight, query = ask(crowd, look, Question.BOX)
    reply = person.answer(query, sight)
    drawn = [answer.drawn for answer in reply.answers if answer.drawn is not None]
    assert reply.clicks == (2 if drawn else 1)
    for box in drawn:
        at = crowd.truth.xyxy[crowd.truth.frame == box.frame]
        assert np.abs(at - np.array(box.xyxy)).max(1).min() < 0.01


def test_an_object_without_a_track_costs_a_track_and_two_boxes(world, look: Callable) -> None:
    extra = world.truth.xyxy[world.truth.track_id == 0][:20] + np.array([500, 300, 500, 300])
    truth = TruthTable(
        np.concatenate([world.truth.frame, np.arange(10, 30)]), np.concatenate([world.truth.track_id, np.full(20, 9)]),
        np.concatenate([world.truth.xyxy, extra]),
    )  # fmt: skip
    view = look(world)
    person = SimulatedAnnotator("v", truth)
    sight = person.look(view)
    query = Query("v", Question.MISSING, (), (), 15, -1, -1, 0.5, 2, 1.0)
    reply = person.answer(query, sight)
    assert reply.clicks == 5
    assert sorted(answer.drawn.frame for answer in reply.answers if answer.drawn) == [10, 29]
    assert len({answer.object for answer in reply.answers if answer.drawn}) == 1
    found = resolve(reply.answers, world.info, world.candidates)
    assert not found.problems
    assert (found.constraints.earliest[-1], found.constraints.latest[-1]) == (10, 29)
    after = person.answer(replace(query, frame=16), sight)
    assert (after.clicks, after.answers[0].verdict) == (1, Verdict.COMPLETE)


def test_who_always_errs_never_says_what_is_true(world, look: Callable) -> None:
    view = look(world)
    person = SimulatedAnnotator("v", world.truth, error_rate=1.0)
    sight = person.look(view)
    pair = (world.box(world.row(0, 3)),), (world.box(world.row(0, 9)),)
    reply = person.answer(Query("v", Question.LINK, *pair, 3, -1, 0, 0.5, 1, 1.0), sight)
    assert reply.answers[0].verdict is Verdict.DIFFERENT
    assert person.errors == 1


@pytest.mark.parametrize("acquisition", list(ACQUISITIONS))
def test_a_budget_is_never_overspent(model: SpamModel, crowd, acquisition: str) -> None:
    videos = [video_of(crowd), stream_of(5)]
    whole = CLICKS_PER_BOX * sum(len(video.targets) for video in videos)
    plan = Plan((0.0, 1.0, 4.0), acquisition, rounds_per_percent=1.0)
    points = simulate(videos, model, plan)
    assert [point.budget for point in points] == [0.0, 1.0, 4.0]
    assert points[0].clicks == 0
    for before, point in pairwise(points):
        assert before.clicks < point.clicks <= whole * point.budget / 100
        assert point.effort == pytest.approx(100 * point.clicks / whole)
        assert point.clicks == sum(video["clicks"] for video in point.videos.values())
        assert point.rounds > before.rounds
        assert set(point.scores) == {"HOTA", "IDF1", "MOTA"}
    assert sum(points[-1].by_question.values()) <= points[-1].clicks


@pytest.mark.parametrize("seed", [5, 6])
def test_who_never_errs_never_contradicts_themselves_and_makes_labels_better(model: SpamModel, seed: int) -> None:
    plan = Plan((0.0, 15.0), rounds_per_percent=0.5)
    before, after = simulate([stream_of(seed)], model, plan)
    assert after.problems == 0
    for name in ("HOTA", "IDF1", "MOTA"):
        assert after.scores[name] >= before.scores[name]
    assert after.scores["HOTA"] > before.scores["HOTA"]


def test_the_same_seed_gives_the_same_curve_also_with_errors(model: SpamModel, crowd) -> None:
    plan = Plan((0.0, 3.0), error_rate=0.2, rounds_per_percent=1.0, seed=4)
    one, two = (simulate([video_of(crowd)], model, plan) for _ in range(2))
    assert [point.as_dict() for point in one] == [point.as_dict() for point in two]


def test_what_is_ignored_is_neither_paid_for_nor_drawn(world) -> None:
    ignored = replace(world.truth, ignored=world.truth.track_id == 1)
    video = SimulatedVideo("v", world.info, world.candidates, ignored)
    assert len(video.targets) == 80
    assert set(video.targets.track_id.tolist()) == {0, 2}
    assert len(replace(video, truth=replace(world.truth, class_id=1 + world.truth.track_id)).targets) == 40


def test_a_simulation_without_ground_truth_is_refused(model: SpamModel, world) -> None:
    with pytest.raises(InputError, match="no ground truth"):
        simulate([replace(video_of(world), truth=TruthTable.empty())], model, Plan())


@pytest.mark.parametrize(
    "wrong",
    [{"budgets": (-1.0,)}, {"budgets": (101.0,)}, {"budgets": (2.0, 1.0)}, {"budgets": (1.0, 1.0)}, {"budgets": ()},
     {"budgets": (float("nan"),)}, {"error_rate": -0.1}, {"error_rate": 1.0}, {"rounds_per_percent": 0},
     {"acquisition": "none"}],
)  # fmt: skip
def test_a_plan_without_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        Plan(**wrong)


def test_answers_of_a_person_can_be_stored(crowd, look: Callable) -> None:
    person, sight, _ = ask(crowd, look, Question.VALID)
    said = [answer for query in all_queries(sight.view)[:40] for answer in person.answer(query, sight).answers]
    assert len(said) > 10
    assert [Answer.from_dict(answer.as_dict()).key for answer in said] == [answer.key for answer in said]


class Follower:
    """Follows objects by the truth, moved a little, as far as it is sure; or says that it is not."""

    def __init__(self, truth: TruthTable, confidence: float, noise: float = 0.02) -> None:
        self.truth, self.confidence, self.calls = truth, confidence, 0
        self.xyxy = truth.xyxy + np.tile(np.random.default_rng(0).normal(0, noise * 50, (len(truth), 2)), 2)

    def fill(self, key: str, info, keys: Keyframes, candidates) -> Fills:
        self.calls += 1
        rows: list[tuple[int, int, int]] = []
        for track in np.unique(keys.track).tolist():
            of, at = keys.frame[keys.track == track], keys.xyxy[keys.track == track]
            here = np.flatnonzero(self.truth.frame == of[0])
            who = self.truth.track_id[here[np.abs(self.truth.xyxy[here] - at[0]).max(1).argmin()]]
            low = of[0] if keys.earliest[track] >= 0 else 0
            high = of[-1] if keys.latest[track] >= 0 else info.num_frames
            own = np.flatnonzero((self.truth.track_id == who) & ~np.isin(self.truth.frame, of))
            rows += [(int(self.truth.frame[r]), track, r) for r in own.tolist() if low <= self.truth.frame[r] <= high]
        frame, track, row = np.array(sorted(rows), np.int64).reshape(-1, 3).T
        sure = np.full(len(row), self.confidence, np.float32)
        return Fills(track, frame, self.xyxy[row].astype(np.float32), sure, np.zeros(len(row), np.uint8))


def swaying(world, who: int) -> SimulatedVideo:
    """A world whose objects sway up and down, one of them unseen by the detector."""
    sway = 70 * np.sin(np.arange(world.info.num_frames) / 4.0)
    seen, columns = world.who != who, world.candidates
    up = np.array([0.0, 1.0, 0.0, 1.0])
    candidates = replace(
        columns, frame=columns.frame[seen], score=columns.score[seen], class_index=columns.class_index[seen],
        xyxy=(columns.xyxy + sway[columns.frame, None] * up).astype(np.float32)[seen],
    )  # fmt: skip
    truth = replace(world.truth, xyxy=world.truth.xyxy + sway[world.truth.frame, None] * up)
    return SimulatedVideo(world.info.name, world.info, candidates, truth)


def test_good_fills_make_more_of_the_same_clicks_and_bad_ones_that_say_so_change_nothing(
    model: SpamModel, worlds: Callable
) -> None:
    video = swaying(worlds(3, num_frames=60, objects=3), 1)
    plan = Plan((0.0, 2.0, 3.0), rounds_per_percent=2)

    def curve(filler=None) -> list[dict[str, float]]:
        return [dict(point.scores) for point in simulate([video], model, plan, filler=filler)]

    good, lost = Follower(video.truth, 0.95), Follower(video.truth, 0.2, noise=3.0)
    without, with_, harmless = curve(), curve(good), curve(lost)
    assert good.calls > 1
    assert with_[0] == without[0] == harmless[0]
    assert with_[-1]["HOTA"] > without[-1]["HOTA"] + 3
    assert with_[-1]["IDF1"] > without[-1]["IDF1"]
    assert harmless == without
