"""Boxes of two detectors as one set."""

from __future__ import annotations

import numpy as np
import pytest

from spam_plugin.models.columns import Candidates
from spam_plugin.models.detector.fusion import FusionSettings, alive, fuse, probability_of
from spam_plugin.models.errors import InputError


def boxes(*rows: tuple[int, float, float, float], kind: int = 0) -> Candidates:
    """Rows of frame, left, top and score; 20 by 40 pixels each."""
    table = np.array(rows, np.float64).reshape(-1, 4)
    xyxy = np.stack([table[:, 1], table[:, 2], table[:, 1] + 20, table[:, 2] + 40], 1)
    count = len(table)
    return Candidates(
        table[:, 0].astype(np.int64), xyxy.astype(np.float32), table[:, 3].astype(np.float32), np.full(count, kind)
    )


def test_boxes_of_one_object_become_one_between_both_and_surer_than_either() -> None:
    first, second = boxes((0, 0, 0, 0.5), (1, 0, 0, 0.5)), boxes((0, 4, 0, 0.5))
    found = fuse(first, second, (np.array([0.6, 0.6]), np.array([0.2])))
    assert found.first.tolist() == [0, 1]
    assert found.second.tolist() == [0, -1]
    assert found.candidates.xyxy[0, 0] == pytest.approx(0.25 * 4)  # nearer to the surer one
    assert found.candidates.score.tolist() == pytest.approx([1 - 0.4 * 0.8, 0.6])


def test_boxes_of_different_frames_classes_or_places_stay_apart() -> None:
    first, second = boxes((0, 0, 0, 0.5)), boxes((0, 100, 0, 0.5), (1, 0, 0, 0.5))
    assert len(fuse(first, second, (np.array([0.5]), np.array([0.5, 0.5]))).candidates) == 3
    other = boxes((0, 0, 0, 0.5), kind=1)
    assert len(fuse(first, other, (np.array([0.5]), np.array([0.5]))).candidates) == 2


def test_a_box_that_people_spoke_of_stays_where_it_is_and_is_never_dropped() -> None:
    first, second = boxes((0, 0, 0, 0.5), (0, 3, 0, 0.4)), boxes((0, 2, 0, 0.9))
    fixed = np.array([False, True])
    found = fuse(first, second, (np.array([0.9, 0.1]), np.array([0.9])), fixed)
    assert found.first.tolist() == [1]
    assert found.candidates.xyxy[0].tolist() == first.xyxy[1].tolist()


def test_of_doubles_of_one_detector_the_less_probable_are_dropped_first() -> None:
    row = boxes((0, 0, 0, 0), (0, 6, 0, 0), (0, 12, 0, 0))
    # The middle one overlaps both others, which do not overlap each other enough.
    assert alive(row, np.array([0.9, 0.5, 0.8]), 0.45).tolist() == [True, False, True]
    assert alive(row, np.array([0.5, 0.9, 0.8]), 0.45).tolist() == [False, True, False]


def test_a_score_becomes_the_share_of_objects_among_such_boxes_and_never_falls() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(4000)
    hit = rng.random(4000) < score**2
    found = probability_of(score, hit, np.ones(4000, bool))
    order = np.argsort(score)
    assert (np.diff(found[order]) >= -1e-12).all()
    assert np.abs(found - score**2).mean() < 0.04
    hidden = probability_of(score, hit, score < 2)
    assert np.allclose(found, hidden)


def test_boxes_of_which_nothing_is_known_take_no_part_in_the_fit() -> None:
    score = np.linspace(0, 1, 200)
    hit, known = score > 0.5, np.arange(200) % 2 == 0
    wrong = np.where(known, hit, ~hit)
    assert np.allclose(probability_of(score, hit, known), probability_of(score, wrong, known))


def test_where_too_little_is_known_ranks_are_taken() -> None:
    found = probability_of(np.array([3.0, 1.0, 2.0]), np.ones(3, bool), np.ones(3, bool))
    assert found.argsort().tolist() == [1, 2, 0]
    assert (found > 0).all()
    assert (found < 1).all()


def test_nothing_fused_with_something_is_that() -> None:
    something = boxes((0, 0, 0, 0.5))
    found = fuse(Candidates.empty(), something, (np.zeros(0), np.array([0.7])))
    assert found.second.tolist() == [0]
    assert found.candidates.score.tolist() == pytest.approx([0.7])
    assert len(fuse(Candidates.empty(), Candidates.empty(), (np.zeros(0), np.zeros(0))).candidates) == 0


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="pair"):
        FusionSettings(pair=1.5)
