"""Score what the peers said, as it is, with gaps filled, and with our smoother behind it.

    python benchmarks/peers/score.py [--out docs/benchmarks/peers.md]

reads what ``run.py`` kept and writes ``out/peers/scores.json`` for ``quality.py`` (only when it scored everything).
"Offline" is the better of filled and not, for HOTA and for IDF1 alike, which is kind to the peers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from association import filled
from reporting import command_line, publish, start, table
from run import PEERS, RESULTS, kept_result
from scoring import means, score
from sequences import find_sequences, shared_folder

SCORES = RESULTS / "scores.json"
STEPS = ("as it is", "filled", "filled and smoothed")


def score_peers(folder: Path, sets: list[str] | None, names: list[str] | None) -> list[dict[str, Any]]:
    """One row for every peer, sequence, detection file and step behind the peer."""
    rows = []
    for sequence in find_sequences(folder, sets, names):
        truth = sequence.truth()
        for detections in sequence.detection_names:
            for peer in PEERS:
                tracks = kept_result(peer, sequence.name, detections)
                if tracks is None:
                    continue
                for step, table_ in zip(STEPS, (tracks, filled(tracks), filled(tracks, smooth=True)), strict=True):
                    where = {"set": sequence.set_name, "sequence": sequence.name, "detections": detections}
                    rows.append(where | {"peer": peer, "step": step} | score(sequence, truth, table_))
        print(f"{sequence.name}: scored", file=sys.stderr)
    return rows


def mean_tables(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """For each step, HOTA and IDF1 of every peer, means over each set."""
    parts = []
    rows = list(rows)
    for step in STEPS:
        of_peer = {peer: means(r for r in rows if r["peer"] == peer and r["step"] == step) for peer in PEERS}
        of_peer = {peer: found for peer, found in of_peer.items() if found}
        sets = list(dict.fromkeys(name for found in of_peer.values() for name in found))
        lines = [
            [peer, *(f"{found[s]['HOTA']:.1f} / {found[s]['IDF1']:.1f}" for s in sets)]
            for peer, found in of_peer.items()
        ]
        parts += [f"## {step.capitalize()} (HOTA / IDF1)", table(["peer", *sets], lines)]
    return parts


def main() -> None:
    """Score, print the means, keep the scores."""
    args = command_line(__doc__).parse_args()
    rows = score_peers(shared_folder(args.data), args.sets, args.sequences)
    if not args.sets and not args.sequences:
        SCORES.parent.mkdir(parents=True, exist_ok=True)
        SCORES.write_text(json.dumps(rows))
    intro = (
        'Same boxes for all, scores calibrated on these sequences\' own truth, defaults ("-low": thresholds of 0.4 and '
        "0.5), no images. Means over the sequences of a set with their first-choice detections. Filled: gaps of up "
        "to 20 frames, linearly; smoothed: our smoother behind the peer."
    )
    publish(args, "Peers", [intro, *mean_tables(rows)], rows)


if __name__ == "__main__":
    start(main)
