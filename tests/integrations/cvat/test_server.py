"""The stand-in server beyond the recordings: the SDK and FiftyOne run against it, and tests can steer it."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cvat_server import CvatServer

JSON = dict[str, Any]
CAR = {
    "name": "car",
    "type": "rectangle",
    "attributes": [
        {"name": "track_uid", "mutable": False, "input_type": "text", "values": [""], "default_value": ""},
        {
            "name": "confidence",
            "mutable": True,
            "input_type": "number",
            "values": ["0", "1", "0.01"],
            "default_value": "0",
        },
    ],
}


@pytest.fixture
def server() -> Iterator[CvatServer]:
    with CvatServer() as server:
        yield server


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (64, 36))
    for frame in range(20):
        writer.write(np.full((36, 64, 3), 10 * frame, np.uint8))
    writer.release()
    return path


class Caller:
    """Plain requests of one user."""

    def __init__(self, server: CvatServer, user: str | None = None, **headers: str) -> None:
        self.url = server.url
        self.headers = {"Authorization": f"Token {server.token_for(user or server.username)}", **headers}

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {**self.headers, **({"Content-Type": "application/json"} if data else {})}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
                status, content = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        return status, json.loads(content) if content[:1] in (b"{", b"[", b'"') else content


def video_task(server: CvatServer, clip: Path, **more: Any) -> JSON:
    """A task with the clip, taken from the share."""
    call = Caller(server)
    server.share = clip.parent
    _, project = call("POST", "/api/projects", {"name": "p", "labels": [CAR]})
    _, task = call("POST", "/api/tasks", {"name": "t", "project_id": project["id"], **more})
    status, _ = call("POST", f"/api/tasks/{task['id']}/data", {"image_quality": 70, "server_files": [clip.name]})
    assert status == 202
    return call("GET", f"/api/tasks/{task['id']}")[1]


def track(server: CvatServer, *frames: int, uid: str = "a") -> JSON:
    label = server.labels()[0]
    return {
        "label_id": label["id"],
        "frame": frames[0],
        "source": "auto",
        "attributes": [{"spec_id": label["attributes"][0]["id"], "value": uid}],
        "shapes": [{"type": "rectangle", "frame": f, "points": [f + 1.5, 2.25, f + 10, 12]} for f in frames],
    }


def test_the_sdk_runs_against_it(server: CvatServer, clip: Path, tmp_path: Path) -> None:
    cvat_sdk = pytest.importorskip("cvat_sdk")
    from cvat_sdk.core.proxies.tasks import ResourceType
    from cvat_sdk.core.uploading import DataUploader

    with cvat_sdk.make_client(server.url, credentials=(server.username, server.password)) as client:
        client.config.status_check_period = 0.01  # type: ignore[assignment]
        project = client.projects.create({"name": "p", "labels": [CAR]})
        task = client.tasks.create({"name": "t", "project_id": project.id})
        # A small limit makes the SDK send the file by TUS instead of in a form.
        url = f"{server.url}/api/tasks/{task.id}/data/"
        DataUploader(client, max_request_size=10).upload_files(url, [clip], image_quality=70)
        client.wait_for_completion(f"action=create&target=task&target_id={task.id}")
        assert task.fetch().size == 20
        (job,) = task.get_jobs()
        sent = track(server, 0, 5)
        job.set_annotations({"tracks": [sent]})
        (read,) = job.get_annotations().tracks
        assert [keyframe.frame for keyframe in read.shapes] == [0, 5]
        job.update({"state": "completed"})
        issue = client.issues.create({"frame": 1, "position": [1.0, 1.0, 2.0, 2.0], "job": job.id, "message": "look"})
        assert [comment.message for comment in issue.get_comments()] == ["look"]
        assert task.get_frame(3, quality="original").read()[:8] == b"\x89PNG\r\n\x1a\n"
        exported = tmp_path / "a.zip"
        task.export_dataset("CVAT for video 1.1", exported, include_images=False, status_check_period=0.01)
        task.import_annotations("CVAT 1.1", exported, status_check_period=0.01)
        (imported,) = job.get_annotations().tracks
        assert (imported.source, imported.id != read.id) == ("file", True)
        images = [tmp_path / f"{i}.jpg" for i in range(3)]
        for path in images:
            cv2.imwrite(str(path), np.zeros((10, 20, 3), np.uint8))
        spec = {"name": "i", "project_id": project.id}
        several = client.tasks.create_from_data(spec, images, resource_type=ResourceType.LOCAL)
        assert [row.name for row in several.get_meta().frames] == ["0.jpg", "1.jpg", "2.jpg"]
        several.remove()
        client.organization_slug = ""
        assert [one.id for one in client.tasks.list()] == [task.id]


def test_fiftyone_runs_against_it(server: CvatServer, clip: Path) -> None:
    fo = pytest.importorskip("fiftyone")
    server.add_user("annotator")
    sample = fo.Sample(filepath=str(clip))
    for number in range(1, 21):
        box = [0.1 + number / 100, 0.25, 0.25, 0.5]
        found = fo.Detection(label="car", bounding_box=box, index=1, confidence=0.5)
        sample.frames[number] = fo.Frame(detections=fo.Detections(detections=[found] if number != 10 else []))
    dataset = fo.Dataset()
    dataset.add_sample(sample)
    login = {"url": server.url, "username": server.username, "password": server.password}
    schema = {"type": "detections", "classes": ["car"], "attributes": {"confidence": {"type": "text", "values": []}}}
    dataset.annotate(
        "key",
        backend="cvat",
        label_field="frames.detections",
        label_schema={"frames.detections": schema},
        project_name="fiftyone",
        job_assignees=["annotator"],
        launch_editor=False,
        **login,
    )
    (job,) = server.jobs()
    assert job["assignee"]["username"] == "annotator"
    (sent,) = server.annotations(job["id"])["tracks"]
    assert len(sent["shapes"]) == 20  # FiftyOne makes every frame a keyframe, the gap one that ends the track's stretch

    # A person moves one box; the whole track is sent, as CVAT's user interface does.
    sent["shapes"][0]["points"] = [0.0, 0.0, 32.0, 18.0]
    status, _ = Caller(server)("PATCH", f"/api/jobs/{job['id']}/annotations?action=update", {"tracks": [sent]})
    assert status == 200
    dataset.load_annotations("key", cleanup=True, **login)
    frames = dataset.first().frames
    assert frames[1].detections.detections[0].bounding_box == pytest.approx([0, 0, 0.5, 0.5])
    assert [len(frames[number].detections.detections) for number in (9, 10, 11)] == [1, 0, 1]
    assert server.tasks() == []


def test_what_a_user_may_do(server: CvatServer, clip: Path) -> None:
    task = video_task(server, clip)
    (job,) = server.jobs(task["id"])
    worker = server.add_user("worker")
    call, admin = Caller(server, "worker"), Caller(server)
    path = f"/api/jobs/{job['id']}"
    assert call("GET", path)[0] == 403
    assert call("GET", "/api/jobs")[1]["count"] == 0
    admin("PATCH", path, {"assignee": worker})
    assert call("GET", "/api/jobs")[1]["count"] == 1
    assert call("GET", "/api/tasks")[1]["count"] == 0
    assert call("PUT", f"{path}/annotations", {"tracks": [track(server, 0)]})[0] == 200
    assert call("PATCH", path, {"state": "completed"})[0] == 200
    assert call("PATCH", path, {"stage": "acceptance"})[0] == 403
    assert call("PATCH", path, {"assignee": None})[0] == 403
    assert call("DELETE", f"/api/tasks/{task['id']}")[0] == 403


def test_objects_belong_to_an_organization(server: CvatServer) -> None:
    server.add_user("member")
    server.add_user("stranger")
    server.add_organization("lab", {"member": "maintainer"})
    inside = Caller(server, "member", **{"X-Organization": "lab"})
    assert inside("POST", "/api/projects", {"name": "of the lab", "labels": []})[1]["organization_id"] == 1
    assert inside("GET", "/api/projects")[1]["count"] == 1
    assert Caller(server, "member", **{"X-Organization": ""})("GET", "/api/projects")[1]["count"] == 0
    assert Caller(server, "member")("GET", "/api/projects")[1]["count"] == 1
    assert Caller(server, "member")("GET", "/api/projects?org=lab")[1]["count"] == 1
    assert Caller(server, "stranger", **{"X-Organization": "lab"})("GET", "/api/projects")[0] == 403
    assert Caller(server, "member", **{"X-Organization": "none"})("GET", "/api/projects")[0] == 404


def test_tokens_end_when_a_test_says_so(server: CvatServer) -> None:
    call = Caller(server)
    assert call("GET", "/api/users/self")[0] == 200
    server.add_user("other")
    server.revoke_tokens("other")
    assert call("GET", "/api/users/self")[0] == 200
    server.revoke_tokens()
    assert call("GET", "/api/users/self")[0] == 401


def test_anonymous_requests_are_limited_when_asked_for(server: CvatServer) -> None:
    call = Caller(server)
    call.headers = {}
    server.anonymous_limit = 2
    assert [call("GET", "/api/server/about")[0] for _ in range(3)] == [200, 200, 429]
    assert Caller(server)("GET", "/api/server/about")[0] == 200
    server.anonymous_limit = None
    assert call("GET", "/api/server/about")[0] == 200


def test_a_snapshot_brings_everything_back(server: CvatServer, clip: Path) -> None:
    task = video_task(server, clip)
    (job,) = server.jobs()
    call = Caller(server)
    call("PUT", f"/api/jobs/{job['id']}/annotations", {"tracks": [track(server, 0, 9)]})
    before, snapshot = server.annotations(job["id"]), server.snapshot()
    call("DELETE", f"/api/tasks/{task['id']}")
    assert server.jobs() == []
    server.restore(snapshot)
    assert server.annotations(job["id"]) == before
    # Ids are given again, as if what followed had never been.
    assert call("POST", "/api/tasks", {"name": "n", "labels": [CAR]})[1]["id"] == task["id"] + 1
    assert call("GET", f"/api/tasks/{task['id']}/data?type=frame&number=3&quality=original")[0] == 200
    server.reset()
    assert (server.projects(), server.tasks(), server.log) == ([], [], [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_can_get_lost(server: CvatServer, when: str) -> None:
    call = Caller(server)
    server.faults.add("drop", method="POST", path="^/api/projects", after=1, when=when, bytes=5)
    assert call("POST", "/api/projects", {"name": "first", "labels": []})[0] == 201
    with pytest.raises((OSError, HTTPException)):
        call("POST", "/api/projects", {"name": "lost", "labels": []})
    assert [project["name"] for project in server.projects()] == ["first", "lost"][: 1 + (when == "after")]
    assert server.log[-1].status is None
    assert call("POST", "/api/projects", {"name": "third", "labels": []})[0] == 201


def test_errors_and_slowness_can_be_asked_for(server: CvatServer) -> None:
    call = Caller(server)
    server.faults.add("status", status=503, retry_after=1, times=2)
    assert [call("GET", "/api/users/self")[0] for _ in range(3)] == [503, 503, 200]
    server.faults.add("status", status=502, when="after", method="POST")
    assert call("POST", "/api/projects", {"name": "made", "labels": []})[0] == 502
    assert len(server.projects()) == 1
    server.faults.add("slow", seconds=0.5, path="/users/self")
    arrived = threading.Event()
    server.hook = lambda method, path: arrived.set()
    slow = threading.Thread(target=call, args=("GET", "/api/users/self"))
    slow.start()
    arrived.wait(10)
    assert call("GET", "/api/projects")[0] == 200  # others are served meanwhile
    assert slow.is_alive()
    slow.join()


def test_a_hook_sees_each_request_before_it_is_handled(server: CvatServer) -> None:
    seen: list[tuple[str, str, int]] = []
    server.hook = lambda method, path: seen.append((method, path, len(server.projects())))
    Caller(server)("POST", "/api/projects?org=", {"name": "p", "labels": []})
    assert seen == [("POST", "/api/projects?org=", 0)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_client_leaves_the_server_alone(server: CvatServer, clip: Path) -> None:
    task = video_task(server, clip)
    child = os.fork()
    if child == 0:
        server.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert Caller(server)("GET", f"/api/tasks/{task['id']}/data?type=frame&number=0&quality=original")[0] == 200


def test_background_requests_take_as_many_polls_as_asked_for(server: CvatServer, clip: Path, tmp_path: Path) -> None:
    server.busy_polls = 2
    task = video_task(server, clip)
    path = f"/api/requests/action=create&target=task&target_id={task['id']}"
    assert server.jobs() == []
    assert [Caller(server)("GET", path)[1]["status"] for _ in range(3)] == ["started", "started", "finished"]
    assert len(server.jobs()) == 1


def test_media_can_come_from_a_cloud_storage(server: CvatServer, clip: Path) -> None:
    call = Caller(server)
    storage = server.add_cloud_storage("bucket", clip.parent)
    _, task = call("POST", "/api/tasks", {"name": "t", "labels": [CAR]})
    body = {"image_quality": 70, "server_files": [clip.name], "cloud_storage_id": storage}
    call("POST", f"/api/tasks/{task['id']}/data", body)
    _, meta = call("GET", f"/api/tasks/{task['id']}/data/meta")
    assert (meta["size"], meta["storage"], meta["cloud_storage_id"]) == (20, "cloud_storage", storage)
    _, other = call("POST", "/api/tasks", {"name": "t", "labels": [CAR]})
    call("POST", f"/api/tasks/{other['id']}/data", {**body, "server_files": ["no such file"]})
    _, rq = call("GET", f"/api/requests/action=create&target=task&target_id={other['id']}")
    assert rq["status"] == "failed"


def test_jobs_changed_since_a_date_can_be_asked_for(server: CvatServer, clip: Path) -> None:
    video_task(server, clip, segment_size=8)
    jobs = server.jobs()
    assert [(job["start_frame"], job["stop_frame"]) for job in jobs] == [(0, 7), (4, 11), (8, 15), (12, 19)]
    last = max(job["updated_date"] for job in jobs)
    call = Caller(server)
    call("PATCH", f"/api/jobs/{jobs[1]['id']}/annotations?action=create", {"tracks": [track(server, 5)]})
    rule = json.dumps({"and": [{">": [{"var": "updated_date"}, last]}, {"==": [{"var": "project_id"}, 1]}]})
    _, page = call("GET", "/api/jobs?filter=" + urllib.request.quote(rule))
    assert [job["id"] for job in page["results"]] == [jobs[1]["id"]]
    _, page = call("GET", "/api/jobs?page_size=3&page=2&sort=id")
    assert ([job["id"] for job in page["results"]], page["count"]) == ([jobs[3]["id"]], 4)
    assert "page_size=3" in page["previous"]


def test_a_bad_write_to_several_jobs_is_taken_back_as_a_whole(server: CvatServer, clip: Path) -> None:
    task = video_task(server, clip, segment_size=10, overlap=0)
    call = Caller(server)
    _, written = call("PUT", f"/api/tasks/{task['id']}/annotations", {"tracks": [track(server, 0, 19)]})
    first, second = server.jobs()
    before = server.annotations(first["id"]), server.annotations(second["id"])
    assert [len(one["tracks"]) for one in before] == [1, 1]
    # The first job's track could be updated; the same keyframe's id in the second job cannot be used again.
    sent = track(server, 0, 19)
    sent["id"] = written["tracks"][0]["id"]
    sent["shapes"][1]["id"] = before[0]["tracks"][0]["shapes"][0]["id"]
    assert call("PATCH", f"/api/tasks/{task['id']}/annotations?action=update", {"tracks": [sent]})[0] == 400
    assert (server.annotations(first["id"]), server.annotations(second["id"])) == before


def test_twenty_thousand_keyframes_are_written_and_read_in_a_moment(server: CvatServer, clip: Path) -> None:
    video_task(server, clip)
    (job,) = server.jobs()
    body = {"tracks": [track(server, *range(1000), uid=str(number)) for number in range(20)]}
    call, path = Caller(server), f"/api/jobs/{job['id']}/annotations"
    began = time.monotonic()
    assert call("PUT", path, body)[0] == 200
    _, read = call("GET", path)
    assert sum(len(one["shapes"]) for one in read["tracks"]) == 20_000
    assert time.monotonic() - began < 30  # about half a second on an idle machine


def test_it_can_be_of_another_version(clip: Path) -> None:
    with CvatServer(version="1.7.0") as server:
        assert Caller(server)("GET", "/api/server/about")[1]["version"] == "1.7.0"
