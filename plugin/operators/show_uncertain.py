"""Button "show most uncertain": the labelled videos, the least sure first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .showing import ShowingOperator

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.looking import Shown


class ShowUncertain(ShowingOperator):
    """Sorts the labelled videos by their greatest uncertainty."""

    NAME = "show_uncertain"
    LABEL = "SPAM: show most uncertain"
    HELP = "The labelled videos, those first of which the model is least sure"
    ICON = "/assets/show_uncertain.svg"

    def look(self, ctx: ExecutionContext, choices: Choices, out: str) -> Shown:
        """All labelled videos."""
        from ...integrations.fiftyone_.looking import most_uncertain

        return most_uncertain(choices.dataset, out)
