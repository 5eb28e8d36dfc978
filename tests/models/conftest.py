"""What the tests of the model share: the easiest world that has tracks in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from spam_plugin.models.columns import Candidates, VideoInfo

Walkers = Callable[..., tuple[VideoInfo, Candidates, np.ndarray]]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def walkers() -> Walkers:
    """Makes well separated objects that walk to the right, one a row of the image, and who is behind each candidate."""
    return make_walkers


def make_walkers(
    seed: int = 0, num_frames: int = 60, objects: int = 3, miss: float = 0.1, false: float = 0.3, start: int = 0
) -> tuple[VideoInfo, Candidates, np.ndarray]:
    """Candidates with misses and, per frame, ``false`` false boxes on average; objects are there from ``start`` on.

    Scores are multiples of 1/256, so that scaling them loses nothing.
    """
    rng = np.random.default_rng(seed)
    frame, who = np.divmod(np.arange((num_frames - start) * objects), objects)
    seen = rng.random(len(frame)) >= miss
    frame, who = frame[seen] + start, who[seen]
    centre = np.stack([100.0 + 4 * (frame - start) + 40 * who, 150.0 + 250 * who], 1)
    centre += rng.normal(0, 1, centre.shape)
    half = np.array([25.0, 60.0]) * np.exp(rng.normal(0, 0.02, centre.shape))
    wrong = rng.poisson(false * num_frames)
    frame = np.concatenate([frame, rng.integers(0, num_frames, wrong)])
    who = np.concatenate([who, np.full(wrong, -1)])
    centre = np.concatenate([centre, rng.uniform(50, 900, (wrong, 2))])
    half = np.concatenate([half, rng.uniform(10, 90, (wrong, 2))])
    score = np.where(who >= 0, rng.integers(150, 256, len(who)), rng.integers(0, 120, len(who))) / 256
    order = np.argsort(frame, kind="stable")
    xyxy = np.concatenate([centre - half, centre + half], 1)[order].astype(np.float32)
    candidates = Candidates(
        frame[order].astype(np.int64), xyxy, score[order].astype(np.float32), np.zeros(len(order), np.int64)
    )
    return VideoInfo(f"walkers-{seed}", num_frames, 1000, 1000, 25.0), candidates, who[order]
