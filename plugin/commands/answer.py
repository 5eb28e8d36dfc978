"""``spam-plugin answer``: keep people's answers with a dataset."""

from __future__ import annotations

import contextlib
import json
import sys

import click


@click.command()
@click.argument("dataset")
@click.argument("file", required=False, type=click.Path())
@click.option("--out", default="spam_tracks", show_default=True, metavar="FIELD", help="The tracks they are about.")
@click.option("--list", "show", is_flag=True, help="Print all answers that are kept, as JSON.")
def command(dataset: str, file: str | None, out: str, show: bool) -> None:
    """Keep the answers of the JSON FILE with DATASET; the next label keeps to them.

    FILE holds a list of answers. Each names its video (the id of its sample, or of the first image of its sequence), a
    verdict and boxes in pixels with frames counted from 0: valid or invalid (each box is, or is no object), same or
    different (one object or not), starts or ends (the object is not seen in the frame before, or after, the last one),
    box (the object of the first box, or the one called "object", looks like "drawn"), absent, class, complete. An
    answer that is kept already changes nothing; none is ever deleted, and of two that contradict each other label
    reports both.

    \b
    Examples:
      spam-plugin answer street answers.json
      spam-plugin answer street --list
    \b
    One answer:
      {"video": "66f...", "verdict": "same", "source": "anna", "when": 1764000000,
       "boxes": [{"frame": 11, "xyxy": [10, 20, 30, 80]}, {"frame": 15, "xyxy": [14, 20, 34, 80]}]}
    """  # noqa: D301 (click reads the control character)
    if file is None and not show:
        raise click.UsageError("name a FILE of answers, or use --list")
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_ import api
        from ...integrations.fiftyone_.answers import AnswerBook
        from ...integrations.fiftyone_.dataset import open_dataset

        opened = open_dataset(dataset)
        report = api.answer(opened, file, out=out) if file is not None else None
        kept = AnswerBook(opened._dataset, out.removeprefix("frames.")).all() if show else ()
    if report is not None:
        click.echo(f"new answers: {report.new}; known already: {report.known}; videos: {report.videos}", err=True)
    if show:
        click.echo(json.dumps([answer.as_dict() for answer in kept], indent=2))
