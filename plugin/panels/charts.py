"""The panel's charts, as Plotly takes them: plain values only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...engine.standing import BINS

if TYPE_CHECKING:
    from ...engine.standing import Round, Standing
    from ...integrations.fiftyone_.timeline import Timeline

BLUE, ORANGE, GREY, GREEN = "#5b9bd5", "#ff6d04", "#8a8f98", "#70ad47"
SCORES = {"HOTA": BLUE, "IDF1": GREEN, "MOTA": GREY}


def histogram(standing: Standing) -> list[dict[str, Any]]:
    """Boxes by their uncertainty, on a logarithmic axis, and how far down the open questions reach."""
    middle = [(place + 0.5) / BINS for place in range(BINS)]
    bars = {
        "type": "bar", "x": middle, "y": list(standing.histogram), "width": 0.9 / BINS, "name": "boxes",
        "marker": {"color": BLUE}, "hovertemplate": "%{y:,} boxes<extra></extra>",
    }  # fmt: skip
    if standing.cut is None:
        return [bars]
    top = max(max(standing.histogram, default=1), 1)
    cut = {
        "type": "scatter", "mode": "lines", "x": [standing.cut, standing.cut], "y": [0.8, top], "name": "the budget",
        "line": {"color": ORANGE, "width": 3},
        "hovertemplate": "the open questions reach down to %{x:.2f}<extra></extra>",
    }  # fmt: skip
    return [bars, cut]


def uncertainty_over_time(timeline: Timeline) -> list[dict[str, Any]]:
    """Greatest and mean uncertainty by frame, and the frames that are asked about."""
    frame = [int(one) for one in timeline.frame]
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": "greatest", "x": frame,
            "y": [round(float(one), 4) for one in timeline.greatest], "line": {"color": BLUE}, "marker": {"size": 4},
        },
        {
            "type": "scatter", "mode": "lines", "x": frame, "y": [round(float(one), 4) for one in timeline.mean],
            "name": "mean", "line": {"color": GREY},
        },
    ]  # fmt: skip
    if timeline.asked:
        traces.append({
            "type": "scatter", "mode": "markers", "x": list(timeline.asked), "y": [1.02] * len(timeline.asked),
            "name": "asked", "marker": {"color": ORANGE, "symbol": "triangle-down", "size": 9},
        })  # fmt: skip
    return traces


def quality(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Quality against clicks: scores where evaluated, and the share of boxes that is expected right."""
    traces: list[dict[str, Any]] = []
    for name, colour in SCORES.items():
        known = [one for one in rounds if name in one.scores]
        if known:
            traces.append({
                "type": "scatter", "mode": "lines+markers", "x": [one.clicks for one in known],
                "y": [round(100 * float(one.scores[name]), 2) for one in known], "name": name,
                "text": [_when(one) for one in known], "line": {"color": colour},
                "hovertemplate": name + " %{y:.1f} at %{x:,} clicks, %{text}<extra></extra>",
            })  # fmt: skip
    asked = [(one, one.wrong) for one in rounds if one.wrong is not None]
    if asked:
        right = [round(100 * (1 - wrong.expected), 2) for _, wrong in asked]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "x": [one.clicks for one, _ in asked], "y": right,
            "name": "boxes right, estimated", "text": [_when(one) for one, _ in asked],
            "line": {"color": ORANGE, "dash": "dot"},
            "hovertemplate": "%{y:.1f} % of the boxes are right, by estimate, at %{x:,} clicks, %{text}<extra></extra>",
            "error_y": {
                "type": "data", "symmetric": False,
                "array": [round(100 * (wrong.expected - wrong.low), 2) for _, wrong in asked],
                "arrayminus": [round(100 * (wrong.high - wrong.expected), 2) for _, wrong in asked],
            },
        })  # fmt: skip
    return traces


def layout(x: str, y: str, height: int = 240, **more: Any) -> dict[str, Any]:
    """A small chart with named axes and the legend above it."""
    return {
        "height": height, "margin": {"l": 60, "r": 20, "t": 30, "b": 45}, "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.05, "yanchor": "bottom"},
        "xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}},
        **more,
    }  # fmt: skip


def _when(one: Round) -> str:
    return datetime.fromtimestamp(one.when).isoformat(" ", "minutes")
