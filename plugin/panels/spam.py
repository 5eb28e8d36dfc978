"""The panel "SPAM": where the dataset stands, what to ask a person next, what effort has brought, and jobs.

Everything it shows was counted when it was written (``integrations.fiftyone_.ledger``), so it costs no scan of boxes.
It looks again every few seconds, and sends only what has changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import fiftyone.operators as foo
from fiftyone.operators import types

from ...models.errors import InputError, MissingError
from ..operators.forms import choices_of, sentence
from . import charts, jobs, overview, review, rounds

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

    from ...integrations.fiftyone_.choices import Choices
    from ...integrations.fiftyone_.ledger import Ledger

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

    def on_load(self, ctx: ExecutionContext) -> None:
        """Opens the page that is meant: that of the video where one is open."""
        ctx.panel.state.set("page", "video" if ctx.current_sample else "overview")
        self._look(ctx, anew=True)

    def on_change_dataset(self, ctx: ExecutionContext) -> None:
        """Another dataset is open."""
        ctx.panel.state.set({"page": "overview", "out": None, "job": None})
        self._look(ctx, anew=True)

    def on_change_current_sample(self, ctx: ExecutionContext) -> None:
        """Another sample is open, or none."""
        if ctx.panel.state.get("page") == "video":
            if not ctx.current_sample:
                ctx.panel.state.set("page", "overview")
            self._look(ctx, anew=True)

    def tick(self, ctx: ExecutionContext) -> None:
        """Looks again."""
        self._look(ctx)

    def turn(self, ctx: ExecutionContext) -> None:
        """Another page."""
        ctx.panel.state.set("page", str(ctx.params.get("value")))
        self._look(ctx, anew=True)

    def choose_field(self, ctx: ExecutionContext) -> None:
        """Another field of tracks."""
        ctx.panel.state.set("out", str(ctx.params.get("value")))
        self._look(ctx, anew=True)

    # --- what people press

    @told
    def refresh(self, ctx: ExecutionContext) -> None:
        """Counts again."""
        self._ledger(ctx).refresh()
        self._look(ctx, anew=True)

    @told
    def open_here(self, ctx: ExecutionContext) -> None:
        """Opens the frame of a question."""
        row = self._row(ctx)
        ctx.ops.open_sample(id=row.sample)
        if choices_of(ctx).prefix:
            ctx.trigger(f"{PLUGIN}/jump_to_frame", {"sample": row.sample, "frame": row.frame})

    @told
    def open_there(self, ctx: ExecutionContext) -> None:
        """Opens the job of a question in CVAT."""
        from ...integrations.cvat.links import link_of

        row, choices = self._row(ctx), choices_of(ctx)
        link = link_of(choices.dataset, self._out(ctx, choices), row.video, row.frame - 1)
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
            ctx.ops.open_sample(id=images[str(frame)])
        else:
            ctx.trigger(f"{PLUGIN}/jump_to_frame", {"sample": str(ctx.current_sample), "frame": frame})

    @told
    def use(self, ctx: ExecutionContext) -> None:
        """Chooses the model that the next labelling takes."""
        ledger = self._ledger(ctx)
        model = _at(ledger.models(), ctx)
        if not model.can_be_chosen:
            raise InputError(f"nobody told where the weights of {model.version!r} are; label once with their file")
        ledger.choose_model(model.path)
        ctx.ops.notify(f"the next labelling takes {model.version}", variant="success")
        self._look(ctx, anew=True)

    @told
    def job_log(self, ctx: ExecutionContext) -> None:
        """Shows what a job printed."""
        ctx.panel.state.set("job", self._job(ctx).id)
        self._look(ctx, anew=True)

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
        return types.Property(panel, view=types.GridView(orientation="vertical", align_x="left", gap=2, px=2, py=1))

    def _draw(self, ctx: ExecutionContext, panel: types.Object) -> None:
        choices = choices_of(ctx)
        page = self._page(ctx)
        tabs = types.TabsView()
        for key, label in PAGES.items():
            if key != "video" or ctx.current_sample:
                tabs.add_choice(key, label=label)
        panel.enum("page", tabs.values(), default=page, view=tabs, on_change=self.turn)
        if len(choices.track_fields) > 1:
            fields = types.DropdownView()
            for name in choices.track_fields:
                fields.add_choice(name, label=name)
            panel.enum("out", fields.values(), label="field of tracks", default=choices.out, view=fields,
                       on_change=self.choose_field)  # fmt: skip
        ledger = self._ledger(ctx)
        if page == "overview":
            overview.draw(panel, ledger.standing(), ledger.rounds(), self.refresh)
        elif page == "review":
            standing = ledger.standing()
            total = standing.open_queries if standing else 0
            review.draw(panel, ledger.queue(review.SHOWN), total, self.open_here, self.open_there)
        elif page == "rounds":
            rounds.draw(panel, ledger.rounds(), ledger.models(), self.use)
        elif page == "jobs":
            from ...integrations.fiftyone_.jobs import job_log, list_jobs, workers

            shown = ctx.panel.state.get("job")
            log = job_log(shown) if shown else None
            actions = {"log": self.job_log, "cancel": self.job_cancel, "fail": self.job_fail, "again": self.job_again}
            jobs.draw(panel, list_jobs(choices.dataset, jobs.SHOWN), workers(), log, actions)
        elif ctx.current_sample:
            panel.md("Uncertainty by frame; **click** to go there.", name="hint")
            chart = charts.layout("frame", "uncertainty", 260, yaxis={"range": [0, 1.1]})
            panel.plot("timeline", layout=chart, on_click=self.jump)

    # --- looking

    def _look(self, ctx: ExecutionContext, anew: bool = False) -> None:
        """Sends what the open page shows, if it has changed."""
        try:
            data = self._data(ctx)
        except Exception as error:
            if sentence(error) is None:
                raise
            return  # drawing says it
        seen = str(hash(json.dumps(data, sort_keys=True)))
        if anew or ctx.panel.state.get("seen") != seen:
            ctx.panel.state.set("seen", seen)
            for key, value in data.items():
                ctx.panel.data.set(key, value)

    def _data(self, ctx: ExecutionContext) -> dict[str, Any]:
        page, ledger = self._page(ctx), self._ledger(ctx)
        if page == "overview":
            return overview.data(ledger.standing())
        if page == "review":
            return review.data(ledger.queue(review.SHOWN))
        if page == "rounds":
            return rounds.data(ledger.rounds(), ledger.models())
        if page == "jobs":
            from ...integrations.fiftyone_.jobs import job_log, list_jobs

            shown = ctx.panel.state.get("job")
            log = {"log": job_log(shown) or "it has printed nothing"} if shown else {}
            return {**jobs.data(list_jobs(choices_of(ctx).dataset, jobs.SHOWN)), **log}
        return self._video_data(ctx)

    def _video_data(self, ctx: ExecutionContext) -> dict[str, Any]:
        from ...integrations.fiftyone_.timeline import read_timeline

        choices = choices_of(ctx)
        if not ctx.current_sample:
            return {}
        sample = _whole(ctx, str(ctx.current_sample))
        timeline = read_timeline(choices.dataset, self._out(ctx, choices), sample)
        ctx.panel.state.set("images", {str(at): one for at, one in (timeline.images or {}).items()})
        return {"timeline": charts.uncertainty_over_time(timeline)}

    # --- who is meant

    def _page(self, ctx: ExecutionContext) -> str:
        page = ctx.panel.state.get("page") or "overview"
        return page if page in PAGES and (page != "video" or ctx.current_sample) else "overview"

    def _out(self, ctx: ExecutionContext, choices: Choices) -> str:
        chosen = ctx.panel.state.get("out")
        return chosen if chosen in choices.track_fields else choices.out

    def _ledger(self, ctx: ExecutionContext) -> Ledger:
        from ...integrations.fiftyone_.ledger import Ledger

        choices = choices_of(ctx)
        return Ledger(choices.dataset, self._out(ctx, choices))

    def _row(self, ctx: ExecutionContext) -> Any:
        return _at(self._ledger(ctx).queue(review.SHOWN), ctx)

    def _job(self, ctx: ExecutionContext) -> Any:
        from ...integrations.fiftyone_.jobs import list_jobs

        return _at(list_jobs(choices_of(ctx).dataset, jobs.SHOWN), ctx)

    def _after_job(self, ctx: ExecutionContext, act: Callable[[str], Any], done: str) -> None:
        job = self._job(ctx)
        act(job.id)
        ctx.ops.notify(f"{job.label}: {done}", variant="success")
        self._look(ctx, anew=True)


def _at(rows: list[Any], ctx: ExecutionContext) -> Any:
    """The row of a table that was clicked.

    Raises:
        MissingError: if it is gone by now.
    """
    place = int(ctx.params["row"])
    if not 0 <= place < len(rows):
        raise MissingError("this row is gone by now; look again")
    return rows[place]


def _whole(ctx: ExecutionContext, sample: str) -> str:
    """The sample that a clip or a frame is of; a whole one is itself."""
    view = ctx.view
    if view is None or not view._is_generated:
        return sample
    found = view.select(sample).values("sample_id")
    return str(found[0]) if found else sample
