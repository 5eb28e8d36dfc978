"""The few requests that a reviewer's browser sends."""

from __future__ import annotations

import json
import urllib.request
from typing import Any


class Api:
    """A CVAT server as a logged-in user sees it."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url = url.rstrip("/")
        self._token = ""
        self._token = self.send("POST", "/api/auth/login", {"username": username, "password": password})["key"]

    def send(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/vnd.cvat+json"}
        if self._token:
            headers["Authorization"] = f"Token {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def tracks(self, job: int) -> list[dict[str, Any]]:
        return self.send("GET", f"/api/jobs/{job}/annotations")["tracks"]

    def change(self, job: int, action: str, tracks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        body = {"version": 0, "tags": [], "shapes": [], "tracks": tracks}
        return self.send("PATCH", f"/api/jobs/{job}/annotations?action={action}", body)["tracks"]

    def replace(self, job: int, tracks: list[dict[str, Any]]) -> None:
        """As a file import does: everything gets new ids."""
        body = {"version": 0, "tags": [], "shapes": [], "tracks": [without_ids(track) for track in tracks]}
        self.send("PUT", f"/api/jobs/{job}/annotations", body)

    def job(self, job: int, **values: Any) -> dict[str, Any]:
        return self.send("PATCH", f"/api/jobs/{job}", values)

    def jobs(self, task: int | None = None) -> list[dict[str, Any]]:
        query = f"task_id={task}&" if task is not None else ""
        found = self.send("GET", f"/api/jobs?{query}page_size=1000")["results"]
        return sorted(found, key=lambda job: job["id"])

    def issues(self, job: int) -> list[dict[str, Any]]:
        return self.send("GET", f"/api/issues?job_id={job}&page_size=1000")["results"]

    def resolve(self, issue: int) -> None:
        self.send("PATCH", f"/api/issues/{issue}", {"resolved": True})

    def comment(self, issue: int, message: str) -> None:
        self.send("POST", "/api/comments", {"issue": issue, "message": message})


def without_ids(track: dict[str, Any]) -> dict[str, Any]:
    shapes = [{key: value for key, value in shape.items() if key != "id"} for shape in track["shapes"]]
    return {**{key: value for key, value in track.items() if key != "id"}, "shapes": shapes}
