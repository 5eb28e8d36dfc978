"""How answers name a track: by the box of one of its rows, the one that says best whom the question is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..models.columns import Source, Tracks
from .answers import Box

if TYPE_CHECKING:
    from .pool import View


def observed(tracks: Tracks, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some rows that answers can name: a candidate or a person's box is there, it is not only filled in."""
    source = tracks.source[rows]
    only_filled = (source == Source.INTERPOLATED) | ((source == Source.PROPAGATED) & (tracks.candidate_index[rows] < 0))
    return rows[~only_filled]


def reference_box(view: View, row: int) -> Box:
    """How an answer names the box behind a row of the tracks: its candidate, else the drawn box."""
    candidate = int(view.tracks.candidate_index[row])
    if candidate >= 0 and view.tracks.source[row] != Source.HUMAN:
        return view.box(candidate)
    frame, xyxy = int(view.tracks.frame[row]), view.tracks.xyxy[row].astype(float)
    here = np.flatnonzero(view.constraints.frame == frame)
    if len(here):
        nearest = here[np.abs(view.constraints.xyxy[here] - xyxy).max(1).argmin()]
        xyxy = view.constraints.xyxy[nearest].astype(float)
    return Box(frame, tuple(xyxy.tolist()))


def anchor_row(view: View, rows: NDArray[np.int64], frame: int, among: NDArray[np.int64] | None = None) -> int:
    """Row of a track by which a question about a frame of it names the track: the nearest that answers can name.

    Where a tracker filled in boxes, the track goes on there as the person's object. Then it is named by a box that is
    this object's by what people said: one that only the model put into the track may be another's, and a box drawn in
    its name would be in two objects' way.

    Args:
        view: of the video.
        rows: of the track, by frame.
        frame: that is asked about.
        among: those of the rows that come into question; all that answers can name if left out.
    """
    tracks = view.tracks
    seen = observed(tracks, rows) if among is None else among
    if (tracks.source[rows] == Source.PROPAGATED).any():
        candidate = tracks.candidate_index[seen]
        said = (tracks.source[seen] == Source.HUMAN) | (
            (candidate >= 0) & (view.constraints.object_index[candidate] >= 0)
        )
        seen = seen[said] if said.any() else seen
    return int(seen[np.abs(tracks.frame[seen] - frame).argmin()])
