"""Runs work that reports its progress so that the App shows a bar meanwhile."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Tell = Callable[[float, str], None]  # share that is done, in [0, 1], and what is being done

PACE_SECONDS = 0.5  # between two steps that are written to the database


class Live(Generic[T]):
    """Work in a thread of its own, and the steps that it tells of, one after another.

    The thread goes on to its end when nobody listens any more: a closed browser must not leave a dataset half done.

    Args:
        work: what to do; told steps by the function that it is given.
    """

    def __init__(self, work: Callable[[Tell], T]) -> None:
        self._work = work
        self._steps: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
        self._result: T | None = None
        self._error: BaseException | None = None

    def steps(self) -> Iterator[tuple[float, str]]:
        """Starts the work; yields the last step whenever there is a new one, and ends with the work."""
        threading.Thread(target=self._run, name="spam-plugin operator", daemon=False).start()
        while (step := self._steps.get()) is not None:
            is_over = False
            while not self._steps.empty():  # only the last one counts
                later = self._steps.get()
                is_over = later is None
                step = step if later is None else later
            yield step
            if is_over:
                return

    def result(self) -> T:
        """What the work has returned; what it raised is raised here."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._result = self._work(lambda share, what: self._steps.put((min(max(share, 0.0), 1.0), what)))
        except BaseException as error:
            self._error = error
        finally:
            self._steps.put(None)


def paced(tell: Tell, seconds: float = PACE_SECONDS) -> Tell:
    """Passes on the first step, the last one, and between them no more than one in so many seconds.

    Args:
        tell: told these.
        seconds: from one to the next.
    """
    last = float("-inf")

    def step(share: float, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if share >= 1 or now - last >= seconds:
            last = now
            tell(share, what)

    return step


def parts(tell: Tell, *shares: tuple[str, float]) -> Callable[[str, int, int, str], None]:
    """Steps of several stages as one share: told (stage, how many are done, of how many, which).

    A stage that is not among them, and one that begins again, leaves the share where it is: a bar does not go back.

    Args:
        tell: told the whole.
        shares: every stage and how much of the whole time it takes; they need not add up to 1.
    """
    whole = sum(share for _, share in shares)
    begin, at = {}, 0.0
    for stage, share in shares:
        begin[stage] = (at / whole, share / whole)
        at += share
    reached = 0.0

    def step(stage: str, done: int, total: int, which: str) -> None:
        nonlocal reached
        start, share = begin.get(stage, (reached, 0.0))
        reached = max(reached, start + share * min(done / max(total, 1), 1.0))
        tell(reached, f"{stage}: {done:,} of {total:,}" + (f", {which}" if which else ""))

    return step


def plain(value: Any) -> Any:
    """The same of plain Python values, as JSON wants them: numpy's numbers would not reach the App."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value
