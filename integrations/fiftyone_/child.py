"""The process of one job: started afresh, in a session of its own; it never outlives the worker that has started it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from .presence import LOG_BYTES

TERMINATE_SECONDS = 5.0  # from the polite signal to the one that nobody can refuse

# A process that is started so has the working folder in its path, whose files must not be taken for modules.
_CODE = "import sys; sys.path[:] = filter(None, sys.path); from {module} import run_job; run_job({job!r})"


def command(job: str) -> Sequence[str]:
    """The command line of the process that runs a job."""
    return [sys.executable, "-c", _CODE.format(module=__name__, job=job)]


class Child:
    """A process and all that it starts, with the last part of what they print. Leaving the block ends all of them.

    Args:
        command: its command line.

    Raises:
        OSError: if it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        # Its input is a pipe of which this process holds the other end: when this one is gone, whyever, it breaks.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._log, self._lock = bytearray(), threading.Lock()
        self._reader = threading.Thread(target=self._read, name="log of a job", daemon=True)
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: Any) -> None:
        self._signal(signal.SIGTERM)
        if not self.wait(TERMINATE_SECONDS):
            logging.getLogger(__name__).debug("process %s does not end when it is asked to", self._process.pid)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join(TERMINATE_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()

    @property
    def pid(self) -> int:
        """Number of the process, and of its session."""
        return self._process.pid

    def wait(self, seconds: float) -> bool:
        """Waits at most so long for its end. Returns whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def log(self) -> str:
        """The last 64 KB of what was printed, from the begin of a line."""
        with self._lock:
            text, cut = bytes(self._log[-LOG_BYTES:]), len(self._log) > LOG_BYTES
        return (text.partition(b"\n")[2] if cut else text).decode(errors="replace")

    def death(self) -> str:
        """What to say of it if it has ended without a result."""
        code = self._process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            why = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
            how = f"was killed ({name}, exit code {code}){why}"
        else:
            how = f"ended with exit code {code} and without a result"
        return f"its process {how}; run it again: what was finished is kept"

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # nobody is left; macOS says so in the second way
            return

    def _read(self) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        with pipe:
            while piece := os.read(pipe.fileno(), 1 << 16):
                with self._lock:
                    self._log += piece
                    del self._log[: -2 * LOG_BYTES]


def run_job(job: str) -> None:
    """Runs a job, in a process that was started for it. It ends with the process, or with the worker's.

    Args:
        job: its id.
    """
    worker = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with, args=(worker,), name="end of the worker", daemon=True).start()

    from bson import ObjectId
    from fiftyone.operators.delegated import _execute_operator_in_child_process

    ours = logging.getLogger(__name__.partition(".")[0])
    ours.addHandler(logging.StreamHandler(sys.stderr))
    ours.setLevel(logging.INFO)
    # Writes the result, unless the job was ended from outside meanwhile; ends all processes below, then this one.
    _execute_operator_in_child_process(ObjectId(job), log=True)


def _end_with(worker: int) -> None:
    """Ends this process and all of its session as soon as the worker's end of a pipe is closed."""
    while os.read(worker, 1):
        pass
    os.killpg(0, signal.SIGKILL)
