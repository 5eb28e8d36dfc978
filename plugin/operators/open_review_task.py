"""Operator "open the review task": links to the CVAT jobs of the sample that is open or selected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from .base import PLUGIN, SpamOperator
from .forms import Form, choices_of, dataset_of, target_of
from .live import Tell

if TYPE_CHECKING:
    from fiftyone.operators.executor import ExecutionContext

LINKS_SHOWN = 20


class OpenReviewTask(SpamOperator):
    """Shows where a browser opens the jobs, and opens the one where there is only one."""

    NAME = "open_review_task"
    LABEL = "SPAM: open the review task"
    HELP = "Open the CVAT job of the sample that is open or selected"
    BUTTON = "Open"
    ICON = "/assets/open.svg"
    IN_TOOLBAR = True
    CHANGES = False

    def asks(self, ctx: ExecutionContext) -> bool:
        """Which tracks, where there are several."""
        return len(choices_of(ctx).track_fields) != 1

    def form(self, form: Form) -> None:
        """Which tracks, where there are several."""
        form.tracks()

    def fits(self, ctx: ExecutionContext) -> bool:
        """Where something was sent."""
        choices = choices_of(ctx)
        return bool(choices.track_fields) and choices.was_sent()

    def run(self, ctx: ExecutionContext, tell: Tell) -> dict[str, Any]:
        """Finds the jobs."""
        from ...integrations.cvat.links import link_of, links_of
        from ...integrations.fiftyone_.choices import plural
        from ...integrations.fiftyone_.videos import open_videos

        dataset, out = dataset_of(ctx), ctx.params.get("out") or choices_of(ctx).out
        names, frame = _meant(ctx)
        videos = open_videos(_videos(ctx, names))
        found = links_of(dataset, out, [video.key for video in videos])
        if not names:  # of everything that is shown, what waits for a person
            found = [link for link in found if link.is_open]
        exact = link_of(dataset, out, videos[0].key, frame) if len(videos) == 1 and frame is not None else None
        links = [
            {"label": f"{link.name}, {_span(link.frames)}: {link.questions} open questions", "url": link.url}
            for link in found
        ]
        if exact is not None and frame is not None:
            links = [{"label": f"{videos[0].name}, frame {frame + 1}", "url": exact}, *links]
        jobs = f"{len(found):,} {plural(len(found), 'job')}"
        whose = "of what is open or selected" if names else "in review; select or open a sample to see only its own"
        none = "nothing of this was sent to CVAT yet; sync with CVAT first"
        left = len(links) - LINKS_SHOWN
        return {
            "said": f"{jobs} {whose}" if found else none, "links": links[:LINKS_SHOWN],
            "problems": [f"{left:,} more are not shown; select fewer samples"] if left > 0 else [],
            "open": exact or (links[0]["url"] if len(links) == 1 else None),
        }  # fmt: skip

    def outcome(self, outputs: types.Object, result: dict[str, Any]) -> None:
        """A link a job."""
        for number, link in enumerate(result.get("links", ())):
            outputs.view(f"link_{number}", types.LinkView(label=link["label"], href=link["url"]))

    def after(self, ctx: ExecutionContext, result: dict[str, Any]) -> Iterator[Any]:
        """Opens the job, if there is no choice."""
        if result["open"]:
            yield ctx.trigger(f"{PLUGIN}/open_link", {"url": result["open"]})


def _span(frames: tuple[int, int]) -> str:
    return f"frames {frames[0] + 1} to {frames[1] + 1}"


def _meant(ctx: ExecutionContext) -> tuple[list[str], int | None]:
    """Ids of what is open or selected in the App, and the frame, from 0, that it is about, if it is one frame."""
    names = [ctx.current_sample] if ctx.current_sample else list(ctx.selected)
    if len(names) != 1:
        return names, None
    view = ctx.view.flatten() if ctx.view._is_dynamic_groups else ctx.view
    for path, start in (("frame_number", lambda value: value), ("support", lambda value: value[0])):
        if view.get_field(path) is not None:
            (value,) = view.select(names).values(path) or [None]
            return names, None if value is None else max(int(start(value)) - 1, 0)
    return names, None


def _videos(ctx: ExecutionContext, names: list[str]) -> Any:
    from ...integrations.fiftyone_.choices import whole_videos

    if not names:
        return target_of(ctx)
    view = ctx.view.flatten() if ctx.view._is_dynamic_groups else ctx.view
    return whole_videos(dataset_of(ctx), view.select(names))
