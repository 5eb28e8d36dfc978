"""``spam-plugin queries``: what to ask a person next, within a budget."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import click


@click.command()
@click.argument("dataset")
@click.option("--budget", default="3.3%", show_default=True, metavar="AMOUNT", help="3.3%, 120 clicks, or 2h.")
@click.option("--clicks-per-hour", type=float, default=1200.0, show_default=True, help="A person's rate.")
@click.option(
    "--acquisition", default="boxes", show_default=True, metavar="RULE",
    help="boxes: most boxes put right for a click; entropy: as SPAM does; random; frames: whole frames.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of rules that draw lots.")
@click.option(
    "--wish", metavar="SHARE", help="Tell how many clicks bring the share of wrong boxes under this, e.g. 2%."
)
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="The detector's boxes.")
@click.option("--embeddings", metavar="NAME", help="How candidates look: default, colour, a file or an attribute.")
@click.option("--out", default="spam_tracks", show_default=True, metavar="FIELD", help="The tracks asked about.")
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--model", metavar="PATH", help="Weights to use instead of those in use (see models).")
@click.option("--device", default="cpu", show_default=True, help="Where the model runs, as torch names it: cpu, cuda.")
@click.option("--skip-bad", is_flag=True, help="Leave out candidates and videos that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context, dataset: str, budget: str, clicks_per_hour: float, wish: str | None, as_json: bool, **rest: Any
) -> None:
    """Choose what to ask a person about DATASET, and say what the answers will cost.

    The budget is a share of the clicks that labelling everything by hand takes (two a box and one for whose it is),
    clicks, or hours. The questions go into the field spam_queries as boxes, with spam_open_queries and
    spam_expected_gain for each video and the saved view "open queries"; the round is registered with the dataset.
    Answers come in with `spam-plugin answer`; the next `spam-plugin label` keeps to them.

    \b
    Examples:
      spam-plugin queries street --budget 3.3%
      spam-plugin queries street --budget 2h --clicks-per-hour 900 --wish 2%
    """  # noqa: D301 (click reads the control character)
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...engine.queries import Budget

        spend = Budget.parse(budget, clicks_per_hour)  # before FiftyOne is imported: a typing error is told at once
        share = _share(wish)
        from ...integrations.fiftyone_ import api

        plan = api.queries(dataset, budget=spend, wish=share, progress=not (ctx.obj or {}).get("quiet"), **rest)
    for name, why in plan.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    for problem in plan.problems:
        if problem.kind != "superseded":
            click.echo(f"{problem.kind}: {problem.text}", err=True)
    minutes = 60 * plan.clicks / clicks_per_hour
    if as_json:
        values = {
            "clicks": plan.clicks, "allowed": plan.allowed, "minutes": round(minutes, 2),
            "hand_boxes": round(plan.hand_boxes, 1), "by_question": dict(plan.by_question),
            "estimates": dict(plan.estimates), "model_version": plan.model_version,
            "queries": [query.as_dict() for query in plan.queries],
        }  # fmt: skip
        click.echo(json.dumps(values, indent=2, allow_nan=False))
        return
    _print(plan, minutes)


def _share(text: str | None) -> float | None:
    """The share that "2%" or "0.02" means."""
    if text is None:
        return None
    from ...models.errors import InputError

    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        raise InputError(f"--wish {text!r}: write a share such as 2% or 0.02") from None
    return number / 100 if text.strip().endswith("%") else number


def _print(plan: Any, minutes: float) -> None:
    from rich.console import Console
    from rich.table import Table

    words = {
        "valid": "is this track one object", "link": "does it go on here", "box": "draw the object here",
        "start": "where does it begin", "end": "where does it end", "missing": "is an object missing here",
    }  # fmt: skip
    table = Table("question")
    for title in ("how many", "clicks", "boxes put right"):
        table.add_column(title, justify="right")
    for kind, text in words.items():
        own = [query for query in plan.queries if query.question.value == kind]
        if own:
            table.add_row(text, str(len(own)), str(sum(q.cost for q in own)), f"{sum(q.gain for q in own):.1f}")
    table.add_section()
    total = f"{sum(query.gain for query in plan.queries):.1f}"
    table.add_row("all", str(len(plan.queries)), str(plan.clicks), total, style="bold")
    Console().print(table)
    time = f"about {minutes:.0f} minutes" if round(minutes) > 1 else "about a minute"
    click.echo(f"it costs {plan.clicks} clicks, {time} of a person's time; the budget allows {plan.allowed} clicks")
    wrong, links = plan.estimates["wrong_boxes"], plan.estimates["wrong_links"]
    for name, share in (("boxes", wrong), ("links", links)):
        click.echo(
            f"now wrong, as far as can be told: {share['expected']:.1%} of the {name} "
            f"(90 % interval {share['low']:.1%} to {share['high']:.1%})"
        )
    if plan.estimates["wish"] is not None:
        clicks = plan.estimates["clicks"]
        lead = f"{clicks} clicks" if clicks is not None else "more than all open questions"
        click.echo(f"to bring wrong boxes under {plan.estimates['wish']:.1%}: {lead}")
