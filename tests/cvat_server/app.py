"""The server's inside: the store, its settings, and what every topic needs of the users."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from . import (
    annotations,
    auth,
    exchange,
    frames,
    issues,
    jobs,
    organizations,
    permissions,
    projects,
    tasks,
    uploads,
    webhooks,
)
from .routing import Refusal, Reply, Request, dispatch, server_error
from .store import Store

logger = logging.getLogger(__name__)

# The modules of the topics are imported for the routes that they add.
TOPICS = (annotations, auth, exchange, frames, issues, jobs, organizations, projects, tasks, uploads, webhooks)


class App:
    """All of the server that is not HTTP.

    Args:
        version: the version that the server claims to have.
        folder: where uploaded media are kept.
        share: the folder that ``server_files`` are taken from, if there is one.
    """

    def __init__(self, version: str, folder: Path, share: Path | None) -> None:
        self.version = version
        self.folder = folder
        self.share = share
        self.url = ""
        self.store = Store()
        self.lock = threading.RLock()
        # How many polls of a background request answer "started" before one answers "finished".
        self.busy_polls = 0
        # Requests a minute that an address may send without a user; None is no limit.
        self.anonymous_limit: int | None = None
        self._anonymous: deque[float] = deque()
        self.mail = webhooks.Mail(self)

    def handle(self, request: Request) -> Reply:
        """Answer a request, with errors as CVAT answers them."""
        with self.lock:
            try:
                reply = dispatch(self, request)
            except Refusal as refusal:
                reply = refusal.reply
            except Exception:  # a mistake of ours must look like one of the server's, not hang the client
                logger.exception("%s %s", request.method, request.path)
                reply = server_error().reply
        return reply.later() if reply.later else reply

    def authenticate(self, request: Request) -> None:
        """Find the user and the organisation of a request."""
        auth.authenticate(self, request)
        permissions.enter_organization(self, request)

    def count_anonymous(self) -> None:
        """Refuse what comes without a user too often."""
        if self.anonymous_limit is None:
            return
        now = time.monotonic()
        while self._anonymous and self._anonymous[0] <= now - 60:
            self._anonymous.popleft()
        if len(self._anonymous) >= self.anonymous_limit:
            wait = int(self._anonymous[0] + 60 - now) + 1
            raise Refusal(429, {"detail": f"Too many requests, try again in {wait} seconds."}, Retry_After=str(wait))
        self._anonymous.append(now)

    def forget_anonymous(self) -> None:
        """Start counting afresh."""
        self._anonymous.clear()

    # Users.

    def add_user(self, name: str, password: str, **more: Any) -> dict[str, Any]:
        """A new user; ``more`` are fields of the user that differ from those of a plain one."""
        superuser = more.get("is_superuser", False)
        user = {
            "id": self.store.new_id("user"),
            "username": name,
            "password": password,
            "first_name": "",
            "last_name": "",
            "email": f"{name}@localhost.localdomain",
            "groups": ["admin", "user"] if superuser else ["user"],
            "is_staff": superuser,
            "is_superuser": superuser,
            "is_active": True,
            "last_login": None,
            "date_joined": self.store.now(),
            **more,
        }
        self.store["users"][user["id"]] = user
        return user

    def user_named(self, name: Any) -> dict[str, Any] | None:
        """The user of this name."""
        return next((user for user in self.store["users"].values() if user["username"] == name), None)

    def token_of(self, user: dict[str, Any]) -> str:
        """The user's token, made where there is none: as in CVAT, there is one for all clients."""
        for token, number in self.store["tokens"].items():
            if number == user["id"]:
                return token
        token = secrets.token_hex(20)
        self.store["tokens"][token] = user["id"]
        return token

    def brief(self, number: int | None) -> dict[str, Any] | None:
        """A user as other objects show it."""
        user = self.store["users"].get(number)
        if user is None:
            return None
        names = ("id", "username", "first_name", "last_name")
        return {"url": f"{self.url}/api/users/{user['id']}", **{name: user[name] for name in names}}

    # Dates.

    def touch(self, *records: dict[str, Any] | None) -> None:
        """Date records anew, one after the other."""
        for record in records:
            if record is not None:
                record["updated_date"] = self.store.now()
