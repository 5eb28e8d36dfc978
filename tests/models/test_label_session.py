"""One video labelled again and again: what constraints do to the labels, and what is computed for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.columns import Candidates, Source, Tracks, VideoInfo
from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import LabelSettings, SpamModel
from spam_plugin.models.spam.constraints import EVER, Constraints


def equal(one: Tracks, two: Tracks) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(Tracks))


def with_boxes(said: Constraints, frame: list[int], xyxy: list[list[float]], of: list[int]) -> Constraints:
    """The constraints and boxes that a person drew of some objects."""
    number = len(frame)
    more = {"object_index": of, "stretch_index": of, "earliest": [-EVER] * number, "latest": [EVER] * number,
            "class_index": [-1] * number}  # fmt: skip
    grown = {name: np.append(getattr(said, name), np.array(values, np.int64)) for name, values in more.items()}
    return replace(said, **grown, frame=np.array(frame, np.int64), xyxy=np.array(xyxy, np.float32).reshape(-1, 4))


def same(said: Constraints, *rows: int) -> Constraints:
    """The constraints with some candidates as one object."""
    index = said.object_index.copy()
    index[list(rows)] = index.max(initial=-1) + 1
    return replace(said, object_index=index, stretch_index=index.copy())


def track_of(tracks: Tracks, row: int) -> int:
    (at,) = np.flatnonzero(tracks.candidate_index == row)
    return int(tracks.track_index[at])


@pytest.fixture
def video(walkers: Callable) -> tuple[VideoInfo, Candidates, np.ndarray]:
    return walkers(0, miss=0.0, false=0.0)


def row_of(video: tuple, who: int, frame: int) -> int:
    (row,) = np.flatnonzero((video[2] == who) & (video[1].frame == frame))
    return int(row)


def test_constraints_that_say_nothing_change_nothing(model: SpamModel, walkers: Callable) -> None:
    info, candidates, _ = walkers(1, false=1.0)
    session = model.session(info, candidates)
    (plain,) = model.label([(info, candidates)])
    assert equal(session.label(), plain)
    assert equal(session.label(Constraints.none(len(candidates))), plain)
    assert equal(model.label([(info, candidates)], None, [None])[0], plain)


def test_what_one_labelling_was_told_does_not_stay(model: SpamModel, video: tuple) -> None:
    info, candidates, _ = video
    session = model.session(info, candidates)
    before = session.label()
    none = Constraints.none(len(candidates))
    wrong = replace(none, verdict=np.full(len(candidates), -1, np.int8))
    assert len(session.label(wrong)) == 0
    assert equal(session.label(same(none, row_of(video, 0, 3), row_of(video, 1, 30))), model.label(
        [(info, candidates)], None, [same(none, row_of(video, 0, 3), row_of(video, 1, 30))])[0])  # fmt: skip
    assert equal(session.label(), before)


def test_people_are_believed_against_the_model(model: SpamModel, video: tuple) -> None:
    info, candidates, _ = video
    one, two = row_of(video, 0, 20), row_of(video, 1, 30)
    none = Constraints.none(len(candidates))
    (tracks,) = model.label([(info, candidates)], None, [same(none, one, two)])
    assert track_of(tracks, one) == track_of(tracks, two)
    pair = [row_of(video, 0, 20), row_of(video, 0, 21)]
    (tracks,) = model.label([(info, candidates)], None, [replace(none, apart=np.array([pair]))])
    assert track_of(tracks, pair[0]) != track_of(tracks, pair[1])
    bound = np.full(len(candidates), EVER)
    bound[one] = 25
    (tracks,) = model.label([(info, candidates)], None, [replace(same(none, one), latest=bound)])
    mine = tracks.track_index == track_of(tracks, one)
    assert tracks.frame[mine].max() == 25
    named = np.full(len(candidates), -1)
    named[one] = 4
    (tracks,) = model.label([(info, candidates)], None, [replace(same(none, one), class_index=named)])
    assert set(tracks.class_index[tracks.track_index == track_of(tracks, one)].tolist()) == {4}
    assert set(tracks.class_index.tolist()) == {0, 4}


def test_a_hidden_object_has_no_box_in_the_gap_but_stays_one_track(model: SpamModel, video: tuple) -> None:
    info, candidates, _ = video
    one, two = row_of(video, 0, 20), row_of(video, 0, 30)
    said = replace(same(Constraints.none(len(candidates)), one, two), absent=np.array([[one, 25]]))
    (tracks,) = model.label([(info, candidates)], None, [said])
    mine = tracks.track_index == track_of(tracks, one)
    assert track_of(tracks, two) == track_of(tracks, one)
    assert 25 not in tracks.frame[mine]
    assert {20, 30} <= set(tracks.frame[mine].tolist())


@settings(max_examples=15)
@given(
    data=st.data(),
    wish=st.sampled_from([LabelSettings(), LabelSettings(smooth=False), LabelSettings(interpolate=False)]),
)
def test_drawn_boxes_are_in_the_labels_as_they_were_drawn(
    model: SpamModel, walkers: Callable, data: st.DataObject, wish: LabelSettings
) -> None:
    info, candidates, who = walkers(2, num_frames=30, miss=0.2, false=0.5)
    frame = sorted(data.draw(st.sets(st.integers(0, 29), max_size=6)))
    of = [data.draw(st.integers(0, 1)) for _ in frame]
    move = st.floats(-40, 40)
    boxes = [[100 + 4 * f + data.draw(move), 90 + 250 * n, 150 + 4 * f, 200 + 250 * n + data.draw(move)]
             for f, n in zip(frame, of, strict=True)]  # fmt: skip
    boxes = [[min(b[0], b[2] - 1), b[1], b[2], b[3]] for b in boxes]
    said = Constraints.none(len(candidates))
    for number in range(2):
        said = same(said, int(np.flatnonzero(who == number)[4]))
    said = with_boxes(said, frame, boxes, of)
    (tracks,) = model.label([(info, candidates)], wish, [said])
    human = tracks.source == Source.HUMAN
    assert tracks.frame[human].tolist() == frame
    np.testing.assert_array_equal(tracks.xyxy[human], said.xyxy)
    assert (tracks.uncertainty[human] == 0).all()
    assert (tracks.validity[human] == 1).all()
    assert tracks.keyframe[human].all()
    for number in range(2):
        own = tracks.track_index[human][np.array(of, np.int64) == number]
        assert len(set(own.tolist())) <= 1, "all boxes of one object are in one track"


def test_a_video_without_candidates_has_the_tracks_that_people_drew(model: SpamModel) -> None:
    info = VideoInfo("empty", 20, 640, 480, 10.0)
    box = [[10.0, 10.0, 50.0, 90.0], [30.0, 10.0, 70.0, 90.0]]
    said = with_boxes(Constraints.none(0), [3, 13], box, [0, 0])
    session = model.session(info, Candidates.empty())
    tracks = session.label(said)
    assert tracks.num_tracks == 1
    assert tracks.frame.tolist() == list(range(3, 14))
    assert tracks.frame[tracks.source == Source.HUMAN].tolist() == [3, 13]
    np.testing.assert_allclose(tracks.xyxy[5], [20, 10, 60, 90], atol=0.5)
    assert len(session.label()) == 0


def test_beliefs_of_what_a_person_settled_are_certain(model: SpamModel, video: tuple) -> None:
    info, candidates, _ = video
    rows = [row_of(video, 0, frame) for frame in range(10, 15)]
    verdict = np.zeros(len(candidates), np.int8)
    verdict[row_of(video, 1, 5)] = -1
    session = model.session(info, candidates)
    session.label(replace(same(Constraints.none(len(candidates)), *rows), verdict=verdict))
    beliefs = session.beliefs
    assert (beliefs.validity[rows] == 1).all()
    assert beliefs.next_row[rows[:-1]].tolist() == rows[1:]
    assert (beliefs.next_probability[rows[:-1]] == 1).all()
    assert beliefs.settled[rows[:-1]].all()
    assert beliefs.validity[row_of(video, 1, 5)] == 0
    assert not beliefs.kept[row_of(video, 1, 5)]
    assert beliefs.vouched[row_of(video, 0, 40)], "a person vouched for a box of its chain"
    assert not beliefs.vouched[row_of(video, 2, 40)]


def test_only_the_windows_that_change_are_computed_again(model: SpamModel, walkers: Callable) -> None:
    info, candidates, who = walkers(3, num_frames=1100, objects=1, false=0.02)
    session = model.session(info, candidates)
    session.label()
    assert session.windows_computed == 3
    said = Constraints.none(len(candidates))
    verdict = said.verdict.copy()
    verdict[np.flatnonzero(candidates.frame > 1030)[0]] = -1
    session.label(replace(said, verdict=verdict))
    assert session.windows_computed == 1
    near = np.flatnonzero((who == 0) & (candidates.frame > 505) & (candidates.frame < 518))
    session.label(same(replace(said, verdict=verdict), near[0], near[-1]))
    assert session.windows_computed <= 2
    session.label()
    assert session.windows_computed == 3


def test_constraints_about_other_candidates_are_refused_with_both_numbers(model: SpamModel, video: tuple) -> None:
    info, candidates, _ = video
    for labelled in (
        lambda said: model.session(info, candidates).label(said),
        lambda said: model.label([(info, candidates)], None, [said]),
    ):
        with pytest.raises(InputError, match=rf"'walkers-0'.*about 3 candidates.*{len(candidates)}"):
            labelled(Constraints.none(3))
        with pytest.raises(InputError, match="drawn box lies in frame 61"):
            labelled(with_boxes(Constraints.none(len(candidates)), [60], [[0, 0, 5, 5]], [0]))
