"""What a notebook calls as ``spam_plugin.sync`` and ``spam_plugin.register_backend``.

FiftyOne asks this file for the backend at every request, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...models.errors import InputError

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from ...engine.desk.context import SyncReport, Tell
    from .client import Access

__all__ = ["register_backend", "sync"]

BACKEND = "spam_cvat"
_CONFIG = "backend.SpamCvatBackendConfig"


def register_backend() -> None:
    """Make the annotation backend ``spam_cvat`` known to FiftyOne in this process.

    What ``annotation_config.json`` says of it stays. In the App's server it is known by itself, as the plugin is.
    """
    import fiftyone as fo

    known = fo.annotation_config.backends.setdefault(BACKEND, {})
    known.setdefault("config_cls", f"{__name__.rpartition('.')[0]}.{_CONFIG}")


def sync(
    dataset: SampleCollection | str,
    *,
    out: str = "spam_tracks",
    view: SampleCollection | str | None = None,
    all: bool = False,  # the word that the command has
    pull: bool = True,
    push: bool = True,
    states: Sequence[str] = ("completed",),
    stages: Sequence[str] = (),
    confirm: bool = False,
    assignees: Sequence[str] = (),
    attributes: Sequence[str] | None = None,
    job_seconds: float = 10.0,
    overlap_seconds: float = 2.0,
    tolerance: float = 0.9,
    remote: tuple[str, Path | str, str] | None = None,
    force: bool = False,
    remake: bool = False,
    dry_run: bool = False,
    access: Access | None = None,
    secrets: Mapping[str, str | None] | None = None,
    progress: bool | Tell = True,
) -> SyncReport:
    """Bring back what people did in CVAT to a dataset's tracks, and send there what needs a person.

    The first call makes a project with a task for each video that has something to ask. Called again, it goes on where
    it was: nothing is sent or written twice. If it is killed, the next call finishes what was begun.

    Args:
        dataset: the dataset or view, or its name.
        out: field of the tracks.
        view: only the videos of this view, or saved view; it chooses videos, it does not hide boxes.
        all: open every job, and not only those that hold open questions.
        pull: whether to bring back what people did.
        push: whether to send what needs people.
        states: jobs in one of these states come back.
        stages: only those in one of these stages; none for any.
        confirm: whether what people left alone in a job that came back counts as confirmed.
        assignees: names of users who get jobs in turn.
        attributes: of the boxes, that people see and may change; None for all that were declared.
        job_seconds: wished length of a job.
        overlap_seconds: what it shares with the next, at least.
        tolerance: overlap (IoU) within which keyframes follow the boxes.
        remote: ("share" or the id of a cloud storage, folder here, folder there): media are not uploaded, but named.
        force: also write to jobs in progress, once what is there has been brought back.
        remake: send videos again whose tasks were deleted in CVAT.
        dry_run: change nothing, and report what would be done.
        access: where the server is and who we are there; None to take it from the environment.
        secrets: where to look for CVAT_URL and the like before the environment.
        progress: whether to show it, on standard error; or a function that is told (what, how many are done, of how
            many, which).

    Raises:
        MissingError: for a dataset, view or field that is not there, or credentials that are not set.
        InputError: for settings that cannot be, or labels that cannot be sent.
        DeskError: for a server that cannot be used at all; what concerns single videos or jobs is in the report.
    """
    from ...engine.desk.context import SyncSettings
    from .sync import Link
    from .sync import sync as run

    for name, value in (("states", states), ("stages", stages), ("assignees", assignees), ("attributes", attributes)):
        if isinstance(value, str):
            raise InputError(f"{name} is a list, e.g. [{value!r}], and not {value!r}")
    place = None if remote is None else (remote[0], Path(remote[1]), remote[2])
    link = Link(dataset, out, view, attributes, place, access, secrets or {})
    settings = SyncSettings(
        pull=pull, push=push, states=tuple(states), stages=tuple(stages), confirm=confirm,
        windows="all" if all else "queries", assignees=tuple(assignees), job_seconds=job_seconds,
        overlap_seconds=overlap_seconds, tolerance=tolerance, force=force, remake=remake, dry_run=dry_run,
    )  # fmt: skip
    if callable(progress):
        return run(link, settings, progress)
    with _shown(progress) as tell:
        return run(link, settings, tell)


@contextmanager
def _shown(show: bool) -> Iterator[Callable[[str, int, int, str], None]]:
    """A bar for each thing that is done, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[which]}", style="dim"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not show) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int, which: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, which=which)
            bar.update(tasks[what], completed=done, total=total, which=which)

        yield tell
