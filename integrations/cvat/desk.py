"""CVAT as the engine's review desk."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...engine.desk.ports import DeskError, GoneError, IssueState, JobState, LabelSpec, LostError, Media, TaskState
from ...engine.desk.sheets import Refusal, SheetTrack
from .client import LEAST_VERSION, Access, ForbiddenError, Session
from .media import BUSY, media_request, send_media
from .translate import Classes, attribute_json, label_json
from .trouble import Patience

PAGE = 500
MOST_KEYFRAMES = 20_000  # of one request: about 5 MB
POLL = 0.5  # seconds between two looks at background work


class CvatDesk:
    """A CVAT server; see ``ReviewDesk`` for what every method means.

    Args:
        access: where and who.
        patience: with what is broken for a moment.
        occluded: whether boxes say ``occluded``.
        poll: seconds between two looks at work that the server does in the background.
    """

    def __init__(
        self, access: Access, patience: Patience | None = None, occluded: bool = False, poll: float = POLL
    ) -> None:
        self._session = Session(access, patience)
        self._occluded, self._poll = occluded, poll
        self._classes: Classes | None = None
        self._users: dict[str, int] = {}
        self._locks: dict[int, threading.Lock] = defaultdict(threading.Lock)

    def __enter__(self) -> CvatDesk:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def url(self) -> str:
        """Where people find it."""
        return self._session.access.url.rstrip("/")

    def check(self) -> str:
        """Makes sure that the server answers, knows us and is not too old; returns its version."""
        about = self._first("/api/server/about", "asking for the version")
        version = str((about or {}).get("version", ""))
        numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
        if len(numbers) < 2:
            raise LostError(f"{self.url} does not answer as CVAT does; check CVAT_URL")
        if tuple(numbers) < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            raise LostError(
                f"CVAT at {self.url} is of version {version}; at least {least} is needed: update the server"
            )
        self._session.who = self._first("/api/users/self", "asking who we are")["username"]
        return version

    def _first(self, path: str, what: str) -> Any:
        """Asks for what everybody may know who is known at all."""
        try:
            return self._session.send("GET", path, what=what)
        except (ForbiddenError, GoneError) as error:
            raise (self._session.no_organization() or error) from None

    # --- projects

    def _pages(self, path: str, what: str = "", **query: Any) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            found = self._session.send("GET", path, what=what, page=page, page_size=PAGE, **query)
            yield from found["results"]
            if not found.get("next"):
                return
            page += 1

    def _named(self, path: str, name: str, **more: Any) -> dict[str, Any] | None:
        """The first object of exactly this name."""
        same = [{"==": [{"var": key}, value]} for key, value in (("name", name), *more.items())]
        found = self._pages(path, filter=json.dumps({"and": same}), sort="id")
        return next((one for one in found if one["name"] == name), None)

    def find_project(self, name: str) -> int | None:
        """Number of the project with exactly this name, or None."""
        found = self._named("/api/projects", name)
        return None if found is None else int(found["id"])

    def create_project(self, name: str, labels: Sequence[LabelSpec]) -> int:
        """Makes a project."""
        body = {"name": name, "labels": [label_json(spec) for spec in labels]}
        made = self._session.send(
            "POST", "/api/projects", body, lambda: self._named("/api/projects", name), f"making project {name!r}"
        )
        return int(made["id"])

    def use_project(self, project: int) -> Mapping[str, LabelSpec]:
        """Reads the classes of the project that is worked in."""
        what = f"reading project {project}"
        self._session.send("GET", f"/api/projects/{project}", what=what)  # a list of classes is empty if it is gone
        labels = tuple(self._pages("/api/labels", what, project_id=project))
        self._classes = Classes(project, labels, self._occluded)
        return self._classes.specs()

    def extend_project(self, project: int, labels: Sequence[LabelSpec]) -> None:
        """Adds classes, and attributes of classes, that are missing."""
        changes = self._lacking(project, labels)
        if not changes:
            return

        def find() -> dict[str, Any] | None:
            return None if self._lacking(project, labels) else {}

        self._session.send("PATCH", f"/api/projects/{project}", {"labels": changes}, find, "adding classes")

    def _lacking(self, project: int, labels: Sequence[LabelSpec]) -> list[dict[str, Any]]:
        """What has to change in a project for it to have these classes."""
        there = {label["name"]: label for label in self._pages("/api/labels", project_id=project)}
        changes = []
        for spec in labels:
            known = there.get(spec.name)
            if known is None:
                changes.append(label_json(spec))
                continue
            names = {one["name"] for one in known["attributes"]}
            new = [attribute_json(one) for one in spec.attributes if one.name not in names]
            if new:
                kept = [{**one, "values": one.get("values") or [""]} for one in known["attributes"]]
                changes.append({"id": known["id"], "name": known["name"], "attributes": [*kept, *new]})
        return changes

    def describe(self, project: int, markdown: str) -> None:
        """Tells people who work in the project what to do, if the server has guides."""
        try:
            about = self._session.send("GET", f"/api/projects/{project}")
            if about.get("guide_id"):
                self._session.send("PATCH", f"/api/guides/{about['guide_id']}", {"markdown": markdown})
            else:
                self._session.send("POST", "/api/guides", {"project_id": project, "markdown": markdown})
        except LostError:
            raise
        except DeskError:
            return  # a guide is a help, and not every server or user may have one

    # --- tasks

    def find_task(self, project: int, name: str) -> TaskState | None:
        """The task with exactly this name, or None."""
        found = self._named("/api/tasks", name, project_id=project)
        return None if found is None else self.task(int(found["id"]))

    def create_task(self, project: int, name: str, segment: int, overlap: int) -> int:
        """Makes a task without media."""
        body = {"name": name, "project_id": project, "segment_size": segment, "overlap": overlap}
        made = self._session.send(
            "POST", "/api/tasks", body, lambda: self._named("/api/tasks", name, project_id=project),
            f"making task {name!r}",
        )  # fmt: skip
        return int(made["id"])

    def task(self, task: int) -> TaskState:
        """How the task stands."""
        found = self._session.send("GET", f"/api/tasks/{task}", what=f"reading task {task}")
        size = int(found.get("size") or 0)
        if size and (found.get("jobs") or {}).get("count"):
            return TaskState(task, found["name"], size)
        request = media_request(self._session, task) or {}
        status, lines = str(request.get("status") or ""), str(request.get("message") or "").strip().splitlines()
        failed = (lines[-1] if lines else "the media could not be read") if status == "failed" else ""
        return TaskState(task, found["name"], size, failed, status in BUSY)

    def upload(self, task: int, media: Media, tell: Callable[[float], None] | None = None) -> None:
        """Gives the task its media and waits until the server has taken them."""
        send_media(self._session, task, media, tell)
        self.wait(task)

    def wait(self, task: int) -> None:
        """Waits until the server is no more at work on a task's media."""
        while (media_request(self._session, task) or {}).get("status") in BUSY:
            self._session.patience.sleep(self._poll)

    def delete_task(self, task: int) -> None:
        """Deletes a task; nothing happens if it is gone."""
        try:
            self._session.send("DELETE", f"/api/tasks/{task}", what=f"deleting task {task}")
        except GoneError:
            return

    # --- jobs

    def jobs(self, project: int, task: int | None = None, since: str | None = None) -> list[JobState]:
        """Jobs of a project, or of one task, by id."""
        query: dict[str, Any] = {"task_id": task} if task is not None else {"project_id": project}
        if since is not None:
            query["filter"] = json.dumps({"and": [{">=": [{"var": "updated_date"}, since]}]})
        found = self._pages("/api/jobs", f"listing the jobs of project {project}", **query)
        jobs = [_job(one) for one in found if one.get("type", "annotation") == "annotation"]
        return sorted(jobs, key=lambda job: job.id)

    def set_job(
        self, job: int, *, state: str | None = None, stage: str | None = None, assignee: str | None = None
    ) -> JobState:
        """Sets what is given."""
        body: dict[str, Any] = {
            name: value for name, value in (("state", state), ("stage", stage)) if value is not None
        }
        if assignee is not None:
            body["assignee"] = self._user(assignee) if assignee else None
            if assignee and body["assignee"] is None:
                raise DeskError(f"job {job}: CVAT at {self.url} knows no user {assignee!r}; check the assignees")
        method = "PATCH" if body else "GET"
        with self._locks[job]:
            return _job(self._session.send(method, f"/api/jobs/{job}", body or None, what=f"setting job {job}"))

    def _user(self, name: str) -> int | None:
        if name not in self._users:
            for one in self._pages("/api/users", what="looking for users", search=name):
                self._users[one["username"]] = int(one["id"])
        return self._users.get(name)

    def unknown_users(self, names: Sequence[str]) -> list[str]:
        """Those of the names that the server does not know."""
        return [name for name in names if self._user(name) is None]

    def link(self, job: int, task: int) -> str:
        """Where a browser opens the job."""
        return f"{self.url}/tasks/{task}/jobs/{job}"

    # --- annotations

    @property
    def _known(self) -> Classes:
        if self._classes is None:
            raise RuntimeError("use_project has not been called")
        return self._classes

    def read(self, job: JobState) -> tuple[tuple[SheetTrack, ...], list[Refusal]]:
        """What is on the job's sheet, and what of it cannot be used."""
        data = self._session.send("GET", f"/api/jobs/{job.id}/annotations", what=f"reading job {job.id}")
        return self._known.receive(job, data)

    def write(
        self, job: int, create: Sequence[SheetTrack] = (), update: Sequence[SheetTrack] = (),
        delete: Sequence[SheetTrack] = (),
    ) -> list[int]:  # fmt: skip
        """Changes tracks of a job: deletes, then updates, then creates."""
        # All are translated before the first is sent.
        made = [self._known.send(track, False) for track in create]
        changed = [self._known.send(track) for track in update]
        gone = [self._known.remove(track) for track in delete]
        with self._locks[job]:
            for action, tracks in (("delete", gone), ("update", changed)):
                for part in _parts(tracks):
                    self._change(job, action, part)
            return [number for part in _parts(made) for number in self._create(job, part)]

    def _change(
        self, job: int, action: str, tracks: list[dict[str, Any]],
        find: Callable[[], dict[str, Any] | None] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        body = {"version": 0, "tags": [], "shapes": [], "tracks": tracks}
        what = f"job {job}: {action} of {len(tracks)} tracks"
        return self._session.send("PATCH", f"/api/jobs/{job}/annotations", body, find, what, action=action)

    def _create(self, job: int, tracks: list[dict[str, Any]]) -> list[int]:
        """Makes tracks, and knows them again if the answer got lost."""

        def find() -> dict[str, Any] | None:
            there = self._session.send("GET", f"/api/jobs/{job}/annotations", what=f"reading job {job}")["tracks"]
            # Both halves of a track that was split have its name, so the name alone would not tell.
            newest = {self._known.mark(one): one for one in sorted(there, key=lambda one: one["id"])}
            found = [newest.get(self._known.mark(one)) for one in tracks]
            # A request is done as a whole or not at all.
            return {"tracks": found} if all(one is not None for one in found) else None

        made = self._change(job, "create", tracks, find)["tracks"]
        return [int(one["id"]) for one in made]

    # --- issues

    def issues(self, job: int) -> list[IssueState]:
        """All issues of a job with their comments, by id."""
        what = f"reading the issues of job {job}"
        found = sorted(self._pages("/api/issues", what, job_id=job), key=lambda one: one["id"])
        said: dict[int, list[dict[str, Any]]] = defaultdict(list)
        if found:
            for one in sorted(self._pages("/api/comments", what, job_id=job), key=lambda one: one["id"]):
                said[one["issue"]].append(one)
        return [_issue(one, said[one["id"]]) for one in found]

    def open_issue(self, job: int, frame: int, position: Sequence[float], message: str) -> int:
        """Opens an issue."""
        body: dict[str, Any] = {
            "job": job, "frame": frame, "position": [float(x) for x in position], "message": message
        }  # fmt: skip

        def find() -> dict[str, Any] | None:
            for one in self.issues(job):
                pinned = one.frame == frame and one.position == tuple(body["position"])
                if pinned and one.comments and one.comments[0][1] == message:
                    return {"id": one.id}
            return None

        with self._locks[job]:
            made = self._session.send("POST", "/api/issues", body, find, f"opening an issue in job {job}")
        return int(made["id"])

    def resolve_issue(self, issue: int) -> None:
        """Closes an issue; nothing happens if it is closed, or gone."""
        try:
            self._session.send("PATCH", f"/api/issues/{issue}", {"resolved": True}, what=f"closing issue {issue}")
        except GoneError:
            return

    # --- webhooks

    def register_webhook(self, project: int, target: str, secret: str) -> int:
        """Makes the webhook of a project that calls an address, or mends it; returns its number."""
        from .webhook import EVENTS

        body = {
            "target_url": target, "type": "project", "project_id": project, "content_type": "application/json",
            "secret": secret, "is_active": True, "enable_ssl": target.startswith("https"), "events": list(EVENTS),
            "description": "spam-plugin",
        }  # fmt: skip

        def find() -> dict[str, Any] | None:
            found = self._pages("/api/webhooks", "reading webhooks", project_id=project)
            return next((one for one in found if one["target_url"] == target), None)

        known = find()
        if known is not None:
            self._session.send("PATCH", f"/api/webhooks/{known['id']}", body, what="mending the webhook")
            return int(known["id"])
        return int(self._session.send("POST", "/api/webhooks", body, find, "making the webhook")["id"])


def _parts(tracks: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Tracks in requests of a size that servers take."""
    part: list[dict[str, Any]] = []
    held = 0
    for track in tracks:
        if part and held + len(track["shapes"]) > MOST_KEYFRAMES:
            yield part
            part, held = [], 0
        part.append(track)
        held += len(track["shapes"])
    if part:
        yield part


def _job(data: Mapping[str, Any]) -> JobState:
    return JobState(
        int(data["id"]), int(data["task_id"]), int(data["start_frame"]), int(data["stop_frame"]), data["state"],
        data["stage"], (data.get("assignee") or {}).get("username") or "", str(data["updated_date"]),
    )  # fmt: skip


def _issue(data: Mapping[str, Any], comments: Sequence[Mapping[str, Any]]) -> IssueState:
    return IssueState(
        int(data["id"]), int(data["job"]), int(data["frame"]), tuple(map(float, data["position"])),
        bool(data["resolved"]),
        tuple(((one.get("owner") or {}).get("username") or "somebody", str(one["message"])) for one in comments),
        # A new comment does not change the issue itself.
        max(str(one["updated_date"]) for one in (data, *comments)),
    )  # fmt: skip
