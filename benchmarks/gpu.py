"""The speed benchmark's sequences on a GPU, and how far its links agree with the CPU's.

    python benchmarks/gpu.py --out docs/benchmarks/gpu.md

Wall time, since a GPU works while the processor waits; medians. A link is a pair of candidates that follow each other
in a track; the agreement is the share of the links of either device that both made. Without CUDA it says so and ends.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import numpy as np
import torch
from labelling import add_model_options, chosen_settings
from reporting import command_line, publish, start, table
from sequences import find_sequences, shared_folder
from stream import simulate

from spam_plugin.models.columns import Candidates, Tracks, VideoInfo
from spam_plugin.models.errors import MissingError
from spam_plugin.models.spam import LabelSettings, SpamModel

SEQUENCES = ("MOT16-09", "KITTI-car-0001", "MOT20-01")
STREAMS = ((10_000, 10), (10_000, 30))
LEAST_AGREEMENT = 0.999


def links_of(tracks: Tracks) -> set[tuple[int, int]]:
    """Pairs of candidates that follow each other in a track, filled boxes apart."""
    own = np.flatnonzero(tracks.candidate_index >= 0)
    order = own[np.lexsort((tracks.frame[own], tracks.track_index[own]))]
    same = tracks.track_index[order[1:]] == tracks.track_index[order[:-1]]
    row = tracks.candidate_index[order]
    return set(zip(row[:-1][same].tolist(), row[1:][same].tolist(), strict=True))


def measure(
    model: SpamModel, video: VideoInfo, candidates: Candidates, settings: LabelSettings, repeats: int
) -> tuple[float, Tracks]:
    """Median seconds of wall time, and the tracks; the first run is not counted."""
    spent = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        (tracks,) = model.label([(video, candidates)], settings)  # its answer lies on the CPU: nothing is left running
        spent.append(time.perf_counter() - begin)
    return median(spent[1:]), tracks


def main() -> None:
    """Label on both devices, compare, print."""
    parser = command_line(__doc__)
    add_model_options(parser)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="runs on each device (default: 5)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        publish(args, "GPU", ["Not run: this machine has no GPU that PyTorch can use."], {"ran": False})
        return
    settings = chosen_settings(args.settings)
    on_cpu, on_gpu = (SpamModel.load(args.weights, device) for device in ("cpu", "cuda"))
    videos = [simulate(*size) for size in STREAMS]
    try:
        found = find_sequences(shared_folder(args.data), args.sets, args.sequences or SEQUENCES)
        videos = [(sequence.video, sequence.candidates()[0]) for sequence in found] + videos
    except MissingError as error:
        print(f"only simulated streams: {error}", file=sys.stderr)
    lines, numbers = [], []
    for video, candidates in videos:
        cpu_seconds, cpu_tracks = measure(on_cpu, video, candidates, settings, args.repeats)
        gpu_seconds, gpu_tracks = measure(on_gpu, video, candidates, settings, args.repeats)
        cpu_links, gpu_links = links_of(cpu_tracks), links_of(gpu_tracks)
        either = len(cpu_links | gpu_links)
        agreement = len(cpu_links & gpu_links) / either if either else 1.0
        rates = [video.num_frames / seconds for seconds in (cpu_seconds, gpu_seconds)]
        lines.append(
            [video.name, len(candidates), *(f"{rate:.0f}" for rate in rates), f"{rates[1] / rates[0]:.2f}", either,
             f"{100 * agreement:.3f} %", "yes" if agreement >= LEAST_AGREEMENT else "NO"]
        )  # fmt: skip
        numbers.append({"video": video.name, "cpu": rates[0], "gpu": rates[1], "links": either, "agreement": agreement})
        print(f"{video.name}: done", file=sys.stderr)
    intro = (
        f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; the CPU on {torch.get_num_threads()} threads. "
        f"Model {on_cpu.version}; settings {settings}. Frames per second of wall time, median of {args.repeats}."
    )
    head = [
        "video",
        "candidates",
        "CPU frames/s",
        "GPU frames/s",
        "GPU by CPU",
        "links",
        "agreement",
        "at least 99.9 %",
    ]
    publish(args, "GPU", [intro, table(head, lines)], {"ran": True, "videos": numbers})


if __name__ == "__main__":
    start(main)
