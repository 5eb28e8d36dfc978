"""A simulated person answers the open questions of one round from ground truth, for demonstrations and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .annotator import SimulatedAnnotator
from .answers import Answer
from .clicks import count_clicks
from .metrics import TruthTable
from .pool import View
from .queries import Query

ROUND = 1_000_000.0  # a round's answers are later than those of the rounds before by so much


def answer_round(
    number: int, queries: Sequence[Query], views: Mapping[str, View], truth: Mapping[str, TruthTable], allowed: int,
    error_rate: float = 0.0, seed: int = 0,
) -> list[Answer]:  # fmt: skip
    """What a person says to the questions of a round; the same inputs give the same answers.

    Args:
        number: of the round, from 1.
        queries: in the order in which they are asked.
        views: key of a video -> its labels, of all videos that are asked about.
        truth: key of a video -> the ground truth that counts; nothing is said of others.
        allowed: clicks that the round may cost.
        error_rate: share of answers that are wrong.
        seed: of the errors.
    """
    people, sights = {}, {}
    for place, key in enumerate(sorted(views)):
        if key in truth:
            rng = np.random.default_rng([seed, number, place])
            people[key] = SimulatedAnnotator(key, truth[key], error_rate, rng)
            sights[key] = people[key].look(views[key])
    said: list[Answer] = []
    spent = 0
    for query in queries:
        if query.video not in people or spent + query.cost > allowed:
            continue
        reply = people[query.video].answer(query, sights[query.video])
        fresh = [_dated(answer, number) for answer in reply.answers]
        cost = count_clicks(fresh)
        if spent + cost > allowed:
            continue  # more had to be drawn than there was money for
        spent += cost
        said += fresh
    return said


def _dated(answer: Answer, number: int) -> Answer:
    """The answer with the time and the names of new objects of its round."""
    named = f"{answer.object}/{number}" if answer.object else ""
    return replace(answer, when=answer.when + ROUND * number, object=named)
