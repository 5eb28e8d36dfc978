"""Operator "jobs in CVAT": a table of jobs with links."""

from __future__ import annotations

from cvat_reviewer.hand import finish


def test_nothing_was_sent_yet(ops, server, asked_once):
    assert ops.form("sync_status", asked_once).said["preview"] == "Nothing was sent to CVAT yet"
    lived = ops.live("sync_status", asked_once)
    assert lived.shown.said["said"] == "nothing has been sent yet"
    assert "table" not in lived.shown.names


def test_every_job_is_in_the_table_with_a_link(ops, server, asked, api):
    ops.script("sync_cvat", asked, job_seconds=2.0, more=True, overlap_seconds=0.5)
    jobs = api.jobs()
    assert len(jobs) > 1
    form = ops.form("sync_status", asked)
    assert form.said["preview"] == f"1 video in review at {server.url}"
    lived = ops.live("sync_status", asked)
    waiting = sum(row["is_open"] for row in lived.result["jobs"])
    assert lived.shown.said["said"] == f"{len(jobs)} jobs: {waiting} wait for a person, 0 have news"
    rows = lived.result["table"].splitlines()[2:]
    assert len(rows) == len(jobs)
    for job in jobs:
        assert sum(f"[{job['id']}]({server.url}/tasks/{job['task_id']}/jobs/{job['id']})" in row for row in rows) == 1
    assert [row.endswith("| open |") for row in rows] == [True] * waiting + [False] * (len(rows) - waiting)
    assert sum(row["questions"] for row in lived.result["jobs"]) >= asked.sum("spam_open_queries")

    finish(api)
    again = ops.script("sync_status", asked)
    assert {row["state"] for row in again["jobs"]} == {"completed"}
    assert again["table"].count("to come back") == len(jobs)


def test_names_of_videos_mean_nothing_in_the_table(ops):
    from spam_plugin.engine.desk.sync import JobStatus
    from spam_plugin.plugin.operators.sync_status import table

    row = JobStatus(
        "a|b [c](http://x)", 1, (1, 5), "new", "annotation", "", 0, 0, False, False, "http://cvat/tasks/1/jobs/1"
    )
    assert r"| a\|b \[c\]\(http://x\) | [1](http://cvat/tasks/1/jobs/1) |" in table([row])


def test_there_is_no_job_of_a_worker_for_so_short_a_look(ops, server, asked_once):
    operator = ops.get("sync_status")
    assert not operator.resolve_execution_options(ops.ctx("sync_status", asked_once)).allow_delegated_execution


def test_without_credentials_the_form_says_what_to_set(ops, nobody, asked_once):
    assert "CVAT_URL" in ops.form("sync_status", asked_once).invalid["refused"]
    lived = ops.live("sync_status", asked_once)
    assert "CVAT_URL" in lived.shown.said["said"]
