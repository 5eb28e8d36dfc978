"""Peak resident memory of labelling an hour of video in one process on the CPU.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --out docs/benchmarks/memory.md

A simulated hour at 30 frames a second with 30 boxes a frame. The peak is the process's own (``ru_maxrss``), so it holds
Python, PyTorch, the making of the boxes, and the answer. Run it by itself: the peak never falls.
"""

from __future__ import annotations

import resource
import sys

from clock import one_thread, timed_label
from labelling import add_model_options, chosen_settings, load_model
from reporting import command_line, publish, start, table
from stream import simulate

GIB = 2**30
LIMIT_GIB = 4.0


def peak_gib() -> float:
    """Greatest resident memory of this process so far, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GIB


def main() -> None:
    """Make the stream, label it, print memory and time."""
    parser = command_line(__doc__, data=False)
    add_model_options(parser)
    parser.add_argument("--frames", type=int, default=108_000, metavar="N", help="length (default: an hour at 30 fps)")
    parser.add_argument("--boxes", type=int, default=30, metavar="N", help="boxes a frame (default: 30)")
    args = parser.parse_args()
    one_thread()
    model, settings = load_model(args), chosen_settings(args.settings)
    loaded = peak_gib()
    video, candidates = simulate(args.frames, args.boxes)
    made = peak_gib()
    seconds, tracks = timed_label(model, video, candidates, settings)
    peak = peak_gib()
    numbers = {
        "frames": args.frames, "candidates": len(candidates), "tracks": tracks.num_tracks, "track_boxes": len(tracks),
        "peak_gib_loaded": loaded, "peak_gib_boxes_made": made, "peak_gib_labelled": peak, "seconds": seconds,
    }  # fmt: skip
    lines = [
        ["frames", args.frames],
        ["candidates", len(candidates)],
        ["tracks", tracks.num_tracks],
        ["boxes of tracks", len(tracks)],
        ["peak with the model loaded, GiB", f"{loaded:.2f}"],
        ["peak with the candidates made, GiB", f"{made:.2f}"],
        [
            "peak after labelling, GiB",
            f"{peak:.2f} (limit {LIMIT_GIB:g}: {'kept' if peak < LIMIT_GIB else 'EXCEEDED'})",
        ],
        ["processor time of labelling, s", f"{seconds:.0f}"],
        ["frames per second", f"{args.frames / seconds:.0f}"],
    ]
    publish(args, "Memory", [f"Model {model.version}; settings {settings}.", table(["", "value"], lines)], numbers)


if __name__ == "__main__":
    start(main)
