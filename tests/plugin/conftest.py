"""A small world for the commands that ask a person: one video whose labels leave something to ask.

FiftyOne is imported where it is used: pytest may load this file before the test database is set up.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spam_plugin.plugin import cli

WIDTH, HEIGHT, LENGTH = 640, 480, 40


def _truth(number):
    """One object in pixels: frame from 0 -> left, top, right, bottom."""
    if number == 1:
        return {t: (40 + 6 * t, 100, 100 + 6 * t, 190) for t in range(LENGTH)}
    if number == 2:
        return {t: (500 - 6 * t, 280, 540 - 6 * t, 400) for t in range(LENGTH)}
    return {t: (300 + 2 * t, 60, 330 + 2 * t, 140) for t in range(10, 34)}


def _candidates(number):
    """What a detector makes of it: a little beside, with holes; number 0 is something that is not there."""
    if number == 0:
        return {t: (20 + t, 400 - 3 * t, 70 + t, 450 - 3 * t) for t in range(5, 12)}
    beside = np.random.default_rng(number).normal(0, 1.5, (LENGTH, 2)).round(2)
    missed = {1: range(15, 24), 2: range(30, 33), 3: range(20, 34)}[number]
    return {
        t: (x + beside[t, 0], y + beside[t, 1], right + beside[t, 0], bottom + beside[t, 1])
        for t, (x, y, right, bottom) in _truth(number).items()
        if t not in missed
    }


def _document(box, index=None, by=0.0, **more):
    from spam_plugin.integrations.fiftyone_.raw import detection_dict

    left, top, right, bottom = box
    xywh = [(left + by) / WIDTH, (top + by) / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]
    return detection_dict("car", xywh, index, **more)


@pytest.fixture
def crossing():
    """A dataset of one video with ``candidates``, ``shifted`` (from another detector, beside) and ``ground_truth``."""
    dataset = _dataset()
    yield dataset
    dataset.delete()


@pytest.fixture(scope="module")
def untouched():
    """The same, for all tests of a file that leave it as it is."""
    dataset = _dataset()
    yield dataset
    dataset.delete()


def _dataset():
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, write_frame_labels

    dataset = fo.Dataset()
    dataset.media_type = "video"
    metadata = fo.VideoMetadata(total_frame_count=LENGTH, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=10.0)
    sample = fo.Sample(filepath="/nowhere/crossing.mp4", metadata=metadata)
    dataset.add_sample(sample)
    scores = {0: 0.35, 1: 0.9, 2: 0.8, 3: 0.5}
    fields = {
        "candidates": [(_candidates(n), {"confidence": score}) for n, score in scores.items()],
        "shifted": [(_candidates(n), {"confidence": score, "by": 3.0}) for n, score in scores.items()],
        "ground_truth": [(_truth(n), {"index": n}) for n in (1, 2, 3)],
    }
    for field, found in fields.items():
        declare_detections(dataset, f"frames.{field}")
        frames = {t + 1: [_document(own[t], **more) for own, more in found if t in own] for t in range(LENGTH)}
        write_frame_labels(dataset, sample.id, field, frames)
    return dataset


@pytest.fixture(scope="session")
def scene():
    """What tests need of the world by name, since they cannot import this file."""
    return SimpleNamespace(
        candidates=_candidates, truth=_truth, document=_document, width=WIDTH, height=HEIGHT, length=LENGTH
    )


@pytest.fixture
def spam(capsys):
    """Runs the command line; gives exit code, standard output and standard error."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            cli.main(["-q", *map(str, args)])
        told = capsys.readouterr()
        return stop.value.code, told.out, told.err

    return call


# --- a dataset and a CVAT server, for the commands that keep them the same


@pytest.fixture
def nobody(monkeypatch):
    """No credentials but those that a test sets with it."""
    for name in ("CVAT_URL", "CVAT_USERNAME", "CVAT_PASSWORD", "CVAT_TOKEN", "CVAT_ORG", "CVAT_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def run(capfd, nobody):
    """Runs the command line, whatever it prints by; gives exit code, standard output and standard error."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            cli.main(["-q", *map(str, args)])
        told = capfd.readouterr()
        return int(stop.value.code or 0), told.out, told.err

    return call


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A black video of four seconds."""
    import cv2
    from cvat_reviewer.data import HEIGHT, RATE, WIDTH

    path = tmp_path_factory.mktemp("media") / "street.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    for _ in range(LENGTH):
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    return path


@pytest.fixture
def server(nobody):
    """A server, whose administrator we are by a token: that leaves no trace there."""
    from cvat_server import CvatServer

    with CvatServer() as server:
        nobody.setenv("CVAT_URL", server.url)
        nobody.setenv("CVAT_TOKEN", server.token_for(server.username))
        yield server


@pytest.fixture
def api(server):
    """The administrator in a browser."""
    from cvat_reviewer import Api

    return Api(server.url, server.username, server.password)


@pytest.fixture
def street(video):
    """A dataset of one video with two tracks; ``add`` gives it another one."""
    import fiftyone as fo
    from cvat_reviewer.data import HEIGHT, RATE, WIDTH, straight, write_tracks

    dataset = fo.Dataset("street", persistent=True, overwrite=True)

    def add(path):
        sample = fo.Sample(str(path), sequence=path.name)
        sample.metadata = fo.VideoMetadata(
            total_frame_count=LENGTH, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=RATE
        )
        dataset.add_sample(sample)
        write_tracks(dataset, str(sample.id), [*straight(1, 0, 39), *straight(2, 5, 35, 120.0)])
        return str(sample.id)

    yield SimpleNamespace(dataset=dataset, video=add(video), add=add)
    dataset.delete()


@pytest.fixture
def everything(server, street):
    """All that is at the server, and all that is kept of the dataset, to be compared with itself."""

    def look():
        import fiftyone.core.odm as foo
        from bson import json_util

        from spam_plugin.integrations.fiftyone_.journal import SyncJournal

        database = foo.get_db_conn()
        collections = (street.dataset._sample_collection_name, street.dataset._frame_collection_name)
        documents = [json_util.dumps(list(database[name].find().sort("_id"))) for name in collections]
        about = database.datasets.find_one({"name": street.dataset.name})
        about = json_util.dumps({key: value for key, value in about.items() if not key.startswith("last_")})
        journal = SyncJournal(street.dataset, "spam_tracks")
        return server.snapshot(), documents, about, {key: journal.get(key) for key in journal.keys("")}

    return look
