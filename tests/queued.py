"""Jobs in FiftyOne's queue for tests, and programs of a few lines that run them in place of the real process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Writes its job into a file; then it may mark the job as completed, as FiftyOne's own process does.
STUB = """if True:
    import datetime, os, sys
    from bson import ObjectId
    from pymongo import MongoClient
    job, path, result = sys.argv[1:]
    with open(path, "a") as file:
        file.write(job + "\\n")
    if result:
        MongoClient(os.environ["FIFTYONE_DATABASE_URI"])[os.environ["FIFTYONE_DATABASE_NAME"]].delegated_ops.update_one(
            {"_id": ObjectId(job), "run_state": "running"},
            {"$set": {"run_state": "completed", "result": {"result": {"said": result}},
             "completed_at": datetime.datetime.now(datetime.timezone.utc)}},
        )
    sys.exit(7)
"""


def stub(path: Path, result: str = "") -> Callable[[str], list[str]]:
    """A process that says which job it is, completes it if there is a result, and exits with 7."""
    return lambda job: [sys.executable, "-c", STUB, job, str(path), result]


def queue(dataset: Any, label: str = "job", operator: str = "@spam-plugin/tests/nothing", **params: Any) -> str:
    """Queues a job of an operator that need not exist."""
    from fiftyone.operators.delegated import DelegatedOperationService
    from fiftyone.operators.executor import ExecutionContext

    context = ExecutionContext(request_params={"dataset_name": dataset.name, "params": params})
    return str(DelegatedOperationService().queue_operation(operator=operator, label=label, context=context).id)


def clear() -> None:
    """Empties the queue, and forgets all workers and logs."""
    from fiftyone.core.odm import get_db_conn
    from fiftyone.operators.store import ExecutionStore

    get_db_conn().delegated_ops.delete_many({})
    ExecutionStore.create("spam_plugin.workers").clear()


def until(what: Callable[[], Any], seconds: float = 90.0) -> Any:
    """Waits until something holds, and returns it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "this did not come"
        time.sleep(0.05)
    return found


def lives(pid: int) -> bool:
    """Whether a process does; one that was killed and that nobody has asked for does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
