"""The panel "SPAM"."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types


class SpamPanel(foo.Panel):
    """The panel."""

    @property
    def config(self) -> foo.PanelConfig:
        """What FiftyOne asks for."""
        return foo.PanelConfig(name="spam_panel", label="SPAM", icon="/assets/spam.svg", surfaces="grid modal")

    def on_load(self, ctx: Any) -> None:
        """Fills the panel."""
        ctx.panel.state.ticks = 0
        ctx.panel.data.rows = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
        ctx.panel.data.hist = [{"type": "scatter", "x": [1, 2, 3], "y": [3, 1, 2]}]

    def tick(self, ctx: Any) -> None:
        """Another look."""
        ctx.panel.state.ticks = (ctx.panel.state.ticks or 0) + 1

    def on_change_current_sample(self, ctx: Any) -> None:
        """Other sample."""
        ctx.panel.state.ticks = 100

    def row(self, ctx: Any) -> None:
        """Row action."""
        ctx.ops.notify(str(ctx.params))

    def point(self, ctx: Any) -> None:
        """Click in the plot."""
        ctx.ops.notify(str({k: ctx.params.get(k) for k in ("x", "y", "idx", "data")}))
        ctx.trigger("set_frame_number", {"frame_number": 40})

    def go(self, ctx: Any) -> None:
        """Open a sample."""
        ctx.ops.open_sample(id=str(ctx.dataset.first().id))
        ctx.trigger("set_frame_number", {"frame_number": 30})

    def render(self, ctx: Any) -> types.Property:
        """Draws it."""
        panel = types.Object()
        panel.md(f"### ticks {ctx.panel.state.ticks} sample {ctx.current_sample}", name="t")
        panel.btn("go", label="Open first", on_click=self.go)
        panel.obj("timer", view=types.TimerView(interval=2000, on_interval=self.tick))
        table = types.TableView()
        table.add_column("id", label="Id")
        table.add_column("n", label="N")
        table.add_row_action("open", on_click=self.row, label="Open", icon="launch")
        panel.list("rows", types.Object(), view=table)
        panel.plot("hist", layout={"title": "h", "height": 200}, on_click=self.point)
        panel.add_property("link", types.Property(types.String(), view=types.LinkView(label="CVAT job", href="http://localhost:1/x")))
        return types.Property(panel, view=types.GridView(orientation="vertical", align_x="left"))
