"""Sending what needs people: tasks with media once, sheets where they differ, questions as issues, jobs opened or shut.

What will be done to a job is noted before it is done and forgotten once its outcome is noted; an interrupted job is
finished by looking at what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...models.errors import InputError
from ..queries import Query
from .context import Context
from .diff import compare
from .labels import Labels
from .notes import DESK, PENDING_PUSH, TURN, JobNote, job_key, video_key
from .ports import DeskError, GoneError, JobState, LabelSpec, TaskState
from .pull import IN_REVIEW, pull_video
from .pushing import REASON, SheetPlan, plan_sheet
from .sheets import SheetTrack
from .windows import Span, cut_video, pin, place_queries
from .words import in_words, tracks_of

FINISHED, FINAL = "completed", "acceptance"


def ensure_project(ctx: Context) -> int | None:
    """Number of the project, which is made if it is not there; None in a dry run if it would be."""
    classes = list(ctx.store.classes())
    note = ctx.journal.get(DESK) or {}
    project = note.get("project")
    if project is None:
        if ctx.settings.dry_run:
            ctx.report.count("projects to make")
            ctx.classes = {spec.name: spec for spec in classes}
            return None
        project = ctx.desk.find_project(ctx.name)
        if project is None:
            project = ctx.desk.create_project(ctx.name, classes)
            ctx.report.count("projects made")
        note = {"url": ctx.desk.url, "name": ctx.name, "project": project, "classes": [spec.name for spec in classes]}
        ctx.journal.set(DESK, note)
    ctx.classes = ctx.desk.use_project(project)
    _extend_project(ctx, project, classes, note)
    return project


def _extend_project(ctx: Context, project: int, classes: Sequence[LabelSpec], note: dict[str, Any]) -> None:
    """Adds what the project lacks; a class that was there once was renamed or deleted by somebody, and is not added."""
    lost = [spec.name for spec in classes if spec.name not in ctx.classes and spec.name in note["classes"]]
    for name in lost:
        ctx.report.problems.append(
            f"class {name!r} was renamed or deleted in project {project} ({', '.join(sorted(ctx.classes))} are there); "
            "tracks of this class are not sent. Give the class its name back, or rename it in the dataset, too"
        )
    lacking = [spec for spec in classes if spec.name not in lost and _lacks(ctx.classes.get(spec.name), spec)]
    if lacking and not ctx.settings.dry_run:
        ctx.desk.extend_project(project, lacking)
        ctx.classes = ctx.desk.use_project(project)
        ctx.journal.set(DESK, {**note, "classes": sorted({*note["classes"], *(spec.name for spec in classes)})})


def _lacks(there: LabelSpec | None, wanted: LabelSpec) -> bool:
    names = {one.name for one in there.attributes} if there is not None else set()
    return there is None or any(one.name not in names for one in wanted.attributes)


def push_all(ctx: Context, wanted: set[str] | None = None) -> None:
    """Sends what needs people, the most valuable video first.

    Args:
        ctx: what is at hand.
        wanted: keys of the videos to send; None for all.
    """
    settings = ctx.settings
    asked = ctx.store.queries()
    videos = [(key, name) for key, name in ctx.store.videos() if wanted is None or key in wanted]
    known = {key for key, _ in videos if ctx.journal.get(video_key(key)) is not None}
    if settings.windows == "queries":
        videos = [(key, name) for key, name in videos if asked.get(key) or key in known]
        if not any(asked.get(key) for key, _ in videos):
            ctx.report.notices.append(
                "no question is open, so no job was opened; choose some with spam-plugin queries, or send everything "
                "with --all"
            )
    if not videos:
        return
    unknown = ctx.desk.unknown_users(settings.assignees) if settings.assignees else []
    if unknown:
        raise InputError(f"the desk at {ctx.desk.url} knows no user {unknown[0]!r}; nobody was assigned, nothing sent")
    project = ensure_project(ctx)
    ctx.report.project = project
    videos.sort(key=lambda one: -sum(query.gain for query in asked.get(one[0], ())))
    for done, (key, name) in enumerate(videos):
        ctx.tell("pushing", done, len(videos), name)
        with ctx.guard(name):
            push_video(ctx, project, key, name, asked.get(key, ()))
    ctx.tell("pushing", len(videos), len(videos), "")


def push_video(ctx: Context, project: int | None, key: str, name: str, queries: Sequence[Query]) -> None:
    """Sends one video."""
    info = ctx.store.info(key)
    task = _ensure_task(ctx, project, key, name, queries)
    if task is None:  # a dry run
        cut = cut_video(
            info.num_frames, info.frame_rate, queries, ctx.settings.job_seconds, ctx.settings.overlap_seconds
        )
        jobs = _would_be(info.num_frames, cut.segment, cut.overlap)
    else:
        if task.size != info.num_frames:
            raise DeskError(
                f"task {task.id} has {task.size} frames at the desk, the dataset's file has {info.num_frames}: it was "
                "replaced or encoded again. Put the file back that was sent, or delete the task and use --remake"
            )
        assert project is not None
        jobs = ctx.desk.jobs(project, task.id)
    labels = _sendable(ctx, ctx.store.labels(key))
    by_job = place_queries(queries, [Span(job.id, job.start, job.stop) for job in jobs])
    conflicts = ctx.conflicts(key)
    jobs = sorted(jobs, key=lambda job: (-sum(query.gain for query in by_job.get(job.id, ())), job.id))
    for job in jobs:
        held = {conflict.track for conflict in conflicts if job.id in conflict.jobs}
        _push_job(ctx, key, name, job, labels, by_job.get(job.id, []), held)
    if not ctx.settings.dry_run:
        note = ctx.journal.get(video_key(key))
        ctx.journal.set(video_key(key), {**note, "jobs": sorted(job.id for job in jobs)})
        if any((known := ctx.job_note(job.id)) is not None and known.is_open for job in jobs):
            ctx.store.set_review(key, IN_REVIEW)


def _would_be(size: int, segment: int, overlap: int) -> list[JobState]:
    """The jobs that the desk would make; their numbers are below 0."""
    starts = range(0, max(size - overlap, 1), max(segment - overlap, 1))
    return [
        JobState(-1 - at, 0, start, min(start + segment, size) - 1, "new", "annotation", "", "")
        for at, start in enumerate(starts)
    ]


def _sendable(ctx: Context, labels: Labels) -> Labels:
    """The labels without tracks of classes that the project has not got any more."""
    strange = {label for label in labels.label if label not in ctx.classes}
    if not strange:
        return labels
    track = labels.track.copy()
    for row, label in enumerate(labels.label):
        if label in strange:
            track[row] = -1 - row
    return replace(labels, track=track)


def _ensure_task(ctx: Context, project: int | None, key: str, name: str, queries: Sequence[Query]) -> TaskState | None:
    """The task of a video, with its media; made if it is not there, None in a dry run if it would be."""
    note = ctx.journal.get(video_key(key))
    if note is not None and note.get("task"):
        try:
            task = ctx.desk.task(note["task"])
            if task.size and not task.pending and not task.failed:
                return task
        except GoneError as error:
            if not ctx.settings.remake:
                raise GoneError(
                    f"{error}; the labels stay as they are here. Use --remake to send the video again"
                ) from error
            if not ctx.settings.dry_run:
                _forget_video(ctx, key)
    info = ctx.store.info(key)
    cut = cut_video(info.num_frames, info.frame_rate, queries, ctx.settings.job_seconds, ctx.settings.overlap_seconds)
    if ctx.settings.dry_run or project is None:
        ctx.report.count("tasks to make")
        ctx.report.count("frames to send", info.num_frames)
        return None
    return _make_task(ctx, project, key, name, cut.segment, cut.overlap)


def _make_task(ctx: Context, project: int, key: str, name: str, segment: int, overlap: int) -> TaskState:
    title = f"{name} [{key[-6:]}]"
    media = ctx.store.media(key)
    lost = next((one for one in media.files if media.remote is None and not Path(one).is_file()), None)
    if lost is not None:  # before anything is made that would be left empty
        raise InputError(f"there is no file {lost}; put it back, or remove the sample")
    found = ctx.desk.find_task(project, title)
    if found is not None and not found.pending and (found.failed or not found.size):
        # Half an upload is nothing to go on from, and nobody can have worked on it.
        ctx.desk.delete_task(found.id)
        found = None
    number = found.id if found is not None else ctx.desk.create_task(project, title, segment, overlap)
    ctx.journal.set(video_key(key), {"task": number, "name": title, "jobs": []})
    if found is None:
        ctx.report.count("tasks made")
    if found is None or found.pending:
        tell = partial(_tell_upload, ctx, name)
        if found is None:
            ctx.desk.upload(number, media, tell)
        else:
            ctx.desk.wait(number)
    task = ctx.desk.task(number)
    if task.failed or not task.size:
        ctx.desk.delete_task(number)
        ctx.journal.delete(video_key(key))
        raise DeskError(
            f"the desk could not take the media: {task.failed or 'it has no frames'}; nothing of it is left"
        )
    return task


def _tell_upload(ctx: Context, name: str, share: float) -> None:
    ctx.tell("uploading", round(100 * share), 100, name)


def _forget_video(ctx: Context, key: str) -> None:
    """Forgets a task that is gone, with its jobs, so that it can be made again."""
    for number in (ctx.journal.get(video_key(key)) or {}).get("jobs", []):
        ctx.journal.delete(job_key(number))
    ctx.journal.delete(video_key(key))


def _push_job(
    ctx: Context, key: str, name: str, job: JobState, labels: Labels, queries: Sequence[Query], held: set[int]
) -> None:
    """Sends one job, unless a person is at work on it."""
    note = ctx.job_note(job.id) or JobNote(job.id, key, job.task, job.start, job.stop)
    everything = ctx.settings.windows == "all"
    if note.updated and note.updated != job.updated:
        untouched = _untouched(ctx, note, job)
        if untouched is None:
            if not ctx.settings.force:
                ctx.report.notices.append(
                    f"video {name!r}, job {job.id} ({job.state}): somebody has changed it and it has not come back; "
                    "left alone"
                )
                return
            if ctx.settings.dry_run:
                ctx.report.notices.append(f"video {name!r}, job {job.id}: would be brought back first")
                return
            pull_video(ctx, key, name, [(job, note)])
            labels = _sendable(ctx, ctx.store.labels(key))
            note = ctx.job_note(job.id) or note
        else:
            note = untouched
    if job.state == "in progress" and not ctx.settings.force:
        ctx.report.notices.append(f"video {name!r}, job {job.id}: somebody is at work on it; left alone")
        return
    known = {query.key: (query, issue) for query, issue in note.asked}
    fresh = [query for query in queries if query.key not in known]
    stale = [issue for query_key, (_, issue) in known.items() if query_key not in {query.key for query in queries}]
    # A job that was opened for questions is shut when they are gone; one that was opened as a whole waits on.
    asked_only = bool(note.asked) and not queries
    is_open = bool(queries) or (everything and not note.updated) or (note.is_open and not asked_only)
    if not (is_open or everything or stale) and note.updated:
        return  # nobody is to look at it, so it may stay as it was
    if not (is_open or everything or note.base):
        plan = SheetPlan((), (), (), (), {})  # nothing needs to be there
    else:
        wanted = {pair for query in queries for pair in tracks_of(labels, query)}
        reasons = _reasons(labels, queries)
        plan = plan_sheet(
            labels, note.sheet, note.instances, wanted, lambda number: _notes(labels, reasons, number),
            ctx.settings.tolerance, held,
        )  # fmt: skip
    new_state = _state(job, is_open, bool(fresh), not note.updated or (note.is_open and not is_open))
    if not (plan or fresh or stale or new_state or not note.updated):
        known_as = plan.instances if note.base else note.instances
        if not ctx.settings.dry_run and (note.updated != job.updated or known_as != note.instances):
            ctx.keep(replace(note, updated=job.updated, instances=known_as))
        return
    _count(ctx, plan, fresh, stale, is_open and (new_state is not None or not note.updated))
    if ctx.settings.dry_run:
        return
    turn = int(ctx.journal.get(TURN) or 0)
    assignee = None
    if ctx.settings.assignees and is_open and not job.assignee:
        assignee = ctx.settings.assignees[turn % len(ctx.settings.assignees)]
        turn += 1
    pins = [pin(query, Span(job.id, job.start, job.stop)) for query in fresh]
    size = ctx.store.info(key)
    pending = {
        "before": note.as_dict(),
        "create": [track.as_dict() for track in plan.create],
        "update": [track.as_dict() for track in plan.update],
        "delete": [track.as_dict() for track in plan.delete],
        "keep": [track.as_dict() for track in plan.keep],
        "instances": dict(plan.instances),
        "issues": [
            [
                query.as_dict(),
                frame,
                list(box or (0.0, 0.0, float(size.width), float(size.height))),
                in_words(query, labels, size),
            ]
            for query, (frame, box) in zip(fresh, pins, strict=True)
        ],
        "asked": [[query.as_dict(), known[query.key][1]] for query in queries if query.key in known],
        "stale": stale,
        "state": new_state,
        "assignee": assignee,
        "turn": turn,
        "is_open": is_open,
    }
    ctx.journal.set(f"{PENDING_PUSH}{job.id:012d}", pending)
    finish_push(ctx, job, pending, fresh_start=True)


def _count(ctx: Context, plan: SheetPlan, fresh: Sequence[Query], stale: Sequence[int], opens: bool) -> None:
    ctx.report.count("tracks created", len(plan.create))
    ctx.report.count("tracks updated", len(plan.update))
    ctx.report.count("tracks deleted", len(plan.delete))
    ctx.report.count("keyframes sent", sum(len(track.frame) for track in (*plan.create, *plan.update)))
    ctx.report.count("issues opened", len(fresh))
    ctx.report.count("issues closed", len(stale))
    ctx.report.count("jobs opened", int(opens))


def _state(job: JobState, is_open: bool, has_new: bool, turns: bool) -> tuple[str | None, str | None] | None:
    """State and stage to set, or None to leave both."""
    if is_open:
        if job.state == "new" and job.stage == "annotation":
            return None
        return ("new", "annotation") if has_new or turns or job.state in (FINISHED, "rejected") else None
    return (FINISHED, FINAL) if turns else None


def _untouched(ctx: Context, note: JobNote, job: JobState) -> JobNote | None:
    """The job's note with its new time, if nobody has changed a box or closed a question or the job; else None."""
    if note.is_open and job.state in (FINISHED, "rejected"):
        return None
    tracks, refusals = ctx.desk.read(job)
    if refusals or not compare(note.sheet, tracks).is_empty:
        return None
    ours = {issue for _, issue in note.asked}
    resolved = any(issue.resolved for issue in ctx.desk.issues(job.id) if issue.id in ours)
    return None if resolved else replace(note, updated=job.updated)


def _reasons(labels: Labels, queries: Sequence[Query]) -> dict[int, str]:
    """Why people should look at a track: what is asked about it, most valuable first, by the track's number."""
    kinds: dict[int, dict[str, None]] = {}
    for query in queries:
        for number, _ in tracks_of(labels, query):
            kinds.setdefault(number, {})[query.question.value] = None
    return {number: ", ".join(found) for number, found in kinds.items()}


def _notes(labels: Labels, reasons: Mapping[int, str], number: int) -> dict[str, str]:
    return {"uncertainty": f"{labels.doubt.get(number, 0.0):.2f}", REASON: reasons.get(number, "")}


def finish_push(ctx: Context, job: JobState, pending: Mapping[str, Any], fresh_start: bool = False) -> None:
    """Does to a job what was noted; what is done already, or was changed by a person meanwhile, is left as it is.

    Args:
        ctx: what is at hand.
        job: the job, now.
        pending: the note.
        fresh_start: whether nothing of it can have been done yet.
    """
    note = JobNote.from_dict(pending["before"])
    create, update, delete, keep = (
        [SheetTrack.from_dict(values) for values in pending[name]] for name in ("create", "update", "delete", "keep")
    )
    there: dict[int | None, SheetTrack] = {}
    by_uid: dict[str, SheetTrack] = {}
    if not fresh_start:
        tracks, _ = ctx.desk.read(job)
        there = {track.remote: track for track in tracks}
        ours = {track.remote for track in note.base}
        by_uid = {track.uid: track for track in tracks if track.uid and track.remote not in ours}
    before = {track.remote: track for track in note.base}
    base = list(keep)
    to_update, to_delete = [], []
    for track in update:
        found = there.get(track.remote) if not fresh_start else before.get(track.remote)
        if found is None or not found.same_keyframes(before[track.remote]):
            done = found is not None and found.same_keyframes(track)
            base.append(track if done else before[track.remote])
        else:
            to_update.append(track)
            base.append(track)
    for track in delete:
        found = there.get(track.remote) if not fresh_start else track
        if found is not None and found.same_keyframes(track):
            to_delete.append(track)
        elif found is not None:
            base.append(track)
    to_create = [track for track in create if track.uid not in by_uid]
    base += [replace(track, remote=by_uid[track.uid].remote) for track in create if track.uid in by_uid]
    ids = ctx.desk.write(job.id, to_create, to_update, to_delete) if to_create or to_update or to_delete else []
    base += [replace(track, remote=number) for track, number in zip(to_create, ids, strict=True)]
    asked = [(Query.from_dict(values), int(issue)) for values, issue in pending["asked"]]
    asked += _open_issues(ctx, job, pending["issues"], fresh_start)
    for issue in pending["stale"]:
        ctx.desk.resolve_issue(issue)
    state, stage = pending["state"] or (None, None)
    after = ctx.desk.set_job(job.id, state=state, stage=stage, assignee=pending["assignee"])
    ctx.keep(
        replace(
            note, updated=after.updated, base=tuple(base), instances=pending["instances"], asked=tuple(asked),
            is_open=pending["is_open"],
        )
    )  # fmt: skip
    if pending["assignee"] is not None:
        ctx.journal.set(TURN, pending["turn"])
    ctx.journal.delete(f"{PENDING_PUSH}{job.id:012d}")


def _open_issues(
    ctx: Context, job: JobState, wanted: Sequence[Sequence[Any]], fresh_start: bool
) -> list[tuple[Query, int]]:
    """Opens issues for questions, but for those that are there."""
    there: dict[tuple[int, str, tuple[float, ...]], list[int]] = {}
    if wanted and not fresh_start:
        for issue in ctx.desk.issues(job.id):
            if issue.comments:
                there.setdefault((issue.frame, issue.comments[0][1], issue.position), []).append(issue.id)
    out = []
    for values, frame, position, text in wanted:
        known = there.get((frame, text, tuple(map(float, position))))
        number = known.pop(0) if known else ctx.desk.open_issue(job.id, frame, position, text)
        out.append((Query.from_dict(values), number))
    return out
