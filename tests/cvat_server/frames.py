"""The frames, chunks and meta data of tasks and jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import jobs, media, permissions, tasks, uploads
from .routing import Reply, Request, bad_request, route, server_error

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]


def _task_media(app: App, request: Request, number: int) -> tuple[Record, Record]:
    task = tasks.task_at(app, number)
    permissions.require_view(app, request, task)
    return task, _media_of(app, task)


def _media_of(app: App, task: Record) -> Record:
    found = app.store["media"].get(task["media_id"])
    if found is None or not found["size"]:
        raise server_error()  # CVAT has no better answer for a task without data
    return found


def _job_media(app: App, request: Request, number: int) -> tuple[Record, Record, Record]:
    job = jobs.job_at(app, number)
    permissions.require_view(app, request, job)
    task = app.store.task_of(job)
    return job, task, _media_of(app, task)


def _frames_of(job: Record) -> range:
    return range(job["start_frame"], job["stop_frame"] + 1)


@route("GET", "/api/tasks/{task}/data/meta")
def task_meta(app: App, request: Request, task: int) -> Reply:
    """What the media of a task are."""
    found, medium = _task_media(app, request, task)
    return Reply(body=media.meta(medium, found["deleted_frames"]))


@route("PATCH", "/api/tasks/{task}/data/meta")
def change_task_meta(app: App, request: Request, task: int) -> Reply:
    """Say which frames of a task are deleted."""
    found, medium = _task_media(app, request, task)
    body = request.json()
    if "deleted_frames" in body:
        found["deleted_frames"] = sorted(body["deleted_frames"])
        app.touch(found, *app.store.jobs_of(found))
    return Reply(body=media.meta(medium, found["deleted_frames"]))


@route("GET", "/api/jobs/{job}/data/meta")
def job_meta(app: App, request: Request, job: int) -> Reply:
    """What the frames of a job are."""
    found, task, medium = _job_media(app, request, job)
    body = media.meta(medium, task["deleted_frames"], _frames_of(found))
    return Reply(body={**body, "chunks_updated_date": found["chunks_updated_date"]})


@route("PATCH", "/api/jobs/{job}/data/meta")
def change_job_meta(app: App, request: Request, job: int) -> Reply:
    """Say which frames of a job are deleted."""
    found, task, _ = _job_media(app, request, job)
    body = request.json()
    if "deleted_frames" in body:
        mine = _frames_of(found)
        kept = [frame for frame in task["deleted_frames"] if frame not in mine]
        task["deleted_frames"] = sorted(kept + [frame for frame in body["deleted_frames"] if frame in mine])
        app.touch(found, task)
    return job_meta(app, request, job)


def _number(request: Request, name: str) -> int:
    text = request.query.get(name)
    if text is None or not text.lstrip("-").isdigit():
        raise bad_request(f"The parameter {name} is no number.")
    return int(text)


def _quality(request: Request) -> str:
    quality = request.query.get("quality", "compressed")
    if quality not in ("compressed", "original"):
        raise bad_request("The quality is neither compressed nor original.")
    return quality


def _file(content: tuple[bytes, str]) -> Reply:
    return Reply(raw=content[0], content_type=content[1])


@route("GET", "/api/tasks/{task}/data")
def task_data(app: App, request: Request, task: int) -> Reply:
    """A frame or a chunk of a task."""
    _, medium = _task_media(app, request, task)
    kind, size = request.query.get("type"), medium["size"]
    if kind == "frame":
        frame = _number(request, "number")
        if not 0 <= frame < size:
            raise bad_request(f"There is no frame {frame} among the {size} of the task.")
        return _file(media.frame_file(medium, frame, _quality(request)))
    if kind == "chunk":
        return _chunk(request, medium, range(size), _number(request, "number"), as_list=False)
    if kind == "preview":
        return _file(media.preview(medium))
    raise bad_request("The type is no frame, chunk or preview.")


@route("GET", "/api/jobs/{job}/data")
def job_data(app: App, request: Request, job: int) -> Reply:
    """A frame or a chunk of a job; ``index`` counts the chunks of the job, ``number`` those of its task."""
    found, _, medium = _job_media(app, request, job)
    kind, mine = request.query.get("type"), _frames_of(found)
    if kind == "frame":
        frame = _number(request, "number")
        if frame not in mine:
            raise bad_request(f"The job has no frame {frame}.")
        return _file(media.frame_file(medium, frame, _quality(request)))
    if kind == "chunk":
        by_index = "index" in request.query
        number = _number(request, "index" if by_index else "number")
        if by_index:
            return _chunk(request, medium, mine, number, as_list=True)
        chunk = range(number * medium["chunk_size"], (number + 1) * medium["chunk_size"])
        frames = range(max(chunk.start, mine.start), min(chunk.stop, mine.stop))
        if not frames:
            raise bad_request([f"The job has no part of chunk {number}."])
        return _file(media.chunk_file(medium, frames, _quality(request)))
    if kind == "preview":
        return _file(media.preview(medium))
    raise bad_request("The type is no frame, chunk or preview.")


def _chunk(request: Request, medium: Record, frames: range, number: int, *, as_list: bool) -> Reply:
    part = frames[number * medium["chunk_size"] : (number + 1) * medium["chunk_size"]]
    if number < 0 or not part:
        message = f"There is no chunk {number}."
        raise bad_request([message] if as_list else message)
    return _file(media.chunk_file(medium, part, _quality(request)))


@route("GET", "/api/tasks/{task}/preview")
def task_preview(app: App, request: Request, task: int) -> Reply:
    """A small picture of a task."""
    return _file(media.preview(_task_media(app, request, task)[1]))


@route("GET", "/api/jobs/{job}/preview")
def job_preview(app: App, request: Request, job: int) -> Reply:
    """A small picture of a job."""
    return _file(media.preview(_job_media(app, request, job)[2]))


# The upload of one file stands behind the fixed addresses, which its own would match as well.


@route("PATCH", "/api/tasks/{task}/data/{file:name}")
def append_data(app: App, request: Request, task: int, file: str) -> Reply:
    """The next piece of a TUS upload."""
    return uploads.tus_append(app, request, ("tasks", task), file)


@route("HEAD", "/api/tasks/{task}/data/{file:name}")
def data_offset(app: App, request: Request, task: int, file: str) -> Reply:
    """How far a TUS upload has come."""
    return uploads.tus_offset(app, request, ("tasks", task), file)
