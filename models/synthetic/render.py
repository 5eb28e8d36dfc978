"""Render small videos with perfect truth: textured figures that move and hide each other before a moving camera.

For demos and tests, so that neither needs anybody's footage. Truth is amodal boxes; visibility is counted in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..columns import VideoInfo
from ..errors import InputError
from .depot import draw_beast, draw_crystal, draw_robot
from .figures import Figure, draw_car, draw_occluder, draw_pedestrian
from .motion import DRAWN_DEPTH, drive, move_camera, project, walk
from .scenery import Scenery
from .scenes import correlated_noise, log_uniform

#: Change it whenever a seed gives other pixels, truth or candidates than before; caches of videos go by it.
RENDER_VERSION = 1

#: Share of a box that must lie inside the image for the object to be part of the truth.
_SHARE_INSIDE = 0.2

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class RenderSettings:
    """What to film.

    Attributes:
        name: of the video.
        num_frames: length in frames.
        width: in pixels, at least 32.
        height: in pixels, at least 32.
        frame_rate: frames per second.
        scene: "street" (people) or "road" (cars).
        num_objects: how many ever come by; about half of them are in view at a time.
        num_occluders: lamp posts, walls, trees and signs that stand in the way.
        camera: "still", "shake", "pan" (and zoom) or "walk".
        light_change: how much brightness wanders, as a share.
        domain: "town" (people and cars) or "depot" (robots in the place of people, beasts in that of cars).

    Raises:
        InputError: for values that cannot be filmed.
    """

    name: str = "street"
    num_frames: int = 150
    width: int = 640
    height: int = 360
    frame_rate: float = 25.0
    scene: str = "street"
    num_objects: int = 32
    num_occluders: int = 4
    camera: str = "still"
    light_change: float = 0.1
    domain: str = "town"

    def __post_init__(self) -> None:
        checks = {
            "num_frames": self.num_frames > 0,
            "width": self.width >= 32,
            "height": self.height >= 32,
            "frame_rate": 0 < self.frame_rate < np.inf,
            "scene": self.scene in ("street", "road"),
            "num_objects": self.num_objects >= 0,
            "num_occluders": self.num_occluders >= 0,
            "camera": self.camera in ("still", "shake", "pan", "walk"),
            "light_change": 0 <= self.light_change <= 0.5,
            "domain": self.domain in ("town", "depot"),
        }
        for key, good in checks.items():
            if not good:
                raise InputError(f"video {self.name!r}: {key} {getattr(self, key)!r} cannot be rendered")

    @property
    def info(self) -> VideoInfo:
        """What the label engine must know of the video."""
        return VideoInfo(self.name, self.num_frames, self.width, self.height, self.frame_rate)


@dataclass(frozen=True)
class Truth:
    """True boxes, sorted by (frame, track).

    Attributes:
        frame: (M,) int64, 0-based.
        track: (M,) int64, which object.
        xyxy: (M, 4) float32, amodal box in pixels; may leave the image.
        visibility: (M,) float32 in [0, 1], share of the figure's pixels that can be seen.
        class_index: (M,) int64, an index into ``figures.CLASS_NAMES``.
    """

    frame: NDArray[np.int64]
    track: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    visibility: NDArray[np.float32]
    class_index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def join(cls, parts: list[Truth]) -> Truth:
        """One truth from those of several frames, which must be in order."""
        keys = cls.__dataclass_fields__
        if not parts:
            none = np.zeros(0, np.int64)
            return cls(none, none, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), none)
        return cls(*(np.concatenate([getattr(part, key) for part in parts]) for key in keys))


@dataclass(frozen=True)
class RenderedFrame:
    """One frame of a rendered video.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        owner: (H, W) int16, the track whose figure each pixel shows, or -1.
        truth: boxes of this frame.
    """

    image: Image
    owner: NDArray[np.int16]
    truth: Truth


def render(settings: RenderSettings, rng: np.random.Generator) -> Iterator[RenderedFrame]:
    """Film a scene, one frame at a time.

    The world (figures, paths, camera) is made for all frames at once. Only the painting goes frame by frame and figure
    by figure: pictures must be laid over each other in order of depth, and a whole video does not fit into memory.

    Args:
        settings: what to film.
        rng: decides everything else; the same generator state gives the same video.

    Yields:
        ``settings.num_frames`` frames.
    """
    size = (settings.width, settings.height)
    count, road = settings.num_objects, settings.scene == "road"
    camera = move_camera(rng, settings.camera, settings.num_frames, settings.frame_rate, *size)
    paths = (drive if road else walk)(rng, camera, settings.num_frames, count, settings.frame_rate, settings.width)
    figures = _draw_figures(settings, rng, paths.way[-1])
    stand_z = log_uniform(rng, *((5.0, 8.0) if road else (6.0, 13.0)), settings.num_occluders)
    stand_x = rng.uniform(-0.45, 0.45, settings.num_occluders) * settings.width / camera.focal * stand_z
    ones = np.ones((settings.num_frames, 1))
    tall, wide = (np.array([getattr(figure, key) for figure in figures]) for key in ("height", "width"))
    xyxy, depth = project(
        camera, np.hstack([paths.x, ones * stand_x]), np.hstack([paths.z, ones * stand_z]), tall, wide, size
    )
    drawn = (depth > DRAWN_DEPTH[0]) & (depth < DRAWN_DEPTH[1])
    scenery = Scenery(rng, camera, road, size, settings.domain)
    tint = 0.2 * correlated_noise(rng, settings.num_frames, 3, 2.0 * settings.frame_rate)
    sun = np.sin(np.arange(settings.num_frames)[:, None] / settings.frame_rate + rng.uniform(0, 2 * np.pi))
    light = 1 + settings.light_change * (tint + sun)  # (T, 3)
    grain = rng.normal(0, 3, (settings.height + 16, settings.width + 16, 1)).astype(np.float32)
    films = [_Film(figure) for figure in figures]
    class_index = np.array([figure.class_index for figure in figures[:count]], np.int64)
    for frame in range(settings.num_frames):
        image = scenery.look(frame)
        owner = np.full(image.shape[:2], -1, np.int16)
        share = np.ones(len(films))  # of each figure's pixels, those inside the image
        order = np.flatnonzero(drawn[frame])
        for index in order[np.argsort(-depth[frame, order], kind="stable")]:
            moving = index < count
            phase = paths.way[frame, index] if moving else 0.0
            right = bool(paths.right[frame, index]) if moving else True
            share[index] = films[index].paint(image, owner, xyxy[frame, index], phase, right, index)
        yield RenderedFrame(
            _expose(image, light[frame], grain, rng),
            np.where(owner < count, owner, -1).astype(np.int16),
            _truth_of(frame, owner, share, xyxy[frame, :count], drawn[frame, :count], class_index, size),
        )


def _draw_figures(settings: RenderSettings, rng: np.random.Generator, way: NDArray) -> list[Figure]:
    """The objects, which go ``way`` metres in all, then what stands in their way."""
    fine = settings.height / 360  # films as fine as the picture can show
    road, town = settings.scene == "road", settings.domain == "town"
    small, large, high = (max(round(pixels * fine), least) for pixels, least in ((120, 16), (200, 24), (260, 32)))
    if road and town:  # parked cars show their front
        figures = [draw_car(rng, small, sideways=bool(each > 0)) for each in way]
    elif road:
        figures = [draw_beast(rng, small) for _ in way]
    else:
        figures = [(draw_pedestrian if town else draw_robot)(rng, large) for _ in way]
    if town:
        return figures + [draw_occluder(rng, high, slim=road) for _ in range(settings.num_occluders)]
    return figures + [draw_crystal(rng, high) for _ in range(settings.num_occluders)]


def _truth_of(
    frame: int, owner: NDArray[np.int16], painted: NDArray, xyxy: NDArray, drawn: NDArray, class_index: NDArray,
    size: tuple[int, int],
) -> Truth:  # fmt: skip
    """Truth of the objects whose box is in the image; a pixel belongs to whoever was painted there last."""
    seen = np.bincount(owner[owner >= 0], minlength=len(painted))[: len(xyxy)]
    inside = np.clip(np.minimum(xyxy[:, 2:], size) - np.maximum(xyxy[:, :2], 0), 0, None).prod(1)
    track = np.flatnonzero(drawn & (inside > _SHARE_INSIDE * (xyxy[:, 2:] - xyxy[:, :2]).prod(1)))
    visibility = np.clip(seen[track] / np.maximum(painted[track], 1.0), 0, 1)
    return Truth(
        np.full(len(track), frame, np.int64),
        track.astype(np.int64),
        xyxy[track].astype(np.float32),
        visibility.astype(np.float32),
        class_index[track],
    )


def _expose(image: Image, light: NDArray, grain: NDArray, rng: np.random.Generator) -> Image:
    """The picture under this frame's light, with the grain of a sensor."""
    top, left = rng.integers(0, 16, 2)
    noise = grain[top : top + image.shape[0], left : left + image.shape[1]]
    return np.clip(image * light.astype(np.float32) + noise, 0, 255).astype(np.uint8)


class _Film:
    """A figure's pictures in several sizes, ready to be painted at any size without flicker."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        film = figure.film.astype(np.float32)
        film[..., :3] *= film[..., 3:] / 255  # premultiplied, so that scaling mixes no colour of nothing
        self.sizes = [film]
        while min(self.sizes[-1].shape[1:3]) >= 8:
            smaller = [cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for p in self.sizes[-1]]
            self.sizes.append(np.stack(smaller))

    def paint(self, image: Image, owner: NDArray[np.int16], box: NDArray, way: float, right: bool, index: int) -> float:
        """Lay the figure over the image, in place, and its index over ``owner``.

        Returns:
            How many pixels the whole figure has at this size, with those outside the image.
        """
        shrink = self.sizes[0].shape[1] / max(box[3] - box[1], 1.0)
        film = self.sizes[int(np.clip(np.floor(np.log2(max(shrink, 1.0))), 0, len(self.sizes) - 1))]
        phase = int(way / self.figure.stride * len(film)) % len(film)
        picture = film[phase] if right else film[phase][:, ::-1]
        pixels = float((picture[..., 3] > 127).mean() * (box[2:] - box[:2]).prod())
        low = np.maximum(np.floor(box[:2]), 0).astype(int)
        high = np.minimum(np.ceil(box[2:]), image.shape[1::-1]).astype(int)
        if (high <= low).any():
            return pixels
        scale = (box[2:] - box[:2]) / picture.shape[1::-1]
        move = 0.5 * scale - 0.5 + box[:2] - low  # pixel centres lie on halves
        matrix = np.array([[scale[0], 0, move[0]], [0, scale[1], move[1]]])
        stamp = cv2.warpAffine(np.ascontiguousarray(picture), matrix, (high - low).tolist(), flags=cv2.INTER_LINEAR)
        rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
        opaque = stamp[..., 3:] / 255
        image[rows, columns] = image[rows, columns] * (1 - opaque) + stamp[..., :3]
        mine = stamp[..., 3] > 127
        owner[rows, columns][mine] = index
        whole = (low == np.floor(box[:2])).all() and (high == np.ceil(box[2:])).all()
        return float(mine.sum()) if whole else pixels
