"""Reads a field of tracks as the round trip sees it: raw documents to columns, with what cannot be used named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from .cycles import without_cycles
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
    read = _Columns(attributes)
    with without_cycles():
        for shown_in, found in video_documents(video, field, [*_KEYS, *attributes.kinds]):
            read.take(shown_in, found)
    frame, xyxy, number = read.arrays(info)
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
    chosen = rows.tolist()
    track = number[rows]
    labels = Labels(
        frame=position,
        xyxy=xyxy[rows],
        track=track,
        label=tuple([read.label[row] for row in chosen]),
        human=np.array([read.source[row] not in _OF_MODEL for row in chosen], bool),
        observed=np.array([read.source[row] == SOURCE_NAMES[Source.MODEL] for row in chosen], bool),
        keyframe=np.array(read.keyframe, bool)[rows],
        key=tuple([read.key[row] for row in chosen]),
        uncertainty=np.array(read.unsure, np.float64)[rows].clip(0.0, 1.0),
        instance=_instances(video.key, track.tolist(), [read.instance[row] for row in chosen]),
        values=tuple([read.values[row] for row in chosen]) if attributes.kinds else (),
    )
    return ReadLabels(labels, frozenset(read.instance) - {""}, len(frame) - len(rows))


class _Columns:
    """What is needed of raw boxes, frame by frame.

    The documents themselves are let go: as many as a long video has fill a gigabyte.
    """

    def __init__(self, attributes: UserAttributes) -> None:
        self._attributes = attributes
        self._frame: list[int] = []
        self._box: list[NDArray[np.float64]] = []
        self._number: list[int] = []
        self.key: list[str] = []
        self.label: list[str] = []
        self.source: list[str | None] = []
        self.keyframe: list[bool] = []
        self.unsure: list[float] = []
        self.instance: list[str] = []
        self.values: list[Mapping[str, str]] = []
        self._texts: dict[Any, Any] = {}  # the same text is held once

    def take(self, frame: int, boxes: Sequence[Mapping[str, Any]]) -> None:
        """The boxes of one frame."""
        one = self._texts.setdefault
        self._frame += [frame] * len(boxes)
        self._box.append(four_columns([box.get("bounding_box") for box in boxes]))
        for box in boxes:
            self._number.append(_number(box.get("index")))
            self.key.append(str(box["_id"]))
            label, source = box.get("label") or "", box.get("source")
            self.label.append(one(label, label))
            self.source.append(one(source, source))
            self.keyframe.append(bool(box.get("keyframe")))
            self.unsure.append(_unsure(box))
            self.instance.append(self._instance(box))
            if self._attributes.kinds:
                self.values.append(self._attributes.said(box))

    def arrays(self, info: VideoInfo) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """(N,) frame, (N, 4) pixels and (N,) number of the track, ``_NONE`` where there is none."""
        xyxy = np.concatenate([np.zeros((0, 4)), *self._box]) * ([info.width, info.height] * 2)
        xyxy[:, 2:] += xyxy[:, :2]
        return np.array(self._frame, np.int64), xyxy.round(PIXEL_DECIMALS), np.array(self._number, np.int64)

    def _instance(self, box: Mapping[str, Any]) -> str:
        found = (box.get("instance") or {}).get("_id")
        if not isinstance(found, ObjectId):
            return ""
        text = self._texts.get(found)
        return text if text is not None else self._texts.setdefault(found, str(found))


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
        f"{video.title(frame)}, field {field!r}, {whose}: {what} (xyxy {np.round(xyxy, 2).tolist()} px){more}; {mend}"
    )


def _unsure(box: Mapping[str, Any]) -> float:
    """The greater of the two doubts about a box; what is no number is none."""
    of_box, of_link = box.get("uncertainty") or 0.0, box.get("link_uncertainty") or 0.0
    return max(of_box if of_box == of_box else 0.0, of_link if of_link == of_link else 0.0)


def _instances(key: str, track: list[int], instances: list[str]) -> dict[int, str]:
    """Identity of every track: that of its first box which has one; two tracks never have the same."""
    out: dict[int, str] = {}
    taken: set[str] = set()
    for number, instance in zip(track, instances, strict=True):
        if number > 0 and number not in out and instance and instance not in taken:
            out[number] = instance
            taken.add(instance)
    return {number: out.get(number) or nameless(key, number) for number in sorted({one for one in track if one > 0})}


def nameless(key: str, number: int) -> str:
    """Identity of a track whose boxes have none."""
    return f"{key}/{number}"
