"""What a tracker between and around a person's boxes is worth in clicks: the effort curve with it and without.

    python benchmarks/filling_effort.py [--tracker FILE] [--keep FILE.jsonl] [--plot FILE.png] [--out FILE.md] ...

The sequences that have images, with their first-choice detections and colours. A simulated person answers from ground
truth, as in ``effort.py``; with the tracker, whatever was drawn is followed before labels are computed anew. Effort is
clicks per three times the ground-truth boxes. Sequences marked * have a truth that was itself drawn with straight lines
between keyframes, which favours straight lines.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from clock import one_thread
from filling_world import scene_of, shown
from keyframing import METRICS, Curve
from labelling import with_colours
from reporting import command_line, publish, start, table
from sequences import Sequence, find_sequences, shared_folder

from spam_plugin.engine.filler import TrackerFiller
from spam_plugin.engine.filling import FillSettings
from spam_plugin.engine.simulation import Plan, SimulatedVideo, simulate
from spam_plugin.models.errors import MissingError
from spam_plugin.models.spam import SpamModel
from spam_plugin.models.spot.model import Tracker

# The quickest first: what is done is kept, and reported as far as it is.
NAMES = ("TUD-Campus", "DragonBaby", "KITTI-17", "Girl", "Car4", "TUD-Stadtmitte", "PETS09-S2L1", "MOT16-09")
DEVELOPMENT = ("TUD-Stadtmitte",)  # what was chosen for this was chosen there and on simulated films
BUDGETS = (0.0, 1.0, 2.0, 3.3, 5.0, 7.5, 10.0)
AIMS = (("IDF1", 95.0), ("HOTA", 85.0))
WITH, WITHOUT = "with", "without"


def curve_of(
    sequence: Sequence, tracker: Tracker | None, open_frames: int, rounds: float, budgets: tuple[float, ...]
) -> dict[str, Any]:
    """The curve of one sequence, with a tracker or without."""
    candidates = with_colours(sequence, sequence.candidates()[0])
    video = SimulatedVideo(sequence.name, sequence.video, candidates, sequence.truth())
    filler = None
    if tracker is not None:
        scene = scene_of(sequence)
        filler = TrackerFiller(tracker, lambda key: scene, FillSettings(open_frames=open_frames))
    begin = time.process_time()
    points = simulate(
        [video], SpamModel.load(), Plan(budgets, rounds_per_percent=rounds, preprocess="mot17"), filler=filler
    )
    curve = [point.as_dict() for point in points]
    for point in curve:
        point.pop("videos")
    return {
        "sequence": sequence.name, "set": sequence.set_name, "way": WITHOUT if tracker is None else WITH,
        "tracker": "" if tracker is None else tracker.version, "open_frames": open_frames, "rounds": rounds,
        "curve": curve, "seconds": round(time.process_time() - begin, 1),
        "looks": 0 if filler is None else filler.looks,
    }  # fmt: skip


def main() -> None:
    """Run what is not kept yet, and report it."""
    parser = command_line(__doc__)
    parser.add_argument("--tracker", metavar="FILE", help="weights; the default ones if left out")
    parser.add_argument("--open-frames", type=int, default=15, metavar="N", help="beyond the outer boxes of an object")
    parser.add_argument("--rounds", type=float, default=4.0, metavar="N", help="of labelling, for a percent of effort")
    parser.add_argument("--budgets", nargs="+", type=float, default=list(BUDGETS), metavar="PERCENT")
    parser.add_argument("--keep", metavar="FILE.jsonl", help="write curves there as they are done, take up those there")
    parser.add_argument("--plot", metavar="FILE.png")
    parser.add_argument("--report", action="store_true", help="compute nothing, report what is kept")
    args = parser.parse_args()
    one_thread()
    names = list(args.sequences or NAMES)
    found = {one.name: one for one in find_sequences(shared_folder(args.data), args.sets, names)}
    tracker = Tracker.load(args.tracker)
    kept = _read(args.keep)
    for name in names:
        for way in (WITHOUT, WITH):
            version = tracker.version if way == WITH else ""
            if args.report or any(_is(one, name, way, version, args) for one in kept):
                continue
            one = curve_of(
                found[name], tracker if way == WITH else None, args.open_frames, args.rounds, tuple(args.budgets)
            )
            kept.append(one)
            if args.keep:
                with Path(args.keep).open("a") as file:
                    file.write(json.dumps(one, default=float) + "\n")
            print(f"{name} {way}: {one['seconds']:.0f} s, {one['looks']} looks", flush=True)
    curves = {
        (name, way): one
        for one in kept
        for name in names
        for way in (WITHOUT, WITH)
        if _is(one, name, way, tracker.version if way == WITH else "", args)
    }
    names = [name for name in names if (name, WITH) in curves and (name, WITHOUT) in curves]
    if not names:
        raise MissingError("no sequence has both curves yet: run without --report, or name the file with --keep")
    publish(
        args, "The effort curve with a tracker between a person's boxes", report(names, curves), list(curves.values())
    )
    if args.plot:
        draw(Path(args.plot), names, curves)


def _read(path: str | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()] if path and Path(path).exists() else []


def _is(one: dict, name: str, way: str, version: str, args: Any) -> bool:
    """Whether a kept curve is the one that is asked for."""
    budgets = [point["budget"] for point in one["curve"]]
    same = one["open_frames"] == args.open_frames or way == WITHOUT
    same &= one["rounds"] == args.rounds and budgets == args.budgets
    return same and (one["sequence"], one["way"], one["tracker"]) == (name, way, version)


def report(names: list[str], curves: dict[tuple[str, str], dict]) -> list[str]:
    """What was aimed at, the curves, the clicks that aims cost, and what the tracker cost."""
    reported = [name for name in names if name not in DEVELOPMENT] or names
    means = {way: _mean(reported, curves, way) for way in (WITHOUT, WITH)}
    judged = [i for i, point in enumerate(next(iter(curves.values()))["curve"]) if point["budget"] > 0]
    rows = []
    for metric in METRICS:
        leads = [(means[WITH][metric][i] - means[WITHOUT][metric][i], means[WITH]["budget"][i]) for i in judged]
        least = min(leads)
        rows.append([f"mean {metric} better at every effort", f"least lead {least[0]:+.1f} at {least[1]:g} %",
                     "yes" if least[0] > 0 else "**no**"])  # fmt: skip
    for metric, aim in AIMS:
        pairs = [[_clicks(curves[name, way], metric, aim) for way in (WITHOUT, WITH)] for name in reported]
        fewer = sum(two is not None and (one is None or two < one) for one, two in pairs)
        more = sum(one is not None and (two is None or two > one) for one, two in pairs)
        rows.append([f"{metric} {aim:g} at fewer clicks", f"fewer on {fewer}, more on {more} of {len(reported)}",
                     "yes" if fewer and not more else "**no**"])  # fmt: skip
    text = [table(["aim", "measured", "reached"], rows)]
    cells = [
        [f"{means[WITH]['budget'][i]:g} %", *(_pair(means[WITHOUT][m][i], means[WITH][m][i]) for m in METRICS)]
        for i in range(len(means[WITH]["budget"]))
    ]
    text += [
        f"Means over {', '.join(map(shown, reported))}: without -> with (lead).",
        table(["budget", *METRICS], cells),
    ]
    for metric in METRICS:
        rows = [
            [_title(name), *(_pair(a[metric], b[metric]) for a, b in zip(
                curves[name, WITHOUT]["curve"], curves[name, WITH]["curve"], strict=True))]
            for name in names
        ]  # fmt: skip
        budgets = [f"{point['budget']:g} %" for point in curves[names[0], WITH]["curve"]]
        text += [f"## {metric} of every sequence", table(["sequence", *budgets], rows)]
    rows = []
    for name in names:
        clicks = [[_clicks(curves[name, way], *aim) for way in (WITHOUT, WITH)] for aim in AIMS]
        rows.append(
            [_title(name), *(" -> ".join("not reached" if c is None else f"{c:.0f}" for c in two) for two in clicks)]
        )
    text += ["## Clicks to a goal, without -> with", table(["sequence", *(f"{m} {a:g}" for m, a in AIMS)], rows)]
    rows = [
        [_title(name), curves[name, WITHOUT]["seconds"], curves[name, WITH]["seconds"], curves[name, WITH]["looks"]]
        for name in names
    ]
    head = ["sequence", "s without", "s with", "looks at targets"]
    return [*text, "## Cost of the whole curve, processor seconds on one core", table(head, rows)]


def _title(name: str) -> str:
    return f"{shown(name)} (development)" if name in DEVELOPMENT else shown(name)


def _pair(without: float, with_: float) -> str:
    return f"{without:.1f} -> {with_:.1f} ({with_ - without:+.1f})"


def _mean(names: list[str], curves: dict[tuple[str, str], dict], way: str) -> dict[str, list[float]]:
    own = [curves[name, way]["curve"] for name in names]
    keys = ("budget", "effort", *METRICS)
    return {key: [float(np.mean([curve[i][key] for curve in own])) for i in range(len(own[0]))] for key in keys}


def _clicks(one: dict, metric: str, aim: float) -> float | None:
    """Clicks at which the curve first reaches a value, straight between its points; None if it does not."""
    curve = one["curve"]
    best = np.maximum.accumulate([point[metric] for point in curve])
    return Curve(np.array([point["clicks"] for point in curve], float), best).effort_for(aim)


def draw(path: Path, names: list[str], curves: dict[tuple[str, str], dict]) -> None:
    """A line of panels for each metric, a panel a sequence."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(METRICS), len(names), figsize=(2.2 * len(names), 6), layout="constrained", squeeze=False
    )
    for line, metric in zip(axes, METRICS, strict=True):
        for axis, name in zip(line, names, strict=True):
            for way, style in ((WITHOUT, "--"), (WITH, "-")):
                points = curves[name, way]["curve"]
                axis.plot([p["effort"] for p in points], [p[metric] for p in points], style, marker="o", markersize=2,
                          color="0.5" if way == WITHOUT else None, label=f"{way} tracker")  # fmt: skip
            axis.set(title=name if metric == METRICS[0] else "", xlim=(0, 10), ylim=(None, 101))
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(metric)
    for axis in axes[-1]:
        axis.set_xlabel("effort, %")
    axes[0][0].legend(frameon=False, fontsize=7, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    start(main)
