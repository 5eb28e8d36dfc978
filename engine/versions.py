"""A version: the files of a retrained model, with all that tells where they come from and what they are worth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..models.errors import InputError
from .promotion import Verdict

TAUGHT = ("detector", "appearance", "hierarchy")  # what ``retrain`` trains, in the order in which they work
PARTS = (*TAUGHT, "tracker")  # which ``adapt`` trains
DEFAULT = "default"  # name of what the package comes with
BY_HAND = "by-hand"  # name of what somebody put together of files that are no version

_NAME = re.compile(r"v\d{3,}")


def version_name(number: int) -> str:
    """The name of the version of that number; in alphabetical order they are in order of time."""
    return f"v{number:03d}"


def version_number(name: str) -> int:
    """The number of a version's name, 0 for a name that is none."""
    return int(name[1:]) if _NAME.fullmatch(name) else 0


@dataclass(frozen=True)
class Version:
    """One set of weights for the detector, the appearance, the hierarchy and the tracker.

    Attributes:
        name: unique on its shelf; empty until the shelf names it.
        parts: part -> file of its weights, for all parts that are not the default ones.
        retrained: which of them are this version's own; the others are its parent's.
        parent: name of the version that it was trained from.
        made: seconds since 1970.
        videos: keys of the videos that it learnt from.
        answers: keys of the answers that it learnt from.
        holdout: what was held out (see ``engine.holdout.Holdout.as_dict``).
        metrics: name -> number, or names -> numbers of one part.
        config: of the training, as plain values.
        verdict: of the gate; None where nothing was judged.
        code_version: of this package.
        is_there: whether its files are on this machine.

    Raises:
        InputError: for parts that do not exist, or retrained ones without a file.
    """

    name: str = ""
    parts: Mapping[str, Path] = field(default_factory=dict)
    retrained: tuple[str, ...] = ()
    parent: str = DEFAULT
    made: float = 0.0
    videos: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    holdout: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    code_version: str = __version__
    is_there: bool = True

    def __post_init__(self) -> None:
        strange = [part for part in (*self.parts, *self.retrained) if part not in PARTS]
        if strange:
            raise InputError(f"version {self.name!r} has a part {strange[0]!r}; there are: {', '.join(PARTS)}")
        lacking = [part for part in self.retrained if part not in self.parts]
        if lacking:
            raise InputError(f"version {self.name!r} has no file of its {lacking[0]}, which it says it retrained")

    @property
    def promoted(self) -> bool:
        """Whether the gate let it through."""
        return self.verdict is not None and self.verdict.promoted

    @property
    def why(self) -> str:
        """Why it was promoted, or why not, in a sentence."""
        return self.verdict.reason if self.verdict is not None else "not judged"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them; files by their whole path."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "is_there"}
        return {
            **values,
            "parts": {part: str(file) for part, file in self.parts.items()},
            **{name: list(values[name]) for name in ("retrained", "videos", "answers")},
            **{name: dict(values[name]) for name in ("holdout", "metrics", "config")},
            "verdict": None if self.verdict is None else self.verdict.as_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Version:
        """Those of ``as_dict``.

        Raises:
            InputError: for values that are no version.
        """
        known = set(cls.__dataclass_fields__) - {"is_there"}
        try:
            given = {name: value for name, value in values.items() if name in known}
            for name in ("retrained", "videos", "answers"):
                given[name] = tuple(given.get(name, ()))
            verdict = given.get("verdict")
            given["verdict"] = None if verdict is None else Verdict.from_dict(verdict)
            given["parts"] = {part: Path(file) for part, file in dict(given.get("parts", {})).items()}
            return cls(**given)
        except (TypeError, ValueError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"this is no description of a version: {type(error).__name__} {error}") from error

    def moved(self, old: Path, new: Path) -> Version:
        """The same version after its folder was moved."""
        parts = {
            part: new / file.relative_to(old) if file.is_relative_to(old) else file for part, file in self.parts.items()
        }
        return replace(self, parts=parts)


def compare(one: Version, two: Version) -> list[tuple[str, Any, Any]]:
    """What two versions have in common and what not: (what, of the one, of the other), for a table."""
    rows: list[tuple[str, Any, Any]] = [
        ("parent", one.parent, two.parent),
        ("retrained", ", ".join(one.retrained) or "-", ", ".join(two.retrained) or "-"),
        ("answers", len(one.answers), len(two.answers)),
        (
            "answers that the other has not",
            len(set(one.answers) - set(two.answers)),
            len(set(two.answers) - set(one.answers)),
        ),
        ("videos", len(one.videos), len(two.videos)),
        ("promoted", "yes" if one.promoted else "no", "yes" if two.promoted else "no"),
    ]
    first, second = flat(one.metrics), flat(two.metrics)
    rows += [(name, first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])]
    config = flat(one.config), flat(two.config)
    names = dict.fromkeys([*config[0], *config[1]])
    rows += [(f"config {n}", config[0].get(n), config[1].get(n)) for n in names if config[0].get(n) != config[1].get(n)]
    return rows


def flat(values: Mapping[str, Any], lead: str = "") -> dict[str, Any]:
    """Nested values under names with dots between them."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{lead}{name}.")
        else:
            found[f"{lead}{name}"] = value
    return found
