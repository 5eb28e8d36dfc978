"""Puts filled boxes into a field of tracks: never over a person's, and only where they say more than what is there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine.filling import Fills, How
from ...engine.propagation import SHORT
from ...models.columns import Source, VideoInfo
from ...models.spam.overlaps import overlapping
from .columns import SOURCE_NAMES, track_instance
from .human import _OF_MODEL
from .human_boxes import FieldBoxes, Targets
from .raw import change_labels, detection_dict
from .videos import StoredVideo

INTERPOLATED, MODEL = "interpolated", "model"  # what filled boxes may replace
TAKEN = 0.7  # overlap with a box of another track from which a frame is left to labelling, which can join the two


@dataclass(frozen=True)
class Placed:
    """Which filled boxes go into the field.

    Attributes:
        rows: (M,) bool, of the filled boxes.
        left: how many stay out as the track has a better founded box there.
        taken: how many stay out as a box of another track lies there.
    """

    rows: NDArray[np.bool_]
    left: int
    taken: int


def place_fills(fills: Fills, targets: Targets, boxes: FieldBoxes, over: str = INTERPOLATED) -> Placed:
    """Where filled boxes say more than what the field has.

    A filled box goes where its track has none, or one that was filled. An interpolated box gives way to one that the
    tracker saw, unless boxes that were seen are close on both sides; to a straight line only if both ends of the line
    are the human boxes next to it. A detector's box stays, unless ``over`` says otherwise and it is between human ones.

    Args:
        fills: of ``targets``.
        targets: of the video.
        boxes: of the field.
        over: "interpolated", or "model" to replace boxes of the model between two human ones, too.
    """
    number = targets.index[fills.track]
    there = dict(zip(zip(boxes.index.tolist(), boxes.frame.tolist(), strict=True), boxes.source.tolist(), strict=True))
    found = np.array([there.get(pair, -1) for pair in zip(number.tolist(), fills.frame.tolist(), strict=True)], int)
    run, between_people = _surroundings(fills, number, targets, boxes)
    line = fills.how == How.INTERPOLATED
    rows = (found == -1) | (found == Source.PROPAGATED)
    rows |= (found == Source.INTERPOLATED) & np.where(line, between_people & (run > SHORT), run > SHORT)
    if over == MODEL:
        inside = _is_inside(fills, targets)
        rows |= np.isin(found, (Source.MODEL, Source.INTERPOLATED)) & ~line & inside
    taken = (found == -1) & _is_taken(fills, number, boxes)
    return Placed(rows & ~taken, int((~rows).sum()), int(taken.sum()))


def write_fills(
    video: StoredVideo, field: str, info: VideoInfo, targets: Targets, boxes: FieldBoxes, fills: Fills,
    rows: NDArray[np.bool_],
) -> int:  # fmt: skip
    """Writes filled boxes, and the human boxes of answers that the field has not yet; others of the tracks stay.

    Boxes of ``source`` propagated that are filled no more go. Done twice, it changes nothing.

    Args:
        video: which one.
        field: of tracks, without ``frames.``; it is declared.
        info: of the video.
        targets: of it.
        boxes: of the field, as they were read.
        fills: of ``targets``.
        rows: (M,) bool, which of them are written.

    Returns:
        how many filled boxes the field has now.
    """
    wanted = _wanted(video, info, targets, boxes, fills, rows)
    gone: dict[int, set[int]] = defaultdict(set)
    mine = np.isin(boxes.index, targets.index) & (boxes.source == Source.PROPAGATED)
    for frame, number in zip(boxes.frame[mine].tolist(), boxes.index[mine].tolist(), strict=True):
        if number not in wanted.get(frame, {}):
            gone[frame].add(number)
    if video.image_frame is None:
        places: dict[int, tuple[str, int | None]] = {frame: (video.key, frame + 1) for frame in {*wanted, *gone}}
    else:
        places = {at: (key, None) for at, key in zip(video.image_frame.tolist(), video.sample_ids, strict=True)}
    frames = [frame for frame in sorted({*wanted, *gone}) if frame in places]
    count = 0

    def change(at: int, there: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        nonlocal count
        wants, out = dict(wanted.get(frames[at], {})), []
        for box in there:
            index, human = box.get("index"), box.get("source") not in _OF_MODEL
            if index in gone.get(frames[at], ()) and box.get("source") == SOURCE_NAMES[Source.PROPAGATED]:
                continue
            one = wants.pop(index, None) if index is not None else None
            if one is None or human:  # a person may have drawn it just now
                out.append(box)
                continue
            out.append({**{name: value for name, value in box.items() if name != "link_uncertainty"}, **one["values"]})
            count += one["is_fill"]
        for index, one in wants.items():
            out.append(detection_dict(one["label"], index=index, instance_id=one["instance"], **one["values"]))
            count += one["is_fill"]
        return None if out == there else out

    change_labels(video.dataset, field, [places[frame] for frame in frames], change)
    return count


def doubt(confidence: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) in [0, 1], normalised binary entropy of probabilities (N,)."""
    p = np.asarray(confidence, np.float64).clip(1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def _wanted(
    video: StoredVideo, info: VideoInfo, targets: Targets, boxes: FieldBoxes, fills: Fills, rows: NDArray[np.bool_]
) -> dict[int, dict[int, dict[str, Any]]]:
    """0-based frame -> number of a track -> what its box says."""
    scale = np.array([info.width, info.height] * 2)
    instances = [
        (boxes.instance.get(number) or {}).get("_id") or track_instance(f"{video.key}/fills", number)
        for number in targets.index.tolist()
    ]
    wanted: dict[int, dict[int, dict[str, Any]]] = defaultdict(dict)

    def want(track: int, frame: int, xywh: list[float], is_fill: bool, **said: Any) -> None:
        wanted[frame][int(targets.index[track])] = {
            "label": targets.label[track], "instance": instances[track], "is_fill": is_fill,
            "values": {"bounding_box": xywh, **said},
        }  # fmt: skip

    lacking = np.flatnonzero(~targets.stored)
    keys = targets.keys
    for track, frame, xywh in zip(
        keys.track[lacking].tolist(), keys.frame[lacking].tolist(), _xywh(keys.xyxy[lacking], scale), strict=True
    ):
        want(track, frame, xywh, False, confidence=1.0, uncertainty=0.0, source="human", keyframe=True, answered=True)
    chosen = fills.take(rows)
    unsure = doubt(chosen.confidence).tolist()
    names = {
        int(how): SOURCE_NAMES[Source.INTERPOLATED if how == How.INTERPOLATED else Source.PROPAGATED] for how in How
    }
    for track, frame, xywh, sure, doubtful, how in zip(
        chosen.track.tolist(), chosen.frame.tolist(), _xywh(chosen.xyxy, scale), chosen.confidence.tolist(), unsure,
        chosen.how.tolist(), strict=True,
    ):  # fmt: skip
        want(track, frame, xywh, True, confidence=sure, uncertainty=doubtful, source=names[how], keyframe=False)
    return wanted


def _xywh(xyxy: NDArray[np.floating], scale: NDArray[np.float64]) -> list[list[float]]:
    box = xyxy.astype(np.float64)
    box[:, 2:] -= box[:, :2]
    return (box / scale).tolist()


def _surroundings(
    fills: Fills, number: NDArray[np.int64], targets: Targets, boxes: FieldBoxes
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(M,) frames between the boxes next to a filled one that were seen or drawn, and whether people drew both."""
    keys = targets.keys
    seen = boxes.source == Source.MODEL
    owner = np.concatenate([boxes.index[seen], targets.index[keys.track]])
    frame = np.concatenate([boxes.frame[seen], keys.frame])
    human = np.arange(len(owner)) >= int(seen.sum())
    order = np.lexsort((frame, owner))
    owner, frame, human = owner[order], frame[order], human[order]
    span = np.int64(1) << 40
    behind = np.searchsorted(owner * span + frame, number * span + fills.frame, "right")
    before, behind = behind - 1, behind.clip(max=max(len(owner) - 1, 0))
    both = (before >= 0) & (owner[before] == number) & (owner[behind] == number) & (frame[behind] > fills.frame)
    run = np.where(both, frame[behind] - frame[before] - 1, span)
    return run, both & human[before] & human[behind]


def _is_inside(fills: Fills, targets: Targets) -> NDArray[np.bool_]:
    """(M,) whether a filled box is between two human ones of its track."""
    keys = targets.keys
    first = np.full(targets.keys.track.max(initial=-1) + 1, np.iinfo(np.int64).max)
    last = np.full(len(first), -1)
    np.minimum.at(first, keys.track, keys.frame)
    np.maximum.at(last, keys.track, keys.frame)
    return (fills.frame > first[fills.track]) & (fills.frame < last[fills.track])


def _is_taken(fills: Fills, number: NDArray[np.int64], boxes: FieldBoxes) -> NDArray[np.bool_]:
    """(M,) whether a box of another track, that was seen or drawn, lies where a filled one is."""
    firm = np.flatnonzero(np.isin(boxes.source, (Source.MODEL, Source.HUMAN)))
    row, other, _ = overlapping(fills.frame, fills.xyxy, boxes.frame[firm], boxes.xyxy[firm], TAKEN)
    out = np.zeros(len(fills), bool)
    out[row[number[row] != boxes.index[firm[other]]]] = True
    return out


def confidences(fills: Fills, rows: NDArray[np.bool_]) -> Mapping[str, float]:
    """Number of filled boxes by where they come from, and their mean confidence; 0 without any."""
    chosen = fills.take(rows)
    counts = {how.name.lower(): int((chosen.how == how).sum()) for how in How}
    return {**counts, "mean_confidence": float(chosen.confidence.mean(dtype=float)) if len(chosen) else 0.0}
