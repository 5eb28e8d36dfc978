"""``spam-plugin embed``: an appearance vector for every candidate of a dataset."""

from __future__ import annotations

import contextlib
import json
import sys

import click


@click.command()
@click.argument("dataset")
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="The detector's boxes.")
@click.option(
    "--appearance",
    metavar="NAME",
    help="Who describes: default, colour, a .safetensors of ours, a folder or hub id of a vision backbone.",
)
@click.option(
    "--attribute",
    "--out",
    "attribute",
    metavar="NAME",
    help="Attribute that the vectors go to, instead of beside the database. Without --appearance: embedding.",
)
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--device", default="cpu", show_default=True, help="Where it runs, as torch names it: cpu, cuda.")
@click.option(
    "--tidy",
    type=float,
    metavar="DAYS",
    help="Afterwards remove vectors, of any dataset, that nobody has used for so many days.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out and count boxes and videos that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context,
    dataset: str,
    candidates: str,
    appearance: str | None,
    attribute: str | None,
    view: str | None,
    device: str,
    tidy: float | None,
    skip_bad: bool,
    as_json: bool,
) -> None:
    """Store with every candidate of DATASET a vector that says how it looks, from its video or images.

    Labelling uses it where motion alone cannot tell who is who: spam-plugin label DATASET --embeddings default. Vectors
    of an appearance lie beside the database and are made once: run again, only boxes and files that changed are looked
    at, and label makes those that are missing by itself. Without --appearance the colours go into an attribute.

    \b
    Example:
      spam-plugin embed street --candidates candidates --appearance default
    """  # noqa: D301 (click reads the control character)
    from ...models.errors import InputError

    if tidy is not None and not 0 <= tidy < 1e6:
        raise InputError(f"--tidy {tidy:g}: give a number of days that is not negative")
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_ import api, vectors

        report = api.embed(
            dataset,
            candidates,
            appearance=appearance,
            out=attribute,
            view=view,
            device=device,
            skip_bad=skip_bad,
            progress=not (ctx.obj or {}).get("quiet"),
        )
        if tidy is not None:
            removed, less = vectors.tidy(tidy)
            click.echo(f"removed the vectors of {removed} videos, {less / 1e6:.1f} MB", err=True)
    for name, why in report.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    for reason, count in report.left_out.items():
        click.echo(f"left out {count} candidates: {reason}", err=True)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
        return
    boxes, videos = sum(report.boxes.values()), len(report.boxes)
    if appearance is not None and attribute is None:
        new = sum(report.new.values())
        click.echo(f"{boxes} candidates of {videos} videos have vectors of {appearance!r}, {new} of them new")
    else:
        click.echo(f"{boxes} candidates of {videos} videos described in {attribute or 'embedding'!r}")
