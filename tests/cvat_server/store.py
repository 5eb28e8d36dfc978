"""What the stand-in server remembers: a plain graph of dicts and lists, with ids and a clock of its own."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta, timezone
from typing import Any

Record = dict[str, Any]

TABLES = (
    "users",
    "organizations",
    "projects",
    "labels",
    "tasks",
    "jobs",
    "media",
    "issues",
    "comments",
    "webhooks",
    "deliveries",
    "guides",
    "cloud_storages",
    "access_tokens",
)
# Objects inside a job have ids of their own, counted over the whole server as a database does.
OBJECTS = ("tag", "shape", "track", "keyframe")
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
# Every reading of the clock moves it on, so two writes never carry the same date, and never whole milliseconds.
TICK_US = 1_013


class Store:
    """The whole state of the server.

    It holds nothing but plain values, so that a snapshot is one pickle. Media files lie in a folder beside it under the
    hash of their content and are never changed there, which is why a snapshot need not contain them.
    """

    def __init__(self) -> None:
        self.data: Record = {}
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.data = {table: {} for table in TABLES}
        self.data.update(
            clock=0,
            next={},
            tokens={},
            sessions={},
            requests={},
            uploads={},
            owner={kind: {} for kind in OBJECTS},
        )

    def __getitem__(self, table: str) -> Any:
        return self.data[table]

    def new_id(self, kind: str) -> int:
        """The next id of this kind; ids are never given twice, not even after a deletion."""
        number = self.data["next"].get(kind, 0) + 1
        self.data["next"][kind] = number
        return number

    def new_ids(self, kind: str, count: int) -> range:
        """The next ids of this kind, in one go."""
        first = self.data["next"].get(kind, 0) + 1
        self.data["next"][kind] = first + count - 1
        return range(first, first + count)

    def now(self, **later: float) -> str:
        """The date, a little later at every call; ``later`` gives a date that far in the future."""
        self.data["clock"] += TICK_US
        moment = EPOCH + timedelta(microseconds=self.data["clock"]) + timedelta(**later)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def snapshot(self) -> bytes:
        """An opaque deep copy of everything."""
        return pickle.dumps(self.data, protocol=pickle.HIGHEST_PROTOCOL)

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot."""
        self.data = pickle.loads(snapshot)

    # Relations that several topics need.

    def labels_of(self, task: Record) -> list[Record]:
        """The labels that annotations of a task may use, in order."""
        key, value = ("project_id", task["project_id"]) if task["project_id"] else ("task_id", task["id"])
        return [label for label in self.data["labels"].values() if label[key] == value]

    def jobs_of(self, task: Record) -> list[Record]:
        """The jobs of a task in the order of their segments."""
        return [job for job in self.data["jobs"].values() if job["task_id"] == task["id"]]

    def task_of(self, job: Record) -> Record:
        """The task that a job is a segment of."""
        return self.data["tasks"][job["task_id"]]

    def project_of(self, task: Record) -> Record | None:
        """The project of a task, if it has one."""
        return self.data["projects"].get(task["project_id"])
