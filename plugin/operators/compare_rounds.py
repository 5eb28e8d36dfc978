"""Button "compare before and after": the videos that the last round changed most, side by side with what they were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .base import SpamOperator
from .forms import Form, choices_of, target_of
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext


class CompareRounds(SpamOperator):
    """Makes the dataset of the comparison, and opens it."""

    NAME = "compare_rounds"
    LABEL = "SPAM: compare before and after"
    HELP = "The videos that changed most since their tracks were kept, before and after side by side"
    BUTTON = "Compare"
    ICON = "/assets/compare_rounds.svg"
    IN_TOOLBAR = True

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where tracks were kept."""
        from ...integrations.fiftyone_.comparing import has_before

        choices = choices_of(ctx)
        return bool(choices.track_fields) and has_before(choices.dataset, choices.out)

    def form(self, form: Form) -> None:
        """Which tracks, and what will happen."""
        from ...integrations.fiftyone_.choices import plural
        from ...integrations.fiftyone_.comparing import MOST_VIDEOS, before_field, check_kept

        out = form.tracks()
        check_kept(form.choices.dataset, out)
        videos, _ = form.choices.count(form.target(), before_field(out))
        form.say(
            "preview",
            f"of {videos:,} {plural(videos, 'video')} the most changed, {MOST_VIDEOS} at most, become a dataset of "
            "their own: before on the left, after on the right; each takes some seconds",
        )

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Compares."""
        from ...integrations.fiftyone_.comparing import compare

        made = compare(target_of(ctx), ctx.params.get("out") or choices_of(ctx).out, tell)
        return {"said": made.said, "dataset": made.dataset}

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Opens the comparison, if there is one."""
        if result["dataset"] is not None:
            yield ctx.ops.open_dataset(result["dataset"])
