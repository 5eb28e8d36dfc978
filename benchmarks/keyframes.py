"""How many keyframes our tracks need so that straight lines between them follow every box, and what finding them costs.

    python benchmarks/keyframes.py --out docs/benchmarks/keyframes.md

First-choice detections with their raw scores. A box outside is the one that ends a track, or begins a gap in it.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np
from labelling import add_model_options, chosen_settings, load_model, with_colours
from reporting import command_line, publish, start, table
from sequences import FIRST_CHOICE, find_sequences, shared_folder

from spam_plugin.engine.keyframing import fewest_keyframes, interpolate
from spam_plugin.models.columns import Tracks
from spam_plugin.models.spam.overlaps import paired_iou

TOLERANCES = (0.95, 0.9, 0.8)
AIM = 15.0  # percent of the boxes, at the tolerance that the sync uses by default
DEFAULT = 0.9


def measure(tracks: Tracks, num_frames: int, tolerance: float) -> dict[str, float]:
    """Keyframes of some tracks, their least overlap, and the processor time that finding them took."""
    began = time.process_time()
    keys = fewest_keyframes(tracks.track_index, tracks.frame, tracks.xyxy, tolerance, None, num_frames - 1)
    seconds = time.process_time() - began
    _, frame, box, _ = interpolate(keys, num_frames - 1)
    order = np.lexsort((tracks.frame, tracks.track_index))
    if (frame != tracks.frame[order]).any():
        raise AssertionError("the keyframes stand for boxes in other frames")
    least = paired_iou(box, tracks.xyxy[order].astype(np.float64)).min(initial=1.0)
    visible = int((~keys.outside).sum())
    return {
        "boxes": len(tracks), "visible": visible, "outside": len(keys) - visible, "least": float(least),
        "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    """Label, smoothed and not, reduce, print."""
    parser = command_line(__doc__)
    add_model_options(parser)
    args = parser.parse_args()
    model, base = load_model(args), chosen_settings(args.settings)
    rows = []
    for sequence in find_sequences(shared_folder(args.data), args.sets, args.sequences):
        candidates = with_colours(sequence, sequence.candidates()[0])
        for smooth in (True, False):
            (tracks,) = model.label([(sequence.video, candidates)], replace(base, smooth=smooth))
            for tolerance in TOLERANCES:
                where = {"set": sequence.set_name, "sequence": sequence.name, "detections": FIRST_CHOICE}
                found = measure(tracks, sequence.video.num_frames, tolerance)
                rows.append({**where, "smooth": smooth, "tolerance": tolerance, **found})
        print(f"{sequence.name}: done", file=sys.stderr)
    sums: dict[tuple, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        for name in (row["set"], "all boxes"):
            for column in ("boxes", "visible", "outside", "seconds"):
                sums[name, row["smooth"], row["tolerance"]][column] += row[column]
    sets = [*dict.fromkeys(row["set"] for row in rows), "all boxes"]
    lines = []
    for smooth in (True, False):
        for tolerance in TOLERANCES:
            of = [sums[name, smooth, tolerance] for name in sets]
            share = [
                f"{100 * one['visible'] / one['boxes']:.1f} + {100 * one['outside'] / one['boxes']:.1f}" for one in of
            ]
            mean = np.mean([100 * one["visible"] / one["boxes"] for one in of[:-1]])
            cost = 1e6 * of[-1]["seconds"] / of[-1]["boxes"]
            lines.append(
                ["as labelled" if smooth else "not smoothed", f"{tolerance:g}", *share, f"{mean:.1f}", f"{cost:.0f}"]
            )
    per_sequence = [
        100 * row["visible"] / row["boxes"]
        for row in rows
        if row["smooth"] and row["tolerance"] == DEFAULT and row["boxes"]
    ]
    whole = sums["all boxes", True, DEFAULT]
    pooled = 100 * whole["visible"] / whole["boxes"]
    mean_of_sets = np.mean(
        [100 * sums[n, True, DEFAULT]["visible"] / sums[n, True, DEFAULT]["boxes"] for n in sets[:-1]]
    )
    words = "reached" if pooled <= AIM else "missed"
    verdict = (
        f"Aim: at most {AIM:g} % of the boxes at {DEFAULT:g}. Over all boxes {pooled:.1f} %: **{words}**. The mean of "
        f"the sets is {mean_of_sets:.1f} %, the mean of the sequences {np.mean(per_sequence):.1f} %; least overlap "
        f"anywhere {min(row['least'] - row['tolerance'] for row in rows) + DEFAULT:.4f} where {DEFAULT:g} was asked."
    )
    intro = (
        f"Model {model.version}; settings {base}. Keyframes as a share of the boxes, visible + outside, in percent; a "
        "keyframe on every box would be 100. Processor time in microseconds a box."
    )
    publish(
        args, "Keyframes",
        [intro, table(["tracks", "tolerance", *sets, "mean of sets", "time"], lines), verdict], rows,
    )  # fmt: skip


if __name__ == "__main__":
    start(main)
