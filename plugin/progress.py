"""A progress bar for commands whose work reports the share that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str, quiet: bool = False) -> Iterator[Callable[[float, str], None]]:
    """Shows a bar on standard error while the block runs, if that is a terminal.

    Args:
        title: what is shown until something is reported.
        quiet: show nothing.

    Yields:
        What is to be called with the share that is done, in [0, 1], and what is being done.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=what)
