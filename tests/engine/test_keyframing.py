"""The fewest keyframes: never too far off, never one too many, and back again to the frames that they came from."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from spam_plugin.engine.keyframing import Keyframes, fewest_keyframes, interpolate
from spam_plugin.models.errors import InputError
from spam_plugin.models.spam.overlaps import paired_iou


def wobbly(seed: int, count: int, jerk: float) -> np.ndarray:
    """(count, 4) boxes of an object that moves and grows."""
    rng = np.random.default_rng(seed)
    corner = np.cumsum(np.cumsum(rng.normal(0, jerk, (count, 2)), 0), 0)
    side = 20 + np.abs(np.cumsum(rng.normal(0, jerk, (count, 2)), 0))
    return np.concatenate([corner, corner + side], axis=1)


def fewest_by_trying(box: np.ndarray, tolerance: float, must: np.ndarray) -> int:
    """The least number of keyframes, found by looking at every pair."""
    cost = [0] + [10**6] * (len(box) - 1)
    for to in range(1, len(box)):
        for at in range(to):
            share = (np.arange(at, to + 1) - at)[:, None] / (to - at)
            line = box[at] * (1 - share) + box[to] * share
            if (paired_iou(line, box[at : to + 1]) >= tolerance - 1e-12).all() and not must[at + 1 : to].any():
                cost[to] = min(cost[to], cost[at] + 1)
    return cost[-1] + 1


courses = st.tuples(st.integers(0, 10**6), st.integers(1, 35), st.sampled_from([0.02, 0.2, 1.0]))
tolerances = st.sampled_from([0.5, 0.8, 0.9, 0.97])


@given(courses, tolerances, st.integers(0, 10**6))
def test_there_is_no_smaller_number_of_keyframes(course, tolerance, seed):
    box = wobbly(*course)
    must = np.random.default_rng(seed).random(len(box)) < 0.1
    keys = fewest_keyframes(np.zeros(len(box), int), np.arange(len(box)), box, tolerance, must, len(box) - 1)
    assert len(keys) == fewest_by_trying(box, tolerance, must)
    assert np.isin(np.flatnonzero(must), keys.frame).all()


@given(st.lists(courses, min_size=1, max_size=4), tolerances, st.integers(0, 10**6))
def test_the_boxes_between_stay_within_the_tolerance_and_no_frame_comes_or_goes(many, tolerance, seed):
    rng = np.random.default_rng(seed)
    parts = []
    for track, course in enumerate(many):
        box = wobbly(*course)
        seen = rng.random(len(box)) < 0.8  # gaps, and boxes that are alone
        frames = np.flatnonzero(seen) + track
        parts.append((np.full(len(frames), 7 * track), frames, box[seen]))
    track, frame, box = (np.concatenate(column) for column in zip(*parts, strict=True))
    shuffled = rng.permutation(len(track))
    keys = fewest_keyframes(track[shuffled], frame[shuffled], box[shuffled], tolerance)
    track2, frame2, box2, is_key = interpolate(keys, 10**6)
    order = np.lexsort((frame, track))
    assert (track2 == track[order]).all()
    assert (frame2 == frame[order]).all()
    assert (paired_iou(box2, box[order]) >= tolerance - 1e-9).all()
    assert (box2[is_key] == box[order][is_key]).all()


def test_an_object_that_goes_straight_needs_two_keyframes_and_an_end():
    box = np.array([[2.0 * f, 5, 2.0 * f + 30, 45] for f in range(40)])
    keys = fewest_keyframes(np.ones(40, int), np.arange(40), box)
    assert keys.frame.tolist() == [0, 39, 40]
    assert keys.outside.tolist() == [False, False, True]


def test_a_line_spans_no_more_than_the_limit():
    box = np.tile([0.0, 0, 10, 10], (400, 1))
    keys = fewest_keyframes(np.ones(400, int), np.arange(400), box, stop=399)
    assert len(keys) == 4
    assert np.diff(keys.frame).max() <= 150


def test_a_track_that_is_there_at_the_end_needs_no_end():
    box = np.tile([0.0, 0, 10, 10], (5, 1))
    assert not fewest_keyframes(np.ones(5, int), np.arange(5), box, stop=4).outside.any()
    assert fewest_keyframes(np.ones(5, int), np.arange(5), box, stop=5).outside.sum() == 1


def test_between_a_visible_keyframe_and_the_next_one_boxes_are_linear_also_if_that_is_outside():
    keys = Keyframes(
        np.array([1, 1, 1]), np.array([0, 4, 8]), np.array([[0, 0, 10, 10], [8, 0, 18, 10], [40, 0, 50, 10.0]]),
        np.array([False, True, False]),
    )  # fmt: skip
    _, frame, box, is_key = interpolate(keys, 10)
    assert frame.tolist() == [0, 1, 2, 3, 8, 9, 10]
    assert box[:, 0].tolist() == [0, 2, 4, 6, 40, 40, 40]
    assert is_key.tolist() == [True, False, False, False, True, False, False]


def test_keyframes_behind_the_end_still_pull_the_boxes_before_it():
    keys = Keyframes(
        np.array([1, 1]), np.array([0, 10]), np.array([[0, 0, 10, 10], [100, 0, 110, 10.0]]), np.array([False, False])
    )
    _, frame, box, _ = interpolate(keys, 3)
    assert frame.tolist() == [0, 1, 2, 3]
    assert box[:, 0].tolist() == [0, 10, 20, 30]


def test_nothing_comes_of_nothing():
    keys = fewest_keyframes(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)))
    assert len(keys) == 0
    assert len(interpolate(keys, 5)[0]) == 0


@pytest.mark.parametrize(
    ("track", "frame", "box", "tolerance", "words"),
    [
        ([1, 1], [3, 3], [[0, 0, 1, 1]] * 2, 0.9, "track 1 has two boxes in frame 3"),
        ([4], [2], [[5, 0, 5, 1]], 0.9, "track 4, frame 2"),
        ([4], [2], [[0, 0, np.nan, 1]], 0.9, "track 4, frame 2"),
        ([4], [2], [[0, 0, 1, 1]], 1.5, "tolerance 1.5"),
        ([4], [2, 3], [[0, 0, 1, 1]], 0.9, "do not fit together"),
    ],
)
def test_what_cannot_be_is_refused_and_named(track, frame, box, tolerance, words):
    with pytest.raises(InputError, match=words):
        fewest_keyframes(np.array(track), np.array(frame), np.array(box, float), tolerance)
