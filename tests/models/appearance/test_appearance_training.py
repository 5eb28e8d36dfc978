from dataclasses import replace

import numpy as np
import pytest
import torch

from spam_plugin.models.appearance.figures import draw_scene
from spam_plugin.models.appearance.finetuning import (
    AppearanceLessons,
    AppearanceTask,
    FinetuneConfig,
    finetune,
    thinned,
    vary,
)
from spam_plugin.models.appearance.model import AppearanceModel
from spam_plugin.models.appearance.network import AppearanceConfig, AppearanceNetwork
from spam_plugin.models.appearance.pretraining import DrawnIdentities, PretrainingConfig, PretrainingTask
from spam_plugin.models.appearance.retrieval import measure_retrieval
from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitSettings, fit

SHAPE = AppearanceConfig(16, (8, 8, 16, 16), 8)
SMALL = PretrainingConfig(
    SHAPE, identities=6, views=4, scenes=2, batch_scenes=1, batch_identities=6, batch_views=3, warm_up=2, average=0.9
)


@pytest.fixture
def start():
    torch.manual_seed(0)
    return AppearanceModel(AppearanceNetwork(SHAPE), "start")


def lessons(tracks=6, each=6, seed=0, weight=1.0):
    """Tracks that all are there at one time, of one video."""
    crops = draw_scene(np.random.default_rng(seed), tracks, each)
    count = tracks * each
    return AppearanceLessons(
        crops.reshape(count, *crops.shape[2:]),
        np.repeat(np.arange(tracks), each),
        np.full(count, weight, np.float32),
        np.zeros(count, np.int64),
        np.tile(np.arange(each) * 10, tracks),
    )


def quiet(steps, **more):
    return FitSettings(steps, tensorboard=False, **more)


def test_a_scene_is_decided_by_its_generator():
    one, same, other = (draw_scene(np.random.default_rng(seed), 2, 2) for seed in (3, 3, 4))
    assert one.shape == (2, 2, 96, 48, 3)
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.5


def test_a_step_sees_the_same_crops_whatever_was_seen_before():
    crops, identity, _ = DrawnIdentities(5, SMALL).batch(9)
    again = DrawnIdentities(5, SMALL)
    again.batch(0)
    other = again.batch(9)
    np.testing.assert_array_equal(crops, other[0])
    assert len(np.unique(identity)) == 6
    assert (np.bincount(identity % 6) == 3).all()


def test_pretraining_that_was_stopped_ends_with_the_same_weights(tmp_path):
    settings = quiet(4, save_every=2)
    whole = PretrainingTask(settings, SMALL)
    fit(whole, settings, tmp_path / "whole")

    def stop(step, _):
        if step == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fit(PretrainingTask(settings, SMALL), settings, tmp_path / "halves", stop)
    rest = PretrainingTask(settings, SMALL)
    assert fit(rest, settings, tmp_path / "halves").resumed_at == 2
    for key, value in whole.weights().items():
        assert torch.equal(value, rest.weights()[key]), key


def test_tracks_at_one_time_differ_and_those_that_follow_each_other_may_be_one():
    crops = np.zeros((6, 96, 48, 3), np.uint8)
    given = AppearanceLessons(
        crops, np.array([7, 7, 8, 9, 7, -1]), np.ones(6, np.float32), np.array([0, 0, 0, 0, 1, 0]),
        np.array([0, 10, 5, 20, 0, 3]),
    )  # fmt: skip
    track, differs = given.tracks()
    assert track.tolist() == [0, 0, 1, 2, 3, -1]
    assert differs.tolist() == [
        [False, True, False, True], [True, False, False, True], [False, False, False, True], [True, True, True, False],
    ]  # fmt: skip
    known = replace(given, group=np.array([0, 0, 1, 1, -1, -1]))
    _, differs = known.tracks()
    assert differs[0].tolist() == [False, True, True, True]
    assert not differs[1, 2]


def test_what_has_no_weight_is_in_no_track():
    masked = lessons()
    masked = replace(masked, weight=np.where(masked.identity == 2, 0, masked.weight).astype(np.float32))
    track, differs = masked.tracks()
    assert (track[masked.identity == 2] == -1).all()
    assert differs.shape == (5, 5)


def test_finetuning_finds_the_tracks_again_better_than_before(start, tmp_path):
    given = lessons(tracks=8, each=6)
    trained, result = finetune(
        start, given, quiet(25), tmp_path, config=FinetuneConfig(tracks=8, drawn=0.0, learning_rate=3e-3, average=0.5)
    )

    def found(model):
        return measure_retrieval(model.describe_crops(given.crops), given.identity, given.frame, 1)

    assert found(trained).mean_average_precision > found(start).mean_average_precision + 0.1
    assert (result.steps, trained.version) == (25, "start+")


def test_finetuning_leaves_what_it_began_with_as_it_was(start, tmp_path):
    before = {key: value.clone() for key, value in start.network.state_dict().items()}
    finetune(start, lessons(), quiet(1), tmp_path, config=FinetuneConfig(tracks=4, drawn=0.0))
    assert all(torch.equal(value, before[key]) for key, value in start.network.state_dict().items())


def test_held_out_tracks_keep_a_training_from_making_things_worse(start, tmp_path):
    config = FinetuneConfig(tracks=4, drawn=0.0, learning_rate=0.9, average=0.0, apart=1)
    trained, result = finetune(
        start, lessons(), quiet(2, validate_every=1), tmp_path, config=config, held_out=lessons(seed=1)
    )
    assert result.best_value is not None
    if result.best_step == 0:
        assert torch.equal(trained.network.embed.weight, start.network.embed.weight)
    assert result.best_value >= result.curve[0]["value"]


def test_drawn_identities_are_mixed_in_and_are_no_rivals_of_the_lessons(start):
    task = AppearanceTask(start, lessons(), quiet(1), FinetuneConfig(tracks=4, views=3, drawn=0.3))
    batch = task.draw(0)
    assert batch.lessons == 12
    assert len(batch.crops) > 12
    assert not batch.rival[:12, 12:].any()
    assert batch.rival[12:, 12:].any()
    again = AppearanceTask(start, lessons(), quiet(1), FinetuneConfig(tracks=4, views=3, drawn=0.3))
    again.draw(5)
    assert torch.equal(again.draw(0).crops, batch.crops)


def test_lessons_that_teach_nothing_are_told(start):
    for useless in (lessons(tracks=1), lessons(each=1), lessons(weight=0.0)):
        with pytest.raises(InputError, match="nothing to learn"):
            AppearanceTask(start, useless, quiet(1), FinetuneConfig())
    with pytest.raises(InputError, match="frame has shape"):
        replace(lessons(), frame=np.zeros(3, np.int64))


def test_other_lessons_are_another_training(start, tmp_path):
    config = FinetuneConfig(tracks=4, drawn=0.0)
    finetune(start, lessons(), quiet(1), tmp_path, config=config)
    with pytest.raises(InputError, match="another configuration"):
        finetune(start, lessons(seed=2), quiet(1), tmp_path, config=config)


def test_thinning_keeps_crops_from_all_over_a_track():
    few = thinned(lessons(tracks=3, each=20), 4)
    assert len(few.crops) == 12
    for track in range(3):
        frames = few.frame[few.identity == track]
        assert frames.min() < 50
        assert frames.max() >= 150


def test_varied_crops_are_like_the_others():
    crops = torch.from_numpy(lessons().crops)
    varied = vary(crops, np.random.default_rng(0))
    assert (varied.shape, varied.dtype) == (crops.shape, crops.dtype)
    assert 1 < float((varied.float() - crops.float()).abs().mean()) < 80
