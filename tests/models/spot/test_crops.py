"""Crops: where they come from, what they show, and the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.crops import as_cxcywh, as_xyxy, cut, to_crop, to_image, windows_around


def noise(height: int = 90, width: int = 120, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def mean_of(image: torch.Tensor) -> torch.Tensor:
    return image.double().mean((0, 1)).float()[:, None, None]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([1.0, 2.0, 4.0]))
def test_boxes_return_from_the_crop_to_where_they_were(seed: int, count: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-500, 4000, (count, 2))
    xyxy = torch.from_numpy(np.concatenate([low, low + np.exp(rng.uniform(0, 7, (count, 2)))], 1)).float()
    windows = windows_around(xyxy, factor)
    inside = to_crop(xyxy, windows)
    assert (to_image(inside, windows) - xyxy).abs().max() < 0.01
    assert (to_crop(to_image(inside, windows), windows) - inside).abs().max() * 256 < 0.1
    assert (as_xyxy(as_cxcywh(xyxy)) - xyxy).abs().max() < 0.01
    # the middle of the target is the middle of its crop
    assert (as_cxcywh(inside)[:, :2] - 0.5).abs().max() < 1e-3


def test_several_boxes_of_a_window_go_back_together() -> None:
    windows = windows_around(boxes((10, 10, 30, 50), (40, 5, 60, 30)), 4)
    cells = torch.rand(2, 7, 4)
    together = to_image(cells, windows)
    for cell in range(7):
        assert torch.allclose(together[:, cell], to_image(cells[:, cell], windows))
    assert torch.allclose(to_crop(together, windows), cells, atol=1e-5)


def test_a_window_has_the_side_of_the_paper_and_grows_with_the_context() -> None:
    windows = windows_around(boxes((10, 20, 30, 60), (10, 20, 30, 60)), 2)
    assert windows[0].tolist() == [20, 40, math.ceil(math.sqrt((20 + 30) * (40 + 30)))]
    assert windows_around(boxes((10, 20, 30, 60)), 4)[0, 2] == math.ceil(math.sqrt((20 + 90) * (40 + 90)))


@pytest.mark.parametrize("size", [48, 160])
@pytest.mark.parametrize("target", [(31, 22, 58, 71), (200, 100, 520, 300), (0, 0, 17, 40), (610, 420, 640, 480)])
def test_a_painted_target_lies_in_its_crop_where_the_geometry_says(target: tuple[int, ...], size: int) -> None:
    image = torch.zeros(480, 640, 3, dtype=torch.uint8)
    left, top, right, bottom = target
    image[top:bottom, left:right] = 255
    other = (5.0, 400.0, 30.0, 470.0)  # what is cut beside it takes no part
    windows = windows_around(boxes(target, other), 4)
    crop = (cut(image, windows, size)[0, 0] - mean_of(image)[0]) / (255 - mean_of(image)[0])
    share = crop.clamp(0, 1).double()
    place = (torch.arange(size).double() + 0.5) / size
    across, down = share.sum(0), share.sum(1)
    middle = torch.stack([(across * place).sum(), (down * place).sum()]) / share.sum()
    sides = torch.stack([down.max(), across.max()]) / size  # the longest row and column
    found = as_cxcywh(to_image(as_xyxy(torch.cat([middle, sides]).float())[None], windows[:1])[0])
    off, pixel = (found - as_cxcywh(torch.tensor(target).float())).abs(), float(windows[0, 2]) / size
    assert off[:2].max() < 0.15 * pixel + 0.05
    assert off[2:].max() < 0.5 * pixel + 0.5  # an edge within a pixel of a crop is known to a part of that pixel


def test_a_window_of_the_crops_size_shows_the_pixels_themselves() -> None:
    image = noise()
    crop = cut(image, torch.tensor([[40.0, 50.0, 32.0]]), 32)[0]
    assert torch.allclose(crop, image[34:66, 24:56].permute(2, 0, 1).float(), atol=0.02)


def test_a_window_of_twice_or_four_times_the_size_shows_means_of_pixels() -> None:
    image = noise(128, 192)
    for times in (2, 4):
        side = 16 * times
        crop = cut(image, torch.tensor([[64.0 + side / 2, 32.0 + side / 2, side]]), 16)[0]
        part = image[32 : 32 + side, 64 : 64 + side].permute(2, 0, 1).float()
        assert torch.allclose(crop, torch.nn.functional.avg_pool2d(part, times), atol=0.02)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_outside_the_picture_all_is_its_mean_colour(scale: int) -> None:
    image = noise(91, 123)
    side = 32 * scale
    crop = cut(image, torch.tensor([[0.0, 45.5, side], [123.0, 0.0, side], [-500.0, 900.0, side]]), 32)
    mean = mean_of(image)
    assert torch.allclose(crop[0, :, :, :15], mean.expand(-1, 32, 15), atol=0.02)
    assert torch.allclose(crop[1, :, :15], mean.expand(-1, 15, 32), atol=0.02)
    assert torch.allclose(crop[1, :, :, 17:], mean.expand(-1, 32, 15), atol=0.02)
    assert torch.allclose(crop[2], mean.expand(-1, 32, 32), atol=0.02)
    assert (crop[0, :, 8:24, 17:] - mean).abs().mean() > 5  # and inside it is not
    assert (crop[1, :, 17:, :15] - mean).abs().mean() > 5


def test_a_box_wholly_outside_the_picture_has_a_crop_and_a_place() -> None:
    image, far = noise(), boxes((-300, -200, -280, -150), (500, 20, 540, 60))
    windows = windows_around(far, 2)
    assert torch.allclose(cut(image, windows, 24), mean_of(image).expand(2, -1, 24, 24), atol=0.02)
    assert torch.allclose(to_image(to_crop(far, windows), windows), far, atol=0.01)


def test_a_crop_does_not_depend_on_what_is_cut_beside_it() -> None:
    image = noise(301, 437)
    rng = np.random.default_rng(3)
    low = rng.uniform(-40, 400, (30, 2))
    xyxy = torch.from_numpy(np.concatenate([low, low + np.exp(rng.uniform(1, 5.5, (30, 2)))], 1)).float()
    windows = windows_around(xyxy, 4)
    together = cut(image, windows, 40)
    assert len(set((windows[:, 2] / 40).log2().floor().clamp(0).tolist())) > 2
    for row in range(30):
        assert torch.allclose(cut(image, windows[row : row + 1], 40)[0], together[row], atol=0.1)


def test_stripes_of_one_pixel_become_grey_and_not_other_stripes() -> None:
    image = torch.zeros(512, 512, 3, dtype=torch.uint8)
    image[:, ::2] = 255
    crop = cut(image, torch.tensor([[256.0, 256.0, 400.0]]), 32)
    assert (crop - 127.5).abs().max() < 1


def test_a_picture_of_one_pixel_can_be_cut() -> None:
    image = torch.full((1, 1, 3), 77, dtype=torch.uint8)
    crop = cut(image, windows_around(boxes((0, 0, 1, 1), (-900, -900, 900, 900)), 4), 8)
    assert torch.allclose(crop, torch.full((2, 3, 8, 8), 77.0), atol=0.01)


def test_no_boxes_give_no_crops() -> None:
    none = windows_around(torch.zeros(0, 4), 2)
    assert none.shape == (0, 3)
    assert cut(noise(), none, 16).shape == (0, 3, 16, 16)
    assert to_image(torch.zeros(0, 4), none).shape == (0, 4)


@pytest.mark.parametrize(
    "bad", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (math.nan, 0, 5, 5), (0, 0, math.inf, 5)]
)  # fmt: skip
def test_boxes_without_area_are_refused_and_named(bad: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="box 1 is"):
        windows_around(boxes((0, 0, 5, 5), bad), 2)


def test_what_cannot_be_cut_is_refused() -> None:
    fine = torch.tensor([[5.0, 5.0, 5.0]])
    for image, windows, size in (
        (noise().float(), fine, 8),
        (noise()[..., :2], fine, 8),
        (noise()[:0], fine, 8),
        (noise(), fine[0], 8),
        (noise(), fine * 0, 8),
        (noise(), fine * math.nan, 8),
        (noise(), fine, 0),
    ):
        with pytest.raises(InputError):
            cut(image, windows, size)
    with pytest.raises(InputError, match="expected \\(N, 4\\)"):
        windows_around(torch.zeros(4), 2)
    with pytest.raises(InputError, match="at least 1"):
        windows_around(boxes((0, 0, 5, 5)), 0.5)
