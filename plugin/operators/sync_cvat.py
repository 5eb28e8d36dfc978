"""Button "sync with CVAT": what people finished there comes back, and what needs them is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .base import SpamOperator, show_fields
from .forms import Form, choices_of, target_of
from .live import Tell, parts

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...engine.desk.context import SyncReport, SyncSettings
    from ...integrations.cvat.client import Access

SECRETS = ("CVAT_URL", "CVAT_TOKEN", "CVAT_USERNAME", "CVAT_PASSWORD", "CVAT_ORG")
SECONDS_PER_VIDEO = 15.0  # to send the media of one and wait until CVAT has taken them

_STATES, _STAGES = ("new", "in progress", "completed", "rejected"), ("annotation", "validation", "acceptance")
_MEDIA = {
    "upload": "are uploaded", "share": "lie in a folder that CVAT shares", "cloud": "lie in a cloud storage of CVAT's"
}  # fmt: skip
_UNITS = re.compile(r"\b(project|task|frame|track|keyframe|issue|job|box|answer|step)(?:e?s)\b")


class SyncCvat(SpamOperator):
    """Keeps the dataset and a CVAT project the same."""

    NAME = "sync_cvat"
    LABEL = "SPAM: sync with CVAT"
    HELP = "Bring back what people finished in CVAT, and send what needs them"
    BUTTON = "Synchronise"
    ICON = "/assets/sync.svg"
    IN_TOOLBAR = LONG = RELOADS = True

    def form(self, form: Form) -> None:
        """What goes where, to whom, and what will happen."""
        view = form.target()
        out = form.tracks()
        access = access_of(form.ctx)
        pull = form.switch("pull", "Bring back what people did", True)
        if pull:
            form.several("states", "Jobs that come back", _STATES, ("completed",), "Those in one of these states")
        push = form.switch("push", "Send what needs people", True)
        if push:
            form.text(
                "assignees",
                "Who gets jobs, in turn",
                help="Names of users in CVAT, with commas between; nobody if empty",
            )
            form.number("job_seconds", "Length of a job, in seconds of video", 10.0, low=0.1)
        form.switch("dry_run", "Only say what would be done")
        if form.switch("more", "More settings, that are rarely needed"):
            _more(form, pull, push)
        if not pull and not push:
            form.refuse("there is nothing to do: bring something back, or send something", "push")
            return
        with form.refusing("job_seconds"):
            settings = _settings(form.params)
        with form.refusing("folder"):
            _remote(form.params)
        if form.refused is None:
            self._preview(form, view, out, access, settings)

    def _preview(self, form: Form, view: Any, out: str, access: Access, settings: SyncSettings) -> None:
        from ...integrations.fiftyone_.choices import plural

        choices = form.choices
        asked, sent = choices.open_questions(view, out), choices.was_sent(out)
        if settings.push and settings.windows == "all":
            form.say("sending", f"To {access.url}: every job of every video is opened; {asked.said}")
        elif settings.push and asked.queries:
            form.say("sending", f"To {access.url}: {asked.said}")
        elif settings.push:
            form.warn("sending", "No query is open, so nothing new is sent; choose what to review first")
        if settings.pull:
            waiting = choices.in_review(view, out)
            if sent:
                what = " or ".join(settings.states)
                form.say("returning", f"{waiting:,} {plural(waiting, 'video')} in review: what is {what} comes back")
            else:
                form.say("returning", "Nothing was sent yet, so nothing comes back")

    def seconds(self, ctx: ExecutionContext) -> float:
        """From the number of videos that have something to ask."""
        choices = choices_of(ctx)
        return SECONDS_PER_VIDEO * choices.open_questions(target_of(ctx)).videos

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where something is to be sent, or was."""
        choices = choices_of(ctx)
        return bool(choices.track_fields) and (choices.has_open_questions() or choices.was_sent())

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Synchronises, and says what was done."""
        from ...integrations.cvat.sync import Link, sync

        out = ctx.params.get("out") or choices_of(ctx).out
        settings = _settings(ctx.params)
        attributes = _words(ctx.params.get("attributes"))
        tell(0.0, "asking the server")
        link = Link(target_of(ctx), out, None, attributes or None, _remote(ctx.params), access_of(ctx))
        report = sync(link, settings, parts(tell, ("pulling", 1), ("pushing", 4)))
        return {
            "said": done(report, settings.dry_run), "counts": dict(report.counts), "notices": list(report.notices),
            "problems": [*report.problems, *_conflicts(report, choices_of(ctx).name)],
            "project": report.project, "url": report.url, "out": out,
        }  # fmt: skip

    def outcome(self, outputs: Any, result: dict[str, Any]) -> None:
        """What is worth knowing, and where people find it."""
        from fiftyone.operators import types

        for number, notice in enumerate(result.get("notices", ())):
            outputs.view(f"notice_{number}", types.Notice(label=notice))
        if result.get("project") is not None:
            href = f"{result['url']}/projects/{result['project']}"
            outputs.view("where", types.LinkView(label="Open the project in CVAT", href=href))

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Shows on every video how its review stands."""
        from ...integrations.fiftyone_.fields import OutputFields

        fields = OutputFields(result["out"])
        yield from show_fields(ctx, choices_of(ctx).prefix + fields.out, fields.summary("review_status"))


def access_of(ctx: ExecutionContext) -> Access:
    """Where the server is and who we are there: from the plugin's secrets, then from the environment.

    Raises:
        MissingError: for what is not set; says what, and where to set it.
        InputError: for an address that cannot be.
    """
    from ...integrations.cvat.client import Access
    from ...models.errors import MissingError

    try:
        return Access.from_environment({name: ctx.secret(name) for name in SECRETS})
    except MissingError as error:
        raise MissingError(
            f"{error}. They are set in the environment of the App's server, and of workers, before these are started"
        ) from error


def done(report: SyncReport, dry_run: bool) -> str:
    """What a synchronisation did, in a sentence."""
    counts = [_UNITS.sub(r"\1", f"{number} {what}") if number == 1 else f"{number:,} {what}"
              for what, number in report.counts.items()]  # fmt: skip
    if not counts:
        return "nothing would be done" if dry_run else "nothing was to be done: both sides are the same"
    return ("would be done: " if dry_run else "") + ", ".join(counts)


def _conflicts(report: SyncReport, dataset: str) -> list[str]:
    mend = f"settle it with: spam-plugin sync {dataset} --settle cvat (or: dataset)"
    return [f"conflict: {conflict.text}; {mend}" for conflict in report.conflicts]


def _more(form: Form, pull: bool, push: bool) -> None:
    """What is rarely needed."""
    form.head("rare", "More settings")
    if pull:
        form.several("stages", "Only jobs in one of these stages come back", _STAGES)
        form.switch("confirm", "What people left alone in a job that comes back was right")
    if not push:
        return
    form.switch("everything", "Open every job, not only those that hold open queries")
    form.number("overlap_seconds", "What a job shares with the next, in seconds", 2.0, low=0.0)
    form.number("tolerance", "Overlap (IoU) within which keyframes follow the boxes", 0.9, low=0.01, high=1.0)
    form.text(
        "attributes", "Attributes that people see and may change", help="With commas between; all of yours if empty"
    )
    media = form.radio("media", "The videos", _MEDIA, "upload")
    if media != "upload":
        if media == "cloud":
            form.number("storage", "Number of the cloud storage in CVAT", 1, low=1)
        form.text("folder", "Folder on this machine", help="That the share or storage shows", required=True)
        form.text("there", "Its path there", help="Empty for the top of the share or storage")
    form.switch("force", "Also write to jobs that people are at work on")
    form.switch("remake", "Send videos again whose tasks were deleted in CVAT")


def _settings(params: Mapping[str, Any]) -> SyncSettings:
    """What is wanted, from what was filled in.

    Raises:
        InputError: for settings that cannot be.
    """
    from ...engine.desk.context import SyncSettings

    more = params if params.get("more") else {}
    states = params.get("states")
    return SyncSettings(
        pull=params.get("pull") is not False, push=params.get("push") is not False,
        states=("completed",) if states is None else tuple(states), stages=tuple(more.get("stages") or ()),
        confirm=bool(more.get("confirm")), windows="all" if more.get("everything") else "queries",
        assignees=tuple(_words(params.get("assignees"))), job_seconds=float(params.get("job_seconds") or 10.0),
        overlap_seconds=_number(more, "overlap_seconds", 2.0), tolerance=_number(more, "tolerance", 0.9),
        force=bool(more.get("force")), remake=bool(more.get("remake")), dry_run=bool(params.get("dry_run")),
    )  # fmt: skip


def _remote(params: Mapping[str, Any]) -> tuple[str, Path, str] | None:
    """Where media lie that are not uploaded.

    Raises:
        MissingError: for a folder that is not there.
    """
    from ...models.errors import MissingError

    media = params.get("media") if params.get("more") else None
    if media not in ("share", "cloud"):
        return None
    folder = Path(str(params.get("folder") or "").strip())
    if not folder.is_absolute() or not folder.is_dir():
        raise MissingError(f"{str(folder)!r} is no folder of this machine; write its whole path")
    place = "share" if media == "share" else str(int(_number(params, "storage", 1)))
    return place, folder, str(params.get("there") or "").strip()


def _words(text: Any) -> list[str]:
    return [word.strip() for word in str(text or "").split(",") if word.strip()]


def _number(params: Mapping[str, Any], name: str, default: float) -> float:
    value = params.get(name)
    return default if value is None else float(value)
