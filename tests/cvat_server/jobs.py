"""Jobs: the segments that people work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import permissions, tasks, uploads, webhooks
from .lists import listing
from .routing import Reply, Request, bad_request, forbidden, not_found, route, server_error
from .views import job_json

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
STATES = ("new", "in progress", "completed", "rejected")
STAGES = ("annotation", "validation", "acceptance")


@route("GET", "/api/jobs")
def jobs(app: App, request: Request) -> Reply:
    """The jobs that the user may see."""
    uploads.wait_for_jobs(app, request)
    seen = [
        job
        for job in app.store["jobs"].values()
        if permissions.in_context(request, job) and permissions.may_view(app, request, job)
    ]
    names = ("id", "task_id", "state", "stage", "status", "created_date", "updated_date")
    task_of = app.store.task_of
    fields = {
        **{name: (lambda one, name=name: one[name]) for name in names},
        "assignee": lambda one: (app.brief(one["assignee_id"]) or {}).get("username"),
        "project_id": lambda one: task_of(one)["project_id"],
        "task_name": lambda one: task_of(one)["name"],
        "project_name": lambda one: (app.store.project_of(task_of(one)) or {}).get("name"),
        "mode": lambda one: task_of(one)["mode"],
        "dimension": lambda one: "2d",
        "type": lambda one: "annotation",
    }
    search = ("task_name", "project_name", "assignee", "state", "stage")
    return listing(request, seen, lambda one: job_json(app, one), fields, search=search)


def job_at(app: App, number: int) -> Record:
    """The job of this id, or 404."""
    if number not in app.store["jobs"]:
        raise not_found("job")
    return app.store["jobs"][number]


@route("GET", "/api/jobs/{job}")
def job(app: App, request: Request, job: int) -> Reply:
    """One job."""
    found = job_at(app, job)
    permissions.require_view(app, request, found)
    return Reply(body=job_json(app, found))


@route("PATCH", "/api/jobs/{job}")
def change_job(app: App, request: Request, job: int) -> Reply:
    """Change state, stage or assignee; whoever has the job may change its state only."""
    found, body = job_at(app, job), request.json()
    permissions.require_view(app, request, found)
    if set(body) - {"state", "stage", "assignee"}:
        raise forbidden("A field is not known.")
    if set(body) - {"state"}:
        permissions.require_staff(app, request, found)
    for name, allowed in (("state", STATES), ("stage", STAGES)):
        if name in body and body[name] not in allowed:
            raise bad_request({name: [f'"{body[name]}" is none of the choices.']})
    assignee = body.get("assignee")
    if assignee is not None and (not isinstance(assignee, int) or assignee not in app.store["users"]):
        raise server_error()
    with webhooks.update(app, request, "job", found, counted=True):
        if "assignee" in body and assignee != found["assignee_id"]:
            found.update(assignee_id=assignee, assignee_updated_date=app.store.now())
        if "stage" in body:
            status = "completed" if body["stage"] == "acceptance" else body["stage"]
            found.update(stage=body["stage"], status=status)
        if "state" in body:
            found["state"] = body["state"]
        app.touch(found)
        # The task's event goes out before the job's.
        tasks.update_status(app, request, app.store.task_of(found))
    return Reply(body=job_json(app, found))
