"""Button "colour by track": every track in a colour of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .base import show_colours
from .forms import choices_of
from .live import Tell
from .showing import ShowingOperator

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices


class ColourTracks(ShowingOperator):
    """Sets the colours with which the App draws the dataset."""

    NAME = "colour_tracks"
    LABEL = "SPAM: colour by track"
    HELP = "Draw the tracks alone, every one in a colour of its own"
    BUTTON = "Colour"
    ICON = "/assets/colour_tracks.svg"

    def leads(self, choices: Choices) -> bool:
        """Where they are not coloured so already."""
        from ...integrations.fiftyone_.looking import is_coloured_by_track

        return not is_coloured_by_track(choices.dataset)

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Saves the colours with the dataset."""
        from ...integrations.fiftyone_.looking import colour_by_track

        choices = choices_of(ctx)
        out = ctx.params.get("out") or choices.out
        colour_by_track(choices.dataset, out)
        return {"said": f"every track of {out!r} has a colour of its own", "out": out}

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Shows the tracks alone, in these colours."""
        choices = choices_of(ctx)
        yield from show_colours(ctx, choices.dataset)
        yield ctx.ops.set_active_fields([choices.prefix + result["out"]])
