"""Boxes per second between FiftyOne and columns, against FiftyOne's own objects, in the same run.

    python benchmarks/store.py [--boxes 20000] [--repeat 3]

Reading: the columns of a candidates field (frame, box, confidence, label, index) of every video; by objects, the
fastest way to the same: ``values("frames.candidates")`` and the attributes of each ``Detection``. Writing: tracks with
all that labelling writes; by objects, the fastest way: ``set_values`` of ``Detections`` over existing frames. Every way
starts from the same arrays and ends with the same; the median of the repeats counts. The database is a new one.
"""

from __future__ import annotations

import argparse
import atexit
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

FRAMES = 500  # of a video
WIDTH, HEIGHT = 1920, 1080
VECTOR = 132  # numbers of an appearance vector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=20_000, help="how many in all")
    parser.add_argument("--per-frame", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    folder = tempfile.mkdtemp()
    # Registered before FiftyOne registers the end of its database, hence run after it.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(
        FIFTYONE_DATABASE_DIR=folder,
        FIFTYONE_DATABASE_NAME=f"spam_plugin_benchmark_{os.getpid()}",
        FIFTYONE_DO_NOT_TRACK="true",
        FIFTYONE_DATABASE_VALIDATION="false",
        FIFTYONE_SHOW_PROGRESS_BARS="false",
    )
    measure(max(1, args.boxes // (FRAMES * args.per_frame)), args.per_frame, args.repeat)


def measure(num_videos: int, per_frame: int, repeat: int) -> None:
    import fiftyone as fo
    import fiftyone.core.odm as foo

    dataset = new_dataset(num_videos)
    try:
        rows = [
            (name, *rates(function, num_videos * FRAMES * per_frame, repeat))
            for name, function in ways(dataset, per_frame)
        ]
    finally:
        dataset.delete()
        foo.get_db_client().drop_database(os.environ["FIFTYONE_DATABASE_NAME"])
    print(
        f"FiftyOne {fo.__version__}, {num_videos} videos of {FRAMES} frames of {per_frame} boxes, median of {repeat}\n"
    )
    print("| way | boxes/s | boxes/s of this process's CPU time | times the objects |\n|---|---|---|---|")
    base = {}
    for name, wall, cpu in rows:
        kind = name.split()[0]
        base.setdefault(kind, wall)
        times = f"{wall / base[kind]:.1f}" if kind != "vectors" else ""
        print(f"| {name} | {wall:,.0f} | {cpu:,.0f} | {times} |")
    print(f"\nPeak resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def rates(function: Callable[[], None], boxes: int, repeat: int) -> tuple[float, float]:
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return boxes / statistics.median(walls), boxes / statistics.median(cpus)


def new_dataset(num_videos: int):
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.fields import OutputFields, declare
    from spam_plugin.integrations.fiftyone_.raw import declare_detections

    dataset = fo.Dataset()
    dataset.media_type = "video"
    metadata = fo.VideoMetadata(total_frame_count=FRAMES, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=30.0)
    dataset.add_samples([fo.Sample(filepath=f"/nowhere/{k}.mp4", metadata=metadata) for k in range(num_videos)])
    dataset.ensure_frames()
    declare(dataset, "frames.", OutputFields("columns"))
    declare(dataset, "frames.", OutputFields("objects"))
    declare_detections(dataset, "frames.looks", {"embedding": (fo.VectorField, "")})
    return dataset


def ways(dataset, per_frame: int) -> list[tuple[str, Callable[[], None]]]:
    import bson
    import fiftyone as fo
    from bson import ObjectId

    from spam_plugin.integrations.fiftyone_.columns import SOURCE_NAMES, pack_vectors, read_boxes, write_tracks
    from spam_plugin.integrations.fiftyone_.raw import detection_dict, write_frame_labels
    from spam_plugin.integrations.fiftyone_.videos import open_videos
    from spam_plugin.models.columns import Source, Tracks

    rng = np.random.default_rng(0)
    count = FRAMES * per_frame
    corner = rng.uniform(0, 900, (count, 2))
    share = rng.random(count).astype(np.float32)
    tracks = Tracks(
        np.repeat(np.arange(FRAMES), per_frame), np.concatenate([corner, corner + 50], 1).astype(np.float32),
        np.tile(np.arange(per_frame), FRAMES), np.zeros(count, np.int64), share, share, share,
        np.full(count, Source.MODEL, np.uint8), share > 0.9, np.arange(count),
        np.ones(per_frame, np.float32), np.ones(per_frame, np.float32),
    )  # fmt: skip
    videos = open_videos(dataset)

    def write_objects() -> None:
        for video in videos:
            instances = [fo.Instance() for _ in range(per_frame)]
            xywh = tracks.xyxy.astype(np.float64)
            xywh[:, 2:] -= xywh[:, :2]
            xywh /= [WIDTH, HEIGHT, WIDTH, HEIGHT]
            found = [
                fo.Detection(
                    label="person", bounding_box=box, index=track + 1, instance=instances[track], confidence=validity,
                    uncertainty=doubt, link_uncertainty=link, source=SOURCE_NAMES[source], keyframe=keyframe,
                )
                for box, track, validity, doubt, link, source, keyframe in zip(
                    xywh.tolist(), tracks.track_index.tolist(), tracks.validity.tolist(), tracks.uncertainty.tolist(),
                    tracks.link_uncertainty.tolist(), tracks.source.tolist(), tracks.keyframe.tolist(), strict=True,
                )
            ]  # fmt: skip
            frames = [fo.Detections(detections=found[k : k + per_frame]) for k in range(0, count, per_frame)]
            dataset.select(video.key).set_values("frames.objects", [frames])

    def write_columns() -> None:
        for video in videos:
            write_tracks(video, "columns", tracks, ("person",), WIDTH, HEIGHT, range(1, per_frame + 1), video.key, {})

    def read_objects() -> None:
        for video in videos:
            (frames,) = dataset.select(video.key).values("frames.objects")
            detections = [detection for frame in frames for detection in frame.detections]
            np.repeat(np.arange(FRAMES), [len(frame.detections) for frame in frames])
            box = np.array([d.bounding_box for d in detections]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
            box[:, 2:] += box[:, :2]
            np.array([d.confidence for d in detections])
            np.array([d.index for d in detections])
            np.unique([d.label for d in detections], return_inverse=True)

    def read_columns() -> None:
        for video in videos:
            assert len(read_boxes(video, "columns", WIDTH, HEIGHT)) == count

    vectors = rng.random((count, VECTOR)).astype(np.float32)
    packed, lists = pack_vectors(vectors), vectors.tolist()
    print(
        f"A vector of {VECTOR} numbers: packed {np.mean([*map(len, packed)]):.0f} bytes, "
        f"as a list {len(bson.encode({'v': lists[0]}))} bytes"
    )

    def write_vectors(values: list) -> None:
        for video in videos:
            boxes = [detection_dict("person", [0.1, 0.1, 0.1, 0.1], confidence=0.5, embedding=v) for v in values]
            frames = ((k // per_frame + 1, boxes[k : k + per_frame]) for k in range(0, count, per_frame))
            write_frame_labels(dataset, ObjectId(video.key), "looks", frames)

    def read_vectors() -> None:
        for video in videos:
            read_boxes(video, "looks", WIDTH, HEIGHT, "embedding")

    return [
        ("writing objects", write_objects),
        ("writing columns", write_columns),
        ("reading objects", read_objects),
        ("reading columns", read_columns),
        ("vectors written as lists", lambda: write_vectors(lists)),
        ("vectors read as lists", read_vectors),
        ("vectors written packed", lambda: write_vectors(packed)),
        ("vectors read packed", read_vectors),
    ]


if __name__ == "__main__":
    main()
