"""Tasks and their segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import permissions, projects, webhooks
from .lists import listing
from .routing import Reply, Request, bad_request, not_found, route, server_error
from .views import is_completed, task_json

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
# Frames that two neighbouring jobs of a video share where the task does not say otherwise.
VIDEO_OVERLAP = 5


@route("GET", "/api/tasks")
def tasks(app: App, request: Request) -> Reply:
    """The tasks that the user may see; having a job of a task is not enough."""
    seen = [
        task
        for task in app.store["tasks"].values()
        if permissions.in_context(request, task) and permissions.may_view(app, request, task)
    ]
    names = ("id", "name", "project_id", "mode", "status", "subset", "created_date", "updated_date")
    fields = {
        **{name: (lambda one, name=name: one[name]) for name in names},
        "owner": lambda one: (app.brief(one["owner_id"]) or {}).get("username"),
        "assignee": lambda one: (app.brief(one["assignee_id"]) or {}).get("username"),
        "project_name": lambda one: (app.store.project_of(one) or {}).get("name"),
        "dimension": lambda one: "2d",
    }
    search = ("project_name", "name", "owner", "status", "assignee", "subset", "mode")
    return listing(request, seen, lambda one: task_json(app, one), fields, search=search)


@route("POST", "/api/tasks")
def create_task(app: App, request: Request) -> Reply:
    """Make a task without data, with labels of its own or of its project."""
    body, store = request.json(), app.store
    if not body.get("name"):
        raise bad_request({"name": projects.REQUIRED})
    project = store["projects"].get(body.get("project_id"))
    if body.get("project_id") is not None:
        if project is None:
            raise bad_request({"project_id": [f"There is no project {body['project_id']}."]})
        if body.get("labels"):
            raise bad_request(["A task has labels or a project, not both."])
        permissions.require_staff(app, request, project)
    elif not body.get("labels"):
        raise bad_request(["A task needs labels or a project."])
    projects.check_labels(body.get("labels") or [], [])
    for number in (body.get("assignee_id"), body.get("owner_id")):
        if number is not None and number not in store["users"]:
            raise bad_request({"assignee_id": [f"There is no user {number}."]})
    assert request.user is not None
    organization = project["organization_id"] if project else (request.organization or {}).get("id")
    task = {
        "id": store.new_id("task"),
        "name": body["name"],
        "project_id": body.get("project_id"),
        "mode": "",
        "owner_id": request.user["id"],
        "assignee_id": body.get("assignee_id"),
        "assignee_updated_date": store.now() if body.get("assignee_id") else None,
        "bug_tracker": body.get("bug_tracker", ""),
        "created_date": store.now(),
        "updated_date": store.now(),
        "overlap": body.get("overlap"),
        "segment_size": body.get("segment_size") or 0,
        "status": "annotation",
        "guide_id": None,
        "subset": body.get("subset", ""),
        "organization_id": organization,
        "media_id": None,
        "deleted_frames": [],
    }
    store["tasks"][task["id"]] = task
    projects.change_labels(app, body.get("labels") or [], task_id=task["id"])
    webhooks.created(app, request, "task", task)
    _touch_project(app, request, task)
    answer = task_json(app, task)
    return Reply(201, answer, {"Location": answer["url"]})


def task_at(app: App, number: int) -> Record:
    """The task of this id, or 404."""
    if number not in app.store["tasks"]:
        raise not_found("task")
    return app.store["tasks"][number]


@route("GET", "/api/tasks/{task}")
def task(app: App, request: Request, task: int) -> Reply:
    """One task."""
    found = task_at(app, task)
    permissions.require_view(app, request, found)
    return Reply(body=task_json(app, found))


@route("PATCH", "/api/tasks/{task}")
def change_task(app: App, request: Request, task: int) -> Reply:
    """Rename a task, hand it over, change its labels, or move it to another project."""
    found, body = task_at(app, task), request.json()
    permissions.require_staff(app, request, found)
    if "assignee_id" in body and body["assignee_id"] not in (None, *app.store["users"]):
        raise server_error()
    labels = body.get("labels") or []
    projects.check_labels(labels, [label for label in app.store["labels"].values() if label["task_id"] == task])
    with webhooks.update(app, request, "task", found, counted=True):
        projects.change_labels(app, labels, task_id=task)
        for name in ("name", "bug_tracker", "subset", "project_id"):
            if name in body:
                found[name] = body[name]
        if "assignee_id" in body and body["assignee_id"] != found["assignee_id"]:
            found.update(assignee_id=body["assignee_id"], assignee_updated_date=app.store.now())
        app.touch(found)
    _touch_project(app, request, found)
    return Reply(body=task_json(app, found))


@route("DELETE", "/api/tasks/{task}")
def delete_task(app: App, request: Request, task: int) -> Reply:
    """Delete a task with its jobs, their annotations and issues."""
    found = task_at(app, task)
    permissions.require_staff(app, request, found)
    with webhooks.deletion(app, request, "task", found):
        remove_task(app, found)
        _touch_project(app, request, found)
    return Reply(204)


def _touch_project(app: App, request: Request, task: Record) -> None:
    if project := app.store.project_of(task):
        with webhooks.update(app, request, "project", project):
            app.touch(project)


def remove_task(app: App, task: Record) -> None:
    """Take a task and all that belongs to it out of the store."""
    store = app.store
    for job in store.jobs_of(task):
        remove_job(app, job)
    store.data["labels"] = {key: label for key, label in store["labels"].items() if label["task_id"] != task["id"]}
    store["media"].pop(task["media_id"], None)
    store["uploads"].pop(("tasks", task["id"]), None)
    for rq_id in [key for key, one in store["requests"].items() if one["operation"]["task_id"] == task["id"]]:
        del store["requests"][rq_id]
    del store["tasks"][task["id"]]


def remove_job(app: App, job: Record) -> None:
    """Take a job and all that belongs to it out of the store."""
    from .annotations import clear_job

    store = app.store
    clear_job(app, job)
    for number in [key for key, issue in store["issues"].items() if issue["job_id"] == job["id"]]:
        for comment in [key for key, one in store["comments"].items() if one["issue_id"] == number]:
            del store["comments"][comment]
        del store["issues"][number]
    del store["jobs"][job["id"]]


def make_jobs(app: App, task: Record) -> None:
    """Cut the frames of a task into segments, one job each, as CVAT does once it has read the media."""
    store, media = app.store, app.store["media"][task["media_id"]]
    size = media["size"]
    task["mode"] = "interpolation" if media["is_video"] else "annotation"
    segment_size = task["segment_size"] if 0 < task["segment_size"] <= size else size
    overlap = task["overlap"] if task["overlap"] is not None else VIDEO_OVERLAP if media["is_video"] else 0
    overlap = min(overlap, segment_size // 2)
    task.update(segment_size=segment_size, overlap=overlap)
    for start in range(0, max(1, size - overlap), max(1, segment_size - overlap)):
        job = {
            "id": store.new_id("job"),
            "task_id": task["id"],
            "organization_id": task["organization_id"],
            "assignee_id": None,
            "assignee_updated_date": None,
            "status": "annotation",
            "stage": "annotation",
            "state": "new",
            "start_frame": start,
            "stop_frame": min(start + segment_size, size) - 1,
            "created_date": store.now(),
            "updated_date": store.now(),
            "chunks_updated_date": store.now(),
            "tags": [],
            "shapes": [],
            "tracks": [],
        }
        store["jobs"][job["id"]] = job
    app.touch(task)


def update_status(app: App, request: Request, task: Record) -> None:
    """A task's status follows its jobs."""
    jobs = app.store.jobs_of(task)
    status = "annotation"
    if all(is_completed(job) for job in jobs):
        status = "completed"
    elif any(job["stage"] != "annotation" for job in jobs):
        status = "validation"
    if status != task["status"]:
        with webhooks.update(app, request, "task", task):
            task["status"] = status
            app.touch(task)
