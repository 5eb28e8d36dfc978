"""``spam-plugin worker``: run the jobs that the App hands over."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from typing import Any

import click


@click.command()
@click.option("--once", is_flag=True, help="End when no job waits any more.")
@click.option(
    "--every", default=1.0, type=click.FloatRange(min=0.1), show_default=True, metavar="SECONDS",
    help="How often to look whether a job waits.",
)  # fmt: skip
@click.option("--dataset", metavar="NAME", help="Take only jobs of this dataset.")
@click.pass_context
def command(ctx: click.Context, once: bool, every: float, dataset: str | None) -> None:
    """Run the jobs that the App hands over ("Schedule"), the oldest first, one after another.

    Each job has a process of its own, which is watched: one that is killed or runs out of memory is marked as failed,
    one that is cancelled is ended, and what it prints is kept for the panel. Jobs of a worker that was killed are found
    and marked, too. Several workers may run side by side, also on several machines with one database; no job runs
    twice.

    Stop it with Ctrl+C (exit code 130) or SIGTERM (exit code 0): the job that runs is ended and marked as failed; run
    it again from the panel. With --once the exit code is 3 if a job has failed.

    \b
    Examples:
      spam-plugin worker
      spam-plugin worker --once --dataset street
    """  # noqa: D301 (click reads the control character)
    stdout = sys.stdout

    def tell(line: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {line}", file=stdout)

    # FiftyOne writes what it has to say to standard output, which here belongs to the jobs.
    with contextlib.redirect_stdout(sys.stderr):
        work, linking = _import()
        linking.link()  # the processes of the jobs look for their operators among FiftyOne's plugins
        stop, came = work.Stop(), []

        def asked(number: int, frame: Any) -> None:
            if stop.asked:  # a second time: nothing is waited for any more
                raise KeyboardInterrupt
            came.append(number)
            stop.asked = True

        with _handling(asked):
            if not (ctx.obj or {}).get("quiet"):
                click.echo(f"looks for jobs every {every:g} s; stop with Ctrl+C", err=True)
            outcome = work.supervise(once, stop, tell, dataset=dataset, every=every)
    if signal.SIGINT in came:
        raise KeyboardInterrupt
    if once and outcome.failed:
        from ..cli import EXIT_PARTLY

        ctx.exit(EXIT_PARTLY)


def _import() -> Any:
    try:
        from ...integrations.fiftyone_ import linking, worker
    except ConnectionError as error:
        from ...models.errors import MissingError

        raise MissingError(f"FiftyOne's database does not answer; start it, then the worker ({error})") from error
    return worker, linking


@contextlib.contextmanager
def _handling(asked: Any) -> Any:
    """Signals that ask for a stop; a thread cannot have any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
