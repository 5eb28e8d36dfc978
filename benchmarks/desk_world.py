"""What the benchmark of the round trip with CVAT happens in: a server, a database, videos with tracks, and people."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # for the stand-in server and the reviewer

WIDTH, HEIGHT, RATE = 640, 360, 25.0
CLASSES = ("person", "car")
Request = tuple[str, str, int, int]  # method, path, bytes sent and bytes received


@dataclass(frozen=True)
class Place:
    """A server and who we are there.

    ``ask`` gives the requests since it was called last, or None where nobody counts them.
    """

    url: str
    username: str
    password: str
    version: str = ""
    ask: Callable[[], list[Request] | None] = lambda: None

    @property
    def login(self) -> dict[str, str]:
        """What others log in with."""
        return {"url": self.url, "username": self.username, "password": self.password}

    def reviewer(self) -> Any:
        """A person who works there."""
        from cvat_reviewer import Api

        return Api(**self.login)

    def link(self, dataset: Any) -> Any:
        """What our sync is told."""
        from spam_plugin.integrations.cvat.client import Access
        from spam_plugin.integrations.cvat.sync import Link

        return Link(dataset, access=Access(self.url, username=self.username, password=self.password))


# --- the server and the database


@contextmanager
def database() -> Iterator[None]:
    """A database of its own for FiftyOne, and no user's dataset in reach."""
    folder = tempfile.mkdtemp()
    # Registered before FiftyOne registers the end of its database, hence run after it.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(
        FIFTYONE_DATABASE_DIR=folder, FIFTYONE_DATABASE_NAME=f"spam_plugin_benchmark_{os.getpid()}",
        FIFTYONE_DO_NOT_TRACK="true", FIFTYONE_DATABASE_VALIDATION="false", FIFTYONE_SHOW_PROGRESS_BARS="false",
        FIFTYONE_LOGGING_LEVEL="ERROR",
    )  # fmt: skip
    import fiftyone.core.odm as foo

    try:
        yield
    finally:
        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])


@contextmanager
def server() -> Iterator[Place]:
    """The real server that is named, or the stand-in."""
    if os.environ.get("CVAT_URL"):
        with real_server() as place:
            yield place
        return
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    url, username, password = ours.recv()

    def ask() -> list[Request]:
        ours.send("log")
        return ours.recv()

    yield Place(url, username, password, "the tests' stand-in", ask)
    ours.send("end")
    process.join()


def serve(pipe: Any) -> None:
    """The stand-in server, in a process of its own."""
    from cvat_server import CvatServer

    with CvatServer() as server:
        pipe.send((server.url, server.username, server.password))
        while pipe.recv() == "log":
            pipe.send([(one.method, one.path, one.bytes_in, one.bytes_out) for one in server.log])
            server.clear_log()


@contextmanager
def real_server() -> Iterator[Place]:
    """The server that CVAT_URL names; the projects that are made there are deleted at the end."""
    place = Place(os.environ["CVAT_URL"].rstrip("/"), os.environ["CVAT_USERNAME"], os.environ["CVAT_PASSWORD"])
    api = place.reviewer()
    version = api.send("GET", "/api/server/about")["version"]

    def projects() -> set[int]:
        return {one["id"] for one in api.send("GET", "/api/projects?page_size=1000")["results"]}

    before = projects()
    try:
        yield Place(place.url, place.username, place.password, f"CVAT {version}")
    finally:
        for project in projects() - before:
            api.send("DELETE", f"/api/projects/{project}")


# --- what is sent


def film(folder: Path, frames: int) -> Path:
    """A video of so many frames."""
    import cv2

    path = folder / f"film{frames}.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
    picture = cv2.resize(picture, (WIDTH, HEIGHT))
    for frame in range(frames):
        writer.write(np.roll(picture, frame, 1))
    writer.release()
    return path


def scene(frames: int, tracks: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) frame, (N,) track and (N, 4) boxes of tracks as labelling gives them, sorted by frame.

    Objects swing and breathe over the whole video; a little noise is left of that of detections; each is away for a
    while about every 400 frames.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None]
    course = np.zeros((frames, tracks, 4))  # middle x and y, width, height
    for column, (middle, reach) in enumerate(((WIDTH / 2, 180), (HEIGHT / 2, 90), (60, 12), (90, 15))):
        course[..., column] = middle
        for waves in (1, 3):
            period, phase = rng.uniform(150, 600, tracks) / waves, rng.uniform(0, 2 * np.pi, tracks)
            course[..., column] += reach / waves / 1.4 * np.sin(2 * np.pi * time / period + phase)
    noise = rng.normal(0, 0.3, course.shape)
    noise[1:-1] = (noise[:-2] + noise[1:-1] + noise[2:]) / 3
    course += noise
    here = np.ones((frames, tracks), bool)
    for track in range(tracks):
        for _ in range(round(frames / 400)):
            first = int(rng.integers(0, frames))
            here[first : first + int(rng.integers(3, 30)), track] = False
    frame, track = np.nonzero(here)
    middle, size = course[frame, track, :2], course[frame, track, 2:]
    return frame, track, np.concatenate([middle - size / 2, middle + size / 2], 1)


def new_dataset(files: Sequence[Path], frames: int, tracks: int) -> Any:
    """A dataset of videos with a scene each."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.fields import OutputFields, declare

    dataset = fo.Dataset()
    dataset.media_type = "video"
    metadata = {"total_frame_count": frames, "frame_width": WIDTH, "frame_height": HEIGHT, "frame_rate": RATE}
    dataset.add_samples([fo.Sample(filepath=str(file), metadata=fo.VideoMetadata(**metadata)) for file in files])
    declare(dataset, "frames.", OutputFields())
    for seed in range(len(files)):
        write_scene(dataset, seed, scene(frames, tracks, seed))
    dataset.reload()
    return dataset


def write_scene(dataset: Any, place: int, boxes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Writes tracks into a video of the dataset as labelling does."""
    from spam_plugin.integrations.fiftyone_.columns import write_tracks
    from spam_plugin.integrations.fiftyone_.videos import open_videos
    from spam_plugin.models.columns import Source, Tracks

    frame, track, xyxy = boxes
    count, number = len(frame), int(track.max()) + 1
    share = np.full(count, 0.25, np.float32)
    tracks = Tracks(
        frame, xyxy.astype(np.float32), track, np.where(track < number // 2, 0, 1), 1 - share, share, share,
        np.full(count, Source.MODEL, np.uint8), np.zeros(count, bool), np.arange(count),
        np.ones(number, np.float32), np.zeros(number, np.float32),
    )  # fmt: skip
    video = open_videos(dataset)[place]
    write_tracks(video, "spam_tracks", tracks, CLASSES, WIDTH, HEIGHT, range(1, number + 1), video.key, {})


# --- people


def finish(api: Any, jobs: Sequence[int]) -> None:
    """A person says of jobs that they are done."""
    for job in jobs:
        api.job(job, state="completed")


def move_all(api: Any, jobs: Sequence[int]) -> None:
    """A person moves every box of some jobs by ten pixels."""
    for job in jobs:
        tracks = api.tracks(job)
        for track in tracks:
            for shape in track["shapes"]:
                shape["points"] = [x + 10 for x in shape["points"]]
        if tracks:
            api.change(job, "update", tracks)


def check_moved(dataset: Any, frames: int, tracks: int) -> None:
    """Makes sure that what was timed was done: all boxes are there, and where they were moved to."""
    from spam_plugin.integrations.fiftyone_.raw import frame_documents

    for seed, sample in enumerate(dataset.values("id")):
        frame, _, xyxy = scene(frames, tracks, seed)
        found = frame_documents(dataset, sample, "spam_tracks", ["bounding_box"])
        left = [box["bounding_box"][0] * WIDTH for _, boxes in found for box in boxes]
        off = abs(np.mean(left) - xyxy[:, 0].mean() - 10)
        if len(left) != len(frame) or off > 3:  # the straight lines between keyframes are what was moved
            raise RuntimeError(f"{len(left)} boxes of {len(frame)} came back, {off:.2f} px off on the mean")
