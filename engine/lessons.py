"""What there is to learn from a video: what people said counts most, what the model is sure of less, the rest not.

SPAM (ECCV 2024) trains on its own confident labels and on what people corrected. A label that is neither confident nor
confirmed is masked, and not taken for its opposite: a model that learnt from its doubts would grow sure of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..models.columns import Candidates, Source, Tracks, VideoInfo
from ..models.errors import InputError
from ..models.spam.beliefs import Beliefs
from ..models.spam.constraints import Constraints
from ..models.spam.model import SpamModel
from ..models.spam.settings import LabelSettings
from .holdout import Holdout
from .ports import VideoInput
from .resolve import resolve


@dataclass(frozen=True)
class LessonSettings:
    """What counts how much.

    Attributes:
        human_weight: of what a person said or touched.
        pseudo_weight: of what the model is sure of; less the less sure it is.
        confident: probability from which the model is sure, in (0.5, 1); at one minus it, that it is not.
        boxes: the same for a box that the detector learns from.

    Raises:
        InputError: for values out of range.
    """

    human_weight: float = 4.0
    pseudo_weight: float = 1.0
    confident: float = 0.9
    boxes: float = 0.7

    def __post_init__(self) -> None:
        for key in ("human_weight", "pseudo_weight"):
            if not (np.isfinite(getattr(self, key)) and getattr(self, key) >= 0):
                raise InputError(f"lessons: {key} is {getattr(self, key)!r}; it must be 0 or more")
        for key in ("confident", "boxes"):
            if not 0.5 < getattr(self, key) < 1:
                raise InputError(f"lessons: {key} is {getattr(self, key)!r}; it must lie between 0.5 and 1")


@dataclass(frozen=True)
class VideoLessons:
    """What there is to learn from one video; frames that are held out teach nothing.

    Attributes:
        key: of the video.
        info: its length, size and frame rate.
        candidates: all of them, N.
        class_names: of the candidates' classes, by index.
        identity: (N,) int64, object of each candidate, -1 for none or unknown.
        group: (N,) int64, objects that may be one: two candidates of one group and different objects teach nothing
            about each other; -1 for none.
        valid: (N,) float32, target of validity: 1 for an object, 0 for none.
        weight: (N,) float32, how much validity counts; 0 is masked.
        link_weight: (N,) float32, how much ``identity`` counts; 0 is masked.
        frame: (M,) int64, of the boxes of the labels.
        xyxy: (M, 4) float32, pixels.
        class_index: (M,) int64.
        box_weight: (M,) float32; a box of weight 0 is neither an object nor background.
        track_index: (M,) int64, object of each box; -1 where that is unknown.
        human: (M,) bool, whether a person drew the box or said that its object is there.
        complete: (F,) bool, for every frame of the video, whether what is no box here is background.
    """

    key: str
    info: VideoInfo
    candidates: Candidates
    class_names: tuple[str | None, ...]
    identity: NDArray[np.int64]
    group: NDArray[np.int64]
    valid: NDArray[np.float32]
    weight: NDArray[np.float32]
    link_weight: NDArray[np.float32]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    class_index: NDArray[np.int64]
    box_weight: NDArray[np.float32]
    track_index: NDArray[np.int64]
    human: NDArray[np.bool_]
    complete: NDArray[np.bool_]

    def counts(self) -> dict[str, int]:
        """How many lessons there are of each kind, for reports."""
        said = self.weight > 1
        return {
            "candidates": len(self.candidates),
            "confident": int(((self.weight > 0) & ~said).sum()),
            "human": int(said.sum()),
            "masked": int((self.weight == 0).sum()),
            "boxes": int((self.box_weight > 0).sum()),
            "human_boxes": int((self.human & (self.box_weight > 0)).sum()),
        }


def gather_lessons(
    model: SpamModel, key: str, video: VideoInput, holdout: Holdout | None = None,
    settings: LessonSettings | None = None, labelling: LabelSettings | None = None,
) -> VideoLessons:  # fmt: skip
    """What a video teaches: it is labelled anew with the answers that are not held out.

    Args:
        model: that labels.
        key: of the video in its store.
        video: its candidates and all answers about it.
        holdout: what is held out; None for nothing.
        settings: what counts how much.
        labelling: of the labels.
    """
    given = video.answers if holdout is None else holdout.split(key, video.answers).training
    said = resolve(given, video.info, video.candidates, video.class_names).constraints
    session = model.session(video.info, video.candidates, labelling)
    tracks = session.label(said)
    return lessons_of(key, replace(video, answers=given), tracks, session.beliefs, said, holdout, settings)


def lessons_of(
    key: str, video: VideoInput, tracks: Tracks, beliefs: Beliefs, said: Constraints,
    holdout: Holdout | None = None, settings: LessonSettings | None = None,
) -> VideoLessons:  # fmt: skip
    """What labels and the beliefs behind them teach.

    Args:
        key: of the video in its store.
        video: its candidates, and the answers that are not held out.
        tracks: the labels.
        beliefs: of the model that made them.
        said: the answers as constraints.
        holdout: what is held out; None for nothing.
        settings: what counts how much.
    """
    settings = settings or LessonSettings()
    candidates, info = video.candidates, video.info
    number = len(candidates)
    member = (said.verdict != 0) | (said.object_index[:number] >= 0)
    sure = _weight(beliefs.validity, settings.confident, settings.pseudo_weight)
    weight = np.where(member, settings.human_weight, sure).astype(np.float32)
    valid = (beliefs.validity >= 0.5).astype(np.float32)
    identity, group, touched = _objects(candidates, beliefs, said, settings)
    link_weight = np.where(touched, settings.human_weight, sure).astype(np.float32)
    link_weight[(identity < 0) & (valid > 0)] = 0  # an object that is in no track may be one of any

    frame, xyxy, class_index, box_weight, track, human = _boxes(candidates, beliefs, tracks, said, settings)
    complete = np.ones(info.num_frames, bool)
    if holdout is not None:
        away = holdout.holds(key, np.arange(info.num_frames))
        weight[away[candidates.frame]] = 0
        link_weight[away[candidates.frame]] = 0
        complete &= ~away
        left = ~away[frame]
        frame, xyxy, class_index = frame[left], xyxy[left], class_index[left]
        box_weight, track, human = box_weight[left], track[left], human[left]
    return VideoLessons(
        key, info, candidates, video.class_names, identity, group, valid, weight, link_weight, frame, xyxy,
        class_index, box_weight, track, human, complete,
    )  # fmt: skip


def _weight(probability: NDArray, confident: float, most: float) -> NDArray[np.float32]:
    """How much a belief counts: nothing where it is not sure, then the distance from a coin's toss."""
    p = np.asarray(probability, np.float64)
    away = np.abs(2 * p - 1)
    return np.where(np.maximum(p, 1 - p) >= confident, most * away, 0.0).astype(np.float32)


def _objects(
    candidates: Candidates, beliefs: Beliefs, said: Constraints, settings: LessonSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """(N,) object and group of every candidate, and whether a person said that it is an object of its own.

    Links that the model is sure of, or that a person made, make objects; links in doubt, made or not, make groups.
    """
    number = len(candidates)
    linked = np.flatnonzero(beliefs.kept & (beliefs.next_row >= 0))
    following = beliefs.next_row[linked]
    both = beliefs.kept[following]
    linked, following = linked[both], following[both]
    sure = beliefs.settled[linked] | (beliefs.next_probability[linked] >= settings.confident)
    told = np.flatnonzero(said.object_index[:number] >= 0)
    one = [linked[sure], told]
    two = [following[sure], number + said.object_index[told]]
    objects = _components(number + int(said.object_index.max(initial=-1)) + 1, one, two)
    likely = (beliefs.open_probability > 1 - settings.confident) & (beliefs.open_source >= 0)
    one += [linked[~sure], beliefs.open_source[likely]]
    two += [following[~sure], beliefs.open_target[likely]]
    groups = _components(number + int(said.object_index.max(initial=-1)) + 1, one, two)
    inside = beliefs.kept | (said.object_index[:number] >= 0)
    identity = np.where(inside, objects[:number], -1).astype(np.int64)
    group = np.where(inside, groups[:number], -1).astype(np.int64)
    return identity, group, (said.object_index[:number] >= 0) | (said.verdict < 0)


def _components(size: int, one: list[NDArray], two: list[NDArray]) -> NDArray[np.int64]:
    a, b = np.concatenate(one).astype(np.int64), np.concatenate(two).astype(np.int64)
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _boxes(
    candidates: Candidates, beliefs: Beliefs, tracks: Tracks, said: Constraints, settings: LessonSettings
) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray, NDArray]:
    """Frame, place, class, weight, track and "is a person's" of the labels' boxes, then of candidates in doubt."""
    number = len(candidates)
    behind = tracks.candidate_index
    said_so = (behind >= 0) & (said.object_index[np.maximum(behind, 0)] >= 0) if number else np.zeros(len(tracks), bool)
    said_so |= (behind >= 0) & (said.verdict[np.maximum(behind, 0)] > 0) if number else said_so
    human = (tracks.source == Source.HUMAN) | said_so
    sure = np.where(tracks.validity >= settings.boxes, tracks.validity * settings.pseudo_weight, 0.0)
    weight = np.where(human, settings.human_weight, sure)
    unsure = ~beliefs.kept & (beliefs.validity > 1 - settings.boxes) & (said.verdict >= 0)
    rows = np.flatnonzero(unsure)
    return (
        np.concatenate([tracks.frame, candidates.frame[rows]]),
        np.concatenate([tracks.xyxy, candidates.xyxy[rows]]),
        np.concatenate([tracks.class_index, candidates.class_index[rows]]),
        np.concatenate([weight, np.zeros(len(rows))]).astype(np.float32),
        np.concatenate([tracks.track_index, np.full(len(rows), -1)]),
        np.concatenate([human, np.zeros(len(rows), bool)]),
    )
