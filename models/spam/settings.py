"""What a user may change of the labelling."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from .hierarchy import WINDOWS


@dataclass(frozen=True)
class LabelSettings:
    """What a user may change of the labelling.

    Attributes:
        node_classification: drop candidates and tracks that the model does not take for objects.
        num_levels: use only that many levels of the hierarchy; None for all.
        interpolate: fill gaps inside tracks.
        max_gap_seconds: longest gap that is filled, in seconds.
        smooth: smooth the boxes of every track.
        use_embedding: use embeddings where candidates have them.
        min_boxes: least number of candidates of a track.
        consensus: run the hierarchy with windows that begin elsewhere as well, and once more on what both agree on;
            fewer wrong links for about twice the time.

    Raises:
        InputError: for values out of range.
    """

    node_classification: bool = True
    num_levels: int | None = None
    interpolate: bool = True
    max_gap_seconds: float = 3.0
    smooth: bool = True
    use_embedding: bool = True
    min_boxes: int = 2
    consensus: bool = True

    def __post_init__(self) -> None:
        if self.num_levels is not None and not 1 <= self.num_levels <= len(WINDOWS):
            raise InputError(f"num_levels is {self.num_levels}; it must be from 1 to {len(WINDOWS)}, or None for all")
        if not self.max_gap_seconds >= 0:
            raise InputError(f"max_gap_seconds is {self.max_gap_seconds}; it must be 0 or more")
        if self.min_boxes < 1:
            raise InputError(f"min_boxes is {self.min_boxes}; it must be at least 1")
