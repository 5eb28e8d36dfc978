"""Button "show changed by people": the videos in which somebody drew or moved a box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .showing import ShowingOperator

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.looking import Shown


class ShowChanged(ShowingOperator):
    """Shows the videos that have a person's box."""

    NAME = "show_changed"
    LABEL = "SPAM: show changed by people"
    HELP = "The videos in which a person drew or moved a box, here or in CVAT"
    ICON = "/assets/show_changed.svg"

    def look(self, ctx: ExecutionContext, choices: Choices, out: str) -> Shown:
        """Videos by the source of their boxes."""
        from ...integrations.fiftyone_.looking import changed_by_people

        return changed_by_people(choices.dataset, out)

    def leads(self, choices: Choices) -> bool:
        """Where there is such a box."""
        from ...integrations.fiftyone_.looking import any_changed_by_people

        return any_changed_by_people(choices.dataset, choices.out)
