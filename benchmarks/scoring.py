"""Scores of labels on a sequence, and their means over sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sequences import FIRST_CHOICE, Sequence

from spam_plugin.engine.metrics import TrackTable, TruthTable, evaluate_video

METRICS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW")


def score(sequence: Sequence, truth: TruthTable, tracks: TrackTable) -> dict[str, float]:
    """HOTA, DetA, AssA, MOTA, IDF1 in percent and identity switches, after MOT17's preprocessing.

    Boxes are rounded to a hundredth of a pixel first, as any result file would.
    """
    rounded = TrackTable(tracks.frame, tracks.track_id, tracks.xyxy.astype(float).round(2))
    values = evaluate_video(truth, rounded, sequence.video.num_frames, "mot17", name=sequence.name)
    found = values.as_dict(percent=True)
    return {name: found[name] for name in METRICS}


def means(rows: Iterable[Mapping[str, Any]], keys: tuple[str, ...] = METRICS) -> dict[str, dict[str, float]]:
    """For each set, the mean over its sequences with their first-choice detections; switches are added up.

    Args:
        rows: mappings with ``set``, ``detections`` and the ``keys``.
        keys: what to average.
    """
    by_set: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["detections"] == FIRST_CHOICE:
            by_set.setdefault(row["set"], []).append(row)
    return {
        name: {key: (sum if key == "IDSW" else np.mean)([row[key] for row in group]) for key in keys}
        for name, group in by_set.items()
    }
