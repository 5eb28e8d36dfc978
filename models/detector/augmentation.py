"""Vary a frame with known objects: crop, scale, flip, colours, blur, noise, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .losses import HIDDEN, VISIBLE

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        xyxy: (M, 4) float32, amodal boxes in pixels.
        class_index: (M,) int64.
        visibility: (M,) float32, share of each object's pixels that can be seen.
        owner: (H, W) int16, which row each pixel shows, or -1; None if nobody knows.
        weight: (M,) float32, how much each object counts; None if all count alike.
        complete: whether what is no object is background; else that is known of boxes of visibility 0 alone.
    """

    image: Image
    xyxy: NDArray[np.float32]
    class_index: NDArray[np.int64]
    visibility: NDArray[np.float32]
    owner: NDArray[np.int16] | None = None
    weight: NDArray[np.float32] | None = None
    complete: bool = True


def vary(scene: Scene, side: int, rng: np.random.Generator, scales: tuple[float, float] = (0.5, 3.0)) -> Scene:
    """A random square part of a scene at a random scale, mirrored half of the time, seen by another camera.

    Args:
        scene: what to vary.
        side: of the result, in pixels.
        rng: decides everything.
        scales: least and greatest magnification, drawn evenly on a logarithmic scale.

    Returns:
        A scene without ``owner`` and without objects of which nothing is inside.
    """
    height, width = scene.image.shape[:2]
    scale = float(np.exp(rng.uniform(*np.log(scales))))
    part = side / scale  # pixels of the original along each side
    # Wherever the part is smaller than the picture it lies inside; otherwise the picture lies inside the part.
    left, top = (rng.uniform(min(0.0, n - part), max(0.0, n - part)) for n in (width, height))
    image = _cut(scene.image, left, top, scale, side)
    xyxy = ((scene.xyxy - np.array([left, top, left, top])) * scale).astype(np.float32)
    inside = np.clip(np.minimum(xyxy[:, 2:], side) - np.maximum(xyxy[:, :2], 0), 0, None).prod(1)
    area = (xyxy[:, 2:] - xyxy[:, :2]).prod(1)
    if scene.owner is None:
        unclear = (scene.visibility >= HIDDEN) & (scene.visibility < VISIBLE)  # stays so, however little is inside
        share = np.where(unclear, inside > 0, inside / np.maximum(area, 1e-6))
    else:  # of the pixels that can be seen, those in the part
        x1, y1 = max(round(left), 0), max(round(top), 0)
        x2, y2 = max(round(left + part), 0), max(round(top + part), 0)
        share = _count(scene.owner[y1:y2, x1:x2], len(xyxy)) / np.maximum(_count(scene.owner, len(xyxy)), 1)
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        xyxy = np.stack([side - xyxy[:, 2], xyxy[:, 1], side - xyxy[:, 0], xyxy[:, 3]], 1)
    kept = (inside > 0) & (share > 0)
    visibility = (scene.visibility * np.minimum(share, 1)).astype(np.float32)
    weight = None if scene.weight is None else scene.weight[kept]
    return Scene(
        expose(image, rng),
        xyxy[kept],
        scene.class_index[kept],
        visibility[kept],
        weight=weight,
        complete=scene.complete,
    )


def expose(image: Image, rng: np.random.Generator) -> Image:
    """Another camera's picture of the same: colours, light, blur, noise, compression, each at times."""
    picture = image.astype(np.float32)
    if rng.random() < 0.8:
        grey = picture.mean(2, keepdims=True)
        picture = grey + (picture - grey) * np.float32(rng.uniform(0.3, 1.4))
        picture *= np.float32(np.exp(rng.normal(0, 0.08, 3)))
        picture = (picture - 127.5) * np.float32(rng.uniform(0.7, 1.3)) + np.float32(127.5 + rng.normal(0, 20))
    if rng.random() < 0.05:
        picture[:] = picture.mean(2, keepdims=True)
    if rng.random() < 0.25:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.3))), np.float32)
    if rng.random() < 0.3:
        picture += rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(1, 10))
    result = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = int(rng.integers(25, 90))
        packed = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        result = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return result


def _cut(image: Image, left: float, top: float, scale: float, side: int) -> Image:
    """(side, side, 3): the part that begins at (left, top), scaled; black where there is no picture."""
    if scale < 0.8:  # average before sampling, or fine patterns flicker
        shrunk = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        fx, fy = shrunk.shape[1] / image.shape[1], shrunk.shape[0] / image.shape[0]
        matrix = np.array([[scale / fx, 0, -left * scale], [0, scale / fy, -top * scale]])
        image = np.asarray(shrunk, np.uint8)
    else:
        matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    matrix[:, 2] += 0.5 * np.diag(matrix[:, :2]) - 0.5  # pixel centres lie on halves
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def _count(owner: NDArray[np.int16], rows: int) -> NDArray[np.int64]:
    return np.bincount(owner[owner >= 0].astype(np.int64), minlength=rows)[:rows]
