"""What only the student sees: boxes go where the pixels go."""

from __future__ import annotations

import pytest
import torch

from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.augmentation import Distortion, distort, jitter, mirror, relight, turn

SIZE = 80


def painted(box: tuple[float, float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """A dark crop with a bright ellipse in a box, and the box in shares of the crop."""
    at = (torch.arange(SIZE) + 0.5) / SIZE
    y, x = torch.meshgrid(at, at, indexing="ij")
    x1, y1, x2, y2 = box
    inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
    return (inside.float() * 200).expand(1, 3, SIZE, SIZE).clone(), torch.tensor([box])


def bright(crop: torch.Tensor) -> list[float]:
    """The box around the bright pixels of (3, S, S), in shares."""
    y, x = (crop[0] > 100).nonzero().unbind(1)
    return [float(v) / SIZE for v in (x.min(), y.min(), x.max() + 1, y.max() + 1)]


@pytest.mark.parametrize("degrees", [-10.0, 0.0, 7.0, 45.0, 90.0, 180.0])
def test_a_turned_box_is_the_box_around_what_was_turned(degrees: float) -> None:
    crop, box = painted((0.3, 0.35, 0.5, 0.75))
    turned, moved = turn(crop, box, torch.tensor([degrees]))
    assert bright(turned[0]) == pytest.approx(moved[0].tolist(), abs=1.6 / SIZE)


def test_a_quarter_turn_swaps_the_sides_and_a_half_turn_keeps_them() -> None:
    _, box = painted((0.2, 0.3, 0.4, 0.7))
    crop = torch.zeros(1, 3, SIZE, SIZE)
    _, quarter = turn(crop, box, torch.tensor([90.0]))
    assert (quarter[0, 2:] - quarter[0, :2]).tolist() == pytest.approx([0.4, 0.2], abs=1e-5)
    _, half = turn(crop, box, torch.tensor([180.0]))
    assert half[0].tolist() == pytest.approx([0.6, 0.3, 0.8, 0.7], abs=1e-5)


def test_what_comes_in_from_outside_has_the_mean_colour() -> None:
    crop = torch.full((1, 3, SIZE, SIZE), 50.0)
    crop[..., 30:50, 30:50] = 130.0
    turned, _ = turn(crop, torch.tensor([[0.4, 0.4, 0.6, 0.6]]), torch.tensor([45.0]))
    assert turned[0, 0, 0, 0] == pytest.approx(float(crop.mean()), abs=1e-3)


def test_a_mirrored_box_lies_on_the_other_side() -> None:
    crop, box = painted((0.1, 0.2, 0.3, 0.6))
    crops, boxes = mirror(crop.repeat(2, 1, 1, 1), box.repeat(2, 1), torch.tensor([True, False]))
    assert boxes[0].tolist() == pytest.approx([0.7, 0.2, 0.9, 0.6])
    assert bright(crops[0]) == pytest.approx(boxes[0].tolist(), abs=1 / SIZE)
    assert torch.equal(crops[1], crop[0])
    assert torch.equal(boxes[1], box[0])


def test_grey_is_the_luma_of_both_crops_and_light_stays_in_range() -> None:
    draw = torch.Generator().manual_seed(0)
    template, search = torch.rand(2, 6, 3, 8, 8, generator=draw).mul(255).unbind()
    a, b = relight(template, search, Distortion(brightness=0.0, grey=1.0), draw)
    luma = template[:, 0] * 0.299 + template[:, 1] * 0.587 + template[:, 2] * 0.114
    assert torch.allclose(a, luma[:, None].expand_as(a), atol=1e-3)
    assert bool((b[:, 0] == b[:, 2]).all())
    a, b = relight(template, search, Distortion(brightness=0.2, grey=0.0), draw)
    share = (a / template.clamp_min(1)).flatten(1).amax(1)
    assert float(share.max()) <= 1.2 + 1e-4
    assert len(share.unique()) == 6
    assert float(a.max()) <= 255


def test_jitter_moves_windows_by_at_most_its_reach_and_not_at_all_if_it_is_none() -> None:
    draw = torch.Generator().manual_seed(1)
    box = torch.tensor([[100.0, 50.0, 140.0, 130.0]]).repeat(500, 1)
    moved = jitter(box, Distortion(centre=3.0, scale=0.0), draw)
    off = ((moved[:, :2] + moved[:, 2:]) / 2 - torch.tensor([120.0, 90.0])).abs()
    assert 85 < float(off.max()) <= 90  # half of 3 mean sides
    assert torch.allclose(jitter(box, Distortion(centre=0.0, scale=0.0), draw), box)
    sides = jitter(box, Distortion(centre=0.0), draw)
    spread = ((sides[:, 2] - sides[:, 0]) / 40).log().std()
    assert float(spread) == pytest.approx(0.25, abs=0.03)


def test_chance_comes_from_the_generator_alone() -> None:
    crop, box = painted((0.3, 0.3, 0.6, 0.6))
    crops, boxes = crop.repeat(5, 1, 1, 1), box.repeat(5, 1)
    one, two = (distort(crops, boxes, Distortion(), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    other = distort(crops, boxes, Distortion(), torch.Generator().manual_seed(4))
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("wrong", [{"centre": -1.0}, {"grey": 1.5}, {"rotation": float("nan")}])
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Distortion(**wrong)
