"""Run one peer over boxes; executed by the peer's own interpreter, so it imports nothing of this project.

    .venv-boxmot/bin/python benchmarks/peers/track.py "boxmot ByteTrack" JOBS.json

JOBS.json is a list of ``{"boxes": IN.npz, "out": OUT.npz}``. IN holds ``frame`` (N,) 0-based and sorted, ``xyxy``
(N, 4) pixels, ``score`` (N,) in [0, 1], and the scalars ``num_frames``, ``frame_rate``, ``width``, ``height``. OUT
holds ``frame``, ``track``, ``xyxy``, ``score`` of what the tracker said, and ``seconds``: processor time of its update
calls alone (the objects that it wants as input are built before the clock starts).
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

# A prepared frame goes in; rows of (track, x1, y1, x2, y2, score) come out of what ``update`` gave.
Prepare = Callable[[np.ndarray, np.ndarray], Any]
Step = Callable[[Any], Any]
Rows = Callable[[Any], np.ndarray]
NO_ROWS = np.zeros((0, 6))


def start_boxmot(kind: str, video: dict[str, float]) -> tuple[Prepare, Step, Rows]:
    """A tracker of boxmot with its defaults, no ReID, no camera motion."""
    import boxmot

    rate = int(video["frame_rate"])
    tracker = {
        "ByteTrack": lambda: boxmot.ByteTrack(frame_rate=rate),
        "OC-SORT": lambda: boxmot.OcSort(),
        "BoT-SORT": lambda: boxmot.BotSort(use_embeddings=False, use_cmc=False, frame_rate=rate),
    }[kind]()
    blank = np.zeros((int(video["height"]), int(video["width"]), 3), np.uint8)

    def prepare(xyxy: np.ndarray, score: np.ndarray) -> np.ndarray:
        return np.column_stack([xyxy, score, np.zeros(len(score))]).astype(np.float32).reshape(-1, 6)

    def rows(found: Any) -> np.ndarray:
        found = np.asarray(found)  # x1, y1, x2, y2, id, score, class, index of the detection
        return np.column_stack([found[:, 4], found[:, :4], found[:, 5]]) if found.size else NO_ROWS

    return prepare, lambda boxes: tracker.update(boxes, blank), rows


def start_trackers(kind: str, video: dict[str, float]) -> tuple[Prepare, Step, Rows]:
    """A tracker of roboflow's ``trackers`` with its defaults; "-low" admits weaker boxes than those."""
    import supervision
    import trackers

    # The defaults want scores of 0.6 and 0.7; calibrated scores are probabilities, and many right boxes lie lower.
    low, high = {"high_conf_det_threshold": 0.4}, {"track_activation_threshold": 0.5}
    make, options = {
        "SORT": (trackers.SORTTracker, {}),
        "ByteTrack": (trackers.ByteTrackTracker, {}),
        "OC-SORT": (trackers.OCSORTTracker, {}),
        "BoT-SORT": (trackers.BoTSORTTracker, {"enable_cmc": False}),
        "C-BIoU": (trackers.CBIoUTracker, {}),
        "ByteTrack-low": (trackers.ByteTrackTracker, low | high),
        "OC-SORT-low": (trackers.OCSORTTracker, low),
        "BoT-SORT-low": (trackers.BoTSORTTracker, {"enable_cmc": False} | low | high),
    }[kind]
    tracker = make(frame_rate=video["frame_rate"], **options)

    def prepare(xyxy: np.ndarray, score: np.ndarray) -> Any:
        return supervision.Detections(
            xyxy=xyxy.astype(float), confidence=score.astype(float), class_id=np.zeros(len(score), int)
        )

    def rows(found: Any) -> np.ndarray:
        if found.tracker_id is None or not len(found.tracker_id):
            return NO_ROWS
        score = np.ones(len(found.xyxy)) if found.confidence is None else found.confidence
        return np.column_stack([found.tracker_id, found.xyxy, score])[np.asarray(found.tracker_id) >= 0]

    return prepare, tracker.update, rows


def start_norfair(kind: str, video: dict[str, float]) -> tuple[Prepare, Step, Rows]:
    """Norfair with IoU distance and, where it has them, the settings of its own MOT17 demo."""
    from norfair import Detection, Tracker

    tracker = Tracker(
        distance_function="iou",
        distance_threshold=0.7,
        initialization_delay=3,
        hit_counter_max=int(video["frame_rate"]),
        detection_threshold=0.0,
    )

    def prepare(xyxy: np.ndarray, score: np.ndarray) -> Any:
        pairs = zip(xyxy.astype(float), score, strict=True)
        return [Detection(points=box.reshape(2, 2), scores=np.array([s, s])) for box, s in pairs if s >= 0.5]

    def step(detections: Any) -> Any:
        return detections, tracker.update(detections=detections)

    def rows(found: Any) -> np.ndarray:
        current = {id(detection) for detection in found[0]}
        seen = [o for o in found[1] if id(o.last_detection) in current]  # the others are extrapolations
        return np.array([[o.id, *np.ravel(o.estimate), 1.0] for o in seen]).reshape(-1, 6)

    return prepare, step, rows


START = {"boxmot": start_boxmot, "trackers": start_trackers, "norfair": start_norfair}


def track(peer: str, video: dict[str, Any]) -> dict[str, Any]:
    """Run the peer over one video's boxes, frame by frame, and note the processor time of its updates."""
    package, _, kind = peer.partition(" ")
    prepare, step, rows = START[package](kind, video)
    num_frames = int(video["num_frames"])
    first = np.searchsorted(video["frame"], np.arange(num_frames + 1))
    found, seconds = [], 0.0
    for frame in range(num_frames):
        part = slice(first[frame], first[frame + 1])
        boxes = prepare(video["xyxy"][part], video["score"][part])
        begin = time.process_time()
        answer = step(boxes)
        seconds += time.process_time() - begin
        said = rows(answer)
        # A tracker may report one id twice in a frame, which no metric accepts: the first one stays.
        _, once = np.unique(said[:, 0], return_index=True)
        found.append(np.column_stack([np.full(len(once), frame), said[np.sort(once)]]))
    table = np.concatenate(found)
    return {
        "frame": table[:, 0].astype(np.int64),
        "track": table[:, 1].astype(np.int64),
        "xyxy": table[:, 2:6],
        "score": table[:, 6],
        "seconds": seconds,
    }


def main() -> None:
    """Read the jobs, run the peer over each, write what it said."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help='package and tracker, for instance "trackers OC-SORT" (norfair: "norfair")')
    parser.add_argument("jobs", help="JSON list of {boxes, out}")
    parser.add_argument("--warm-up", action="store_true", help="run 50 frames first, unclocked, for lazy imports")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    with open(args.jobs) as file:
        jobs = json.load(file)
    for number, job in enumerate(jobs):
        with np.load(job["boxes"]) as stored:
            video = {key: stored[key] if stored[key].ndim else float(stored[key]) for key in stored.files}
        if args.warm_up and number == 0:
            track(args.peer, video | {"num_frames": min(50, video["num_frames"])})
        np.savez_compressed(job["out"], **track(args.peer, video))


if __name__ == "__main__":
    main()
