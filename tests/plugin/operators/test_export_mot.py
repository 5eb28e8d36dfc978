"""Operator "export": it says what it will write, and writes what the command writes."""

from __future__ import annotations

import pytest


def test_the_form_says_what_will_be_written_and_where(ops, asked_once, tmp_path):
    form = ops.form("export_mot", asked_once, folder=str(tmp_path / "out"))
    boxes = asked_once.count("frames.spam_tracks.detections")
    assert form.said["preview"] == f"1 file with {boxes} boxes, in {tmp_path / 'out'}"
    assert form.defaults["field"] == "spam_tracks"
    assert "spam_queries" not in form.choices["field"]
    assert "there" not in form.names
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.txt").touch()
    assert form.said | ops.form("export_mot", asked_once, folder=str(tmp_path / "out")).said == {
        **form.said, "there": "1 text file there; those of the same names are replaced"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "why"), [("out", "is not a whole path"), ("/nowhere/at/all", "there is no folder /nowhere/at")]
)
def test_a_folder_that_cannot_be_is_refused_at_the_field(ops, asked_once, folder, why):
    assert why in ops.form("export_mot", asked_once, folder=folder).invalid["folder"]


def test_a_file_in_the_place_of_the_folder_is_refused(ops, asked_once, tmp_path):
    (tmp_path / "file").touch()
    assert "is a file" in ops.form("export_mot", asked_once, folder=str(tmp_path / "file")).invalid["folder"]


def test_the_files_are_those_of_the_command(ops, asked_once, tmp_path):
    from spam_plugin.integrations.mot.exporting import export_mot

    (expected,) = export_mot(asked_once, "spam_tracks", tmp_path / "expected")
    lived = ops.live("export_mot", asked_once, folder=str(tmp_path / "out"))
    assert lived.shown.said["said"] == f"1 file in {tmp_path / 'out'}"
    assert lived.progress[-1] == (1.0, "done")
    assert (tmp_path / "out" / "crossing.txt").read_bytes() == expected.read_bytes()


def test_boxes_without_index_are_refused_in_a_sentence_unless_they_are_detections(ops, asked_once, tmp_path):
    given = {"field": "candidates", "folder": str(tmp_path)}
    assert "has no index" in ops.live("export_mot", asked_once, **given).shown.said["said"]
    assert list(tmp_path.iterdir()) == []
    assert ops.script("export_mot", asked_once, without_ids=True, **given)["files"] == [str(tmp_path / "crossing.txt")]
    assert (tmp_path / "crossing.txt").read_text().splitlines()[0].split(",")[1].strip() == "-1"


def test_a_worker_exports(ops, asked_once, tmp_path):
    job = ops.job("export_mot", asked_once, folder=str(tmp_path))
    assert job.run_state == "completed"
    assert job.result.result["files"] == [str(tmp_path / "crossing.txt")]


def test_a_folder_that_is_gone_when_the_worker_comes_fails_with_a_sentence(ops, asked_once, tmp_path):
    (tmp_path / "in").mkdir()
    waiting = ops.queue("export_mot", asked_once, folder=str(tmp_path / "in" / "out"))
    (tmp_path / "in").rmdir()
    job = ops.work(waiting)
    assert job.run_state == "failed"
    assert f"there is no folder {tmp_path / 'in'}" in job.result.error
