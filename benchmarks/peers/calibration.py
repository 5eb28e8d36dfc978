"""Scores of the peers: each detector's raw score mapped to the probability that a box hits a target.

One logistic curve per detector, fitted on the ground truth of these very sequences: kind to the peers, whose thresholds
want probabilities. Our own model is given the raw scores.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from association import overlaps
from numpy.typing import NDArray
from scipy.optimize import minimize
from sequences import FIRST_CHOICE, Sequence, targets

from spam_plugin.engine.metrics import TruthTable

# Whose boxes a set's ``det.txt`` holds; MOT16-09's are DPM's.
FIRST_CHOICE_DETECTOR = {
    "mot15_text": "frcnn", "kitti_cars": "pointrcnn", "mot17_20_jitter": "jitter", "single_object": "jitter",
}  # fmt: skip
# Boxes below this probability are not shown to a peer.
MIN_SCORE = 0.1
Curve = tuple[float, float]


def detector_of(sequence: Sequence, detections: str) -> str:
    """The name of the detector behind a detection file."""
    if detections != FIRST_CHOICE:
        return detections.removeprefix("det_")
    default = "dpm" if sequence.name.startswith("MOT16") else "acf"
    return FIRST_CHOICE_DETECTOR.get(sequence.set_name, default)


def hits(frame: NDArray[np.int64], xyxy: NDArray[np.floating], truth: TruthTable) -> NDArray[np.bool_]:
    """(N,) whether a box overlaps any target of its frame by at least 0.5."""
    hit = np.zeros(len(frame), bool)
    for number in np.unique(frame):
        boxes, there = xyxy[frame == number].astype(float), truth.xyxy[truth.frame == number]
        if len(there):
            hit[frame == number] = overlaps(boxes, there).max(1) >= 0.5
    return hit


def fit(raw: NDArray[np.floating], hit: NDArray[np.bool_]) -> Curve:
    """Slope and offset of the logistic curve from raw score to probability."""
    raw = raw.astype(float)
    spread = raw.std() + 1e-9
    z, sign = (raw - raw.mean()) / spread, 2 * hit - 1

    def loss(p: NDArray[np.float64]) -> float:
        return float(np.mean(np.logaddexp(0, -sign * (p[0] * z + p[1]))) + 1e-4 * p[0] ** 2)

    slope, offset = minimize(loss, [1.0, 0.0]).x
    return slope / spread, offset - slope * raw.mean() / spread


def curves(sequences: Iterable[Sequence]) -> dict[str, Curve]:
    """Every detector's curve, from all its files on the given sequences: give all, or the curve is another one."""
    pooled: dict[str, list[tuple[NDArray, NDArray]]] = {}
    for sequence in sequences:
        truth = targets(sequence.truth())
        for name in sequence.detection_names:
            candidates, _ = sequence.candidates(name)
            hit = hits(candidates.frame, candidates.xyxy, truth)
            pooled.setdefault(detector_of(sequence, name), []).append((candidates.score, hit))
    return {key: fit(*map(np.concatenate, zip(*parts, strict=True))) for key, parts in pooled.items()}


def probability(raw: NDArray[np.floating], curve: Curve) -> NDArray[np.float64]:
    """(N,) float64 in [0, 1], the curve's value."""
    return 1 / (1 + np.exp(-(curve[0] * raw.astype(float) + curve[1])))
