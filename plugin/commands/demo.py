"""``spam-plugin demo``: from videos to tracks and scores in one go."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ...integrations.demo import DemoResult


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A MOTChallenge sequence, or a folder of some, instead of rendered videos.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the videos.  [default: spam-plugin/demo in the user's cache]",
)
@click.option("--dataset", "name", default="spam-demo", show_default=True, metavar="NAME", help="The dataset it makes.")
@click.option("--open", "open_app", is_flag=True, help="Open the FiftyOne App on it, until Ctrl-C.")
@click.option("--port", type=click.IntRange(1, 65535), default=5151, show_default=True, help="Of the App.")
@click.pass_context
def command(ctx: click.Context, data: Path | None, out: Path | None, name: str, open_app: bool, port: int) -> None:
    r"""Label a few videos and print what the labels are worth.

    Without --data, three small videos are rendered and a simulated, imperfect detector looks at them. With --data, the
    sequences there are taken with their own detections, and scored where they have ground truth. Running it again
    replaces the dataset of the last run, and no other.

    \b
    Examples:
      spam-plugin demo --open
      spam-plugin demo --data MOT17/train
    """
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.demo import default_folder, run_demo
        from ..progress import progress_bar

        with progress_bar("rendering", quiet=bool((ctx.obj or {}).get("quiet"))) as report:
            result = run_demo(name, (out or default_folder()).resolve(), data, progress=report)
    if result.evaluation is not None:
        from .evaluate import print_table

        print_table(result.evaluation.table())
    click.echo(summary(result, rendered=data is None))
    if open_app:
        from . import app

        click.echo("")
        app.open_app(result.dataset, port)
    else:
        program = "spam-plugin" if shutil.which("spam-plugin") else str(Path(sys.executable).with_name("spam-plugin"))
        words = [program, "app", name, *(["--port", str(port)] if port != 5151 else [])]
        click.echo(f"\nSee it in the App: {shlex.join(words)}")


def summary(result: DemoResult, rendered: bool) -> str:
    """What happened, in words."""
    from ...integrations.demo import SURE

    def share(part: int, whole: int) -> str:
        return f"{100 * part / max(whole, 1):.0f} %"

    lines = [
        f"{result.candidates:,} candidates in {result.videos} {'video' if result.videos == 1 else 'videos'} "
        f"({result.frames:,} frames) became {result.boxes:,} boxes in {result.tracks:,} tracks.",
        f"Settled, i.e. with a probability of at least {SURE:.0%} for every decision: {result.settled_boxes:,} boxes "
        f"({share(result.settled_boxes, result.boxes)}) and {result.settled_tracks:,} whole tracks "
        f"({share(result.settled_tracks, result.tracks)}).",
        'The rest is for a human to look at; the saved view "most uncertain" shows the worst videos first.',
    ]
    if rendered:
        lines.append(
            "The videos are rendered, and the candidates come from a simulated detector with faults; real detectors "
            "come with a later version."
        )
    if result.evaluation is None:
        lines.append("Nothing was scored: none of the sequences has ground truth.")
    return "\n".join(lines)
