"""One round trip: finish what was interrupted, bring back what people did, send what needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...models.errors import InputError, MissingError
from .context import Context, SyncReport, SyncSettings, Tell
from .labels import Conflict, Patch, Put
from .notes import DESK, PENDING_PULL, PENDING_PUSH, conflict_key, video_key
from .ports import DeskStore, GoneError, JobState, Journal, ReviewDesk
from .pull import finish_pull, pull_all
from .push import finish_push, push_all

GUIDE_ROWS = 50  # jobs that the guide lists


@dataclass(frozen=True)
class JobStatus:
    """Where one job stands.

    Attributes:
        video: name of the video.
        job: number of the job.
        frames: first and last frame, from 1.
        state: at the desk; "gone" if it is not there any more.
        stage: at the desk.
        assignee: at the desk.
        tracks: how many are on its sheet as far as we know.
        questions: how many of ours are open in it.
        waiting: whether something in it has not come back yet.
        is_open: whether it waits for a person.
        link: where a browser opens it.
    """

    video: str
    job: int
    frames: tuple[int, int]
    state: str
    stage: str
    assignee: str
    tracks: int
    questions: int
    waiting: bool
    is_open: bool
    link: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**self.__dict__, "frames": list(self.frames)}


def synchronise(
    desk: ReviewDesk, store: DeskStore, journal: Journal, name: str, settings: SyncSettings, tell: Tell | None = None
) -> SyncReport:
    """Makes the dataset and the desk the same, as far as people are done.

    Args:
        desk: where people edit.
        store: the dataset.
        journal: of this dataset and desk.
        name: of the project, if it has to be made.
        settings: what is wanted.
        tell: told what is being done: (what, how many are done, of how many, which).

    Raises:
        DeskError: if the desk cannot be used at all, the project is gone, or another process works on it. What concerns
            one video or job only is in the report instead, and the rest is done.
        InputError: for settings that do not fit the desk.
    """
    ctx = Context(desk, store, journal, settings, name, SyncReport(url=desk.url), tell or (lambda *_: None))
    desk.check()
    with journal.hold():
        known = journal.get(DESK)
        if known is not None and known["url"] != desk.url:
            raise InputError(
                f"this dataset is kept the same as project {known['project']} at {known['url']}, and not at "
                f"{desk.url}; use that address, another field of tracks, or --forget"
            )
        ctx.report.project = ctx.project
        if ctx.project is not None:
            ctx.classes = desk.use_project(ctx.project)
            _finish_interrupted(ctx)
            if settings.pull:
                jobs = desk.jobs(ctx.project)
                _check_tasks(ctx, jobs)
                pull_all(ctx, jobs)
        if settings.push:
            push_all(ctx)
            if ctx.project is not None and not settings.dry_run:
                desk.describe(ctx.project, guide(ctx))
        for key, _ in store.videos():
            ctx.report.conflicts += [one for one in ctx.conflicts(key) if one not in ctx.report.conflicts]
    return ctx.report


def _finish_interrupted(ctx: Context) -> None:
    """Does the rest of what an earlier synchronisation has begun."""
    pulls, pushes = ctx.journal.keys(PENDING_PULL), ctx.journal.keys(PENDING_PUSH)
    if not pulls and not pushes:
        return
    if ctx.settings.dry_run:
        ctx.report.count("interrupted steps to finish", len(pulls) + len(pushes))
        return
    names = dict(ctx.store.videos())
    for note in pulls:
        key = note.removeprefix(PENDING_PULL)
        with ctx.guard(names.get(key, key)):
            finish_pull(ctx, key, ctx.journal.get(note))
            ctx.report.count("interrupted steps finished")
    if pushes:
        assert ctx.project is not None
        jobs = {job.id: job for job in ctx.desk.jobs(ctx.project)}
        for note in pushes:
            number = int(note.removeprefix(PENDING_PUSH))
            with ctx.guard(f"job {number}"):
                if number in jobs:
                    finish_push(ctx, jobs[number], ctx.journal.get(note))
                    ctx.report.count("interrupted steps finished")
                else:
                    ctx.journal.delete(note)
                    raise GoneError(f"job {number} was deleted at the desk while it was being sent")


def _check_tasks(ctx: Context, jobs: Sequence[JobState]) -> None:
    """Names the tasks that were deleted at the desk; nothing in the dataset changes for it."""
    there = {job.task for job in jobs}
    for key, name in ctx.store.videos():
        note = ctx.journal.get(video_key(key))
        if note is not None and note.get("jobs") and note["task"] not in there and not ctx.settings.remake:
            ctx.report.problems.append(
                f"video {name!r}: task {note['task']} was deleted at the desk; the labels stay as they are here. Use "
                "--remake to send the video again"
            )


def statuses(ctx: Context) -> list[JobStatus]:
    """Where every job stands that was made for the dataset, in the order of the videos."""
    if ctx.project is None:
        return []
    jobs = {job.id: job for job in ctx.desk.jobs(ctx.project)}
    out = []
    for key, name in ctx.store.videos():
        for number in (ctx.journal.get(video_key(key)) or {}).get("jobs", []):
            note, job = ctx.job_note(number), jobs.get(number)
            if note is None:
                continue
            state, stage, assignee = (job.state, job.stage, job.assignee) if job is not None else ("gone", "", "")
            waiting = job is not None and job.updated != note.updated
            out.append(
                JobStatus(
                    name, number, (note.start + 1, note.stop + 1), state, stage, assignee, len(note.base),
                    len(note.asked), waiting, note.is_open, ctx.desk.link(number, note.task),
                )
            )  # fmt: skip
    return out


def settle(ctx: Context, winner: str, video: str | None = None, number: int | None = None) -> int:
    """Settles conflicts; the next push makes the desk the same.

    Args:
        ctx: what is at hand.
        winner: "desk" or "dataset", whose version holds.
        video: name or key of the only video to settle, or None for all.
        number: of the only track to settle, or None for all.

    Returns:
        how many were settled.

    Raises:
        InputError: for another winner.
        MissingError: if there is no such conflict.
    """
    if winner not in ("desk", "dataset"):
        raise InputError(f"conflicts can be settled for 'desk' or 'dataset', not for {winner!r}")
    settled = 0
    with ctx.journal.hold():
        for key, name in ctx.store.videos():
            if video is not None and video not in (key, name):
                continue
            known = ctx.conflicts(key)
            chosen = [one for one in known if number in (None, one.track)]
            if not chosen:
                continue
            if winner == "desk":
                patch = _theirs(ctx, key, chosen)
                if patch:
                    ctx.store.apply(key, patch)
            left = [one for one in known if one not in chosen]
            ctx.store.show_conflicts(key, left)
            ctx.journal.set(conflict_key(key), [one.as_dict() for one in left])
            settled += len(chosen)
    if not settled:
        raise MissingError("there is no such conflict; spam-plugin sync DATASET --status lists those that are open")
    return settled


def _theirs(ctx: Context, key: str, conflicts: Sequence[Conflict]) -> Patch:
    """What puts the desk's version into the dataset."""
    labels = ctx.store.labels(key)
    row_of = {(int(f), int(t)): row for row, (f, t) in enumerate(zip(labels.frame, labels.track, strict=True))}
    put: list[Put] = []
    remove: dict[int, tuple[str, ...]] = {}
    for conflict in conflicts:
        if conflict.kind == "class":
            rows = (labels.track == conflict.track).nonzero()[0].tolist()
            instance = labels.instance.get(conflict.track, "")
            put += [
                Put(int(labels.frame[row]), labels.key[row], conflict.track, instance, conflict.label) for row in rows
            ]
            continue
        for frame in range(conflict.frame, conflict.last + 1):
            row = row_of.get((frame, conflict.track))
            box = conflict.theirs.get(frame)
            if row is not None and box is None:
                remove[frame] = (*remove.get(frame, ()), labels.key[row])
            elif row is not None and box is not None:
                instance = labels.instance.get(conflict.track, "")
                label = conflict.label or labels.label[row]
                put.append(Put(frame, labels.key[row], conflict.track, instance, label, box, "human", True))
    return Patch(tuple(put), remove)


def guide(ctx: Context) -> str:
    """What people who open the project are told, with the jobs that are worth most first."""
    worth = [
        (sum(query.gain for query, _ in note.asked), note, name)
        for key, name in ctx.store.videos()
        for number in (ctx.journal.get(video_key(key)) or {}).get("jobs", [])
        if (note := ctx.job_note(number)) is not None and note.is_open
    ]
    worth.sort(key=lambda one: (-one[0], one[1].job))
    rows = [
        f"| {at} | [{note.job}]({ctx.desk.link(note.job, note.task)}) | {name} | "
        f"{note.start + 1} to {note.stop + 1} | {len(note.asked)} |"
        for at, (_, note, name) in enumerate(worth[:GUIDE_ROWS], 1)
    ]
    more = f"\n... and {len(worth) - GUIDE_ROWS} more." if len(worth) > GUIDE_ROWS else ""
    return GUIDE + "\n".join(rows) + more + "\n"


GUIDE = """# What to do

The tracks in these jobs were made by a model. It asks you about what it is not sure of; everything else you may leave.

1. Open a job, then the list of issues. Each issue is one question, pinned to the box that it is about.
2. Look, and put the tracks right: move a box, split or merge tracks, set *outside* where the object is not seen, delete
   what is no object, draw what is missing.
3. Nothing to put right? Then the model was right. Either way **resolve the issue**. If you would rather answer in
   words, start your comment with *yes* or *no*.
4. When no issue is open, set the job's state to **completed**. Only then your work is taken over.

Please leave the attribute *track_uid* as it is: it says which track is which.

# Open jobs, those worth most first

| | job | video | frames | questions |
|---|---|---|---|---|
"""


def forget(journal: Journal) -> int:
    """Forgets a project with everything that was known of it; answers and labels stay, and so does the project.

    Returns:
        how many notes there were.
    """
    with journal.hold():
        keys = journal.keys("")
        for key in sorted(keys, key=lambda key: key == DESK):
            journal.delete(key)
    return len(keys)
