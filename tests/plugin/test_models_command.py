"""``spam-plugin models``, called as from a shell."""

import json

import pytest

from spam_plugin.engine.promotion import Verdict
from spam_plugin.engine.versions import Version


@pytest.fixture
def shelf(crossing, model, tmp_path, monkeypatch):
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    monkeypatch.setenv("SPAM_PLUGIN_SHELF", str(tmp_path / "shelf"))
    shelf = Shelf(crossing, "spam_tracks")
    for number in (1, 2):
        draft = shelf.draft()
        model.save(draft / "hierarchy.safetensors")
        verdict = Verdict(number == 2, f"reason {number}", 0.1 * number, (0.0, 0.2), 30, 8, 0.6, 0.7)
        shelf.add(
            draft,
            Version(
                parts={"hierarchy": "hierarchy.safetensors"}, answers=tuple("abc"[:number]), verdict=verdict,
                metrics={"agreement": 0.5 + number / 10},
            ),
        )  # fmt: skip
    return shelf


def test_the_list_says_what_is_in_use_and_why_what_was_not_promoted(shelf, spam):
    name = shelf._dataset.name
    code, out, _ = spam("models", name)
    assert code == 0
    assert out.startswith("in use: default")
    assert "v001: reason 1" in out
    assert "v002: reason 2 (agreement 0.7)" in out
    values = json.loads(spam("models", name, "--json")[1])
    assert values["in_use"] == "default"
    assert [(one["name"], one["promoted"], one["in_use"]) for one in values["versions"]] == [
        ("v001", False, False), ("v002", True, False),
    ]  # fmt: skip


def test_what_is_chosen_labels_and_going_back_is_one_command(shelf, spam, model):
    name = shelf._dataset.name
    code, out, _ = spam("models", name, "use", "v002")
    assert code == 0
    assert "v002 is in use now" in out
    assert "detector: default" in out
    assert spam("models", name, "use", "v001")[0] == 0
    values = json.loads(spam("models", name, "back", "--json")[1])
    assert values["in_use"] == "v002"
    assert values["parts"]["hierarchy"].endswith("v002/hierarchy.safetensors")
    assert spam("models", name, "back")[0] == 0
    code, _, err = spam("models", name, "back")
    assert code == 2
    assert "no other version was in use before" in err


def test_versions_are_shown_compared_exported_and_removed(shelf, spam, tmp_path):
    name = shelf._dataset.name
    assert json.loads(spam("models", name, "show", "v001")[1])["answers"] == ["a"]
    rows = json.loads(spam("models", name, "compare", "v001", "v002", "--json")[1])
    assert {"what": "agreement", "v001": 0.6, "v002": 0.7} in rows
    assert "agreement" in spam("models", name, "compare", "v001", "v002")[1]
    assert spam("models", name, "export", "v001", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "hierarchy.safetensors").is_file()
    assert spam("models", name, "remove", "v001")[1] == "removed v001\n"
    assert [one.name for one in shelf.versions()] == ["v002"]


def test_what_was_typed_wrong_is_told_in_a_line(shelf, spam):
    name = shelf._dataset.name
    for words, told in (
        (("use",), "`models DATASET use` takes NAME, not 0 words"),
        (("back", "v001"), "takes nothing more, not 1 words"),
        (("use", "v009"), "no version 'v009'; there are: default, v001, v002"),
        (("sell", "v001"), "Invalid value"),
    ):
        code, _, err = spam("models", name, *words)
        assert code == 2
        assert told in err
    assert spam("models", "no-such-dataset")[0] == 2


def test_a_dataset_without_versions_says_how_to_make_some(crossing, spam):
    code, out, _ = spam("models", crossing.name)
    assert code == 0
    assert "spam-plugin retrain" in out


def test_label_and_queries_take_what_is_in_use_until_it_is_gone(shelf, spam):
    name = shelf._dataset.name
    spam("models", name, "use", "v001")
    report = json.loads(spam("label", name, "--json")[1])
    version = report["model_version"]
    assert version.startswith("spam-")
    assert json.loads(spam("queries", name, "--json")[1])["model_version"] == version
    spam("models", name, "use", "default")
    assert json.loads(spam("label", name, "--json")[1])["model_version"] != version
    spam("models", name, "use", "v001")
    shelf.get("v001").parts["hierarchy"].unlink()
    code, _, err = spam("label", name)
    assert code == 2
    assert "are gone" in err
    assert f"spam-plugin models {name} use NAME" in err
