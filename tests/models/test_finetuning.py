"""Fine-tuning of the hierarchy: what counts, what is masked, and that it is the same after a kill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitSettings
from spam_plugin.models.spam import SpamModel
from spam_plugin.models.spam.finetuning import FinetuneConfig, Lesson, cut, draw_lessons, finetune, lesson_batch
from spam_plugin.models.spam.hierarchy import Partition, plan_levels, run_level
from spam_plugin.models.spam.training import Truth, level_loss

SMALL = FinetuneConfig(boxes=150, synthetic=0.0)


def lesson_of(walkers, seed: int = 0, **rest) -> Lesson:
    """What is really there, all of it known."""
    info, candidates, who = walkers(seed, num_frames=30, **rest)
    count = len(who)
    ones = np.ones(count, np.float32)
    return Lesson(info, candidates, who, who.copy(), (who >= 0).astype(np.float32), ones, ones.copy())


def first_level(lesson: Lesson, truth: Truth | None = None):
    """Losses and targets of the lowest level."""
    network = SpamModel.load().network
    batch = lesson_batch([lesson], torch.device("cpu"))
    partition = Partition.singletons(len(batch.boxes), torch.device("cpu"))
    with torch.no_grad():
        output = run_level(network, batch.boxes, batch.context, partition, plan_levels(batch.longest)[0], None)
    return level_loss(output, partition, truth or batch.truth, 1.0), output, batch


def test_what_is_masked_costs_nothing_whatever_it_says(walkers):
    lesson = lesson_of(walkers)
    blank = replace(lesson, weight=lesson.weight * 0, link_weight=lesson.link_weight * 0)
    (edge, node, _), _, _ = first_level(blank)
    assert float(edge) == float(node) == 0
    half = lesson.weight.copy()
    half[::2] = 0
    told = replace(lesson, weight=half)
    lied = replace(told, valid=np.where(half > 0, told.valid, 1 - told.valid).astype(np.float32))
    assert first_level(told)[0][1] == first_level(lied)[0][1]


def test_a_lesson_with_all_weights_one_is_the_plain_loss(walkers):
    lesson = lesson_of(walkers)
    (edge, node, _), _, batch = first_level(lesson)
    plain = Truth(batch.truth.identity, batch.truth.valid.bool())
    (edge_too, node_too, _), _, _ = first_level(lesson, plain)
    assert torch.allclose(edge, edge_too)
    assert torch.allclose(node, node_too)


def test_objects_that_may_be_one_teach_nothing_about_each_other(walkers):
    lesson = lesson_of(walkers, miss=0.0, false=0.0)
    late = (lesson.candidates.frame >= 15) & (lesson.identity == 0)
    parted = replace(lesson, identity=np.where(late, 9, lesson.identity))
    apart = replace(parted, group=parted.identity.copy())
    (doubtful, _, target), output, batch = first_level(parted)
    (sure, _, same), _, _ = first_level(apart)
    assert torch.equal(target, same)
    i, j = output.edges.source, output.edges.target
    between = (batch.truth.group[i] == batch.truth.group[j]) & (batch.truth.identity[i] != batch.truth.identity[j])
    assert between.any()  # the one pair whose link is in doubt, which the model is sure of, and would be wrong about
    assert float(doubtful) < float(sure)


def test_human_lessons_weigh_more(walkers):
    lesson = lesson_of(walkers)
    wrong = replace(lesson, valid=1 - lesson.valid)
    some = np.arange(len(lesson.weight)) % 3 == 0
    mixed = np.where(some, wrong.valid, lesson.valid).astype(np.float32)
    even = first_level(replace(lesson, valid=mixed))[0][1]
    heavy = first_level(replace(lesson, valid=mixed, weight=np.where(some, 4, 1).astype(np.float32)))[0][1]
    assert float(heavy) > float(even)


def test_a_stretch_is_a_video_of_its_own(walkers):
    lesson = lesson_of(walkers)
    part = cut(lesson, 10, 20)
    inside = (lesson.candidates.frame >= 10) & (lesson.candidates.frame < 20)
    assert part.info.num_frames == 10
    assert np.array_equal(part.candidates.frame, lesson.candidates.frame[inside] - 10)
    assert np.array_equal(part.identity, lesson.identity[inside])


def test_videos_that_teach_nothing_are_not_drawn(walkers):
    useful, idle = lesson_of(walkers, 1), lesson_of(walkers, 2)
    idle = replace(idle, weight=idle.weight * 0)
    drawn = draw_lessons([idle, useful], 200, np.random.default_rng(0))
    assert {part.info.name for part in drawn} == {useful.info.name}


def test_training_on_what_is_there_lowers_its_loss(walkers, tmp_path):
    lessons = [lesson_of(walkers, seed, false=2.0, miss=0.3) for seed in (1, 2)]
    held = [lesson_of(walkers, 3, false=2.0, miss=0.3)]
    settings = FitSettings(8, validate_every=4, save_every=4, tensorboard=False)
    model, result = finetune(SpamModel.load(), lessons, settings, tmp_path, config=SMALL, held_out=held, version="new")
    assert model.version == "new"
    assert result.best_value >= result.curve[0]["value"]


def test_the_same_lessons_and_seed_give_the_same_weights_also_after_an_interruption(walkers, tmp_path):
    lessons = [lesson_of(walkers, 1)]
    config = replace(SMALL, synthetic=0.3)
    settings = FitSettings(4, save_every=2, tensorboard=False)
    whole, _ = finetune(SpamModel.load(), lessons, settings, tmp_path / "whole", config=config)

    def stop(step: int, numbers: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(SpamModel.load(), lessons, settings, tmp_path / "cut", config=config, report=stop)
    again, result = finetune(SpamModel.load(), lessons, settings, tmp_path / "cut", config=config)
    assert result.resumed_at == 2
    for one, two in zip(whole.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_without_anything_to_learn_it_is_refused(walkers, tmp_path):
    lesson = lesson_of(walkers)
    blank = replace(lesson, weight=lesson.weight * 0)
    with pytest.raises(InputError, match="nothing to learn"):
        finetune(SpamModel.load(), [blank], FitSettings(2), tmp_path)


@pytest.mark.parametrize("field", ["boxes", "synthetic", "learning_rate", "average"])
def test_settings_out_of_range_are_refused(field):
    with pytest.raises(InputError, match=field):
        FinetuneConfig(**{field: -1})
