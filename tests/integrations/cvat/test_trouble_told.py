"""Whatever goes wrong, the command line says it in words and by its exit code; the rest is done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks, straight
from cvat_reviewer.hand import Hand, finish, keyframe, uid_of

from spam_plugin.integrations.cvat import client
from spam_plugin.integrations.cvat.trouble import Patience
from spam_plugin.plugin import cli

DONE, ENDED, PARTLY = 0, 2, 3
ALL = ("--all", "--job-seconds", "100", "--overlap-seconds", "0")


@pytest.fixture
def run(monkeypatch, capfd, server):
    """Runs ``spam-plugin sync``, without ever waiting for the server; gives exit code and what it said."""
    monkeypatch.delenv("CVAT_ORG", raising=False)
    monkeypatch.delenv("CVAT_TOKEN", raising=False)
    for name, value in (("URL", server.url), ("USERNAME", server.username), ("PASSWORD", server.password)):
        monkeypatch.setenv(f"CVAT_{name}", value)
    monkeypatch.setattr(client, "Patience", partial(Patience, sleep=lambda seconds: None))

    def call(*options: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            cli.main(["-q", "sync", "told", *ALL, *options])
        told = capfd.readouterr()
        return int(stop.value.code or 0), told.out + told.err

    return call


@pytest.fixture
def sent(server, make_dataset, run, monkeypatch):
    """Two videos of two tracks each, sent; then a person moves a box of the second and finishes both jobs."""
    tracks = [*straight(1, 0, 59, 50), *straight(2, 10, 40, 120, "person")]
    dataset = make_dataset("told", tracks, tracks, frames=60)
    assert run()[0] == DONE
    api = Api(server.url, server.username, server.password)
    samples = dataset.values("id")
    hands = [Hand(api, job) for job in api.jobs()]
    uids = [uid_of(dataset, sample, 1) for sample in samples]
    moved = hands[1].move(uids[1], 30, dx=6.0)
    finish(api)
    return SimpleNamespace(
        dataset=dataset, samples=samples, api=api, hands=hands, uids=uids, moved=moved, server=server,
        setenv=monkeypatch.setenv, before=boxes(dataset),
    )  # fmt: skip


def boxes(dataset) -> list:
    return [read_tracks(dataset, sample) for sample in dataset.values("id")]


def at(dataset, video: int, frame: int) -> tuple:
    """Where track 1 is."""
    (box,) = [b for b in boxes(dataset)[video] if (b["frame"], b["index"]) == (frame, 1)]
    return box["xyxy"]


def someone_else(world) -> None:
    world.server.add_user("guest", "secret")
    world.setenv("CVAT_USERNAME", "guest")
    world.setenv("CVAT_PASSWORD", "secret")


def failing(**fault) -> Callable:
    return lambda world: world.server.faults.add("status", times=None, **fault)


def set_version(world) -> None:
    world.server.version = "2.10.3"


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (lambda world: world.setenv("CVAT_URL", "http://127.0.0.1:9"), "does not answer"),
        (lambda world: world.setenv("CVAT_URL", "localhost:8080"), "it must be like http://"),
        (lambda world: world.setenv("CVAT_PASSWORD", "no such"), "does not let 'admin' in; check CVAT_USERNAME"),
        (lambda world: world.setenv("CVAT_TOKEN", "0123456789" * 4), "does not accept the token"),
        (someone_else, "CVAT does not allow it to guest"),
        (lambda world: world.api.send("DELETE", "/api/projects/1"), "project 1: not in CVAT any more"),
        (set_version, "is of version 2.10.3; at least 2.20"),
        (failing(status=429, retry_after=1), "wants fewer requests"),
    ],
    ids=["address", "kind of address", "password", "token", "permission", "project", "version", "limit"],
)  # fmt: skip
def test_what_ends_it_all_gives_code_2_in_one_line_and_can_be_mended(sent, run, monkeypatch, deed, words):
    with monkeypatch.context() as wrong:
        sent.setenv = wrong.setenv
        deed(sent)
        code, told = run()
    assert code == ENDED
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert told.startswith("error: ")
    assert "no such" not in told
    assert boxes(sent.dataset) == sent.before
    sent.server.faults.clear()
    sent.server.version = "2.54.1"
    if "project 1" not in words:
        assert run()[0] == DONE
        assert at(sent.dataset, 1, 30) == pytest.approx(sent.moved, abs=0.01)
        assert boxes(sent.dataset)[0] == sent.before[0]


def rename(world) -> None:
    label = next(one for one in world.server.labels() if one["name"] == "person")
    world.api.send("PATCH", f"/api/labels/{label['id']}", {"name": "human"})


def delete_label(world) -> None:
    label = next(one for one in world.server.labels() if one["name"] == "person")
    world.api.send("DELETE", f"/api/labels/{label['id']}")


def other_length(world) -> None:
    sample = world.dataset.first()
    sample.metadata.total_frame_count = 61
    sample.save()


def spoil(*more: dict, drop: bool = False, loose: bool = False) -> Callable:
    """Adds keyframes to the first video's first track, in place of all others, or as boxes of no track."""

    def deed(world) -> None:
        hand = world.hands[0]
        track = hand.track(world.uids[0])
        if loose:
            rows = [{**one, "label_id": track["label_id"], "group": 0} for one in more]
            body = {"version": 0, "tags": [], "shapes": rows, "tracks": []}
            world.api.send("PATCH", f"/api/jobs/{hand.job}/annotations?action=create", body)
            return
        kept = [] if drop else [{k: v for k, v in shape.items() if k != "id"} for shape in track["shapes"]]
        world.api.change(hand.job, "update", [{**track, "shapes": [*kept, *more]}])

    return deed


POLYGON = {**keyframe(5, [0.0, 0.0, 9.0, 0.0, 9.0, 9.0]), "type": "polygon"}


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (rename, "class 'person' was renamed or deleted in the project; its tracks stay as they are here"),
        (delete_label, "class 'person' was renamed or deleted"),
        (lambda world: world.api.send("DELETE", "/api/tasks/1"), "task 1 was deleted at the desk"),
        (other_length, "task 1 has 60 frames at the desk, the dataset's file has 61"),
        (spoil(keyframe(500, [1.0, 1.0, 9.0, 9.0])), "frame 501 is behind the job's end (60)"),
        (spoil(keyframe(59, [1.0, 1.0, 9.0, 9.0])), "has two boxes in frame 60"),
        (spoil(keyframe(20, [90.0, 90.0, 50.0, 50.0]), drop=True), "frame 21: the corners of the box are swapped"),
        (spoil(keyframe(40, [5.0, 5.0, 5.0, 9.0])), "frame 41: box [5.0, 5.0, 5.0, 9.0] has no area; left out"),
        (spoil(POLYGON, drop=True), "made of polygon"),
        (spoil(POLYGON, loose=True), "frame 6: a polygon is no box"),
        (failing(path="/api/jobs/1/annotations", status=500), "CVAT failed 6 times"),
    ],
    ids=[
        "renamed", "deleted class", "deleted task", "length", "end", "two boxes", "corners", "area", "polygon",
        "loose polygon", "errors",
    ],
)  # fmt: skip
def test_what_concerns_one_video_gives_code_3_and_the_other_one_is_done(sent, run, deed, words):
    deed(sent)
    code, told = run()
    assert code == PARTLY
    assert any(words in line and "'video 1'" in line for line in told.splitlines() if line.startswith("problem: "))
    first, second = boxes(sent.dataset)
    assert at(sent.dataset, 1, 30) == pytest.approx(sent.moved, abs=0.01)
    assert len(second) == len(sent.before[1])
    if "corners" not in words:  # which a person did draw
        assert first == sent.before[0]
    assert [one for one in first if one["label"] == "person"] == [b for b in sent.before[0] if b["label"] == "person"]


def test_a_task_that_was_deleted_is_made_again_where_it_is_wished(sent, run):
    sent.api.send("DELETE", "/api/tasks/1")
    assert run()[0] == PARTLY
    code, told = run("--remake")
    assert code == DONE, told
    assert boxes(sent.dataset)[0] == sent.before[0]
    assert len(sent.server.tasks()) == 2
    assert [len(sent.api.tracks(job["id"])) for job in sent.api.jobs()] == [2, 2]
    code, told = run()
    assert (code, "nothing" in told) == (DONE, True)


def test_a_video_that_is_not_there_is_named_and_sent_once_it_is(make_dataset, make_video, server, run):
    dataset = make_dataset("told", straight(1, 0, 59), straight(1, 0, 59), frames=60)
    sample = dataset.first()
    sample.filepath = "nowhere.mp4"
    sample.save()
    code, told = run()
    assert code == PARTLY
    assert "nowhere.mp4" in told
    assert [task["name"].split()[1] for task in server.tasks() if task["size"]] == ["2"]
    sample.filepath = str(make_video(60))
    sample.save()
    code, told = run()
    assert code == DONE, told
    assert sorted(task["name"].split()[1] for task in server.tasks() if task["size"]) == ["1", "2"]


@pytest.mark.parametrize("requests", [2, 5, 8, 11, 14])
def test_a_token_that_runs_out_midway_ends_it_and_the_next_call_does_the_rest(sent, run, monkeypatch, requests):
    server, left = sent.server, [requests]
    monkeypatch.setenv("CVAT_TOKEN", server.token_for("admin"))

    def expire(method: str, path: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            server.revoke_tokens()

    server.hook = expire
    code, told = run()
    server.hook = None
    assert code == ENDED
    assert "does not accept the token (any more); make a new one in CVAT and set CVAT_TOKEN" in told
    monkeypatch.setenv("CVAT_TOKEN", server.token_for("admin"))
    assert run()[0] == DONE
    assert at(sent.dataset, 1, 30) == pytest.approx(sent.moved, abs=0.01)
    assert boxes(sent.dataset)[0] == sent.before[0]
    assert run()[1].endswith("nothing\n")
    assert (len(server.projects()), len(server.tasks()), len(server.jobs())) == (1, 2, 2)


def test_a_box_that_is_no_number_here_is_named_and_nothing_of_its_video_is_touched_there(sent, run):
    sample = sent.dataset.first()
    box = sample.frames[21].spam_tracks.detections[0]
    good = box.bounding_box
    box.bounding_box = [float("nan"), 0.1, 0.1, 0.1]
    sample.save()
    there = sent.api.tracks(sent.hands[0].job)
    code, told = run()
    assert code == PARTLY
    assert "frame 21" in told
    assert told.count("not four finite numbers") == 1
    assert sent.api.tracks(sent.hands[0].job) == there
    assert at(sent.dataset, 1, 30) == pytest.approx(sent.moved, abs=0.01)
    sent.dataset.reload()
    sample = sent.dataset.first()
    sample.frames[21].spam_tracks.detections[0].bounding_box = good
    sample.save()
    code, told = run()
    assert code == DONE, told
