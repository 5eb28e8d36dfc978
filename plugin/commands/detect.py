"""``spam-plugin detect``: candidates in every frame of a dataset, from any detector."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click


@click.command()
@click.argument("dataset")
@click.option(
    "--detector",
    metavar="NAME",
    help="default, a .safetensors of ours, a folder or hub id of transformers, or zoo:NAME. Left out: the one in use.",
)
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="Where the boxes go.")
@click.option("--classes", metavar="A,B", help="Only boxes of these classes, by the detector's names.")
@click.option("--least-score", type=float, help="Drop boxes below; left out, 0.3 for ours and 0.05 for others.")
@click.option("--add-to", metavar="FIELD", help="Keep the boxes of this field, and add the detector's to them.")
@click.option("--appearance", metavar="NAME", help="Also describe the boxes, as embed does, while they are in memory.")
@click.option(
    "--out", default="spam_tracks", show_default=True, metavar="FIELD", help="Tracks whose models are in use."
)
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--batch", default=8, show_default=True, help="Images at a time; fewer if the memory is short.")
@click.option("--device", default="cpu", show_default=True, help="Where models run, as torch names it: cpu, cuda.")
@click.option("--again", is_flag=True, help="Detect anew where it has been done.")
@click.option("--skip-bad", is_flag=True, help="Leave out and name videos that cannot be decoded.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table, and nothing else.")
@click.pass_context
def command(ctx: click.Context, dataset: str, classes: str | None, as_json: bool, **options: Any) -> None:
    """Find candidates in every frame of DATASET, for label to make tracks of.

    Videos and image sequences are decoded once. Interrupted, the same command does the rest, and the boxes are those of
    an undisturbed run; what is done is not done again. A field that something else has written is never overwritten.

    Checkpoints of transformers (D-FINE, RT-DETR, DETR and the like) are loaded from safetensors only, without running
    code of theirs. --add-to FIELD --candidates NEW makes a field of both: the boxes of FIELD as they are, and the
    detector's where none of these covers them, with scores read on FIELD's scale; the attribute detector tells which.

    \b
    Examples:
      spam-plugin detect street
      spam-plugin detect street --detector ustc-community/dfine-small-coco --classes person,car --device cuda
      spam-plugin detect street --detector zoo:yolo11s-coco-torch --candidates yolo
      spam-plugin detect street --add-to public --candidates both --appearance default
    """  # noqa: D301 (click reads the control character)
    chosen = [name.strip() for name in classes.split(",") if name.strip()] if classes is not None else None
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_ import api

        report = api.detect(dataset, classes=chosen, progress=not (ctx.obj or {}).get("quiet"), **options)
    tell(report)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2, allow_nan=False))
    elif report.videos:
        _print_table(report.as_dict(), report.boxes)


def tell(report: Any) -> None:
    """What is worth a line on standard error."""
    for name, why in report.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    for name, why in report.short.items():
        click.echo(f"video {name}: {why}", err=True)
    if report.before and not report.videos and not report.skipped:
        click.echo(
            f"field {report.candidates!r} has the boxes of {report.detector!r} with these settings in all "
            f"{report.before} videos already; --again detects anew",
            err=True,
        )
    elif report.before:
        click.echo(f"{report.before} videos had been done before", err=True)


def _print_table(report: dict[str, Any], boxes: int) -> None:
    """One line per video of this call, and one for all."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report['detector']} in {report['candidates']}")
    table.add_column("video", no_wrap=True)
    for title in ("frames", "boxes", "frames/s"):
        table.add_column(title, justify="right")
    frames, seconds = 0.0, 0.0
    for name, one in report["videos"].items():
        frames, seconds = frames + one["frames"], seconds + one["seconds"]
        table.add_row(name, str(one["frames"]), str(one["boxes"]), f"{one['frames'] / max(one['seconds'], 1e-9):.1f}")
    table.add_section()
    table.add_row("all", f"{frames:.0f}", str(boxes), f"{frames / max(seconds, 1e-9):.1f}", style="bold")
    Console().print(table)
