"""``spam-plugin embed``: an appearance vector for every candidate of a dataset."""

from __future__ import annotations

import contextlib
import json
import sys

import click


@click.command()
@click.argument("dataset")
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="The detector's boxes.")
@click.option("--out", default="embedding", show_default=True, metavar="NAME", help="Attribute that the vectors go to.")
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--skip-bad", is_flag=True, help="Leave out and count boxes and videos that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context, dataset: str, candidates: str, out: str, view: str | None, skip_bad: bool, as_json: bool
) -> None:
    """Store with every candidate of DATASET a vector of its colours, from its video or images.

    Labelling uses it where motion alone cannot tell who is who: spam-plugin label DATASET --embeddings embedding

    \b
    Example:
      spam-plugin embed street --candidates candidates --out embedding
    """  # noqa: D301 (click reads the control character)
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_ import api

        report = api.embed(
            dataset, candidates, out=out, view=view, skip_bad=skip_bad, progress=not (ctx.obj or {}).get("quiet")
        )
    for name, why in report.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    for reason, count in report.left_out.items():
        click.echo(f"left out {count} candidates: {reason}", err=True)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        click.echo(f"{sum(report.boxes.values())} candidates of {len(report.boxes)} videos described in {out!r}")
