"""Average precision, on cases that can be worked out by hand, and against the rule followed box by box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.detector.precision import Boxes, average_precision, join
from spam_plugin.models.spam.overlaps import paired_iou


def boxes(*rows: tuple[int, float, float]) -> Boxes:
    """Boxes of 10 by 10 pixels: frame, left side, score."""
    frame, left, score = (np.array(column) for column in zip(*rows, strict=True)) if rows else (np.zeros(0),) * 3
    xyxy = np.stack([left, left * 0, left + 10, left * 0 + 10], 1).astype(np.float32)
    return Boxes(frame.astype(np.int64), xyxy, np.zeros(len(frame), np.int64), score.astype(np.float32))


def test_perfect_detections_have_a_precision_of_one() -> None:
    truth = boxes((0, 0, 1), (0, 50, 1), (3, 0, 1))
    result = average_precision(truth, truth, 1)
    assert result.mean == pytest.approx(1)
    assert result.recall.tolist() == [1]


def test_half_of_the_objects_found_gives_the_recalls_up_to_a_half() -> None:
    result = average_precision(boxes((0, 0, 0.9)), boxes((0, 0, 1), (1, 0, 1)), 1)
    assert result.mean == pytest.approx(51 / 101)
    assert result.recall.tolist() == [0.5]


def test_a_false_box_before_a_right_one_halves_the_precision_and_one_behind_it_costs_nothing() -> None:
    truth = boxes((0, 0, 1))
    assert average_precision(boxes((0, 30, 0.9), (0, 0, 0.8)), truth, 1).mean == pytest.approx(0.5)
    assert average_precision(boxes((0, 30, 0.7), (0, 0, 0.8)), truth, 1).mean == pytest.approx(1)


def test_precision_at_a_recall_is_the_best_at_that_recall_or_beyond() -> None:
    found = boxes((0, 0, 0.9), (0, 30, 0.8), (1, 0, 0.7), (2, 0, 0.6))  # precision 1, 1/2, 2/3, 3/4
    truth = boxes((0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1))
    # recalls 0 to 0.25 at 1, up to 0.75 at 3/4, nothing beyond
    assert average_precision(found, truth, 1).mean == pytest.approx((26 + 50 * 0.75) / 101)


def test_a_second_box_on_the_same_object_is_false() -> None:
    result = average_precision(boxes((0, 0, 0.9), (0, 1, 0.8), (1, 0, 0.7)), boxes((0, 0, 1), (1, 0, 1)), 1)
    assert result.mean == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_threshold_itself_is_enough_and_less_is_not() -> None:
    truth = Boxes(np.array([0]), np.float32([[0, 0, 10, 10]]), np.array([0]), np.float32([1]))
    for width, right in ((5.0, 1.0), (4.9, 0.0)):
        found = Boxes(np.array([0]), np.float32([[0, 0, 10, width]]), np.array([0]), np.float32([0.5]))
        assert average_precision(found, truth, 1).mean == pytest.approx(right)


def test_what_is_to_be_ignored_counts_neither_way() -> None:
    truth = boxes((0, 0, 1), (0, 50, 0))
    assert average_precision(boxes((0, 50, 0.9), (0, 51, 0.8), (0, 0, 0.5)), truth, 1).mean == pytest.approx(1)
    assert average_precision(boxes((0, 0, 0.5)), truth, 1).mean == pytest.approx(1)


def test_a_class_that_is_not_there_is_left_out_of_the_mean_and_other_classes_do_not_help() -> None:
    truth = boxes((0, 0, 1), (0, 50, 1))
    truth = Boxes(truth.frame, truth.xyxy, np.array([0, 2]), truth.score)
    result = average_precision(Boxes(truth.frame, truth.xyxy, np.array([0, 0]), truth.score), truth, 3)
    assert result.average[0] == pytest.approx(1)
    assert np.isnan(result.average[1])
    assert result.average[2] == 0
    assert result.mean == pytest.approx(0.5)


def test_nothing_found_is_worth_nothing_and_nothing_true_has_no_mean() -> None:
    assert average_precision(boxes(), boxes((0, 0, 1)), 1).mean == 0
    assert np.isnan(average_precision(boxes((0, 0, 1)), boxes(), 1).mean)
    assert len(join([boxes((0, 0, 1)), boxes((1, 0, 1))])) == 2


@given(st.integers(0, 10**6), st.integers(0, 25), st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_matching_all_at_once_is_matching_from_the_best_on(seed: int, found_count: int, true_count: int) -> None:
    rng = np.random.default_rng(seed)

    def crowd(count: int, score: np.ndarray) -> Boxes:
        frame, left = rng.integers(0, 2, count), rng.integers(0, 12, count)
        return boxes(*zip(frame, left, score, strict=True))

    found = crowd(found_count, rng.permutation(found_count) / 100 + 0.01)
    truth = crowd(true_count, (rng.random(true_count) < 0.8).astype(float))
    if not (truth.score > 0).any():
        return
    taken = np.zeros(true_count, bool)
    hits, precision, recall = 0, [], []
    order = np.argsort(truth.frame, kind="stable")
    for index in np.argsort(-found.score):
        best, chosen = 0.5, -1
        for ignored in (False, True):
            for row in order:
                if (truth.score[row] == 0) != ignored or taken[row] or truth.frame[row] != found.frame[index]:
                    continue
                overlap = float(paired_iou(found.xyxy[[index]].astype(float), truth.xyxy[[row]].astype(float))[0])
                if overlap >= best:
                    best, chosen = overlap, row
            if chosen >= 0:
                break
        if chosen >= 0 and truth.score[chosen] == 0:
            continue
        if chosen >= 0:
            taken[chosen] = True
            hits += 1
        precision.append(hits / (len(precision) + 1))
        recall.append(hits / (truth.score > 0).sum())
    points = [
        max([p for p, r in zip(precision, recall, strict=True) if r >= at - 1e-9], default=0.0)
        for at in np.linspace(0, 1, 101)
    ]
    assert average_precision(found, truth, 1).mean == pytest.approx(np.mean(points))
