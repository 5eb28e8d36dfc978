"""Simulated scenes: objects that move through a perspective world and hide each other, as true boxes over time.

One scene is a ground plane seen by a pinhole camera (resting, hand-held or driving) with people or cars on it. It knows
no pixels; ``streams`` lets an imperfect detector look at it. All arrays are (T, n): frames by objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Array = NDArray[np.float64]
Generator = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """True boxes of all objects in all frames.

    Attributes:
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        frame_rate: frames per second.
        xyxy: (T, n, 4) float64, amodal boxes in pixels (may leave the image).
        depth: (T, n) float64, metres from the camera.
        present: (T, n) bool, whether the object is in view (hidden by others or not).
        visibility: (T, n) float64 in [0, 1], share of the box that nothing nearer covers.
        camera: (T, 3) float64, shift in x and y (pixels) and forward way (metres) of the camera.
        ground: focal length (pixels), horizon (pixels) and camera height (metres).
    """

    width: float
    height: float
    frame_rate: float
    xyxy: Array
    depth: Array
    present: NDArray[np.bool_]
    visibility: Array
    camera: Array
    ground: tuple[float, float, float]


@overload
def log_uniform(rng: Generator, low: float, high: float, size: None = None) -> float: ...
@overload
def log_uniform(rng: Generator, low: float, high: float, size: int | tuple[int, ...]) -> Array: ...
def log_uniform(rng: Generator, low: float, high: float, size: int | tuple[int, ...] | None = None) -> float | Array:
    """Uniform in the logarithm between low and high."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def correlated_noise(rng: Generator, frames: int, columns: int, time_constant: float) -> Array:
    """(T, n) stationary first-order noise of unit variance; ``time_constant`` in frames."""
    keep = np.exp(-1.0 / max(time_constant, 1e-3))
    shocks = rng.standard_normal((frames, columns))
    shocks[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], shocks, axis=0)


def simulate_scene(rng: Generator, num_frames: int, density: float, frame_rate: float, people: bool) -> Scene:
    """One scene with about ``density`` objects in view at a time."""
    width, height = [(640, 480), (768, 576), (1280, 720), (1920, 1080), (1242, 375), (1224, 370)][rng.integers(6)]
    camera, ground, speed = _camera(rng, num_frames, frame_rate, width, height, people)
    focal, horizon, eye = ground
    count = int(np.clip(density * 14 + 30, 30, 900))
    x, depth = _paths(rng, num_frames, count, frame_rate, people, camera, ground, width, height, speed)
    safe = np.maximum(depth, 0.5)
    tall = rng.normal(1.7, 0.12, count) if people else rng.normal(1.55, 0.15, count)
    high = focal * tall / safe
    aspect = _aspect(rng, num_frames, count, frame_rate, people)
    wide = high * aspect
    centre = width / 2 + focal * x / safe + camera[:, :1]
    feet = horizon + focal * eye / safe + camera[:, 1:2]
    xyxy = np.stack([centre - wide / 2, feet - high, centre + wide / 2, feet], -1)
    inside = np.clip(np.minimum(xyxy[..., 2], width) - np.maximum(xyxy[..., 0], 0), 0, None) * np.clip(
        np.minimum(xyxy[..., 3], height) - np.maximum(xyxy[..., 1], 0), 0, None
    )
    present = (depth > 1.0) & (inside > rng.uniform(0.2, 0.7) * wide * high)
    present &= (high > log_uniform(rng, 0.02, 0.15) * height) & (high < 1.4 * height)
    present &= _lifetimes(rng, num_frames, count, frame_rate)
    keep = _choose(present, density)
    xyxy, depth, present = xyxy[:, keep], depth[:, keep], present[:, keep]
    visibility = _visibility(rng, xyxy, depth, present, width, height)
    return Scene(width, height, frame_rate, xyxy, depth, present, visibility, camera, ground)


def _camera(
    rng: Generator, frames: int, rate: float, width: int, height: int, people: bool
) -> tuple[Array, tuple[float, float, float], float]:
    """Way of the camera (T, 3), the ground it sees, and its mean forward speed in m/s."""
    kind = rng.choice(3, p=[0.5, 0.3, 0.2] if people else [0.25, 0.1, 0.65])
    elevated = rng.random() < (0.45 if people else 0.2)
    eye = rng.uniform(3.0, 9.0) if elevated else rng.uniform(1.1, 2.2)
    horizon = height * (rng.uniform(-0.3, 0.4) if elevated else rng.uniform(0.35, 0.55))
    focal = width * rng.uniform(0.6, 1.5)
    shift = np.zeros((frames, 2))
    speed = 0.0
    if kind >= 1:
        amount = height * log_uniform(rng, 0.002, 0.05) * np.array([2.0, 1.0])
        shift += correlated_noise(rng, frames, 2, rate * rng.uniform(0.5, 3.0)) * amount
        shift += correlated_noise(rng, frames, 2, rate * rng.uniform(0.05, 0.3)) * amount * rng.uniform(0.02, 0.2)
        if rng.random() < 0.5:
            turn = np.cumsum(correlated_noise(rng, frames, 1, rate * 2.0), 0) / rate
            shift[:, :1] += turn * width * rng.uniform(0.02, 0.2)
    if kind == 2:
        speed = rng.uniform(0.3, 1.5) if people else rng.uniform(0.0, 14.0)
    change = 1 + 0.3 * correlated_noise(rng, frames, 1, rate * 4.0)
    forward = np.cumsum(speed * np.maximum(change, 0.0) / rate, 0)
    return np.concatenate([shift, forward], 1), (focal, horizon, eye), speed


def _paths(
    rng: Generator, frames: int, count: int, rate: float, people: bool, camera: Array,
    ground: tuple[float, float, float], width: int, height: int, speed: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Sideways position and depth of every object in metres, both (T, n), seen from the camera."""
    focal, horizon, eye = ground
    size = 1.7 if people else 1.55
    nearest = max(focal * size / (0.9 * height), focal * eye / max(1.05 * height - horizon, 1.0), 1.5)
    farthest = min(focal * size / (0.035 * height), nearest * rng.uniform(3.0, 20.0))
    depth0 = log_uniform(rng, nearest, max(farthest, nearest * 1.5), count)
    column = rng.uniform(-0.05, 1.05, count) * width
    moment = rng.uniform(-0.05, 1.05, count) * frames
    pace = np.abs(rng.normal(1.3, 0.35, count)) if people else log_uniform(rng, 2.0, 18.0, count)
    pace *= rng.random(count) > (rng.uniform(0, 0.4) if people else rng.uniform(0.1, 0.6))
    main = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.3)
    angle = np.where(rng.random(count) < 0.7, main + rng.choice([0, np.pi], count), rng.uniform(0, 2 * np.pi, count))
    angle += rng.normal(0, 0.15, count)
    follow = np.flatnonzero(rng.random(count) < rng.uniform(0, 0.5))  # companions of the object before them
    follow = follow[follow > 0]
    depth0[follow] = depth0[follow - 1] + rng.normal(0, 0.5, len(follow))
    depth0 = np.maximum(depth0, 1.2)
    column[follow] = column[follow - 1] + focal / depth0[follow] * rng.normal(0, 0.8, len(follow))
    moment[follow] = moment[follow - 1]
    pace[follow], angle[follow] = pace[follow - 1], angle[follow - 1]
    wander = rng.uniform(0.02, 0.35) * (1.0 if people else 2.0)
    noise = correlated_noise(rng, frames, 2 * count, rate * rng.uniform(0.6, 3.0)) * wander
    stop = _pauses(rng, frames, count, rate)
    heading = angle + _turns(rng, frames, count, rate, people)
    velocity_x = pace * np.cos(heading) * stop + noise[:, :count] * (pace > 0)
    velocity_z = pace * np.sin(heading) * stop + noise[:, count:] * (pace > 0)
    at = np.clip(moment, 0, frames - 1).astype(int)
    late = (moment - at) / rate

    def integrate(velocity: Array, start: Array) -> Array:
        way = np.cumsum(velocity, 0) / rate
        columns = np.arange(count)
        return way - way[at, columns] + start - velocity[at, columns] * late

    x0 = (column - width / 2) * depth0 / focal
    forward = camera[:, 2:3]
    depth = integrate(velocity_z, depth0) - (forward - forward[at].T)
    return integrate(velocity_x, x0), depth


def _turns(rng: Generator, frames: int, count: int, rate: float, people: bool) -> Array:
    """(T, n) change of heading in radians: slow bends, and now and then somebody turns round."""
    bend = correlated_noise(rng, frames, count, rate * rng.uniform(1.0, 5.0)) * rng.uniform(
        0.0, 0.6 if people else 0.25
    )
    when = rng.uniform(0, frames, count)
    sharp = np.where(
        rng.random(count) < (rng.uniform(0, 0.3) if people else 0.05), rng.uniform(-np.pi, np.pi, count), 0.0
    )
    return bend + sharp / (1 + np.exp(-(np.arange(frames)[:, None] - when) / (0.25 * rate)))


def _pauses(rng: Generator, frames: int, count: int, rate: float) -> Array:
    """(T, n) factor of the pace: some objects stop and go."""
    level = correlated_noise(rng, frames, count, rate * 4.0)
    limit = np.where(rng.random(count) < 0.2, rng.uniform(0.0, 1.5, count), 10.0)
    return np.clip(2 * (limit - level), 0.0, 1.0)


def _aspect(rng: Generator, frames: int, count: int, rate: float, people: bool) -> Array:
    """(T, n) width over height: the gait of people, the turning of cars."""
    if people:
        step = np.sin(
            2 * np.pi * rng.uniform(0.7, 1.1, count) * np.arange(frames)[:, None] / rate + rng.uniform(0, 6, count)
        )
        return rng.normal(0.38, 0.04, count).clip(0.25) * (1 + rng.uniform(0.0, 0.25, count) * step)
    slow = correlated_noise(rng, frames, count, rate * 5.0)
    return np.clip(rng.uniform(1.0, 2.3, count) * np.exp(0.12 * slow), 0.7, 3.0)


def _lifetimes(rng: Generator, frames: int, count: int, rate: float) -> NDArray[np.bool_]:
    """(T, n): some objects appear or vanish inside the image (doors, vehicles)."""
    busy = rng.uniform(0.0, 0.4)
    start = np.where(rng.random(count) < busy, rng.uniform(0, frames, count), -1)
    end = np.where(rng.random(count) < busy, rng.uniform(0, frames, count), frames + 1)
    time = np.arange(frames)[:, None]
    return (time >= start) & (time <= np.where(end < start, start + 2 * rate, end))


def _choose(present: NDArray[np.bool_], density: float) -> NDArray[np.bool_]:
    """The first objects that together reach the density wished for, but at least one that is ever seen."""
    share = present.mean(0)
    seen = present.sum(0) >= 2
    keep = seen & (np.cumsum(share * seen) <= density)
    if not keep.any() and seen.any():
        keep[np.flatnonzero(seen)[0]] = True
    return keep


def _visibility(
    rng: Generator, xyxy: Array, depth: Array, present: NDArray[np.bool_], width: float, height: float
) -> Array:
    """(T, n) share of each box inside the image that neither a nearer object nor a fixed occluder covers."""
    bars = int(rng.integers(0, 4))
    left = rng.uniform(0, width, bars)
    fixed = np.stack([left, rng.uniform(-0.5, 0.6, bars) * height, left + width * log_uniform(rng, 0.01, 0.12, bars),
                      np.full(bars, height * 2.0)], -1)  # fmt: skip
    others = np.concatenate([xyxy, np.broadcast_to(fixed, (len(xyxy), bars, 4))], 1)
    far = np.quantile(depth[present], rng.uniform(0.2, 0.9)) if present.any() else 1.0
    other_depth = np.concatenate([depth, np.full((len(xyxy), bars), far)], 1)
    there = np.concatenate([present, np.ones((len(xyxy), bars), bool)], 1)
    area = (xyxy[..., 2] - xyxy[..., 0]) * (xyxy[..., 3] - xyxy[..., 1])
    low = np.maximum(xyxy[:, :, None, :2], others[:, None, :, :2])
    high = np.minimum(xyxy[:, :, None, 2:], others[:, None, :, 2:])
    covered = np.clip(high - low, 0, None).prod(-1) / np.maximum(area, 1e-6)[:, :, None]
    nearer = (other_depth[:, None, :] < depth[:, :, None] - 1e-9) & there[:, None, :]
    return np.prod(1 - np.clip(covered * nearer, 0, 1), -1) * present
