"""The panel's third page: what effort has brought, and the models that labelled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from . import charts

if TYPE_CHECKING:
    from ...engine.standing import ModelVersion, Round

TRAINED = 6  # versions that are listed


def draw(panel: types.Object, rounds: Sequence[Round], models: Sequence[ModelVersion], use: Any) -> None:
    """Puts the page into the panel."""
    if charts.quality(rounds):
        panel.plot("quality", layout=charts.layout("clicks of people so far", "%", 280))
    else:
        panel.md(
            "No round has been judged yet: **evaluate** compares with ground truth where there is some; choosing "
            "questions estimates the share of wrong boxes where there is none.",
            name="unjudged",
        )
    panel.md("**Models**", name="models_title")
    table = types.TableView()
    for key, label in (("version", "version"), ("used", "labelled last"), ("scores", "scores"), ("in_use", "in use")):
        table.add_column(key, label=label)
    table.add_row_action("use", use, label="Use this one", icon="check", tooltip="The next labelling takes it")
    panel.list("models", types.Object(), view=table)
    trained = [one for one in rounds if one.said]
    if trained:
        panel.md("**Retraining**\n\n" + "\n\n".join(map(_trained, reversed(trained[-TRAINED:]))), name="trained")


def data(rounds: Sequence[Round], models: Sequence[ModelVersion]) -> dict[str, Any]:
    """What the page shows."""
    return {
        "quality": charts.quality(rounds),
        "models": [
            {
                "id": str(place), "version": model.version,
                "used": "never" if model.used is None else datetime.fromtimestamp(model.used).isoformat(" ", "minutes"),
                "scores": _scores(model) or "not evaluated",
                "in_use": "yes" if model.in_use else "",
            }
            for place, model in enumerate(models)
        ],
    }  # fmt: skip


def _trained(one: Round) -> str:
    """As in '2026-11-27 03:20, after 412 clicks: v003 used'."""
    when = datetime.fromtimestamp(one.when).isoformat(" ", "minutes")
    return f"{when}, after {one.clicks:,} clicks: {one.said}"


def _scores(model: ModelVersion) -> str:
    return ", ".join(f"{name} {100 * model.scores[name]:.1f}" for name in charts.SCORES if name in model.scores)
