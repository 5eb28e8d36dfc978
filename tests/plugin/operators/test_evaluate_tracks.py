"""Operator "evaluate": its form, the table, and as a job of a worker."""

from __future__ import annotations

import pytest


def count(dataset, field):
    return dataset.count(f"frames.{field}.detections")


def test_the_form_offers_tracks_and_truth(ops, asked_once):
    form = ops.form("evaluate_tracks", asked_once)
    assert (form.defaults["pred"], form.defaults["gt"]) == ("spam_tracks", "ground_truth")
    assert form.choices["pred"] == ["spam_tracks", "candidates", "shifted", "ground_truth"]
    assert "spam_tracks" not in form.choices["gt"]
    pred, truth = count(asked_once, "spam_tracks"), count(asked_once, "ground_truth")
    assert form.said["preview"] == f"1 video, {pred} boxes against {truth} of the truth"


def test_the_table_is_that_of_the_command(ops, asked_once):
    import spam_plugin

    expected = spam_plugin.evaluate(asked_once, "spam_tracks", "ground_truth", progress=False)
    lived = ops.live("evaluate_tracks", asked_once)
    overall = dict(zip(*(expected.table()[row] for row in (0, -1)), strict=True))
    assert lived.result["rows"][-1] == overall
    assert [row["video"] for row in lived.result["rows"]] == ["crossing", "overall"]
    assert lived.result["overall"] == pytest.approx(expected.as_dict(percent=True)["overall"])
    assert lived.shown.said["said"] == (
        f"HOTA {overall['HOTA']}, IDF1 {overall['IDF1']}, MOTA {overall['MOTA']} over all videos"
    )  # fmt: skip
    assert "rows" in lived.shown.names
    assert lived.effects == []


def test_what_cannot_be_scored_is_said(ops, asked_once):
    lived = ops.live("evaluate_tracks", asked_once, pred="spam_tracks", gt="candidates")
    assert "index" in lived.shown.said["said"]
    assert lived.result == {}
    strict = ops.live("evaluate_tracks", asked_once, preprocess="mot17")
    assert strict.shown.said["said"].startswith("Not done ")


def test_a_video_without_truth_is_told(ops, asked_once, monkeypatch):
    import fiftyone as fo

    extra = asked_once.clone()
    try:
        sample = asked_once.first().copy()
        sample.filepath, sample["sequence"] = "/nowhere/other.mp4", "other"
        for frame in sample.frames.values():
            frame["ground_truth"] = None
        extra.add_sample(sample)
        lived = ops.live("evaluate_tracks", extra)
        assert lived.shown.said["problem_0"] == "left out, as it has no ground truth: other"
    finally:
        fo.delete_dataset(extra.name)


def test_the_selected_videos_are_scored(ops, asked_once):
    request = {"selected": [str(asked_once.first().id)], "view_target": "SELECTED_SAMPLES"}
    lived = ops.live("evaluate_tracks", asked_once, request=request)
    assert len(lived.result["rows"]) == 2


def test_a_worker_leaves_the_scores_with_the_job(ops, asked_once):
    job = ops.job("evaluate_tracks", asked_once)
    assert job.run_state == "completed"
    assert job.result.result["overall"]["HOTA"] > 50


def test_scores_are_noted_as_a_round(ops, asked):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    result = ops.script("evaluate_tracks", asked)
    (noted,) = [one for one in Ledger(asked, "spam_tracks").rounds() if one.kind == "evaluate"]
    assert 100 * noted.scores["HOTA"] == pytest.approx(result["overall"]["HOTA"], abs=1e-3)
