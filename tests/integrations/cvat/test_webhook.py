"""CVAT's webhooks wake us: only for what is signed, new, and about our project; who calls otherwise changes nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks, straight
from cvat_reviewer.hand import Hand

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.engine.desk.ports import LabelSpec, Media
from spam_plugin.integrations.cvat.desk import CvatDesk
from spam_plugin.integrations.cvat.sync import sync, watch
from spam_plugin.integrations.cvat.webhook import EVENTS, MOST_BYTES, Deliveries, make_app, serve
from spam_plugin.models.errors import InputError

SECRET = "known-to-two-only"
PROJECT = 7
PATIENCE = 30.0  # seconds until a test that waits for another thread gives up


def signed(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def event(kind: str = "update:job", project: int = PROJECT, job: int = 3, at: str = "10", **more: object) -> bytes:
    about = {"id": job, "project_id": project, "updated_date": f"2026-11-22T10:00:{at}.000000Z"}
    return json.dumps({"event": kind, kind.partition(":")[2]: about, **more}).encode()


class Woken:
    """Counts how often somebody was woken."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def deliveries(woken: Woken) -> Deliveries:
    return Deliveries(SECRET, lambda: PROJECT, woken)


def take(deliveries: Deliveries, body: bytes, signature: str | None = None) -> tuple[int, str]:
    return deliveries.take(body, signed(body) if signature is None else signature)


# --- what becomes of a delivery


@pytest.mark.parametrize("kind", EVENTS)
def test_what_is_signed_and_new_wakes(deliveries, woken, kind):
    assert take(deliveries, event(kind)) == (202, "will look")
    assert woken.times == 1


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "sha256=" + 64 * "0",
        signed(event(), "another secret"),
        signed(event(at="11")),
        signed(event()).removeprefix("sha256="),
        signed(event()).replace("sha256", "sha1"),
        "sha256=ä" + 63 * "0",
    ],
)
def test_what_is_not_signed_with_the_secret_is_refused(deliveries, woken, signature):
    assert take(deliveries, event(), signature) == (401, "wrong signature")
    assert woken.times == 0
    # Nor does it count as seen: somebody could otherwise keep the real one away.
    assert take(deliveries, event()) == (202, "will look")


def test_what_was_here_before_is_ignored(deliveries, woken):
    assert take(deliveries, event(at="10")) == (202, "will look")
    assert take(deliveries, event(at="12")) == (202, "will look")
    assert take(deliveries, event(at="10")) == (200, "known already")
    assert woken.times == 2


def test_an_older_state_of_a_job_than_the_last_one_is_ignored(deliveries, woken):
    take(deliveries, event(at="12"))
    assert take(deliveries, event(at="11")) == (200, "nothing new")
    assert take(deliveries, event(at="11", job=4)) == (202, "will look"), "another job has a time of its own"
    assert woken.times == 2


def test_only_so_many_deliveries_are_remembered(deliveries, woken, monkeypatch):
    monkeypatch.setattr("spam_plugin.integrations.cvat.webhook.REMEMBERED", 3)
    bodies = [event("create:comment", number=number) for number in range(4)]
    for body in bodies:
        take(deliveries, body)
    assert len(deliveries._seen) == 3
    assert take(deliveries, bodies[3]) == (200, "known already")
    assert woken.times == 4


@pytest.mark.parametrize("kind", ["update:job", "update:issue", "create:comment"])
def test_other_projects_are_ignored(deliveries, woken, kind):
    assert take(deliveries, event(kind, project=8)) == (200, "another project")
    assert woken.times == 0


def test_without_a_project_of_ours_everything_is_about_another(woken):
    nobody = Deliveries(SECRET, lambda: None, woken)
    assert take(nobody, event()) == (200, "another project")
    assert woken.times == 0


@pytest.mark.parametrize("kind", ["update:task", "delete:job", "create:project", "nonsense"])
def test_events_of_other_kinds_are_ignored(deliveries, woken, kind):
    assert take(deliveries, event(kind)) == (200, "nothing new")
    assert woken.times == 0


def test_a_ping_is_answered_and_wakes_nobody(deliveries, woken):
    body = json.dumps({"event": "ping", "webhook": {"id": 1}}).encode()
    assert [take(deliveries, body), take(deliveries, body)] == [(200, "pong"), (200, "pong")]
    assert woken.times == 0


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"7", b"null", b"{}", b'"event"'])
def test_what_is_signed_but_no_event_is_refused(deliveries, woken, body):
    assert take(deliveries, body) == (400, "no event")
    assert woken.times == 0


@pytest.mark.parametrize("about", [None, 5, "job", [], {}, {"id": "3"}, {"id": 3, "updated_date": None}])
def test_an_event_that_says_little_wakes_all_the_same(deliveries, woken, about):
    assert take(deliveries, json.dumps({"event": "update:job", "job": about}).encode()) == (202, "will look")
    assert woken.times == 1


def test_a_secret_is_needed_and_shown_nowhere(woken, caplog):
    with pytest.raises(InputError, match="set CVAT_WEBHOOK_SECRET"):
        Deliveries("", lambda: PROJECT, woken)
    caplog.set_level(logging.DEBUG)
    deliveries = Deliveries(SECRET, lambda: PROJECT, woken)
    take(deliveries, event())
    take(deliveries, event(), "wrong")
    assert SECRET not in repr(deliveries) + str(deliveries) + caplog.text


# --- the server


@pytest.fixture
def listening() -> Iterator[Callable[[Deliveries], str]]:
    """Serves until the test is over; gives the address."""
    stop, threads = threading.Event(), []

    def listen(deliveries: Deliveries, host: str = "127.0.0.1") -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        ready = threading.Event()
        thread = threading.Thread(target=serve, args=(make_app(deliveries), host, port, stop, ready.set), daemon=True)
        threads.append(thread)
        thread.start()
        assert ready.wait(PATIENCE)
        return f"http://{host}:{port}/"

    yield listen
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it ends when it is told"


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict]:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): text for name, text in headers.items()})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def test_a_delivery_over_the_wire_wakes_and_others_do_not(deliveries, woken, listening):
    url = listening(deliveries)
    assert ask(url) == (200, {"said": "alive"})
    assert ask(url, event(), X_Signature_256=signed(event())) == (202, {"said": "will look"})
    assert ask(url, event(at="11")) == (401, {"said": "wrong signature"})
    assert ask(url, event(at="11"), X_Signature_256="sha256=no") == (401, {"said": "wrong signature"})
    assert woken.times == 1


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(deliveries, woken, listening):
    url = listening(deliveries)
    head = b"POST / HTTP/1.1\r\nHost: here\r\n"
    with connect(url) as wire:  # it is refused before any of it has come
        wire.sendall(head + b"Content-Length: %d\r\n\r\n" % (MOST_BYTES + 1))
        assert wire.recv(64).startswith(b"HTTP/1.1 413")
    with connect(url) as wire:
        wire.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(MOST_BYTES // 65536 + 1):
            wire.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert wire.recv(64).startswith(b"HTTP/1.1 413")
    assert woken.times == 0
    assert ask(url) == (200, {"said": "alive"})


def test_a_caller_that_goes_away_in_the_middle_does_no_harm(deliveries, woken, listening, caplog, capfd):
    url = listening(deliveries)
    with connect(url) as wire:
        wire.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nhalf")
    body = event()
    assert ask(url, body, X_Signature_256=signed(body))[0] == 202
    assert woken.times == 1
    assert "Traceback" not in caplog.text + capfd.readouterr().err


def test_a_port_that_is_in_use_is_said_in_words(deliveries):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*; choose another --port"):
            serve(make_app(deliveries), "127.0.0.1", port, threading.Event())


def test_an_address_that_is_not_ours_is_said_in_words(deliveries):
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.1:8787"):
        serve(make_app(deliveries), "192.0.2.1", 8787, threading.Event())


# --- with CVAT


@pytest.fixture
def desk(access) -> Iterator[CvatDesk]:
    with CvatDesk(access) as desk:
        yield desk


def test_cvat_is_told_once_whom_to_call(server, desk):
    project = desk.create_project("p", [LabelSpec("car")])
    number = desk.register_webhook(project, "http://127.0.0.1:9/", SECRET)
    assert desk.register_webhook(project, "http://127.0.0.1:9/", "another") == number
    api = Api(server.url, server.username, server.password)
    (made,) = api.send("GET", f"/api/webhooks?project_id={project}")["results"]
    assert (made["id"], made["target_url"], made["is_active"]) == (number, "http://127.0.0.1:9/", True)
    assert sorted(made["events"]) == sorted(EVENTS)


def test_what_cvat_sends_is_believed_and_a_redelivery_is_known(server, desk, woken, listening, make_video):
    project, other = (desk.create_project(name, [LabelSpec("car")]) for name in ("p", "other"))
    jobs = []
    for one in (project, other):
        desk.use_project(one)
        task = desk.create_task(one, "t", 10, 0)
        desk.upload(task, Media((make_video(10),)))
        jobs += desk.jobs(one)
    url = listening(Deliveries(SECRET, lambda: project, woken))
    number = desk.register_webhook(project, url, SECRET)
    desk.register_webhook(other, url, SECRET)
    api = Api(server.url, server.username, server.password)
    assert api.send("POST", f"/api/webhooks/{number}/ping")["status_code"] == 200
    assert woken.times == 0
    for job in jobs:
        api.job(job.id, state="in progress")
    server.wait_for_deliveries()
    assert woken.times == 1
    sent = api.send("GET", f"/api/webhooks/{number}/deliveries")["results"]
    (changed,) = [one for one in sent if one["event"] == "update:job"]
    assert (changed["status_code"], json.loads(changed["response"])) == (202, {"said": "will look"})
    api.send("POST", f"/api/webhooks/{number}/deliveries/{changed['id']}/redelivery")
    server.wait_for_deliveries()
    assert woken.times == 1


def test_a_secret_that_cvat_does_not_have_makes_its_deliveries_worthless(server, desk, woken, listening, make_video):
    project = desk.create_project("p", [LabelSpec("car")])
    desk.use_project(project)
    task = desk.create_task(project, "t", 10, 0)
    desk.upload(task, Media((make_video(10),)))
    url = listening(Deliveries(SECRET, lambda: project, woken))
    number = desk.register_webhook(project, url, "another")
    api = Api(server.url, server.username, server.password)
    api.job(desk.jobs(project)[0].id, state="completed")
    server.wait_for_deliveries()
    codes = {one["status_code"] for one in api.send("GET", f"/api/webhooks/{number}/deliveries")["results"]}
    assert (codes, woken.times) == ({401}, 0)


def test_a_job_that_is_completed_in_cvat_is_brought_back_at_once(server, desk, make_dataset, make_link, listening):
    dataset = make_dataset("woken", [*straight(1, 0, 80), *straight(2, 20, 40, 120.0)])
    link, settings = make_link(dataset), SyncSettings(windows="all", job_seconds=30)
    project = sync(link, settings).project
    wake, stop, reports = threading.Event(), threading.Event(), queue.Queue()
    desk.register_webhook(project, listening(Deliveries(SECRET, lambda: project, wake.set)), SECRET)
    # Nobody would look within the hour, if nobody called.
    watching = threading.Thread(
        target=watch,
        args=(link, settings),
        kwargs={"every": 3600.0, "wake": wake, "stop": stop, "on_report": reports.put},
        daemon=True,
    )
    watching.start()
    try:
        assert "jobs pulled" not in reports.get(timeout=PATIENCE).counts
        api = Api(server.url, server.username, server.password)
        hand = Hand(api, api.jobs()[0])
        moved = hand.move(hand.names()[0], 30, dy=40.0)
        hand.done()
        assert reports.get(timeout=PATIENCE).counts["jobs pulled"] == 1
    finally:
        stop.set()
        watching.join(PATIENCE)
    assert not watching.is_alive()
    here = {box["index"]: box for box in read_tracks(dataset, dataset.first().id) if box["frame"] == 30}
    assert here[1]["source"] == "human"
    assert here[1]["xyxy"] == pytest.approx(moved, abs=0.01)
