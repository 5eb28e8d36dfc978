"""Webhooks: who wants to be told what, and the telling, which happens in a thread of its own."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import permissions, views
from .lists import listing
from .routing import Reply, Request, bad_request, not_found, route, server_error

if TYPE_CHECKING:
    from .app import App

Record = dict[str, Any]
EVENTS = {
    "project": (
        *("create:comment", "create:issue", "create:job", "create:task"),
        *("delete:comment", "delete:issue", "delete:job", "delete:project", "delete:task"),
        *("update:comment", "update:issue", "update:job", "update:project", "update:task"),
    ),
}
EVENTS["organization"] = (
    *EVENTS["project"],
    *("create:invitation", "create:membership", "create:project", "delete:invitation", "delete:membership"),
    *("update:membership", "update:organization"),
)
# What stands in the store under which name, and how it is shown.
VIEWS = {
    "project": views.project_json,
    "task": views.task_json,
    "job": views.job_json,
    "issue": views.issue_json,
    "comment": views.comment_json,
}
DEAD = 502  # what a delivery shows that reached nobody


class Mail:
    """Sends deliveries one after the other, away from the requests that caused them; none is tried twice."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._queue: queue.Queue[Record | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        # Receivers are on this machine: a proxy named in the environment must not come between.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="webhook deliveries", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what is waiting and end the thread."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout=10)

    def wait(self) -> None:
        """Wait until everything was sent."""
        self._queue.join()

    def send(self, webhook: Record, payload: Record, *, redelivery: bool = False) -> None:
        """Put a delivery into the queue."""
        self._queue.put({"webhook": dict(webhook), "payload": payload, "redelivery": redelivery})

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self.deliver(**item)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def deliver(self, webhook: Record, payload: Record, redelivery: bool) -> Record:
        """Send one delivery and write down how it went."""
        body = json.dumps(payload).encode()
        headers = {"Content-Type": webhook["content_type"], "User-Agent": f"CVAT/{self._app.version} stand-in"}
        if webhook["secret"]:
            digest = hmac.new(webhook["secret"].encode(), body, hashlib.sha256).hexdigest()
            headers["X-Signature-256"] = f"sha256={digest}"
        request = urllib.request.Request(webhook["target_url"], body, headers, method="POST")
        try:
            with self._opener.open(request, timeout=10) as response:
                status, text = response.status, response.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode("utf-8", "replace")
        except OSError:
            status, text = DEAD, ""
        store = self._app.store
        with self._app.lock:
            delivery = {
                "id": store.new_id("delivery"),
                "webhook_id": webhook["id"],
                "event": payload["event"],
                "status_code": status,
                "redelivery": redelivery,
                "created_date": store.now(),
                "updated_date": store.now(),
                "changed_fields": ",".join(payload.get("before_update") or {}),
                "request": payload,
                "response": text,
            }
            if webhook["id"] in store["webhooks"]:
                store["deliveries"][delivery["id"]] = delivery
            return delivery


# Events.


def _listeners(app: App, event: str, project_id: int | None, organization_id: int | None) -> list[Record]:
    return [
        webhook
        for webhook in app.store["webhooks"].values()
        if webhook["is_active"]
        and event in webhook["events"]
        and (
            (webhook["type"] == "project" and project_id is not None and webhook["project_id"] == project_id)
            or (webhook["type"] == "organization" and webhook["organization_id"] == organization_id)
        )
    ]


def _place(app: App, kind: str, record: Record) -> tuple[int | None, int | None]:
    """The project and the organisation that an object belongs to."""
    store = app.store
    if kind == "project":
        return record["id"], record["organization_id"]
    if kind == "task":
        return record["project_id"], record["organization_id"]
    if kind == "job":
        return _place(app, "task", store["tasks"][record["task_id"]])
    if kind == "issue":
        return _place(app, "job", store["jobs"][record["job_id"]])
    return _place(app, "issue", store["issues"][record["issue_id"]])


def _show(app: App, kind: str, record: Record, *, counted: bool) -> Record:
    return VIEWS[kind](app, record) if kind == "project" else VIEWS[kind](app, record, counted=counted)


def _tell(app: App, request: Request, event: str, place: tuple[int | None, int | None], payload: Record) -> None:
    assert request.user is not None
    for webhook in _listeners(app, event, *place):
        sent = {**payload, "webhook_id": webhook["id"]}
        app.mail.send(webhook, sent)


def created(app: App, request: Request, kind: str, record: Record) -> None:
    """Tell that an object was made; it is shown as nothing had been counted in it yet."""
    if not app.store["webhooks"]:
        return
    assert request.user is not None
    event = f"create:{kind}"
    shown = _show(app, kind, record, counted=False)
    payload = {kind: shown, "sender": app.brief(request.user["id"]), "event": event}
    _tell(app, request, event, _place(app, kind, record), payload)


@contextmanager
def update(app: App, request: Request, kind: str, record: Record, *, counted: bool = False) -> Iterator[None]:
    """Tell what the code inside changes of an object.

    What was before is always shown uncounted, and so is the object itself where it changes along with another. This is
    why CVAT's payloads speak of changed issues or jobs where none changed.
    """
    if not app.store["webhooks"]:
        yield
        return
    before = _show(app, kind, record, counted=False)
    yield
    after = _show(app, kind, record, counted=counted)
    changes = {name: before[name] for name in after if before.get(name) != after[name]}
    assert request.user is not None
    payload = {
        kind: after,
        "sender": app.brief(request.user["id"]),
        "event": f"update:{kind}",
        "before_update": changes,
    }
    _tell(app, request, f"update:{kind}", _place(app, kind, record), payload)


@contextmanager
def deletion(app: App, request: Request, kind: str, record: Record) -> Iterator[None]:
    """Tell what the code inside deletes, after it has."""
    if not app.store["webhooks"]:
        yield
        return
    place = _place(app, kind, record)
    assert request.user is not None
    event = f"delete:{kind}"
    payload = {
        "event": event,
        kind: _show(app, kind, record, counted=True),
        "sender": app.brief(request.user["id"]),
    }
    listeners = _listeners(app, event, *place)
    yield
    for webhook in listeners:
        app.mail.send(webhook, {**payload, "webhook_id": webhook["id"]})


# Addresses.


@route("GET", "/api/webhooks/events")
def events(app: App, request: Request) -> Reply:
    """The events that a webhook of a project or an organisation may ask for."""
    kind = request.query.get("type", "project")
    return Reply(body={"webhook_type": kind, "events": sorted(EVENTS.get(kind, ()))})


@route("GET", "/api/webhooks")
def webhooks(app: App, request: Request) -> Reply:
    """The webhooks that the user may see."""
    seen = [one for one in app.store["webhooks"].values() if _may(app, request, one)]
    names = ("id", "target_url", "description", "type", "project_id", "is_active", "created_date", "updated_date")
    fields = {name: (lambda one, name=name: one[name]) for name in names}
    return listing(
        request, seen, lambda one: views.webhook_json(app, one), fields, search=("target_url", "description")
    )


def _may(app: App, request: Request, webhook: Record) -> bool:
    if project := app.store["projects"].get(webhook["project_id"]):
        return permissions.is_staff(app, request, project)
    assert request.user is not None
    return request.user["is_superuser"] or webhook["owner_id"] == request.user["id"]


def _check(body: Record, kind: str) -> None:
    url = body.get("target_url")
    if url is not None and not str(url).startswith(("http://", "https://")):
        raise bad_request({"target_url": ["This is no URL."]})
    for event in body.get("events") or ():
        if event not in EVENTS.get(kind, ()):
            raise bad_request({"events": [f'"{event}" is none of the choices.']})


@route("POST", "/api/webhooks")
def create_webhook(app: App, request: Request) -> Reply:
    """Make a webhook of a project or an organisation."""
    body, store = request.json(), app.store
    for name in ("target_url", "type", "events"):
        if not body.get(name):
            raise bad_request({name: ["This field has to be there."]})
    _check(body, body["type"])
    project = store["projects"].get(body.get("project_id"))
    organization = request.organization
    if body["type"] == "project":
        if project is None:
            raise server_error()
        permissions.require_staff(app, request, project)
    elif organization is None:
        raise server_error()
    assert request.user is not None
    webhook = {
        "id": store.new_id("webhook"),
        "target_url": body["target_url"],
        "description": body.get("description", ""),
        "type": body["type"],
        "content_type": body.get("content_type", "application/json"),
        "secret": body.get("secret", ""),
        "is_active": body.get("is_active", True),
        "enable_ssl": body.get("enable_ssl", True),
        "created_date": store.now(),
        "updated_date": store.now(),
        "owner_id": request.user["id"],
        "project_id": project["id"] if project else None,
        "organization_id": project["organization_id"] if project else organization and organization["id"],
        "events": sorted(set(body["events"])),
    }
    store["webhooks"][webhook["id"]] = webhook
    answer = views.webhook_json(app, webhook)
    return Reply(201, answer, {"Location": answer["url"]})


def _webhook_at(app: App, request: Request, number: int) -> Record:
    found = app.store["webhooks"].get(number)
    if found is None:
        raise not_found("webhook")
    if not _may(app, request, found):
        raise permissions.forbidden()
    return found


@route("GET", "/api/webhooks/{webhook}")
def webhook(app: App, request: Request, webhook: int) -> Reply:
    """One webhook."""
    return Reply(body=views.webhook_json(app, _webhook_at(app, request, webhook)))


@route("PATCH", "/api/webhooks/{webhook}")
@route("PUT", "/api/webhooks/{webhook}")
def change_webhook(app: App, request: Request, webhook: int) -> Reply:
    """Change a webhook."""
    found, body = _webhook_at(app, request, webhook), request.json()
    _check(body, found["type"])
    for name in ("target_url", "description", "content_type", "secret", "is_active", "enable_ssl"):
        if name in body:
            found[name] = body[name]
    if "events" in body:
        found["events"] = sorted(set(body["events"]))
    app.touch(found)
    return Reply(body=views.webhook_json(app, found))


@route("DELETE", "/api/webhooks/{webhook}")
def delete_webhook(app: App, request: Request, webhook: int) -> Reply:
    """Delete a webhook."""
    _webhook_at(app, request, webhook)
    del app.store["webhooks"][webhook]
    return Reply(204)


@route("POST", "/api/webhooks/{webhook}/ping")
def ping(app: App, request: Request, webhook: int) -> Reply:
    """Send a ping now, and answer with how it went."""
    found = _webhook_at(app, request, webhook)
    assert request.user is not None
    payload = {
        "event": "ping",
        "webhook": views.webhook_json(app, found),
        "sender": app.brief(request.user["id"]),
    }
    copy = dict(found)
    # The receiver may call the server back before it answers, so this must not happen under the lock.
    return Reply(later=lambda: Reply(body=app.mail.deliver(copy, payload, redelivery=False)))


@route("GET", "/api/webhooks/{webhook}/deliveries")
def deliveries(app: App, request: Request, webhook: int) -> Reply:
    """What was sent to a webhook's receiver, the last first."""
    found = _webhook_at(app, request, webhook)
    sent = [one for one in app.store["deliveries"].values() if one["webhook_id"] == found["id"]]
    fields = {name: (lambda one, name=name: one[name]) for name in ("id", "event", "status_code", "created_date")}
    return listing(request, sent, dict, fields)


def _delivery_at(app: App, request: Request, webhook: int, delivery: int) -> Record:
    _webhook_at(app, request, webhook)
    found = app.store["deliveries"].get(delivery)
    if found is None or found["webhook_id"] != webhook:
        raise not_found("delivery")
    return found


@route("GET", "/api/webhooks/{webhook}/deliveries/{delivery}")
def delivery(app: App, request: Request, webhook: int, delivery: int) -> Reply:
    """One delivery."""
    return Reply(body=_delivery_at(app, request, webhook, delivery))


@route("POST", "/api/webhooks/{webhook}/deliveries/{delivery}/redelivery")
def redeliver(app: App, request: Request, webhook: int, delivery: int) -> Reply:
    """Send a delivery once more."""
    found = _delivery_at(app, request, webhook, delivery)
    app.mail.send(app.store["webhooks"][webhook], found["request"], redelivery=True)
    return Reply(body={})
