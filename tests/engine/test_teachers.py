"""What reaches the trainings of detector and appearance: which frames, boxes and crops, and with what weight."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spam_plugin.engine.lessons import VideoLessons
from spam_plugin.engine.teachers import AppearanceTeacher, DetectorTeacher, chosen_crops, chosen_frames
from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.fitting import FitResult

FRAMES, HELD = 20, (8, 12)


def lessons(key="a", names=("car", None), human=(3,)):
    """Two objects in every frame; frames of ``HELD`` are masked, in ``human`` a person spoke of both."""
    frame = np.repeat(np.arange(FRAMES), 2)
    left, top = 10.0 + 4 * frame, np.tile([10.0, 60.0], FRAMES)
    xyxy = np.stack([left, top, left + 20, top + 30], 1).astype(np.float32)
    who = np.tile([0, 1], FRAMES)
    held = (frame >= HELD[0]) & (frame < HELD[1])
    weight = np.where(np.isin(frame, human), 4.0, 0.8).astype(np.float32)
    weight[held] = 0
    complete = np.ones(FRAMES, bool)
    complete[slice(*HELD)] = False
    candidates = Candidates(frame, xyxy, np.ones(len(frame), np.float32), who)
    left_over = ~held
    return VideoLessons(
        key, VideoInfo(key, FRAMES, 120, 100, 10.0), candidates, names, who, who, np.ones(len(frame), np.float32),
        weight, weight.copy(), frame[left_over], xyxy[left_over], who[left_over], weight[left_over], who[left_over],
        np.isin(frame, human)[left_over], complete,
    )  # fmt: skip


class Pictures:
    """Grey pictures of twice the size that the video says; notes which frames were asked for."""

    def __init__(self, *nowhere):
        self.nowhere, self.seen = nowhere, []

    def there(self, key):
        return key not in self.nowhere

    def frames(self, key, wanted):
        for frame in wanted.tolist():
            self.seen.append((key, frame))
            yield frame, np.full((200, 240, 3), 90 + frame, np.uint8)


class Saved:
    """A model that can be saved."""

    def save(self, file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("weights")


@pytest.fixture
def given(monkeypatch):
    """What the trainings were called with."""
    from spam_plugin.models.appearance import finetuning as appearance
    from spam_plugin.models.detector import finetuning as detector

    found = SimpleNamespace()

    def train_detector(start, scenes, settings, folder, *, classes, report):
        found.scenes, found.classes, found.settings = [scenes[n] for n in range(len(scenes))], classes, settings
        return Saved(), FitResult(settings.steps, settings.steps, None, (), 0)

    def train_appearance(start, lessons, settings, folder, report):
        found.crops = lessons
        return Saved(), FitResult(settings.steps, settings.steps, None, (), 0)

    monkeypatch.setattr(detector, "finetune", train_detector)
    monkeypatch.setattr(appearance, "finetune", train_appearance)
    return found


def teach(teacher, *videos, folder):
    return teacher.learn(videos, 5, 3, folder, lambda share, what: None)


def test_the_detector_never_sees_a_frame_that_is_held_out(given, tmp_path):
    pictures = Pictures()
    teach(DetectorTeacher(Saved, pictures), lessons(), folder=tmp_path)
    assert {frame for _, frame in pictures.seen} == set(range(FRAMES)) - set(range(*HELD))
    assert all(scene.complete for scene in given.scenes)


def test_boxes_are_on_the_scale_of_the_picture_with_their_weights_and_names(given, tmp_path):
    taught = teach(DetectorTeacher(Saved, Pictures()), lessons(), folder=tmp_path)
    assert given.classes == ["car", "object"]
    first = given.scenes[0]
    assert first.xyxy[0].tolist() == [20, 20, 60, 80]
    assert first.class_index.tolist() == [0, 1]
    assert given.scenes[3].weight.tolist() == [4, 4]
    assert first.weight.tolist() == pytest.approx([0.8, 0.8])
    assert taught.file.read_text() == "weights"
    assert taught.config == {"frames": 16, "classes": ["car", "object"]}
    assert (given.settings.steps, given.settings.seed) == (5, 3)


def test_boxes_that_a_person_rejected_are_silence_and_not_objects(given, tmp_path):
    one = lessons()
    row = 6  # of frame 3
    one.valid[row] = 0
    one.box_weight[row] = 0  # it lost its label
    teach(DetectorTeacher(Saved, Pictures()), one, folder=tmp_path)
    scene = given.scenes[3]
    rejected = scene.visibility == 0
    assert scene.xyxy[rejected].tolist() == [[44, 20, 84, 80]]
    assert scene.weight[rejected].tolist() == [4]


def test_of_many_frames_those_that_people_spoke_of_come_first_and_the_rest_is_spread():
    one, other = lessons(human=(2, 5)), lessons("b", human=())
    chosen = chosen_frames([one, other], 8)
    assert [len(frames) for frames in chosen] == [4, 4]
    assert {2, 5} <= set(chosen[0].tolist())
    assert not set(range(*HELD)) & set(np.concatenate(chosen).tolist())
    assert np.ptp(chosen[1]) > FRAMES / 2


def test_videos_whose_media_are_gone_are_passed_over_and_none_at_all_is_said(given, tmp_path):
    pictures = Pictures("b")
    for teacher in (DetectorTeacher(Saved, pictures), AppearanceTeacher(Saved, pictures)):
        assert teacher.lacks([lessons(), lessons("b")]) is None
        assert "media of its 1 videos cannot be read" in teacher.lacks([lessons("b")])
        teach(teacher, lessons(), lessons("b"), folder=tmp_path)
    assert {key for key, _ in pictures.seen} == {"a"}


def test_without_anything_sure_neither_has_anything_to_learn():
    one = lessons()
    one.box_weight[:] = 0
    one.link_weight[:] = 0
    assert "no box is confident" in DetectorTeacher(Saved, Pictures()).lacks([one])
    assert "no object has two candidates" in AppearanceTeacher(Saved, Pictures()).lacks([one])


def test_one_object_alone_differs_from_none():
    one = lessons()
    one.identity[:] = 0
    assert "no two objects are known to differ" in AppearanceTeacher(Saved, Pictures()).lacks([one])


def test_crops_are_of_objects_that_are_sure_spread_over_each_and_never_of_what_is_held_out(given, tmp_path):
    one = lessons()
    rows = chosen_crops(one, 4)
    frame, who = one.candidates.frame[rows], one.identity[rows]
    assert np.bincount(who).tolist() == [4, 4]
    assert not set(range(*HELD)) & set(frame.tolist())
    assert all(np.ptp(frame[who == n]) > FRAMES / 2 for n in (0, 1))
    pictures = Pictures()
    teach(AppearanceTeacher(Saved, pictures, most=4), one, folder=tmp_path)
    found = given.crops
    assert found.crops.shape == (8, 96, 48, 3)
    assert found.crops[:, 40, 20, 0].tolist() == (90 + found.frame).tolist(), "each crop is of its own frame"
    assert found.identity.tolist() == who.tolist()
    assert found.weight.tolist() == one.link_weight[rows].tolist()


def test_short_tracks_are_taken_whole_and_single_boxes_not_at_all():
    one = lessons()
    one.identity[:] = -1
    one.identity[[0, 2, 4, 7]] = [5, 5, 5, 9]
    assert chosen_crops(one, 16).tolist() == [0, 2, 4]
