"""Watching: cheap looks, a round whenever people have finished something, and no end because of a server's mood."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks, straight
from cvat_reviewer.hand import Hand

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.engine.desk.ports import DeskError, GoneError
from spam_plugin.integrations.cvat import sync as module
from spam_plugin.integrations.cvat.desk import CvatDesk
from spam_plugin.integrations.cvat.sync import sync, watch
from spam_plugin.integrations.cvat.trouble import Patience
from spam_plugin.integrations.fiftyone_.journal import SyncJournal
from spam_plugin.models.errors import InputError

EVERYTHING = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)
HOUR = 3600.0
WAIT = 60.0  # seconds until a test that waits for another thread gives up


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    """Nobody waits before another try."""
    hasty = partial(CvatDesk, patience=Patience(tries=2, sleep=lambda seconds: None))
    monkeypatch.setattr(module, "CvatDesk", hasty)


@pytest.fixture
def sent(server, make_dataset, make_link) -> SimpleNamespace:
    """A dataset whose three jobs are in CVAT."""
    dataset = make_dataset("watched", [*straight(1, 0, 89), *straight(2, 0, 89, 120.0)])
    link = make_link(dataset)
    report = sync(link, EVERYTHING)
    return SimpleNamespace(dataset=dataset, link=link, project=report.project)


@pytest.fixture
def api(server) -> Api:
    return Api(server.url, server.username, server.password)


@pytest.fixture
def start() -> Iterator[Callable[..., SimpleNamespace]]:
    """Watches in a thread until the test is over."""
    begun: list[SimpleNamespace] = []

    def begin(link: Any, settings: SyncSettings = EVERYTHING, every: float = 0.01, **more: Any) -> SimpleNamespace:
        seen = SimpleNamespace(
            reports=queue.Queue(), troubles=queue.Queue(), wake=threading.Event(), stop=threading.Event(), error=None
        )
        told = {"on_report": seen.reports.put, "on_trouble": seen.troubles.put, **more}

        def run() -> None:
            try:
                watch(link, settings, every=every, wake=seen.wake, stop=seen.stop, **told)
            except Exception as error:
                seen.error = error

        seen.thread = threading.Thread(target=run, daemon=True)
        begun.append(seen)
        seen.thread.start()
        return seen

    yield begin
    for seen in begun:
        end(seen)


def end(seen: SimpleNamespace) -> None:
    seen.stop.set()
    seen.thread.join(WAIT)
    assert not seen.thread.is_alive()


def report_with(seen: SimpleNamespace, what: str) -> Any:
    """The next report that counts something of this kind."""
    while True:
        report = seen.reports.get(timeout=WAIT)
        if report.counts.get(what):
            return report


def jobs_seen(server) -> queue.Queue:
    """Told of every look at the jobs."""
    looks: queue.Queue = queue.Queue()
    server.hook = lambda method, path: looks.put(path) if path.startswith("/api/jobs?") else None
    return looks


def some_looks(looks: queue.Queue) -> None:
    """Waits until it has looked at what is there now."""
    while not looks.empty():
        looks.get()
    for _ in range(3):
        looks.get(timeout=WAIT)


def test_a_look_at_which_nothing_has_changed_is_one_request(server, sent, start):
    looks = jobs_seen(server)
    seen = start(sent.link, every=HOUR)
    seen.reports.get(timeout=WAIT)
    while "filter" not in looks.get(timeout=WAIT):
        pass  # the look behind the first round asks for what is new since
    server.clear_log()
    for _ in range(3):
        seen.wake.set()
        looks.get(timeout=WAIT)
    end(seen)
    assert {(one.method, one.path, "updated_date" in one.query, one.status) for one in server.log} == {
        ("GET", "/api/jobs", True, 200)
    }
    assert len(server.log) in (3, 4), "the answer to the one behind the first round may have come late"
    assert seen.reports.empty()
    assert seen.error is None


def test_what_is_finished_comes_back_and_what_is_only_saved_does_not(server, sent, api, start):
    looks = jobs_seen(server)
    seen = start(sent.link)
    seen.reports.get(timeout=WAIT)
    hand = Hand(api, api.jobs()[0])
    moved = hand.move(hand.names()[0], 12, dy=30.0)
    some_looks(looks)
    assert seen.reports.empty()
    hand.done()
    assert report_with(seen, "jobs pulled").counts["jobs pulled"] == 1
    here = [box for box in read_tracks(sent.dataset, sent.dataset.first().id) if box["source"] == "human"]
    assert moved == pytest.approx(next(box["xyxy"] for box in here if box["frame"] == 12), abs=0.01)


def test_only_jobs_of_the_wanted_state_and_stage_are_news(server, sent, api, start):
    looks = jobs_seen(server)
    settings = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0, stages=("acceptance",))
    seen = start(sent.link, settings)
    seen.reports.get(timeout=WAIT)
    job = api.jobs()[1]["id"]
    api.job(job, state="completed")
    some_looks(looks)
    assert seen.reports.empty()
    api.job(job, stage="acceptance")
    assert report_with(seen, "jobs pulled").counts["jobs pulled"] == 1


def test_what_is_finished_while_a_round_goes_on_is_not_missed(sent, api, start):
    first, second, third = (job["id"] for job in api.jobs())
    rounds = []

    def tell(what: str, done: int, total: int, which: str) -> None:
        if what == "pushing" and done == 0:
            rounds.append(None)
            if len(rounds) == 2:  # jobs have been listed; another one is finished, and a third changes after it
                api.job(first, state="completed")
                api.job(third, state="in progress")

    seen = start(sent.link, tell=tell)
    seen.reports.get(timeout=WAIT)
    api.job(second, state="completed")
    assert report_with(seen, "jobs pulled").counts["jobs pulled"] == 1
    assert report_with(seen, "jobs pulled").counts["jobs pulled"] == 1
    assert {job["id"]: job["state"] for job in api.jobs()}[first] == "completed"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop"},
        {"kind": "status", "status": 502},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 401},
    ],
    ids=str,
)
def test_a_server_that_is_away_for_a_while_is_asked_again(server, sent, api, start, fault):
    seen = start(sent.link)
    seen.reports.get(timeout=WAIT)
    server.faults.add(path="/api/", times=None, **fault)
    assert isinstance(seen.troubles.get(timeout=WAIT), DeskError)
    seen.troubles.get(timeout=WAIT)
    server.faults.clear()
    api.job(api.jobs()[2]["id"], state="completed")
    assert report_with(seen, "jobs pulled").counts["jobs pulled"] == 1
    end(seen)
    assert seen.error is None


def test_a_round_that_broke_off_is_done_again_although_nothing_else_has_changed(server, sent, api, start):
    seen = start(sent.link)
    seen.reports.get(timeout=WAIT)
    job, other = api.jobs()[:2]
    server.faults.add("drop", path="/annotations", times=2)
    api.job(job["id"], state="completed")
    api.job(other["id"], state="in progress")
    assert report_with(seen, "jobs pulled").counts["jobs pulled"] == 1
    assert not seen.troubles.empty()


def test_a_desk_that_another_process_is_at_work_with_is_waited_for(sent, start):
    with SyncJournal(sent.dataset, "spam_tracks").hold():
        seen = start(sent.link)
        assert "works on field 'spam_tracks' of dataset 'watched'" in str(seen.troubles.get(timeout=WAIT))
    seen.reports.get(timeout=WAIT)
    assert seen.error is None


def test_without_anybody_to_tell_trouble_is_raised(server, sent, start):
    server.faults.add("status", path="/api/", times=None, status=503)
    seen = start(sent.link, on_trouble=None)
    seen.thread.join(WAIT)
    assert "is not up" in str(seen.error)


def test_a_project_that_was_deleted_ends_it(sent, api, start):
    seen = start(sent.link)
    seen.reports.get(timeout=WAIT)
    api.send("DELETE", f"/api/projects/{sent.project}")
    seen.thread.join(WAIT)
    assert isinstance(seen.error, GoneError)
    assert f"project {sent.project}" in str(seen.error)


def test_a_task_that_was_deleted_is_told_once(server, sent, api, start):
    seen = start(sent.link)
    seen.reports.get(timeout=WAIT)
    (task,) = server.tasks()
    api.send("DELETE", f"/api/tasks/{task['id']}")
    (told,) = {problem for problem in seen.reports.get(timeout=WAIT).problems if "deleted at the desk" in problem}
    assert f"task {task['id']} was deleted" in told
    some_looks(jobs_seen(server))
    assert seen.reports.empty()
    assert seen.error is None


def test_it_ends_when_it_is_told_however_long_it_would_wait(server, sent, start):
    seen = start(sent.link, every=HOUR)
    seen.reports.get(timeout=WAIT)
    end(seen)
    assert seen.error is None
    stopped = threading.Event()
    stopped.set()
    server.clear_log()
    watch(sent.link, EVERYTHING, stop=stopped)
    assert server.log == []


@pytest.mark.parametrize("every", [0, -1, float("nan")])
def test_a_time_that_is_none_is_refused(sent, every):
    with pytest.raises(InputError, match="must be more than 0"):
        watch(sent.link, EVERYTHING, every=every)


ASK = """if True:
    import sys
    import fiftyone as fo
    from spam_plugin.engine.answers import Box
    from spam_plugin.engine.choosing import QueryPlan
    from spam_plugin.engine.queries import Query, Question
    from spam_plugin.integrations.fiftyone_.fields import OutputFields
    from spam_plugin.integrations.fiftyone_.queries import QueryDesk
    from spam_plugin.integrations.fiftyone_.videos import open_videos

    dataset = fo.load_dataset(sys.argv[1])
    boxes = (Box(70, (150.0, 50.0, 180.0, 80.0)),)
    query = Query(str(dataset.first().id), Question.BOX, boxes, (), 70, 0, 0, 0.5, 1, 1.0, 0.6)
    plan = QueryPlan((query,), 1, 9, 99.0, {}, {}, (), "fake")
    QueryDesk(dataset, "frames.", OutputFields("spam_tracks")).write(open_videos(dataset), plan, {})
"""


def test_what_another_process_has_asked_meanwhile_is_sent_with_the_next_round(sent, api, start):
    seen = start(sent.link, SyncSettings(job_seconds=3, overlap_seconds=0))
    seen.reports.get(timeout=WAIT)
    done = subprocess.run([sys.executable, "-c", ASK, "watched"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, _, third = api.jobs()
    api.job(first["id"], state="completed")
    assert report_with(seen, "jobs pulled").counts["issues opened"] == 1
    (issue,) = api.issues(third["id"])
    assert issue["frame"] == 70
