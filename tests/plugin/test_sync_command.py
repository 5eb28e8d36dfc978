"""``spam-plugin sync``: options, exit codes, and what people and scripts read."""

from __future__ import annotations

import json
import re
import shutil
from types import SimpleNamespace

import pytest
from cvat_reviewer.data import read_tracks
from cvat_reviewer.hand import Hand, uid_of

FRAMES = 40
ALL = ("--all", "--job-seconds", "2", "--overlap-seconds", "0")


# --- help and options


@pytest.mark.parametrize("command", ["sync", "webhook"])
def test_help_has_examples_and_names_the_credentials(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"spam-plugin {command} street" in out
    assert all(name in out for name in (["CVAT_URL", "CVAT_TOKEN"] if command == "sync" else ["CVAT_WEBHOOK_SECRET"]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pull-only", "--push-only"], "leave nothing to do"),
        (["--track", "3"], "--settle"),
        (["--video", "a"], "--settle"),
        (["--after", "5"], "go together"),
        (["--run", "true"], "go together"),
        (["--after", "5", "--run", "true"], "need --watch"),
        (["--watch", "--after", "0", "--run", "true"], "a number from 1"),
        (["--watch", "--after", "1", "--run", "no-such-program --really"], "there is no such program"),
        (["--watch", "--after", "1", "--run", "say 'half"], "is no command line"),
        (["--watch", "--after", "1", "--run", ""], "there is no such program"),
        (["--share", "a", "--cloud", "1", "b"], "not in both"),
        (["--cloud", "bucket", "b"], "number of a cloud storage"),
        (["--state", "done"], "'done' is not one of"),
        (["--stage", "end"], "'end' is not one of"),
        (["--settle", "both"], "'both' is not one of"),
        (["--job-seconds", "1", "--overlap-seconds", "1"], "must be longer than their overlap"),
        (["--job-seconds", "nan"], "must be longer than their overlap"),
        (["--tolerance", "1.5"], "tolerance 1.5 is not in (0, 1]"),
        (["--every", "0", "--watch"], "must be more than 0"),
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_are_refused_with_code_2(run, monkeypatch, street, options, words):
    monkeypatch.setenv("CVAT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CVAT_TOKEN", "x")
    code, out, err = run("sync", "street", *options)
    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--port", "0"], "1<=x<=65535"), (["--port", "70000"], "1<=x<=65535"), (["--after", "2"], "go together")],
    ids=" ".join,
)
def test_options_of_webhook_that_cannot_be_are_refused_with_code_2(run, options, words):
    code, _, err = run("webhook", "street", *options)
    assert code == 2
    assert words in err


@pytest.mark.parametrize("option", [(), ("--status",), ("--settle", "cvat"), ("--forget",)], ids=str)
def test_a_dataset_that_is_not_there_is_named(run, server, option):
    code, _, err = run("sync", "nowhere", *option)
    assert code == 2
    assert "nowhere" in err


def test_a_field_or_a_view_that_is_not_there_is_named(run, server, street):
    assert (run("sync", "street", "--out", "other")[0], server.projects()) == (2, [])
    code, _, err = run("sync", "street", "--view", "mine")
    assert code == 2
    assert "mine" in err


def test_without_credentials_nothing_is_done_and_code_2_says_which_are_needed(run, street):
    code, out, err = run("sync", "street")
    assert (code, out) == (2, "")
    assert err.startswith("error: no CVAT server is named; set CVAT_URL")


def test_a_server_that_does_not_let_us_in_gives_code_2_and_no_secret(run, server, street, monkeypatch):
    monkeypatch.setenv("CVAT_TOKEN", "f" * 40)
    code, out, err = run("sync", "street", "--all")
    assert code == 2
    assert "set CVAT_TOKEN" in err
    assert "f" * 40 not in out + err


# --- one round


def test_a_round_ends_with_0_and_counts_what_was_done(run, server, street, api):
    code, out, err = run("sync", "street", *ALL)
    assert code == 0
    assert out.startswith(f"done (project 1 at {server.url}): ")
    assert "tasks made: 1" in out
    assert "jobs opened: 2" in out
    assert "tracks created: 4" in out
    for job in api.jobs():
        api.job(job["id"], state="completed")
    code, out, _ = run("sync", "street", *ALL)
    assert (code, out) == (0, f"done (project 1 at {server.url}): jobs pulled: 2\n")
    code, out, _ = run("sync", "street", *ALL)
    assert (code, out) == (0, f"done (project 1 at {server.url}): nothing\n")
    assert "problem" not in err


def test_without_questions_it_says_how_to_get_some(run, server, street):
    code, out, err = run("sync", "street")
    assert (code, out, server.projects()) == (0, "done: nothing\n", [])
    assert "spam-plugin queries" in err
    assert "--all" in err


def test_code_3_says_that_some_was_done_and_the_rest_is_named(run, server, street, tmp_path):
    street.add(tmp_path / "gone.mp4")
    code, out, err = run("sync", "street", *ALL, "--json")
    assert code == 3
    report = json.loads(out)
    (problem,) = report["problems"]
    assert problem.startswith("video 'gone.mp4': ")
    assert (report["project"], report["counts"]["jobs opened"]) == (1, 2)
    assert f"problem: {problem}" not in err, "the report in JSON says it"
    code, _, err = run("sync", "street", *ALL)
    assert code == 3
    assert f"problem: {problem}" in err


def test_a_report_in_json_is_all_of_standard_output(run, server, street):
    code, out, _ = run("sync", "street", *ALL, "--json")
    assert code == 0
    assert set(json.loads(out)) >= {"counts", "problems", "notices", "conflicts", "project", "url"}
    assert out.count("\n") == 1


def test_only_one_direction_is_taken_where_that_is_wished(run, server, street, api):
    run("sync", "street", *ALL)
    job = api.jobs()[0]
    Hand(api, job).move(uid_of(street.dataset, street.video, 1), 10, dy=30.0)
    api.job(job["id"], state="completed")
    _, out, _ = run("sync", "street", *ALL, "--push-only")
    assert "jobs pulled" not in out
    assert "human" not in {box["source"] for box in read_tracks(street.dataset, street.video)}
    street.dataset.save()
    _, out, _ = run("sync", "street", *ALL, "--pull-only", "--json")
    assert json.loads(out)["counts"]["jobs pulled"] == 1
    assert "human" in {box["source"] for box in read_tracks(street.dataset, street.video)}


def test_a_job_that_somebody_has_completed_stays_so_until_it_has_come_back(run, server, street, api):
    run("sync", "street", *ALL)
    job = api.jobs()[0]["id"]
    api.job(job, state="completed")
    code, _, err = run("sync", "street", *ALL, "--stage", "acceptance")
    assert code == 0
    assert f"job {job} (completed): somebody has changed it and it has not come back; left alone" in err
    assert [one["state"] for one in api.jobs()] == ["completed", "new"]
    api.job(job, stage="acceptance")
    _, out, _ = run("sync", "street", *ALL, "--stage", "acceptance")
    assert "jobs pulled: 1" in out


def test_jobs_go_to_the_assignees_in_turn(run, server, street, api):
    for name in ("anna", "ben"):
        server.add_user(name)
    code, _, err = run("sync", "street", *ALL, "--assign", "anna", "--assign", "carl")
    assert code == 2
    assert "knows no user 'carl'" in err
    assert server.tasks() == []
    assert run("sync", "street", *ALL, "--assign", "anna", "--assign", "ben")[0] == 0
    assert [job["assignee"]["username"] for job in api.jobs()] == ["anna", "ben"]


# --- looking only


def test_a_dry_run_changes_nothing_at_the_server_nor_in_the_dataset(run, server, street, api, everything):
    before = everything()
    code, out, _ = run("sync", "street", *ALL, "--dry-run")
    assert code == 0
    assert out.startswith("would do: ")
    assert "projects to make: 1" in out
    assert "frames to send: 40" in out
    assert "tracks created: 4" in out
    assert everything() == before

    run("sync", "street", *ALL)
    hand = Hand(api, api.jobs()[0])
    hand.move(uid_of(street.dataset, street.video, 1), 10, dy=30.0)
    hand.delete(uid_of(street.dataset, street.video, 2))
    hand.done()
    street.dataset.reload()
    before = everything()
    code, out, _ = run("sync", "street", *ALL, "--dry-run", "--json")
    counts = json.loads(out)["counts"]
    assert code == 0
    assert (counts["jobs pulled"], counts["tracks changed"], counts["boxes removed"]) == (1, 2, 15)
    assert everything() == before
    _, out, _ = run("sync", "street", *ALL, "--json")
    done = json.loads(out)["counts"]
    same = ("jobs pulled", "tracks changed", "boxes written", "boxes removed", "answers")
    assert {name: done[name] for name in same} == {name: counts[name] for name in same}


def test_the_status_is_a_table_for_people_and_json_for_scripts(run, street, api, everything):
    assert run("sync", "street", "--status") == (0, "nothing has been sent yet\n", "")
    run("sync", "street", *ALL)
    first, second = api.jobs()
    api.job(first["id"], state="completed")
    before = everything()
    code, out, _ = run("sync", "street", "--status", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [(row["video"], row["job"], row["frames"], row["tracks"]) for row in rows] == [
        ("street.mp4", first["id"], [1, 20], 2),
        ("street.mp4", second["id"], [21, 40], 2),
    ]
    assert [(row["state"], row["waiting"], row["is_open"]) for row in rows] == [
        ("completed", True, True),
        ("new", False, True),
    ]
    _, out, _ = run("sync", "street", "--status")
    lines = [" ".join(line.split()) for line in re.sub(r"\x1b[^m\\]*(m|\\)", "", out).splitlines()]
    assert f"street.mp4 {first['id']} 1-20 completed annotation 2 0 to come back" in lines
    assert f"street.mp4 {second['id']} 21-40 new annotation 2 0 open" in lines
    assert everything() == before


# --- conflicts, and the end of a project


@pytest.fixture
def torn(run, server, street, api):
    """One box that two people have moved, one in CVAT and one here."""
    run("sync", "street", *ALL)
    hand = Hand(api, api.jobs()[0])
    theirs = hand.move(uid_of(street.dataset, street.video, 1), 10, dy=60.0)
    sample = street.dataset[street.video]
    detection = next(one for one in sample.frames[11].spam_tracks.detections if one.index == 1)
    detection.bounding_box = [0.1, 0.7, 0.1, 0.1]
    detection.source = "human"
    detection.keyframe = True
    sample.save()
    hand.done()
    return SimpleNamespace(theirs=theirs, ours=(32.0, 168.0, 64.0, 192.0))


def box_of(street, index: int, frame: int):
    (box,) = [
        box for box in read_tracks(street.dataset, street.video) if (box["index"], box["frame"]) == (index, frame)
    ]
    return box["xyxy"]


@pytest.mark.parametrize("winner", ["cvat", "dataset"])
def test_a_conflict_is_listed_until_somebody_settles_it(run, server, street, torn, winner):
    code, _, err = run("sync", "street", *ALL)
    assert code == 0, "nothing is wrong: both versions are kept"
    told = [line for line in err.splitlines() if line.startswith("conflict: track 1, frame 11")]
    assert told
    assert all(line.endswith("settle it with --settle") for line in told)
    assert [line for line in run("sync", "street", *ALL)[2].splitlines() if line.startswith("conflict: ")] == told
    assert box_of(street, 1, 10) == pytest.approx(torn.ours, abs=0.01)
    for wrong in (("--track", 2), ("--video", "other.mp4")):
        code, _, err = run("sync", "street", "--settle", winner, *wrong)
        assert code == 2
        assert "there is no such conflict" in err
    code, _, err = run("sync", "street", "--settle", winner, "--track", 1, "--video", "street.mp4")
    assert code == 0
    assert f"settled 1 conflicts for {winner}" in err
    wanted = torn.theirs if winner == "cvat" else torn.ours
    assert box_of(street, 1, 10) == pytest.approx(wanted, abs=0.01)
    assert "conflict" not in run("sync", "street", *ALL)[2]


def test_forgetting_needs_no_server_and_leaves_labels_and_project(run, server, street, monkeypatch):
    run("sync", "street", *ALL)
    before = read_tracks(street.dataset, street.video)
    monkeypatch.delenv("CVAT_URL")
    code, out, err = run("sync", "street", "--forget")
    assert (code, out) == (0, "")
    assert re.match(r"forgot [1-9]\d* notes", err)
    assert "forgot 0 notes" in run("sync", "street", "--forget")[2]
    assert read_tracks(street.dataset, street.video) == before
    assert len(server.projects()) == 1


# --- media that CVAT has already


def uploads(server) -> list:
    return [one for one in server.log if one.bytes_in > 4096 and "/data" in one.path]


@pytest.mark.parametrize("where", ["share", "cloud"])
def test_media_that_cvat_has_already_are_not_uploaded(run, server, street, video, tmp_path, where):
    there = tmp_path / "there" / "videos"
    there.mkdir(parents=True)
    shutil.copy(video, there)
    folders = f"{video.parent}=videos"
    if where == "share":
        server.share = there.parent
        code, _, err = run("sync", "street", *ALL, "--share", folders)
    else:
        code, _, err = run("sync", "street", *ALL, "--cloud", server.add_cloud_storage("b", there.parent), folders)
    assert code == 0, err
    (task,) = server.tasks()
    assert task["size"] == FRAMES
    assert uploads(server) == []
    assert len(server.annotations(server.jobs()[0]["id"])["tracks"]) == 2


def test_a_video_that_does_not_lie_in_the_share_is_named_and_nothing_is_left(run, server, street, tmp_path):
    server.share = tmp_path
    code, _, err = run("sync", "street", *ALL, "--share", tmp_path)
    assert code == 3
    assert f"does not lie in {tmp_path}" in err
    assert server.tasks() == []


def test_a_share_that_lacks_the_video_is_named_and_no_empty_task_is_left(run, server, street, video, tmp_path):
    server.share = tmp_path
    code, _, err = run("sync", "street", *ALL, "--share", video.parent)
    assert code == 3
    assert "street.mp4" in err
    assert server.tasks() == []
