import os
import signal
import subprocess
import sys
import textwrap

import fiftyone as fo
import numpy as np
import pytest

import spam_plugin.engine.label as engine_label
from spam_plugin.integrations.fiftyone_.api import label
from spam_plugin.models.errors import InputError

QUIET = {"progress": False}


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr(engine_label, "BOXES_PER_CALL", 1)


def stored(dataset, name="a", field="spam_tracks"):
    """Tracks as FiftyOne's own objects: 1-based frame -> detections."""
    sample = next(s for s in dataset if name in s.filepath)
    return {number: frame[field].detections for number, frame in sample.frames.items() if frame[field] is not None}


def plain(dataset, **where):
    """Everything about the boxes but their own ids, to compare."""
    return {
        number: [
            (d.label, d.bounding_box, d.index, d.instance.id, d.confidence, d.uncertainty, d.source) for d in found
        ]
        for number, found in stored(dataset, **where).items()
    }


def test_boxes_carry_all_that_is_promised(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    label(dataset, model=world.Model(), settings=world.Settings(), **QUIET)
    found = stored(dataset)
    assert sorted(found) == [1, 3, 4]
    first, second = found[1]
    assert (first.label, first.index, first.confidence, first.uncertainty, first.link_uncertainty) == (
        "car", 1, 0.75, 0.25, 0.5,
    )  # fmt: skip
    assert (first.source, first.keyframe, found[3][0].source, found[3][0].keyframe) == (
        "model", True, "interpolated", False,
    )  # fmt: skip
    np.testing.assert_allclose(first.bounding_box, [0.1, 0.2, 0.2, 0.4], atol=1e-6)
    assert (second.label, second.index) == ("person", 2)
    instances = [{frame[track].instance.id for frame in found.values()} for track in (0, 1)]
    assert [len(ids) for ids in instances] == [1, 1]
    assert instances[0] != instances[1]
    assert len({d.id for frame in found.values() for d in frame}) == 6


def test_the_video_carries_its_summary_and_views_show_it(video_dataset, world):
    dataset = video_dataset(a=world.frames(), b={0: [world.box(1, 1, 5, 5)]})
    label(dataset.limit(1), model=world.Model("m7"), **QUIET)
    sample, other = dataset
    assert sample.spam_max_uncertainty == 0.5
    assert sample.spam_mean_uncertainty == 0.5
    assert (sample.spam_open_queries, sample.spam_review_status, sample.spam_model_version) == (0, "unreviewed", "m7")
    assert other.spam_max_uncertainty is None
    assert dataset.list_saved_views() == ["most uncertain", "in review", "reviewed"]
    assert dataset.load_saved_view("most uncertain").values("id") == [sample.id]
    assert len(dataset.load_saved_view("in review")) == 0
    sample["spam_review_status"] = "in review"
    sample.save()
    assert len(dataset.load_saved_view("in review")) == 1
    label(dataset, model=world.Model("m8"), **QUIET)
    sample.reload()
    assert (sample.spam_review_status, sample.spam_model_version) == ("in review", "m8")


def test_fields_are_declared_with_descriptions(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    label(dataset, model=world.Model(), **QUIET)
    for name, kind in {
        "uncertainty": fo.FloatField,
        "link_uncertainty": fo.FloatField,
        "source": fo.StringField,
        "keyframe": fo.BooleanField,
        "instance": fo.EmbeddedDocumentField,
    }.items():
        field = dataset.get_field(f"frames.spam_tracks.detections.{name}")
        assert isinstance(field, kind)
        assert field.description
    for name in ("max_uncertainty", "mean_uncertainty", "open_queries", "review_status", "model_version"):
        assert dataset.get_field(f"spam_{name}").description
    assert dataset.filter_labels("frames.spam_tracks", fo.ViewField("source") == "interpolated").count(
        "frames.spam_tracks.detections"
    ) == 2  # fmt: skip


def test_a_run_is_registered_with_configuration_versions_and_report(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    report = label(dataset, model=world.Model("m1"), settings=world.Settings(), **QUIET)
    label(dataset, model=world.Model("m2"), settings=world.Settings(), **QUIET)
    assert dataset.list_runs() == ["label_spam_tracks", "label_spam_tracks_2"]
    config = dataset.get_run_info("label_spam_tracks").config
    assert (config.method, config.model_version, config.candidates, config.status) == (
        "spam_label", "m1", "candidates", "finished",
    )  # fmt: skip
    assert config.settings == {"doubt": 0.25}
    assert config.code_version
    assert dataset.load_run_results("label_spam_tracks").report == report.as_dict()
    assert report.as_dict()["videos"]["a"]["boxes"] == 6
    assert report.videos[0].interpolated == 2


def test_running_again_replaces_its_own_output_and_nothing_else(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    label(dataset, model=world.Model(), **QUIET)
    before, candidates = plain(dataset), stored(dataset, field="candidates")
    dataset.first().frames[2]["spam_tracks"] = None
    label(dataset, model=world.Model(), **QUIET)
    assert plain(dataset) == before
    assert stored(dataset, field="candidates") == candidates
    sample = dataset.first()
    sample.frames[4]["candidates"] = fo.Detections()
    sample.save()
    label(dataset, model=world.Model(), **QUIET)
    assert sorted(stored(dataset)) == [1, 3]


def test_the_same_input_gives_the_same_instances_and_another_model_others(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    label(dataset, model=world.Model(), **QUIET)
    before = plain(dataset)
    label(dataset, out="again_tracks", model=world.Model(), **QUIET)
    label(dataset, model=world.Model(), **QUIET)
    assert plain(dataset) == before
    label(dataset, model=world.Model("other"), **QUIET)
    assert plain(dataset)[1][0][3] != before[1][0][3]


def test_what_a_human_did_stays_and_is_not_doubled(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    label(dataset, model=world.Model(), **QUIET)
    sample = dataset.first()
    edited = sample.frames[1]["spam_tracks"].detections[0]
    edited.source, edited.bounding_box, edited["note"] = "human", [0.12, 0.2, 0.2, 0.4], "mine"
    sample.frames[2]["spam_tracks"] = fo.Detections(
        detections=[fo.Detection(label="dog", bounding_box=[0, 0, 0.1, 0.1])]
    )
    sample.save()
    ids = [d.id for found in stored(dataset).values() for d in found if d.index in (1, None)]
    report = label(dataset, model=world.Model("new"), **QUIET)
    assert (report.videos[0].kept, report.videos[0].boxes, report.videos[0].tracks) == (4, 3, 1)
    found = stored(dataset)
    assert [len(found[number]) for number in (1, 2, 3, 4)] == [2, 1, 2, 2]
    assert found[1][0] == edited
    assert found[2][0].label == "dog"
    assert ids == [d.id for boxes in found.values() for d in boxes if d.index in (1, None)]
    assert [d.index for d in found[1]] == [1, 2]
    assert {d.label for boxes in found.values() for d in boxes if d.index == 2} == {"person"}


def test_images_of_a_sequence_are_labelled_as_a_video(image_dataset, video_dataset, world):
    images = image_dataset(a=world.frames(), b={0: [world.box(5, 5, 5, 5)]})
    videos = video_dataset(a=world.frames())
    label(videos, model=world.Model(), **QUIET)
    model = world.Model()
    grouped = images.group_by("sequence", order_by="frame_number")
    report = label(grouped, model=model, **QUIET)
    assert model.asked == ["a", "b"]
    assert [video.boxes for video in report.videos] == [6, 1]
    of_a = images.match(fo.ViewField("sequence") == "a").sort_by("frame_number")
    assert [len(s.spam_tracks.detections) for s in of_a] == [2, 0, 2, 2]
    found, expected = of_a.first().spam_tracks.detections, stored(videos)[1]
    assert [(d.label, d.bounding_box, d.index) for d in found] == [(d.label, d.bounding_box, d.index) for d in expected]
    assert images.distinct("spam_max_uncertainty") == [0.5]
    assert images.values("spam_review_status") == ["unreviewed"] * 8
    assert images.get_field("spam_tracks.detections.uncertainty") is not None
    first = of_a.first()
    first.spam_tracks.detections[0].source = "human"
    first.save()
    assert [video.kept for video in label(grouped, model=world.Model(), **QUIET).videos] == [3, 0]


def test_an_interrupted_run_finishes_the_rest_to_the_same_end(video_dataset, world, one_at_a_time):
    names = ("a", "b", "c")
    dataset, whole = (video_dataset(**{name: world.frames() for name in names}) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        label(dataset, model=world.Model(fail_at="b"), **QUIET)
    assert dataset.get_run_info("label_spam_tracks").config.status == "running"
    dataset = fo.load_dataset(dataset.name)
    again = world.Model()
    report = label(dataset, model=again, **QUIET)
    assert again.asked == ["b", "c"]
    assert (report.resumed, len(report.videos)) == (1, 3)
    assert dataset.list_runs() == ["label_spam_tracks"]
    label(whole, model=world.Model(), **QUIET)
    for name in names:
        assert [[row[:3] for row in rows] for rows in plain(dataset, name=name + ".mp4").values()] == [
            [row[:3] for row in rows] for rows in plain(whole, name=name + ".mp4").values()
        ]
    assert dataset.count("frames.spam_tracks.detections") == whole.count("frames.spam_tracks.detections") == 18


def test_a_run_of_another_configuration_starts_anew_and_says_what_became_of_the_other(
    video_dataset, world, one_at_a_time
):
    dataset = video_dataset(a=world.frames(), b=world.frames())
    with pytest.raises(KeyboardInterrupt):
        label(dataset, model=world.Model(fail_at="b"), **QUIET)
    again = world.Model("newer")
    label(dataset, model=again, **QUIET)
    assert again.asked == ["a", "b"]
    assert dataset.get_run_info("label_spam_tracks").config.status == "interrupted"
    assert list(dataset.load_run_results("label_spam_tracks").report["videos"]) == ["a"]
    assert dataset.get_run_info("label_spam_tracks_2").config.status == "finished"


def test_candidates_that_have_changed_since_are_labelled_again(video_dataset, world, one_at_a_time):
    dataset = video_dataset(a=world.frames(), b=world.frames())
    with pytest.raises(KeyboardInterrupt):
        label(dataset, model=world.Model(fail_at="b"), **QUIET)
    sample = dataset.first()
    sample.frames[1]["candidates"].detections.pop()
    sample.save()
    again = world.Model()
    label(dataset, model=again, **QUIET)
    assert again.asked == ["a", "b"]


def test_a_killed_process_leaves_what_another_can_finish(video_dataset, world, one_at_a_time):
    dataset = video_dataset(a=world.frames(), b=world.frames())
    dataset.persistent = True
    code = f"""
        import importlib.util, os, signal, sys
        spec = importlib.util.spec_from_file_location("world", {str(world.file)!r})
        world = importlib.util.module_from_spec(spec)
        sys.modules["world"] = world
        spec.loader.exec_module(world)
        import spam_plugin.engine.label as engine
        from spam_plugin.integrations.fiftyone_.api import label
        engine.BOXES_PER_CALL = 1
        class Killed(world.FakeModel):
            def label(self, videos, settings=None):
                if videos[0][0].name == "b":
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().label(videos, settings)
        label({dataset.name!r}, model=Killed(), progress=False)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = world.Model()
    report = label(dataset, model=again, **QUIET)
    assert again.asked == ["b"]
    assert report.resumed == 1
    dataset.reload()
    assert dataset.count("frames.spam_tracks.detections") == 12


@pytest.mark.parametrize("out", ["ground_truth", "frames.ground_truth"])
def test_a_field_that_is_not_ours_is_not_overwritten(video_dataset, world, out):
    dataset = video_dataset(a=world.frames())
    dataset.add_frame_field("ground_truth", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    with pytest.raises(InputError, match=r"'frames.ground_truth'.*not overwritten"):
        label(dataset, out=out, model=world.Model(), **QUIET)
    with pytest.raises(InputError, match="field of the candidates"):
        label(dataset, out="candidates", model=world.Model(), **QUIET)
    dataset.add_sample_field("spam_review_status", fo.StringField)
    with pytest.raises(InputError, match="'spam_review_status'"):
        label(dataset, model=world.Model(), **QUIET)
    with pytest.raises(InputError, match="cannot be the name"):
        label(dataset, out="my tracks", model=world.Model(), **QUIET)
    assert not dataset.list_runs()


def test_a_saved_view_of_the_users_stays(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    dataset.save_view("reviewed", dataset.limit(1), description="my own")
    label(dataset, model=world.Model(), **QUIET)
    assert dataset.get_saved_view_info("reviewed")["description"] == "my own"
    label(dataset, out="other_tracks", model=world.Model(), **QUIET)
    assert "most uncertain (other_tracks)" in dataset.list_saved_views()


def test_views_stay_what_they_are_and_are_changed_where_they_are(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    dataset.save_view("In Review", dataset.limit(1))  # FiftyOne takes it for the same name
    label(dataset, model=world.Model(), **QUIET)
    names, views = dataset.list_saved_views(), fo.core.odm.get_db_conn().views
    assert names == ["In Review", "most uncertain", "reviewed"]
    before = list(views.find({"_dataset_id": dataset._doc.id}))
    label(dataset, model=world.Model("newer"), **QUIET)
    assert list(views.find({"_dataset_id": dataset._doc.id})) == before
    views.update_one({"_id": before[-1]["_id"]}, {"$set": {"view_stages": []}})
    label(dataset, model=world.Model("newest"), **QUIET)
    assert [view["_id"] for view in views.find({"_dataset_id": dataset._doc.id})] == [view["_id"] for view in before]
    assert len(dataset.load_saved_view("reviewed")) == 0


@pytest.mark.parametrize("lost", ["the view", "the reference to it"])
def test_a_view_that_a_killed_process_left_half_saved_is_mended(video_dataset, world, lost):
    dataset = video_dataset(a=world.frames())
    label(dataset, model=world.Model(), **QUIET)
    names, database = dataset.list_saved_views(), fo.core.odm.get_db_conn()
    (*kept, half) = database.datasets.find_one({"_id": dataset._doc.id})["saved_views"]
    if lost == "the view":
        database.views.delete_one({"_id": half})
    else:
        database.datasets.update_one({"_id": dataset._doc.id}, {"$set": {"saved_views": kept}})
    dataset.reload()
    label(dataset, model=world.Model("newer"), **QUIET)
    assert dataset.list_saved_views() == names
    references = database.datasets.find_one({"_id": dataset._doc.id})["saved_views"]
    assert sorted(references) == sorted(view["_id"] for view in database.views.find({"_dataset_id": dataset._doc.id}))


def test_a_saved_view_chooses_videos(video_dataset, world):
    dataset = video_dataset(a=world.frames(), b=world.frames())
    dataset.save_view("second", dataset.skip(1))
    model = world.Model()
    label(dataset.name, view="second", model=model, **QUIET)
    assert model.asked == ["b"]
    assert dataset.get_run_info("label_spam_tracks").config.view == "second"
    with pytest.raises(InputError, match="the view is of dataset"):
        label(dataset, view=video_dataset(c=world.frames()).limit(1), model=model, **QUIET)
