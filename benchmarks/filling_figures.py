"""Figures of the filling benchmark: reliability of the confidence, and the overlap along a target's way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import NDArray
from reliability import Claims, draw


def draw_reliability(path: Path, claims: Mapping[int, Mapping[str, Claims]]) -> None:
    """One panel for each distance between boxes, one curve a sequence.

    Args:
        path: of the image that is written.
        claims: frames between boxes -> name -> what was stated and what became of it.
    """
    draw(path, {f"overlap of at least 0.7, boxes every {every} frames": of for every, of in claims.items()})


def draw_curves(path: Path, curves: Mapping[str, Mapping[str, tuple[NDArray, NDArray]]], every: int) -> None:
    """One panel a sequence: overlap with the truth by frame, a curve for each way.

    Args:
        path: of the image that is written.
        curves: sequence -> way -> frames and overlaps.
        every: frames between a person's boxes.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = ("0.55", "tab:orange", "tab:blue")
    figure, axes = plt.subplots(
        max(len(curves), 1), 1, figsize=(10, 2.4 * max(len(curves), 1)), layout="constrained", squeeze=False
    )
    for axis, (name, ways) in zip(axes[:, 0], curves.items(), strict=False):
        for colour, (way, (frame, value)) in zip(colours, ways.items(), strict=False):
            axis.plot(frame, value, color=colour, linewidth=1.3, label=way)
        axis.axhline(0.7, color="0.85", linewidth=0.8, zorder=0)
        axis.set(ylim=(0, 1.02), ylabel="IoU")
        axis.set_title(f"{name}, a person's box every {every} frames", loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=3)
    axes[-1, 0].set_xlabel("frame")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
