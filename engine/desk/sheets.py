"""Tracks as people edit them: keyframes on the sheet of one job, with the boxes that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InputError
from ..keyframing import Keyframes, interpolate

SAME_PIXELS = 0.01  # by which a coordinate may differ and still be the one that was sent


@dataclass(frozen=True)
class SheetTrack:
    """One track on the sheet of a job. Between two keyframes boxes are linear; the last is held to the sheet's end.

    Attributes:
        uid: names the track in the dataset and at the desk; empty for one that a person made.
        label: name of its class.
        frame: (K,) int64, rising; position in the media, from 0.
        xyxy: (K, 4) float64, pixels.
        outside: (K,) bool, whether the object is not seen from here on.
        values: what else is said of each keyframe, (K,) maps from attribute to text, or empty; what one does not name,
            holds on from the one before.
        notes: what is said of the track as a whole, for people to read.
        remote: its id at the desk, or None.
        source: who the desk says has made it.
        alias: how the desk calls it, if not by its ``uid``: halves of a track that was split have one name there.
    """

    uid: str
    label: str
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    outside: NDArray[np.bool_]
    values: tuple[Mapping[str, str], ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    remote: int | None = None
    source: str = "auto"
    alias: str | None = None

    def __post_init__(self) -> None:
        count = len(self.frame)
        bad = self.xyxy.shape != (count, 4) or self.outside.shape != (count,) or len(self.values) not in (0, count)
        if not count or bad or (np.diff(self.frame) <= 0).any() or not np.isfinite(self.xyxy).all():
            raise InputError(
                f"track {self.uid or self.remote!r} of class {self.label!r} has {count} keyframes that do not fit "
                "together; their frames must rise and their boxes be finite"
            )

    @property
    def name_there(self) -> str:
        """How the desk calls it; empty if it has no name there."""
        return self.uid if self.alias is None else self.alias

    @cached_property
    def filled(self) -> tuple[dict[str, str], ...]:
        """What holds at each keyframe, with what holds on from those before."""
        held: dict[str, str] = {}
        out = []
        for given in self.values or ({},) * len(self.frame):
            held = {**held, **given}
            out.append(held)
        return tuple(out)

    def same_keyframes(self, other: SheetTrack) -> bool:
        """Whether class, keyframes and what is said of them are the same, to a hundredth of a pixel."""
        return (
            self.label == other.label
            and len(self.frame) == len(other.frame)
            and bool((self.frame == other.frame).all() and (self.outside == other.outside).all())
            and bool((np.abs(self.xyxy - other.xyxy) <= SAME_PIXELS).all())
            and self.filled == other.filled
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {
            "uid": self.uid, "label": self.label, "remote": self.remote, "source": self.source,
            "frame": self.frame.tolist(), "xyxy": self.xyxy.tolist(), "outside": self.outside.tolist(),
            "values": [dict(one) for one in self.values], "notes": dict(self.notes), "alias": self.alias,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SheetTrack:
        """The track of ``as_dict``."""
        return cls(
            values["uid"], values["label"], np.array(values["frame"], np.int64),
            np.array(values["xyxy"], np.float64).reshape(-1, 4), np.array(values["outside"], bool),
            tuple(values["values"]), values["notes"], values["remote"], values["source"], values.get("alias"),
        )  # fmt: skip


@dataclass(frozen=True)
class Boxes:
    """Boxes that the tracks of a sheet stand for, sorted by (track, frame).

    Attributes:
        track: (N,) int64, place of the track on the sheet.
        frame: (N,) int64.
        xyxy: (N, 4) float64, pixels.
        keyframe: (N,) bool.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    keyframe: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Sheet:
    """The tracks of one job.

    Attributes:
        start: the job's first frame.
        stop: its last one.
        tracks: in the order of the desk.
    """

    start: int
    stop: int
    tracks: tuple[SheetTrack, ...]

    def boxes(self, only: Iterable[int] | None = None) -> Boxes:
        """All boxes within the job, of all tracks or of those at these places."""
        return expand(self.tracks, range(len(self.tracks)) if only is None else sorted(only), self.start, self.stop)


def expand(tracks: Sequence[SheetTrack], places: Iterable[int], start: int, stop: int) -> Boxes:
    """The boxes from ``start`` to ``stop`` that the tracks at ``places`` stand for."""
    chosen = list(places)
    if not chosen:
        return Boxes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, bool))
    keys = Keyframes(
        np.repeat(np.array(chosen, np.int64), [len(tracks[place].frame) for place in chosen]),
        np.concatenate([tracks[place].frame for place in chosen]),
        np.concatenate([tracks[place].xyxy for place in chosen]),
        np.concatenate([tracks[place].outside for place in chosen]),
    )
    track, frame, xyxy, keyframe = interpolate(keys, stop)
    inside = frame >= start
    return Boxes(track[inside], frame[inside], xyxy[inside], keyframe[inside])


@dataclass(frozen=True)
class Refusal:
    """Something that came from the desk and cannot be used.

    Attributes:
        job: where it came from.
        text: what is wrong, where, and what was done about it, in a sentence.
        remote: id of the track that it is about, or None.
        whole: whether the whole track was left out, so that it must not count as deleted.
        uid: of that track, if it has one.
    """

    job: int
    text: str
    remote: int | None = None
    whole: bool = False
    uid: str = ""
