"""The whole loop on one rendered film with a person in CVAT: from no boxes at all to labels by a version of its own."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import access_to
from cvat_reviewer.hand import Hand, finish
from cvat_server import CvatServer
from learning_world import rendered_dataset

FRAMES = 24
NEW = (4, (3.0, 4.0, 23.0, 44.0))  # frame and box of an object that a person alone sees


def followed(tracker, frames, keys, info, candidates=None, settings=None, **rest):
    """A filling that takes no time: every object stands still from its last box to the end."""
    import numpy as np

    from spam_plugin.engine.filling import FillReport, Fills

    last = np.flatnonzero(np.append(np.diff(keys.track) != 0, True))
    rows = [(frame, row) for row in last.tolist() for frame in range(int(keys.frame[row]) + 1, info.num_frames)]
    frame, row = np.array(sorted(rows), np.int64).reshape(-1, 2).T
    assert len(list(frames.read([0, 1]))) == 2
    sure = np.full(len(row), 0.8, np.float32)
    return Fills(keys.track[row], frame, keys.xyxy[row], sure, np.zeros(len(row), np.uint8)), FillReport()


def copied(part, default):
    """A teacher's lesson that takes no time: the weights stay what they are."""

    def learn(self, lessons, steps, seed, folder, tell):
        from spam_plugin.engine.retraining import Taught

        assert any(self._pictures.there(one.key) for one in lessons)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(default, folder / f"{part}.safetensors")
        return Taught(folder / f"{part}.safetensors", steps, steps)

    return learn


@pytest.fixture
def film(tmp_path, monkeypatch):
    """A dataset of one film, shelves and vectors of its own, and trainings that take no time."""
    from spam_plugin.engine import teachers
    from spam_plugin.models.appearance.weights_file import DEFAULT_WEIGHTS as LOOKS
    from spam_plugin.models.detector import detector

    monkeypatch.setenv("SPAM_PLUGIN_SHELF", str(tmp_path / "shelves"))
    monkeypatch.setenv("SPAM_PLUGIN_VECTORS", str(tmp_path / "vectors"))
    monkeypatch.setattr(teachers.DetectorTeacher, "learn", copied("detector", detector.DEFAULT_WEIGHTS))
    monkeypatch.setattr(teachers.AppearanceTeacher, "learn", copied("appearance", LOOKS))
    dataset = rendered_dataset("film", tmp_path, FRAMES)
    yield dataset
    dataset.delete()


def test_detect_label_ask_in_cvat_answer_retrain_judge_and_label_with_what_was_promoted(film, monkeypatch):
    from spam_plugin.engine import retraining
    from spam_plugin.engine.loop import DONE, LoopSettings
    from spam_plugin.engine.promotion import Verdict, judge
    from spam_plugin.engine.queries import Budget
    from spam_plugin.integrations.cvat.reviewer import CvatReviewer
    from spam_plugin.integrations.cvat.sync import Link
    from spam_plugin.integrations.fiftyone_ import propagating
    from spam_plugin.integrations.fiftyone_.answers import AnswerBook
    from spam_plugin.integrations.fiftyone_.ledger import Ledger
    from spam_plugin.integrations.fiftyone_.looping import Work, loop
    from spam_plugin.integrations.fiftyone_.shelf import Shelf

    monkeypatch.setattr(propagating, "fill_gaps", followed)
    monkeypatch.setattr(propagating, "open_tracker", lambda *named: SimpleNamespace(version="stand-in"))
    judged = []

    def lenient(current, new, settings):
        judged.append(judge(current, new, settings))
        return Verdict(True, "promoted: for this test")

    monkeypatch.setattr(retraining, "judge", lenient)
    with CvatServer() as server:
        api = Api(server.url, server.username, server.password)
        moved = []

        def work_in_cvat(self):
            """A person corrects one box, starts a track with another and says that all is done, when the loop waits."""
            job = api.jobs()[0]
            hand = Hand(api, job)
            uid = next(name for name in hand.names() if name)
            frame = min(hand.boxes(uid))
            moved.append((frame, hand.move(uid, frame, dx=7.0, dy=3.0)))
            hand.draw(next(iter(hand.labels)), {NEW[0]: NEW[1]})
            finish(api)

        monkeypatch.setattr(CvatReviewer, "_pause", work_in_cvat)
        link = Link(film, access=access_to(server))
        work = Work(steps={"hierarchy": 1})
        steps = []
        end = loop(
            film, LoopSettings(Budget.parse("20 clicks"), rounds=1, fill=True), work,
            lambda videos, notes: CvatReviewer(link), progress=lambda step, share, what: steps.append(step),
        )  # fmt: skip
    order = list(dict.fromkeys(steps))
    assert order == ["detect", "fill", "label", "choose", "ask", "wait", "take", "retrain", "finish"]
    assert end.step == DONE
    (report,) = end.reports
    assert report.answers == len(AnswerBook(film, "spam_tracks").all()) > 0
    assert report.version == "v001 (used)"

    (version,) = Shelf(film, "spam_tracks").versions()
    assert version.retrained == ("detector", "appearance", "hierarchy")
    assert Shelf(film, "spam_tracks").in_use().name == "v001"
    assert len(judged) == 1
    film.reload()
    assert film.has_frame_field("candidates_retrained"), "what the new detector found"
    assert not film.has_frame_field("candidates_trial"), "what it found to be judged is gone"
    assert film.values("spam_model_version") == [Ledger(film, "spam_tracks").rounds()[-1].model_version]
    assert film.values("spam_model_version")[0].startswith("spam-1+")
    rounds = [one.kind for one in Ledger(film, "spam_tracks").rounds()]
    assert rounds == ["label", "queries", "sync", "sync", "retrain", "label"]
    assert "retrain_spam_tracks_v001" in film.list_runs()

    ((frame, box),) = moved
    width, height = film.first().metadata.frame_width, film.first().metadata.frame_height
    drawn = [one for one in film.first().frames[frame + 1].spam_tracks.detections if one.source == "human"]
    (left, top, _, _) = drawn[0].bounding_box
    assert (left * width, top * height) == pytest.approx(box[:2], abs=0.01), "as the person left it"

    new = [
        (at - 1, one) for at, there in film.first().frames.items() for one in there.spam_tracks.detections
        if [one.bounding_box[0] * width, one.bounding_box[1] * height] == pytest.approx(NEW[1][:2], abs=0.01)
    ]  # fmt: skip
    assert [at for at, _ in new] == list(range(NEW[0], FRAMES)), "the new track was followed"
    assert len({one.index for _, one in new}) == 1
    assert [one.source for _, one in new] == ["human"] + ["propagated"] * (FRAMES - NEW[0] - 1)
    assert [one.confidence for _, one in new[1:]] == pytest.approx([0.8] * (len(new) - 1))
