"""``spam-plugin run``: the loop of labelling, review and retraining in one command."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from .queries import _share as share_of
from .retrain import training_steps, words
from .sync import desk_options, make_link, make_settings, print_report

if TYPE_CHECKING:
    from ...engine.loop import LoopState


@click.command()
@click.argument("dataset")
@click.option(
    "--budget", default="3.3%", show_default=True, metavar="AMOUNT", help="Of all rounds: 3.3%, 120 clicks, 2h."
)
@click.option("--rounds", default=3, show_default=True, help="How many at most; the budget is split over them.")
@click.option("--reviewer", type=click.Choice(["cvat", "simulated"]), required=True, help="Who answers.")
@click.option("--gt", metavar="FIELD", help="Ground truth that the simulated person answers from.")
@click.option("--error-rate", default=0.0, show_default=True, help="Share of the simulated answers that are wrong.")
@click.option("--learn-first", is_flag=True, help="Train on what the labels are sure of before anybody is asked.")
@click.option(
    "--fill/--no-fill", default=False, show_default=True,
    help="Follow objects around the boxes that people drew (see propagate); when measured, it cost clicks.",
)  # fmt: skip
@click.option("--wish", metavar="SHARE", help="Stop when no more boxes than this are expected to be wrong, e.g. 2%.")
@click.option("--detector", metavar="NAME", help="Makes candidates where there are none (see detect) [the one in use].")
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="The detector's boxes.")
@click.option("--appearance", metavar="NAME", help="Appearance vectors of the candidates (see embed).")
@click.option(
    "--parts", metavar="LIST", help="What is retrained: of detector, appearance, hierarchy; none for nothing [all]."
)
@click.option("--steps", metavar="LIST", help="Steps of the training: 200, or hierarchy=200,detector=500.")
@click.option(
    "--acquisition", default="boxes", show_default=True, metavar="RULE", help="What to ask first (see queries)."
)
@click.option("--clicks-per-hour", default=1200.0, show_default=True, help="A person's rate, for budgets in hours.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is drawn.")
@click.option("--device", default="cpu", show_default=True, help="Where models run and learn: cpu, cuda.")
@click.option("--skip-bad", is_flag=True, help="Leave out candidates and videos that cannot be used.")
@click.option("--again", is_flag=True, help="Begin anew, whatever was begun or has ended before; answers stay.")
@click.option("--every", default=60.0, show_default=True, metavar="SECONDS", help="How often it looks at CVAT's jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text, and nothing else.")
@desk_options
@click.pass_context
def command(ctx: click.Context, dataset: str, as_json: bool, **given: Any) -> None:
    """Detect, fill, label, choose, ask, wait, take the answers and retrain, round after round, with DATASET.

    It ends when the budget is spent, all rounds are done, nothing is left to ask, or no more boxes than wished for are
    expected to be wrong. Killed at any moment, the same command goes on where it was; of a loop that has ended it
    prints the report again. The server and who you are come from the environment, as for spam-plugin sync.

    \b
    Examples:
      spam-plugin run street --budget 3.3% --rounds 3 --reviewer cvat --assign anna
      spam-plugin run demo --budget 5% --reviewer simulated --gt ground_truth
      spam-plugin run street --learn-first --reviewer cvat
      spam-plugin run street --reviewer cvat --wish 2% --parts hierarchy
    """  # noqa: D301 (click reads the control character)
    _check(given)
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...engine.queries import Budget

        budget = Budget.parse(given["budget"], given["clicks_per_hour"])
        wish, steps, parts = share_of(given["wish"]), training_steps(given["steps"]), words(given["parts"])
        from ...engine.retraining import RetrainSettings
        from ...integrations.fiftyone_.looping import Work
        from ...integrations.looping import run

        keep = parts == ("none",)
        if not keep:
            RetrainSettings(parts=parts, steps=steps)  # which refuses what cannot be before anything is done
        work = Work(
            given["candidates"], given["out"], given["view"], given["detector"], given["appearance"],
            given["acquisition"], None if keep else parts, steps, given["seed"], given["device"], given["skip_bad"],
        )  # fmt: skip
        people: dict[str, Any] = {}
        if given["reviewer"] == "cvat":
            people = {"link": make_link(dataset, given), "sync": make_settings(given), "on_report": _print_sync}
        with _told(bool((ctx.obj or {}).get("quiet"))) as tell:
            state = run(
                dataset, budget, given["rounds"], reviewer=given["reviewer"], gt=given["gt"],
                error_rate=given["error_rate"], wish=wish, learn_first=given["learn_first"], fill=given["fill"],
                work=work, every=given["every"], again=given["again"], progress=tell, **people,
            )  # fmt: skip
    if as_json:
        click.echo(json.dumps(state.as_dict(), indent=2, allow_nan=False))
    else:
        _print(state)


def _check(given: dict[str, Any]) -> None:
    """Options that do not go together."""
    if given["reviewer"] == "simulated" and not given["gt"]:
        raise click.UsageError("--reviewer simulated answers from ground truth: name its field with --gt")
    if given["reviewer"] == "cvat" and given["gt"]:
        raise click.UsageError("--gt is for --reviewer simulated: people in CVAT answer for themselves")
    if given["share"] and given["cloud"]:
        raise click.UsageError("media lie in a --share or in a --cloud storage, not in both")
    if not given["every"] > 0:
        raise click.UsageError("--every takes seconds, more than 0")


def _print_sync(report: Any) -> None:
    print_report(report, False, False, to_stderr=True)


@contextlib.contextmanager
def _told(quiet: bool) -> Any:
    """A bar, and a line for every step of a round."""
    from ..progress import progress_bar

    last = ""
    with progress_bar("the loop", quiet=quiet) as bar:

        def tell(step: str, share: float, what: str) -> None:
            nonlocal last
            lead = f"{step}: {what}" if what else step
            if not quiet and share == 0.0 and what.startswith("round") and lead != last:
                click.echo(lead, err=True)
                last = lead
            bar(share, lead)

        yield tell


def _print(state: LoopState) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for title in ("round", "questions", "allowed", "clicks", "answers", "wrong before", "version"):
        table.add_column(title, justify="left" if title == "version" else "right")
    for one in state.reports:
        wrong = "" if one.wrong is None else f"{one.wrong:.1%}"
        table.add_row(
            str(one.number), str(one.queries), str(one.allowed), str(one.clicks), str(one.answers), wrong, one.version
        )
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
    click.echo(f"{state.clicks:,} clicks of {state.allowed or 0:,}; ended as {state.why}")
