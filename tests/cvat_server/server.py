"""The face of the stand-in server."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from . import annotations, organizations, views
from .app import App
from .faults import Faults
from .http import Listener, Record

ADMIN = ("admin", "the administrator's")


class CvatServer:
    """A server that answers as CVAT does, in this process, on a port of its own.

    Use it as a context manager. It holds everything in memory, so that a test can look into it, take a snapshot and go
    back, and it can be told to fail.

    Args:
        version: the version that it claims to have.
        share: the folder whose files tasks can be made of by name.
    """

    def __init__(self, version: str = "2.54.1", share: str | os.PathLike[str] | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cvat-server-"))
        # A process that was forked off must not clean up what belongs to this one.
        self._process = os.getpid()
        self._app = App(version, self._folder, Path(share) if share is not None else None)
        self.faults = Faults()
        self.log: list[Record] = []
        self._listener = Listener(self._app, self.faults, self.log)
        self.url = self._app.url = f"http://127.0.0.1:{self._listener.server_address[1]}"
        self.username, self.password = ADMIN
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self._populate()

    def _populate(self) -> None:
        self._app.add_user(self.username, self.password, is_superuser=True)

    def __enter__(self) -> CvatServer:
        self._app.mail.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server; does nothing in a process that was forked off."""
        if os.getpid() != self._process:
            return
        self._listener.shutdown()
        self._thread.join(timeout=10)
        self._listener.server_close()
        self._app.mail.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    # Settings.

    @property
    def version(self) -> str:
        """The version that the server claims to have."""
        return self._app.version

    @version.setter
    def version(self, version: str) -> None:
        self._app.version = version

    @property
    def share(self) -> Path | None:
        """The folder whose files tasks can be made of by name."""
        return self._app.share

    @share.setter
    def share(self, folder: str | os.PathLike[str] | None) -> None:
        self._app.share = Path(folder) if folder is not None else None

    @property
    def hook(self) -> Callable[[str, str], Any] | None:
        """Called with method and path, query included, before each request is looked at."""
        return self._listener.hook

    @hook.setter
    def hook(self, hook: Callable[[str, str], Any] | None) -> None:
        self._listener.hook = hook

    @property
    def busy_polls(self) -> int:
        """How many polls of a background request answer that it has not finished."""
        return self._app.busy_polls

    @busy_polls.setter
    def busy_polls(self, count: int) -> None:
        self._app.busy_polls = count

    @property
    def anonymous_limit(self) -> int | None:
        """Requests without a user in a minute; CVAT allows 100, and so does every log-in count. None is no limit."""
        return self._app.anonymous_limit

    @anonymous_limit.setter
    def anonymous_limit(self, limit: int | None) -> None:
        self._app.anonymous_limit = limit
        self._app.forget_anonymous()

    # People.

    def add_user(self, name: str, password: str = "secret", **more: Any) -> int:
        """A new user, by default a plain one; the id. ``is_superuser=True`` makes an administrator."""
        with self._app.lock:
            return self._app.add_user(name, password, **more)["id"]

    def add_organization(self, slug: str, members: dict[str, str] | None = None) -> int:
        """A new organisation of the administrator; ``members`` are user names with their roles."""
        with self._app.lock:
            users = {name: self._user(name)["id"] for name in members or {}}
            owner = self._user(self.username)
            everybody = {owner["id"]: "owner", **{users[name]: role for name, role in (members or {}).items()}}
            return organizations.add_organization(self._app, slug, owner, members=everybody)["id"]

    def add_cloud_storage(self, name: str, folder: str | os.PathLike[str]) -> int:
        """A cloud storage whose content is a folder; the id."""
        with self._app.lock:
            store = self._app.store
            storage = {
                "id": store.new_id("cloud_storage"),
                "display_name": name,
                "resource": name,
                "provider_type": "AWS_S3_BUCKET",
                "credentials_type": "ANONYMOUS_ACCESS",
                "specific_attributes": "",
                "description": "",
                "manifests": [],
                "created_date": store.now(),
                "updated_date": store.now(),
                "owner_id": self._user(self.username)["id"],
                "organization_id": None,
                "folder": str(folder),
            }
            store["cloud_storages"][storage["id"]] = storage
            return storage["id"]

    def _user(self, name: str) -> dict[str, Any]:
        user = self._app.user_named(name)
        if user is None:
            raise KeyError(f"no user {name!r}")
        return user

    def token_for(self, name: str) -> str:
        """The token of a user, as a log-in gives it."""
        with self._app.lock:
            return self._app.token_of(self._user(name))

    def revoke_tokens(self, name: str | None = None) -> None:
        """End every token, session and personal access token, of all users or of one, as if they had expired."""
        with self._app.lock:
            number = self._user(name)["id"] if name is not None else None
            for table in ("tokens", "sessions", "access_tokens"):
                rows = self._app.store[table]
                for key, row in list(rows.items()):
                    if number is None or number == (row["user_id"] if isinstance(row, dict) else row):
                        del rows[key]

    # The whole state.

    def snapshot(self) -> bytes:
        """The whole state, media apart, which do not change."""
        with self._app.lock:
            return self._app.store.snapshot()

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot."""
        with self._app.lock:
            self._app.store.restore(snapshot)

    def reset(self) -> None:
        """Be as new: no project, no user but the administrator, no fault, no log."""
        with self._app.lock:
            self._app.store.clear()
            self._populate()
            self._app.forget_anonymous()
            self._app.busy_polls = 0
        self.faults.clear()
        self.hook = None
        self.clear_log()

    def clear_log(self) -> None:
        """Forget the requests."""
        self.log.clear()

    def wait_for_deliveries(self) -> None:
        """Wait until every webhook was told what it is to be told."""
        self._app.mail.wait()

    # Looking into the store; everything is a copy.

    def projects(self) -> list[dict[str, Any]]:
        """All projects as the API shows them."""
        return self._shown("projects", views.project_json)

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks as the API shows them."""
        return self._shown("tasks", views.task_json)

    def jobs(self, task_id: int | None = None) -> list[dict[str, Any]]:
        """All jobs, or those of a task, as the API shows them."""
        return [job for job in self._shown("jobs", views.job_json) if task_id in (None, job["task_id"])]

    def labels(self, project_id: int | None = None) -> list[dict[str, Any]]:
        """All labels, or those of a project, as the API shows them."""
        shown = self._shown("labels", views.label_json)
        return [label for label in shown if project_id in (None, label.get("project_id"))]

    def issues(self, job_id: int | None = None) -> list[dict[str, Any]]:
        """All issues, or those of a job, as the API shows them but with the comments themselves."""
        issues = [issue for issue in self._shown("issues", views.issue_json) if job_id in (None, issue["job"])]
        comments = self._shown("comments", views.comment_json)
        return [
            {**issue, "comments": [comment for comment in comments if comment["issue"] == issue["id"]]}
            for issue in issues
        ]

    def annotations(self, job_id: int) -> dict[str, Any]:
        """What the job's annotations read as."""
        with self._app.lock:
            return copy.deepcopy(annotations.read_job(self._app, self._app.store["jobs"][job_id]))

    def _shown(self, table: str, show: Callable[[App, dict[str, Any]], dict[str, Any]]) -> list[dict[str, Any]]:
        with self._app.lock:
            return copy.deepcopy([show(self._app, one) for one in self._app.store[table].values()])
