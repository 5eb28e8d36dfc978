"""Bringing back what people did: read, merge, note what will be written, write it, note that it is written.

Whatever moment the process dies at, the note of what was to be written is either not there, and nothing was written, or
there, and the next synchronisation writes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..answers import Answer
from .context import Context
from .diff import JobDiff, compare
from .labels import Conflict, Patch
from .merging import JobReturn, Laid, Merged, merge
from .notes import PENDING_PULL, JobNote, conflict_key, video_key
from .ports import GoneError, IssueState, JobState
from .said import Asked, in_video, what_was_said
from .sheets import Refusal, SheetTrack

IN_REVIEW, REVIEWED = "in review", "reviewed"


def pull_all(ctx: Context, jobs: Sequence[JobState]) -> None:
    """Brings back all jobs that people are done with.

    Args:
        ctx: what is at hand.
        jobs: all jobs of the project.
    """
    by_task: dict[int, list[JobState]] = {}
    for job in jobs:
        by_task.setdefault(job.task, []).append(job)
    videos = ctx.store.videos()
    for done, (key, name) in enumerate(videos):
        ctx.tell("pulling", done, len(videos), name)
        note = ctx.journal.get(video_key(key))
        if note is None or not note.get("task"):
            continue
        chosen = [(job, known) for job in by_task.get(note["task"], []) if (known := _wanted(ctx, job)) is not None]
        if chosen:
            with ctx.guard(name):
                pull_video(ctx, key, name, chosen)
    ctx.tell("pulling", len(videos), len(videos), "")


def _wanted(ctx: Context, job: JobState) -> JobNote | None:
    """The note of a job that is to come back."""
    settings = ctx.settings
    if job.state not in settings.states or (settings.stages and job.stage not in settings.stages):
        return None
    note = ctx.job_note(job.id)
    return note if note is not None and note.updated != job.updated else None


def pull_video(ctx: Context, key: str, name: str, chosen: Sequence[tuple[JobState, JobNote]]) -> None:
    """Brings back some jobs of one video."""
    returns, issues, notes = [], {}, {}
    for job, note in chosen:
        try:
            tracks, refusals = ctx.desk.read(job)
            found = ctx.desk.issues(job.id)
        except GoneError as error:
            ctx.report.problems.append(f"video {name!r}: {error}")
            continue
        diff = _diff(ctx, name, note, tracks, refusals)
        returns.append(JobReturn(job.id, diff, note.instances, _who(job), _seconds(job.updated)))
        issues[job.id] = found
        notes[job.id] = replace(note, updated=job.updated)
    unfinished = {job.id for job, _ in chosen if job.state != "completed"}
    labels = ctx.store.labels(key)
    merged = merge(key, labels, returns, lambda number: ctx.store.new_instance(key, number))
    answers: list[Answer] = []
    closed: list[str] = []
    kept = []
    for laid in merged.jobs:
        note = notes[laid.back.job]
        asked = _asked(note, issues[note.job])
        said = what_was_said(key, labels, laid, asked, ctx.settings.confirm and note.is_open)
        answers += said.answers
        closed += said.closed
        _remarks(ctx, name, note, issues[note.job], said.unread)
        still = tuple((one.query, one.issue.id) for one in asked if one.query.key not in said.closed)
        base, instances = _rebase(laid, merged)
        kept.append(
            replace(
                note,
                base=base,
                instances=instances,
                asked=still,
                is_open=note.is_open and note.job in unfinished,
                pulled=note.pulled + 1,
            )
        )
        ctx.report.count("jobs pulled")
        ctx.report.count("tracks changed", int((~laid.back.diff.same).sum()) + len(_deleted(laid)))
    known = ctx.conflicts(key)
    conflicts = [*known, *(one for one in merged.conflicts if one not in known)]
    frames = ctx.store.frame_numbers(key)
    pending = {
        "patch": merged.patch.named(ctx.store.new_key).as_dict(),
        "answers": [answer.as_dict() for answer in in_video(answers, frames)],
        "closed": closed,
        "notes": [note.as_dict() for note in kept],
        "conflicts": [conflict.as_dict() for conflict in conflicts],
    }
    ctx.report.count("boxes written", len(merged.patch.put))
    ctx.report.count("boxes removed", sum(map(len, merged.patch.remove.values())))
    if ctx.settings.dry_run:
        ctx.report.count("answers", len({answer.key for answer in answers}))
        ctx.report.conflicts += merged.conflicts
        return
    ctx.journal.set(PENDING_PULL + key, pending)
    finish_pull(ctx, key, pending)


def finish_pull(ctx: Context, key: str, pending: dict[str, Any]) -> None:
    """Writes what was noted; doing it twice is as good as once."""
    patch = Patch.from_dict(pending["patch"])
    if patch:
        ctx.store.apply(key, patch)
    answers = [Answer.from_dict(values) for values in pending["answers"]]
    new = ctx.store.keep_answers(answers, pending["closed"])
    ctx.report.count("answers", new)
    conflicts = [Conflict.from_dict(values) for values in pending["conflicts"]]
    if conflicts or ctx.journal.get(conflict_key(key)):
        ctx.store.show_conflicts(key, conflicts)
        ctx.journal.set(conflict_key(key), pending["conflicts"])
    for values in pending["notes"]:
        ctx.keep(JobNote.from_dict(values))
    note = ctx.journal.get(video_key(key)) or {}
    waiting = [job for job in note.get("jobs", []) if (known := ctx.job_note(job)) is not None and known.is_open]
    ctx.store.set_review(key, IN_REVIEW if waiting else REVIEWED)
    ctx.journal.delete(PENDING_PULL + key)


def _diff(ctx: Context, name: str, note: JobNote, tracks: Sequence[SheetTrack], refusals: Sequence[Refusal]) -> JobDiff:
    """What people did to a job; what cannot be read, or went with its class, counts as left alone."""
    ctx.report.problems += [f"video {name!r}: {refusal.text}" for refusal in refusals]
    lost = {track.label for track in note.base} - set(ctx.classes)
    strange = {refusal.remote for refusal in refusals if refusal.whole and refusal.remote is not None}
    named = {refusal.uid for refusal in refusals if refusal.whole and refusal.uid}
    by_id = {track.remote: track for track in note.base}
    theirs = []
    for track in tracks:
        before = by_id.get(track.remote)
        renamed = before is not None and before.label in lost and track.label != before.label
        theirs.append(replace(track, label=before.label) if renamed and before is not None else track)
    there = {track.remote for track in theirs}
    for track in note.base:
        if track.remote in there:
            continue
        if track.label in lost or track.remote in strange or (track.name_there and track.name_there in named):
            theirs.append(track)
    for label in sorted(lost):
        ctx.report.problems.append(
            f"video {name!r}, job {note.job}: class {label!r} was renamed or deleted in the project; its tracks stay "
            "as they are here. Give the class its name back, or rename it in the dataset, too"
        )
    return compare(note.sheet, theirs)


def _asked(note: JobNote, issues: Sequence[IssueState]) -> list[Asked]:
    by_id = {issue.id: issue for issue in issues}
    out = []
    for query, number in note.asked:
        gone = IssueState(
            number, note.job, query.frame, (), True, (("", query.text),), ""
        )  # deleted: it was dealt with
        out.append(Asked(query, by_id.get(number, gone)))
    return out


def _remarks(
    ctx: Context, name: str, note: JobNote, issues: Sequence[IssueState], unread: Sequence[tuple[int, str]]
) -> None:
    """What people wrote that no rule understands goes to a person."""
    ours = {number for _, number in note.asked}
    for number, text in unread:
        ctx.report.notices.append(f"video {name!r}, job {note.job}, issue {number}: {text!r} is neither yes nor no")
    for issue in issues:
        if issue.id not in ours and not issue.resolved and issue.comments:
            who, text = issue.comments[0]
            ctx.report.notices.append(
                f"video {name!r}, job {note.job}, frame {issue.frame + 1}: {who} opened issue {issue.id}: {text!r}"
            )


def _rebase(laid: Laid, merged: Merged) -> tuple[tuple[SheetTrack, ...], dict[str, str]]:
    """The sheet as it is now, with names for its tracks, is what the next round is compared with."""
    diff, instances = laid.back.diff, laid.back.instances
    base: list[SheetTrack] = []
    named: dict[str, str] = {}
    same = {diff.base.tracks[of].uid for of in diff.parent[diff.same].tolist()}
    for place, track in enumerate(diff.theirs):
        of = int(diff.parent[place])
        uid = diff.base.tracks[of].uid if of >= 0 else ""
        instance = instances.get(uid, uid)
        if not diff.same[place]:
            own = merged.instance[laid.number[place]]
            if not uid or uid in named or uid in same or own != instance:
                uid = own
            instance = own
            while uid in named or uid in same:
                uid += "+"
        named[uid] = instance
        base.append(replace(track, uid=uid, alias=None if track.name_there == uid else track.name_there))
    return tuple(base), named


def _deleted(laid: Laid) -> set[int]:
    """Places of tracks that were sent and of which nothing is left."""
    return set(laid.back.diff.touched) - set(laid.back.diff.parent.tolist())


def _who(job: JobState) -> str:
    return f"{job.assignee} (job {job.id})" if job.assignee else f"job {job.id}"


def _seconds(moment: str) -> float:
    try:
        return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
