"""Losses, on cases that can be worked out by hand, and against the rule followed cell by cell."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.crops import as_cxcywh
from spam_plugin.models.spot.losses import Losses, LossWeights, overlaps, ring_cells, target_cells, tracking_loss
from spam_plugin.models.spot.network import Prediction

SIDE = 8
BOX = (0.25, 0.25, 0.75, 0.5)


def truth(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def right(xyxy: torch.Tensor, side: int = SIDE) -> Prediction:
    """What a network says that knows all: boxes everywhere, scores in the box, full quality everywhere."""
    logits = torch.where(target_cells(xyxy.clamp(0, 1), side), 15.0, -15.0)
    boxes = as_cxcywh(xyxy)[:, None].expand(-1, side**2, -1)
    return Prediction(logits, boxes.clone(), torch.ones(len(xyxy), side**2))


def random(batch: int, seed: int = 0, side: int = SIDE) -> Prediction:
    draw = torch.Generator().manual_seed(seed)
    return Prediction(
        torch.randn(batch, side**2, generator=draw).requires_grad_(),
        (torch.rand(batch, side**2, 4, generator=draw) * 0.6 + 0.2).requires_grad_(),
        torch.rand(batch, side**2, generator=draw).requires_grad_(),
    )


def values(losses: Losses) -> list[float]:
    return [float(getattr(losses, field.name).detach()) for field in fields(losses)]


def gradients(prediction: Prediction, total: torch.Tensor) -> list[torch.Tensor]:
    columns = [prediction.logits, prediction.cxcywh, prediction.quality]
    return list(torch.autograd.grad(total, columns))


def detached(prediction: Prediction) -> Prediction:
    return Prediction(prediction.logits.detach(), prediction.cxcywh.detach(), prediction.quality.detach())


def part(prediction: Prediction, rows: list[int]) -> Prediction:
    return Prediction(prediction.logits[rows], prediction.cxcywh[rows], prediction.quality[rows])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.sampled_from([4, 7, 16]))
def test_the_cells_of_a_target_follow_the_rule(edges: list[float], side: int) -> None:
    x1, x2 = sorted(edges[:2])
    y1, y2 = sorted(edges[2:])
    cells = target_cells(truth((x1, y1, x2, y2)), side).reshape(side, side)

    def span(low: float, high: float) -> set[int]:
        first = min(math.ceil(low * side), side - 1)
        return set(range(first, max(math.ceil(high * side), first + 1)))

    want = {(row, column) for row in span(y1, y2) for column in span(x1, x2)}
    assert {tuple(at) for at in cells.nonzero().tolist()} == want
    assert len(want) >= 1


def test_the_ring_lies_around_the_target_and_has_its_width() -> None:
    box = truth((0.5, 0.5, 0.75, 0.625), (0.0, 0.0, 0.125, 0.125))
    inside, ring = target_cells(box, 32), ring_cells(box, 32)
    assert inside.sum(1).tolist() == [8 * 4, 4 * 4]
    assert ring.sum(1).tolist() == [14 * 10 - 8 * 4, 7 * 7 - 4 * 4]  # the second lies in a corner
    assert not (inside & ring).any()
    assert ring_cells(truth((0.0, 0.0, 1.0, 1.0)), 32).sum() == 0


def test_overlaps_are_those_worked_out_by_hand() -> None:
    one = truth((0, 0, 2, 2), (0, 0, 2, 2), (0, 0, 1, 1), (0, 0, 4, 4))
    two = truth((0, 0, 2, 2), (1, 0, 3, 2), (3, 0, 4, 1), (1, 1, 2, 3))
    iou, giou = overlaps(one, two)
    assert iou.tolist() == pytest.approx([1, 1 / 3, 0, 2 / 16])
    assert giou.tolist() == pytest.approx([1, 1 / 3, -2 / 4, 2 / 16])


def test_who_is_right_pays_nothing_and_who_is_wrong_pays_in_every_coin() -> None:
    box = truth(BOX, (0.1, 0.6, 0.3, 0.9))
    assert max(values(tracking_loss(right(box), box))) < 1e-5
    good = right(box)
    shifted = good.cxcywh + torch.tensor([0.1, 0.0, 0.0, 0.0])
    for wrong, place in (
        (replace(good, logits=-good.logits), 0),
        (replace(good, cxcywh=shifted, quality=torch.zeros_like(good.quality)), 1),
        (replace(good, cxcywh=shifted), 2),
        (replace(good, quality=good.quality - 0.4), 3),
    ):
        assert values(tracking_loss(wrong, box))[place] > 0.02
        assert values(tracking_loss(wrong, box))[4] > 0.02


def test_the_losses_are_those_of_the_rule_followed_cell_by_cell() -> None:
    prediction, box = detached(random(1)), truth(BOX)
    cells = {(row, column) for row in (2, 3) for column in (2, 3, 4, 5)}
    ring = {(row, column) for row in range(1, 5) for column in range(1, 7)} - cells
    score = l1 = giou = inside = around = counted = 0.0
    for cell in range(SIDE**2):
        at, logit = divmod(cell, SIDE), prediction.logits[0, cell].double()
        count = 1.0 if at in cells else 0.0625
        counted += count
        score -= count * float((logit if at in cells else -logit).sigmoid().log())
        x, y, w, h = prediction.cxcywh[0, cell].tolist()
        iou, general = overlaps(truth((x - w / 2, y - h / 2, x + w / 2, y + h / 2)), box)
        doubt = abs(float(prediction.quality[0, cell]) - float(iou))
        if at in cells:
            l1 += sum(abs(a - b) for a, b in zip((x, y, w, h), (0.5, 0.375, 0.5, 0.25), strict=True)) / 4 / len(cells)
            giou += (1 - float(general)) / len(cells)
            inside += doubt / len(cells)
        elif at in ring:
            around += doubt / len(ring)
    score /= counted
    total = 8.334 * score + 5 * l1 + 2 * giou + inside + around
    assert values(tracking_loss(prediction, box)) == pytest.approx([score, l1, giou, inside + around, total], rel=1e-4)


def test_a_sample_counts_by_its_weight_and_one_of_no_weight_not_at_all() -> None:
    prediction, box = random(3), truth(BOX, (0.1, 0.1, 0.4, 0.9), (0.5, 0.5, 0.9, 0.8))
    weighted = tracking_loss(prediction, box, torch.tensor([2.0, 0.0, 1.0]))
    repeated = tracking_loss(part(prediction, [0, 0, 2]), box[[0, 0, 2]])
    assert values(weighted) == pytest.approx(values(repeated), rel=1e-5)
    assert values(weighted) != pytest.approx(values(tracking_loss(prediction, box)), rel=1e-3)
    assert all((grad[1] == 0).all() for grad in gradients(prediction, weighted.total))
    assert all((grad[0] != 0).any() for grad in gradients(prediction, tracking_loss(prediction, box).total))


def test_a_large_target_counts_no_more_than_a_small_one() -> None:
    prediction, box = random(2), truth((0.0, 0.0, 1.0, 1.0), (0.4, 0.4, 0.5, 0.5))
    alone = [values(tracking_loss(part(prediction, [row]), box[[row]])) for row in (0, 1)]
    together = values(tracking_loss(prediction, box))
    assert together == pytest.approx([(a + b) / 2 for a, b in zip(*alone, strict=True)], rel=1e-5)


def test_a_batch_in_which_nothing_counts_costs_nothing_and_moves_nothing() -> None:
    prediction = random(2)
    losses = tracking_loss(prediction, truth(BOX, BOX), torch.zeros(2))
    assert values(losses) == [0] * 5
    assert all((grad == 0).all() for grad in gradients(prediction, losses.total))


def test_quality_has_weights_of_its_own_and_pseudo_labels_do_not_teach_it() -> None:
    prediction, box = random(2), truth(BOX, (0.1, 0.1, 0.4, 0.9))
    losses = tracking_loss(prediction, box, quality_weight=torch.tensor([1.0, 0.0]))
    logits, boxes, quality = gradients(prediction, losses.total)
    assert (logits[1] != 0).any()
    assert (boxes[1] != 0).any()
    assert (quality[1] == 0).all()
    assert values(losses)[3] == pytest.approx(values(tracking_loss(part(prediction, [0]), box[:1]))[3])


def test_quality_is_taught_in_the_target_and_in_the_ring_only_and_does_not_move_boxes() -> None:
    prediction, box = random(1, side=16), truth(BOX)
    # the sum of all, times nothing, gives the boxes a gradient to look at
    total = tracking_loss(prediction, box).quality + 0 * _sum(prediction)
    _, boxes, quality = gradients(prediction, total)
    assert torch.equal(quality[0] != 0, (target_cells(box, 16) | ring_cells(box, 16))[0])
    assert (boxes == 0).all()


def test_a_target_that_sticks_out_of_the_crop_is_clipped_to_it() -> None:
    prediction = random(1)
    out, cut = truth((-0.1, 0.2, 0.4, 0.5)), truth((0.0, 0.2, 0.4, 0.5))
    assert values(tracking_loss(prediction, out)) == pytest.approx(values(tracking_loss(prediction, cut)))


def test_a_target_of_which_less_than_half_is_in_the_crop_does_not_count() -> None:
    prediction, gone = random(4), truth(BOX, (-0.3, 0.2, 0.2, 0.5), (1.5, 0.2, 1.9, 0.5), (math.nan,) * 4)
    losses = tracking_loss(prediction, gone)
    assert values(losses) == pytest.approx(values(tracking_loss(part(prediction, [0]), gone[:1])))
    assert all((grad[1:] == 0).all() for grad in gradients(prediction, losses.total))


def test_where_the_target_is_absent_all_is_background_and_its_box_is_not_read() -> None:
    prediction, box = random(2), truth(BOX, (math.nan,) * 4)
    losses = tracking_loss(prediction, box, present=torch.tensor([True, False]))
    logits, boxes, quality = gradients(prediction, losses.total)
    assert all(bool(grad.isfinite().all()) for grad in (logits, boxes, quality))
    assert (logits[1] > 0).all()  # every score goes down
    assert (quality[1] > 0).all()  # every expected overlap, too
    assert (boxes[1] == 0).all()
    alone = tracking_loss(part(prediction, [0]), box[:1])
    assert values(losses)[1:3] == pytest.approx(values(alone)[1:3])


def test_what_cannot_be_judged_is_refused() -> None:
    prediction = random(2)
    with pytest.raises(InputError, match="true boxes have shape"):
        tracking_loss(prediction, truth(BOX))
    with pytest.raises(InputError, match="quality_weight has shape"):
        tracking_loss(prediction, truth(BOX, BOX), quality_weight=torch.ones(2, 1))
    with pytest.raises(InputError, match="63 cells"):
        tracking_loss(Prediction(*(each[:, :63] for each in gradients(prediction, _sum(prediction)))), truth(BOX, BOX))
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="giou"):
            LossWeights(giou=bad)


def _sum(prediction: Prediction) -> torch.Tensor:
    return prediction.logits.sum() + prediction.cxcywh.sum() + prediction.quality.sum()
