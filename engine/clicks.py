"""What answers have cost in clicks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .answers import Answer, Verdict
from .queries import COST, Question

_DRAW, _SAY = COST[Question.BOX], COST[Question.VALID]


def count_clicks(answers: Iterable[Answer]) -> int:
    """Clicks that answers have cost, by the prices of ``queries.COST``: two to draw a box, one to say anything else.

    What a person says in one breath (to one question, or in one job) costs once: that a track is right, and that it is
    one object; that an object comes or goes where its box was just drawn; that what lies behind its end is none. A new
    object costs one more than its boxes.
    """
    breaths: dict[tuple[str, str, float, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        breaths[answer.video, answer.source, answer.when, answer.query].append(answer)
    return sum(map(_price, breaths.values()))


def _price(said: Sequence[Answer]) -> int:
    drawn = {answer.drawn for answer in said if answer.drawn is not None}
    new = {answer.object for answer in said if answer.verdict is Verdict.BOX and answer.object and not answer.boxes}
    of_new = {answer.drawn for answer in said if answer.object in new}
    vouched = {frozenset(answer.boxes) for answer in said if answer.verdict is Verdict.VALID}
    ends = any(answer.verdict in (Verdict.STARTS, Verdict.ENDS) for answer in said)
    clicks = len(new)
    for answer in said:
        if answer.verdict is Verdict.BOX:
            clicks += _DRAW
        elif answer.verdict is Verdict.SAME:
            clicks += 0 if frozenset(answer.boxes) in vouched or of_new.intersection(answer.boxes) else _SAY
        elif answer.verdict in (Verdict.STARTS, Verdict.ENDS):
            clicks += 0 if answer.boxes[-1] in drawn else _SAY
        elif answer.verdict is Verdict.INVALID:
            clicks += 0 if ends and answer.query else _SAY
        else:
            clicks += _SAY
    return clicks
