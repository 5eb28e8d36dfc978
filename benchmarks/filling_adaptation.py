r"""What each ingredient of sparse training is worth, and how many boxes an object needs.

    OMP_NUM_THREADS=1 python benchmarks/filling_adaptation.py --out docs/benchmarks/filling_adaptation.md \
        --json out/filling_adaptation.json --plot docs/images/filling_boxes.png

One dataset of three real sequences and two rendered films is adapted to as a whole, each time with one ingredient less,
or with fewer boxes of an object; budgets are small. Each adapted tracker follows between boxes every 30 frames, from
both sides and without the line, and fills there with the line as the product does. The second table also fills from the
very boxes that adaptation saw and nothing else. Adaptations and answers are kept in ``--keep``; what was cut short goes
on.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from clock import one_thread
from filling_ways import adapted, clip_of, digest_of, fill, keyframes_of
from filling_world import Scene, Score, film, only, overlap, scene_of, shown, spread, straight
from numpy.typing import NDArray
from reporting import command_line, publish, start, table
from sequences import ROOT, find_sequences, shared_folder

from spam_plugin.engine.filling import FillSettings, Keyframes
from spam_plugin.models.spot.adaptation import AdaptSettings
from spam_plugin.models.spot.model import Tracker

SEQUENCES = ("TUD-Campus", "KITTI-17", "DragonBaby")
EVERY = 30
BOXES = (1, 2, 3, 5)
NOT_ADAPTED, WHOLE = "not adapted", "all of it"
#: What each row changes of the settings.
VARIANTS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "a person's boxes only": {"burn_in": 1.0},
    "without consistency": {"consistency": False},
    "without filtering": {"filtering": False},
    "without asymmetric augmentation": {"asymmetric": False},
    "without temporal calibration": {"calibration": False},
}
#: Looks where filling looks, so that it costs nothing more.
FOLLOWING = FillSettings(open_frames=0, fall_back=False)
FILLING = FillSettings(open_frames=0)
#: From few boxes everything is reached, however far, and whatever the tracker thinks of it.
ALONE = FillSettings(max_gap=100_000, open_frames=100_000, least_confidence=0.0)


@dataclass(frozen=True)
class Row:
    """What one adapted tracker reached.

    Attributes:
        following: of each scene, from both sides, without the line.
        filling: of each scene, between boxes every 30 frames.
        alone: of each scene, from the boxes that adaptation saw; None where that was not asked.
        seconds: of processor time of the adaptation.
        best_step: whose weights were kept.
        boxes: learnt from.
    """

    following: list[Score]
    filling: list[Score]
    alone: list[Score] | None
    seconds: float | None = None
    best_step: int | None = None
    boxes: int | None = None


def main() -> None:
    """Adapt, fill, print."""
    parser = command_line(__doc__)
    parser.add_argument("--weights", metavar="FILE", help="of the tracker (default: the shipped ones)")
    parser.add_argument("--steps", type=int, default=150, metavar="N", help="of an adaptation (default 150)")
    parser.add_argument(
        "--judges", type=int, default=AdaptSettings().judges, metavar="N",
        help="boxes held out to choose the best weights by (default as in the product); 0 keeps the last weights, so "
        "that rows differ by what was learnt and not by when it was best to stop",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="S", help="of the adaptations (default 0)")
    parser.add_argument("--films", type=int, nargs="*", default=[0, 3], metavar="N", help="rendered (default 0 and 3)")
    parser.add_argument("--frames", type=int, default=90, metavar="N", help="of a film (default 90)")
    parser.add_argument("--keep", type=Path, default=ROOT / "out" / "filling-adaptation", metavar="FOLDER")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw what boxes bring")
    args = parser.parse_args()
    one_thread()
    videos = find_sequences(shared_folder(args.data), args.sets, args.sequences or list(SEQUENCES))
    scenes = [scene_of(video) for video in videos]
    real = len(scenes)
    scenes += [film(number, args.frames) for number in args.films]
    tracker = Tracker.load(args.weights)
    rows: dict[tuple[str, int], list[Row]] = {}
    most = BOXES[-1]
    plan = [(NOT_ADAPTED, most), *((name, most) for name in VARIANTS), *((WHOLE, k) for k in BOXES[:-1])]
    plan += [(NOT_ADAPTED, k) for k in BOXES[:-1]]
    for name, boxes in plan:
        for seed in args.seeds[:1] if name == NOT_ADAPTED else args.seeds:
            row = measure(tracker, scenes, name, boxes, seed, args)
            rows.setdefault((name, boxes), []).append(row)
            means = [str(Score.mean(each[:real])) for each in (row.following, row.filling)]
            print(f"{name}, {boxes} boxes, seed {seed}: {' | '.join(means)}", file=sys.stderr, flush=True)
    parts = report(rows, scenes, real)
    parts.insert(0, _intro(tracker, scenes, args))
    if args.plot:
        draw_boxes(args.plot, rows, scenes, real)
        parts.append(f"![Mean overlap by boxes of an object](../images/{args.plot.name})")
    kept = [
        {"row": name, "boxes": boxes, "runs": [_plain(run, scenes) for run in runs]}
        for (name, boxes), runs in rows.items()
    ]
    publish(args, "Adaptation of the tracker, ingredient by ingredient", parts, kept)


def measure(tracker: Tracker, scenes: Sequence[Scene], name: str, boxes: int, seed: int, args: Namespace) -> Row:
    """One row: adapt if it says so, follow and fill every scene."""
    said: dict[str, Any] = {}
    key = f"{name.replace(' ', '-').replace(chr(39), '')}-{boxes}-{seed}"
    if name != NOT_ADAPTED:
        clips = [clip_of(scene, scene.gaps(EVERY), spread(scene.gaps(EVERY), boxes)) for scene in scenes]
        settings = replace(AdaptSettings(steps=args.steps, judges=args.judges, seed=seed), **VARIANTS[name])
        tracker, said = adapted(tracker, clips, settings, args.keep / f"{key}.safetensors", key)
    following, filling, alone = [], [], []
    for scene in scenes:
        gaps = scene.gaps(EVERY)
        # What does not depend on the number of boxes is computed once.
        same = key if name != NOT_ADAPTED else "not-adapted"
        for settings_, scores, what in ((FOLLOWING, following, "following"), (FILLING, filling, "filling")):
            found = fill(tracker, scene, gaps, settings_, args.keep / f"{same}-{what}-{scene.name}.npz")
            scores.append(Score.of(overlap(gaps, found.xyxy)))
        if name in (WHOLE, NOT_ADAPTED):
            rest, _ = only(gaps, spread(gaps, boxes))
            found = fill(tracker, scene, rest, ALONE, args.keep / f"{key}-alone-{scene.name}.npz", _ends(scene, boxes))
            alone.append(Score.of(overlap(rest, found.xyxy)))
    return Row(
        following, filling, alone or None, said.get("seconds"), said.get("best_step"), said.get("boxes")
    )  # fmt: skip


def _ends(scene: Scene, boxes: int) -> Keyframes:
    """A few boxes of each track, and the frames in which the person says that it begins and ends."""
    gaps = scene.gaps(EVERY)
    whole, (rest, _) = keyframes_of(gaps), only(gaps, spread(gaps, boxes))
    return replace(keyframes_of(rest), earliest=whole.earliest, latest=whole.latest)


def report(rows: dict[tuple[str, int], list[Row]], scenes: Sequence[Scene], real: int) -> list[str]:
    """Both tables."""
    most = BOXES[-1]
    line = [Score.of(overlap(scene.gaps(EVERY), straight(scene.gaps(EVERY)))) for scene in scenes]
    names = [shown(scene.name) for scene in scenes[:real]]
    groups = [slice(0, real), slice(real, None)] if len(scenes) > real else [slice(0, real)]
    titles = ["real", "films"][: len(groups)]
    first: list[list[Any]] = [
        ["straight line", *[None] * len(groups), *(_shown(Score.mean(line[g])) for g in groups),
         *map(_shown, line[:real]), None, None]
    ]  # fmt: skip
    for name in (NOT_ADAPTED, *VARIANTS):
        runs = rows[name, most]
        cells = [_mean([getattr(run, what)[g] for run in runs]) for what in ("following", "filling") for g in groups]
        each = [_mean([run.filling[n : n + 1] for run in runs]) for n in range(real)]
        seconds = [run.seconds for run in runs if run.seconds is not None]
        first.append(
            [name, *cells, *each, float(np.mean(seconds)) if seconds else None,
             ", ".join(str(run.best_step) for run in runs) if seconds else None]
        )  # fmt: skip
    head = [
        "adaptation", *(f"following, {t}" for t in titles), *(f"filling, {t}" for t in titles),
        *(f"filling, {n}" for n in names), "seconds", "best step",
    ]  # fmt: skip
    second: list[list[Any]] = []
    for boxes in BOXES:
        held = [Score.of(overlap(*only(gaps, spread(gaps, boxes)))) for gaps in (s.gaps(EVERY) for s in scenes)]
        plain, runs = rows[NOT_ADAPTED, boxes], rows[WHOLE, boxes]
        second.append(
            [boxes, runs[0].boxes, *(_mean([run.filling[g] for run in runs]) for g in groups),
             *(_shown(Score.mean(held[g])) for g in groups), *(_mean([run.alone[g] for run in plain]) for g in groups),
             *(_mean([run.alone[g] for run in runs]) for g in groups)]
        )  # fmt: skip
    head_of_second = [
        "boxes of an object", "boxes in all", *(f"boxes every {EVERY}, adapted, {t}" for t in titles),
        *(f"alone: line, {t}" for t in titles), *(f"alone: not adapted, {t}" for t in titles),
        *(f"alone: adapted, {t}" for t in titles),
    ]  # fmt: skip
    return [
        f"## Ingredients, {most} boxes of an object\n\nMean IoU / share above 0.7, in percent, means over sequences.",
        table(head, first),
        "## Boxes of an object\n\nAlone: filled from these boxes and nothing else, the whole track long; the line "
        "holds still before the first and behind the last box.",
        table(head_of_second, second),
    ]


def _shown(score: Score) -> str:
    return f"{score.iou:.1f} / {score.good:.1f}"


def _mean(runs: Sequence[Sequence[Score] | None]) -> str:
    """Mean over scenes and seeds, and the spread of the seeds' mean IoU."""
    means = [Score.mean(run) for run in runs if run]
    text = _shown(Score.mean(means))
    width = max(mean.iou for mean in means) - min(mean.iou for mean in means)
    return text if len(means) == 1 else f"{text} (spread {width:.1f})"


def _plain(row: Row, scenes: Sequence[Scene]) -> dict[str, Any]:
    """For ``--json``."""
    kinds = ("following", "filling", "alone")
    scores = {kind: getattr(row, kind) for kind in kinds if getattr(row, kind) is not None}
    return {
        "seconds": row.seconds, "best_step": row.best_step,
        **{kind: {s.name: vars(v) for s, v in zip(scenes, values, strict=True)} for kind, values in scores.items()},
    }  # fmt: skip


def _intro(tracker: Tracker, scenes: Sequence[Scene], args: Namespace) -> str:
    seeds, kept = ", ".join(map(str, args.seeds)), "best by held-out boxes" if args.judges else "last"
    return (
        f"Tracker {tracker.version} ({digest_of(tracker)}). One dataset: {', '.join(shown(s.name) for s in scenes)}; "
        f"{args.steps} steps each, {kept} weights, seeds {seeds}; {len(args.seeds)} training(s) of a row, so that "
        "differences of a point may be chance. Following: between the person's boxes, from both sides, without the "
        "line. "
        "\\* truth drawn with straight lines between keyframes."
    )


def draw_boxes(path: Path, rows: dict[tuple[str, int], list[Row]], scenes: Sequence[Scene], real: int) -> None:
    """Mean overlap by boxes of an object, filled from these alone."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def of(name: str) -> list[float]:
        return [float(np.mean([Score.mean(run.alone[:real]).iou for run in rows[name, k] if run.alone])) for k in BOXES]

    line = [
        Score.mean(Score.of(overlap(*only(s.gaps(EVERY), spread(s.gaps(EVERY), k)))) for s in scenes[:real]).iou
        for k in BOXES
    ]
    series: dict[str, tuple[str, list[float] | NDArray]] = {
        "straight line": ("0.55", line), "filling, not adapted": ("tab:orange", of(NOT_ADAPTED)),
        "filling, adapted": ("tab:blue", of(WHOLE)),
    }  # fmt: skip
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for label, (colour, values) in series.items():
        axis.plot(BOXES, values, marker="o", color=colour, label=label)
    axis.set(xlabel="boxes of an object", ylabel="mean IoU of all other frames, %", xticks=BOXES)
    axis.set_title(f"Means over {', '.join(s.name for s in scenes[:real])}", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    start(main)
