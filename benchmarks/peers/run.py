"""Run the peers over every detection file and keep what they said under ``out/peers``, for ``quality.py`` to score.

    python benchmarks/peers/install.py && python benchmarks/peers/run.py

Every peer gets the same boxes, with calibrated scores (``calibration.py``), and runs with its defaults in its own
environment, one thread, without appearance or camera motion.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1]))

from calibration import MIN_SCORE, curves, detector_of, probability
from install import REQUIREMENTS, ROOT, python_of
from reporting import command_line, publish, start, table
from sequences import find_sequences, shared_folder

from spam_plugin.engine.metrics import TrackTable
from spam_plugin.models.columns import VideoInfo
from spam_plugin.models.errors import MissingError

PEERS = (
    *(f"trackers {kind}" for kind in ("SORT", "ByteTrack", "OC-SORT", "BoT-SORT", "C-BIoU")),
    *(f"trackers {kind}-low" for kind in ("ByteTrack", "OC-SORT", "BoT-SORT")),
    *(f"boxmot {kind}" for kind in ("ByteTrack", "OC-SORT", "BoT-SORT")),
    "norfair",
)
RESULTS = ROOT / "out" / "peers"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
# Frame, box and score columns of one video.
Boxes = tuple[NDArray[np.int64], NDArray[np.floating], NDArray[np.floating]]


def run_peer(
    peer: str, videos: Mapping[str, tuple[VideoInfo, Boxes]], *, warm_up: bool = False
) -> dict[str, dict[str, NDArray[Any]]]:
    """What a peer says of some videos: ``frame``, ``track``, ``xyxy``, ``score`` and ``seconds`` of processor time.

    Raises:
        MissingError: when the peer's environment is not installed.
        RuntimeError: when the peer fails; with the end of what it printed.
    """
    venv = peer.partition(" ")[0]
    if venv not in REQUIREMENTS or not python_of(venv).exists():
        raise MissingError(f"{peer}: no environment .venv-{venv}; run python benchmarks/peers/install.py {venv}")
    with tempfile.TemporaryDirectory() as scratch:
        jobs = []
        for number, (video, (frame, xyxy, score)) in enumerate(videos.values()):
            job = {"boxes": f"{scratch}/{number}.npz", "out": f"{scratch}/{number}_out.npz"}
            np.savez(
                job["boxes"], frame=frame, xyxy=xyxy, score=score, num_frames=video.num_frames,
                frame_rate=video.frame_rate, width=video.width, height=video.height,
            )  # fmt: skip
            jobs.append(job)
        Path(scratch, "jobs.json").write_text(json.dumps(jobs))
        command = [str(python_of(venv)), str(Path(__file__).with_name("track.py")), peer, f"{scratch}/jobs.json"]
        done = subprocess.run(
            command + ["--warm-up"] * warm_up, env=os.environ | ONE_THREAD, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{peer} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        answers = {}
        for key, job in zip(videos, jobs, strict=True):
            with np.load(job["out"]) as stored:
                answers[key] = dict(stored)
    return answers


def result_file(peer: str, sequence: str, detections: str) -> Path:
    """Where a peer's answer is kept."""
    return RESULTS / peer.replace(" ", "_") / f"{sequence}@{detections}.npz"


def kept_result(peer: str, sequence: str, detections: str) -> TrackTable | None:
    """A peer's kept answer, or None if it has not been run."""
    path = result_file(peer, sequence, detections)
    if not path.exists():
        return None
    with np.load(path) as stored:
        return TrackTable(stored["frame"], stored["track"], stored["xyxy"])


def calibrated_boxes(args: argparse.Namespace) -> dict[tuple[str, str], tuple[VideoInfo, Boxes]]:
    """The boxes that peers are shown, of every chosen sequence and each of its detection files."""
    folder = shared_folder(args.data)
    curve_of = curves(find_sequences(folder))
    videos = {}
    for sequence in find_sequences(folder, args.sets, args.sequences):
        for name in sequence.detection_names:
            candidates, _ = sequence.candidates(name)
            score = probability(candidates.score, curve_of[detector_of(sequence, name)])
            kept = score >= MIN_SCORE
            videos[sequence.name, name] = (sequence.video, (candidates.frame[kept], candidates.xyxy[kept], score[kept]))
    return videos


def main(argv: Sequence[str] | None = None) -> None:
    """Run the peers and keep their answers."""
    parser = command_line(__doc__)
    parser.add_argument("--peers", nargs="+", default=PEERS, metavar="PEER", help=f"of: {', '.join(PEERS)}")
    args = parser.parse_args(argv)
    videos = calibrated_boxes(args)
    rows = []
    for peer in args.peers:
        answers = run_peer(peer, {f"{name}@{detections}": video for (name, detections), video in videos.items()})
        for (name, detections), answer in zip(videos, answers.values(), strict=True):
            path = result_file(peer, name, detections)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **answer)
        boxes = sum(len(answer["frame"]) for answer in answers.values())
        rows.append([peer, len(answers), boxes, float(sum(answer["seconds"] for answer in answers.values()))])
        print(f"{peer}: done", file=sys.stderr)
    publish(args, "Peers", [table(["peer", "files", "boxes said", "processor seconds"], rows)], rows)


if __name__ == "__main__":
    start(main)
