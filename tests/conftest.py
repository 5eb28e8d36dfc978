"""What every test shares: a FiftyOne of its own, away from the user's datasets, and the real sequences where they are.

The settings below are made when pytest loads this file, before any test can import FiftyOne, which reads them once.
They are environment variables, so that the command lines which tests start as processes see them too.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

_HOME = Path(tempfile.mkdtemp(prefix="spam-plugin-tests-"))
# Registered before FiftyOne registers the end of its database, hence run after it.
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

os.environ.update(
    # A directory of its own gets a mongod of its own; with FIFTYONE_DATABASE_URI set, the name alone keeps us apart.
    FIFTYONE_DATABASE_DIR=str(_HOME / "mongo"),
    FIFTYONE_DATABASE_NAME=f"spam_plugin_tests_{os.getpid()}",
    FIFTYONE_DATABASE_VALIDATION="false",
    FIFTYONE_CONFIG_PATH=str(_HOME / "no-config.json"),
    FIFTYONE_APP_CONFIG_PATH=str(_HOME / "no-app-config.json"),
    FIFTYONE_DEFAULT_DATASET_DIR=str(_HOME / "datasets"),
    FIFTYONE_PLUGINS_DIR=str(_HOME / "plugins"),
    FIFTYONE_DO_NOT_TRACK="true",
    FIFTYONE_SHOW_PROGRESS_BARS="false",
    MPLBACKEND="Agg",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _drop_the_test_database() -> Iterator[None]:
    """On a server of the user's own choice nothing may stay behind."""
    yield
    if os.environ.get("FIFTYONE_DATABASE_URI"):
        import fiftyone.core.odm as foo

        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real sequences: ``$SPAM_SHARED/data``, or ``data`` in the folder ``shared`` beside the project."""
    root = Path(os.environ.get("SPAM_SHARED") or ROOT.parent / "shared")
    if not (root / "data").is_dir():
        pytest.skip(f"needs the real sequences: no folder {root / 'data'} (set SPAM_SHARED)")
    return root / "data"
