"""A stream of boxes of any length, made in one go: what the growth and memory benchmarks label.

Objects walk through the picture from one side to the other at constant speed, each seen with jitter and missed in one
frame of ten; one box of ten is nobody's.
"""

from __future__ import annotations

import numpy as np

from spam_plugin.models.columns import Candidates, VideoInfo

WIDTH, HEIGHT, FRAME_RATE = 1920.0, 1080.0, 30.0
CROSSING = (120, 480)  # frames that an object needs from side to side
MISSED = FALSE = 0.1
JITTER = 0.03  # of the box's size


def simulate(num_frames: int, boxes_per_frame: int, seed: int = 0) -> tuple[VideoInfo, Candidates]:
    """A video of ``num_frames`` frames with about ``boxes_per_frame`` candidates in each.

    Args:
        num_frames: length.
        boxes_per_frame: mean number of candidates of a frame, true and false together.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    # A box of ten missed and one of ten false cancel out: as many objects as boxes are in the picture.
    count = round(boxes_per_frame * (num_frames + CROSSING[1]) / np.mean(CROSSING))
    life = random.integers(*CROSSING, count)
    start = random.integers(-CROSSING[1], num_frames, count)
    depth = random.uniform(0.15, 1.0, count)  # near objects are large and low in the picture
    to_right = random.random(count) < 0.5

    owner = np.repeat(np.arange(count), life)
    age = np.arange(len(owner)) - np.repeat(np.cumsum(life) - life, life)
    frame = start[owner] + age
    kept = (frame >= 0) & (frame < num_frames) & (random.random(len(frame)) >= MISSED)
    owner, age, frame = owner[kept], age[kept], frame[kept]
    along = age / life[owner]
    x = np.where(to_right[owner], along, 1 - along) * WIDTH
    true = _boxes(x, depth[owner], random)

    false_count = round(FALSE * boxes_per_frame * num_frames)
    false = _boxes(random.uniform(0, WIDTH, false_count), random.uniform(0.15, 1.0, false_count), random)
    frame = np.concatenate([frame, random.integers(0, num_frames, false_count)])
    score = np.concatenate([random.normal(0.8, 0.12, len(true)), random.normal(0.45, 0.15, false_count)])
    order = np.argsort(frame, kind="stable")
    candidates = Candidates(
        frame[order].astype(np.int64),
        np.concatenate([true, false])[order],
        score[order].astype(np.float32),
        np.zeros(len(order), np.int64),
    )
    name = f"{num_frames} frames at {boxes_per_frame} boxes"
    return VideoInfo(name, num_frames, WIDTH, HEIGHT, FRAME_RATE), candidates


def _boxes(x: np.ndarray, depth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(N, 4) float32 jittered boxes of people whose feet stand where their depth says."""
    height = 300 * depth
    width = 0.4 * height
    noise = random.normal(0, JITTER, (4, len(x))).astype(np.float32)
    centre_x, centre_y = x + noise[0] * width, 200 + 650 * depth - height / 2 + noise[1] * height
    half_w, half_h = width * (1 + noise[2]).clip(0.5) / 2, height * (1 + noise[3]).clip(0.5) / 2
    return np.stack([centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], 1).astype(np.float32)
