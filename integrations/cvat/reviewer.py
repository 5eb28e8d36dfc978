"""CVAT as the reviewer of the loop: questions go there as jobs, and the loop waits until people have finished them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ...engine.desk.context import SyncReport, SyncSettings
from ...engine.desk.ports import DeskError, GoneError
from ...engine.desk.sync import JobStatus
from .sync import STEP, Link, sync, sync_status

Part = Callable[[float, str], None]


class CvatReviewer:
    """People who answer in CVAT; see ``integrations.fiftyone_.looping.Reviewer``.

    Args:
        link: which dataset, field and server.
        settings: of the synchronisation: which jobs count as finished, who gets them.
        every: seconds from one look at the jobs to the next.
        stop: set by somebody who does not want to wait any longer.
        on_report: told what every synchronisation did.
    """

    def __init__(
        self, link: Link, settings: SyncSettings | None = None, every: float = 60.0,
        stop: threading.Event | None = None, on_report: Callable[[SyncReport], None] | None = None,
    ) -> None:  # fmt: skip
        self._link, self._settings, self._every = link, settings or SyncSettings(), every
        self._stop, self._on_report = stop or threading.Event(), on_report

    def ask(self, number: int, tell: Part) -> None:
        """Sends the questions; whatever people have finished before comes back first, so nothing of theirs is lost.

        Raises:
            DeskError: if there were problems, and nothing at all could be sent.
        """
        problems = self._sync(replace(self._settings, pull=True, push=True), tell).problems
        if problems and not self._open():
            raise DeskError(f"{problems[0]}; mend it and start the loop again, it goes on from here")

    def wait(self, number: int, allowed: int, tell: Part) -> None:
        """Returns when no job that was sent waits for a person any more.

        A server that does not answer is asked again.

        Raises:
            KeyboardInterrupt: if somebody stops it; the loop goes on from here when it is started again.
            GoneError: if the project was deleted.
        """
        total = 0
        while True:
            try:
                left = self._open()
            except GoneError:
                raise
            except DeskError as error:
                tell(0.0, f"{error}; will look again in {self._every:g} s")
            else:
                if not left:
                    return
                total = max(total, len(left))
                tell(1 - len(left) / total, f"{len(left)} jobs wait for people")
            self._pause()

    def take(self, number: int, tell: Part) -> None:
        """Brings back what people did."""
        self._sync(replace(self._settings, pull=True, push=False), tell)

    def _open(self) -> list[JobStatus]:
        """Jobs that wait for a person, and are not what counts as finished."""
        states, stages = self._settings.states, self._settings.stages
        return [
            row
            for row in sync_status(self._link)
            if row.is_open
            and row.state != "gone"
            and (row.state not in states or (bool(stages) and row.stage not in stages))
        ]

    def _sync(self, settings: SyncSettings, tell: Part) -> SyncReport:
        report = sync(self._link, settings, lambda what, done, of, which: tell(done / max(of, 1), f"{what} {which}"))
        if self._on_report is not None:
            self._on_report(report)
        return report

    def _pause(self) -> None:
        waited = 0.0
        while waited < self._every:
            if self._stop.wait(min(STEP, self._every - waited)):
                raise KeyboardInterrupt
            waited += STEP
