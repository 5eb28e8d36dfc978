"""Who we are at the server, how often we ask, and what is kept quiet.

What is done when it does not answer is in ``test_answers_lost``.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import straight

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.engine.desk.ports import DeskError, LostError
from spam_plugin.integrations.cvat.client import Access, ForbiddenError
from spam_plugin.integrations.cvat.desk import CvatDesk
from spam_plugin.integrations.cvat.sync import open_link, sync, sync_status
from spam_plugin.integrations.cvat.trouble import Patience
from spam_plugin.models.errors import InputError, MissingError

NAMES = ("CVAT_URL", "CVAT_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD", "CVAT_ORG")
HERE = "http://cvat.here:8080"
EVERYTHING = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)


@pytest.fixture
def environment(monkeypatch) -> Callable[..., None]:
    """Sets the variables that say who we are, and no others."""

    def put(**given: str) -> None:
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(f"CVAT_{name}", value)

    put()
    return put


def asked(server: Any, method: str, path: str) -> int:
    return sum((one.method, one.path) == (method, path) for one in server.log)


# --- who we are


@pytest.mark.parametrize("names", [n for k in range(4) for n in itertools.combinations(NAMES[1:4], k)], ids=str)
def test_a_token_or_a_name_with_a_password_is_needed(environment, names):
    environment(URL=HERE, **{name.removeprefix("CVAT_"): f"my {name}" for name in names})
    if "CVAT_TOKEN" in names or {"CVAT_USERNAME", "CVAT_PASSWORD"} <= set(names):
        access = Access.from_environment()
        assert access.url == HERE
        assert access.token == ("my CVAT_TOKEN" if "CVAT_TOKEN" in names else "")
        assert access.username == ("my CVAT_USERNAME" if "CVAT_USERNAME" in names else "")
        assert access.password == ("my CVAT_PASSWORD" if "CVAT_PASSWORD" in names else "")
    else:
        with pytest.raises(MissingError, match=r"CVAT_TOKEN .*, or CVAT_USERNAME and CVAT_PASSWORD") as error:
            Access.from_environment()
        assert not any(f"my {name}" in str(error.value) for name in names if name == "CVAT_PASSWORD")


def test_secrets_come_before_the_environment_one_by_one(environment):
    environment(URL=HERE, TOKEN="t", ORG="lab")
    access = Access.from_environment({"CVAT_URL": "https://elsewhere/", "CVAT_ORG": None, "CVAT_TOKEN": ""})
    assert access == Access("https://elsewhere", token="t", organization="lab")
    assert Access.from_environment({"CVAT_TOKEN": "u"}) == Access(HERE, token="u", organization="lab")


def test_whom_the_secrets_name_is_not_replaced_by_a_token_of_the_environment(environment):
    environment(URL=HERE, TOKEN="t")
    access = Access.from_environment({"CVAT_USERNAME": "anna", "CVAT_PASSWORD": "p"})
    assert access == Access(HERE, username="anna", password="p")
    with pytest.raises(MissingError, match="CVAT_PASSWORD"):
        Access.from_environment({"CVAT_USERNAME": "anna"})


def test_the_organisation_is_any_our_own_space_or_a_certain_one(environment):
    for given, organization in (({}, None), ({"ORG": ""}, ""), ({"ORG": "lab"}, "lab")):
        environment(URL=HERE, TOKEN="t", **given)
        assert Access.from_environment().organization == organization


@pytest.mark.parametrize("url", ["cvat.here", "ftp://cvat.here", "http://", "http:///x", "//cvat.here", "http:// x"])
def test_an_address_of_another_kind_is_refused(url):
    with pytest.raises(InputError, match="it must be like http://localhost:8080"):
        Access(url, token="t")


def test_nothing_that_is_secret_is_in_a_repr(access, make_dataset, make_link):
    secret = "secret-of-mine"
    mine = Access(HERE, token=secret, username="anna", password=secret)
    assert "anna" in repr(mine)
    link = make_link(make_dataset("quiet"), access=mine, secrets={"CVAT_TOKEN": secret})
    assert secret not in f"{mine!r} {mine} {link!r} {link}"


# --- tokens


@pytest.fixture
def personal(server) -> Callable[..., Access]:
    """A personal access token, made as people make one."""
    api = Api(server.url, server.username, server.password)

    def make(**more: Any) -> Access:
        made = api.send("POST", "/api/auth/access_tokens", {"name": "for spam-plugin", **more})
        return Access(server.url, token=made["value"])

    return make


def test_a_personal_access_token_is_enough_for_everything(server, personal, make_dataset, make_link):
    access = personal()
    server.clear_log()
    dataset = make_dataset("personal", straight(1, 0, 80))
    report = sync(make_link(dataset, access=access), EVERYTHING)
    assert report.counts["jobs opened"] == 3
    assert report.problems == []
    assert asked(server, "POST", "/api/auth/login") == 0
    assert server.projects()[0]["owner"]["username"] == server.username


def test_a_token_that_may_only_read_is_enough_for_the_status_and_says_so_at_a_push(
    server, access, personal, make_dataset, make_link
):
    dataset = make_dataset("reading", straight(1, 0, 80))
    reader = personal(read_only=True)
    with pytest.raises(
        ForbiddenError, match=r"making project 'reading, spam_tracks .*does not allow it to admin .*may only read"
    ):
        sync(make_link(dataset, access=reader), EVERYTHING)
    assert server.projects() == []
    sync(make_link(dataset), EVERYTHING)
    assert len(sync_status(make_link(dataset, access=reader))) == 3


def test_a_token_that_has_run_out_is_named_with_what_to_do(server, personal, make_dataset, make_link):
    access = personal(expiry_date="2020-01-01T00:00:00.000000Z")
    with pytest.raises(LostError, match=r"does not accept the token \(any more\); make a new one in CVAT") as error:
        sync(make_link(make_dataset("run out", straight(1, 0, 80)), access=access), EVERYTHING)
    assert access.token not in str(error.value)


def test_the_key_of_a_log_in_serves_as_a_token_and_stays_valid(server, make_dataset, make_link):
    key = server.token_for(server.username)
    dataset = make_dataset("key", straight(1, 0, 80))
    sync(make_link(dataset, access=Access(server.url, token=key)), EVERYTHING)
    assert (asked(server, "POST", "/api/auth/login"), asked(server, "POST", "/api/auth/logout")) == (0, 0)
    assert server.token_for(server.username) == key


# --- how often we ask


def test_one_round_logs_in_once_however_much_there_is_to_do(server, make_dataset, make_link, caplog):
    caplog.set_level(logging.DEBUG)
    dataset = make_dataset("once", *(straight(1, 0, 80) for _ in range(3)))
    server.clear_log()
    report = sync(make_link(dataset), EVERYTHING)
    assert report.counts["tasks made"] == 3
    assert asked(server, "POST", "/api/auth/login") == 1
    assert server.password not in caplog.text
    assert server.token_for(server.username) not in caplog.text


def test_a_session_that_ends_in_the_middle_of_a_round_is_begun_once_more(server, make_dataset, make_link):
    dataset = make_dataset("midway", *(straight(1, 0, 80) for _ in range(2)))
    made = []

    def revoke(method: str, path: str) -> None:
        if (method, path) == ("POST", "/api/tasks"):
            made.append(path)
            if len(made) == 2:
                server.revoke_tokens()

    server.hook = revoke
    report = sync(make_link(dataset), EVERYTHING)
    assert report.problems == []
    assert (report.counts["tasks made"], len(server.tasks())) == (2, 2)
    assert asked(server, "POST", "/api/auth/login") == 2


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def desk(server, access, waits):
    with CvatDesk(access, Patience(tries=9, first=1.0, longest=20.0, sleep=waits.append)) as desk:
        desk.check()
        server.clear_log()
        yield desk


def test_waiting_doubles_up_to_a_limit_and_then_it_gives_up(server, desk, waits):
    server.faults.add("status", path="/api/projects", status=500, times=None)
    with pytest.raises(DeskError, match="CVAT failed 9 times"):
        desk.find_project("p")
    assert waits == [1, 2, 4, 8, 16, 20, 20, 20]
    assert len(server.log) == 9


@pytest.mark.parametrize(("asked_for", "waited"), [(7, 7.0), (50, 50.0), (100_000, 600.0), (0, 1.0)])
def test_the_server_says_how_long_to_wait_within_reason(server, desk, waits, asked_for, waited):
    server.faults.add("status", path="/api/projects", status=429, retry_after=asked_for)
    assert desk.find_project("p") is None
    assert waits == [waited]
    assert [one.status for one in server.log] == [429, 200]


def test_a_server_that_counts_log_ins_has_nothing_to_complain_of(server, make_dataset, make_link):
    server.anonymous_limit = 1
    report = sync(make_link(make_dataset("counted", straight(1, 0, 80), straight(1, 0, 50))), EVERYTHING)
    assert report.counts["tasks made"] == 2
    assert 429 not in {one.status for one in server.log}


# --- organisations


@pytest.fixture
def lab(server) -> Callable[..., Access]:
    """An organisation with an owner and a worker; gives access for either, there or elsewhere."""
    for name in ("olga", "willy", "stranger"):
        server.add_user(name)
    server.add_organization("lab", {"olga": "maintainer", "willy": "worker"})

    def be(name: str, organization: str | None = "lab") -> Access:
        return Access(server.url, username=name, password="secret", organization=organization)

    return be


def test_everything_is_made_inside_the_organisation(server, lab, make_dataset, make_link):
    dataset = make_dataset("organised", straight(1, 0, 80))
    settings = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0, assignees=("willy",))
    report = sync(make_link(dataset, access=lab("olga")), settings)
    assert report.problems == []
    organization = server._app.store["organizations"][1]["id"]
    assert {one["organization"] for one in server.projects() + server.tasks()} == {organization}
    assert {one["assignee"]["username"] for one in server.jobs()} == {"willy"}
    assert sync(make_link(dataset, access=lab("olga")), settings).counts == {}
    with open_link(make_link(dataset, access=lab("olga", ""))) as elsewhere:
        assert elsewhere.desk.find_project(server.projects()[0]["name"]) is None


@pytest.mark.parametrize(("name", "organization"), [("olga", "laboratory"), ("stranger", "lab")])
def test_an_organisation_that_is_not_there_or_not_ours_is_named(
    server, lab, make_dataset, make_link, name, organization
):
    with pytest.raises(LostError, match=f"{name} .*organisation '{organization}'.*CVAT_ORG"):
        sync(make_link(make_dataset("strange", straight(1, 0, 80)), access=lab(name, organization)), EVERYTHING)
