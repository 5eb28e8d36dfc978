"""Reads a field of tracks as the round trip sees it: raw documents to columns, with what cannot be used named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from ...engine.desk.labels import Labels
from ...models.columns import FARTHEST, Source, VideoInfo
from ...models.errors import InputError
from .attributes import UserAttributes
from .columns import SOURCE_NAMES, four_columns, video_documents
from .track_fields import PIXEL_DECIMALS
from .videos import StoredVideo

LEAST_SIDE = 1e-3  # pixels: answers keep coordinates to a thousandth

_OF_MODEL = {name for source, name in SOURCE_NAMES.items() if source != Source.HUMAN}
_KEYS = ("_id", "index", "label", "bounding_box", "source", "keyframe", "instance", "uncertainty", "link_uncertainty")


@dataclass(frozen=True)
class ReadLabels:
    """What was read.

    Attributes:
        labels: the boxes that can be used.
        instances: identities that boxes of the video have, also of those left out.
        left_out: number of the others.
    """

    labels: Labels
    instances: frozenset[str]
    left_out: int


def read_labels(
    video: StoredVideo, field: str, info: VideoInfo, positions: NDArray[np.int64], attributes: UserAttributes,
    skip_bad: bool = False,
) -> ReadLabels:  # fmt: skip
    """The boxes of a field of tracks of one video.

    Args:
        video: which one.
        field: its name, without ``frames.``.
        info: size of the video.
        positions: (S,) 0-based frames of what people are shown.
        attributes: what else is read of each box.
        skip_bad: leave out boxes that cannot be used, instead of raising.

    Raises:
        InputError: for the first box that cannot be used, unless ``skip_bad``.
    """
    frames: list[int] = []
    boxes: list[dict[str, Any]] = []
    for shown_in, found in video_documents(video, field, [*_KEYS, *attributes.kinds]):
        frames += [shown_in] * len(found)
        boxes += found
    frame = np.array(frames, np.int64)
    xyxy = four_columns([box.get("bounding_box") for box in boxes]) * ([info.width, info.height] * 2)
    xyxy[:, 2:] += xyxy[:, :2]
    xyxy = xyxy.round(PIXEL_DECIMALS)
    number = np.array([_number(box.get("index")) for box in boxes], np.int64)
    reason = _reasons(frame, xyxy, number, positions)
    if reason.any() and not skip_bad:
        row = int((reason > 0).argmax())
        raise InputError(_complaint(video, field, int(frame[row]), xyxy[row], int(number[row]), reason, row))
    loose = np.flatnonzero((number == _NONE) & (reason == 0))
    number[loose] = -1 - np.arange(len(loose))
    rows = np.flatnonzero(reason == 0)
    position = np.searchsorted(positions, frame[rows])
    order = np.lexsort([number[rows], position])
    position, rows = position[order], rows[order]
    chosen = [boxes[row] for row in rows.tolist()]
    track = number[rows]
    labels = Labels(
        frame=position,
        xyxy=xyxy[rows],
        track=track,
        label=tuple(box.get("label") or "" for box in chosen),
        human=np.array([box.get("source") not in _OF_MODEL for box in chosen], bool),
        observed=np.array([box.get("source") == SOURCE_NAMES[Source.MODEL] for box in chosen], bool),
        keyframe=np.array([bool(box.get("keyframe")) for box in chosen], bool),
        key=tuple(str(box["_id"]) for box in chosen),
        uncertainty=_uncertainty(chosen),
        instance=_instances(video.key, track.tolist(), chosen),
        values=tuple(map(attributes.said, chosen)) if attributes.kinds else (),
    )
    there = {_instance(box) for box in boxes} - {""}
    return ReadLabels(labels, frozenset(there), len(boxes) - len(rows))


_NONE = np.iinfo(np.int64).min  # of a box that is in no track
_NOT_FINITE, _NO_AREA, _BEYOND, _NOT_COUNTED, _TWICE = range(1, 6)


def _number(index: Any) -> int:
    return _NONE if index is None else int(index)


def _reasons(
    frame: NDArray[np.int64], xyxy: NDArray[np.float64], index: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(N,) number of the first reason why a box cannot be used; 0 if it can."""
    with np.errstate(invalid="ignore"):
        sides = xyxy[:, 2:] - xyxy[:, :2]
        reason = np.select(
            [
                ~(np.abs(xyxy) <= FARTHEST).all(1),
                ~(sides > LEAST_SIDE).all(1),
                ~np.isin(frame, positions),
                (index < 1) & (index != _NONE),
            ],
            [_NOT_FINITE, _NO_AREA, _BEYOND, _NOT_COUNTED],
            0,
        )
    good = np.flatnonzero((reason == 0) & (index != _NONE))
    _, first = np.unique(np.column_stack([frame[good], index[good]]), axis=0, return_index=True)
    again = np.ones(len(good), bool)
    again[first] = False
    reason[good[again]] = _TWICE
    return reason


def _complaint(
    video: StoredVideo, field: str, frame: int, xyxy: NDArray[np.float64], index: int, reason: NDArray[np.int64],
    row: int,
) -> str:  # fmt: skip
    whose = "a box without a track" if index == _NONE else f"track {index}"
    what, mend = {
        _NOT_FINITE: ("box is not four finite numbers", "mend or delete it"),
        _NO_AREA: (
            "box has no area", "boxes are [x, y, width, height] with positive width and height; mend or delete it"
        ),
        _BEYOND: (
            "frame lies beyond the end of the video", "the tracks belong to another video, or its metadata are wrong"
        ),
        _NOT_COUNTED: ("its index is below 1", "number the tracks of a video from 1"),
        _TWICE: (
            "it has two boxes in this frame", "delete one of them, or give it the index of the track that it belongs to"
        ),
    }[int(reason[row])]  # fmt: skip
    others = int((reason > 0).sum()) - 1
    more = f" ({others} more such boxes in this video)" if others else ""
    return (
        f"{video.title(frame)}, field {field!r}, {whose}: {what} (xyxy {np.round(xyxy, 2).tolist()} px){more}; {mend}, "
        "or leave such boxes out with skip_bad=True (--skip-bad)"
    )


def _uncertainty(boxes: list[dict[str, Any]]) -> NDArray[np.float64]:
    columns = [[box.get(name) or 0.0 for box in boxes] for name in ("uncertainty", "link_uncertainty")]
    return np.nan_to_num(np.array(columns, np.float64)).max(0, initial=0.0).clip(0.0, 1.0)


def _instances(key: str, track: list[int], boxes: list[dict[str, Any]]) -> dict[int, str]:
    """Identity of every track: that of its first box which has one; two tracks never have the same."""
    out: dict[int, str] = {}
    taken: set[str] = set()
    for number, box in zip(track, boxes, strict=True):
        if number > 0 and number not in out:
            instance = _instance(box)
            if instance and instance not in taken:
                out[number] = instance
                taken.add(instance)
    return {number: out.get(number) or nameless(key, number) for number in sorted({one for one in track if one > 0})}


def _instance(box: dict[str, Any]) -> str:
    found = (box.get("instance") or {}).get("_id")
    return str(found) if isinstance(found, ObjectId) else ""


def nameless(key: str, number: int) -> str:
    """Identity of a track whose boxes have none."""
    return f"{key}/{number}"
