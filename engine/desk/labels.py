"""The field of tracks of one video as the round trip sees it, and changes to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Labels:
    """The boxes of one video that are in the dataset now, sorted by (frame, track).

    Attributes:
        frame: (N,) int64, position in the media, from 0.
        xyxy: (N, 4) float64, pixels.
        track: (N,) int64, number of the track, from 1; boxes without one have a negative number each.
        label: (N,) names of the classes.
        human: (N,) bool, whether a model did not make it.
        observed: (N,) bool, whether a candidate is behind it, so that an answer can name it.
        keyframe: (N,) bool.
        key: (N,) names of the boxes in the dataset.
        uncertainty: (N,) float64 in [0, 1]; 0 where it is not known.
        instance: number of a track -> its identity.
        values: (N,) what else is said of each box, as text; or empty.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    track: NDArray[np.int64]
    label: tuple[str, ...]
    human: NDArray[np.bool_]
    observed: NDArray[np.bool_]
    keyframe: NDArray[np.bool_]
    key: tuple[str, ...]
    uncertainty: NDArray[np.float64]
    instance: Mapping[int, str]
    values: tuple[Mapping[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    def between(self, start: int, stop: int) -> NDArray[np.int64]:
        """Rows from one frame to another, both included."""
        return np.arange(np.searchsorted(self.frame, start, "left"), np.searchsorted(self.frame, stop, "right"))

    @cached_property
    def doubt(self) -> Mapping[int, float]:
        """Number of a track -> greatest uncertainty of its boxes."""
        numbers, place = np.unique(self.track, return_inverse=True)
        greatest = np.zeros(len(numbers))
        np.maximum.at(greatest, place, self.uncertainty)
        return dict(zip(numbers.tolist(), greatest.tolist(), strict=True))

    def said(self, row: int) -> Mapping[str, str]:
        """What else is said of a box."""
        return self.values[row] if self.values else {}


@dataclass(frozen=True)
class Put:
    """One box to be written: a new one, or what changes about one that is there.

    Attributes:
        frame: position in the media.
        key: of the box in the dataset; empty for a new one that has no name yet.
        track: number of its track.
        instance: identity of its track.
        label: name of its class.
        xyxy: where it is now, pixels; None if it stays.
        source: "human" or "interpolated"; None if it stays.
        keyframe: whether a person has set it; None if it stays as it is.
        answered: whether an answer says the same, so that labelling puts it where it belongs.
        values: what else is said of it, as text; only what changes.
        is_new: whether no box of this key is expected to be there; an older one that is gone meanwhile stays gone.
    """

    frame: int
    key: str
    track: int
    instance: str
    label: str
    xyxy: tuple[float, float, float, float] | None = None
    source: str | None = None
    keyframe: bool | None = None
    answered: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    is_new: bool = False


@dataclass(frozen=True)
class Patch:
    """What is to change in a video's field of tracks; applying it twice is as good as once.

    Attributes:
        put: boxes to write.
        remove: frame -> names of boxes to take away.
    """

    put: tuple[Put, ...] = ()
    remove: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.put or self.remove)

    def named(self, new_key: Callable[[], str]) -> Patch:
        """The patch with names for its new boxes, so that it can be applied again after an interruption."""
        return Patch(tuple(replace(one, key=new_key()) if not one.key else one for one in self.put), self.remove)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        put = [[getattr(one, name) for name in _PUT] for one in self.put]
        return {"put": put, "remove": [[frame, list(keys)] for frame, keys in self.remove.items()]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Patch:
        """The patch of ``as_dict``."""
        put = []
        for row in values["put"]:
            one = dict(zip(_PUT, row, strict=True))
            put.append(Put(**{**one, "xyxy": None if one["xyxy"] is None else tuple(one["xyxy"])}))
        return cls(tuple(put), {int(frame): tuple(keys) for frame, keys in values["remove"]})


_PUT = tuple(Put.__dataclass_fields__)


@dataclass(frozen=True)
class Conflict:
    """Two people disagree; both versions are kept until somebody settles it.

    Attributes:
        video: key of the video.
        kind: "box", "class" or "gone".
        frame: position in the media where it begins.
        last: where it ends.
        track: number of the track in the dataset that it is about.
        jobs: of the desk, that it came from.
        text: the two versions, in a sentence.
        theirs: frame -> box at the desk, pixels; empty where it was taken away there.
        label: class at the desk.
    """

    video: str
    kind: str
    frame: int
    last: int
    track: int
    jobs: tuple[int, ...]
    text: str
    theirs: Mapping[int, tuple[float, float, float, float]] = field(default_factory=dict)
    label: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**self.__dict__, "jobs": list(self.jobs), "theirs": {str(f): list(b) for f, b in self.theirs.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Conflict:
        """The conflict of ``as_dict``."""
        theirs = {int(frame): tuple(box) for frame, box in values["theirs"].items()}
        return cls(**{**values, "jobs": tuple(values["jobs"]), "theirs": theirs})
