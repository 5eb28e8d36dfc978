"""What workers leave for others to see: that they live, what they are doing, and what their jobs have printed.

It lies in an execution store of no dataset, so that a panel on another machine sees it too. A job names its worker in
its own document (``run_link``), written in the same step that claims it: no job runs of which nobody knows whose it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from fiftyone.operators.store import ExecutionStore

from . import locking

LOG_BYTES = 64 << 10  # of what a job has printed, its last part
_KEEP_SECONDS = 30 * 24 * 3600  # a log, from the start of its job

_STORE = "spam_plugin.workers"
_WORKER, _LOG = "worker.", "log."
_LINK = re.compile(r"spam-plugin worker (\w+): (.+)")


@dataclass(frozen=True)
class Worker:
    """A worker that is alive.

    Attributes:
        host: name of its machine.
        pid: number of its process there.
        since: when it was started.
        seen: its last sign of life.
        doing: what it is doing, in words.
        job: the job that it runs, if any.
    """

    host: str
    pid: int
    since: datetime
    seen: datetime
    doing: str
    job: str | None = None


class Presence:
    """This process as a worker: it enters itself, gives signs of life, and takes itself out in the end."""

    def __init__(self) -> None:
        self._store = ExecutionStore.create(_STORE)
        self._entry: dict[str, Any] = locking.sign()
        self._key = _WORKER + self._entry["token"]

    @property
    def link(self) -> str:
        """What a job that it claims says of its worker."""
        return f"spam-plugin worker {self._entry['token']}: {_name(self._entry)}"

    def beat(self, doing: str, job: str | None = None) -> None:
        """A sign of life."""
        self._entry.update(beat=time.time(), doing=doing, job=job)
        self._store.set(self._key, self._entry)

    def leave(self) -> None:
        """Takes it out; a job of its that still runs counts as lost from then on."""
        locking.forget(self._entry)
        self._store.delete(self._key)


@dataclass(frozen=True)
class Roll:
    """All workers that have entered themselves, dead or alive, by their tokens."""

    entries: Mapping[str, Mapping[str, Any]]

    @classmethod
    def call(cls) -> Roll:
        """Looks who is there now."""
        store = ExecutionStore.create(_STORE)
        keys = [key for key in store.list_keys() if key.startswith(_WORKER)]
        found = {key.removeprefix(_WORKER): store.get(key) for key in keys}
        return cls({token: entry for token, entry in found.items() if entry})

    def alive(self) -> list[Worker]:
        """Those that are, the first started first."""
        now = time.time()
        return sorted(
            (
                Worker(
                    entry["host"].split("/")[0], entry["pid"], _moment(entry["since"]), _moment(entry["beat"]),
                    entry["doing"], entry["job"],
                )
                for entry in self.entries.values() if not locking.is_gone(entry, now)
            ),
            key=lambda worker: worker.since,
        )  # fmt: skip

    def is_gone(self, token: str) -> bool:
        """Whether a worker is."""
        return token not in self.entries or locking.is_gone(self.entries[token], time.time())

    def seen(self, token: str) -> datetime | None:
        """The last sign of life of a worker; None if it has left."""
        return _moment(self.entries[token]["beat"]) if token in self.entries else None

    def strike(self) -> None:
        """Takes out those that are gone; to be called when nothing is left that asks for them."""
        store, now = ExecutionStore.create(_STORE), time.time()
        for token, entry in self.entries.items():
            if locking.is_gone(entry, now):
                store.delete(_WORKER + token)


def worker_of(link: str | None) -> tuple[str, str] | None:
    """Token and name of the worker that a job says it has; None for one of FiftyOne's own."""
    found = _LINK.fullmatch(link or "")
    return (found[1], found[2]) if found else None


def keep_log(job: str, text: str) -> None:
    """Keeps what a job has printed so far; it goes after 30 days."""
    ExecutionStore.create(_STORE).set(_LOG + job, text, ttl=_KEEP_SECONDS)


def kept_log(job: str) -> str:
    """What a job has printed, as far as it was kept."""
    return ExecutionStore.create(_STORE).get(_LOG + job) or ""


def _name(entry: Mapping[str, Any]) -> str:
    return f"process {entry['pid']} on {entry['host'].split('/')[0]}"


def _moment(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, timezone.utc)
