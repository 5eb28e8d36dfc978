"""Draw pairs to learn following from: a template crop of an object, and a search crop in which it looks otherwise.

Between the two the object turns, stretches, bends, changes its light, and moves over its background or before another
one. Others like it are near, some of them in front; the camera blurs, and pictures are small, noisy and compressed. A
batch is drawn at once. The unit of length is a hundredth of the mean side of the target's box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .crops import as_xyxy, to_crop, windows_around
from .depiction import GROUND, SPRITE, Library
from .network import TrackerConfig

#: Pixels of a picture of an object at which its outline is read.
_OPAQUE = 0.5

_OTHERS = 3  # beside the target, in a search crop
_UNIT = 100.0
_KERNEL = 9  # pixels of a blur


@dataclass(frozen=True)
class Pairs:
    """What a tracker learns from, B pairs.

    Attributes:
        template: (B, 3, t, t) float32, RGB in 0 to 255.
        search: (B, 3, s, s) likewise.
        xyxy: (B, 4) float32, the target's whole box in shares of the search crop; it may reach outside. What it is
            where the target is absent means nothing.
        present: (B,) bool, whether the target is in the search crop.
    """

    template: Tensor
    search: Tensor
    xyxy: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True)
class Jitter:
    """How far the search is off.

    Attributes:
        shift: of the middle, in mean sides of the target, evenly to both sides in 40 % of the pairs; the others are
            off by a quarter of it, normally.
        scale: spread of the logarithm of the sides.
        absent: share of pairs whose target is not in the search crop.
    """

    shift: float = 1.2
    scale: float = 0.25
    absent: float = 0.08


@dataclass(frozen=True)
class _Placed:
    """Objects as one view shows them.

    Attributes:
        picture: (B, 4, 64, 64) float32, as ``_sprites`` gives them.
        matrix: (B, 2, 2) from places in the picture, -1 to 1, to units.
        middle: (B, 2) units, of the picture.
        xyxy: (B, 4) units, tight boxes.
    """

    picture: Tensor
    matrix: Tensor
    middle: Tensor
    xyxy: Tensor


def draw_pairs(
    library: Library, count: int, config: TrackerConfig, random: torch.Generator, jitter: Jitter | None = None
) -> Pairs:
    """Pairs of objects and places of a library.

    Args:
        library: what there is.
        count: B.
        config: sizes and contexts of the crops.
        random: decides everything.
        jitter: of the search.
    """
    jitter = jitter or Jitter()
    draw = _Dice(random)
    who = torch.randperm(len(library.sprites), generator=random)
    who = who.repeat(-(-count // len(who)))[:count]
    target = _sprites(library, who, 0), _sprites(library, who, 1)
    aspect = torch.from_numpy(library.aspect)
    pose = _Pose(draw, count, aspect[who])
    first, then = pose.place(draw, target[0], 0.5), pose.place(draw, target[1], 1.0)

    # The other thing that goes along, behind the target: a body to a face, a load to a carrier.
    along = torch.randint(len(aspect), (count,), generator=random)
    goes_along = draw.chance(count, 0.25)
    offset = _on_circle(draw.even(count, 0, 2 * math.pi)) * draw.even(count, 50, 110)[:, None]
    size = draw.even(count, 0.8, 2.0)[:, None]
    body = _Pose(draw, count, aspect[along])
    pictures = _sprites(library, along, 0), _sprites(library, along, 1)
    bodies = [_moved(body.place(draw, p, d), offset, size) for p, d in zip(pictures, (0.3, 0.5), strict=True)]

    present = ~draw.chance(count, jitter.absent)
    templates = _template(library, draw, config, first, (bodies[0], goes_along), who)
    searches, xyxy = _search(library, draw, config, then, (bodies[1], goes_along), who, present, jitter)
    windows, grounds, layers = _scene(library, draw, templates, searches)
    scale = (config.template, config.search)
    light = draw.normal((count, 3), 0, 0.07).exp() * draw.normal((count, 1), 0, 0.15).exp()
    views = []
    haze = draw.even(count, 0.15, 1.0) ** 2  # how bad the camera is
    sharp = draw.even(count, 32, 220).clamp_max(128) / 128  # share of the pixels that the picture has
    grey = draw.chance(count, 0.12)
    for number in range(2):  # template and search
        picture = _paint(windows[number], grounds[number], layers[number], scale[number])
        picture = _edged(draw, picture, windows[number])
        picture = torch.where(grey[:, None, None, None], picture.mean(1, keepdim=True), picture)
        views.append(_expose(draw, picture, light, haze, sharp))
    return Pairs(views[0], views[1], xyxy, present)


class _Dice:
    """Random columns from one generator."""

    def __init__(self, random: torch.Generator) -> None:
        self.random = random

    def even(self, count: int | tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.rand(count, generator=self.random) * (high - low) + low

    def normal(self, shape: tuple[int, ...], mean: float, spread: float) -> Tensor:
        return torch.randn(shape, generator=self.random) * spread + mean

    def chance(self, count: int, share: float) -> Tensor:
        return torch.rand(count, generator=self.random) < share


class _Pose:
    """How objects stand, before they move: aspect (B,) and turn (B,)."""

    def __init__(self, draw: _Dice, count: int, aspect: Tensor) -> None:
        self.aspect = aspect
        self.turn = draw.normal((count,), 0, 0.3) * draw.chance(count, 0.5)
        self.flip = draw.chance(count, 0.5)

    def place(self, draw: _Dice, sprites: Tensor, change: float) -> _Placed:
        """Place pictures (B, 4, 64, 64) about the origin, changed by so much (0 to 1)."""
        count = len(sprites)
        bent = _bent(draw, sprites, change)
        turn = self.turn + draw.normal((count,), 0, 0.22 * change)
        aspect = self.aspect * draw.normal((count,), 0, 0.1 * change).exp()
        shear = draw.normal((count,), 0, 0.08 * change)
        mirror = torch.where(self.flip, -1.0, 1.0)
        cos, sin = turn.cos(), turn.sin()
        wide, tall = aspect.sqrt() * mirror, aspect.rsqrt()
        matrix = torch.stack([cos * wide, (cos * shear - sin) * tall, sin * wide, (sin * shear + cos) * tall], 1)
        matrix = matrix.reshape(-1, 2, 2)
        xyxy = _extent(bent[:, 3], matrix)
        sides = xyxy[:, 2:] - xyxy[:, :2]
        grow = _UNIT / sides.mean(1)
        middle = -(xyxy[:, :2] + xyxy[:, 2:]) / 2 * grow[:, None]
        half = sides * grow[:, None] / 2
        return _Placed(bent, matrix * grow[:, None, None], middle, torch.cat([-half, half], 1))


def _extent(alpha: Tensor, matrix: Tensor) -> Tensor:
    """Tight boxes (B, 4) of pictures (B, S, S) under maps (B, 2, 2): extremes of the outline of every row."""
    solid = alpha > _OPAQUE
    cells = torch.arange(SPRITE)
    left = torch.where(solid, cells, SPRITE).amin(2)  # (B, S)
    right = torch.where(solid, cells + 1, 0).amax(2)
    some = solid.any(2)[:, :, None, None]
    rows = torch.stack([cells, cells + 1], 1)[None, :, :, None].expand(len(alpha), -1, -1, 2)  # upper and lower edge
    columns = torch.stack([left, right], 2)[:, :, None].expand_as(rows)
    points = torch.stack([columns, rows], -1).float() * (2 / SPRITE) - 1  # (B, S, 2, 2, 2)
    points = torch.einsum("bij,brcdj->brcdi", matrix, points)
    low = torch.where(some[..., None], points, math.inf).flatten(1, 3).amin(1)
    high = torch.where(some[..., None], points, -math.inf).flatten(1, 3).amax(1)
    return torch.cat([low, high], 1)


def _bent(draw: _Dice, sprites: Tensor, change: float) -> Tensor:
    """Pictures whose parts have moved a little, each part its own way, and whose light comes from elsewhere."""
    count = len(sprites)
    move = draw.normal((count, 2, 4, 4), 0, 1) * (draw.even(count, 0, 0.09) * change)[:, None, None, None]
    flow = functional.interpolate(move, size=(SPRITE, SPRITE), mode="bicubic").permute(0, 2, 3, 1)
    line = (torch.arange(SPRITE) + 0.5) * 2 / SPRITE - 1
    grid = torch.stack([line[None, :].expand(SPRITE, -1), line[:, None].expand(-1, SPRITE)], -1)
    bent = functional.grid_sample(sprites, grid + flow, align_corners=False)
    slope = draw.normal((count, 1, 3, 3), 0, 1) * (draw.even(count, 0, 0.25) * change)[:, None, None, None]
    light = functional.interpolate(slope, size=(SPRITE, SPRITE), mode="bilinear").exp()
    return torch.cat([bent[:, :3] * light, bent[:, 3:]], 1)


def _moved(placed: _Placed, offset: Tensor, size: Tensor | float = 1.0) -> _Placed:
    """Elsewhere by (B, 2) units, and larger by a factor (B, 1)."""
    size = torch.as_tensor(size, dtype=torch.float32).expand(len(offset), 1)
    shift = torch.cat([offset, offset], 1)
    return _Placed(
        placed.picture, placed.matrix * size[..., None], placed.middle * size + offset, placed.xyxy * size + shift
    )


def _template(
    library: Library, draw: _Dice, config: TrackerConfig, target: _Placed, body: tuple[_Placed, Tensor], who: Tensor
) -> tuple[Tensor, list[tuple[_Placed, Tensor]]]:
    """Windows of the template crops, and layers from back to front with who is there."""
    count = len(who)
    xyxy = target.xyxy + draw.normal((count, 4), 0, 0.03) * _UNIT
    other = _neighbour(library, draw, who, (70, 160))
    front = draw.chance(count, 0.15)
    beside = draw.chance(count, 0.35)
    layers = [(other, beside & ~front), body, (target, torch.ones(count, dtype=torch.bool)), (other, beside & front)]
    return windows_around(xyxy, config.template_factor), layers


def _search(
    library: Library, draw: _Dice, config: TrackerConfig, target: _Placed, body: tuple[_Placed, Tensor], who: Tensor,
    present: Tensor, jitter: Jitter,
) -> tuple[tuple[Tensor, list[tuple[_Placed, Tensor]]], Tensor]:  # fmt: skip
    """Windows and layers of the search crops, and the target's boxes in shares of them."""
    count = len(who)
    sides = (target.xyxy[:, 2:] - target.xyxy[:, :2]) * draw.normal((count, 1), 0, jitter.scale).clamp(-0.6, 0.6).exp()
    sides = sides * draw.normal((count, 2), 0, 0.08).exp()
    far = draw.chance(count, 0.4)[:, None]
    off = torch.where(far, draw.even((count, 2), -1, 1), draw.normal((count, 2), 0, 0.25)) * jitter.shift * _UNIT
    windows = windows_around(as_xyxy(torch.cat([off, sides], 1)), config.search_factor)
    behind, front = [], []
    for number in range(_OTHERS):  # layers, each of which is a batch
        there = draw.chance(count, (0.6, 0.4, 0.3)[number])
        before = draw.chance(count, 0.3)
        other = _neighbour(library, draw, who, (40 if number == 0 else 80, 220))
        shown = _seen(target, other)
        before &= shown > 0.35
        behind.append((other, there & ~before))
        front.append((other, there & before))
    instead = _neighbour(library, draw, who, (0, 30))
    layers = [*behind, (body[0], body[1] & present), (instead, ~present & draw.chance(count, 0.6)), (target, present)]
    return (windows, [*layers, *front]), to_crop(target.xyxy[:, None], windows)[:, 0]


def _seen(target: _Placed, other: _Placed) -> Tensor:
    """(B,) at least so much of a target's box is beside another's box."""
    low = torch.maximum(target.xyxy[:, :2], other.xyxy[:, :2])
    high = torch.minimum(target.xyxy[:, 2:], other.xyxy[:, 2:])
    area = (target.xyxy[:, 2:] - target.xyxy[:, :2]).prod(1)
    return 1 - (high - low).clamp_min(0).prod(1) / area


def _neighbour(library: Library, draw: _Dice, who: Tensor, apart: tuple[float, float]) -> _Placed:
    """Other objects near the target; half of them have its shape, but not its texture."""
    count, things = len(who), len(library.sprites)
    other = (who + torch.randint(1, things, (count,), generator=draw.random)) % things
    sprites = _sprites(library, other, 0)
    shape = _sprites(library, who, 1)[:, 3:]
    alike = draw.chance(count, 0.4)[:, None, None, None]
    solid = sprites[:, :3] / sprites[:, 3:].clamp_min(0.05)
    ground = (sprites[:, :3].sum((2, 3)) / sprites[:, 3:].sum((2, 3)).clamp_min(1))[:, :, None, None]
    dressed = torch.where(sprites[:, 3:] > _OPAQUE, solid, ground) * shape
    sprites = torch.where(alike, torch.cat([dressed, shape], 1), sprites)
    aspect = torch.from_numpy(library.aspect)
    aspect = torch.where(alike[:, 0, 0, 0], aspect[who], aspect[other])
    placed = _Pose(draw, count, aspect).place(draw, sprites, 0.5)
    offset = _on_circle(draw.even(count, 0, 2 * math.pi)) * draw.even(count, *apart)[:, None]
    return _moved(placed, offset, draw.normal((count, 1), 0, 0.25).exp())


def _scene(
    library: Library, draw: _Dice, template: tuple[Tensor, list[tuple[_Placed, Tensor]]],
    search: tuple[Tensor, list[tuple[_Placed, Tensor]]],
) -> tuple[tuple[Tensor, Tensor], list[tuple[Tensor, Tensor]], tuple[list[tuple[_Placed, Tensor]], ...]]:  # fmt: skip
    """Windows, backgrounds with their maps, and layers of both crops; most pairs share a background that has moved."""
    count, places = len(template[0]), len(library.grounds)
    first = torch.randint(places, (count,), generator=draw.random)
    second = torch.randint(places, (count,), generator=draw.random)
    second = torch.where(draw.chance(count, 0.65), first, second)
    grain = torch.exp2(draw.even(count, -1.3, 0.5))  # pixels of the background by unit
    middle = draw.even((count, 2), 40, GROUND - 40)
    moved = middle + draw.normal((count, 2), 0, 1) * draw.even(count, 0, 40)[:, None]
    grounds = torch.from_numpy(library.grounds)
    maps = [torch.cat([at, grain[:, None]], 1) for at in (middle, moved)]
    pictures = [(grounds[each].float(), at) for each, at in zip((first, second), maps, strict=True)]
    return (template[0], search[0]), pictures, (template[1], search[1])


def _paint(windows: Tensor, ground: tuple[Tensor, Tensor], layers: list[tuple[_Placed, Tensor]], size: int) -> Tensor:
    """Crops (B, 3, size, size): the background, and the layers over it."""
    line = (torch.arange(size) + 0.5) / size - 0.5
    unit = torch.stack([line[None, :].expand(size, -1), line[:, None].expand(-1, size)], -1)  # (size, size, 2)
    picture, at = ground
    # Places in units are middle + side * unit: one affine map a crop, in the background and in every layer.
    middle = at[:, :2] + windows[:, :2] * at[:, 2:]
    place = middle[:, None, None] + unit * (windows[:, 2] * at[:, 2])[:, None, None, None]
    canvas = functional.grid_sample(picture, place * (2 / GROUND) - 1, padding_mode="reflection", align_corners=False)
    for placed, there in layers:  # painted over each other
        rows = there.nonzero()[:, 0]
        if not len(rows):
            continue
        inverse = torch.linalg.inv(placed.matrix[rows])
        centre = torch.einsum("bij,bj->bi", inverse, windows[rows, :2] - placed.middle[rows])
        step = inverse * windows[rows, 2, None, None]
        grid = centre[:, None, None] + torch.einsum("bij,hwj->bhwi", step, unit)
        over = functional.grid_sample(placed.picture[rows], grid, align_corners=False)
        canvas[rows] = canvas[rows] * (1 - over[:, 3:]) + over[:, :3]
    return canvas


def _edged(draw: _Dice, picture: Tensor, windows: Tensor) -> Tensor:
    """Some crops reach over the edge of the picture, beside the target; what is outside has the mean colour."""
    count, size = len(picture), picture.shape[2]
    line = (torch.arange(size) + 0.5) / size - 0.5
    side = torch.randint(4, (count,), generator=draw.random)
    place = windows[torch.arange(count), side % 2, None] + windows[:, 2:] * line  # (B, size), along x or y
    outside = torch.where(side < 2, 1.0, -1.0)[:, None] * place > draw.even(count, 70, 230)[:, None]
    outside &= draw.chance(count, 0.2)[:, None]
    upright = (side % 2 == 1)[:, None, None]
    mask = torch.where(upright, outside[:, :, None], outside[:, None, :])[:, None]
    return torch.where(mask, picture.mean((2, 3), keepdim=True), picture)


def _expose(draw: _Dice, picture: Tensor, light: Tensor, haze: Tensor, sharp: Tensor) -> Tensor:
    """Pictures (B, 3, s, s) as a camera sees them: cast, shade, blur, few pixels, noise, compression."""
    count, size = len(picture), picture.shape[2]
    change = light * draw.normal((count, 1), 0, 0.1).exp() * draw.normal((count, 3), 0, 0.02).exp()
    slope = draw.normal((count, 1, 2, 2), 0, 0.12)
    shade = functional.interpolate(slope, size=(size, size), mode="bilinear", align_corners=True).exp()
    picture = picture * change[:, :, None, None] * shade
    picture = _blurred(draw, picture, haze, size)
    grain = draw.even(count, 0, 9) * haze
    low = (sharp * draw.normal((count,), 0, 0.1).exp() * size).round().clamp(size // 4, size).long().tolist()
    noise = torch.randn(picture.shape, generator=draw.random) * grain[:, None, None, None]
    packed = torch.where(draw.chance(count, 0.35), draw.even(count, 20, 90), 0.0).round().long().tolist()
    out = []
    for number in range(count):  # pictures of different sizes
        one = picture[number : number + 1]
        side = low[number]
        if side < size:
            one = functional.interpolate(one, size=(side, side), mode="area")
        one = (one + noise[number : number + 1, :, :side, :side]).clamp(0, 255)
        if packed[number]:
            one = _packed(one, packed[number])
        if side < size:
            one = functional.interpolate(one, size=(size, size), mode="bilinear", align_corners=False)
        out.append(one)
    return torch.cat(out)


def _packed(picture: Tensor, quality: int) -> Tensor:
    """(1, 3, s, s) as it comes out of a compressed file."""
    pixels = picture[0].permute(1, 2, 0).to(torch.uint8).numpy()
    stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    again = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))
    return torch.from_numpy(again).permute(2, 0, 1)[None].float()


def _blurred(draw: _Dice, picture: Tensor, haze: Tensor, size: int) -> Tensor:
    """Blur of the lens and, in some, along a direction of motion: one Gaussian, longer than wide."""
    count = len(picture)
    lens = draw.even(count, 0.15, 1.1) * haze * (size / 128) + 0.15
    motion = draw.chance(count, 0.3) * draw.even(count, 0.5, 3.2) * (size / 128)
    turn = draw.even(count, 0, math.pi)
    line = torch.arange(_KERNEL) - (_KERNEL - 1) / 2
    x, y = line[None, None, :], line[None, :, None]
    cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
    along, across = x * cos + y * sin, y * cos - x * sin
    wide = lens[:, None, None]
    long = wide + motion[:, None, None]
    kernel = (-0.5 * ((along / long) ** 2 + (across / wide) ** 2)).exp()
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    half = _KERNEL // 2
    framed = functional.pad(picture, (half,) * 4, mode="replicate").flatten(0, 1)[None]
    weight = kernel.repeat_interleave(3, 0)[:, None]
    return functional.conv2d(framed, weight, groups=3 * count).reshape(picture.shape)


def _sprites(library: Library, index: Tensor, view: int) -> Tensor:
    """(B, 4, 64, 64) float32: colours in 0 to 255, premultiplied, and alpha in 0 to 1."""
    taken = torch.from_numpy(library.sprites)[index, view].float()
    taken[:, 3] /= 255
    return taken


def _on_circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], 1)
