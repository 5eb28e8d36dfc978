"""What the round trip writes into a dataset, with real FiftyOne: patches, conflicts, and processes that die."""

import os
import signal
import time

import fiftyone as fo
import pytest
from stored import only, put_for, stored

from spam_plugin.engine.desk.labels import Conflict, Patch, Put
from spam_plugin.integrations.fiftyone_ import raw
from spam_plugin.integrations.fiftyone_.desk import FiftyOneDesk
from spam_plugin.integrations.fiftyone_.journal import SyncJournal
from spam_plugin.models.errors import InputError

QUIET = {"progress": False}


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
