"""A worker: takes the jobs of FiftyOne's queue, the oldest first, and runs each in a process of its own.

FiftyOne's own worker takes the newest first, forgets a job whose process was killed, and keeps no log. This one watches
over the process, and leaves for others to see how it stands (``presence``). What goes wrong with a job is an end of the
job, never of the worker; a database that is away for a while is waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from fiftyone.factory import DelegatedOperationPagingParams, SortByField, SortDirection
from fiftyone.factory.repo_factory import RepositoryFactory
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionResult, ExecutionRunState
from pymongo import timeout
from pymongo.errors import PyMongoError

from ...models.errors import SpamPluginError
from . import jobs
from .child import Child, command
from .presence import Presence, keep_log

T = TypeVar("T")

LOOK_SECONDS = 1.0  # from one look whether a running job was cancelled to the next
BEAT_SECONDS = 3.0  # from one sign of life to the next; the log is kept as often
ANSWER_SECONDS = 10.0  # that the database has to answer, or it counts as away; its own 30 would keep a stop waiting
SETTLE_SECONDS = 30.0  # from one search for jobs of dead workers to the next
GRACE_SECONDS = 5.0  # for a process that has written its result to end by itself

_WAIT_SECONDS = 0.2
_TOGETHER = 20  # jobs that are looked at when one is taken, as another worker may be quicker
_LONGEST_PAUSE = 60.0

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How many jobs a worker has run."""

    completed: int
    failed: int


class Stop:
    """Tells a worker to stop. A signal's handler may set it: it takes no lock that the handler could interrupt."""

    def __init__(self) -> None:
        self.asked = False

    def wait(self, seconds: float) -> bool:
        """Waits so long, or until it is set. Returns whether it is."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _WAIT_SECONDS))
        return self.asked


class StoppedError(Exception):
    """The worker was asked to stop while it waited for something."""


class Loop:
    """The work of one worker.

    Args:
        dataset: name of the only dataset whose jobs it takes; None for all.
        every: seconds from one look into an empty queue to the next.
        tell: told a line for every start and end of a job, and for trouble.
        stop: asks it to stop.
        command: the command line that runs the job of this id.
    """

    def __init__(
        self, dataset: str | None = None, every: float = 1.0, tell: Callable[[str], None] = logger.info,
        stop: Stop | None = None, command: Callable[[str], Sequence[str]] = command,
    ) -> None:  # fmt: skip
        self._dataset, self._every, self._tell, self._command = dataset, every, tell, command
        self._stop = stop or Stop()
        self._count = {ExecutionRunState.COMPLETED: 0, ExecutionRunState.FAILED: 0}
        self._settled_at = float("-inf")

    def run(self, once: bool = False) -> Outcome:
        """Runs jobs until it is asked to stop.

        Args:
            once: stop as well when the queue is empty.

        Raises:
            MissingError: if there is no such dataset.
        """
        try:
            query = self._patiently(self._enter)
            while not self._stop.asked:
                document = self._patiently(lambda: self._take(query))
                if document is not None:
                    self._run(document)
                elif once:
                    break
                else:
                    self._stop.wait(self._every)
        except StoppedError:
            pass
        finally:
            self._leave()
        return Outcome(*self._count.values())

    def _enter(self) -> dict[str, Any]:
        dataset = jobs.dataset_id(self._dataset)
        repo = RepositoryFactory.delegated_operation_repo()
        self._service, self._ping = DelegatedOperationService(repo), repo.ping
        self._presence = Presence()
        self._presence.beat("waits for jobs")
        return {} if dataset is None else {"dataset_id": dataset}

    def _leave(self) -> None:
        if not hasattr(self, "_presence"):
            return
        try:
            with timeout(ANSWER_SECONDS):
                self._presence.leave()
        except PyMongoError as error:  # the process ends, and is told from a living one by that
            logger.warning("the worker could not be taken out of the list of workers: %s", error)

    def _take(self, query: dict[str, Any]) -> Any:
        """The next job, which is ours from then on; None if none waits."""
        self._presence.beat("waits for jobs")
        if time.monotonic() - self._settled_at > SETTLE_SECONDS:
            for lost in jobs.settle_lost():
                self._tell(f"lost    {_name(lost)}: {lost.error}")
            self._settled_at = time.monotonic()
        # It may have become ours although the database failed to tell us.
        ours = self._service.list_operations(run_state=ExecutionRunState.RUNNING, run_link=self._presence.link)
        if ours:
            return ours[0]
        oldest = DelegatedOperationPagingParams(SortByField.QUEUED_AT, SortDirection.ASCENDING, limit=_TOGETHER)
        waiting = self._service.list_operations(run_state=ExecutionRunState.QUEUED, paging=oldest, **query)
        for document in sorted(waiting, key=lambda one: (one.queued_at, one.id)):
            taken = self._service.set_running(
                document.id, run_link=self._presence.link, required_state=ExecutionRunState.QUEUED, monitored=True
            )
            if taken is not None:
                return taken
        return None

    def _run(self, document: Any) -> None:
        id, began = str(document.id), time.monotonic()
        name = self._patiently(lambda: _name(jobs.job(id)))
        self._tell(f"start   {name}")
        why = None
        try:
            with Child(self._command(id)) as child:
                why = self._watch(document, child, name)
            log = child.log()
        except OSError as error:  # no memory or no process left for one more
            why, log = f"its process could not be started: {error}; {jobs.RUN_AGAIN}", ""
        said = why or child.death()
        state = self._patiently(lambda: self._conclude(document, said, log))
        if state not in self._count:
            self._tell(f"gone    {name}: " + ("it was deleted" if state is None else f"somebody made it {state} again"))
            return
        self._count[state] += 1
        ended = self._patiently(lambda: jobs.job(id))
        what = ended.error if state == ExecutionRunState.FAILED else ended.said
        word = "failed" if state == ExecutionRunState.FAILED else "done"
        self._tell(f"{word:<7} {name} ({time.monotonic() - began:.0f} s)" + (f": {what}" if what else ""))

    def _watch(self, document: Any, child: Child, name: str) -> str | None:
        """Waits for the end of a job's process. Returns why it has to be ended before; None if it ended by itself."""
        look = beat = 0.0
        away = False
        while not child.wait(_WAIT_SECONDS):
            if self._stop.asked:
                return f"the worker was stopped; {jobs.RUN_AGAIN}"
            now = time.monotonic()
            if now < look:
                continue
            try:
                with timeout(ANSWER_SECONDS):
                    if now >= beat:
                        self._presence.beat(name, str(document.id))
                        self._ping(document.id)
                        keep_log(str(document.id), child.log())
                        beat = now + BEAT_SECONDS
                    state, own = self._state(document)
            except PyMongoError as error:
                if not away:
                    self._tell(f"waits   the database does not answer ({type(error).__name__}); the job goes on")
                away = True
            else:
                away = False
                if state != ExecutionRunState.RUNNING:
                    if own:
                        child.wait(GRACE_SECONDS)
                    return "it was ended from outside"  # what has been written of it stands
            look = time.monotonic() + LOOK_SECONDS
        return None

    def _state(self, document: Any) -> tuple[str | None, bool]:
        """How a job stands, None if it was deleted; and whether its own process has written so."""
        try:
            now = self._service.get(document.id)
        except ValueError:  # FiftyOne's own for what is not there
            return None, False
        error = str((now.result.error if now.result else None) or "")
        return now.run_state, now.run_state == ExecutionRunState.COMPLETED or error.startswith("Traceback")

    def _conclude(self, document: Any, said: str, log: str) -> str | None:
        """Writes how a job has ended, unless that is written. Returns its state; None if it was deleted."""
        self._service.set_failed(document.id, ExecutionResult(error=said), required_state=ExecutionRunState.RUNNING)
        keep_log(str(document.id), log)
        return self._state(document)[0]

    def _patiently(self, what: Callable[[], T]) -> T:
        """Does something in the database, again and again until that answers.

        Raises:
            StoppedError: if the worker is asked to stop meanwhile.
        """
        pause, told = 1.0, False
        while True:
            try:
                with timeout(ANSWER_SECONDS):
                    return what()
            except PyMongoError as error:
                logger.debug("the database failed", exc_info=True)
                if not told:
                    self._tell(f"waits   the database does not answer ({type(error).__name__}); tries again")
                told = True
                if self._stop.wait(pause):
                    raise StoppedError from error
                pause = min(2 * pause, _LONGEST_PAUSE)


def supervise(
    once: bool = False, stop: Stop | None = None, tell: Callable[[str], None] = logger.info, **options: Any
) -> Outcome:
    """Runs a worker, and starts it again whenever it fails by a defect, after pauses that grow.

    Args:
        once: stop when the queue is empty; a defect ends it, too.
        stop: asks it to stop.
        tell: told what happens, in lines.
        **options: of ``Loop``.

    Raises:
        MissingError: if there is no such dataset.
    """
    stop = stop or Stop()
    pause, outcome = 1.0, Outcome(0, 0)
    while True:
        loop, began = Loop(stop=stop, tell=tell, **options), time.monotonic()
        try:
            last = loop.run(once)
            return Outcome(*map(sum, zip(outcome, last, strict=True)))
        except SpamPluginError:
            raise
        except Exception as error:
            if once:
                raise
            logger.exception("the worker failed")
            if time.monotonic() - began > 10 * _LONGEST_PAUSE:
                pause = 1.0
            tell(f"trouble the worker failed ({type(error).__name__}: {error}); it starts again in {pause:.0f} s")
            if stop.wait(pause):
                return outcome
            pause = min(2 * pause, _LONGEST_PAUSE)


def _name(job: jobs.Job) -> str:
    return f"{job.id} {job.label}" + (f", dataset {job.dataset}" if job.dataset else "")
