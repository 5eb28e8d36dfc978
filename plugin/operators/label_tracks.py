"""Button "label tracks": candidates in, tracks with uncertainty out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .base import SpamOperator, show_colours, show_fields
from .forms import NONE, Form, choices_of, target_of
from .live import Tell, parts

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices


#: Appearances that need no file; see ``integrations.appearances``.
APPEARANCES = {"default": "the network of this package", "colour": "colours, no network"}


class LabelTracks(SpamOperator):
    """Labels the videos of a dataset."""

    NAME = "label_tracks"
    LABEL = "SPAM: label tracks"
    HELP = "Join a detector's boxes into tracks, and say how sure each is"
    BUTTON = "Label"
    ICON = "/assets/label.svg"
    IN_TOOLBAR = LONG = RELOADS = True

    def form(self, form: Form) -> None:
        """Which boxes, where the tracks go, and what will happen."""
        view, choices = form.target(), form.choices
        candidates = form.boxes(
            "candidates", "The detector's boxes", choices.candidates, "Boxes with their confidence; none is changed",
            choices.foreign_fields,
        )  # fmt: skip
        out = form.text(
            "out", "Field for the tracks", choices.out,
            "What a model has written there is replaced, a person's box never", required=True,
        )  # fmt: skip
        with form.refusing("out"):
            choices.check_out(candidates, out)
        names = [NONE, *APPEARANCES, *choices.vectors(candidates)]
        form.pick(
            "embeddings", "Appearance", list(dict.fromkeys(names)), NONE,
            "How boxes look; where that is not known yet, every picture is decoded once",
            {NONE: "do not use", **APPEARANCES},
        )  # fmt: skip
        form.switch("fast", "Fast: one pass instead of three that must agree")
        if out in choices.track_fields:
            form.switch(
                "keep", "Keep the tracks as they were, to compare", help="In place of those that were kept before"
            )
        form.switch("skip_bad", "Leave out boxes and videos that cannot be used, instead of refusing")
        with form.refusing("candidates"):
            form.say("preview", choices.preview(view, candidates))

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of boxes, and how fast the last run was."""
        choices = choices_of(ctx)
        field = ctx.params.get("candidates") or choices.candidates
        return choices.seconds(choices.count(target_of(ctx), field)[1]) if field else 0.0

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where boxes wait for tracks, or people have said something since these were made."""
        choices = choices_of(ctx)
        if not choices.track_fields:
            return bool(choices.candidate_fields)
        return choices.candidates is not None and choices.has_new_answers()

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Labels, and says what came out."""
        tell(0.0, "loading the model")
        from ...integrations.fiftyone_ import api
        from ...integrations.fiftyone_.choices import plural
        from ...integrations.fiftyone_.looking import colour_if_plain
        from ...models.spam import LabelSettings

        params, choices = ctx.params, choices_of(ctx)
        embeddings = params.get("embeddings") or NONE
        step = parts(tell, ("reading", 1), ("labelling", 4))
        out, view = params.get("out") or choices.out, target_of(ctx)
        if params.get("keep") and out in choices.track_fields:
            _keep(choices, view, out)
        report = api.label(
            view, params.get("candidates") or choices.candidates or "candidates", out=out,
            embeddings=None if embeddings == NONE else embeddings, model=choices.model,
            settings=LabelSettings(consensus=not params.get("fast")), skip_bad=bool(params.get("skip_bad")),
            progress=lambda at: step(at.stage, at.done, at.total, at.video),
        )  # fmt: skip
        colour_if_plain(choices_of(ctx).dataset, out)
        whole = report.as_dict()["overall"]
        videos = f"{whole['videos']:,} {plural(whole['videos'], 'video')}"
        said = f"{whole['boxes']:,} boxes in {whole['tracks']:,} {plural(whole['tracks'], 'track')}, in {videos}"
        left = [f"left out {count:,} boxes: {reason}" for reason, count in report.left_out.items()]
        skipped = [f"left out video {name!r}: {why}" for name, why in report.skipped.items()]
        return {**whole, "said": said, "out": out, "problems": [*skipped, *left, *report.problems]}

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Shows the tracks, each in a colour of its own, in place of the boxes that they were made of."""
        choices = choices_of(ctx)
        prefix = choices.prefix
        yield from show_colours(ctx, choices.dataset)
        yield from show_fields(
            ctx, prefix + result["out"], instead_of=[prefix + name for name in choices.foreign_fields]
        )


def _keep(choices: Choices, view: SampleCollection, out: str) -> None:
    """Keeps the tracks to compare with.

    Raises:
        DeskError: if somebody changes them just now; what was kept before stays.
    """
    from ...engine.desk.ports import DeskError
    from ...integrations.fiftyone_.comparing import keep_before
    from ...integrations.fiftyone_.ledger import Ledger

    busy = Ledger(choices.dataset, out).busy
    if busy is not None:
        raise DeskError(busy)
    keep_before(choices.dataset, out, view)
