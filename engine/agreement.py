"""Do labels agree with what people said? Answer by answer, for answers that the labels were not told.

Models are compared by the labels that they make without any answers, whatever they were trained on: an answer that is
given to both as a constraint would hide what they know. Boxes are found again by their place, so models with different
detectors can be compared, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Tracks
from ..models.spam.overlaps import overlapping, paired_iou
from .answers import Answer, Box, Verdict
from .holdout import Holdout
from .ports import Labeller, VideoInput
from .resolve import FOUND_AGAIN, SAME_PIXELS

FITS = 0.7  # overlap from which a box is where a person drew it, and a track's box is the one that they rejected
HALF_FITS = 0.5  # overlap from which it is half so
PLACE_SECONDS = 2.0  # answers that begin within one such block of a video stand or fall together
NEAR_ENOUGH = 1  # frames by which a track may start or end beside the answer and fully agree


@dataclass(frozen=True)
class Agreement:
    """How far some labels agree with some answers.

    Attributes:
        key: (A,) of the answers.
        kind: (A,) their verdicts.
        place: (A,) video and block of time of each; within one, agreement is not independent.
        score: (A,) float64 in [0, 1], 1 for full agreement.
    """

    key: tuple[str, ...]
    kind: tuple[str, ...]
    place: tuple[str, ...]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.key)

    @property
    def mean(self) -> float | None:
        """Mean agreement; None without answers."""
        return float(self.score.mean()) if len(self) else None

    def summary(self) -> dict[str, Any]:
        """Answers, places, mean agreement and the mean of each kind, as JSON wants them."""
        kinds = np.array(self.kind)
        by_kind = {
            kind: {
                "answers": int((kinds == kind).sum()),
                "agreement": round(float(self.score[kinds == kind].mean()), 4),
            }
            for kind in sorted(set(self.kind))
        }
        mean = None if self.mean is None else round(self.mean, 4)
        return {"answers": len(self), "places": len(set(self.place)), "agreement": mean, "kinds": by_kind}

    @classmethod
    def join(cls, parts: Iterable[Agreement]) -> Agreement:
        """The agreement of several videos as one."""
        found = list(parts)
        return cls(
            tuple(key for one in found for key in one.key),
            tuple(kind for one in found for kind in one.kind),
            tuple(place for one in found for place in one.place),
            np.concatenate([np.zeros(0), *(one.score for one in found)]),
        )


def measure_agreement(
    model: Labeller, videos: Mapping[str, VideoInput], holdout: Holdout, settings: Any = None,
    progress: Callable[[float, str], None] | None = None,
) -> Agreement:  # fmt: skip
    """How far a model agrees with the answers that are held out; its labels are made without any answers.

    Args:
        model: that labels.
        videos: key -> candidates and all answers of every video that may have any.
        holdout: what is held out.
        settings: of labelling.
        progress: told the share that is done, and the video.
    """
    parts = []
    for number, (key, video) in enumerate(videos.items()):
        held = holdout.split(key, video.answers).held
        if held:
            tracks = model.label([(video.info, video.candidates)], settings)[0]
            parts.append(agree(held, key, video, tracks))
        if progress is not None:
            progress((number + 1) / len(videos), video.info.name)
    return Agreement.join(parts)


def agree(answers: Sequence[Answer], key: str, video: VideoInput, tracks: Tracks) -> Agreement:
    """How far the labels of one video agree with some answers about it.

    Valid: share of the boxes that a track covers. Invalid: share of them that are in no track. Same: how much of the
    boxes, beside one, lies in one track. Different: share of the others that are not in the track of the first. Starts
    and ends: 1 within a frame, falling to 0 a second away. Box: 1 from an overlap of 0.7, a half from 0.5. Absent and
    class: yes or no. Answers about an object that no track covers score 0, and "complete" is left out: it tells nothing
    of labels that it was not said of. Of answers about frames that the video does not have none is judged.

    Args:
        answers: that the labels were not made with.
        key: of the video.
        video: candidates that the labels are of; its own answers are not looked at.
        tracks: the labels.
    """
    judged = [one for one in dict.fromkeys(answers) if one.verdict is not Verdict.COMPLETE]
    judged = [one for one in judged if _last_frame(one) < video.info.num_frames]
    labels = _Labels(judged, video, tracks)
    scores = [labels.score(one) for one in judged]
    rows = [n for n, score in enumerate(scores) if score is not None]
    block = max(round(PLACE_SECONDS * video.info.frame_rate), 1)
    return Agreement(
        tuple(judged[n].key for n in rows),
        tuple(judged[n].verdict.value for n in rows),
        tuple(f"{key}/{_first_frame(judged[n]) // block}" for n in rows),
        np.array([scores[n] for n in rows], np.float64),
    )


def _frames(answer: Answer) -> list[int]:
    return [box.frame for box in (*answer.boxes, *([answer.drawn] if answer.drawn else []))]


def _first_frame(answer: Answer) -> int:
    return min(_frames(answer), default=0)


def _last_frame(answer: Answer) -> int:
    return max(_frames(answer), default=0)


class _Labels:
    """The labels of one video, asked about the boxes of answers."""

    def __init__(self, answers: Sequence[Answer], video: VideoInput, tracks: Tracks) -> None:
        self._video, self._tracks = video, tracks
        boxes = list(dict.fromkeys(box for answer in answers for box in answer.boxes))
        track, kept = self._find(boxes)
        self._track = dict(zip(boxes, track.tolist(), strict=True))
        self._kept = dict(zip(boxes, kept.tolist(), strict=True))

    def score(self, answer: Answer) -> float | None:
        """How far they agree with an answer; None for one that cannot be judged."""
        track = [self._track[box] for box in answer.boxes]
        verdict = answer.verdict
        if verdict is Verdict.VALID:
            return sum(one >= 0 for one in track) / len(track)
        if verdict is Verdict.INVALID:
            return sum(not self._kept[box] for box in answer.boxes) / len(track)
        if verdict is Verdict.SAME:
            return _together(track)
        if verdict is Verdict.DIFFERENT:
            others = track[1:]
            return sum(one < 0 or one != track[0] for one in others) / len(others) if others else None
        if verdict is Verdict.BOX:
            return self._drawn(answer, track[0] if track else None)
        if not track:
            return None  # about a named object alone, which no detection stands for
        if track[0] < 0:
            return 0.0
        if verdict is Verdict.CLASS:
            return self._is_class(answer, track[0])
        frames = self._tracks.frame[self._tracks.track_index == track[0]]
        if verdict is Verdict.ABSENT:
            return float(answer.boxes[-1].frame not in frames)
        return self._end(answer, frames)

    def _find(self, boxes: Sequence[Box]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(n,) track that covers each box, -1 for none, and whether the very detection is part of the labels."""
        tracks, candidates = self._tracks, self._video.candidates
        frame = np.array([box.frame for box in boxes], np.int64)
        xyxy = np.array([box.xyxy for box in boxes], np.float64).reshape(-1, 4)
        row, other, iou = overlapping(frame, xyxy, tracks.frame, tracks.xyxy, FOUND_AGAIN)
        order = np.lexsort((-other, iou))
        best, most = np.full(len(boxes), -1), np.zeros(len(boxes))
        best[row[order]], most[row[order]] = tracks.track_index[other[order]], iou[order]
        kept = most >= FITS

        row, other, iou = overlapping(frame, xyxy, candidates.frame, candidates.xyxy)
        exact = np.abs(xyxy[row] - candidates.xyxy[other]).max(1, initial=0.0) < SAME_PIXELS
        row, other, iou = row[exact], other[exact], iou[exact]
        order = np.lexsort((-other, iou))
        own = np.full(len(candidates), -1)
        behind = np.flatnonzero(tracks.candidate_index >= 0)
        own[tracks.candidate_index[behind]] = tracks.track_index[behind]
        candidate = np.full(len(boxes), -1)
        candidate[row[order]] = other[order]
        known = np.flatnonzero(candidate >= 0)
        inside = own[candidate[known]]
        kept[known] = inside >= 0
        best[known[inside >= 0]] = inside[inside >= 0]
        return best, kept

    def _drawn(self, answer: Answer, track: int | None) -> float | None:
        """Whether the track of the object, or any for one that no detection stands for, has the drawn box."""
        if answer.drawn is None:
            return None
        here = self._tracks.frame == answer.drawn.frame
        if track is not None:
            here &= self._tracks.track_index == track
        there = self._tracks.xyxy[here]
        most = paired_iou(np.array([answer.drawn.xyxy]), there.astype(np.float64)).max(initial=0.0)
        return 1.0 if most >= FITS else 0.5 if most >= HALF_FITS else 0.0

    def _is_class(self, answer: Answer, track: int) -> float | None:
        names = self._video.class_names
        if answer.label not in names:
            return None
        index = int(self._tracks.class_index[self._tracks.track_index == track][0])
        return float(index < len(names) and names[index] == answer.label)

    def _end(self, answer: Answer, frames: NDArray[np.int64]) -> float:
        """Where the track's stretch around the box ends, beside where a person says that the object's does."""
        anchor, limit = answer.boxes[0].frame, answer.boxes[-1].frame
        gaps = np.flatnonzero(np.diff(frames) > 1)
        first, last = np.concatenate([[0], gaps + 1]), np.concatenate([gaps, [len(frames) - 1]])
        # a hole that the object was seen on both sides of is no end
        inside = np.flatnonzero((frames[last] >= min(anchor, limit)) & (frames[first] <= max(anchor, limit)))
        if not len(inside):
            return 0.0
        early = answer.verdict is Verdict.STARTS
        end = int(frames[first[inside[0]]] if early else frames[last[inside[-1]]])
        away = max(abs(end - limit) - NEAR_ENOUGH, 0) / max(self._video.info.frame_rate, 1.0)
        return max(1.0 - away, 0.0)


def _together(track: Sequence[int]) -> float | None:
    """How much of some boxes, beside one, lies in the track that has most of them; None for a single box."""
    known = np.array([one for one in track if one >= 0], np.int64)
    if len(track) < 2:
        return None
    if not len(known):
        return 0.0
    return (int(np.unique(known, return_counts=True)[1].max()) - 1) / (len(track) - 1)
