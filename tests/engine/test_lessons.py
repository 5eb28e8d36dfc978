"""What there is to learn from labels and answers, and what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.holdout import Holdout
from spam_plugin.engine.lessons import LessonSettings, gather_lessons
from spam_plugin.engine.ports import VideoInput
from spam_plugin.models.errors import InputError


def late(world, first: int) -> Holdout:
    """Holds the last frames out."""
    return Holdout({world.info.name: ((first, 10_000),)})


def learn(model, world, *answers: Answer, **rest):
    return gather_lessons(model, world.info.name, VideoInput(world.info, world.candidates, "", {}, answers), **rest)


def test_what_the_model_is_sure_of_counts_less_than_what_a_person_said(model, worlds):
    world = worlds(1, false=2.0)
    false = int(np.flatnonzero(world.who < 0)[0])
    true = world.row(0, 5)
    lessons = learn(model, world, world.say("invalid", false), world.say("valid", true))
    assert lessons.weight[[false, true]].tolist() == [4.0, 4.0]
    assert lessons.valid[[false, true]].tolist() == [0.0, 1.0]
    others = np.delete(lessons.weight, [false, true])
    assert others.max() <= 1
    assert others.max() > 0.8
    assert lessons.counts()["human"] == 2


def test_what_is_in_doubt_is_masked_and_not_taken_for_its_opposite(model, worlds):
    world = worlds(2, miss=0.4, false=3.0, spacing=40.0, noise=5.0)
    lessons = learn(model, world)
    masked = lessons.weight == 0
    assert masked.any()
    strict = learn(model, world, settings=LessonSettings(confident=0.99))
    assert (strict.weight == 0).sum() > masked.sum()
    assert ((strict.weight == 0) | ~masked).all()  # what was in doubt stays so
    strict = learn(model, world, settings=LessonSettings(boxes=0.99))
    ignored = strict.box_weight == 0
    assert (strict.track_index[ignored] < 0).any()  # candidates in doubt are no background to the detector


def test_objects_are_what_sure_links_make(model, world):
    lessons = learn(model, world)
    for who in range(3):
        assert len(np.unique(lessons.identity[world.who == who])) == 1
    assert len(np.unique(lessons.identity)) == 3


def test_a_persons_joined_boxes_are_one_object_that_counts_more(model, world):
    first, last = world.row(0, 0), world.row(1, 30)
    lessons = learn(model, world, world.say("same", first, last))
    assert lessons.identity[first] == lessons.identity[last]
    assert lessons.link_weight[[first, last]].tolist() == [4.0, 4.0]
    assert lessons.link_weight[world.row(2, 5)] <= 1


def test_a_drawn_box_is_a_persons_lesson_for_the_detector(model, world):
    drawn = Box(3, (700.0, 100.0, 750.0, 220.0))
    lessons = learn(model, world, Answer(world.info.name, Verdict.BOX, (), drawn, object="new"))
    (row,) = np.flatnonzero((lessons.frame == 3) & (lessons.xyxy[:, 0] > 690))
    assert lessons.human[row]
    assert lessons.box_weight[row] == 4


def test_frames_that_are_held_out_teach_nothing_and_neither_do_answers_about_them(model, worlds):
    world = worlds(3, false=1.0)
    last = world.row(0, 35)
    lessons = learn(model, world, world.say("invalid", last), holdout=late(world, 30))
    away = world.candidates.frame >= 30
    assert not lessons.weight[away].any()
    assert not lessons.link_weight[away].any()
    assert lessons.frame.max() < 30
    assert not lessons.complete[30:].any()
    assert lessons.complete[:30].all()
    assert lessons.valid[last] == 1  # the answer was not even used to label


def test_of_an_answer_on_both_sides_of_the_border_only_this_side_is_learnt_from(model, world):
    rows = [world.row(0, 5), world.row(0, 20), world.row(0, 35)]
    lessons = learn(model, world, world.say("same", *rows), holdout=late(world, 30))
    assert lessons.link_weight[rows].tolist() == [4.0, 4.0, 0.0]
    assert lessons.weight[rows].tolist() == [4.0, 4.0, 0.0]


def test_a_persons_boxes_are_told_by_where_they_come_from(model, world):
    lessons = learn(model, world, world.say("valid", world.row(0, 5)))
    assert lessons.human.sum() == 1
    assert lessons.frame[lessons.human].tolist() == [5]


def test_a_video_without_candidates_teaches_nothing(model, world):
    empty = replace(world.candidates, **{
        name: getattr(world.candidates, name)[:0] for name in ("frame", "xyxy", "score", "class_index")
    })  # fmt: skip
    lessons = gather_lessons(model, "empty", VideoInput(world.info, empty, ""))
    assert lessons.counts()["candidates"] == lessons.counts()["boxes"] == 0


@pytest.mark.parametrize("settings", [{"confident": 0.5}, {"boxes": 1.0}, {"human_weight": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        LessonSettings(**settings)
