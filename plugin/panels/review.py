"""The panel's second page: the questions that wait for a person, most valuable first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

if TYPE_CHECKING:
    from ...engine.standing import QueueRow

SHOWN = 30


def draw(panel: types.Object, rows: Sequence[QueueRow], total: int, open_here: Any, open_there: Any) -> None:
    """Puts the page into the panel."""
    if not rows:
        panel.md("No question is open. **Choose questions** decides what is worth a person's click.", name="none")
        return
    more = "" if len(rows) >= total else f"; the first {len(rows)} are shown"
    panel.md(f"**{total:,} open questions**, most valuable first{more}", name="count")
    table = types.TableView()
    for key, label in (("text", "question"), ("worth", "worth")):
        table.add_column(key, label=label)
    table.add_row_action("open_here", open_here, label="Open", icon="visibility", tooltip="Open the frame here")
    table.add_row_action("open_there", open_there, label="CVAT", icon="launch", tooltip="Open the job in CVAT")
    panel.list("queue", types.Object(), view=table)


def data(rows: Sequence[QueueRow]) -> dict[str, Any]:
    """What the page's table shows."""
    return {
        "queue": [
            {
                "id": row.key, "rank": row.rank, "text": f"{row.name}, frame {row.frame}: {row.text}",
                "worth": f"{row.gain:.0f} boxes for {row.cost} {'click' if row.cost == 1 else 'clicks'}",
            }
            for row in rows
        ]
    }  # fmt: skip
