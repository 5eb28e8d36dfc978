"""Issues and their comments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import permissions, webhooks
from .lists import listing
from .routing import Reply, Request, bad_request, forbidden, not_found, route, server_error
from .views import comment_json, issue_json

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
REQUIRED = ["This field has to be there."]


def _job_of(app: App, issue: Record) -> Record:
    return app.store["jobs"][issue["job_id"]]


def _issue_at(app: App, request: Request, number: int) -> Record:
    found = app.store["issues"].get(number)
    if found is None:
        raise not_found("issue")
    permissions.require_view(app, request, _job_of(app, found))
    return found


@route("GET", "/api/issues")
def issues(app: App, request: Request) -> Reply:
    """The issues that the user may see."""
    seen = [
        issue
        for issue in app.store["issues"].values()
        if permissions.in_context(request, job := _job_of(app, issue)) and permissions.may_view(app, request, job)
    ]
    fields = {
        **{name: (lambda one, name=name: one[name]) for name in ("id", "job_id", "frame", "resolved")},
        **{name: (lambda one, name=name: one[name]) for name in ("created_date", "updated_date")},
        # Some versions name the job's number after the job.
        "job": lambda one: one["job_id"],
        "frame_id": lambda one: one["frame"],
        "task_id": lambda one: _job_of(app, one)["task_id"],
        "owner": lambda one: (app.brief(one["owner_id"]) or {}).get("username"),
        "assignee": lambda one: (app.brief(one["assignee_id"]) or {}).get("username"),
    }
    return listing(request, seen, lambda one: issue_json(app, one), fields, search=("owner", "assignee"))


@route("POST", "/api/issues")
def create_issue(app: App, request: Request) -> Reply:
    """Open an issue with its first comment; any frame will do."""
    from .jobs import job_at

    body, store = request.json(), app.store
    missing = {name: REQUIRED for name in ("frame", "position", "job", "message") if name not in body}
    if missing:
        raise bad_request(missing)
    job = job_at(app, body["job"])
    permissions.require_view(app, request, job)
    assert request.user is not None
    assignee = body.get("assignee")
    if assignee is not None:
        if not request.user["is_superuser"] and assignee != request.user["id"]:
            raise forbidden()
        if assignee not in store["users"]:
            raise server_error()
    issue = {
        "id": store.new_id("issue"),
        "frame": body["frame"],
        "position": [float(x) for x in body["position"]],
        "job_id": job["id"],
        "owner_id": request.user["id"],
        "assignee_id": assignee,
        "created_date": store.now(),
        "updated_date": store.now(),
        "resolved": bool(body.get("resolved", False)),
    }
    store["issues"][issue["id"]] = issue
    webhooks.created(app, request, "issue", issue)
    _add_comment(app, request, issue, body["message"])
    return Reply(201, issue_json(app, issue))


@route("GET", "/api/issues/{issue}")
def issue(app: App, request: Request, issue: int) -> Reply:
    """One issue."""
    return Reply(body=issue_json(app, _issue_at(app, request, issue)))


@route("PATCH", "/api/issues/{issue}")
def change_issue(app: App, request: Request, issue: int) -> Reply:
    """Resolve an issue, open it again, move it, or hand it over."""
    found, body = _issue_at(app, request, issue), request.json()
    with webhooks.update(app, request, "issue", found, counted=True):
        for name in ("resolved", "position"):
            if name in body:
                found[name] = body[name]
        if "assignee" in body:
            found["assignee_id"] = body["assignee"]
        app.touch(found)
    return Reply(body=issue_json(app, found))


def _require_own(app: App, request: Request, record: Record, job: Record) -> None:
    assert request.user is not None
    if record["owner_id"] != request.user["id"] and not permissions.is_staff(app, request, job):
        raise forbidden()


@route("DELETE", "/api/issues/{issue}")
def delete_issue(app: App, request: Request, issue: int) -> Reply:
    """Delete an issue with its comments."""
    found, store = _issue_at(app, request, issue), app.store
    _require_own(app, request, found, _job_of(app, found))
    with webhooks.deletion(app, request, "issue", found):
        for number in [key for key, comment in store["comments"].items() if comment["issue_id"] == issue]:
            del store["comments"][number]
        del store["issues"][issue]
    return Reply(204)


def _add_comment(app: App, request: Request, issue: Record, message: str) -> Record:
    assert request.user is not None
    comment = {
        "id": app.store.new_id("comment"),
        "issue_id": issue["id"],
        "owner_id": request.user["id"],
        "message": message,
        "created_date": app.store.now(),
        "updated_date": app.store.now(),
    }
    app.store["comments"][comment["id"]] = comment
    webhooks.created(app, request, "comment", comment)
    return comment


def _comment_at(app: App, request: Request, number: int) -> tuple[Record, Record]:
    found = app.store["comments"].get(number)
    if found is None:
        raise not_found("comment")
    return found, _issue_at(app, request, found["issue_id"])


@route("GET", "/api/comments")
def comments(app: App, request: Request) -> Reply:
    """The comments that the user may see."""
    store = app.store
    seen = [
        comment
        for comment in store["comments"].values()
        if permissions.in_context(request, job := _job_of(app, store["issues"][comment["issue_id"]]))
        and permissions.may_view(app, request, job)
    ]
    fields = {
        **{name: (lambda one, name=name: one[name]) for name in ("id", "issue_id", "created_date", "updated_date")},
        "job_id": lambda one: store["issues"][one["issue_id"]]["job_id"],
        "owner": lambda one: (app.brief(one["owner_id"]) or {}).get("username"),
    }
    return listing(request, seen, lambda one: comment_json(app, one), fields, search=("owner",))


@route("POST", "/api/comments")
def create_comment(app: App, request: Request) -> Reply:
    """Comment on an issue."""
    body = request.json()
    missing = {name: REQUIRED for name in ("issue", "message") if name not in body}
    if missing:
        raise bad_request(missing)
    issue = _issue_at(app, request, body["issue"])
    return Reply(201, comment_json(app, _add_comment(app, request, issue, body["message"])))


@route("GET", "/api/comments/{comment}")
def comment(app: App, request: Request, comment: int) -> Reply:
    """One comment."""
    return Reply(body=comment_json(app, _comment_at(app, request, comment)[0]))


@route("PATCH", "/api/comments/{comment}")
def change_comment(app: App, request: Request, comment: int) -> Reply:
    """Write a comment anew."""
    found, issue = _comment_at(app, request, comment)
    _require_own(app, request, found, _job_of(app, issue))
    with webhooks.update(app, request, "comment", found):
        found["message"] = request.json().get("message", found["message"])
        app.touch(found)
    return Reply(body=comment_json(app, found))


@route("DELETE", "/api/comments/{comment}")
def delete_comment(app: App, request: Request, comment: int) -> Reply:
    """Delete a comment."""
    found, issue = _comment_at(app, request, comment)
    _require_own(app, request, found, _job_of(app, issue))
    with webhooks.deletion(app, request, "comment", found):
        del app.store["comments"][comment]
    return Reply(204)
