"""What is held out: answers that no model learns from, so that models can be judged by them.

Whole videos are held out where enough videos have answers, else blocks of time of each video. Which ones follows from
the video's key and length alone, never from what was answered. What was decided of a video stays decided (``before``):
a model that once learnt from an answer would otherwise be judged by it later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.errors import InputError
from .answers import Answer, Box, Verdict

ENOUGH_VIDEOS = 8  # with answers, from which whole videos are held out
BLOCK_FRAMES = 30  # of a block, about
MOST_BLOCKS, LEAST_BLOCKS = 16, 4
FOREVER = 2**31  # end of a span that holds whatever is added to a video

_PARTED = (Verdict.VALID, Verdict.INVALID, Verdict.SAME)


@dataclass(frozen=True)
class Parts:
    """Answers about one video on both sides of the border.

    Attributes:
        training: what models may learn from, and labels may keep to.
        held: what models are judged by.
        learnt: keys of the answers, as they came in, that are in ``training`` whole or in part.
    """

    training: tuple[Answer, ...]
    held: tuple[Answer, ...]
    learnt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Holdout:
    """What is held out of each video that was decided on.

    Attributes:
        spans: key of a video -> (first frame, one beyond the last) of what is held out; empty where nothing is.

    Raises:
        InputError: for a span that is none.
    """

    spans: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, spans in self.spans.items():
            for first, last in spans:
                if not 0 <= first < last:
                    raise InputError(f"held out of video {key!r}: frames {first} to {last} are no span of time")

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is held out."""
        return not any(self.spans.values())

    def holds(self, key: str, frame: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether each frame of a video is held out.

        Args:
            key: of the video; of one that was not decided on nothing is held out.
            frame: (n,) integers from 0.
        """
        frame = np.asarray(frame, np.int64)
        spans = np.array(sorted(self.spans.get(key, ())), np.int64).reshape(-1, 2)
        if not len(spans):
            return np.zeros(len(frame), bool)
        at = np.searchsorted(spans[:, 0], frame, "right") - 1
        return (at >= 0) & (frame < spans[at.clip(0), 1])

    def split(self, key: str, answers: Iterable[Answer]) -> Parts:
        """Parts answers: each goes to one side, to the other, or is cut in two.

        "Valid", "invalid" and "same" about boxes on both sides are cut, so that a long track teaches what lies on its
        side of the border; the held out part of "same" keeps the next box on the other side, as the link across the
        border is held out too. Any other answer with a frame that is held out is held out as a whole.

        Args:
            key: of the video.
            answers: about it.
        """
        training: list[Answer] = []
        held: list[Answer] = []
        learnt: list[str] = []
        for answer in answers:
            boxes = [*answer.boxes, *([answer.drawn] if answer.drawn else [])]
            away = self.holds(key, np.array([box.frame for box in boxes], np.int64))
            if not away.any():
                training.append(answer)
                learnt.append(answer.key)
            elif away.all() or answer.verdict not in _PARTED:
                held.append(answer)
            else:
                ours, theirs = _cut(answer, away)
                training += ours
                held += theirs
                learnt += [answer.key] * bool(ours)
        return Parts(tuple(training), tuple(held), tuple(learnt))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {"spans": {key: [list(span) for span in spans] for key, spans in self.spans.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Holdout:
        """Those of ``as_dict``."""
        spans = values.get("spans", {})
        return cls({key: tuple((int(first), int(last)) for first, last in own) for key, own in spans.items()})


def hold_out(
    answered: Mapping[str, Sequence[Answer]], lengths: Mapping[str, int], share: float = 0.25, seed: int = 0,
    before: Holdout | None = None,
) -> Holdout:  # fmt: skip
    """Decides what is held out of videos with answers.

    Args:
        answered: key of a video -> the answers about it; a video without any is not decided on.
        lengths: key -> its frames, of at least those videos.
        share: of the answered videos, or of each video's frames, that is held out.
        seed: of the draw.
        before: what was decided earlier, and stays.

    Raises:
        InputError: for a share that is not between 0 and 1, or an answered video without a length.
    """
    if not 0 < share < 1:
        raise InputError(f"the share that is held out is {share}; it must lie between 0 and 1")
    spans = dict(before.spans) if before is not None else {}
    fresh = sorted(key for key, said in answered.items() if len(said) and key not in spans)
    for key in fresh:
        if lengths.get(key, 0) < 1:
            raise InputError(f"video {key!r} has answers, but no length; name its number of frames in lengths")
    if len(spans) + len(fresh) < ENOUGH_VIDEOS:
        return Holdout({**spans, **{key: _blocks(key, lengths[key], share, seed) for key in fresh}})
    draw = {key: _draw(seed, key) for key in fresh}
    whole = {key for key in fresh if draw[key] < share}
    if fresh and not any(spans.values()) and not whole:
        whole = {min(fresh, key=draw.__getitem__)}
    if len(whole) == len(fresh) and not spans:
        whole.discard(max(fresh, key=draw.__getitem__))
    return Holdout({**spans, **{key: ((0, FOREVER),) if key in whole else () for key in fresh}})


def _draw(seed: int, *of: object) -> float:
    """A number in [0, 1) that looks random and is always the same for the same thing."""
    text = "\0".join(map(str, (seed, *of)))
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def _blocks(key: str, length: int, share: float, seed: int) -> tuple[tuple[int, int], ...]:
    """Blocks of time of one video; neighbours that are both held out are one span."""
    count = max(min(length // BLOCK_FRAMES, MOST_BLOCKS), LEAST_BLOCKS)
    if length < count:
        return ()
    edges = np.linspace(0, length, count + 1).round().astype(int).tolist()
    edges[-1] = FOREVER if edges[-1] == length else edges[-1]
    number = min(max(round(share * count), 1), count - 1)
    chosen = sorted(sorted(range(count), key=lambda block: _draw(seed, key, block))[:number])
    spans: list[tuple[int, int]] = []
    for block in chosen:
        first, last = edges[block], edges[block + 1]
        if spans and spans[-1][1] == first:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((first, last))
    return tuple(spans)


def _cut(answer: Answer, away: NDArray[np.bool_]) -> tuple[list[Answer], list[Answer]]:
    """What of an answer about several boxes may be learnt from, and what is held out."""
    order = np.argsort([box.frame for box in answer.boxes], kind="stable")
    boxes, away = [answer.boxes[n] for n in order], away[order]
    if answer.verdict is not Verdict.SAME:
        return _about(answer, boxes, ~away, 1), _about(answer, boxes, away, 1)
    beside = away.copy()
    beside[1:] |= away[:-1]
    beside[:-1] |= away[1:]
    return _about(answer, boxes, ~away, 1 if answer.object else 2), _about(answer, boxes, beside, 2)


def _about(answer: Answer, boxes: Sequence[Box], chosen: NDArray[np.bool_], least: int) -> list[Answer]:
    """The same answer about some of its boxes only."""
    own = tuple(boxes[n] for n in np.flatnonzero(chosen).tolist())
    return [replace(answer, boxes=own)] if len(own) >= least else []
