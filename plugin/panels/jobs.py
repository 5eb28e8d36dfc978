"""The panel's fourth page: jobs, which FiftyOne itself does not show without its hosted version."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

if TYPE_CHECKING:
    from ...integrations.fiftyone_.jobs import Job, Worker

SHOWN = 20
LOG_LINES = 200  # of its end


def draw(
    panel: types.Object, jobs: Sequence[Job], workers: Sequence[Worker], log: str | None, actions: dict[str, Any]
) -> None:
    """Puts the page into the panel.

    Args:
        panel: to put it into.
        jobs: newest first.
        workers: those that are alive.
        log: of the job that was asked for.
        actions: "log", "cancel", "fail" and "again": what a click on a row does.
    """
    waiting = sum(job.state == "queued" for job in jobs)
    if not workers:
        text = "No worker is running"
        panel.view(
            "workers",
            types.Warning(
                label=f"{text}: {waiting} {'job waits' if waiting == 1 else 'jobs wait'}. Start one with "
                "`spam-plugin worker`."
            )
            if waiting
            else types.Notice(label=f"{text}; jobs that you schedule wait for `spam-plugin worker`."),
        )
    else:
        panel.md(f"{len(workers)} {'worker is' if len(workers) == 1 else 'workers are'} running", name="workers")
    if not jobs:
        panel.md("No job yet: long work that you **schedule** is shown here.", name="no_jobs")
        return
    table = types.TableView()
    for key, label in (
        ("label", "job"),
        ("state", "state"),
        ("doing", "doing"),
        ("asked", "asked for"),
        ("said", "result"),
    ):
        table.add_column(key, label=label)
    table.add_row_action("log", actions["log"], label="Log", icon="article", tooltip="What it printed")
    table.add_row_action(
        "cancel", actions["cancel"], label="Cancel", icon="cancel", tooltip="End it, if it is not over"
    )
    table.add_row_action(
        "fail", actions["fail"], label="Mark failed", icon="error", tooltip="Its worker is gone for good"
    )
    table.add_row_action(
        "again", actions["again"], label="Run again", icon="replay", tooltip="Once more from the start"
    )
    panel.list("jobs", types.Object(), view=table)
    if log is not None:  # no CodeView: the browser would fetch its editor from the internet
        panel.md(f"**log**\n\n{_letter_by_letter(log)}", name="log")


def data(jobs: Sequence[Job]) -> dict[str, Any]:
    """What the page's table shows."""
    return {
        "jobs": [
            {
                "id": job.id, "label": job.label, "state": job.state, "doing": _doing(job), "asked": _when(job.queued),
                "said": job.error or job.said or "",
            }
            for job in jobs
        ]
    }  # fmt: skip


def over(jobs: Sequence[Job], waited: Collection[str]) -> list[Job]:
    """Those that have ended, of the jobs that somebody waits for."""
    return [job for job in jobs if job.id in waited and job.state not in ("queued", "running")]


def waiting(jobs: Sequence[Job]) -> list[str]:
    """Those that have not ended yet."""
    return [job.id for job in jobs if job.state in ("queued", "running")]


def _letter_by_letter(log: str) -> str:
    """The end of a log as Markdown, with lines that are broken where the panel ends, as those of a fence are not."""
    lines = [line for line in log.splitlines() if line.strip()]
    shown, left = lines[-LOG_LINES:], max(len(lines) - LOG_LINES, 0)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", log)), default=0))
    told = [f"... {left:,} lines before"] if left else []
    return "  \n".join([*told, *(f"{fence} {line} {fence}" for line in shown)])


def _doing(job: Job) -> str:
    if job.state != "running":
        return ""
    share = "" if job.progress is None else f"{job.progress:.0%} "
    return f"{share}{job.doing}".strip()


def _when(moment: datetime | None) -> str:
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return aware.astimezone().strftime("%d %b %H:%M:%S")
