"""Button "retrain": its form says what there is to learn from, and its outcome what became of the new version."""

from __future__ import annotations

import pytest

from spam_plugin.engine.desk.ports import DeskError


@pytest.fixture(autouse=True)
def shelves(tmp_path, monkeypatch):
    """Shelves of our own."""
    monkeypatch.setenv("SPAM_PLUGIN_SHELF", str(tmp_path))


@pytest.fixture
def answered(asked):
    """A labelled dataset with two answers."""
    from spam_plugin.engine.answers import Answer, Box, Verdict
    from spam_plugin.integrations.fiftyone_ import api
    from spam_plugin.integrations.fiftyone_.queries import load_queries

    query = next(one for one in load_queries(asked, "spam_tracks") if one.boxes)
    key = str(asked.first().id)
    said = [
        Answer(key, Verdict.VALID, query.boxes[:1], source="anna"),
        Answer(key, Verdict.INVALID, (Box(3, (1, 1, 9, 9)),)),
    ]
    api.answer(asked, said)
    return asked


@pytest.fixture
def trained(monkeypatch):
    """What ``retrain`` was called with, in place of a training; ``promoted`` says what the gate finds."""
    from spam_plugin.engine.promotion import Verdict
    from spam_plugin.engine.retraining import RetrainReport
    from spam_plugin.engine.versions import Version
    from spam_plugin.integrations.fiftyone_ import learning

    calls = []

    def retrain(view, candidates, *, settings, use, progress, **rest):
        calls.append({"view": view, "candidates": candidates, "settings": settings, "use": use, **rest})
        progress(0.5, "training the hierarchy")
        version = Version("v004", verdict=Verdict(True, "promoted: it agrees with more"))
        lessons = {"human": 2, "human_boxes": 1, "confident": 80, "masked": 5}
        return [
            RetrainReport(version, "default", True, False, lessons, {}, 1, 1, {}, {"detector": "no media"}, ("a note",))
        ]

    monkeypatch.setattr(learning, "retrain", retrain)
    return calls


def test_the_form_says_what_there_is_to_learn_from_and_how_long_it_takes(ops, answered):
    form = ops.form("retrain_models", answered)
    assert form.invalid == {}
    said = form.said["preview"]
    assert said.startswith("2 answers in 1 video, about ")
    assert "confident boxes, a quarter of the answers held out to judge by; detector, appearance, hierarchy: " in said
    alone = ops.form("retrain_models", answered, detector=False, appearance=False)
    assert "; hierarchy: about " in alone.said["preview"]
    assert ops.form("retrain_models", answered, self_training=True).said["preview"].startswith("about ")


def test_without_answers_it_offers_to_learn_without_and_refuses_to_learn_with(ops, asked):
    assert ops.form("retrain_models", asked).defaults["self_training"] is True
    form = ops.form("retrain_models", asked, self_training=False)
    assert "nobody has answered anything yet" in form.text + str(form.invalid)
    assert not ops.has_button("retrain_models", asked)


def test_the_button_is_there_when_answers_are_new(ops, answered):
    assert ops.has_button("retrain_models", answered)


def test_no_part_at_all_is_refused(ops, answered):
    nothing = ops.form("retrain_models", answered, detector=False, appearance=False, hierarchy=False)
    assert nothing.invalid == {"hierarchy": "choose at least one part"}


def test_the_form_knows_all_parts_that_versions_have():
    from spam_plugin.engine.teachers import AppearanceTeacher, DetectorTeacher, HierarchyTeacher
    from spam_plugin.engine.versions import TAUGHT
    from spam_plugin.plugin.operators import retrain_models

    assert retrain_models.PARTS == TAUGHT
    teachers = (DetectorTeacher, AppearanceTeacher, HierarchyTeacher)
    assert {one.part: one.steps for one in teachers} == retrain_models._STEPS, "what the estimate of time goes by"


def test_a_dataset_without_tracks_is_labelled_first(ops, crossing):
    assert "label tracks first" in ops.form("retrain_models", crossing).invalid["refused"]


def test_it_is_refused_while_somebody_retrains(ops, answered):
    from spam_plugin.integrations.fiftyone_.retrainings import Learning

    with Learning(answered, "spam_tracks").hold():
        form = ops.form("retrain_models", answered)
    assert any("works on the retraining" in said for said in form.invalid.values())


def test_the_outcome_says_whether_it_is_used_and_what_was_learnt(ops, answered, trained):
    lived = ops.live("retrain_models", answered)
    assert (0.5, "training the hierarchy") in lived.progress
    assert lived.shown.said["said"] == "version v004 is used from now on: promoted: it agrees with more"
    assert "Learnt from 2 candidates and 1 boxes that people spoke of" in lived.shown.said["learnt"]
    assert "label tracks" in lived.shown.said["next"]
    assert "the detector was not trained: no media" in lived.shown.text
    (call,) = trained
    assert (call["candidates"], call["out"], call["use"], call["settings"].parts) == (
        "candidates",
        "spam_tracks",
        None,
        (),
    )
    ops.script("retrain_models", answered, appearance=False, use="never", seed=4)
    assert (trained[1]["settings"].parts, trained[1]["settings"].seed) == (("detector", "hierarchy"), 4)
    assert trained[1]["use"] is False


def test_a_worker_leaves_the_result_with_the_job_and_an_error_is_a_sentence(ops, answered, trained, monkeypatch):
    job = ops.job("retrain_models", answered)
    assert job.run_state == "completed"
    assert job.result.result["version"] == "v004"
    from spam_plugin.integrations.fiftyone_ import learning

    def busy(*args, **more):
        raise DeskError("process 7 retrains")

    monkeypatch.setattr(learning, "retrain", busy)
    job = ops.job("retrain_models", answered)
    assert "process 7 retrains" in job.result.error
