"""What has changed between two labellings of a video."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.engine import changes as words
from spam_plugin.engine.changes import LabelledBoxes, changes


def labelled(*rows):
    """Boxes of (frame, left, track, label); each is 10 wide and high."""
    rows = sorted(rows, key=lambda row: row[0])
    frame, left, track = (np.array([row[at] for row in rows], kind) for at, kind in ((0, int), (1, float), (2, int)))
    xyxy = np.column_stack([left, np.zeros(len(rows)), left + 10, np.full(len(rows), 10.0)])
    return LabelledBoxes(frame, xyxy, track, np.array([row[3] for row in rows], dtype=np.str_))


def test_the_same_boxes_under_other_numbers_are_unchanged():
    before = labelled((0, 0, 1, "car"), (0, 50, 2, "car"), (1, 2, 1, "car"))
    after = labelled((0, 0, 8, "car"), (0, 50, 3, "car"), (1, 2, 8, "car"))
    found = changes(before, after)
    assert found.boxes == 0
    assert found.tracks == {8: 1, 3: 2}
    assert set(found.before) | set(found.after) == {words.UNCHANGED}


def test_a_box_that_was_moved_counts_once():
    found = changes(labelled((0, 0, 1, "car")), labelled((0, 2, 1, "car")))
    assert (found.before.tolist(), found.after.tolist(), found.boxes) == ([words.MOVED], [words.MOVED], 1)


def test_a_box_that_went_and_one_that_came_count_both():
    found = changes(labelled((0, 0, 1, "car")), labelled((0, 8, 1, "car")))
    assert (found.before.tolist(), found.after.tolist(), found.boxes) == ([words.ONLY_HERE], [words.ONLY_HERE], 2)


def test_a_track_that_was_split_is_the_longer_part():
    before = labelled(*((frame, 0, 1, "car") for frame in range(5)))
    after = labelled(*((frame, 0, 1 if frame < 2 else 2, "car") for frame in range(5)))
    found = changes(before, after)
    assert found.tracks == {2: 1}
    assert found.after.tolist() == [
        words.OTHER_TRACK,
        words.OTHER_TRACK,
        words.UNCHANGED,
        words.UNCHANGED,
        words.UNCHANGED,
    ]
    assert found.boxes == 2


def test_two_tracks_that_changed_places_are_told():
    before = labelled(*((frame, 50 * track, track, "car") for frame in range(5) for track in (0, 1)))
    swapped = labelled(
        *((frame, 50 * track, track if frame < 3 else 1 - track, "car") for frame in range(5) for track in (0, 1))
    )
    assert changes(before, swapped).boxes == 4


def test_another_label_is_told():
    found = changes(labelled((0, 0, 1, "car")), labelled((0, 0, 1, "van")))
    assert found.after.tolist() == [words.OTHER_LABEL]


def test_of_two_boxes_at_a_place_each_is_matched_once():
    found = changes(labelled((0, 0, 1, "car")), labelled((0, 0, 1, "car"), (0, 1, 2, "car")))
    assert found.after.tolist() == [words.UNCHANGED, words.ONLY_HERE]
    assert found.boxes == 1


def test_labellings_without_boxes_can_be_compared():
    assert changes(labelled(), labelled()).boxes == 0
    assert changes(labelled(), labelled((0, 0, 1, "car"))).boxes == 1
    assert changes(labelled((0, 0, 1, "car")), labelled()).boxes == 1


boxes = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(1, 4), st.sampled_from(["car", "van"])), max_size=20
)


@given(rows=boxes, others=boxes)
def test_looked_at_from_the_other_side_as_many_boxes_differ(rows, others):
    one, two = labelled(*rows), labelled(*others)
    there, back = changes(one, two), changes(two, one)
    assert (there.before == words.ONLY_HERE).sum() - (there.after == words.ONLY_HERE).sum() == len(one) - len(two)
    assert (there.before != words.ONLY_HERE).sum() == (back.after != words.ONLY_HERE).sum()
    assert len(set(there.tracks.values())) == len(there.tracks)


@given(rows=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), unique=True, max_size=30))
def test_a_labelling_is_itself(rows):
    one = labelled(*((frame, 20 * track, track, "car") for frame, track in rows))
    assert changes(one, one).boxes == 0
