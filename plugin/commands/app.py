"""``spam-plugin app``: the FiftyOne App with everything that the plugin needs, until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import webbrowser
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    import fiftyone as fo

    from ...integrations.fiftyone_.linking import Linked

LOOPBACK = "127.0.0.1"
# The working folder's files must not be taken for modules.
_WORKER = "import sys; sys.path[:] = filter(None, sys.path); from spam_plugin.plugin.cli import main; main(['worker'])"
WORKER = (sys.executable, "-c", _WORKER)


@click.command()
@click.argument("dataset", required=False)
@click.option("--view", metavar="NAME", help="Open this saved view.")
@click.option("--port", type=click.IntRange(1, 65535), default=5151, show_default=True, help="Of the App.")
@click.option("--address", default=LOOPBACK, show_default=True, help="To listen on; the App has no log-in.")
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@click.option("--no-worker", is_flag=True, help="Start no worker: jobs wait for spam-plugin worker.")
@click.option("--remote", is_flag=True, help="The browser is on another machine: say how to reach the App from there.")
@click.option("--json", "as_json", is_flag=True, help="Print address and processes as JSON, once it is up.")
def command(dataset: str | None, view: str | None, **given: Any) -> None:
    r"""Open the FiftyOne App on DATASET, with the panel SPAM beside its samples, until Ctrl-C.

    Puts the plugin where FiftyOne finds it, as a small folder that hands over to this installation; FiftyOne's App
    serves every file of that folder, so it holds nothing else. A worker is started too, which does the jobs that the
    App schedules. Both end with this command.

    \b
    Examples:
      spam-plugin app street
      spam-plugin app street --view "most uncertain" --port 5152
      spam-plugin app street --remote
    """
    if view is not None and dataset is None:
        raise click.UsageError("--view needs the dataset that it is a view of")
    with contextlib.redirect_stdout(sys.stderr):
        import fiftyone as fo

        from ...integrations.fiftyone_.dataset import open_dataset, some

        opened = open_dataset(dataset, view) if dataset is not None else None
        if opened is None:
            click.echo(f"no dataset is named; there are: {some(fo.list_datasets())}", err=True)
    open_app(opened, **given)


def open_app(
    opened: fo.core.collections.SampleCollection | None,
    port: int = 5151,
    address: str = LOOPBACK,
    no_browser: bool = False,
    no_worker: bool = False,
    remote: bool = False,
    as_json: bool = False,
) -> None:
    """Run the App until Ctrl-C.

    Args:
        opened: the dataset or saved view that it shows; None for none.
        port: to listen on.
        address: to listen on.
        no_browser: open no browser.
        no_worker: start no worker.
        remote: the browser is on another machine.
        as_json: print address and processes as JSON.

    Raises:
        InputError: if the port is taken, or the plugin cannot be put among FiftyOne's.
        ServerError: if the App's server does not start, or ends.
    """
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        import fiftyone as fo

        from ...integrations.fiftyone_ import app, linking

        for line in warnings(linking.link(), address):
            click.echo(f"warning: {line}", err=True)
        view = opened if isinstance(opened, fo.DatasetView) else None
        wanted = app.Wanted(
            view._dataset if view is not None else opened, view, address, port, None if no_worker else WORKER
        )
        with contextlib.suppress(KeyboardInterrupt), _ended_by_sigterm(), app.running(wanted) as running:
            worker = running.worker.pid if running.worker is not None else None
            if as_json:
                told = {"url": running.url, "pid": os.getpid(), "server": running.server.pid, "worker": worker}
                print(json.dumps(told), file=out, flush=True)
            else:
                click.echo(f"the App is at {running.url}; press Ctrl-C here to end it", err=True)
                click.echo(f"its log: {running.log}", err=True)
            if remote:
                click.echo(_from_elsewhere(port), err=True)
            elif not no_browser and not as_json:
                webbrowser.open(running.url, new=2)
            for line in running.wait():
                click.echo(f"warning: {line}", err=True)


def warnings(linked: Linked, address: str) -> list[str]:
    """What somebody who opens the App should know, and how to mend it."""
    found = []
    if not linked.enabled:
        found.append('the plugin is disabled in FiftyOne; to enable it: fiftyone plugins enable "@spam-plugin/spam"')
    for folder, names in linked.exposed.items():
        found.append(
            f"whoever reaches the App can read all of {folder}, e.g. {', '.join(names[:3])}; take it away from there, "
            'then start "spam-plugin app" again, which puts a small folder there instead'
        )
    if address != LOOPBACK:
        found.append(
            f"the App has no log-in: whoever reaches {address} can see and change all datasets, and read every file of "
            "this machine that you can; on a network that is not yours alone, leave --address out and use --remote"
        )
    return found


def _from_elsewhere(port: int) -> str:
    return (
        f"on the machine with the browser: ssh -N -L {port}:{LOOPBACK}:{port} USER@THIS-MACHINE, then open "
        f"http://localhost:{port}"
    )


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, with its children."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
