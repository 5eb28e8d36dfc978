"""Button "show tracks": one tile per track, the least sure first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .showing import ShowingOperator, chosen_of

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.looking import Shown


class ShowTracks(ShowingOperator):
    """Cuts the videos into their tracks."""

    NAME = "show_tracks"
    LABEL = "SPAM: show tracks"
    HELP = "One clip per track of the videos here, with its uncertainty and validity, the least sure first"
    ICON = "/assets/show_tracks.svg"

    def look(self, ctx: ExecutionContext, choices: Choices, out: str) -> Shown:
        """The tracks of the videos that are meant."""
        from ...integrations.fiftyone_.cutting import each_track

        return each_track(chosen_of(ctx), out)
