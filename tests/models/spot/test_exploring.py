"""Which frames are looked at next, and what becomes of what is found there."""

from __future__ import annotations

import pytest
import torch

from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.exploring import CLOSE, NOWHERE, Exploration

PLACES = 20


def world(keys: dict[int, tuple[int, ...]], step: int = 1, away: tuple[int, ...] = ()) -> Exploration:
    """Tracks with key boxes at some frames, at x = 10 times the frame; nobody is there in the frames ``away``."""
    frame = torch.arange(PLACES).repeat(len(keys), 1)
    key = torch.zeros(len(keys), PLACES, dtype=torch.bool)
    for track, frames in keys.items():
        key[track, list(frames)] = True
    left = 10.0 * frame
    xyxy = torch.stack([left, left, left + 8, left + 8], -1).float()
    opened = torch.ones_like(key)
    opened[:, list(away)] = False
    return Exploration(frame, opened, key, xyxy, step)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def found(exploration: Exploration, track: int, place: int, confidence: float, left: float = 5.0) -> None:
    box = torch.tensor([[left, left, left + 9, left + 9]])
    exploration.note(torch.tensor([track]), torch.tensor([place]), box, torch.tensor([confidence]))


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_new_frames_lie_beside_explored_ones_and_known_absence_is_left_alone(step: int) -> None:
    exploration = world({0: (4, 15), 1: (9,)}, step, away=(10, 11))
    track = torch.tensor([0, 1]).repeat(300)
    proposals = exploration.propose(track, draw())
    key = exploration.key[track]
    seen = key[torch.arange(len(track)), proposals.unlabelled]
    away = torch.where(key, (torch.arange(PLACES) - proposals.unlabelled[:, None]).abs(), NOWHERE).amin(1)
    new = ~seen
    assert bool(new.any())
    assert bool(seen.any())
    assert bool((away[new] <= step).all())
    assert bool((away[new] > step // 2).all())
    assert not bool(torch.isin(proposals.unlabelled, torch.tensor([10, 11])).any())
    assert bool(key[torch.arange(len(track)), proposals.relay].all())


def test_the_share_that_is_reviewed_is_the_share_that_is_explored() -> None:
    exploration = world({0: tuple(range(0, PLACES, 2))})
    proposals = exploration.propose(torch.zeros(2000, dtype=torch.long), draw())
    reviewed = exploration.key[0][proposals.unlabelled].float().mean()
    assert float(exploration.share()[0]) == pytest.approx(0.5)
    assert float(reviewed) == pytest.approx(0.5, abs=0.05)


def test_what_is_all_explored_is_reviewed() -> None:
    exploration = world({0: tuple(range(PLACES))})
    proposals = exploration.propose(torch.zeros(50, dtype=torch.long), draw())
    assert bool(exploration.explored[0][proposals.unlabelled].all())


def test_the_teacher_remembers_the_nearest_key_box() -> None:
    exploration = world({0: (2, 12)}, step=5)
    proposals = exploration.propose(torch.zeros(200, dtype=torch.long), draw())
    nearest = torch.where((proposals.unlabelled - 2).abs() <= (proposals.unlabelled - 12).abs(), 2, 12)
    assert torch.equal(proposals.anchor, nearest)


def test_coarse_boxes_lie_on_the_line_between_close_boxes_and_else_on_the_nearest() -> None:
    exploration = world({0: (2, 2 + CLOSE, 15)})
    track = torch.zeros(4, dtype=torch.long)
    boxes = exploration.coarse(track, torch.tensor([3, 8, 13, 19]))
    assert boxes[:, 0].tolist() == [30.0, 60.0, 150.0, 150.0]


def test_far_frames_that_cannot_be_read_in_between_count_as_far() -> None:
    frame = torch.tensor([[0, 1, 50, 51, NOWHERE]])
    key = torch.tensor([[False, True, False, False, False]])
    exploration = Exploration(frame, torch.ones_like(key), key, torch.ones(1, 5, 4).cumsum(-1), 2)
    proposals = exploration.propose(torch.zeros(100, dtype=torch.long), draw())
    assert set(proposals.unlabelled.tolist()) == {1}  # frame 0 is nearer than half a step, frame 50 too far


def test_an_epoch_inserts_replaces_and_forgets_and_never_touches_keys() -> None:
    exploration = world({0: (4,)})
    found(exploration, 0, 5, 0.9)
    found(exploration, 0, 6, 0.5)
    found(exploration, 0, 4, 0.99)
    assert not bool(exploration.explored[0, 5])  # not before the epoch ends
    assert exploration.merge(0.8) == {"inserted": 1, "replaced": 0, "forgotten": 0}
    assert exploration.explored[0].nonzero()[:, 0].tolist() == [4, 5]
    assert exploration.xyxy[0, 4].tolist() == [40.0, 40.0, 48.0, 48.0]
    assert float(exploration.confidence[0, 4]) == 1.0

    found(exploration, 0, 5, 0.85, left=7.0)  # less sure than what is known
    assert exploration.merge(0.8, decay=1.0)["replaced"] == 0
    assert exploration.xyxy[0, 5, 0] == 5.0
    found(exploration, 0, 5, 0.95, left=7.0)
    assert exploration.merge(0.8, decay=1.0)["replaced"] == 1
    assert exploration.xyxy[0, 5, 0] == 7.0
    found(exploration, 0, 5, 0.3)
    assert exploration.merge(0.8)["forgotten"] == 1
    assert exploration.explored[0].nonzero()[:, 0].tolist() == [4]


def test_old_boxes_give_way_to_newer_ones() -> None:
    exploration = world({0: (4,)})
    found(exploration, 0, 5, 0.9)
    exploration.merge(0.8)
    for _ in range(4):
        exploration.merge(0.8, decay=0.98)
    found(exploration, 0, 5, 0.85, left=7.0)
    assert exploration.merge(0.8, decay=0.98)["replaced"] == 1


def test_of_one_place_the_surest_look_counts_in_whatever_order() -> None:
    places, confidence = torch.tensor([5, 5, 6, 5]), torch.tensor([0.7, 0.9, 0.8, 0.6])
    box = torch.arange(16.0).reshape(4, 4)
    for order in (torch.tensor([0, 1, 2, 3]), torch.tensor([3, 1, 2, 0])):
        exploration = world({0: (4,)})
        exploration.note(torch.zeros(4, dtype=torch.long), places[order], box[order], confidence[order])
        found(exploration, 0, 5, 0.85)
        exploration.merge(0.0)
        assert exploration.xyxy[0, 5].tolist() == box[1].tolist()
        assert exploration.xyxy[0, 6].tolist() == box[2].tolist()


def test_a_track_without_a_box_and_a_step_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="track 1 has no box"):
        world({0: (4,), 1: ()})
    with pytest.raises(InputError, match="step is 0"):
        world({0: (4,)}, step=0)
