"""Which cell answers for which object, and that the loss falls."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from spam_plugin.models.detector.losses import LEVEL_SIZES, Objects, assign, detection_loss
from spam_plugin.models.detector.network import STRIDES, boxes_of, cell_grid

SIZE = (256, 256)
CENTRE, STRIDE = cell_grid(*SIZE)


def objects(*rows: tuple[float, float, float, float, float]) -> Objects:
    """One image: x1, y1, x2, y2, visibility."""
    table = torch.tensor(rows).reshape(1, -1, 5)
    return Objects(table[..., :4], torch.zeros(1, len(rows), dtype=torch.int64), table[..., 4])


def owners(given: Objects) -> torch.Tensor:
    return assign(given, CENTRE, STRIDE, SIZE).owner[0]


def test_every_size_of_object_has_a_cell_and_only_at_its_own_level() -> None:
    for side in (4.0, 12.0, 40.0, 55.0, 57.0, 100.0, 127.0, 140.0, 250.0):
        owner = owners(objects((101.0, 90.0, 101.0 + side, 90.0 + side, 1.0)))
        levels = set(STRIDE[owner == 0].tolist())
        assert levels == {float(STRIDES[sum(side > limit for limit in LEVEL_SIZES)])}


def test_an_object_that_leaves_the_image_is_answered_for_by_cells_inside_its_visible_part() -> None:
    owner = owners(objects((230.0, 100.0, 300.0, 130.0, 0.4)))
    mine = CENTRE[owner == 0]
    assert len(mine) > 0
    assert (mine[:, 0] > 230).all()


def test_a_cell_between_two_objects_goes_to_the_nearer_middle() -> None:
    owner = owners(objects((60.0, 60.0, 90.0, 130.0, 1.0), (66.0, 60.0, 96.0, 130.0, 1.0)))
    left, right = CENTRE[owner == 0][:, 0], CENTRE[owner == 1][:, 0]
    assert len(left) > 0
    assert len(right) > 0
    assert left.max() < right.min()


def test_hidden_objects_are_background_and_hardly_visible_ones_are_left_out() -> None:
    for visibility, owned, ignored in ((0.5, True, True), (0.1, False, True), (0.01, False, False)):
        given = assign(objects((60.0, 60.0, 90.0, 130.0, visibility)), CENTRE, STRIDE, SIZE)
        assert bool((given.owner >= 0).any()) is owned
        # visible objects near a level's limit are left out at the neighbouring level
        assert bool(given.ignored.any()) is ignored


def test_the_loss_is_least_where_the_network_is_right() -> None:
    given = objects((60.0, 60.0, 90.0, 130.0, 1.0))
    owner = owners(given)
    sides = torch.tensor([60.0, 60.0, 90.0, 130.0])
    reach = torch.cat([CENTRE - sides[:2], sides[2:] - CENTRE], 1).clamp_min(1) / STRIDE[:, None]
    logits = torch.where(owner >= 0, 12.0, -12.0)[None, :, None]
    right = detection_loss(logits, reach.log()[None], given, CENTRE, STRIDE, SIZE)
    assert max(float(each) for each in right) < 1e-4
    wrong = detection_loss(-logits, reach.log()[None] + math.log(2), given, CENTRE, STRIDE, SIZE)
    assert min(float(each) for each in wrong) > 0.3
    assert torch.allclose(boxes_of(reach.log(), CENTRE, STRIDE)[owner >= 0], sides, atol=1e-3)


def test_images_without_objects_cost_only_their_false_boxes() -> None:
    none = Objects(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0))
    for empty in (none, Objects(torch.zeros(2, 3, 4), torch.full((2, 3), -1), torch.zeros(2, 3))):
        score, box = detection_loss(
            torch.zeros(2, len(CENTRE), 2), torch.zeros(2, len(CENTRE), 4), empty, CENTRE, STRIDE, SIZE
        )
        assert float(score) > 0
        assert float(box) == 0


def test_weights_scale_what_an_object_costs() -> None:
    given = objects((60.0, 60.0, 90.0, 130.0, 1.0), (160.0, 60.0, 190.0, 130.0, 1.0))
    logits, reach = torch.full((1, len(CENTRE), 1), -20.0), torch.zeros(1, len(CENTRE), 4)

    def cost(first: float, second: float) -> torch.Tensor:
        weighed = replace(given, weight=torch.tensor([[first, second]]))
        return torch.stack(detection_loss(logits, reach, weighed, CENTRE, STRIDE, SIZE))

    plain = torch.stack(detection_loss(logits, reach, given, CENTRE, STRIDE, SIZE))
    assert torch.allclose(cost(1, 1), plain)
    assert torch.allclose(cost(4, 4), 4 * plain, rtol=1e-4)
    assert torch.allclose(cost(4, 0) + cost(0, 4), 4 * plain, rtol=1e-4)


def test_in_an_incomplete_picture_only_objects_and_what_is_known_to_be_none_are_judged() -> None:
    given = objects((60.0, 60.0, 90.0, 130.0, 1.0), (160.0, 60.0, 190.0, 130.0, 0.0))
    partly = replace(given, complete=torch.tensor([False]))
    whole, part = (assign(each, CENTRE, STRIDE, SIZE) for each in (given, partly))
    assert torch.equal(whole.owner, part.owner)
    judged = CENTRE[~part.ignored[0] & (part.owner[0] < 0)]
    assert len(judged) > 0
    assert bool(((judged > torch.tensor([160.0, 60.0])) & (judged < torch.tensor([190.0, 130.0]))).all())
    assert not part.ignored[part.owner >= 0].any()
    complete = replace(given, complete=torch.tensor([True]))
    assert torch.equal(assign(complete, CENTRE, STRIDE, SIZE).ignored, whole.ignored)
    nothing = Objects(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0))
    assert assign(replace(nothing, complete=torch.tensor([False])), CENTRE, STRIDE, SIZE).ignored.all()


def test_what_is_known_to_be_none_counts_as_much_as_its_weight() -> None:
    given = objects((160.0, 60.0, 190.0, 130.0, 0.0))
    partly = replace(given, complete=torch.tensor([False]))
    logits, reach = torch.zeros(1, len(CENTRE), 1), torch.zeros(1, len(CENTRE), 4)
    once, twice = (
        detection_loss(logits, reach, replace(partly, weight=torch.tensor([[weight]])), CENTRE, STRIDE, SIZE)[0]
        for weight in (1.0, 2.0)
    )
    assert float(once) > 0
    assert torch.allclose(twice, 2 * once)
