"""Draw things to follow and places to follow them in: every object of irregular shape, with a texture of its own.

A tracker must follow what it has never seen, so these objects are of many kinds: figures of the project's renderer in
duller colours, faces, boxes with windows, blobs, and pieces of rendered pictures. Everything is procedural.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..synthetic import depot, figures
from ..synthetic.render import RenderSettings, render

Picture = NDArray[np.float32]

#: Pixels along a side of the picture of an object, and the margin in it around the object, for it to deform.
SPRITE, MARGIN = 64, 7

#: Pixels along a side of a background.
GROUND = 256

_INNER = SPRITE - 2 * MARGIN


@dataclass(frozen=True)
class Library:
    """Things and places of one round.

    Attributes:
        sprites: (N, 2, 4, 64, 64) uint8, two views of each object: RGB, premultiplied, and alpha. The object fills
            the picture but a margin, whatever its shape.
        aspect: (N,) float32, its width as a share of its height.
        grounds: (M, 3, 256, 256) uint8, RGB.
    """

    sprites: NDArray[np.uint8]
    aspect: NDArray[np.float32]
    grounds: NDArray[np.uint8]


def draw_library(rng: np.random.Generator, objects: int, grounds: int) -> Library:
    """Things and places that depend on the generator alone.

    Args:
        rng: decides everything.
        objects: how many things.
        grounds: how many places.
    """
    cv2.setNumThreads(1)
    films = _film_pictures(rng, max(grounds // 6, 1))
    places = np.stack([_ground(rng, films) for _ in range(grounds)])
    sprites = np.zeros((objects, 2, 4, SPRITE, SPRITE), np.uint8)
    aspect = np.ones(objects, np.float32)
    for number in range(objects):  # each is painted with a brush of its own
        views, aspect[number] = _object(rng, films)
        for view, picture in enumerate(views):
            inner = cv2.resize(picture, (_INNER, _INNER), interpolation=cv2.INTER_AREA)
            framed = cv2.copyMakeBorder(inner, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
            sprites[number, view] = np.clip(framed, 0, 255).transpose(2, 0, 1)
    return Library(sprites, aspect, places)


def _object(rng: np.random.Generator, films: list[Picture]) -> tuple[list[Picture], float]:
    """Two views (h, w, 4) of an object, premultiplied, that fill their pictures, and its width by its height."""
    kind = rng.random()
    if kind < 0.3:
        views = _figure(rng)
        aspect = views[0].shape[1] / views[0].shape[0]
    else:
        aspect = float(np.exp(rng.normal(-0.15, 0.5)))
        size = (96, max(int(96 * min(aspect, 3.0)), 24))
        draw = _face if kind < 0.45 else _panel if kind < 0.65 else _piece if kind < 0.8 else _blob
        views = [draw(rng, size, films)] * 2
    views = [_trimmed(view) for view in views]
    return _toned(rng, views), float(np.clip(aspect, 0.2, 4))


def _figure(rng: np.random.Generator) -> list[Picture]:
    """One of the renderer's figures, resewn with texture, in two phases of its stride."""
    pick = rng.random()
    if pick < 0.5:
        figure = figures.draw_pedestrian(rng, 96, 4)
    elif pick < 0.7:
        figure = figures.draw_car(rng, 64, 2, sideways=bool(rng.random() < 0.6))
    elif pick < 0.8:
        figure = depot.draw_robot(rng, 96, 4)
    elif pick < 0.9:
        figure = depot.draw_beast(rng, 64, 4)
    else:
        figure = figures.draw_occluder(rng, 96) if rng.random() < 0.5 else depot.draw_crystal(rng, 96)
    film = figure.film.astype(np.float32)
    first, second = (film[n % len(film)] for n in rng.integers(0, len(film), 2))
    tall, wide = first.shape[:2]
    cloth = noise(rng, tall, wide, 3) * np.float32(rng.uniform(0, 40))
    relief = 1 + np.float32(rng.uniform(0, 0.4)) * noise(rng, tall, wide, 1)
    share = np.float32(rng.uniform(0, 0.9)) if rng.random() < 0.5 else np.float32(0)
    sewn = _texture(rng, tall, wide)
    return [_cut_out(((1 - share) * v[..., :3] + share * sewn) * relief + cloth, v[..., 3]) for v in (first, second)]


def _face(rng: np.random.Generator, size: tuple[int, int], films: list[Picture]) -> Picture:
    """A head: an oval of skin with hair, eyes, nose and mouth, lit from one side."""
    tall, wide = size
    y, x = np.mgrid[:tall, :wide].astype(np.float32)
    x, y = (x - wide / 2) / (wide / 2), (y - tall / 2) / (tall / 2)
    inside = (np.abs(x) ** rng.uniform(1.8, 3) + np.abs(y) ** rng.uniform(1.8, 3) < 1).astype(np.float32)
    skin = np.array((230, 180, 150), np.float32) * np.float32(rng.uniform(0.3, 1.05)) + rng.normal(0, 12, 3)
    hair = np.array((60, 45, 35), np.float32) * np.float32(rng.uniform(0.2, 3.5))
    picture = np.full((tall, wide, 3), 1, np.float32) * skin.astype(np.float32)
    line = rng.uniform(-0.9, -0.2) + rng.uniform(-0.5, 0.9) * x**2 * np.float32(rng.choice([-1.0, 1.0]))
    picture[y < line] = hair
    if rng.random() < 0.4:
        picture[np.abs(x) > rng.uniform(0.6, 0.95)] = hair
    turn, eyes = rng.normal(0, 0.15), rng.uniform(-0.2, 0.1)
    dark = np.float32(rng.uniform(0.15, 0.6))
    for side in (-0.38, 0.38):
        picture[((x - side - turn) / 0.17) ** 2 + ((y - eyes) / 0.07) ** 2 < 1] *= dark
        picture[(np.abs(x - side - turn) < 0.22) & (np.abs(y - eyes + 0.15) < 0.03)] *= dark
    picture[((x - turn) / 0.1) ** 2 + ((y - eyes - 0.3) / 0.12) ** 2 < 1] *= np.float32(rng.uniform(0.7, 1.15))
    mouth = ((x - turn) / rng.uniform(0.2, 0.4)) ** 2 + ((y - eyes - 0.58) / rng.uniform(0.04, 0.12)) ** 2 < 1
    picture[mouth] = picture[mouth] * dark + np.array((60, 10, 10), np.float32)
    if rng.random() < 0.2:
        picture[(np.abs(y - eyes) < 0.12) & (np.abs(x) < 0.75)] *= np.float32(0.3)  # dark glasses
    light = 1 + np.float32(rng.normal(0, 0.25)) * x + np.float32(rng.normal(0, 0.15)) * y - 0.2 * x**2
    picture = picture * light[..., None] * (1 + 0.05 * noise(rng, tall, wide, 1))
    return _cut_out(picture, inside * 255)


def _panel(rng: np.random.Generator, size: tuple[int, int], films: list[Picture]) -> Picture:
    """Something with edges: a rounded rectangle with a grid of windows, stripes, or panels of other colours."""
    tall, wide = size
    picture = np.full((tall, wide, 3), 1, np.float32) * _colour(rng)
    rows, columns = (int(n) for n in rng.integers(1, 5, 2))
    shared, gap = _colour(rng), rng.uniform(0.1, 0.35)
    for row in range(rows):
        for column in range(columns):
            top, bottom = (int(tall * (row + at) / rows) for at in (gap / 2, 1 - gap / 2))
            left, right = (int(wide * (column + at) / columns) for at in (gap / 2, 1 - gap / 2))
            if rng.random() < 0.8:
                picture[top:bottom, left:right] = shared if rng.random() < 0.6 else _colour(rng)
    _strokes(rng, picture, int(rng.integers(0, 5)))
    picture *= 1 + np.float32(rng.uniform(0, 0.2)) * noise(rng, tall, wide, 1)
    mask = np.zeros((tall, wide), np.uint8)
    cut = int(rng.uniform(0, 0.35) * min(tall, wide))
    corners = [(cut, 0), (wide - cut, 0), (wide, cut), (wide, tall - cut), (wide - cut, tall), (cut, tall),
               (0, tall - cut), (0, cut)]  # fmt: skip
    cv2.fillPoly(mask, [np.array(corners, np.int32)], 255)
    return _cut_out(picture, mask.astype(np.float32))


def _piece(rng: np.random.Generator, size: tuple[int, int], films: list[Picture]) -> Picture:
    """A piece of a rendered picture, cut out with a smooth outline."""
    film = films[rng.integers(len(films))]
    side = int(rng.integers(40, min(film.shape[:2])))
    top, left = rng.integers(0, film.shape[0] - side + 1), rng.integers(0, film.shape[1] - side + 1)
    picture = cv2.resize(film[top : top + side, left : left + side], size[::-1], interpolation=cv2.INTER_AREA)
    return _cut_out(np.asarray(picture, np.float32), _outline(rng, *size))


def _blob(rng: np.random.Generator, size: tuple[int, int], films: list[Picture]) -> Picture:
    """An irregular shape with a rich texture and a few parts."""
    picture = _texture(rng, *size)
    _strokes(rng, picture, int(rng.integers(1, 8)))
    return _cut_out(picture, _outline(rng, *size))


def _outline(rng: np.random.Generator, tall: int, wide: int) -> Picture:
    """(tall, wide) alpha: a closed curve with a few waves, that may be pointed or nearly round."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones_like(angle)
    for wave in range(2, 7):
        radius += rng.normal(0, 0.35 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.25, None) ** rng.uniform(0.3, 1.2)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    points = (points - points.min(0)) / (points.max(0) - points.min(0)) * (wide - 1, tall - 1)
    mask = np.zeros((tall, wide), np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)
    return mask.astype(np.float32)


def _texture(rng: np.random.Generator, tall: int, wide: int) -> Picture:
    """(tall, wide, 3): noise of several grains, bands, checks or a slope, between colours."""
    picture = np.full((tall, wide, 3), 1, np.float32) * _colour(rng)
    other = _colour(rng)
    y, x = np.mgrid[:tall, :wide].astype(np.float32) / tall
    angle, step = rng.uniform(0, np.pi), rng.uniform(0.05, 0.4)
    along = np.cos(angle) * x + np.sin(angle) * y
    kind = rng.random()
    if kind < 0.35:
        share = np.clip(0.5 + noise(rng, tall, wide, 1), 0, 1)
    elif kind < 0.6:
        share = ((along % step) < step * rng.uniform(0.3, 0.7))[..., None].astype(np.float32)
    elif kind < 0.75:
        share = (((x % step) < step / 2) ^ ((y % step) < step / 2))[..., None].astype(np.float32)
    else:
        share = np.clip(along, 0, 1)[..., None]
    picture = picture + (other - picture) * share
    return np.asarray(picture + np.float32(rng.uniform(3, 35)) * noise(rng, tall, wide, 3), np.float32)


def _strokes(rng: np.random.Generator, picture: Picture, count: int) -> None:
    """Ellipses, rectangles and lines in other colours, in place."""
    tall, wide = picture.shape[:2]
    for _ in range(count):
        colour = tuple(float(c) for c in _colour(rng))
        x, y = int(rng.integers(0, wide)), int(rng.integers(0, tall))
        a, b = (max(int(n * rng.uniform(0.04, 0.3)), 1) for n in (wide, tall))
        kind = rng.integers(3)
        if kind == 0:
            cv2.ellipse(picture, (x, y), (a, b), float(rng.uniform(0, 180)), 0, 360, colour, -1)
        elif kind == 1:
            cv2.rectangle(picture, (x - a, y - b), (x + a, y + b), colour, -1)
        else:
            end = (int(rng.integers(0, wide)), int(rng.integers(0, tall)))
            cv2.line(picture, (x, y), end, colour, max(int(rng.uniform(0.01, 0.06) * tall), 1))


def _ground(rng: np.random.Generator, films: list[Picture]) -> NDArray[np.uint8]:
    """(3, 256, 256): a rendered picture, or slabs, lines and noise of many grains."""
    if rng.random() < 0.35:
        film = films[rng.integers(len(films))]
        side = int(rng.integers(min(film.shape[:2]) // 2, min(film.shape[:2])))
        top, left = rng.integers(0, film.shape[0] - side + 1), rng.integers(0, film.shape[1] - side + 1)
        picture = cv2.resize(film[top : top + side, left : left + side], (GROUND, GROUND))
    else:
        picture = _texture(rng, GROUND, GROUND)
        calm = np.float32(rng.uniform(0.2, 1))
        picture = picture * calm + picture.mean((0, 1)) * (1 - calm)
        _strokes(rng, picture, int(rng.integers(0, 40)))
        picture = picture * (1 + np.float32(rng.uniform(0.02, 0.25)) * noise(rng, GROUND, GROUND, 1))
    toned = (picture - picture.mean()) * np.float32(rng.uniform(0.4, 1.2)) + np.float32(rng.uniform(40, 200))
    return np.clip(toned, 0, 255).astype(np.uint8).transpose(2, 0, 1)


def _film_pictures(rng: np.random.Generator, films: int) -> list[Picture]:
    """A few frames of rendered films, RGB."""
    out: list[Picture] = []
    for _ in range(films):
        settings = RenderSettings(
            num_frames=2, width=480, height=270, frame_rate=0.5, scene="road" if rng.random() < 0.3 else "street",
            num_objects=int(rng.integers(2, 24)), num_occluders=int(rng.integers(0, 5)), camera="walk",
            domain="depot" if rng.random() < 0.5 else "town",
        )  # fmt: skip
        out.extend(shown.image[..., ::-1].astype(np.float32) for shown in render(settings, rng))
    return out


def _toned(rng: np.random.Generator, views: list[Picture]) -> list[Picture]:
    """The views (premultiplied) in duller or more vivid, darker or lighter colours, and maybe grey."""
    vivid = np.float32(0.0 if rng.random() < 0.12 else np.exp(rng.uniform(np.log(0.2), np.log(1.3))))
    contrast, light = np.float32(rng.uniform(0.5, 1.3)), np.float32(rng.uniform(60, 190))
    weight = max(float(views[0][..., 3].sum()) / 255, 1.0)
    mean = np.float32(views[0][..., :3].sum() / weight / 3)
    out = []
    for view in views:
        opaque = view[..., 3:] / 255
        grey = view[..., :3].mean(2, keepdims=True)
        colours = grey + (view[..., :3] - grey) * vivid
        colours = (colours - mean * opaque) * contrast + light * opaque
        out.append(np.concatenate([np.clip(colours, 0, 255 * opaque), view[..., 3:]], 2))
    return out


def _cut_out(colours: Picture, alpha: Picture) -> Picture:
    """(h, w, 4), premultiplied."""
    alpha = np.asarray(alpha, np.float32)
    return np.concatenate([np.clip(colours, 0, 255) * (alpha[..., None] / 255), alpha[..., None]], 2)


def _trimmed(picture: Picture) -> Picture:
    shown = picture[..., 3] > 127
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return np.ascontiguousarray(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _colour(rng: np.random.Generator) -> Picture:
    """RGB, mostly dull."""
    hue, saturation, value = rng.uniform(0, 180), 255 * rng.beta(1.0, 2.0), 20 + 235 * rng.beta(1.2, 1.2)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], np.float32)


def noise(rng: np.random.Generator, tall: int, wide: int, channels: int) -> Picture:
    """(tall, wide, channels) noise of several grains, of unit spread."""
    total = np.zeros((tall, wide, channels), np.float32)
    for cells in (3, 8, 20, 48):  # grains
        weight = np.float32(rng.uniform(0.2, 1.0) * (6 / cells) ** rng.uniform(0, 0.8))
        coarse = rng.standard_normal((cells, max(cells * wide // tall, 2), channels), np.float32)
        fine = cv2.resize(coarse, (wide, tall), interpolation=cv2.INTER_LINEAR)
        total += weight * fine.reshape(tall, wide, channels)
    return total / max(float(total.std()), 1e-3)
