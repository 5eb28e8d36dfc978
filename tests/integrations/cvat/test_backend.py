"""FiftyOne's own ``annotate`` and ``load_annotations`` reach the same synchronisation, and keep no secret."""

from __future__ import annotations

import json
import subprocess
import sys

import fiftyone as fo
import pytest
from bson import json_util
from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks, straight

import spam_plugin
from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.integrations.cvat.sync import sync
from spam_plugin.models.errors import InputError, MissingError, SpamPluginError

FIELD = "frames.spam_tracks"


@pytest.fixture(autouse=True)
def backends(monkeypatch):
    """FiftyOne's table of backends, with ours in it; and no credentials but those that a test gives."""
    for name in ("CVAT_URL", "CVAT_USERNAME", "CVAT_PASSWORD", "CVAT_TOKEN", "CVAT_ORG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fo.annotation_config, "backends", dict(fo.annotation_config.backends))
    spam_plugin.register_backend()
    return fo.annotation_config.backends


@pytest.fixture
def us(server):
    """Who we are, as arguments of ``annotate``."""
    return {"url": server.url, "username": server.username, "password": server.password}


@pytest.fixture
def environment(server, monkeypatch):
    """Who we are, as the environment says."""
    for name, value in (("URL", server.url), ("USERNAME", server.username), ("PASSWORD", server.password)):
        monkeypatch.setenv(f"CVAT_{name}", value)


def annotate(dataset, key="review", **more):
    return dataset.annotate(key, backend="spam_cvat", label_field=FIELD, **{"job_seconds": 30, **more})


def move_and_complete(server, by=20.0):
    """A person moves one box of the first track of the first job, and is done."""
    api = Api(server.url, server.username, server.password)
    job = api.jobs()[0]
    track = api.tracks(job["id"])[0]
    track["shapes"][0]["points"] = [number + by for number in track["shapes"][0]["points"]]
    api.change(job["id"], "update", [track])
    api.job(job["id"], state="completed")
    return track["shapes"][0]


def run_as_stored(dataset, key):
    """Everything that FiftyOne keeps of a run: its document, and what lies in the file of its results."""
    document = dataset._doc.annotation_runs[key]
    document.results.seek(0)
    return json_util.dumps(document.to_mongo()), document.results.read().decode()


def test_what_annotate_sends_comes_back_with_load_annotations(server, us, make_dataset):
    dataset = make_dataset("there and back", [*straight(1, 0, 80), *straight(2, 20, 40, 120.0, "person")])
    sample = dataset.first().id
    before = read_tracks(dataset, sample)
    results = annotate(dataset, **us)
    assert results.project == server.projects()[0]["id"]
    dataset.load_annotations("review")
    assert read_tracks(dataset, sample) == before, "nobody has finished anything"

    moved = move_and_complete(server)
    dataset.load_annotations("review")
    after = read_tracks(dataset, sample)
    assert len(after) == len(before)
    (changed,) = [box for box in after if box["source"] == "human"]
    assert changed["frame"] == moved["frame"]
    assert changed["keyframe"]
    assert changed["xyxy"] == pytest.approx(tuple(moved["points"]), abs=0.01)
    assert results.report["counts"]["jobs pulled"] == 1


def test_the_run_can_be_loaded_by_another_process_with_credentials_of_its_own(server, us, make_dataset, environment):
    dataset = make_dataset("elsewhere", straight(1, 0, 80))
    annotate(dataset, **us)
    move_and_complete(server)
    code = """if True:
        import fiftyone as fo, spam_plugin
        spam_plugin.register_backend()
        dataset = fo.load_dataset("elsewhere")
        dataset.load_annotations("review")
        print(dataset.load_annotation_results("review").report["counts"]["jobs pulled"])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1"
    assert [box["source"] for box in read_tracks(dataset, dataset.first().id)].count("human") == 1


def test_no_secret_is_kept_with_the_run(server, us, make_dataset):
    dataset = make_dataset("secretive", straight(1, 0, 80))
    annotate(dataset, **{**us, "password": server.password, "token": server.token_for(server.username)})
    dataset.load_annotations("review")
    dataset.reload()
    stored = "".join(run_as_stored(dataset, "review"))
    assert server.url in stored, "what is no secret is kept, so that the run can be loaded again"
    for secret in (server.password, server.token_for(server.username)):
        assert secret not in stored
    config = dataset.get_annotation_info("review").config
    assert not [name for name in config.serialize() if name.strip("_") in ("password", "token", "username")]
    everything = json_util.dumps(
        [
            list(fo.core.odm.get_db_conn()[name].find())
            for name in fo.core.odm.get_db_conn().list_collection_names()
            if "chunks" not in name
        ]
    )
    assert server.password not in everything
    assert server.token_for(server.username) not in everything


def test_credentials_of_annotation_config_are_used_for_sending_and_for_loading(server, us, make_dataset, backends):
    backends["spam_cvat"] = us  # as annotation_config.json says, without naming a class
    spam_plugin.register_backend()
    dataset = make_dataset("configured", straight(1, 0, 80))
    annotate(dataset)
    move_and_complete(server)
    dataset.clear_cache()
    fresh = dataset.load_annotation_results("review", cache=False)
    assert fresh.config.access().password == server.password
    dataset.load_annotations("review")
    assert "human" in dataset.values(f"{FIELD}.detections.source", unwind=True)
    assert server.password not in "".join(run_as_stored(dataset, "review"))


def test_registering_again_keeps_what_the_user_has_set(backends):
    backends["spam_cvat"] = {"config_cls": "mine.Config", "url": "http://here"}
    spam_plugin.register_backend()
    assert backends["spam_cvat"] == {"config_cls": "mine.Config", "url": "http://here"}


def test_the_status_tells_of_every_job(server, us, make_dataset, capsys):
    dataset = make_dataset("told", straight(1, 0, 80))
    results = annotate(dataset, job_seconds=3, overlap_seconds=0, **us)
    api = Api(server.url, server.username, server.password)
    jobs = api.jobs()
    api.job(jobs[1]["id"], state="in progress")
    told = results.get_status()
    assert [(one["job"], one["frames"], one["state"]) for one in told] == [
        (jobs[0]["id"], [1, 30], "new"),
        (jobs[1]["id"], [31, 60], "in progress"),
        (jobs[2]["id"], [61, 90], "new"),
    ]
    assert told[0]["link"] == f"{server.url}/tasks/{jobs[0]['task_id']}/jobs/{jobs[0]['id']}"
    json.dumps(told)
    results.print_status()
    assert capsys.readouterr().out.splitlines()[1] == f"video 1: job {jobs[1]['id']} in progress, annotation, nobody"


def test_the_same_project_is_reached_by_both_ways(server, us, access, make_dataset, make_link):
    dataset = make_dataset("both ways", straight(1, 0, 80))
    annotate(dataset, **us)
    move_and_complete(server)
    report = sync(make_link(dataset), SyncSettings(windows="all"))
    assert report.counts["jobs pulled"] == 1
    assert (len(server.projects()), len(server.tasks())) == (1, 1)


def test_a_view_sends_only_its_videos(server, us, make_dataset):
    dataset = make_dataset("in part", straight(1, 0, 80), straight(1, 0, 50))
    annotate(dataset.skip(1), **us)
    (task,) = server.tasks()
    assert task["name"].startswith("video 2 ")


def test_cleaning_up_leaves_the_project_that_belongs_to_the_dataset(server, us, make_dataset, caplog):
    dataset = make_dataset("cleaned", straight(1, 0, 80))
    results = annotate(dataset, **us)
    with caplog.at_level("INFO", logger="spam_plugin"):
        results.cleanup()
    assert f"project {server.projects()[0]['id']} stays in CVAT" in caplog.text
    dataset.delete_annotation_run("review")
    assert len(server.projects()) == 1


def test_what_could_not_be_done_is_told_as_a_warning(server, us, make_dataset, caplog):
    dataset = make_dataset("warned", straight(1, 0, 80), straight(1, 0, 50))
    sample = dataset.last()
    sample.filepath = "/nowhere/gone.mp4"
    sample.save()
    annotate(dataset, **us)
    assert [record.levelname for record in caplog.records if "gone.mp4" in record.message] == ["WARNING"]
    assert len([task for task in server.tasks() if task.get("size")]) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"windows": "some"}, "windows 'some' is none of: queries, all"),
        ({"states": ["done"]}, "state 'done' is none of: new, in progress, completed, rejected"),
        ({"stages": ["end"]}, "stage 'end' is none of"),
        ({"media_field": "thumbnail"}, "not of 'thumbnail'"),
        ({"job_seconds": 1, "overlap_seconds": 2}, "jobs must be longer than their overlap"),
        ({"url": "ftp://here"}, "it must be like http://localhost:8080"),
        ({"password": ""}, "set CVAT_TOKEN"),
        ({"assignees": ["nobody"]}, "knows no user 'nobody'"),
        ({"access_token": "abc"}, "knows no 'access_token'; there are: windows, .*, token, organization"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_words_and_leaves_no_run(server, us, make_dataset, given, said):
    dataset = make_dataset("refused", straight(1, 0, 80))
    with pytest.raises(SpamPluginError, match=said):
        annotate(dataset, **{**us, **given})
    assert dataset.list_annotation_runs() == []
    assert server.projects() == []


def test_several_fields_are_refused_as_one_project_keeps_one(us, make_dataset):
    dataset = make_dataset("several", straight(1, 0, 80))
    dataset.clone_frame_field("spam_tracks", "other")
    with pytest.raises(InputError, match="keeps one field of tracks, not"):
        dataset.annotate("review", backend="spam_cvat", label_schema=[FIELD, "frames.other"], **us)
    assert dataset.list_annotation_runs() == []


def test_a_run_needs_a_field(us, make_dataset):
    dataset = make_dataset("fieldless", straight(1, 0, 80))
    with pytest.raises(ValueError, match="`label_field` is required"):
        dataset.annotate("review", backend="spam_cvat", **us)
    with pytest.raises(MissingError, match=r"has no field 'frames.nothing'"):
        dataset.annotate(
            "review", backend="spam_cvat", label_field="frames.nothing", label_type="detections", classes=["car"], **us
        )
    assert dataset.list_annotation_runs() == []


def test_loading_takes_settings_of_its_own_and_refuses_those_that_there_are_not(server, us, make_dataset):
    dataset = make_dataset("loaded otherwise", straight(1, 0, 80))
    annotate(dataset, **us)
    move_and_complete(server)
    dataset.clear_cache()
    with pytest.raises(InputError, match="knows no 'state'; there are: windows"):
        dataset.load_annotations("review", state="rejected")
    dataset.load_annotations("review", states=["rejected"], **us)
    assert dataset.load_annotation_results("review").report["counts"] == {}
    dataset.clear_cache()
    dataset.load_annotations("review", **us)
    assert dataset.load_annotation_results("review").report["counts"]["jobs pulled"] == 1


def test_without_credentials_it_says_which_are_needed(make_dataset):
    dataset = make_dataset("anonymous", straight(1, 0, 80))
    with pytest.raises(MissingError, match="set CVAT_URL"):
        annotate(dataset)
    assert dataset.list_annotation_runs() == []


# --- the package's face


def test_registering_imports_neither_the_backend_nor_what_it_or_an_operator_needs():
    code = """if True:
        import sys
        import types
        import spam_plugin
        spam_plugin.register(types.SimpleNamespace(register=lambda kind: None))
        import fiftyone as fo
        print(fo.annotation_config.backends["spam_cvat"]["config_cls"])
        print(sorted({"torch", "cvat_sdk", "starlette", "spam_plugin.integrations.cvat.backend"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    name, heavy = done.stdout.splitlines()[-2:]
    assert name == "spam_plugin.integrations.cvat.backend.SpamCvatBackendConfig"
    assert "cvat_sdk" not in heavy
    assert "torch" not in heavy
    assert "backend" not in heavy


def test_a_notebook_calls_one_function_for_everything(server, make_dataset, environment, capfd):
    dataset = make_dataset("notebook", [*straight(1, 0, 80), *straight(2, 20, 40, 120.0)], straight(1, 0, 50))
    wishes = {"all": True, "job_seconds": 30, "progress": False}
    plan = spam_plugin.sync(dataset, dry_run=True, **wishes)
    assert (plan.counts["tasks to make"], server.projects()) == (2, [])
    told = []
    report = spam_plugin.sync(dataset.limit(1), **{**wishes, "progress": lambda *step: told.append(step)})
    assert (report.project, report.counts["tasks made"], report.problems) == (1, 1, [])
    assert ("pushing", 0, 1, "video 1") in told
    assert {what for what, *_ in told} == {"pushing", "uploading"}
    move_and_complete(server)
    assert spam_plugin.sync("notebook", view=dataset.limit(1), states=["rejected"], **wishes).counts == {}
    assert spam_plugin.sync("notebook", push=False, **wishes).counts["jobs pulled"] == 1
    assert len(server.tasks()) == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"states": "completed"}, r"states is a list, e\.g\. \['completed'\]"),
        ({"assignees": "anna"}, r"assignees is a list, e\.g\. \['anna'\]"),
        ({"states": ["done"]}, "state 'done' is none of"),
        ({"out": "other"}, "no field 'frames.other'"),
        ({"view": "mine"}, "mine"),
        ({"attributes": ["colour"]}, "colour"),
    ],
    ids=str,
)
def test_a_notebook_is_told_what_cannot_be(make_dataset, server, environment, given, said):
    with pytest.raises(SpamPluginError, match=said):
        spam_plugin.sync(make_dataset("mistaken", straight(1, 0, 80)), progress=False, all=True, **given)
    assert server.projects() == []
