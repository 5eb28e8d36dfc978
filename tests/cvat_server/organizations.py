"""Organisations and their members, and the cloud storages that tasks may take their media from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import permissions
from .lists import listing
from .routing import Reply, Request, bad_request, not_found, route

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
ROLES = ("owner", "maintainer", "supervisor", "worker")


def add_organization(app: App, slug: str, owner: Record, **more: Any) -> Record:
    """A new organisation; ``members`` maps user ids to roles."""
    organization = {
        "id": app.store.new_id("organization"),
        "slug": slug,
        "name": slug,
        "description": "",
        "contact": {},
        "created_date": app.store.now(),
        "updated_date": app.store.now(),
        "owner_id": owner["id"],
        "members": {owner["id"]: "owner"},
        **more,
    }
    app.store["organizations"][organization["id"]] = organization
    return organization


def _organization_json(app: App, organization: Record) -> Record:
    hidden = ("owner_id", "members")
    shown = {name: value for name, value in organization.items() if name not in hidden}
    return {**shown, "owner": app.brief(organization["owner_id"])}


@route("GET", "/api/organizations")
def organizations(app: App, request: Request) -> Reply:
    """The organisations that the user belongs to."""
    user = request.user
    assert user is not None
    seen = [one for one in app.store["organizations"].values() if user["is_superuser"] or user["id"] in one["members"]]
    fields = {name: (lambda one, name=name: one[name]) for name in ("id", "name", "slug")}
    return listing(request, seen, lambda one: _organization_json(app, one), fields, search=("name", "slug"))


@route("POST", "/api/organizations")
def create_organization(app: App, request: Request) -> Reply:
    """Make an organisation, which the user owns."""
    body = request.json()
    if not body.get("slug"):
        raise bad_request({"slug": ["This field has to be there."]})
    if any(one["slug"] == body["slug"] for one in app.store["organizations"].values()):
        raise bad_request({"slug": ["Another organization has this slug."]})
    assert request.user is not None
    more = {name: body[name] for name in ("name", "description", "contact") if name in body}
    return Reply(201, _organization_json(app, add_organization(app, body["slug"], request.user, **more)))


@route("GET", "/api/organizations/{organization}")
def organization(app: App, request: Request, organization: int) -> Reply:
    """One organisation."""
    found, user = app.store["organizations"].get(organization), request.user
    assert user is not None
    if found is None:
        raise not_found("organization")
    if not user["is_superuser"] and user["id"] not in found["members"]:
        raise permissions.forbidden()
    return Reply(body=_organization_json(app, found))


@route("GET", "/api/memberships")
def memberships(app: App, request: Request) -> Reply:
    """Who belongs to the organisation of the request, or where the user belongs to."""
    user = request.user
    assert user is not None
    rows = [
        {
            "id": 1000 * one["id"] + number,
            "user": app.brief(number),
            "organization": one["id"],
            "is_active": True,
            "joined_date": one["created_date"],
            "role": role,
            "invitation": None,
        }
        for one in app.store["organizations"].values()
        for number, role in one["members"].items()
        if (one is request.organization if request.organization else number == user["id"])
    ]
    fields = {"id": lambda one: one["id"], "role": lambda one: one["role"]}
    return listing(request, rows, lambda one: one, fields)


def _storage_json(app: App, storage: Record) -> Record:
    shown = {name: value for name, value in storage.items() if name not in ("folder", "owner_id", "organization_id")}
    return {**shown, "owner": app.brief(storage["owner_id"]), "organization": storage["organization_id"]}


@route("GET", "/api/cloudstorages")
def cloud_storages(app: App, request: Request) -> Reply:
    """The cloud storages of the user, or of the organisation."""
    user = request.user
    assert user is not None
    seen = [
        one
        for one in app.store["cloud_storages"].values()
        if permissions.in_context(request, one) and (user["is_superuser"] or one["owner_id"] == user["id"])
    ]
    fields = {name: (lambda one, name=name: one[name]) for name in ("id", "display_name", "resource")}
    search = ("display_name", "resource")
    return listing(request, seen, lambda one: _storage_json(app, one), fields, search=search)


@route("GET", "/api/cloudstorages/{storage}")
def cloud_storage(app: App, request: Request, storage: int) -> Reply:
    """One cloud storage."""
    if storage not in app.store["cloud_storages"]:
        raise not_found("cloud storage")
    return Reply(body=_storage_json(app, app.store["cloud_storages"][storage]))
