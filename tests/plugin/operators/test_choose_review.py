"""Button "choose what to review": its form, what the App is told while it runs, and as a job of a worker."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def labelled(crossing, quick):
    """A labelled dataset."""
    from spam_plugin.integrations.fiftyone_ import api

    api.label(crossing, progress=False)
    return crossing


def boxes(dataset):
    return dataset.count("frames.spam_tracks.detections")


def test_the_form_says_what_the_budget_comes_to(ops, labelled):
    clicks = int(3 * boxes(labelled) * 0.033)
    form = ops.form("choose_review", labelled)
    assert form.said["preview"].startswith(f"1 video, {boxes(labelled)} boxes: up to {clicks} clicks, about a minute")
    assert "replaced" not in form.names
    half = ops.form("choose_review", labelled, amount_percent=50)
    clicks = int(3 * boxes(labelled) * 0.5)
    assert f"up to {clicks} clicks, about {clicks / 20:.0f} minutes of a person's time" in half.said["preview"]
    slow = ops.form("choose_review", labelled, amount_percent=50, rate=600)
    assert f"about {clicks / 10:.0f} minutes" in slow.said["preview"]


def test_the_budget_is_a_share_or_clicks_or_hours(ops, labelled):
    assert "up to 1,257 clicks, about 63 minutes" in ops.form(
        "choose_review", labelled, unit="clicks", amount_clicks=1257
    ).said["preview"]  # fmt: skip
    hours = ops.form("choose_review", labelled, unit="hours", amount_hours=2)
    assert "up to 2,400 clicks, about 2.0 hours" in hours.said["preview"]
    assert "amount_percent" not in hours.names


def test_every_rule_explains_itself(ops, labelled):
    from spam_plugin.engine.acquisition import ACQUISITIONS

    form = ops.form("choose_review", labelled)
    assert form.choices["acquisition"] == list(ACQUISITIONS)


@pytest.mark.parametrize(("amount", "where"), [(0, "amount_percent"), (101, "amount_percent"), (-1, "amount_percent")])
def test_the_form_refuses_a_budget_that_cannot_be_at_that_field(ops, labelled, amount, where):
    assert list(ops.form("choose_review", labelled, amount_percent=amount).invalid) == [where]


def test_nothing_can_be_labelled_before_anything_is_labelled(ops, crossing):
    form = ops.form("choose_review", crossing)
    assert "label tracks first" in form.invalid["refused"]
    assert not ops.has_button("choose_review", crossing)


def test_the_app_sees_what_it_will_cost_and_the_questions(ops, labelled):
    lived = ops.live("choose_review", labelled, unit="clicks", amount_clicks=9)
    assert lived.progress == [(0.0, "loading the model"), (1.0, "labelling: 1 of 1, crossing")]
    labelled.reload()
    (count,) = labelled.values("spam_open_queries")
    assert count == lived.result["queries"] == len(labelled.distinct("frames.spam_queries.detections.query"))
    assert 0 < lived.result["clicks"] <= lived.result["allowed"] == 9
    assert lived.shown.said["said"] == f"{count} queries in 1 video, about a minute of a person's time"
    assert re.match(r"Now wrong, as far as can be told: [\d.]+% of the boxes", lived.shown.said["expected"])
    (_, shown) = lived.effects[1]
    assert shown["fields"] == ["frames.spam_tracks", "frames.spam_queries", "spam_open_queries"]


def test_open_questions_are_told_before_new_ones_take_their_place(ops, labelled):
    count = ops.script("choose_review", labelled, unit="clicks", amount_clicks=9)["queries"]
    form = ops.form("choose_review", labelled)
    assert form.said["replaced"].startswith(f"{count} open queries in 1 video, about a minute")


def test_the_wish_is_told_and_the_rule_kept_with_the_run(ops, labelled):
    result = ops.script("choose_review", labelled, unit="clicks", amount_clicks=9, wish=50, acquisition="entropy")
    assert "To bring it under 50.0%: 0 clicks" in result["expected"]
    labelled.reload()
    run = labelled.get_run_info("queries_spam_tracks").config
    assert (run.acquisition, run.wish, run.budget["amount"]) == ("entropy", 0.5, 9)


def test_a_worker_leaves_the_result_with_the_job(ops, labelled):
    job = ops.job("choose_review", labelled, unit="clicks", amount_clicks=9)
    assert job.run_state == "completed"
    labelled.reload()
    assert job.result.result["queries"] == labelled.sum("spam_open_queries") > 0


def test_a_job_that_cannot_be_done_says_why(ops, crossing):
    job = ops.job("choose_review", crossing)
    assert job.run_state == "failed"
    assert "has no tracks of ours yet; label tracks first" in job.result.error


def test_its_button_comes_with_the_tracks(ops, labelled):
    assert ops.has_button("choose_review", labelled)
