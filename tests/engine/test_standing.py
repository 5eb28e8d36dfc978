"""Numbers of a field of tracks, and what answers have cost."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.engine.annotator import SimulatedAnnotator
from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.clicks import count_clicks
from spam_plugin.engine.metrics import TruthTable
from spam_plugin.engine.pool import all_queries
from spam_plugin.engine.queries import Query, Question
from spam_plugin.engine.standing import (
    BINS,
    Estimate,
    OpenQuestions,
    QueueRow,
    Round,
    VideoStanding,
    count_video,
    effort_share,
    entropy,
    together,
)
from spam_plugin.models.columns import Source
from spam_plugin.models.errors import InputError


def row(rank=1, question="valid", probability=0.5, cost=1, gain=2.0, track=1, video="v"):
    return QueueRow(rank, f"key {rank}", video, "a", video, 1, question, "?", probability, cost, gain, track)


def counted(track, source, doubt, link, name="a"):
    shares = [np.array(values, np.float32) for values in (doubt, link)]
    return count_video(name, 9, np.array(track, np.int64), np.array(source, np.int64), *shares, 1 - shares[0])


def test_boxes_tracks_and_those_of_people_are_counted():
    human, filled, model = Source.HUMAN, Source.INTERPOLATED, Source.MODEL
    found = counted(
        [7, 7, 3, 3, 3], [model, human, filled, filled, model], [0.0, 0.0, 0.5, 1.0, 0.26], [0.1, 0, 0, 0, 0.9]
    )
    assert (found.frames, found.boxes, found.human_boxes, found.interpolated_boxes) == (9, 5, 1, 2)
    assert (found.tracks, found.human_tracks) == (2, 1)
    assert found.expected_boxes == pytest.approx(1 + 1 + 0.5 + 0 + 0.74)
    where = {place: count for place, count in enumerate(found.histogram) if count}
    assert where == {0: 1, 2: 1, 10: 1, 18: 1, 19: 1}  # a box of 1 is in the last bin, the greater doubt counts


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(Source)), st.floats(0, 1), st.floats(0, 1))))
def test_every_box_is_in_one_bin_and_plain_values_come_back(boxes):
    found = counted(*(list(column) for column in zip(*boxes, strict=True))) if boxes else counted([], [], [], [])
    assert sum(found.histogram) == found.boxes == len(boxes)
    assert found.human_tracks <= found.tracks <= len(boxes)
    assert VideoStanding(**json.loads(json.dumps(found.as_dict()))) == found


def test_a_histogram_that_does_not_hold_the_boxes_is_refused():
    with pytest.raises(InputError, match=r"video 'a': 20 bins with 0 boxes cannot be the histogram of 5"):
        VideoStanding("a", 9, boxes=5)
    with pytest.raises(InputError, match="1 bins"):
        VideoStanding("a", 9, boxes=5, histogram=(5,))


def test_of_the_open_questions_the_first_are_kept_and_all_are_counted():
    rows = [row(rank, probability=0.5 + rank / 40, track=rank % 3) for rank in range(12, 0, -1)]
    found = OpenQuestions.of([*rows, row(13, "missing", 1.0, cost=2, track=0)], ranks=2, least=4)
    assert [one.rank for one in found.rows] == [1, 2, 3, 4]
    assert (found.count, found.clicks, found.gain, found.tracks) == (13, 14, 26.0, 2)
    assert found.cut == pytest.approx(entropy(0.8))  # what is missing has no uncertainty that a box shows
    assert [one.rank for one in OpenQuestions.of(rows, ranks=6, least=4).rows] == [1, 2, 3, 4, 5, 6]
    assert OpenQuestions.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert OpenQuestions.of([], 2, 4) == OpenQuestions()


def test_videos_add_up_and_a_track_is_of_people_or_asked_about_or_the_models():
    labels = {
        "v": counted([1, 1, 2, 3], [Source.HUMAN, 0, 0, Source.INTERPOLATED], [0.0, 0.5, 0.5, 0.5], [0, 0, 0, 0]),
        "w": counted([1, 2], [0, 0], [0.0, 1.0], [0, 0]),
    }
    asked = {
        "v": OpenQuestions.of([row(1, track=2), row(2, track=3), row(3, track=1)], 9, 9),
        "u": OpenQuestions.of([row(4, probability=0.9, video="u")], 9, 9),
    }
    whole = together(labels, asked, clicks_spent=6, unlabelled=1, by_review={}, conflicts=0)
    assert (whole.videos, whole.frames, whole.boxes, whole.human_boxes, whole.interpolated_boxes) == (3, 18, 6, 1, 1)
    assert whole.tracks == {"people": 1, "asked": 2, "model": 2}  # one of the three was touched since
    assert whole.histogram == tuple(map(sum, zip(labels["v"].histogram, labels["w"].histogram, strict=True)))
    assert (whole.open_queries, whole.clicks_open, whole.cut) == (4, 4, entropy(0.9))
    assert whole.effort == 6 / 10  # three clicks for each of 3.5 boxes that are there, in whole clicks
    nothing = together({}, {}, clicks_spent=0, unlabelled=0, by_review={}, conflicts=0)
    assert (nothing.histogram, nothing.cut, nothing.effort) == ((0,) * BINS, None, None)


def test_a_round_comes_back_from_plain_values_and_has_a_known_kind():
    made = Round(1.5, "queries", 7, 0.1, "spam-1", 100, 3, Estimate(0.1, 0.05, 0.2), {"HOTA": 0.5})
    assert Round.from_dict(json.loads(json.dumps(made.as_dict()))) == made
    assert Round.from_dict(Round(1.0, "sync").as_dict()).wrong is None
    with pytest.raises(InputError, match="'lunch' is none of: label, queries"):
        Round(1.0, "lunch")


def test_entropy_is_one_in_the_middle_and_nothing_at_the_ends():
    assert [entropy(p) for p in (0.0, 0.5, 1.0)] == [0.0, 1.0, 0.0]
    assert entropy(0.1) == pytest.approx(entropy(0.9)) == pytest.approx(0.469, abs=1e-3)


def test_effort_is_a_share_of_three_clicks_a_box():
    assert effort_share(30, 100.0) == 0.1
    assert effort_share(30, 0.0) is None


def test_answers_cost_what_the_simulated_person_paid(worlds, look):
    """But for a box that is drawn at a track's end when something missing was asked for: it does not say so."""
    paid = {}
    for seed, error in ((3, 0.0), (3, 0.4), (4, 0.0), (5, 0.0)):
        world = worlds(seed, num_frames=60, miss=0.3, false=2.0, spacing=40.0 * (seed - 2), noise=5.0)
        view = look(world)
        # no candidate is there
        unseen = world.truth.xyxy[world.truth.track_id == 0][10:30] + np.array([600, -90, 600, -90])
        truth = TruthTable(
            np.concatenate([world.truth.frame, np.arange(10, 30)]),
            np.concatenate([world.truth.track_id, np.full(20, 9)]),
            np.concatenate([world.truth.xyxy, unseen]),
        )
        person = SimulatedAnnotator(world.info.name, truth, error)
        looked = Query("v", Question.MISSING, (), (), 15, -1, -1, 0.5, 2, 1.0)
        for query in [*all_queries(view), *(replace(looked, frame=frame) for frame in range(60))]:
            reply = person.answer(query, person.look(view))
            if reply.clicks:
                extends = query.question is Question.MISSING and reply.clicks == 3 and not reply.answers[0].object
                assert count_clicks(reply.answers) == reply.clicks - extends, (query.text, reply)
                paid.setdefault(query.question, set()).add(reply.clicks)
    assert set(paid) == set(Question)
    assert paid[Question.MISSING] >= {1, 5}


def test_edits_cost_a_click_each_and_two_for_a_box():
    one, other, drawn = (Box(frame, (0.0, 0.0, 9.0, 9.0 + frame)) for frame in range(3))

    def said(verdict, *boxes, when=1.0, **rest):
        return Answer("v", Verdict(verdict), boxes, source="anna (job 3)", when=when, **rest)

    assert count_clicks([]) == 0
    assert count_clicks([said("box", one, drawn=drawn), said("ends", one, drawn)]) == 2
    assert count_clicks([said("box", one, drawn=drawn), said("ends", one, other)]) == 3
    assert count_clicks([said("invalid", one), said("ends", other, other)]) == 2
    assert count_clicks([said("valid", one, other), said("same", one, other)]) == 1
    assert count_clicks([said("valid", one, other), said("same", one, other, when=2.0)]) == 2
    assert count_clicks([said("different", one, other), said("class", one, label="car")]) == 2
