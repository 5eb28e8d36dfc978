"""Columns of what people said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.models.errors import InputError
from spam_plugin.models.spam.constraints import EVER, Constraints

NOBODY = Constraints.none(4)


def test_nobody_has_said_anything_at_first() -> None:
    assert NOBODY.said_nothing
    assert NOBODY.num_candidates == 4
    assert Constraints.none(0).said_nothing


@pytest.mark.parametrize(
    "said",
    [
        {"verdict": np.array([0, 1, 0, 0], np.int8)},
        {"verdict": np.array([0, 0, -1, 0], np.int8)},
        {"object_index": np.array([0, 0, -1, -1])},
        {"apart": np.array([[0, 3]])},
        {"earliest": np.array([2, -EVER, -EVER, -EVER])},
        {"latest": np.array([EVER, EVER, 7, EVER])},
        {"class_index": np.array([-1, -1, -1, 1])},
        {"absent": np.array([[1, 5]])},
    ],
)
def test_whatever_is_said_counts_as_something(said: dict) -> None:
    assert not replace(NOBODY, **said).said_nothing


@pytest.mark.parametrize("name", ["object_index", "stretch_index", "earliest", "latest", "class_index"])
def test_columns_of_unequal_length_are_named(name: str) -> None:
    with pytest.raises(InputError, match=f"column {name} has 3 rows, expected 4"):
        replace(NOBODY, **{name: getattr(NOBODY, name)[:3]})


def test_a_drawn_box_belongs_to_an_object() -> None:
    grown = {
        name: np.append(getattr(NOBODY, name), getattr(NOBODY, name)[:1])
        for name in ("object_index", "stretch_index", "earliest", "latest", "class_index")
    }
    box = {"frame": np.array([2]), "xyxy": np.array([[0, 0, 5, 5]], np.float32)}
    with pytest.raises(InputError, match="belongs to no object"):
        replace(NOBODY, **grown, **box)
    with pytest.raises(InputError, match=r"shape \(1, 3\)"):
        replace(NOBODY, **grown, frame=box["frame"], xyxy=box["xyxy"][:, :3])


@pytest.mark.parametrize("row", [-1, 4])
def test_rows_that_do_not_exist_are_not_apart(row: int) -> None:
    with pytest.raises(InputError, match="outside 0 to 3"):
        replace(NOBODY, apart=np.array([[0, row]]))
