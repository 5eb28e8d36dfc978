"""OpenCV's CSRT as a way of filling: from both sides, each as far as the middle of the gap; kept once it is computed.

    python benchmarks/peers/install.py opencv && python benchmarks/filling_csrt.py [--keep FOLDER]

computes what is missing (about 35 frames a second) for ``filling.py`` to read. CSRT goes forwards from the box on the
left and backwards from the one on the right; a frame gets the box of the nearer one, the left one's where both are as
near. Where CSRT itself says that it has lost its target, the straight line stands in.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from collections.abc import Sequence as Items
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent / "peers"))

from filling_world import DEVELOPMENT, REPORTED, STEPS, Gaps, Scene, scene_of, straight
from install import python_of
from numpy.typing import NDArray
from reporting import start
from sequences import ROOT, Sequence, find_sequences, shared_folder, targets

from spam_plugin.models.errors import MissingError

VENV = "opencv"
KEPT = ROOT / "out" / "filling"


def runs_of(gaps: Gaps) -> dict[str, NDArray]:
    """What CSRT is asked to follow: every gap from both sides, to its middle."""
    gap = np.unique(gaps.left)
    first, last = gaps.frame[gap], gaps.frame[gap + 1]
    middle = (first + last) // 2  # the last frame that is the left box's
    back = middle + 1 < last  # a gap of one frame has nothing on this side
    return {
        "start": np.concatenate([first, last[back]]),
        "stop": np.concatenate([middle, (middle + 1)[back]]),
        "xyxy": np.concatenate([gaps.xyxy[gap], gaps.xyxy[gap + 1][back]]),
        "track": np.concatenate([gaps.track[gap], gaps.track[gap][back]]),
    }


def kept_file(folder: Path, name: str, step: int) -> Path:
    """Where the answer for one sequence is kept."""
    return folder / f"csrt-{name}-{step}.npz"


def csrt_boxes(folder: Path, scene: Scene, step: int) -> NDArray[np.float64]:
    """(M, 4) boxes of the frames to fill.

    Raises:
        MissingError: when they have not been computed.
    """
    path = kept_file(folder, scene.name, step)
    if not path.exists():
        raise MissingError(f"there is no {path}: run python benchmarks/filling_csrt.py")
    gaps = scene.gaps(step)
    with np.load(path) as stored:
        said = {key: stored[key] for key in stored.files}
    boxes, found = straight(gaps), said["found"]
    rows = gaps.rows_of(runs_of(gaps)["track"][said["run"][found]], said["frame"][found])
    boxes[rows] = said["xyxy"][found]
    return boxes


def compute(folder: Path, videos: Items[Sequence], steps: Items[int]) -> None:
    """Ask CSRT for what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    ask([
        (video.images, runs_of(scene_of(video).gaps(step)), kept_file(folder, video.name, step))
        for step in steps
        for video in videos
    ])  # fmt: skip


def ask(jobs: Items[tuple[Items[Path], Mapping[str, NDArray], Path]], *, quiet: bool = False) -> None:
    """Let CSRT do jobs, each of images, runs and a file for the answer; those whose answer is there are left alone.

    Raises:
        MissingError: when the peer's environment is not installed.
    """
    if not python_of(VENV).exists():
        raise MissingError(f"no environment .venv-{VENV}; run python benchmarks/peers/install.py {VENV}")
    with tempfile.TemporaryDirectory() as scratch:
        written = []
        for number, (images, runs, out) in enumerate(jobs):
            np.savez(f"{scratch}/{number}.npz", **runs)
            written.append({"images": list(map(str, images)), "runs": f"{scratch}/{number}.npz", "out": str(out)})
        Path(scratch, "jobs.json").write_text(json.dumps(written))
        script = Path(__file__).parent / "peers" / "csrt.py"
        command = [str(python_of(VENV)), str(script), f"{scratch}/jobs.json"]
        said = subprocess.DEVNULL if quiet else None
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, stdout=said)


def main() -> None:
    """Compute what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FOLDER", help="holds data/ (default: SPAM_SHARED, ../shared)")
    parser.add_argument("--sequences", nargs="+", metavar="NAME", default=[*REPORTED, *DEVELOPMENT])
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS), metavar="N", help="frames between boxes")
    parser.add_argument("--keep", type=Path, default=KEPT, metavar="FOLDER", help="where answers are kept")
    args = parser.parse_args()
    videos = find_sequences(shared_folder(args.data), names=args.sequences)
    compute(args.keep, sorted(videos, key=lambda video: len(targets(video.truth()))), args.steps)
    print(f"all there in {args.keep}", file=sys.stderr)


if __name__ == "__main__":
    start(main)
