"""Follow targets with OpenCV's CSRT; executed by its own interpreter, so it imports nothing of this project.

    .venv-opencv/bin/python benchmarks/peers/csrt.py JOBS.json

JOBS.json is a list of ``{"images": [FILE, ...], "runs": IN.npz, "out": OUT.npz}``. IN holds runs: ``start`` (R,) and
``stop`` (R,) 0-based frames, the last one included, backwards where stop lies before start, and ``xyxy`` (R, 4) pixels
of the box at the start. OUT holds a row for every frame after the start: ``run``, ``frame``, ``xyxy`` and ``found``
(CSRT said so), sorted by run; and processor time of CSRT alone: ``starting`` of its starts, ``seconds`` of its updates.
A job whose OUT is there is left alone, so that a run that was cut short goes on.

CSRT is the one of ``cv2.legacy``, which takes fractions of pixels at the start. What it says is in whole pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import OrderedDict
from typing import Any

import cv2
import numpy as np

_KEPT = 64  # decoded frames


class Pictures:
    """Frames of one video, the last ones kept."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getitem__(self, frame: int) -> np.ndarray:
        if frame in self.kept:
            self.kept.move_to_end(frame)
        else:
            self.kept[frame] = cv2.imread(self.paths[frame])
            if len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        return self.kept[frame]


def begin(picture: np.ndarray, xyxy: np.ndarray) -> Any:
    """A CSRT that has been shown a box, cut to the picture."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (float(v) for v in np.clip(xyxy, 0, [width, height, width, height]))
    tracker = cv2.legacy.TrackerCSRT_create()
    tracker.init(picture, (x1, y1, x2 - x1, y2 - y1))
    return tracker


def follow(pictures: Pictures, start: int, stop: int, xyxy: np.ndarray) -> tuple[list[list[float]], float, float]:
    """Rows (frame, x1, y1, x2, y2, found) of one run, seconds of its start and of its updates.

    What CSRT cannot begin with is never found.
    """
    step = 1 if stop >= start else -1
    frames = range(start + step, stop + step, step)
    picture = pictures[start]
    clock = time.process_time()
    try:
        tracker = begin(picture, xyxy)
    except cv2.error:
        return [[frame, *xyxy, 0] for frame in frames], time.process_time() - clock, 0.0
    starting, seconds, rows, box = time.process_time() - clock, 0.0, [], list(map(float, xyxy))
    for frame in frames:
        picture = pictures[frame]
        clock = time.process_time()
        found, (x, y, w, h) = tracker.update(picture)
        seconds += time.process_time() - clock
        box = [x, y, x + w, y + h] if found else box
        rows.append([frame, *box, float(found)])
    return rows, starting, seconds


def work(job: dict[str, Any]) -> None:
    """Do one job and keep what came of it."""
    with np.load(job["runs"]) as stored:
        start, stop, xyxy = stored["start"], stored["stop"], stored["xyxy"]
    pictures, parts, spent = Pictures(job["images"]), {}, np.zeros(2)
    for run in np.argsort(start, kind="stable"):  # so that frames are decoded a few times only
        rows, *seconds = follow(pictures, int(start[run]), int(stop[run]), xyxy[run])
        parts[int(run)] = [[float(run), *row] for row in rows]
        spent += seconds
    table = np.array([row for run in sorted(parts) for row in parts[run]]).reshape(-1, 7)
    partial = f"{job['out']}.partial.npz"
    np.savez_compressed(
        partial, run=table[:, 0].astype(np.int64), frame=table[:, 1].astype(np.int64), xyxy=table[:, 2:6],
        found=table[:, 6] > 0, starting=spent[0], seconds=spent[1],
    )  # fmt: skip
    os.replace(partial, job["out"])


def main() -> None:
    """Read the jobs and do those that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", help="JSON list of {images, runs, out}")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with open(args.jobs) as file:
        jobs = json.load(file)
    for number, job in enumerate(jobs):
        if not os.path.exists(job["out"]):
            begun = time.monotonic()
            work(job)
            print(f"{number + 1} of {len(jobs)}: {job['out']} in {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
