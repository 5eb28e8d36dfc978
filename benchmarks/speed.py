"""Frames per second of processor time of association alone, ours and the peers' on the same boxes in the same run.

    OMP_NUM_THREADS=1 python benchmarks/speed.py --out docs/benchmarks/speed.md

One thread. Ours is the whole of ``model.label`` on columns (association, calibrated uncertainty, filling, smoothing);
a peer's is its update calls, as peers/track.py says. All get the boxes whose calibrated score is at least 0.1, as in
the shared tables; the line "ours, every box" labels the raw file. Runs are interleaved (ours, A, B, ours, A, B, ...),
and medians reported. The peers need their environments: python benchmarks/peers/install.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).resolve().parent / "peers"))

from calibration import MIN_SCORE, curves, detector_of, probability
from clock import one_thread, timed_label
from labelling import add_model_options, chosen_settings, load_model
from reporting import command_line, publish, start, table
from run import Boxes, run_peer
from sequences import find_sequences, shared_folder

from spam_plugin.models.columns import Candidates, VideoInfo

SEQUENCES = ("MOT16-09", "KITTI-car-0001", "MOT20-01")
PEERS = ("boxmot ByteTrack", "boxmot OC-SORT", "trackers SORT", "trackers ByteTrack", "trackers OC-SORT")
OURS, OURS_ALL = "ours", "ours, every box"


def shown_boxes(folder: Path, names: list[str]) -> dict[str, tuple[VideoInfo, Boxes, Candidates, Candidates]]:
    """Of each sequence: its video, the peers' boxes, the same boxes for us with raw scores, and the whole file."""
    curve_of = curves(find_sequences(folder))
    found = {}
    for sequence in find_sequences(folder, names=names):
        whole, _ = sequence.candidates()
        score = probability(whole.score, curve_of[detector_of(sequence, "det")])
        kept = score >= MIN_SCORE
        same = Candidates(whole.frame[kept], whole.xyxy[kept], whole.score[kept], whole.class_index[kept])
        found[sequence.name] = (sequence.video, (same.frame, same.xyxy, score[kept]), same, whole)
    return found


def main() -> None:
    """Measure in turns, print medians and ratios."""
    parser = command_line(__doc__)
    add_model_options(parser)
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="turns of everybody (default: 5)")
    parser.add_argument("--peers", nargs="*", default=PEERS, metavar="PEER", help=f"default: {', '.join(PEERS)}")
    args = parser.parse_args()
    one_thread()
    model, settings = load_model(args), chosen_settings(args.settings)
    videos = shown_boxes(shared_folder(args.data), args.sequences or list(SEQUENCES))
    seconds: dict[tuple[str, str], list[float]] = {}
    for _, _, same, _ in videos.values():  # what is done once a process is not what is measured
        timed_label(model, VideoInfo("warm-up", int(same.frame[-1]) + 1, 1920, 1080, 30), same, settings)
    for turn in range(args.repeats):
        for name, (video, _, same, whole) in videos.items():
            for who, candidates in ((OURS, same), (OURS_ALL, whole)):
                spent, _ = timed_label(model, video, candidates, settings)
                seconds.setdefault((who, name), []).append(spent)
        for peer in args.peers:
            answers = run_peer(peer, {name: (v, boxes) for name, (v, boxes, _, _) in videos.items()}, warm_up=True)
            for name, answer in answers.items():
                seconds.setdefault((peer, name), []).append(float(answer["seconds"]))
        print(f"turn {turn + 1} of {args.repeats}: done", file=sys.stderr)
    rate = {key: videos[key[1]][0].num_frames / median(spent) for key, spent in seconds.items()}
    spread = {key: max(spent) / min(spent) for key, spent in seconds.items()}
    lines = []
    for who in (OURS, OURS_ALL, *args.peers):
        cells = [f"{rate[who, name]:.0f} ({rate[OURS, name] / rate[who, name]:.2f})" for name in videos]
        lines.append([who, *cells, f"{max(spread[who, name] for name in videos):.2f}"])
    head = [
        f"{name} ({len(same) / video.num_frames:.0f} boxes a frame)" for name, (video, _, same, _) in videos.items()
    ]
    intro = (
        f"Model {model.version}; settings {settings}. Frames per second of processor time, median of {args.repeats} "
        "interleaved turns; in brackets how many times faster ours is; spread: slowest by fastest turn."
    )
    numbers = [{"who": who, "sequence": name, "seconds": spent} for (who, name), spent in seconds.items()]
    publish(args, "Speed", [intro, table(["", *head, "spread"], lines)], numbers)


if __name__ == "__main__":
    start(main)
