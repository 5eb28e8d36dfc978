"""Which questions to ask first: small rules that can be exchanged for one another.

A rule puts the open questions of all videos into an order; the budget cuts it. SPAM (ECCV 2024) asks where the entropy
is greatest, level by level; ours where the most boxes are expected to be put right for a click.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..models.errors import InputError
from .pool import View, frame_queries
from .queries import Query, Question

Rule = Callable[[Sequence[Query], Mapping[str, View], np.random.Generator], list[Query]]

CROWDED = 0.8  # what a question is worth after another one in the same few seconds of the same video
NEAR_SECONDS = 2.0
AGAIN = 0.5  # and after another one about the same track, whose answer may make it pointless
_OF_TRACK = {Question.VALID, Question.LINK, Question.START, Question.END}


def by_boxes(queries: Sequence[Query], views: Mapping[str, View], rng: np.random.Generator) -> list[Query]:
    """Most boxes put right for a click first, spread over time and videos."""
    return spread_out(sorted(queries, key=lambda q: (-q.gain / q.cost, q.key)), views)


def by_entropy(queries: Sequence[Query], views: Mapping[str, View], rng: np.random.Generator) -> list[Query]:
    """SPAM's rule: greatest entropy first, the budget split evenly over the levels; boxes to refine come last."""
    levels: dict[int, list[Query]] = defaultdict(list)
    rest = []
    for query in queries:
        if query.question in (Question.VALID, Question.LINK):
            level = query.level + 1 if query.question is Question.LINK else 0
            levels[level].append(query)
        elif query.question is Question.BOX:
            rest.append(query)
    for group in levels.values():
        group.sort(key=lambda q: (abs(q.probability - 0.5), q.key))
    turns = max(map(len, levels.values()), default=0)
    out = [group[turn] for turn in range(turns) for _, group in sorted(levels.items()) if turn < len(group)]
    return out + sorted(rest, key=lambda q: (abs(q.probability - 0.5), q.key))


def by_chance(queries: Sequence[Query], views: Mapping[str, View], rng: np.random.Generator) -> list[Query]:
    """Any order."""
    ordered = sorted(queries, key=lambda q: q.key)
    return [ordered[n] for n in rng.permutation(len(ordered))]


def by_frames(queries: Sequence[Query], views: Mapping[str, View], rng: np.random.Generator) -> list[Query]:
    """Whole frames, those of the greatest summed uncertainty first, as image-level active learning does."""
    frames: dict[tuple[str, int], float] = defaultdict(float)
    by_video: dict[str, list[Query]] = defaultdict(list)
    for query in queries:
        by_video[query.video].append(query)
    for key, view in views.items():
        doubt = np.maximum(view.tracks.uncertainty, view.tracks.link_uncertainty)
        total = np.bincount(view.tracks.frame, doubt, view.info.num_frames)
        for frame in np.argsort(-total, kind="stable")[:200].tolist():
            frames[key, frame] = float(total[frame])
    out: list[Query] = []
    chosen: dict[str, list[int]] = defaultdict(list)
    for video, frame in sorted(frames, key=lambda place: (-frames[place], place)):
        # neighbouring frames are the same frame again
        if any(abs(frame - other) < views[video].info.frame_rate / 2 for other in chosen[video]):
            continue
        chosen[video].append(frame)
        out += frame_queries(views[video], frame, by_video[video])
    return out


def spread_out(ordered: Sequence[Query], views: Mapping[str, View]) -> list[Query]:
    """The same questions, each held back a little for every better one in the same seconds of the same video."""
    near: dict[tuple[str, int], int] = defaultdict(int)
    about: dict[tuple[str, int], int] = defaultdict(int)
    worth = []
    for query in ordered:
        place = (query.video, int(query.frame / (NEAR_SECONDS * views[query.video].info.frame_rate)))
        track = (query.video, query.track)
        held = AGAIN ** about[track] if query.question in _OF_TRACK else 1.0
        worth.append(query.gain / query.cost * CROWDED ** near[place] * held)
        near[place] += 1
        about[track] += query.track >= 0
    return [ordered[n] for n in np.argsort(-np.array(worth), kind="stable")]


ACQUISITIONS: Mapping[str, tuple[Rule, str]] = {
    "boxes": (by_boxes, "most boxes expected to be put right for a click (the default)"),
    "entropy": (by_entropy, "greatest entropy, the budget split over the levels, as SPAM does"),
    "random": (by_chance, "any order"),
    "frames": (by_frames, "whole frames, the most uncertain first"),
}


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        InputError: if there is none.
    """
    if name not in ACQUISITIONS:
        raise InputError(f"there is no acquisition {name!r}; there are: {', '.join(ACQUISITIONS)}")
    return ACQUISITIONS[name][0]
