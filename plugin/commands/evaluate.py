"""``spam-plugin evaluate``: what the tracks of a field are worth against ground truth."""

from __future__ import annotations

import contextlib
import json
import sys

import click


@click.command()
@click.argument("dataset")
@click.option("--pred", required=True, metavar="FIELD", help="The predicted tracks.")
@click.option("--gt", required=True, metavar="FIELD", help="The ground truth.")
@click.option(
    "--preprocess",
    type=click.Choice(["mot17", "mot20"], case_sensitive=False),
    help="Take out distractors and other classes as that benchmark does (mot17 also for MOT16); ground truth must be "
    "of MOTChallenge's classes. Without it, boxes are matched whatever their labels.",
)
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos and boxes of this saved view.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context, dataset: str, pred: str, gt: str, preprocess: str | None, view: str | None, as_json: bool
) -> None:
    """Score the tracks in a field of DATASET: HOTA, MOTA, IDF1 and kin, per video and overall.

    Ground truth with the attribute "ignored" is never scored. Overall is all videos as one: each weighs by its boxes.
    Rates are in percent (0 to 100), in JSON rounded to 4 decimals; numbers are those of TrackEval 1.3.0. JSON is
    {"videos": {name: {"HOTA": 61.2, ...}}, "overall": {...}}.

    \b
    Example:
      spam-plugin evaluate street --pred spam_tracks --gt ground_truth --preprocess mot17
    """  # noqa: D301 (click reads the control character)
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_.dataset import open_dataset
        from ...integrations.fiftyone_.evaluate import evaluate

        evaluation = evaluate(
            open_dataset(dataset, view), pred, gt, preprocess=preprocess, progress=not (ctx.obj or {}).get("quiet")
        )
    if evaluation.without_truth:
        click.echo(f"left out, without ground truth: {', '.join(evaluation.without_truth)}", err=True)
    if as_json:
        click.echo(json.dumps(evaluation.as_dict(percent=True), indent=2, allow_nan=False))
    else:
        print_table(evaluation.table())


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print the rows as a table, the last one set apart."""
    from rich.console import Console
    from rich.table import Table

    header, *videos, overall = rows
    table = Table(*header[:1])
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in videos:
        table.add_row(*row)
    table.add_section()
    table.add_row(*overall, style="bold")
    Console().print(table)
