"""How far labels agree with answers that they were not told."""

from __future__ import annotations

import numpy as np
import pytest

from spam_plugin.engine.agreement import Agreement, agree, measure_agreement
from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.holdout import Holdout
from spam_plugin.engine.ports import VideoInput
from spam_plugin.models.columns import Source, Tracks


def tracks_of(world, who: np.ndarray, rows: np.ndarray | None = None) -> Tracks:
    """Labels that put each candidate into the track of that number; -1 for none."""
    rows = np.flatnonzero(who >= 0) if rows is None else rows
    given = world.candidates
    order = np.lexsort((who[rows], given.frame[rows]))
    rows = rows[order]
    number = len(rows)
    count = int(who.max(initial=-1)) + 1
    zeros = np.zeros(number, np.float32)
    return Tracks(
        given.frame[rows], given.xyxy[rows], who[rows], given.class_index[rows], zeros + 1, zeros, zeros,
        np.full(number, Source.MODEL, np.uint8), np.zeros(number, bool), rows, np.ones(count, np.float32),
        np.zeros(count, np.float32),
    )  # fmt: skip


def score(world, tracks: Tracks, *answers: Answer, names: tuple[str | None, ...] = ()) -> list[float]:
    video = VideoInput(world.info, world.candidates, "", class_names=names)
    return agree(answers, world.info.name, video, tracks).score.tolist()


def test_labels_like_the_truth_agree_with_true_answers_of_every_kind(world) -> None:
    tracks = tracks_of(world, world.who)
    same = [world.row(0, frame) for frame in range(5, 30)]
    drawn = Answer("w", Verdict.BOX, (world.box(world.row(0, 3)),), drawn=world.box(world.row(0, 9)))
    said = [
        world.say("valid", *same), world.say("same", *same), world.say("different", world.row(0, 5), world.row(1, 5)),
        drawn, world.say("starts", world.row(0, 8), world.row(0, 0)),
        world.say("ends", world.row(1, 8), world.row(1, 39)), world.say("class", world.row(0, 3), label="person"),
    ]  # fmt: skip
    assert score(world, tracks, *said, names=("person",)) == [1.0] * 7


def test_labels_without_anything_agree_only_that_nothing_is_there_and_nothing_is_one(world) -> None:
    tracks = tracks_of(world, np.full(len(world.candidates), -1))
    a, b = world.row(0, 5), world.row(0, 9)
    verdicts = ["valid", "same", "starts", "absent", "invalid", "different"]
    assert score(world, tracks, *(world.say(verdict, a, b) for verdict in verdicts)) == [0, 0, 0, 0, 1, 1]


def test_a_track_that_is_cut_in_half_agrees_half(world) -> None:
    rows = [world.row(0, frame) for frame in range(20)]
    who = np.where((world.who == 0) & (world.candidates.frame >= 10), 3, world.who)
    assert score(world, tracks_of(world, who), world.say("same", *rows)) == [pytest.approx(9 / 19)]
    assert score(world, tracks_of(world, who), world.say("same", rows[9], rows[10])) == [0.0]
    assert score(world, tracks_of(world, who), world.say("different", rows[9], rows[10])) == [1.0]


def test_valid_is_a_share_of_boxes_and_invalid_is_its_opposite(world) -> None:
    rows = [world.row(0, frame) for frame in range(10)]
    who = np.where((world.who == 0) & (world.candidates.frame < 4), -1, world.who)
    assert score(world, tracks_of(world, who), world.say("valid", *rows), world.say("invalid", *rows)) == [0.6, 0.4]


def test_a_rejected_duplicate_agrees_though_the_right_box_beside_it_is_a_track(worlds) -> None:
    world = worlds(objects=1)
    box = world.box(world.row(0, 5))
    left, top, right, bottom = box.xyxy
    beside = Box(5, (left + 4, top, right + 4, bottom))
    # the answers are about boxes of another detector: one at the same place, one far enough off to be another box
    there = Answer("w", Verdict.INVALID, (beside,))
    off = Answer("w", Verdict.INVALID, (Box(5, (left + 18, top, right + 18, bottom)),))
    assert score(world, tracks_of(world, world.who), there, off) == [0.0, 1.0]
    assert score(world, tracks_of(world, np.full(len(world.who), -1)), there, off) == [1.0, 1.0]


@pytest.mark.parametrize(("last", "expected"), [(39, 1.0), (38, 1.0), (35, 0.7), (20, 0.0)])
def test_an_end_agrees_less_the_farther_off_it_is(world, last: int, expected: float) -> None:
    who = np.where((world.who == 0) & (world.candidates.frame > last), -1, world.who)
    said = world.say("ends", world.row(0, 5), world.row(0, 39))
    assert score(world, tracks_of(world, who), said) == [pytest.approx(expected)]


def test_an_object_that_is_absent_has_no_box_there(world) -> None:
    said = Answer("w", Verdict.ABSENT, (world.box(world.row(0, 5)), Box(9, world.box(world.row(0, 5)).xyxy)))
    who = np.where((world.who == 0) & (world.candidates.frame == 9), -1, world.who)
    assert score(world, tracks_of(world, world.who), said) == [0.0]
    assert score(world, tracks_of(world, who), said) == [1.0]


def test_a_drawn_box_agrees_by_its_overlap_and_a_new_object_with_any_track(world) -> None:
    left, top, right, bottom = world.box(world.row(0, 9)).xyxy
    tracks = tracks_of(world, world.who)

    def drawn(by: float, **rest: object) -> Answer:
        return Answer("w", Verdict.BOX, drawn=Box(9, (left + by, top, right + by, bottom)), **rest)

    assert score(world, tracks, *(drawn(by, object="new") for by in (2.0, 13.0, 40.0))) == [1.0, 0.5, 0.0]
    assert score(world, tracks, drawn(2.0, boxes=(world.box(world.row(1, 5)),))) == [0.0]


def test_what_cannot_be_judged_is_left_out(world) -> None:
    beyond = Answer("w", Verdict.VALID, (Box(4000, (0, 0, 9, 9)),))
    said = [world.say("complete", world.row(0, 5)), beyond, world.say("class", world.row(0, 3), label="bird")]
    assert score(world, tracks_of(world, world.who), *said, names=("person",)) == []


def test_a_class_is_that_of_the_track(worlds) -> None:
    world = worlds(classes=2)
    said = [world.say("class", world.row(who, 3), label="car") for who in (0, 1)]
    assert score(world, tracks_of(world, world.who), *said, names=("person", "car")) == [0.0, 1.0]


def test_answers_of_one_place_are_told_by_their_block_of_time(world) -> None:
    video = VideoInput(world.info, world.candidates, "")
    said = [world.say("valid", world.row(0, frame), source=str(frame)) for frame in (0, 19, 20, 39)]
    found = agree(said, "key", video, tracks_of(world, world.who))
    assert found.place == ("key/0", "key/0", "key/1", "key/1")
    assert found.summary()["kinds"] == {"valid": {"answers": 4, "agreement": 1.0}}
    assert Agreement.join([]).mean is None
    assert len(Agreement.join([found, found])) == 8


def test_models_are_measured_by_what_is_held_out_and_are_told_no_answer(world) -> None:
    asked = []

    class Model:
        version = "fake"

        def label(self, videos, settings, constraints=None):
            asked.append(constraints)
            return [tracks_of(world, world.who)]

    ours, theirs = world.say("valid", world.row(0, 3)), world.say("invalid", world.row(0, 30))
    video = VideoInput(world.info, world.candidates, "", answers=(ours, theirs))
    found = measure_agreement(Model(), {"a": video, "b": video}, Holdout({"a": ((25, 40),)}))
    assert found.key == (theirs.key,)
    assert found.score.tolist() == [0.0]
    assert asked == [None]
