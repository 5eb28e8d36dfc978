"""Finds datasets and saved views by name."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone as fo
from fiftyone.core.collections import SampleCollection

from ...models.errors import MissingError


def open_dataset(name: str, saved_view: str | None = None) -> SampleCollection:
    """The dataset of that name, or one of its saved views.

    Raises:
        MissingError: if there is none; names those that there are.
    """
    if not fo.dataset_exists(name):
        raise MissingError(f"there is no dataset {name!r}; there are: {some(fo.list_datasets())}")
    dataset = fo.load_dataset(name)
    if saved_view is None:
        return dataset
    if not dataset.has_saved_view(saved_view):
        raise MissingError(
            f"dataset {name!r} has no saved view {saved_view!r}; it has: {some(dataset.list_saved_views())}"
        )
    return dataset.load_saved_view(saved_view)


def some(names: Sequence[str]) -> str:
    """A list of names for a message, cut where it gets long."""
    return (", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")) or "none"
