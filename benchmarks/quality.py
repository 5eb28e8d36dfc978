r"""What labels are worth without a click: our tracks, the best peers, and perfect association of the same boxes.

    python benchmarks/quality.py --out docs/benchmarks/quality.md --json out/quality.json \
        --plot docs/images/reliability.png

Raw scores of the public detections, one configuration for all, colours as appearance where images exist, MOT17's
preprocessing. The peers' rows come from ``peers/run.py`` and ``peers/score.py`` and from ``baselines/baselines.csv`` of
the shared folder; where those are missing, so are the rows. Also reports how far stated probabilities come true.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent / "peers"))

from association import filled, perfect_association
from labelling import add_model_options, as_table, chosen_settings, load_model, made_links, with_colours
from reliability import BINS, Claims, claims_of, draw
from reporting import command_line, publish, start, table
from score import SCORES
from scoring import METRICS, means, score
from sequences import Sequence as VideoSequence
from sequences import find_sequences, shared_folder, targets

from spam_plugin.models.spam import LabelSettings, SpamModel

# HOTA and IDF1 that the labels have to reach.
GOALS = {
    "mot_images": (50.0, 70.0), "mot15_text": (45.0, 60.0), "kitti_cars": (74.0, 88.0), "mot17_20_jitter": (84.0, 92.0),
}  # fmt: skip
OURS, PERFECT, PERFECT_SMOOTHED = "ours", "perfect association, as detected", "perfect association, smoothed"
Row = dict[str, Any]


def label_and_score(
    model: SpamModel, settings: LabelSettings, sequence: VideoSequence, detections: str
) -> tuple[list[Row], Claims, Claims]:
    """Rows of our labels and of the two bounds for one detection file; what we claimed of boxes and of links."""
    truth = sequence.truth()
    candidates, _ = sequence.candidates(detections)
    if settings.use_embedding:
        candidates = with_colours(sequence, candidates)
    (tracks,) = model.label([(sequence.video, candidates)], settings)
    perfect, _ = perfect_association(candidates.frame, candidates.xyxy, targets(truth))
    answers = {OURS: as_table(tracks), PERFECT: filled(perfect), PERFECT_SMOOTHED: filled(perfect, smooth=True)}
    where = {"set": sequence.set_name, "sequence": sequence.name, "detections": detections}
    rows = [where | {"method": method} | score(sequence, truth, answer) for method, answer in answers.items()]
    links = made_links(model, sequence.video, candidates, settings)
    return rows, *claims_of(tracks, truth, links)


def shared_baselines(folder: Path) -> list[Row]:
    """Rows of trackers in the shared tables, without the bounds and the keyframing."""
    path = folder / "baselines" / "baselines.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        found = [row for row in csv.DictReader(file) if not row["tracker"].startswith(("oracle", "effort"))]
    return [
        {key: row[key] for key in ("set", "sequence", "detections")}
        | {"peer": row["tracker"]}
        | {key: float(row[key]) for key in METRICS}
        for row in found
    ]


def own_peers(steps: Sequence[str]) -> list[Row]:
    """Rows of ``peers/score.py`` after the given steps, each step a peer of its own."""
    if not SCORES.exists():
        return []
    rows = json.loads(SCORES.read_text())
    return [row | {"peer": f"{row['peer']}, {row['step']}"} for row in rows if row["step"] in steps]


def best(rows: Sequence[Row], wanted: set[tuple[str, str, str]]) -> dict[str, dict[str, tuple[float, str]]]:
    """For each set the greatest mean of HOTA and of IDF1 over the wanted sequences, and whose it is."""
    by_peer: dict[str, list[Row]] = {}
    for row in rows:
        if (row["set"], row["sequence"], row["detections"]) in wanted:
            by_peer.setdefault(row["peer"], []).append(row)
    found: dict[str, dict[str, tuple[float, str]]] = {}
    for peer, group in by_peer.items():
        for name, values in means(group).items():
            for key in ("HOTA", "IDF1"):
                entry = (float(values[key]), peer)
                found.setdefault(name, {})[key] = max(found.get(name, {}).get(key, entry), entry)
    return found


def mean_table(rows: Sequence[Row], folder: Path) -> str:
    """One line a set: goal, ours, the best peers, the bounds, as HOTA / IDF1."""
    wanted = {(row["set"], row["sequence"], row["detections"]) for row in rows}
    of_method = {
        method: means(r for r in rows if r["method"] == method) for method in (OURS, PERFECT, PERFECT_SMOOTHED)
    }
    peers = {
        "best peer, shared tables": best(shared_baselines(folder), wanted),
        "best offline peer": best(own_peers(("as it is", "filled")), wanted),
        "best peer + our smoother": best(own_peers(("filled and smoothed",)), wanted),
    }

    def both(found: Mapping[str, float] | None) -> str | None:
        return f"{found['HOTA']:.1f} / {found['IDF1']:.1f}" if found else None

    lines = []
    for name in of_method[OURS]:
        goal = GOALS.get(name)
        line = [name, both(of_method[OURS][name]), f"{goal[0]:.0f} / {goal[1]:.0f}" if goal else None]
        for found in peers.values():
            line.append(both({key: value for key, (value, _) in found[name].items()}) if name in found else None)
        lines.append([*line, both(of_method[PERFECT][name]), both(of_method[PERFECT_SMOOTHED][name])])
    return table(["set", OURS, "goal", *peers, PERFECT, PERFECT_SMOOTHED], lines)


def file_table(rows: Sequence[Row]) -> str:
    """One line a detection file: all our metrics, the best peers' and the bounds' HOTA and IDF1."""
    offline, smoothed = own_peers(("as it is", "filled")), own_peers(("filled and smoothed",))
    at = {(row["sequence"], row["detections"], row["method"]): row for row in rows}

    def greatest(peers: Sequence[Row], row: Row) -> str | None:
        mine = [p for p in peers if (p["sequence"], p["detections"]) == (row["sequence"], row["detections"])]
        return f"{max(p['HOTA'] for p in mine):.1f} / {max(p['IDF1'] for p in mine):.1f}" if mine else None

    lines = []
    for row in rows:
        if row["method"] != OURS:
            continue
        bounds = [at[row["sequence"], row["detections"], method] for method in (PERFECT, PERFECT_SMOOTHED)]
        lines.append(
            [row["set"], row["sequence"], row["detections"], *(row[key] for key in METRICS), greatest(offline, row),
             greatest(smoothed, row), *(f"{b['HOTA']:.1f} / {b['IDF1']:.1f}" for b in bounds)]
        )  # fmt: skip
    head = ["set", "sequence", "file", *METRICS, "best peer", "best peer smoothed", "perfect", "perfect smoothed"]
    return table(head, lines)


def calibration_table(claims: Mapping[tuple[str, str], tuple[Claims, Claims]], sets: Sequence[str]) -> str:
    """Expected calibration errors of boxes and links on each set, first-choice detections and all files together."""
    lines = []
    for name in [*sets, "all"]:
        for scope in ("det", "all files"):
            kept = [c for (s, d), c in claims.items() if name in (s, "all") and (scope == "all files" or d == "det")]
            for kind, index in (("boxes", 0), ("links", 1)):
                every = Claims.together(pair[index] for pair in kept)
                lines.append([name, scope, kind, len(every), *_claim_cells(every)])
    head = ["set", "files", "claims", "number", "mean stated", "share true", "ECE equal width", "ECE adaptive"]
    return table(head, lines)


def _claim_cells(claims: Claims) -> list[str | None]:
    if not len(claims):
        return [None] * 4
    values = claims.probability.mean(), claims.right.mean(), claims.error(), claims.error(adaptive=True)
    return [f"{value:.4f}" for value in values]


def main() -> None:
    """Label, score, compare, print."""
    parser = command_line(__doc__)
    add_model_options(parser)
    parser.add_argument("--plot", metavar="FILE.png", help="draw the reliability diagram")
    args = parser.parse_args()
    folder, model, settings = shared_folder(args.data), load_model(args), chosen_settings(args.settings)
    rows: list[Row] = []
    claims: dict[tuple[str, str], list[tuple[Claims, Claims]]] = {}
    for sequence in find_sequences(folder, args.sets, args.sequences):
        for detections in sequence.detection_names:
            found, boxes, links = label_and_score(model, settings, sequence, detections)
            rows += found
            claims.setdefault((sequence.set_name, detections), []).append((boxes, links))
            print(
                f"{sequence.name} {detections}: HOTA {found[0]['HOTA']:.1f}, IDF1 {found[0]['IDF1']:.1f}",
                file=sys.stderr,
            )
    pooled = {
        key: (Claims.together(boxes for boxes, _ in pairs), Claims.together(links for _, links in pairs))
        for key, pairs in claims.items()
    }
    sets = list(dict.fromkeys(row["set"] for row in rows))
    if args.plot:
        panels = {
            title: {name: Claims.together(c[i] for (s, _), c in pooled.items() if s == name) for name in sets}
            for i, title in enumerate(("validity of boxes", "links"))
        }
        draw(Path(args.plot), panels)
    ours = means(row for row in rows if row["method"] == OURS)
    publish(
        args,
        "Quality",
        [
            f"Model {model.version}; settings {settings}.",
            "## Means over each set (HOTA / IDF1, first-choice detections, every sequence weighs the same)",
            mean_table(rows, folder),
            "A peer's HOTA and IDF1 are each the greatest of all peers, with gaps of up to 20 frames filled or not "
            "(peers.md has them all); perfect association fills the same gaps.",
            "## Ours in full",
            table(
                ["set", *METRICS],
                [[name, *(float(v) if k != "IDSW" else int(v) for k, v in ours[name].items())] for name in ours],
            ),
            "## Every sequence and every detection file",
            file_table(rows),
            f"## Calibration ({BINS} bins)",
            "Boxes: is a box taken from a candidate matched to a target at IoU 0.5? Links: do two consecutive such "
            "boxes of a track, both matched, hit the same target? Nothing of this is fitted on real sequences.",
            calibration_table(pooled, sets),
        ],
        {"version": model.version, "settings": str(settings), "rows": rows, "means": ours},
    )


if __name__ == "__main__":
    start(main)
