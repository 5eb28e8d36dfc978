"""Where a dataset stands, in plain numbers that can be kept and shown: boxes, tracks, questions, effort, quality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Source
from ..models.errors import InputError
from .queries import Budget, Question

BINS = 20  # of the histogram of uncertainty, over [0, 1]
KINDS = ("label", "queries", "answers", "sync", "evaluate", "retrain")


@dataclass(frozen=True)
class VideoStanding:
    """One video of a field of tracks.

    Attributes:
        name: the video's.
        frames: its length.
        boxes: all boxes.
        human_boxes: those that a person set, or drew in an answer.
        interpolated_boxes: those that were filled into gaps.
        tracks: all tracks.
        human_tracks: those with a box of a person's.
        expected_boxes: sum of the validities: boxes that labelling by hand would take, as far as the labels tell.
        histogram: number of boxes by their uncertainty, in ``BINS`` equal bins over [0, 1]; the uncertainty of a box is
            the greater of its own and that of its links.

    Raises:
        InputError: for a histogram of another number of bins, or that does not hold all boxes.
    """

    name: str
    frames: int
    boxes: int = 0
    human_boxes: int = 0
    interpolated_boxes: int = 0
    tracks: int = 0
    human_tracks: int = 0
    expected_boxes: float = 0.0
    histogram: tuple[int, ...] = (0,) * BINS

    def __post_init__(self) -> None:
        object.__setattr__(self, "histogram", tuple(self.histogram))
        if len(self.histogram) != BINS or sum(self.histogram) != self.boxes:
            raise InputError(
                f"video {self.name!r}: {len(self.histogram)} bins with {sum(self.histogram)} boxes cannot be the "
                f"histogram of {self.boxes}; it needs {BINS} bins with all of them"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**self.__dict__, "histogram": list(self.histogram)}


def count_video(
    name: str,
    frames: int,
    track: NDArray[np.int64],
    source: NDArray[np.integer],
    uncertainty: NDArray[np.floating],
    link_uncertainty: NDArray[np.floating],
    validity: NDArray[np.floating],
) -> VideoStanding:
    """How one video stands.

    Args:
        name: the video's.
        frames: its length.
        track: (N,) number of each box's track; any numbers.
        source: (N,) a ``Source`` each.
        uncertainty: (N,) in [0, 1].
        link_uncertainty: (N,) in [0, 1].
        validity: (N,) in [0, 1].
    """
    human = source == Source.HUMAN
    doubt = np.maximum(uncertainty, link_uncertainty).clip(0.0, 1.0)
    return VideoStanding(
        name,
        int(frames),
        len(track),
        int(human.sum()),
        int((source == Source.INTERPOLATED).sum()),
        len(np.unique(track)),
        len(np.unique(track[human])),
        float(validity.sum(dtype=float)),
        tuple(np.histogram(doubt, BINS, (0.0, 1.0))[0].tolist()),
    )


@dataclass(frozen=True)
class QueueRow:
    """One open question, as a list of them shows it.

    Attributes:
        rank: place among the questions of its round, from 1.
        key: of the question.
        video: key of the video.
        name: the video's.
        sample: id of the sample to open: the video's, or that of the image.
        frame: where to look, from 1.
        question: what is asked, e.g. "valid" (see ``queries.Question``).
        text: the question in words.
        probability: the model's, that the answer is yes.
        cost: clicks that an answer takes.
        gain: boxes that an answer is expected to put right.
        track: number of the track as it was when the question was asked; 0 for none.
    """

    rank: int
    key: str
    video: str
    name: str
    sample: str
    frame: int
    question: str
    text: str
    probability: float
    cost: int
    gain: float
    track: int

    @property
    def doubt(self) -> float | None:
        """Uncertainty of what is asked about, in [0, 1]; None for questions that no probability of a box is behind."""
        return entropy(self.probability) if self.question in (Question.VALID.value, Question.LINK.value) else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return asdict(self)


@dataclass(frozen=True)
class OpenQuestions:
    """What is open about one video.

    Attributes:
        count: how many questions.
        clicks: that answering them takes.
        gain: boxes that answers are expected to put right.
        tracks: how many tracks they are about.
        cut: least uncertainty that any is about, or None.
        rows: the first of them, most valuable first.
    """

    count: int = 0
    clicks: int = 0
    gain: float = 0.0
    tracks: int = 0
    cut: float | None = None
    rows: tuple[QueueRow, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[QueueRow], ranks: int, least: int) -> OpenQuestions:
        """The summary of all open questions of a video.

        Args:
            rows: all of them.
            ranks: rows up to this rank are kept,
            least: and so many in any case.
        """
        ordered = sorted(rows, key=lambda row: (row.rank, row.key))
        doubts = [row.doubt for row in ordered if row.doubt is not None]
        return cls(
            len(ordered), sum(row.cost for row in ordered), float(sum(row.gain for row in ordered)),
            len({row.track for row in ordered} - {0}), min(doubts, default=None),
            tuple(row for place, row in enumerate(ordered) if place < least or row.rank <= ranks),
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**self.__dict__, "rows": [row.as_dict() for row in self.rows]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OpenQuestions:
        """Those of ``as_dict``."""
        return cls(**{**values, "rows": tuple(QueueRow(**row) for row in values["rows"])})


@dataclass(frozen=True)
class Estimate:
    """An expected share with its 90 % interval, all in [0, 1]."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class Round:
    """Something that was done to a field of tracks, and how it stood then.

    Attributes:
        when: seconds since 1970.
        kind: one of ``KINDS``.
        clicks: that people had spent until then.
        effort: these as a share of what labelling everything by hand takes; None where that is not known.
        model_version: of the labels.
        boxes: of the field of tracks.
        tracks: of the field of tracks.
        wrong: share of the boxes that was expected to be wrong; None where nobody asked.
        scores: HOTA and the like in [0, 1], where they were evaluated against ground truth.
        said: what came out, where numbers do not tell it, e.g. which version was trained.

    Raises:
        InputError: for another kind.
    """

    when: float
    kind: str
    clicks: int = 0
    effort: float | None = None
    model_version: str = ""
    boxes: int = 0
    tracks: int = 0
    wrong: Estimate | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    said: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a round of kind {self.kind!r} is none of: {', '.join(KINDS)}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**self.__dict__, "wrong": None if self.wrong is None else asdict(self.wrong), "scores": {**self.scores}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Round:
        """That of ``as_dict``."""
        return cls(**{**values, "wrong": Estimate(**values["wrong"]) if values.get("wrong") else None})


@dataclass(frozen=True)
class ModelVersion:
    """A set of weights that labelled, or was chosen.

    Attributes:
        version: its name.
        path: of its file; None for the default weights, and for a model that was never in a file.
        is_default: whether it is the default weights.
        used: when it labelled last, seconds since 1970; None for never.
        scores: of the last evaluation of its labels, in [0, 1].
        in_use: whether the next labelling takes it, unless told otherwise.
    """

    version: str
    path: str | None
    is_default: bool
    used: float | None
    scores: Mapping[str, float]
    in_use: bool

    @property
    def can_be_chosen(self) -> bool:
        """Whether it can be told where its weights are."""
        return self.is_default or self.path is not None


@dataclass(frozen=True)
class Standing:
    """All videos of a field of tracks together.

    Attributes:
        videos: how many have labels, or questions.
        unlabelled: how many others the dataset has; None where that is not known.
        frames: of these videos.
        boxes: all boxes.
        human_boxes: those that people set.
        interpolated_boxes: those that were filled into gaps.
        histogram: boxes by their uncertainty, in ``BINS`` equal bins over [0, 1].
        by_review: review status -> number of videos.
        tracks: "people" (have a box of a person's), "asked" (a question about them is open), "model" (the rest) ->
            number of tracks.
        open_queries: questions that wait for an answer.
        clicks_open: that answering them takes.
        gain: boxes that answers are expected to put right.
        clicks_spent: by people so far.
        effort: these as a share of what labelling everything by hand takes; None without boxes.
        conflicts: what two people disagree about and nobody has settled.
        estimate: share of the boxes that was expected to be wrong when questions were chosen last; None before.
        cut: least uncertainty that an open question is about; None without questions.
        stale: whether the numbers may be behind the labels, and should be refreshed.
        busy: who is at work on the field, in a sentence; None for nobody.
    """

    videos: int
    unlabelled: int | None
    frames: int
    boxes: int
    human_boxes: int
    interpolated_boxes: int
    histogram: tuple[int, ...]
    by_review: Mapping[str, int]
    tracks: Mapping[str, int]
    open_queries: int
    clicks_open: int
    gain: float
    clicks_spent: int
    effort: float | None
    conflicts: int
    estimate: Estimate | None = None
    cut: float | None = None
    stale: bool = False
    busy: str | None = None

    def confident(self, probability: float) -> int:
        """How many boxes the labels are so sure of, about: uncertainty is kept in bins."""
        surely = round(entropy(probability) * BINS)
        return int(sum(self.histogram[:surely]))


def together(
    labels: Mapping[str, VideoStanding], asked: Mapping[str, OpenQuestions], clicks_spent: int, **known: Any
) -> Standing:
    """How all videos stand.

    Args:
        labels: key of a video -> its labels.
        asked: key of a video -> what is open about it.
        clicks_spent: by people so far.
        known: what else ``Standing`` has and cannot be summed up.
    """
    videos = labels.values()
    touched = sum(video.human_tracks for video in videos)
    # Questions number the tracks as they were asked about; people may have touched some of these since.
    open_tracks = sum(
        min(questions.tracks, labels[key].tracks - labels[key].human_tracks)
        for key, questions in asked.items()
        if key in labels
    )
    histogram = np.array([video.histogram for video in videos], np.int64).reshape(-1, BINS).sum(0)
    cuts = [questions.cut for questions in asked.values() if questions.cut is not None]
    return Standing(
        videos=len({*labels, *asked}),
        frames=sum(video.frames for video in videos),
        boxes=sum(video.boxes for video in videos),
        human_boxes=sum(video.human_boxes for video in videos),
        interpolated_boxes=sum(video.interpolated_boxes for video in videos),
        histogram=tuple(histogram.tolist()),
        tracks={
            "people": touched,
            "asked": open_tracks,
            "model": sum(video.tracks for video in videos) - touched - open_tracks,
        },
        open_queries=sum(questions.count for questions in asked.values()),
        clicks_open=sum(questions.clicks for questions in asked.values()),
        gain=float(sum(questions.gain for questions in asked.values())),
        clicks_spent=clicks_spent,
        effort=effort_share(clicks_spent, sum(video.expected_boxes for video in videos)),
        cut=min(cuts, default=None),
        **known,
    )


def entropy(probability: float) -> float:
    """Binary entropy of a probability, scaled to [0, 1]."""
    if not 0.0 < probability < 1.0:
        return 0.0
    other = 1.0 - probability
    return float(-(probability * np.log2(probability) + other * np.log2(other)))


def effort_share(clicks: int, boxes: float) -> float | None:
    """Clicks as a share of what labelling so many boxes by hand takes; None without boxes."""
    whole = Budget(100, "%").clicks(boxes)
    return clicks / whole if whole else None
