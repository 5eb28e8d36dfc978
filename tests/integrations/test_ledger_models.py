"""Which weights label next, and what those that labelled were worth."""

import json

import numpy as np
import pytest

from spam_plugin.integrations.fiftyone_ import api
from spam_plugin.integrations.fiftyone_.ledger import Ledger
from spam_plugin.models.errors import InputError, MissingError
from spam_plugin.models.weights_file import DEFAULT_WEIGHTS, weights_version

QUIET = {"progress": False}
OUT = "spam_tracks"


def ledger_of(dataset):
    dataset.reload()
    return Ledger(dataset, OUT)


@pytest.fixture(params=["videos", "images"])
def make(request, video_dataset, image_dataset):
    return video_dataset if request.param == "videos" else image_dataset


def test_scores_are_kept_with_the_round_and_the_model_whose_labels_they_are_of(labelled, world, tmp_path):
    labelled.clone_frame_field(OUT, "truth")
    api.evaluate(labelled, OUT, "truth", **QUIET)
    api.evaluate(labelled, "truth", OUT, **QUIET)  # says nothing of our labels,
    api.evaluate(labelled.limit(1), OUT, "truth", **QUIET)  # and no more do scores of a part
    *_, last = ledger_of(labelled).rounds()
    assert (last.kind, last.scores["HOTA"], last.model_version) == ("evaluate", 1.0, "fake-1")
    assert len(ledger_of(labelled).rounds()) == 2
    api.label(labelled, model=world.Model("fake-2"), **QUIET)
    second, first, default = ledger_of(labelled).models()
    assert (first.version, first.scores["IDF1"], first.in_use, first.can_be_chosen) == ("fake-1", 1.0, False, False)
    assert (second.version, second.scores) == ("fake-2", {})
    assert second.used > first.used
    assert (default.version, default.in_use, default.can_be_chosen) == (
        weights_version(None or DEFAULT_WEIGHTS),
        True,
        True,
    )


def test_weights_are_chosen_for_the_next_labelling(make, world, model, tmp_path):
    from spam_plugin.models.spam import SpamModel

    other = SpamModel(model.network, model.decisions, "spam-other")
    other.save(tmp_path / "other.safetensors")
    dataset = make(a=world.frames())
    ledger = Ledger(dataset, OUT)
    assert ledger.choose_model(tmp_path / "other.safetensors") == "spam-other"
    assert ledger.model == str(tmp_path / "other.safetensors")
    api.label(dataset, model=ledger.model, **QUIET)
    used, default = ledger_of(dataset).models()
    assert (used.version, used.path, used.in_use, used.is_default) == ("spam-other", ledger.model, True, False)
    assert (default.is_default, default.path, default.in_use, default.used) == (True, None, False, None)
    ledger.choose_model(None)
    assert ledger.model is None
    assert [one.in_use for one in ledger_of(dataset).models()] == [False, True]


def test_what_holds_no_weights_is_not_chosen(labelled, tmp_path):
    from safetensors.numpy import save_file

    ledger = Ledger(labelled, OUT)
    with pytest.raises(MissingError, match=r"nowhere\.safetensors: no such file"):
        ledger.choose_model(tmp_path / "nowhere.safetensors")
    (tmp_path / "text").write_text("spam")
    save_file({"a": np.zeros(1)}, str(tmp_path / "strange"))
    save_file({"a": np.zeros(1)}, str(tmp_path / "half"), {"spam": json.dumps({"version": "x", "network": {}})})
    save_file({"a": np.zeros(1)}, str(tmp_path / "list"), {"spam": "[1]"})
    for name in ("text", "strange", "half", "list"):
        with pytest.raises(InputError, match=rf"{name}: not a SPAM model of this version"):
            ledger.choose_model(tmp_path / name)
    assert ledger.model is None
