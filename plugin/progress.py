"""A progress bar for commands whose work reports the share that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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


@contextmanager
def steps(quiet: bool = False) -> Iterator[Callable[[str, int, int, str], None]]:
    """Shows a bar for each thing that is done, on standard error, if that is a terminal.

    Args:
        quiet: show nothing.

    Yields:
        What is to be called with what is being done, how many are done, of how many, and which.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[which]}", style="dim"))  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int, which: str) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total, which=which)
            bar.update(tasks[what], completed=done, total=total, which=which)

        yield tell
