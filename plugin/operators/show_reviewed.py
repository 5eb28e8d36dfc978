"""Button "show reviewed": the videos that have come back from CVAT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .showing import ShowingOperator

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.looking import Shown


class ShowReviewed(ShowingOperator):
    """Shows the videos that are reviewed."""

    NAME = "show_reviewed"
    LABEL = "SPAM: show reviewed"
    HELP = "The videos that have come back from CVAT"
    ICON = "/assets/show_reviewed.svg"

    def look(self, ctx: ExecutionContext, choices: Choices, out: str) -> Shown:
        """Videos by their review status."""
        from ...integrations.fiftyone_.fields import REVIEWED
        from ...integrations.fiftyone_.looking import with_status

        return with_status(choices.dataset, out, REVIEWED)

    def leads(self, choices: Choices) -> bool:
        """Where there is such a video."""
        from ...integrations.fiftyone_.fields import REVIEWED
        from ...integrations.fiftyone_.looking import any_with_status

        return any_with_status(choices.dataset, choices.out, REVIEWED)
