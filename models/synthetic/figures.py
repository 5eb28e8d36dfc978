"""Draw people, cars and street furniture, each of parts with its own colours and patterns, as small RGBA films.

A figure is drawn once, in all phases of its stride, and the renderer only scales and places it. Everything is
procedural: no picture comes from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: What ``class_index`` means in the columns of a rendered video.
CLASS_NAMES = ("pedestrian", "car")
PEDESTRIAN, CAR, SCENERY = 0, 1, -1

#: Figures are drawn this much larger than they are stored; shrinking gives soft edges to hard-edged polygons.
_OVERSAMPLE = 3

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
#: A point of a figure, as shares of its height: x from the left, y from the top.
Point = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One thing that the renderer can place.

    Attributes:
        film: (P, h, w, 4) uint8, BGR with alpha (not premultiplied), one picture per phase of the stride, facing right.
        height: in metres; the width follows from the film's shape.
        stride: metres that the figure moves while the film runs once; infinite for what has no stride.
        class_index: ``PEDESTRIAN``, ``CAR``, or ``SCENERY`` for what only stands in the way.
    """

    film: Image
    height: float
    stride: float
    class_index: int

    @property
    def width(self) -> float:
        """In metres."""
        return self.height * self.film.shape[2] / self.film.shape[1]


def draw_pedestrian(rng: np.random.Generator, pixels: int = 200, phases: int = 8) -> Figure:
    """A person who walks to the right.

    Args:
        rng: decides build, clothes, colours and patterns.
        pixels: height of the film.
        phases: pictures per stride of two steps.

    Returns:
        A figure of 1.5 to 1.95 m, as wide as its longest step.
    """
    pen = Pen(pixels, 0.44)
    skin = _skin(rng)
    jacket = pen.pattern(_colour(rng), _colour(rng), rng)
    trousers = pen.pattern(_colour(rng, dark=True), _colour(rng, dark=True), rng, plain=0.7)
    hair = [(25, 25, 30), (35, 55, 90), (70, 130, 190), (60, 60, 60), (25, 50, 120)][rng.integers(5)]
    shoes, bag = _colour(rng, dark=True), _colour(rng)
    girth, swing = rng.uniform(0.85, 1.2), rng.uniform(0.36, 0.52)
    has_bag, has_hat, has_coat, has_hair = rng.random(4) < (0.45, 0.25, 0.3, 0.4)

    def limb(hip: Point, angle: float, bend: float, lengths: Point, thick: float, paint: Image | Colour) -> Point:
        knee = (hip[0] + lengths[0] * np.sin(angle), hip[1] + lengths[0] * np.cos(angle))
        foot = (knee[0] + lengths[1] * np.sin(angle - bend), knee[1] + lengths[1] * np.cos(angle - bend))
        pen.line((hip, knee, foot), thick, paint)
        return foot

    film = []
    for phase in np.arange(phases) * (2 * np.pi / phases):
        pen.clear()
        far, near = swing * np.sin(phase), -swing * np.sin(phase)
        bob = 0.008 * np.cos(2 * phase)
        shoulder, hip = (0.22, 0.215 + bob), (0.22, 0.52 + bob)
        limb(shoulder, -far, -0.35, (0.16, 0.15), 0.05 * girth, _shade(jacket, 0.65))
        for angle, lift, light in ((far, np.cos(phase), 0.75), (near, -np.cos(phase), 1.0)):
            foot = limb(hip, angle, 0.15 + 0.5 * max(lift, 0.0), (0.215, 0.2), 0.075 * girth, _shade(trousers, light))
            pen.line((foot, (foot[0] + 0.05, foot[1] + 0.012)), 0.04, shoes)
        if has_bag:
            pen.ellipse((0.22 - 0.105 * girth, 0.33 + bob), (0.055, 0.105), bag)
        hem = 0.68 if has_coat else 0.56
        pen.polygon([(0.225 - 0.085 * girth, 0.175 + bob), (0.225 + 0.08 * girth, 0.175 + bob),
                     (0.225 + 0.085 * girth, hem + bob), (0.215 - 0.09 * girth, hem + bob)], jacket)  # fmt: skip
        hand = limb(shoulder, -near, -0.35, (0.16, 0.15), 0.05 * girth, _shade(jacket, 0.85))
        pen.ellipse(hand, (0.024, 0.026), skin)
        pen.line(((0.225, 0.15 + bob), (0.228, 0.19 + bob)), 0.055, skin)
        pen.ellipse((0.235, 0.095 + bob), (0.056, 0.07), skin)
        pen.ellipse((0.225, 0.07 + bob), (0.062, 0.052), hair)
        if has_hair:
            pen.ellipse((0.185, 0.115 + bob), (0.03, 0.075), hair)
        if has_hat:
            pen.polygon([(0.165, 0.065 + bob), (0.31, 0.065 + bob), (0.275, 0.018 + bob), (0.18, 0.018 + bob)], bag)
        film.append(pen.picture())
    height = float(rng.uniform(1.5, 1.95))
    return Figure(trimmed(film), height, stride=0.85 * height, class_index=PEDESTRIAN)


def draw_car(rng: np.random.Generator, pixels: int = 120, phases: int = 6, sideways: bool = True) -> Figure:
    """A car, seen from its side (driving to the right) or from its end.

    Args:
        rng: decides the kind of car, its colours and pattern.
        pixels: height of the film.
        phases: pictures per turn of a wheel.
        sideways: whether it is seen from its side; else from its front.

    Returns:
        A figure of 1.4 to 2.1 m height.
    """
    van = rng.random() < 0.25
    height = float(rng.uniform(1.8, 2.1) if van else rng.uniform(1.4, 1.6))
    draw = _car_side if sideways else _car_end
    return Figure(draw(rng, pixels, phases, bool(van)), height, stride=1.9, class_index=CAR)


def _car_side(rng: np.random.Generator, pixels: int, phases: int, van: bool) -> Image:
    long = 2.4 if van else 2.95
    pen = Pen(pixels, long)
    body = pen.pattern(_colour(rng), _colour(rng), rng, plain=0.6)
    trim, glass = _colour(rng, dark=True), (int(rng.integers(70, 130)), 90, 60)
    nose, roof, tail = rng.uniform(0.70, 0.78) * long, rng.uniform(0.5, 0.6) * long, rng.uniform(0.04, 0.2) * long
    if van:
        nose, roof, tail = 0.9 * long, 0.78 * long, 0.02 * long
    waist = 0.42
    film = []
    for phase in np.arange(phases) * (2 * np.pi / phases):
        pen.clear()
        pen.polygon([(tail, waist + 0.03), (tail + 0.16, 0.02), (roof, 0.02), (nose, waist + 0.03)], _shade(body, 0.9))
        pen.polygon([(0.02, waist + 0.06), (tail, waist), (nose, waist), (long - 0.08, waist + 0.1),
                     (long - 0.01, 0.62), (long - 0.01, 0.82), (0.01, 0.82), (0.01, 0.6)], body)  # fmt: skip
        middle = 0.5 * (tail + roof) + 0.12
        pen.polygon([(tail + 0.13, waist), (tail + 0.24, 0.09), (middle - 0.04, 0.09), (middle - 0.04, waist)], glass)
        pen.polygon([(middle + 0.04, waist), (middle + 0.04, 0.09), (roof - 0.03, 0.09), (nose - 0.15, waist)], glass)
        pen.line(((middle, waist), (middle, 0.78)), 0.015, trim)
        pen.line(((0.03, 0.76), (long - 0.03, 0.76)), 0.06, trim)
        pen.ellipse((long - 0.07, 0.6), (0.06, 0.05), (200, 245, 250))
        pen.ellipse((0.05, 0.6), (0.045, 0.06), (40, 40, 210))
        for x in (0.2 * long, 0.8 * long):
            pen.ellipse((x, 0.8), (0.2, 0.2), (25, 25, 25))
            pen.ellipse((x, 0.8), (0.11, 0.11), (170, 170, 175))
            for spoke in phase + np.arange(3) * np.pi / 3:
                turn = (0.1 * np.cos(spoke), 0.1 * np.sin(spoke))
                pen.line(((x - turn[0], 0.8 - turn[1]), (x + turn[0], 0.8 + turn[1])), 0.025, (60, 60, 60))
        film.append(pen.picture())
    return trimmed(film)


def _car_end(rng: np.random.Generator, pixels: int, phases: int, van: bool) -> Image:
    del phases  # wheels seen from the end do not turn
    pen = Pen(pixels, 1.0 if van else 1.18)
    width = pen.wide
    body = pen.pattern(_colour(rng), _colour(rng), rng, plain=0.6)
    trim, glass = _colour(rng, dark=True), (int(rng.integers(70, 130)), 90, 60)
    pen.clear()
    for x in (0.14 * width, 0.86 * width):
        pen.line(((x, 0.75), (x, 0.94)), 0.13, (25, 25, 25))
    pen.polygon([(0.06 * width, 0.46), (0.2 * width, 0.02), (0.8 * width, 0.02), (0.94 * width, 0.46)], body)
    pen.polygon([(0.14 * width, 0.44), (0.24 * width, 0.08), (0.76 * width, 0.08), (0.86 * width, 0.44)], glass)
    pen.polygon([(0.01, 0.5), (0.06 * width, 0.44), (0.94 * width, 0.44), (width - 0.01, 0.5),
                 (width - 0.01, 0.85), (0.01, 0.85)], body)  # fmt: skip
    pen.polygon([(0.3 * width, 0.6), (0.7 * width, 0.6), (0.66 * width, 0.7), (0.34 * width, 0.7)], trim)
    pen.line(((0.03, 0.8), (width - 0.03, 0.8)), 0.05, trim)
    for x in (0.14 * width, 0.86 * width):
        pen.ellipse((x, 0.6), (0.1, 0.06), (200, 245, 250))
    return trimmed([pen.picture()])


def draw_occluder(rng: np.random.Generator, pixels: int = 260, slim: bool = False) -> Figure:
    """Something that stands in the way: a lamp post, a wall, a tree or a sign.

    Args:
        rng: decides what it is and how it looks.
        pixels: height of the film.
        slim: whether it must be a lamp post or a tree.

    Returns:
        A still figure of class ``SCENERY``, 1.2 to 5 m high.
    """
    kind = rng.choice([0, 2]) if slim else rng.integers(4)
    wide = (0.16, float(rng.uniform(1.2, 2.2)), 0.55, 0.4)[kind]
    height = float(rng.uniform(*((3.6, 4.8), (1.2, 1.7), (3.2, 4.6), (2.3, 2.9))[kind]))
    pen = Pen(pixels, wide)
    pen.clear()
    first, second = _colour(rng, dark=True), _colour(rng)
    if kind == 0:
        pen.polygon([(0.065, 0.05), (0.095, 0.05), (0.11, 1.0), (0.05, 1.0)], first)
        pen.ellipse((0.08, 0.05), (0.075, 0.045), (190, 235, 245))
    elif kind == 1:
        pen.polygon([(0.0, 0.0), (wide, 0.0), (wide, 1.0), (0.0, 1.0)], pen.bricks(rng))
    elif kind == 2:
        pen.line(((0.27, 0.4), (0.28, 1.0)), 0.09, (50, 75, 105))
        for x, y, size in rng.uniform((0.12, 0.12, 0.08), (0.43, 0.42, 0.13), (24, 3)):
            pen.ellipse((x, y), (size, size * 0.8), (40, int(rng.integers(80, 150)), int(rng.integers(40, 90))))
    else:
        pen.line(((0.2, 0.1), (0.2, 1.0)), 0.045, first)
        pen.polygon([(0.0, 0.0), (wide, 0.0), (wide, 0.36), (0.0, 0.36)], pen.pattern(second, _colour(rng), rng))
    return Figure(trimmed([pen.picture()]), height, stride=np.inf, class_index=SCENERY)


class Pen:
    """A canvas whose unit is the figure's height, oversampled; each stroke also writes the alpha channel."""

    def __init__(self, pixels: int, wide: float) -> None:
        self.wide = wide
        self.scale = pixels * _OVERSAMPLE
        self.small = (max(round(pixels * wide), 2), pixels)
        self.canvas = np.zeros((self.small[1] * _OVERSAMPLE, self.small[0] * _OVERSAMPLE, 4), np.uint8)

    def clear(self) -> None:
        """Start over with nothing."""
        self.canvas[:] = 0

    def picture(self) -> Image:
        """(h, w, 4): shrunk with premultiplied colours, so that no dark rim is mixed in, and shaded to look round."""
        opaque = self.canvas[..., 3:].astype(np.float32) / 255
        soft = cv2.resize(self.canvas * opaque, self.small, interpolation=cv2.INTER_AREA)
        across = np.linspace(-1, 1, self.small[0], dtype=np.float32)
        round_light = (1.05 - 0.22 * (across + 0.3) ** 2)[None, :, None]
        colours = soft[..., :3] / np.maximum(soft[..., 3:] / 255, 1e-3) * round_light
        return np.clip(np.concatenate([colours, soft[..., 3:]], -1), 0, 255).astype(np.uint8)

    def pattern(self, first: Colour, second: Colour, rng: np.random.Generator, plain: float = 0.3) -> Image:
        """(h, w, 3): plain, stripes, checks or dots in two colours, over the whole canvas."""
        rows, columns = np.mgrid[: self.canvas.shape[0], : self.canvas.shape[1]] / self.scale
        step = rng.uniform(0.04, 0.1)
        kind = 0 if rng.random() < plain else rng.integers(1, 5)
        across, down = columns % step < 0.5 * step, rows % step < 0.5 * step
        dots = (columns % step - 0.5 * step) ** 2 + (rows % step - 0.5 * step) ** 2 < (0.3 * step) ** 2
        mask = (np.zeros_like(across), across, down, across ^ down, dots)[kind]
        return np.where(mask[..., None], np.array(second, np.uint8), np.array(first, np.uint8))

    def bricks(self, rng: np.random.Generator) -> Image:
        """(h, w, 3): a wall of bricks of uneven colours."""
        rows, columns = np.mgrid[: self.canvas.shape[0], : self.canvas.shape[1]] / self.scale
        line = (rows / 0.1).astype(int)
        column = ((columns + 0.12 * (line % 2)) / 0.24).astype(int)
        tone = rng.uniform(0.8, 1.15, (line.max() + 1, column.max() + 1))[line, column]
        colour = np.array(_colour(rng), np.float32) * 0.5 + np.array((60, 80, 130), np.float32) * 0.5
        mortar = (rows % 0.1 < 0.012) | ((columns + 0.12 * (line % 2)) % 0.24 < 0.012)
        wall = np.where(mortar[..., None], np.float32(165), colour * tone[..., None])
        return np.clip(wall, 0, 255).astype(np.uint8)

    def polygon(self, points: list[Point], paint: Image | Colour) -> None:
        """Fill a polygon."""
        corners = np.rint(np.array(points) * self.scale).astype(np.int32)
        self._stroke(lambda mask: cv2.fillPoly(mask, [corners], 255), paint)

    def line(self, points: tuple[Point, ...], thick: float, paint: Image | Colour) -> None:
        """Draw a line through some points, ``thick`` in units of the height."""
        corners = np.rint(np.array(points) * self.scale).astype(np.int32)
        width = max(round(thick * self.scale), 1)
        self._stroke(lambda mask: cv2.polylines(mask, [corners], False, 255, width), paint)

    def ellipse(self, centre: Point, radii: Point, paint: Image | Colour) -> None:
        """Fill an ellipse."""
        middle = (round(centre[0] * self.scale), round(centre[1] * self.scale))
        axes = (max(round(radii[0] * self.scale), 1), max(round(radii[1] * self.scale), 1))
        self._stroke(lambda mask: cv2.ellipse(mask, middle, axes, 0, 0, 360, 255, -1), paint)

    def _stroke(self, draw: Callable[[Image], object], paint: Image | Colour) -> None:
        mask = np.zeros(self.canvas.shape[:2], np.uint8)
        draw(mask)
        left, top, wide, tall = cv2.boundingRect(mask)
        part = slice(top, top + tall), slice(left, left + wide)
        inside = mask[part] > 0
        self.canvas[part][inside, :3] = paint[part][inside] if isinstance(paint, np.ndarray) else paint
        self.canvas[part][inside, 3] = 255


def trimmed(film: list[Image]) -> Image:
    """(P, h, w, 4): the pictures, cut to what any of them shows, so that the film's frame is the figure's box."""
    pictures = np.stack(film)
    shown = np.any(pictures[..., 3] > 127, axis=0)
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return np.ascontiguousarray(pictures[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _colour(rng: np.random.Generator, dark: bool = False) -> Colour:
    """A cloth or paint colour: any hue, dull to vivid, never as bright as the sky."""
    hue, saturation = rng.integers(0, 180), rng.integers(40, 220)
    value = rng.integers(25, 110) if dark else rng.integers(70, 235)
    blue, green, red = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def _skin(rng: np.random.Generator) -> Colour:
    light = rng.uniform(0.35, 1.0)
    return int(160 * light), int(185 * light), int(230 * light)


def _shade(paint: Image, light: float) -> Image:
    return (paint * np.float32(light)).astype(np.uint8)
