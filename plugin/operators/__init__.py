"""The buttons and forms of the App: one operator a file, all of them in the table below."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Module and class of every operator, in the order in which a round of work needs them; fiftyone.yml lists their names.
OPERATORS: tuple[tuple[str, str], ...] = (
    ("label_tracks", "LabelTracks"),
    ("choose_review", "ChooseReview"),
    ("fill_gaps", "FillGaps"),
    ("sync_cvat", "SyncCvat"),
    ("sync_status", "SyncStatus"),
    ("open_review_task", "OpenReviewTask"),
    ("retrain_models", "RetrainModels"),
    ("evaluate_tracks", "EvaluateTracks"),
    ("import_mot", "ImportMot"),
    ("export_mot", "ExportMot"),
    ("show_uncertain", "ShowUncertain"),
    ("show_in_review", "ShowInReview"),
    ("show_reviewed", "ShowReviewed"),
    ("show_changed", "ShowChanged"),
    ("show_tracks", "ShowTracks"),
    ("show_spans", "ShowSpans"),
    ("compare_rounds", "CompareRounds"),
    ("colour_tracks", "ColourTracks"),
    ("count_again", "CountAgain"),
)  # fmt: skip


def register(p: Any) -> None:
    """Registers every operator with FiftyOne.

    Args:
        p: FiftyOne's plugin context.
    """
    for module, name in OPERATORS:
        p.register(getattr(import_module(f".{module}", __name__), name))
