"""A film of two striped figures that move past noise, and a tiny tracker, for tests of what learns from it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.spot.network import TrackerConfig, TrackerNetwork

TINY = TrackerConfig(32, 64, widths=(8, 16, 16), channels=32, layers=1, heads=2, hidden=32)
LENGTH, WIDTH, HEIGHT = 40, 200, 120


def place(track: int, frame: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom: the first figure goes right, the second left, below it."""
    x = 10 + 4 * frame if track == 0 else 160 - 3 * frame
    y = (20 if track == 0 else 75) + round(5 * np.sin(frame / 4 + track))
    return x, y, x + 24, y + 30


@cache
def picture(frame: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(7)
    image = rng.integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for track, colours in enumerate([((230, 40, 40), (250, 200, 40)), ((40, 60, 230), (40, 230, 200))]):
        x1, y1, x2, y2 = place(track, frame)
        for row, y in enumerate(range(y1, y2, 6)):
            image[y : min(y + 6, y2), max(x1, 0) : max(x2, 0)] = colours[row % 2]
    return image


def tiny_tracker(seed: int = 0) -> Tracker:
    """One that has learnt nothing yet."""
    torch.manual_seed(seed)
    return Tracker(TrackerNetwork(TINY), "tiny")
