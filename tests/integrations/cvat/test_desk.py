"""The desk over cvat-sdk: what it makes, reads and writes, and what it does when the server or a person is no help."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cvat_sdk.version import VERSION
from cvat_server import CvatServer

from spam_plugin.engine.desk.ports import AttributeSpec, DeskError, GoneError, JobState, LabelSpec, LostError, Media
from spam_plugin.engine.desk.sheets import SheetTrack
from spam_plugin.integrations.cvat.client import Access, ForbiddenError
from spam_plugin.integrations.cvat.desk import CvatDesk
from spam_plugin.integrations.cvat.translate import Classes
from spam_plugin.integrations.cvat.trouble import Patience
from spam_plugin.models.errors import InputError, MissingError

CAR = LabelSpec(
    "car",
    (
        AttributeSpec("track_uid"),
        AttributeSpec("uncertainty"),
        AttributeSpec("sure", "checkbox", True),
        AttributeSpec("pose", "select", True, ("left", "right")),
        AttributeSpec("speed", "number", True, ("0", "100", "1")),
    ),
)
SECRET = "not-to-be-seen"


class Clock:
    """Waits without waiting, and keeps how long."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def desk_of(server: CvatServer, clock: Clock, access: Access | None = None, **more: Any) -> CvatDesk:
    access = access or Access(server.url, username=server.username, password=server.password)
    return CvatDesk(access, Patience(tries=4, timeout=20, sleep=clock), **more)


@pytest.fixture
def desk(server: CvatServer, clock: Clock) -> Iterator[CvatDesk]:
    with desk_of(server, clock) as desk:
        yield desk


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Twelve images whose names say nothing of their order; the width of each says its place."""
    import cv2

    made = []
    for at in range(12):
        made.append(tmp_path_factory.mktemp("images") / f"{(at * 7) % 12}.png")
        cv2.imwrite(str(made[-1]), np.zeros((20, 40 + at, 3), np.uint8))
    return tuple(made)


@pytest.fixture
def job(desk: CvatDesk, images: tuple[Path, ...]) -> JobState:
    """The second of two jobs: frames 6 to 11."""
    project = desk.create_project("p", [CAR])
    desk.use_project(project)
    task = desk.create_task(project, "t", 6, 0)
    desk.upload(task, Media(images))
    return desk.jobs(project)[1]


def sheet_track(uid: str = "a", frames: tuple[int, ...] = (6, 8, 11), **more: Any) -> SheetTrack:
    start = np.array([1.123456789, 2.5, 11.25, 12.0])
    boxes = start + 0.1 * np.array(frames, float)[:, None]
    return SheetTrack(uid, "car", np.array(frames), boxes, np.zeros(len(frames), bool), **more)


def requests(server: CvatServer, method: str, path: str) -> int:
    """How many requests there were."""
    return sum(one.method == method and path in f"{one.path}?{one.query}" for one in server.log)


# --- access


def test_access_is_taken_from_secrets_before_the_environment(monkeypatch):
    monkeypatch.setenv("CVAT_URL", "http://other")
    monkeypatch.setenv("CVAT_TOKEN", "of-somebody-else")
    access = Access.from_environment({"CVAT_URL": "http://here/", "CVAT_USERNAME": "me", "CVAT_PASSWORD": SECRET})
    assert (access.url, access.username, access.password, access.token) == ("http://here", "me", SECRET, "")
    assert Access.from_environment().token == "of-somebody-else"


@pytest.mark.parametrize(
    ("given", "names"),
    [({}, ["CVAT_URL"]), ({"CVAT_URL": "http://x"}, ["CVAT_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"])],
)
def test_what_is_missing_of_the_access_is_named(monkeypatch, given, names):
    for name in ("CVAT_URL", "CVAT_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingError) as error:
        Access.from_environment(given)
    assert all(name in str(error.value) for name in names)


def test_secrets_are_in_no_repr_no_log_and_no_error(server, clock, caplog):
    caplog.set_level(logging.DEBUG)
    server.faults.add("status", path="/api/server/about", status=503)
    for access in (Access(server.url, token=SECRET), Access(server.url, username="admin", password=SECRET)):
        with desk_of(server, clock, access) as desk, pytest.raises(LostError) as error:
            desk.check()
        assert SECRET not in f"{access!r} {error.value} {error.value.__cause__} {caplog.text}"


def test_a_wrong_password_is_said_without_trying_again(server, clock):
    with (
        desk_of(server, clock, Access(server.url, username="admin", password="x")) as desk,
        pytest.raises(LostError, match=r"'admin'.*CVAT_PASSWORD"),
    ):
        desk.check()
    assert requests(server, "POST", "/api/auth/login") == 1


def test_there_is_one_log_in_for_many_requests_and_no_log_out(server, desk):
    desk.check()
    desk.find_project("x")
    desk.__exit__()
    assert requests(server, "POST", "/api/auth/login") == 1
    assert requests(server, "POST", "/api/auth/logout") == 0


def test_the_key_of_a_log_in_is_a_token_too(server, clock):
    with desk_of(server, clock, Access(server.url, token=server.token_for("admin"))) as desk:
        assert desk.check() == server.version
    assert requests(server, "POST", "/api/auth/login") == 0


def test_a_session_that_ends_midway_is_opened_again(server, desk, job):
    server.revoke_tokens()
    assert desk.write(job.id, create=[sheet_track()]) == [1]
    assert requests(server, "POST", "/api/auth/login") == 2
    assert len(server.annotations(job.id)["tracks"]) == 1


def test_a_token_that_ends_midway_is_said_with_what_to_do(server, clock):
    with desk_of(server, clock, Access(server.url, token=server.token_for("admin"))) as desk:
        desk.check()
        server.revoke_tokens()
        with pytest.raises(LostError, match="make a new one in CVAT and set CVAT_TOKEN"):
            desk.find_project("p")


def test_the_organization_is_that_of_every_request(server, clock):
    server.add_organization("lab")
    access = Access(server.url, username="admin", password=server.password, organization="lab")
    with desk_of(server, clock, access) as desk:
        desk.create_project("p", [CAR])
        assert desk.find_project("p") == 1
    with desk_of(server, clock, replace(access, organization="")) as desk:
        assert desk.find_project("p") is None


# --- a server that does not answer


def test_a_server_that_is_not_there_is_lost_after_some_tries(server, clock):
    access = Access("http://127.0.0.1:9", token="x")
    with (
        desk_of(server, clock, access) as desk,
        pytest.raises(
            LostError, match=r"http://127.0.0.1:9 does not answer: Connection refused; is it running.*CVAT_URL"
        ),
    ):
        desk.check()
    assert clock.waits == [0.5, 1, 2]


def test_another_server_is_no_cvat(server, clock):
    access = Access(server.url + "/elsewhere", username="admin", password=server.password)
    with desk_of(server, clock, access) as desk, pytest.raises(LostError, match="check CVAT_URL"):
        desk.check()


def test_a_redirection_names_the_address_to_set(server, clock, monkeypatch):
    from cvat_server.routing import Reply

    moved = Reply(308, headers={"Location": "https://cvat.example/"})
    monkeypatch.setattr(server._app, "handle", lambda request: moved)
    with desk_of(server, clock) as desk, pytest.raises(LostError, match="set CVAT_URL"):
        desk.check()


def test_a_server_that_is_too_old_is_refused_with_both_versions(server, desk):
    server.version = "2.11.0"
    with pytest.raises(LostError, match=r"2\.11\.0.*2\.20"):
        desk.check()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_is_broken_for_a_moment_is_asked_again(server, desk, clock, status):
    server.faults.add("status", path="/api/projects", status=status, times=3)
    assert desk.find_project("p") is None
    assert clock.waits == [0.5, 1, 2]


def test_the_server_says_how_long_to_wait(server, desk, clock):
    server.faults.add("status", path="/api/projects", status=429, retry_after=7)
    desk.find_project("p")
    assert clock.waits == [7]


def test_a_log_in_waits_until_it_is_let(server, desk, clock):
    server.faults.add("status", path="/api/auth/login", status=429, retry_after=3)
    desk.check()
    assert clock.waits == [3]


@pytest.mark.parametrize("fault", [{"when": "before"}, {"when": "after"}, {"when": "after", "bytes": 200}])
def test_what_is_read_over_a_broken_connection_is_read_again(server, desk, job, fault):
    desk.write(job.id, create=[sheet_track()])
    server.faults.add("drop", method="GET", path="annotations", **fault)
    tracks, refusals = desk.read(job)
    assert len(tracks) == 1
    assert not refusals


LOST = [
    {"kind": "drop", "when": "before"},
    {"kind": "drop", "when": "after"},
    {"kind": "status", "status": 502, "when": "before"},
    {"kind": "status", "status": 502, "when": "after"},
    {"kind": "status", "status": 504, "when": "after"},
]


@pytest.mark.parametrize("fault", LOST)
def test_nothing_is_made_twice_when_an_answer_is_lost(server, desk, images, fault):
    server.faults.add(method="POST", path="/api/projects", **fault)
    if fault.get("status") != 504:
        server.faults.add(method="POST", path="/api/tasks$", **fault)
    project = desk.create_project("p", [CAR])
    task = desk.create_task(project, "t", 6, 0)
    assert [one["id"] for one in server.projects()] == [project]
    assert [one["id"] for one in server.tasks()] == [task]
    desk.use_project(project)
    desk.upload(task, Media(images))
    job = desk.jobs(project)[0].id
    desk.write(job, create=[sheet_track("z", (0, 2))])

    server.faults.add(method="PATCH", path="action=create", **fault)
    ids = desk.write(job, create=[sheet_track("b", (0, 3)), sheet_track("a", (1, 4)), sheet_track("", (2, 5))])
    stored = {one["id"]: one["frame"] for one in server.annotations(job)["tracks"]}
    assert [stored[number] for number in ids] == [0, 1, 2]
    assert len(stored) == 4

    server.faults.add(method="POST", path="/api/issues", **fault)
    first = desk.open_issue(job, 1, (1, 2, 3, 4), "is it one?")
    assert [one["id"] for one in server.issues()] == [first]

    server.faults.add(method="PATCH", path="/api/projects", **fault)
    desk.extend_project(project, [LabelSpec("bus", (AttributeSpec("track_uid"),))])
    assert [one["name"] for one in server.labels(project)] == ["car", "bus"]


def test_half_of_a_split_track_is_not_taken_for_one_whose_answer_got_lost(server, desk, job):
    desk.write(job.id, create=[sheet_track("a", (6, 7))])
    server.faults.add("drop", method="PATCH", path="action=create", when="before")
    assert desk.write(job.id, create=[sheet_track("a", (8, 11))]) == [2]


def test_what_the_server_may_still_be_at_is_not_sent_again(server, desk, job):
    server.faults.add("status", method="PATCH", path="action=create", status=504)
    with pytest.raises(DeskError, match="not done with it in time"):
        desk.write(job.id, create=[sheet_track()])
    assert requests(server, "PATCH", "action=create") == 1


def test_what_is_forbidden_names_the_user_and_the_work(server, clock, job):
    server.add_user("worker")
    with desk_of(server, clock, Access(server.url, token=server.token_for("worker"))) as desk:
        desk.check()
        with pytest.raises(ForbiddenError, match=f"job {job.id}.*'?worker"):
            desk.set_job(job.id, state="completed")
    assert clock.waits == []


def test_what_is_gone_is_named_and_not_asked_for_again(desk, clock):
    for ask in (
        lambda: desk.task(99),
        lambda: desk.use_project(98),
        lambda: desk.read(JobState(97, 1, 0, 1, "new", "annotation", "", "")),
    ):
        with pytest.raises(GoneError, match=r"9[987]"):
            ask()
    assert clock.waits == []
    desk.delete_task(99)
    desk.resolve_issue(99)


# --- projects and tasks


def test_a_project_reads_as_it_was_made_and_can_grow(server, desk):
    project = desk.create_project("p", [CAR])
    assert desk.find_project("p") == project
    assert desk.find_project("P") is None
    made = desk.use_project(project)["car"]
    assert [(one.name, one.kind, one.mutable) for one in made.attributes] == [
        (one.name, one.kind, one.mutable) for one in CAR.attributes
    ]
    grown = replace(CAR, attributes=(*CAR.attributes, AttributeSpec("reason")))
    for _ in range(2):
        desk.extend_project(project, [grown, LabelSpec("bus")])
    specs = desk.use_project(project)
    assert list(specs) == ["car", "bus"]
    assert [one.name for one in specs["car"].attributes] == [one.name for one in grown.attributes]


def test_a_guide_is_a_help_and_no_duty(server, desk):
    project = desk.create_project("p", [CAR])
    desk.describe(project, "look **here**")
    desk.describe(project, "and there")  # the stand-in cannot change one; that must not stop anybody
    assert server.projects()[0]["guide_id"] is not None


def test_images_keep_our_order_and_may_have_equal_names(server, desk, images, tmp_path):
    import cv2

    twins = []
    for at in range(4):
        (tmp_path / str(at)).mkdir()
        twins.append(tmp_path / str(at) / "same.png")
        cv2.imwrite(str(twins[-1]), np.zeros((20, 40 + at, 3), np.uint8))
    linked = tmp_path / "a link.png"
    linked.symlink_to(images[5])
    project = desk.create_project("p", [CAR])
    for name, files in (("1", images), ("2", tuple(twins[::-1])), ("3", (linked, images[2]))):
        task = desk.create_task(project, name, 0, 0)
        desk.upload(task, Media(files))
        frames = server._app.store["media"][server._app.store["tasks"][task]["media_id"]]["frames"]
        widths = [cv2.imread(str(one)).shape[1] for one in files]
        assert [frame["width"] for frame in frames] == widths
        assert desk.task(task).size == len(files)


def test_a_video_is_sent_in_pieces_with_a_token_too(server, clock, make_video, monkeypatch):
    monkeypatch.setattr("spam_plugin.integrations.cvat.media.MOST_BYTES", 10)
    monkeypatch.setattr("cvat_sdk.core.uploading.TUS_CHUNK_SIZE", 1 << 16)
    video, shares = make_video(30), []
    with desk_of(server, clock, Access(server.url, token=server.token_for("admin"))) as desk:
        task = desk.create_task(desk.create_project("p", [CAR]), "t", 10, 2)
        server.busy_polls = 3
        server.faults.add("status", method="PATCH", path="/data/", status=503, after=1, retry_after=2)
        if not VERSION.startswith("2.54."):  # whose uploads do not survive it
            server.faults.add("drop", method="PATCH", path="/data/", after=2)
        desk.upload(task, Media((video,)), shares.append)
        assert desk.task(task).size == 30
        assert [(one.start, one.stop) for one in desk.jobs(1)] == [(0, 9), (8, 17), (16, 25), (24, 29)]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert clock.waits == [2, 0.5, 0.5, 0.5]


def test_media_can_lie_at_the_server_or_in_a_cloud(server, desk, images, tmp_path):
    import shutil

    for at, image in enumerate(images[:3]):
        shutil.copy(image, tmp_path / f"{at}.png")
    server.share = tmp_path
    cloud = server.add_cloud_storage("bucket", tmp_path)
    project = desk.create_project("p", [CAR])
    for name, remote in (("1", "share"), ("2", str(cloud))):
        task = desk.create_task(project, name, 0, 0)
        desk.upload(task, Media(("2.png", "0.png"), remote))
        assert desk.task(task).size == 2
    with pytest.raises(InputError, match="number of a cloud storage"):
        desk.upload(desk.create_task(project, "3", 0, 0), Media(("0.png",), "bucket"))


def test_media_that_the_server_cannot_read_fail_in_its_words(desk, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    project = desk.create_project("p", [CAR])
    task = desk.create_task(project, "t", 0, 0)
    assert desk.task(task) == desk.find_task(project, "t")
    assert (desk.task(task).size, desk.task(task).failed, desk.task(task).pending) == (0, "", False)
    desk.upload(task, Media((tmp_path / "a.png",)))
    assert "image" in desk.task(task).failed
    with pytest.raises(InputError, match=r"no file .*b\.png"):
        desk.upload(task, Media((tmp_path / "b.png",)))


def test_a_task_whose_media_are_being_read_is_pending(server, desk, images):
    task = desk.create_task(desk.create_project("p", [CAR]), "t", 0, 0)
    server.busy_polls = 2
    server.faults.add("drop", method="GET", path="/api/requests", times=4)
    with pytest.raises(LostError):
        desk.upload(task, Media(images))
    assert desk.task(task).pending
    desk.wait(task)
    assert (desk.task(task).pending, desk.task(task).size) == (False, 12)


def test_an_upload_whose_last_answer_is_lost_is_done(server, desk, images):
    task = desk.create_task(desk.create_project("p", [CAR]), "t", 0, 0)
    server.faults.add("drop", method="POST", path="/data", when="after", after=2)
    desk.upload(task, Media(images))
    assert desk.task(task).size == 12


def test_an_upload_that_breaks_off_is_said_and_nothing_is_sent_twice(server, desk, images):
    task = desk.create_task(desk.create_project("p", [CAR]), "t", 0, 0)
    server.faults.add("drop", method="POST", path="/data", when="after", after=1)
    with pytest.raises(DeskError, match="broke off"):
        desk.upload(task, Media(images))
    assert requests(server, "POST", f"/api/tasks/{task}/data") == 2
    assert not desk.task(task).pending


# --- jobs and issues


def test_jobs_change_and_tell_when(server, desk, job):
    server.add_user("ann")
    server.add_user("anna")
    assert desk.unknown_users(["ann", "an", "admin"]) == ["an"]
    moment = desk.jobs(1)[0].updated
    changed = desk.set_job(job.id, state="completed", stage="acceptance", assignee="ann")
    assert (changed.state, changed.stage, changed.assignee) == ("completed", "acceptance", "ann")
    assert (changed.start, changed.stop, changed.task) == (6, 11, 1)
    assert desk.jobs(1, since=changed.updated) == [changed]
    assert len(desk.jobs(1, since=moment)) == 2
    assert len(desk.jobs(1, task=1)) == 2
    assert desk.set_job(job.id, assignee="").assignee == ""
    assert desk.link(job.id, 1) == f"{server.url}/tasks/1/jobs/{job.id}"


def test_an_assignee_whom_nobody_knows_does_not_take_the_job_from_its_assignee(server, desk, job):
    desk.set_job(job.id, assignee="admin")
    with pytest.raises(DeskError, match="'nobody'"):
        desk.set_job(job.id, assignee="nobody")
    assert desk.set_job(job.id).assignee == "admin"


def test_issues_come_with_their_comments_in_one_go(server, desk, job):
    numbers = [desk.open_issue(job.id, 6 + at, (1, 2, 3, 4 + at), f"question {at}") for at in range(3)]
    desk._session.send("POST", "/api/comments", {"issue": numbers[1], "message": "yes"})
    desk.resolve_issue(numbers[1])
    server.clear_log()
    issues = desk.issues(job.id)
    assert [one.id for one in issues] == numbers
    assert issues[1].comments == (("admin", "question 1"), ("admin", "yes"))
    assert (issues[1].resolved, issues[1].frame, issues[1].position) == (True, 7, (1, 2, 3, 5))
    assert len(server.log) == 2
    desk._session.send("POST", "/api/comments", {"issue": numbers[0], "message": "no"})
    assert desk.issues(job.id)[0].updated > issues[0].updated


# --- tracks


def test_a_track_comes_back_as_it_was_sent(server, clock, job):
    with desk_of(server, clock, occluded=True) as desk:
        desk.use_project(1)
        values = ({"sure": "true", "pose": "left", "speed": "7", "occluded": "true"}, {"pose": "right"}, {})
        sent = sheet_track(values=values, notes={"uncertainty": "0.25"})
        sent = replace(sent, outside=np.array([False, False, True]))
        (number,) = desk.write(job.id, create=[sent])
        (back,), refusals = desk.read(job)
        assert not refusals
        assert back.remote == number
        assert back.same_keyframes(sent)
        assert (back.xyxy == sent.xyxy).all()
        assert (back.uid, back.notes, back.source) == ("a", {"uncertainty": "0.25"}, "auto")

        moved = replace(back, xyxy=back.xyxy + 1, source="a source that is too long")
        assert desk.write(job.id, update=[moved]) == []
        (again,), _ = desk.read(job)
        assert (again.remote, again.source) == (number, "auto")
        assert (again.xyxy == moved.xyxy).all()
        desk.write(job.id, delete=[again])
        assert desk.read(job) == ((), [])


def test_many_keyframes_go_in_several_requests(server, desk, job, monkeypatch):
    monkeypatch.setattr("spam_plugin.integrations.cvat.desk.MOST_KEYFRAMES", 7)
    ids = desk.write(job.id, create=[sheet_track(f"t{at}") for at in range(5)])
    assert [track.uid for track in desk.read(job)[0]] == [f"t{at}" for at in range(5)]
    assert ids == sorted(set(ids))
    assert requests(server, "PATCH", "action=create") == 3


def test_a_class_that_was_renamed_stops_the_write_before_anything_is_sent(server, desk, job):
    (number,) = desk.write(job.id, create=[sheet_track()])
    label = server.labels(1)[0]["id"]
    desk._session.send("PATCH", f"/api/labels/{label}", {"name": "auto"})
    assert list(desk.use_project(1)) == ["auto"]
    server.clear_log()
    with pytest.raises(DeskError, match=r"'car' is not in project 1 \(there are: auto\)"):
        desk.write(job.id, create=[sheet_track("b")], delete=[sheet_track(remote=number)])
    assert not server.log
    desk.write(job.id, delete=[sheet_track(remote=number)])  # what is to go, needs no class
    assert not server.annotations(job.id)["tracks"]


# --- nonsense

JOB = JobState(5, 1, 10, 19, "new", "annotation", "", "")
LABELS: tuple[dict[str, Any], ...] = (
    {"id": 1, "name": "car", "attributes": [
        {"id": 11, "name": "track_uid", "mutable": False, "input_type": "text", "values": [""]},
        {"id": 12, "name": "pose", "mutable": True, "input_type": "text", "values": [""]},
    ]},
)  # fmt: skip


def keyframe(frame: Any, *points: Any, **more: Any) -> dict[str, Any]:
    return {"type": "rectangle", "frame": frame, "points": list(points or (1, 2, 11, 12)), "attributes": [], **more}


def read(*shapes: Any, loose: Any = (), tags: Any = (), **more: Any) -> tuple[tuple[SheetTrack, ...], list[Any]]:
    track = {"id": 3, "label_id": 1, "attributes": [{"spec_id": 11, "value": "u"}], "shapes": list(shapes), **more}
    data = {"tracks": [track] if shapes or more else [], "shapes": list(loose), "tags": list(tags)}
    return Classes(1, LABELS).receive(JOB, data)


@pytest.mark.parametrize(
    "more",
    [
        {"label_id": 99},
        {"label_id": None},
        {"shapes": []},
        {"shapes": [keyframe(12, type="polygon"), keyframe(13)]},
        {"shapes": [keyframe(12, 1, 2, 3), keyframe(30)]},
        {"shapes": [{"type": "rectangle", "frame": "x"}]},
        {"shapes": None},
        {"shapes": ["x"]},
        {"attributes": [7]},
    ],
)
def test_a_track_that_is_of_no_use_is_left_out_as_a_whole(more):
    tracks, refusals = read(keyframe(12), **more)
    assert not tracks
    assert [(one.job, one.remote) for one in refusals if one.whole] == [(5, 3)]
    assert all("job 5, track 3" in one.text for one in refusals)


@pytest.mark.parametrize(
    ("shapes", "frames", "box", "note"),
    [
        ([keyframe(12), keyframe(13, 1, 2, 3)], [12], [1, 2, 11, 12], "frame 14: box .* not four finite numbers"),
        ([keyframe(12), keyframe(13, 1, 2, float("nan"), 4)], [12], [1, 2, 11, 12], "frame 14.*finite"),
        ([keyframe(12, 11, 2, 1, 12)], [12], [1, 2, 11, 12], "frame 13: the corners .* put right"),
        ([keyframe(12), keyframe(13, 1, 2, 1, 12)], [12], [1, 2, 11, 12], "frame 14.*no area"),
        ([keyframe(12), keyframe(20)], [12], [1, 2, 11, 12], "frame 21 is behind the job's end"),
        ([keyframe(12), keyframe(12, 3, 3, 9, 9)], [12], [1, 2, 11, 12], "two boxes in frame 13; the first"),
        ([keyframe(12, 0, 0, 10, 20, rotation=90)], [12], [-5, 5, 15, 15], "turned by 90"),
        ([keyframe(12, rotation=-180.0)], [12], [1, 2, 11, 12], "turned by 180"),
    ],
)
def test_a_keyframe_that_cannot_be_is_mended_or_left_out_and_said(shapes, frames, box, note):
    (track,), (refusal,) = read(*shapes)
    assert track.frame.tolist() == frames
    assert track.xyxy[0] == pytest.approx(box)
    assert (refusal.whole, refusal.remote, refusal.uid) == (False, 3, "u")
    assert re.search(note, refusal.text), refusal.text


def test_what_needs_no_word_is_put_right_without_one():
    (track,), refusals = read(keyframe(15), keyframe(9), keyframe(3, 5, 5, 6, 6), keyframe(12))
    assert not refusals
    assert track.frame.tolist() == [9, 12, 15]
    (track,), _ = read(keyframe(3), keyframe(10))
    assert track.frame.tolist() == [10]


@pytest.mark.parametrize("points", [(4, 4, 4, 4), (11, 12, 1, 2), (1, 2, 3), (0, 0, float("inf"), 1)])
def test_an_end_counts_whatever_its_box(points):
    (track,), refusals = read(keyframe(12), keyframe(14, *points, outside=True))
    assert track.frame.tolist() == [12, 14]
    assert track.outside.tolist() == [False, True]
    assert not refusals


def test_attributes_that_were_given_twice_or_left_out_do_no_harm():
    twice = [{"spec_id": 11, "value": ""}, {"spec_id": 11, "value": "u"}, {"spec_id": 11, "value": "v"}]
    said = [{"spec_id": 12, "value": "left"}, {"spec_id": 12, "value": "right"}, {"spec_id": 99, "value": "x"}]
    (track,), refusals = read(keyframe(12, attributes=said), keyframe(13), attributes=twice)
    assert (track.uid, track.filled, refusals) == ("u", ({"pose": "left"}, {"pose": "left"}), [])


def test_a_loose_box_is_a_track_of_one_frame():
    for frame, frames in ((12, [12, 13]), (19, [19])):
        loose = {**keyframe(frame), "id": 3, "label_id": 1, "source": "manual"}
        (track,), refusals = read(loose=[loose])
        assert (track.frame.tolist(), track.remote, track.source) == (frames, None, "manual")
        assert track.outside.tolist() == [False, True][: len(frames)]
        assert not refusals


def test_what_is_no_box_is_left_out_and_said():
    polygon = {**keyframe(12, 1, 2, 3, 4, 5, 6), "type": "polygon", "id": 1, "label_id": 1}
    strange = {**keyframe(12), "id": 1, "label_id": 8}
    tracks, refusals = read(loose=[polygon, strange, {"type": "rectangle", "label_id": 1}], tags=[{"frame": 14}])
    assert not tracks
    assert not any(one.whole for one in refusals)
    assert ["polygon" in refusals[0].text, "class" in refusals[1].text, "frame 15" in refusals[3].text] == [True] * 3
