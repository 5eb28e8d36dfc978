"""What drawn boxes make of a track: it goes through them, and they teach the detector's bias."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.spam.keyframes import (
    bends,
    credible_gap,
    learn_offsets,
    neighbours,
    pin,
    seconds_to,
    to_state,
    to_xyxy,
)

RATE = 10.0


def walk(frames: int, x: float = 0.0) -> np.ndarray:
    """(T, 4) states of a box of 50 by 100 pixels that walks to the right."""
    return np.stack(
        [x + 3.0 * np.arange(frames), np.full(frames, 200.0), *np.log([[50.0] * frames, [100.0] * frames])], 1
    )


def pinned(course: np.ndarray, keys: dict[int, np.ndarray], has_course: np.ndarray | None = None) -> np.ndarray:
    """The states of one track after some boxes were drawn."""
    number = len(course)
    frame, track = np.arange(number), np.zeros(number, np.int64)
    drawn, is_drawn = np.zeros((number, 4)), np.zeros(number, bool)
    for row, state in keys.items():
        drawn[row], is_drawn[row] = state, True
    has = np.ones(number, bool) if has_course is None else has_course
    bend = bends(track, frame, course, has, RATE)[track]
    both = is_drawn & has
    offsets = learn_offsets(track[both], frame[both], course[both], drawn[both], bend[both], RATE)
    return pin(track, frame, course, drawn, is_drawn, has, bend, offsets, RATE)


BOX = st.tuples(*(st.floats(-1e4, 1e4) for _ in range(2)), *(st.floats(0.01, 1e4) for _ in range(2)))


@given(st.lists(BOX, min_size=1, max_size=8))
def test_a_box_comes_back_from_its_state(boxes: list) -> None:
    corner = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes])
    np.testing.assert_allclose(to_xyxy(to_state(corner)), corner, atol=1e-6)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), keys=st.sets(st.integers(0, 29), min_size=1, max_size=8))
def test_a_track_goes_through_every_drawn_box_and_nowhere_wild(seed: int, keys: set[int]) -> None:
    rng = np.random.default_rng(seed)
    course = walk(30) + rng.normal(0, 1, (30, 4)) * [2, 2, 0.02, 0.02]
    drawn = {key: course[key] + rng.normal(0, 1, 4) * [6, 6, 0.1, 0.1] for key in keys}
    has = rng.random(30) < 0.8
    has[list(keys)] = rng.random(len(keys)) < 0.5
    out = pinned(course, drawn, has)
    for key, state in drawn.items():
        np.testing.assert_array_equal(out[key], state)
    told = has | np.isin(np.arange(30), list(keys))
    assert np.isfinite(out[told]).all()
    assert (np.abs(out - course)[told] < [120, 120, 3, 3]).all()


def test_a_box_drawn_where_the_track_is_changes_next_to_nothing() -> None:
    course = walk(40)
    out = pinned(course, {10: course[10], 30: course[30]})
    np.testing.assert_allclose(out, course, atol=1e-6)


def test_a_drawn_box_moves_the_track_near_it_more_than_far_from_it() -> None:
    course = walk(200)
    moved = pinned(course, {100: course[100] + [10, 0, 0, 0]})[:, 0] - course[:, 0]
    assert moved[100] == pytest.approx(10)
    assert (np.diff(moved[:101]) >= -1e-9).all()
    assert (np.diff(moved[100:]) <= 1e-9).all()
    assert 0 <= moved[0] < 5


def test_between_drawn_boxes_without_candidates_it_goes_straight() -> None:
    course = walk(20) * 0 + [500, 500, 3, 3]
    ends = {5: walk(20)[5], 15: walk(20)[15]}
    out = pinned(course, ends, np.zeros(20, bool))
    np.testing.assert_allclose(out[5:16], walk(20)[5:16], atol=1e-6)


def test_offsets_that_all_tracks_share_are_the_detectors_bias() -> None:
    tracks = 12
    course = np.concatenate([walk(1, 100.0 * n) for n in range(tracks)])
    drawn = course + np.array([5.0, 0, 0.1, 0])  # a tenth of the width to the right, and wider
    bend = np.tile([0.05, 0.05, 3.0, 3.0], (tracks, 1))
    offsets = learn_offsets(np.arange(tracks), np.zeros(tracks, int), course, drawn, bend, RATE)
    assert offsets.num_keys == tracks
    assert 0.05 < offsets.bias[0] <= 0.1
    assert 0.05 < offsets.bias[2] <= 0.1
    np.testing.assert_allclose(offsets.bias[[1, 3]], 0, atol=1e-9)
    one = learn_offsets(np.zeros(1, int), np.zeros(1, int), course[:1], drawn[:1], bend[:1], RATE)
    assert (one.bias == 0).all(), "one track says nothing of the detector"
    wild = learn_offsets(
        np.arange(tracks), np.zeros(tracks, int), course, drawn + np.array([90.0, 0, 0, 0]), bend, RATE
    )
    assert (wild.bias == 0).all(), "tracks that went astray say nothing of the detector"


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_neighbours_are_the_nearest_keys_of_the_same_track(rows: list) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    track, key = np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], bool)
    left, right = neighbours(track, key)
    for row in range(len(rows)):
        own = [other for other in range(len(rows)) if key[other] and track[other] == track[row]]
        assert left[row] == max((other for other in own if other <= row), default=-1)
        assert right[row] == min((other for other in own if other >= row), default=-1)


def test_seconds_to_no_row_are_infinite() -> None:
    frame = np.array([0, 5, 20])
    assert seconds_to(frame, np.array([-1, 0, 1]), RATE).tolist() == [np.inf, 0.5, 1.5]


def test_a_track_that_winds_may_be_filled_over_shorter_gaps_than_a_straight_one() -> None:
    frame = np.arange(100)
    straight, winding = walk(100), walk(100)
    winding[:, 1] += 60 * np.sin(frame / 4)
    track, seen = np.repeat([0, 1], 100), np.ones(200, bool)
    bend = bends(track, np.tile(frame, 2), np.concatenate([straight, winding]), seen, RATE)
    gap = credible_gap(bend, RATE)
    assert gap[0] > 10 * gap[1]


def test_a_track_too_short_to_tell_bends_as_the_others_of_its_video() -> None:
    frame = np.concatenate([np.arange(100), np.arange(2)])
    track = np.repeat([0, 1], [100, 2])
    state = np.concatenate([walk(100), walk(2)])
    state[:, 1] += np.random.default_rng(0).normal(0, 5, len(state))
    bend = bends(track, frame, state, np.ones(102, bool), RATE)
    np.testing.assert_array_equal(bend[0], bend[1])
