"""``spam-plugin label``: tracks with calibrated uncertainty from the candidates of a dataset."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click


@click.command()
@click.argument("dataset")
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="The detector's boxes.")
@click.option("--detector", metavar="NAME", help="Find candidates first: as for detect, or in-use for the one in use.")
@click.option(
    "--embeddings",
    "--appearance",
    "embeddings",
    metavar="NAME",
    help="How candidates look: default, colour, a file or an attribute.",
)
@click.option("--out", default="spam_tracks", show_default=True, metavar="FIELD", help="Where the tracks go.")
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--model", metavar="PATH", help="Weights to use instead of those in use (see models).")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs, as torch names it: cpu, cuda.")
@click.option("--skip-bad", is_flag=True, help="Leave out and count candidates and videos that cannot be used.")
@click.option("--no-node-classification", is_flag=True, help="Keep candidates that the model takes for no objects.")
@click.option("--levels", type=int, metavar="N", help="Use only N levels of the hierarchy.")
@click.option("--no-interpolate", is_flag=True, help="Leave the gaps inside tracks open.")
@click.option("--max-gap", type=float, metavar="SECONDS", help="Fill gaps up to this length.")
@click.option("--no-smooth", is_flag=True, help="Keep boxes as the detector placed them.")
@click.option("--fast", is_flag=True, help="One pass of the hierarchy instead of three that must agree.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context,
    dataset: str,
    candidates: str,
    detector: str | None,
    embeddings: str | None,
    out: str,
    view: str | None,
    model: str | None,
    device: str,
    skip_bad: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Label every video of DATASET: candidates in, tracks with calibrated uncertainty out.

    Tracks go to the field of frames named by --out; with them go, for spam_tracks, the fields spam_max_uncertainty,
    spam_mean_uncertainty, spam_open_queries, spam_review_status and spam_model_version of each video, and the saved
    views "most uncertain", "in review" and "reviewed". Run again, it replaces what it wrote, but never a track that a
    human touched; interrupted, the same command does the rest.

    With --detector, candidates are found first, as detect does, and described as --appearance says while their frames
    are in memory, so that every video is decoded once; what has been done before is not done again.

    \b
    Examples:
      spam-plugin label street --candidates candidates --out spam_tracks
      spam-plugin label street --detector default --appearance default
    """  # noqa: D301 (click reads the control character)
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.fiftyone_ import api

        report = api.label(
            dataset,
            candidates,
            detector=detector,
            embeddings=embeddings,
            out=out,
            view=view,
            model=model,
            device=device,
            settings=_settings(**choices),
            skip_bad=skip_bad,
            progress=not (ctx.obj or {}).get("quiet"),
        )
    for name, why in report.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    for reason, count in report.left_out.items():
        click.echo(f"left out {count} candidates: {reason}", err=True)
    for text in report.problems:
        click.echo(text, err=True)
    if report.resumed:
        click.echo(f"{report.resumed} videos had been finished by the run that was interrupted", err=True)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2, allow_nan=False))
    else:
        _print_table(report.as_dict())


def _settings(
    no_node_classification: bool,
    levels: int | None,
    no_interpolate: bool,
    max_gap: float | None,
    no_smooth: bool,
    fast: bool,
) -> Any:
    from ...models.spam import LabelSettings

    chosen: dict[str, Any] = {
        "node_classification": not no_node_classification,
        "num_levels": levels,
        "interpolate": not no_interpolate,
        "smooth": not no_smooth,
        "consensus": not fast,
    }
    return LabelSettings(**chosen) if max_gap is None else LabelSettings(**chosen, max_gap_seconds=max_gap)


def _print_table(report: dict[str, Any]) -> None:
    """One line per video, and one for all; what nobody has done anything for has no column."""
    from rich.console import Console
    from rich.table import Table

    columns = {
        "candidates": ("candidates", "{:d}"),
        "tracks": ("tracks", "{:d}"),
        "boxes": ("boxes", "{:d}"),
        "interpolated": ("filled", "{:d}"),
        "kept": ("kept", "{:d}"),
        "answers": ("answers", "{:d}"),
        "mean_uncertainty": ("uncertainty", "{:.3f}"),
        "max_uncertainty": ("greatest", "{:.3f}"),
        "seconds": ("s", "{:.2f}"),
    }
    if not report["overall"]["answers"]:
        del columns["answers"]
    table = Table()
    table.add_column("video", no_wrap=True)
    for title, _ in columns.values():
        table.add_column(title, justify="right")
    for name, values in report["videos"].items():
        table.add_row(name, *(text.format(values[key]) for key, (_, text) in columns.items()))
    table.add_section()
    table.add_row("all", *(text.format(report["overall"][key]) for key, (_, text) in columns.items()), style="bold")
    Console().print(table)
