"""Button "label tracks": candidates in, tracks with uncertainty out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import SpamOperator
from .forms import Form, choices_of, target_of
from .live import Tell, parts

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext


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
        choices = form.choices
        candidates = form.boxes(
            "candidates", "The detector's boxes", choices.candidates, "Boxes with their confidence; none is changed"
        )
        out = form.text("out", "Field for the tracks", choices.out, "What was labelled there before is replaced, never a person's box")
        embeddings = choices.vectors(candidates)
        if embeddings:
            form.pick(
                "embeddings", "Appearance", ["", *embeddings], "", "Vectors that say how a box looks",
                {"": "do not use"}, required=False,
            )  # fmt: skip
        form.switch("fast", "Fast: one pass instead of three that must agree")
        form.switch("skip_bad", "Leave out boxes and videos that cannot be used, instead of refusing")
        choices.check_out(candidates, out)
        form.say("preview", choices.preview(form.target(), candidates))

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of boxes, and how fast the last run was."""
        choices = choices_of(ctx)
        field = ctx.params.get("candidates") or choices.candidates
        return choices.seconds(choices.count(target_of(ctx), field)[1]) if field else 0.0

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Labels, and says what came out."""
        from ...integrations.fiftyone_ import api
        from ...models.spam import LabelSettings

        params, choices = ctx.params, choices_of(ctx)
        step = parts(tell, ("reading", 1), ("labelling", 4))
        report = api.label(
            target_of(ctx), params.get("candidates") or choices.candidates, out=params.get("out") or choices.out,
            embeddings=params.get("embeddings") or None, model=choices.model,
            settings=LabelSettings(consensus=not params.get("fast")), skip_bad=bool(params.get("skip_bad")),
            progress=lambda at: step(at.stage, at.done, at.total, at.video),
        )  # fmt: skip
        whole = report.as_dict()["overall"]
        said = f"{whole['boxes']:,} boxes in {whole['tracks']:,} tracks, in {whole['videos']:,} videos"
        left = sum(report.left_out.values())
        if left or report.skipped:
            said += f"; left out: {left:,} boxes, {len(report.skipped)} videos"
        return {"said": said, **whole}
