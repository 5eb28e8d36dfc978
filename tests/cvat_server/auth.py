"""Who asks: log-in, tokens, sessions, personal access tokens, users and the server's own pages."""

from __future__ import annotations

import base64
import binascii
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any

from .lists import listing
from .routing import Refusal, Reply, Request, bad_request, forbidden, not_found, route

if TYPE_CHECKING:
    from .app import App

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# Answered without a user.
OPEN_PATHS = ("/api/server/about", "/api/auth/login", "/api/server/health", "/api/schema")
FORMATS = ("COCO 1.0", "CVAT 1.1", "CVAT for images 1.1", "CVAT for video 1.1", "MOT 1.1")


def unauthorized(detail: str) -> Refusal:
    """401, which CVAT always accompanies by the way to do better."""
    return Refusal(401, {"detail": detail}, WWW_Authenticate="Token")


def authenticate(app: App, request: Request) -> None:
    """Find the user of a request, or refuse it."""
    request.user = _user_of(app, request)
    if request.user is None:
        app.count_anonymous()
        if request.path.rstrip("/") not in OPEN_PATHS:
            raise unauthorized("No credentials were given.")
    if request.read_only and request.method not in SAFE_METHODS:
        raise forbidden("This access token may only read.")


def _user_of(app: App, request: Request) -> dict[str, Any] | None:
    scheme, _, secret = str(request.headers.get("Authorization") or "").partition(" ")
    store = app.store
    if scheme == "Token":
        if secret not in store["tokens"]:
            raise unauthorized("This token is not valid.")
        return _active(store["users"][store["tokens"][secret]])
    if scheme == "Bearer":
        for token in store["access_tokens"].values():
            if token["value"] == secret:
                if token["expiry_date"] is not None and token["expiry_date"] <= store.now():
                    break
                token["last_used_date"] = store.now()
                request.read_only = token["read_only"]
                return _active(store["users"][token["user_id"]])
        raise unauthorized("This access token is not valid.")
    if scheme == "Basic":
        try:
            name, _, password = base64.b64decode(secret).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise unauthorized("The basic header cannot be read.") from None
        user = app.user_named(name)
        if user is None or user["password"] != password:
            raise unauthorized("Wrong user name or password.")
        return _active(user)
    session = store["sessions"].get(_cookies(request).get("sessionid"))
    if session is None:
        return None
    if request.method not in SAFE_METHODS and request.headers.get("X-CSRFToken") != session["csrf"]:
        raise forbidden("CSRF: the token is missing or wrong.")
    return _active(store["users"][session["user_id"]])


def _active(user: dict[str, Any]) -> dict[str, Any]:
    if not user["is_active"]:
        raise unauthorized("This user is inactive or deleted.")
    return user


def _cookies(request: Request) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(request.headers.get("Cookie") or "").items()}
    except CookieError:
        return {}


@route("POST", "/api/auth/login")
def login(app: App, request: Request) -> Reply:
    """Log in; the answer carries a token and the cookies of a session."""
    body = request.json()
    user = app.user_named(body.get("username"))
    if user is None or user["password"] != body.get("password") or not user["is_active"]:
        raise bad_request({"non_field_errors": ["These credentials do not fit."]})
    session, csrf = secrets.token_hex(16), secrets.token_hex(32)
    app.store["sessions"][session] = {"user_id": user["id"], "csrf": csrf}
    user["last_login"] = app.store.now()
    cookies = [
        f"csrftoken={csrf}; Max-Age=31449600; Path=/; SameSite=Lax",
        "sessionfresh=1; HttpOnly; Max-Age=86400; Path=/; SameSite=Lax",
        f"sessionid={session}; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax",
    ]
    return Reply(body={"key": app.token_of(user)}, headers={"Set-Cookie": cookies})


@route("POST", "/api/auth/logout")
def logout(app: App, request: Request) -> Reply:
    """End the session and the user's token."""
    store, user = app.store, request.user
    assert user is not None
    for table in ("tokens", "sessions"):
        mine = [
            key
            for key, value in store[table].items()
            if (value["user_id"] if isinstance(value, dict) else value) == user["id"]
        ]
        for key in mine:
            # A session of another client stays; the token is one for all clients of a user.
            if table == "tokens" or key == _cookies(request).get("sessionid"):
                del store[table][key]
    gone = [
        f'{name}=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/' for name in ("sessionfresh", "sessionid")
    ]
    return Reply(body={"detail": "Logged out."}, headers={"Set-Cookie": gone})


@route("GET", "/api/auth/access_tokens")
def access_tokens(app: App, request: Request) -> Reply:
    """The user's personal access tokens, without their values."""
    assert request.user is not None
    mine = [token for token in app.store["access_tokens"].values() if token["user_id"] == request.user["id"]]
    return listing(request, mine, lambda token: _access_token(app, token), {"id": lambda token: token["id"]})


@route("POST", "/api/auth/access_tokens")
def create_access_token(app: App, request: Request) -> Reply:
    """Make a personal access token; its value is told this once."""
    body, store = request.json(), app.store
    assert request.user is not None
    if not body.get("name"):
        raise bad_request({"name": ["This field has to be there."]})
    token = {
        "id": store.new_id("access_token"),
        "name": body["name"],
        "created_date": store.now(),
        "updated_date": store.now(),
        "expiry_date": body.get("expiry_date"),
        "last_used_date": None,
        "read_only": bool(body.get("read_only")),
        "user_id": request.user["id"],
        # Unlike the key of a log-in, which is forty hexadecimal digits.
        "value": f"{secrets.token_hex(4)}.{secrets.token_urlsafe(24)}",
    }
    store["access_tokens"][token["id"]] = token
    return Reply(201, {**_access_token(app, token), "value": token["value"]})


@route("DELETE", "/api/auth/access_tokens/{token}")
def delete_access_token(app: App, request: Request, token: int) -> Reply:
    """Revoke a personal access token."""
    found = app.store["access_tokens"].get(token)
    if found is None or request.user is None or found["user_id"] != request.user["id"]:
        raise not_found("access token")
    del app.store["access_tokens"][token]
    return Reply(204)


def _access_token(app: App, token: dict[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in token.items() if name not in ("user_id", "value")}
    return {**plain, "owner": app.brief(token["user_id"])}


@route("GET", "/api/users/self")
def me(app: App, request: Request) -> Reply:
    """The user who asks."""
    assert request.user is not None
    return Reply(body=_user(app, request.user))


@route("GET", "/api/users/{user}")
def user(app: App, request: Request, user: int) -> Reply:
    """One user."""
    if user not in app.store["users"]:
        raise not_found("user")
    return Reply(body=_user(app, app.store["users"][user]))


@route("GET", "/api/users")
def users(app: App, request: Request) -> Reply:
    """All users for an administrator, the members of the organisation for others, or oneself."""
    asking = request.user
    assert asking is not None
    found = list(app.store["users"].values())
    if request.organization is not None:
        found = [one for one in found if one["id"] in request.organization["members"]]
    elif not asking["is_superuser"]:
        found = [asking]
    names = ("id", "username", "first_name", "last_name", "is_active")
    fields = {name: (lambda one, name=name: one[name]) for name in names}
    return listing(request, found, lambda one: _user(app, one), fields, search=("username", "first_name", "last_name"))


def _user(app: App, user: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "username", "first_name", "last_name", "email", "groups", "is_staff", "is_superuser", "is_active")
    return {
        "url": f"{app.url}/api/users/{user['id']}",
        **{name: user[name] for name in shown},
        "last_login": user["last_login"],
        "date_joined": user["date_joined"],
        "has_analytics_access": user["is_superuser"],
    }


@route("GET", "/api/server/about")
def about(app: App, request: Request) -> Reply:
    """What the server is, with its version."""
    return Reply(
        body={
            "name": "Stand-in annotation server",
            "description": "Answers as CVAT does, for tests.",
            "version": app.version,
            "logo_url": f"{app.url}/static/logo.svg",
            "subtitle": "For tests",
        }
    )


@route("GET", "/api/server/health")
def health(app: App, request: Request) -> Reply:
    """Everything works."""
    parts = (
        *("Cache backend: default", "Cache backend: media", "DatabaseBackend", "DatabaseBackend[default]"),
        *("DiskUsage", "MemoryUsage", "OPAHealthCheck"),
    )
    return Reply(body=dict.fromkeys(parts, "working"), content_type="application/json")


@route("GET", "/api/server/plugins")
def plugins(app: App, request: Request) -> Reply:
    """No plugin is there."""
    return Reply(body=dict.fromkeys(("GIT_INTEGRATION", "ANALYTICS", "MODELS", "PREDICT"), False))


@route("GET", "/api/server/annotation/formats")
def formats(app: App, request: Request) -> Reply:
    """The formats that a client may ask for by name."""
    rows = [
        {"name": name, "ext": "ZIP", "version": name.rsplit(" ", 1)[1], "enabled": True, "dimension": "2d"}
        for name in FORMATS
    ]
    return Reply(body={"importers": rows, "exporters": rows})


@route("GET", "/api/schema")
def schema(app: App, request: Request) -> Reply:
    """A schema that says nothing, of the media type that CVAT's has."""
    text = f"openapi: 3.0.3\ninfo:\n  title: stand-in\n  version: '{app.version}'\npaths: {{}}\n"
    return Reply(
        raw=text.encode(),
        content_type="application/vnd.oai.openapi; charset=utf-8",
        headers={"Content-Disposition": 'inline; filename="schema.yaml"'},
    )
