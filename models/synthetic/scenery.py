"""Paint what stands still in a rendered video: textured ground in perspective, a row of houses and the sky.

The pictures are looked up through the camera's geometry in every frame, so that they move as the objects do.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .depot import paint_floor, paint_wall
from .motion import LANES, Camera

Image = NDArray[np.uint8]

#: Ground picture: pixels per metre, metres across (it repeats) and away; houses likewise; metres to the houses.
_GROUND_SCALE, _GROUND_WIDE, _GROUND_DEEP = 32, 16, 64
_HOUSE_SCALE, _HOUSE_WIDE, _HOUSE_TALL, _HOUSE_DEPTH = 10, 128, 24, 40.0


class Scenery:
    """The unmoving world of one video.

    Args:
        rng: decides colours and textures.
        camera: as it moves.
        road: whether cars drive here.
        size: width and height of the image in pixels.
        domain: which world it is, as ``RenderSettings`` names it.
    """

    def __init__(
        self, rng: np.random.Generator, camera: Camera, road: bool, size: tuple[int, int], domain: str = "town"
    ) -> None:
        self.camera = camera
        self.size = size
        if domain == "town":
            self.ground = _paint_ground(rng, road)
            self.houses = _paint_houses(rng)
        else:
            self.ground = paint_floor(rng, (_GROUND_WIDE, _GROUND_DEEP), _GROUND_SCALE)
            self.houses = paint_wall(rng, (_HOUSE_WIDE, _HOUSE_TALL), _HOUSE_SCALE)
        self.haze = np.array((215, 205, 190), np.float32) * rng.uniform(0.8, 1.0)
        self._last: tuple[bytes, Image] | None = None

    def look(self, frame: int) -> Image:
        """(H, W, 3) uint8 BGR: what the camera sees in this frame when nobody is there."""
        camera = self.camera
        pose = np.concatenate([camera.shift[frame], camera.place[frame], camera.zoom[frame, None]])
        if self._last is None or self._last[0] != pose.tobytes():
            self._last = (pose.tobytes(), self._paint(frame))
        return self._last[1].copy()

    def _paint(self, frame: int) -> Image:
        camera, (width, height) = self.camera, self.size
        x0, z0 = camera.place[frame]
        across = (np.arange(width) + 0.5 - width / 2) / camera.zoom[frame] - camera.shift[frame, 0]
        below = (np.arange(height) + 0.5 - height / 2) / camera.zoom[frame] - camera.shift[frame, 1] - camera.horizon
        depth = np.minimum(camera.focal * camera.eye / np.maximum(below, 0.5), 1e4)[:, None]
        wide = across[None] * depth / camera.focal + x0
        deep = np.broadcast_to(depth + z0, wide.shape)
        ground = cv2.remap(
            self.ground,
            ((wide % _GROUND_WIDE) * _GROUND_SCALE).astype(np.float32),
            (deep.clip(0, _GROUND_DEEP - 1) * _GROUND_SCALE).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        # Far away a pixel covers many bricks: fade to the colour of the distance instead of flickering.
        clear = np.exp(-((depth / 30.0) ** 2)).astype(np.float32)[..., None]
        picture = ground * clear + self.haze * 0.7 * (1 - clear)
        far = max(_HOUSE_DEPTH - z0, 5.0)
        up = camera.eye - below * far / camera.focal
        rows = np.flatnonzero(up > 0)
        if len(rows):
            last = rows[-1] + 1
            column = (((across * far / camera.focal + x0) % _HOUSE_WIDE) * _HOUSE_SCALE).astype(np.float32)
            line = ((_HOUSE_TALL - up[:last]).clip(0, _HOUSE_TALL - 0.1) * _HOUSE_SCALE).astype(np.float32)
            grid = np.broadcast_to(column, (last, width)), np.broadcast_to(line[:, None], (last, width))
            picture[:last] = cv2.remap(
                self.houses, grid[0].copy(), grid[1].copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
        return picture.astype(np.uint8)


def _paint_ground(rng: np.random.Generator, road: bool) -> Image:
    """Paving slabs of uneven tone; with a road, asphalt and dashed lines where the lanes are."""
    rows, columns = np.mgrid[: _GROUND_DEEP * _GROUND_SCALE, : _GROUND_WIDE * _GROUND_SCALE] / _GROUND_SCALE
    base = np.array((120, 130, 140), np.float32) * rng.uniform(0.8, 1.15, 3).astype(np.float32)
    tone = rng.uniform(0.88, 1.1, (_GROUND_DEEP, _GROUND_WIDE))[rows.astype(int), columns.astype(int)]
    tone *= np.where((rows % 1 < 0.05) | (columns % 1 < 0.05), 0.72, 1.0)
    picture = base * tone[..., None].astype(np.float32)
    if road:
        edges = (LANES[0] - 2.2, LANES[-1] + 2.2)
        asphalt = (rows > edges[0]) & (rows < edges[1])
        picture[asphalt] = np.array((78, 76, 74), np.float32)
        between = (np.array(LANES[1:]) + np.array(LANES[:-1])) / 2
        dash = (np.abs(rows[..., None] - between) < 0.08).any(-1) & (columns % 4 < 2)
        kerb = (np.abs(rows[..., None] - np.array(edges)) < 0.14).any(-1)
        picture[dash | kerb] = np.array((200, 205, 205), np.float32)
    blotch = cv2.GaussianBlur(rng.normal(0, 1, rows.shape).astype(np.float32), (0, 0), 12) * 160
    picture += rng.normal(0, 7, rows.shape).astype(np.float32)[..., None] + blotch[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _paint_houses(rng: np.random.Generator) -> Image:
    """A row of houses with windows and doors before a cloudy sky."""
    rows, columns = np.mgrid[: _HOUSE_TALL * _HOUSE_SCALE, : _HOUSE_WIDE * _HOUSE_SCALE] / _HOUSE_SCALE
    sky = np.array((225, 195, 160), np.float32) * (0.75 + 0.3 * rows / _HOUSE_TALL)[..., None].astype(np.float32)
    cloud = cv2.GaussianBlur(rng.normal(0, 1, rows.shape).astype(np.float32), (0, 0), 25, sigmaY=9)
    picture = sky + (cloud / max(float(cloud.std()), 1e-6) * 14)[..., None]
    house = (columns / 8).astype(int)
    number = house.max() + 1
    up = _HOUSE_TALL - rows
    top = rng.uniform(6, 16, number)[house]
    tint = rng.uniform(0.55, 1.2, (number, 1)) * rng.uniform(0.85, 1.15, (number, 3))
    wall = np.array((120, 135, 155), np.float32) * tint.astype(np.float32)
    window = (columns % 2 > 0.6) & (columns % 2 < 1.5) & (up % 3 > 1.0) & (up % 3 < 2.5) & (up < top - 0.4)
    glow = np.array((85, 75, 60), np.float32) * rng.uniform(0.6, 1.8, (number * 4, 8, 1)).astype(np.float32)
    colour = np.where(window[..., None], glow[(columns / 2).astype(int), (up / 3).astype(int).clip(0, 7)], wall[house])
    picture = np.where((up < top)[..., None], colour + rng.normal(0, 4, rows.shape)[..., None], picture)
    return np.clip(picture, 0, 255).astype(np.uint8)
