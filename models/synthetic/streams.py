"""Simulated streams of detections: what an imperfect detector reports of a simulated scene, with the truth behind it.

The hierarchy is pretrained on these (SPAM, section "synthetic pretraining"; MOTSynth there, a simulator of boxes here).
Detector faults that matter to tracking are modelled: misses that cluster in time and grow with occlusion, correlated
jitter, locked aspect ratios, duplicates, merged boxes, false positives that repeat, and appearance of any quality or
none. Scores come on an arbitrary scale; the model reads only what survives any monotone change of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..columns import Candidates, VideoInfo
from .scenes import Array, Generator, Scene, correlated_noise, log_uniform, simulate_scene


@dataclass(frozen=True)
class StreamSettings:
    """Ranges from which streams are drawn; every range is (low, high).

    Attributes:
        num_frames: length of a stream.
        density: objects in view at a time, log-uniform.
        frame_rate: frames per second, log-uniform.
        embedding_share: share of streams that have appearance vectors.
        people_share: share of streams with people; the rest has cars.
        blind_share: share of detectors that see hidden objects as well as others.
        independent_share: share of detectors whose boxes scatter independently from frame to frame.
    """

    num_frames: tuple[int, int] = (64, 256)
    density: tuple[float, float] = (2.0, 40.0)
    frame_rate: tuple[float, float] = (7.0, 30.0)
    embedding_share: float = 0.35
    people_share: float = 0.75
    blind_share: float = 0.15
    independent_share: float = 0.4


@dataclass(frozen=True)
class Stream:
    """One simulated video: candidates and the truth behind them.

    Attributes:
        info: length, size, frame rate.
        candidates: what the detector reported.
        identity: (N,) int64, true object behind each candidate or -1; at most one candidate an object and frame.
        valid: (N,) bool, whether the candidate overlaps its object by an IoU of at least 0.5.
        truth_frame: (M,) int64, frame of every true box.
        truth_xyxy: (M, 4) float32, pixels.
        truth_identity: (M,) int64.
    """

    info: VideoInfo
    candidates: Candidates
    identity: NDArray[np.int64]
    valid: NDArray[np.bool_]
    truth_frame: NDArray[np.int64]
    truth_xyxy: NDArray[np.float32]
    truth_identity: NDArray[np.int64]


def simulate_stream(seed: int, settings: StreamSettings | None = None) -> Stream:
    """The stream of this seed: the same seed and settings give the same stream."""
    settings = settings or StreamSettings()
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(settings.num_frames[0], settings.num_frames[1] + 1))
    rate = float(log_uniform(rng, *settings.frame_rate))
    density = float(log_uniform(rng, *settings.density))
    people = bool(rng.random() < settings.people_share)
    scene = simulate_scene(rng, frames, density if people else min(density, 12.0), rate, people)
    boxes = _detect(rng, scene, settings)
    boxes = _merge(boxes, _false_boxes(rng, scene, boxes))
    boxes = _cut(rng, boxes)
    return _finish(rng, scene, boxes, f"stream-{seed}", rng.random() < settings.embedding_share)


@dataclass(frozen=True)
class _Boxes:
    """Reported boxes in any order: frame, box, latent quality (any monotone image of it is the score), object or -1."""

    frame: NDArray[np.int64]
    xyxy: Array
    quality: Array
    source: NDArray[np.int64]
    look: NDArray[np.int64]  # which appearance: the object, or a number beyond the objects for a false box


def _merge(*parts: _Boxes) -> _Boxes:
    return _Boxes(*(np.concatenate([getattr(p, key) for p in parts]) for key in _Boxes.__dataclass_fields__))


def _take(boxes: _Boxes, rows: NDArray) -> _Boxes:
    return _Boxes(*(getattr(boxes, key)[rows] for key in _Boxes.__dataclass_fields__))


def _detect(rng: Generator, scene: Scene, settings: StreamSettings) -> _Boxes:
    """What the detector sees of the true objects: hits, duplicates and merged boxes."""
    frames, count = scene.present.shape
    rate = scene.frame_rate
    blind_to_occlusion = rng.random() < settings.blind_share
    steep = 0.0 if blind_to_occlusion else rng.uniform(4.0, 14.0)
    slow = correlated_noise(rng, frames, count, rate * log_uniform(rng, 0.08, 1.0))
    fast = rng.standard_normal((frames, count))
    share = 0.0 if rng.random() < 0.3 else rng.uniform(0.2, 0.9)
    size = np.log(np.maximum(scene.xyxy[..., 3] - scene.xyxy[..., 1], 1.0) / scene.height)
    quality = steep * np.minimum(scene.visibility - rng.uniform(0.3, 0.6), rng.uniform(0.1, 0.5))
    quality = quality + rng.uniform(0, 0.7) * np.minimum(size - np.log(0.15), 0.5)
    quality = (
        quality + np.sqrt(share) * slow + np.sqrt(1 - share) * fast + rng.uniform(0, 0.7) * rng.standard_normal(count)
    )
    clear = scene.present & (scene.visibility > 0.7)
    recall = rng.uniform(0.9, 0.99) if rng.random() < 0.5 else rng.uniform(0.55, 0.95)
    limit = np.quantile(quality[clear], 1 - recall) if clear.any() else 0.0
    hit = scene.present & (quality > limit)
    frame, obj = np.nonzero(hit)
    excess = quality[hit] - limit
    boxes = _locate(rng, scene, frame, obj, excess, settings.independent_share)
    found = _Boxes(frame, boxes, excess, obj, obj)
    return _merge(found, _duplicates(rng, scene, found), _unions(rng, scene, found))


def _locate(
    rng: Generator, scene: Scene, frame: NDArray, obj: NDArray, excess: Array, independent_share: float
) -> Array:
    """(N, 4) boxes with the detector's localisation noise."""
    frames, count = scene.present.shape
    true = scene.xyxy[frame, obj]
    sides = true[:, 2:] - true[:, :2]
    centre = (true[:, :2] + true[:, 2:]) / 2
    amount = log_uniform(rng, 0.008, 0.07)
    per_side = bool(rng.random() < 0.3)  # noise in units of each side, else of the smaller one
    slow_share = rng.uniform(0, 0.8) if rng.random() < 1 - independent_share else 0.0
    slow = correlated_noise(rng, frames, 4 * count, scene.frame_rate * log_uniform(rng, 0.1, 0.8))
    slow = slow.reshape(frames, count, 4)[frame, obj]
    noise = np.sqrt(slow_share) * slow + np.sqrt(1 - slow_share) * rng.standard_normal((len(frame), 4))
    noise = noise * amount * (1 + rng.uniform(0, 1.5) * np.exp(-np.maximum(excess, 0))[:, None])
    heavy = rng.random((len(frame), 1)) < rng.uniform(0, 0.04)
    noise = np.where(heavy, noise * 4, noise)
    unit = sides if per_side else np.repeat(np.sqrt(sides.prod(1, keepdims=True)) * 0.8, 2, 1)
    bias = rng.normal(0, 0.05, 2)
    centre = centre + noise[:, :2] * unit + rng.normal(0, 0.02, 2) * sides
    sides = sides * np.exp(np.clip(noise[:, 2:] * rng.uniform(0.7, 1.6) + bias, -0.7, 0.7))
    if rng.random() < 0.3:  # sliding-window detectors: one aspect ratio, a grid of scales
        ratio = np.median(sides[:, 0] / np.maximum(sides[:, 1], 1e-6)) if len(sides) else 0.4
        step = np.log(rng.uniform(1.02, 1.12))
        tall = np.exp(np.round(np.log(np.maximum(sides[:, 1], 1.0)) / step) * step)
        sides = np.stack([tall * ratio, tall], 1)
    box = np.concatenate([centre - sides / 2, centre + sides / 2], 1)
    if rng.random() < 0.3:  # boxes that shrink to the visible part
        hidden = (1 - scene.visibility[frame, obj])[:, None] * rng.uniform(0.2, 0.8)
        side = rng.choice([0, 1, 2, 3], len(frame), p=[0.3, 0.05, 0.3, 0.35])[:, None] == np.arange(4)
        span = np.concatenate([sides, -sides], 1)
        box = box + side * span * hidden * 0.6
    return box


def _duplicates(rng: Generator, scene: Scene, found: _Boxes) -> _Boxes:
    """Second boxes on the same object: parts, too large ones, shifted ones; a place repeats for a while."""
    frames, count = scene.present.shape
    rate = 0.0 if rng.random() < 0.3 else log_uniform(rng, 0.01, 0.5)
    level = correlated_noise(rng, frames, count, scene.frame_rate * log_uniform(rng, 0.05, 0.6))
    rows = np.flatnonzero(level[found.frame, found.source] < _normal_quantile(rate))
    kind = rng.integers(0, 3, count)
    scale = np.where(kind == 0, rng.uniform(0.45, 0.75, count), np.where(kind == 1, rng.uniform(1.2, 1.7, count), 1.0))
    move = rng.normal(0, 0.25, (count, 2)) * (kind == 2)[:, None] + rng.normal(0, 0.08, (count, 2))
    obj = found.source[rows]
    box = found.xyxy[rows]
    sides = box[:, 2:] - box[:, :2]
    centre = (box[:, :2] + box[:, 2:]) / 2 + (move[obj] + rng.normal(0, 0.04, (len(rows), 2))) * sides
    sides = sides * scale[obj, None] * np.exp(rng.normal(0, 0.05, (len(rows), 2)))
    quality = found.quality[rows] - rng.uniform(0.3, 2.0) - np.abs(rng.normal(0, 0.5, len(rows)))
    return _Boxes(found.frame[rows], np.concatenate([centre - sides / 2, centre + sides / 2], 1), quality, obj, obj)


def _unions(rng: Generator, scene: Scene, found: _Boxes) -> _Boxes:
    """One box around two objects that overlap, in place of the farther one's."""
    if rng.random() < 0.6 or len(found.frame) < 2:
        return _take(found, np.zeros(0, int))
    rows = np.flatnonzero(
        (scene.visibility[found.frame, found.source] < 0.7) & (rng.random(len(found.frame)) < rng.uniform(0, 0.3))
    )
    rows = rows[rows > 0]
    rows = rows[found.frame[rows] == found.frame[rows - 1]]
    one, two = found.xyxy[rows], found.xyxy[rows - 1]
    near = (np.minimum(one[:, 2], two[:, 2]) > np.maximum(one[:, 0], two[:, 0])) & (
        np.minimum(one[:, 3], two[:, 3]) > np.maximum(one[:, 1], two[:, 1])
    )
    rows, one, two = rows[near], one[near], two[near]
    box = np.concatenate([np.minimum(one[:, :2], two[:, :2]), np.maximum(one[:, 2:], two[:, 2:])], 1)
    return _Boxes(found.frame[rows], box, found.quality[rows] - 0.3, found.source[rows], found.look[rows])


def _false_boxes(rng: Generator, scene: Scene, found: _Boxes) -> _Boxes:
    """Boxes where no object is: once, or again and again at a place of the world."""
    frames, count = scene.present.shape
    density = max(len(found.frame) / frames, 0.5)
    # Candidates are over-complete: detectors are asked for more than they are sure of, and score most of the rest low.
    single_share = log_uniform(rng, 0.03, 1.2)
    place_share = 0.0 if rng.random() < 0.08 else log_uniform(rng, 0.15, 4.0)
    margin = rng.uniform(1.5, 3.2) if single_share + 0.4 * place_share > 0.6 else rng.uniform(0.8, 3.0)
    number = rng.poisson(density * single_share * frames)
    frame = rng.integers(0, frames, number)
    single = _Boxes(frame, _false_shapes(rng, scene, found, frame), _false_quality(rng, found, number, margin, 0.0),
                    np.full(number, -1), count + 1 + rng.integers(0, 1000, number))  # fmt: skip
    places = rng.poisson(density * place_share)
    start = rng.integers(0, frames, places)
    shape = _false_shapes(rng, scene, found, start)
    firing = correlated_noise(rng, frames, places, scene.frame_rate * log_uniform(rng, 0.05, 1.0))
    often = _normal_quantile(rng.uniform(0.05, 0.9, places))
    span = np.where(rng.random(places) < 0.4, frames * 2.0, scene.frame_rate * log_uniform(rng, 0.2, 6.0, places))
    on = (firing < often) & (np.abs(np.arange(frames)[:, None] - start) < span)
    frame, place = np.nonzero(on)
    box = _carried(rng, scene, shape, start)[frame, place]
    sides = box[:, 2:] - box[:, :2]
    noise = rng.normal(0, log_uniform(rng, 0.01, 0.06), (len(frame), 4)) * np.concatenate([sides, sides], 1)
    bonus = rng.normal(0, 0.6, places)[place]
    repeated = _Boxes(frame, box + noise, _false_quality(rng, found, len(frame), margin, 0.25) + bonus,
                      np.full(len(frame), -1), count + 2000 + place)  # fmt: skip
    return _merge(single, repeated)


def _false_shapes(rng: Generator, scene: Scene, found: _Boxes, frame: NDArray) -> Array:
    """(n, 4) boxes: some as objects look at that place, some of any size anywhere."""
    number = len(frame)
    if not len(found.frame) or not number:
        wide = rng.uniform(0.02, 0.1, (number, 1)) * scene.width
        corner = rng.uniform(0, 0.9, (number, 2)) * [scene.width, scene.height]
        return np.concatenate([corner, corner + wide * [1.0, 2.0]], 1)
    like = found.xyxy[rng.integers(0, len(found.frame), number)]
    sides = like[:, 2:] - like[:, :2]
    sides = sides * np.exp(rng.normal(0, rng.uniform(0.05, 0.4), (number, 2)))
    centre = (like[:, :2] + like[:, 2:]) / 2
    anywhere = rng.uniform(0, 1, (number, 2)) * [scene.width, scene.height]
    along = np.stack([rng.uniform(0, scene.width, number), centre[:, 1]], 1)
    kind = rng.random((number, 1))
    edge = rng.uniform(0.2, 0.8)
    centre = np.where(kind < edge, along, anywhere)
    return np.concatenate([centre - sides / 2, centre + sides / 2], 1)


def _carried(rng: Generator, scene: Scene, shape: Array, start: NDArray) -> Array:
    """(T, n, 4) false boxes as the camera's motion carries them through the image, from where they started."""
    shift = scene.camera[:, None, :2] - scene.camera[start][None, :, :2]
    focal, horizon, eye = scene.ground
    depth = focal * eye / np.maximum(shape[:, 3] - scene.camera[start, 1] - horizon, focal * eye / 60.0)
    way = scene.camera[:, None, 2] - scene.camera[start][None, :, 2]
    grow = depth / np.maximum(depth - way, 1.0)
    middle = np.array([scene.width / 2, horizon]) + scene.camera[start, :2]
    corners = shape.reshape(-1, 2, 2) - middle[:, None]
    carried = corners[None] * grow[..., None, None] + middle[None, :, None] + shift[:, :, None]
    visible = (grow < 4).astype(float)[..., None]
    return (carried.reshape(len(shift), -1, 4) * visible) + (1 - visible) * -1e6


def _false_quality(rng: Generator, found: _Boxes, number: int, margin: float, bonus: float) -> Array:
    """Latent quality of false boxes: below the true ones' by a margin (in units of their spread)."""
    if not len(found.frame):
        return rng.exponential(1.0, number)
    middle, spread = np.median(found.quality), found.quality.std() + 0.1
    return middle - spread * (margin - bonus) + rng.normal(0, spread * rng.uniform(0.3, 0.8), number)


def _cut(rng: Generator, boxes: _Boxes) -> _Boxes:
    """A detector's own threshold: the lowest scores are often not published."""
    if rng.random() < 0.4 or not len(boxes.frame):
        return boxes
    return _take(boxes, np.flatnonzero(boxes.quality >= np.quantile(boxes.quality, rng.uniform(0, 0.3))))


def _scores(rng: Generator, quality: Array) -> Array:
    """Raw scores: the latent quality through one of the shapes that detectors' scales have."""
    if not len(quality):
        return quality
    level = (quality - np.median(quality)) / (quality.std() + 1e-6)
    kind = rng.choice(3, p=[0.45, 0.35, 0.2])
    if kind == 1:  # a probability, crowded at one
        return 1 / (1 + np.exp(-(level * rng.uniform(0.8, 2.5) + rng.uniform(-0.5, 2.0))))
    return level if kind == 0 else np.exp(level * rng.uniform(0.3, 0.7))


def _normal_quantile(probability: Array | float) -> Array:
    from scipy.special import ndtri

    return ndtri(np.clip(probability, 1e-9, 1 - 1e-9))


def _finish(rng: Generator, scene: Scene, boxes: _Boxes, name: str, with_embedding: bool) -> Stream:
    """Sort, drop what lies outside the image, and say which candidate is which object's."""
    sides = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    inside = (boxes.xyxy[:, :2] < [scene.width - 2, scene.height - 2]).all(1) & (boxes.xyxy[:, 2:] > 2).all(1)
    rows = np.flatnonzero(inside & (sides > 2).all(1) & (sides < 4 * scene.height).all(1))
    boxes = _take(boxes, rows[np.lexsort((rng.random(len(rows)), boxes.frame[rows]))])
    box = boxes.xyxy.copy()
    if rng.random() < 0.6:
        box = np.clip(box, 0, np.array([scene.width, scene.height] * 2))
    real = boxes.source >= 0
    overlap = np.zeros(len(box))
    overlap[real] = paired_iou(box[real], scene.xyxy[boxes.frame[real], boxes.source[real]])
    key = boxes.frame * (scene.present.shape[1] + 1) + boxes.source
    order = np.lexsort((-overlap, key))
    first = np.ones(len(box), bool)
    first[1:] = key[order][1:] != key[order][:-1]
    best = np.zeros(len(box), bool)
    best[order] = first
    mine = real & best & (overlap >= 0.35)
    hidden: NDArray[np.bool_] = rng.random(scene.present.shape[1:]) < rng.uniform(
        0, 0.06
    )  # objects that nobody annotated
    mine[real] &= ~hidden[boxes.source[real]]
    truth_frame, truth_identity = np.nonzero(scene.present & ~hidden)
    embedding = _embeddings(rng, scene, boxes) if with_embedding else None
    candidates = Candidates(
        boxes.frame.astype(np.int64), box.astype(np.float32), _scores(rng, boxes.quality).astype(np.float32),
        np.zeros(len(box), np.int64), embedding,
    )  # fmt: skip
    return Stream(
        VideoInfo(name, scene.present.shape[0], scene.width, scene.height, scene.frame_rate), candidates,
        np.where(mine, boxes.source, -1), mine & (overlap >= 0.5), truth_frame.astype(np.int64),
        scene.xyxy[truth_frame, truth_identity].astype(np.float32), truth_identity.astype(np.int64),
    )  # fmt: skip


def paired_iou(a: Array, b: Array) -> Array:
    """(N,) IoU of row i of a with row i of b; both (N, 4) xyxy."""
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    shared = sides.prod(1)
    area = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    return shared / np.maximum(area, 1e-9)


def _embeddings(rng: Generator, scene: Scene, boxes: _Boxes) -> NDArray[np.float16]:
    """(N, 32) appearance vectors: object, view drifting over time, noise, and a share of whoever covers the object."""
    frames = len(scene.present)
    size = 32
    spread = log_uniform(rng, 0.3, 1.5)  # how different objects look from each other, in units of the view's change
    common = rng.standard_normal(size)
    looks = common + spread * rng.standard_normal((boxes.look.max(initial=0) + 1, size))
    vector = looks[boxes.look]
    drift = correlated_noise(rng, frames, size * 4, scene.frame_rate * 3.0).reshape(frames, 4, size)
    vector = vector + rng.uniform(0, 0.5) * drift[boxes.frame, boxes.look % 4]
    vector = vector + rng.uniform(0.2, 0.7) * rng.standard_normal(vector.shape)
    real = boxes.source >= 0
    hidden = np.zeros(len(vector))
    hidden[real] = 1 - scene.visibility[boxes.frame[real], boxes.source[real]]
    cover = looks[rng.permutation(boxes.look)] if len(boxes.look) else vector
    vector = vector + (hidden * rng.uniform(0.2, 1.0))[:, None] * (cover - vector)
    return vector.astype(np.float16)
