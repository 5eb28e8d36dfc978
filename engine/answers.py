"""What people said about a video: answers keyed by the boxes they are about, so that they outlive any model.

An answer names detections by frame and box. With another candidate set the same boxes are found again by geometry; what
is not found again is reported one by one and kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from ..models.columns import FARTHEST
from ..models.errors import InputError


class Verdict(str, Enum):
    """What an answer says of its boxes.

    VALID and INVALID: each of the boxes is, or is not, an object. SAME: all of them are one object. DIFFERENT: the
    first is another object than each of the others. STARTS and ENDS: the object of the first is seen from there to the
    frame of the last one, and not in the frame before, or after, that; it may have been there earlier, or come back.
    BOX: the object of the first box looks like ``drawn`` in that frame; without boxes the object is the one called
    ``object``. ABSENT: the object of the first box is not there in the frame of the last one. CLASS: the object of the
    first box is a ``label``. COMPLETE: every object in the frame of the box has a track.
    """

    VALID = "valid"
    INVALID = "invalid"
    SAME = "same"
    DIFFERENT = "different"
    STARTS = "starts"
    ENDS = "ends"
    BOX = "box"
    ABSENT = "absent"
    CLASS = "class"
    COMPLETE = "complete"


@dataclass(frozen=True)
class Box:
    """One box in one frame.

    Attributes:
        frame: 0-based.
        xyxy: left, top, right, bottom in pixels.

    Raises:
        InputError: for a negative frame, or a box that is not finite or has no area.
    """

    frame: int
    xyxy: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        box = np.asarray(self.xyxy, np.float64)
        good = box.shape == (4,) and (np.abs(box) <= FARTHEST).all() and box[2] > box[0] and box[3] > box[1]
        if self.frame < 0 or not good:
            raise InputError(
                f"an answer has box {list(self.xyxy)} in frame {self.frame + 1}; it needs four finite numbers "
                "[left, top, right, bottom] with left < right and top < bottom, and frames count from 1"
            )
        object.__setattr__(self, "xyxy", tuple(round(float(side), 3) for side in self.xyxy))


@dataclass(frozen=True)
class Answer:
    """One thing that a person said.

    Attributes:
        video: key of the video in its store.
        verdict: what was said.
        boxes: the detections, or boxes of people, that it is about.
        drawn: the box that a person drew, for ``Verdict.BOX``.
        object: name of an object that people drew and no detection stands for; answers that share it are about one
            object. Empty where ``boxes`` say which object is meant.
        label: name of the class, for ``Verdict.CLASS``, and for a new object if it is known.
        query: key of the query that was answered, or empty.
        believed: the model's probability of "yes" when it asked; what answers teach is measured against it.
        source: who or what said so, e.g. "anna" or "CVAT job 12"; shown when two answers contradict each other.
        when: time of the answer in seconds since 1970; of two answers that contradict each other the later one holds.

    Raises:
        InputError: for an answer that lacks what its verdict needs.
    """

    video: str
    verdict: Verdict
    boxes: tuple[Box, ...] = ()
    drawn: Box | None = None
    object: str = ""
    label: str | None = None
    query: str = ""
    believed: float | None = None
    source: str = ""
    when: float = 0.0

    def __post_init__(self) -> None:
        least = {Verdict.SAME: 2, Verdict.DIFFERENT: 2, Verdict.BOX: 0}.get(self.verdict, 1)
        known = len(self.boxes) + (1 if self.object else 0)
        why = ""
        if known < least or (self.verdict is Verdict.BOX and not known):
            why = f"it names {known} boxes or objects, but needs {max(least, 1)}"
        elif (self.verdict is Verdict.BOX) != (self.drawn is not None):
            why = "it must have a drawn box if, and only if, its verdict is 'box'"
        elif self.verdict is Verdict.CLASS and not self.label:
            why = "it names no class"
        if why:
            raise InputError(
                f"answer {self.verdict.value!r} of {self.source or 'somebody'} in video {self.video!r}: {why}"
            )
        object.__setattr__(self, "when", float(self.when))

    @cached_property
    def key(self) -> str:
        """The same for the same answer, however often it comes in."""
        said = {name: value for name, value in self.as_dict().items() if name not in ("query", "believed")}
        return blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=12).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them; frames count from 0."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **values,
            "verdict": self.verdict.value,
            "boxes": [_plain(box) for box in self.boxes],
            "drawn": None if self.drawn is None else _plain(self.drawn),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Answer:
        """The answer of plain values.

        Raises:
            InputError: for unknown keys, a verdict that does not exist, or values of another type.
        """
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise InputError(f"an answer has {sorted(unknown)}; it may have {sorted(cls.__dataclass_fields__)}")
        _check_kinds(values)
        try:
            boxes = tuple(_box(box) for box in values.get("boxes") or ())
            drawn = _box(values["drawn"]) if values.get("drawn") else None
            verdict = Verdict(values["verdict"])
            rest = {k: v for k, v in values.items() if k not in ("boxes", "drawn", "verdict") and v is not None}
            return cls(verdict=verdict, boxes=boxes, drawn=drawn, **rest)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{dict(values)!r} is no answer: {type(error).__name__} {error}") from error


def _check_kinds(values: Mapping[str, Any]) -> None:
    """Refuses what is missing or of another type, as JSON may have it."""
    for name in ("video", "verdict"):
        if values.get(name) is None:
            raise InputError(f"an answer has no {name!r}")
    if values["verdict"] not in [verdict.value for verdict in Verdict]:
        known = ", ".join(verdict.value for verdict in Verdict)
        raise InputError(f"an answer has the verdict {values['verdict']!r}; there are: {known}")
    for name, value in values.items():
        kind, what = _KINDS[name]
        wrong = not isinstance(value, kind) or isinstance(value, bool)
        if value is not None and (wrong or (what == "number" and not abs(value) < float("inf"))):
            raise InputError(f"an answer has {name!r} {value!r}, which is no {what}")


_KINDS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("video", "verdict", "object", "label", "query", "source"), (str, "text")),
    **dict.fromkeys(("believed", "when"), ((int, float), "number")),
    "boxes": ((list, tuple), "list of boxes"),
    "drawn": (Mapping, "box"),
}


def _plain(box: Box) -> dict[str, Any]:
    return {"frame": box.frame, "xyxy": list(box.xyxy)}


def _box(values: Any) -> Box:
    if isinstance(values, Mapping) and set(values) == {"frame", "xyxy"}:
        frame, xyxy = values["frame"], values["xyxy"]
        if isinstance(frame, int) and frame < 2**31 and isinstance(xyxy, (list, tuple)):
            return Box(frame, tuple(xyxy))
    raise InputError(f"an answer has box {values!r}; it needs 'frame', a whole number from 0, and 'xyxy' in pixels")
