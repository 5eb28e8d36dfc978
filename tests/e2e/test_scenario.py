"""The whole round in a real browser: pressed buttons, filled forms, seen results."""

from __future__ import annotations

import re

from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks
from cvat_reviewer.hand import Hand

WIDTH, HEIGHT = 480, 270  # of the rendered videos


def tracks(dataset):
    """Boxes of each video in the field of tracks."""
    dataset.reload()
    return {sample: read_tracks(dataset, sample) for sample in dataset.values("id")}


def kept(moved, labels):
    """Whether a person's box is where it was dragged to."""
    human = [box["bounding_box"] for boxes in labels.values() for box in boxes if box["source"] == "human"]
    return any(abs(x * WIDTH - moved[0]) < 0.01 and abs(y * HEIGHT - moved[1]) < 0.01 for x, y, *_ in human)


def test_from_an_imported_dataset_to_corrected_labels(open_app, dataset, cvat):
    app = open_app()
    app.sees("Nothing is labelled yet", app.panel)
    app.picture("imported")

    # Three presses: the button, the form's button, and closing what it says.
    candidates = dataset.count("frames.candidates.detections")
    app.press_toolbar("label_tracks")
    app.sees(re.compile(rf"2 videos, {candidates:,} boxes"), app.form)
    app.ready("Label")
    app.picture("label-form")
    app.confirm("Label")
    app.sees(re.compile(r"boxes in \d+ tracks"))
    app.picture("labelled")
    app.close_form()
    labelled = tracks(dataset)
    assert all(labelled.values())
    app.sees("2 labelled", app.panel)

    app.press_step("Choose questions")
    app.sees(re.compile("minutes? of a person's time"), app.form)
    app.ready("Choose")
    app.picture("choose-form")
    app.confirm("Choose")
    app.sees(re.compile(r"\d+ queries"))
    app.close_form()
    app.turn_to("Review")
    app.sees("most valuable first", app.panel)
    app.picture("queue")
    open_before = sum(dataset.values("spam_open_queries"))
    assert open_before

    app.turn_to("Overview")
    app.press_step("Sync")
    app.sees(re.compile(rf"{open_before} open queries"), app.form)
    app.ready("Synchronise")
    app.picture("sync-form")
    app.confirm("Synchronise")
    app.sees(re.compile("1 project made, 2 tasks made"))
    app.close_form()
    app.picture("sent")
    assert len(cvat.projects()) == 1
    assert cvat.issues()

    # A person moves a box in CVAT, and finishes the job.
    api = Api(cvat.url, cvat.username, cvat.password)
    job = api.jobs()[0]
    hand = Hand(api, job)
    uid = next(name for name in hand.names() if name)
    frame = sorted(hand.boxes(uid))[0]
    moved = hand.move(uid, frame, dx=7.0, dy=3.0)
    api.job(job["id"], state="completed")

    app.press_step("Sync")
    app.confirm("Synchronise")
    app.sees(re.compile("[1-9] jobs? pulled"))
    app.close_form()
    assert kept(moved, tracks(dataset))
    app.sees(re.compile(r"[1-9]\d* seen by people"), app.panel)
    app.picture("corrected")

    # Labelled again, the labels keep to what the person said; the round is judged, and the task can be opened.
    app.press_step("Label tracks")
    app.confirm("Label")
    app.sees(re.compile(r"boxes in \d+ tracks"))
    app.close_form()
    assert kept(moved, tracks(dataset))
    app.browse("SPAM: evaluate tracks")
    app.confirm("Evaluate")
    app.sees(re.compile(r"HOTA \d"))
    app.close_form()
    app.turn_to("Rounds")
    app.sees("boxes right, estimated", app.panel)
    app.sees(re.compile(r"HOTA \d+\.\d, IDF1"), app.panel)
    app.picture("rounds")
    assert not [text for text in app.errors if "Error" in text and "ERR_FAILED" not in text]
