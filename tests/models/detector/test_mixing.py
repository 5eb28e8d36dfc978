import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.models.detector.mixing import FoundBoxes, mix


def boxes(rng, count, groups=4):
    low = rng.uniform(0, 40, (count, 2))
    xyxy = np.concatenate([low, low + rng.uniform(4, 30, (count, 2))], 1)
    return FoundBoxes(rng.integers(0, groups, count), xyxy, rng.uniform(0, 1, count))


def overlap(a, b):
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(tall, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@given(st.integers(0, 10**6), st.integers(0, 12), st.integers(0, 12))
def test_a_box_is_added_only_where_no_box_of_its_group_covers_it(seed, many, more):
    rng = np.random.default_rng(seed)
    first, second = boxes(rng, many), boxes(rng, more)
    kept, _ = mix(first, second, 0.3)
    for row in range(more):
        rivals = [overlap(box, second.xyxy[row]) for box in first.xyxy[first.group == second.group[row]]]
        assert kept[row] == (max(rivals, default=0.0) <= 0.3)


@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(1, 60))
def test_scores_keep_their_order_and_stay_on_the_others_scale(seed, many, more):
    rng = np.random.default_rng(seed)
    first, second = boxes(rng, many), boxes(rng, more)
    _, score = mix(first, second)
    order = np.argsort(second.score)
    assert (np.diff(score[order]) >= 0).all()
    if many:
        assert first.score.min() - 1e-9 <= score.min()
        assert score.max() <= first.score.max() + 1e-9


def test_what_both_found_tells_how_the_scales_relate_even_if_one_finds_much_else():
    rng = np.random.default_rng(0)
    common, noise = np.arange(200), 1000 + np.arange(800)
    good, bad = rng.uniform(0.5, 1, 200), rng.uniform(0, 0.2, 800)
    place = np.tile([[0.0, 0, 10, 10]], (1000, 1))
    first = FoundBoxes(common, place[:200], 40 * good - 10)
    second = FoundBoxes(np.concatenate([common, noise]), place, np.concatenate([good, bad]))
    kept, score = mix(first, second)
    assert kept.tolist() == [False] * 200 + [True] * 800
    assert score[:200] == pytest.approx(first.score, abs=0.3)
    assert score[200:].max() <= first.score.min() + 0.3


def test_boxes_without_scores_leave_the_others_scores_as_they_are():
    rng = np.random.default_rng(1)
    second = boxes(rng, 20)
    first = FoundBoxes(second.group + 10, second.xyxy, np.full(20, np.nan))
    kept, score = mix(first, second)
    assert kept.all()
    assert (score == second.score).all()
