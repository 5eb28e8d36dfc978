"""Sending data: whole forms, forms in several requests, TUS, files of the server's share; and background requests."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import media as medias
from . import permissions, tasks
from .forms import fields_of
from .lists import listing
from .routing import Refusal, Reply, Request, bad_request, route, server_error

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
NO_CACHE = {"Cache-Control": "max-age=0, no-cache, no-store, must-revalidate, private"}
TUS = {
    "Tus-Resumable": "1.0.0",
    "Tus-Version": "1.0.0",
    "Tus-Extension": "",
    "Tus-Max-Size": str(25 * 2**30),
    "Cache-Control": "no-store",
}


def _truth(value: Any) -> bool:
    return str(value).lower() in ("true", "1", "on")


@route("POST", "/api/tasks/{task}/data")
def send_data(app: App, request: Request, task: int) -> Reply:
    """All ways of giving a task its media; which one it is, the headers tell.

    ``Upload-Start`` opens, ``Upload-Multiple`` adds the files of a form, ``Upload-Length`` begins one TUS upload,
    ``Upload-Finish`` or no header at all closes and starts the reading of the media in the background.
    """
    found, store = tasks.task_at(app, task), app.store
    permissions.require_staff(app, request, found)
    if "Upload-Length" in request.headers:
        return tus_create(app, request, ("tasks", task), shows_name=True)
    media = store["media"].get(found["media_id"])
    if media is not None and media["size"]:
        raise bad_request("This task has data already.")
    upload = store["uploads"].setdefault(("tasks", task), {"files": [], "tus": {}})
    if "Upload-Start" in request.headers:
        return Reply(202)
    values, files = fields_of(request) if request.content_type.startswith("multipart/") else (request.json(), [])
    upload["files"] += [medias.keep(app.folder, file.name, file.content) for file in files]
    if "Upload-Multiple" in request.headers:
        return Reply(200)
    if "image_quality" not in values:
        raise bad_request({"image_quality": ["This field has to be there."]})
    del store["uploads"][("tasks", task)]
    media = {
        "id": store.new_id("media"),
        "size": 0,
        "frames": [],
        "is_video": False,
        "image_quality": int(values["image_quality"]),
        "use_zip_chunks": _truth(values.get("use_zip_chunks")),
        "frame_filter": str(values.get("frame_filter") or ""),
        "chunk_size": None,
        "original_chunk_type": "imageset",
        "compressed_chunk_type": "imageset",
        "cloud_storage_id": int(values["cloud_storage_id"]) if values.get("cloud_storage_id") else None,
        "storage": "local",
        "chunks_updated_date": store.now(),
    }
    store["media"][media["id"]] = media
    found["media_id"] = media["id"]
    app.touch(found)
    number = found["id"]
    operation = {"type": "create:task", "target": "task", "task_id": number}
    rq_id = f"action=create&target=task&target_id={number}"
    ask(app, request, rq_id, operation, {"files": upload["files"], "parameters": values})
    return Reply(202, {"rq_id": rq_id})


def _read_task(app: App, rq: Record) -> None:
    task = app.store["tasks"][rq["operation"]["task_id"]]
    media = app.store["media"][task["media_id"]]
    parameters = rq["work"]["parameters"]
    files = rq["work"]["files"] + [_server_file(app, media, name) for name in parameters.get("server_files") or []]
    medias.read_files(media, files, parameters)
    media["chunks_updated_date"] = app.store.now()
    tasks.make_jobs(app, task)


def _server_file(app: App, media: Record, name: str) -> Record:
    """A file of a cloud storage, or of the share."""
    root = app.share
    if media["cloud_storage_id"] is not None:
        storage = app.store["cloud_storages"].get(media["cloud_storage_id"])
        root = Path(storage["folder"]) if storage else None
        media["storage"] = "cloud_storage"
    else:
        media["storage"] = "share"
    path = root / name if root else None
    if path is None or not path.resolve().is_relative_to(root.resolve()) or not path.is_file():  # type: ignore[union-attr]
        raise medias.BadMediaError(f"The file {name} does not exist.")
    return medias.describe(path, name)


# TUS: one file in pieces, each at the offset that the server has reached.


def tus_create(app: App, request: Request, owner: tuple[str, int], *, shows_name: bool) -> Reply:
    """Begin a TUS upload.

    The address of the upload is built from the Origin header. Without it CVAT answers 500, unless a proxy has told it
    the host.
    """
    if not (request.headers.get("Origin") or request.headers.get("X-Forwarded-Host")):
        raise server_error()
    told = dict(
        pair.split(" ", 1) for pair in str(request.headers.get("Upload-Metadata") or "").split(",") if " " in pair
    )
    name = base64.b64decode(told.get("filename", "")).decode()
    assert request.user is not None
    file_id = f"{request.user['id']}_{uuid.uuid4()}"
    path = app.folder / file_id
    path.write_bytes(b"")
    uploads = app.store["uploads"].setdefault(owner, {"files": [], "tus": {}})
    uploads["tus"][file_id] = {
        "name": name,
        "path": str(path),
        "offset": 0,
        "length": int(request.headers["Upload-Length"]),
    }
    address = f"{request.url}{request.path.rstrip('/')}/{file_id}"
    shown = Path(name).name if shows_name else file_id
    return Reply(201, headers={**TUS, "Location": address, "Upload-Filename": shown})


def _tus_file(app: App, owner: tuple[str, int], file: str) -> Record:
    upload = app.store["uploads"].get(owner)
    if upload is None or file not in upload["tus"]:
        raise Refusal(404, {"detail": "There is no such upload."})
    return upload["tus"][file]


def tus_offset(app: App, request: Request, owner: tuple[str, int], file: str) -> Reply:
    """How far an upload has come."""
    found = _tus_file(app, owner, file)
    return Reply(headers={**TUS, "Upload-Offset": str(found["offset"]), "Upload-Length": str(found["length"])})


def tus_append(app: App, request: Request, owner: tuple[str, int], file: str) -> Reply:
    """Take the next piece; 409 where it does not start at the offset that was reached."""
    found = _tus_file(app, owner, file)
    if request.headers.get("Upload-Offset") != str(found["offset"]):
        refusal = Refusal(409)
        refusal.reply.headers.update(TUS)
        raise refusal
    with open(found["path"], "r+b") as stream:
        # After a restored snapshot the file may be longer than the offset says.
        stream.truncate(found["offset"])
        stream.seek(found["offset"])
        stream.write(request.body)
    found["offset"] += len(request.body)
    upload = app.store["uploads"][owner]
    if found["offset"] == found["length"]:
        upload["files"].append(medias.keep(app.folder, Path(found["name"]).name, Path(found["path"]).read_bytes()))
    return Reply(204, headers={**TUS, "Upload-Offset": str(found["offset"])})


# Background requests.


def ask(app: App, request: Request, rq_id: str, operation: Record, work: Record) -> None:
    """Put a background request; it is done when it was polled often enough, at once where polls need not wait."""
    assert request.user is not None
    task = app.store["tasks"].get(operation.get("task_id"))
    rq = {
        "status": "queued",
        "message": "",
        "id": rq_id,
        "operation": {
            "type": operation["type"],
            "target": operation["target"],
            "project_id": task["project_id"] if task else operation.get("project_id"),
            "task_id": operation.get("task_id"),
            "job_id": operation.get("job_id"),
            "format": operation.get("format"),
            "lightweight": None,
        },
        "progress": 0.0,
        "created_date": app.store.now(),
        "started_date": None,
        "finished_date": None,
        "expiry_date": None,
        "owner": {"id": request.user["id"], "username": request.user["username"]},
        "result_url": None,
        "result_id": None,
        "left": app.busy_polls,
        "work": work,
    }
    # A later request of the same name takes the place of the earlier one, also in the order.
    app.store["requests"].pop(rq_id, None)
    app.store["requests"][rq_id] = rq
    if not app.busy_polls:
        _advance(app, rq)


# What each kind of background request does; other topics add theirs.
WORK: dict[str, Callable[[App, Record], None]] = {"create:task": _read_task}
LASTING = {"create:task": {"seconds": 500}, "import:annotations": {"hours": 1}}


def _advance(app: App, rq: Record) -> None:
    if rq["status"] in ("finished", "failed"):
        return
    if rq["started_date"] is None:
        rq.update(status="started", started_date=app.store.now())
    if rq["left"] > 0:
        rq["left"] -= 1
        return
    kind = rq["operation"]["type"]
    try:
        WORK[kind](app, rq)
    except medias.BadMediaError as error:
        rq.update(status="failed", message=f"{error}\n", expiry_date=app.store.now(days=365))
    else:
        rq.update(status="finished", message="", expiry_date=app.store.now(**LASTING.get(kind, {"days": 1})))
    rq.update(finished_date=app.store.now())
    rq.pop("work")


def wait_for_jobs(app: App, request: Request) -> None:
    """Asking for the jobs of a task counts as a poll of its making: FiftyOne polls that way."""
    rq = app.store["requests"].get(f"action=create&target=task&target_id={request.query.get('task_id')}")
    if rq is not None:
        # The poll that finishes the work already sees what it made.
        _advance(app, rq)


def _request_json(rq: Record) -> Record:
    return {name: value for name, value in rq.items() if name not in ("left", "work", "file", "name")}


@route("GET", "/api/requests")
def requests(app: App, request: Request) -> Reply:
    """The user's background requests, the newest first."""
    assert request.user is not None
    mine = [rq for rq in app.store["requests"].values() if rq["owner"]["id"] == request.user["id"]]
    fields = {
        **{name: (lambda one, name=name: one[name]) for name in ("id", "status", "created_date")},
        "action": lambda one: one["operation"]["type"].split(":")[0],
        **{
            name: (lambda one, name=name: one["operation"][name])
            for name in ("target", "project_id", "task_id", "job_id", "format")
        },
    }
    reply = listing(request, mine, _request_json, fields, order="-created_date")
    reply.headers.update(NO_CACHE)
    return reply


@route("GET", "/api/requests/{rq:path}")
def poll(app: App, request: Request, rq: str) -> Reply:
    """One background request."""
    found = app.store["requests"].get(str(rq).rstrip("/"))
    assert request.user is not None
    if found is None:
        return Reply(404, raw=b"No request has this id", content_type="text/html; charset=utf-8")
    if found["owner"]["id"] != request.user["id"] and not request.user["is_superuser"]:
        raise permissions.forbidden()
    _advance(app, found)
    return Reply(body=_request_json(found), headers=dict(NO_CACHE))


@route("GET", "/api/server/share")
def share(app: App, request: Request) -> Reply:
    """What lies in a folder of the share."""
    folder = (app.share or app.folder / "no share") / request.query.get("directory", "").strip("/")
    rows = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if request.query.get("search", "") in path.name:
            kind = str(medias.mimetypes.guess_type(path.name)[0]).split("/")[0]
            rows.append(
                {
                    "name": path.name,
                    "type": "DIR" if path.is_dir() else "REG",
                    "mime_type": "DIR" if path.is_dir() else kind if kind in ("video", "image") else "unknown",
                }
            )
    return Reply(body=rows)
