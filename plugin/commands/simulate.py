"""``spam-plugin simulate``: what labels would be worth after so many clicks, from ground truth."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("dataset")
@click.option("--gt", required=True, metavar="FIELD", help="The ground truth that the simulated person answers from.")
@click.option("--budgets", default="0,1,2,3.3,5,7.5,10,20", show_default=True, metavar="LIST", help="In percent.")
@click.option(
    "--acquisition", default="boxes", show_default=True, metavar="RULE",
    help="boxes: most boxes put right for a click; entropy: as SPAM does; random; frames: whole frames.",
)  # fmt: skip
@click.option("--error-rate", type=float, default=0.0, show_default=True, help="Share of answers that are wrong.")
@click.option(
    "--rounds", type=float, default=4.0, show_default=True, help="Rounds of review for each percent of effort."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of errors and of rules that draw lots."
)
@click.option(
    "--preprocess", type=click.Choice(["mot17", "mot20"], case_sensitive=False),
    help="Score as that benchmark does; ground truth must then be of MOTChallenge's classes.",
)  # fmt: skip
@click.option("--fill", is_flag=True, help="Follow objects around the boxes that were drawn (see propagate).")
@click.option("--tracker", metavar="PATH", help="Weights of the tracker that follows, instead of the default ones.")
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="The detector's boxes.")
@click.option("--embeddings", metavar="NAME", help="How candidates look: default, colour, a file or an attribute.")
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--model", metavar="PATH", help="Weights to use instead of the default ones.")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs, as torch names it: cpu, cuda.")
@click.option("--skip-bad", is_flag=True, help="Leave out candidates that cannot be used.")
@click.option("--plot", metavar="FILE.png", type=click.Path(dir_okay=False), help="Also draw the curve.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context, dataset: str, gt: str, budgets: str, acquisition: str, error_rate: float, rounds: float,
    seed: int, preprocess: str | None, plot: str | None, as_json: bool, **rest: Any,
) -> None:  # fmt: skip
    """Draw the effort curve of DATASET: labels after so many clicks of a person who is simulated from ground truth.

    A click accepts, rejects or associates; a drawn box is two, a new track one more. Effort is the share of three
    clicks for every ground-truth box. Effort and scores are in percent. JSON is a list of {"budget", "clicks",
    "effort", "HOTA", "IDF1", "MOTA", ..., "videos": {name: {...}}}. Nothing in the dataset changes.

    \b
    Examples:
      spam-plugin simulate street --gt ground_truth --budgets 0,1,3.3,10
      spam-plugin simulate street --gt ground_truth --fill
      spam-plugin simulate street --gt ground_truth --error-rate 0.05 --plot curve.png --json > curve.json
    """  # noqa: D301 (click reads the control character)
    from ...models.errors import InputError
    from ..progress import progress_bar

    if rest["tracker"] and not rest["fill"]:
        raise InputError("--tracker is for --fill: without it nobody follows anything")
    if plot and Path(plot).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InputError(f"--plot {plot}: name a file that ends in .png, .pdf or .svg")
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...engine.simulation import Plan

        plan = Plan(_numbers(budgets), acquisition, rounds, error_rate, seed, preprocess)
        from ...integrations.fiftyone_ import api

        with progress_bar("simulating", quiet=bool((ctx.obj or {}).get("quiet"))) as tell:
            points = api.simulate(dataset, gt, plan=plan, progress=tell, **rest)
    values = [point.as_dict() for point in points]
    if as_json:
        click.echo(json.dumps(values, indent=2, allow_nan=False))
    else:
        _print(values)
    if plot:
        _draw(Path(plot), values, dataset)


def _numbers(text: str) -> tuple[float, ...]:
    from ...models.errors import InputError

    try:
        return tuple(float(word.strip().removesuffix("%")) for word in text.split(","))
    except ValueError:
        raise InputError(f"--budgets {text!r}: write percentages with commas between them, such as 0,1,3.3") from None


def _print(values: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for title in ("budget %", "clicks", "effort %", "HOTA", "IDF1", "MOTA", "rounds"):
        table.add_column(title, justify="right")
    for point in values:
        table.add_row(
            f"{point['budget']:g}", str(point["clicks"]), f"{point['effort']:.2f}",
            *(f"{point[name]:.2f}" for name in ("HOTA", "IDF1", "MOTA")), str(point["rounds"]),
        )  # fmt: skip
    Console().print(table)


def _draw(path: Path, values: list[dict[str, Any]], title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    effort = [point["effort"] for point in values]
    for name in ("HOTA", "IDF1", "MOTA"):
        axis.plot(effort, [point[name] for point in values], marker="o", markersize=3, label=name)
    axis.set(title=title, xlabel="effort, % of labelling by hand", ylabel="%")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
