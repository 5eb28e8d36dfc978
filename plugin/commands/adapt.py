"""``spam-plugin adapt``: the tracker learns from a few boxes of the objects of a dataset."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...engine.adapting import AdaptReport


@click.command()
@click.argument("dataset")
@click.option("--out", default="spam_tracks", show_default=True, metavar="FIELD", help="The tracks.")
@click.option(
    "--candidates", metavar="FIELD", help="The boxes that the tracks were made of, or none. [those labelled last]"
)
@click.option("--view", metavar="SAVED_VIEW", help="Only the videos of this saved view.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Steps of the training. [240]")
@click.option("--k", "boxes", type=click.IntRange(1), metavar="N", help="Learn from at most N boxes of an object. [5]")
@click.option(
    "--self-training", is_flag=True, help="Videos without a person's box join in by tracks that the model is sure of."
)
@click.option("--parent", metavar="VERSION", help="The version to begin with. [the one in use]")
@click.option("--use/--no-use", default=None, help="Use what comes out, or do not, whatever the judgement is.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option("--device", default="cpu", show_default=True, help="Where it learns, as torch names it: cpu, cuda.")
@click.option("--skip-bad", is_flag=True, help="Leave out and name videos that cannot be used.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text, and nothing else.")
@click.pass_context
def command(
    ctx: click.Context, dataset: str, steps: int | None, boxes: int | None, self_training: bool, seed: int,
    as_json: bool, **rest: Any,
) -> None:  # fmt: skip
    """Have the tracker of DATASET learn from a few boxes of each object, and use it if it is better.

    Two to five human boxes of an object are enough: those that answers drew, and those that a person drew or moved in
    the field of tracks. The tracker learns from them, then from the frames around them, as far as it is sure. Some
    boxes are held out: the new version fills gaps (spam-plugin propagate) only if it finds those better than the one
    in use. Every version stays on the shelf (spam-plugin models DATASET). Killed, the same command goes on.

    Exits with 0 whether or not the new version is used, and with 3 if videos were left out.

    \b
    Examples:
      spam-plugin adapt street
      spam-plugin adapt street --k 3 --steps 120
      spam-plugin adapt street --self-training --use
    """  # noqa: D301 (click reads the control character)
    from ..progress import progress_bar

    # FiftyOne writes what it has to say to standard output, which here belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from ...engine.adapting import AdaptPlan
        from ...integrations.fiftyone_.adapting import adapt
        from ...models.spot.adaptation import AdaptSettings

        chosen: dict[str, Any] = {} if steps is None else {"steps": steps}
        training = AdaptSettings(seed=seed, **chosen)
        more: dict[str, Any] = {} if boxes is None else {"most_boxes": boxes}
        plan = AdaptPlan(training, self_training=self_training, **more)
        with progress_bar("adapting", quiet=bool((ctx.obj or {}).get("quiet"))) as tell:
            report = adapt(dataset, plan=plan, progress=tell, **rest)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2, allow_nan=False, default=str))
    else:
        _print(report)
    if report.skipped:
        from ..cli import EXIT_PARTLY

        ctx.exit(EXIT_PARTLY)


def _print(report: AdaptReport) -> None:
    """What was learnt from, how, and what came out."""
    counts, training = report.lessons, report.training
    click.echo(
        f"learnt from {counts['human_boxes']:,} human boxes and {counts['track_boxes']:,} boxes of sure tracks, of "
        f"{counts['objects']:,} objects in {counts['videos']:,} videos; {counts['frames']:,} frames at hand"
    )
    click.echo(f"{training['steps']} steps, the weights after step {training['best_step']} were kept")
    for sentence in report.notices:
        click.echo(f"note: {sentence}", err=True)
    for name, why in report.skipped.items():
        click.echo(f"left out video {name}: {why}", err=True)
    click.echo(report.said)
