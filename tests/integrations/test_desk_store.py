"""The dataset's side of the round trip to a review desk, with real FiftyOne: labels, patches, conflicts."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.choosing import QueryPlan
from spam_plugin.engine.desk.labels import Conflict, Patch, Put
from spam_plugin.engine.desk.ports import DeskStore
from spam_plugin.engine.queries import Query, Question
from spam_plugin.integrations.fiftyone_ import api, raw
from spam_plugin.integrations.fiftyone_.answers import AnswerBook
from spam_plugin.integrations.fiftyone_.desk import FiftyOneDesk
from spam_plugin.integrations.fiftyone_.journal import SyncJournal
from spam_plugin.integrations.fiftyone_.queries import load_queries
from spam_plugin.integrations.fiftyone_.store import FiftyOneStore
from spam_plugin.models.errors import InputError, MissingError

QUIET = {"progress": False}


@pytest.fixture
def labelled(video_dataset, world):
    """A labelled video: a car and a person in frames 1, 3 and 4 of 4, of which the third is interpolated."""
    dataset = video_dataset(a=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)
    return dataset


@pytest.fixture
def labelled_images(image_dataset, world):
    """The same as images."""
    dataset = image_dataset(a=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)
    return dataset


@pytest.fixture
def own_tracks(video_dataset, image_dataset):
    """A function that makes a dataset with a user's own field of tracks: 0-based frame -> raw boxes."""

    def make(frames, images=False, **attributes):
        dataset = (image_dataset if images else video_dataset)(a={})
        path = "mine" if images else "frames.mine"
        raw.declare_detections(dataset, path, {name: (kind, None) for name, kind in attributes.items()})
        if images:
            ids = dict(zip(*dataset.values(["frame_number", "id"]), strict=True))
            raw.write_image_labels(dataset, "mine", {ids[frame + 1]: found for frame, found in frames.items()})
        else:
            raw.write_frame_labels(
                dataset, dataset.first().id, "mine", {frame + 1: found for frame, found in frames.items()}
            )
        return dataset

    return make


def only(desk):
    """Key of the only video, and its labels."""
    ((key, _),) = desk.videos()
    return key, desk.labels(key)


def stored(dataset, field):
    """0-based frame -> raw boxes, of the only video."""
    if dataset.media_type == "video":
        return {number - 1: boxes for number, boxes in raw.frame_documents(dataset, dataset.first().id, field)}
    numbers = dict(zip(*dataset.values(["id", "frame_number"]), strict=True))
    return {numbers[key] - 1: found for key, found in raw.image_documents(dataset, list(numbers), field)}


def put_for(labels, row, **changes):
    """What leaves one box as it is, with changes."""
    track = int(labels.track[row])
    return replace(
        Put(int(labels.frame[row]), labels.key[row], track, labels.instance[track], labels.label[row]), **changes
    )


# --- reading


def test_the_store_has_what_the_round_trip_asks_for(labelled):
    store = FiftyOneDesk(labelled)
    assert [name for name in dir(DeskStore) if not name.startswith("_") and not hasattr(store, name)] == []


def test_a_field_of_tracks_is_read_as_columns(labelled, world):
    desk = FiftyOneDesk(labelled)
    assert isinstance(desk.videos(), list)
    key, labels = only(desk)
    info = desk.info(key)
    assert (info.num_frames, info.width, info.height, info.frame_rate) == (4, world.width, world.height, 10.0)
    assert desk.frame_numbers(key).tolist() == [0, 1, 2, 3]
    assert labels.frame.tolist() == [0, 0, 2, 2, 3, 3]
    assert labels.track.tolist() == [1, 2] * 3
    assert labels.label == ("car", "person") * 3
    assert labels.xyxy[2].tolist() == [12.0, 10.0, 32.0, 30.0]
    assert labels.observed.tolist() == [True, True, False, False, True, True]
    assert not labels.human.any()
    assert labels.keyframe.tolist() == [True, True, False, False, False, False]
    assert np.allclose(labels.uncertainty, 0.5)
    assert labels.values == ()
    boxes = stored(labelled, "spam_tracks")
    assert labels.key == tuple(str(box["_id"]) for frame in sorted(boxes) for box in boxes[frame])
    assert labels.instance == {box["index"]: str(box["instance"]["_id"]) for box in boxes[0]}


def test_images_are_read_in_the_order_of_their_frames_like_a_video(labelled, labelled_images):
    (_, video), (key, images) = only(FiftyOneDesk(labelled)), only(FiftyOneDesk(labelled_images))
    for name in ("frame", "xyxy", "track", "human", "observed", "keyframe", "uncertainty"):
        assert np.array_equal(getattr(video, name), getattr(images, name))
    assert video.label == images.label
    assert FiftyOneDesk(labelled_images).info(key).num_frames == 4


def test_frames_are_counted_by_the_images_that_are_there(own_tracks, world):
    dataset = own_tracks({frame: [world.box(1, 1, 5, 5, index=1)] for frame in (1, 3)}, images=True)
    dataset.delete_samples(dataset.match({"frame_number": 3}))
    desk = FiftyOneDesk(dataset, "mine")
    key, labels = only(desk)
    assert desk.frame_numbers(key).tolist() == [0, 1, 3]
    assert desk.info(key).num_frames == 3
    assert labels.frame.tolist() == [1, 2]
    desk.apply(key, Patch((put_for(labels, 1, track=7),)))
    assert [box["index"] for box in stored(dataset, "mine")[3]] == [7]
    assert len(desk.media(key).files) == 3


def test_a_users_own_tracks_are_a_persons_and_go_by_their_number(own_tracks, world):
    frames = {0: [world.box(1, 1, 5, 5, index=2), world.box(9, 9, 5, 5), world.box(30, 9, 5, 5)]}
    desk = FiftyOneDesk(own_tracks(frames), "frames.mine")
    key, labels = only(desk)
    assert labels.human.all()
    assert not labels.observed.any()
    assert labels.instance == {2: f"{key}/2"}
    assert sorted(labels.track.tolist()) == [-2, -1, 2]
    assert not labels.uncertainty.any()


def test_a_box_is_a_persons_unless_a_model_says_that_it_made_it(own_tracks, world):
    sources = ("model", "interpolated", "propagated", "human", "cvat", None)
    frames = {0: [world.box(i, i, 5, 5, index=i + 1, source=source) for i, source in enumerate(sources)]}
    _, labels = only(FiftyOneDesk(own_tracks(frames, source=fo.StringField), "mine"))
    assert labels.human.tolist() == [False, False, False, True, True, True]
    assert labels.observed.tolist() == [True, False, False, False, False, False]


def test_two_tracks_never_have_the_same_identity(own_tracks, world):
    one = ObjectId()
    frames = {0: [world.box(1, 1, 5, 5, index=i, instance_id=one) for i in (1, 2)]}
    key, labels = only(FiftyOneDesk(own_tracks(frames), "mine"))
    assert labels.instance == {1: str(one), 2: f"{key}/2"}


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ({"bounding_box": [0.1, 0.1, 0.0, 0.2]}, "track 3: box has no area"),
        ({"bounding_box": [0.1, float("nan"), 0.1, 0.2]}, "track 3: box is not four finite numbers"),
        ({"bounding_box": None, "index": None}, "a box without a track: box is not four finite numbers"),
        ({"index": 0}, "track 0: its index is below 1.*number the tracks of a video from 1"),
        ({"index": 1}, r"track 1: it has two boxes in this frame \(xyxy .* px\); delete one of them"),
    ],
)
@pytest.mark.parametrize("images", [False, True])
def test_a_box_that_cannot_be_used_is_named_or_left_out(own_tracks, world, box, said, images):
    good = [world.box(5, 5, 10, 10, index=1), world.box(5, 5, 10, 10, index=2)]
    dataset = own_tracks({2: [*good, {**world.box(9, 9, 9, 9, index=3), **box}]}, images)
    desk = FiftyOneDesk(dataset, "mine")
    with pytest.raises(InputError, match=rf"video 'a'.*frame 3, field 'mine', {said}"):
        only(desk)
    _, labels = only(FiftyOneDesk(dataset, "mine", skip_bad=True))
    assert labels.key == tuple(str(one["_id"]) for one in good)


def test_boxes_beyond_the_end_of_the_video_are_named(own_tracks, world):
    dataset = own_tracks({7: [world.box(5, 5, 10, 10, index=1)]})
    with pytest.raises(InputError, match=r"frame 8, field 'mine', track 1: frame lies beyond the end"):
        only(FiftyOneDesk(dataset, "mine"))


def test_a_field_that_is_not_there_or_of_another_kind_is_named(labelled):
    with pytest.raises(MissingError, match=r"no field 'frames.nothing'.*'spam_tracks'"):
        FiftyOneDesk(labelled, "nothing")
    labelled.add_frame_field("number", fo.IntField)
    with pytest.raises(InputError, match="not Detections"):
        FiftyOneDesk(labelled, "number")


def test_an_attribute_of_another_type_than_ours_is_refused_at_once(own_tracks):
    dataset = own_tracks({}, keyframe=fo.StringField)
    with pytest.raises(InputError, match="an attribute 'keyframe' of type StringField"):
        FiftyOneDesk(dataset, "mine")


# --- media


def test_media_are_files_or_what_the_desks_share_calls_them(labelled, labelled_images, tmp_path):
    (key, _), *_ = FiftyOneDesk(labelled).videos()
    assert FiftyOneDesk(labelled).media(key).files == (Path("/nowhere/a.mp4"),)
    shared = FiftyOneDesk(labelled, remote=("share", Path("/nowhere"), "videos")).media(key)
    assert (shared.files, shared.remote) == (("videos/a.mp4",), "share")
    cloud = FiftyOneDesk(labelled, remote=("17", Path("/"), "")).media(key)
    assert (cloud.files, cloud.remote) == (("nowhere/a.mp4",), "17")
    with pytest.raises(InputError, match=r"video 'a'.*: /nowhere/a.mp4 does not lie in /elsewhere.*upload"):
        FiftyOneDesk(labelled, remote=("share", Path("/elsewhere"), "")).media(key)
    numbers = []
    for sample in labelled_images.iter_samples(autosave=True):
        sample.filepath = str(tmp_path / f"{sample.frame_number}.png")
        numbers.append(sample.frame_number)
    assert numbers != sorted(numbers)
    desk = FiftyOneDesk(labelled_images)
    (key, _), *_ = desk.videos()
    assert [Path(file).name for file in desk.media(key).files] == ["1.png", "2.png", "3.png", "4.png"]


# --- classes and attributes


def test_classes_are_those_of_the_boxes_and_of_the_dataset(labelled):
    labelled.default_classes = ["bus"]
    labelled.save()
    specs = FiftyOneDesk(labelled).classes()
    assert [spec.name for spec in specs] == ["bus", "car", "person"]
    assert [(one.name, one.kind, one.mutable) for one in specs[0].attributes] == [
        ("track_uid", "text", False), ("uncertainty", "text", False), ("reason", "text", False)
    ]  # fmt: skip


def test_a_field_without_classes_is_no_ground_to_work_on(own_tracks):
    with pytest.raises(InputError, match=r"has no classes.*default_classes"):
        FiftyOneDesk(own_tracks({}), "mine").classes()


VALUES = {"parked": True, "age": 3, "speed": 0.1, "colour": "red", "plate": "A 1"}
KINDS = {
    "parked": fo.BooleanField, "age": fo.IntField, "speed": fo.FloatField, "colour": fo.StringField,
    "plate": fo.StringField,
}  # fmt: skip


def test_what_users_say_of_their_boxes_goes_out_as_text_and_comes_back(own_tracks, world):
    frames = {
        0: [world.box(5, 5, 10, 10, index=1, **VALUES), world.box(50, 5, 10, 10, index=2, colour="blue")],
        1: [world.box(5, 5, 10, 10, index=1, age=2**60, speed=7.0, colour="red")],
    }
    dataset = own_tracks(frames, **KINDS)
    desk = FiftyOneDesk(dataset, "mine", attributes=None)
    key, labels = only(desk)
    assert labels.said(0) == {"parked": "true", "age": "3", "speed": "0.1", "colour": "red", "plate": "A 1"}
    assert labels.said(1) == {"parked": "false", "age": "", "speed": "", "colour": "blue", "plate": ""}
    assert labels.said(2)["age"] == str(2**60)
    assert labels.said(2)["speed"] == "7"
    (spec,) = desk.classes()
    assert [(one.name, one.kind, one.mutable, one.values, one.default) for one in spec.attributes[3:]] == [
        ("parked", "checkbox", True, (), "false"), ("age", "text", True, (), ""), ("speed", "text", True, (), ""),
        ("colour", "select", True, ("blue", "red"), "blue"), ("plate", "text", True, (), ""),
    ]  # fmt: skip
    desk.apply(key, Patch(tuple(put_for(labels, row, values=labels.said(row)) for row in range(3))))
    assert only(desk)[1].values == labels.values
    assert {name: stored(dataset, "mine")[0][0][name] for name in VALUES} == VALUES
    said = {"parked": "false", "age": "4", "speed": "", "colour": "green", "plate": "", "unknown": "x"}
    desk.apply(key, Patch((put_for(labels, 0, values=said),)))
    box = stored(dataset, "mine")[0][0]
    assert (box["parked"], box["age"], box["colour"], box["plate"]) == (False, 4, "green", "")
    assert "speed" not in box
    assert "unknown" not in box
    dataset.first().frames[1].mine.detections[0]  # FiftyOne can read it


def test_a_value_that_does_not_fit_its_type_is_left_out_and_told(own_tracks, world, caplog):
    dataset = own_tracks({0: [world.box(5, 5, 10, 10, index=1, **VALUES)]}, **KINDS)
    desk = FiftyOneDesk(dataset, "mine", attributes=["age", "parked", "speed"])
    key, labels = only(desk)
    bad = {"age": "3.5", "parked": "maybe", "speed": "nan"}
    desk.apply(key, Patch((put_for(labels, 0, values=bad),)))
    assert only(desk)[1].values == labels.values
    assert "frame 1, track 1: age is left as it was: '3.5' is no whole number" in caplog.text
    desk.apply(key, Patch((put_for(labels, 0, values={"age": str(2**70)}),)))
    assert only(desk)[1].values == labels.values


def test_attributes_that_cannot_be_edited_are_refused(own_tracks):
    dataset = own_tracks({}, vector=fo.VectorField, age=fo.IntField)
    with pytest.raises(MissingError, match=r"no declared attribute 'size'; there are: 'age'"):
        FiftyOneDesk(dataset, "mine", attributes=["size"])
    with pytest.raises(InputError, match="is of type VectorField"):
        FiftyOneDesk(dataset, "mine", attributes=["vector"])
    with pytest.raises(InputError, match="is the plugin's own"):
        FiftyOneDesk(dataset, "mine", attributes=["confidence"])


# --- questions and answers


def test_open_questions_come_with_positions_and_are_closed_by_their_answers(labelled_images, world):
    desk = FiftyOneDesk(labelled_images)
    (key, _), *_ = desk.videos()
    assert desk.queries() == {}

    def query(frame, gain):
        box = Box(frame, (10.0, 10.0, 30.0, 30.0))
        return Query(key, Question.VALID, (box,), (), frame, 0, 0, 0.5, 1, gain)

    asked = [query(3, 5.0), query(2, 4.0), query(0, 3.0)]
    plan = QueryPlan(tuple(asked), 3, 3, 12.0, {}, {}, (), "fake")
    FiftyOneStore(labelled_images, "candidates", "spam_tracks").write_queries(plan, {})
    assert load_queries(labelled_images, "spam_tracks") == asked
    labelled_images.delete_samples(labelled_images.match({"frame_number": 3}))
    desk = FiftyOneDesk(labelled_images)
    (shown,) = desk.queries().values()
    assert [one.frame for one in shown] == [2, 0]
    assert shown[0].boxes == (Box(2, (10.0, 10.0, 30.0, 30.0)),)
    assert shown[0].key != asked[0].key
    answers = [Answer(key, Verdict.VALID, (Box(3, (10.0, 10.0, 30.0, 30.0)),), query=shown[0].key)]
    assert desk.keep_answers(answers, [shown[0].key]) == 1
    assert desk.keep_answers(answers, [shown[0].key]) == 0
    assert [answer.query for answer in AnswerBook(labelled_images, "spam_tracks").all()] == [asked[0].key]
    assert desk.queries() == {key: [asked[2]]}
    assert desk.keep_answers([], [asked[2].key]) == 0
    assert desk.queries() == {}
    assert labelled_images.distinct("spam_open_queries") == [0]


def test_a_round_about_some_videos_leaves_the_questions_about_others_open(video_dataset, world, model):
    frames = {
        t: [world.box(10 + 4 * t, 10, 20, 20), *([world.box(60, 20, 10, 20, score=0.4)] if t != 1 else [])]
        for t in range(4)
    }
    dataset = video_dataset(a=frames, b=frames)
    api.label(dataset, model=model, **QUIET)
    api.queries(dataset, budget="6 clicks", model=model, view=dataset.limit(1), **QUIET)
    api.queries(dataset, budget="6 clicks", model=model, view=dataset.skip(1), **QUIET)
    found = FiftyOneDesk(dataset).queries()
    assert list(found) == list(reversed(dataset.values("id")))
    assert [len(found[key]) for key in dataset.values("id")] == dataset.values("spam_open_queries")
    assert FiftyOneDesk(dataset.limit(1)).queries().keys() == {dataset.first().id}


# --- patches


@pytest.mark.parametrize("images", [False, True])
def test_a_patch_changes_the_boxes_that_it_names_and_no_others(labelled, labelled_images, world, images):
    dataset = labelled_images if images else labelled
    desk = FiftyOneDesk(dataset)
    key, labels = only(desk)
    before = stored(dataset, "spam_tracks")
    new, instance = desk.new_key(), desk.new_instance(key, 3)
    patch = Patch(
        (
            put_for(labels, 0, xyxy=(20.0, 10.0, 40.0, 20.0), source="human", keyframe=True, answered=True),
            put_for(labels, 2, track=3, instance=instance),
            Put(1, new, 3, instance, "car", (1.0, 2.0, 11.0, 22.0), "interpolated", False, is_new=True),
            Put(1, desk.new_key(), 3, instance, "car", (1.0, 2.0, 11.0, 22.0), "human", True),
        ),
        {2: (labels.key[3],), 1: (desk.new_key(),)},
    )
    desk.apply(key, Patch.from_dict(patch.as_dict()))
    after = stored(dataset, "spam_tracks")
    moved, other = after[0]
    assert other == before[0][1]
    assert moved["bounding_box"] == [20 / world.width, 10 / world.height, 20 / world.width, 10 / world.height]
    assert all(type(side) is float for side in moved["bounding_box"])
    assert (moved["source"], moved["keyframe"], moved["answered"]) == ("human", True, True)
    assert (moved["confidence"], moved["uncertainty"], moved["link_uncertainty"]) == (1.0, 0.0, 0.0)
    assert (moved["index"], moved["instance"]) == (1, before[0][0]["instance"])
    (drawn,) = after[1]
    assert (str(drawn["_id"]), drawn["index"], drawn["source"]) == (new, 3, "interpolated")
    assert str(drawn["instance"]["_id"]) == instance
    (renumbered,) = after[2]
    assert renumbered == {**before[2][0], "index": 3, "instance": drawn["instance"]}
    assert after[3] == before[3]
    assert set(after) == {0, 1, 2, 3}
    field = "spam_tracks" if images else "frames.spam_tracks"
    assert sorted(dataset.values(f"{field}.detections.index", unwind=True)) == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("images", [False, True])
def test_the_same_patch_again_touches_nothing(labelled, labelled_images, images):
    dataset = labelled_images if images else labelled
    desk = FiftyOneDesk(dataset)
    key, labels = only(desk)
    patch = Patch(
        (
            put_for(labels, 0, xyxy=(20.0, 10.0, 40.0, 20.0), source="human", keyframe=True),
            Put(1, "", 9, desk.new_instance(key, 9), "car", (0.1, 0.2, 10.7, 22.3), "human", True, True, is_new=True),
        ),
        {3: (labels.key[4],)},
    ).named(desk.new_key)
    desk.apply(key, patch)
    collection = dataset._sample_collection if images else dataset._frame_collection
    once = list(collection.find().sort("_id", 1))
    desk.apply(key, patch)
    assert list(collection.find().sort("_id", 1)) == once


def test_a_patch_that_broke_off_is_finished_by_doing_it_again(labelled, monkeypatch):
    desk = FiftyOneDesk(labelled)
    key, labels = only(desk)
    patch = Patch(tuple(put_for(labels, row, track=7) for row in (0, 2, 4)), {0: (labels.key[1],), 3: (labels.key[5],)})
    monkeypatch.setattr(raw, "FRAMES_PER_CHANGE", 1)
    write, written = fo.Dataset._bulk_write, []

    def fail_at_the_second(self, ops, **options):
        written.append(ops)
        if len(written) == 2:
            raise KeyboardInterrupt
        return write(self, ops, **options)

    with monkeypatch.context() as patched:
        patched.setattr(fo.Dataset, "_bulk_write", fail_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            desk.apply(key, patch)
    assert [box["index"] for boxes in stored(labelled, "spam_tracks").values() for box in boxes] == [7, 1, 2, 1, 2]
    desk.apply(key, patch)
    assert [box["index"] for boxes in stored(labelled, "spam_tracks").values() for box in boxes] == [7, 7, 2, 7]


def test_an_answered_box_that_is_moved_is_a_persons_from_then_on(own_tracks, world):
    frames = {0: [world.box(5, 5, 9, 9, index=i, source="human", answered=True) for i in (1, 2, 3, 4)]}
    dataset = own_tracks(frames, source=fo.StringField, answered=fo.BooleanField, age=fo.IntField)
    desk = FiftyOneDesk(dataset, "mine", ["age"])
    key, labels = only(desk)
    box = (1.0, 1.0, 9.0, 9.0)
    changes = [{"xyxy": box}, {"xyxy": box, "answered": True}, {"values": {"age": "3"}}, {"label": "bus"}]
    desk.apply(key, Patch(tuple(put_for(labels, row, **change) for row, change in enumerate(changes))))
    assert [one.get("answered") for one in stored(dataset, "mine")[0]] == [None, True, None, True]


def test_a_frame_without_a_document_gets_one_for_a_new_box_and_other_fields_stay(own_tracks, world):
    dataset = own_tracks({0: [world.box(5, 5, 9, 9, index=1)]})
    dataset.add_frame_field("weather", fo.StringField)
    sample = dataset.first()
    sample.frames[1]["weather"] = "rain"
    sample.save()
    desk = FiftyOneDesk(dataset, "mine")
    key, labels = only(desk)
    new = Put(2, desk.new_key(), 1, labels.instance[1], "car", (0.0, 0.0, 5.0, 5.0), "human", True, is_new=True)
    desk.apply(key, Patch((put_for(labels, 0, label="bus"), new)))
    sample = fo.load_dataset(dataset.name).first()
    assert [box.label for box in sample.frames[1].mine.detections] == ["bus"]
    assert sample.frames[1].weather == "rain"
    (box,) = sample.frames[3].mine.detections
    assert (box.index, box.source, box.keyframe) == (1, "human", True)
    assert "instance" not in stored(dataset, "mine")[2][0]  # as no box of this track has one
    assert 2 not in sample.frames
    schema = dataset.get_field("frames.mine.detections").field.get_field_schema()
    assert {"source", "keyframe", "answered", "uncertainty", "link_uncertainty", "instance"} <= set(schema)


def test_frames_in_memory_show_what_was_written(labelled):
    sample = labelled.first()
    assert sample.frames[1].spam_tracks.detections[0].index == 1
    desk = FiftyOneDesk(labelled)
    key, labels = only(desk)
    desk.apply(key, Patch((put_for(labels, 0, track=5),)))
    assert sample.frames[1].spam_tracks.detections[0].index == 5


def test_a_new_track_gets_the_same_identity_for_the_same_number_and_nobody_elses(labelled):
    desk = FiftyOneDesk(labelled)
    key, labels = only(desk)
    made = desk.new_instance(key, 9)
    assert made == FiftyOneDesk(labelled).new_instance(key, 9)
    assert made != desk.new_instance(key, 8)
    desk.apply(key, Patch((put_for(labels, 0, track=3, instance=made),)))
    only(desk)
    assert desk.new_instance(key, 9) not in (made, *labels.instance.values())


# --- conflicts and review


@pytest.mark.parametrize("images", [False, True])
def test_conflicts_show_the_other_version_until_they_are_settled(labelled, labelled_images, images):
    dataset = labelled_images if images else labelled
    desk = FiftyOneDesk(dataset)
    (key, _), *_ = desk.videos()
    desk.show_conflicts(key, [])
    path = "spam_conflicts" if images else "frames.spam_conflicts"
    assert dataset.get_field(path) is None
    box = Conflict(key, "box", 0, 1, 1, (3, 4), "somebody else", {0: (0, 0, 50, 25), 1: (0, 0, 5, 5)}, "car")
    gone = Conflict(key, "gone", 0, 3, 2, (5,), "taken away")
    lost = Conflict(key, "gone", 1, 1, 77, (5,), "of a track that is not there any more")
    desk.show_conflicts(key, [box, gone, lost])
    found = stored(dataset, "spam_conflicts")
    assert {frame: [one.get("index") for one in boxes] for frame, boxes in found.items()} == {
        0: [1, 2], 1: [1, 77], 2: [2], 3: [2]
    }  # fmt: skip
    assert found[0][0]["bounding_box"] == [0.0, 0.0, 0.5, 0.5]
    assert [found[0][0][name] for name in ("label", "text", "jobs")] == ["car", "somebody else", "3, 4"]
    assert (found[2][0]["label"], found[2][0]["text"]) == ("gone", "taken away")
    assert dataset.distinct(f"{path}.detections.jobs") == ["3, 4", "5"]
    desk.show_conflicts(key, [box])
    assert set(stored(dataset, "spam_conflicts")) == {0, 1}
    desk.show_conflicts(key, [])
    assert stored(dataset, "spam_conflicts") == {}


def test_a_users_own_field_is_not_taken_for_conflicts_or_review(labelled):
    labelled.add_frame_field("spam_conflicts", fo.StringField)
    with pytest.raises(InputError, match=r"'frames.spam_conflicts'.*was not made by this plugin"):
        FiftyOneDesk(labelled)
    labelled.delete_frame_field("spam_conflicts")
    labelled.clone_sample_field("spam_review_status", "copy")
    labelled.delete_sample_field("spam_review_status")
    labelled.add_sample_field("spam_review_status", fo.StringField)
    with pytest.raises(InputError, match=r"'spam_review_status'.*is not overwritten"):
        FiftyOneDesk(labelled)


@pytest.mark.parametrize("images", [False, True])
def test_the_review_status_is_said_of_the_video_and_of_all_its_images(labelled, labelled_images, images):
    dataset = labelled_images if images else labelled
    desk = FiftyOneDesk(dataset)
    (key, _), *_ = desk.videos()
    for status, other in (("in review", "reviewed"), ("reviewed", "in review")):
        desk.set_review(key, status)
        assert dataset.distinct("spam_review_status") == [status]
        assert len(dataset.load_saved_view(status)) == len(dataset)
        assert len(dataset.load_saved_view(other)) == 0


def test_a_users_own_tracks_are_reviewed_in_views_of_their_own(own_tracks, world):
    dataset = own_tracks({0: [world.box(5, 5, 9, 9, index=1)]})
    desk = FiftyOneDesk(dataset, "mine")
    desk.set_review(desk.videos()[0][0], "in review")
    assert dataset.values("mine_review_status") == ["in review"]
    assert dataset.list_saved_views() == ["in review (mine)", "reviewed (mine)"]


# --- processes that die


def test_what_a_killed_process_has_declared_and_begun_is_finished_by_the_next(own_tracks, world, monkeypatch):
    frames = {frame: [world.box(5, 5, 9, 9, index=1)] for frame in range(4)}
    dataset = own_tracks(frames)
    desk, notes = FiftyOneDesk(dataset, "mine"), SyncJournal(dataset, "mine")
    key, labels = only(desk)
    patch = Patch(tuple(put_for(labels, row, track=2, source="human", keyframe=True) for row in range(4)))
    monkeypatch.setattr(raw, "FRAMES_PER_CHANGE", 1)
    conflict = Conflict(key, "box", 0, 0, 1, (3,), "other", {0: (0.0, 0.0, 5.0, 5.0)}, "car")
    held = notes.hold()

    def die_in_the_third_frame():
        held.__enter__()
        notes.set("patch", patch.as_dict())
        desk.show_conflicts(key, [conflict])
        desk.set_review(key, "in review")
        write, written = fo.Dataset._bulk_write, []

        def count(self, ops, **options):
            if len(written) == 2:
                os.write(pipe, b"1")
                time.sleep(600)
            written.append(ops)
            return write(self, ops, **options)

        fo.Dataset._bulk_write = count
        desk.apply(key, patch)

    read, pipe = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            die_in_the_third_frame()
        finally:
            os._exit(1)
    os.close(pipe)
    assert os.read(read, 1) == b"1"
    os.close(read)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it is dead; it stays a zombie, which counts as gone
    with notes.hold():
        assert [box["index"] for boxes in stored(dataset, "mine").values() for box in boxes] == [2, 2, 1, 1]
        desk.apply(key, Patch.from_dict(notes.get("patch")))
        desk.show_conflicts(key, [conflict])
        desk.set_review(key, "reviewed")
    os.waitpid(pid, 0)
    assert [box["index"] for boxes in stored(dataset, "mine").values() for box in boxes] == [2] * 4
    (document,) = fo.core.odm.get_db_conn().datasets.find({"name": dataset.name})
    (field,) = [one for one in document["frame_fields"] if one["name"] == "mine"]
    (boxes,) = field["fields"]
    for names in (
        [one["name"] for one in document["sample_fields"]],
        [one["name"] for one in document["frame_fields"]],
        [one["name"] for one in boxes["fields"]],
        dataset.list_saved_views(),
    ):
        assert len(set(names)) == len(names)
    assert len(document["saved_views"]) == 2
    assert dataset.values("mine_review_status") == ["reviewed"]
