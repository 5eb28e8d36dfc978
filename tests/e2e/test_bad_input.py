"""What cannot be done is said in a sentence, where it is asked for; the dataset stays as it was or is finished."""

from __future__ import annotations

import re
import subprocess
import sys

import fiftyone as fo
import pytest
from browser import PATIENCE, URI
from playwright.sync_api import expect


@pytest.fixture
def others(dataset):
    """Datasets that cannot be labelled, and what is said of them."""
    grouped = fo.Dataset("grouped", persistent=True)
    grouped.add_group_field("group", default="left")
    for path in dataset.values("filepath"):
        group = fo.Group()
        grouped.add_samples([fo.Sample(path, group=group.element(name)) for name in ("left", "right")])
    fo.Dataset("empty", persistent=True)
    boxless = dataset.clone("boxless", persistent=True)
    boxless.delete_frame_fields(["candidates", "ground_truth"])
    yield {
        "grouped": ('[data-cy="looker"]', "is grouped; labelling needs plain videos"),
        "boxless": ('[data-cy="looker"]', "has no field of boxes"),
        "empty": ("text=No samples yet", "is empty; add videos first"),
    }
    for name in ("grouped", "empty", "boxless"):
        fo.delete_dataset(name)


def test_datasets_that_cannot_be_labelled_have_no_button_and_are_told_why(open_app, others):
    app = open_app("--no-worker")
    expect(app.page.locator(f'[data-item-id="{URI}label_tracks"]')).to_have_count(1, timeout=PATIENCE)
    for name, (sees, why) in others.items():
        app.open_dataset(name, sees)
        expect(app.page.locator(f'[data-item-id^="{URI}"]')).to_have_count(0, timeout=PATIENCE)
        app.browse("SPAM: label tracks")
        app.sees(why, app.form)
        expect(app.form.get_by_role("button", name="Label", exact=True)).to_be_disabled(timeout=PATIENCE)
        app.picture(name)
        app.cancel()
    assert not [text for text in app.errors if "Traceback" in text]


def test_a_field_that_goes_and_two_people_who_press_the_button_at_once(open_app, dataset):
    app = open_app("--no-worker")
    app.press_step("Label tracks")
    app.ready("Label")
    dataset.clone_frame_field("candidates", "kept")
    dataset.delete_frame_field("candidates")
    app.page.wait_for_timeout(2000)  # a form that has just been opened is still being looked at
    app.confirm("Label")
    app.sees("'candidates' is not there any more; choose again", app.form)
    app.picture("gone")
    app.cancel()
    dataset.rename_frame_field("kept", "candidates")

    second = app.another_window()
    windows = [app, second]
    for window in windows:
        window.press_step("Label tracks")
        window.ready("Label")
    app.page.wait_for_timeout(2000)
    for window in windows:
        window.form.get_by_role("button", name="Label", exact=True).click(no_wait_after=True)
    said = []
    for window in windows:
        window.sees(re.compile(r"boxes in \d+ tracks, in 2 videos|works on field 'spam_tracks'"))
        said.append(window.page.locator(".MuiDialog-root").last.inner_text())
    second.picture("two-people")
    assert sorted("Not done" in text for text in said) == [False, True]
    dataset.reload()
    whole = dataset.count("frames.spam_tracks.detections")
    assert f"{whole} boxes" in " ".join(said)


def test_a_job_whose_worker_was_killed_is_told_and_can_be_run_again(open_app, dataset):
    from spam_plugin.integrations.fiftyone_.jobs import list_jobs

    command = [sys.executable, "-c", "from spam_plugin.plugin.cli import main; main(['worker'])"]
    app = open_app("--no-worker")
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        app.press_step("Label tracks")
        app.schedule("Label")
        app.turn_to("Jobs")
        app.sees("SPAM: label tracks", app.panel)
        while list_jobs(dataset)[0].state == "queued":
            app.page.wait_for_timeout(100)
    finally:
        first.kill()
        first.wait()
    app.sees(re.compile("its worker .* died"), app.panel)
    app.picture("lost")
    second = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        app.press_row(0, "Run again")
        app.sees(re.compile(r"boxes in \d+ tracks, in 2 videos"), app.panel)
    finally:
        second.terminate()
        second.wait(60)
    app.picture("run-again")
    dataset.reload()
    assert dataset.count("frames.spam_tracks.detections")
