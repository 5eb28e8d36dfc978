"""Fine-tuning: lessons that teach what they say, classes that follow them, and weights that survive kills."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spam_plugin.models.detector.augmentation import Scene, vary
from spam_plugin.models.detector.detector import Detector
from spam_plugin.models.detector.finetuning import (
    DetectorTask,
    FinetuneConfig,
    StoredScenes,
    finetune,
    lesson,
    rehearsal_scenes,
    with_classes,
)
from spam_plugin.models.detector.judging import judge, look
from spam_plugin.models.detector.losses import HIDDEN, VISIBLE
from spam_plugin.models.detector.network import DetectorConfig, DetectorNetwork
from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitSettings

SMALL = DetectorConfig(widths=(8, 16, 24, 32), blocks=(1, 1, 1, 1), head=16)
CONFIG = FinetuneConfig(batch=4, side=64, scales=(0.9, 1.1), learning_rate=5e-3, rehearsal=0.25, average=0.9)
SETTINGS = FitSettings(steps=12, validate_every=6, save_every=4, tensorboard=False, accelerator="cpu")


class Stopped(Exception):
    """What ends a training in the middle."""


def blob(rng: np.random.Generator, kind: int = 0, weight: float = 1.0) -> Scene:
    """A bright rectangle of a class on a dark ground."""
    image = rng.integers(0, 60, (64, 64, 3)).astype(np.uint8)
    low = rng.integers(4, 24, 2)
    high = low + rng.integers(16, 32, 2)
    image[low[1] : high[1], low[0] : high[0]] = (230, 60, 40) if kind else (30, 90, 240)
    return lesson(image, np.array([[*low, *high]]), np.array([kind]), np.array([weight]))


def blobs(seed: int, count: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [blob(rng, number % 2) for number in range(count)]


def network(first: int = 0) -> DetectorNetwork:
    torch.manual_seed(first)
    return DetectorNetwork(SMALL)


def equal(one: DetectorNetwork, two: DetectorNetwork) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(autouse=True)
def no_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rectangles instead of rendered films to rehearse, as they are there at once."""
    monkeypatch.setattr(
        "spam_plugin.models.detector.finetuning.rehearsal_scenes", lambda seed, films, classes: blobs(seed + 99, 4)
    )


def test_a_detector_learns_from_lessons_and_the_one_it_began_with_stays(tmp_path: Path) -> None:
    start, held_out = Detector(network(), "small"), blobs(7, 12)
    before = judge(*look(start, held_out), 2).mean
    settings = replace(SETTINGS, steps=150, validate_every=50)
    tuned, result = finetune(start, blobs(1, 24), settings, tmp_path, config=CONFIG, held_out=held_out)
    after = judge(*look(tuned, held_out), 2).mean
    assert after > before + 0.3
    assert result.best_value == pytest.approx(after)
    assert equal(start.network, network())
    assert tuned.version == "small+"
    tuned.save(tmp_path / "tuned.safetensors")
    assert Detector.load(tmp_path / "tuned.safetensors").classes == start.classes


@pytest.mark.parametrize("still", [False, True])
def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path, still: bool) -> None:
    def report(step: int, numbers: dict[str, float]) -> None:
        if step == 7:
            raise Stopped

    config, start = replace(CONFIG, still=still), Detector(network(), "small")
    whole, _ = finetune(start, blobs(1, 6), SETTINGS, tmp_path / "a", config=config, held_out=blobs(2, 2))
    with pytest.raises(Stopped):
        finetune(start, blobs(1, 6), SETTINGS, tmp_path / "b", config=config, held_out=blobs(2, 2), report=report)
    parts, result = finetune(start, blobs(1, 6), SETTINGS, tmp_path / "b", config=config, held_out=blobs(2, 2))
    assert result.resumed_at == 4
    assert equal(whole.network, parts.network)


def test_other_lessons_do_not_go_on_with_a_checkpoint(tmp_path: Path) -> None:
    start = Detector(network(), "small")
    finetune(start, StoredScenes(blobs(1, 6)), SETTINGS, tmp_path, config=CONFIG)
    with pytest.raises(InputError, match="scenes"):
        finetune(start, StoredScenes(blobs(2, 6)), SETTINGS, tmp_path, config=CONFIG)
    with pytest.raises(InputError, match="config"):
        finetune(start, StoredScenes(blobs(1, 6)), SETTINGS, tmp_path, config=replace(CONFIG, still=False))


def test_statistics_that_are_to_stay_stay() -> None:
    for still in (True, False):
        task = DetectorTask(network(), blobs(1, 6), config=replace(CONFIG, still=still))
        task.train()
        before = task.network.stem[1].running_mean.clone()
        task.loss(task.draw(0))
        assert torch.equal(before, task.network.stem[1].running_mean) is still


def test_no_lessons_are_a_clear_error() -> None:
    with pytest.raises(InputError, match="there are none; confirm or correct"):
        DetectorTask(network(), [])


def test_every_pass_shows_every_lesson_once_and_a_step_always_the_same() -> None:
    task = DetectorTask(network(), blobs(1, 6), config=replace(CONFIG, batch=4, rehearsal=0.5))
    seen: list[int] = []
    task.scenes = Remembering(blobs(1, 6), seen)
    first = task.draw(0)
    for step in range(1, 3):
        task.draw(step)
    assert sorted(seen) == list(range(6))
    again = task.draw(0)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].xyxy, again[1].xyxy)


class Remembering(list):
    def __init__(self, scenes: list[Scene], seen: list[int]) -> None:
        super().__init__(scenes)
        self.seen = seen

    def __getitem__(self, index):
        self.seen.append(index)
        return super().__getitem__(index)


def test_a_batch_splits_into_parts_of_whole_pictures() -> None:
    task = DetectorTask(network(), blobs(1, 6), config=CONFIG)
    images, objects = task.draw(0)
    parts = task.split((images, objects), 3)
    assert [len(part[0]) for part in parts] == [2, 1, 1]
    assert torch.equal(parts[1][0], images[1:2])
    assert torch.equal(parts[1][1].xyxy, objects.xyxy[1:2])
    assert len(task.split((images, objects), 99)) == 4


def test_weights_count_relative_to_their_mean() -> None:
    rng = np.random.default_rng(0)
    scenes = [blob(rng, weight=4.0), blob(rng, weight=4.0), blob(rng, weight=1.0)]
    for given in (scenes, StoredScenes(scenes)):
        task = DetectorTask(network(), given, config=replace(CONFIG, rehearsal=0.0, batch=3))
        _, objects = task.draw(0)
        assert objects.weight is not None
        assert sorted(objects.weight[:, 0].tolist()) == pytest.approx([1 / 3, 4 / 3, 4 / 3])


def test_lessons_say_what_is_an_object_what_is_none_and_what_nobody_knows() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32)
    scene = lesson(image, boxes, np.array([1, 0]), np.array([4.0, 0.0]), boxes[:1] + 30, np.array([2.0]), False)
    assert scene.visibility[0] >= VISIBLE > scene.visibility[1] >= HIDDEN > scene.visibility[2]
    assert scene.weight is not None
    assert scene.weight.tolist() == [4.0, 0.0, 2.0]
    assert not scene.complete


def test_boxes_without_an_area_are_left_out_of_a_lesson() -> None:
    boxes = np.array([[5, 5, 5, 9], [1, 2, 6, 9], [3, 3, 3, 3]], np.float32)
    scene = lesson(np.zeros((64, 64, 3), np.uint8), boxes[:2], np.array([0, 1]), np.array([1.0, 2.0]), boxes[2:])
    assert scene.xyxy.tolist() == [[1, 2, 6, 9]]
    assert scene.weight is not None
    assert (scene.class_index.tolist(), scene.weight.tolist()) == ([1], [2.0])


def test_what_nobody_knows_stays_unknown_when_a_picture_is_cut() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    scene = lesson(image, np.array([[0, 0, 64, 64]]), np.array([0]), np.array([0.0]), complete=False)
    for seed in range(5):
        cut = vary(scene, 32, np.random.default_rng(seed), (4.0, 4.0))
        assert HIDDEN <= cut.visibility[0] < VISIBLE
        assert not cut.complete


@pytest.mark.parametrize(
    ("xyxy", "weight"), [([5, 5, float("inf"), 9], 1.0), ([5, 5, float("nan"), 9], 1.0), ([1, 1, 5, 5], -1.0)]
)
def test_lessons_that_make_no_sense_are_refused(xyxy: list[float], weight: float) -> None:
    with pytest.raises(InputError, match="detector lessons"):
        lesson(np.zeros((64, 64, 3), np.uint8), np.array([xyxy]), np.array([0]), np.array([weight]))


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"side": 100}, {"rehearsal": 1.0}, {"scales": (0.0, 1.0)}, {"learning_rate": 0.0}, {"films": 0}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        FinetuneConfig(**wrong)


def test_known_classes_keep_their_scores_and_new_ones_begin_with_the_mean() -> None:
    old = network()
    new = with_classes(old, ("Car", "robot", "person"))
    assert new.config.classes == ("Car", "robot", "person")
    assert torch.equal(new.score.weight[0], old.score.weight[1])
    assert torch.equal(new.score.weight[2], old.score.weight[0])
    assert torch.allclose(new.score.weight[1], old.score.weight.mean(0))
    image = torch.rand(1, 3, 64, 64) * 255
    assert torch.equal(new.eval()(image)[0][..., 0], old.eval()(image)[0][..., 1])


def test_rehearsal_knows_the_classes_of_the_lessons() -> None:
    scenes = rehearsal_scenes(0, 1, ("robot", "person"))
    assert len(scenes) == 16
    people = sum(int((scene.class_index[scene.visibility > HIDDEN] == 1).sum()) for scene in scenes)
    assert people > 0
    assert not any((scene.class_index[scene.visibility > HIDDEN] == 0).any() for scene in scenes)


def test_stored_scenes_give_their_pictures_back() -> None:
    scenes = blobs(1, 3)
    stored = StoredScenes(scenes)
    assert len(stored) == 3
    assert abs(stored[1].image.astype(int) - scenes[1].image).mean() < 12
    assert np.array_equal(stored[1].xyxy, scenes[1].xyxy)
    assert [len(part.xyxy) for part in stored[:2]] == [1, 1]
    assert StoredScenes(scenes).fingerprint == stored.fingerprint
    assert StoredScenes(scenes[:2]).fingerprint != stored.fingerprint


def test_in_incomplete_frames_only_detections_on_known_boxes_are_judged() -> None:
    class Fixed:
        classes = ("a",)

        def detect(self, images, settings):
            from spam_plugin.models.detector.detector import Detections

            boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]], np.float32)
            score = np.array([0.5, 0.9, 0.8], np.float32)
            return Detections(np.zeros(3, np.int64), boxes, score, np.zeros(3, np.int64))

    image = np.zeros((64, 64, 3), np.uint8)
    box = np.array([[0, 0, 10, 10]], np.float32)
    known = {"xyxy": box, "class_index": np.array([0]), "weight": np.ones(1)}
    unknown, whole = (lesson(image, **known, complete=complete) for complete in (False, True))
    rejected = lesson(image, **known, rejected=box + 20, complete=False)
    scores = [judge(*look(Fixed(), [scene]), 1).mean for scene in (unknown, rejected, whole)]  # type: ignore[arg-type]
    assert scores == pytest.approx([1, 1 / 2, 1 / 3])
