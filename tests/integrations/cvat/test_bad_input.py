"""What can be wrong at the server is named in words; the rest is done, and nothing is lost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks, straight

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.engine.desk.ports import DeskError, GoneError, JobState, LostError
from spam_plugin.integrations.cvat.client import Access, Patience
from spam_plugin.integrations.cvat.desk import CvatDesk
from spam_plugin.integrations.cvat.sync import sync
from spam_plugin.integrations.cvat.translate import Classes
from spam_plugin.models.errors import InputError, MissingError

EVERYTHING = SyncSettings(windows="all", job_seconds=100, overlap_seconds=0)
QUICK = Patience(tries=3, sleep=lambda seconds: None)


@pytest.fixture
def sent(server, make_dataset, make_link):
    """Two videos with two tracks each, sent to the server."""
    tracks = [*straight(1, 0, 59, 50), *straight(2, 10, 40, 120, "person")]
    dataset = make_dataset("bad", tracks, tracks, frames=60)
    link = make_link(dataset)
    sync(link, EVERYTHING)
    return dataset, link, Api(server.url, server.username, server.password)


def finish(api: Api) -> None:
    for job in api.jobs():
        api.job(job["id"], state="completed")


def boxes(dataset) -> list:
    return [read_tracks(dataset, sample) for sample in dataset.values("id")]


# --- reaching the server


@pytest.mark.parametrize(("url", "words"), [("http://127.0.0.1:9", "does not answer"), ("localhost", "must be like")])
def test_a_wrong_address_is_named(url, words):
    with pytest.raises((LostError, InputError), match=words), CvatDesk(Access(url, token="x" * 20), QUICK) as desk:
        desk.check()


def test_a_wrong_password_is_named_and_not_shown(server):
    access = Access(server.url, username="admin", password="not the password")
    with pytest.raises(LostError, match="does not let 'admin' in") as caught, CvatDesk(access, QUICK) as desk:
        desk.check()
    assert "not the password" not in str(caught.value) + repr(access)


def test_a_token_that_is_not_valid_any_more_is_named(server):
    access = Access(server.url, token="0123456789" * 4)
    with pytest.raises(LostError, match="set CVAT_TOKEN"), CvatDesk(access, QUICK) as desk:
        desk.check()


def test_a_session_that_ends_midway_is_begun_again(server, access):
    with CvatDesk(access, QUICK) as desk:
        desk.check()
        server.revoke_tokens()
        assert desk.check() == "2.54.1"


def test_missing_credentials_name_the_variables(monkeypatch):
    for name in ("CVAT_URL", "CVAT_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingError, match="CVAT_URL"):
        Access.from_environment()
    with pytest.raises(MissingError, match="CVAT_TOKEN"):
        Access.from_environment({"CVAT_URL": "http://localhost:8080"})


def test_a_server_that_is_too_old_is_named_with_both_versions(server, access):
    server.version = "2.4.0"
    with pytest.raises(LostError, match=r"version 2\.4\.0; at least 2\.20"), CvatDesk(access, QUICK) as desk:
        desk.check()


def test_what_a_user_may_not_do_is_said(server, sent):
    _, link, _ = sent
    server.add_user("guest", "secret")
    stranger = replace(link, access=Access(server.url, username="guest", password="secret"))
    with pytest.raises(DeskError, match=r"guest|not in CVAT any more, or not for us to see"):
        sync(stranger, EVERYTHING)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_is_in_trouble_for_a_moment_is_asked_again(server, access, status):
    waited: list[float] = []
    server.faults.add("status", path="about", status=status, times=2, retry_after=7 if status == 429 else None)
    with CvatDesk(access, Patience(sleep=waited.append)) as desk:
        assert desk.check() == "2.54.1"
    assert waited == ([7.0, 7.0] if status == 429 else [0.5, 1.0])


@pytest.mark.parametrize("path", ["/api/projects", "/api/tasks$", "/api/issues", "action=create"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_creation_whose_answer_got_lost_is_not_done_twice(server, make_dataset, make_link, path, when):
    dataset = make_dataset("lost", straight(1, 0, 59), frames=60)
    method = "PATCH" if path.startswith("action") else "POST"
    server.faults.add("drop", method=method, path=path, when=when)
    report = sync(make_link(dataset), EVERYTHING)
    assert report.problems == []
    assert len(server.projects()) == len(server.tasks()) == len(server.jobs()) == 1
    assert len(server.annotations(server.jobs()[0]["id"])["tracks"]) == 1


# --- what is gone


def test_a_project_that_was_deleted_is_named_and_nothing_here_changes(server, sent):
    dataset, link, api = sent
    before = boxes(dataset)
    api.send("DELETE", f"/api/projects/{server.projects()[0]['id']}")
    with pytest.raises(GoneError, match="project 1: not in CVAT any more"):
        sync(link, EVERYTHING)
    assert boxes(dataset) == before


def test_a_task_that_was_deleted_is_named_and_made_again_if_wished(server, sent):
    dataset, link, api = sent
    before = boxes(dataset)
    api.send("DELETE", f"/api/tasks/{server.tasks()[0]['id']}")
    report = sync(link, EVERYTHING)
    assert any("was deleted at the desk" in problem and "--remake" in problem for problem in report.problems)
    assert boxes(dataset) == before
    report = sync(link, replace(EVERYTHING, remake=True))
    assert report.counts["tasks made"] == 1
    assert report.problems == []
    assert len(server.tasks()) == 2


@pytest.mark.parametrize("change", ["rename", "delete"])
def test_a_class_that_was_renamed_or_deleted_takes_no_labels_away(server, sent, change):
    dataset, link, api = sent
    before = boxes(dataset)
    label = next(one for one in server.labels() if one["name"] == "person")
    if change == "rename":
        api.send("PATCH", f"/api/labels/{label['id']}", {"name": "human"})
    else:
        api.send("DELETE", f"/api/labels/{label['id']}")
    finish(api)
    report = sync(link, EVERYTHING)
    assert any("class 'person' was renamed or deleted" in problem for problem in report.problems)
    assert report.counts["jobs pulled"] == 2
    assert boxes(dataset) == before


def test_a_video_of_another_length_is_named_and_the_others_are_done(server, sent):
    dataset, link, _ = sent
    sample = dataset.first()
    sample.metadata.total_frame_count = 70
    sample.save()
    report = sync(link, EVERYTHING)
    (problem,) = report.problems
    assert "'video 1'" in problem
    assert "60 frames at the desk, the dataset's file has 70" in problem


def test_a_video_that_is_missing_is_named_and_the_others_are_sent(server, make_dataset, make_link):
    dataset = make_dataset("missing", straight(1, 0, 59), straight(1, 0, 59), frames=60)
    sample = dataset.first()
    sample.filepath = "nowhere.mp4"
    sample.save()
    report = sync(make_link(dataset), EVERYTHING)
    (problem,) = report.problems
    assert "nowhere.mp4" in problem
    assert len(server.tasks()) == 1


def test_a_file_that_is_no_video_leaves_no_task_behind(server, make_dataset, make_link, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    dataset = make_dataset("broken", straight(1, 0, 59), straight(1, 0, 59), frames=60)
    sample = dataset.first()
    sample.filepath = str(broken)
    sample.save()
    report = sync(make_link(dataset), EVERYTHING)
    (problem,) = report.problems
    assert "could not take the media" in problem
    assert len(server.tasks()) == 1


# --- annotations that make no sense


def spoil(api: Api, **changes) -> dict:
    """Changes the first keyframe of the first job's first track."""
    job = api.jobs()[0]["id"]
    track = api.tracks(job)[0]
    shapes = [{**track["shapes"][0], **changes}, *track["shapes"][1:]]
    return api.change(job, "update", [{**track, "shapes": shapes}])[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": [40.0, 80.0, 10.0, 50.0]}, "corners of the box are swapped"),
        ({"points": [10.0, 50.0, 10.0, 80.0]}, "has no area"),
        ({"rotation": 45.0}, "turned by 45 degrees"),
        ({"type": "polygon", "points": [0, 0, 9, 0, 9, 9]}, "made of polygon"),
    ],
)
def test_a_box_that_makes_no_sense_is_named_and_the_rest_comes_back(sent, changes, words):
    dataset, link, api = sent
    before = boxes(dataset)
    spoil(api, **changes)
    job = api.jobs()[1]["id"]
    track = api.tracks(job)[0]
    moved = [{**shape, "points": [x + 9 for x in shape["points"]]} for shape in track["shapes"]]
    api.change(job, "update", [{**track, "shapes": moved}])
    finish(api)
    report = sync(link, replace(EVERYTHING, push=False))
    assert any(words in problem and "job 1, track" in problem for problem in report.problems)
    after = boxes(dataset)
    assert after[1] != before[1]
    assert all(box["source"] == "model" for box in after[1] if box["index"] == 2)
    if "polygon" in words:
        assert after[0] == before[0]


def test_boxes_behind_the_end_and_two_in_one_frame_are_named(sent):
    dataset, link, api = sent
    before = boxes(dataset)
    job = api.jobs()[0]["id"]
    track = api.tracks(job)[0]
    last = track["shapes"][-1]
    extra = [{**last, "frame": 1000, "id": None}, {**last, "points": [1.0, 1.0, 5.0, 5.0], "id": None}]
    extra = [{key: value for key, value in shape.items() if key != "id"} for shape in extra]
    api.change(job, "update", [{**track, "shapes": [*track["shapes"], *extra]}])
    finish(api)
    report = sync(link, replace(EVERYTHING, push=False))
    text = " ".join(report.problems)
    assert "frame 1001 is behind the job's end" in text
    assert "has two boxes in frame" in text
    assert boxes(dataset) == before


@pytest.mark.parametrize("points", [[math.nan, 0, 5, 5], ["a", 0, 5, 5], [1, 2, 3], None, [1e9, 0, 2e9, 5]])
def test_numbers_that_are_none_are_refused_where_they_come_in(points):
    label = {"id": 3, "name": "car", "attributes": []}
    shapes = [{"type": "rectangle", "frame": frame, "points": [0, 0, 9, 9], "outside": False} for frame in (0, 5)]
    shapes.append({**shapes[0], "frame": 8, "points": points})
    job = JobState(7, 1, 0, 20, "completed", "annotation", "", "")
    data = {"tracks": [{"id": 11, "label_id": 3, "shapes": shapes, "attributes": []}]}
    (track,), (refusal,) = Classes(1, (label,)).receive(job, data)
    assert track.frame.tolist() == [0, 5]
    assert "frame 9" in refusal.text
    assert not refusal.whole


def test_a_track_of_an_unknown_class_is_refused_as_a_whole():
    job = JobState(7, 1, 0, 20, "completed", "annotation", "", "")
    data = {"tracks": [{"id": 11, "label_id": 99, "shapes": [], "attributes": []}]}
    tracks, (refusal,) = Classes(1, ()).receive(job, data)
    assert not tracks
    assert refusal.whole
    assert refusal.remote == 11


def test_labels_that_make_no_sense_here_are_named_before_they_are_sent(server, make_dataset, make_link):
    tracks = straight(1, 0, 59)
    dataset = make_dataset("double", [*tracks, tracks[5]], tracks, frames=60)
    report = sync(make_link(dataset), EVERYTHING)
    (problem,) = report.problems
    assert "frame 6" in problem
    assert "'video 1'" in problem
    assert len(server.annotations(server.jobs()[-1]["id"])["tracks"]) == 1
