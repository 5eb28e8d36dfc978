"""Operator "count again": the numbers of the panel, from the labels as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import SpamOperator
from .forms import Form, choices_of
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

BOXES_PER_SECOND = 100_000.0


class CountAgain(SpamOperator):
    """Brings the ledger up to date with what was changed behind its back."""

    NAME = "count_again"
    LABEL = "SPAM: count again"
    HELP = "Bring the panel's numbers up to date, e.g. after edits by hand or a run that was interrupted"
    BUTTON = "Count"
    ICON = "/assets/count.svg"
    LONG = True

    def form(self, form: Form) -> None:
        """Which tracks, and how many boxes that are."""
        from ...integrations.fiftyone_.choices import duration

        out, choices = form.tracks(), form.choices
        _, boxes = choices.count(choices.dataset, out)
        form.say("preview", f"{boxes:,} boxes, {duration(boxes / BOXES_PER_SECOND)}; no label is changed")

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of boxes."""
        choices = choices_of(ctx)
        return choices.count(choices.dataset, ctx.params.get("out") or choices.out)[1] / BOXES_PER_SECOND

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Counts, and says what there is."""
        from ...integrations.fiftyone_.ledger import Ledger

        choices = choices_of(ctx)
        standing = Ledger(choices.dataset, ctx.params.get("out") or choices.out).refresh(tell)
        if standing is None:
            return {"said": "there is nothing to count"}
        tracks = sum(standing.tracks.values())
        return {"said": f"{standing.boxes:,} boxes in {tracks:,} tracks, {standing.human_boxes:,} by people"}
