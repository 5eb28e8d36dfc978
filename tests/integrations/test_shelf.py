"""The shelf: versions are there whole or not at all, one is in use, and going back is one step."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading

import pytest

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.promotion import Verdict as Judgement
from spam_plugin.engine.versions import BY_HAND, DEFAULT, Version
from spam_plugin.models.errors import InputError, MissingError

OUT = "spam_tracks"


@pytest.fixture
def shelf(new_dataset, tmp_path, monkeypatch):
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    monkeypatch.setenv("SPAM_PLUGIN_SHELF", str(tmp_path / "shelf"))
    return Shelf(new_dataset(), OUT)


@pytest.fixture
def trained(shelf, model):
    """A function that trains a part, in a manner of speaking, and gives the draft and what to note of it."""

    def train(part="hierarchy", purpose="", **more):
        draft = shelf.draft(purpose)
        file = draft / f"{part}.safetensors"
        if part == "hierarchy":
            model.save(file)
        else:
            from spam_plugin.models.detector.detector import DEFAULT_WEIGHTS

            shutil.copy(DEFAULT_WEIGHTS, file)
        return draft, Version(parts={part: file}, **more)

    return train


def everything_on(shelf):
    return sorted(str(path.relative_to(shelf.folder)) for path in shelf.folder.rglob("*"))


def test_in_the_beginning_the_default_is_in_use(shelf):
    assert shelf.versions() == []
    assert (shelf.in_use().name, dict(shelf.in_use().parts)) == (DEFAULT, {})


def test_a_version_is_on_the_shelf_with_all_that_was_noted_and_is_not_in_use(shelf, trained):
    verdict = Judgement(False, "kept, not used", -0.1, (-0.2, 0.1), 30, 9, 0.8, 0.7)
    draft, noted = trained(
        videos=("a",), answers=("x", "y"), metrics={"HOTA": 61.5}, config={"steps": 3}, verdict=verdict
    )
    (draft / "last.ckpt").write_text("a checkpoint, which no version keeps")
    (draft / "tensorboard").mkdir()
    (draft / "tensorboard" / "events").write_text("curves")
    added = shelf.add(draft, noted)
    assert shelf.versions() == [added]
    assert (added.name, added.parent, added.retrained, added.answers) == ("v001", DEFAULT, ("hierarchy",), ("x", "y"))
    assert (added.verdict, added.promoted, added.why) == (verdict, False, "kept, not used")
    assert added.made > 1e9
    assert everything_on(shelf) == [
        "v001", "v001/hierarchy.safetensors", "v001/tensorboard", "v001/tensorboard/events", "v001/version.json",
    ]  # fmt: skip
    assert shelf.in_use().name == DEFAULT


def test_names_are_in_order_and_are_never_used_again(shelf, trained):
    names = [shelf.add(*trained()).name for _ in range(3)]
    shelf.remove("v003")
    assert [*names, shelf.add(*trained()).name] == ["v001", "v002", "v003", "v004"]


def test_weights_get_a_name_of_their_own_so_that_the_ledger_tells_them_apart(shelf, trained, model):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger
    from spam_plugin.models.weights_file import weights_version

    file = shelf.add(*trained()).parts["hierarchy"]
    assert weights_version(file) != model.version
    assert weights_version(file).startswith(f"{model.version}-")
    shelf.use("v001")
    assert [one.version for one in Ledger(shelf._dataset, OUT).models() if one.in_use] == [weights_version(file)]
    before = len(weights_version(file))
    draft = shelf.draft("again")
    shutil.copy(file, draft / "hierarchy.safetensors")
    again = shelf.add(draft, Version(parts={"hierarchy": "hierarchy.safetensors"}, parent="v001"))
    assert len(weights_version(again.parts["hierarchy"])) == before


def test_labelling_follows_what_is_in_use_and_going_back_is_one_step(shelf, trained):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    ledger = Ledger(shelf._dataset, OUT)
    one, two = shelf.add(*trained()), shelf.add(*trained())
    assert shelf.use("v001") == one
    assert ledger.model == str(one.parts["hierarchy"])
    assert shelf.use("v002") == two == shelf.in_use()
    assert shelf.back() == one == shelf.in_use()
    assert ledger.model == str(one.parts["hierarchy"])
    assert shelf.back().name == DEFAULT
    assert ledger.model is None
    with pytest.raises(InputError, match="no other version was in use before 'default'"):
        shelf.back()


def test_going_back_passes_over_what_was_removed(shelf, trained):
    for _ in range(3):
        shelf.add(*trained())
    for name in ("v001", "v002", "v003"):
        shelf.use(name)
    shelf.remove("v002")
    assert shelf.back().name == "v001"


def test_parts_that_were_not_retrained_are_those_of_the_parent(shelf, trained):
    one = shelf.add(*trained("detector"))
    two = shelf.add(*trained("hierarchy", parent="v001"))
    assert two.retrained == ("hierarchy",)
    assert two.parts["detector"] == one.parts["detector"]
    assert set(two.parts) == {"detector", "hierarchy"}
    with pytest.raises(InputError, match="'v001' cannot be removed: v002 use its weights"):
        shelf.remove("v001")
    shelf.remove("v002")
    shelf.remove("v001")
    assert everything_on(shelf) == []


def test_what_is_in_use_is_not_removed(shelf, trained):
    shelf.add(*trained())
    shelf.use("v001")
    with pytest.raises(InputError, match="'v001' is in use"):
        shelf.remove("v001")
    with pytest.raises(InputError, match="part of the package"):
        shelf.remove(DEFAULT)
    with pytest.raises(MissingError, match=r"no version 'v7'; there are: default, v001"):
        shelf.remove("v7")


def test_weights_chosen_in_the_app_are_in_use_with_the_other_parts(shelf, trained, model, tmp_path):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    detector = shelf.add(*trained("detector"))
    both = shelf.add(*trained("hierarchy", parent="v001"))
    shelf.use("v001")
    ledger = Ledger(shelf._dataset, OUT)
    ledger.choose_model(both.parts["hierarchy"])
    assert shelf.in_use() == both
    model.save(tmp_path / "mine.safetensors")
    ledger.choose_model(tmp_path / "mine.safetensors")
    used = shelf.in_use()
    assert (used.name, used.parent) == (BY_HAND, "v001")
    assert used.parts == {"detector": detector.parts["detector"], "hierarchy": tmp_path / "mine.safetensors"}
    heir = shelf.add(*trained("detector", parent=BY_HAND))
    assert heir.parts["hierarchy"] == tmp_path / "mine.safetensors"


@pytest.mark.parametrize("when", ["file", "folder", "name"])
def test_a_full_disk_leaves_the_version_in_use_usable_and_says_so(shelf, trained, model, monkeypatch, when):
    shelf.add(*trained())
    shelf.use("v001")
    before = everything_on(shelf)
    draft, noted = trained()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    def fail(*args, **more):
        raise full

    from safetensors import SafetensorError

    from spam_plugin.integrations.fiftyone_ import shelf as module
    from spam_plugin.models.spam import SpamModel

    with monkeypatch.context() as broken:
        if when == "file":  # as safetensors says it
            full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
            broken.setattr(SpamModel, "save", fail)
        else:
            broken.setattr(module, "_write" if when == "folder" else "_sync", fail)
        with pytest.raises(InputError, match="the version in use stays as it is: the disk is full"):
            shelf.add(draft, noted)
    assert shelf.in_use().name == "v001"
    assert [one.name for one in shelf.versions()] == ["v001"]
    SpamModel.load(shelf.in_use().parts["hierarchy"])
    assert [name for name in everything_on(shelf) if not name.startswith("draft-")] == before
    assert shelf.add(draft, noted).name == "v002"


def test_files_that_no_loader_takes_are_refused(shelf, trained):
    draft, noted = trained()
    for content in (b"", b"\x80\x04\x95 a pickle", noted.parts["hierarchy"].read_bytes()[:5000]):
        noted.parts["hierarchy"].write_bytes(content)
        with pytest.raises(InputError, match="not a SPAM model"):
            shelf.add(draft, noted)
    draft, noted = trained("detector")
    shutil.copy(draft / "detector.safetensors", draft / "hierarchy.safetensors")
    with pytest.raises(InputError, match="not a SPAM model"):
        shelf.add(draft, Version(parts={"hierarchy": draft / "hierarchy.safetensors"}))
    with pytest.raises(MissingError, match="the new appearance is not there"):
        shelf.add(draft, Version(parts={"appearance": draft / "nothing.safetensors"}))
    with pytest.raises(MissingError, match="no version 'v009'"):
        shelf.add(draft, Version(parts=noted.parts, parent="v009"))
    assert shelf.versions() == []


def test_the_same_purpose_has_the_same_draft_until_it_is_a_version(shelf, trained):
    draft, noted = trained(purpose="hierarchy from v001")
    (draft / "last.ckpt").write_text("where a killed training goes on")
    assert shelf.draft("hierarchy from v001") == draft
    assert (shelf.draft("hierarchy from v001") / "last.ckpt").is_file()
    assert shelf.draft("something else") != draft
    shelf.add(draft, noted)
    assert not draft.exists()


def test_two_that_add_at_once_get_two_names(shelf, trained):
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    jobs = [trained(purpose=str(number)) for number in range(4)]
    names = []
    threads = [
        threading.Thread(target=lambda job=job: names.append(Shelf(shelf._dataset, OUT).add(*job).name)) for job in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == ["v001", "v002", "v003", "v004"]
    assert [one.name for one in shelf.versions()] == sorted(names)


def test_who_chooses_while_another_does_is_told_so(shelf, trained):
    from spam_plugin.engine.desk.ports import DeskError
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    shelf.add(*trained())
    other = Shelf(shelf._dataset, OUT)
    with other._notes.hold(), pytest.raises(DeskError, match="the shelf of field 'spam_tracks'"):
        shelf.use("v001")
    assert shelf.in_use().name == DEFAULT


def test_an_exported_version_is_whole_and_can_be_moved(shelf, trained, tmp_path):
    shelf.add(*trained("detector"))
    shelf.add(*trained("hierarchy", parent="v001"))
    folder = shelf.export("v002", tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "detector.safetensors", "hierarchy.safetensors", "version.json",
    ]  # fmt: skip
    parts = json.loads((folder / "version.json").read_text())["parts"]
    assert parts == {"detector": "detector.safetensors", "hierarchy": "hierarchy.safetensors"}
    with pytest.raises(InputError, match="is there already"):
        shelf.export("v002", folder)
    with pytest.raises(InputError, match="part of the package"):
        shelf.export(DEFAULT, tmp_path / "default")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shelf"]


def test_a_shelf_that_was_moved_is_found_where_the_environment_says(shelf, trained, tmp_path, monkeypatch):
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    shelf.add(*trained("detector"))
    shelf.add(*trained("hierarchy", parent="v001"))
    (tmp_path / "shelf").rename(tmp_path / "elsewhere")
    assert [one.is_there for one in shelf.versions()] == [False, False]
    with pytest.raises(MissingError, match="is not on this machine"):
        shelf.use("v002")
    monkeypatch.setenv("SPAM_PLUGIN_SHELF", str(tmp_path / "elsewhere"))
    moved = Shelf(shelf._dataset, OUT)
    assert all(file.is_file() for file in moved.use("v002").parts.values())


def test_a_damaged_version_does_not_keep_others_from_being_used(shelf, trained, caplog):
    shelf.add(*trained())
    shelf.add(*trained())
    (shelf.folder / "v001" / "version.json").write_text("{")
    assert [(one.name, one.is_there) for one in shelf.versions()] == [("v001", False), ("v002", True)]
    assert "v001" in caplog.text
    assert "is damaged" in caplog.text
    assert shelf.use("v002").name == "v002"


def test_what_is_held_out_is_remembered_by_the_shelf(shelf):
    def said(key):
        return [Answer(key, Verdict.VALID, (Box(3, (0, 0, 9, 9)),))]

    lengths = {f"video-{n}": 200 for n in range(9)}
    first = shelf.holdout({"video-0": said("video-0")}, lengths)
    later = shelf.holdout({key: said(key) for key in lengths}, lengths)
    assert later.spans["video-0"] == first.spans["video-0"]
    assert len(later.spans) == 9
    assert shelf.holdout({}, {}) == later
