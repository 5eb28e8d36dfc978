"""The panel's first page: where the dataset stands, and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from . import charts

if TYPE_CHECKING:
    from ...engine.standing import Round, Standing

URI = "@spam-plugin/spam/"
STEPS = (
    ("label_tracks", "Label tracks"), ("choose_review", "Choose questions"), ("sync_cvat", "Sync"),
    ("retrain_models", "Retrain"),
)  # fmt: skip
USED = " used"  # how a round of retraining ends whose version is used


def lines(standing: Standing) -> str:
    """The dataset in a few lines of Markdown."""
    videos = [f"**{standing.videos:,} labelled**"]
    videos += [f"{standing.unlabelled:,} not yet"] if standing.unlabelled else []
    videos += [f"{count:,} {status}" for status, count in standing.by_review.items() if count]
    tracks = standing.tracks
    spent = f"**{standing.clicks_spent:,} spent**"
    if standing.effort is not None:
        spent += f" ({100 * standing.effort:.2f} % of labelling by hand)"
    rows = [
        ("videos", ", ".join(videos)),
        (
            "tracks",
            f"**{sum(tracks.values()):,}**: {tracks.get('model', 0):,} by the model alone, "
            f"{tracks.get('asked', 0):,} asked about, {tracks.get('people', 0):,} seen by people",
        ),
        (
            "boxes",
            f"**{standing.boxes:,}**: {standing.human_boxes:,} by people, {standing.interpolated_boxes:,} filled in",
        ),
        ("clicks", f"{spent}, {standing.clicks_open:,} left in {standing.open_queries:,} open questions"),
    ]
    if standing.estimate is not None:
        wrong = standing.estimate
        rows.append((
            "wrong boxes",
            f"**{100 * wrong.expected:.1f} %** by estimate, {100 * wrong.low:.1f} to {100 * wrong.high:.1f} % "
            "(90 % interval), when questions were chosen last",
        ))  # fmt: skip
    if standing.conflicts:
        rows.append(("conflicts", f"**{standing.conflicts:,}** that two people disagree about; see sync with CVAT"))
    return "\n\n".join(f"{name}: {text}" for name, text in rows)


def next_step(standing: Standing | None, rounds: Sequence[Round]) -> str:
    """Name of the operator that is the next natural step."""
    labelled = next((one.clicks for one in reversed(rounds) if one.kind == "label"), 0)
    if standing is None or standing.unlabelled or standing.clicks_spent > labelled:
        return "label_tracks"  # what people have said since is not in the labels of other tracks yet
    changed = next((one for one in reversed(rounds) if one.kind in ("label", "retrain")), None)
    if changed is not None and changed.said.endswith(USED):
        return "label_tracks"  # a new version has labelled nothing yet
    return "sync_cvat" if standing.open_queries else "choose_review"


def draw(panel: types.Object, standing: Standing | None, rounds: Sequence[Round], out: str | None) -> None:
    """Puts the page into the panel; the forms of its buttons begin with the field of tracks that it shows."""
    if standing is None:
        panel.md("Nothing is labelled yet. The first step is **Label tracks**.", name="standing")
    else:
        panel.md(lines(standing), name="standing")
    meant = {"out": out} if out else None
    row = panel.h_stack("steps", gap=2)
    first = next_step(standing, rounds)
    for name, label in STEPS:
        if standing is None and name != "label_tracks":
            continue
        row.btn(
            f"step_{name}", label=label, on_click=URI + name, prompt=True, params=meant,
            variant="contained" if name == first else "outlined",
        )  # fmt: skip
    if standing is None:
        return
    if standing.stale:
        panel.view(
            "stale", types.Warning(label="These numbers may be behind the labels: some were changed, and not counted.")
        )
        panel.btn(
            "refresh", label="Count again", on_click=f"{URI}count_again", prompt=True, params=meant, variant="outlined"
        )
    if standing.busy:
        panel.view("busy", types.Notice(label="Somebody, or a job, is changing these labels right now."))
    panel.plot(
        "histogram",
        layout=charts.layout("uncertainty of a box", "boxes", yaxis={"title": {"text": "boxes"}, "type": "log"}),
    )


def data(standing: Standing | None) -> dict[str, Any]:
    """What the page's charts show."""
    return {} if standing is None else {"histogram": charts.histogram(standing)}
