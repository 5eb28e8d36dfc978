"""A lock in an execution store, so that two processes do not do the same at once; it does not outlive its process."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from fiftyone.operators.store import ExecutionStore

from ...engine.desk.ports import DeskError, LostError

BEAT_SECONDS = 60.0  # from one sign of life to the next
DEAD_SECONDS = 600.0  # without one, after which a process of another machine counts as gone

_TRIES = 5  # when several processes reach for it at once
_tokens: set[str] = set()  # of the locks that this process, or the one that it was forked from, holds

logger = logging.getLogger(__name__)


class StoreLock:
    """One lock, an entry of a store: empty while it is free, else who holds it.

    Args:
        store: that it lies in.
        key: name of the entry.
        what: that is locked, for messages.
    """

    def __init__(self, store: ExecutionStore, key: str, what: str) -> None:
        self._store, self._key, self._what = store, key, what
        self._held: dict[str, Any] | None = None
        self._beats = threading.Lock()
        self._is_lost = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock.

        A sign of life is given every minute. The lock of a process that is gone is taken over: of this machine at once,
        of another one ten minutes after the last sign of life.

        Raises:
            DeskError: if somebody else holds it; names who, since when, and how to end that.
        """
        held = self._take()
        self._held, self._is_lost, self._beats = held, False, threading.Lock()
        over = threading.Event()
        thread = threading.Thread(target=self._beat_until, args=(over,), name=f"lock of {self._what}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            if held["pid"] == os.getpid():  # what was forked off meanwhile does not hold it
                over.set()
                thread.join()
                forget(held)
                held, self._held = self._held, None
                self._store.compare_and_set(self._key, held, {})  # only if it is still ours

    @property
    def is_held(self) -> bool:
        """Whether it is held by way of this very object."""
        return self._held is not None

    def holder(self) -> str | None:
        """Who holds it and since when, in a sentence; None while it is free, or its process is gone."""
        found, now = self._store.get(self._key), time.time()
        return self._held_by(found, now) if found and not is_gone(found, now) else None

    def check(self) -> None:
        """Makes sure that a lock which this process holds has not been taken over; to be called before every write.

        A machine that slept for long must not go on where another one is at work by now.

        Raises:
            LostError: if it has.
        """
        held = self._held
        if held is None or held["pid"] != os.getpid():
            return
        if time.time() - held["beat"] > DEAD_SECONDS / 2:
            self._beat()
        if self._is_lost:
            raise LostError(
                f"another process works on {self._what} now, as this one gave no sign of life for "
                f"{DEAD_SECONDS / 60:.0f} minutes; what is done stays done, start it again for the rest"
            )

    def _take(self) -> dict[str, Any]:
        mine = sign()
        now = mine["since"]
        for _ in range(_TRIES):
            found = self._store.get(self._key)
            if found and not is_gone(found, now):
                raise DeskError(self._held_by(found, now))
            if found is None:
                taken = self._store.set_if_absent(self._key, mine)
            else:
                taken = self._store.compare_and_set(self._key, found, mine)
            if taken:
                if found:
                    logger.warning("process %s, which worked on %s, is gone; taking over", found["pid"], self._what)
                return mine
        raise DeskError(f"several processes want to work on {self._what} at once; try again in a minute")

    def _held_by(self, found: Mapping[str, Any], now: float) -> str:
        since, last = (
            datetime.fromtimestamp(found[name]).astimezone().isoformat(" ", "seconds") for name in ("since", "beat")
        )
        machine = str(found["host"]).split("/")[0]
        if found["host"] == _host() and found["pid"] == os.getpid():
            mend = "it is this very process, for somebody else or for a job started twice; wait until it is done"
        elif found["host"] == _host():
            mend = f"wait until it is done, or end it (kill {found['pid']}), and try again"
        else:
            left = max(DEAD_SECONDS - (now - found["beat"]), 0.0) / 60
            mend = f"wait until it is done; if it is gone, try again in {left:.0f} min (last sign of life: {last})"
        return f"process {found['pid']} on {machine} works on {self._what} since {since}; {mend}"

    def _beat_until(self, over: threading.Event) -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                self._beat()
            except Exception as error:  # the database may be back at the next beat
                logger.warning("the lock of %s could not be renewed: %s", self._what, error)

    def _beat(self) -> None:
        with self._beats:
            if self._held is None or self._is_lost:
                return
            fresh = {**self._held, "beat": time.time()}
            if self._store.compare_and_set(self._key, self._held, fresh):
                self._held = fresh
            else:
                self._is_lost = True
                logger.error("another process has taken the lock of %s", self._what)


def sign() -> dict[str, Any]:
    """A sign of life of this process, by which others can tell whether it is still there (``is_gone``)."""
    now, token = time.time(), uuid4().hex
    _tokens.add(token)
    return {
        "host": _host(), "pid": os.getpid(), "started": _birth(os.getpid()), "since": now, "beat": now, "token": token,
    }  # fmt: skip


def forget(mine: Mapping[str, Any]) -> None:
    """Ends a sign of life, while its process goes on."""
    _tokens.discard(mine["token"])


def is_gone(found: Mapping[str, Any], now: float) -> bool:
    """Whether nobody is behind a sign of life any more."""
    if found["host"] != _host():
        return now - found["beat"] > DEAD_SECONDS
    if found["pid"] == os.getpid() and found["token"] not in _tokens:
        return True
    return _birth(found["pid"]) != found["started"]


def _host() -> str:
    """Where numbers of processes mean the same: containers may share a name, and still have numbers of their own."""
    try:
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _birth(pid: int) -> str | None:
    """When a process was started, as numbers are used again; None if it is gone, or killed and not cleared yet."""
    if not Path("/proc/self/stat").exists():
        psutil = import_module("psutil")  # which FiftyOne needs, too
        try:
            found = psutil.Process(pid)
            return None if found.status() == psutil.STATUS_ZOMBIE else str(found.create_time())
        except psutil.Error:
            return None
    try:
        # The name, in brackets, may hold spaces; behind it come the state and, as the 20th, ticks since the boot.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"
