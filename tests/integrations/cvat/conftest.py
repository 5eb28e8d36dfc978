"""A stand-in server, or the real one that CVAT_URL names, and small datasets to keep the same with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import HEIGHT, RATE, WIDTH, Boxes, access_to, write_tracks
from cvat_server import CvatServer

if TYPE_CHECKING:
    import fiftyone as fo
    from cvat_reviewer.session import Clock

    from spam_plugin.engine.desk.ports import JobState
    from spam_plugin.integrations.cvat.client import Access
    from spam_plugin.integrations.cvat.desk import CvatDesk
    from spam_plugin.integrations.cvat.sync import Link


class RealServer:
    """The server that ``make test-cvat`` runs the same tests against; what only a stand-in can do is skipped."""

    def __init__(self) -> None:
        self.url = os.environ["CVAT_URL"]
        self.username, self.password = os.environ["CVAT_USERNAME"], os.environ["CVAT_PASSWORD"]
        self.version = ""
        self._api = Api(self.url, self.username, self.password)
        self._before = self._projects()

    def _projects(self) -> set[int]:
        return {one["id"] for one in self._api.send("GET", "/api/projects?page_size=1000")["results"]}

    def clean_up(self) -> None:
        """Deletes what the test has made."""
        for project in self._projects() - self._before:
            self._api.send("DELETE", f"/api/projects/{project}")

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"a real server has no {name!r}; only the stand-in can be told so")


@pytest.fixture
def server() -> Iterator[CvatServer | RealServer]:
    """A stand-in server of its own for every test, or the real one under ``make test-cvat``."""
    if os.environ.get("SPAM_TEST_REAL_CVAT"):
        real = RealServer()
        yield real
        real.clean_up()
    else:
        with CvatServer() as server:
            yield server


@pytest.fixture
def access(server: CvatServer) -> Access:
    """The administrator of the stand-in server."""
    return access_to(server)


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A video of so many frames; made once."""
    made: dict[int, Path] = {}

    def make(frames: int) -> Path:
        import cv2

        if frames not in made:
            made[frames] = tmp_path_factory.mktemp("media") / f"video{frames}.mp4"
            writer = cv2.VideoWriter(str(made[frames]), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
            noise = np.random.default_rng(frames)
            for _ in range(frames):
                writer.write(noise.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
            writer.release()
        return made[frames]

    return make


@pytest.fixture
def make_dataset(make_video: Callable[[int], Path]) -> Iterator[Callable[..., fo.Dataset]]:
    """A dataset of videos with tracks in ``spam_tracks``; gone after the test."""
    import fiftyone as fo

    made: set[str] = set()

    def make(name: str, *videos: Boxes, frames: int = 90, **attributes: Any) -> fo.Dataset:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)
        dataset = fo.Dataset(name)
        made.add(name)
        for at, boxes in enumerate(videos):
            sample = fo.Sample(filepath=str(make_video(frames)), sequence=f"video {at + 1}")
            sample.metadata = fo.VideoMetadata(
                total_frame_count=frames, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=RATE
            )
            dataset.add_sample(sample)
            write_tracks(dataset, str(sample.id), boxes)
        return dataset

    yield make
    for name in made:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


@pytest.fixture
def make_link(access: Access) -> Callable[..., Link]:
    """What goes where: a dataset and the stand-in server."""
    from spam_plugin.integrations.cvat.sync import Link

    return lambda dataset, **more: Link(dataset, access=more.pop("access", access), **more)


@pytest.fixture
def clock() -> Clock:
    """What keeps the waits of a desk, and does not wait."""
    from cvat_reviewer.session import Clock

    return Clock()


@pytest.fixture
def desk(server: CvatServer, clock: Clock) -> Iterator[CvatDesk]:
    """A desk over the server, logged in as its administrator."""
    from cvat_reviewer.session import desk_of

    with desk_of(server, clock) as desk:
        yield desk


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Twelve images whose names say nothing of their order; the width of each says its place."""
    import cv2

    made = []
    for at in range(12):
        made.append(tmp_path_factory.mktemp("images") / f"{(at * 7) % 12}.png")
        cv2.imwrite(str(made[-1]), np.zeros((20, 40 + at, 3), np.uint8))
    return tuple(made)


@pytest.fixture
def job(desk: CvatDesk, images: tuple[Path, ...]) -> JobState:
    """The second of two jobs: frames 6 to 11."""
    from cvat_reviewer.session import CAR

    from spam_plugin.engine.desk.ports import Media

    project = desk.create_project("p", [CAR])
    desk.use_project(project)
    task = desk.create_task(project, "t", 6, 0)
    desk.upload(task, Media(images))
    return desk.jobs(project)[1]
