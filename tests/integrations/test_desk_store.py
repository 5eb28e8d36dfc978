"""The dataset's side of the round trip to a review desk, with real FiftyOne: labels, media, classes, questions."""

from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId
from stored import only, put_for, stored

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.choosing import QueryPlan
from spam_plugin.engine.desk.labels import Patch
from spam_plugin.engine.desk.ports import DeskStore
from spam_plugin.engine.queries import Query, Question
from spam_plugin.integrations.fiftyone_ import api
from spam_plugin.integrations.fiftyone_.answers import AnswerBook
from spam_plugin.integrations.fiftyone_.desk import FiftyOneDesk
from spam_plugin.integrations.fiftyone_.queries import load_queries
from spam_plugin.integrations.fiftyone_.store import FiftyOneStore
from spam_plugin.models.errors import InputError, MissingError

QUIET = {"progress": False}


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
