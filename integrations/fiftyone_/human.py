"""What a human did in a field of tracks, which no model may overwrite: boxes, and the tracks that these are in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...engine.answers import Box
from ...engine.claims import Claims
from ...models.columns import Source
from .columns import SOURCE_NAMES, video_documents
from .videos import StoredVideo

SAME_PIXELS = 0.5  # by which a stored box may differ from the drawn one; relative numbers are rounded
_OF_MODEL = {SOURCE_NAMES[source] for source in (Source.MODEL, Source.INTERPOLATED, Source.PROPAGATED)}


@dataclass(frozen=True)
class HumanTracks:
    """Boxes that stay.

    Attributes:
        per_frame: 0-based frame -> raw detections, as they are stored.
        indexes: the track numbers that they use.
    """

    per_frame: dict[int, list[dict[str, Any]]]
    indexes: frozenset[int]

    def __len__(self) -> int:
        return sum(map(len, self.per_frame.values()))

    def claims(self, classes: tuple[str | None, ...], width: float, height: float) -> Claims:
        """The boxes in pixels, their classes numbered as in ``classes``."""
        place = {name: number for number, name in enumerate(classes)}
        rows = [(frame, box) for frame, boxes in self.per_frame.items() for box in boxes]
        box = np.array([box["bounding_box"] for _, box in rows], np.float64).reshape(-1, 4) * ([width, height] * 2)
        box = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
        return Claims(
            np.array([frame for frame, _ in rows], np.int64),
            box,
            np.array([place.get(box.get("label"), -1) for _, box in rows], np.int64),
        )


def read_human_tracks(
    video: StoredVideo, field: str, size: tuple[float, float] = (1.0, 1.0), drawn: Sequence[Box] = ()
) -> HumanTracks:
    """The boxes of one video that a model did not make, with all boxes of the tracks that they belong to.

    A box that somebody drew in the App has no ``source``; so whatever does not say that a model made it, is a human's.
    Boxes that stand for answers are not meant, as the answers themselves are kept: labelling puts them where they
    belong. One that was moved since is a human's like any other.

    Args:
        video: which one.
        field: of tracks, without ``frames.``; it may not exist yet.
        size: width and height of a frame in pixels.
        drawn: boxes of answers.
    """
    answered: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for one in drawn:
        answered[one.frame].append(one.xyxy)
    touched: set[int] = set()
    loose: set[Any] = set()  # ids of boxes that belong to no track
    for frame, boxes in video_documents(video, field, ["_id", "index", "source", "answered", "bounding_box"]):
        for box in boxes:
            if box.get("source") not in _OF_MODEL and not (
                box.get("answered") and _lies_on(box, size, answered[frame])
            ):
                (loose if box.get("index") is None else touched).add(
                    box["_id"] if box.get("index") is None else box["index"]
                )
    per_frame: dict[int, list[dict[str, Any]]] = defaultdict(list)
    if touched or loose:
        for frame, boxes in video_documents(video, field):
            mine = [box for box in boxes if box.get("index") in touched or box["_id"] in loose]
            if mine:
                per_frame[frame] = mine
    return HumanTracks(dict(per_frame), frozenset(touched))


def _lies_on(box: dict[str, Any], size: tuple[float, float], drawn: Sequence[tuple[float, ...]]) -> bool:
    """Whether a stored box is still where an answer drew it."""
    left, top, width, height = box["bounding_box"]
    own = np.array([left, top, left + width, top + height]) * (size * 2)
    return any(np.abs(own - np.array(one)).max() < SAME_PIXELS for one in drawn)
