"""What the answers of a video teach about questions that are still open: how often, and how much, they put right.

Every rate starts from a prior that was set on simulated streams and moves as answers come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..models.columns import VideoInfo
from .answers import Answer, Verdict

PRIOR_ANSWERS = 3.0  # imagined answers behind every prior
INNER_SECONDS = 2.2  # that a track which starts or ends inside the image is too short by, on the mean
BORDER_SECONDS = 1.2  # the same at the border of the image
BORDER = 0.02  # share of the image's sides that counts as border
FOUND_RATE = 0.4  # share of looks at a frame that find an object without a track
FOUND_SECONDS = 2.0  # for which such an object is seen
SHIFT_SPREAD = 1.0  # of a video's logits around the model's, before anything was answered
LINKS, OBJECTS = "links", "objects"  # kinds of belief
EVEN = 0.5  # below, the model did not do it: what it left out is learned of by itself
_YES, _NO = {Verdict.SAME, Verdict.VALID}, {Verdict.DIFFERENT, Verdict.INVALID}
QUIET_SECONDS = 2.0  # around a frame that was found complete, in which others hardly differ


@dataclass(frozen=True)
class Experience:
    """Expectations for one video.

    Attributes:
        missing_at_end: (2,) boxes that a track lacks at one of its ends: inside the image, at its border.
        found: probability that another look at a frame, far from frames looked at, finds an object without a track.
        found_boxes: boxes of such an object.
        complete: frames that were found, or made, complete.
        shift: kind of belief -> what to add to its logit in this video: the model may be too timid or too bold here.
        seen: kind of belief -> how much the answers told of the shift (Fisher information, per logit squared).
    """

    missing_at_end: tuple[float, float]
    found: float
    found_boxes: float
    complete: np.ndarray
    shift: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, float] = field(default_factory=dict)

    def believe(self, kind: str, probability: np.ndarray | float) -> np.ndarray:
        """Probabilities of the model, moved by what answers to questions of that kind taught."""
        p = np.clip(np.asarray(probability, np.float64), 1e-6, 1 - 1e-6)
        shift = np.where(p >= EVEN, self.shift.get(kind, 0.0), self.shift.get(_rare(kind), 0.0))
        return 1 / (1 + (1 - p) / p * np.exp(-shift))

    def doubt(self, kind: str) -> float:
        """Standard deviation of the logits' shift that is left after what was answered."""
        return float((1 / SHIFT_SPREAD**2 + self.seen.get(kind, 0.0)) ** -0.5)

    def quiet(self, frame: np.ndarray, rate: float) -> np.ndarray:
        """(F,) in [0, 1]: how much of ``found`` is left to be expected in frames, near to those looked at already."""
        if not len(self.complete):
            return np.ones(len(frame))
        distance = np.abs(np.asarray(frame)[:, None] - self.complete[None]).min(1)
        return 1 - np.exp(-distance / (QUIET_SECONDS * rate))


def _rare(kind: str) -> str:
    return f"unlikely {kind}"


def at_border(xyxy: np.ndarray, info: VideoInfo) -> np.ndarray:
    """(N,) bool: boxes (N, 4) that touch the border of the image."""
    box = np.asarray(xyxy, np.float64).reshape(-1, 4)
    x, y = BORDER * info.width, BORDER * info.height
    return (box[:, 0] <= x) | (box[:, 1] <= y) | (box[:, 2] >= info.width - x) | (box[:, 3] >= info.height - y)


def learn(answers: Sequence[Answer], info: VideoInfo, filled: bool = False) -> Experience:
    """What the answers of one video teach; the order of the answers does not matter.

    Args:
        answers: about the video.
        info: of the video.
        filled: whether a tracker filled in boxes: then an end that is far from a drawn box, by which filled tracks are
            named, may not have been missing, and teaches nothing.
    """
    shortfall: tuple[list[float], list[float]] = ([], [])
    found: dict[str, list[int]] = {}
    complete: set[int] = set()
    beliefs: dict[str, list[tuple[float, bool]]] = {}
    looks, drawn = 0, {answer.drawn for answer in answers}
    for answer in sorted(answers, key=lambda one: one.key):
        if answer.believed is not None and answer.verdict in _YES | _NO:
            kind = LINKS if answer.verdict in (Verdict.SAME, Verdict.DIFFERENT) else OBJECTS
            kind = kind if answer.believed >= EVEN else _rare(kind)
            beliefs.setdefault(kind, []).append((answer.believed, answer.verdict in _YES))
        if answer.verdict in (Verdict.STARTS, Verdict.ENDS) and len(answer.boxes) > 1 and not answer.object:
            asked, limit = answer.boxes[0], answer.boxes[-1]
            border = bool(at_border(np.array([asked.xyxy]), info)[0])
            lacking = abs(asked.frame - limit.frame)
            if not filled or lacking <= 1 or asked not in drawn:
                shortfall[border].append(float(lacking))
        elif answer.verdict is Verdict.BOX and answer.object and answer.drawn is not None:
            found.setdefault(answer.object, []).append(answer.drawn.frame)
        elif answer.verdict is Verdict.COMPLETE:
            looks += 1
            complete.add(answer.boxes[0].frame)
    rate = info.frame_rate
    priors = (INNER_SECONDS * rate, BORDER_SECONDS * rate)
    ends = [(sum(seen) + PRIOR_ANSWERS * prior) / (len(seen) + PRIOR_ANSWERS)
            for seen, prior in zip(shortfall, priors, strict=True)]  # fmt: skip
    lengths = [max(frames) - min(frames) + 1 for frames in found.values()]
    return Experience(
        (ends[0], ends[1]),
        (len(found) + PRIOR_ANSWERS * FOUND_RATE) / (looks + len(found) + PRIOR_ANSWERS),
        (sum(lengths) + PRIOR_ANSWERS * FOUND_SECONDS * rate) / (len(lengths) + PRIOR_ANSWERS),
        np.array(sorted(complete), np.int64),
        {kind: _shift(seen)[0] for kind, seen in beliefs.items()},
        {kind: _shift(seen)[1] for kind, seen in beliefs.items()},
    )


def _shift(seen: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """What to add to the logits of probabilities so that they fit what came true, pulled to 0 by a normal prior.

    Also how much was learned of it (Fisher information).
    """
    p = np.clip([one for one, _ in seen], 1e-4, 1 - 1e-4)
    logit, yes = np.log(p / (1 - p)), np.array([came for _, came in seen], float)
    shift = 0.0
    for _ in range(20):
        now = 1 / (1 + np.exp(-(logit + shift)))
        slope = (now * (1 - now)).sum() + 1 / SHIFT_SPREAD**2
        shift += float(np.clip(((yes - now).sum() - shift / SHIFT_SPREAD**2) / slope, -1, 1))
    now = 1 / (1 + np.exp(-(logit + shift)))
    return shift, float((now * (1 - now)).sum())
