"""Button "fill gaps": objects are followed between, before and behind the boxes that people drew of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ...models.errors import InputError, MissingError
from .base import SpamOperator
from .forms import Form, choices_of, target_of
from .live import Tell, parts

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.propagating import ToFill

LOADING_SECONDS = 4.0
BOXES_PER_SECOND = 20.0  # that are filled on one core: both ways, with the human boxes that are filled over
KEPT_SECONDS = 30.0  # for which a count is good: forms are made anew at every key stroke

_OVER = {"interpolated": "Only where nothing was seen", "model": "The detector's boxes between a person's boxes, too"}
_counted: dict[Any, tuple[float, ToFill]] = {}


class FillGaps(SpamOperator):
    """Fills the gaps between human boxes."""

    NAME = "fill_gaps"
    LABEL = "SPAM: fill gaps"
    HELP = "Follow objects between, before and behind the boxes that people drew of them"
    BUTTON = "Fill"
    ICON = "/assets/fill_gaps.svg"
    IN_TOOLBAR = LONG = RELOADS = True

    def form(self, form: Form) -> None:
        """Which tracks, how far, and what will happen."""
        view, choices = form.target(), form.choices
        out = form.boxes(
            "out", "Tracks", choices.out if choices.out in choices.box_fields else None,
            "Boxes that people drew stay as they are; filled ones go beside them", _able(choices),
        )  # fmt: skip
        form.radio("over", "Filled boxes go", _OVER, "interpolated")
        form.number(
            "open_frames", "Frames to follow an object before its first and behind its last box", 60,
            "It ends earlier where the tracker is not sure any more; 0 for not at all", low=0, high=10000,
        )  # fmt: skip
        form.switch("again", "Follow all anew, not only where boxes of people have changed")
        form.switch("skip_bad", "Leave out videos that cannot be used, instead of refusing")
        there = _count(choices, view, out)
        if not there.keys:
            raise InputError(
                "nobody has drawn a box here: draw one of an object in two or more frames, in the App or in CVAT, or "
                "answer questions with boxes; then fill the gaps"
            )
        form.say("preview", _preview(there))

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of frames to fill."""
        choices = choices_of(ctx)
        return _seconds(_count(choices, target_of(ctx), ctx.params.get("out") or choices.out))

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where people drew boxes in a field of tracks of ours."""
        choices = choices_of(ctx)
        if not choices.track_fields:
            return False
        from ...integrations.fiftyone_.looking import any_changed_by_people

        return any_changed_by_people(choices.dataset, choices.out)

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Fills, and says what came out."""
        tell(0.0, "loading the tracker")
        from ...engine.filling import FillSettings
        from ...integrations.fiftyone_.choices import plural
        from ...integrations.fiftyone_.propagating import propagate

        params, choices = ctx.params, choices_of(ctx)
        out = params.get("out") or choices.out
        open_frames = params.get("open_frames")
        settings = FillSettings() if open_frames is None else FillSettings(open_frames=int(open_frames))
        step = parts(tell, ("reading", 1), ("filling", 9))
        report = propagate(
            target_of(ctx), out=out, settings=settings, over=params.get("over") or "interpolated",
            again=bool(params.get("again")), skip_bad=bool(params.get("skip_bad")),
            progress=lambda at: step(at.stage, at.done, at.total, at.video),
        )  # fmt: skip
        _counted.clear()
        whole = report.as_dict()["overall"]
        boxes, objects, videos = whole["boxes"], whole["objects"], whole["videos"]
        said = (
            f"{boxes:,} {plural(boxes, 'box', 'boxes')} filled in around {whole['keys']:,} of people, of {objects:,} "
            f"{plural(objects, 'object')} in {videos:,} {plural(videos, 'video')}"
        )
        skipped = [f"left out video {name!r}: {why}" for name, why in report.skipped.items()]
        return {**whole, "said": said, "out": out, "run": report.run, "problems": [*skipped, *report.problems]}

    def outcome(self, outputs: Any, result: dict[str, Any]) -> None:
        """How they were found, and what is next."""
        from fiftyone.operators import types

        if not result.get("boxes"):
            return
        seen = result["tracked"] + result["snapped"]
        how = f"{seen:,} were followed, {result['interpolated']:,} lie on a straight line; "
        outputs.view("how", types.Notice(label=f"{how}they are right with {result['mean_confidence']:.0%} on average."))
        outputs.view("next", types.Notice(label="Next: label tracks, which joins them with what the detector found."))


def _able(choices: Choices) -> list[str]:
    """Fields that may hold boxes of people; not those that only a detector writes."""
    detected = {choices.ledger.candidates, "candidates"}
    return [name for name in choices.tracks_or_foreign if name not in detected]


def _count(choices: Choices, view: SampleCollection, out: str) -> ToFill:
    """What there is to fill; kept for half a minute."""
    from ...integrations.fiftyone_.propagating import count_to_fill

    if out not in choices.box_fields:
        raise MissingError(f"dataset {choices.name!r} has no field of boxes {out!r}; choose another one")
    key = (str(choices.dataset._doc.id), out, None if view is choices.dataset else repr(view._serialize()))
    now = time.monotonic()
    for old in [one for one, (when, _) in _counted.items() if now - when > KEPT_SECONDS]:
        _counted.pop(old, None)
    if key not in _counted:
        _counted[key] = (now, count_to_fill(view, out))
    return _counted[key][1]


def _seconds(there: ToFill) -> float:
    return LOADING_SECONDS + there.frames / BOXES_PER_SECOND


def _preview(there: ToFill) -> str:
    """As in '12 objects with 40 boxes of people in 3 videos, 1,100 frames between them; about 25 s'."""
    from ...integrations.fiftyone_.choices import duration, plural

    objects = f"{there.objects:,} {plural(there.objects, 'object')}"
    keys = f"{there.keys:,} {plural(there.keys, 'box', 'boxes')} of people"
    videos = f"{there.videos:,} {plural(there.videos, 'video')}"
    frames = f"{there.frames:,} {plural(there.frames, 'frame')} between them"
    return f"{objects} with {keys} in {videos}, {frames}; {duration(_seconds(there))}"
