"""How precise a detector is on pictures with known objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..spam.overlaps import overlapping
from .augmentation import Scene
from .detector import Detections, Detector, DetectSettings
from .losses import HIDDEN, VISIBLE
from .precision import Boxes, Precision, average_precision, join


def look(detector: Detector, given: Iterable[Scene]) -> tuple[Boxes, Boxes]:
    """What a detector finds in some frames, and what is there: true boxes, with their visibility as score.

    What is as good as hidden (under a twentieth of its pixels) is not there. In frames that are not complete only
    detections that overlap a known box, of an object or of none, by a half are looked at.
    """
    found, truth = [], []
    settings = DetectSettings(least_score=0.01)
    for number, scene in enumerate(given):  # frames: a whole film does not fit into memory
        boxes = detector.detect([scene.image], settings)
        seen = Boxes(boxes.frame + number, boxes.xyxy, boxes.class_index, boxes.score)
        found.append(seen if scene.complete else seen.take(_on_known(boxes, scene)))
        every = Boxes(np.full(len(scene.xyxy), number, np.int64), scene.xyxy, scene.class_index, scene.visibility)
        truth.append(every.take(np.flatnonzero(scene.visibility >= HIDDEN)))
    return join(found), join(truth)


def judge(found: Boxes, truth: Boxes, classes: int, least_visible: float = VISIBLE) -> Precision:
    """Average precision at an overlap of 0.5.

    Args:
        found: detections.
        truth: with visibility as score; objects of at least ``least_visible`` must be found, others count neither way.
        classes: how many there are.
        least_visible: share of an object's pixels.
    """
    counts = (truth.score >= least_visible).astype(np.float32)
    return average_precision(found, replace(truth, score=counts), classes)


def _on_known(boxes: Detections, scene: Scene) -> NDArray[np.int64]:
    """Detections that overlap a box of the scene by a half."""
    none = np.zeros(len(scene.xyxy), np.int64)
    return np.unique(overlapping(boxes.frame, boxes.xyxy, none, scene.xyxy, 0.5)[0])
