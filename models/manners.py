"""Teach lightning manners: it says nothing of itself, and an interrupt stays an interrupt."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning.fabric.utilities.warnings import PossibleUserWarning

_LOGGERS = ("lightning.pytorch", "lightning.fabric")


def hush() -> None:
    """Have lightning tell of errors only, in this process."""
    warnings.simplefilter("ignore", PossibleUserWarning)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quietly() -> Iterator[None]:
    """Hush lightning for a while."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with warnings.catch_warnings():
        hush()
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def interruptible(interrupted: Callable[[], bool]) -> Iterator[None]:
    """Have an interrupt be one: lightning would end the program and leave it deaf to further ones.

    Args:
        interrupted: whether the program's end that lightning asks for was an interrupt.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if interrupted():
            raise KeyboardInterrupt from None
        raise
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGINT, handler)
