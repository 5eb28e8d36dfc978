"""Operator "where the jobs in CVAT stand": a table with a link to each; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from .base import SpamOperator
from .forms import Form, choices_of, target_of
from .live import Tell
from .sync_cvat import access_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fiftyone.operators.executor import ExecutionContext

    from ...engine.desk.sync import JobStatus

JOBS_SHOWN = 200
_HEADER = ("video", "job", "frames", "state", "stage", "who", "tracks", "questions", "")


class SyncStatus(SpamOperator):
    """Asks CVAT where every job of the dataset stands."""

    NAME = "sync_status"
    LABEL = "SPAM: jobs in CVAT"
    HELP = "Show where every job in CVAT stands, with a link to it"
    BUTTON = "Look"
    ICON = "/assets/status.svg"

    def form(self, form: Form) -> None:
        """Which tracks, and how many videos are in review."""
        from ...integrations.fiftyone_.choices import plural

        view, out = form.target(), form.tracks()
        access = access_of(form.ctx)
        if not form.choices.was_sent(out):
            form.say("preview", "Nothing was sent to CVAT yet")
            return
        waiting = form.choices.in_review(view, out)
        form.say("preview", f"{waiting:,} {plural(waiting, 'video')} in review at {access.url}")

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Asks, and puts the answers into a table."""
        from ...integrations.cvat.sync import Link, sync_status
        from ...integrations.fiftyone_.choices import plural

        out = ctx.params.get("out") or choices_of(ctx).out
        tell(0.1, "asking the server")
        rows = sync_status(Link(target_of(ctx), out, access=access_of(ctx)))
        waiting, is_open = sum(row.waiting for row in rows), sum(row.is_open for row in rows)
        said = f"{len(rows):,} {plural(len(rows), 'job')}: {is_open:,} wait for a person, {waiting:,} have news"
        return {
            "said": said if rows else "nothing has been sent yet",
            "jobs": [row.as_dict() for row in rows],
            "table": table(rows) if rows else "",
            "problems": [f"{len(rows) - JOBS_SHOWN:,} more jobs are not shown"] if len(rows) > JOBS_SHOWN else [],
        }

    def outcome(self, outputs: types.Object, result: dict[str, Any]) -> None:
        """The table."""
        if result.get("table"):
            outputs.str("table", view=types.MarkdownView())


def table(rows: Iterable[JobStatus]) -> str:
    """Jobs as a table in Markdown, those that wait for a person first."""
    lines = [" | ".join(("", *_HEADER, "")).strip(), "|".join(("", *("---" for _ in _HEADER), ""))]
    for row in sorted(rows, key=lambda row: not row.is_open)[:JOBS_SHOWN]:
        mark = "to come back" if row.waiting else "open" if row.is_open else ""
        cells = (
            _cell(row.video), f"[{row.job}]({row.link})", f"{row.frames[0]}-{row.frames[1]}", row.state, row.stage,
            _cell(row.assignee), row.tracks, row.questions, mark,
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """A name as it is: no letter of it may mean something in Markdown."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-.!|<>~" else letter for letter in text)
