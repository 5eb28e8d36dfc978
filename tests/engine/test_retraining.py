"""Retraining with stand-ins for teachers and shelf: what reaches a teacher, what comes of it, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.holdout import Holdout
from spam_plugin.engine.ports import VideoInput
from spam_plugin.engine.promotion import GateSettings
from spam_plugin.engine.retraining import RetrainSettings, Taught, retrain
from spam_plugin.engine.versions import DEFAULT, Version
from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import LabelSettings

FRAMES = 24
FAST = LabelSettings(consensus=False)
GATE = GateSettings(least_answers=1, least_places=2, resamples=20)


def video(answers=(), name="street"):
    """Two objects that walk to the right in rows of their own, and answers about them."""
    frame = np.repeat(np.arange(FRAMES), 2)
    left = 20.0 + 4 * frame
    top = np.tile([40.0, 180.0], FRAMES)
    xyxy = np.stack([left, top, left + 30, top + 70], 1).astype(np.float32)
    candidates = Candidates(frame, xyxy, np.full(len(frame), 0.9, np.float32), np.tile([0, 1], FRAMES))
    info = VideoInfo(name, FRAMES, 320, 280, 2.0)
    return VideoInput(info, candidates, f"{name}/{len(answers)}", answers=tuple(answers), class_names=("car", "person"))


def box(frame, who):
    """The candidate of an object in a frame."""
    left, top = 20.0 + 4 * frame, (40.0, 180.0)[who]
    return Box(frame, (left, top, left + 30, top + 70))


def said(key="a", who=0, frames=range(FRAMES)):
    """A person says in every frame that an object is there."""
    return [Answer(key, Verdict.VALID, (box(frame, who),), source="anna", when=float(frame)) for frame in frames]


class Store:
    """Videos in memory."""

    def __init__(self, **videos):
        self._videos = videos

    def videos(self):
        return [(key, one.info.name) for key, one in self._videos.items()]

    def read(self, key, skip_bad):
        if isinstance(self._videos[key], Exception):
            raise self._videos[key]
        return self._videos[key]


class Shelf:
    """Versions in memory; holds out the frames of ``held`` of every video with answers."""

    def __init__(self, folder, held=(6, 12)):
        self.folder, self.held, self.found, self.used = folder, held, [], DEFAULT
        self.full = False

    def versions(self):
        return list(self.found)

    def get(self, name):
        return next((one for one in self.found if one.name == name), Version(DEFAULT, parent=""))

    def in_use(self):
        return self.get(self.used)

    def holdout(self, answered, lengths, share, seed):
        return Holdout(dict.fromkeys(answered, (self.held,)) if self.held else {})

    def draft(self, purpose=""):
        path = self.folder / purpose
        path.mkdir(exist_ok=True)
        return path

    def add(self, draft, version):
        if self.full:
            raise InputError("the disk is full")
        parts = {part: draft / file for part, file in version.parts.items()}
        assert all(file.is_file() for file in parts.values())
        made = replace(version, name=f"v{len(self.found) + 1:03d}", parts=parts, made=float(len(self.found) + 1))
        self.found.append(made)
        return made

    def use(self, name):
        self.used = name
        return self.get(name)


class Teacher:
    """Notes the lessons that it was given."""

    def __init__(self, part="hierarchy", lacking=None):
        self.part, self.lacking, self.steps, self.given, self.asked = part, lacking, 7, [], []

    def lacks(self, lessons):
        return self.lacking

    def learn(self, lessons, steps, seed, folder, tell):
        folder.mkdir(exist_ok=True)
        self.given.append(list(lessons))
        self.asked.append((steps, seed, folder))
        (folder / "weights").write_text("better")
        tell(1.0, "done")
        return Taught(folder / "weights", steps, steps, ({"step": 1.0, "loss": 2.0}, {"step": 7.0, "loss": 1.0}))


class Blind:
    """A model that has no tracks: it agrees with nobody who says that something is there."""

    version = "blind"

    def __init__(self, model):
        self._model = model

    def label(self, videos, settings=None, constraints=None):
        nothing = [(info, Candidates.empty()) for info, _ in videos]
        return self._model.label(nothing, settings)

    def session(self, *given):
        return self._model.session(*given)


class Pipeline:
    """The default model; ``worse`` is what a file of weights, and ``start`` what no file stands for."""

    def __init__(self, model, teachers, start=None, new=None):
        self._teachers, self._start, self._new = teachers, start or model, new or model

    def hierarchy(self, file):
        return self._start if file is None else self._new

    def teachers(self, version):
        return self._teachers

    def inputs(self, parts, videos, holdout, tell):
        return dict(videos)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def go(model, store, shelf, *teachers, start=None, new=None, use=None, skip_bad=False, tell=None, **settings):
    settings = RetrainSettings(labelling=FAST, gate=GATE, **settings)
    pipeline = Pipeline(model, list(teachers or [Teacher()]), start, new)
    return retrain(store, shelf, pipeline, settings, use=use, skip_bad=skip_bad, tell=tell)


def test_nothing_that_is_held_out_reaches_a_teacher(model, shelf):
    teachers = [Teacher("detector"), Teacher("appearance"), Teacher("hierarchy")]
    report = go(model, Store(a=video(said())), shelf, *teachers)
    for teacher in teachers:
        ((lessons,),) = teacher.given
        held = np.arange(*shelf.held)
        assert not np.isin(lessons.frame, held).any()
        assert not lessons.complete[held].any()
        away = np.isin(lessons.candidates.frame, held)
        assert not lessons.weight[away].any()
        assert not lessons.link_weight[away].any()
        assert lessons.weight[~away].any()
    of_held = {answer.key for answer in said(frames=range(*shelf.held))}
    assert not of_held & set(report.version.answers)
    assert len(report.version.answers) == FRAMES - len(held)
    assert report.held_out == len(held)


def test_a_version_that_agrees_better_with_what_is_held_out_is_used(model, shelf):
    report = go(model, Store(a=video(said())), shelf, start=Blind(model))
    assert report.used
    assert report.version.promoted
    assert shelf.used == report.version.name == "v001"
    assert "v001 is used from now on" in report.said


def test_a_worse_version_is_kept_on_the_shelf_and_not_used(model, shelf):
    report = go(model, Store(a=video(said())), shelf, new=Blind(model))
    assert not report.used
    assert shelf.used == DEFAULT
    assert [one.name for one in shelf.found] == ["v001"]
    assert report.version.verdict.interval[1] < 0
    assert "worse" in report.said


@pytest.mark.parametrize(("use", "used"), [(True, "v001"), (False, DEFAULT)])
def test_who_asks_for_it_uses_a_version_or_does_not_whatever_the_gate_says(model, shelf, use, used):
    report = go(model, Store(a=video(said())), shelf, use=use, **{"new" if use else "start": Blind(model)})
    assert shelf.used == used
    assert "as was asked for; the gate says: " in report.said


def test_the_same_again_trains_nothing_and_finds_what_was_made(model, shelf):
    teacher, store = Teacher(), Store(a=video(said()))
    first = go(model, store, shelf, teacher, new=Blind(model))
    again = go(model, store, shelf, teacher, new=Blind(model))
    assert len(teacher.given) == 1
    assert again.known
    assert again.version == first.version
    assert len(shelf.found) == 1


def test_new_answers_another_seed_or_tag_make_another_version(model, shelf):
    teacher = Teacher()
    few, more = Store(a=video(said(frames=range(20)))), Store(a=video(said()))
    go(model, few, shelf, teacher, new=Blind(model))
    go(model, more, shelf, teacher, new=Blind(model))
    go(model, more, shelf, teacher, new=Blind(model), seed=1)
    go(model, more, shelf, teacher, new=Blind(model), tag="round 2")
    assert len(teacher.given) == 4
    assert len({folder for _, _, folder in teacher.asked}) == 4, "each has a draft of its own"


def test_killed_while_it_is_put_on_the_shelf_it_trains_in_the_same_draft_again(model, shelf):
    teacher, store = Teacher(), Store(a=video(said()))
    shelf.full = True
    with pytest.raises(InputError, match="disk is full"):
        go(model, store, shelf, teacher)
    assert shelf.used == DEFAULT
    shelf.full = False
    go(model, store, shelf, teacher)
    one, two = teacher.asked
    assert one == two, "where the checkpoint lies"


def test_killed_before_it_was_used_it_is_used_when_started_again(model, shelf):
    store = Store(a=video(said()))
    report = go(model, store, shelf, start=Blind(model), use=False)
    assert shelf.used == DEFAULT
    again = go(model, store, shelf, start=Blind(model))
    assert again.known
    assert shelf.used == report.version.name


def test_without_answers_it_says_what_to_do_and_makes_nothing(model, shelf):
    with pytest.raises(InputError, match=r"no answers yet.*--self-training"):
        go(model, Store(a=video()), shelf)
    assert shelf.found == []


def test_self_training_learns_from_no_answer_but_is_judged_by_those_held_out(model, shelf):
    teacher = Teacher()
    report = go(model, Store(a=video(said())), shelf, teacher, start=Blind(model), self_training=True)
    ((lessons,),) = teacher.given
    assert lessons.weight.max() <= 1
    assert not lessons.human.any()
    assert report.version.answers == ()
    assert report.version.verdict.answers == report.held_out > 0


def test_self_training_without_any_answer_makes_a_version_that_waits_on_the_shelf(model, shelf):
    report = go(model, Store(a=video()), shelf, self_training=True)
    assert not report.used
    assert "no answers are held out" in report.said


def test_the_hierarchy_learns_from_what_the_new_eyes_see(model, shelf):
    looked = []

    class Looking(Pipeline):
        def inputs(self, parts, videos, holdout, tell):
            looked.append(dict(parts))
            moved = {}
            for key, one in videos.items():
                candidates = replace(one.candidates, xyxy=one.candidates.xyxy + np.float32(1.0))
                moved[key] = replace(one, candidates=candidates, answers=tuple(said()))
            return moved

    eyes, hierarchy = Teacher("detector"), Teacher()
    settings = RetrainSettings(labelling=FAST, gate=GATE, self_training=True)
    retrain(Store(a=video()), shelf, Looking(model, [eyes, hierarchy]), settings)
    ((before,),), ((after,),) = eyes.given, hierarchy.given
    assert np.allclose(after.candidates.xyxy, before.candidates.xyxy + 1)
    assert not after.human.any()  # self-training: answers are left out here, too
    assert "detector" in looked[0]
    assert "hierarchy" not in looked[0]


def test_a_part_that_lacks_something_is_left_out_with_the_reason(model, shelf):
    blind = Teacher("detector", "the media cannot be read")
    report = go(model, Store(a=video(said())), shelf, blind, Teacher())
    assert blind.given == []
    assert report.left_out == {"detector": "the media cannot be read"}
    assert report.version.retrained == ("hierarchy",)


def test_a_part_that_was_asked_for_and_lacks_something_is_refused(model, shelf):
    with pytest.raises(InputError, match="detector has nothing to learn from: the media cannot be read"):
        go(model, Store(a=video(said())), shelf, Teacher("detector", "the media cannot be read"), Teacher(),
           parts=("detector",))  # fmt: skip
    with pytest.raises(InputError, match="hierarchy has nothing to learn from"):
        go(model, Store(a=video(said())), shelf, Teacher(lacking="nothing is sure"))


def test_only_the_parts_that_were_asked_for_are_trained_with_the_steps_that_were(model, shelf):
    one, two = Teacher("detector"), Teacher("hierarchy")
    report = go(model, Store(a=video(said())), shelf, one, two, parts=("hierarchy",), steps={"hierarchy": 3}, seed=5)
    assert one.given == []
    assert [asked[:2] for asked in two.asked] == [(3, 5)]
    assert report.version.config["taught"]["hierarchy"]["curve"][0] == {"step": 1.0, "loss": 2.0}


def test_a_class_that_nobody_confirmed_and_a_single_video_are_named(model, shelf):
    report = go(model, Store(a=video(said(who=0)), b=video(name="road")), shelf)
    assert any("'person': no person has confirmed any" in one for one in report.notices)
    assert any("all answers are about video 'street'" in one for one in report.notices)


def test_videos_that_cannot_be_read_are_refused_or_left_out_by_name(model, shelf):
    class Named(Store):
        def videos(self):
            return [("a", "street"), ("b", "broken")]

    store = Named(a=video(said()), b=InputError("video 'broken' has no length"))
    with pytest.raises(InputError, match="broken"):
        go(model, store, shelf)
    assert go(model, store, shelf, skip_bad=True).skipped == {"broken": "video 'broken' has no length"}


def test_videos_without_candidates_have_nothing_to_teach(model, shelf):
    empty = replace(video(said()), candidates=Candidates.empty())
    with pytest.raises(InputError, match="no video has a candidate"):
        go(model, Store(a=empty), shelf)


def test_the_report_tells_what_counted_how_much_and_progress_only_grows(model, shelf):
    shares = []
    report = go(model, Store(a=video(said())), shelf, tell=lambda share, what: shares.append(share))
    assert report.lessons["human"] == len(report.version.answers)
    assert report.weights == {"human": 4.0, "confident": 1.0, "unsure": 0.0}
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    plain = report.as_dict()
    assert plain["version"]["name"] == "v001"
    assert plain["promoted"] == report.version.promoted


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"parts": ("wheel",)}, "no part 'wheel'"), ({"steps": {"wheel": 1}}, "no part 'wheel'"),
        ({"steps": {"hierarchy": 0}}, "0 steps"), ({"share": 1.0}, "share"), ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(values, said):
    with pytest.raises(InputError, match=said):
        RetrainSettings(**values)


def test_files_of_a_draft_are_named_as_seen_from_it(model, shelf):
    go(model, Store(a=video(said())), shelf)
    assert Path(shelf.found[0].parts["hierarchy"]).is_file()
