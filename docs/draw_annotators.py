"""Draws the sketches of docs/annotators.md.

    python docs/draw_annotators.py

They are drawings and not screenshots, so that they can be made anywhere and stay true when CVAT changes its looks.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

HERE = Path(__file__).resolve().parent / "images"
GOOD, OTHER, ASK, INK = "#2563a8", "#c2571a", "#b01e3c", "#333333"


def picture(ax: Axes, title: str) -> None:
    """An empty frame of a video."""
    ax.set(xlim=(0, 100), ylim=(60, 0), xticks=[], yticks=[])
    ax.add_patch(Rectangle((0, 0), 100, 60, facecolor="#eef0f2", edgecolor="#9aa0a6"))
    ax.add_patch(Rectangle((0, 42), 100, 18, facecolor="#dfe3e6", edgecolor="none"))
    ax.set_title(title, fontsize=9, color=INK)


def box(ax: Axes, x: float, y: float, colour: str, name: str = "", style: str = "-", w: float = 12) -> None:
    """A person in a box."""
    ax.add_patch(Rectangle((x + w * 0.35, y + 1), w * 0.3, 6, facecolor="#8a8f94", edgecolor="none"))
    ax.add_patch(Rectangle((x + w * 0.2, y + 7), w * 0.6, 18, facecolor="#a4a9ae", edgecolor="none"))
    ax.add_patch(Rectangle((x, y), w, 28, fill=False, edgecolor=colour, linewidth=2, linestyle=style))
    ax.text(x, y - 1.5, name, fontsize=7.5, color=colour)


def note(ax: Axes, x: float, y: float, text: str, colour: str = ASK) -> None:
    """Words in a bubble."""
    ax.text(
        x, y, text, fontsize=7.5, color="white", va="top", linespacing=1.3,
        bbox={"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": "none"},
    )  # fmt: skip


def save(figure: plt.Figure, name: str) -> None:
    """Writes a small PNG."""
    figure.tight_layout()
    figure.savefig(HERE / name, dpi=110, metadata={"Software": None})
    plt.close(figure)


def question() -> None:
    """An issue pinned to its box."""
    figure, ax = plt.subplots(figsize=(6.2, 3.0))
    picture(ax, "frame 45: one issue = one question, pinned to its box")
    box(ax, 14, 22, ASK, "person 12")
    box(ax, 62, 20, GOOD, "person 9")
    note(ax, 30, 4, "Same person? This one (track 12) is seen in frame 45 at the\n"
         "left, the other in frame 52 in the middle. Merge them if they\n"
         "are two tracks ... (model: 54 % yes)")  # fmt: skip
    ax.annotate("", xy=(22, 22), xytext=(32, 15), arrowprops={"arrowstyle": "->", "color": ASK})
    save(figure, "annotators_question.png")


def split() -> None:
    """One track that goes over to somebody else."""
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.2))
    for ax, title, x, colour, name in (
        (axes[0], "frame 10", 15, GOOD, "person 3"), (axes[1], "frame 20: split here", 45, OTHER, "person 3"),
        (axes[2], "after the split", 45, OTHER, "person 8: its own track"),
    ):  # fmt: skip
        picture(ax, title)
        box(ax, x, 20, colour, name)
    axes[1].text(60, 12, "somebody else!", fontsize=8, color=ASK)
    save(figure, "annotators_split.png")


def merge() -> None:
    """Two tracks of one object."""
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.2))
    for ax, title, x, colour, name in (
        (axes[0], "frame 30: first track ends", 30, GOOD, "person 3"),
        (axes[1], "frame 36: second begins", 48, OTHER, "person 5"),
        (axes[2], "after merging", 48, GOOD, "person 3: one track"),
    ):  # fmt: skip
        picture(ax, title)
        box(ax, x, 20, colour, name)
    save(figure, "annotators_merge.png")


def outside() -> None:
    """An object that is hidden for a while."""
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.2))
    for ax, title in zip(
        axes, ("frame 50: seen", "frame 51: switch on 'outside'", "frame 60: switch it off"), strict=True
    ):
        picture(ax, title)
        ax.add_patch(Rectangle((42, 8), 18, 46, facecolor="#7b8b6f", edgecolor="none"))
    box(axes[0], 26, 20, GOOD, "person 3")
    axes[1].add_patch(Rectangle((45, 20), 12, 28, fill=False, edgecolor=GOOD, linestyle=":", linewidth=2))
    axes[1].text(30, 6, "behind the tree: no box", fontsize=8, color=ASK)
    box(axes[2], 66, 20, GOOD, "person 3")
    save(figure, "annotators_outside.png")


def keyframes() -> None:
    """Few keyframes, and lines between them."""
    figure, ax = plt.subplots(figsize=(6.2, 1.7))
    ax.set(xlim=(-2, 82), ylim=(-1.6, 1.8), yticks=[], xlabel="frame")
    ax.plot([0, 70], [0, 0], color=GOOD, linewidth=6, alpha=0.3, solid_capstyle="butt")
    ax.plot([0, 25, 70], [0, 0, 0], "s", color=GOOD, markersize=9)
    ax.plot([70], [0], "s", color="white", markeredgecolor=GOOD, markersize=9)
    ax.plot([40], [0], "s", color=ASK, markersize=9)
    ax.text(40, 0.7, "you move the box here:\na new keyframe, and the boxes\nup to its neighbours follow", fontsize=7.5,
            color=ASK, ha="center")  # fmt: skip
    ax.text(70, -1.1, "outside", fontsize=7.5, color=GOOD, ha="center")
    ax.text(12, -1.1, "keyframe", fontsize=7.5, color=GOOD, ha="center")
    for side in ("top", "left", "right"):
        ax.spines[side].set_visible(False)
    save(figure, "annotators_keyframes.png")


def finish() -> None:
    """Issues first, then the job's state."""
    figure, ax = plt.subplots(figsize=(6.2, 1.8))
    ax.set(xlim=(0, 100), ylim=(30, 0))
    ax.axis("off")
    steps = (
        ("look, mend\nwhat is wrong", GOOD),
        ("resolve\nthe issue", GOOD),
        ("next issue", GOOD),
        ("job state:\ncompleted", ASK),
    )
    for at, (text, colour) in enumerate(steps):
        x = 2 + 25 * at
        ax.add_patch(FancyBboxPatch((x, 8), 19, 13, boxstyle="round,pad=0.6", facecolor=colour, edgecolor="none"))
        ax.text(x + 9.5, 14.5, text, color="white", fontsize=8, ha="center", va="center")
        if at < len(steps) - 1:
            ax.annotate("", xy=(x + 24, 14.5), xytext=(x + 20, 14.5), arrowprops={"arrowstyle": "->", "color": INK})
    ax.text(2, 27, "Only what is in a completed job is taken over.", fontsize=8, color=INK)
    save(figure, "annotators_finish.png")


def state() -> None:
    """Where a job's state is set."""
    figure, ax = plt.subplots(figsize=(6.2, 2.2))
    ax.set(xlim=(0, 100), ylim=(36, 0))
    ax.axis("off")
    first = ("Menu", "...", "Change job state  >", "...")
    then = ("new", "in progress", "rejected", "completed")
    for left, top, words, chosen in ((4, 2, first, "Change job state  >"), (42, 10, then, "completed")):
        ax.add_patch(Rectangle((left, top), 34, 6 * len(words), facecolor="#f4f5f7", edgecolor="#9aa0a6"))
        for at, text in enumerate(words):
            if text == chosen:
                ax.add_patch(Rectangle((left, top + 6 * at), 34, 6, facecolor="#dbe6f3", edgecolor="none"))
            weight = "bold" if text in ("Menu", "completed") else "normal"
            ax.text(left + 3, top + 6 * at + 3.2, text, fontsize=8.5, color=INK, va="center", fontweight=weight)
    ax.annotate("when you are done", xy=(76, 31), xytext=(81, 20), fontsize=8, color=ASK,
                arrowprops={"arrowstyle": "->", "color": ASK})  # fmt: skip
    save(figure, "annotators_state.png")


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for draw in (question, split, merge, outside, keyframes, finish, state):
        draw()
