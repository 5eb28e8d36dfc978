"""``spam-plugin retrain``: new models of what people said and of what the labels are sure of."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...engine.retraining import RetrainReport


@click.command()
@click.argument("dataset")
@click.option(
    "--parts", metavar="LIST", help="Of detector, appearance, hierarchy [all that have something to learn from]."
)
@click.option("--rounds", default=1, show_default=True, help="How often; between two the videos are labelled anew.")
@click.option("--self-training", is_flag=True, help="Learn from what the model is sure of alone, from no answer.")
@click.option("--use/--no-use", default=None, help="Use what comes out, or do not, whatever the gate says.")
@click.option("--label", "relabel", is_flag=True, help="Label anew at the end, if a new version is used.")
@click.option("--steps", metavar="LIST", help="Steps of the training: 200, or hierarchy=200,detector=500.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of training and of the gate.")
@click.option("--share", default=0.25, show_default=True, help="Share of the answers that is held out to judge by.")
@click.option("--candidates", default="candidates", show_default=True, metavar="FIELD", help="The detector's boxes.")
@click.option("--embeddings", metavar="NAME", help="Appearance vectors of the candidates (see embed).")
@click.option("--out", default="spam_tracks", show_default=True, metavar="FIELD", help="The tracks.")
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--device", default="cpu", show_default=True, help="Where models run and learn: cpu, cuda.")
@click.option("--skip-bad", is_flag=True, help="Leave out candidates and videos that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context, dataset: str, parts: str | None, steps: str | None, self_training: bool, seed: int,
    share: float, as_json: bool, **rest: Any,
) -> None:  # fmt: skip
    """Train the models of DATASET further, and use them if they are better.

    What people said counts most, what the labels are sure of less, and what is neither counts nothing. A part of the
    answers is held out: no model ever learns from it, and the new version is used only if it agrees with it better
    than the one in use. Every version stays on the shelf (spam-plugin models DATASET); going back is one command.
    Killed, the same command goes on where it was.

    Exits with 0 whether or not the new version is used; the report says why. JSON is a list of reports, one a round.

    \b
    Examples:
      spam-plugin retrain street
      spam-plugin retrain street --parts hierarchy --steps 200
      spam-plugin retrain street --self-training --use --rounds 2
    """  # noqa: D301 (click reads the control character)
    from ..progress import progress_bar

    chosen = words(parts)
    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...engine.retraining import RetrainSettings

        settings = RetrainSettings(
            parts=chosen, steps=training_steps(steps), seed=seed, share=share, self_training=self_training
        )
        from ...integrations.fiftyone_.learning import retrain

        with progress_bar("retraining", quiet=bool((ctx.obj or {}).get("quiet"))) as tell:
            reports = retrain(dataset, settings=settings, progress=tell, **rest)
    if as_json:
        click.echo(json.dumps([report.as_dict() for report in reports], indent=2, allow_nan=False, default=str))
        return
    for report in reports:
        _print(report)


def words(text: str | None) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def training_steps(text: str | None) -> dict[str, int]:
    """Part -> steps, of "200" or "hierarchy=200,detector=500".

    Raises:
        InputError: for anything else.
    """
    from ...engine.versions import TAUGHT
    from ...models.errors import InputError

    found: dict[str, int] = {}
    for word in words(text):
        name, _, number = word.rpartition("=")
        if not number.strip().isdigit() or int(number) < 1 or (name and name.strip() not in TAUGHT):
            raise InputError(f"--steps {text!r}: write 200, or hierarchy=200,detector=500; parts: {', '.join(TAUGHT)}")
        found |= {part: int(number) for part in ([name.strip()] if name else TAUGHT)}
    return found


def _print(report: RetrainReport) -> None:
    """What was learnt from, how, and what the gate says."""
    counts = report.lessons
    click.echo(
        f"lessons from {report.videos} videos: {counts['human']:,} candidates and {counts['human_boxes']:,} boxes that "
        f"people spoke of (weight {report.weights['human']:g}), {counts['confident']:,} candidates that the model is "
        f"sure of (weight up to {report.weights['confident']:g}), {counts['masked']:,} not counted; "
        f"{report.held_out:,} answers held out"
    )
    for part, about in report.taught.items():
        click.echo(f"{part}: {about['steps']} steps, {_curve(about['curve'])}")
    for part, why in report.left_out.items():
        click.echo(f"{part} was not trained: {why}", err=True)
    for sentence in report.notices:
        click.echo(f"note: {sentence}", err=True)
    for name, why in report.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    click.echo(report.said)


def _curve(points: Sequence[Mapping[str, float]]) -> str:
    """Where the losses, and what was measured, began and ended."""
    names = [name for name in (points[-1] if points else {}) if name not in ("step", "learning_rate")]
    first = {name: next(point[name] for point in points if name in point) for name in names}
    return ", ".join(f"{name} {first[name]:.3f} to {points[-1][name]:.3f}" for name in names) or "no curve"
