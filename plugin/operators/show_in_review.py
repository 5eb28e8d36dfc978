"""Button "show in review": the videos that wait for a person in CVAT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .showing import ShowingOperator

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.looking import Shown


class ShowInReview(ShowingOperator):
    """Shows the videos that are in review."""

    NAME = "show_in_review"
    LABEL = "SPAM: show in review"
    HELP = "The videos that wait for a person in CVAT"
    ICON = "/assets/show_in_review.svg"

    def look(self, ctx: ExecutionContext, choices: Choices, out: str) -> Shown:
        """Videos by their review status."""
        from ...integrations.fiftyone_.fields import IN_REVIEW
        from ...integrations.fiftyone_.looking import with_status

        return with_status(choices.dataset, out, IN_REVIEW)

    def leads(self, choices: Choices) -> bool:
        """Where there is such a video."""
        from ...integrations.fiftyone_.fields import IN_REVIEW
        from ...integrations.fiftyone_.looking import any_with_status

        return any_with_status(choices.dataset, choices.out, IN_REVIEW)
