"""Button "retrain": new models of what people said and of what the labels are sure of, used if they are better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...models.errors import InputError
from .base import SpamOperator
from .forms import Form, choices_of, target_of
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices

# Of one core: reading frames and rendering what keeps models from forgetting, and a step of the training.
_BEGIN_SECONDS = {"detector": 60.0, "appearance": 40.0, "hierarchy": 15.0}
_STEP_SECONDS = {"detector": 0.25, "appearance": 0.4, "hierarchy": 1.0}
_STEPS = {"detector": 800, "appearance": 60, "hierarchy": 120}  # as the teachers have them
_LABELLINGS = 3  # that gathering lessons and judging take

_ABOUT = {
    "detector": "Detector: what the boxes are found with",
    "appearance": "Appearance: how boxes look",
    "hierarchy": "Hierarchy: what joins boxes into tracks",
}
PARTS = tuple(_ABOUT)  # ``engine.versions.TAUGHT``, which imports torch
_USE = {"gate": "Use it if it is better", "always": "Use it in any case", "never": "Only put it on the shelf"}


class RetrainModels(SpamOperator):
    """Trains the models of a dataset further."""

    NAME = "retrain_models"
    LABEL = "SPAM: retrain"
    HELP = "Train the models further on what people said and on what the labels are sure of"
    BUTTON = "Retrain"
    ICON = "/assets/retrain.svg"
    IN_TOOLBAR = LONG = RELOADS = True

    def form(self, form: Form) -> None:
        """What is trained, on what, and what becomes of it."""
        view, choices = form.target(), form.choices
        out = form.tracks()
        form.head("parts", "What is trained", "What has nothing to learn from is left out, and named")
        chosen = [part for part in PARTS if form.switch(part, _ABOUT[part], True)]
        if not chosen:
            form.refuse("choose at least one part", PARTS[-1])
        alone = form.switch(
            "self_training", "Without answers: learn from what the model is sure of alone", not _answers(choices, out)
        )
        form.radio(
            "use", "The new version", _USE, "gate",
            descriptions={"gate": "Judged by answers that are held out: no model learns from them"},
        )  # fmt: skip
        form.number("seed", "Seed", 0, "Another one trains another version of the same", 0)
        answers = _answers(choices, out)
        if not (answers or alone):
            form.refuse("nobody has answered anything yet: choose questions first, or learn without answers", None)
        if answers and choices.count(view, out)[1]:
            waiting = _learning(choices, out).new_answers()
            if not waiting:
                form.warn("known", "No answer has come in since a version was trained last.")
        busy = _learning(choices, out).busy
        if busy is not None:
            form.refuse(busy)
        form.say("preview", _preview(choices, out, chosen, 0 if alone else answers, self._seconds(choices, chosen)))

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the parts, and how fast the last labelling was."""
        return self._seconds(choices_of(ctx), [part for part in PARTS if ctx.params.get(part, True)])

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where people have answered something that no model has learnt from yet."""
        choices = choices_of(ctx)
        return bool(choices.track_fields) and _learning(choices, choices.out).new_answers() > 0

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Retrains, and says whether the new version is used, and why."""
        tell(0.0, "loading the models")
        from ...engine.retraining import RetrainSettings
        from ...integrations.fiftyone_.learning import retrain
        from ...integrations.fiftyone_.retrainings import last_labelling

        params, choices = ctx.params, choices_of(ctx)
        chosen = tuple(part for part in PARTS if params.get(part, True))
        if not chosen:
            raise InputError("choose at least one part to retrain")
        out = params.get("out") or choices.out
        candidates, embeddings = last_labelling(choices.dataset, out)
        settings = RetrainSettings(
            # All of them means those that can: a part that was chosen alone is refused with the reason instead.
            parts=() if len(chosen) == len(PARTS) else chosen, seed=int(params.get("seed") or 0),
            self_training=bool(params.get("self_training")),
        )  # fmt: skip
        use = {"always": True, "never": False}.get(params.get("use") or "gate")
        (report,) = retrain(
            target_of(ctx), candidates, settings=settings, use=use, embeddings=embeddings, out=out, progress=tell
        )
        left = [f"the {part} was not trained: {why}" for part, why in report.left_out.items()]
        return {
            "said": report.said, "version": report.version.name, "used": report.used, "known": report.known,
            "promoted": report.version.promoted, "lessons": dict(report.lessons), "held_out": report.held_out,
            "learnt": _learnt(report.lessons, report.held_out), "problems": [*left, *report.notices],
        }  # fmt: skip

    def outcome(self, outputs: Any, result: dict[str, Any]) -> None:
        """What it learnt from, and what is next."""
        from fiftyone.operators import types

        if result.get("learnt"):
            outputs.view("learnt", types.Notice(label=result["learnt"]))
        if result.get("used"):
            outputs.view("next", types.Notice(label="Next: label tracks, which now takes the new version."))

    def _seconds(self, choices: Choices, parts: list[str]) -> float:
        own = sum(_BEGIN_SECONDS[part] + _STEPS[part] * _STEP_SECONDS[part] for part in parts)
        standing = choices.ledger.standing()
        boxes = standing.boxes if standing is not None else 0
        return own + _LABELLINGS * boxes / (choices.ledger.boxes_per_second or 4000.0)


def _learning(choices: Choices, out: str) -> Any:
    from ...integrations.fiftyone_.retrainings import Learning

    return Learning(choices.dataset, out)


def _answers(choices: Choices, out: str) -> int:
    return _learning(choices, out).count()[0]


def _preview(choices: Choices, out: str, parts: list[str], answers: int, seconds: float) -> str:
    """As in '34 answers in 3 videos, 8,120 confident boxes; about 6 minutes'."""
    from ...integrations.fiftyone_.choices import duration, plural
    from ...integrations.fiftyone_.ledger import Ledger

    standing = Ledger(choices.dataset, out).standing()
    confident = standing.confident(0.9) if standing is not None else 0
    videos = _learning(choices, out).count()[1]
    said = f"{answers:,} {plural(answers, 'answer')} in {videos:,} {plural(videos, 'video')}, " if answers else ""
    held = ", a quarter of the answers held out to judge by" if answers else ", no answers to judge by"
    return f"{said}about {confident:,} confident boxes{held}; {', '.join(parts) or 'nothing'}: {duration(seconds)}"


def _learnt(lessons: Mapping[str, int], held_out: int) -> str:
    return (
        f"Learnt from {lessons['human']:,} candidates and {lessons['human_boxes']:,} boxes that people spoke of and "
        f"{lessons['confident']:,} candidates that the model is sure of; {lessons['masked']:,} counted nothing, "
        f"{held_out:,} answers were held out."
    )
