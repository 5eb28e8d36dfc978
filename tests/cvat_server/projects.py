"""Projects, their labels and guides."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from . import annotations, permissions, webhooks
from .lists import listing
from .routing import Reply, Request, bad_request, not_found, route
from .views import label_json, project_json

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
REQUIRED = ["This field has to be there."]


@route("GET", "/api/projects")
def projects(app: App, request: Request) -> Reply:
    """The projects that the user may see."""
    seen = [
        project
        for project in app.store["projects"].values()
        if permissions.in_context(request, project) and permissions.may_view(app, request, project)
    ]
    fields = {
        **{name: (lambda one, name=name: one[name]) for name in ("id", "name", "created_date", "updated_date")},
        "owner": lambda one: (app.brief(one["owner_id"]) or {}).get("username"),
        "assignee": lambda one: (app.brief(one["assignee_id"]) or {}).get("username"),
        "status": lambda one: "annotation",
    }
    return listing(
        request, seen, lambda one: project_json(app, one), fields, search=("name", "owner", "assignee", "status")
    )


@route("POST", "/api/projects")
def create_project(app: App, request: Request) -> Reply:
    """Make a project with its labels."""
    body, store = request.json(), app.store
    if not body.get("name"):
        raise bad_request({"name": REQUIRED})
    check_labels(body.get("labels") or [], [])
    assert request.user is not None
    project = {
        "id": store.new_id("project"),
        "name": body["name"],
        "owner_id": request.user["id"],
        "assignee_id": body.get("assignee_id"),
        "assignee_updated_date": store.now() if body.get("assignee_id") else None,
        "guide_id": None,
        "bug_tracker": body.get("bug_tracker", ""),
        "created_date": store.now(),
        "updated_date": store.now(),
        "organization_id": request.organization["id"] if request.organization else None,
    }
    store["projects"][project["id"]] = project
    change_labels(app, body.get("labels") or [], project_id=project["id"])
    webhooks.created(app, request, "project", project)
    answer = project_json(app, project)
    return Reply(201, answer, {"Location": answer["url"]})


def project_at(app: App, number: int) -> Record:
    """The project of this id, or 404."""
    if number not in app.store["projects"]:
        raise not_found("project")
    return app.store["projects"][number]


@route("GET", "/api/projects/{project}")
def project(app: App, request: Request, project: int) -> Reply:
    """One project."""
    found = project_at(app, project)
    permissions.require_view(app, request, found)
    return Reply(body=project_json(app, found))


@route("PATCH", "/api/projects/{project}")
def change_project(app: App, request: Request, project: int) -> Reply:
    """Rename a project, hand it over, or add, change and delete labels."""
    found, body = project_at(app, project), request.json()
    permissions.require_staff(app, request, found)
    labels = body.get("labels") or []
    check_labels(labels, [label for label in app.store["labels"].values() if label["project_id"] == project])
    with webhooks.update(app, request, "project", found):
        change_labels(app, labels, project_id=project)
        for name in ("name", "bug_tracker"):
            if name in body:
                found[name] = body[name]
        if "assignee_id" in body and body["assignee_id"] != found["assignee_id"]:
            found.update(assignee_id=body["assignee_id"], assignee_updated_date=app.store.now())
        app.touch(found)
    return Reply(body=project_json(app, found))


@route("DELETE", "/api/projects/{project}")
def delete_project(app: App, request: Request, project: int) -> Reply:
    """Delete a project with its tasks, labels and webhooks."""
    from .tasks import remove_task

    found, store = project_at(app, project), app.store
    permissions.require_staff(app, request, found)
    with webhooks.deletion(app, request, "project", found):
        for task in [task for task in store["tasks"].values() if task["project_id"] == project]:
            remove_task(app, task)
        for table in ("labels", "webhooks"):
            store.data[table] = {key: one for key, one in store[table].items() if one["project_id"] != project}
        del store["projects"][project]
    return Reply(204)


# Labels.


def check_labels(changes: list[Record], present: list[Record]) -> None:
    """Refuse labels without a name and two of one name."""
    names = {label["id"]: label["name"] for label in present}
    for change in changes:
        number = change.get("id")
        if number is None:
            if not change.get("name"):
                raise bad_request({"labels": [{"name": REQUIRED}]})
            names[f"new {len(names)}"] = change["name"]
        elif number not in names:
            raise bad_request({"labels": [{"id": [f"There is no label {number} here."]}]})
        elif change.get("deleted"):
            del names[number]
        elif change.get("name"):
            names[number] = change["name"]
    if len(set(names.values())) < len(names):
        raise bad_request(["Two labels have the same name."])


def change_labels(
    app: App, changes: list[Record], *, project_id: int | None = None, task_id: int | None = None
) -> None:
    """Add labels, and change or delete those whose id is named."""
    for change in changes:
        if change.get("id") is None:
            label = {
                "id": app.store.new_id("label"),
                "name": change["name"],
                "color": change.get("color") or _colour_of(change["name"]),
                "attributes": [],
                "type": change.get("type") or "any",
                "project_id": project_id,
                "task_id": task_id,
            }
            app.store["labels"][label["id"]] = label
            _change_attributes(app, label, change.get("attributes") or [])
        elif change.get("deleted"):
            _remove_label(app, change["id"])
        else:
            _change_label(app, app.store["labels"][change["id"]], change)


def _change_label(app: App, label: Record, change: Record) -> None:
    if change.get("name") and change["name"] != label["name"]:
        # A label that is renamed without a colour gets the colour that belongs to the new name.
        label.update(name=change["name"], color=_colour_of(change["name"]))
    for name in ("color", "type"):
        if change.get(name):
            label[name] = change[name]
    _change_attributes(app, label, change.get("attributes") or [])


def _change_attributes(app: App, label: Record, changes: list[Record]) -> None:
    for change in changes:
        values = [str(value) for value in change.get("values") or [""]]
        attribute = {
            "id": change.get("id") or app.store.new_id("attribute"),
            "name": change["name"],
            "mutable": bool(change.get("mutable")),
            "input_type": change["input_type"],
            "default_value": str(change.get("default_value") or values[0]),
            "values": values,
        }
        for place, present in enumerate(label["attributes"]):
            if present["id"] == attribute["id"]:
                label["attributes"][place] = attribute
                break
        else:
            label["attributes"].append(attribute)


def _remove_label(app: App, number: int) -> None:
    del app.store["labels"][number]
    annotations.forget_label(app, number)


def _colour_of(name: str) -> str:
    return "#" + hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:6]


def _parent_of(app: App, label: Record) -> Record:
    table, key = ("projects", "project_id") if label["project_id"] else ("tasks", "task_id")
    return app.store[table][label[key]]


def _label_at(app: App, number: int) -> Record:
    if number not in app.store["labels"]:
        raise not_found("label")
    return app.store["labels"][number]


@route("GET", "/api/labels")
def labels(app: App, request: Request) -> Reply:
    """Labels of a project, of a task, or of a job; the latter two show their project's."""
    from .jobs import job_at
    from .tasks import task_at

    query = dict(request.query)
    if "job_id" in query:
        job = job_at(app, int(query.pop("job_id")))
        permissions.require_view(app, request, job)
        seen = app.store.labels_of(app.store.task_of(job))
    elif "task_id" in query:
        task = task_at(app, int(query.pop("task_id")))
        permissions.require_view(app, request, task)
        seen = app.store.labels_of(task)
    else:
        seen = [
            label
            for label in app.store["labels"].values()
            if permissions.in_context(request, parent := _parent_of(app, label))
            and permissions.may_view(app, request, parent)
        ]
    names = ("id", "name", "color", "type", "project_id")
    fields = {name: (lambda one, name=name: one[name]) for name in names}
    return listing(request, seen, lambda one: label_json(app, one), fields, search=("name",), order="id")


@route("GET", "/api/labels/{label}")
def label(app: App, request: Request, label: int) -> Reply:
    """One label."""
    found = _label_at(app, label)
    permissions.require_view(app, request, _parent_of(app, found))
    return Reply(body=label_json(app, found))


@route("PATCH", "/api/labels/{label}")
def change_label(app: App, request: Request, label: int) -> Reply:
    """Rename a label, or add and change attributes."""
    found, body = _label_at(app, label), request.json()
    parent = _parent_of(app, found)
    permissions.require_staff(app, request, parent)
    siblings = [one for one in app.store["labels"].values() if _parent_of(app, one) is parent]
    check_labels([{**body, "id": label}], siblings)
    _change_label(app, found, body)
    app.touch(parent)
    return Reply(body=label_json(app, found))


@route("DELETE", "/api/labels/{label}")
def delete_label(app: App, request: Request, label: int) -> Reply:
    """Delete a label, and with it, without a word, every annotation that has it."""
    parent = _parent_of(app, _label_at(app, label))
    permissions.require_staff(app, request, parent)
    _remove_label(app, label)
    app.touch(parent)
    return Reply(204)


@route("POST", "/api/guides")
def create_guide(app: App, request: Request) -> Reply:
    """Write the annotation guide of a project or a task."""
    from .tasks import task_at

    body = request.json()
    parent = project_at(app, body["project_id"]) if body.get("project_id") else task_at(app, body.get("task_id") or 0)
    permissions.require_staff(app, request, parent)
    guide = {
        "id": app.store.new_id("guide"),
        "task_id": body.get("task_id"),
        "project_id": body.get("project_id"),
        "markdown": body.get("markdown", ""),
    }
    app.store["guides"][guide["id"]] = guide
    parent["guide_id"] = guide["id"]
    return Reply(201, guide)


@route("GET", "/api/guides/{guide}")
def guide(app: App, request: Request, guide: int) -> Reply:
    """One guide."""
    if guide not in app.store["guides"]:
        raise not_found("guide")
    return Reply(body=app.store["guides"][guide])
