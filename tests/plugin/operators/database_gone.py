"""Labels two videos by the button; the database ends behind the first, and is there again for a second press.

Run as ``database_gone.py PLUGINS FOLDER``: it prints what was seen as JSON. A process of its own, since FiftyOne keeps
its connection to one database for as long as a process lives.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

PLUGINS, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])


class Database:
    """A MongoDB that can end and start again with what it held."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (FOLDER / "mongo").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; FiftyOne waits until it answers."""
        (package,) = importlib.util.find_spec("fiftyone").submodule_search_locations  # type: ignore[union-attr,misc]
        command = [
            Path(package) / "db" / "bin" / "mongod", "--nounixsocket", "--quiet", "--dbpath", FOLDER / "mongo",
            "--logpath", FOLDER / "mongod.log", "--bind_ip", "127.0.0.1", "--port", str(self.port),
            "--wiredTigerCacheSizeGB", "0.25",
        ]  # fmt: skip
        self._process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def end(self) -> None:
        """Ends it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()


def make_dataset() -> Any:
    """Two videos with one object each."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels

    dataset = fo.Dataset("gone", persistent=True)
    dataset.media_type = "video"
    declare_detections(dataset, "frames.candidates")
    for name in ("a", "b"):
        metadata = fo.VideoMetadata(total_frame_count=20, frame_width=640, frame_height=480, frame_rate=10.0)
        sample = fo.Sample(f"/nowhere/{name}.mp4", metadata=metadata)
        dataset.add_sample(sample)
        boxes = {t: [detection_dict("car", [0.2 + t / 100, 0.2, 0.2, 0.4], confidence=0.9)] for t in range(1, 21)}
        write_frame_labels(dataset, sample.id, "candidates", boxes)
    return dataset


def operators() -> Any:
    """``Ops`` of the tests beside this file."""
    path = Path(__file__).with_name("conftest.py")
    spec = importlib.util.spec_from_file_location("operators_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Ops()


def main() -> dict[str, Any]:
    """What was seen."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.store import FiftyOneStore

    fo.config.plugins_dir = str(PLUGINS)
    dataset, ops = make_dataset(), operators()
    told: dict[str, Any] = {}
    asked = ops.ctx("label_tracks", dataset, {}, target="inputs")
    assert asked.dataset is not None  # a form that was opened while the database was there
    usual = FiftyOneStore.record

    def record_and_end(self: Any, key: str, finished: Any) -> None:
        usual(self, key, finished)
        database.end()

    FiftyOneStore.record = record_and_end  # type: ignore[method-assign]
    told["said"] = ops.live("label_tracks", dataset).shown.said["said"]
    FiftyOneStore.record = usual  # type: ignore[method-assign]
    form = ops.get("label_tracks").resolve_type(asked, "inputs").to_json()
    told["form"] = [one["error_message"] for one in form["type"]["properties"].values() if one["invalid"]]
    told["has_button"] = ops.get("label_tracks").resolve_placement(asked) is not None
    database.start()
    dataset.reload()
    told["between"] = dataset.values("spam_model_version")
    told["result"] = ops.live("label_tracks", dataset).result
    dataset.reload()
    told["after"] = dataset.values("spam_model_version")
    told["boxes"] = dataset.count("frames.spam_tracks.detections")
    told["statuses"] = {key: dataset.get_run_info(key).config.status for key in dataset.list_runs()}
    return told


if __name__ == "__main__":
    database = Database()
    database.start()
    os.environ.update(
        FIFTYONE_DATABASE_URI=f"mongodb://127.0.0.1:{database.port}/?serverSelectionTimeoutMS=3000",
        FIFTYONE_DATABASE_NAME="gone", FIFTYONE_DATABASE_VALIDATION="false",
    )  # fmt: skip
    try:
        print(json.dumps(main()))
    finally:
        database.end()
