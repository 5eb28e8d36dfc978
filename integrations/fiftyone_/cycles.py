"""Python's search for cycles, put off while many values are made that have none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_cycles() -> Iterator[None]:
    """Spares Python the search for cycles while many values are made that have none; it takes longer than making them.

    Two threads may be here at once: the one that came first ends it, which costs time and nothing else.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
