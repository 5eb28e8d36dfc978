"""A small server that CVAT's webhooks wake: it checks who calls, and looks at CVAT itself for what happened.

A delivery is not tried again by CVAT and says little of what changed, so it only wakes the same loop that polls.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...models.errors import InputError

MOST_BYTES = 1 << 20  # a delivery has some kilobytes
REMEMBERED = 10_000  # deliveries that are known by their digest
EVENTS = ("update:job", "update:issue", "create:comment")

logger = logging.getLogger(__name__)


@dataclass
class Deliveries:
    """Decides which deliveries are worth waking up for.

    Attributes:
        secret: that CVAT signs with.
        project: number of the project that matters.
        wake: called for each delivery that does.
    """

    secret: str = field(repr=False)
    project: Callable[[], int | None]
    wake: Callable[[], None]
    _seen: OrderedDict[bytes, None] = field(default_factory=OrderedDict, repr=False)
    _newest: dict[int, str] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if not self.secret:
            raise InputError(
                "a webhook without a secret would believe anybody; set CVAT_WEBHOOK_SECRET to the secret that the "
                "webhook has in CVAT"
            )

    def take(self, body: bytes, signature: str) -> tuple[int, str]:
        """What becomes of a delivery: a status code and what it means.

        Args:
            body: as it was received, byte by byte.
            signature: the header ``X-Signature-256``.
        """
        good = "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(good.encode(), signature.strip().encode("utf-8", "replace")):
            return 401, "wrong signature"
        try:
            event = json.loads(body)
            kind = str(event["event"])
        except (ValueError, KeyError, TypeError):
            return 400, "no event"
        if kind == "ping":
            return 200, "pong"
        if self._is_replay(body):
            return 200, "known already"
        project = self.project()
        if project is None or _project_of(event) not in (None, project):
            return 200, "another project"
        if kind not in EVENTS or self._is_old(event):
            return 200, "nothing new"
        self.wake()
        return 202, "will look"

    def _is_replay(self, body: bytes) -> bool:
        digest = hashlib.sha256(body).digest()
        with self._lock:
            known = digest in self._seen
            self._seen[digest] = None
            self._seen.move_to_end(digest)
            while len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
        return known

    def _is_old(self, event: dict[str, Any]) -> bool:
        """Whether a newer state of the job was told before."""
        job = event.get("job")
        if not isinstance(job, dict) or not isinstance(job.get("id"), int):
            return False
        moment = str(job.get("updated_date") or "")
        with self._lock:
            if moment < self._newest.get(job["id"], ""):
                return True
            self._newest[job["id"]] = moment
        return False


def _project_of(event: dict[str, Any]) -> int | None:
    """Number of the project that an event is about, where it says so."""
    for name in ("job", "task", "issue", "comment"):
        about = event.get(name)
        if isinstance(about, dict) and isinstance(about.get("project_id"), int):
            return about["project_id"]
    return None


def make_app(deliveries: Deliveries) -> Starlette:
    """The ASGI application: POST / takes deliveries, GET / says that it is alive."""

    async def receive(request: Request) -> JSONResponse:
        if int(request.headers.get("content-length") or 0) > MOST_BYTES:
            return JSONResponse({"said": "too large"}, 413)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return JSONResponse({"said": "too large"}, 413)
        status, said = await asyncio.to_thread(deliveries.take, body, request.headers.get("x-signature-256", ""))
        logger.debug("delivery: %s %s", status, said)
        return JSONResponse({"said": said}, status)

    async def alive(request: Request) -> JSONResponse:
        return JSONResponse({"said": "alive"})

    return Starlette(routes=[Route("/", receive, methods=["POST"]), Route("/", alive, methods=["GET"])])


def serve(
    app: Starlette, host: str, port: int, stop: threading.Event, started: Callable[[], None] | None = None
) -> None:
    """Serves until told to stop.

    Args:
        app: the application.
        host: address to bind to; everything but loopback is reachable by others.
        port: to bind to.
        stop: set to end.
        started: called once it accepts connections.

    Raises:
        InputError: if the address cannot be bound to.
    """
    from hypercorn.asyncio import serve as run
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{host}:{port}"]
    config.accesslog = config.errorlog = None
    config.graceful_timeout = 1.0

    async def until_stopped() -> None:
        if started is not None:
            started()
        while not stop.is_set():
            await asyncio.sleep(0.2)

    try:
        asyncio.run(run(app, config, shutdown_trigger=until_stopped))  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error
