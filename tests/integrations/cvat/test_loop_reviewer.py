"""CVAT as the loop's reviewer: waits for the last job, through a server's moods, and loses no correction on the way."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from spam_plugin.engine.desk.context import SyncReport, SyncSettings
from spam_plugin.engine.desk.ports import DeskError, GoneError
from spam_plugin.integrations.cvat import reviewer as module
from spam_plugin.integrations.cvat.reviewer import CvatReviewer


def job(state="new", stage="annotation", is_open=True):
    return SimpleNamespace(state=state, stage=stage, is_open=is_open)


@pytest.fixture
def desk(monkeypatch):
    """A desk whose looks are given beforehand: lists of jobs, or errors; notes what was synchronised."""
    made = SimpleNamespace(looks=[], settings=[], report=SyncReport(), told=[])

    def sync_status(link):
        look = made.looks.pop(0) if made.looks else []
        if isinstance(look, Exception):
            raise look
        return look

    def sync(link, settings, tell):
        made.settings.append(settings)
        tell("sending", 1, 2, "street")
        return made.report

    monkeypatch.setattr(module, "sync_status", sync_status)
    monkeypatch.setattr(module, "sync", sync)
    return made


def reviewer(desk, **more):
    return CvatReviewer(None, every=0.001, **more)


def test_it_waits_until_no_job_that_was_sent_waits_for_a_person(desk):
    desk.looks = [[job(), job()], [job("completed"), job("in progress")], [job("completed"), job("completed")]]
    shares = []
    reviewer(desk).wait(1, 10, lambda share, what: shares.append((share, what)))
    assert shares == [(0.0, "2 jobs wait for people"), (0.5, "1 jobs wait for people")]


def test_jobs_that_hold_no_question_or_are_gone_are_not_waited_for(desk):
    desk.looks = [[job(is_open=False), job("gone")], [job()]]
    reviewer(desk).wait(1, 10, lambda share, what: None)
    assert len(desk.looks) == 1


def test_a_stage_that_is_wanted_is_waited_for_too(desk):
    settings = SyncSettings(stages=("acceptance",))
    desk.looks = [[job("completed", "validation")], [job("completed", "acceptance")]]
    reviewer(desk, settings=settings).wait(1, 10, lambda share, what: None)
    assert desk.looks == []


def test_a_server_that_is_away_is_asked_again_but_a_project_that_is_gone_is_an_end(desk):
    told = []
    desk.looks = [DeskError("the server does not answer"), []]
    reviewer(desk).wait(1, 10, lambda share, what: told.append(what))
    assert told == ["the server does not answer; will look again in 0.001 s"]
    desk.looks = [GoneError("the project was deleted")]
    with pytest.raises(GoneError):
        reviewer(desk).wait(1, 10, lambda share, what: None)


def test_who_stops_it_is_heard_while_it_waits(desk):
    stop = threading.Event()
    stop.set()
    desk.looks = [[job()]]
    with pytest.raises(KeyboardInterrupt):
        reviewer(desk, stop=stop).wait(1, 10, lambda share, what: None)


def test_asking_brings_back_first_what_people_had_finished_and_taking_sends_nothing(desk):
    reports = []
    person = reviewer(desk, on_report=reports.append)
    person.ask(1, lambda share, what: None)
    person.take(1, lambda share, what: None)
    assert [(one.pull, one.push) for one in desk.settings] == [(True, True), (True, False)]
    assert len(reports) == 2


def test_if_nothing_could_be_sent_it_says_why_and_else_goes_on(desk):
    desk.report = SyncReport(problems=["video 'street' has no file"])
    with pytest.raises(DeskError, match="has no file; mend it and start the loop again"):
        reviewer(desk).ask(1, lambda share, what: None)
    desk.looks = [[job()]]
    reviewer(desk).ask(1, lambda share, what: None)
