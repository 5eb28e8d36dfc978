"""Whether stated probabilities come true: claims of tracks against ground truth, calibration errors, the diagram.

Expected calibration error after Naeini et al. (AAAI 2015), with bins of equal width, and adaptive with bins of equal
count (Nixon et al., arXiv 1904.01685).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from association import match_frames, overlaps
from labelling import MadeLinks
from numpy.typing import NDArray
from sequences import targets

from spam_plugin.engine.metrics import TruthTable
from spam_plugin.models.columns import Source, Tracks

BINS = 15


@dataclass(frozen=True)
class Claims:
    """Probabilities and what became of them.

    Attributes:
        probability: (N,) float64 in [0, 1].
        right: (N,) bool.
    """

    probability: NDArray[np.float64]
    right: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.right)

    @classmethod
    def together(cls, parts: Iterable[Claims]) -> Claims:
        """All claims of several."""
        kept = list(parts)
        return cls(
            np.concatenate([np.zeros(0), *(part.probability for part in kept)]),
            np.concatenate([np.zeros(0, bool), *(part.right for part in kept)]),
        )

    def bins(self, *, adaptive: bool = False) -> NDArray[np.float64]:
        """(B, 3) mean probability, share that came true, and share of the claims, of each bin that is not empty."""
        if not len(self):
            return np.zeros((0, 3))
        order = np.argsort(self.probability, kind="stable")
        p, right = self.probability[order], self.right[order]
        by_count, by_value = np.arange(len(p)) * BINS // len(p), np.minimum((p * BINS).astype(int), BINS - 1)
        index = by_count if adaptive else by_value
        count = np.bincount(index, minlength=BINS)
        full = count > 0
        sums = np.stack([np.bincount(index, column, BINS) for column in (p, right)], 1)[full]
        return np.column_stack([sums / count[full, None], count[full] / len(p)])

    def error(self, *, adaptive: bool = False) -> float | None:
        """Expected calibration error in [0, 1], or None without claims."""
        if not len(self):
            return None
        stated, true, share = self.bins(adaptive=adaptive).T
        return float((np.abs(stated - true) * share).sum())


def claims_of(tracks: Tracks, truth: TruthTable, links: MadeLinks) -> tuple[Claims, Claims]:
    """What tracks claim of their boxes and of their links.

    Boxes: those that the model took from candidates; a box is right if it is matched to a target (one to one, overlap
    0.5). A box that misses all targets but lies on ground truth that does not count (overlap 0.5) is nobody's claim.

    Links: pairs of consecutive such boxes of a track of which both are right; the link is right if both hit the same
    target. Where the model dropped a box between the two, the probability is that of the lower of the link
    uncertainties at the two ends, since a box's is the greatest of all links decided there.

    Args:
        tracks: the labels.
        truth: everything that is there, what does not count included.
        links: what the model said of each link on its own.
    """
    own = np.flatnonzero(tracks.source == Source.MODEL)
    frame, xyxy, track = tracks.frame[own], tracks.xyxy[own].astype(float), tracks.track_index[own]
    real = targets(truth)
    matched = match_frames(frame, xyxy, real)
    counted = (matched >= 0) | ~_on_ignored(frame, xyxy, truth)
    boxes = Claims(tracks.validity[own][counted].astype(float), matched[counted] >= 0)

    order = np.lexsort((frame, track))
    first, second = order[:-1], order[1:]
    linked = (track[first] == track[second]) & (matched[first] >= 0) & (matched[second] >= 0)
    first, second = first[linked], second[linked]
    doubt, candidate = tracks.link_uncertainty[own].astype(float), tracks.candidate_index[own]
    stated = np.where(
        links.following[candidate[first]] == candidate[second],
        links.probability[candidate[first]],
        probability_of(np.minimum(doubt[first], doubt[second])),
    )
    same = real.track_id[matched[first]] == real.track_id[matched[second]]
    return boxes, Claims(stated, same)


def _on_ignored(frame: NDArray[np.int64], xyxy: NDArray[np.float64], truth: TruthTable) -> NDArray[np.bool_]:
    """(N,) whether a box overlaps ground truth that does not count by at least 0.5."""
    out = np.asarray(truth.ignored) | (np.asarray(truth.class_id) != 1)
    found = np.zeros(len(frame), bool)
    for number in np.intersect1d(frame, truth.frame[out]):
        rows = frame == number
        found[rows] = overlaps(xyxy[rows], truth.xyxy[out & (truth.frame == number)]).max(1) >= 0.5
    return found


def probability_of(entropy: NDArray[np.floating]) -> NDArray[np.float64]:
    """The probability of at least one half whose normalised binary entropy is given, by bisection."""
    low, high = np.full(len(entropy), 0.5), np.ones(len(entropy))
    for _ in range(40):
        middle = (low + high) / 2
        rest = 1 - middle
        value = -(middle * np.log2(middle) + rest * np.log2(np.maximum(rest, 1e-300)))
        low, high = np.where(value > entropy, middle, low), np.where(value > entropy, high, middle)
    return (low + high) / 2


def draw(path: Path, panels: Mapping[str, Mapping[str, Claims]]) -> None:
    """The reliability diagram: one panel a kind of claim, one curve a set.

    Args:
        path: of the image that is written.
        panels: title of the panel -> name of the set -> its claims.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4.6), layout="constrained", squeeze=False)
    for axis, (title, of_set) in zip(axes[0], panels.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, claims in of_set.items():
            stated, true, _ = claims.bins(adaptive=True).T
            label = f"{name}, ECE {claims.error(adaptive=True):.3f}" if len(claims) else name
            axis.plot(stated, true, marker="o", markersize=3, linewidth=1.2, label=label)
        axis.set(title=title, xlabel="stated probability", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="lower left")
    axes[0][0].set_ylabel("share that is true")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
