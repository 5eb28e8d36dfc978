"""What every test shares: a FiftyOne of its own, away from the user's datasets, and the real sequences where they are.

The settings are made before any test can import FiftyOne, which reads them once. They are environment variables, so
that the command lines which tests start as processes see them too.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from spam_plugin.models.spam import SpamModel

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(tempfile.mkdtemp(prefix="spam-plugin-tests-"))

# No test may fail because a machine is slow. CI draws the same examples every time; by hand they are new ones.
hypothesis.settings.register_profile(
    "house",
    deadline=None,
    print_blob=True,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("house")


def pytest_configure() -> None:
    """Point FiftyOne at a database and folders that are ours alone."""
    for name in [name for name in os.environ if name.startswith("FIFTYONE_") and name != "FIFTYONE_DATABASE_URI"]:
        del os.environ[name]
    os.environ.update(
        FIFTYONE_DATABASE_NAME=f"spam_plugin_tests_{os.getpid()}",
        FIFTYONE_DATABASE_DIR=str(HOME / "embedded"),
        FIFTYONE_DATABASE_VALIDATION="false",
        FIFTYONE_CONFIG_PATH=str(HOME / "no-config.json"),
        FIFTYONE_APP_CONFIG_PATH=str(HOME / "no-app-config.json"),
        FIFTYONE_DEFAULT_DATASET_DIR=str(HOME / "datasets"),
        FIFTYONE_PLUGINS_DIR=str(HOME / "plugins"),
        FIFTYONE_DO_NOT_TRACK="true",
        FIFTYONE_SHOW_PROGRESS_BARS="false",
        MPLBACKEND="Agg",
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # FiftyOne attaches to any database service that the same user already runs, whatever directory was asked for; with
    # a server of our own it cannot. On a server that the user names, our own database name keeps us apart.
    if not os.environ.get("FIFTYONE_DATABASE_URI"):
        _start_mongod()
    atexit.register(shutil.rmtree, HOME, ignore_errors=True)


def _start_mongod() -> None:
    """Start FiftyOne's MongoDB on a free port; it ends with this process, however that ends."""
    fiftyone = importlib.util.find_spec("fiftyone")
    if fiftyone is None or not fiftyone.submodule_search_locations:
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (HOME / "mongo").mkdir()
    mongod = subprocess.Popen(
        [
            *(Path(fiftyone.submodule_search_locations[0]) / "db" / "bin" / "mongod", "--nounixsocket", "--quiet"),
            *("--dbpath", HOME / "mongo", "--logpath", HOME / "mongod.log", "--wiredTigerCacheSizeGB", "0.5"),
            *("--bind_ip", "127.0.0.1", "--port", str(port)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_the_parent if sys.platform == "linux" else None,
    )
    atexit.register(_stop, mongod)
    os.environ["FIFTYONE_DATABASE_URI"] = f"mongodb://127.0.0.1:{port}"


def _die_with_the_parent() -> None:
    set_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _stop(mongod: subprocess.Popen[bytes]) -> None:
    mongod.kill()
    mongod.wait()


@pytest.fixture(scope="session", autouse=True)
def _drop_the_test_database() -> Iterator[None]:
    """On a server of the user's choice nothing may stay behind."""
    yield
    if "fiftyone" in sys.modules:
        import fiftyone.core.odm as foo

        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real sequences: ``$SPAM_SHARED/data``, or ``data`` in the folder ``shared`` beside the project."""
    root = Path(os.environ.get("SPAM_SHARED") or ROOT.parent / "shared")
    if not (root / "data").is_dir():
        pytest.skip(f"needs the real sequences: no folder {root / 'data'} (set SPAM_SHARED)")
    return root / "data"


@pytest.fixture(scope="session")
def model() -> SpamModel:
    """The default weights, on one thread; imported only where a test asks for them, as it takes seconds."""
    import torch

    from spam_plugin.models.spam import SpamModel

    torch.set_num_threads(1)
    return SpamModel.load()
