"""How the camera and the objects of a rendered video move, over all frames at once.

The world is a ground plane in metres: x to the right, z away from where the camera starts. Columns are (T,) or (T, n).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from .scenes import correlated_noise, log_uniform

Array = NDArray[np.float64]

#: Metres: where people walk, where cars drive (one lane per depth), and the range in which anything is drawn.
PEOPLE_DEPTH, LANES, DRAWN_DEPTH = (6.5, 26.0), (11.0, 14.5, 18.0), (2.5, 60.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the ground.

    Attributes:
        focal: in pixels, at zoom 1.
        eye: metres above the ground.
        horizon: pixels from the middle of the image to the horizon, downwards, at zoom 1.
        shift: (T, 2) pixels that looking around moves the picture by.
        zoom: (T,) factor.
        place: (T, 2) metres, x and z.
    """

    focal: float
    eye: float
    horizon: float
    shift: Array
    zoom: Array
    place: Array


@dataclass(frozen=True)
class Paths:
    """Where every object is in every frame.

    Attributes:
        x: (T, n) metres.
        z: (T, n) metres.
        way: (T, n) metres walked since the first frame; drives the stride.
        right: (T, n) bool, whether the object faces right.
    """

    x: Array
    z: Array
    way: Array
    right: NDArray[np.bool_]


def move_camera(
    rng: np.random.Generator, motion: str, num_frames: int, frame_rate: float, width: int, height: int
) -> Camera:
    """The way of a camera: "still", trembling in a hand ("shake"), looking around ("pan") or carried along ("walk")."""
    time = np.arange(num_frames) / frame_rate
    shift, place, zoom = np.zeros((num_frames, 2)), np.zeros((num_frames, 2)), np.ones(num_frames)
    start = rng.uniform(0, 2 * np.pi, 4)
    if motion != "still":
        tremble = correlated_noise(rng, num_frames, 4, 0.12 * frame_rate)
        slow = correlated_noise(rng, num_frames, 4, 0.8 * frame_rate)
        shift += height * (0.002 * tremble[:, :2] + 0.006 * slow[:, :2])
    if motion == "pan":
        shift[:, 0] += 0.16 * width * np.sin(0.55 * time + start[0])
        zoom += 0.12 * np.sin(0.35 * time + start[1])
    if motion == "walk":
        place[:, 1] += 0.9 * time
        place[:, 0] += 0.35 * np.sin(0.4 * time + start[2])
        shift[:, 1] += 0.008 * height * np.sin(2 * np.pi * 1.8 * time + start[3])
    return Camera(0.9 * width, 1.9 if motion == "walk" else 3.2, -0.25 * height, shift, zoom, place)


def walk(rng: np.random.Generator, camera: Camera, num_frames: int, count: int, rate: float, width: int) -> Paths:
    """People who stroll mostly sideways, alone or side by side, and some of whom stop for a while."""
    middle = rng.integers(0, num_frames, count)  # the frame in which each is in the middle of its stay
    depth = log_uniform(rng, *PEOPLE_DEPTH, count)
    across = rng.uniform(-0.45, 0.45, count)
    pace = rng.normal(1.3, 0.25, count).clip(0.5)
    angle = rng.choice([0.0, np.pi], count) + rng.normal(0, 0.35, count)
    partner = 1 + 2 * np.flatnonzero(rng.random(count // 2) < 0.4)  # walks beside the one before
    depth[partner] = depth[partner - 1] + rng.uniform(0.3, 0.8, len(partner))
    across[partner] = across[partner - 1] + rng.uniform(-0.05, 0.05, len(partner))
    middle[partner], pace[partner], angle[partner] = middle[partner - 1], pace[partner - 1], angle[partner - 1]
    pauses = correlated_noise(rng, num_frames, count, 2.5 * rate) > np.where(rng.random(count) < 0.25, 0.3, 9.0)
    speed = pace * (1 - uniform_filter1d(pauses.astype(float), max(int(0.6 * rate), 1), axis=0))
    turned = angle + 0.35 * correlated_noise(rng, num_frames, count, 2.0 * rate)
    step = np.stack([speed * np.cos(turned), speed * np.sin(turned)]) / rate
    place = np.cumsum(step, 1)
    own = np.arange(count)
    start = np.stack([across * width / camera.focal * depth, depth]) + camera.place[middle].T
    place += (start - place[:, middle, own])[:, None]
    z = PEOPLE_DEPTH[0] + np.abs(place[1] - PEOPLE_DEPTH[0])
    right = uniform_filter1d(step[0], max(int(rate), 1), axis=0, mode="nearest") > 0
    return Paths(place[0], z, np.cumsum(speed / rate, 0), right)


def drive(rng: np.random.Generator, camera: Camera, num_frames: int, count: int, rate: float, width: int) -> Paths:
    """Cars in lanes, one behind the other; some are parked behind the farthest lane."""
    lane = rng.integers(0, len(LANES), count)
    parked = rng.random(count) < 0.2
    depth = np.where(parked, LANES[-1] + 4.5, np.array(LANES)[lane])
    heading = np.where(lane == 0, 1.0, -1.0)
    lane_speed = rng.uniform(4.0, 9.0, len(LANES))[lane] * ~parked
    duration = num_frames / rate
    seen = width / camera.focal * depth
    # Cars of a lane share its speed and stand in a queue, so that they pass the camera one after another, never through
    # each other: the place in the queue is the rank within the lane.
    group = np.where(parked, len(LANES), lane)
    rank = np.tril(group[:, None] == group, -1).sum(1)
    gap = np.where(parked, 7.0, np.maximum(8.5, (seen + lane_speed * duration) / np.maximum(count / len(LANES), 1)))
    queue = rank * gap + rng.uniform(0, 2.5, count)
    start = np.where(parked, queue - 0.5 * seen, heading * (0.5 * seen - queue))
    stop = 1 - 0.5 * np.clip(correlated_noise(rng, num_frames, len(LANES), 1.5 * rate)[:, lane], 0, 1)
    way = np.cumsum(lane_speed * stop / rate, 0)
    x = start + heading * way
    z = np.broadcast_to(depth, x.shape) + 0.0
    return Paths(x, z, way, np.broadcast_to(heading > 0, x.shape))


def project(camera: Camera, x: Array, z: Array, tall: Array, wide: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Amodal boxes of things that stand on the ground.

    Args:
        camera: as it moves.
        x: (T, n) metres.
        z: (T, n) metres.
        tall: (n,) metres.
        wide: (n,) metres.
        size: width and height of the image in pixels.

    Returns:
        (T, n, 4) xyxy in pixels and (T, n) depth in metres; boxes mean nothing where the depth is not positive.
    """
    depth = z - camera.place[:, 1:]
    scale = camera.focal * camera.zoom[:, None] / np.maximum(depth, 0.1)
    shift = camera.zoom[:, None] * camera.shift
    centre = size[0] / 2 + shift[:, :1] + scale * (x - camera.place[:, :1])
    horizon = size[1] / 2 + shift[:, 1:] + camera.zoom[:, None] * camera.horizon
    feet = horizon + scale * camera.eye
    half = scale * wide / 2
    return np.stack([centre - half, feet - scale * tall, centre + half, feet], -1), depth
