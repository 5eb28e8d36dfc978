"""What users say of their boxes beside our own attributes, as text for people to edit, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo

from ...engine.desk.ports import AttributeSpec
from ...engine.desk.pushing import REASON
from ...models.errors import InputError, MissingError
from .dataset import some

MOST_CHOICES = 20  # different texts that are offered to choose from
TRACK_UID, UNCERTAINTY = "track_uid", "uncertainty"  # beside REASON, what people read about a track

_OURS = (
    "id", "tags", "label", "bounding_box", "mask", "mask_path", "confidence", "index", "instance", "uncertainty",
    "link_uncertainty", "source", "keyframe", "answered", TRACK_UID, REASON,
)  # fmt: skip
_KINDS = {fo.BooleanField: bool, fo.IntField: int, fo.FloatField: float, fo.StringField: str}
_LARGEST = 2**63 - 1  # of a number in MongoDB


@dataclass(frozen=True)
class UserAttributes:
    """The attributes of a field of tracks that people see and may change.

    Attributes:
        path: of the field, with ``frames.``.
        kinds: name -> bool, int, float or str.
    """

    path: str
    kinds: Mapping[str, type]

    def said(self, box: Mapping[str, Any]) -> dict[str, str]:
        """What a raw box says, as text, in all attributes; of what it does not say: false, or nothing."""
        return {name: to_text(box.get(name), kind) for name, kind in self.kinds.items()}

    def specs(self, dataset: fo.Dataset) -> tuple[AttributeSpec, ...]:
        """How people are asked for them; short texts that every box has are chosen from those that there are."""
        out = []
        for name, kind in self.kinds.items():
            choices: tuple[str, ...] = ()
            if kind is str:
                path = f"{self.path}.detections.{name}"
                found = sorted(map(str, dataset.distinct(path)))
                always = dataset.count(path) == dataset.count(f"{self.path}.detections")
                if always and 0 < len(found) <= MOST_CHOICES and all(text and text.isprintable() for text in found):
                    choices = tuple(found)
            if kind is bool:
                out.append(AttributeSpec(name, "checkbox", True, default="false"))
            elif choices:
                out.append(AttributeSpec(name, "select", True, choices, choices[0]))
            else:
                out.append(AttributeSpec(name, "text", True))
        return tuple(out)


def user_attributes(dataset: fo.Dataset, path: str, names: Sequence[str] | None) -> UserAttributes:
    """The attributes of these names, or all simple ones that users have declared.

    Raises:
        MissingError: for a name that no declared attribute has; names those that there are.
        InputError: for one that is our own, or is not text, a number, or true or false.
    """
    declared = dataset.get_field(f"{path}.detections").field.get_field_schema()
    able = {
        name: kind
        for name, found in declared.items()
        if name not in _OURS and (kind := _KINDS.get(type(found))) is not None
    }
    if names is None:
        return UserAttributes(path, able)
    for name in names:
        if name not in declared:
            raise MissingError(
                f"boxes in field {path!r} of dataset {dataset.name!r} have no declared attribute {name!r}; there are: "
                f"{some(sorted(able))}. Declare others with dataset.add_dynamic_"
                f"{'frame' if path.startswith('frames.') else 'sample'}_fields()"
            )
        if name not in able:
            why = "the plugin's own" if name in _OURS else f"of type {type(declared[name]).__name__}"
            raise InputError(
                f"attribute {name!r} of field {path!r} is {why}; people can be asked for: {some(sorted(able))}"
            )
    return UserAttributes(path, {name: able[name] for name in names})


def to_text(value: Any, kind: type) -> str:
    """A value as people read it; the shortest text that gives it back."""
    if kind is bool:
        return "true" if value else "false"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


def from_text(text: str, kind: type) -> Any:
    """The value of a text; None for a number that is not given.

    Raises:
        ValueError: for a text that is no such value.
    """
    if kind is str:
        return text
    word = text.strip().lower()
    if kind is bool:
        if word not in ("true", "false", "1", "0"):
            raise ValueError(f"{text!r} is neither true nor false")
        return word in ("true", "1")
    if not word:
        return None
    if kind is int and word.lstrip("+-").isdigit():
        whole = int(word)  # not by way of a float, which has fewer digits
        if abs(whole) > _LARGEST:
            raise ValueError(f"{text!r} is too large")
        return whole
    number = float(word)
    if not math.isfinite(number) or (kind is int and not (number.is_integer() and abs(number) <= _LARGEST)):
        raise ValueError(f"{text!r} is no {'whole ' if kind is int else ''}number")
    return kind(number)
