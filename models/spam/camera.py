"""The camera's own motion, told from what all boxes of a frame do together.

Boxes of different objects have independent noise and independent motion; a shaking camera moves them all alike. What is
left of every box after smoothing is therefore averaged per frame and shrunk by empirical Bayes, so that frames with few
or noisy boxes, and videos with a steady camera, are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CameraSums:
    """Sums over the boxes of each frame, (F, 2) each, from which the camera's displacement is estimated.

    Attributes:
        weight: of inverse noise variances, 1/px^2.
        pull: of what is left, times the weight.
        weight_square, pull_square: of the squares of the terms of both.
    """

    weight: Floats
    pull: Floats
    weight_square: Floats
    pull_square: Floats

    @classmethod
    def nothing(cls, frames: int) -> CameraSums:
        """Sums over no boxes in so many frames."""
        return cls(*(np.zeros((frames, 2)) for _ in range(4)))

    @classmethod
    def of(cls, frame: NDArray[np.int64], weight: Floats, pull: Floats, frames: int) -> CameraSums:
        """Sums over the rows of each frame.

        Args:
            frame: (N,) in [0, frames).
            weight: (N, 2) inverse noise variances in x and y, 1/px^2; 0 for a row without a vote.
            pull: (N, 2) distance of the box from its course, px, times the weight.
            frames: number of frames.
        """

        def total(terms: Floats) -> Floats:
            sums = [np.bincount(frame, terms[:, axis], frames) for axis in (0, 1)]
            return np.stack(sums, 1).astype(np.float64)

        return cls(total(weight), total(pull), total(weight**2), total(pull**2))

    def plus(self, other: CameraSums) -> CameraSums:
        """Sums over the boxes of both."""
        return CameraSums(
            self.weight + other.weight,
            self.pull + other.pull,
            self.weight_square + other.weight_square,
            self.pull_square + other.pull_square,
        )

    def displacement(self) -> Floats:
        """(F, 2) posterior mean of the camera's displacement per frame, pixels.

        Its variance comes from products of different boxes of one frame, to which their own noise adds nothing on
        average: where boxes do not move together it is (cut at) zero, and so is the displacement.
        """
        shared = (self.pull**2 - self.pull_square).sum(0)
        pairs = (self.weight**2 - self.weight_square).sum(0)
        variance = np.where(pairs > 0, np.maximum(shared, 0.0) / np.maximum(pairs, np.finfo(float).tiny), 0.0)
        return self.pull * variance / (1.0 + self.weight * variance)
