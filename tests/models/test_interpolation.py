"""Gaps are filled exactly, up to the cap, and marked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.errors import InputError
from spam_plugin.models.spam.interpolation import fill_gaps


def straight(frame: np.ndarray, track: np.ndarray) -> np.ndarray:
    """Boxes of objects that move and grow steadily, each its own way."""
    left, top = 100.0 * track + 3 * frame, 50.0 - track * frame
    return np.stack([left, top, left + 40 + 0.5 * frame, top + 90 + 0.25 * frame], 1)


def test_gaps_of_steady_motion_are_filled_exactly_and_marked() -> None:
    frame, track = np.array([0, 4, 5, 2, 3]), np.array([7, 7, 7, 9, 9])
    filled = fill_gaps(frame, straight(frame, track), track, max_gap=10)
    assert filled.frame.tolist() == [0, 1, 2, 3, 4, 5, 2, 3]
    assert filled.track.tolist() == [7, 7, 7, 7, 7, 7, 9, 9]
    assert filled.is_filled.tolist() == [False, True, True, True, False, False, False, False]
    np.testing.assert_allclose(filled.xyxy, straight(filled.frame, filled.track), atol=1e-12)


def test_every_filled_box_knows_the_given_boxes_on_both_sides() -> None:
    frame, track = np.array([9, 5, 7]), np.array([1, 1, 2])
    filled = fill_gaps(frame, straight(frame, track), track, max_gap=10)
    assert filled.left_row[filled.is_filled].tolist() == [1, 1, 1]
    assert filled.right_row[filled.is_filled].tolist() == [0, 0, 0]
    own = ~filled.is_filled
    assert filled.left_row[own].tolist() == filled.right_row[own].tolist() == [1, 0, 2]


@pytest.mark.parametrize(("cap", "count"), [(0, 4), (1, 5), (2, 5), (3, 8), (100, 8)])
def test_gaps_longer_than_the_cap_stay_open(cap: int, count: int) -> None:
    frame, track = np.array([0, 2, 6, 7]), np.zeros(4, int)
    filled = fill_gaps(frame, straight(frame, track), track, max_gap=cap)
    assert len(filled) == count


def test_nothing_is_filled_between_tracks() -> None:
    frame, track = np.array([0, 5]), np.array([0, 1])
    assert not fill_gaps(frame, straight(frame, track), track, max_gap=10).is_filled.any()


def test_no_boxes_stay_no_boxes() -> None:
    filled = fill_gaps(np.zeros(0, int), np.zeros((0, 4), np.float32), np.zeros(0, int), max_gap=10)
    assert len(filled) == 0
    assert filled.xyxy.shape == (0, 4)
    assert filled.xyxy.dtype == np.float32


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), cap=st.integers(0, 8))
def test_given_boxes_come_back_untouched_whatever_their_order(seed: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    cell = rng.choice(120, rng.integers(1, 60), replace=False)  # 3 tracks of 40 frames
    frame, track = cell % 40, cell // 40
    xyxy = rng.normal(size=(len(cell), 4)).astype(np.float32)
    filled = fill_gaps(frame, xyxy, track, cap)
    own = filled.left_row[~filled.is_filled]
    assert sorted(own) == list(range(len(cell)))
    np.testing.assert_array_equal(filled.xyxy[~filled.is_filled], xyxy[own])
    key = filled.track * 100 + filled.frame
    assert (np.diff(key) > 0).all()
    steps = np.diff(filled.frame)[np.diff(filled.track) == 0]
    assert ((steps == 1) | (steps > cap + 1)).all()


def test_bad_columns_are_named() -> None:
    box = np.array([[0.0, 0, 1, 1]])
    with pytest.raises(InputError, match=r"track 3 has two boxes in frame 8 \(rows 0 and 1\)"):
        fill_gaps([8, 8], np.repeat(box, 2, 0), [3, 3], 5)
    with pytest.raises(InputError, match="they must agree"):
        fill_gaps([8, 8], box, [3, 3], 5)
    with pytest.raises(InputError, match="max_gap is -1"):
        fill_gaps([8], box, [3], -1)
