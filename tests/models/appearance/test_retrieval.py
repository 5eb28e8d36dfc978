import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.appearance.retrieval import measure_retrieval
from spam_plugin.models.errors import InputError


def by_hand(vectors, identity, frame, apart, video, comparable=None):
    """Rank-1 and mean average precision, query by query; equal similarities rank the others first."""
    firsts, precisions = [], []
    for query in range(len(vectors)):
        if identity[query] < 0:
            continue
        scored = []
        for other in range(len(vectors)):
            own = identity[other] == identity[query]
            if video[other] != video[query] or abs(frame[other] - frame[query]) < apart:
                continue
            limited = comparable is not None and not own
            if limited and (identity[other] < 0 or not comparable[identity[query], identity[other]]):
                continue
            scored.append((-float(vectors[query] @ vectors[other]), bool(own)))
        scored.sort()
        hits = [own for _, own in scored]
        if not any(hits) or all(hits):
            continue
        found, total = 0, 0.0
        for rank, own in enumerate(hits, 1):
            if own:
                found += 1
                total += found / rank
        firsts.append(hits[0])
        precisions.append(total / found)
    return (np.mean(firsts), np.mean(precisions), len(firsts)) if firsts else (np.nan, np.nan, 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 4), st.booleans())
def test_it_is_what_going_query_by_query_gives(seed, count, apart, limited):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (count, 3)).astype(np.float32)  # whole numbers: many similarities are equal
    identity, frame = rng.integers(-1, 4, count), rng.integers(0, 8, count)
    video = rng.integers(0, 2, count)
    comparable = rng.random((4, 4)) < 0.6 if limited else None
    found = measure_retrieval(vectors, identity, frame, apart, video, comparable)
    wanted = by_hand(vectors, identity, frame, apart, video, comparable)
    np.testing.assert_allclose([found.rank1, found.mean_average_precision], wanted[:2])
    assert found.queries == wanted[2]


def test_vectors_that_tell_all_objects_apart_are_perfect():
    identity = np.repeat(np.arange(5), 6)
    found = measure_retrieval(np.eye(5, dtype=np.float32)[identity], identity, np.tile(np.arange(6), 5), 2)
    assert (found.rank1, found.mean_average_precision) == (1.0, 1.0)


def test_vectors_that_are_all_the_same_find_nobody():
    identity = np.repeat(np.arange(5), 6)
    found = measure_retrieval(np.ones((30, 3), np.float32), identity, np.tile(np.arange(6), 5), 2)
    assert found.rank1 == 0.0


def test_columns_must_be_equally_long():
    with pytest.raises(InputError, match="equally long"):
        measure_retrieval(np.zeros((3, 2)), np.zeros(2, int), np.zeros(3, int), 1)
