"""Further things that people do in the App, each in an App of its own."""

from __future__ import annotations

import re

import pytest
from browser import PATIENCE
from playwright.sync_api import expect


@pytest.fixture
def asked(dataset):
    """The dataset labelled and with open questions."""
    import spam_plugin

    spam_plugin.label(dataset, progress=False)
    spam_plugin.queries(dataset, budget="30 clicks", progress=False)
    return dataset


def test_a_question_opens_its_frame_and_a_click_in_the_timeline_goes_to_another(open_app, asked):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    rows = Ledger(asked, "spam_tracks").queue(30)
    place = next(at for at, row in enumerate(rows) if row.frame > 12)
    rate = asked[rows[place].sample].metadata.frame_rate
    app = open_app("--no-worker")
    app.turn_to("Review")
    app.press_row(place, "Open")
    app.sample.wait_for()
    app.sees(app.time_of(rows[place].frame, rate), app.sample)
    app.picture("question")

    app.split()
    points = app.sample.locator(".js-plotly-plot .trace.scatter").first.locator("path.point")
    expect(points.nth(3)).to_be_visible(timeout=PATIENCE)
    app.click_at(points.nth(3))
    frames = asked.select(rows[place].sample).values("frames.spam_tracks.detections.index")[0]
    fourth = [number for number, boxes in enumerate(frames, 1) if boxes][3]
    app.sees(app.time_of(fourth, rate), app.sample)
    app.picture("timeline")


def test_scheduled_work_is_done_by_the_worker_and_shown_on_the_page_of_jobs(open_app, dataset):
    app = open_app()
    app.press_toolbar("label_tracks")
    app.schedule("Label")
    app.turn_to("Jobs")
    app.sees("SPAM: label tracks", app.panel)
    app.picture("job-waits")
    app.sees("completed", app.panel)
    app.sees(re.compile(r"boxes in \d+ tracks"), app.panel)
    app.picture("job-done")
    dataset.reload()
    assert dataset.count("frames.spam_tracks.detections")
    app.press_row(0, "Log")
    app.sees("log", app.panel)


def test_a_dataset_that_cannot_be_labelled_is_told_why_in_the_form_and_in_the_panel(open_app, dataset):
    import fiftyone as fo

    dataset.delete_samples(dataset.values("id")[1:])
    dataset.delete_frame_field("candidates")
    dataset.delete_frame_field("ground_truth")
    app = open_app("--no-worker")
    app.sees("Nothing is labelled yet", app.panel)
    app.press_step("Label tracks")
    app.sees("has no field of boxes", app.form)
    expect(app.form.get_by_role("button", name="Label", exact=True)).to_be_disabled(timeout=PATIENCE)
    app.picture("refused")
    assert fo.load_dataset(dataset.name).get_field("frames.spam_tracks") is None
