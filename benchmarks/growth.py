"""How labelling time grows with the length of the video and with the boxes of a frame, on simulated streams.

    OMP_NUM_THREADS=1 python benchmarks/growth.py --out docs/benchmarks/growth.md

Processor time on one thread. The fitted exponent is the slope of log time over log size: 1 is linear growth.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

import numpy as np
from clock import one_thread, timed_label
from labelling import add_model_options, chosen_settings, load_model
from reporting import command_line, publish, start, table
from stream import simulate

from spam_plugin.models.spam import LabelSettings, SpamModel

FRAMES, BOXES_AT_FRAMES = (1_000, 3_000, 10_000, 30_000, 100_000), 10
BOXES, FRAMES_AT_BOXES = (5, 10, 20, 50, 100), 1_000
# Sizes under so many boxes are measured three times.
SMALL = 150_000


def measure(model: SpamModel, settings: LabelSettings, num_frames: int, boxes_per_frame: int) -> dict[str, Any]:
    """Time and result of one size."""
    video, candidates = simulate(num_frames, boxes_per_frame)
    runs = [timed_label(model, video, candidates, settings) for _ in range(3 if len(candidates) < SMALL else 1)]
    seconds = median(spent for spent, _ in runs)
    print(f"{video.name}: {seconds:.1f} s", file=sys.stderr)
    return {"frames": num_frames, "boxes": boxes_per_frame, "candidates": len(candidates), "seconds": seconds,
            "tracks": runs[0][1].num_tracks}  # fmt: skip


def exponent(rows: list[dict[str, Any]], key: str) -> float:
    """Least-squares slope of log seconds over log size."""
    return float(np.polyfit(np.log([row[key] for row in rows]), np.log([row["seconds"] for row in rows]), 1)[0])


def report(rows: list[dict[str, Any]]) -> str:
    """One line a size."""
    lines = [
        [row["frames"], row["boxes"], row["candidates"], row["tracks"], f"{row['seconds']:.2f}",
         f"{row['frames'] / row['seconds']:.0f}", f"{1e6 * row['seconds'] / row['candidates']:.1f}"] for row in rows
    ]  # fmt: skip
    return table(
        ["frames", "boxes a frame", "candidates", "tracks", "seconds", "frames/s", "microseconds a box"], lines
    )


def main() -> None:
    """Measure both ways of growing, fit, print."""
    parser = command_line(__doc__, data=False)
    add_model_options(parser)
    parser.add_argument("--frames", nargs="+", type=int, default=FRAMES, metavar="N", help="lengths to measure")
    parser.add_argument("--boxes", nargs="+", type=int, default=BOXES, metavar="N", help="boxes a frame to measure")
    args = parser.parse_args()
    one_thread()
    model, settings = load_model(args), chosen_settings(args.settings)
    measure(model, settings, 300, 10)  # what is done once a process is not what is measured
    by_frames = [measure(model, settings, number, BOXES_AT_FRAMES) for number in args.frames]
    by_boxes = [measure(model, settings, FRAMES_AT_BOXES, number) for number in args.boxes]
    parts = [
        f"Model {model.version}; settings {settings}. Seconds of processor time, one thread.",
        f"## With frames: time grows as frames to the power of {exponent(by_frames, 'frames'):.2f}",
        report(by_frames),
        f"## With boxes per frame: time grows as boxes to the power of {exponent(by_boxes, 'boxes'):.2f}",
        report(by_boxes),
    ]
    publish(args, "Growth", parts, {"frames": by_frames, "boxes": by_boxes})


if __name__ == "__main__":
    start(main)
