"""Operator "count again": the panel's numbers after edits behind the ledger's back."""

from __future__ import annotations


def test_what_was_edited_by_hand_is_counted(ops, asked):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    boxes = asked.count("frames.spam_tracks.detections")
    frame = next(number for number, frame in asked.first().frames.items() if frame.spam_tracks.detections)
    sample = asked.first()
    taken = sample.frames[frame].spam_tracks.detections.pop()
    sample.save()
    assert taken.index
    assert Ledger(asked, "spam_tracks").standing().boxes == boxes
    form = ops.form("count_again", asked)
    assert form.said["preview"].startswith(f"{boxes - 1} boxes, about ")
    lived = ops.live("count_again", asked)
    assert lived.shown.said["said"].startswith(f"{boxes - 1} boxes in ")
    standing = Ledger(asked, "spam_tracks").standing()
    assert (standing.boxes, standing.stale) == (boxes - 1, False)


def test_it_runs_as_a_job(ops, asked):
    doc = ops.job("count_again", asked)
    assert doc.run_state == "completed"
    assert "boxes in" in doc.result.result["said"]


def test_without_tracks_the_form_says_so(ops, crossing):
    form = ops.form("count_again", crossing)
    assert form.invalid
