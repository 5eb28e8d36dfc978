"""Boxes out of cells: against a slow decoder, a slow suppression, and OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.detector.decoding import decode, pairwise_iou, suppress
from spam_plugin.models.detector.network import cell_grid


def iou(a: np.ndarray, b: np.ndarray) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    tall = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * tall
    return wide * tall / max(union, 1e-9)


def slow_suppress(xyxy: np.ndarray, class_index: np.ndarray, alive: np.ndarray, overlap: float) -> list[int]:
    kept: list[int] = []
    for index in np.flatnonzero(alive):
        rivals = [k for k in kept if class_index[k] == class_index[index]]
        if all(iou(xyxy[k], xyxy[index]) <= overlap for k in rivals):
            kept.append(int(index))
    return kept


def some_boxes(seed: int, number: int) -> np.ndarray:
    """Boxes that crowd, on quarters of a pixel so that overlaps are exact."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 60, (number, 2)) / 4
    return np.hstack([low, low + rng.integers(4, 60, (number, 2)) / 4]).astype(np.float32)


@given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0]), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_suppression_keeps_what_the_greedy_rule_keeps(seed: int, number: int, overlap: float, classes: int) -> None:
    rng = np.random.default_rng(seed + 1)
    images = [some_boxes(seed + n, number) for n in range(2)]
    class_index, alive = rng.integers(0, classes, (2, number)), rng.random((2, number)) < 0.9
    kept = suppress(torch.from_numpy(np.stack(images)), torch.from_numpy(class_index), torch.from_numpy(alive), overlap)
    for n in range(2):
        assert np.flatnonzero(kept[n]).tolist() == slow_suppress(images[n], class_index[n], alive[n], overlap)


def test_suppression_agrees_with_opencv() -> None:
    boxes = some_boxes(7, 120)
    score = np.linspace(0.9, 0.1, 120)
    given_to_cv = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(float)
    expected = cv2.dnn.NMSBoxes(given_to_cv.tolist(), score.tolist(), 0.0, 0.45)
    everywhere = torch.ones(1, 120, dtype=torch.bool)
    kept = suppress(torch.from_numpy(boxes)[None], torch.zeros(1, 120, dtype=torch.int64), everywhere, 0.45)
    assert 10 < len(expected) < 110
    assert np.flatnonzero(kept[0]).tolist() == sorted(np.asarray(expected).tolist())


def test_a_chain_of_overlapping_boxes_loses_every_second_one() -> None:
    xyxy = torch.tensor([[4.0 * n, 0, 4.0 * n + 10, 10] for n in range(9)])
    kept = suppress(xyxy[None], torch.zeros(1, 9, dtype=torch.int64), torch.ones(1, 9, dtype=torch.bool), 0.4)
    assert kept[0].tolist() == [True, False] * 4 + [True]


def test_overlaps_of_pairs_are_those_of_the_slow_formula() -> None:
    a, b = some_boxes(1, 9), some_boxes(2, 7)
    expected = [[iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(pairwise_iou(torch.from_numpy(a), torch.from_numpy(b)), expected, rtol=1e-5)


@pytest.mark.parametrize(("least", "most"), [(0.3, 300), (0.05, 4), (0.999, 300)])
def test_decoding_agrees_with_a_slow_one(least: float, most: int) -> None:
    generator = torch.Generator().manual_seed(5)
    centre, stride = cell_grid(64, 96)
    logits = torch.randn(2, len(centre), 2, generator=generator)
    distances = torch.randn(2, len(centre), 4, generator=generator)
    found = decode(logits, distances, centre, stride, least, 0.5, most)
    for image in range(2):
        rows = []
        for cell in range(len(centre)):
            reach = np.exp(np.clip(distances[image, cell].numpy(), -2, 4)) * float(stride[cell])
            x, y = centre[cell].tolist()
            for name in range(2):
                score = 1 / (1 + np.exp(-float(logits[image, cell, name])))
                box = [x - reach[0], y - reach[1], x + reach[2], y + reach[3]]
                if score >= least:
                    rows.append((score, name, box))
        rows.sort(key=lambda row: -row[0])
        xyxy, names = np.array([row[2] for row in rows]).reshape(-1, 4), np.array([row[1] for row in rows], int)
        kept = slow_suppress(xyxy, names, np.ones(len(rows), bool), 0.5)[:most]
        mine = found.image == image
        np.testing.assert_allclose(found.xyxy[mine], xyxy[kept], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found.score[mine], [rows[k][0] for k in kept], rtol=1e-5)
        assert found.class_index[mine].tolist() == names[kept].tolist()
