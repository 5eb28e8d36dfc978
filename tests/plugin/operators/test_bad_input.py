"""What people may do to the operators: each gets a sentence, never a traceback, and datasets stay as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

OPERATORS = (
    "label_tracks", "choose_review", "sync_cvat", "sync_status", "evaluate_tracks", "export_mot", "open_review_task"
)  # fmt: skip
DATABASE_GONE = "the database does not answer; see that it runs (spam-plugin doctor), then try again"


@pytest.fixture
def new():
    """A function that makes empty datasets, which are gone after the test."""
    import fiftyone as fo

    made = []

    def make(media_type=None):
        made.append(fo.Dataset())
        if media_type is not None:
            made[-1].media_type = media_type
        return made[-1]

    yield make
    for dataset in made:
        if not dataset.deleted:
            dataset.delete()


@pytest.fixture
def sequences(new, tmp_path):
    """A dataset of two image sequences of three frames, with two candidates a frame."""
    import cv2
    import fiftyone as fo
    import numpy as np

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_image_labels

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((50, 100, 3), 128, np.uint8))
    dataset = new("image")
    declare_detections(dataset, "candidates")
    for name in ("a", "b"):
        for frame in (1, 2, 3):
            sample = fo.Sample(str(tmp_path / "grey.png"), sequence=name, frame_number=frame, frame_rate=10.0)
            dataset.add_sample(sample)
            boxes = [detection_dict("car", [0.1 * n, 0.2, 0.2, 0.4], confidence=0.9) for n in (1, 2)]
            write_image_labels(dataset, "candidates", {sample.id: boxes})
    dataset.reload()
    return dataset


def refusal(ops, name, dataset, view=None, **request):
    """What the form says, and what is said when somebody executes it anyway."""
    operator = ops.get(name)
    asked = operator.resolve_type(ops.ctx(name, dataset, {}, view, target="inputs", **request), "inputs")
    lived = ops.live(name, dataset, view, request=request)
    assert lived.result == {}
    assert lived.effects == []
    properties = {} if asked is None else json.loads(json.dumps(asked.to_json()))["type"]["properties"]
    said = [one["error_message"] for one in properties.values() if one["invalid"]]
    assert "Traceback" not in f"{properties} {lived.shown.text}"
    return (said or [None])[0], lived.shown.said["said"].removeprefix("Not done ")


# --- datasets that cannot be used


@pytest.mark.parametrize("name", OPERATORS)
def test_no_dataset_is_open(ops, name):
    assert refusal(ops, name, None) == ("no dataset is open; open one first",) * 2


@pytest.mark.parametrize("name", OPERATORS)
def test_the_dataset_is_gone(ops, name):
    form, live = refusal(ops, name, "gone long ago")
    assert "gone long ago" in form
    assert form.endswith("open another dataset")
    assert live == form


@pytest.mark.parametrize("name", OPERATORS)
def test_the_dataset_is_empty(ops, new, name):
    for dataset in (new(), new("video")):
        assert refusal(ops, name, dataset) == (f"dataset {dataset.name!r} is empty; add videos first",) * 2


@pytest.mark.parametrize("name", OPERATORS)
def test_images_are_no_sequences(ops, sequences, name):
    sequences.delete_sample_field("sequence")
    form, live = refusal(ops, name, sequences)
    assert "holds images but no field 'sequence'" in form
    assert live == form


@pytest.mark.parametrize("name", OPERATORS)
def test_groups_of_mixed_media_say_what_to_do(ops, new, name):
    import fiftyone as fo

    dataset = new()
    dataset.add_group_field("group", default="film")
    group = fo.Group()
    film = fo.Sample("/nowhere/a.mp4", group=group.element("film"))
    dataset.add_samples([film, fo.Sample("/nowhere/a.png", group=group.element("picture"))])
    form, live = refusal(ops, name, dataset, group_slice="film")
    assert "is grouped; labelling needs plain videos" in form
    assert live == form


def test_media_of_another_kind_are_named(ops, new):
    import fiftyone as fo

    dataset = new()
    dataset.add_sample(fo.Sample("/nowhere/a.pcd"))
    form, live = refusal(ops, "label_tracks", dataset)
    assert "media of type 'point-cloud'" in form
    assert live == form


def test_a_dataset_without_boxes_says_where_they_come_from(ops, new):
    import fiftyone as fo

    dataset = new()
    dataset.add_sample(fo.Sample("/nowhere/a.mp4"))
    form, live = refusal(ops, "label_tracks", dataset)
    assert "run a detector, or import boxes first" in form
    assert live == form


def test_a_field_without_boxes_is_refused_at_the_field(ops, crossing):
    from spam_plugin.integrations.fiftyone_.raw import declare_detections

    declare_detections(crossing, "frames.nothing")
    form = ops.form("label_tracks", crossing, candidates="nothing")
    assert form.invalid == {"candidates": "field 'nothing' has no boxes in this video; choose another one"}


# --- views


def test_groups_of_a_sequence_are_labelled_whole(ops, sequences, quick):
    view = sequences.group_by("sequence", order_by="frame_number")
    assert ops.form("label_tracks", sequences, view).said["preview"].startswith("2 videos, 12 boxes, ")
    shown = view.first()
    chosen = {"selected": [str(shown.id)], "view_target": "SELECTED_SAMPLES"}
    assert ops.form("label_tracks", sequences, view, request=chosen).said["preview"].startswith("1 video, 6 boxes, ")
    assert ops.live("label_tracks", sequences, view, request=chosen).result["videos"] == 1
    sequences.reload()
    whole = sequences.match({"sequence": shown["sequence"]})
    assert sequences.exists("spam_model_version").values("id") == whole.values("id")
    assert ops.has_button("choose_review", sequences, view)


@pytest.mark.parametrize("kind", ["clips", "frames", "patches", "filtered"])
def test_a_view_of_parts_means_whole_videos(ops, crossing, film, quick, tmp_path, kind):
    from fiftyone import ViewField as F

    sample = crossing.first()
    sample.filepath = str(film)
    sample.save()
    view = {
        "clips": lambda: crossing.to_clips([[(5, 9), (20, 30)]]),
        "frames": lambda: crossing.to_frames(sample_frames=True, output_dir=str(tmp_path)),
        "patches": lambda: crossing.to_frames(sample_frames=True, output_dir=str(tmp_path)).to_patches("candidates"),
        "filtered": lambda: crossing.filter_labels("frames.candidates", F("confidence") > 0.85),
    }[kind]()
    assert len(view)
    boxes = crossing.count("frames.candidates.detections")
    assert ops.form("label_tracks", crossing, view).said["preview"].startswith(f"1 video, {boxes} boxes, ")
    assert ops.live("label_tracks", crossing, view, fast=True).result["candidates"] == boxes


def test_an_empty_view_is_refused(ops, crossing):
    form, live = refusal(ops, "label_tracks", crossing, crossing.match({"filepath": "none"}))
    assert form == live == "there is nothing in this view; choose other samples, or the whole dataset"


def test_a_view_over_a_field_that_was_deleted_says_to_clear_it(ops, crossing):
    from fiftyone import ViewField as F

    stages = crossing.filter_labels("frames.shifted", F("confidence") > 0.5)._serialize()
    crossing.delete_frame_field("shifted")
    form, live = refusal(ops, "label_tracks", crossing, stages)
    assert form.startswith("the view that is open cannot be used (")
    assert form.endswith("clear it, and try again")
    assert live == form


def test_a_field_is_deleted_while_the_form_is_open(ops, crossing):
    assert not ops.form("label_tracks", crossing, candidates="shifted").invalid
    crossing.delete_frame_field("shifted")
    form = ops.form("label_tracks", crossing, candidates="shifted")
    assert form.invalid == {"candidates": "'shifted' is not there any more; choose again"}
    lived = ops.live("label_tracks", crossing, candidates="shifted")
    assert lived.shown.said["said"] == "Not done 'shifted' is not there any more; choose again"
    assert "spam_tracks" not in crossing.get_frame_field_schema()


# --- two at once


def test_what_is_started_twice_is_done_once_and_says_who_does_it(ops, crossing, quick, monkeypatch):
    from spam_plugin.integrations.fiftyone_ import store

    inside, go, first = threading.Event(), threading.Event(), []
    usual = store.FiftyOneStore.write

    def slow(self, key, tracks):
        inside.set()
        assert go.wait(60)
        return usual(self, key, tracks)

    monkeypatch.setattr(store.FiftyOneStore, "write", slow)
    thread = threading.Thread(target=lambda: first.append(ops.live("label_tracks", crossing)))
    thread.start()
    try:
        assert inside.wait(60)
        for name in ("label_tracks", "choose_review"):
            said = ops.live(name, crossing).shown.said["said"]
            assert said.startswith(f"Not done process {os.getpid()} on "), said
            assert "works on field 'spam_tracks'" in said
        job = ops.job("label_tracks", crossing)
        assert job.run_state == "failed"
        assert "works on field 'spam_tracks'" in job.result.error
    finally:
        go.set()
        thread.join()
    crossing.reload()
    assert crossing.count("frames.spam_tracks.detections") == first[0].result["boxes"] > 0


# --- defects, and a database that is gone


def test_a_defect_of_ours_is_a_sentence_too_and_its_traceback_is_in_the_log(ops, crossing, monkeypatch, caplog):
    from spam_plugin.integrations.fiftyone_ import choices

    def broken(*args):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(choices.Choices, "preview", broken)
    form, live = refusal(ops, "label_tracks", crossing)
    assert form == live == "unexpected error: ZeroDivisionError: by zero; see the log of the App's server"
    assert any(record.exc_info for record in caplog.records)


def test_the_database_goes_in_the_middle_and_the_next_run_does_the_rest(plugins, tmp_path):
    """In a process of its own, with a database of its own that ends behind the first of two videos."""
    script = Path(__file__).with_name("database_gone.py")
    done = subprocess.run(
        [sys.executable, script, plugins, tmp_path], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["said"] == f"Not done {DATABASE_GONE}"
    assert told["form"] == [DATABASE_GONE]
    assert told["has_button"] is False
    assert told["between"] == ["spam-1", None]  # one video is whole, the other as it was
    assert told["after"] == ["spam-1", "spam-1"]
    assert told["boxes"] == told["result"]["boxes"] > 0
    assert told["statuses"] == {"label_spam_tracks": "finished"}  # it went on with the run that was interrupted


def test_a_database_that_has_gone_is_looked_for_once_a_request_for_all_the_buttons(ops, crossing, monkeypatch):
    from pymongo.errors import ServerSelectionTimeoutError

    from spam_plugin.plugin.operators import OPERATORS, forms

    looks = []

    def gone(ctx):
        looks.append(ctx)
        raise ServerSelectionTimeoutError("localhost:27017: [Errno 111] Connection refused")

    monkeypatch.setattr(forms, "dataset_of", gone)
    ctx = ops.ctx("label_tracks", crossing)
    assert not [name for name, _ in OPERATORS if ops.get(name).resolve_placement(ctx) is not None]
    assert len(looks) == 1


def test_what_is_refused_as_a_whole_is_also_said_at_a_field_of_the_form_that_is_open(ops, crossing, monkeypatch):
    """The App shows no more when a form's button is pressed, e.g. while the database is away."""
    from pymongo.errors import ServerSelectionTimeoutError

    from spam_plugin.plugin.operators import forms

    def gone(ctx):
        raise ServerSelectionTimeoutError("localhost:27017: [Errno 111] Connection refused")

    monkeypatch.setattr(forms, "dataset_of", gone)
    form = ops.form("label_tracks", crossing, candidates="candidates", out="spam_tracks")
    assert form.invalid == dict.fromkeys(("refused", "candidates"), forms.DATABASE_GONE)
