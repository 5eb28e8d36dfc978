"""Faults that a test asks for: errors, lost answers, slowness."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["status", "drop", "slow"]
When = Literal["before", "after"]


@dataclass
class Fault:
    """What goes wrong with which requests.

    Args:
        kind: ``status`` answers with an error, ``drop`` closes the connection, ``slow`` waits first.
        method: of the requests, any where it is None.
        path: a pattern that is looked for in the path with its query, any where it is None.
        after: how many fitting requests go well first.
        times: how many requests it happens to; None for all that follow.
        when: ``before`` the server does anything, or ``after`` it has done the work, whose answer is lost.
        bytes: how much of the answer arrives before a dropped connection.
        seconds: how long a slow request waits.
        status: the status of the error.
        retry_after: the header of the error, in seconds.
    """

    kind: Kind
    method: str | None = None
    path: str | None = None
    after: int = 0
    times: int | None = 1
    when: When = "before"
    bytes: int = 0
    seconds: float = 0.0
    status: int = 500
    retry_after: int | None = None
    happened: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in ("status", "drop", "slow"):
            raise ValueError(f"no such fault: {self.kind}")
        if self.when not in ("before", "after"):
            raise ValueError(f"a fault happens before or after, not {self.when}")

    def strikes(self, method: str, path: str) -> bool:
        """Whether this request is one that it happens to; every fitting request counts."""
        if self.method is not None and self.method != method:
            return False
        if self.path is not None and not re.search(self.path, path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.happened >= self.times:
            return False
        self.happened += 1
        return True


class Faults:
    """All faults that are asked for."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, kind: Kind, **more: Any) -> Fault:
        """Ask for a fault; see :class:`Fault` for what can be said of it."""
        fault = Fault(kind, **more)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Everything goes well again."""
        with self._lock:
            self._faults.clear()

    def of(self, method: str, path: str) -> list[Fault]:
        """What happens to this request."""
        with self._lock:
            return [fault for fault in self._faults if fault.strikes(method, path)]
