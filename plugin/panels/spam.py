"""The panel "SPAM": where the dataset stands, what to ask a person next, what effort has brought, and jobs.

Everything it shows was counted when it was written (``integrations.fiftyone_.ledger``), so it costs no scan of boxes.
It looks again every few seconds, and draws anew only if something has changed: a menu that is open would close.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property, wraps
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar, cast

import fiftyone.operators as foo
from fiftyone.operators import types

from ...models.errors import InputError, MissingError
from ..operators.base import show_colours
from ..operators.forms import choices_of, sentence
from . import charts, jobs, overview, review, rounds

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...engine.standing import ModelVersion, QueueRow, Round, Standing
    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.jobs import Job

PLUGIN = "@spam-plugin/spam"
EVERY = 5000  # milliseconds between two looks
PAGES = {"overview": "Overview", "review": "Review", "rounds": "Rounds", "jobs": "Jobs", "video": "This video"}

Method = TypeVar("Method", bound=Callable[..., Any])


def told(method: Method) -> Method:
    """Shows what a user can mend as a sentence in the panel, instead of a traceback."""

    @wraps(method)
    def call(self: Any, ctx: ExecutionContext) -> Any:
        try:
            return method(self, ctx)
        except Exception as error:
            said = sentence(error)
            if said is None:
                raise
            ctx.ops.notify(said, variant="error")
            return None

    return cast(Method, call)


class Seen:
    """What the pages show, each part read when it is first asked for.

    Args:
        choices: the dataset.
        out: field of tracks that was chosen, or None.
        job: id of the job whose log is shown, or None.
    """

    def __init__(self, choices: Choices, out: str | None, job: str | None) -> None:
        from ...integrations.fiftyone_.ledger import Ledger

        self.choices = choices
        self.out = out if out in choices.track_fields else choices.out
        self.ledger = Ledger(choices.dataset, self.out)
        self._job = job

    @cached_property
    def standing(self) -> Standing | None:
        """Where the field stands."""
        return self.ledger.standing()

    @cached_property
    def rounds(self) -> list[Round]:
        """What was done to it."""
        return self.ledger.rounds()

    @cached_property
    def models(self) -> list[ModelVersion]:
        """What labelled it."""
        return self.ledger.models()

    @cached_property
    def queue(self) -> list[QueueRow]:
        """The questions that are worth most."""
        return self.ledger.queue(review.SHOWN)

    @cached_property
    def jobs(self) -> list[Job]:
        """Jobs of the dataset, newest first."""
        from ...integrations.fiftyone_.jobs import list_jobs

        return list_jobs(self.choices.dataset, jobs.SHOWN)

    @cached_property
    def log(self) -> str | None:
        """What the chosen job printed; None if none is chosen."""
        from ...integrations.fiftyone_.jobs import job_log

        return None if self._job is None else job_log(self._job) or "it has printed nothing"


class SpamPanel(foo.Panel):
    """The panel."""

    @property
    def config(self) -> foo.PanelConfig:
        """What FiftyOne asks for."""
        return foo.PanelConfig(
            name="spam_panel", label="SPAM", icon="/assets/spam.svg", surfaces="grid modal",
            help_markdown="Where the dataset stands, which questions are worth a click, and what effort has brought.",
        )  # fmt: skip

    # --- what FiftyOne calls

    def execute(self, ctx: ExecutionContext) -> Any:
        """Does what the browser asks for, and shows what has changed by it."""
        method = ctx.params.get("__method__")
        if method in (None, "on_startup"):
            return self.on_startup(ctx)
        ctx.event_args = ctx.params.get("event_args", {})
        result = getattr(self, method)(ctx)
        self.show(ctx, anew=method != "tick")
        return result

    def on_load(self, ctx: ExecutionContext) -> None:
        """Opens the page that is meant: that of the video where one is open."""
        sample = str(ctx.current_sample) if ctx.current_sample else None
        ctx.panel.state.set({"page": "video" if sample else "overview", "sample": sample, "dataset": ctx.dataset_name})

    def on_change_dataset(self, ctx: ExecutionContext) -> None:
        """Another dataset is open, or the same: FiftyOne says so, too, when a panel is moved to another place."""
        if ctx.panel.state.get("dataset") != ctx.dataset_name:
            fresh = {"page": "overview", "sample": None, "out": None, "job": None, "dataset": ctx.dataset_name}
            ctx.panel.state.set(fresh)

    def on_change_current_sample(self, ctx: ExecutionContext) -> None:
        """Another sample is open, or none; then the page of the last one stays."""
        if ctx.current_sample:
            ctx.panel.state.set("sample", str(ctx.current_sample))

    def tick(self, ctx: ExecutionContext) -> None:
        """Looks again; tells of jobs that have ended, and shows what they have changed, unless a sample is open."""
        if ctx.current_sample:
            return
        try:
            self._tell_of_jobs(ctx)
        except Exception as error:
            if sentence(error) is None:
                raise  # else drawing says it

    def turn(self, ctx: ExecutionContext) -> None:
        """Another page."""
        ctx.panel.state.set("page", str(ctx.params.get("value")))

    def choose_field(self, ctx: ExecutionContext) -> None:
        """Another field of tracks."""
        ctx.panel.state.set("out", str(ctx.params.get("value")))

    # --- what people press

    @told
    def open_here(self, ctx: ExecutionContext) -> None:
        """Opens the frame of a question."""
        row = self._row(ctx)
        _open(ctx, row.sample)
        if choices_of(ctx).prefix:
            ctx.trigger(f"{PLUGIN}/jump_to_frame", {"sample": row.sample, "frame": row.frame})

    @told
    def open_there(self, ctx: ExecutionContext) -> None:
        """Opens the job of a question in CVAT."""
        from ...integrations.cvat.links import link_of

        row, choices = self._row(ctx), choices_of(ctx)
        link = link_of(choices.dataset, self._seen(ctx).out, row.video, row.frame - 1)
        if link is None:
            raise MissingError(f"video {row.name!r} has no job in CVAT yet; sync with CVAT first")
        ctx.ops.notify(f"opening {link}")
        ctx.trigger(f"{PLUGIN}/open_link", {"url": link})

    @told
    def jump(self, ctx: ExecutionContext) -> None:
        """Goes to the frame of the timeline that was clicked."""
        frame = int(ctx.params["x"])
        images = ctx.panel.state.get("images") or {}
        if images:
            _open(ctx, images[str(frame)])
        else:
            sample = _sample(ctx)
            if not ctx.current_sample:
                _open(ctx, sample)
            ctx.trigger(f"{PLUGIN}/jump_to_frame", {"sample": sample, "frame": frame})

    @told
    def use(self, ctx: ExecutionContext) -> None:
        """Chooses the model that the next labelling takes."""
        ledger = self._seen(ctx).ledger
        model = _at(ledger.models(), ctx)
        if not model.can_be_chosen:
            raise InputError(f"nobody told where the weights of {model.version!r} are; label once with their file")
        ledger.choose_model(model.path)
        ctx.ops.notify(f"the next labelling takes {model.version}", variant="success")

    @told
    def job_log(self, ctx: ExecutionContext) -> None:
        """Shows what a job printed; asked once more, no longer."""
        id = self._job(ctx).id
        ctx.panel.state.set("job", None if id == ctx.panel.state.get("job") else id)

    @told
    def job_cancel(self, ctx: ExecutionContext) -> None:
        """Ends a job."""
        from ...integrations.fiftyone_.jobs import cancel

        self._after_job(ctx, cancel, "cancelled")

    @told
    def job_fail(self, ctx: ExecutionContext) -> None:
        """Marks a job as failed whose worker is gone."""
        from ...integrations.fiftyone_.jobs import mark_failed

        self._after_job(ctx, mark_failed, "marked as failed")

    @told
    def job_again(self, ctx: ExecutionContext) -> None:
        """Asks for a job once more."""
        from ...integrations.fiftyone_.jobs import run_again

        self._after_job(ctx, run_again, "asked for again")

    def _tell_of_jobs(self, ctx: ExecutionContext) -> None:
        seen, waited = self._seen(ctx), ctx.panel.state.get("waited") or []
        ended = jobs.over(seen.jobs, waited)
        for job in ended:
            ctx.ops.notify(
                f"{job.label}: {job.error or job.said or job.state}",
                variant="success" if job.state == "completed" else "error",
            )
        if ended:
            ctx.ops.reload_dataset()
            list(show_colours(ctx, seen.choices.dataset))
        now = jobs.waiting(seen.jobs)
        if now != waited:
            ctx.panel.state.set("waited", now)

    # --- drawing

    def render(self, ctx: ExecutionContext) -> types.Property:
        """Draws the page that is open."""
        panel = types.Object()
        try:
            self._draw(ctx, panel)
        except Exception as error:
            said = sentence(error)
            if said is None:
                raise
            panel = types.Object()
            panel.view("trouble", types.Warning(label=said))
        panel.obj("clock", view=types.TimerView(interval=EVERY, on_interval=self.tick))
        return types.Property(panel, view=types.GridView(orientation="vertical", align_x="stretch", gap=2, px=2, py=1))

    def _draw(self, ctx: ExecutionContext, panel: types.Object) -> None:
        choices = choices_of(ctx)
        page = self._page(ctx)
        # No tabs: they tell of themselves whenever they are drawn, and two such answers at once go on for ever.
        tabs = panel.h_stack("pages", gap=1)
        for key, label in PAGES.items():
            if key != "video" or _sample(ctx):
                tabs.btn(
                    f"to_{key}", label=label, on_click=self.turn, params={"value": key},
                    variant="outlined" if key == page else "text",
                )  # fmt: skip
        if len(choices.track_fields) > 1:
            fields = types.DropdownView()
            for name in choices.track_fields:
                fields.add_choice(name, label=name)
            panel.enum("out", fields.values(), label="field of tracks", default=choices.out, view=fields,
                       on_change=self.choose_field)  # fmt: skip
        seen = self._seen(ctx)
        if page == "overview":
            overview.draw(panel, seen.standing, seen.rounds, seen.out if seen.choices.track_fields else None)
        elif page == "review":
            total = seen.standing.open_queries if seen.standing else 0
            review.draw(panel, seen.queue, total, self.open_here, self.open_there)
        elif page == "rounds":
            rounds.draw(panel, seen.rounds, seen.models, self.use)
        elif page == "jobs":
            from ...integrations.fiftyone_.jobs import workers

            actions = {"log": self.job_log, "cancel": self.job_cancel, "fail": self.job_fail, "again": self.job_again}
            jobs.draw(panel, seen.jobs, workers(), seen.log, actions)
        else:
            panel.md("Uncertainty by frame; **click** to go there.", name="hint")
            chart = charts.layout("frame", "uncertainty", 260, yaxis={"range": [0, 1.1]})
            panel.plot("timeline", layout=chart, on_click=self.jump)

    # --- looking

    def show(self, ctx: ExecutionContext, anew: bool = True) -> None:
        """Sends what the open page shows, if it has changed or is to be drawn anew."""
        ctx.spam_seen = None  # what was read before something was changed
        try:
            data = self._data(ctx)
        except Exception as error:
            if sentence(error) is None:
                raise
            data = {}  # drawing says it
        drawn = self.render(ctx)
        digest = blake2b(json.dumps([data, drawn.to_json()], sort_keys=True).encode(), digest_size=8).hexdigest()
        if not anew and ctx.panel.state.get("seen") == digest:
            return
        ctx.panel.state.set("seen", digest)
        for key, value in data.items():
            ctx.panel.data.set(key, value)
        ctx.ops.show_panel_output(drawn)

    def _data(self, ctx: ExecutionContext) -> dict[str, Any]:
        page, seen = self._page(ctx), self._seen(ctx)
        if page == "overview":
            return overview.data(seen.standing)
        if page == "review":
            return review.data(seen.queue)
        if page == "rounds":
            return rounds.data(seen.rounds, seen.models)
        if page == "jobs":
            return jobs.data(seen.jobs)
        return self._video_data(ctx)

    def _video_data(self, ctx: ExecutionContext) -> dict[str, Any]:
        from ...integrations.fiftyone_.timeline import read_timeline

        seen = self._seen(ctx)
        timeline = read_timeline(seen.choices.dataset, seen.out, _whole(ctx, _sample(ctx)))
        ctx.panel.state.set("images", {str(at): one for at, one in (timeline.images or {}).items()})
        return {"timeline": charts.uncertainty_over_time(timeline)}

    # --- who is meant

    def _page(self, ctx: ExecutionContext) -> str:
        page = ctx.panel.state.get("page") or "overview"
        return page if page in PAGES and (page != "video" or _sample(ctx)) else "overview"

    def _seen(self, ctx: ExecutionContext) -> Seen:
        """What is read for one request, once; a context is asked for the dataset and gives a copy each time."""
        seen = getattr(ctx, "spam_seen", None)
        if seen is None:
            seen = ctx.spam_seen = Seen(choices_of(ctx), ctx.panel.state.get("out"), ctx.panel.state.get("job"))
        return seen

    def _row(self, ctx: ExecutionContext) -> Any:
        return _at(self._seen(ctx).queue, ctx)

    def _job(self, ctx: ExecutionContext) -> Any:
        return _at(self._seen(ctx).jobs, ctx)

    def _after_job(self, ctx: ExecutionContext, act: Callable[[str], Any], done: str) -> None:
        job = self._job(ctx)
        act(job.id)
        ctx.ops.notify(f"{job.label}: {done}", variant="success")


def _at(rows: list[Any], ctx: ExecutionContext) -> Any:
    """The row of a table that was clicked.

    Raises:
        MissingError: if it is gone by now.
    """
    place = int(ctx.params["row"])
    if not 0 <= place < len(rows):
        raise MissingError("this row is gone by now; look again")
    return rows[place]


def _sample(ctx: ExecutionContext) -> str:
    """The sample that is open, else the one that was; empty for none. While the App draws anew, it tells of none."""
    return str(ctx.current_sample or ctx.panel.state.get("sample") or "")


def _open(ctx: ExecutionContext, sample: str) -> None:
    """Opens a sample as a click on its tile does; FiftyOne's own operator would not show fields that are new."""
    ctx.trigger(f"{PLUGIN}/show_sample", {"id": sample})


def _whole(ctx: ExecutionContext, sample: str) -> str:
    """The sample that a clip or a frame is of; a whole one is itself."""
    view = ctx.view
    if view is None or not view._is_generated:
        return sample
    found = view.select(sample).values("sample_id")
    return str(found[0]) if found else sample
