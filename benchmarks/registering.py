"""What the plugin adds to a request to the App: FiftyOne registers all plugins again at each, unless it keeps them.

    python benchmarks/registering.py [--rounds 60]

Four servers of the App run at once, on one dataset with tracks: without a plugin, and with ours as ``spam-plugin app``
links it; each with FiftyOne's cache of plugins off, which is FiftyOne's default, and on, as ``spam-plugin app`` has it.
They are asked in turn, so that whatever else the machine does meets all alike; medians count.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from reporting import command_line, publish, start, table

MOST = 200.0  # milliseconds that the plugin may add
VIDEOS, FRAMES, BOXES = 8, 60, 6
WARM = 5  # rounds that do not count

REQUESTS = {
    "list of operators": ("/operators", {}),
    "buttons of the toolbar": ("/operators/resolve-placements", {}),
    "running an operator of FiftyOne's": (
        "/operators/execute",
        {"operator_uri": "@voxel51/operators/list_saved_views", "params": {}},
    ),
    "form of ours (label tracks)": (
        "/operators/resolve-type",
        {"operator_uri": "@spam-plugin/spam/label_tracks", "params": {}, "target": "inputs"},
    ),
}
Server = tuple[bool, bool]  # with the plugin, with the cache


def main() -> None:
    parser = command_line(__doc__, data=False)
    parser.add_argument("--rounds", type=int, default=60, help="requests of each kind to each server")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    # Registered before FiftyOne registers the end of its database, hence run after it.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(
        FIFTYONE_DATABASE_DIR=str(folder / "db"),
        FIFTYONE_DATABASE_NAME=f"spam_plugin_benchmark_{os.getpid()}",
        FIFTYONE_DO_NOT_TRACK="true",
        FIFTYONE_DATABASE_VALIDATION="false",
        FIFTYONE_SHOW_PROGRESS_BARS="false",
    )
    milliseconds = measure(folder, args.rounds)
    numbers = [{"request": what, "plugin": plugin, "cache": cache, "milliseconds": times}
               for (what, (plugin, cache)), times in milliseconds.items()]  # fmt: skip
    publish(args, "Registering the plugin", parts(milliseconds, args.rounds), numbers)


def measure(folder: Path, rounds: int) -> dict[tuple[str, Server], list[float]]:
    """Milliseconds of each request to each server."""
    import fiftyone.core.odm as foo
    import requests

    name = new_dataset()
    times: dict[tuple[str, Server], list[float]] = defaultdict(list)
    try:
        with ExitStack() as ends:
            urls = {
                server: ends.enter_context(running(folder, *server))
                for server in ((False, False), (True, False), (False, True), (True, True))
            }
            order = [(what, server) for what in REQUESTS for server in urls if server[0] or "ours" not in what]
            session = requests.Session()
            for number in range(WARM + rounds):
                random.Random(number).shuffle(order)
                for what, server in order:
                    path, body = REQUESTS[what]
                    begin = time.perf_counter()
                    answer = session.post(urls[server] + path, json={"dataset_name": name, "view": [], **body})
                    took = 1000 * (time.perf_counter() - begin)
                    answer.raise_for_status()
                    if number >= WARM:
                        times[what, server].append(took)
    finally:
        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])
    return times


def running(folder: Path, plugin: bool, cache: bool) -> Any:
    """A server of the App; gives its URL."""
    from contextlib import contextmanager

    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_ import app, linking

    plugins = folder / f"plugins-{plugin}"
    plugins.mkdir(exist_ok=True)
    fo.config.plugins_dir = str(plugins)
    if plugin:
        linking.link()
    os.environ["FIFTYONE_PLUGINS_CACHE_ENABLED"] = str(cache).lower()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    @contextmanager
    def url() -> Any:
        with app.running(app.Wanted(port=port, logs=folder / "logs")) as up:
            yield up.url

    return url()


def new_dataset() -> str:
    """A few videos with candidates, labelled."""
    import fiftyone as fo
    import numpy as np

    import spam_plugin

    dataset = fo.Dataset("registering", overwrite=True)
    generator = np.random.default_rng(0)
    for number in range(VIDEOS):
        sample = fo.Sample(f"/nowhere/{number}.mp4")
        sample.metadata = fo.VideoMetadata(
            total_frame_count=FRAMES, frame_width=640, frame_height=480, frame_rate=25.0, duration=FRAMES / 25
        )
        corners = generator.uniform(0.1, 0.6, (BOXES, 2))
        for frame in range(FRAMES):
            boxes = [[*(corner + 0.004 * frame).tolist(), 0.06, 0.12] for corner in corners]
            sample.frames[frame + 1] = fo.Frame(
                candidates=fo.Detections(
                    detections=[fo.Detection(label="person", bounding_box=box, confidence=0.9) for box in boxes]
                )
            )
        dataset.add_sample(sample)
    spam_plugin.label(dataset, "candidates", progress=False)
    return dataset.name


def parts(times: dict[tuple[str, Server], list[float]], rounds: int) -> list[str]:
    """The report."""
    rows, most = [], 0.0
    for what in REQUESTS:
        for cache in (False, True):
            ours, without = times[what, (True, cache)], times.get((what, (False, cache)))
            added = statistics.median(ours) - statistics.median(without) if without else None
            most = max(most, added or 0.0)
            rows.append(
                (
                    what, "on" if cache else "off", statistics.median(without) if without else None,
                    statistics.median(ours), statistics.quantiles(ours, n=20)[-1], added,
                )
            )  # fmt: skip
    head = ("request", "cache", "without, ms", "with, ms", "with, 95th percentile", "added, ms")
    return [
        " ".join((__doc__ or "").split("\n\n")[-1].replace("``", "`").split()),
        f"Medians of {rounds} requests of each kind to each server.",
        table(head, rows),
        f"At most {most:.0f} ms are added; allowed are {MOST:.0f}.",
    ]


if __name__ == "__main__":
    start(main)
