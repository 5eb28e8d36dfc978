"""``spam-plugin import-mot``: MOTChallenge folders become a FiftyOne dataset."""

from __future__ import annotations

import contextlib
import sys

import click


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@click.option("--dataset", "dataset_name", required=True, metavar="NAME", help="The dataset; made if there is none.")
@click.option(
    "--detections",
    default="det.txt",
    show_default=True,
    metavar="FILE",
    help='File in each "det" folder that becomes the candidates; "none" for no candidates.',
)
@click.option(
    "--as",
    "media",
    type=click.Choice(["video", "images"]),
    default="video",
    show_default=True,
    help="One sample a sequence, or one a frame, grouped by sequence (saved view: sequences).",
)
@click.option("--overwrite", is_flag=True, help="Replace these sequences where the dataset has them already.")
@click.option("--skip-bad", is_flag=True, help="Leave out and count lines that cannot be used, instead of stopping.")
@click.option(
    "--media-dir",
    type=click.Path(file_okay=False),
    help="Folder of the videos.  [default: one of the dataset's name in FiftyOne's default_dataset_dir]",
)
@click.option(
    "--class-name",
    "class_names",
    multiple=True,
    metavar="NUMBER=NAME",
    help="Name of a class where MOTChallenge's own (1=pedestrian, 3=car, ...) does not fit; may be repeated.",
)
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[str, ...],
    dataset_name: str,
    detections: str,
    media: str,
    overwrite: bool,
    skip_bad: bool,
    media_dir: str | None,
    class_names: tuple[str, ...],
) -> None:
    """Import the MOTChallenge sequences at PATH into a FiftyOne dataset.

    PATH is a sequence folder (seqinfo.ini, det/det.txt, and if there are any gt/gt.txt and img1/), or a folder of such.
    Boxes go to the fields "ground_truth" and "candidates". Sequences without images become plain dark videos. An import
    that was interrupted goes on where it stopped when it is started again.

    \b
    Examples:
      spam-plugin import-mot MOT17/train --dataset mot17
      spam-plugin import-mot KITTI/0001 KITTI/0006 --dataset kitti --class-name 1=car --skip-bad
    """  # noqa: D301 (click reads the control character)
    names = dict(map(_parse_class_name, class_names))
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.mot.importing import import_mot
        from ..progress import progress_bar

        with progress_bar("importing", quiet=bool((ctx.obj or {}).get("quiet"))) as report:
            result = import_mot(
                paths,
                dataset_name,
                detections=detections,
                media="images" if media == "images" else "video",
                overwrite=overwrite,
                skip_bad=skip_bad,
                progress=report,
                media_dir=media_dir,
                class_names=names,
            )
    for sequence, reasons in result.skipped.items():
        counts = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
        click.echo(f"{sequence}: lines left out ({counts})")
    kept = f"; {len(result.kept)} were there already" if result.kept else ""
    sequences = f"{len(result.added)} sequence{'s' * (len(result.added) != 1)}"
    click.echo(f"dataset {dataset_name!r}: {sequences}, {result.boxes:,} boxes imported{kept}")


def _parse_class_name(text: str) -> tuple[int, str]:
    number, sign, name = text.partition("=")
    if not sign or not number.strip().isdecimal() or not name.strip():
        raise click.BadParameter(f"{text!r} is not NUMBER=NAME, as 1=car is", param_hint="--class-name")
    return int(number), name.strip()
