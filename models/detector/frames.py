"""Pictures to learn detection from: frames of the project's renderer, of many scenes, sizes and cameras.

A round is a handful of short films at a few frames a second, so that one drawing of the figures serves many different
pictures; each picture is cut several times. A round is decided by the seed and its number alone, so that a training
that was interrupted sees the same pictures again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..synthetic.render import RenderedFrame, RenderSettings, render
from .augmentation import Scene, vary
from .losses import Objects

#: Objects that a training picture may hold; of more, the least visible are left out.
MOST_OBJECTS = 64

_SIZES = ((320, 180), (320, 240), (416, 240), (480, 270), (480, 360), (640, 360), (360, 480), (640, 480))
_CAMERAS = ("still", "shake", "pan", "walk")


@dataclass(frozen=True)
class Round:
    """Pictures and their objects, in the order in which they are learnt from.

    Attributes:
        images: (K, side, side, 3) uint8, RGB.
        xyxy: (K, 64, 4) float32 pixels.
        class_index: (K, 64) int64; -1 for padding.
        visibility: (K, 64) float32.
        weight: (K, 64) float32.
        complete: (K,) bool.
    """

    images: NDArray[np.uint8]
    xyxy: NDArray[np.float32]
    class_index: NDArray[np.int64]
    visibility: NDArray[np.float32]
    weight: NDArray[np.float32]
    complete: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, first: int, count: int) -> tuple[torch.Tensor, Objects]:
        """Images (B, side, side, 3) uint8 and their objects."""
        part = slice(first, first + count)
        most = max(int((self.class_index[part] >= 0).sum(1).max(initial=0)), 1)
        found = [each[part, :most] for each in (self.xyxy, self.class_index, self.visibility)]
        if (self.weight[part, :most] != 1).any():
            found.append(self.weight[part, :most])
        complete = None if self.complete[part].all() else torch.from_numpy(self.complete[part])
        objects = Objects(*(torch.from_numpy(each) for each in found))
        return torch.from_numpy(self.images[part]), replace(objects, complete=complete)


def draw_settings(rng: np.random.Generator, sizes: tuple[tuple[int, int], ...] = _SIZES) -> RenderSettings:
    """What to film next: every kind of scene, camera, size and density that the renderer knows."""
    width, height = sizes[rng.integers(len(sizes))]
    road = rng.random() < 0.45
    return RenderSettings(
        num_frames=16,
        width=width,
        height=height,
        frame_rate=float(rng.uniform(1.0, 4.0)),
        scene="road" if road else "street",
        num_objects=int(rng.integers(3, 24) if road else rng.integers(3, 40)),
        num_occluders=int(rng.integers(0, 8)),
        camera=_CAMERAS[rng.integers(len(_CAMERAS))],
        light_change=float(rng.uniform(0, 0.3)),
    )


def scene_of(frame: RenderedFrame) -> Scene:
    """A rendered frame as the detector's training knows it: RGB, and rows of the truth instead of tracks."""
    row = np.full(int(max(frame.owner.max(initial=-1), frame.truth.track.max(initial=-1))) + 2, -1, np.int16)
    row[frame.truth.track] = np.arange(len(frame.truth))  # the last entry stands for "nobody" (-1)
    truth = frame.truth
    image = np.ascontiguousarray(frame.image[..., ::-1])
    return Scene(image, truth.xyxy, truth.class_index, truth.visibility, row[frame.owner])


def draw_round(seed: int, number: int, films: int, cuts: int, side: int) -> Round:
    """The pictures of one round.

    Args:
        seed: of the training.
        number: of the round.
        films: short films to render.
        cuts: pictures to cut out of each of a film's 16 frames.
        side: of the pictures, in pixels.
    """
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, number, 20_260])
    scenes = [
        vary(scene, side, rng)
        for _ in range(films)
        for scene in map(scene_of, render(draw_settings(rng), rng))
        for _ in range(cuts)
    ]
    return pack(scenes, rng.permutation(len(scenes)))


def pack(scenes: list[Scene], order: NDArray[np.int64] | None = None) -> Round:
    """Scenes of one size as arrays, in an order."""
    order = np.arange(len(scenes)) if order is None else order
    xyxy = np.zeros((len(scenes), MOST_OBJECTS, 4), np.float32)
    class_index = np.full((len(scenes), MOST_OBJECTS), -1, np.int64)
    visibility = np.zeros((len(scenes), MOST_OBJECTS), np.float32)
    weight = np.ones((len(scenes), MOST_OBJECTS), np.float32)
    for place, index in enumerate(order):  # pictures
        scene = scenes[index]
        kept = np.argsort(-scene.visibility, kind="stable")[:MOST_OBJECTS]
        for table, values in ((xyxy, scene.xyxy), (class_index, scene.class_index), (visibility, scene.visibility)):
            table[place, : len(kept)] = values[kept]
        if scene.weight is not None:
            weight[place, : len(kept)] = scene.weight[kept]
    images = np.stack([scenes[index].image for index in order])
    complete = np.array([scenes[index].complete for index in order])
    return Round(images, xyxy, class_index, visibility, weight, complete)


def rounds(seed: int, first: int, films: int, cuts: int, side: int, background: bool) -> Generator[Round, None, None]:
    """Endless rounds from number ``first`` on, the next one drawn in another process while this one is used.

    Close the iterator to end that process.
    """
    if not background:
        number = first
        while True:
            yield draw_round(seed, number, films, cuts, side)
            number += 1
    with ProcessPoolExecutor(1, get_context("spawn"), _end_with_parent) as pool:

        def ask(number: int) -> Future[Round]:
            return pool.submit(draw_round, seed, number, films, cuts, side)

        waiting = [ask(first)]
        number = first
        while True:
            number += 1
            waiting.append(ask(number))
            yield waiting.pop(0).result()


def _end_with_parent() -> None:
    """Have this process end when the one that asked for it is killed; a pool's own processes would wait for ever."""
    parent = parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()
