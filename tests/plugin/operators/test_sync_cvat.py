"""Button "sync with CVAT": its form, what goes to the stand-in server and comes back, and as a job of a worker."""

from __future__ import annotations

import re

import pytest
from cvat_reviewer.hand import Hand


def queries(dataset):
    return dataset.sum("spam_open_queries")


@pytest.fixture
def sent(server, asked, ops):
    """A dataset whose questions are at the server."""
    ops.script("sync_cvat", asked)
    asked.reload()
    return asked


# --- the form


def test_the_form_says_what_will_be_sent_and_where(ops, server, asked_once):
    form = ops.form("sync_cvat", asked_once)
    count = queries(asked_once)
    assert count > 1
    assert form.said["sending"] == (
        f"To {server.url}: {count} open queries in 1 video, about a minute of a person's time"
    )  # fmt: skip
    assert form.said["returning"] == "Nothing was sent yet, so nothing comes back"
    assert form.defaults["states"] == ["completed"]
    assert not form.invalid


def test_the_form_says_what_comes_back(ops, sent):
    assert ops.form("sync_cvat", sent).said["returning"] == "1 video in review: what is completed comes back"
    both = ops.form("sync_cvat", sent, states=["completed", "rejected"])
    assert both.said["returning"].endswith("what is completed or rejected comes back")


def test_the_form_warns_where_nothing_is_open(ops, server, crossing, quick):
    from spam_plugin.integrations.fiftyone_ import api

    api.label(crossing, progress=False)
    assert "choose what to review first" in ops.form("sync_cvat", crossing).said["sending"]
    every = ops.form("sync_cvat", crossing, more=True, everything=True)
    assert "every job of every video is opened" in every.said["sending"]


def test_what_is_rarely_needed_waits_behind_a_switch(ops, server, asked_once):
    few = ops.form("sync_cvat", asked_once).names
    many = ops.form("sync_cvat", asked_once, more=True).names
    assert {"stages", "confirm", "tolerance", "force", "remake"} <= set(many) - set(few)
    assert "folder" not in many
    assert {"folder", "there"} <= set(ops.form("sync_cvat", asked_once, more=True, media="share").names)


@pytest.mark.parametrize(
    ("given", "where", "why"),
    [
        ({"pull": False, "push": False}, "push", "there is nothing to do"),
        ({"states": ["done"]}, "states", "'done' is none of: new, in progress, completed, rejected"),
        ({"job_seconds": 1.5}, "job_seconds", "jobs must be longer than their overlap"),
        ({"job_seconds": 0}, "job_seconds", "write a number from 0.1"),
        ({"more": True, "tolerance": 2}, "tolerance", "up to 1"),
        ({"more": True, "media": "share", "folder": "/nowhere"}, "folder", "is no folder of this machine"),
        ({"more": True, "media": "cloud", "folder": "here"}, "folder", "is no folder of this machine"),
    ],
    ids=str,
)
def test_the_form_refuses_what_cannot_be_at_the_field(ops, server, asked_once, given, where, why):
    form = ops.form("sync_cvat", asked_once, **given)
    assert why in form.invalid[where]
    assert "sending" not in form.names


@pytest.mark.parametrize(
    ("known", "missing"),
    [({}, "CVAT_URL"), ({"CVAT_URL": "http://localhost:1"}, "CVAT_TOKEN")],
    ids=["no url", "nobody"],
)
def test_the_form_says_which_secrets_to_set_and_where(ops, nobody, asked_once, known, missing):
    for name, value in known.items():
        nobody.setenv(name, value)
    form = ops.form("sync_cvat", asked_once)
    assert missing in form.invalid["refused"]
    assert "in the environment of the App's server, and of workers" in form.invalid["refused"]


def test_no_secret_is_in_the_form_the_result_or_the_job(ops, server, asked):
    secret = server.token_for(server.username)
    form, job = ops.form("sync_cvat", asked, more=True), ops.job("sync_cvat", asked)
    assert secret not in f"{form} {job.result.result} {job.context.request_params} {job.metadata}"


# --- a round trip


def test_the_app_is_told_what_was_sent(ops, server, asked, api):
    count = queries(asked)
    lived = ops.live("sync_cvat", asked)
    assert lived.progress[0] == (0.0, "asking the server")
    shares = [share for share, _ in lived.progress]
    assert shares == sorted(shares)
    assert any(what.startswith("uploading: ") for _, what in lived.progress)
    said = lived.shown.said
    assert said["said"].startswith("1 project made, 1 task made, ")
    assert f"{count} issues opened" in said["said"]
    assert said["where"] == "Open the project in CVAT"
    (_, shown) = lived.effects[-1]
    assert shown["fields"] == ["frames.spam_tracks", "spam_review_status"]
    asked.reload()
    assert asked.values("spam_review_status") == ["in review"]
    assert sum(len(api.issues(job["id"])) for job in api.jobs()) == count


def test_what_people_did_comes_back(ops, sent, api):
    (job,) = api.jobs()
    hand = Hand(api, job)
    hand.move(hand.names()[0], 10, dx=7.0)
    hand.done()
    assert ops.form("sync_cvat", sent).said["returning"].startswith("1 video in review")
    result = ops.script("sync_cvat", sent, push=False)
    sent.reload()
    assert result["counts"]["jobs pulled"] == 1
    assert result["counts"]["boxes written"] >= 1
    assert "human" in sent.distinct("frames.spam_tracks.detections.source")
    assert sent.values("spam_review_status") == ["reviewed"]
    assert ops.has_button("label_tracks", sent)  # which now keeps to what was said


def test_jobs_go_to_people_in_turn(ops, server, asked, api):
    server.add_user("anna")
    ops.script("sync_cvat", asked, assignees="anna, ", job_seconds=2.0, more=True, overlap_seconds=0.5)
    jobs = api.jobs()
    assert len(jobs) > 1
    assert "anna" in {(job["assignee"] or {}).get("username") for job in jobs}


def test_a_dry_run_tells_and_changes_nothing(ops, server, asked_once, api):
    lived = ops.live("sync_cvat", asked_once, dry_run=True)
    assert lived.shown.said["said"].startswith("would be done: 1 project to make")
    assert "where" not in lived.shown.names
    assert api.jobs() == []
    assert not ops.form("sync_cvat", asked_once).said["returning"].startswith("1")


def test_nothing_to_do_is_said_too(ops, sent):
    assert ops.live("sync_cvat", sent).shown.said["said"] == "nothing was to be done: both sides are the same"


def test_what_could_not_be_done_is_shown_and_the_rest_is_done(ops, server, asked):
    sample = asked.first().copy()
    sample.filepath = "/nowhere/gone.mp4"
    asked.add_sample(sample)
    lived = ops.live("sync_cvat", asked, more=True, everything=True)
    assert "1 task made" in lived.shown.said["said"]
    assert "gone" in lived.shown.said["problem_0"]
    assert lived.result["problems"][0] == lived.shown.said["problem_0"]


def test_a_server_that_does_not_answer_is_named(ops, nobody, asked_once, monkeypatch):
    from spam_plugin.integrations.cvat import trouble

    monkeypatch.setattr(trouble.Patience, "wait", lambda *given: None)
    nobody.setenv("CVAT_URL", "http://127.0.0.1:9")
    nobody.setenv("CVAT_TOKEN", "x" * 40)
    before = asked_once.values("spam_open_queries")
    lived = ops.live("sync_cvat", asked_once)
    assert lived.shown.said["said"].startswith("Not done ")
    assert re.search(r"127\.0\.0\.1:9", lived.shown.said["said"])
    assert "Traceback" not in lived.shown.text
    assert asked_once.values("spam_open_queries") == before


# --- a worker, and the toolbar


def test_a_worker_synchronises(ops, server, asked, api):
    job = ops.job("sync_cvat", asked)
    assert job.run_state == "completed"
    assert job.result.result["counts"]["issues opened"] == queries(asked)
    assert len(api.jobs()) == 1


def test_a_job_without_credentials_fails_with_the_sentence(ops, server, asked, nobody):
    waiting = ops.queue("sync_cvat", asked)
    nobody.delenv("CVAT_URL")
    job = ops.work(waiting)
    assert job.run_state == "failed"
    assert "no CVAT server is named; set CVAT_URL" in job.result.error


def test_the_button_comes_with_questions_and_stays_once_something_was_sent(ops, server, crossing, quick, asked):
    from spam_plugin.integrations.fiftyone_ import api

    assert ops.has_button("sync_cvat", asked)
    ops.script("sync_cvat", asked)
    api.queries(asked, budget="1 clicks", progress=False)
    assert ops.has_button("sync_cvat", asked)


def test_there_is_no_button_without_questions(ops, crossing, quick):
    from spam_plugin.integrations.fiftyone_ import api

    assert not ops.has_button("sync_cvat", crossing)
    api.label(crossing, progress=False)
    assert not ops.has_button("sync_cvat", crossing)
