"""Reading and writing annotations of jobs and tasks, with CVAT's rules for ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import permissions, webhooks
from .routing import Refusal, Reply, Request, bad_request, route, server_error
from .tracks import Merger, cut
from .validation import LONGEST_SOURCE, annotations_of

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
KINDS = {"tags": "tag", "shapes": "shape", "tracks": "track"}
NOTHING: Record = {"version": 0, "tags": [], "shapes": [], "tracks": []}


# Reading.


def read_job(app: App, job: Record) -> Record:
    """All annotations of a job: keyframes only, attributes that were not given filled in.

    A tag or shape without a value gets the attribute's default; a keyframe repeats the keyframe before it.
    """
    specs = {label["id"]: label["attributes"] for label in app.store.labels_of(app.store.task_of(job))}
    defaults = {
        (number, mutable): [
            {"spec_id": spec["id"], "value": spec["default_value"]}
            for spec in attributes
            if mutable is None or spec["mutable"] == mutable
        ]
        for number, attributes in specs.items()
        for mutable in (None, True, False)
    }
    return {
        "version": 0,
        "tags": [
            {**tag, "attributes": _filled(tag["attributes"], defaults[tag["label_id"], None])}
            for tag in sorted(job["tags"], key=_by_frame)
        ],
        "shapes": [
            {**shape, "attributes": _filled(shape["attributes"], defaults[shape["label_id"], None]), "elements": []}
            for shape in sorted(job["shapes"], key=_by_frame)
        ],
        "tracks": [
            _read_track(track, defaults[track["label_id"], True], defaults[track["label_id"], False])
            for track in sorted(job["tracks"], key=lambda track: track["id"])
        ],
    }


def _by_frame(item: Record) -> int:
    return item["frame"]


def _read_track(track: Record, mutable: list[Record], immutable: list[Record]) -> Record:
    keyframes = []
    previous = mutable
    for keyframe in track["shapes"]:
        previous = _filled(keyframe["attributes"], previous)
        keyframes.append({**keyframe, "attributes": previous})
    return {
        **track,
        "shapes": keyframes,
        "attributes": _filled(track["attributes"], immutable),
        "elements": [],
    }


def _filled(attributes: list[Record], others: list[Record]) -> list[Record]:
    given = {attribute["spec_id"] for attribute in attributes}
    return attributes + [other for other in others if other["spec_id"] not in given]


def read_task(app: App, task: Record) -> Record:
    """What a task shows: the annotations of its jobs, merged where the jobs overlap."""
    merger = Merger(task["overlap"] or 0)
    for job in app.store.jobs_of(task):
        merger.add(read_job(app, job), job["start_frame"])
    return merger.data


# Writing.


class Change:
    """One write to one or several jobs, which is taken back as a whole when a part of it is refused."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._owner = app.store["owner"]
        self._undo: list[Callable[[], None]] = []

    def take_back(self) -> None:
        """Undo everything, the last first."""
        while self._undo:
            self._undo.pop()()

    def delete(self, job: Record, data: Record) -> Record:
        """Delete the objects with the ids of the data; ids that the job does not have do not matter."""
        for kind in KINDS:
            numbers = {item["id"] for item in data[kind]}
            self._remove(job, kind, [item for item in job[kind] if item["id"] in numbers])
        return data

    def clear(self, job: Record) -> bool:
        """Delete everything; whether there was anything."""
        there = any(job[kind] for kind in KINDS)
        for kind in KINDS:
            self._remove(job, kind, job[kind])
        return there

    def _remove(self, job: Record, kind: str, items: list[Record]) -> None:
        if not items:
            return
        numbers = {item["id"] for item in items}
        before = job[kind]
        job[kind] = [item for item in before if item["id"] not in numbers]
        gone = {KINDS[kind]: numbers}
        if kind == "tracks":
            gone["keyframe"] = {keyframe["id"] for track in items for keyframe in track["shapes"]}
        for table, keys in gone.items():
            for key in keys:
                self._owner[table].pop(key, None)

        def undo() -> None:
            job[kind] = before
            for table, keys in gone.items():
                self._owner[table].update(dict.fromkeys(keys, job["id"]))

        self._undo.append(undo)

    def create(self, job: Record, data: Record) -> Record:
        """Store new objects, under the ids they bring or new ones, and give them as the answer shows them."""
        if any(not track["shapes"] for track in data["tracks"]):
            raise server_error()
        for track in data["tracks"]:
            _agree_on_first_frame(track)
        self._check_labels(job, data)
        if any(len(item["source"]) > LONGEST_SOURCE for kind in KINDS for item in data[kind]):
            raise server_error()
        for kind, table in KINDS.items():
            self._number(job, table, data[kind])
        keyframes = [keyframe for track in data["tracks"] for keyframe in track["shapes"]]
        self._number(job, "keyframe", keyframes)
        stored = {
            "tags": [dict(tag) for tag in data["tags"]],
            "shapes": [_stored(shape) for shape in data["shapes"]],
            "tracks": [
                {**_bare(track), "shapes": sorted((_stored(one) for one in track["shapes"]), key=_by_frame)}
                for track in data["tracks"]
            ],
        }
        for kind, items in stored.items():
            if items:
                before = job[kind]
                job[kind] = before + items
                self._undo.append(lambda kind=kind, before=before: job.__setitem__(kind, before))
        return data

    def _number(self, job: Record, table: str, items: list[Record]) -> None:
        """Give ids to items that bring none; an id that is taken is refused, as by the database.

        New ids stay used up when the request fails later, also as in a database.
        """
        owner = self._owner[table]
        taken: list[int] = []
        for item in items:
            if (number := item["id"]) is not None:
                if number in owner:
                    for key in taken:
                        del owner[key]
                    raise bad_request(f"duplicate key: the {table} id {number} is in use.\n")
                owner[number] = job["id"]
                taken.append(number)
        new = [item for item in items if item["id"] is None]
        numbers = self._app.store.new_ids(table, len(new))
        while any(number in owner for number in numbers):
            # Somebody has written under an id that was not given out yet.
            numbers = self._app.store.new_ids(table, len(new))
        for item, number in zip(new, numbers, strict=True):
            item["id"] = number
            owner[number] = job["id"]
        taken += numbers
        self._undo.append(lambda: [owner.pop(key, None) for key in taken] and None)

    def _check_labels(self, job: Record, data: Record) -> None:
        store = self._app.store
        every: dict[int, set[int]] = {}
        mutable: dict[int, set[int]] = {}
        for label in store.labels_of(store.task_of(job)):
            every[label["id"]] = {spec["id"] for spec in label["attributes"]}
            mutable[label["id"]] = {spec["id"] for spec in label["attributes"] if spec["mutable"]}

        def check(attributes: list[Record], allowed: set[int]) -> None:
            for attribute in attributes:
                if attribute["spec_id"] not in allowed:
                    raise bad_request([f"The spec_id {attribute['spec_id']} does not fit."])

        for kind in KINDS:
            for item in data[kind]:
                number = item["label_id"]
                if number not in every:
                    raise bad_request([f"The label_id {number} does not fit."])
                check(item["attributes"], every[number] - mutable[number] if kind == "tracks" else every[number])
                for keyframe in item.get("shapes", ()):
                    if keyframe["attributes"]:
                        check(keyframe["attributes"], mutable[number])


def _agree_on_first_frame(track: Record) -> None:
    """A track begins with its first keyframe: one is added out of view, or the track's frame is moved."""
    first = min(track["shapes"], key=_by_frame)
    if track["frame"] < first["frame"]:
        track["shapes"].append({**first, "frame": track["frame"], "outside": True, "id": None})
    else:
        track["frame"] = first["frame"]


def _bare(track: Record) -> Record:
    return {name: value for name, value in track.items() if name != "elements"}


def _stored(shape: Record) -> Record:
    bare = {name: value for name, value in shape.items() if name != "elements"}
    bare["points"] = [float(x) for x in shape["points"]]
    bare["rotation"] = float(shape["rotation"])
    return bare


def clear_job(app: App, job: Record) -> None:
    """Delete all annotations of a job."""
    Change(app).clear(job)


def forget_label(app: App, number: int) -> None:
    """Delete all annotations of a label, wherever they are."""
    change = Change(app)
    for job in app.store["jobs"].values():
        change.delete(job, {kind: [item for item in job[kind] if item["label_id"] == number] for kind in KINDS})


def _write(job: Record, data: Record, action: str, change: Change) -> tuple[Record, bool]:
    """Write to one job; the answer, and whether the job gets a new date.

    Whatever is not empty dates it anew, whether it changes anything or not.
    """
    had = False
    if action == "delete":
        answer = change.delete(job, data)
    else:
        if action == "put":
            had = change.clear(job)
        elif action == "update":
            change.delete(job, data)
        answer = change.create(job, data)
    return answer, had or any(answer[kind] for kind in KINDS)


def date_anew(app: App, request: Request, job: Record) -> None:
    """Date a job, its task and its project; each tells its webhooks."""
    task = app.store.task_of(job)
    for kind, record in (("job", job), ("task", task), ("project", app.store.project_of(task))):
        if record is not None:
            with webhooks.update(app, request, kind, record):
                app.touch(record)


# Addresses.


def _job(app: App, request: Request, number: int) -> Record:
    from .jobs import job_at

    job = job_at(app, number)
    permissions.require_view(app, request, job)
    return job


def _task(app: App, request: Request, number: int) -> Record:
    from .tasks import task_at

    task = task_at(app, number)
    permissions.require_view(app, request, task)
    return task


def _action(request: Request) -> str:
    action = request.query.get("action")
    if action not in ("create", "update", "delete"):
        raise bad_request(["The action is none of create, update and delete."])
    return action


def _write_jobs(app: App, request: Request, parts: list[tuple[Record, Record]], action: str) -> list[Record]:
    """Write to each job its part, all or nothing; the answers."""
    change = Change(app)
    try:
        written = [_write(job, data, action, change) for job, data in parts]
    except Refusal:
        change.take_back()
        raise
    for (job, _), (_, dirty) in zip(parts, written, strict=True):
        if dirty:
            date_anew(app, request, job)
    return [answer for answer, _ in written]


def _write_job(app: App, request: Request, job: Record, action: str) -> Reply:
    data = annotations_of(request.json(), ids_allowed=action in ("update", "delete"))
    return Reply(body=_write_jobs(app, request, [(job, data)], action)[0])


def _write_task(app: App, request: Request, task: Record, action: str) -> Reply:
    data = annotations_of(request.json(), ids_allowed=action in ("update", "delete"))
    if any(not track["shapes"] for track in data["tracks"]):
        raise server_error()
    jobs = app.store.jobs_of(task)
    parts = [(job, cut(data, job["start_frame"], job["stop_frame"])) for job in jobs]
    merger = Merger(task["overlap"] or 0)
    for job, answer in zip(jobs, _write_jobs(app, request, parts, action), strict=True):
        merger.add(answer, job["start_frame"])
    return Reply(body=merger.data)


@route("GET", "/api/jobs/{job}/annotations")
def job_annotations(app: App, request: Request, job: int) -> Reply:
    """The annotations of a job."""
    return Reply(body=read_job(app, _job(app, request, job)))


@route("PUT", "/api/jobs/{job}/annotations")
def put_job_annotations(app: App, request: Request, job: int) -> Reply:
    """Replace all annotations of a job; all of them get new ids."""
    return _write_job(app, request, _job(app, request, job), "put")


@route("PATCH", "/api/jobs/{job}/annotations")
def patch_job_annotations(app: App, request: Request, job: int) -> Reply:
    """Create, update or delete some annotations of a job."""
    return _write_job(app, request, _job(app, request, job), _action(request))


@route("DELETE", "/api/jobs/{job}/annotations")
def delete_job_annotations(app: App, request: Request, job: int) -> Reply:
    """Delete all annotations of a job."""
    found = _job(app, request, job)
    if Change(app).clear(found):
        date_anew(app, request, found)
    return Reply(204)


@route("GET", "/api/tasks/{task}/annotations")
def task_annotations(app: App, request: Request, task: int) -> Reply:
    """The annotations of a task, put together from its jobs."""
    return Reply(body=read_task(app, _task(app, request, task)))


@route("PUT", "/api/tasks/{task}/annotations")
def put_task_annotations(app: App, request: Request, task: int) -> Reply:
    """Replace all annotations of a task, cut at the borders of its jobs."""
    return _write_task(app, request, _task(app, request, task), "put")


@route("PATCH", "/api/tasks/{task}/annotations")
def patch_task_annotations(app: App, request: Request, task: int) -> Reply:
    """Create, update or delete annotations of a task, cut at the borders of its jobs."""
    return _write_task(app, request, _task(app, request, task), _action(request))


@route("DELETE", "/api/tasks/{task}/annotations")
def delete_task_annotations(app: App, request: Request, task: int) -> Reply:
    """Delete all annotations of a task."""
    for job in app.store.jobs_of(_task(app, request, task)):
        if Change(app).clear(job):
            date_anew(app, request, job)
    return Reply(204)
