"""Chooses what to ask next about the videos of a store, within a budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..models.columns import Source
from ..models.errors import InputError
from ..models.spam import LabelSettings, SpamModel
from .acquisition import rule
from .experience import learn
from .label import Step
from .pool import View, all_queries
from .ports import ReviewStore, VideoInput
from .propagation import with_fills
from .queries import Budget, Query, Question
from .resolve import Problem, resolve
from .stopping import StoppingEstimate, estimate


@dataclass(frozen=True)
class QueryPlan:
    """What to ask, and what it will cost.

    Attributes:
        queries: most valuable first.
        clicks: that answering them will take.
        allowed: the budget in clicks.
        hand_boxes: boxes that labelling by hand would take, as far as the labels tell.
        by_question: kind of question -> how many.
        estimates: what is expected to be wrong in the labels now (see ``stopping.StoppingEstimate``), plain values.
        problems: answers given before that do not hold.
        model_version: of the model that labelled.
        skipped: name -> why, of videos that could not be read.
    """

    queries: tuple[Query, ...]
    clicks: int
    allowed: int
    hand_boxes: float
    by_question: Mapping[str, int]
    estimates: Mapping[str, Any]
    problems: tuple[Problem, ...]
    model_version: str
    skipped: Mapping[str, str] = field(default_factory=dict)


def look_at(key: str, video: VideoInput, model: SpamModel, settings: LabelSettings) -> tuple[View, tuple[Problem, ...]]:
    """One video labelled with all that was said of it, as questions are asked about it."""
    found = resolve(video.answers, video.info, video.candidates, video.class_names)
    session = model.session(video.info, video.candidates, settings)
    tracks = session.label(with_fills(video.candidates, found.constraints, video.fills))
    view = View(
        key, video.info, video.candidates, found.constraints, tracks, session.beliefs, session.offsets,
        learn(video.answers, video.info, bool((tracks.source == Source.PROPAGATED).any())),
    )  # fmt: skip
    return view, found.problems


def choose_queries(
    store: ReviewStore, model: SpamModel, budget: Budget, acquisition: str = "boxes", seed: int = 0,
    settings: LabelSettings | None = None, progress: Callable[[Step], None] | None = None, *, skip_bad: bool = False,
    wish: float | None = None,
) -> QueryPlan:  # fmt: skip
    """The questions of one round.

    Args:
        store: videos with candidates and the answers given so far.
        model: what labels.
        budget: what the round may cost.
        acquisition: name of the rule that puts the questions into order.
        seed: of rules that draw lots.
        settings: of the labelling.
        progress: called after every video.
        skip_bad: leave out videos and candidates that cannot be used.
        wish: share of wrong boxes, in [0, 1], of which to tell how many clicks lead there.

    Raises:
        InputError: for videos that cannot be read, unless ``skip_bad``; an acquisition that does not exist; a wish
            outside of [0, 1]; or if no video has a candidate.
    """
    order = rule(acquisition)
    if wish is not None and not 0 <= wish <= 1:
        raise InputError(f"a wish of {wish:g} for the share of wrong boxes is not between 0 and 1")
    settings = settings or LabelSettings()
    tell = progress or (lambda step: None)
    videos = store.videos()
    views: dict[str, View] = {}
    problems: list[Problem] = []
    skipped: dict[str, str] = {}
    answered: set[str] = set()
    for number, (key, name) in enumerate(videos, 1):
        try:
            video = store.read(key, skip_bad)
            views[key], found = look_at(key, video, model, settings)
            answered |= {answer.query for answer in video.answers if answer.query}
            problems += found
        except InputError as error:
            if not skip_bad:
                raise
            skipped[name] = str(error)
        tell(Step("labelling", number, len(videos), name))
    if not any(len(view.candidates) for view in views.values()):
        raise InputError("there is nothing to ask about: no video has a candidate that can be used")
    again = {problem.answer.query for problem in problems if problem.kind == "contradiction"}
    queries = [
        query
        for view in views.values()
        for query in all_queries(view)
        # a frame in which objects are missing is asked about until it is complete
        if query.key not in answered or query.key in again or query.question is Question.MISSING
    ]
    ordered = order(queries, views, np.random.default_rng(seed))
    hand = sum(float(view.tracks.validity.sum()) for view in views.values())
    allowed = budget.clicks(hand)
    chosen = within(ordered, allowed)
    state: StoppingEstimate = estimate(list(views.values()), ordered, wish)
    return QueryPlan(
        tuple(chosen), sum(query.cost for query in chosen), allowed, hand,
        dict(Counter(query.question.value for query in chosen)), state.as_dict(), tuple(problems), model.version,
        skipped,
    )  # fmt: skip


def within(ordered: list[Query], clicks: int) -> list[Query]:
    """The first questions that the clicks pay for; one that is too dear leaves room for cheaper ones behind it."""
    chosen, left = [], clicks
    for query in ordered:
        if query.cost <= left:
            chosen.append(query)
            left -= query.cost
        if not left:
            break
    return chosen
