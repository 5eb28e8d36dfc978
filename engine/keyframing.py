"""Few keyframes for a track, and the boxes that keyframes stand for. (First version; the thorough one is on its way.)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.spam.overlaps import paired_iou


@dataclass(frozen=True)
class Keyframes:
    """Keyframes of tracks, sorted by (track, frame)."""

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    outside: NDArray[np.bool_]


def fewest_keyframes(track, frame, xyxy, tolerance=0.9, must=None, stop=None):  # type: ignore[no-untyped-def]
    """Greedy."""
    order = np.lexsort((frame, track))
    track, frame, xyxy = track[order], frame[order], xyxy[order]
    must = np.zeros(len(track), bool) if must is None else must[order]
    out = []
    cuts = np.flatnonzero((np.diff(track) != 0) | (np.diff(frame) != 1)) + 1
    for rows in np.split(np.arange(len(track)), cuts):
        if not len(rows):
            continue
        at = 0
        out.append((track[rows[0]], frame[rows[0]], xyxy[rows[0]], False))
        while at < len(rows) - 1:
            best = at + 1
            for to in range(at + 2, len(rows)):
                if must[rows[at + 1 : to]].any():
                    break
                t = (np.arange(at, to + 1) - at)[:, None] / (to - at)
                line = xyxy[rows[at]] * (1 - t) + xyxy[rows[to]] * t
                if (paired_iou(line, xyxy[rows[at : to + 1]]) < tolerance).any():
                    break
                best = to
            at = best
            out.append((track[rows[at]], frame[rows[at]], xyxy[rows[at]], False))
        if stop is None or frame[rows[-1]] < stop:
            out.append((track[rows[-1]], frame[rows[-1]] + 1, xyxy[rows[-1]], True))
    seen = {}
    for one in out:
        if not (one[3] and (one[0], one[1]) in seen):
            seen[one[0], one[1]] = one
    rows = sorted(seen.values(), key=lambda one: (one[0], one[1]))
    return Keyframes(
        np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.float64).reshape(-1, 4), np.array([r[3] for r in rows], bool),
    )  # fmt: skip


def interpolate(keyframes, stop):  # type: ignore[no-untyped-def]
    """Linear."""
    k = keyframes
    nxt = np.append(k.track[1:] == k.track[:-1], False)
    end = np.where(nxt, np.append(k.frame[1:], 0), stop + 1)
    end = np.minimum(end, stop + 1)
    count = np.where(k.outside, 0, np.maximum(end - k.frame, 0))
    row = np.repeat(np.arange(len(k.frame)), count)
    step = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    other = np.where(nxt[row], row + 1, row) if len(row) else row
    span = np.where(nxt[row], k.frame[other] - k.frame[row], 1)
    t = (step / span)[:, None]
    return k.track[row], k.frame[row] + step, k.xyxy[row] * (1 - t) + k.xyxy[other] * t, step == 0
