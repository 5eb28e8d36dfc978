"""The stand-in server answers as a real CVAT did: recorded exchanges are replayed against it, one after the other."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cvat_server import CvatServer
from cvat_server.recorded import Translator, shape_of, without_the_fork

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = Path(os.environ.get("SPAM_SHARED") or ROOT.parent / "shared") / "cvat_contract"
Exchange = dict[str, Any]

# In the order in which they were recorded: later ones use what earlier ones have made.
FILES = (
    *("01_about_and_login", "02_project_create", "03_video_task_create_tus", "04_image_task_simple_upload"),
    *("05_annotations_put_patch_get", "06_errors_bad_input", "08_webhooks", "07_job_state_stage_assign_issues"),
    *("11_task_level_annotations_over_several_jobs", "12_task_delete", "09_export_import", "13_sdk_2_80_0_flow"),
    *("13_sdk_2_54_0_flow", "14_fiftyone_1_22_1_video", "15_fiftyone_1_22_1_image_sequence"),
    *("16_misc_frames_step_segments_deleted_frames_webhooklimits", "17_labels_changed_while_in_use"),
    *("18_concurrent_writers", "19_update_of_a_deleted_track", "20_cvat_core_ui_save"),
)
DELIVERIES = "08b_webhook_deliveries"
RACES = "18_concurrent_writers"

# What is not replayed, and why. Besides, polls between the first and the last of a background request: how many there
# are depends on the machine. Fields of the recorded fork that no other CVAT has are taken out of every exchange.
LEFT_OUT: dict[tuple[str, range], str] = {
    ("01_about_and_login", range(11, 12)): "the real server knows 30 file formats, the stand-in those that it needs",
    ("09_export_import", range(14, 35)): "MOT and COCO files are written by a library that the stand-in has not",
    ("09_export_import", range(42, 52)): "MOT and COCO files are read by a library that the stand-in has not",
    ("09_export_import", range(56, 57)): "shows what the MOT import before it has left",
    ("14_fiftyone_1_22_1_video", range(13, 14)): "the recorder has cut the body; test_server.py runs FiftyOne itself",
    ("14_fiftyone_1_22_1_video", range(20, 21)): "shows edits that were not recorded",
}
# The recordings hold no tokens; their notes tell whose they were. All others are the administrator's.
USERS = {
    ("06_errors_bad_input", range(50, 55)): "worker1",
    ("07_job_state_stage_assign_issues", range(7, 13)): "annotator1",
    ("07_job_state_stage_assign_issues", range(45, 46)): "annotator1",
    ("07_job_state_stage_assign_issues", range(14, 28)): "reviewer1",
}
PASSWORD = "the tests' own"
SECRET = "a secret of the tests"
WRONG_PASSWORDS = ("01_about_and_login", range(4, 6))
HEADERS = ("origin", "content-type", "tus-resumable", "upload-offset", "upload-length", "upload-metadata")
FLAGS = ("upload-start", "upload-finish", "upload-multiple")
COMPARED_HEADERS = ("location", "upload-offset", "upload-length", "upload-filename", "tus-resumable")


def recording(name: str) -> dict[str, Any]:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


def found(table: dict[tuple[str, range], str], name: str, number: int) -> str | None:
    return next((value for (file, numbers), value in table.items() if file == name and number in numbers), None)


class Receiver(ThreadingHTTPServer):
    """Where the webhooks' deliveries arrive."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiving)
        self.deliveries: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Receiving(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.deliveries.append({"path": self.path, "headers": dict(self.headers), "raw": raw})
        answer = b"taken"
        self.send_response(500 if self.path == "/fail" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def video(folder: Path, length: int) -> bytes:
    """A video of 60 frames of exactly this many bytes: an empty box fills up what is missing."""
    path = folder / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"vp09"), 25, (640, 360))
    for _ in range(60):
        writer.write(np.zeros((360, 640, 3), np.uint8))
    writer.release()
    content = path.read_bytes()
    missing = length - len(content)
    assert missing >= 8
    return content + missing.to_bytes(4, "big") + b"free" + bytes(missing - 8)


def image(length: int) -> bytes:
    """A JPEG of exactly this many bytes; where these are too few, no JPEG at all, as in the recording."""
    content = cv2.imencode(".jpg", np.zeros((360, 640, 3), np.uint8))[1].tobytes()
    return content.ljust(length, b"\0") if len(content) <= length else b"x" * length


class Replay:
    """Sends recorded requests to the stand-in and compares what comes back."""

    def __init__(self, server: CvatServer, receiver: Receiver, folder: Path) -> None:
        self.server = server
        self.receiver = receiver
        self.translator = Translator(server.url, receiver.url)
        self.connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
        self.video = video(folder, 19212)
        # Exported files, by the length that the recorded one had: they are sent back later.
        self.downloads: dict[int, bytes] = {}
        self.secrets: dict[str, str] = {}
        self.cookies = ""
        self.differences: dict[str, list[str]] = {}
        self._people_and_older_objects()

    # What was there before, or happened between the recordings.

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Token {self.server.token_for('admin')}", "Content-Type": "application/json"}
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        content = self.connection.getresponse().read()
        return json.loads(content) if content else None

    def _people_and_older_objects(self) -> None:
        for name in ("annotator1", "reviewer1", "worker1"):
            self.server.add_user(name, PASSWORD, **({"groups": ["user", "worker"]} if name == "worker1" else {}))
            self.call("POST", "/api/auth/login", {"username": name, "password": PASSWORD})
        token = self.call("POST", "/api/auth/access_tokens", {"name": "sync"})["value"]
        self.connection.request("GET", "/api/users/self", headers={"Authorization": f"Bearer {token}"})
        self.connection.getresponse().read()
        projects = [
            self.call("POST", "/api/projects", {"name": name, "labels": [{"name": "car"}]})["id"]
            for name in ("sync contract", "x", "sync contract", "x")
        ]
        for project, content in ((projects[0], None), (projects[2], self.video), (projects[2], b"broken")):
            self.task(project, content, {"use_zip_chunks": "true", "chunk_size": "36"}, subset="Train")

    def task(self, project: int, content: bytes | None, parameters: dict[str, str], **more: Any) -> int:
        task = self.call("POST", "/api/tasks", {"name": "t", "project_id": project, **more})["id"]
        if content is not None:
            parts = [
                {"headers": [f'Content-Disposition: form-data; name="{k}"'], "value": v} for k, v in parameters.items()
            ]
            parts.append({"headers": ['Content-Disposition: form-data; name="image_quality"'], "value": "70"})
            file = 'Content-Disposition: form-data; name="client_files[0]"; filename="clip60.mp4"'
            headers = {"Authorization": f"Token {self.server.token_for('admin')}"}
            body = self.form([*parts, {"headers": [file], "content": content}], headers)
            self.connection.request("POST", f"/api/tasks/{task}/data", body, headers)
            self.connection.getresponse().read()
            for _ in range(2):
                self.call("GET", f"/api/requests/action=create&target=task&target_id={task}")
        return task

    def prepare(self, name: str, exchanges: list[Exchange]) -> None:
        if name == "08_webhooks":
            job = self.translator.number("jobs", 5)
            self.call("PATCH", f"/api/jobs/{job}", {"assignee": 3, "stage": "validation", "state": "new"})
        if name == RACES:
            text = {"input_type": "text", "values": [""], "default_value": ""}
            attributes = [
                {"name": "track_uid", "mutable": False, **text},
                {"name": "confidence", "mutable": True, **text},
            ]
            labels = [{"name": "car", "type": "rectangle", "attributes": attributes}, {"name": "person"}]
            project = self.call("POST", "/api/projects", {"name": "races", "labels": labels})["id"]
            task = self.task(project, self.video, {})
            car, person = self.server.labels(project)
            learn = self.translator.differences
            learn({"project_id": 12, "task_id": 20}, {"project_id": project, "task_id": task})
            learn([{"label_id": 31}, {"label_id": 32}], [{"label_id": car["id"]}, {"label_id": person["id"]}])
            for recorded, ours in zip((47, 48), car["attributes"], strict=True):
                learn({"spec_id": recorded}, {"spec_id": ours["id"]})
            learn({"job_id": 22}, {"job_id": self.server.jobs(task)[0]["id"]})
        if name == "20_cvat_core_ui_save":
            state = without_the_fork(exchanges[2]["response"]["body"])
            for track in state["tracks"]:
                del track["id"]
                for keyframe in track["shapes"]:
                    del keyframe["id"]
            job = self.translator.number("jobs", 22)
            self.call("PUT", f"/api/jobs/{job}/annotations", self.translator.body(state))

    # Requests.

    def send(self, name: str, exchange: Exchange) -> tuple[http.client.HTTPResponse, bytes]:
        request = exchange["request"]
        headers = {key: str(request["headers"][key]) for key in (*HEADERS, *FLAGS) if key in request["headers"]}
        if "origin" in headers:
            headers["origin"] = self.translator.text(headers["origin"])
        headers.update(self.credentials(name, exchange))
        path = self.translator.path(request["path"])
        body = self.body(name, exchange, headers)
        self.connection.request(request["method"], path, body, headers)
        response = self.connection.getresponse()
        content = response.read()
        if "/dataset/download" in path:
            self.downloads[exchange["response"]["body"]["length"]] = content
        if path.startswith("/api/auth/") and response.status in (200, 201):
            self.secrets.update({key: value for key, value in json.loads(content).items() if key in ("key", "value")})
            if "Set-Cookie" in response.headers:
                self.cookies = "; ".join(cookie.split(";")[0] for cookie in response.headers.get_all("Set-Cookie", []))
        self.server.wait_for_deliveries()
        return response, content

    def credentials(self, name: str, exchange: Exchange) -> dict[str, str]:
        recorded = exchange["request"]["headers"]
        scheme = str(recorded.get("authorization", "")).split(" ")[0]
        user = found(USERS, name, exchange["n"]) or "admin"
        if name == "01_about_and_login":
            bad = "bad" in str(exchange.get("note"))
            if "cookie" in recorded:
                return {"Cookie": self.cookies}
            if scheme == "Basic":
                pair = f"{self.server.username}:{'wrong' if bad else self.server.password}"
                return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            secret = "nonsense" if bad else self.secrets.get("value" if scheme == "Bearer" else "key")
            return {"Authorization": f"{scheme} {secret}"} if scheme else {}
        return {"Authorization": f"Token {self.server.token_for(user)}"} if scheme or "cookie" in recorded else {}

    def body(self, name: str, exchange: Exchange, headers: dict[str, str]) -> bytes | None:
        request = exchange["request"]
        body = without_the_fork(request["body"])
        if "upload-length" in headers and "/annotations" in request["path"]:
            headers["upload-length"] = str(len(self.downloads[int(headers["upload-length"])]))
        if body is None:
            return None
        if "__multipart__" in body:
            return self.form(body["__multipart__"], headers)
        if "__binary__" in body:
            if "/annotations" in request["path"]:
                return self.downloads[body["length"]]
            start = int(headers["upload-offset"])
            return self.video[start : start + body["length"]]
        if "__text__" in body:
            return body["__text__"].encode()
        if "password" in body:
            wrong = WRONG_PASSWORDS[0] == name and exchange["n"] in WRONG_PASSWORDS[1]
            return json.dumps({**body, "password": "wrong" if wrong else self.server.password}).encode()
        if "secret" in body:
            body["secret"] = SECRET
        return json.dumps(self.translator.body(body)).encode()

    def form(self, parts: list[dict[str, Any]], headers: dict[str, str]) -> bytes:
        boundary = "a-boundary-of-the-tests"
        headers["content-type"] = f"multipart/form-data; boundary={boundary}"
        lines = []
        for part in parts:
            lines += [f"--{boundary}", *part["headers"], ""]
            content = part.get("content", str(part.get("value", "")).encode())
            if "length" in part:
                content = self.file(part["headers"][0], part["length"])
            lines.append(content)
        return b"\r\n".join(x if isinstance(x, bytes) else x.encode() for x in [*lines, f"--{boundary}--", ""])

    def file(self, header: str, length: int) -> bytes:
        if "annotation_file" in header:
            return self.downloads.get(length, b"garbage")
        return self.video if ".mp4" in header else image(length)

    # Answers.

    def run(self, name: str) -> None:
        exchanges = recording(name)["exchanges"]
        self.prepare(name, exchanges)
        self.translator.tracks_in_any_order = name in (RACES, "19_update_of_a_deleted_track")
        self.differences[name] = []
        for exchange in in_order(name, exchanges):
            if found(LEFT_OUT, name, exchange["n"]):
                continue
            request = exchange["request"]
            response, content = self.send(name, exchange)
            label = f"{name} {exchange['n']} ({exchange.get('note') or ''}) {request['method']} {request['path']}"
            self.differences[name] += [
                f"{label}\n    {text}" for text in self.compare(name, exchange, response, content)
            ]

    def compare(
        self, name: str, exchange: Exchange, response: http.client.HTTPResponse, content: bytes
    ) -> Iterator[str]:
        recorded = exchange["response"]
        status = recorded["status"]
        if name == RACES and status == 400 and response.status == 200:
            return  # refused only because another one wrote at the same moment
        if response.status != status:
            yield f"status {response.status} instead of {status}: {content[:300]!r}"
            return
        ours = response.headers.get("Content-Type", "").split(";")[0]
        theirs = str(recorded["headers"].get("content-type", "")).split(";")[0]
        if ours != theirs:
            yield f"content type {ours!r} instead of {theirs!r}"
            return
        # Bodies come first: headers speak of ids that they tell.
        yield from self.compare_bodies(name, status, without_the_fork(recorded["body"]), content)
        for header in COMPARED_HEADERS:
            value = recorded["headers"].get(header)
            if value is not None and value.isdigit() and int(value) in self.downloads:
                value = str(len(self.downloads[int(value)]))
            if value is not None:
                yield from self.translator.same_text(value, response.headers.get(header, ""), f"header {header}")

    def compare_bodies(self, name: str, status: int, body: Any, content: bytes) -> Iterator[str]:
        if body is None:
            if content:
                yield f"a body: {content[:300]!r}"
        elif isinstance(body, dict) and ("__binary__" in body or "__text__" in body):
            return
        elif status >= 400:
            if shape_of(json.loads(content)) != shape_of(body):
                yield f"{json.loads(content)!r} instead of something like {body!r}"
        else:
            mine = json.loads(content)
            if name == RACES:
                body, mine = once(body), once(mine)
            yield from self.translator.differences(body, mine)


def once(value: Any) -> Any:
    """Each attribute once: racing updates leave them several times."""
    if isinstance(value, list):
        return [once(item) for place, item in enumerate(value) if not _is_attribute(item) or item not in value[:place]]
    return {key: once(item) for key, item in value.items()} if isinstance(value, dict) else value


def _is_attribute(item: Any) -> bool:
    return isinstance(item, dict) and "spec_id" in item


def in_order(name: str, exchanges: list[Exchange]) -> list[Exchange]:
    """The exchanges to replay: first and last poll of each background request; races in an order that ends alike."""
    if name == RACES:
        # Of a burst, what was refused comes first, and a third PUT, whose answer was late, before what outlived it.
        def rank(exchange: Exchange) -> tuple[float, bool, int]:
            number = exchange["n"]
            burst = next(end for end in (7, 14, 21, 28, 35, 42, 49) if number <= end)
            is_end, late = number == burst, {48: 45.5}.get(number, number)
            return burst + is_end, exchange["response"]["status"] != 400, late

        return sorted(exchanges, key=rank)
    kept = []
    for place, exchange in enumerate(exchanges):
        around = [exchanges[at]["request"]["path"] for at in (place - 1, place + 1) if 0 <= at < len(exchanges)]
        is_poll = exchange["request"]["path"].startswith("/api/requests/")
        if not (is_poll and around == [exchange["request"]["path"]] * 2):
            kept.append(exchange)
    return kept


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    if not RECORDINGS.is_dir():
        pytest.skip(f"needs the recorded exchanges: no folder {RECORDINGS} (set SPAM_SHARED)")
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    with CvatServer(version="2.54.1") as server:
        server.busy_polls = 1
        replay = Replay(server, receiver, tmp_path_factory.mktemp("media"))
        for name in FILES:
            replay.run(name)
            if name == "08_webhooks":
                compare_deliveries(replay)
        replay.connection.close()
        yield replay
    receiver.shutdown()
    receiver.server_close()


def compare_deliveries(replay: Replay) -> None:
    recorded = recording(DELIVERIES)
    secret = re.search(r'secret was "([^"]+)"', recorded["about"])
    assert secret is not None
    differences = replay.differences[DELIVERIES] = []
    theirs, ours = recorded["deliveries"], replay.receiver.deliveries
    events = [
        [item["request"]["body"]["event"] for item in theirs],
        [json.loads(item["raw"])["event"] for item in ours],
    ]
    if events[0] != events[1]:
        differences.append(f"events {events[1]} instead of {events[0]}")
        return
    for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        request = their["request"]
        if not signed(request["headers"], json.dumps(request["body"]).encode(), secret[1]):
            differences.append(f"{number}: the recorded signature is not that of the recorded body")
        if not signed(our["headers"], our["raw"], SECRET):
            differences.append(f"{number}: not signed")
        texts = replay.translator.differences(request["body"], json.loads(our["raw"]))
        texts += [f"path {our['path']}"] if our["path"] != request["path"] else []
        differences += [f"{number} ({their['cause']}) {request['body']['event']}\n    {text}" for text in texts]


def signed(headers: dict[str, str], raw: bytes, secret: str) -> bool:
    digest = hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    return headers.get("X-Signature-256") == f"sha256={digest}"


@pytest.mark.parametrize("name", [*FILES, DELIVERIES])
def test_the_stand_in_answers_as_recorded(replay: Replay, name: str) -> None:
    differences = replay.differences[name]
    assert not differences, "\n".join([f"{len(differences)} differences:", *differences])


def test_every_recording_is_replayed() -> None:
    if not RECORDINGS.is_dir():
        pytest.skip(f"needs the recorded exchanges: no folder {RECORDINGS} (set SPAM_SHARED)")
    assert {path.stem for path in RECORDINGS.glob("*.json")} == {*FILES, DELIVERIES}
    for (name, numbers), _ in LEFT_OUT.items():
        assert {exchange["n"] for exchange in recording(name)["exchanges"]} >= set(numbers)
