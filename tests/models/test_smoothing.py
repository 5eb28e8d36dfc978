"""The smoother quiets noisy tracks, follows quick ones, and does not care where, how large or which way time runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.errors import InputError
from spam_plugin.models.spam import smoothing
from spam_plugin.models.spam.interpolation import fill_gaps
from spam_plugin.models.spam.smoothing import smooth_tracks


@dataclass(frozen=True)
class Scene:
    """Rows of several tracks: what is there, and what a detector saw of it."""

    frame: np.ndarray
    track: np.ndarray
    truth: np.ndarray
    seen: np.ndarray

    def smoothed(self) -> np.ndarray:
        return smooth_tracks(self.frame, self.seen, self.track)


def corners(x: np.ndarray, y: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x - width / 2, y - height / 2, x + width / 2, y + height / 2), 1)


def blurred(truth: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Boxes whose centre and size are off by a share of their size."""
    size = truth[:, 2:] - truth[:, :2]
    centre = (truth[:, :2] + truth[:, 2:]) / 2 + noise * size * rng.standard_normal(size.shape)
    size = size * np.exp(noise * rng.standard_normal(size.shape))
    return np.concatenate([centre - size / 2, centre + size / 2], 1)


def walkers(noise: float, seed: int = 0, tracks: int = 8, length: int = 120, misses: float = 0.1) -> Scene:
    """People who stroll at 25 frames per second, a tenth of their boxes missing."""
    rng = np.random.default_rng(seed)
    frame, track = np.tile(np.arange(length), tracks), np.repeat(np.arange(tracks), length)
    speed, phase = rng.uniform(-2, 2, tracks)[track], rng.uniform(0, 6, tracks)[track]
    x = 100.0 * track + speed * frame + 20 * np.sin(frame / 40 + phase)
    truth = corners(x, 300 + 5 * np.cos(frame / 50 + phase), 40 + 0.05 * frame, 110 + 0.1 * frame)
    kept = rng.random(len(frame)) >= misses
    return Scene(frame[kept], track[kept], truth[kept], blurred(truth, noise, rng)[kept])


def cars(noise: float, seed: int = 0, tracks: int = 6, length: int = 40) -> Scene:
    """Oncoming cars at 10 frames per second: from 60 m to a few metres away, ever larger, faster and to the side."""
    rng = np.random.default_rng(seed)
    frame, track = np.tile(np.arange(length), tracks), np.repeat(np.arange(tracks), length)
    depth = 60 - rng.uniform(1.0, 1.35, tracks)[track] * frame
    side = rng.choice([-1, 1], tracks)[track] * rng.uniform(3, 6, tracks)[track]
    truth = corners(600 + 720 * side / depth, 180 + 720 * 0.9 / depth, 720 * 2.5 / depth, 720 * 1.5 / depth)
    return Scene(frame, track, truth, blurred(truth, noise, rng))


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared = sides.clip(0).prod(1)
    return shared / ((first[:, 2:] - first[:, :2]).prod(1) + (second[:, 2:] - second[:, :2]).prod(1) - shared)


def rms(boxes: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(((boxes - truth) ** 2).mean()))


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.08])
def test_noise_of_slow_tracks_falls_below_half(noise: float) -> None:
    scene = walkers(noise)
    assert rms(scene.smoothed(), scene.truth) < 0.5 * rms(scene.seen, scene.truth)


def test_noise_free_fast_tracks_are_left_alone() -> None:
    scene = cars(noise=0.0)
    assert iou(scene.smoothed(), scene.truth).min() > 0.99
    assert iou(scene.smoothed(), scene.truth).mean() > 0.999


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.06])
def test_noisy_fast_tracks_gain_too(noise: float) -> None:
    scene = cars(noise)
    assert iou(scene.smoothed(), scene.truth).mean() > iou(scene.seen, scene.truth).mean()


def test_each_track_decides_for_itself() -> None:
    slow, fast = walkers(0.05), cars(0.0)
    both = smooth_tracks(
        np.concatenate([slow.frame, fast.frame]),
        np.concatenate([slow.seen, fast.seen]),
        np.concatenate([slow.track, fast.track + 100]),
    )
    assert rms(both[: len(slow.frame)], slow.truth) < 0.6 * rms(slow.seen, slow.truth)
    assert iou(both[len(slow.frame) :], fast.truth).mean() > 0.99


def test_one_wild_box_does_not_bend_its_neighbours() -> None:
    scene = walkers(0.01, misses=0.0)
    wild = scene.seen.copy()
    wild[60] += [-60, -5, 60, 5]  # drawn around two people
    near = [57, 58, 59, 61, 62, 63]
    smoothed = smooth_tracks(scene.frame, wild, scene.track)
    assert np.abs(smoothed[near] - scene.truth[near]).max() < 3
    assert np.abs(smoothed[60] - scene.truth[60]).max() < 6


def test_a_shaking_camera_is_followed() -> None:
    scene = walkers(0.03, tracks=12)
    shake = np.random.default_rng(5).normal(0, 4, (200, 2))[scene.frame]
    shaken = Scene(scene.frame, scene.track, scene.truth + np.tile(shake, 2), scene.seen + np.tile(shake, 2))
    assert rms(shaken.smoothed(), shaken.truth) < 0.6 * rms(shaken.seen, shaken.truth)


def test_one_object_filmed_from_the_hand_is_not_torn_off_its_boxes() -> None:
    # In one coordinate the shaking of a hand looks like noise; that the box's size is calm tells them apart.
    scene = walkers(0.02, tracks=1)
    shake = np.random.default_rng(5).normal(0, 12, (200, 2))[scene.frame]
    shaken = Scene(scene.frame, scene.track, scene.truth + np.tile(shake, 2), scene.seen + np.tile(shake, 2))
    assert iou(shaken.smoothed(), shaken.truth).mean() > iou(shaken.seen, shaken.truth).mean() - 0.01


def test_a_box_of_little_weight_counts_little() -> None:
    scene = walkers(0.02, tracks=1, misses=0.0)
    off = scene.seen.copy()
    off[40:44] += 2.0
    light = np.ones(len(off))
    light[40:44] = 1e-3
    pulled, left = (
        rms(*(smooth_tracks(scene.frame, boxes, scene.track, weight=weight) for boxes in (scene.seen, off)))
        for weight in (None, light)
    )
    assert left < 0.1 * pulled


def test_filled_boxes_lie_on_the_smoothed_course() -> None:
    frame = np.arange(80)
    truth = corners(10 * np.cos(frame / 8) * 10 + 500, 200 + 0.0 * frame, 40 + 0.0 * frame, 100 + 0.0 * frame)
    kept = (frame % 20) < 13
    filled = fill_gaps(frame[kept], truth[kept], np.zeros(kept.sum(), int), max_gap=10)
    smoothed = smooth_tracks(filled.frame, filled.xyxy, filled.track, observed=~filled.is_filled)
    gap = filled.is_filled
    assert rms(smoothed[gap], truth[filled.frame][gap]) < 0.5 * rms(filled.xyxy[gap], truth[filled.frame][gap])
    alone = smooth_tracks(frame[kept], truth[kept], np.zeros(kept.sum(), int))
    np.testing.assert_allclose(smoothed[~gap], alone)


def test_unobserved_boxes_outside_their_track_stay() -> None:
    scene = walkers(0.05, tracks=2, misses=0.0)
    observed = (scene.frame > 5) & (scene.frame < 100) & (scene.track == 0)
    smoothed = smooth_tracks(scene.frame, scene.seen, scene.track, observed=observed)
    np.testing.assert_array_equal(smoothed[~observed], scene.seen[~observed])
    none = smooth_tracks(scene.frame, scene.seen, scene.track, observed=np.zeros(len(observed), bool))
    np.testing.assert_array_equal(none, scene.seen)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_moving_and_scaling_the_image_moves_and_scales_the_result(
    seed: int, scale: float, shift: tuple[float, float]
) -> None:
    scene = walkers(0.04, seed, tracks=3, length=40)
    moved = smooth_tracks(scene.frame, scene.seen * scale + np.tile(shift, 2), scene.track)
    np.testing.assert_allclose(moved, scene.smoothed() * scale + np.tile(shift, 2), atol=1e-5 * max(scale, 1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), later=st.integers(-50, 100_000))
def test_time_may_run_backwards_or_start_later(seed: int, later: int) -> None:
    scene = walkers(0.04, seed, tracks=3, length=40)
    np.testing.assert_allclose(smooth_tracks(-scene.frame, scene.seen, scene.track), scene.smoothed(), atol=1e-5)
    np.testing.assert_allclose(smooth_tracks(scene.frame + later, scene.seen, scene.track), scene.smoothed(), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_names_of_tracks_and_order_of_rows_do_not_matter(seed: int) -> None:
    scene = walkers(0.04, seed, tracks=4, length=30)
    rng = np.random.default_rng(seed)
    names, order = rng.permutation(50)[:4], rng.permutation(len(scene.frame))
    smoothed = smooth_tracks(scene.frame[order], scene.seen[order], names[scene.track][order])
    np.testing.assert_allclose(smoothed, scene.smoothed()[order], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), wildness=st.floats(0, 3))
def test_any_boxes_come_out_finite_and_with_area(seed: int, wildness: float) -> None:
    rng = np.random.default_rng(seed)
    cell = rng.choice(200, rng.integers(1, 80), replace=False)
    centre = rng.normal(0, 10 ** rng.uniform(0, 3), (len(cell), 2))
    size = np.exp(wildness * rng.standard_normal((len(cell), 2)))
    xyxy = np.concatenate([centre - size / 2, centre + size / 2], 1)
    weight = 10 ** (3 * wildness * rng.uniform(-1, 1, len(cell)))
    smoothed = smooth_tracks(cell % 40 * rng.integers(1, 50), xyxy, cell // 40, weight=weight)
    assert np.isfinite(smoothed).all()
    assert (smoothed[:, 2:] > smoothed[:, :2]).all()


def test_the_same_boxes_give_the_same_result_in_parts_or_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = walkers(0.04)
    whole = scene.smoothed()
    np.testing.assert_array_equal(scene.smoothed(), whole)
    monkeypatch.setattr(smoothing, "PART_ROWS", 150)
    np.testing.assert_allclose(scene.smoothed(), whole, atol=1e-9)


def test_type_and_order_of_the_boxes_are_kept() -> None:
    scene = walkers(0.04, tracks=2)
    smoothed = smooth_tracks(scene.frame, scene.seen.astype(np.float32), scene.track)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed, scene.smoothed(), atol=0.01)
    assert smooth_tracks([0], np.array([[0, 0, 2, 2]]), [0]).dtype == np.float64


@pytest.mark.parametrize("length", [0, 1, 2])
def test_tracks_of_one_or_two_boxes_stay_as_they_are(length: int) -> None:
    scene = walkers(0.05, tracks=4, length=max(length, 1), misses=0.0)
    rows = slice(0, None if length else 0)
    smoothed = smooth_tracks(scene.frame[rows], scene.seen[rows], scene.track[rows])
    np.testing.assert_allclose(smoothed, scene.seen[rows], atol=1e-9)


def test_short_tracks_among_long_ones_are_treated_mildly() -> None:
    long, short = walkers(0.03, tracks=6), walkers(0.03, seed=1, tracks=6, length=3, misses=0.0)
    smoothed = smooth_tracks(
        np.concatenate([long.frame, short.frame]),
        np.concatenate([long.seen, short.seen]),
        np.concatenate([long.track, short.track + 10]),
    )[len(long.frame) :]
    assert rms(smoothed, short.truth) < rms(short.seen, short.truth)
    assert iou(smoothed, short.seen).min() > 0.7


def test_bad_rows_are_named() -> None:
    frame, track = np.array([3, 4]), np.array([5, 5])
    boxes = np.array([[0.0, 0, 2, 2], [1, 1, 3, 3]])
    with pytest.raises(InputError, match=r"row 1 \(frame 4, track 5\)"):
        smooth_tracks(frame, boxes * [[1], [np.nan]], track)
    with pytest.raises(InputError, match=r"row 0 \(frame 3, track 5\)"):
        smooth_tracks(frame, boxes[:, [2, 1, 0, 3]] * [[1], [1]], track)
    with pytest.raises(InputError, match="weights positive"):
        smooth_tracks(frame, boxes, track, weight=[1.0, 0.0])
    with pytest.raises(InputError, match=r"track 5 has two boxes in frame 3 \(row 1\)"):
        smooth_tracks([3, 3], boxes, track)
    with pytest.raises(InputError, match="they must agree"):
        smooth_tracks(frame, boxes, track[:1])
