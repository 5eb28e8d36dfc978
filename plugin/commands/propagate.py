"""``spam-plugin propagate``: fills the gaps between a few human boxes of an object."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click


@click.command()
@click.argument("dataset")
@click.option(
    "--out", default="spam_tracks", show_default=True, metavar="FIELD", help="The tracks; a user's own will do."
)
@click.option(
    "--candidates", metavar="FIELD", help="The boxes that the tracks were made of, or none. [those labelled last]"
)
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--max-gap", type=click.IntRange(1), metavar="FRAMES", help="Fill gaps up to this length from both ends.")
@click.option(
    "--open-frames", type=click.IntRange(0), metavar="FRAMES",
    help="How far to follow an object before its first and behind its last human box; 0 for not at all.",
)  # fmt: skip
@click.option(
    "--over", type=click.Choice(["interpolated", "model"]), default="interpolated", show_default=True,
    help="What filled boxes may replace; model: a detector's boxes between two human ones, too.",
)  # fmt: skip
@click.option("--no-fall-back", is_flag=True, help="Take the tracker's boxes also where a straight line seems nearer.")
@click.option("--tracker", metavar="NAME", help="A version on the shelf, default, or a .safetensors. [the one in use]")
@click.option("--device", default="cpu", show_default=True, help="Where it runs, as torch names it: cpu, cuda.")
@click.option("--skip-bad", is_flag=True, help="Leave out and name videos that cannot be used.")
@click.option("--again", is_flag=True, help="Follow all gaps anew, not only those whose human boxes have changed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context, dataset: str, max_gap: int | None, open_frames: int | None, no_fall_back: bool, as_json: bool,
    **rest: Any,
) -> None:  # fmt: skip
    """Fill the gaps between a few human boxes of each object of DATASET.

    Human boxes are those that answers drew and those of the field of tracks that a person drew or moved, in the App or
    in CVAT. A tracker follows an object between two of them from both sides, and before the first and behind the last
    until it is not sure any more. Filled boxes go into the field as source "propagated", or "interpolated" where a
    straight line is likely to be nearer, with a confidence; never over a human box. Labelling has them again.

    Run again, only gaps whose human boxes have changed are followed; interrupted, the same command does the rest.

    \b
    Examples:
      spam-plugin propagate street
      spam-plugin propagate street --open-frames 0 --over model
    """  # noqa: D301 (click reads the control character)
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...engine.filling import FillSettings
        from ...integrations.fiftyone_.propagating import propagate

        given: dict[str, Any] = {"max_gap": max_gap, "open_frames": open_frames, "fall_back": not no_fall_back}
        settings = FillSettings(**{name: value for name, value in given.items() if value is not None})
        report = propagate(dataset, settings=settings, progress=not (ctx.obj or {}).get("quiet"), **rest)
    for name, why in report.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    for text in report.problems:
        click.echo(text, err=True)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2, allow_nan=False))
    else:
        _print_table(report.as_dict())
    if report.skipped:
        from ..cli import EXIT_PARTLY

        ctx.exit(EXIT_PARTLY)


def _print_table(report: dict[str, Any]) -> None:
    """One line per video with human boxes, and one for all."""
    from rich.console import Console
    from rich.table import Table

    columns = {
        "objects": ("objects", "{:d}"),
        "keys": ("human boxes", "{:d}"),
        "gaps": ("gaps", "{:d}"),
        "open_ends": ("open ends", "{:d}"),
        "tracked": ("tracked", "{:d}"),
        "snapped": ("snapped", "{:d}"),
        "interpolated": ("on a line", "{:d}"),
        "mean_confidence": ("confidence", "{:.2f}"),
        "seconds": ("s", "{:.1f}"),
    }
    table = Table(title=f"filled with tracker {report['tracker']}")
    table.add_column("video", no_wrap=True)
    for title, _ in columns.values():
        table.add_column(title, justify="right")
    for name, values in report["videos"].items():
        again = " (as before)" if values["reused"] else ""
        table.add_row(name + again, *(text.format(values[key]) for key, (_, text) in columns.items()))
    table.add_section()
    table.add_row("all", *(text.format(report["overall"][key]) for key, (_, text) in columns.items()), style="bold")
    Console().print(table)
