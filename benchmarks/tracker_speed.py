"""Targets times frames per second of the tracker alone, on one core, next to OpenCV's CSRT in the same run.

    python benchmarks/peers/install.py opencv
    OMP_NUM_THREADS=1 python benchmarks/tracker_speed.py --out docs/benchmarks/tracker_speed.md

A film is rendered, so many targets are remembered in its first frame, and each is looked for in every later frame
around where it was found in the one before; pictures are decoded before the clock starts. Ours is ``Tracker.look``, all
targets of a frame at once; CSRT's is ``update``, one tracker a target. Processor time on one thread each, in turns,
medians. How many boxes a second filling gives (both ways, from both ends) is told by ``filling.py``.

``--device cuda`` measures wall time of ours on a GPU, ``--full`` the large network (without trained weights, which say
nothing of speed); CSRT stays on the processor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from clock import one_thread
from filling_csrt import ask
from numpy.typing import NDArray
from reporting import command_line, publish, start, table

from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.spot.network import TrackerConfig, TrackerNetwork
from spam_plugin.models.synthetic.render import RenderSettings, render

COUNTS = (1, 5, 10, 20, 50)
_WANTED = 10  # targets from which ours is to be the faster one
_SEED = 4242


def filmed(frames: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    """Pictures of a crowded film, (H, W, 3) RGB each, and (N, 4) boxes of what can be seen in the first one."""
    settings = RenderSettings("crowd", frames, 1280, 720, num_objects=160, num_occluders=0)
    made = list(render(settings, np.random.default_rng(_SEED)))
    truth = made[0].truth
    boxes = truth.xyxy[truth.visibility > 0.5]
    inside = (boxes[:, :2] >= 0).all(1) & (boxes[:, 2:] <= (1280, 720)).all(1)
    return [np.ascontiguousarray(each.image[..., ::-1]) for each in made], boxes[inside]


def ours(tracker: Tracker, pictures: list[torch.Tensor], boxes: NDArray[np.float32]) -> float:
    """Seconds of following all boxes through all pictures but the first."""
    on_gpu = tracker.device != "cpu"
    clock = time.perf_counter if on_gpu else time.process_time
    around = torch.from_numpy(boxes)
    templates = tracker.remember(pictures[0], around)
    if on_gpu:
        torch.cuda.synchronize()
    begin = clock()
    for picture in pictures[1:]:
        found = tracker.look(templates, picture, around).xyxy
        lost = ~((found[:, 2:] - found[:, :2]).min(1).values > 1)  # a lost target is looked for where it was last
        around = torch.where(lost[:, None], around, found)
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - begin


def csrt(images: list[Path], boxes: NDArray[np.float32], folder: Path) -> float:
    """Seconds of CSRT's updates for the same."""
    count, last, out = len(boxes), len(images) - 1, folder / "said.npz"
    out.unlink(missing_ok=True)
    runs = {"start": np.zeros(count, np.int64), "stop": np.full(count, last), "xyxy": boxes.astype(float)}
    ask([(images, runs, out)], quiet=True)
    with np.load(out) as stored:
        return float(stored["seconds"])


def main() -> None:
    """Measure in turns, print medians and ratios."""
    parser = command_line(__doc__, data=False)
    parser.add_argument("--weights", metavar="FILE", help="of the tracker (default: the shipped ones)")
    parser.add_argument("--full", action="store_true", help="the large network, with random weights")
    parser.add_argument("--device", default="cpu", help="where ours computes (default: cpu)")
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS), metavar="N", help="targets")
    parser.add_argument("--frames", type=int, default=21, metavar="N", help="of the film, the first included")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns (default: 3)")
    args = parser.parse_args()
    one_thread()
    if args.full:
        torch.manual_seed(0)
        tracker = Tracker(TrackerNetwork(TrackerConfig.full()), "full size, random", args.device)
    else:
        tracker = Tracker.load(args.weights, args.device)
    pictures, boxes = filmed(args.frames)
    held = [torch.from_numpy(picture) for picture in pictures]
    seconds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        images = [Path(scratch, f"{number:04}.png") for number in range(len(pictures))]
        for path, picture in zip(images, pictures, strict=True):
            cv2.imwrite(str(path), picture[..., ::-1])
        for turn in range(args.repeats):
            for count in args.counts:
                chosen = boxes[np.arange(count) % len(boxes)]
                if turn == 0:
                    ours(tracker, held[:3], chosen)  # what is done once is not what is measured
                seconds.setdefault(("ours", count), []).append(ours(tracker, held, chosen))
                seconds.setdefault(("CSRT", count), []).append(csrt(images, chosen, Path(scratch)))
            print(f"turn {turn + 1} of {args.repeats}: done", file=sys.stderr, flush=True)
    publish(args, "Speed of the tracker", *_report(args, tracker, seconds, len(boxes)))


def _report(args: Namespace, tracker: Tracker, seconds: dict[tuple[str, int], list[float]], there: int) -> tuple:
    """The text, and the numbers."""
    looks = args.frames - 1
    rate = {key: key[1] * looks / median(spent) for key, spent in seconds.items()}
    rows = []
    for count in args.counts:
        mine, other = rate["ours", count], rate["CSRT", count]
        wanted = "-" if count < _WANTED else "yes" if mine > other else "**no**"
        spread = max(max(seconds[who, count]) / min(seconds[who, count]) for who in ("ours", "CSRT"))
        rows.append([count, mine, mine / count, other, other / count, f"{mine / other:.2f}", wanted, f"{spread:.2f}"])
    config = tracker.config
    device = tracker.device if tracker.device == "cpu" else torch.cuda.get_device_name()
    clock = "processor time on one thread" if tracker.device == "cpu" else "wall time (CSRT: processor time)"
    weights = sum(values.numel() for values in tracker.network.parameters())
    intro = (
        f"Tracker {tracker.version}: crops of {config.template} and {config.search} pixels, {config.channels} "
        f"channels, {weights / 1e6:.2f} million weights, on {device}; {clock}, median of {args.repeats} turns over "
        f"{looks} frames of 1280x720. The film shows {there} targets; where more are asked for, some are followed "
        "twice. Wanted: ours faster for 10 targets and more. Spread: slowest by fastest turn."
    )
    head = [
        "targets", "ours, targets x frames/s", "frames/s", "CSRT, targets x frames/s", "frames/s", "ours by CSRT",
        "faster, as wanted", "spread",
    ]  # fmt: skip
    numbers = [{"who": who, "targets": count, "seconds": spent} for (who, count), spent in seconds.items()]
    return [intro, table(head, rows)], numbers


if __name__ == "__main__":
    start(main)
