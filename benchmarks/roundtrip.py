"""What a round trip with CVAT costs: ours and FiftyOne's own integration, both against the stand-in server, in turns.

    python benchmarks/roundtrip.py --out docs/benchmarks/roundtrip.md

A video with smooth tracks; people move every box, and everything comes back. Seconds by the clock; the stand-in runs in
the same process and is counted for both.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from reporting import command_line, publish, start, table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
WIDTH, HEIGHT, RATE = 320, 240, 30
AIM = 0.5  # of the peer's time


def main() -> None:
    """Send, change, bring back, in turns; print."""
    parser = command_line(__doc__, data=False)
    parser.add_argument("--frames", type=int, default=1000, metavar="N", help="of the video (default: 1000)")
    parser.add_argument("--tracks", type=int, default=20, metavar="N", help="in it (default: 20)")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of each way (default: 3)")
    args = parser.parse_args()
    os.environ.update(FIFTYONE_DATABASE_VALIDATION="false", FIFTYONE_SHOW_PROGRESS_BARS="false")
    logging.disable(logging.INFO)
    rows = scene(args.frames, args.tracks)
    found: dict[str, list[dict[str, float]]] = {"spam-plugin": [], "FiftyOne": []}
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(Path(folder) / "video.mp4", args.frames)
        for turn in range(args.turns):
            found["spam-plugin"].append(ours(video, rows, args.frames))
            found["FiftyOne"].append(peer(video, rows, args.frames))
            print(f"turn {turn + 1}: {found['spam-plugin'][-1]} {found['FiftyOne'][-1]}", file=sys.stderr)
    middle = {name: {key: median(one[key] for one in all_) for key in all_[0]} for name, all_ in found.items()}
    lines = [[name, f"{of['push']:.2f}", f"{of['pull']:.2f}", f"{of['keyframes']:.0f}"] for name, of in middle.items()]
    shares = [middle["spam-plugin"][key] / middle["FiftyOne"][key] for key in ("push", "pull")]
    lines.append(["ratio", *(f"{share:.2f}" for share in shares), ""])
    again = middle["spam-plugin"]
    verdict = ["reached" if share <= AIM else "missed" for share in shares]
    words = [
        f"{args.frames} frames x {args.tracks} tracks, medians of {args.turns} turns.",
        table(["way", "push, s", "pull, s", "keyframes sent"], lines),
        f"Aim: at most {AIM:g} of the peer's: push **{verdict[0]}**, pull **{verdict[1]}**. A synchronisation with "
        f"nothing to do: {again['nothing']:.2f} s, {again['requests']:.0f} requests. With one track changed: "
        f"{again['one']:.2f} s, {again['sent']:.0f} updates sent.",
    ]
    publish(args, "Round trip", words, found)


def scene(frames: int, tracks: int) -> list[Any]:
    """Smooth tracks: (frame, number, class, xyxy)."""
    rng = np.random.default_rng(0)
    at = np.arange(frames) / RATE
    out = []
    for number in range(1, tracks + 1):
        x = np.clip(120 + 60 * np.sin(at * rng.uniform(0.3, 1) + number) + rng.normal(0, 0.1, frames), 0, 260)
        y = np.clip(90 + 50 * np.cos(at * rng.uniform(0.3, 1) + number), 0, 170)
        side = 40 + 5 * np.sin(at)
        out += [(f, number, "car", (x[f], y[f], x[f] + side[f], y[f] + 55)) for f in range(frames)]
    return out


def make_video(path: Path, frames: int) -> Path:
    """A video of black frames."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    for _ in range(frames):
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    return path


def make_dataset(video: Path, rows: list[Any], frames: int) -> Any:
    """A dataset of its own with the tracks."""
    import cvat_reviewer.data as data
    import fiftyone as fo

    dataset = fo.Dataset()
    sample = fo.Sample(str(video), sequence="video")
    sample.metadata = fo.VideoMetadata(
        total_frame_count=frames, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=RATE
    )
    dataset.add_sample(sample)
    data.write_tracks(dataset, str(sample.id), rows)
    return dataset


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def people_move_everything(server: Any) -> int:
    """Moves every box by five pixels and finishes all jobs; returns how many keyframes there were."""
    from cvat_reviewer import Api

    api = Api(server.url, server.username, server.password)
    count = 0
    for job in api.jobs():
        tracks = api.tracks(job["id"])
        for track in tracks:
            count += len(track["shapes"])
            for shape in track["shapes"]:
                shape["points"] = [x + 5 for x in shape["points"]]
        if tracks:
            api.change(job["id"], "update", tracks)
        api.job(job["id"], state="completed")
    return count


def ours(video: Path, rows: list[Any], frames: int) -> dict[str, float]:
    """One round trip of ours."""
    from cvat_reviewer.data import access_to, write_tracks
    from cvat_server import CvatServer

    from spam_plugin.engine.desk.context import SyncSettings
    from spam_plugin.integrations.cvat.sync import Link, sync

    dataset = make_dataset(video, rows, frames)
    try:
        with CvatServer() as server:
            link, settings = Link(dataset, access=access_to(server)), SyncSettings(windows="all")
            out = {"push": timed(lambda: sync(link, settings))}
            server.clear_log()
            out["nothing"] = timed(lambda: sync(link, settings))
            out["requests"] = len(server.log)
            changed = [(f, n, c, tuple(v + 9 for v in box) if n == 3 and f < 200 else box) for f, n, c, box in rows]
            write_tracks(dataset, str(dataset.first().id), changed)
            reports: list[Any] = []
            out["one"] = timed(lambda: reports.append(sync(link, settings)))
            out["sent"] = reports[0].counts.get("tracks updated", 0)
            out["keyframes"] = people_move_everything(server)
            out["pull"] = timed(lambda: sync(link, SyncSettings(windows="all", push=False)))
    finally:
        dataset.delete()
    return out


def peer(video: Path, rows: list[Any], frames: int) -> dict[str, float]:
    """One round trip of FiftyOne's own integration."""
    from cvat_server import CvatServer

    dataset = make_dataset(video, rows, frames)
    try:
        with CvatServer() as server:
            who = {"url": server.url, "username": server.username, "password": server.password}
            schema = {"frames.spam_tracks": {"type": "detections", "classes": ["car"], "attributes": {}}}
            push = timed(
                lambda: dataset.annotate(
                    "key", backend="cvat", label_field="frames.spam_tracks", label_schema=schema, segment_size=300,
                    project_name="benchmark", launch_editor=False, **who,
                )
            )  # fmt: skip
            keyframes = people_move_everything(server)
            pull = timed(lambda: dataset.load_annotations("key", unexpected="ignore", **who))
    finally:
        dataset.delete()
    return {"push": push, "pull": pull, "keyframes": keyframes}


if __name__ == "__main__":
    start(main)
