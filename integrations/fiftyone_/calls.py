"""What calls from notebooks and commands have in common: which videos are meant, and who is told how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fiftyone.core.collections import SampleCollection

from ...engine.label import Step
from ...models.errors import InputError
from .dataset import open_dataset


def chosen(dataset: SampleCollection | str, view: SampleCollection | str | None) -> SampleCollection:
    """The dataset or view that is meant."""
    if isinstance(dataset, str):
        dataset = open_dataset(dataset)
    if view is None:
        return dataset
    if isinstance(view, str):
        return open_dataset(dataset._dataset.name, view)
    if view._dataset is not dataset._dataset:
        raise InputError(f"the view is of dataset {view._dataset.name!r}, not of {dataset._dataset.name!r}")
    return view


@contextmanager
def told(progress: bool | Callable[[Step], None], *stages: str) -> Iterator[Callable[[Step], None]]:
    """Who is told of steps: a function that was given, or bars."""
    if callable(progress):
        yield progress
    else:
        with shown(progress, *stages) as tell:
            yield tell


@contextmanager
def shown(show: bool, *stages: str) -> Iterator[Callable[[Step], None]]:
    """A bar per stage on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[video]}", style="dim"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not show) as bar:
        tasks = {stage: bar.add_task(stage, total=None, video="") for stage in stages}

        def tell(step: Step) -> None:
            bar.update(tasks[step.stage], completed=step.done, total=step.total, video=step.video)

        yield tell
