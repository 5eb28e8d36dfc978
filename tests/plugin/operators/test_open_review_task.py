"""Operator "open the review task": links to the CVAT jobs of what is open or selected."""

from __future__ import annotations

import pytest

OPEN = "@spam-plugin/spam/open_link"


@pytest.fixture
def sent(server, asked, ops):
    """A dataset of two videos, of which one has jobs at the server."""
    ops.script("sync_cvat", asked, job_seconds=2.0, more=True, overlap_seconds=0.5)
    sample = asked.first().copy()
    sample.filepath = "/nowhere/other.mp4"
    asked.add_sample(sample)
    asked.reload()
    return asked


def links(lived):
    return [link["url"] for link in lived.result["links"]]


def urls(server, jobs):
    return [f"{server.url}/tasks/{job['task_id']}/jobs/{job['id']}" for job in sorted(jobs, key=lambda job: job["id"])]


def test_the_jobs_of_the_sample_that_is_open_are_shown(ops, server, sent, api):
    lived = ops.live("open_review_task", sent, request={"current_sample": str(sent.first().id)})
    jobs = api.jobs()
    assert len(jobs) > 1
    assert links(lived) == urls(server, jobs)
    assert lived.shown.said["said"] == f"{len(jobs)} jobs of what is open or selected"
    assert lived.shown.said["link_0"].startswith("crossing, frames 1 to ")
    assert lived.effects == []


def test_only_those_of_what_is_selected_are_shown(ops, sent):
    lived = ops.live("open_review_task", sent, request={"selected": [str(sent.last().id)]})
    assert lived.shown.said["said"] == "nothing of this was sent to CVAT yet; sync with CVAT first"
    assert links(lived) == []


def test_without_a_selection_the_jobs_that_wait_for_a_person_are_shown(ops, server, sent, api):
    lived = ops.live("open_review_task", sent)
    waiting = [row for row in ops.script("sync_status", sent)["jobs"] if row["is_open"]]
    assert len(waiting) > 0
    assert links(lived) == sorted(row["link"] for row in waiting)
    assert "select or open a sample" in lived.shown.said["said"]


def test_the_only_job_is_opened_at_once(ops, server, asked, api):
    ops.script("sync_cvat", asked)
    lived = ops.live("open_review_task", asked, request={"selected": [str(asked.first().id)]})
    (url,) = urls(server, api.jobs())
    assert lived.effects == [(OPEN, {"url": url})]
    assert links(lived) == [url]


def test_a_clip_opens_its_frame(ops, server, asked, api):
    ops.script("sync_cvat", asked)
    clips = asked.to_clips([[(11, 20)]])
    lived = ops.live("open_review_task", asked, clips, request={"selected": [str(clips.first().id)]})
    (url,) = urls(server, api.jobs())
    assert lived.effects == [(OPEN, {"url": f"{url}?frame=10"})]


def test_it_asks_nothing_where_there_is_one_field_of_tracks(ops, asked):
    operator, ctx = ops.get("open_review_task"), ops.ctx("open_review_task", asked, target="inputs")
    assert operator.resolve_type(ctx, "inputs") is None
    assert not operator.config.dynamic  # the App would wait for a form for ever


def test_the_button_comes_when_something_was_sent(ops, server, asked):
    assert not ops.has_button("open_review_task", asked)
    ops.script("sync_cvat", asked)
    assert ops.has_button("open_review_task", asked)


def test_a_worker_can_say_the_links_too(ops, server, sent, api):
    result = ops.script("open_review_task", sent)
    assert result["links"]
    assert {link["url"] for link in result["links"]} <= set(urls(server, api.jobs()))
