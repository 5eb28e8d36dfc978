"""Jobs: what waits for a worker, runs in one or has ended; listed, told from the dead, cancelled, run again.

FiftyOne keeps the queue (its delegated operations), and of a job whose process was killed it says for ever that it
runs. Here such a job is found: its worker's signs of life are judged as a lock's are (``locking``). A worker of
FiftyOne's own (``fiftyone delegated launch``) gives them with ``--monitor`` only; else it counts as alive.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import fiftyone as fo
from bson import ObjectId
from bson.errors import InvalidId
from fiftyone.core.odm import get_db_conn
from fiftyone.factory import DelegatedOperationPagingParams
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionResult, ExecutionRunState

from ...models.errors import InputError, MissingError
from .dataset import open_dataset
from .locking import DEAD_SECONDS
from .presence import Roll, Worker, kept_log, worker_of

__all__ = [
    "Job", "Worker", "cancel", "find_lost", "job", "job_log", "list_jobs", "mark_failed", "run_again", "settle_lost",
    "workers",
]  # fmt: skip

RUN_AGAIN = "run it again: what was finished is kept"
STATES = ("queued", "running", "completed", "failed", "lost")

_QUEUED = (ExecutionRunState.QUEUED, ExecutionRunState.SCHEDULED)
_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Job:
    """One job as it stands.

    Attributes:
        id: its number in FiftyOne's queue.
        operator: URI of the operator.
        label: what the operator is called.
        dataset: name of the dataset that it works on, as it is called now; None if there is none.
        state: queued, running, completed, failed, or lost: said to be running, but its worker is gone.
        progress: the share that is done, in [0, 1]; None if it has not told.
        doing: what it is doing, in words.
        queued: when it was asked for.
        started: when a worker took it.
        ended: when it completed or failed.
        error: why it failed or is lost, in one sentence.
        said: what came out, in one sentence, if the operator has told.
        worker: the process that runs or ran it; None for FiftyOne's own workers.
    """

    id: str
    operator: str
    label: str
    dataset: str | None
    state: str
    progress: float | None
    doing: str
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    error: str | None
    said: str | None
    worker: str | None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"job {self.id}: no such state: {self.state!r}; there are {', '.join(STATES)}")
        if self.progress is not None and not 0 <= self.progress <= 1:
            raise ValueError(f"job {self.id}: progress {self.progress} is no share")


def list_jobs(dataset: fo.Dataset | str | None = None, limit: int = 50) -> list[Job]:
    """Jobs, the one that was asked for last first.

    Args:
        dataset: that they work on, or its name; None for those of all datasets.
        limit: at most so many.

    Raises:
        MissingError: if there is no such dataset.
        InputError: for a limit below 1.
    """
    if limit < 1:
        raise InputError(f"a list of {limit} jobs cannot be; ask for 1 or more")
    return _jobs(paging=DelegatedOperationPagingParams(limit=limit), dataset_id=dataset_id(dataset))


def job(id: str) -> Job:
    """One job.

    Raises:
        MissingError: if there is no such job.
    """
    return _read([_document(id)])[0]


def workers() -> list[Worker]:
    """The workers of ours that are alive, the first started first."""
    return Roll.call().alive()


def job_log(id: str) -> str:
    """What a job has printed, its last 64 KB, also while it runs.

    Of a job that had no worker of ours this is what FiftyOne keeps: where it failed.

    Raises:
        MissingError: if there is no such job.
    """
    document = _document(id)
    return kept_log(id) or _error(document)


def cancel(id: str, by: str | None = None) -> None:
    """Ends a job that waits or runs; its worker ends the process within some two seconds.

    Args:
        id: of the job.
        by: who wants that; None for the user of this process.

    Raises:
        MissingError: if there is no such job.
        InputError: if it has ended already.
    """
    document = _document(id)
    if not _fail(document, f"cancelled by {by or _somebody()}", (*_QUEUED, ExecutionRunState.RUNNING)):
        raise InputError(f"job {id} has {_document(id).run_state} already; there is nothing to cancel")


def mark_failed(id: str, by: str | None = None) -> None:
    """Marks a job as failed that is said to run, whoever runs it; a worker of ours ends its process.

    Args:
        id: of the job.
        by: who says so; None for the user of this process.

    Raises:
        MissingError: if there is no such job.
        InputError: if it has not started, or has ended.
    """
    document = _document(id)
    if not _fail(document, f"marked as failed by {by or _somebody()}; {RUN_AGAIN}", (ExecutionRunState.RUNNING,)):
        state = _document(id).run_state
        mend = "cancel it instead" if state in _QUEUED else "its state stays"
        raise InputError(f"job {id} is not running but {state}; {mend}")


def run_again(id: str) -> str:
    """Queues a job that has ended, or was lost, once more, with the same input.

    Returns:
        The id of the new job.

    Raises:
        MissingError: if there is no such job; those of a dataset go with it.
        InputError: if it waits or runs, or its operator may not be run again.
    """
    document = _document(id)
    found = _read([document])[0]
    if found.state == "lost":
        _settle(document, found)
    elif found.state in ("queued", "running"):
        raise InputError(f"job {id} is {found.state}; cancel it first, or wait for its end")
    if not document.rerunnable or document.parent_id:
        raise InputError(f"job {id} cannot be run again by itself: {found.label} does not allow that")
    # FiftyOne's own way (rerun_operation) finds the dataset by the name that it had.
    if document.dataset_id is not None:
        document.context.request_params["dataset_id"] = str(document.dataset_id)
    again = DelegatedOperationService().queue_operation(
        document.operator, document.label, document.delegation_target, document.context, document.metadata,
        document.pipeline,
    )  # fmt: skip
    return str(again.id)


def find_lost() -> list[Job]:
    """Jobs that are said to run, and whose worker is gone."""
    return [found for _, found in _lost()[0]]


def settle_lost() -> list[Job]:
    """Marks jobs whose worker is gone as failed, and forgets these workers.

    Returns:
        The jobs that were marked, with the sentence that they now have as their error.
    """
    lost, roll = _lost()
    settled = [found for document, found in lost if _settle(document, found)]
    roll.strike()
    return settled


def dataset_id(dataset: fo.Dataset | str | None) -> ObjectId | None:
    """The dataset by which FiftyOne files its jobs.

    Raises:
        MissingError: if there is no dataset of that name.
    """
    if dataset is None:
        return None
    return (open_dataset(dataset) if isinstance(dataset, str) else dataset)._doc.id


def sentence(error: str) -> str:
    """What to tell a person of an error that was kept as text: a traceback, or a sentence already.

    >>> sentence("cancelled by anna")
    'cancelled by anna'
    """
    lines = error.strip().splitlines()
    frames = [at for at, line in enumerate(lines) if line.lstrip().startswith('File "')]
    if not frames:
        return " ".join(error.split())
    # Behind the last frame come its source and marks, indented further; then the error, which may have several lines.
    at = frames[-1] + 1
    indent = len(lines[frames[-1]]) - len(lines[frames[-1]].lstrip())
    while at < len(lines) and (not lines[at].strip() or lines[at].startswith(" " * (indent + 1))):
        at += 1
    kind, _, message = " ".join(" ".join(lines[at:]).split()).partition(": ")
    if message and (kind.startswith(f"{_PACKAGE}.") or kind.endswith("executor.ExecutionError")):
        return message
    if kind.startswith("pymongo.errors."):
        return f"the database did not answer; {RUN_AGAIN}"
    return f"unexpected error: {kind.rpartition('.')[2]}" + (f": {message}" if message else "") + "; see the log"


def _document(id: str) -> Any:
    try:
        return DelegatedOperationService().get(ObjectId(id))
    except (InvalidId, TypeError, ValueError) as error:  # the last one is FiftyOne's for what is not there
        raise MissingError(f"there is no job {id!r}; it may have been deleted") from error


def _jobs(**query: Any) -> list[Job]:
    return _read(DelegatedOperationService().list_operations(**query))


def _lost() -> tuple[list[tuple[Any, Job]], Roll]:
    """Lost jobs, with their documents, and the roll by which they were judged."""
    documents = DelegatedOperationService().list_operations(run_state=ExecutionRunState.RUNNING)
    roll = Roll.call()  # behind the list: a worker enters itself before it claims a job
    pairs = zip(documents, _read(documents, roll), strict=True)
    return [(document, found) for document, found in pairs if found.state == "lost"], roll


def _settle(document: Any, found: Job) -> bool:
    return _fail(document, found.error or "", (ExecutionRunState.RUNNING,))


def _fail(document: Any, said: str, states: Sequence[str]) -> bool:
    """Marks a job as failed if it is in one of these states; whether it was."""
    service, result = DelegatedOperationService(), ExecutionResult(error=said)
    return any(service.set_failed(document.id, result, required_state=state) is not None for state in states)


def _read(documents: Sequence[Any], roll: Roll | None = None) -> list[Job]:
    names = _dataset_names([document.dataset_id for document in documents if document.dataset_id is not None])
    if roll is None and any(document.run_state == ExecutionRunState.RUNNING for document in documents):
        roll = Roll.call()
    return [_job(document, names.get(document.dataset_id), roll) for document in documents]


def _job(document: Any, dataset: str | None, roll: Roll | None) -> Job:
    state = "queued" if document.run_state in _QUEUED else str(document.run_state)
    worker = worker_of(document.run_link)
    error = sentence(_error(document)) if state == "failed" else None
    if state == "failed" and not error:  # fiftyone delegated fail
        error = "marked as failed by hand"
    if state == "running" and roll is not None and (lost := _why_lost(document, roll)):
        state, error = "lost", lost
    status, output = document.status, document.result.result if document.result else None
    share = status.progress if status is not None else None
    doing = status.label if status is not None and state in ("running", "lost") else None
    return Job(
        id=str(document.id), operator=document.operator, label=_label(document), dataset=dataset, state=state,
        progress=1.0 if state == "completed" else None if share is None else min(max(float(share), 0), 1),
        doing=doing or {"running": "starting", "queued": "waits for a worker"}.get(state, ""),
        queued=_moment(document.queued_at or document.scheduled_at), started=_moment(document.started_at),
        ended=_moment(document.completed_at or document.failed_at), error=error,
        said=str(output["said"]) if isinstance(output, dict) and output.get("said") else None,
        worker=worker[1] if worker else None,
    )  # fmt: skip


def _why_lost(document: Any, roll: Roll) -> str | None:
    """Why a job that is said to run does not; None if it may."""
    worker = worker_of(document.run_link)
    if worker is None:
        seen = _moment(document.updated_at)
        if not document.monitored or seen is None or _now() - seen < timedelta(seconds=DEAD_SECONDS):
            return None
        return f"its worker gave no sign of life since {_said(seen)}; {RUN_AGAIN}"
    token, name = worker
    if not roll.is_gone(token):
        return None
    last = roll.seen(token) or _moment(document.updated_at)
    return f"its worker ({name}) died" + (f" at {_said(last)}, or soon after" if last else "") + f"; {RUN_AGAIN}"


def _label(document: Any) -> str:
    """FiftyOne keeps the name of an operator for its label."""
    name = document.operator.rpartition("/")[2]
    return name.replace("_", " ") if document.label in (None, name, document.operator) else document.label


def _error(document: Any) -> str:
    return str((document.result.error if document.result else None) or "")


def _dataset_names(ids: Sequence[ObjectId]) -> dict[ObjectId, str]:
    """Names as they are now; a job keeps the name that its dataset had when it was queued."""
    if not ids:
        return {}
    found = get_db_conn().datasets.find({"_id": {"$in": list(set(ids))}}, {"name": 1})
    return {document["_id"]: document["name"] for document in found}


def _moment(stamp: datetime | None) -> datetime | None:
    """FiftyOne keeps UTC without saying so, unless it was told of another time zone."""
    return stamp.replace(tzinfo=timezone.utc) if stamp is not None and stamp.tzinfo is None else stamp


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _said(moment: datetime) -> str:
    return moment.astimezone().isoformat(" ", "seconds")


def _somebody() -> str:
    try:
        return f"{getpass.getuser()} on {socket.gethostname()}"
    except (OSError, KeyError):  # a container may run under a number that has no name
        return f"somebody on {socket.gethostname()}"
