"""Boxes of two detectors as one set, with scores that the labels of a video explain.

What the labels of the round before are sure of tells how far the scores of either detector can be trusted in a video;
with that, boxes that both found become one, and better placed than either (``models.detector.fusion``). Boxes that
people spoke of stay as they are, so that what they said still finds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Candidates
from ..models.detector.fusion import Fused, FusionSettings, fuse, probability_of
from ..models.spam.overlaps import overlapping

_HIT = 0.5  # overlap with a label from which a box is one of its object
_SAME = 0.9  # overlap from which a box is the one that an answer names


@dataclass(frozen=True)
class KnownBoxes:
    """What the labels of a video say; places are on any scale that the candidates share.

    Attributes:
        frame: (L,) int64, 0-based and sorted, of the labels' boxes.
        xyxy: (L, 4) floating.
        sure: (L,) bool, whether the label is sure of its object.
        told: (F,) bool, frames whose boxes may be compared with the labels; those that are held out may not.
        spoken_frame: (S,) int64, sorted, of boxes that people spoke of.
        spoken_xyxy: (S, 4) floating.
    """

    frame: NDArray[np.int64]
    xyxy: NDArray[np.floating]
    sure: NDArray[np.bool_]
    told: NDArray[np.bool_]
    spoken_frame: NDArray[np.int64]
    spoken_xyxy: NDArray[np.floating]


def fuse_candidates(
    first: Candidates, second: Candidates, known: KnownBoxes, settings: FusionSettings | None = None
) -> Fused:
    """The boxes of both as one set.

    Args:
        first: boxes that people may have spoken of.
        second: of another detector, in the same video and with the same classes.
        known: what the labels say.
        settings: when boxes mean one object.
    """
    probability = [probability_of(boxes.score, *_hits(boxes, known)) for boxes in (first, second)]
    fixed = np.zeros(len(first), bool)
    seen, _, _ = overlapping(first.frame, first.xyxy, known.spoken_frame, known.spoken_xyxy, _SAME)
    fixed[seen] = True
    return fuse(first, second, (probability[0], probability[1]), fixed, settings)


def _hits(boxes: Candidates, known: KnownBoxes) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) whether a box is of an object that the labels are sure of, and whether the labels tell anything of it."""
    row, label, _ = overlapping(boxes.frame, boxes.xyxy, known.frame, known.xyxy, _HIT)
    hit, doubted = np.zeros(len(boxes), bool), np.zeros(len(boxes), bool)
    hit[row[known.sure[label]]] = True
    doubted[row[~known.sure[label]]] = True
    told = known.told[np.minimum(boxes.frame, len(known.told) - 1)]
    return hit, told & (hit | ~doubted)
