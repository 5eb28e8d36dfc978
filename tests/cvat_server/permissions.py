"""Who may see and change what: the part of CVAT's rules that a sync meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .routing import Refusal, Request, forbidden

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]


def enter_organization(app: App, request: Request) -> None:
    """Read which organisation a request is about: a header, or ``org`` or ``org_id`` in the query.

    An empty name means the user's own objects; no name at all means every object that the user may see.
    """
    slug = request.headers.get("X-Organization", request.query.get("org"))
    number = request.query.get("org_id")
    if slug is None and number is None:
        return
    request.in_organization_context = True
    if not slug and not number:
        return
    for organization in app.store["organizations"].values():
        if organization["slug"] == slug or (number and str(organization["id"]) == number):
            request.organization = organization
            break
    else:
        raise Refusal(404, {"detail": "There is no such organization."})
    if request.user is not None and not (request.user["is_superuser"] or _role(request.user, organization)):
        raise forbidden()


def _role(user: Record, organization: Record | None) -> str | None:
    return organization["members"].get(user["id"]) if organization else None


def in_context(request: Request, record: Record) -> bool:
    """Whether a list shows a record: only those of the organisation that the request names."""
    if not request.in_organization_context:
        return True
    return record["organization_id"] == (request.organization["id"] if request.organization else None)


def is_staff(app: App, request: Request, record: Record) -> bool:
    """Whether the user may change a project, a task or a job as its owner may.

    That is an administrator, an owner or assignee of the project or the task, and who runs the organisation.
    """
    user = request.user
    assert user is not None
    if user["is_superuser"]:
        return True
    organization = app.store["organizations"].get(record["organization_id"])
    if organization is not None:
        role = _role(user, organization)
        if role is None:
            return False
        if role in ("owner", "maintainer"):
            return True
    return user["id"] in _holders(app, record)


def _holders(app: App, record: Record) -> set[int | None]:
    store = app.store
    if "task_id" in record:  # a job's own assignee is no staff
        return _holders(app, store["tasks"][record["task_id"]])
    holders = {record["owner_id"], record["assignee_id"]}
    project = store["projects"].get(record.get("project_id"))
    return holders | (_holders(app, project) if project else set())


def may_view(app: App, request: Request, record: Record) -> bool:
    """Whether the user may read a project, a task or a job; annotations may be written by who may read the job."""
    assert request.user is not None
    return is_staff(app, request, record) or ("task_id" in record and record["assignee_id"] == request.user["id"])


def require_view(app: App, request: Request, record: Record) -> None:
    """Refuse who may not see the record."""
    if not may_view(app, request, record):
        raise forbidden()


def require_staff(app: App, request: Request, record: Record) -> None:
    """Refuse who may not change the record as its owner may."""
    if not is_staff(app, request, record):
        raise forbidden()
