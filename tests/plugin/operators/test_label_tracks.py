"""Button "label tracks": its form, what the App is told while it runs, and as a job of a worker."""

from __future__ import annotations

import pytest


def boxes(dataset, field):
    return dataset.count(f"frames.{field}.detections")


def test_the_form_knows_the_dataset_and_says_what_will_happen(ops, crossing):
    form = ops.form("label_tracks", crossing)
    assert form.choices["candidates"] == ["candidates", "shifted", "ground_truth"]
    assert form.defaults["candidates"] == "candidates"
    assert form.said["preview"].startswith(f"1 video, {boxes(crossing, 'candidates')} boxes, model spam-1, about ")
    assert not form.invalid
    other = ops.form("label_tracks", crossing, candidates="ground_truth")
    assert f" {boxes(crossing, 'ground_truth')} boxes" in other.said["preview"]
    assert boxes(crossing, "ground_truth") != boxes(crossing, "candidates")


def test_appearance_can_be_chosen_also_of_vectors_that_boxes_hold(ops, crossing):
    import fiftyone as fo

    assert ops.form("label_tracks", crossing).choices["embeddings"] == ["-", "default", "colour"]
    crossing.add_frame_field("candidates.detections.look", fo.VectorField)
    assert ops.form("label_tracks", crossing).choices["embeddings"] == ["-", "default", "colour", "look"]
    assert "look" not in ops.form("label_tracks", crossing, candidates="shifted").choices["embeddings"]


def test_labels_may_see_how_boxes_look(ops, crossing, quick, film, monkeypatch, tmp_path):
    monkeypatch.setenv("SPAM_PLUGIN_VECTORS", str(tmp_path))
    assert "cannot be read" in ops.live("label_tracks", crossing, embeddings="colour").shown.said["said"]
    crossing.set_values("filepath", [str(film)] * len(crossing))
    lived = ops.live("label_tracks", crossing, embeddings="colour")
    assert lived.result.get("boxes"), lived.shown.said
    assert list(tmp_path.rglob("*.*"))  # vectors beside the database


@pytest.mark.parametrize(
    ("out", "why"), [("candidates", "choose another name"), ("ground_truth", "not made by"), ("a b", "underscores")]
)
def test_the_form_refuses_a_field_that_is_not_ours_at_that_field(ops, crossing, out, why):
    form = ops.form("label_tracks", crossing, out=out)
    assert list(form.invalid) == ["out"]
    assert why in form.invalid["out"]


def test_the_app_sees_the_bar_then_what_was_done_and_the_tracks(ops, crossing, quick):
    lived = ops.live("label_tracks", crossing, request={"active_fields": ["uniqueness", "frames.candidates"]})
    assert lived.progress[0] == (0.0, "loading the model")
    assert lived.progress[-1] == (1.0, "labelling: 1 of 1, crossing")
    shares = [share for share, _ in lived.progress]
    assert shares == sorted(shares)
    (reload, _), (colour, scheme), (draw, drawn) = lived.effects
    assert (reload, colour, draw) == ("reload_dataset", "@spam-plugin/spam/set_colours", "set_active_fields")
    assert scheme["by"] == "instance"
    assert len(set(scheme["pool"])) == len(scheme["pool"]) == 30
    assert drawn == {"fields": ["uniqueness", "frames.spam_tracks"]}
    crossing.reload()
    count, tracks = boxes(crossing, "spam_tracks"), len(crossing.distinct("frames.spam_tracks.detections.index"))
    assert lived.shown.said["said"] == f"{count} boxes in {tracks} tracks, in 1 video"
    assert (lived.result["boxes"], lived.result["tracks"]) == (count, tracks)


def test_what_a_person_chose_to_see_beside_the_tracks_stays(ops, crossing, quick):
    import fiftyone as fo

    crossing.app_config.color_scheme = fo.ColorScheme(color_by="value", color_pool=["#112233"])
    crossing.save()
    beside = ["frames.ground_truth", "frames.spam_tracks"]
    lived = ops.live("label_tracks", crossing, request={"active_fields": beside})
    (colour, scheme), (_, drawn) = lived.effects[1:]
    assert (colour, scheme) == ("@spam-plugin/spam/set_colours", {"by": "value", "pool": ["#112233"]})
    assert drawn == {"fields": beside}


def test_a_script_gets_the_result_and_need_not_fill_in_anything(ops, crossing, quick):
    result = ops.script("label_tracks", crossing)
    crossing.reload()
    assert result["boxes"] == boxes(crossing, "spam_tracks") > 0


def test_a_worker_leaves_the_result_with_the_job(ops, crossing, quick):
    job = ops.job("label_tracks", crossing, candidates="shifted", fast=True)
    assert job.run_state == "completed"
    assert job.label == "SPAM: label tracks"
    assert job.status.label == "labelling: 1 of 1, crossing"
    crossing.reload()
    assert job.result.result["boxes"] == boxes(crossing, "spam_tracks") > 0
    assert "boxes in" in str(job.metadata["outputs_schema"])
    run = crossing.get_run_info("label_spam_tracks").config
    assert (run.candidates, run.settings["consensus"]) == ("shifted", False)


def test_a_job_that_cannot_be_done_says_why_and_leaves_the_dataset_as_it_was(ops, crossing, quick):
    ops.script("label_tracks", crossing)
    before = crossing.values("frames.spam_tracks.detections.bounding_box")
    waiting = ops.queue("label_tracks", crossing, candidates="candidates", out="spam_tracks")
    crossing.delete_frame_field("candidates")
    job = ops.work(waiting)
    assert job.run_state == "failed"
    assert "InputError: 'candidates' is not there any more; choose again" in job.result.error
    crossing.reload()
    assert crossing.values("frames.spam_tracks.detections.bounding_box") == before


def test_the_tracks_can_be_kept_as_they_were_to_compare(ops, crossing, quick):
    from spam_plugin.integrations.fiftyone_.comparing import has_before

    assert "keep" not in ops.form("label_tracks", crossing).names
    ops.script("label_tracks", crossing)
    before = crossing.values("frames.spam_tracks.detections.bounding_box")
    assert "keep" in ops.form("label_tracks", crossing).names
    assert "keep" not in ops.form("label_tracks", crossing, out="others").names
    ops.live("label_tracks", crossing, candidates="shifted", keep=True)
    crossing.reload()
    assert has_before(crossing, "spam_tracks")
    assert crossing.values("frames.spam_tracks_before.detections.bounding_box") == before
    assert crossing.values("frames.spam_tracks.detections.bounding_box") != before


def test_what_is_left_out_is_told(ops, crossing, quick):
    sample = crossing.first()
    sample.frames[3].candidates.detections[0].bounding_box = [0.1, 0.1, -0.2, 0.1]
    sample.save()
    refused = ops.live("label_tracks", crossing)
    assert "frame 3" in refused.shown.said["said"]
    assert "spam_tracks" not in crossing.get_frame_field_schema()
    lived = ops.live("label_tracks", crossing, skip_bad=True)
    assert lived.shown.said["problem_0"].startswith("left out 1 boxes")


def test_the_button_is_there_until_tracks_are_and_again_when_people_have_answered(ops, crossing, quick):
    from spam_plugin.engine.answers import Answer, Box, Verdict
    from spam_plugin.integrations.fiftyone_ import api

    assert ops.has_button("label_tracks", crossing)
    api.label(crossing, progress=False)
    assert not ops.has_button("label_tracks", crossing)
    said = Answer(str(crossing.first().id), Verdict.INVALID, (Box(5, (20.0, 400.0, 70.0, 450.0)),), source="anna")
    api.answer(crossing, [said])
    assert ops.has_button("label_tracks", crossing)
    api.label(crossing, progress=False)
    assert not ops.has_button("label_tracks", crossing)


def test_long_work_is_offered_to_a_worker_first(ops, crossing, monkeypatch):
    from spam_plugin.integrations.fiftyone_ import choices

    operator = ops.get("label_tracks")
    options = operator.resolve_execution_options(ops.ctx("label_tracks", crossing))
    assert options.allow_immediate_execution
    assert options.allow_delegated_execution
    assert not options.default_choice_to_delegated
    monkeypatch.setattr(choices, "BOXES_PER_SECOND", 1.0)
    assert operator.resolve_execution_options(ops.ctx("label_tracks", crossing)).default_choice_to_delegated
