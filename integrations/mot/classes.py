"""Names of the classes that MOTChallenge numbers.

Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", arXiv 1603.00831, table 5 (also MOT17); MOT20 (Dendorfer
et al., arXiv 2003.09003) adds 13.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ...models.errors import InputError

DEFAULT_CLASS = 1  # of files without a class column: MOT15 knows pedestrians only

CLASS_NAMES: Mapping[int, str] = MappingProxyType(
    {
        1: "pedestrian",
        2: "person on vehicle",
        3: "car",
        4: "bicycle",
        5: "motorbike",
        6: "non-motorised vehicle",
        7: "static person",
        8: "distractor",
        9: "occluder",
        10: "occluder on the ground",
        11: "occluder full",
        12: "reflection",
        13: "crowd",
    }
)


def with_names(names: Mapping[int, str] | None) -> dict[int, str]:
    """MOTChallenge's names, with some of them replaced or added.

    Args:
        names: class number -> name, e.g. ``{1: "car"}``; None changes nothing.

    Raises:
        InputError: for a negative number, an empty name, or two numbers of the same name, which no export could undo.
    """
    merged = {**CLASS_NAMES, **(names or {})}
    for number, name in (names or {}).items():
        if number < 0 or not name.strip():
            raise InputError(f"class name {number}={name!r}: give a number that is not negative, and a name")
    # "car" as the name of class 1 takes the name from MOTChallenge's own number 3, which then has none of its own.
    for number, name in (names or {}).items():
        for other in [other for other, taken in merged.items() if taken == name and other != number]:
            if other in (names or {}):
                raise InputError(f"class name {name!r} is given to both {number} and {other}; names must differ")
            merged[other] = f"{name} ({other})"
    return merged
