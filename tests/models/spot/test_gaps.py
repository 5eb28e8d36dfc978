"""Which frames are open, from where they can be reached, and when an open end is given up."""

from __future__ import annotations

import numpy as np
import pytest

from spam_plugin.models.spot.confidence import (
    Calibration,
    calibration_error,
    fit_logistic,
    fit_variance,
    probability,
)
from spam_plugin.models.spot.fusing import bridge
from spam_plugin.models.spot.gaps import (
    find_checks,
    find_gaps,
    from_offset,
    line_through,
    open_end_stops,
    overlap,
    to_offset,
)
from spam_plugin.models.spot.payoff import payoffs
from spam_plugin.models.spot.rivals import losers


def gaps_of(track: list[int], frame: list[int], **more: object) -> list[tuple[int, ...]]:
    options = {"num_frames": 100, "max_gap": 50, "open_frames": 5, **more}
    gaps = find_gaps(np.array(track), np.array(frame), **options)  # type: ignore[arg-type]
    return list(zip(*(getattr(gaps, key).tolist() for key in ("before", "behind", "first", "last")), strict=True))


def test_a_track_has_an_open_end_on_both_sides_and_gaps_between_its_boxes() -> None:
    assert gaps_of([0, 0], [10, 20]) == [(-1, 0, 5, 9), (0, 1, 11, 19), (1, -1, 21, 25)]
    assert gaps_of([0, 0], [0, 99]) == [(0, -1, 1, 5), (-1, 1, 94, 98)]  # too long to be followed from both sides
    assert gaps_of([0, 0, 1], [3, 4, 4], open_frames=0) == []


def test_two_open_ends_in_one_long_gap_do_not_meet() -> None:
    found = gaps_of([0, 0], [10, 21], max_gap=3, open_frames=50)
    inside = [(first, last) for _, _, first, last in found if first > 10 and last < 21]
    frames = [frame for first, last in inside for frame in range(first, last + 1)]
    assert sorted(frames) == list(range(11, 21))


def test_absence_ends_a_stretch_and_a_human_box_wins_over_it() -> None:
    absent = np.array([[0, 13, 15], [1, 0, 99]])
    assert gaps_of([0, 0], [10, 20], absent=absent) == [
        (-1, 0, 5, 9), (0, -1, 11, 12), (-1, 1, 16, 19), (1, -1, 21, 25)
    ]  # fmt: skip
    assert gaps_of([1], [50], absent=absent) == []
    assert gaps_of([0], [14], absent=np.array([[0, 13, 15]])) == []


def test_known_ends_limit_open_ends() -> None:
    ends = {"earliest": np.array([9]), "latest": np.array([10])}
    assert gaps_of([0], [10], **ends) == [(-1, 0, 9, 9)]


def test_boxes_that_can_be_filled_over_lie_between_two_others_and_are_few_enough() -> None:
    track, frame = np.repeat([0, 1], 8), np.tile(np.arange(8) * 4, 2)
    whole = np.ones(16, bool)
    gaps, key = find_checks(track, frame, whole, 100, 50)
    assert len(key) == 12
    assert (gaps.before == key - 1).all()
    few, some = find_checks(track, frame, whole, 4, 50)
    assert len(few) == 4
    assert set(some) <= set(key)
    assert set(track[some]) == {0, 1}


def test_the_line_is_that_of_the_corners_and_offsets_are_undone() -> None:
    frame, boxes = np.array([0, 4]), np.array([[0, 0, 10, 10], [8, 4, 22, 14]])
    line = line_through(find_gaps(np.zeros(2, int), frame, 5, 9, 0), frame, boxes)
    assert line.xyxy.tolist() == [[2, 1, 13, 11], [4, 2, 16, 12], [6, 3, 19, 13]]
    other = line.xyxy + np.array([1, -2, 3, 4])
    assert np.abs(from_offset(to_offset(other, line.xyxy), line.xyxy) - other).max() < 1e-9


@pytest.mark.parametrize("forward", [True, False])
def test_an_open_end_stops_where_confidence_falls_for_good_reason_only(forward: bool) -> None:
    sure = np.array([0.9] * 10 + [0.1] * 6 + [0.9] * 4)
    sure[4] = 0.3  # one doubtful frame does not end a track
    value = sure if forward else sure[::-1]
    kept = open_end_stops(np.zeros(20, int), np.full(20, forward), value, np.ones(20, bool), 0.5)
    kept = kept if forward else kept[::-1]
    assert kept[:8].all()
    assert not kept[11:].any()
    none = open_end_stops(np.zeros(20, int), np.full(20, forward), value, np.zeros(20, bool), 0.5)
    assert not none.any()


def test_smooth_observations_are_followed_and_scatter_is_not() -> None:
    rng = np.random.default_rng(0)
    place = np.arange(1, 30) / 30
    bow = 0.4 * np.sin(np.pi * place)[:, None] * np.ones(4)
    noise = np.full((29, 2), 1e-3)
    usual, spread = np.full((1, 2), np.log(0.1)), np.ones(1)
    gap = np.zeros(29, int)
    good, sure, before = bridge(gap, bow + rng.normal(0, 0.03, bow.shape), noise, usual, spread)
    assert np.abs(good - bow).max() < 0.06
    assert (sure <= before + 1e-9).all()
    wild, _, _ = bridge(gap, rng.normal(0, 1, bow.shape), noise, usual, spread)
    assert np.abs(wild).mean() < 0.3  # of 0.8 that were seen
    one = bow.copy()
    one[14] += 3.0  # a single outlier
    robust, _, _ = bridge(gap, one, noise, usual, spread)
    assert np.abs(robust - bow).max() < 0.3  # of 3


def test_what_one_gap_gets_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(1)
    sizes = [3, 30, 110, 8]
    gap = np.repeat(np.arange(4), sizes)
    observed, noise = rng.normal(0, 0.1, (151, 4)), rng.uniform(1e-4, 1e-2, (151, 2))
    noise[5] = np.inf
    whole = bridge(gap, observed, noise, np.full((4, 2), -2.0), np.ones(4))
    for number in range(4):
        rows = gap == number
        alone = bridge(gap[rows], observed[rows], noise[rows], np.full((4, 2), -2.0), np.ones(4))
        for one, other in zip(alone, whole, strict=True):
            assert np.abs(one - other[rows]).max() < 1e-6


def test_a_box_in_the_middle_puts_most_right_and_itself() -> None:
    frame = np.arange(1, 20)
    gain = payoffs(frame, np.full(19, 0.5), np.zeros(19, int), np.full(19, 20))
    assert gain.argmax() == 9
    assert np.abs(gain - gain[::-1]).max() < 1e-9
    assert (gain >= 0.5 - 1e-9).all()
    open_end = payoffs(frame, np.full(19, 0.5), np.zeros(19, int), np.full(19, -1))
    assert open_end.argmax() > 9


def test_who_only_lost_to_a_loser_stays() -> None:
    box = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10]], float)  # the first and the last overlap by 2 / 3
    none = np.zeros(0, int)
    lost, to = losers(
        np.arange(3), np.zeros(3, int), box, np.array([0.9, 0.8, 0.7]), 0.7, set(), none, none, np.zeros((0, 4))
    )  # fmt: skip
    assert lost.tolist() == [False, True, False]
    assert to[1].tolist() == box[0].tolist()
    assert overlap(box[:1], box[2:]) < 0.7


def test_coefficients_are_found_again_and_calibrations_survive_json() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([np.ones((4000, 1)), rng.normal(0, 1, (4000, 2))], 1)
    right = rng.random(4000) < probability(features, (0.5, 2.0, -1.0))
    found = fit_logistic(features, right)
    assert np.abs(np.array(found) - (0.5, 2.0, -1.0)).max() < 0.25
    assert calibration_error(probability(features, found), right) < 0.03
    square = np.square(rng.normal(0, 1, 4000)) * np.exp(features @ np.array([-5.0, 0.5, -0.5]))
    assert np.abs(np.array(fit_variance(features, square)) - (-5.0, 0.5, -0.5)).max() < 0.25
    assert Calibration.read(Calibration().plain()) == Calibration.read({}) == Calibration()
