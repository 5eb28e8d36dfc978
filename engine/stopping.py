"""When to stop: how much of the labels is expected to be wrong still, how sure that is, and what mending it would cost.

Everything comes from the calibrated probabilities of what nobody has settled. Two things make them uncertain: chance,
where boxes of one track are right or wrong together, and the model, which may be too bold or too timid in a video as a
whole; the second is known the better the more of its answers were seen (``experience``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from ..models.columns import Source
from .experience import LINKS, OBJECTS
from .gains import expected_loss
from .pool import View, courses
from .queries import Query

NORMAL_90 = 1.645  # standard deviations on either side that hold 90 % of a normal distribution
LOST = 0.5  # overlap lost at which a box counts as wrong
KNOWN_WITHIN = 4.0  # factor within which the share of badly sitting boxes is known; on simulated streams
UNFORESEEN = 0.002  # share of what is not settled that no probability tells of; on simulated streams, too
MEAN_OF_HALF = 0.8  # of the absolute value of a standard normal


@dataclass(frozen=True)
class Share:
    """An expected share with its 90 % interval.

    Attributes:
        expected: in [0, 1].
        low: 5 % quantile.
        high: 95 % quantile.
        count: of how many boxes or links.
    """

    expected: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class StoppingEstimate:
    """What is expected to be wrong in labels.

    Attributes:
        wrong_boxes: share of the boxes that do not lie on an object (overlap under 0.5).
        wrong_links: share of the steps from a box of a track to its next that go over to another object.
        wish: share of wrong boxes that the user wants, or None.
        clicks: clicks, most valuable questions first, that are expected to bring the share of wrong boxes under the
            wish; None without a wish, or if the open questions are not enough.
    """

    wrong_boxes: Share
    wrong_links: Share
    wish: float | None = None
    clicks: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return asdict(self)


def estimate(views: Sequence[View], queries: Sequence[Query] = (), wish: float | None = None) -> StoppingEstimate:
    """What is expected to be wrong in the labels of some videos together.

    Args:
        views: of the videos.
        queries: open questions about them, most valuable first; for ``clicks``.
        wish: share of wrong boxes, in [0, 1], that the user would like to fall under.
    """
    boxes, links = [_boxes(view) for view in views], [_links(view) for view in views]
    wrong = _share(boxes)
    clicks = None
    if wish is not None and wrong.count:
        left = wrong.expected * wrong.count
        spent = 0
        clicks = 0 if left <= wish * wrong.count else None
        for query in queries if clicks is None else ():
            left -= query.gain
            spent += query.cost
            if left <= wish * wrong.count:
                clicks = spent
                break
    return StoppingEstimate(wrong, _share(links), wish, clicks)


@dataclass(frozen=True)
class _Claims:
    """Of one video, by box or link.

    Attributes:
        right: (n,) probability.
        from_model: (n,) whether the model alone says so.
        sits: (n,) probability that the box lies on its object, if there is one.
        track: (n,) number of the track.
        doubt: in the model's logits, as a standard deviation.
    """

    right: NDArray[np.float64]
    from_model: NDArray[np.bool_]
    sits: NDArray[np.float64]
    track: NDArray[np.int64]
    doubt: float


def _boxes(view: View) -> _Claims:
    tracks = view.tracks
    drawn = tracks.source == Source.HUMAN
    lost = np.zeros(len(tracks))
    for rows, frames, course in courses(view):
        loss = expected_loss(course, course.is_key, view.offsets, view.info.frame_rate)[frames]
        lost[rows] = erfc(LOST / np.maximum(loss / MEAN_OF_HALF, 1e-6) / np.sqrt(2))
    settled = tracks.validity >= 1
    valid = np.where(settled, 1.0, view.experience.believe(OBJECTS, tracks.validity))
    sits = np.where(drawn, 1.0, 1 - lost)
    return _Claims(valid * sits, ~settled, sits, tracks.track_index, view.experience.doubt(OBJECTS))


def _links(view: View) -> _Claims:
    tracks, beliefs = view.tracks, view.beliefs
    order = np.flatnonzero(tracks.candidate_index >= 0)
    order = order[np.lexsort((tracks.frame[order], tracks.track_index[order]))]
    one, two = order[:-1], order[1:]
    first, second = tracks.candidate_index[one], tracks.candidate_index[two]
    same = tracks.track_index[one] == tracks.track_index[two]
    first, second, track = first[same], second[same], tracks.track_index[one][same]
    stated = np.where(beliefs.next_row[first] == second, beliefs.next_probability[first], 0.9)
    member = view.constraints.object_index
    settled = beliefs.settled[first] | ((member[first] >= 0) & (member[first] == member[second])) | (stated >= 1)
    right = np.where(settled, 1.0, view.experience.believe(LINKS, stated))
    return _Claims(right, ~settled, np.ones(len(right)), track, view.experience.doubt(LINKS))


def _share(parts: Sequence[_Claims]) -> Share:
    count = sum(len(part.right) for part in parts)
    if not count:
        return Share(0.0, 0.0, 0.0, 0)
    expected = sum(float((1 - part.right).sum()) for part in parts)
    low = high = expected
    chance = by_model_low = by_model_high = 0.0
    for part in parts:
        if not len(part.right):
            continue
        # boxes of a track are right or wrong together: its doubt counts as one draw
        size = np.bincount(part.track)
        mean = np.bincount(part.track, 1 - part.right) / np.maximum(size, 1)
        chance += float((np.square(size) * mean * (1 - mean)).sum())
        bold, timid = (float((1 - _moved(part, sign)).sum()) for sign in (NORMAL_90, -NORMAL_90))
        # one model labelled all videos: what it gets wrong in one it tends to get wrong in the others
        by_model_low += expected_of(part) - bold
        by_model_high += timid - expected_of(part)
    open_claims = sum(int((part.right < 1).sum()) for part in parts)  # the rest is settled
    spread = NORMAL_90 * np.sqrt(chance)
    low = max(0.0, expected - float(np.hypot(spread, by_model_low)))
    high = min(float(count), expected + float(np.hypot(spread, by_model_high)) + UNFORESEEN * open_claims)
    return Share(expected / count, low / count, high / count, count)


def expected_of(part: _Claims) -> float:
    """How many of the claims are expected to be wrong."""
    return float((1 - part.right).sum())


def _moved(part: _Claims, deviations: float) -> NDArray[np.float64]:
    """Probabilities, were the model's logits off by so many standard deviations of the doubt in them."""
    p = np.clip(part.right / np.maximum(part.sits, 1e-9), 1e-6, 1 - 1e-6)
    moved = 1 / (1 + (1 - p) / p * np.exp(-deviations * part.doubt))
    # what people accepted may sit badly all the same: how often is known within a factor
    sits = 1 - (1 - part.sits) * KNOWN_WITHIN ** (-1 if deviations > 0 else 1)
    return np.where(part.from_model, moved, 1.0) * np.clip(sits, 0, 1)
