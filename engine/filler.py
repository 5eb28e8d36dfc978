"""Fills the gaps of videos again and again, as boxes come in; what was seen in a gap is not looked for twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Candidates, VideoInfo
from ..models.spot.model import Tracker
from .filling import Fills, FillSettings, Frames, Keyframes, fill_gaps


class TrackerFiller:
    """A tracker that remembers what it saw; see ``simulation.Filler``.

    Args:
        tracker: that follows.
        pictures: the pictures of a video, by its key.
        settings: of the filling; None for the defaults.

    Attributes:
        looks: how often the tracker looked at a target.
    """

    def __init__(
        self, tracker: Tracker, pictures: Callable[[str], Frames], settings: FillSettings | None = None
    ) -> None:
        self._tracker, self._pictures, self._settings = tracker, pictures, settings
        self._seen: dict[str, dict] = {}
        self._numbers: dict[str, dict[bytes, int]] = {}
        self.looks = 0

    def fill(self, key: str, info: VideoInfo, keys: Keyframes, candidates: Candidates) -> Fills:
        """Filled boxes of one video."""
        if not len(keys):
            return Fills.empty()
        number = self._number(key, keys)
        fills, report = fill_gaps(
            self._tracker, self._pictures(key), _renumbered(keys, number), info, candidates, self._settings,
            cache=self._seen.setdefault(key, {}),
        )  # fmt: skip
        self.looks += report.looks
        back = np.full(int(number.max()) + 1, -1)
        back[number[keys.track]] = keys.track
        track = back[fills.track]
        order = np.lexsort((track, fills.frame))
        return replace(fills, track=track).take(order)

    def _number(self, video: str, keys: Keyframes) -> NDArray[np.int64]:
        """(T,) a number for every track that stays with its boxes, whatever it is called this time."""
        known = self._numbers.setdefault(video, {})
        names = [
            frame.to_bytes(8, "little") + box.tobytes()
            for frame, box in zip(keys.frame.tolist(), keys.xyxy, strict=True)
        ]
        out = np.full(int(keys.track[-1]) + 1, -1)
        used: set[int] = set()
        for track in np.unique(keys.track).tolist():
            own = [names[row] for row in np.flatnonzero(keys.track == track)]
            old = {known[name] for name in own if name in known} - used
            number = min(old) if old else max([-1, *known.values(), *used]) + 1
            used.add(number)
            out[track] = number
            known.update(dict.fromkeys(own, number))
        return out


def _renumbered(keys: Keyframes, number: NDArray[np.int64]) -> Keyframes:
    """The same boxes, with other numbers of their tracks."""
    size = int(number.max()) + 1
    track = number[keys.track]
    order = np.lexsort((keys.frame, track))
    bounds = {}
    for name in ("earliest", "latest"):
        column = getattr(keys, name)
        if column is not None:
            bounds[name] = np.full(size, -1, np.int64)
            bounds[name][number[number >= 0]] = column[: len(number)][number >= 0]
    absent = keys.absent
    if absent is not None:
        absent = absent[absent[:, 0] < len(number)]
        absent = absent[number[absent[:, 0]] >= 0]
        absent = np.column_stack([number[absent[:, 0]], absent[:, 1:]]).astype(np.int64).reshape(-1, 3)
    return Keyframes(track[order], keys.frame[order], keys.xyxy[order], absent, **bounds)
