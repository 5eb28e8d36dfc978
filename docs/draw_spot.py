"""Draws the picture of docs/spot.md: a rendered street, boxes of a person, the straight line, and what was filled.

    python docs/draw_spot.py [WEIGHTS]

The film is rendered from a seed, so that the picture can be made anywhere; nothing was trained on that seed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from spam_plugin.engine.filling import FillSettings, Keyframes, fill_gaps
from spam_plugin.models.columns import VideoInfo
from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.synthetic.render import RenderedFrame, RenderSettings, render

OUT = Path(__file__).resolve().parent / "images" / "spot_fills.png"
SEED, FRAMES = 90210, 49
HUMAN, FILLED, LINE = "#ffffff", "#35c46a", "#ff9f1c"


class Film:
    """The frames of a film in memory."""

    def __init__(self, frames: list[RenderedFrame]) -> None:
        self._frames = frames

    def read(self, frames: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """See ``engine.filling.Frames``."""
        for frame in frames:
            yield frame, np.ascontiguousarray(self._frames[frame].image[:, :, ::-1])


def most_curved(frames: list[RenderedFrame]) -> NDArray:
    """(FRAMES, 4) boxes of the object that strays furthest from the line, of those that are there and well visible."""
    truth = [frame.truth for frame in frames]
    found: dict[int, list[tuple[NDArray, float]]] = {}
    for one in truth:
        for number, box, seen in zip(one.track.tolist(), one.xyxy, one.visibility.tolist(), strict=True):
            found.setdefault(number, []).append((box, seen))
    whole = {n: np.array([box for box, _ in own]) for n, own in found.items() if len(own) == FRAMES}
    clear = [n for n in whole if np.mean([seen > 0.6 for _, seen in found[n]]) > 0.8] or list(whole)
    half = (FRAMES - 1) // 2

    def stray(number: int) -> float:
        box = whole[number]
        line = np.linspace(box[0], box[half], half + 1)
        return float(np.abs(box[: half + 1] - line).max() / (box[0, 3] - box[0, 1]))

    return whole[max(clear, key=stray)]


def show(ax: Axes, image: NDArray, title: str, area: tuple[float, ...]) -> None:
    """One frame, cut to where the object is."""
    ax.imshow(image[:, :, ::-1])
    ax.set(xlim=(area[0], area[2]), ylim=(area[3], area[1]), xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)


def draw(ax: Axes, box: NDArray, colour: str, style: str = "-") -> None:
    """One box."""
    left, top, right, bottom = box
    ax.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2, linestyle=style)
    )


def main(weights: str | None) -> None:
    """Renders, fills and draws."""
    frames = list(
        render(
            RenderSettings(num_frames=FRAMES, num_objects=10, num_occluders=0, camera="shake"),
            np.random.default_rng(SEED),
        )
    )
    height, width = frames[0].image.shape[:2]
    own = most_curved(frames)
    at = np.array([0, (FRAMES - 1) // 2, FRAMES - 1])
    keys = Keyframes.sorted(np.zeros(3, np.int64), at, own[at])
    info = VideoInfo("film", FRAMES, float(width), float(height), 25.0)
    fills, _ = fill_gaps(Tracker.load(weights), Film(frames), keys, info, None, FillSettings(open_frames=0))
    rows = zip(fills.frame.tolist(), fills.xyxy, fills.confidence.tolist(), strict=True)
    filled = {frame: (box, sure) for frame, box, sure in rows}

    pad = 0.4 * (own[0, 3] - own[0, 1])
    area = (max(own[:, 0].min() - pad, 0), max(own[:, 1].min() - pad, 0),
            min(own[:, 2].max() + pad, width), min(own[:, 3].max() + pad, height))  # fmt: skip
    shown = np.linspace(0, FRAMES - 1, 9).round().astype(int).tolist()
    figure, axes = plt.subplots(1, len(shown), figsize=(13, 2.4))
    for ax, frame in zip(axes, shown, strict=True):
        if frame in at:
            show(ax, frames[frame].image, f"frame {frame}: a person", area)
            draw(ax, own[frame], HUMAN)
            continue
        box, sure = filled[frame]
        show(ax, frames[frame].image, f"frame {frame}: {sure:.0%}", area)
        before, behind = at[at < frame].max(), at[at > frame].min()
        share = (frame - before) / (behind - before)
        draw(ax, own[before] * (1 - share) + own[behind] * share, LINE, "--")
        draw(ax, box, FILLED)
    figure.suptitle("white: drawn by a person   orange: straight line   green: filled, with its confidence", fontsize=9)
    figure.tight_layout()
    figure.savefig(OUT, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
