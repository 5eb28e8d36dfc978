"""Button "show uncertain spans": one tile per span in which the model is not sure of a track."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .forms import Form
from .showing import ShowingOperator, chosen_of

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.looking import Shown

THRESHOLD, LEAST = 0.5, 3


class ShowSpans(ShowingOperator):
    """Cuts the videos into the spans in which tracks are uncertain."""

    NAME = "show_spans"
    LABEL = "SPAM: show uncertain spans"
    HELP = "One clip per span of frames in which the model is not sure of a track, the least sure first"
    ICON = "/assets/show_spans.svg"
    CHANGES = True

    def asks(self, ctx: ExecutionContext) -> bool:
        """How uncertain, and how long."""
        return True

    def form(self, form: Form) -> None:
        """What counts as uncertain, and how much of it there is."""
        from ...integrations.fiftyone_.choices import plural
        from ...integrations.fiftyone_.cutting import count_spans

        out = form.tracks()
        threshold = form.number(
            "threshold", "Uncertain is more than", THRESHOLD, "0: the model is sure; 1: it could as well toss a coin",
            low=0.0, high=0.99, slider=True,
        )  # fmt: skip
        least = LEAST
        if form.choices.prefix:  # images are not cut into clips
            least = int(form.number("least", "Least length of a span, in frames", LEAST, low=1, high=100_000))
            form.switch("alone", "Hide the other tracks", True)
        found = count_spans(chosen_of(form.ctx), out, threshold, least)
        if found is None:
            form.say("preview", "the videos of which the model is least sure are looked at first")
        elif found[0]:
            form.say("preview", f"{found[0]:,} {plural(found[0], 'span')} in {found[1]:,} {plural(found[1], 'video')}")
        else:
            form.refuse(f"nothing is more uncertain than {threshold:g} for {least} frames or more", "threshold")

    def look(self, ctx: ExecutionContext, choices: Choices, out: str) -> Shown:
        """The spans of the videos that are meant."""
        from ...integrations.fiftyone_.cutting import uncertain_spans

        defaults = {"threshold": THRESHOLD, "least": LEAST, "alone": True}
        given = {name: ctx.params.get(name) for name in defaults}
        threshold, least, alone = (defaults[key] if value is None else value for key, value in given.items())
        return uncertain_spans(chosen_of(ctx), out, float(threshold), int(least), bool(alone))
