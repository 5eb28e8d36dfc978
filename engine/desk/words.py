"""Questions in words that a person at the desk can answer at once.

Desks count frames from 0, as they show them; so do these words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...models.columns import VideoInfo
from ...models.spam.overlaps import paired_iou
from ..answers import Box
from ..queries import Query, Question
from .labels import Labels
from .pairs import SAME_OBJECT


def track_at(labels: Labels, box: Box) -> int:
    """Number of the track that is at a box, or 0."""
    rows = labels.between(box.frame, box.frame)
    if not len(rows):
        return 0
    overlap = paired_iou(np.repeat(np.array([box.xyxy]), len(rows), 0), labels.xyxy[rows])
    best = rows[overlap.argmax()]
    return int(labels.track[best]) if overlap.max() >= SAME_OBJECT and labels.track[best] > 0 else 0


def tracks_of(labels: Labels, query: Query) -> dict[tuple[int, int], None]:
    """(track, frame) of the boxes that a question is about, in order; without those that no track has any more."""
    found = {(track_at(labels, box), box.frame): None for box in (*query.boxes, *query.others)}
    return {pair: None for pair in found if pair[0]}


def in_words(query: Query, labels: Labels, info: VideoInfo) -> str:
    """A question, in words."""
    believed = f"(model: {query.probability:.0%} yes)"
    number = track_at(labels, query.boxes[-1 if query.question is Question.LINK else 0]) if query.boxes else 0
    name = f"track {number}" if number else "this one"
    what = _class_of(labels, number)
    if query.question is Question.VALID:
        return (
            f"Is this {what} ({name}) one and the same all along its track? Split the track where it goes over to "
            f"another, delete it if there is no {what}. {believed}"
        )
    if query.question is Question.LINK:
        one, other = query.boxes[-1], query.others[0]
        return (
            f"Same {what}? This one ({name}) is seen in frame {one.frame} {_place(one, info)}, the other in frame "
            f"{other.frame} {_place(other, info)}. Merge them if they are two tracks, split them if they are one and "
            f"should not be. {believed}"
        )
    if query.question is Question.BOX:
        return f"Does the box of this {what} ({name}) fit in frame {query.frame}? Move it if it does not."
    if query.question is Question.START:
        return f"Does this {what} ({name}) appear here first? Draw it earlier, or begin the track later, if not."
    if query.question is Question.END:
        return f"Is this {what} ({name}) seen here last? Draw it later, or end the track earlier (outside), if not."
    return f"Is anything without a track in frame {query.frame}? Draw it from where it appears to where it leaves."


def _class_of(labels: Labels, number: int) -> str:
    rows = np.flatnonzero(labels.track == number) if number else np.zeros(0, np.int64)
    return labels.label[int(rows[0])] if len(rows) else "object"


def _place(box: Box, info: VideoInfo) -> str:
    """Where in the picture it is, in words."""
    x, y = (box.xyxy[0] + box.xyxy[2]) / 2 / info.width, (box.xyxy[1] + box.xyxy[3]) / 2 / info.height
    across: Sequence[str] = ("at the left", "in the middle", "at the right")
    down: Sequence[str] = ("top", "", "bottom")
    side, height = across[min(2, max(0, int(3 * x)))], down[min(2, max(0, int(3 * y)))]
    return f"{side}, {height}" if height else side
