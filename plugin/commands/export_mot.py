"""``spam-plugin export-mot``: a field of boxes becomes MOTChallenge text."""

from __future__ import annotations

import contextlib
import sys

import click


@click.command()
@click.argument("dataset")
@click.option("--field", required=True, metavar="FIELD", help="The tracks, such as spam_tracks or ground_truth.")
@click.option("--out", "out_dir", required=True, type=click.Path(file_okay=False), metavar="DIR", help="Where to.")
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos and boxes of this saved view.")
@click.option("--without-ids", is_flag=True, help="Boxes are detections, not tracks: write -1 as their id.")
@click.pass_context
def command(ctx: click.Context, dataset: str, field: str, out_dir: str, view: str | None, without_ids: bool) -> None:
    """Write the boxes in a field of DATASET as MOTChallenge text, one SEQUENCE.txt for each video.

    Lines are frame, id, x, y, width, height, confidence, -1, -1, -1. Fields with class numbers, such as imported ground
    truth, get frame, id, x, y, width, height, flag, class, visibility. Frames count from 1, boxes are in pixels.

    \b
    Examples:
      spam-plugin export-mot mot17 --field spam_tracks --out results
      spam-plugin export-mot mot17 --field candidates --without-ids --out detections
    """  # noqa: D301 (click reads the control character)
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_.dataset import open_dataset
        from ...integrations.mot.exporting import export_mot
        from ..progress import progress_bar

        with progress_bar("exporting", quiet=bool((ctx.obj or {}).get("quiet"))) as report:
            written = export_mot(open_dataset(dataset, view), field, out_dir, with_ids=not without_ids, progress=report)
    click.echo(f"{len(written)} file{'s' * (len(written) != 1)} in {out_dir}")
