"""Simulated tracks with the truth behind them, for choosing the smoother's constants without real sequences.

People who walk, turn, stop and swing their legs, seen at 7 to 30 frames per second by a camera that stands or is
carried; cars at 10 frames per second that approach, turn, brake and leave the image; cameras that shake; noise of 1 to
8 % of the size, independent from frame to frame or not, a few wild boxes, and a tenth of the boxes missing. And one to
three objects that kick, dance, or are filmed from the hand, where motion is easily taken for noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

FAMILIES = ("people, camera stands", "people, camera carried", "cars, 10 fps", "erratic, few tracks")
CAR_IMAGE = (1242.0, 375.0)
WARM_UP = 100


@dataclass(frozen=True)
class Scene:
    """Rows of all tracks of one simulated video.

    Attributes:
        family: one of ``FAMILIES``.
        noise: typical noise of its detector, relative to the size of a box.
        correlated: share of the noise's variance that lasts over several frames.
        frame: (N,) from 0.
        track: (N,) from 0.
        truth: (N, 4) xyxy in pixels.
        seen: (N, 4) what the detector says.
    """

    family: str
    noise: float
    correlated: float
    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    truth: NDArray[np.float64]
    seen: NDArray[np.float64]


@dataclass(frozen=True)
class _Camera:
    focal: float
    height: float
    speed: float
    frame_rate: float
    shake: NDArray[np.float64]  # (frames, 2) pixels


def simulate(family: str, seed: int, tracks: int = 16) -> Scene:
    """One video of up to 20 seconds, the same for the same seed."""
    rng = np.random.default_rng([FAMILIES.index(family), seed])
    camera = _camera(family, rng)
    swing = rng.choice([0.0, 0.5, 1.0])
    noise, correlated = np.exp(rng.uniform(np.log(0.01), np.log(0.08))), rng.choice([0.0, 0.5, 0.8])
    memory = rng.uniform(0.5, 0.9)
    erratic = "erratic" in family
    columns: list[tuple[NDArray, NDArray, NDArray, NDArray]] = []
    for track in range(rng.integers(1, 4) if erratic else tracks):
        length = int(np.exp(rng.uniform(np.log(0.5), np.log(20.0))) * camera.frame_rate) + 2
        if erratic:
            box, visible = _wild(length, camera, seed % 3, rng)
        elif "cars" in family:
            box, visible = _car(length, camera, rng)
        else:
            box, visible = _walker(length, camera, swing, rng)
        box = box[np.cumprod(visible).astype(bool)]
        seen = _detect(box, noise * np.exp(rng.normal(0, 0.3)), correlated, memory, rng)
        found = ~_bursts(len(box), 0.06, rng)
        columns.append((np.arange(len(box))[found], np.full(found.sum(), track), box[found], seen[found]))
    frame, label, truth, seen = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Scene(family, noise, correlated, frame, label, _corners(truth), _corners(seen))


def _camera(family: str, rng: np.random.Generator) -> _Camera:
    carried = "stands" not in family
    shake = np.zeros((2000, 2))
    if "cars" in family:
        focal, height, frame_rate, speed = 720.0, 1.65, 10.0, rng.uniform(0, 16) * (rng.random() < 0.8)
    elif "erratic" in family:
        focal, height, frame_rate, speed = 1000.0, 1.2, rng.choice([10.0, 25.0, 30.0]), 0.0
    elif carried:
        focal, height, frame_rate, speed = rng.uniform(500, 1400), 1.2, rng.choice([7.0, 14.0, 25.0, 30.0]), 0.0
        speed = rng.uniform(0, 1.5)
    else:
        focal, height, speed = rng.uniform(700, 2000), rng.choice([1.6, 4.0, 8.0]), 0.0
        frame_rate = rng.choice([7.0, 14.0, 15.0, 25.0, 30.0])
    if "erratic" in family:
        shake = _lasting(2000, rng.uniform(0.3, 0.95), 2, rng) * rng.uniform(3, 40)
    elif carried:
        jolts, pan = _lasting(2000, 0.7, 2, rng), np.cumsum(_lasting(2000, 0.98, 2, rng), 0)
        shake = (jolts * rng.uniform(0, 3) + pan * [rng.uniform(0, 3), 0.0]) * focal / 1000
    return _Camera(focal, height, speed, frame_rate, shake)


def _walker(length: int, camera: _Camera, swing: float, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """(n, 4) centre x, centre y, width, height of a person, and (n,) whether in front of the camera."""
    step = 1 / camera.frame_rate
    time = np.arange(length) * step
    speed = np.full(length, abs(rng.normal(1.1, 0.4)))
    if rng.random() < 0.3:  # stops and goes on
        speed *= np.resize(np.repeat(rng.integers(0, 2, 200), rng.integers(10, 200, 200)), length)
        ramp = max(1, int(0.5 * camera.frame_rate))
        speed = np.convolve(np.pad(speed, ramp, "edge"), np.ones(ramp) / ramp, "same")[ramp:-ramp]
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.15 * np.sqrt(step), length))
    for _ in range(rng.integers(0, 3)):  # turns within about a second
        heading += rng.uniform(-1.8, 1.8) / (1 + np.exp(-(time - rng.choice(time)) / 0.25))
    depth = rng.uniform(5, 30) + np.cumsum((speed * np.sin(heading) - camera.speed) * step)
    side = rng.uniform(-0.5, 0.5) * depth[0] + np.cumsum(speed * np.cos(heading) * step)
    stride = swing * speed / 1.2 * np.sin(2 * np.pi * rng.uniform(1.6, 2.1) * time + rng.uniform(0, 2 * np.pi))
    tall = rng.normal(1.72, 0.09)
    wide = tall * rng.uniform(0.32, 0.42) * np.exp(0.18 * stride * np.abs(np.cos(heading)))
    tall = tall + 0.03 * stride
    scale = camera.focal / np.maximum(depth, 0.1)
    shake = camera.shake[:length]
    centre_x = 960 + scale * side + shake[:, 0]
    centre_y = 500 + scale * (camera.height - tall / 2) + shake[:, 1]
    return np.stack([centre_x, centre_y, scale * wide, scale * tall], 1), depth > 2.5


def _car(length: int, camera: _Camera, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """The same for a car, cut at the border of the image."""
    step = 1 / camera.frame_rate
    time = np.arange(length) * step
    kind = rng.choice(3, p=[0.4, 0.3, 0.3])
    if kind == 0:  # parked
        approach = -camera.speed + np.cumsum(rng.normal(0, 0.6 * np.sqrt(step), length))
    elif kind == 1:  # oncoming
        approach = np.full(length, -camera.speed - rng.uniform(5, 15))
    else:  # ahead, braking and speeding up
        pedal = rng.normal(0, 1.5) * np.sin(2 * np.pi * time / rng.uniform(4, 10) + rng.uniform(0, 6))
        approach = np.cumsum(pedal * step) + rng.normal(0, 1.5)
    depth = rng.uniform(8, 55) + np.cumsum(approach * step)
    side = rng.choice([-1, 1]) * rng.uniform(2, 9) + rng.normal(0, 0.1) * time
    yaw = rng.normal(0, 0.15) + rng.choice([0, 0, np.pi / 2]) + np.cumsum(rng.normal(0, 0.05 * np.sqrt(step), length))
    if rng.random() < 0.3:  # takes a bend
        yaw += rng.uniform(-1, 1) / (1 + np.exp(-(time - time[length // 2]) / 0.7))
        side += np.cumsum(2 * np.sin(yaw) * step)
    long, wide, tall = rng.normal(4.3, 0.4), 1.75, rng.normal(1.5, 0.1)
    ends = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]]) * [wide / 2, long / 2]
    corner_x = side + ends[:, :1] * np.cos(yaw) + ends[:, 1:] * np.sin(yaw)
    corner_z = np.maximum(depth - ends[:, :1] * np.sin(yaw) + ends[:, 1:] * np.cos(yaw), 0.5)
    near, shift = corner_z.min(0), camera.shake[:length]
    across = CAR_IMAGE[0] / 2 + camera.focal * corner_x / corner_z + shift[:, 0]
    x1, x2 = across.min(0).clip(0, CAR_IMAGE[0]), across.max(0).clip(0, CAR_IMAGE[0])
    horizon = CAR_IMAGE[1] / 2 + shift[:, 1]
    y1 = (horizon + camera.focal * (camera.height - tall) / corner_z.max(0)).clip(0, CAR_IMAGE[1])
    y2 = (horizon + camera.focal * camera.height / near).clip(0, CAR_IMAGE[1])
    visible = (near > 1.5) & (x2 - x1 > 8) & (y2 - y1 > 8)
    return np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], 1), visible


def _wild(length: int, camera: _Camera, kind: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """The same for an object that is filmed from the hand (kind 0), kicks (1) or dances (2)."""
    time, size = np.arange(length)[:, None], rng.uniform(60, 150)
    if kind == 0:
        centre = time * rng.normal(0, 1, 2) + camera.shake[:length]
    elif kind == 1:  # a new velocity, or rest, every few frames
        since = np.maximum.accumulate(np.where(rng.random(length) < rng.uniform(0.03, 0.25), time[:, 0], 0))
        velocity = rng.standard_normal((length, 2)) * (rng.random((length, 1)) < 0.6)
        centre = np.cumsum(velocity[since] * size * rng.uniform(0.02, 0.25), 0)
    else:
        centre = size * rng.uniform(0.1, 0.6, 2) * np.sin(time * rng.uniform(0.1, 0.8, 2) + rng.uniform(0, 6, 2))
    growth = np.cumsum(_lasting(length, 0.9, 2, rng) * rng.uniform(0, 0.025), 0)
    sides = (np.exp(growth) * [0.6 * size, size]).clip(20, 400)
    return np.concatenate([300 + centre, sides], 1), np.ones(length, bool)


def _detect(box: NDArray, noise: float, correlated: float, memory: float, rng: np.random.Generator) -> NDArray:
    """Boxes with noise relative to their size, each coordinate with a level of its own, some of them wild."""
    level = noise * rng.uniform(0.5, 1.5, 4) * [1, 1, 1.4, 1.2]
    fresh, lasting = rng.standard_normal((len(box), 4)), _lasting(len(box), memory, 4, rng)
    error = level * (np.sqrt(1 - correlated) * fresh + np.sqrt(correlated) * lasting)
    wild = _bursts(len(box), 0.02, rng)
    error[wild] += rng.normal(0, 0.15, (wild.sum(), 4))
    return np.concatenate([box[:, :2] + error[:, :2] * box[:, 2:], box[:, 2:] * np.exp(error[:, 2:])], 1)


def _lasting(length: int, memory: float, columns: int, rng: np.random.Generator) -> NDArray:
    """(length, columns) of unit variance whose neighbours are correlated by ``memory``."""
    steps = rng.standard_normal((length + WARM_UP, columns)) * np.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], steps, axis=0)[WARM_UP:]


def _bursts(length: int, rate: float, rng: np.random.Generator) -> NDArray:
    """(length,) bool, true at ``rate`` and often once more right after."""
    hit = rng.random(length) < rate
    hit[1:] |= hit[:-1] & (rng.random(length) < 0.6)[1:]
    return hit


def _corners(box: NDArray) -> NDArray:
    return np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)
