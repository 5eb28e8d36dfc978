"""What a notebook calls, as ``spam_plugin.label``, ``spam_plugin.evaluate`` and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fiftyone.core.collections import SampleCollection

from ...engine.label import LabelReport, Step, label_videos
from ...engine.ports import Labeller
from ...models.errors import InputError
from .dataset import open_dataset
from .embedding import EmbedReport, embed_videos
from .evaluate import Evaluation, evaluate
from .fields import DEFAULT_OUT
from .store import FiftyOneStore

if TYPE_CHECKING:
    from ...models.spam import LabelSettings

__all__ = ["EmbedReport", "Evaluation", "LabelReport", "embed", "evaluate", "label"]


def label(
    dataset: SampleCollection | str,
    candidates: str = "candidates",
    *,
    embeddings: str | None = None,
    out: str = DEFAULT_OUT,
    view: SampleCollection | str | None = None,
    model: Labeller | str | Path | None = None,
    device: str = "cpu",
    settings: LabelSettings | None = None,
    skip_bad: bool = False,
    progress: bool | Callable[[Step], None] = True,
) -> LabelReport:
    """Make tracks of the candidates in every video of a dataset, and write them with their uncertainty.

    Writes the frame field ``out`` and the fields of each video that go with it (see ``fields.OutputFields``), saves
    the views "most uncertain", "in review" and "reviewed", and registers the run with the dataset. Called again, it
    replaces what it wrote, but no box that a human drew or changed, nor the track that it is in. If it was interrupted,
    the same call does the rest.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        candidates: ``Detections`` field with a detector's boxes and their ``confidence``, of any scale.
        embeddings: attribute of the candidates that holds appearance vectors, as ``spam-plugin embed`` writes them.
        out: field that the tracks go to.
        view: only the videos of this view, or saved view; it chooses videos, it does not hide boxes.
        model: a loaded model, a file of weights, or None for the default weights.
        device: where a model that is loaded here runs, as torch names it; the processor by default.
        settings: what to leave out or change; None for the defaults.
        skip_bad: leave out and count candidates and videos that cannot be used, instead of raising.
        progress: whether to show it, on standard error; or a function that is told every step.

    Raises:
        MissingError: for a dataset, view, field, attribute or file that is not there.
        InputError: for input that cannot be used; names video, frame and field. Nothing has been written then.
    """
    store = FiftyOneStore(_chosen(dataset, view), candidates, out, embeddings)
    if model is None or isinstance(model, (str, Path)):
        from ...models.spam import LabelSettings, SpamModel

        model = SpamModel.load(model, device)
        settings = settings or LabelSettings()
    if callable(progress):
        return label_videos(store, model, settings, progress, skip_bad=skip_bad)
    with _shown(progress, "reading", "labelling") as tell:
        return label_videos(store, model, settings, tell, skip_bad=skip_bad)


def embed(
    dataset: SampleCollection | str,
    candidates: str = "candidates",
    *,
    out: str = "embedding",
    view: SampleCollection | str | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> EmbedReport:
    """Give every candidate a vector of its colours (``models.appearance.colour``), which ``label`` can use.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        candidates: ``Detections`` field with a detector's boxes.
        out: attribute of the candidates that the vectors go to; what it held is replaced.
        view: only the videos of this view, or saved view.
        skip_bad: leave out and count boxes and videos that cannot be used, instead of raising.
        progress: whether to show it, on standard error.

    Raises:
        MissingError: for a dataset, view or field that is not there.
        InputError: for input that cannot be used; names video, frame and field.
    """
    from ...models.appearance.colour import describe

    with _shown(progress, "embedding") as tell:
        return embed_videos(_chosen(dataset, view), candidates, out, describe, skip_bad=skip_bad, tell=tell)


def _chosen(dataset: SampleCollection | str, view: SampleCollection | str | None) -> SampleCollection:
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
def _shown(show: bool, *stages: str) -> Iterator[Callable[[Step], None]]:
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
