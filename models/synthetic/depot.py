"""Another world than the town's: robots and beasts on patterned ground before cluttered walls.

What was trained on the town has seen nothing like it, so it shows what a detector gains from corrected frames. Robots
take the place of people (class ``PEDESTRIAN``), beasts that of cars; nothing here shares a shape or texture with those.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .figures import CAR, PEDESTRIAN, SCENERY, Colour, Figure, Pen, trimmed

Image = NDArray[np.uint8]


def draw_robot(rng: np.random.Generator, pixels: int = 200, phases: int = 8) -> Figure:
    """A robot that rolls to the right: a ball or a track below, a drum, long jointed arms and a screen on a neck.

    Args:
        rng: decides build, metals and lamps.
        pixels: height of the film.
        phases: pictures per swing of the arms.

    Returns:
        A figure of 1.3 to 2 m.
    """
    pen = Pen(pixels, 0.9)
    hull, trimming, lamp = _metal(rng), _vivid(rng), _vivid(rng)
    wide, neck, screen = rng.uniform(0.16, 0.25), rng.uniform(0.1, 0.18), rng.uniform(0.13, 0.2)
    tracked, striped = rng.random(2) < (0.5, 0.6)
    film = []
    for phase in np.arange(phases) * (2 * np.pi / phases):
        pen.clear()
        swing = 0.12 * np.sin(phase)
        middle = 0.45
        if tracked:
            pen.line(((middle - wide, 0.92), (middle + wide, 0.92)), 0.15, (40, 45, 40))
            for wheel in np.linspace(-wide, wide, 4):
                turn = (0.04 * np.cos(phase), 0.04 * np.sin(phase))
                pen.ellipse((middle + wheel, 0.92), (0.05, 0.05), trimming)
                pen.line(((middle + wheel - turn[0], 0.92 - turn[1]), (middle + wheel + turn[0], 0.92 + turn[1])),
                         0.02, (20, 20, 20))  # fmt: skip
        else:
            pen.ellipse((middle, 0.84), (0.16, 0.15), trimming)
            pen.ellipse((middle + 0.1 * np.cos(phase), 0.84 + 0.1 * np.sin(phase)), (0.035, 0.035), (20, 20, 20))
        for side in (-1, 1):
            elbow = (middle + side * (wide + 0.14), 0.55 + side * swing)
            hand = (middle + side * (wide + 0.08), 0.72 - side * swing)
            pen.line(((middle + side * wide, 0.42), elbow, hand), 0.035, trimming)
            pen.ellipse(elbow, (0.032, 0.032), hull)
            pen.line(((hand[0] - 0.03, hand[1] + 0.05), hand, (hand[0] + 0.03, hand[1] + 0.05)), 0.022, hull)
        pen.polygon([(middle - wide, 0.36), (middle + wide, 0.36), (middle + 0.75 * wide, 0.8),
                     (middle - 0.75 * wide, 0.8)], hull)  # fmt: skip
        if striped:
            for x in np.linspace(-0.7 * wide, 0.5 * wide, 4):
                pen.polygon([(middle + x, 0.68), (middle + x + 0.03, 0.68), (middle + x + 0.06, 0.75),
                             (middle + x + 0.03, 0.75)], (30, 210, 235))  # fmt: skip
        pen.ellipse((middle, 0.5), (0.07, 0.07), (25, 25, 25))
        pen.ellipse((middle, 0.5), (0.05, 0.05), lamp)
        pen.line(((middle, 0.36), (middle, 0.36 - neck)), 0.03, (60, 60, 60))
        top = 0.3 - neck
        pen.polygon([(middle - screen, top - 0.1), (middle + screen, top - 0.1), (middle + screen, top + 0.06),
                     (middle - screen, top + 0.06)], (35, 30, 30))  # fmt: skip
        for x in (-0.45, 0.45):
            pen.ellipse((middle + x * screen, top - 0.02), (0.035, 0.03), lamp)
        film.append(pen.picture())
    return Figure(trimmed(film), float(rng.uniform(1.3, 2.0)), stride=1.2, class_index=PEDESTRIAN)


def draw_beast(rng: np.random.Generator, pixels: int = 120, phases: int = 8) -> Figure:
    """A spotted beast that trots to the right: four legs, a humped back, a long neck and a tail.

    Args:
        rng: decides build, hide and spots.
        pixels: height of the film.
        phases: pictures per stride.

    Returns:
        A figure of 1.4 to 2.4 m.
    """
    pen = Pen(pixels, 1.6)
    hide = _spots(pen, _fur(rng), _fur(rng), rng)
    dark = _dimmed(_fur(rng), 0.55)
    back, girth, head = rng.uniform(0.42, 0.5), rng.uniform(0.15, 0.21), rng.uniform(0.1, 0.2)
    humps, horned = int(rng.integers(0, 3)), rng.random() < 0.5
    film = []
    for phase in np.arange(phases) * (2 * np.pi / phases):
        pen.clear()
        for x, shift in ((0.42, 0.0), (1.0, np.pi / 2), (0.5, np.pi), (1.08, 1.5 * np.pi)):
            step = 0.12 * np.sin(phase + shift)
            knee = (x + 0.5 * step + 0.03, back + 0.28)
            foot = (x + step, 0.97 - 0.05 * max(np.cos(phase + shift), 0.0))
            pen.line(((x, back + 0.1), knee, foot), 0.075, hide if x in (0.5, 1.08) else dark)
        wag = 0.06 * np.sin(2 * phase)
        pen.line(((0.34, back), (0.2, back + 0.1 + wag), (0.14, back + 0.3 + wag)), 0.04, dark)
        pen.ellipse((0.75, back), (0.44, girth), hide)
        for hump in range(humps):
            pen.ellipse((0.6 + 0.26 * hump, back - girth + 0.02), (0.12, 0.12), hide)
        nod = 0.02 * np.cos(2 * phase)
        pen.line(((1.1, back - 0.02), (1.28, head + 0.06 + nod)), 0.12, hide)
        pen.ellipse((1.36, head + 0.04 + nod), (0.14, 0.075), hide)
        pen.ellipse((1.38, head + 0.01 + nod), (0.018, 0.018), (10, 10, 10))
        ear = (1.27, head - 0.02 + nod)
        pen.line((ear, (ear[0] - 0.05, max(ear[1] - 0.09, 0.01))), 0.05 if not horned else 0.025, dark)
        film.append(pen.picture())
    return Figure(trimmed(film), float(rng.uniform(1.4, 2.4)), stride=1.8, class_index=CAR)


def draw_crystal(rng: np.random.Generator, pixels: int = 260) -> Figure:
    """A cluster of crystals or a stack of rings that stands in the way, 1 to 3 m high."""
    pen = Pen(pixels, 0.7)
    pen.clear()
    first, second = _vivid(rng), _metal(rng)
    if rng.random() < 0.5:
        for x, tip, lean in rng.uniform((0.1, 0.0, -0.1), (0.6, 0.5, 0.1), (5, 3)):
            paint = _dimmed(first, float(rng.uniform(0.5, 1.0)))
            pen.polygon([(x - 0.08, 1.0), (x + lean - 0.06, tip + 0.1), (x + lean, tip), (x + lean + 0.06, tip + 0.1),
                         (x + 0.08, 1.0)], paint)  # fmt: skip
    else:
        for number, y in enumerate(np.linspace(0.92, 0.1, 6)):
            pen.ellipse((0.35, y), (0.3 - 0.03 * number, 0.09), second if number % 2 else first)
    return Figure(trimmed([pen.picture()]), float(rng.uniform(1.0, 3.0)), stride=np.inf, class_index=SCENERY)


def paint_floor(rng: np.random.Generator, metres: tuple[int, int], scale: int) -> Image:
    """(deep * scale, wide * scale, 3) uint8 BGR: noise of many sizes in two colours, with painted rings.

    Args:
        rng: decides colours and pattern.
        metres: wide and deep.
        scale: pixels per metre.
    """
    wide, deep = metres
    share = _clouds(rng, (deep * scale, wide * scale), (4, 16, 64))[..., None]
    picture = share * np.array(_vivid(rng), np.float32) * 0.7 + (1 - share) * np.array(_fur(rng), np.float32)
    picture = np.ascontiguousarray(picture, np.float32)
    for x, y, size in rng.uniform((0, 0, 0.4), (wide, deep, 1.6), (40, 3)):
        ring = tuple(float(value) for value in _metal(rng))
        cv2.circle(picture, (int(x * scale), int(y * scale)), int(size * scale), ring, max(scale // 6, 1))
    picture += rng.normal(0, 8, picture.shape[:2]).astype(np.float32)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def paint_wall(rng: np.random.Generator, metres: tuple[int, int], scale: int) -> Image:
    """(tall * scale, wide * scale, 3) uint8 BGR: clouds of colour with triangles, discs and pipes all over.

    Args:
        rng: decides colours and clutter.
        metres: wide and tall.
        scale: pixels per metre.
    """
    wide, tall = metres
    share = _clouds(rng, (tall * scale, wide * scale), (8, 40))[..., None]
    picture = share * np.array(_metal(rng), np.float32) + (1 - share) * np.array(_vivid(rng), np.float32) * 0.6
    picture = np.ascontiguousarray(picture, np.float32)
    for _ in range(6 * wide):  # pieces of clutter
        x, y = rng.uniform(0, wide * scale), rng.uniform(0.3 * tall * scale, tall * scale)
        size = float(rng.uniform(0.3, 2.0)) * scale
        paint = tuple(float(value) for value in (_metal, _vivid, _fur)[rng.integers(3)](rng))
        kind = rng.integers(3)
        if kind == 0:
            corners = (np.array([x, y]) + rng.normal(0, size, (3, 2))).astype(np.int32)
            cv2.fillPoly(picture, [corners], paint)
        elif kind == 1:
            cv2.circle(picture, (int(x), int(y)), int(0.6 * size), paint, -1)
        else:
            end = (int(x + rng.normal(0, 2 * size)), int(y + rng.normal(0, size)))
            cv2.line(picture, (int(x), int(y)), end, paint, max(int(0.2 * size), 1))
    picture += rng.normal(0, 4, picture.shape[:2]).astype(np.float32)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, shape: tuple[int, int], sizes: tuple[int, ...]) -> NDArray[np.float32]:
    """(h, w) in [0, 1]: noise of some sizes in pixels, added up."""
    total = np.zeros(shape, np.float32)
    for size in sizes:
        coarse = rng.normal(0, 1, (max(shape[0] // size, 2), max(shape[1] // size, 2))).astype(np.float32)
        total += cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return 1 / (1 + np.exp(-1.5 * total))


def _spots(pen: Pen, first: Colour, second: Colour, rng: np.random.Generator) -> Image:
    """(h, w, 3): a spotted hide over the whole canvas."""
    tall, wide = pen.canvas.shape[:2]
    spot = _clouds(rng, (tall, wide), (max(int(0.07 * pen.scale), 2),)) > rng.uniform(0.5, 0.8)
    return np.where(spot[..., None], np.array(second, np.uint8), np.array(first, np.uint8))


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    blue, green, red = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0]
    return int(blue), int(green), int(red)


def _dimmed(colour: Colour, light: float) -> Colour:
    return int(light * colour[0]), int(light * colour[1]), int(light * colour[2])


def _metal(rng: np.random.Generator) -> Colour:
    return _hsv(rng.uniform(90, 140), rng.uniform(5, 70), rng.uniform(110, 245))


def _vivid(rng: np.random.Generator) -> Colour:
    return _hsv(rng.uniform(0, 180), rng.uniform(170, 255), rng.uniform(120, 255))


def _fur(rng: np.random.Generator) -> Colour:
    return _hsv(rng.uniform(5, 25), rng.uniform(60, 190), rng.uniform(50, 220))
