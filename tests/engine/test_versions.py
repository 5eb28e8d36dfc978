"""Versions as plain values, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spam_plugin.engine.promotion import Verdict
from spam_plugin.engine.versions import Version, compare, version_name, version_number
from spam_plugin.models.errors import InputError


def test_names_sort_as_numbers_do() -> None:
    names = [version_name(number) for number in (1, 9, 10, 200)]
    assert names == sorted(names)
    assert [version_number(name) for name in names] == [1, 9, 10, 200]
    assert version_number("default") == version_number("v1") == 0


def test_a_version_survives_json() -> None:
    version = Version(
        "v002", {"hierarchy": Path("h.safetensors")}, ("hierarchy",), "v001", 12.5, ("a",), ("k1",),
        {"spans": {"a": [[0, 5]]}}, {"HOTA": 60.0}, {"steps": 4}, Verdict(True, "better", 0.1, (0.0, 0.2)),
    )  # fmt: skip
    assert Version.from_dict(json.loads(json.dumps(version.as_dict()))) == version
    assert version.promoted
    assert Version.from_dict({"name": "v1", "something": "newer"}).why == "not judged"


def test_bad_versions_are_refused() -> None:
    with pytest.raises(InputError, match="has a part 'wheels'"):
        Version("v001", {"wheels": Path("w")})
    with pytest.raises(InputError, match="no file of its detector"):
        Version("v001", retrained=("detector",))
    with pytest.raises(InputError, match="no description of a version"):
        Version.from_dict({"parts": 3})


def test_two_versions_are_compared_by_what_they_saw_and_are_worth() -> None:
    one = Version("v001", answers=("a", "b"), metrics={"HOTA": 60.0, "gate": {"difference": 0.1}}, config={"steps": 4})
    two = Version("v002", parent="v001", answers=("b", "c", "d"), metrics={"HOTA": 61.0}, config={"steps": 4, "lr": 1})
    rows = {what: (a, b) for what, a, b in compare(one, two)}
    assert rows["answers"] == (2, 3)
    assert rows["answers that the other has not"] == (1, 2)
    assert rows["HOTA"] == (60.0, 61.0)
    assert rows["gate.difference"] == (0.1, None)
    assert rows["config lr"] == (None, 1)
    assert "config steps" not in rows
