"""Trackers without learned weights, for tests: one that compares pixels, and one that knows nothing."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from spam_plugin.models.spot.model import Look
from spam_plugin.models.spot.templates import Templates

_SIDE = 20  # pixels of a template
_REACH = 1.5  # sides to each side of the place that are searched


class MatchingTracker:
    """Finds what looks most like the template (normalised correlation), in three sizes."""

    version = "matching"
    device = "cpu"
    calibration: ClassVar[dict[str, object]] = {}

    def remember(self, image: Tensor, xyxy: Tensor, batch: int = 64) -> Templates:
        """Grey pixels of the boxes."""
        grey = cv2.cvtColor(image.numpy(), cv2.COLOR_RGB2GRAY)
        rows = [_cut(grey, box, 1.0, _SIDE).ravel() for box in xyxy.numpy()]
        return Templates(torch.from_numpy(np.array(rows, np.float32).reshape(len(xyxy), _SIDE**2, 1)))

    def look(
        self, templates: Templates, image: Tensor, around_xyxy: Tensor, hann: float = 0.49, batch: int = 64
    ) -> Look:
        """The best match around each place."""
        grey = cv2.cvtColor(image.numpy(), cv2.COLOR_RGB2GRAY)
        out, score = [], []
        for token, box in zip(templates.tokens.numpy(), around_xyxy.numpy(), strict=True):
            middle, side = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            best = (-1.0, box)
            for scale in (1.0, 0.95, 1.05):
                area = np.concatenate([middle - side * scale * _REACH, middle + side * scale * _REACH])
                crop = _cut(grey, area, 1.0, round(_SIDE * 2 * _REACH))
                match = cv2.matchTemplate(crop, token.reshape(_SIDE, _SIDE), cv2.TM_CCOEFF_NORMED)
                _, top, _, (x, y) = cv2.minMaxLoc(match)
                found = area[:2] + np.array([x, y]) / _SIDE * side * scale
                if top > best[0]:
                    best = (top, np.concatenate([found, found + side * scale]))
            out.append(best[1])
            score.append(max(best[0], 0.0))
        values = torch.tensor(np.array(score, np.float32))
        return Look(torch.from_numpy(np.array(out, np.float32).reshape(-1, 4)), values, values.clone())


class NonsenseTracker(MatchingTracker):
    """Says anything, and is sure of it."""

    version = "nonsense"

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def look(
        self, templates: Templates, image: Tensor, around_xyxy: Tensor, hann: float = 0.49, batch: int = 64
    ) -> Look:
        """Random boxes near the places, of random quality."""
        box = around_xyxy.double().numpy()
        side = box[:, 2:] - box[:, :2]
        middle = (box[:, :2] + box[:, 2:]) / 2 + self.rng.uniform(-1, 1, side.shape) * side
        half = side * np.exp(self.rng.normal(0, 0.2, side.shape)) / 2
        found = torch.from_numpy(np.concatenate([middle - half, middle + half], 1)).float()
        return Look(found, *(torch.from_numpy(self.rng.uniform(0.4, 1, len(box))).float() for _ in range(2)))


def _cut(grey: np.ndarray, xyxy: np.ndarray, scale: float, size: int) -> np.ndarray:
    side = (xyxy[2:] - xyxy[:2]) / size * scale
    matrix = np.array([[side[0], 0, xyxy[0] + side[0] / 2 - 0.5], [0, side[1], xyxy[1] + side[1] / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grey, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
