"""Views that show what is worth looking at, and what is written for them: onto the views, never onto the dataset."""

from __future__ import annotations

from itertools import pairwise

import fiftyone as fo
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spam_plugin.integrations.fiftyone_ import api, cutting, looking
from spam_plugin.integrations.fiftyone_.raw import change_labels
from spam_plugin.models.errors import InputError

OUT = "spam_tracks"
NUMBERS = ["track", "boxes", "max_uncertainty", "mean_uncertainty", "max_validity", "mean_validity"]


@pytest.fixture
def two(video_dataset, world):
    """Two labelled videos, ``a`` and ``b``; the car of ``b`` is in doubt in frames 1 and 3, and at its link in 4."""
    dataset = video_dataset(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), progress=False)
    doubts = {1: ("uncertainty", 0.9), 3: ("uncertainty", 0.7), 4: ("link_uncertainty", 0.95)}
    b = dataset.match(fo.ViewField("filepath").ends_with("b.mp4")).first()
    keys = [(b.id, frame) for frame in doubts]

    def doubt(at, boxes):
        name, value = doubts[keys[at][1]]
        for box in boxes:
            box.update({name: value} if box["label"] == "car" else {})
        return boxes

    change_labels(dataset, OUT, keys, doubt)
    dataset.set_values("spam_max_uncertainty", [0.5, 0.95])
    return dataset


@pytest.fixture
def sequences(image_dataset, world):
    """Two labelled image sequences; ``b`` is the more uncertain."""
    dataset = image_dataset(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), progress=False)
    doubt = [0.95 if name == "b" else 0.5 for name in dataset.values("sequence")]
    dataset.set_values("spam_max_uncertainty", doubt)
    return dataset


def everything(dataset):
    """All that is stored of a dataset, but for when FiftyOne last touched it: ``to_clips`` does, for a moment."""
    collections = (dataset._sample_collection, dataset._frame_collection)
    found = [list(one.find({}, {"last_modified_at": 0})) for one in collections if one is not None]
    return found, dataset.get_field_schema(flat=True).keys()


def names(view):
    return [sample.filepath[-5] for sample in view]


def draw_by_hand(dataset, sample, frame=None):
    """A person's box in a frame."""

    def mine(at, boxes):
        return [{**box, "source": "human"} for box in boxes[:1]]

    change_labels(dataset, OUT, [(sample.id, frame)], mine)


# --- videos


def test_the_most_uncertain_video_comes_first(two):
    shown = looking.most_uncertain(two, OUT)
    assert names(shown.view) == ["b", "a"]
    assert shown.said == "2 videos, the most uncertain first"


def test_of_sequences_each_is_one_tile_and_the_most_uncertain_comes_first(sequences):
    shown = looking.most_uncertain(sequences, OUT)
    assert [sample.sequence for sample in shown.view] == ["b", "a"]
    assert "2 videos" in shown.said


def test_where_nothing_is_labelled_it_says_so(video_dataset, world):
    shown = looking.most_uncertain(video_dataset(a=world.frames()), OUT)
    assert shown.view is None
    assert "no video is labelled" in shown.said


@pytest.mark.parametrize("status", ["in review", "reviewed"])
def test_videos_are_shown_by_their_status(two, status):
    assert looking.with_status(two, OUT, status).view is None
    assert status in looking.with_status(two, OUT, status).said
    assert not looking.any_with_status(two, OUT, status)
    two.set_values("spam_review_status", ["unreviewed", status])
    assert looking.any_with_status(two, OUT, status)
    shown = looking.with_status(two, OUT, status)
    assert names(shown.view) == ["b"]
    assert shown.said == f"1 video {status}"


def test_a_status_is_asked_for_before_anything_is_labelled(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    assert looking.with_status(dataset, OUT, "reviewed").view is None
    assert not looking.any_with_status(dataset, OUT, "reviewed")


def test_a_video_with_a_box_of_a_person_is_shown(two):
    assert looking.changed_by_people(two, OUT).view is None
    assert not looking.any_changed_by_people(two, OUT)
    draw_by_hand(two, two.last(), 3)
    assert looking.any_changed_by_people(two, OUT)
    assert names(looking.changed_by_people(two, OUT).view) == ["b"]


def test_a_whole_sequence_is_shown_where_a_person_drew_in_one_image(sequences):
    assert looking.changed_by_people(sequences, OUT).view is None
    draw_by_hand(sequences, sequences.match(fo.ViewField("sequence") == "b").first())
    view = looking.changed_by_people(sequences, OUT).view
    assert [sample.sequence for sample in view] == ["b"]
    assert len(view.flatten()) == 4


def test_a_look_that_takes_too_long_counts_as_something_to_see(two, monkeypatch):
    from pymongo.errors import ExecutionTimeout

    def slow(*args, **named):
        raise ExecutionTimeout("too long")

    monkeypatch.setattr("pymongo.collection.Collection.find_one", slow)
    assert looking._any(two._frame_collection, {})


# --- tracks


def test_a_track_is_a_clip_with_its_numbers_and_the_dataset_stays_as_it_is(two):
    before = everything(two)
    shown = cutting.each_track(two, OUT)
    assert shown.said == "4 tracks in 2 videos, the most uncertain first"
    assert everything(two) == before
    rows = list(zip(*shown.view.values([*NUMBERS, "support"]), strict=True))
    track, boxes, greatest, mean, validity, mean_validity, support = rows[0]
    assert (track, boxes, greatest, support) == (1, 3, 0.95, [1, 4])
    assert mean == pytest.approx((0.9 + 0.7 + 0.95) / 3)
    assert (validity, mean_validity) == (0.75, 0.75)
    assert [row[2] for row in rows[1:]] == [0.5, 0.5, 0.5]


def test_a_clip_of_a_track_shows_no_other_track(two):
    view = cutting.each_track(two, OUT).view
    for clip in view:
        drawn = {box.index for frame in clip.frames.values() if frame[OUT] for box in frame[OUT].detections}
        assert drawn == {clip.track}


def test_the_app_gets_the_same_clips_when_it_asks_again(two):
    first, again = cutting.each_track(two, OUT).view, cutting.each_track(two, OUT).view
    assert first._dataset.name != again._dataset.name
    assert first.values("id") == again.values("id")


def test_a_view_that_went_to_the_browser_and_back_has_its_numbers(two):
    view = cutting.each_track(two, OUT).view
    back = fo.DatasetView._build(two, view._serialize())
    assert back.values("max_uncertainty") == [0.95, 0.5, 0.5, 0.5]
    assert len(back.match(fo.ViewField("max_uncertainty") > 0.6)) == 1


def test_tracks_of_people_without_uncertainty_come_last(two):
    keys = [(two.last().id, frame) for frame in (1, 3, 4)]

    def mine(at, boxes):
        sure = {"uncertainty", "link_uncertainty", "confidence"}
        return [{key: value for key, value in box.items() if key not in sure} for box in boxes]

    change_labels(two, OUT, keys, mine)
    assert cutting.each_track(two, OUT).view.values("max_uncertainty") == [0.5, 0.5, None, None]


def test_tracks_of_sequences_are_cut_out_of_their_images(sequences):
    before = everything(sequences)
    shown = cutting.each_track(sequences, OUT)
    assert everything(sequences) == before
    assert "4 tracks, cut out of their images" in shown.said
    assert len(shown.view) == 4
    boxes = [(patch.sequence, patch[OUT].index, patch.frame_number) for patch in shown.view.flatten()]
    assert len(boxes) == 12
    assert set(shown.view.flatten().values("max_validity")) == {0.75}
    assert set(shown.view.flatten().values("boxes")) == {3}


def test_without_tracks_it_says_so(two, sequences):
    for dataset in (two, sequences):
        collection = dataset._frame_collection if dataset is two else dataset._sample_collection
        collection.update_many({}, {"$set": {OUT: None}})
        shown = cutting.each_track(dataset, OUT)
        assert shown.view is None
        assert "no tracks" in shown.said


def test_of_too_many_videos_the_most_uncertain_are_shown(two, monkeypatch):
    monkeypatch.setattr(cutting, "MOST_FRAMES", 5)
    shown = cutting.each_track(two, OUT)
    assert "of the 1 most uncertain of 2 videos" in shown.said
    assert set(shown.view.values("filepath")) == {"/nowhere/b.mp4"}


def test_of_too_many_sequences_the_most_uncertain_are_shown(sequences, monkeypatch):
    monkeypatch.setattr(cutting, "MOST_FRAMES", 5)
    shown = cutting.each_track(sequences, OUT)
    assert "of the 1 most uncertain of 2 videos" in shown.said
    assert set(shown.view.flatten().values("sequence")) == {"b"}


@pytest.mark.parametrize("limit", ["MOST_CLIPS", "MOST_CLIP_FRAMES"])
def test_of_too_many_tracks_the_most_uncertain_are_shown(two, monkeypatch, limit):
    monkeypatch.setattr(cutting, limit, {"MOST_CLIPS": 1, "MOST_CLIP_FRAMES": 6}[limit])
    shown = cutting.each_track(two, OUT)
    assert "the 1 most uncertain of 4 tracks" in shown.said
    assert shown.view.values("max_uncertainty") == [0.95]


# --- spans


def test_uncertain_frames_of_a_track_are_one_clip_with_its_uncertainty(two):
    before = everything(two)
    shown = cutting.uncertain_spans(two, OUT, 0.6, 3)
    assert everything(two) == before
    assert shown.said == "1 span in 1 video, the most uncertain first"
    (clip,) = shown.view
    assert (clip.support, clip.track, clip.boxes, clip.max_uncertainty) == ([1, 4], 1, 3, 0.95)
    assert clip.mean_uncertainty == pytest.approx((0.9 + 0.7 + 0.95) / 3)
    assert {len(frame[OUT].detections) for frame in clip.frames.values() if frame[OUT]} == {1}
    assert cutting.count_spans(two, OUT, 0.6, 3) == (1, 1)


def test_the_other_tracks_of_a_span_can_be_shown_too(two):
    (clip,) = cutting.uncertain_spans(two, OUT, 0.6, 3, alone=False).view
    assert {len(frame[OUT].detections) for frame in clip.frames.values() if frame[OUT]} == {2}


def test_a_span_begins_where_the_threshold_is_exceeded(two):
    (clip,) = cutting.uncertain_spans(two, OUT, 0.92, 1).view
    assert clip.support == [4, 4]


@pytest.mark.parametrize(("threshold", "least"), [(0.96, 1), (0.6, 5)])
def test_where_no_span_is_uncertain_enough_and_long_enough_it_says_so(two, threshold, least):
    shown = cutting.uncertain_spans(two, OUT, threshold, least)
    assert shown.view is None
    assert f"more uncertain than {threshold:g}" in shown.said
    assert cutting.count_spans(two, OUT, threshold, least) == (0, 0)


@pytest.mark.parametrize(("threshold", "least"), [(1.0, 1), (-0.1, 1), (0.5, 0), (float("nan"), 1)])
def test_a_threshold_or_length_that_cannot_be_is_refused(two, threshold, least):
    with pytest.raises(InputError, match="choose"):
        cutting.uncertain_spans(two, OUT, threshold, least)


def test_uncertain_boxes_of_sequences_are_cut_out(sequences):
    assert cutting.uncertain_spans(sequences, OUT, 0.6).view is None
    b = sequences.match((fo.ViewField("sequence") == "b") & (fo.ViewField("frame_number") == 3)).first()
    change_labels(sequences, OUT, [(b.id, None)], lambda at, boxes: [{**boxes[0], "uncertainty": 0.9}, boxes[1]])
    shown = cutting.uncertain_spans(sequences, OUT, 0.6)
    assert len(shown.view) == 1
    (patch,) = shown.view.flatten()
    assert (patch.sequence, patch.frame_number, patch.max_uncertainty) == ("b", 3, 0.9)
    assert "only boxes more uncertain than 0.6" in shown.said


def test_spans_of_many_frames_are_not_counted_beforehand(two, monkeypatch):
    monkeypatch.setattr(cutting, "MOST_FRAMES", 2)
    assert cutting.count_spans(two, OUT, 0.6, 3) is None


@given(frames=st.sets(st.integers(1, 80)), least=st.integers(1, 9))
def test_spans_hold_all_frames_and_lie_apart(frames, least):
    spans = cutting.joined(np.array(sorted(frames), np.int64), least)
    held = {frame for frame in frames for first, last in spans if first <= frame <= last}
    for first, last in spans:
        assert first in frames
        assert last in frames
        assert last - first + 1 >= least
    for (_, last), (first, _) in pairwise(spans):
        assert first - last > cutting.JOIN + 1
    whole = cutting.joined(np.array(sorted(frames), np.int64), 1)
    assert {frame for frame in frames for first, last in whole if first <= frame <= last} == frames
    lost = [(first, last) for first, last in whole if last - first + 1 < least]
    assert frames - held == {frame for frame in frames for first, last in lost if first <= frame <= last}


# --- colours


def test_the_app_draws_each_track_in_a_colour_of_its_own(two, sequences):
    for dataset, path in ((two, f"frames.{OUT}"), (sequences, OUT)):
        assert not looking.is_coloured_by_track(dataset)
        looking.colour_by_track(dataset, OUT)
        dataset.reload()
        assert looking.is_coloured_by_track(dataset)
        assert dataset.app_config.active_fields.paths == [path]
        assert len(set(dataset.app_config.color_scheme.color_pool)) == 30
