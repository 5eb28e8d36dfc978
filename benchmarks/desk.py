"""The round trip with CVAT against FiftyOne's own integration, in one run; what a second one sends; many tasks.

    OMP_NUM_THREADS=1 python benchmarks/desk.py --out docs/benchmarks/desk.md

One video with tracks as labelling writes them: smooth courses with a little noise, and gaps. Both ways start from the
same dataset and the same file, and take turns; every turn begins with a new dataset. The server is the stand-in of the
tests, in a process of its own, or, where CVAT_URL, CVAT_USERNAME and CVAT_PASSWORD are set, a real one, on which nothing
is left. Each number of tasks is measured in a process of its own, as the peak of memory never falls.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reporting import command_line, publish, start, table

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # for the stand-in server and the reviewer

WIDTH, HEIGHT, RATE = 640, 360, 25.0
CLASSES = ("person", "car")
TARGET = 0.5  # of the time of FiftyOne's own integration
MANY_FRAMES, MANY_TRACKS = 50, 5  # of each of many videos
MIB = 2**20
# FiftyOne's own integration is given the least to do: a field, its classes, and nothing that is said of a box.
FIELD = "frames.spam_tracks"
SCHEMA = {FIELD: {"type": "detections", "classes": list(CLASSES), "attributes": {}}}
Step = tuple[float, float]  # seconds by the clock, and of this process's processor time


@dataclass(frozen=True)
class Place:
    """A server and who we are there.

    ``ask`` gives the requests since it was called last, as (method, path, bytes sent, bytes received), or None.
    """

    url: str
    username: str
    password: str
    version: str
    ask: Callable[[], list[tuple[str, str, int, int]] | None] = lambda: None

    @property
    def login(self) -> dict[str, str]:
        return {"url": self.url, "username": self.username, "password": self.password}

    def reviewer(self) -> Any:
        from cvat_reviewer import Api

        return Api(**self.login)

    def link(self, dataset: Any) -> Any:
        from spam_plugin.integrations.cvat.client import Access
        from spam_plugin.integrations.cvat.sync import Link

        return Link(dataset, access=Access(self.url, username=self.username, password=self.password))


def main() -> None:
    parser = command_line(__doc__, data=False)
    parser.add_argument("--frames", type=int, default=1000, metavar="N", help="of the video (default: 1000)")
    parser.add_argument("--tracks", type=int, default=20, metavar="N", help="in the video (default: 20)")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of each way (default: 3)")
    parser.add_argument("--long", type=int, default=20_000, metavar="N", help="frames of a long video; 0 for none")
    parser.add_argument(
        "--tasks", type=int, nargs="*", default=[20, 100, 200], metavar="N", help="how many (default: 20 100 200)"
    )
    args = parser.parse_args()
    with database(), server() as place:
        folder = Path(tempfile.mkdtemp(prefix="spam-plugin-desk-"))
        try:
            parts, numbers = measure(args, place, folder)
        finally:
            shutil.rmtree(folder)
    publish(args, "The review desk", parts, numbers)


def measure(args: Any, place: Place, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """All tables, and the numbers in them."""
    many = [in_a_process(many_tasks, place.login, str(folder), count) for count in args.tasks]
    turns = compare(place, film(folder, args.frames), args.frames, args.tracks, args.turns)
    long = again(place, film(folder, args.long), args.long, args.tracks) if args.long else None
    parts = [
        f"CVAT {place.version}; FiftyOne {fiftyone_version()}; {args.turns} turns each, medians. Seconds by the clock "
        "and, in brackets, of the client's own processor time, which leaves the server's and the database's out.",
        *peer_tables(turns, args.frames, args.tracks),
        *again_tables(turns["again"], args.frames, args.tracks),
        *(again_tables(long, args.long, args.tracks) if long else ()),
        *(many_tables(many) if many else ()),
    ]
    return parts, {"turns": turns, "long": long, "tasks": many}


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

    def ask() -> list[tuple[str, str, int, int]]:
        ours.send("log")
        return ours.recv()

    yield Place(url, username, password, "stand-in of the tests", ask)
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
    place = Place(os.environ["CVAT_URL"].rstrip("/"), os.environ["CVAT_USERNAME"], os.environ["CVAT_PASSWORD"], "")
    api = place.reviewer()
    version = api.send("GET", "/api/server/about")["version"]

    def projects() -> set[int]:
        return {one["id"] for one in api.send("GET", "/api/projects?page_size=1000")["results"]}

    before = projects()
    try:
        yield Place(place.url, place.username, place.password, version)
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


# --- one video, both ways


def compare(place: Place, file: Path, frames: int, tracks: int, turns: int) -> dict[str, Any]:
    """Seconds of every step of both ways, turn by turn."""
    for way in (our_turn, their_turn):  # the first time costs imports and indexes
        way(place, film(file.parent, 30), 30, 2, "warm")
    steps: dict[str, list[Step]] = defaultdict(list)
    sent: dict[str, int] = {}
    for turn in range(turns):
        for name, way in (("ours", our_turn), ("theirs", their_turn))[:: 1 if turn % 2 else -1]:
            found, sent[name] = way(place, file, frames, tracks, f"turn{turn}")
            for step, took in found.items():
                steps[f"{name} {step}"].append(took)
            print(f"turn {turn + 1}, {name}: {found}", file=sys.stderr)
    return {"steps": dict(steps), "keyframes": sent, "again": again(place, file, frames, tracks)}


def our_turn(place: Place, file: Path, frames: int, tracks: int, name: str) -> tuple[dict[str, Step], int]:
    """Push, pull of what nobody touched, and pull of what a person moved, by our sync."""
    from spam_plugin.engine.desk.context import SyncSettings
    from spam_plugin.integrations.cvat.sync import sync

    dataset = new_dataset([file], frames, tracks)
    link, api = place.link(dataset), place.reviewer()
    known = {job["id"] for job in api.jobs()}
    steps = {"push": timed(lambda: sync(link, SyncSettings(windows="all", pull=False)))}
    jobs = [job["id"] for job in api.jobs() if job["id"] not in known]
    keyframes = sum(len(track["shapes"]) for job in jobs for track in api.tracks(job))
    for job in jobs:
        api.job(job, state="completed")
    steps["pull"] = timed(lambda: sync(link, SyncSettings(push=False)))
    for job in jobs:
        move_all(api, job)
    steps["pull moved"] = timed(lambda: sync(link, SyncSettings(push=False)))
    check_moved(dataset, frames, tracks)
    dataset.delete()
    return steps, keyframes


def their_turn(place: Place, file: Path, frames: int, tracks: int, name: str) -> tuple[dict[str, Step], int]:
    """The same by FiftyOne's own integration."""
    dataset = new_dataset([file], frames, tracks)
    api = place.reviewer()
    known = {job["id"] for job in api.jobs()}
    steps = {
        "push": timed(
            lambda: dataset.annotate(
                "key", backend="cvat", label_field=FIELD, label_schema=SCHEMA, project_name=f"peer {dataset.name}",
                launch_editor=False, **place.login,
            )
        )
    }  # fmt: skip
    jobs = [job["id"] for job in api.jobs() if job["id"] not in known]
    keyframes = sum(len(track["shapes"]) for job in jobs for track in api.tracks(job))
    steps["pull"] = timed(lambda: dataset.load_annotations("key", **place.login))
    for job in jobs:
        move_all(api, job)
    steps["pull moved"] = timed(lambda: dataset.load_annotations("key", **place.login))
    check_moved(dataset, frames, tracks)
    dataset.delete()
    return steps, keyframes


def timed(work: Callable[[], object]) -> Step:
    """Seconds by the clock and of this process's processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def move_all(api: Any, job: int) -> None:
    """A person moves every box of a job by ten pixels."""
    tracks = api.tracks(job)
    for track in tracks:
        for shape in track["shapes"]:
            shape["points"] = [x + 10 for x in shape["points"]]
    if tracks:
        api.change(job, "update", tracks)


def check_moved(dataset: Any, frames: int, tracks: int) -> None:
    """Makes sure that what was timed was done: all boxes are there, and where they were moved to."""
    from spam_plugin.integrations.fiftyone_.raw import frame_documents

    frame, _, xyxy = scene(frames, tracks)
    found = frame_documents(dataset, dataset.first().id, "spam_tracks", ["bounding_box"])
    left = [box["bounding_box"][0] * WIDTH for _, boxes in found for box in boxes]
    off = abs(np.mean(left) - xyxy[:, 0].mean() - 10)
    if len(left) != len(frame) or off > 1:
        raise RuntimeError(f"{len(left)} boxes of {len(frame)} came back, {off:.2f} px off on the mean")
