"""A FiftyOne dataset and a CVAT project kept the same: what a notebook, the command line and the App call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fiftyone.core.collections import SampleCollection

from ...engine.desk.context import Context, SyncReport, SyncSettings, Tell
from ...engine.desk.ports import DeskError, GoneError
from ...engine.desk.sync import JobStatus, forget, settle, statuses, synchronise
from ...models.errors import InputError
from ..fiftyone_.dataset import open_dataset
from ..fiftyone_.desk import FiftyOneDesk
from ..fiftyone_.fields import DEFAULT_OUT, OutputFields
from ..fiftyone_.journal import SyncJournal
from ..fiftyone_.ledger import Ledger
from .client import Access
from .desk import CvatDesk

Remote = tuple[str, Path, str]
STEP = 0.25  # seconds until somebody who waits for the next look hears that it is over


@dataclass(frozen=True)
class Link:
    """Which field of which dataset goes to which server.

    Attributes:
        dataset: the dataset or view, or its name.
        out: field of tracks.
        view: only the videos of this view, or saved view.
        attributes: attributes of the boxes that people see and change, too; None for all that were declared.
        remote: ("share" or the id of a cloud storage, folder here, folder there): media are not uploaded, but named.
        access: to the server; None to take it from the environment.
        secrets: where to look before the environment, e.g. a FiftyOne plugin's secrets.
    """

    dataset: SampleCollection | str
    out: str = DEFAULT_OUT
    view: SampleCollection | str | None = None
    attributes: Sequence[str] | None = None
    remote: Remote | None = None
    access: Access | None = None
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)

    @property
    def tracks(self) -> str:
        """Name of the field of tracks, without ``frames.``.

        Raises:
            InputError: for a name that cannot be.
        """
        return OutputFields(self.out.removeprefix("frames.")).out

    def collection(self) -> SampleCollection:
        """The dataset or view itself."""
        view = self.view if isinstance(self.view, str) else None
        if isinstance(self.dataset, str):
            opened = open_dataset(self.dataset, view)
        else:
            opened = open_dataset(self.dataset._dataset.name, view) if view else self.dataset
        return self.view if self.view is not None and not isinstance(self.view, str) else opened


@contextmanager
def open_link(link: Link, tell: Tell | None = None, settings: SyncSettings | None = None) -> Iterator[Context]:
    """Everything that a synchronisation needs, with the session closed at the end.

    Args:
        link: what goes where.
        tell: told what is being done.
        settings: of the synchronisation.

    Raises:
        MissingError: for a dataset, view or field that is not there, or credentials that are not set.
        DeskError: for a server that cannot be used.
    """
    collection = link.collection()
    store, journal = _open_store(link), SyncJournal(collection._dataset, link.tracks)
    access = link.access or Access.from_environment(link.secrets)
    with CvatDesk(access) as desk:
        yield Context(
            desk, store, journal, settings or SyncSettings(), project_name(collection, link.tracks),
            SyncReport(url=desk.url), tell or (lambda *_: None),
        )  # fmt: skip


def _open_store(link: Link, anew: bool = False) -> FiftyOneDesk:
    """The dataset's side; ``anew`` with what other processes have changed about the dataset."""
    collection = link.collection()
    if anew:
        collection._dataset.reload()
    return FiftyOneDesk(collection, link.tracks, link.attributes, link.remote)


def project_name(collection: SampleCollection, out: str) -> str:
    """What the project is called: the same for the same dataset and field, whoever asks."""
    dataset = collection._dataset
    return f"{dataset.name}, {out} [{str(dataset._doc.id)[-6:]}]"


def sync(link: Link, settings: SyncSettings | None = None, tell: Tell | None = None) -> SyncReport:
    """Bring back what people did in CVAT, and send what needs them.

    Called again, it goes on where it was: nothing is sent or written twice. If it is killed, at whatever moment, the
    next call finishes what was begun.

    Args:
        link: which dataset, field and server.
        settings: what is wanted; None for the defaults.
        tell: told what is being done: (what, how many are done, of how many, which).

    Raises:
        MissingError: for a dataset, view or field that is not there, or credentials that are not set.
        InputError: for settings that cannot be, or labels that cannot be sent.
        DeskError: for a server that cannot be used at all; what concerns single videos or jobs is in the report.
    """
    with open_link(link, tell, settings) as ctx:
        return _noted(link, ctx.settings, synchronise(ctx.desk, ctx.store, ctx.journal, ctx.name, ctx.settings, tell))


def _noted(link: Link, settings: SyncSettings, report: SyncReport) -> SyncReport:
    """Keeps with the field that something was done, for those who look at its rounds."""
    if report.counts and not settings.dry_run:
        Ledger(link.collection()._dataset, link.tracks).note("sync")
    return report


def sync_status(link: Link) -> list[JobStatus]:
    """Where every job stands; changes nothing."""
    with open_link(link) as ctx:
        ctx.desk.check()
        return statuses(ctx)


def settle_conflicts(link: Link, winner: str, video: str | None = None, track: int | None = None) -> int:
    """Settle what two people disagree about; see ``engine.desk.sync.settle``. Needs no server."""
    store, journal = _open_store(link), SyncJournal(link.collection()._dataset, link.tracks)
    nobody: CvatDesk = None  # type: ignore[assignment]
    settled = settle(Context(nobody, store, journal, SyncSettings(), ""), winner, video, track)
    Ledger(link.collection()._dataset, link.tracks).note("sync")
    return settled


def forget_project(link: Link) -> int:
    """Forget the project; labels and answers stay, and so does the project in CVAT. Needs no server."""
    return forget(SyncJournal(link.collection()._dataset, link.tracks))


def watch(
    link: Link,
    settings: SyncSettings | None = None,
    *,
    every: float = 60.0,
    wake: threading.Event | None = None,
    stop: threading.Event | None = None,
    on_report: Callable[[SyncReport], None] | None = None,
    on_trouble: Callable[[Exception], None] | None = None,
    tell: Tell | None = None,
) -> None:
    """Synchronise whenever people have finished something, until told to stop.

    A look costs one request for the jobs that changed since the last one. A server that does not answer, or that
    another process is at work with, is asked again later.

    Args:
        link: which dataset, field and server.
        settings: what is wanted; None for the defaults.
        every: seconds between two looks.
        wake: set by somebody who knows that there is something to see, e.g. a webhook.
        stop: set to end.
        on_report: told what every synchronisation did.
        on_trouble: told what went wrong; without it, the error is raised.
        tell: told what is being done.

    Raises:
        InputError: for a time that is not positive.
        GoneError: if the project was deleted.
    """
    if not every > 0:
        raise InputError(f"every {every:g} s is no time to look at the server; it must be more than 0")
    wake, stop = wake or threading.Event(), stop or threading.Event()
    settings = settings or SyncSettings()
    since: str | None = None
    found = True  # the first look is a whole round
    while not stop.is_set():
        try:
            with open_link(link, tell, settings) as ctx:
                while not stop.is_set():
                    news, since = _news(ctx, since)
                    found = found or news
                    if found:
                        store = _open_store(link, anew=True)  # others label, and ask, while we watch
                        done = synchronise(ctx.desk, store, ctx.journal, ctx.name, settings, tell)
                        report = _noted(link, settings, done)
                        if on_report is not None:
                            on_report(report)
                        # What the round itself has changed is no news, but what was finished meanwhile is.
                        found, since = _news(ctx, since)
                    _pause(every, wake, stop)
        except GoneError:
            raise
        except DeskError as error:
            if on_trouble is None:
                raise
            on_trouble(error)
            stop.wait(every)


def _pause(seconds: float, wake: threading.Event, stop: threading.Event) -> None:
    """Waits for the next look: until the time is over, or somebody knows better."""
    end = time.monotonic() + seconds
    while not stop.is_set() and (left := end - time.monotonic()) > 0 and not wake.wait(min(left, STEP)):
        pass
    wake.clear()


def _news(ctx: Context, since: str | None) -> tuple[bool, str | None]:
    """Whether a job came into a state that is wanted since the last look, and the time of the last change."""
    if ctx.project is None:
        return False, since
    jobs = ctx.desk.jobs(ctx.project, since=since)
    if since is not None and not jobs:
        return True, None  # the job that changed last is gone, with its task or with the whole project
    states, stages = ctx.settings.states, ctx.settings.stages
    wanted = [job for job in jobs if job.state in states and (not stages or job.stage in stages)]
    news = any((note := ctx.job_note(job.id)) is not None and note.updated != job.updated for job in wanted)
    return news, max([since or "", *(job.updated for job in jobs)]) or None
