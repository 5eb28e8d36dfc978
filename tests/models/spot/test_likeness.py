"""Pixels that look like the template are found where they are, whatever their light."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from spam_plugin.models.spot.crops import usual_sides
from spam_plugin.models.spot.likeness import SIZES, likeness
from spam_plugin.models.spot.model import agreed, hann_window
from spam_plugin.models.spot.network import Prediction


def texture(seed: int, size: int, coarse: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    cells = torch.rand(1, 3, coarse, coarse, generator=random) * 255
    return functional.interpolate(cells, (size, size), mode="bicubic").clamp(0, 255)


def scene(row: int, column: int, light: float = 1.0) -> tuple[Tensor, Tensor]:
    """A template with a target of 32 pixels in its middle, and a search crop with the middle of it at a place."""
    template, search = texture(1, 64, 8), texture(2, 128, 16)
    search[:, :, row - 16 : row + 16, column - 16 : column + 16] = template[:, :, 16:48, 16:48]
    return template, (search * light).clamp(0, 255)


HALF, QUARTER = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.25]])


@pytest.mark.parametrize(("row", "column", "light"), [(56, 86, 1.0), (30, 40, 0.5), (90, 64, 0.8)])
def test_the_place_is_found_to_the_pixel_in_any_light(row: int, column: int, light: float) -> None:
    template, search = scene(row, column, light)
    like = likeness(template, HALF, search, QUARTER)
    assert like.shape == (1, len(SIZES), 128, 128)
    place = int(like[0, 1].argmax())
    assert abs(place // 128 + 0.5 - row) <= 0.5
    assert abs(place % 128 + 0.5 - column) <= 0.5
    assert like.abs().max() <= 1
    assert like.max() > 0.9


def test_a_larger_target_is_more_like_in_a_larger_size() -> None:
    template, search = scene(64, 64)
    grown = functional.interpolate(search, scale_factor=SIZES[2], mode="bilinear")
    edge = (grown.shape[2] - 128) // 2
    like = likeness(template, HALF, grown[:, :, edge : edge + 128, edge : edge + 128], QUARTER)
    best = like.flatten(2).amax(2)[0]
    assert best.argmax() == 2


def test_a_plain_surface_is_like_nothing() -> None:
    template, _ = scene(64, 64)
    like = likeness(template, HALF, torch.full((1, 3, 128, 128), 90.0), QUARTER)
    assert like.abs().max() < 0.1


def test_crops_say_the_same_whatever_else_is_in_the_batch() -> None:
    one, two = scene(56, 86), scene(30, 40)
    templates, searches = (torch.cat(each) for each in zip(one, two, strict=True))
    both = likeness(templates, HALF.expand(2, 2), searches, QUARTER.expand(2, 2))
    alone = likeness(two[0], HALF, two[1], QUARTER)
    assert torch.allclose(both[1:], alone, atol=1e-4)


def prediction(cell: int) -> Prediction:
    logits = torch.full((1, 256), -6.0)
    logits[0, cell] = 3.0
    return Prediction(logits, torch.tensor([0.4, 0.6, 0.3, 0.2]).expand(1, 256, 4), torch.full((1, 256), 0.5))


def test_where_pixels_agree_with_the_network_they_say_where_the_box_is() -> None:
    template, search = scene(60, 68)
    found = prediction(60 // 8 * 16 + 68 // 8)
    like = likeness(template, HALF, search, QUARTER)
    box, score, quality = agreed(found, hann_window(16), 0.4, like, QUARTER)
    want = torch.tensor([[68 - 16, 60 - 16, 68 + 16, 60 + 16]]) / 128
    assert torch.allclose(box, want, atol=0.02)
    assert score > 0.9
    assert quality > 0.6


def test_where_nothing_is_alike_the_network_alone_says_where_the_box_is() -> None:
    found = prediction(100)
    box, score, _ = agreed(found, hann_window(16), 0.4, torch.zeros(1, len(SIZES), 128, 128), QUARTER)
    assert torch.allclose(box, torch.tensor([[0.25, 0.5, 0.55, 0.7]]), atol=1e-5)
    assert score > 0.9


def test_usual_sides_tell_the_shape_and_not_the_size() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 30], [5, 5, 25, 65], [0, 0, 0, 5]])
    sides = usual_sides(boxes, 4.0)
    assert torch.allclose(sides[0], sides[1])
    assert torch.allclose(sides[2], torch.tensor([0.25, 0.25]))
