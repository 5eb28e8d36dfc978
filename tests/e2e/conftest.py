"""The App as ``spam-plugin app`` starts it, on a dataset of rendered videos, with the stand-in CVAT server behind it.

Every test has a dataset, an App and a browser profile of its own: the App's server keeps what is open.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from browser import AppPage, browser
from cvat_server import CvatServer

if TYPE_CHECKING:
    import fiftyone as fo

FAILED = pytest.StashKey[bool]()
ROOT = Path(__file__).resolve().parents[2]
PICTURES = Path(os.environ.get("SPAM_TEST_PICTURES", ROOT / "out" / "e2e"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes that a test has failed, so that what the browser shows then is kept."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(scope="session")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two short rendered sequences with a simulated detector's boxes and their truth."""
    from spam_plugin.integrations.mot.rendered import Recording, write_rendered
    from spam_plugin.models.synthetic.render import RenderSettings

    folder = tmp_path_factory.mktemp("sequences")
    street = RenderSettings("street", 60, num_objects=9, width=480, height=270)
    road = RenderSettings("road", 60, frame_rate=10.0, scene="road", num_objects=8, width=480, height=270)
    write_rendered([Recording(street, seed=5), Recording(road, seed=6)], folder)
    return folder


@pytest.fixture
def dataset(sequences: Path, tmp_path: Path) -> Iterator[fo.Dataset]:
    """These as a dataset of videos that a browser plays, with candidates and truth, not labelled yet."""
    import fiftyone as fo

    from spam_plugin.integrations.mot.importing import import_mot

    name = "streets"
    import_mot(sequences, name, media_dir=tmp_path / "videos")
    yield fo.load_dataset(name)
    if fo.dataset_exists(name):
        fo.delete_dataset(name)


@pytest.fixture
def cvat() -> Iterator[CvatServer]:
    """A stand-in CVAT server."""
    with CvatServer() as server:
        yield server


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def spam_plugin_app(dataset: str, home: Path, *more: str, **environment: str) -> Iterator[SimpleNamespace]:
    """``spam-plugin app DATASET`` as a process, until the block ends; its ``url``, and what it says in ``log``."""
    log = home / "app.log"
    command = [
        sys.executable, "-c", "from spam_plugin.plugin.cli import main; main()", "app", dataset,
        "--port", str(free_port()), "--no-browser", "--json", *more,
    ]  # fmt: skip
    environment = {**os.environ, "XDG_CACHE_HOME": str(home / "cache"), **environment}
    with log.open("w") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment,
            # a shell that starts the tests in the background has told them to ignore it
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
    try:
        line = process.stdout.readline() if process.stdout else ""
        assert line, f"the App did not start:\n{log.read_text()}"
        yield SimpleNamespace(**json.loads(line), log=log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def open_app(
    dataset: fo.Dataset, cvat: CvatServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., AppPage]]:
    """A function that starts the App on the dataset and opens it in a browser; both end with the test."""
    with ExitStack() as ends:

        def start(*more: str, **environment: str) -> AppPage:
            access = {"CVAT_URL": cvat.url, "CVAT_USERNAME": cvat.username, "CVAT_PASSWORD": cvat.password}
            app = ends.enter_context(spam_plugin_app(dataset.name, tmp_path, *more, **access, **environment))
            pictures = PICTURES / request.node.name
            opened.append(ends.enter_context(browser(app.url, dataset.name, pictures, tmp_path)))
            return opened[-1]

        opened: list[AppPage] = []
        yield start
        if request.node.stash.get(FAILED, False):
            for app in opened:
                app.picture("failed")
