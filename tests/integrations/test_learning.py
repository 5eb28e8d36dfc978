"""Retraining with a dataset: what is kept of it, that it goes on after a kill, and what it tells others."""

from __future__ import annotations

import numpy as np
import pytest
from learning_world import answers_from_truth, stream_dataset

from spam_plugin.engine.desk.ports import DeskError
from spam_plugin.models.errors import InputError, MissingError

FRAMES = 60


@pytest.fixture(scope="module")
def shelves(tmp_path_factory):
    """Folder of the shelves; the same for all tests here."""
    return tmp_path_factory.mktemp("shelves")


@pytest.fixture(scope="module")
def answered(shelves):
    """A labelled video with answers of a simulated person."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPAM_PLUGIN_SHELF", str(shelves))
        made = stream_dataset("lessons", (3,), FRAMES)
        assert answers_from_truth(made) > 10
        yield made
    made.delete()


@pytest.fixture
def short(monkeypatch):
    """A training that is over at once, and notes how often it was begun; it fails while ``plug`` is pulled."""
    from spam_plugin.engine.retraining import Taught
    from spam_plugin.engine.teachers import HierarchyTeacher

    begun = []

    def learn(self, lessons, steps, seed, folder, tell):
        begun.append(folder)
        if "pulled" in begun:
            raise KeyboardInterrupt
        folder.mkdir(parents=True, exist_ok=True)
        self._start.save(folder / "hierarchy.safetensors")
        return Taught(folder / "hierarchy.safetensors", steps, steps)

    monkeypatch.setattr(HierarchyTeacher, "learn", learn)
    return begun


def settings(**more):
    from spam_plugin.engine.retraining import RetrainSettings
    from spam_plugin.models.spam import LabelSettings

    return RetrainSettings(labelling=LabelSettings(consensus=False), **more)


def go(dataset, use=None, rounds=1, relabel=False, **more):
    from spam_plugin.integrations.fiftyone_.learning import retrain

    return retrain(dataset, settings=settings(**more), use=use, rounds=rounds, relabel=relabel)


def test_a_version_is_a_run_and_a_round_and_makes_answers_old(answered, short):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger
    from spam_plugin.integrations.fiftyone_.retrainings import Learning
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    learning = Learning(answered, "spam_tracks")
    count, videos = learning.count()
    assert videos == 1
    (report,) = go(answered, seed=11)
    name = report.version.name
    assert learning.new_answers() == 0
    assert learning.running == {}
    info = answered.get_run_info(f"retrain_spam_tracks_{name}").config
    assert (info.method, info.version, info.used, info.parent) == ("spam_retrain", name, False, "default")
    assert answered.load_run_results(f"retrain_spam_tracks_{name}").report["version"]["name"] == name
    last = Ledger(answered, "spam_tracks").rounds()[-1]
    assert (last.kind, last.said) == ("retrain", f"{name} kept")
    (kept,) = [one for one in Shelf(answered, "spam_tracks").versions() if one.name == name]
    assert kept.config["answers_then"] == count
    # the media are nowhere, so that only the hierarchy could learn
    assert "cannot be read" in report.left_out["detector"]
    assert set(report.left_out) == {"detector", "appearance"}


def test_the_same_again_is_the_same_version_and_no_second_round(answered, short):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    (first,) = go(answered, seed=12)
    rounds = len(Ledger(answered, "spam_tracks").rounds())
    (again,) = go(answered, seed=12)
    assert again.known
    assert again.version.name == first.version.name
    assert len(short) == 1
    assert len(Ledger(answered, "spam_tracks").rounds()) == rounds


def test_killed_while_it_trains_it_goes_on_in_the_same_draft(answered, short):
    from spam_plugin.integrations.fiftyone_.retrainings import Learning

    short.append("pulled")
    with pytest.raises(KeyboardInterrupt):
        go(answered, seed=13)
    assert Learning(answered, "spam_tracks").running["round"] == 0
    short.remove("pulled")
    go(answered, seed=13)
    assert short[0] == short[1]
    assert Learning(answered, "spam_tracks").running == {}
    assert not list(short[0].parent.parent.glob("draft-*")), "nothing is left of it"


def test_two_at_once_are_refused_with_who_is_at_work(answered, short):
    from spam_plugin.integrations.fiftyone_.retrainings import Learning

    with Learning(answered, "spam_tracks").hold(), pytest.raises(DeskError, match="the retraining for field"):
        go(answered, seed=14)
    assert short == []


def test_people_may_answer_while_it_trains(answered, short, monkeypatch):
    from spam_plugin.engine.teachers import HierarchyTeacher
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    inner, seen = HierarchyTeacher.learn, []

    def learn(self, *given):
        with Ledger(answered, "spam_tracks").hold():
            seen.append("labels and answers are free")
        return inner(self, *given)

    monkeypatch.setattr(HierarchyTeacher, "learn", learn)
    go(answered, seed=15)
    assert seen


def test_what_is_used_labels_from_then_on_and_the_next_round_begins_with_it(answered, short):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    shelf = Shelf(answered, "spam_tracks")
    before = shelf.in_use().name
    one, two = go(answered, use=True, rounds=2, relabel=True, seed=16)
    assert (one.parent, two.parent) == (before, one.version.name)
    assert shelf.in_use().name == two.version.name
    kinds = [round.kind for round in Ledger(answered, "spam_tracks").rounds()][-4:]
    assert kinds == ["retrain", "label", "retrain", "label"]
    answered.reload()
    (labelled,) = answered.values("spam_model_version")
    assert labelled == Ledger(answered, "spam_tracks").rounds()[-1].model_version
    assert shelf.back().name == one.version.name


def test_a_round_that_changes_nothing_is_the_last(answered, short):
    assert len(go(answered, use=False, rounds=3, seed=17)) == 1


def test_it_says_to_label_first_and_refuses_what_cannot_be(answered, short):
    from spam_plugin.integrations.fiftyone_.learning import retrain

    with pytest.raises(MissingError, match="label first"):
        retrain(answered, out="nowhere")
    with pytest.raises(MissingError, match="no field"):
        retrain(answered, "nothing")
    with pytest.raises(InputError, match="0 rounds"):
        go(answered, rounds=0)
    with pytest.raises(InputError, match="detector has nothing to learn from: the media"):
        go(answered, parts=("detector",))


def test_the_last_labelling_tells_candidates_and_vectors_and_forgets_those_of_a_retrained_detector(answered):
    from spam_plugin.integrations.fiftyone_.retrainings import last_labelling

    assert last_labelling(answered, "spam_tracks") == ("candidates", None)
    assert last_labelling(answered, "nowhere") == ("candidates", None)
    config = answered.init_run(method="spam_label", out="other", candidates="mine_retrained", embedding="default")
    answered.register_run("label_other", config)
    assert last_labelling(answered, "other") == ("mine", "default")
    answered.delete_run("label_other")


def test_frames_are_read_in_order_as_rgb_and_missing_media_are_no_pictures(tmp_path, answered):
    import cv2
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.pipeline import FiftyOnePictures

    dataset = fo.Dataset()
    for number in (1, 2, 3):
        image = np.zeros((40, 60, 3), np.uint8)
        image[..., 0], image[..., 2] = 200, 10 * number
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        dataset.add_sample(fo.Sample(str(tmp_path / f"{number}.png"), sequence="a", frame_number=number))
    pictures = FiftyOnePictures(dataset)
    (key,) = pictures._videos
    assert pictures.there(key)
    seen = list(pictures.frames(key, np.array([0, 2])))
    assert [frame for frame, _ in seen] == [0, 2]
    assert seen[1][1][0, 0].tolist() == [30, 0, 200]
    (nowhere,) = (video.key for video in FiftyOnePictures(answered)._videos.values())
    assert not FiftyOnePictures(answered).there(nowhere)
    dataset.delete()
