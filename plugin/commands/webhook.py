"""``spam-plugin webhook``: synchronise when CVAT says that something has changed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

import click

from .sync import check_run, desk_options, follow, make_link, make_settings


@click.command()
@click.argument("dataset")
@desk_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8787, type=click.IntRange(1, 65535), show_default=True, help="Port to listen on.")
@click.option("--register", metavar="URL", help="Make, or mend, the webhook in CVAT: the URL at which CVAT reaches us.")
@click.option("--pull-only", is_flag=True, help="Send nothing.")
@click.option("--every", default=600.0, show_default=True, metavar="SECONDS", help="Look even if nobody calls.")
@click.option("--after", type=int, metavar="N", help="Run --run whenever so many answers have come.")
@click.option("--run", metavar="COMMAND", help="What to run then, e.g. 'spam-plugin label street'.")
@click.option("--retrain-after", type=click.IntRange(min=1), metavar="N", help="Retrain whenever so many are new.")
@click.pass_context
def command(ctx: click.Context, dataset: str, host: str, port: int, register: str | None, **given: Any) -> None:
    """Wait for CVAT's webhooks, and do what "spam-plugin sync DATASET" does whenever people have finished something.

    CVAT signs what it sends with the secret in CVAT_WEBHOOK_SECRET; whatever is not signed so, was here before or is
    about another project is ignored. CVAT does not try again what got lost, so it is looked every now and then anyway.
    The server listens on this machine only, unless --host says otherwise: put a proxy with TLS before it.

    \b
    Examples:
      CVAT_WEBHOOK_SECRET=... spam-plugin webhook street
      CVAT_WEBHOOK_SECRET=... spam-plugin webhook street --register https://labels.example.org/cvat
    """  # noqa: D301 (click reads the control character)
    check_run(given)
    secret = os.environ.get("CVAT_WEBHOOK_SECRET", "")
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.cvat import sync as desk
        from ...integrations.cvat.webhook import Deliveries, make_app, serve
        from ...models.errors import MissingError

        link, settings = make_link(dataset, given), make_settings(given)
        wake, stop = threading.Event(), threading.Event()
        with desk.open_link(link) as opened:
            opened.desk.check()
            project = opened.project
            if project is None:
                raise MissingError(f"dataset {dataset!r} has no project in CVAT yet; run spam-plugin sync first")
            deliveries = Deliveries(secret, lambda: project, wake.set)
            if register is not None:
                number = opened.desk.register_webhook(project, register, secret)
                click.echo(f"webhook {number} of project {project} calls {register}", err=True)
        trouble: list[BaseException] = []
        ready = threading.Event()

        def listen() -> None:
            try:
                serve(make_app(deliveries), host, port, stop, ready.set)
            except BaseException as error:
                trouble.append(error)
            # Whatever it ended for, nobody listens any more.
            stop.set()
            ready.set()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        ready.wait()
        try:
            if not trouble:
                click.echo(f"listening on {host}:{port}", err=True)
                follow(link, settings, given, ctx.obj["quiet"], wake=wake, stop=stop)
        finally:
            stop.set()
            thread.join(timeout=5)
        if trouble:
            raise trouble[0]
