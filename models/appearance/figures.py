"""Crops to learn appearance from: figures of the project's renderer in other clothes, before other pictures.

The renderer dresses its figures in bright plain colours; people wear grey, black and patterns. So each identity is a
drawn figure whose colours were dulled, darkened, sewn from other cloth and overlaid with a texture of its own. Its
views differ as crops of a track do: phase and direction, the detector's box, others in front, background, light,
sharpness, compression. Identities come in scenes that share background, light and sharpness, so that none of these
tells who.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..synthetic.figures import draw_car, draw_pedestrian
from .crops import CROP_SIZE

Image = NDArray[np.uint8]
Picture = NDArray[np.float32]

_TALL, _WIDE = CROP_SIZE
_PHASES = 4
_SHARE_OF_CARS = 0.15  # of scenes


@dataclass(frozen=True)
class _World:
    """What the identities of one scene share.

    Attributes:
        ground: (256, 256, 3) float32 picture that backgrounds are cut from.
        films: (phases, 96, 48, 4) float32 BGR and alpha of every identity, not premultiplied.
        height: pixels that crops had before they were made as large as all.
        cast: (3,) factor of the light.
        noise: spread of the sensor's noise.
        blur: of the lens, in pixels of a crop.
    """

    ground: Picture
    films: list[Picture]
    height: float
    cast: Picture
    noise: float
    blur: float


def draw_scene(rng: np.random.Generator, identities: int, views: int) -> Image:
    """Crops of the identities of one scene.

    Args:
        rng: decides everything.
        identities: how many.
        views: of each.

    Returns:
        (identities, views, 96, 48, 3) uint8, RGB.
    """
    cv2.setNumThreads(1)
    cars = rng.random() < _SHARE_OF_CARS
    wardrobe = np.stack([_cloth(rng) for _ in range(int(rng.integers(3, 16)))])  # few colours: people look alike
    films = [_film(rng, bool(cars), wardrobe) for _ in range(identities)]
    world = _World(
        _ground(rng),
        films,
        float(np.exp(rng.uniform(np.log(24), np.log(110)))),
        np.exp(rng.normal(0, 0.08, 3)).astype(np.float32) * np.float32(rng.uniform(0.7, 1.15)),
        float(rng.uniform(0, 7)),
        float(rng.uniform(0, 1.0)),
    )
    out = np.zeros((identities, views, _TALL, _WIDE, 3), np.uint8)
    for who in range(identities):  # pictures are painted one over another
        for view in range(views):
            out[who, view] = _view(rng, world, who)
    return out


def _film(rng: np.random.Generator, car: bool, wardrobe: Picture) -> Picture:
    """An identity: (phases, 96, 48, 4) float32, in colours like those of the wardrobe (n, 3)."""
    figure = draw_car(rng, 48, 1, sideways=bool(rng.random() < 0.7)) if car else draw_pedestrian(rng, 96, _PHASES)
    film = np.stack([cv2.resize(p, (_WIDE, _TALL), interpolation=cv2.INTER_AREA) for p in figure.film])
    film = film.astype(np.float32)
    colours = film[..., :3]
    if rng.random() < 0.7:
        colours = _resewn(rng, colours, wardrobe)
    grey = colours.mean(-1, keepdims=True)
    colours = grey + (colours - grey) * np.float32(np.exp(rng.uniform(np.log(0.15), np.log(1.2))))
    colours = colours * np.float32(np.exp(rng.normal(-0.15, 0.4)))
    amount = rng.uniform(0, 0.5)
    texture = 1 + amount * _noise(rng, _TALL, _WIDE, 1) + 0.4 * amount * _noise(rng, _TALL, _WIDE, 3)
    colours = colours * texture
    return np.concatenate([np.clip(colours, 3, 250), film[..., 3:]], -1).astype(np.float32)


def _resewn(rng: np.random.Generator, colours: Picture, wardrobe: Picture) -> Picture:
    """The same shading over other cloth: bands of their own colours, and maybe a patch."""
    bands = int(rng.integers(2, 6))
    edges = np.sort(rng.uniform(0.08, 0.95, bands - 1))
    palette = wardrobe[rng.integers(0, len(wardrobe), bands)] + rng.normal(0, 8, (bands, 3)).astype(np.float32)
    down = (np.arange(_TALL) + 0.5) / _TALL
    cloth = np.repeat(palette[np.searchsorted(edges, down)][:, None], _WIDE, 1)
    if rng.random() < 0.4:
        x, y = rng.uniform(0.15, 0.6) * _WIDE, rng.uniform(0.15, 0.7) * _TALL
        wide, tall = rng.uniform(0.1, 0.4) * _WIDE, rng.uniform(0.05, 0.25) * _TALL
        cloth[int(y) : int(y + tall) + 1, int(x) : int(x + wide) + 1] = _cloth(rng)
    light = colours.mean(-1, keepdims=True)
    relief = 0.55 + 0.45 * light / max(float(light.mean()), 1.0)  # folds and limbs remain
    share = np.float32(rng.uniform(0.6, 1.0))
    return np.asarray((1 - share) * colours + share * cloth * np.clip(relief, 0.3, 1.5), np.float32)


def _cloth(rng: np.random.Generator) -> Picture:
    """A colour that people wear, BGR: mostly dark or pale and dull, at times vivid."""
    hue, saturation, value = rng.uniform(0, 180), 255 * rng.beta(1.0, 2.5), 20 + 225 * rng.beta(1.0, 1.4)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0], np.float32)


def _noise(rng: np.random.Generator, tall: int, wide: int, channels: int) -> Picture:
    """(tall, wide, channels) noise of several grains, of about unit spread."""
    total = np.zeros((tall, wide, channels), np.float32)
    for cells in (3, 6, 12, 24):  # grains
        weight = np.float32(rng.uniform(0.2, 1.0) * (6 / cells) ** rng.uniform(0, 0.7))
        coarse = rng.normal(0, 1, (cells, max(cells * wide // tall, 2), channels)).astype(np.float32)
        fine = cv2.resize(coarse, (wide, tall), interpolation=cv2.INTER_CUBIC)
        total += weight * fine.reshape(tall, wide, channels)
    return total / max(float(total.std()), 1e-3)


def _ground(rng: np.random.Generator) -> Picture:
    """What is behind the figures of a scene: uneven ground, walls, lines, of colours of their own."""
    side = 256
    picture = np.full((side, side, 3), 0, np.float32) + rng.uniform(50, 190) + rng.normal(0, 10, 3).astype(np.float32)
    for _ in range(int(rng.integers(2, 14))):  # walls, slabs, kerbs
        x, y = rng.integers(0, side, 2)
        wide, tall = (np.exp(rng.uniform(np.log(3), np.log(200), 2))).astype(int)
        picture[y : y + tall, x : x + wide] = _cloth(rng) * 0.6 + picture.mean((0, 1)) * 0.4
    picture *= 1 + np.float32(rng.uniform(0.02, 0.2)) * _noise(rng, side, side, 1)
    return np.clip(picture, 0, 255).astype(np.float32)


def _view(rng: np.random.Generator, world: _World, who: int) -> Image:
    """One crop of an identity, RGB."""
    left, top = rng.integers(0, 256 - _WIDE), rng.integers(0, 256 - _TALL)
    canvas = world.ground[top : top + _TALL, left : left + _WIDE].copy()
    shift, scale = rng.normal(0, 0.045, 2), np.exp(rng.normal(0.04, 0.06, 2))
    place = (_WIDE * shift[0], _TALL * shift[1], scale[0], scale[1])
    other, side = int(rng.integers(len(world.films))), float(rng.choice([-1.0, 1.0]))
    crowded = other != who and rng.random() < 0.45
    in_front = rng.random() < 0.55
    beside = (side * _WIDE * rng.uniform(0.3, 0.9), _TALL * rng.normal(0, 0.1), *np.exp(rng.normal(0, 0.15, 2)))
    if crowded and not in_front:
        _paint(canvas, _phase(rng, world.films[other]), beside)
    _paint(canvas, _bent(rng, _phase(rng, world.films[who])), place)
    if crowded and in_front:
        _paint(canvas, _phase(rng, world.films[other]), beside)
    if rng.random() < 0.12:
        _hide(rng, canvas, world.ground)
    return _expose(rng, canvas, world)


def _phase(rng: np.random.Generator, film: Picture) -> Picture:
    picture = film[rng.integers(len(film))]
    return picture[:, ::-1] if rng.random() < 0.35 else picture


def _bent(rng: np.random.Generator, picture: Picture) -> Picture:
    """The figure in another posture: its pixels moved by a smooth random field."""
    if rng.random() < 0.25:
        return picture
    move = rng.normal(0, 2.2, (5, 4, 2)).astype(np.float32)
    field = cv2.resize(move, (_WIDE, _TALL), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:_TALL, :_WIDE].astype(np.float32)
    bent = cv2.remap(picture, columns + field[..., 0], rows + field[..., 1], cv2.INTER_LINEAR)
    return np.asarray(bent, np.float32)


def _paint(canvas: Picture, picture: Picture, place: tuple[float, float, float, float]) -> None:
    """Lay a figure over the canvas, in place; ``place`` is a shift in pixels and a scale, about the middle."""
    x, y, wide, tall = place
    matrix = np.array([[wide, 0, x + (1 - wide) * _WIDE / 2], [0, tall, y + (1 - tall) * _TALL / 2]])
    stamp = cv2.warpAffine(np.ascontiguousarray(picture), matrix, (_WIDE, _TALL), flags=cv2.INTER_LINEAR)
    opaque = stamp[..., 3:] / 255
    canvas += (stamp[..., :3] - canvas) * opaque


def _hide(rng: np.random.Generator, canvas: Picture, ground: Picture) -> None:
    """Something that stands before the lower part or one side, in place."""
    left, top = rng.integers(0, 256 - _WIDE), rng.integers(0, 256 - _TALL)
    front = ground[top : top + _TALL, left : left + _WIDE]
    if rng.random() < 0.5:
        row = int(_TALL * rng.uniform(0.5, 0.9))
        canvas[row:] = front[row:]
    else:
        first = int(_WIDE * rng.uniform(-0.2, 0.9))
        part = slice(max(first, 0), max(first, 0) + int(_WIDE * rng.uniform(0.1, 0.4)))
        canvas[:, part] = front[:, part]


def _expose(rng: np.random.Generator, canvas: Picture, world: _World) -> Image:
    """The canvas as the scene's camera sees it at this moment."""
    light = world.cast * np.exp(rng.normal(0, 0.03, 3)).astype(np.float32) * np.float32(np.exp(rng.normal(0, 0.16)))
    canvas = canvas * light
    if rng.random() < 0.4:  # a shadow, or the sun between two houses
        at = rng.uniform(0, _TALL)
        edge = 1 / (1 + np.exp(-(np.arange(_TALL) - at) / rng.uniform(1, 20)))
        canvas = canvas * (1 + np.float32(rng.uniform(-0.45, 0.3)) * edge[:, None, None].astype(np.float32))
    tall = int(np.clip(world.height * np.exp(rng.normal(0, 0.25)), 16, _TALL))
    blur = world.blur + (rng.uniform(0, 1.2) if rng.random() < 0.25 else 0.0)
    if blur > 0.3:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), blur), np.float32)
    if tall < _TALL:
        canvas = np.asarray(cv2.resize(canvas, (max(tall // 2, 8), tall), interpolation=cv2.INTER_AREA), np.float32)
    canvas = canvas + rng.normal(0, 1, canvas.shape).astype(np.float32) * np.float32(world.noise)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    if tall < _TALL:
        image = np.asarray(cv2.resize(image, (_WIDE, _TALL), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image[..., ::-1])
