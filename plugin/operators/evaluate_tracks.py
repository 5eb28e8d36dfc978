"""Operator "evaluate": what tracks are worth against ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from .base import SpamOperator
from .forms import NONE, Form, choices_of, target_of
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

BOXES_PER_SECOND = 60_000.0  # of tracks and truth together

_RULES = {NONE: "as they are", "mot17": "as MOT17 does (also MOT16)", "mot20": "as MOT20 does"}
_ABOUT = {
    NONE: "boxes are matched whatever their labels", "mot17": "distractors and other classes are taken out",
    "mot20": "the same by the rules of MOT20",
}  # fmt: skip


class EvaluateTracks(SpamOperator):
    """Scores a field of tracks."""

    NAME = "evaluate_tracks"
    LABEL = "SPAM: evaluate tracks"
    HELP = "Score tracks against ground truth: HOTA, MOTA, IDF1 and kin"
    BUTTON = "Evaluate"
    ICON = "/assets/evaluate.svg"
    LONG = True

    def form(self, form: Form) -> None:
        """Which tracks, against what."""
        from ...integrations.fiftyone_.choices import plural

        view, choices = form.target(), form.choices
        fields = choices.tracks_or_foreign
        usual = choices.track_fields[0] if choices.track_fields else None
        pred = form.boxes("pred", "Tracks", usual, fields=fields)
        truth = form.boxes("gt", "Ground truth", choices.truth, fields=[name for name in fields if name != pred])
        form.radio("preprocess", "Boxes are compared", _RULES, NONE, descriptions=_ABOUT)
        videos, boxes = choices.count(view, pred)
        with form.refusing("gt"):
            _, right = choices.candidates_in(view, truth)
            form.say("preview", f"{videos:,} {plural(videos, 'video')}, {boxes:,} boxes against {right:,} of the truth")

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of boxes."""
        choices, view = choices_of(ctx), target_of(ctx)
        fields = [ctx.params.get("pred") or choices.out, ctx.params.get("gt") or choices.truth]
        return sum(choices.count(view, field)[1] for field in fields if field in choices.box_fields) / BOXES_PER_SECOND

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Scores, and shows a table."""
        from ...integrations.fiftyone_.evaluate import evaluate

        preprocess = ctx.params.get("preprocess") or NONE
        tell(0.1, "scoring")
        scored = evaluate(
            target_of(ctx), ctx.params["pred"], ctx.params["gt"], preprocess=None if preprocess == NONE else preprocess,
            progress=False,
        )  # fmt: skip
        header, *rows = scored.table()
        overall = dict(zip(header, rows[-1], strict=True))
        said = f"HOTA {overall['HOTA']}, IDF1 {overall['IDF1']}, MOTA {overall['MOTA']} over all videos"
        left = [f"left out, as it has no ground truth: {name}" for name in scored.without_truth]
        return {
            "said": said, "rows": [dict(zip(header, row, strict=True)) for row in rows], "problems": left,
            **scored.as_dict(percent=True),
        }  # fmt: skip

    def outcome(self, outputs: types.Object, result: dict[str, Any]) -> None:
        """The table: a row a video, and all of them together."""
        rows = result.get("rows") or []
        view = types.TableView()
        for name in rows[0] if rows else ():
            view.add_column(name, label=name)
        outputs.list("rows", types.Object(), view=view)
