"""Button "choose what to review": a budget in, the questions that are worth most out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...engine.queries import Budget
from .base import SpamOperator, show_fields
from .forms import Form, choices_of, target_of
from .live import Tell, parts

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices

RATE = 1200.0  # clicks of a person in an hour

_UNITS = {"%": "a share of labelling everything by hand", "clicks": "clicks", "hours": "hours of a person's time"}
_AMOUNTS = {"%": ("Percent", 3.3, 100.0), "clicks": ("Clicks", 500.0, None), "hours": ("Hours", 1.0, None)}
_RULES = {"boxes": "Most boxes put right", "entropy": "Greatest doubt", "frames": "Whole frames", "random": "By lot"}


class ChooseReview(SpamOperator):
    """Chooses what to ask a person next."""

    NAME = "choose_review"
    LABEL = "SPAM: choose what to review"
    HELP = "Choose the questions whose answers put the most boxes right, within a budget"
    BUTTON = "Choose"
    ICON = "/assets/choose.svg"
    IN_TOOLBAR = LONG = RELOADS = True

    def form(self, form: Form) -> None:
        """The budget, the rule of choice, and what it comes to."""
        from ...engine.acquisition import ACQUISITIONS

        view, choices = form.target(), form.choices
        candidates = form.boxes(
            "candidates", "The detector's boxes", choices.candidates, "Those that were labelled", choices.foreign_fields
        )
        out = form.tracks()
        with form.refusing("out"):
            choices.check_out(candidates, out)
        unit = form.radio("unit", "Budget of this round", _UNITS, "%")
        label, usual, most = _AMOUNTS[unit]
        amount = form.number(f"amount_{_slug(unit)}", label, usual, low=0.0, high=most)
        rate = form.number("rate", "Clicks of a person in an hour", RATE, low=1.0)
        form.radio(
            "acquisition", "What to ask first", {name: _RULES.get(name, name) for name in ACQUISITIONS}, "boxes",
            descriptions={name: about for name, (_, about) in ACQUISITIONS.items()},
        )  # fmt: skip
        form.number(
            "wish", "Wished share of wrong boxes, in percent", 2.0,
            "It is told how many clicks are expected to lead there; nothing else follows from it", 0.0, 100.0,
        )  # fmt: skip
        form.switch("skip_bad", "Leave out boxes and videos that cannot be used, instead of refusing")
        with form.refusing(f"amount_{_slug(unit)}"):
            budget = Budget(amount, unit, rate)
            form.say("preview", _preview(choices, view, candidates, out, budget))
        open_now = choices.open_questions(view, out)
        if open_now.queries:
            form.warn("replaced", f"{open_now.said}: the new ones take their place; labels and answers stay")

    def seconds(self, ctx: ExecutionContext) -> float:
        """About what labelling takes."""
        choices = choices_of(ctx)
        field = ctx.params.get("candidates") or choices.candidates
        return choices.seconds(choices.count(target_of(ctx), field)[1]) if field else 0.0

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where there are tracks to ask about."""
        return bool(choices_of(ctx).track_fields)

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Chooses, and says what it will cost."""
        tell(0.0, "loading the model")
        from ...integrations.fiftyone_ import api
        from ...integrations.fiftyone_.choices import persons_time, plural

        params, choices = ctx.params, choices_of(ctx)
        unit = params.get("unit") or "%"
        amount = params.get(f"amount_{_slug(unit)}")
        rate = float(params.get("rate") or RATE)
        budget = Budget(float(_AMOUNTS[unit][1] if amount is None else amount), unit, rate)
        wish = params.get("wish")
        out = params.get("out") or choices.out
        step = parts(tell, ("labelling", 1))
        plan = api.queries(
            target_of(ctx), params.get("candidates") or choices.candidates or "candidates", budget=budget,
            acquisition=params.get("acquisition") or "boxes", wish=None if wish is None else float(wish) / 100, out=out,
            model=choices.model, skip_bad=bool(params.get("skip_bad")),
            progress=lambda at: step(at.stage, at.done, at.total, at.video),
        )  # fmt: skip
        count, videos = len(plan.queries), len({query.video for query in plan.queries})
        said = (
            f"{count:,} {plural(count, 'query', 'queries')} in {videos:,} {plural(videos, 'video')}, "
            f"{persons_time(plan.clicks, rate)} of a person's time"
        )
        return {
            "said": said, "queries": count, "videos": videos, "clicks": plan.clicks, "allowed": plan.allowed,
            "by_question": dict(plan.by_question), "estimates": dict(plan.estimates), "out": out,
            "expected": _expected(plan.estimates),
            "problems": [f"left out video {name!r}: {why}" for name, why in plan.skipped.items()],
        }  # fmt: skip

    def outcome(self, outputs: Any, result: dict[str, Any]) -> None:
        """How wrong the labels are now, as far as can be told."""
        from fiftyone.operators import types

        if result.get("expected"):
            outputs.view("expected", types.Notice(label=result["expected"]))

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Shows the questions, and on every video how many there are."""
        from ...integrations.fiftyone_.fields import OutputFields

        fields = OutputFields(result["out"])
        prefix = choices_of(ctx).prefix
        yield from show_fields(
            ctx, prefix + result["out"], prefix + fields.summary("queries"), fields.summary("open_queries")
        )


def _preview(choices: Choices, view: SampleCollection, candidates: str, out: str, budget: Budget) -> str:
    from ...integrations.fiftyone_.choices import persons_time, plural

    videos, boxes = choices.candidates_in(view, candidates)
    if out in choices.track_fields:
        boxes = choices.count(view, out)[1] or boxes
    clicks = budget.clicks(boxes)
    time = persons_time(clicks, budget.clicks_per_hour)
    return f"{videos:,} {plural(videos, 'video')}, {boxes:,} boxes: up to {clicks:,} clicks, {time} of a person's time"


def _expected(estimates: Mapping[str, Any]) -> str:
    """What is thought to be wrong now, and what the wish comes to."""
    wrong = estimates["wrong_boxes"]
    said = (
        f"Now wrong, as far as can be told: {wrong['expected']:.1%} of the boxes "
        f"(90 % interval {wrong['low']:.1%} to {wrong['high']:.1%})."
    )
    if estimates.get("wish") is None:
        return said
    clicks = estimates["clicks"]
    lead = f"{clicks:,} clicks" if clicks is not None else "more than all open questions"
    return f"{said} To bring it under {estimates['wish']:.1%}: {lead}."


def _slug(unit: str) -> str:
    return "percent" if unit == "%" else unit
