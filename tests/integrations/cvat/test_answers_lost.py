"""The session with the server: who we are there, and what is done when it does not answer or forbids."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from cvat_reviewer.session import CAR, desk_of, requests, sheet_track

from spam_plugin.engine.desk.ports import AttributeSpec, DeskError, GoneError, JobState, LabelSpec, LostError, Media
from spam_plugin.integrations.cvat.client import Access, ForbiddenError
from spam_plugin.models.errors import MissingError

SECRET = "not-to-be-seen"


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
