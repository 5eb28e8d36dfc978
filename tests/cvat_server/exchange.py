"""Export and import of annotation files, in CVAT's own video format only."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

from . import annotations, media, permissions, uploads
from .auth import FORMATS
from .forms import fields_of
from .routing import Reply, Request, bad_request, not_found, route
from .tracks import cut
from .validation import annotations_of

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
WRITTEN = "CVAT for video 1.1"
READ = "CVAT 1.1"


def _target(app: App, request: Request, kind: str, number: int) -> tuple[Record, Record | None]:
    """The task and, if the address is a job's, the job."""
    from .jobs import job_at
    from .tasks import task_at

    job = job_at(app, number) if kind == "jobs" else None
    task = app.store.task_of(job) if job else task_at(app, number)
    permissions.require_view(app, request, job or task)
    return task, job


def _operation(name: str, task: Record, job: Record | None, **more: Any) -> Record:
    return {
        "type": name,
        "target": "job" if job else "task",
        "task_id": task["id"],
        "job_id": job["id"] if job else None,
        **more,
    }


# Export.


def _export(app: App, request: Request, kind: str, number: int) -> Reply:
    task, job = _target(app, request, kind, number)
    name = request.query.get("format")
    if name not in FORMATS:
        raise bad_request(["This format is not known."])
    assert request.user is not None
    shown = name.replace(" ", "_").replace(".", "~")
    rq_id = (
        f"action=export&target={kind[:-1]}&target_id={number}&user_id={request.user['id']}&format={shown}"
        "&subresource=annotations"
    )
    operation = _operation("export:annotations", task, job, format=name)
    work = {"url": f"{request.url}/api/{kind}/{number}/dataset/download?rq_id={quote(rq_id, safe='')}"}
    uploads.ask(app, request, rq_id, operation, work)
    return Reply(202, {"rq_id": rq_id})


def _write_file(app: App, rq: Record) -> None:
    operation = rq["operation"]
    if operation["format"] != WRITTEN:
        raise media.BadMediaError(f"The stand-in does not write {operation['format']}.")
    task = app.store["tasks"][operation["task_id"]]
    job = app.store["jobs"].get(operation["job_id"])
    data = annotations.read_job(app, job) if job else annotations.read_task(app, task)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", _xml(app, task, data))
    rq.update(result_url=rq["work"]["url"], file=packed.getvalue())


uploads.WORK["export:annotations"] = _write_file


def _xml(app: App, task: Record, data: Record) -> bytes:
    """Tracks as CVAT writes them for videos; single shapes become tracks of one frame."""
    labels = {label["id"]: label for label in app.store.labels_of(task)}
    specs = {spec["id"]: spec["name"] for label in labels.values() for spec in label["attributes"]}
    size = app.store["media"][task["media_id"]]["size"]
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    single = [
        {
            **shape,
            "shapes": [
                {**shape, "attributes": []},
                {**shape, "attributes": [], "frame": shape["frame"] + 1, "outside": True},
            ],
        }
        for shape in data["shapes"]
    ]
    for number, track in enumerate(data["tracks"] + single):
        element = ElementTree.SubElement(root, "track", id=str(number), label=labels[track["label_id"]]["name"])
        element.set("source", track["source"])
        if track["group"]:
            element.set("group_id", str(track["group"]))
        keyframes = [keyframe for keyframe in track["shapes"] if keyframe["frame"] < size]
        for keyframe in (one for one in keyframes if one["type"] == "rectangle"):
            box = ElementTree.SubElement(element, "box", frame=str(keyframe["frame"]), keyframe="1")
            for name in ("outside", "occluded"):
                box.set(name, str(int(keyframe[name])))
            for name, value in zip(("xtl", "ytl", "xbr", "ybr"), keyframe["points"], strict=True):
                box.set(name, f"{value:.2f}")
            box.set("z_order", str(keyframe["z_order"]))
            for attribute in keyframe["attributes"] + track["attributes"]:
                ElementTree.SubElement(box, "attribute", name=specs[attribute["spec_id"]]).text = attribute["value"]
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _download(app: App, request: Request, kind: str, number: int) -> Reply:
    _target(app, request, kind, number)
    rq = app.store["requests"].get(request.query.get("rq_id"))
    if rq is None or "file" not in rq:
        raise not_found("file")
    name = f"{kind[:-1]}_{number}_annotations_{WRITTEN.lower()}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Reply(raw=rq["file"], content_type="application/zip", headers=headers)


# Import.


def _import(app: App, request: Request, kind: str, number: int) -> Reply:
    """A file of annotations, in one form or by TUS between ``Upload-Start`` and ``Upload-Finish``."""
    task, job = _target(app, request, kind, number)
    if "Upload-Length" in request.headers:
        return uploads.tus_create(app, request, (kind, number), shows_name=False)
    name = request.query.get("format")
    if name not in FORMATS:
        raise bad_request(["This input format is not known."])
    upload = app.store["uploads"].setdefault((kind, number), {"files": [], "tus": {}})
    if "Upload-Start" in request.headers:
        return Reply(202)
    if request.content_type.startswith("multipart/"):
        upload["files"] += [media.keep(app.folder, file.name, file.content) for file in fields_of(request)[1]]
    del app.store["uploads"][kind, number]
    if not upload["files"]:
        raise bad_request(["No file was sent."])
    rq_id = f"action=import&target={kind[:-1]}&target_id={number}&subresource=annotations"
    uploads.ask(app, request, rq_id, _operation("import:annotations", task, job), {"file": upload["files"][-1]["path"]})
    app.store["requests"][rq_id]["name"] = name
    return Reply(202, {"rq_id": rq_id})


def _read_file(app: App, rq: Record) -> None:
    """Replace the annotations by those of the file; all ids are new and the source is ``file``."""
    task = app.store["tasks"][rq["operation"]["task_id"]]
    job = app.store["jobs"].get(rq["operation"]["job_id"])
    try:
        with open(rq["work"]["file"], "rb") as stream:
            content = stream.read()
        if zipfile.is_zipfile(io.BytesIO(content)):
            content = zipfile.ZipFile(io.BytesIO(content)).read("annotations.xml")
        body = {"tracks": _tracks(app, task, ElementTree.fromstring(content))}
    except (ElementTree.ParseError, KeyError, zipfile.BadZipFile) as error:
        raise media.BadMediaError(f"The file cannot be read: {type(error).__name__}") from None
    data = annotations_of(body, ids_allowed=False)
    for one in [job] if job else app.store.jobs_of(task):
        change = annotations.Change(app)
        change.clear(one)
        change.create(one, cut(data, one["start_frame"], one["stop_frame"]))
        app.touch(one)
    app.touch(task, app.store.project_of(task))


uploads.WORK["import:annotations"] = _read_file


def _tracks(app: App, task: Record, root: ElementTree.Element) -> list[Record]:
    labels = {label["name"]: label for label in app.store.labels_of(task)}
    tracks = []
    for element in root.iter("track"):
        label = labels[element.get("label", "")]
        specs = {spec["name"]: spec for spec in label["attributes"]}
        fixed: dict[int, Record] = {}
        keyframes = []
        for box in element.iter("box"):
            mutable = []
            for child in box.iter("attribute"):
                spec = specs[child.get("name", "")]
                value = {"spec_id": spec["id"], "value": child.text or ""}
                if spec["mutable"]:
                    mutable.append(value)
                else:
                    fixed[spec["id"]] = value
            keyframes.append(
                {
                    "type": "rectangle",
                    "frame": int(box.get("frame", 0)),
                    "outside": box.get("outside") == "1",
                    "occluded": box.get("occluded") == "1",
                    "z_order": int(box.get("z_order", 0)),
                    "points": [float(box.get(name, 0)) for name in ("xtl", "ytl", "xbr", "ybr")],
                    "attributes": mutable,
                }
            )
        if keyframes:
            tracks.append(
                {
                    "label_id": label["id"],
                    "frame": keyframes[0]["frame"],
                    "group": int(element.get("group_id", 0)),
                    "source": "file",
                    "attributes": list(fixed.values()),
                    "shapes": keyframes,
                }
            )
    return tracks


# Addresses: the same ones for jobs and tasks.


def _add_routes(kind: str) -> None:
    name = kind[:-1]
    base = f"/api/{kind}/{{{name}}}"

    @route("POST", f"{base}/dataset/export")
    def export(app: App, request: Request, **numbers: int) -> Reply:
        return _export(app, request, kind, numbers[name])

    @route("GET", f"{base}/dataset/download")
    def download(app: App, request: Request, **numbers: int) -> Reply:
        return _download(app, request, kind, numbers[name])

    @route("POST", f"{base}/annotations")
    def import_file(app: App, request: Request, **numbers: int) -> Reply:
        return _import(app, request, kind, numbers[name])

    @route("PATCH", f"{base}/annotations/{{file:name}}")
    def append(app: App, request: Request, file: str, **numbers: int) -> Reply:
        return uploads.tus_append(app, request, (kind, numbers[name]), file)

    @route("HEAD", f"{base}/annotations/{{file:name}}")
    def offset(app: App, request: Request, file: str, **numbers: int) -> Reply:
        return uploads.tus_offset(app, request, (kind, numbers[name]), file)


for _kind in ("jobs", "tasks"):
    _add_routes(_kind)
