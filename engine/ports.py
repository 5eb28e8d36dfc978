"""What the engine needs of the outside: a store of videos and their labels, and a model that labels them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Candidates, Tracks, VideoInfo
from ..models.spam.constraints import Constraints
from .answers import Answer
from .propagation import SavedFills

if TYPE_CHECKING:
    from ..models.detector.detector import Detections
    from .choosing import QueryPlan


@dataclass(frozen=True)
class VideoInput:
    """Everything that labelling one video depends on.

    Attributes:
        info: its name, length, size and frame rate.
        candidates: its candidates that can be used.
        fingerprint: a digest that changes whenever ``info``, the answers, the fills or what was read of the candidates
            changes.
        left_out: reason -> number of candidates that cannot be used.
        answers: what people have said about the video, in any order.
        class_names: of the candidates' classes, by index.
        fills: boxes that a tracker filled in around those that people drew; None for none.
    """

    info: VideoInfo
    candidates: Candidates
    fingerprint: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()
    class_names: tuple[str | None, ...] = ()
    fills: SavedFills | None = None


@dataclass(frozen=True)
class VideoReport:
    """What labelling did to one video.

    Attributes:
        name: the video's.
        candidates: how many were used.
        boxes: how many were written, without those that were kept.
        tracks: how many they make.
        interpolated: how many of them were filled into gaps.
        kept: boxes of tracks that a human touched, which stay as they are.
        mean_uncertainty: over the written boxes, the greater of validity's and links' each; 0 if there are none.
        max_uncertainty: greatest of the same.
        seconds: of labelling and writing.
        left_out: reason -> number of candidates that could not be used.
        answers: how many of people's answers hold in the labels.
        problems: one sentence for each answer that does not, or only in part.
        propagated: how many boxes a tracker filled in around people's.
    """

    name: str
    candidates: int
    boxes: int
    tracks: int
    interpolated: int
    kept: int
    mean_uncertainty: float
    max_uncertainty: float
    seconds: float
    left_out: Mapping[str, int] = field(default_factory=dict)
    answers: int = 0
    problems: tuple[str, ...] = ()
    propagated: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back."""
        return {**asdict(self), "problems": list(self.problems)}


@dataclass(frozen=True)
class FinishedVideo:
    """One video that a run has finished.

    Attributes:
        fingerprint: of the ``VideoInput`` it was labelled from.
        report: what was done.
    """

    fingerprint: str
    report: VideoReport


@dataclass(frozen=True)
class Written:
    """What ended up in the store.

    Attributes:
        tracks: those written, which may be fewer than were given where a human had been before.
        kept: number of boxes that stayed because a human touched their track.
    """

    tracks: Tracks
    kept: int = 0


class VideoStore(Protocol):
    """Videos with candidates, and room for their tracks. Keys name videos uniquely and stay the same between runs."""

    def videos(self) -> Sequence[tuple[str, str]]:
        """(key, name) of the videos to label, in a fixed order."""

    def read(self, key: str, skip_bad: bool) -> VideoInput:
        """One video's candidates.

        Args:
            key: of the video.
            skip_bad: leave candidates out that cannot be used, and count them, instead of raising.

        Raises:
            InputError: for a video that cannot be read at all, or candidates that cannot be used; names the first.
        """

    def begin(self, configuration: Mapping[str, Any]) -> Mapping[str, FinishedVideo]:
        """Starts a run, or goes on with one of the same configuration that was interrupted.

        Returns:
            key -> what the interrupted run has finished already; empty for a new run.
        """

    def write(self, key: str, tracks: Tracks) -> Written:
        """Replaces the tracks that a model has written into one video before; never what a human did."""

    def record(self, key: str, finished: FinishedVideo) -> None:
        """Notes that one video is done; called after everything of it has been written."""

    def finish(self, report: Mapping[str, Any]) -> None:
        """Ends the run and keeps its report."""


class ReviewStore(Protocol):
    """Videos with candidates and answers, and room for questions about them."""

    def videos(self) -> Sequence[tuple[str, str]]:
        """(key, name) of the videos, in a fixed order."""

    def read(self, key: str, skip_bad: bool) -> VideoInput:
        """One video's candidates and answers; see ``VideoStore.read``."""

    def write_queries(self, plan: QueryPlan, configuration: Mapping[str, Any]) -> None:
        """Puts the questions of a plan in the place of those that were open before."""


class Labeller(Protocol):
    """A model that makes tracks of candidates."""

    @property
    def version(self) -> str:
        """Names the weights; it is stored with every label."""

    def label(
        self, videos: Sequence[tuple[VideoInfo, Candidates]], settings: Any,
        constraints: Sequence[Constraints | None] | None = None,
    ) -> list[Tracks]:  # fmt: skip
        """Tracks of every video that keep to what people said; the same inputs give the same tracks."""


class ObjectDetector(Protocol):
    """Finds candidates in single images; what an image gives depends on nothing but the image."""

    @property
    def version(self) -> str:
        """Names the weights; it is stored with every field of candidates."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of ``Detections.class_index``; a detector may learn them as it goes."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> Detections:
        """Boxes of every image.

        Args:
            images: (H, W, 3) uint8 RGB each, of any sizes.

        Raises:
            InputError: for images that cannot be used, or that alone are too large for the memory.
        """
