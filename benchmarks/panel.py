"""Server time of what the App's panel shows, on a dataset with 1,000 videos and 10 million boxes.

    python benchmarks/panel.py --out docs/benchmarks/panel.md

The boxes are real documents in a real database, with all that labelling writes; eight videos' worth of them are made
and inserted again and again, as making them differently for every video would take hours and is not what is measured.
Questions, answers and rounds come in through the same calls that the product makes. ``--quick`` takes a small dataset.
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from reporting import command_line, publish, start, table

LIMIT_SECONDS = 2.0  # of server time for all that the panel reads
WIDTH, HEIGHT = 1920, 1080
PATTERNS = 8  # videos that differ
OUT = "spam_tracks"
PAGES = ("overview", "review", "rounds", "jobs", "video")


def main() -> None:
    """Make the dataset, count it, read what the panel reads."""
    parser = command_line(__doc__, data=False)
    parser.add_argument("--videos", type=int, default=1000, metavar="N")
    parser.add_argument("--frames", type=int, default=500, metavar="N", help="of a video")
    parser.add_argument("--boxes", type=int, default=20, metavar="N", help="of a frame")
    parser.add_argument("--questions", type=int, default=100, metavar="N", help="that are open, of a video")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="readings, of which the median counts")
    parser.add_argument("--quick", action="store_true", help="a small dataset")
    args = parser.parse_args()
    if args.quick:
        args.videos, args.frames, args.boxes, args.questions = 12, 20, 4, 6
    _own_database()
    numbers = measure(args)
    parts = [_told(numbers), _read_table(numbers), _other_table(numbers)]
    publish(args, "The App's panel", parts, numbers)


def _own_database() -> None:
    """A new database, in a folder that goes, unless one is named."""
    folder = tempfile.mkdtemp()
    # Registered before FiftyOne registers the end of its database, hence run after it.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.setdefault("FIFTYONE_DATABASE_DIR", folder)
    os.environ.update(
        FIFTYONE_DATABASE_NAME=f"spam_plugin_benchmark_{os.getpid()}", FIFTYONE_DO_NOT_TRACK="true",
        FIFTYONE_DATABASE_VALIDATION="false", FIFTYONE_SHOW_PROGRESS_BARS="false",
    )  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All numbers of the report."""
    import fiftyone.core.odm as foo

    numbers: dict[str, Any] = {"videos": args.videos, "boxes": args.videos * args.frames * args.boxes}
    try:
        dataset, numbers["made_seconds"] = timed(lambda: make_dataset(args.videos, args.frames, args.boxes))
        numbers["refresh_before_mib"] = _peak_mib()
        standing, numbers["refresh_seconds"] = timed(lambda: _ledger(dataset).refresh())
        numbers["refresh_after_mib"] = _peak_mib()
        assert standing.boxes == numbers["boxes"], standing
        importlib.import_module("spam_plugin.engine.choosing")  # which imports torch; that is not what is timed
        numbers["told_seconds"] = timed(lambda: tell(dataset, args))[1]
        numbers["readings"] = {name: _median(read, args.repeat) for name, read in readings(dataset)}
        numbers["pages"] = {page: _median(lambda at=page: open_page(dataset, at), args.repeat) for page in PAGES}
        numbers["whole"] = _median(lambda: read_all(dataset), args.repeat)
        numbers["standing"] = {k: v for k, v in _ledger(dataset).standing().__dict__.items() if isinstance(v, int)}
        numbers["counting_seconds"] = _median(lambda: count_one(dataset, args), args.repeat)["wall"]
        numbers["scan_seconds"] = timed(lambda: dataset.count(f"frames.{OUT}.detections"))[1]
    finally:
        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])
    return numbers


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and seconds by the clock."""
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def _median(work: Callable[[], Any], repeat: int) -> dict[str, float]:
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"wall": statistics.median(walls), "cpu": statistics.median(cpus), "worst": max(walls)}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)


def make_dataset(videos: int, frames: int, boxes: int) -> Any:
    """A dataset of videos that were labelled: fields, summaries and boxes, but no ledger."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.fields import OutputFields, declare

    dataset = fo.Dataset()
    dataset.media_type = "video"
    metadata = fo.VideoMetadata(
        total_frame_count=frames, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=30.0, duration=frames / 30
    )
    declare(dataset, "frames.", OutputFields(OUT))
    status = ("unreviewed", "unreviewed", "in review", "reviewed")
    samples = [
        fo.Sample(
            filepath=f"/nowhere/{number:04d}.mp4", metadata=metadata, spam_review_status=status[number % 4],
            spam_model_version="spam-1",
        )
        for number in range(videos)
    ]  # fmt: skip
    keys = dataset.add_samples(samples, progress=False)
    patterns = [list(frame_documents(number, frames, boxes)) for number in range(PATTERNS)]
    for number, key in enumerate(keys):
        insert(dataset, key, patterns[number % PATTERNS])
    return dataset


def frame_documents(seed: int, frames: int, boxes: int) -> Iterator[dict[str, Any]]:
    """What FiftyOne stores of the frames of one video."""
    from bson import ObjectId

    from spam_plugin.integrations.fiftyone_.raw import detection_dict, detections_dict

    rng = np.random.default_rng(seed)
    instances = [ObjectId() for _ in range(boxes)]
    for frame in range(frames):
        doubt, link = rng.beta(0.6, 4.0, (2, boxes))
        place = rng.uniform(0.05, 0.4, (boxes, 4))
        found = [
            detection_dict(
                "person", place[track].tolist(), track + 1, instances[track], confidence=float(1 - doubt[track] / 2),
                uncertainty=float(doubt[track]), link_uncertainty=float(link[track]),
                source="human" if track == 0 and frame < 3 else "interpolated" if frame % 7 == 0 else "model",
                keyframe=False,
            )
            for track in range(boxes)
        ]  # fmt: skip
        yield {"frame_number": frame + 1, OUT: detections_dict(found)}


def insert(dataset: Any, key: str, pattern: list[dict[str, Any]]) -> None:
    """Puts the frames of one video into the database."""
    from datetime import datetime, timezone

    from bson import ObjectId

    now = datetime.now(timezone.utc)
    mine = {"_sample_id": ObjectId(key), "_dataset_id": dataset._doc.id, "created_at": now, "last_modified_at": now}
    dataset._frame_collection.insert_many([{"_id": ObjectId(), **mine, **frame} for frame in pattern], ordered=False)


def tell(dataset: Any, args: argparse.Namespace) -> None:
    """A round of questions about every video, answers to some, and rounds before."""
    from spam_plugin.engine.answers import Answer, Box, Verdict
    from spam_plugin.engine.choosing import QueryPlan
    from spam_plugin.engine.queries import Query, Question
    from spam_plugin.integrations.fiftyone_ import api
    from spam_plugin.integrations.fiftyone_.fields import OutputFields
    from spam_plugin.integrations.fiftyone_.queries import QueryDesk
    from spam_plugin.integrations.fiftyone_.videos import open_videos

    rng = np.random.default_rng(0)
    keys = dataset.values("id")
    size = (9.0, 9.0, 60.0, 90.0)
    queries = [
        Query(
            key, Question.VALID, (Box(frame, size),), (), frame, frame % args.boxes, 0, float(rng.uniform(0.5, 0.95)),
            1, float(rng.gamma(2.0, 10.0)),
        )
        for key in keys
        for frame in rng.choice(args.frames, args.questions, replace=False).tolist()
    ]  # fmt: skip
    queries.sort(key=lambda query: -query.gain)
    share = {"expected": 0.08, "low": 0.05, "high": 0.12, "count": args.videos}
    plan = QueryPlan(
        tuple(queries), len(queries), len(queries), 1e6, {"valid": len(queries)},
        {"wrong_boxes": share, "wrong_links": share, "wish": None, "clicks": None}, (), "spam-1",
    )  # fmt: skip
    ledger = _ledger(dataset)
    with ledger.hold():
        ledger.begin("queries")
        QueryDesk(dataset, "frames.", OutputFields(OUT)).write(open_videos(dataset), plan, {})
        ledger.finish_queries(plan.estimates)
    for turn in range(12):
        ledger.note(("label", "evaluate")[turn % 2], scores={"HOTA": 0.5 + turn / 50} if turn % 2 else {})
    answered = queries[:: max(len(queries) // 50, 2)]
    api.answer(dataset, [Answer(one.video, Verdict.VALID, one.boxes, query=one.key) for one in answered])


def _ledger(dataset: Any) -> Any:
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    return Ledger(dataset, OUT)


def readings(dataset: Any) -> list[tuple[str, Callable[[], Any]]]:
    """What the panel asks for, each by itself."""
    return [
        ("where the dataset stands", lambda: _ledger(dataset).standing()),
        ("rounds", lambda: _ledger(dataset).rounds()),
        ("model versions", lambda: _ledger(dataset).models()),
        ("the 50 questions worth most", lambda: _ledger(dataset).queue(50)),
    ]


def read_all(dataset: Any) -> None:
    """All that the panel asks for, with the dataset opened anew as the App's server does."""
    import fiftyone as fo

    name = dataset.name
    fo.Dataset._instances.pop(name, None)
    opened = fo.load_dataset(name)
    for _, read in readings(opened):
        assert read() is not None


def open_page(dataset: Any, page: str) -> None:
    """A page of the panel, as the App's server opens and draws it."""
    from fiftyone.operators.executor import ExecutionContext, Executor

    from spam_plugin.plugin.panels.spam import SpamPanel

    panel = SpamPanel()
    panel.plugin_name = "@spam-plugin/spam"
    request = {
        "dataset_name": dataset.name, "view": [], "params": {"panel_id": "panel", "panel_state": {}, "value": page},
        "current_sample": dataset.first().id if page == "video" else None,
    }  # fmt: skip
    ctx = ExecutionContext(request, executor=Executor(), operator_uri=panel.uri)
    panel.turn(ctx)
    assert panel.render(ctx).to_json()


def count_one(dataset: Any, args: argparse.Namespace) -> None:
    """What the ledger adds to the labelling of one video: a warning, the counting, the note."""
    from spam_plugin.integrations.fiftyone_.counting import count_written
    from spam_plugin.models.columns import Source, Tracks

    count = args.frames * args.boxes
    share = np.linspace(0, 1, count, dtype=np.float32)
    tracks = Tracks(
        np.repeat(np.arange(args.frames), args.boxes), np.tile(np.float32([1, 1, 9, 9]), (count, 1)),
        np.tile(np.arange(args.boxes), args.frames), np.zeros(count, np.int64), share, share, share,
        np.full(count, Source.MODEL, np.uint8), np.zeros(count, bool), np.arange(count),
        np.ones(args.boxes, np.float32), np.ones(args.boxes, np.float32),
    )  # fmt: skip
    ledger, key = _ledger(dataset), dataset.first().id
    ledger.will_change(key)
    ledger.labelled(key, count_written("a", args.frames, tracks, {}))


def _told(numbers: dict[str, Any]) -> str:
    whole, asked = numbers["whole"], numbers["standing"]["open_queries"]
    worst = max(seconds["worst"] for seconds in numbers["pages"].values())
    kept = "kept" if max(worst, whole["worst"]) < LIMIT_SECONDS else "MISSED"
    return (
        f"{numbers['videos']:,} videos, {numbers['boxes']:,} boxes, {asked:,} open questions. The slowest page took "
        f"{worst:.2f} s of server time at worst, all that pages read together {whole['worst']:.2f} s; required: under "
        f"{LIMIT_SECONDS:g} s, {kept}."
    )


def _read_table(numbers: dict[str, Any]) -> str:
    pages = {f"page '{name}', opened and drawn": seconds for name, seconds in numbers["pages"].items()}
    read = {**numbers["readings"], "all of these, dataset opened anew": numbers["whole"], **pages}
    rows = [(name, *(f"{seconds[key]:.3f}" for key in ("wall", "cpu", "worst"))) for name, seconds in read.items()]
    return table(["read", "s by the clock", "s of this process's CPU time", "worst, s by the clock"], rows)


def _other_table(numbers: dict[str, Any]) -> str:
    def speed(seconds: float) -> str:
        return f"{seconds:.1f} s, {numbers['boxes'] / seconds:,.0f} boxes/s"

    before, after = numbers["refresh_before_mib"], numbers["refresh_after_mib"]
    rows = [
        ("inserting the boxes", speed(numbers["made_seconds"])),
        ("counting all anew (refresh)", speed(numbers["refresh_seconds"])),
        ("peak memory of this process before and after counting", f"{before:.0f} and {after:.0f} MiB"),
        ("telling of a round of questions, 12 rounds, and answers", f"{numbers['told_seconds']:.1f} s"),
        ("counting one video while it is labelled", f"{1000 * numbers['counting_seconds']:.1f} ms"),
        ("what one scan for the number of boxes takes instead", f"{numbers['scan_seconds']:.1f} s"),
    ]
    return table(["around it", "took"], rows)


if __name__ == "__main__":
    start(main)
