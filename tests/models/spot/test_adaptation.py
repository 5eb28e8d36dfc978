"""Learning from a few boxes: the teacher, what a step sees, being killed, and that it helps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from striped_figures import LENGTH, TINY, picture, place, tiny_tracker

from spam_plugin.models.errors import InputError
from spam_plugin.models.fitting import FitTask
from spam_plugin.models.spot import judging
from spam_plugin.models.spot.adaptation import AdaptSettings, AdaptTask, adapt, average
from spam_plugin.models.spot.augmentation import Distortion
from spam_plugin.models.spot.judging import follow
from spam_plugin.models.spot.lessons import AdaptClip, Footage, find_rivals, hold_out, join
from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.spot.network import TrackerNetwork

QUICK = AdaptSettings(steps=8, burn_in=0.5, batch=4, tau=0.0, epoch=2, judges=0)


def clip(at: tuple[int, ...] = (0, 10, 20, 30, 39), tracks: tuple[int, ...] = (0, 1), **rest) -> AdaptClip:
    rows = [(track, frame) for track in tracks for frame in at]
    track, frame = np.array(rows, np.int64).reshape(-1, 2).T
    xyxy = np.array([place(*row) for row in rows], np.float32).reshape(-1, 4)
    human = np.ones(len(rows), bool)
    return AdaptClip(**{"read": picture, "num_frames": LENGTH, "track": track, "frame": frame, "xyxy": xyxy,
                        "human": human, "name": "street"} | rest)  # fmt: skip


def weights(tracker: Tracker) -> torch.Tensor:
    return torch.cat([value.flatten() for value in tracker.network.state_dict().values()])


def mean_overlap(tracker: Tracker) -> float:
    """Both figures followed from their boxes to all frames between."""
    keys, _ = join([clip()])
    others, _ = join([clip(tuple(frame for frame in range(LENGTH) if frame not in (0, 10, 20, 30, 39)))])
    return float(follow(tracker.network, Footage([clip()]), keys, others).mean())


def test_what_is_learnt_from_a_few_boxes_helps_in_frames_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pixels alone follow figures that never change; what the network learns shows without them.
    monkeypatch.setattr(judging, "likeness", lambda shown, _, search, __: torch.zeros(len(shown), 3, *search.shape[2:]))
    start = tiny_tracker()
    settings = AdaptSettings(steps=140, learning_rate=3e-3, batch=12, burn_in=0.7, tau=0.5, keep=0.9)
    adapted, result = adapt(start, [clip()], settings, tmp_path)
    before, after = mean_overlap(start), mean_overlap(adapted)
    assert result.best_step > 0
    assert after > max(before + 0.2, 0.5)
    assert not adapted.network.training
    assert adapted.version == "tiny+"


def test_it_is_never_worse_than_its_start_on_what_is_held_out(tmp_path: Path) -> None:
    start = tiny_tracker()
    ruin = AdaptSettings(steps=8, learning_rate=0.5, batch=4, keep=0.0, judges=2)
    adapted, result = adapt(start, [clip()], ruin, tmp_path)
    values = [point["value"] for point in result.curve]
    assert result.best_value == max(values) >= values[0]
    assert result.best_step > 0 or torch.equal(weights(adapted), weights(start))


class _Killed(Exception):
    pass


def test_killed_and_begun_again_it_ends_with_bitwise_the_same_weights(tmp_path: Path) -> None:
    settings = replace(QUICK, steps=30, burn_in=0.2, judges=2)
    whole, _ = adapt(tiny_tracker(), [clip()], settings, tmp_path / "whole")

    def kill(step: int, numbers: dict[str, float]) -> None:
        if step == 24:  # an epoch and a half behind the last checkpoint, in the middle of exploring
            raise _Killed

    with pytest.raises(_Killed):
        adapt(tiny_tracker(), [clip()], settings, tmp_path / "killed", kill)
    again, result = adapt(tiny_tracker(), [clip()], settings, tmp_path / "killed")
    assert 0 < result.resumed_at < 24
    assert torch.equal(weights(again), weights(whole))


def test_the_average_is_what_the_closed_form_says() -> None:
    student, teacher = (TrackerNetwork(TINY) for _ in range(2))
    name, first = next(iter(teacher.state_dict().items()))
    first = first.clone()
    values = []
    for _ in range(5):
        with torch.no_grad():
            for value in student.parameters():
                value.add_(torch.randn_like(value))
        values.append(student.state_dict()[name].clone())
        average(teacher, student, 0.8)
    want = 0.8**5 * first + sum(0.2 * 0.8 ** (4 - n) * value for n, value in enumerate(values))
    assert torch.allclose(teacher.state_dict()[name], want, atol=1e-5)


def test_the_teacher_is_never_in_training_mode_and_says_the_same_twice() -> None:
    torch.manual_seed(0)
    start = Tracker(TrackerNetwork(replace(TINY, dropout=0.5)), "tiny")
    task = AdaptTask(start, [clip()], QUICK).train()
    assert task.network.training
    assert not any(module.training for module in task.teacher.modules())
    found = task.exploration.propose(torch.zeros(6, dtype=torch.long), torch.Generator().manual_seed(0))
    one, two = (task._taught_by_teacher(found) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_where_the_teacher_is_sure_of_nothing_the_optimiser_does_no_step(tmp_path: Path, monkeypatch) -> None:
    def adapted(steps: int, name: str) -> torch.Tensor:
        settings = AdaptSettings(steps=steps, burn_in=4 / steps, batch=4, tau=1.0, judges=0)
        steps_done.clear()
        return weights(adapt(tiny_tracker(), [clip()], settings, tmp_path / name)[0])

    steps_done: list[int] = []
    usual = FitTask.training_step
    monkeypatch.setattr(
        FitTask, "training_step", lambda self, step, at: (steps_done.append(step), usual(self, step, at))[1]
    )
    adapted(12, "some")
    assert steps_done == [0, 1, 2, 3]


def test_a_pair_that_is_discarded_is_replaced_by_one_that_is_kept() -> None:
    task = AdaptTask(tiny_tracker(), [clip()], replace(QUICK, batch=8))
    found: dict[str, torch.Tensor] = {}
    usual = task._taught_by_teacher

    def half_sure(proposals):
        box, quality, windows = usual(proposals)
        quality = torch.where(torch.arange(len(quality)) == 2, 0.9, 0.1)
        found["truth"] = box[2]
        return box, quality, windows

    task._taught_by_teacher = half_sure
    task.settings = replace(task.settings, tau=0.5, asymmetric=False)
    pairs = task._unknown(6, torch.Generator().manual_seed(0))
    assert pairs is not None
    assert len(pairs.xyxy) == 6
    assert bool((pairs.search == pairs.search[:1]).all())
    assert bool((pairs.xyxy == pairs.xyxy[:1]).all())
    assert float(pairs.quality.sum()) == 0  # what a teacher says teaches no expectation of overlap


@pytest.mark.parametrize("switch", ["consistency", "asymmetric", "calibration", "filtering"])
def test_every_ingredient_can_be_left_out_and_makes_a_difference(switch: str) -> None:
    def sees(**changed: bool) -> list[torch.Tensor]:
        settings = replace(QUICK, **changed, tau=0.0 if switch != "filtering" else 0.999)
        task = AdaptTask(tiny_tracker(), [clip()], settings)
        task.exploration.note(torch.tensor([0, 0]), torch.tensor([1, 2]), task.keys.xyxy[:2], torch.ones(2))
        task.exploration.merge(0.5)
        pairs = [task._unknown(16, torch.Generator().manual_seed(seed)) for seed in range(2)]
        return [] if pairs[0] is None else [pairs[0].template, pairs[0].search]

    with_it, without = sees(), sees(**{switch: False})
    if switch == "filtering":
        assert not with_it
        assert without
    elif switch == "consistency":
        assert not torch.equal(with_it[0], without[0])
    else:
        assert not torch.equal(with_it[1], without[1])


def test_the_search_of_known_pairs_shows_the_box_where_the_crop_says() -> None:
    task = AdaptTask(tiny_tracker(), [clip(tracks=(0,))], replace(QUICK, rivals=0.0, distortion=Distortion(grey=0.0)))
    pairs = task._known(40, torch.Generator().manual_seed(0))
    red = (pairs.search[:, 0] > 150) & (pairs.search[:, 2] < 80)
    at = (torch.arange(64) + 0.5) / 64
    for mask, box in zip(red, pairs.xyxy, strict=True):
        if bool(((box > 0.05) & (box < 0.95)).all()):  # wholly in the crop
            y, x = mask.nonzero().unbind(1)
            shown = torch.stack([at[x].min(), at[y].min(), at[x].max(), at[y].max()])
            assert torch.allclose(shown, box, atol=2.5 / 64)


def test_rivals_are_others_in_one_frame_those_of_other_clips_and_known_absence() -> None:
    clips = [clip(absent=np.array([[0, 3, 8], [9, 1, 2]])), clip((5,), tracks=(1,))]
    keys, absent = join(clips)
    assert absent.tolist() == [[0, 0, 3, 8]]  # that of an object without a box is nobody's
    rivals = find_rivals(keys, absent, clips, torch.Generator().manual_seed(0))
    there = rivals.there
    assert int(there.sum()) == 10  # each of 5 frames has 2 figures
    assert bool((rivals.around[there] != rivals.truth[there]).any(1).all())
    other = ~there & (keys.clip[rivals.template] != rivals.clip)
    gone = ~there & ~other
    assert bool(other.any())
    assert rivals.frame[gone].tolist() == [3, 5, 8]
    task = AdaptTask(tiny_tracker(), clips, replace(QUICK, rivals=1.0))
    pairs = task._known(40, torch.Generator().manual_seed(0))
    assert 0 < int(pairs.present.sum()) < 40


def test_at_most_every_second_object_gives_an_inner_box_to_judge_by() -> None:
    keys, _ = join([clip(), clip((3, 9), tracks=(0,))])
    learnt, held = hold_out(keys, 12, torch.Generator().manual_seed(0))
    assert len(held) == 1
    assert len(learnt) + len(held) == len(keys)
    assert int(held.frame) == 20
    assert len(hold_out(keys, 0, torch.Generator().manual_seed(0))[1]) == 0
    single, _ = join([clip(tracks=(0,))])
    assert len(hold_out(single, 12, torch.Generator().manual_seed(0))[1]) == 1


def test_one_box_alone_and_boxes_of_confident_tracks_alone_are_enough(tmp_path: Path) -> None:
    adapted, result = adapt(tiny_tracker(), [clip((5,), (0,))], QUICK, tmp_path / "one")
    assert result.steps == 8
    assert result.best_value is None
    assert not torch.equal(weights(adapted), weights(tiny_tracker()))
    tracks = clip(human=np.zeros(10, bool))
    _, result = adapt(tiny_tracker(), [tracks], replace(QUICK, judges=4), tmp_path / "tracks")
    assert result.best_value is None  # no box of a person's, so none to judge by
    pairs = AdaptTask(tiny_tracker(), [tracks], QUICK)._known(4, torch.Generator().manual_seed(0))
    assert pairs.weight.tolist() == [0.5] * 4
    assert pairs.quality.tolist() == [0.0] * 4


def test_frames_that_cannot_be_read_are_never_read(tmp_path: Path) -> None:
    readable = np.array([0, 1, 2, 9, 10, 11, 20, 30, 39])

    def read(frame: int) -> np.ndarray:
        assert frame in readable
        return picture(frame)

    adapt(tiny_tracker(), [clip(read=read, frames=readable)], replace(QUICK, judges=2, steps=12), tmp_path)


def test_pictures_are_kept_within_bounds_and_read_once_if_they_fit() -> None:
    reads: list[int] = []
    counting = clip(read=lambda frame: (reads.append(frame), picture(frame))[1])
    window = torch.tensor([[50.0, 50.0, 40.0]]).repeat(3, 1)
    roomy, tight = Footage([counting]), Footage([counting], held=1)
    for _ in range(2):
        roomy.crops(torch.zeros(3, dtype=torch.long), torch.tensor([4, 5, 4]), window, 16)
    assert reads == [4, 5]
    for _ in range(2):
        tight.crops(torch.zeros(3, dtype=torch.long), torch.tensor([4, 5, 4]), window, 16)
    assert reads == [4, 5, 4, 5, 4, 5]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"human": np.ones(3, bool)}, "human has 3 rows"),
        ({"frame": np.full(10, 50)}, "frame 51 cannot teach"),
        ({"frames": np.arange(5)}, "frame 11 cannot teach"),
        ({"xyxy": np.zeros((10, 4), np.float32)}, "need some area"),
        ({"frame": np.zeros(10, np.int64)}, "two boxes in frame 1"),
    ],
)
def test_boxes_that_cannot_be_learnt_from_are_named(changed: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        clip(**changed)


def test_nothing_at_all_to_learn_from_and_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no object has a box"):
        adapt(tiny_tracker(), [clip(())], QUICK, tmp_path)
    with pytest.raises(InputError, match="tau is 2"):
        AdaptSettings(tau=2)
    with pytest.raises(InputError, match="steps is 0"):
        AdaptSettings(steps=0)
