"""The loop: detect, fill, label, choose, ask, wait, take answers, retrain, until the budget or the estimate says stop.

It is a machine whose state is written after every step. A step that was killed is done again from its beginning; each
leaves the same behind when it is done twice, so a loop that was killed anywhere ends as one that nobody disturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from ..models.errors import InputError
from .queries import Budget

DETECT, FILL, LABEL, LEARN, CHOOSE, ASK, WAIT, TAKE, RETRAIN, FINISH, DONE = STEPS = (
    "detect", "fill", "label", "learn", "choose", "ask", "wait", "take", "retrain", "finish", "done"
)  # fmt: skip

Tell = Callable[[str, float, str], None]  # the step, the share of it that is done, and what is being done


@dataclass(frozen=True)
class LoopSettings:
    """When the loop ends.

    Attributes:
        budget: that all rounds together may cost.
        rounds: how many at most; what is left of the budget is split evenly over those that are left.
        wish: share of wrong boxes, in [0, 1], under which the labels are good enough; None to spend the budget.
        learn_first: train on what the labels are sure of before anybody is asked (SPAM, section on pseudo-labels).
        fill: follow objects between and around the boxes that people drew before anything is labelled (SPOT).

    Raises:
        InputError: for values out of range.
    """

    budget: Budget
    rounds: int = 3
    wish: float | None = None
    learn_first: bool = False
    fill: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InputError(f"{self.rounds} rounds are too few; the loop needs at least 1")
        if self.wish is not None and not 0 <= self.wish <= 1:
            raise InputError(f"a wish of {self.wish:g} for the share of wrong boxes is not between 0 and 1")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return asdict(self)


@dataclass(frozen=True)
class Chosen:
    """The questions of one round.

    Attributes:
        queries: how many.
        clicks: that answering them takes.
        hand_boxes: boxes that labelling everything by hand would take, as far as the labels tell.
        wrong: share of the boxes that is expected to be wrong now, in [0, 1]; None where that cannot be told.
    """

    queries: int
    clicks: int
    hand_boxes: float
    wrong: float | None = None


@dataclass(frozen=True)
class RoundReport:
    """One round of the loop.

    Attributes:
        number: from 1.
        queries: that were asked.
        allowed: clicks that the round might have cost.
        clicks: that it did cost.
        answers: that came in.
        wrong: share of wrong boxes that was expected when the questions were chosen.
        version: that was trained, and what became of it; empty for none.
    """

    number: int
    queries: int = 0
    allowed: int = 0
    clicks: int = 0
    answers: int = 0
    wrong: float | None = None
    version: str = ""


@dataclass(frozen=True)
class LoopState:
    """Where a loop stands; all that has to be remembered.

    Attributes:
        step: that comes next.
        round: from 1.
        clicks_before: that people had spent when the loop began.
        answers_before: that there were when the last questions were chosen.
        allowed: clicks of the whole budget; None until the first questions are chosen.
        reports: of the rounds, the last one unfinished.
        why: why it ended.
        learnt: version that was trained before anybody was asked; None until it was tried, empty for none.
    """

    step: str = DETECT
    round: int = 1
    clicks_before: int = 0
    answers_before: int = 0
    allowed: int | None = None
    reports: tuple[RoundReport, ...] = ()
    why: str = ""
    learnt: str | None = None

    @property
    def clicks(self) -> int:
        """That all rounds have cost."""
        return sum(one.clicks for one in self.reports)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**asdict(self), "reports": [asdict(one) for one in self.reports], "clicks": self.clicks}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LoopState:
        """That of ``as_dict``."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "reports": tuple(RoundReport(**one) for one in values.get("reports", ()))})


class World(Protocol):
    """What the loop works on. Every method leaves the same behind when it is called twice in a row."""

    def has_candidates(self) -> bool:
        """Whether a detector's boxes are there already."""

    def detect(self, tell: Callable[[float, str], None]) -> None:
        """Makes candidates."""

    def fill(self, tell: Callable[[float, str], None]) -> None:
        """Follows objects around the boxes that people drew; does nothing where there are none, or no pictures."""

    def label(self, tell: Callable[[float, str], None]) -> None:
        """Makes tracks of the candidates, keeping to all answers, with the models that are in use."""

    def learn(self, tell: Callable[[float, str], None]) -> str:
        """Trains models of what the labels are sure of, and uses them. Returns their version; empty for none."""

    def choose(self, budget: Budget | int, tell: Callable[[float, str], None]) -> Chosen:
        """Puts the questions that are worth most in the place of those that were open; a number means clicks."""

    def spent(self) -> int:
        """Clicks that all answers so far have cost."""

    def answers(self) -> int:
        """How many answers there are."""

    def ask(self, number: int, tell: Callable[[float, str], None]) -> None:
        """Sends the questions of a round to those who answer."""

    def wait(self, number: int, allowed: int, tell: Callable[[float, str], None]) -> None:
        """Returns when they have answered."""

    def take(self, number: int, tell: Callable[[float, str], None]) -> None:
        """Keeps what they said, once however often it is called."""

    def retrain(self, number: int, tell: Callable[[float, str], None]) -> str:
        """Trains models of what is known now. Returns which version came out and what became of it; empty for none."""


class Memory(Protocol):
    """Where the state is kept."""

    def load(self) -> LoopState | None:
        """The state of a loop that has not come to its end; None for none."""

    def save(self, state: LoopState) -> None:
        """Keeps a state, whole or not at all."""


def run_loop(world: World, memory: Memory, settings: LoopSettings, tell: Tell | None = None) -> LoopState:
    """Goes on with the loop where its state says, or begins it, and runs it to its end.

    Args:
        world: what it works on.
        memory: where its state is kept.
        settings: when it ends.
        tell: told the step, the share of it that is done, and what is being done.

    Returns:
        the state at the end.
    """
    tell = tell or (lambda step, share, what: None)
    state = memory.load()
    if state is None:
        state = LoopState(clicks_before=world.spent())
        memory.save(state)
    while state.step != DONE:
        tell(state.step, 0.0, _words(state, settings))
        state = _STEPS[state.step](world, state, settings, _within(tell, state.step))
        memory.save(state)
    return state


def _words(state: LoopState, settings: LoopSettings) -> str:
    return f"round {state.round} of {settings.rounds}" if state.step not in (DETECT, FINISH) else ""


def _within(tell: Tell, step: str) -> Callable[[float, str], None]:
    return lambda share, what: tell(step, share, what)


Part = Callable[[float, str], None]


def _detect(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    if not world.has_candidates():
        world.detect(tell)
    return replace(state, step=FILL)


def _fill(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    if settings.fill:
        world.fill(tell)
    return replace(state, step=LABEL)


def _label(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    world.label(tell)
    first = settings.learn_first and state.learnt is None and not state.reports
    return replace(state, step=LEARN if first else CHOOSE)


def _learn(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    version = world.learn(tell)
    return replace(state, learnt=version, step=LABEL if version else CHOOSE)


def _choose(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    """The questions of a round, from what is left of the budget; or the end."""
    spent = world.spent() - state.clicks_before
    rounds_left = settings.rounds - state.round + 1
    if state.allowed is None:
        # A share of labelling by hand is known only when the labels have been looked at.
        first = replace(settings.budget, amount=settings.budget.amount / settings.rounds)
        chosen = world.choose(first, tell)
        state = replace(state, allowed=settings.budget.clicks(chosen.hand_boxes))
        round_allowed = first.clicks(chosen.hand_boxes)
    else:
        round_allowed = (state.allowed - spent) // rounds_left
        if round_allowed < 1:
            return replace(state, step=FINISH, why=f"the budget of {state.allowed:,} clicks is spent")
        chosen = world.choose(round_allowed, tell)
    if settings.wish is not None and chosen.wrong is not None and chosen.wrong <= settings.wish:
        why = f"{chosen.wrong:.1%} of the boxes are expected to be wrong, no more than was wished for"
        return replace(state, step=FINISH, why=why)
    if not chosen.queries:
        why = "no question is left that is worth a click" if round_allowed else "the budget allows no click"
        return replace(state, step=FINISH, why=why)
    report = RoundReport(state.round, chosen.queries, round_allowed, wrong=chosen.wrong)
    kept = tuple(one for one in state.reports if one.number != state.round)
    return replace(state, step=ASK, reports=(*kept, report), answers_before=world.answers())


def _ask(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    world.ask(state.round, tell)
    return replace(state, step=WAIT)


def _wait(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    world.wait(state.round, state.reports[-1].allowed, tell)
    return replace(state, step=TAKE)


def _take(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    world.take(state.round, tell)
    clicks = world.spent() - state.clicks_before - sum(one.clicks for one in state.reports[:-1])
    report = replace(state.reports[-1], clicks=clicks, answers=world.answers() - state.answers_before)
    return replace(state, step=RETRAIN, reports=(*state.reports[:-1], report))


def _retrain(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    report = replace(state.reports[-1], version=world.retrain(state.round, tell))
    state = replace(state, reports=(*state.reports[:-1], report))
    if state.round >= settings.rounds:
        return replace(state, step=FINISH, why=f"all {settings.rounds} rounds are done")
    return replace(state, step=FILL, round=state.round + 1)


def _finish(world: World, state: LoopState, settings: LoopSettings, tell: Part) -> LoopState:
    """Labels once more, as the last answers and the last version are in no label yet."""
    if state.reports:
        if settings.fill:
            world.fill(tell)
        world.label(tell)
    return replace(state, step=DONE)


_STEPS: Mapping[str, Callable[[World, LoopState, LoopSettings, Part], LoopState]] = {
    DETECT: _detect, FILL: _fill, LABEL: _label, LEARN: _learn, CHOOSE: _choose, ASK: _ask, WAIT: _wait, TAKE: _take,
    RETRAIN: _retrain, FINISH: _finish,
}  # fmt: skip
