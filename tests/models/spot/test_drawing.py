import dataclasses

import numpy as np
import pytest
import torch

from spam_plugin.models.spot.depiction import MARGIN, SPRITE, Library, draw_library
from spam_plugin.models.spot.drawing import Jitter, Pairs, draw_pairs
from spam_plugin.models.spot.network import TrackerConfig

SMALL = TrackerConfig(32, 64, widths=(8, 16, 16), channels=16, heads=2, hidden=32)


@pytest.fixture(scope="module")
def library() -> Library:
    return draw_library(np.random.default_rng(3), 24, 6)


def drawn(library: Library, seed: int = 0, count: int = 16, config: TrackerConfig = SMALL, **jitter: float) -> Pairs:
    return draw_pairs(library, count, config, torch.Generator().manual_seed(seed), Jitter(**jitter))


def same(one: Pairs, other: Pairs) -> bool:
    return all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Pairs))


def lone(tall: int, wide: int) -> Library:
    """A white rectangle and a black one in a black place."""
    sprites = np.zeros((2, 2, 4, SPRITE, SPRITE), np.uint8)
    sprites[0, :, :, MARGIN:-MARGIN, MARGIN:-MARGIN] = 255
    sprites[1, :, 3, MARGIN:-MARGIN, MARGIN:-MARGIN] = 255
    return Library(sprites, np.full(2, wide / tall, np.float32), np.zeros((1, 3, 256, 256), np.uint8))


def test_a_library_depends_on_its_seed_alone(library: Library) -> None:
    again, other = (draw_library(np.random.default_rng(seed), 24, 6) for seed in (3, 4))
    for field in dataclasses.fields(Library):
        assert np.array_equal(getattr(again, field.name), getattr(library, field.name))
    assert not np.array_equal(other.sprites, library.sprites)


def test_objects_fill_their_pictures_but_the_margin(library: Library) -> None:
    solid = library.sprites[:, :, 3] > 127
    assert not solid[..., : MARGIN - 1].any()
    assert not solid[..., : MARGIN - 1, :].any()
    rows, columns = solid.any(3).sum(2), solid.any(2).sum(2)
    assert (rows >= SPRITE - 2 * MARGIN - 3).all()
    assert (columns >= SPRITE - 2 * MARGIN - 3).all()
    assert (library.sprites[:, :, :3] <= library.sprites[:, :, 3:].astype(int) + 1).all()  # premultiplied


def test_pairs_depend_on_their_seed_alone(library: Library) -> None:
    assert same(drawn(library), drawn(library))
    assert not same(drawn(library), drawn(library, seed=1))


def test_pictures_are_of_the_sizes_and_values_that_the_network_wants(library: Library) -> None:
    pairs = drawn(library)
    assert pairs.template.shape == (16, 3, 32, 32)
    assert pairs.search.shape == (16, 3, 64, 64)
    for crops in (pairs.template, pairs.search):
        assert crops.isfinite().all()
        assert crops.min() >= 0
        assert crops.max() <= 255
        assert crops.flatten(1).std(1).min() > 0.5


def test_true_boxes_are_those_of_what_is_seen() -> None:
    """White on black, alone: the bright pixels of the search crop end where the box ends."""
    world, config = lone(3, 2), TrackerConfig(64, 128)
    off = []
    for seed in range(12):
        pairs = drawn(world, seed, 2, config, absent=0.0, shift=0.4)
        target = torch.randperm(2, generator=torch.Generator().manual_seed(seed)).tolist().index(0)
        crop, box = pairs.search[target].mean(0), pairs.xyxy[target] * 128
        if crop.max() < 60:  # something dark stands before it
            continue
        bright = crop > crop.max() / 2
        rows, columns = bright.any(1).nonzero()[:, 0], bright.any(0).nonzero()[:, 0]
        edges = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        off.append((edges - box).abs().max().item())
    assert len(off) >= 6
    assert np.median(off) < 4  # pixels, of a blurred and bent rectangle of about 32


def test_a_search_is_as_far_off_as_its_jitter_says(library: Library) -> None:
    near, far = (drawn(library, count=64, absent=0.0, shift=shift, scale=0.0) for shift in (0.0, 1.2))
    middles = [(pairs.xyxy[:, :2] + pairs.xyxy[:, 2:]) / 2 - 0.5 for pairs in (near, far)]
    assert middles[0].abs().max() < 1e-3
    assert 0.02 < middles[1].abs().mean() < 0.2
    assert middles[1].abs().max() < 0.45  # the target is still in view
    side = (near.xyxy[:, 2:] - near.xyxy[:, :2]).prod(1).sqrt()
    assert 0.15 < side.mean() < 0.3  # a quarter of a crop of context 4


def test_some_targets_are_absent_and_the_others_are_the_same_pictures(library: Library) -> None:
    some, none = drawn(library, count=100, absent=0.25), drawn(library, count=100, absent=0.0)
    assert none.present.all()
    assert 0.1 < 1 - some.present.float().mean() < 0.4
    kept = some.present
    assert torch.equal(some.xyxy[kept], none.xyxy[kept])


def test_an_absent_target_cannot_be_seen() -> None:
    world = lone(1, 1)
    here, gone = (drawn(world, 5, 2, absent=share) for share in (0.0, 1.0))
    target = torch.randperm(2, generator=torch.Generator().manual_seed(5)).tolist().index(0)
    assert here.search[target].max() > 4 * gone.search[target].max() + 20
    assert not gone.present.any()
