"""The desk over cvat-sdk: what it makes, reads and writes, and what it does when the server or a person is no help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvat_reviewer.session import CAR, desk_of, requests, sheet_track
from cvat_sdk.version import VERSION

from spam_plugin.engine.desk.ports import AttributeSpec, DeskError, LabelSpec, LostError, Media
from spam_plugin.integrations.cvat.client import Access
from spam_plugin.models.errors import InputError

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
