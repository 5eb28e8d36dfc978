"""What each part of the model is worth: HOTA / IDF1, means over each set, with one part left out at a time.

    python benchmarks/ablation.py --out docs/benchmarks/ablation.md

First-choice detections with their raw scores; appearance is colours and so concerns only the set with images.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from labelling import add_model_options, as_table, chosen_settings, load_model, with_colours
from reporting import command_line, publish, start, table
from scoring import means, score
from sequences import FIRST_CHOICE, find_sequences, shared_folder

ABLATIONS: dict[str, dict[str, object]] = {
    "nothing": {},
    "node classification off": {"node_classification": False},
    "2 levels": {"num_levels": 2},
    "5 levels": {"num_levels": 5},
    "interpolation off": {"interpolate": False},
    "smoothing off": {"smooth": False},
    "appearance off": {"use_embedding": False},
}


def main() -> None:
    """Label with each setting, score, print."""
    parser = command_line(__doc__)
    add_model_options(parser)
    args = parser.parse_args()
    model, base = load_model(args), chosen_settings(args.settings)
    rows = []
    for sequence in find_sequences(shared_folder(args.data), args.sets, args.sequences):
        truth = sequence.truth()
        candidates = with_colours(sequence, sequence.candidates()[0])
        for name, changes in ABLATIONS.items():
            (tracks,) = model.label([(sequence.video, candidates)], replace(base, **changes))
            where = {"set": sequence.set_name, "sequence": sequence.name, "detections": FIRST_CHOICE}
            rows.append(where | {"ablation": name} | score(sequence, truth, as_table(tracks)))
        print(f"{sequence.name}: done", file=sys.stderr)
    found = {name: means(row for row in rows if row["ablation"] == name) for name in ABLATIONS}
    sets = list(found["nothing"])
    lines = [[name, *(f"{of[s]['HOTA']:.1f} / {of[s]['IDF1']:.1f}" for s in sets)] for name, of in found.items()]
    intro = f"Model {model.version}; settings {base} but for the part named. HOTA / IDF1, means over each set."
    publish(args, "Ablation", [intro, table(["left out", *sets], lines)], rows)


if __name__ == "__main__":
    start(main)
