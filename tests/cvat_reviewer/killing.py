"""Processes that are killed at a chosen step: forked off with all imports done, so that a death costs no start.

A step is one thing that may leave a trace: a note of the journal, a request that changes something at the server, a
write to the database, or a list of such writes, of which only half may get through.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

JOURNAL, REQUEST, DATABASE, LIST = "journal", "request", "database", "list"
BEFORE, WITHIN, AFTER, LOST = "before", "within", "after", "while it looked for the lost answer of"
WRITES = ("insert", "update", "delete", "findAndModify")
PATIENCE = 120.0  # seconds, after which a child that neither ends nor dies hangs


@dataclass(frozen=True)
class Point:
    """Where a process dies.

    Attributes:
        kind: of the step.
        number: how many of this kind come before it.
        when: on which side of the step, or within it; LOST if its answer gets lost, and the process dies after the next
            request, be it another try or a look whether it was done.
    """

    kind: str
    number: int
    when: str = BEFORE


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Attributes:
        killed: whether it was.
        steps: what it did, in order, if it got to the end: kind and words.
        seconds: that it took, if it got to the end.
        said: what its work returned.
    """

    killed: bool
    steps: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    said: Any = None


def in_child(work: Callable[[], Any], point: Point | None = None, after: float | None = None) -> Ending:
    """Does work in a process of its own, which has opened no connection and no dataset yet.

    Args:
        work: returns plain values.
        point: where the process kills itself, if it gets there.
        after: seconds, counted from the beginning of the work, after which it is killed from outside.

    Raises:
        AssertionError: if the work failed, or hung.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _be_the_child(work, point, writing)
    os.close(writing)
    try:
        heard = _hear(reading, child, after)
    finally:
        os.close(reading)
        status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"the child died of signal {os.WTERMSIG(status)}"
        return Ending(True)
    said = json.loads(heard)
    assert "failed" not in said, said["failed"]
    return Ending(False, tuple(map(tuple, said["steps"])), said["seconds"], said["said"])


def _hear(pipe: int, child: int, after: float | None) -> bytes:
    """What the child says until it ends, after a first byte when it begins; kills it in time."""
    heard = b""
    limit = PATIENCE
    while True:
        if not select.select([pipe], [], [], limit)[0]:
            os.kill(child, signal.SIGKILL)
            assert limit != PATIENCE, f"a child hung for {PATIENCE:g} s"
        part = os.read(pipe, 1 << 16)
        if not part:
            return heard[1:]
        limit = after if after is not None and not heard else PATIENCE
        heard += part


def _be_the_child(work: Callable[[], Any], point: Point | None, pipe: int) -> None:
    """Never returns: what is to happen at the end of the parent's process must not happen in this one."""
    try:
        sys.settrace(None)  # who measures coverage does not hear of this process
        steps = Steps(point)
        steps.watch()
        forget_connections()
        os.write(pipe, b"\n")
        began = time.perf_counter()
        said = work()
        values = {"seconds": time.perf_counter() - began, "steps": steps.done, "said": said}
    except BaseException:
        values = {"failed": traceback.format_exc()}
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        with os.fdopen(pipe, "wb") as out:
            out.write(json.dumps(values).encode())
    finally:
        os._exit(0)


def forget_connections() -> None:
    """Makes FiftyOne connect anew: a connection belongs to the process that has opened it."""
    import fiftyone as fo
    import mongoengine
    from fiftyone.core.odm import database
    from fiftyone.factory import repo_factory
    from mongoengine.base.common import _document_registry

    database._client = database._async_client = None
    for known in ("_connections", "_connection_settings", "_dbs"):
        getattr(mongoengine.connection, known).clear()
    for kind in _document_registry.values():
        if issubclass(kind, mongoengine.Document):
            kind._disconnect()
    repo_factory._db = None
    repo_factory.RepositoryFactory.repos.clear()
    fo.Dataset._instances.clear()


class Steps:
    """Notes every step of this process, and kills it at one of them."""

    def __init__(self, point: Point | None = None) -> None:
        self.done: list[tuple[str, str]] = []
        self._point = point
        self._count = dict.fromkeys((JOURNAL, REQUEST, DATABASE, LIST), 0)
        self._is_inside = self._is_lost = False

    def watch(self) -> None:
        """Lays itself around all that leaves a trace; for good, so only a child may do it."""
        import fiftyone as fo
        from pymongo import monitoring
        from urllib3.connectionpool import HTTPConnectionPool
        from urllib3.exceptions import ProtocolError

        from spam_plugin.integrations.fiftyone_.journal import SyncJournal

        steps = self
        write, send = fo.Dataset._bulk_write, HTTPConnectionPool.urlopen
        note, forget = SyncJournal.set, SyncJournal.delete

        def set_note(self: SyncJournal, key: str, value: Any) -> None:
            with steps.around(JOURNAL, f"note {key}"):
                note(self, key, value)

        def delete_note(self: SyncJournal, key: str) -> None:
            with steps.around(JOURNAL, f"forget {key}"):
                forget(self, key)

        def request(self: HTTPConnectionPool, method: str, url: str, *args: Any, **more: Any) -> Any:
            if steps._is_lost:
                send(self, method, url, *args, **more)
                die()
            if method == "GET" or "/auth/" in url:
                return send(self, method, url, *args, **more)
            with steps.around(REQUEST, f"{method} {url}") as when:
                answer = send(self, method, url, *args, **more)
                steps._is_lost = when == LOST
                if steps._is_lost:
                    raise ProtocolError("the answer got lost")
                return answer

        def write_list(self: fo.Dataset, operations: list[Any], *args: Any, **more: Any) -> Any:
            if len(operations) < 2:
                return write(self, operations, *args, **more)
            with steps.around(LIST, f"{len(operations)} writes") as when:
                if when == WITHIN:
                    write(self, operations[: len(operations) // 2], *args, **more)
                    die()
                return write(self, operations, *args, **more)

        class Commands(monitoring.CommandListener):
            def started(self, event: monitoring.CommandStartedEvent) -> None:
                if event.command_name in WRITES and not steps._is_inside:
                    with steps.around(DATABASE, f"{event.command_name} {event.command[event.command_name]}"):
                        pass

            def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

            def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

        SyncJournal.set, SyncJournal.delete = set_note, delete_note  # type: ignore[method-assign]
        HTTPConnectionPool.urlopen = request  # type: ignore[method-assign]
        fo.Dataset._bulk_write = write_list
        monitoring.register(Commands())

    @contextmanager
    def around(self, kind: str, what: str) -> Iterator[str]:
        """Around one step, whose writes to the database are no steps; says when to die, if it is here."""
        number = self._count[kind]
        self._count[kind] += 1
        self.done.append((kind, what))
        here = self._point is not None and (self._point.kind, self._point.number) == (kind, number)
        when = self._point.when if here and self._point is not None else ""
        if when == BEFORE:
            die()
        self._is_inside = True
        yield when
        self._is_inside = False
        if when == AFTER:
            die()


def die() -> None:
    """As if somebody had pulled the plug."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(PATIENCE)
