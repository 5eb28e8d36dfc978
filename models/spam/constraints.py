"""What people have said about one video, as columns by candidate; the hierarchy keeps to it whatever it believes.

SPAM, ECCV 2024, section on labelling: answers are given on nodes of the graph and spread through it. Here they are
keyed by detection and not by node, so that they survive other weights and other thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

EVER = np.int64(1) << 40  # frames: no bound


@dataclass(frozen=True)
class Constraints:
    """Answers about one video of N candidates, and H boxes that people drew; row N + h means drawn box h.

    An object may leave and come back: it is seen in one or more stretches. Rows of one stretch are linked whatever the
    model says, all stretches of an object are one track, rows of objects that are apart never are, and no box of the
    model goes beyond the bounds of a stretch. Nothing here contradicts itself: ``engine.resolve`` sees to that.

    Attributes:
        verdict: (N,) int8; 1 for a candidate that is an object, -1 for one that is none, 0 where nobody said.
        object_index: (N + H,) int64; rows with the same number are one object, -1 where nobody said. Drawn boxes
            always have one.
        stretch_index: (N + H,) int64; rows with the same number are seen without the object leaving in between, -1
            where ``object_index`` is.
        apart: (K, 2) int64, pairs of rows that are different objects.
        earliest: (N + H,) int64, first frame that the stretch of a row may have; ``-EVER`` where nobody said.
        latest: (N + H,) int64, last frame that it may have; ``EVER`` where nobody said.
        class_index: (N + H,) int64, class of the object of a row as a person named it, -1 where nobody did.
        frame: (H,) int64, 0-based, of the drawn boxes.
        xyxy: (H, 4) float32, pixels.
        absent: (A, 2) int64, a row, and a frame in which its object is not to be seen; the gap around it stays empty.
        filled: (H,) float32, confidence of boxes that no person drew but a tracker filled in around theirs, nan for
            those of people; None if all are people's.

    Raises:
        InputError: for columns whose lengths do not agree, or a drawn box without an object.
    """

    verdict: NDArray[np.int8]
    object_index: NDArray[np.int64]
    stretch_index: NDArray[np.int64]
    apart: NDArray[np.int64]
    earliest: NDArray[np.int64]
    latest: NDArray[np.int64]
    class_index: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    absent: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    filled: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        rows = len(self.verdict) + len(self.frame)
        for key in ("object_index", "stretch_index", "earliest", "latest", "class_index"):
            if len(getattr(self, key)) != rows:
                raise InputError(f"constraints: column {key} has {len(getattr(self, key))} rows, expected {rows}")
        if self.xyxy.shape != (len(self.frame), 4):
            raise InputError(f"constraints: xyxy has shape {self.xyxy.shape}, expected ({len(self.frame)}, 4)")
        if self.filled is not None and len(self.filled) != len(self.frame):
            raise InputError(f"constraints: filled has {len(self.filled)} rows, expected {len(self.frame)}")
        if (self.object_index[len(self.verdict) :] < 0).any():
            raise InputError("constraints: a drawn box belongs to no object")
        if len(self.apart) and not ((self.apart >= 0) & (self.apart < rows)).all():
            raise InputError(f"constraints: apart names rows outside 0 to {rows - 1}")

    @classmethod
    def none(cls, candidates: int) -> Constraints:
        """Nobody has said anything about a video of so many candidates."""
        nobody = np.full(candidates, -1, np.int64)
        return cls(
            np.zeros(candidates, np.int8), nobody, nobody.copy(), np.zeros((0, 2), np.int64),
            np.full(candidates, -EVER), np.full(candidates, EVER), nobody.copy(), np.zeros(0, np.int64),
            np.zeros((0, 4), np.float32),
        )  # fmt: skip

    @property
    def num_candidates(self) -> int:
        """N."""
        return len(self.verdict)

    @property
    def by_person(self) -> NDArray[np.bool_]:
        """(H,) bool: the box is a person's and not filled in."""
        return np.ones(len(self.frame), bool) if self.filled is None else np.isnan(self.filled)

    @property
    def said_nothing(self) -> bool:
        """Whether these are no constraints at all."""
        return not (
            self.verdict.any() or len(self.apart) or len(self.absent) or (self.object_index >= 0).any() or self._bounded
        )

    @property
    def _bounded(self) -> bool:
        return bool((self.earliest > -EVER).any() or (self.latest < EVER).any() or (self.class_index >= 0).any())
