"""What the label engine does with boxes that a tracker filled in around a person's: rows of the person's object.

A filled box stands behind the candidates as a drawn one does, with its confidence, where the detector saw nothing of
the object: so misses are recovered, and links follow. What people said always wins.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix

from ..models.columns import Candidates
from ..models.errors import InputError
from ..models.spam.constraints import EVER, Constraints
from ..models.spam.overlaps import overlapping, paired_iou
from .filling import RIGHT, Fills, How, Keyframes

SAME_PIXELS = 0.51  # pixels by which the sides of a box may differ and still be those of an answer
LEAST = 0.5  # confidence below which a filled box is left out: it would put fewer boxes right than wrong
# The same at open ends: where an object goes on that no detector sees, it is often hidden, and a tracker then is on
# something else. Of such boxes on rendered films one in four was right where the confidence said 0.5 to 0.7.
SURE = 0.7
GIVES_WAY = 0.3  # overlap from which a filled box gives way to a candidate
LIES_ON = 0.6  # overlap from which it takes a candidate's place
SHORT = 8  # frames without a candidate up to which the line between those around them is as good as a tracker
CONTRADICTS = 0.5  # overlap with a later box of a person below which filled boxes around it were wrong

_SPAN = np.int64(1) << 40  # more than there are frames


@dataclass(frozen=True)
class SavedFills:
    """Filled boxes of one video as they are kept: by the person's box that each hangs on, so that they outlive labels.

    Attributes:
        frame: (M,) int64, 0-based, non-decreasing.
        xyxy: (M, 4) float32, pixels.
        confidence: (M,) float32 in [0, 1], calibrated probability that the overlap with the object is at least 0.7.
        how: (M,) uint8, a ``filling.How``.
        anchor_frame: (M,) int64, frame of the nearest box that a person drew of the object.
        anchor_xyxy: (M, 4) float32, that box.

    Raises:
        InputError: for columns of unequal length, unsorted frames, boxes without area or confidences outside [0, 1].
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    how: NDArray[np.uint8]
    anchor_frame: NDArray[np.int64]
    anchor_xyxy: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.frame)
        for one in fields(self):
            shape = getattr(self, one.name).shape
            if shape != ((count, 4) if one.name.endswith("xyxy") else (count,)):
                raise InputError(f"fills: column {one.name} has shape {shape}, but there are {count} frames")
        if count and (self.frame[0] < 0 or (np.diff(self.frame) < 0).any()):
            raise InputError("fills: frames must be 0-based and sorted")
        good = np.isfinite(self.xyxy).all(1) & (self.xyxy[:, 2:] > self.xyxy[:, :2]).all(1)
        good &= (self.confidence >= 0) & (self.confidence <= 1)
        if not good.all():
            row = int((~good).argmax())
            raise InputError(
                f"fills: row {row} (frame {int(self.frame[row])}) has box {self.xyxy[row].tolist()} and confidence "
                f"{float(self.confidence[row])}; boxes need area, confidences lie between 0 and 1"
            )

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def empty(cls) -> SavedFills:
        """Nothing filled."""
        none, box = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
        return cls(none, box, np.zeros(0, np.float32), np.zeros(0, np.uint8), none, box)

    @classmethod
    def of(cls, fills: Fills, keys: Keyframes) -> SavedFills:
        """What was filled from some keyframes; every box hangs on the nearest of its track.

        Raises:
            InputError: for a filled track that has no keyframe.
        """
        if not len(fills):
            return cls.empty()
        place = np.searchsorted(keys.track * _SPAN + keys.frame, fills.track * _SPAN + fills.frame)
        sides = np.stack([place - 1, place]).clip(0, len(keys) - 1) if len(keys) else np.zeros((2, 0), np.int64)
        if not len(keys) or not (keys.track[sides] == fills.track).any(0).all():
            raise InputError("fills: a filled track has no keyframe that its boxes could hang on")
        far = np.where(keys.track[sides] == fills.track, np.abs(keys.frame[sides] - fills.frame), _SPAN)
        anchor = np.where(far[0] <= far[1], *sides)
        return cls(fills.frame, fills.xyxy, fills.confidence, fills.how, keys.frame[anchor], keys.xyxy[anchor])

    def take(self, rows: NDArray) -> SavedFills:
        """Those of a mask, or of an ascending index."""
        return SavedFills(*(getattr(self, one.name)[rows] for one in fields(self)))

    @property
    def digest(self) -> str:
        """Changes whenever any of it does; empty without boxes."""
        if not len(self):
            return ""
        columns = [np.ascontiguousarray(getattr(self, one.name)).tobytes() for one in fields(self)]
        return blake2b(b"".join(columns), digest_size=16).hexdigest()


def keyframes_of(said: Constraints) -> Keyframes:
    """The boxes that people drew, by object: what a tracker may fill between, and where it may not go.

    Tracks are the objects of the constraints. Frames in which an object is not to be seen, and those between two of its
    stretches, are absent; bounds are those of its first and last stretch.
    """
    number = said.num_candidates
    rows = np.flatnonzero(said.by_person)
    track = said.object_index[number + rows]
    size = int(said.object_index.max(initial=-1)) + 1
    earliest, latest = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
    member = np.flatnonzero(said.object_index >= 0)
    low, high = np.full(size, EVER), np.full(size, -EVER)
    np.minimum.at(low, said.object_index[member], said.earliest[member])
    np.maximum.at(high, said.object_index[member], said.latest[member])
    earliest[(low > -EVER) & (low < EVER)] = low[(low > -EVER) & (low < EVER)]
    latest[(high > -EVER) & (high < EVER)] = high[(high > -EVER) & (high < EVER)]
    empty = np.stack([said.object_index[said.absent[:, 0]], said.absent[:, 1], said.absent[:, 1]], 1)
    absent = np.concatenate([empty, _between_stretches(said, member)])
    return replace(Keyframes.sorted(track, said.frame[rows], said.xyxy[rows], absent), earliest=earliest, latest=latest)


def _between_stretches(said: Constraints, member: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B, 3) object, first and last frame between two neighbouring stretches of it, where both bounds are known."""
    _, first = np.unique(said.stretch_index[member], return_index=True)
    head = member[first]
    head = head[np.lexsort((said.earliest[head], said.latest[head], said.object_index[head]))]
    one, two = head[:-1], head[1:]
    known = (said.object_index[one] == said.object_index[two]) & (said.latest[one] < EVER)
    known &= (said.earliest[two] > -EVER) & (said.earliest[two] > said.latest[one] + 1)
    one, two = one[known], two[known]
    return np.stack([said.object_index[one], said.latest[one] + 1, said.earliest[two] - 1], 1)


def with_fills(candidates: Candidates, said: Constraints, fills: SavedFills | None) -> Constraints:
    """What people said, and what follows from the boxes that a tracker filled in around theirs.

    Where the detector saw nothing of the object, boxes that are trusted become rows of the object that the person drew,
    with their confidence: between two boxes of a person in stretches that are not ``SHORT``, from a confidence of
    ``LEAST``; beyond the outer ones if there is no candidate under the person's box either (an object that the detector
    sees, and then no longer, is likely to be hidden or gone), up to the first box below ``SURE``, or the first
    candidate. This becomes the object's if there is no doubt that it is meant, and the model goes on from it.

    Where there are candidates, everything else is left to the model. The course through them and the drawn boxes is
    nearer than a tracker (on rendered films its overlap was 0.95 where that of filled boxes was 0.9), and even true
    boxes are no reason to take candidates beneath them into the object: where two objects pass each other, one takes
    the other's (on films with true boxes in the place of filled ones, up to 3 points of IDF1 at 1 % of effort).

    Left out is what contradicts people: where the object is said not to be there, has a box of a person, or would take
    a box of another object; an open end is cut where it comes upon such a box, or one that was rejected. The straight
    line between two boxes is left to the model, which draws it itself.

    Args:
        candidates: of the video.
        said: of ``resolve``.
        fills: None for none.

    Returns:
        ``said`` itself if nothing of the fills can be used.
    """
    if fills is None or not len(fills) or not len(said.frame):
        return said
    rows = _anchored(said, fills)
    inside, stale = _gaps(said, rows)
    trusted = rows.fills.confidence >= np.where(inside, LEAST, SURE)
    row, other, iou = overlapping(rows.fills.frame, rows.fills.xyxy, candidates.frame, candidates.xyxy, GIVES_WAY)
    clash, seen = _on_drawn(said, rows), np.zeros(len(rows.thing), bool)
    another = _is_anothers(said, rows.thing[row], other)
    clash[row[(iou >= LIES_ON) & (another | ((said.verdict[other] < 0) & ~inside[row]))]] = True
    seen[row[(said.verdict[other] >= 0) & ~another]] = True
    usable = (rows.fills.how != How.INTERPOLATED) & trusted & ~stale & _is_there(said, rows)
    usable &= inside | ~_detected(candidates, said)[rows.anchor - said.num_candidates]
    lost = _rivals(rows, inside, usable)
    away = np.abs(rows.fills.frame - rows.fills.anchor_frame)
    usable &= ~clash & ~lost & (inside | (away < _first(rows, ~inside & (clash | lost | ~trusted))))
    met = _first(rows, ~inside & seen)
    row, other = _handed_over(candidates, said, rows, usable & ~inside & (away == met), row, other, iou)
    usable &= ~seen & np.where(inside, _stretch(rows, inside & ~seen) > SHORT, away < met)
    if not usable.any():
        return said
    return _joined(said, rows.take(usable), inside[usable], other, rows.anchor[row])


@dataclass(frozen=True)
class _Rows:
    """Filled boxes with the row of the constraints that each hangs on, and its object."""

    fills: SavedFills
    anchor: NDArray[np.int64]
    thing: NDArray[np.int64]

    def take(self, rows: NDArray) -> _Rows:
        return _Rows(self.fills.take(rows), self.anchor[rows], self.thing[rows])


def _anchored(said: Constraints, fills: SavedFills) -> _Rows:
    """The filled boxes whose person's box is still there."""
    drawn = np.flatnonzero(said.by_person)
    drawn = drawn[np.argsort(said.frame[drawn], kind="stable")]
    row, place, _ = overlapping(fills.anchor_frame, fills.anchor_xyxy, said.frame[drawn], said.xyxy[drawn])
    off = np.abs(fills.anchor_xyxy[row] - said.xyxy[drawn[place]]).max(1, initial=0.0)
    row, place = row[off < SAME_PIXELS], place[off < SAME_PIXELS]
    row, first = np.unique(row, return_index=True)
    anchor = said.num_candidates + drawn[place[first]]
    return _Rows(fills.take(row), anchor, said.object_index[anchor])


def _key(thing: NDArray, frame: NDArray) -> NDArray[np.int64]:
    return thing.astype(np.int64) * _SPAN + frame


def _gaps(said: Constraints, rows: _Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(M,) bool: boxes between two of a person's of their object; and those that a person's later box overtook.

    That is a box in their very frame, or next to their gap one that they do not overlap, had they been there.
    """
    person = np.flatnonzero(said.by_person)
    thing = said.object_index[said.num_candidates + person]
    keys = _key(thing, said.frame[person])
    order = np.argsort(keys)
    keys, thing, person = keys[order], thing[order], person[order]
    own = _key(rows.thing, rows.fills.frame)
    place = np.searchsorted(keys, own, "right")  # keys at or before
    left, right = np.maximum(place - 1, 0), np.minimum(place, len(keys) - 1)
    there = keys[left] == own
    iou = paired_iou(rows.fills.xyxy.astype(np.float64), said.xyxy[person[left]].astype(np.float64))
    wrong = np.unique(left[there & (iou < CONTRADICTS)])
    before, behind = (place > 0) & (thing[left] == rows.thing), (place < len(keys)) & (thing[right] == rows.thing)
    beside = (before & np.isin(left, wrong)) | (behind & np.isin(right, wrong))
    return before & behind, there | beside


def _is_there(said: Constraints, rows: _Rows) -> NDArray[np.bool_]:
    """(M,) bool: the object may be in the frame, and no frame without it lies between the box and its anchor."""
    frame, from_ = rows.fills.frame, rows.fills.anchor_frame
    inside = (frame >= said.earliest[rows.anchor]) & (frame <= said.latest[rows.anchor])
    empty = np.unique(_key(said.object_index[said.absent[:, 0]], said.absent[:, 1]))
    low, high = _key(rows.thing, np.minimum(frame, from_)), _key(rows.thing, np.maximum(frame, from_))
    return inside & (np.searchsorted(empty, high, "right") == np.searchsorted(empty, low, "left"))


def _is_anothers(said: Constraints, thing: NDArray, candidate: NDArray) -> NDArray[np.bool_]:
    """(P,) bool: people said that the candidate is another object than this one."""
    number, things = said.num_candidates, int(said.object_index.max(initial=0)) + 1
    one, two = np.concatenate([said.apart, said.apart[:, ::-1]]).T
    known = (said.object_index[one] >= 0) & (two < number)
    apart = said.object_index[one[known]] + things * two[known]
    member = said.object_index[candidate]
    return ((member >= 0) & (member != thing)) | np.isin(thing + things * candidate, apart)


def _on_drawn(said: Constraints, rows: _Rows) -> NDArray[np.bool_]:
    """(M,) bool: the box lies on one that a person drew of another object."""
    drawn = np.flatnonzero(said.by_person)
    drawn = drawn[np.argsort(said.frame[drawn], kind="stable")]
    row, place, _ = overlapping(rows.fills.frame, rows.fills.xyxy, said.frame[drawn], said.xyxy[drawn], RIGHT)
    other = said.object_index[said.num_candidates + drawn[place]] != rows.thing[row]
    out = np.zeros(len(rows.thing), bool)
    out[row[other]] = True
    return out


def _detected(candidates: Candidates, said: Constraints) -> NDArray[np.bool_]:
    """(H,) bool: a candidate that nobody rejected lies on the drawn box."""
    drawn = np.argsort(said.frame, kind="stable")
    row, other, _ = overlapping(said.frame[drawn], said.xyxy[drawn], candidates.frame, candidates.xyxy, CONTRADICTS)
    out = np.zeros(len(said.frame), bool)
    out[drawn[row[said.verdict[other] >= 0]]] = True
    return out


def _rivals(rows: _Rows, inside: NDArray[np.bool_], usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(M,) bool: boxes that lie on one of another object which is better founded."""
    some = np.flatnonzero(usable)
    fills = rows.fills.take(some)
    one, two, _ = overlapping(fills.frame, fills.xyxy, fills.frame, fills.xyxy, CONTRADICTS)
    one, two = some[one], some[two]
    other = rows.thing[one] != rows.thing[two]
    one, two = one[other], two[other]
    away = np.abs(rows.fills.frame - rows.fills.anchor_frame)
    worth = np.stack([inside, np.where(inside, rows.fills.confidence, -away), -np.arange(len(inside))]).astype(float)
    order = np.lexsort(worth[::-1])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    out = np.zeros(len(inside), bool)
    out[one[rank[one] < rank[two]]] = True
    return out


def _stretch(rows: _Rows, unseen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(M,) frames on end in which an object has a filled box and no candidate, that each of these is among; else 0."""
    out = np.zeros(len(unseen), np.int64)
    at = np.flatnonzero(unseen)
    at = at[np.lexsort((rows.fills.frame[at], rows.thing[at]))]
    run = _key(rows.thing[at], rows.fills.frame[at]) - np.arange(len(at))
    _, number, count = np.unique(run, return_inverse=True, return_counts=True)
    out[at] = count[number]
    return out


def _first(rows: _Rows, stop: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(M,) frames from the person's box to the nearest marked one on the same side of it."""
    away = rows.fills.frame - rows.fills.anchor_frame
    end = 2 * rows.anchor + (away > 0)
    nearest = np.full(int(end.max(initial=-1)) + 1, _SPAN)
    np.minimum.at(nearest, end[stop], np.abs(away[stop]))
    return nearest[end]


def _handed_over(
    candidates: Candidates, said: Constraints, rows: _Rows, met: NDArray[np.bool_], row: NDArray[np.int64],
    other: NDArray[np.int64], iou: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Filled boxes that came upon a candidate, and the candidate: there is no doubt that it is the object.

    Args:
        candidates: of the video.
        said: about them.
        rows: the filled boxes.
        met: (M,) bool, those that came upon some.
        row: (P,) filled boxes of pairs that overlap.
        other: (P,) their candidates.
        iou: (P,) overlaps.
    """
    here = met[row]
    row, other, iou = row[here], other[here], iou[here]
    named = said.class_index[rows.anchor[row]]
    good = (iou >= LIES_ON) & (said.verdict[other] >= 0) & (said.object_index[other] < 0)
    good &= (named < 0) | (named == candidates.class_index[other])
    good &= (np.bincount(row, minlength=len(met))[row] == 1) & (
        np.bincount(other, minlength=len(candidates))[other] == 1
    )
    member = np.flatnonzero(said.object_index[: said.num_candidates] >= 0)
    good &= ~np.isin(
        _key(rows.thing[row], candidates.frame[other]), _key(said.object_index[member], candidates.frame[member])
    )
    return row[good], other[good]


def _joined(
    said: Constraints, rows: _Rows, inside: NDArray[np.bool_], owned: NDArray[np.int64], by: NDArray[np.int64]
) -> Constraints:
    """The constraints with further rows, and with candidates (``owned``) that go with the rows ``by``."""
    new = {}
    for name in ("object_index", "stretch_index", "earliest", "latest", "class_index"):
        column = getattr(said, name).copy()
        column[owned] = column[by]
        new[name] = np.concatenate([column, column[rows.anchor]])
    filled = said.filled if said.filled is not None else np.full(len(said.frame), np.nan, np.float32)
    whole = replace(
        said, **new, frame=np.concatenate([said.frame, rows.fills.frame]),
        xyxy=np.concatenate([said.xyxy, rows.fills.xyxy]), filled=np.concatenate([filled, rows.fills.confidence]),
    )  # fmt: skip
    apart = np.concatenate([whole.apart, _apart(whole, rows, inside)])
    return replace(whole, apart=np.unique(np.sort(apart, 1), axis=0))


def _apart(said: Constraints, rows: _Rows, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(K, 2) rows, one a stretch, of objects that are two because each has a box in one frame.

    An open end is not enough: it may have come upon what a person drew, and not named, as the same.
    """
    number, drawn = said.num_candidates, said.by_person
    things = int(said.object_index.max()) + 1
    frames = int(said.frame.max()) + 1
    own = np.flatnonzero(drawn)

    def table(frame: NDArray, thing: NDArray) -> coo_matrix:
        return coo_matrix((np.ones(len(frame), np.int32), (frame, thing)), shape=(frames, things)).tocsr()

    filled = table(rows.fills.frame[inside], rows.thing[inside])
    both = coo_matrix(filled.T @ (filled + table(said.frame[own], said.object_index[number + own])))
    one, two = both.row[both.row < both.col], both.col[both.row < both.col]
    swapped = both.row > both.col
    one, two = np.concatenate([one, both.col[swapped]]), np.concatenate([two, both.row[swapped]])
    pairs = np.unique(np.stack([one, two], 1), axis=0).astype(np.int64)
    member = np.flatnonzero(said.object_index >= 0)
    _, first = np.unique(said.stretch_index[member], return_index=True)
    head = member[first]
    head = head[np.argsort(said.object_index[head], kind="stable")]
    start = np.searchsorted(said.object_index[head], np.arange(things + 1))
    count = np.diff(start)
    each = count[pairs[:, 0]] * count[pairs[:, 1]]
    pair = np.repeat(np.arange(len(pairs)), each)
    step = np.arange(len(pair)) - np.repeat(each.cumsum() - each, each)
    a, b = pairs[pair].T if len(pairs) else (step, step)
    width = np.maximum(count[b], 1)
    return np.stack([head[start[a] + step // width], head[start[b] + step % width]], 1)
