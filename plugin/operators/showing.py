"""What the buttons do alike that show something: they set the App's view, and change nothing of the dataset's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from .base import SpamOperator
from .forms import Form, choices_of, dataset_of, target_of
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.looking import Shown


class ShowingOperator(SpamOperator):
    """An operator that shows something of a field of tracks. It asks only where there is more than one such field."""

    BUTTON: ClassVar[str] = "Show"
    IN_TOOLBAR = True
    WINDOW = False
    CHANGES = False

    def look(self, ctx: ExecutionContext, choices: Choices, out: str) -> Shown:
        """What to show of a field of tracks."""
        raise NotImplementedError(self.NAME)

    def leads(self, choices: Choices) -> bool:
        """Whether there is something to show of the usual field of tracks; asked at every change of view."""
        return True

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where there are tracks, and something to show of them."""
        choices = choices_of(ctx)
        return bool(choices.track_fields) and self.leads(choices)

    def asks(self, ctx: ExecutionContext) -> bool:
        """Which field, where there are several."""
        return len(choices_of(ctx).track_fields) != 1

    def form(self, form: Form) -> None:
        """Which field of tracks."""
        form.tracks()

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Finds what to show; the view goes along as FiftyOne writes it down."""
        choices = choices_of(ctx)
        shown = self.look(ctx, choices, ctx.params.get("out") or choices.out)
        view = shown.view
        return {
            "said": shown.said,
            "view": None if view is None else view._serialize(),
            "fields": None if shown.fields is None else list(shown.fields),
        }

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Sets the view, if there is something to see."""
        if result["view"] is None:
            return
        yield ctx.trigger("set_view", {"view": result["view"]})
        if result["fields"] is not None:
            yield ctx.ops.set_active_fields(result["fields"])


def chosen_of(ctx: ExecutionContext) -> SampleCollection:
    """The videos that are meant where no form asks which: the selected ones, else those of the view.

    Raises:
        MissingError: if no dataset is open.
        InputError: if no video is there, or the view cannot be used any more.
    """
    from ...integrations.fiftyone_.choices import whole_videos

    if not ctx.selected:
        return target_of(ctx)
    return whole_videos(dataset_of(ctx), ctx.view.select(ctx.selected))
