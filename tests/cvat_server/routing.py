"""Requests, replies, and the table that says which function answers which address."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import App

MEDIA_TYPE = "application/vnd.cvat+json"
SERVER_ERROR_PAGE = (
    b"<!doctype html>\n<html><head><title>Error 500</title></head><body><h1>Error 500</h1></body></html>\n"
)
NOT_FOUND_PAGE = b"<!doctype html>\n<html><head><title>Not here</title></head><body><h1>Not here</h1></body></html>\n"


@dataclass
class Reply:
    """What goes back: a JSON value, or raw bytes where ``raw`` is given."""

    status: int = 200
    body: Any = None
    headers: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = MEDIA_TYPE
    # Work that must not hold the server's lock, such as calling a webhook's receiver; it gives the reply to send.
    later: Callable[[], Reply] | None = None

    def payload(self) -> bytes:
        """The body as bytes; JSON is written without blanks, as CVAT does."""
        if self.raw is not None:
            return self.raw
        if self.body is None:
            return b""
        return json.dumps(self.body, separators=(",", ":"), ensure_ascii=False).encode()


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        super().__init__(status, body)
        self.reply = Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def bad_request(body: Any) -> Refusal:
    """400 with this JSON."""
    return Refusal(400, body)


def forbidden(detail: str = "This is not permitted to you.") -> Refusal:
    """403."""
    return Refusal(403, {"detail": detail})


def not_found(kind: str) -> Refusal:
    """404 for an object that does not exist."""
    return Refusal(404, {"detail": f"There is no such {kind}."})


def server_error() -> Refusal:
    """The HTML page that Django sends where CVAT's code raises: real CVAT answers some bad input this way."""
    refusal = Refusal(500)
    refusal.reply = Reply(500, raw=SERVER_ERROR_PAGE, content_type="text/html; charset=utf-8")
    return refusal


@dataclass
class Request:
    """One request as the functions of the topics see it."""

    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes
    url: str  # of the server, as the client wrote it
    user: dict[str, Any] | None = None
    organization: dict[str, Any] | None = None
    # An organisation was named, be it by an empty name, which stands for the user's own objects.
    in_organization_context: bool = False
    read_only: bool = False

    @property
    def content_type(self) -> str:
        """The media type of the body without its parameters."""
        return str(self.headers.get("Content-Type") or "").split(";")[0].strip().lower()

    def json(self) -> Any:
        """The body as a JSON object; a body of another kind is refused as Django REST framework does."""
        if not self.body:
            return {}
        if self.content_type.startswith("multipart/") or self.content_type == "application/x-www-form-urlencoded":
            from .forms import fields_of

            return fields_of(self)[0]
        if self.content_type and "json" not in self.content_type:
            raise Refusal(415, {"detail": f'A body of media type "{self.content_type}" is not supported.'})
        try:
            value = json.loads(self.body, parse_constant=_no_constant)
        except ValueError as error:
            raise bad_request({"detail": f"The JSON cannot be parsed: {error}"}) from None
        if not isinstance(value, dict):
            raise bad_request({"non_field_errors": [f"A dictionary was expected, not {type(value).__name__}."]})
        return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


Answer = Callable[..., Reply]
_ROUTES: dict[str, dict[str, Answer]] = {}
_PATTERNS: list[tuple[re.Pattern[str], dict[str, Answer]]] = []


def route(method: str, template: str) -> Callable[[Answer], Answer]:
    """Let a function answer an address; ``{job}`` is a number, ``{rq:path}`` the rest, ``{file:name}`` one segment."""

    def add(answer: Answer) -> Answer:
        if template not in _ROUTES:
            _ROUTES[template] = {}
            kinds = {"": r"\d+", ":path": r".+", ":name": r"[^/]+"}
            pattern = re.sub(r"{(\w+)(:\w+)?}", lambda found: f"(?P<{found[1]}>{kinds[found[2] or '']})", template)
            _PATTERNS.append((re.compile(pattern + "/?"), _ROUTES[template]))
        _ROUTES[template][method] = answer
        return answer

    return add


def resolve(path: str) -> tuple[dict[str, Answer], dict[str, Any]] | None:
    """The functions that answer at an address, by method, and the numbers in the address."""
    for pattern, answers in _PATTERNS:
        if found := pattern.fullmatch(path):
            numbers = {
                name: int(text) if text.isascii() and text.isdigit() else text
                for name, text in found.groupdict().items()
            }
            return answers, numbers
    return None


def dispatch(app: App, request: Request) -> Reply:
    """Answer a request; the caller holds the lock and turns refusals into replies."""
    found = resolve(request.path)
    if found is None:
        return Reply(404, raw=NOT_FOUND_PAGE, content_type="text/html; charset=utf-8")
    answers, numbers = found
    allow = ", ".join([*sorted(answers), *(["HEAD"] if "GET" in answers and "HEAD" not in answers else []), "OPTIONS"])
    app.authenticate(request)
    answer = answers.get(request.method) or (answers.get("GET") if request.method == "HEAD" else None)
    if answer is None:
        reply = Reply(405, {"detail": f'The method "{request.method}" is not allowed.'})
    else:
        reply = answer(app, request, **numbers)
    reply.headers.setdefault("Allow", allow)
    return reply
