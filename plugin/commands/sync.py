"""``spam-plugin sync``: a dataset and a CVAT project kept the same."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...engine.desk.context import SyncReport, SyncSettings
    from ...engine.desk.sync import JobStatus
    from ...integrations.cvat.sync import Link

_STATES = click.Choice(["new", "in progress", "completed", "rejected"])
_STAGES = click.Choice(["annotation", "validation", "acceptance"])


def desk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is synchronised and how, shared by the commands that do it."""
    for option in reversed(
        (
            click.option("--out", default="spam_tracks", show_default=True, metavar="FIELD", help="The tracks."),
            click.option("--view", metavar="NAME", help="Only the videos of this saved view."),
            click.option("--state", "states", multiple=True, type=_STATES, help="Jobs that come back [completed]."),
            click.option("--stage", "stages", multiple=True, type=_STAGES, help="Only those of this stage [any]."),
            click.option("--confirm", is_flag=True, help="What people left alone in a finished job was right."),
            click.option("--all", "everything", is_flag=True, help="Open every job, not only those with questions."),
            click.option("--assign", "assignees", multiple=True, metavar="USER", help="Who gets jobs, in turn."),
            click.option(
                "--attribute", "attributes", multiple=True, metavar="NAME",
                help="Attributes of the boxes that people see and change [all of yours].",
            ),
            click.option("--job-seconds", default=10.0, show_default=True, help="Wished length of a job."),
            click.option("--overlap-seconds", default=2.0, show_default=True, help="What it shares with the next."),
            click.option("--tolerance", default=0.9, show_default=True, help="IoU of keyframes with the track."),
            click.option(
                "--share", metavar="FOLDER[=THERE]",
                help="Do not upload: CVAT's share shows this folder, under this path.",
            ),
            click.option("--cloud", nargs=2, metavar="ID FOLDER[=THERE]", help="The same, for a cloud storage."),
            click.option("--force", is_flag=True, help="Also write to jobs in progress."),
            click.option("--remake", is_flag=True, help="Send videos again whose tasks were deleted in CVAT."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("dataset")
@desk_options
@click.option("--pull-only", is_flag=True, help="Send nothing.")
@click.option("--push-only", is_flag=True, help="Bring nothing back.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--status", is_flag=True, help="Only say where every job stands.")
@click.option("--settle", type=click.Choice(["cvat", "dataset"]), help="Whose version of all conflicts holds.")
@click.option("--track", type=int, help="Settle only the conflicts of this track.")
@click.option("--video", metavar="NAME", help="Settle only the conflicts of this video.")
@click.option("--forget", "forgets", is_flag=True, help="Forget the project; labels, answers and project stay.")
@click.option("--watch", "watches", is_flag=True, help="Go on until stopped, whenever people have finished something.")
@click.option("--every", default=60.0, show_default=True, metavar="SECONDS", help="How often --watch looks.")
@click.option("--after", type=int, metavar="N", help="With --watch: run --run whenever so many answers have come.")
@click.option("--run", metavar="COMMAND", help="What to run then, e.g. 'spam-plugin label street'.")
@click.option("--retrain-after", type=click.IntRange(min=1), metavar="N", help="With --watch: retrain then, meanwhile.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def command(ctx: click.Context, dataset: str, **given: Any) -> None:
    """Bring back what people did in CVAT to the tracks of DATASET, and send there what needs a person.

    Makes one CVAT project for the dataset and one task for each video, whose media go up once. Jobs that hold open
    questions (spam-plugin queries) are opened; each question is an issue pinned to its box. What comes back, from
    finished jobs, becomes labels and answers: the next label keeps to them. Boxes that nobody touched stay as they are.

    The server and who you are come from the environment: CVAT_URL, and CVAT_TOKEN or CVAT_USERNAME and CVAT_PASSWORD,
    and CVAT_ORG for an organisation. Interrupted at any moment, the same command finishes what was begun.

    Exits with 3 if some videos or jobs could not be done; it names each, and the rest is done.

    \b
    Examples:
      spam-plugin queries street --budget 3% && spam-plugin sync street --assign anna --assign ben
      spam-plugin sync street --status
      spam-plugin sync street --pull-only --state completed --stage acceptance --confirm
      spam-plugin sync street --watch --after 50 --run "spam-plugin label street"
      spam-plugin sync street --watch --retrain-after 200
      spam-plugin sync street --all --share /data/videos=videos
    """  # noqa: D301 (click reads the control character)
    _check(given)
    quiet = ctx.obj["quiet"]
    with contextlib.redirect_stdout(sys.stderr):
        from ...integrations.cvat import sync as desk

        link = make_link(dataset, given)
        if given["forgets"]:
            click.echo(f"forgot {desk.forget_project(link)} notes", err=True)
            return
        if given["settle"]:
            winner = "desk" if given["settle"] == "cvat" else "dataset"
            count = desk.settle_conflicts(link, winner, given["video"], given["track"])
            click.echo(f"settled {count} conflicts for {given['settle']}", err=True)
            return
        if given["status"]:
            rows = desk.sync_status(link)
        elif given["watches"]:
            follow(link, make_settings(given), given, quiet)
            return
        else:
            report = _once(link, make_settings(given), quiet)
    if given["status"]:
        _print_status(rows, given["as_json"])
        return
    print_report(report, given["as_json"], given["dry_run"])
    if report.problems:
        from ..cli import EXIT_PARTLY

        ctx.exit(EXIT_PARTLY)


def _check(given: dict[str, Any]) -> None:
    """Options that do not go together."""
    if given["pull_only"] and given["push_only"]:
        raise click.UsageError("--pull-only and --push-only leave nothing to do")
    if (given["track"] is not None or given["video"]) and not given["settle"]:
        raise click.UsageError("--track and --video say which conflicts to --settle")
    check_run(given)
    if given["after"] is not None and not given["watches"]:
        raise click.UsageError("--after and --run need --watch")
    if given["retrain_after"] is not None and not given["watches"]:
        raise click.UsageError("--retrain-after needs --watch; spam-plugin retrain does it at once")
    if given["share"] and given["cloud"]:
        raise click.UsageError("media lie in a --share or in a --cloud storage, not in both")


def check_run(given: dict[str, Any]) -> None:
    """What is to be run after so many answers, before anybody waits for them."""
    if (given["after"] is None) != (given["run"] is None):
        raise click.UsageError("--after and --run go together")
    if given["after"] is None:
        return
    if given["after"] < 1:
        raise click.UsageError("--after takes a number from 1")
    try:
        words = shlex.split(given["run"])
    except ValueError as error:
        raise click.UsageError(f"--run {given['run']!r} is no command line: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise click.UsageError(f"--run {given['run']!r}: there is no such program")


def make_settings(given: dict[str, Any]) -> SyncSettings:
    """Settings of a synchronisation from the options."""
    from ...engine.desk.context import SyncSettings

    return SyncSettings(
        pull=not given.get("push_only"), push=not given.get("pull_only"), states=given["states"] or ("completed",),
        stages=given["stages"], confirm=given["confirm"], windows="all" if given["everything"] else "queries",
        assignees=given["assignees"], job_seconds=given["job_seconds"], overlap_seconds=given["overlap_seconds"],
        tolerance=given["tolerance"], force=given["force"], remake=given["remake"],
        dry_run=bool(given.get("dry_run")),
    )  # fmt: skip


def make_link(dataset: str, given: dict[str, Any]) -> Link:
    """What goes where, from the options."""
    from ...integrations.cvat.sync import Link

    remote = None
    if given["share"]:
        remote = ("share", *_folders(given["share"]))
    elif given["cloud"]:
        storage, folders = given["cloud"]
        if not storage.isdigit():
            raise click.UsageError(f"--cloud takes the number of a cloud storage in CVAT, not {storage!r}")
        remote = (storage, *_folders(folders))
    return Link(dataset, given["out"], given["view"], given["attributes"] or None, remote)


def _folders(text: str) -> tuple[Path, str]:
    here, _, there = text.partition("=")
    return Path(here).absolute(), there


def _once(link: Link, settings: SyncSettings, quiet: bool) -> SyncReport:
    from ...integrations.cvat.sync import sync
    from ..progress import steps

    with steps(quiet) as tell:
        return sync(link, settings, tell)


def follow(link: Link, settings: SyncSettings, given: dict[str, Any], quiet: bool, **more: Any) -> None:
    """Watches until interrupted; runs a command, or retrains, whenever enough answers have come."""
    from ...integrations.cvat.sync import watch
    from ..trigger import RetrainTrigger

    answers = 0
    trigger = None
    if given.get("retrain_after") is not None:
        name = link.collection()._dataset.name
        trigger = RetrainTrigger(name, link.tracks, given["retrain_after"], lambda line: click.echo(line, err=True))

    def on_report(report: SyncReport) -> None:
        nonlocal answers
        print_report(report, given.get("as_json", False), False, to_stderr=not given.get("as_json", False))
        answers += report.counts.get("answers", 0)
        if given.get("after") is not None and answers >= given["after"]:
            answers = 0
            # What it prints must not come between reports in JSON.
            stdout = sys.__stderr__ if given.get("as_json") else None
            done = subprocess.run(shlex.split(given["run"]), check=False, stdout=stdout)
            click.echo(f"{given['run']}: exit code {done.returncode}", err=True)
        if trigger is not None:
            trigger.look()

    def on_trouble(error: Exception) -> None:
        click.echo(f"warning: {error}; will look again in {given['every']:g} s", err=True)

    if not quiet:
        click.echo(f"looking every {given['every']:g} s; stop with Ctrl+C", err=True)
    watch(link, settings, every=given["every"], on_report=on_report, on_trouble=on_trouble, **more)


def print_report(report: SyncReport, as_json: bool, dry_run: bool, to_stderr: bool = False) -> None:
    """What was done, or would be."""
    if as_json:
        click.echo(json.dumps(report.as_dict()), file=sys.__stdout__)
        return
    title = "would do" if dry_run else "done"
    counts = ", ".join(f"{what}: {number}" for what, number in report.counts.items()) or "nothing"
    where = f" (project {report.project} at {report.url})" if report.project is not None else ""
    click.echo(f"{title}{where}: {counts}", err=to_stderr)
    for sentence in report.notices:
        click.echo(f"note: {sentence}", err=True)
    for conflict in report.conflicts:
        click.echo(f"conflict: {conflict.text}; settle it with --settle", err=True)
    for sentence in report.problems:
        click.echo(f"problem: {sentence}", err=True)


def _print_status(rows: list[JobStatus], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([row.as_dict() for row in rows]))
        return
    if not rows:
        click.echo("nothing has been sent yet")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("video", "job", "frames", "state", "stage", "who", "tracks", "questions", "", box=None)
    for row in rows:
        mark = "to come back" if row.waiting else "open" if row.is_open else ""
        table.add_row(
            row.video, f"[link={row.link}]{row.job}[/link]", f"{row.frames[0]}-{row.frames[1]}", row.state, row.stage,
            row.assignee, str(row.tracks), str(row.questions), mark,
        )  # fmt: skip
    # In a file or a pipe nothing is cut off.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
