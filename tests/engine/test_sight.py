"""How a person reads tracks: whom they are on, and where they change over."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.engine.metrics import TruthTable
from spam_plugin.engine.sight import Truth, follow


def lane(name: int, frames: range, y: float) -> TruthTable:
    """An object of 40 by 80 pixels that walks to the right."""
    frame = np.array(frames)
    left = 5.0 * frame
    return TruthTable(frame, np.full(len(frame), name), np.stack([left, left * 0 + y, left + 40, left * 0 + y + 80], 1))


def joined(*tables: TruthTable) -> TruthTable:
    return TruthTable(*(np.concatenate([getattr(t, key) for t in tables]) for key in ("frame", "track_id", "xyxy")))


TWO = joined(lane(70, range(20), 0.0), lane(3, range(5, 20), 60.0))  # they overlap a little, and 3 comes later
TRUTH = Truth(TWO)


def test_objects_are_numbered_and_found_by_frame() -> None:
    assert len(TRUTH) == 35
    assert TRUTH.rows_of(0).tolist() == list(range(15))
    assert TRUTH.row_at(0, 4) == -1
    assert TRUTH.frame[TRUTH.row_at(1, 4)] == 4
    assert TRUTH.rows_at(np.array([-1, 1, 9]), np.array([3, 25, 3])).tolist() == [-1, -1, -1]
    assert sorted(TRUTH.name[TRUTH.in_frame(6)].tolist()) == [0, 1]
    assert TRUTH.name[TRUTH.in_frame(2)].tolist() == [1]


def test_a_stretch_ends_where_the_object_is_gone_for_a_frame() -> None:
    truth = Truth(joined(lane(1, range(5), 0), lane(1, range(6, 9), 0), lane(2, range(9, 12), 0)))
    assert truth.stretch(2) == (0, 4)
    assert truth.stretch(5) == (5, 7)
    assert truth.stretch(8) == (8, 10)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), share=st.floats(0.2, 1.0))
def test_tracks_that_follow_objects_are_read_as_these(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(rng.random(len(TRUTH)) < share)
    rng.shuffle(rows)
    if not len(rows):
        return
    _, group = np.unique(TRUTH.name[rows], return_inverse=True)
    reading = follow(TRUTH, group, TRUTH.frame[rows], TRUTH.xyxy[rows] + rng.normal(0, 1, (len(rows), 4)))
    assert reading.name.tolist() == TRUTH.name[rows].tolist()
    assert ((reading.overlap > 0.7) & (reading.overlap <= 1)).all()


def test_a_track_that_changes_over_is_seen_to() -> None:
    rows = np.concatenate([TRUTH.rows_of(1)[:10], TRUTH.rows_of(0)[5:]])
    reading = follow(TRUTH, np.zeros(20, int), TRUTH.frame[rows], TRUTH.xyxy[rows])
    assert reading.name[:9].tolist() == [1] * 9
    assert reading.name[11:].tolist() == [0] * 9


def test_one_bad_box_does_not_make_another_object() -> None:
    rows = TRUTH.rows_of(1)
    boxes = TRUTH.xyxy[rows].copy()
    boxes[10] += [0, 35, 0, 35]  # nearer to the other object
    reading = follow(TRUTH, np.zeros(20, int), TRUTH.frame[rows], boxes)
    assert set(reading.name.tolist()) == {1}
    assert reading.overlap[10] < 0.5


def test_a_track_on_nothing_is_on_no_object() -> None:
    frame = np.arange(10)
    boxes = np.tile([600.0, 600.0, 640.0, 680.0], (10, 1))
    reading = follow(TRUTH, np.zeros(10, int), frame, boxes)
    assert (reading.name == -1).all()
    assert (reading.overlap == 0).all()


def test_a_person_remembers_for_whom_they_drew() -> None:
    rows = TRUTH.rows_of(1)[6:9]
    boxes = TRUTH.xyxy[rows] + [0, 35, 0, 35]
    known = np.array([-1, 1, -1])
    reading = follow(TRUTH, np.zeros(3, int), TRUTH.frame[rows], boxes, known)
    assert reading.name.tolist() == [1, 1, 1]


def test_nothing_is_read_of_nothing() -> None:
    none = np.zeros(0, int)
    assert len(follow(TRUTH, none, none, np.zeros((0, 4))).name) == 0
    empty = Truth(TruthTable.empty())
    assert follow(empty, np.zeros(2, int), np.arange(2), TRUTH.xyxy[:2]).name.tolist() == [-1, -1]
    assert empty.row_at(0, 0) == -1
