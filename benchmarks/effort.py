"""The effort curve: what labels are worth after so many clicks, against keyframes and straight lines.

    python benchmarks/effort.py [--acquisitions boxes random frames entropy] [--errors 0 0.05] [--out FILE.md] ...

Every sequence of the data folder with its first-choice detections and raw scores, colours where there are images, one
configuration, weights trained on simulated streams only. A simulated person answers from ground truth and pays: accept,
reject, associate 1 click, a drawn box 2, a new track 1 more. Effort is clicks per three times the ground-truth boxes.
``--jobs`` runs sequences side by side.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from association import match_frames
from keyframing import METRICS, Curve, group_curve, groups_of, keyframing_points
from labelling import with_colours
from reporting import command_line, publish, start, table
from sequences import Sequence, find_sequences, shared_folder, targets

from spam_plugin.engine.acquisition import ACQUISITIONS
from spam_plugin.engine.pool import View
from spam_plugin.engine.simulation import Plan, SimulatedVideo, simulate
from spam_plugin.engine.stopping import estimate
from spam_plugin.models.spam import SpamModel

BUDGETS = (0.0, 1.0, 2.0, 3.3, 5.0, 7.5, 10.0, 20.0)
JUDGED = (1.0, 2.0, 3.3, 5.0, 7.5, 10.0)


def run_one(job: tuple[Sequence, str, float, tuple[float, ...]]) -> dict[str, Any]:
    """One sequence with one acquisition and one rate of errors: its curve, and how the stopping estimate did."""
    import torch

    torch.set_num_threads(1)
    sequence, acquisition, errors, budgets = job
    candidates = with_colours(sequence, sequence.candidates()[0])
    truth = sequence.truth()
    video = SimulatedVideo(sequence.name, sequence.video, candidates, truth)
    plan = Plan(budgets, acquisition, error_rate=errors, preprocess="mot17")

    def watch(key: str, view: View) -> dict[str, Any]:
        state = estimate([view])
        wrong = _truly_wrong(view, sequence)
        return {"estimate": state.as_dict(), "wrong_boxes": wrong[0], "wrong_links": wrong[1]}

    points = simulate([video], SpamModel.load(), plan, watch=watch)
    curve = [{**point.as_dict(), "watch": point.extra[sequence.name]} for point in points]
    for point in curve:
        point.pop("videos")
    return {
        "set": sequence.set_name,
        "sequence": sequence.name,
        "acquisition": acquisition,
        "errors": errors,
        "curve": curve,
    }


def _truly_wrong(view: View, sequence: Sequence) -> tuple[float, float]:
    """Shares of the labels' boxes that hit no target, and of steps of a track between boxes of different targets."""
    tracks, truth = view.tracks, targets(sequence.truth())
    matched = match_frames(tracks.frame, tracks.xyxy.astype(float), truth)
    ignored = sequence.truth()
    out = np.asarray(ignored.ignored) | (np.asarray(ignored.class_id) != 1)
    from spam_plugin.models.spam.overlaps import overlapping

    order = np.argsort(ignored.frame[out], kind="stable")
    row, _, _ = overlapping(tracks.frame, tracks.xyxy, ignored.frame[out][order], ignored.xyxy[out][order], 0.5)
    counted = matched >= 0
    nobody = np.ones(len(tracks), bool)
    nobody[row] = False
    counted |= nobody
    boxes = float((matched[counted] < 0).mean()) if counted.any() else 0.0
    own = np.flatnonzero((tracks.candidate_index >= 0) & (matched >= 0))
    own = own[np.lexsort((tracks.frame[own], tracks.track_index[own]))]
    one, two = own[:-1], own[1:]
    same = tracks.track_index[one] == tracks.track_index[two]
    wrong = truth.track_id[matched[one[same]]] != truth.track_id[matched[two[same]]]
    return boxes, float(wrong.mean()) if len(wrong) else 0.0


def main() -> None:
    """Run all curves and report them against keyframing, target by target."""
    parser = command_line(__doc__)
    parser.add_argument("--acquisitions", nargs="+", default=["boxes"], choices=list(ACQUISITIONS), metavar="NAME")
    parser.add_argument("--errors", nargs="+", type=float, default=[0.0], metavar="RATE")
    parser.add_argument("--budgets", nargs="+", type=float, default=list(BUDGETS), metavar="PERCENT")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--keep", metavar="FILE.jsonl", help="write every curve there as it is done, and take up what is there"
    )
    parser.add_argument("--plot", metavar="FILE.png")
    args = parser.parse_args()
    videos = find_sequences(shared_folder(args.data), args.sets, args.sequences)
    kept = (
        [json.loads(line) for line in Path(args.keep).read_text().splitlines()]
        if args.keep and Path(args.keep).exists()
        else []
    )
    known = {(k["sequence"], k["acquisition"], k["errors"]) for k in kept}
    jobs = [
        (video, name, errors, tuple(args.budgets))
        for errors in args.errors
        for name in args.acquisitions
        for video in videos
        if (errors == 0 or name == "boxes") and (video.name, name, errors) not in known
    ]
    with ProcessPoolExecutor(args.jobs) as pool:
        for done in pool.map(run_one, jobs):
            kept.append(done)
            if args.keep:
                with Path(args.keep).open("a") as file:
                    file.write(json.dumps(done, default=float) + "\n")
    names = {video.name for video in videos}
    curves = [k for k in kept if k["sequence"] in names]
    points = {video.name: keyframing_points(video) for video in videos}
    publish(args, "The effort curve", report(videos, curves, points), {"curves": curves})
    if args.plot:
        draw(Path(args.plot), videos, curves, points)


def report(videos: list[Sequence], curves: list[dict], points: dict[str, list[dict]]) -> list[str]:
    """Tables: what was aimed at, curves against keyframing, rules of acquisition, errors, stopping, sequences."""
    text: list[str] = [table(["aim", "group", "measured", "reached"], aims(videos, curves, points))]
    rows, halves = [], []
    for name, members in groups_of(videos).items():
        ours = _means(members, curves, "boxes", 0.0)
        if ours is None:
            continue
        hull = {metric: group_curve([points[v.name] for v in members], metric) for metric in METRICS}
        for index, budget in enumerate(ours["budget"]):
            effort = ours["effort"][index]
            cells = [f"{ours[m][index]:.1f} ({ours[m][index] - float(hull[m].at(effort)):+.1f})" for m in METRICS]
            rows.append([name, f"{budget:g}", f"{effort:.2f}", *cells])
        mine = Curve(np.array(ours["effort"]), np.maximum.accumulate(ours["IDF1"])).effort_for(95)
        theirs = hull["IDF1"].effort_for(95)
        halves.append([name, _percent(theirs), _percent(mine), f"{mine / theirs:.2f}" if mine and theirs else "-"])
    text += [
        "Means over sequences, in brackets the lead over keyframing at its best at the same effort.",
        table(["group", "budget %", "effort %", *METRICS], rows),
        "## Effort at which IDF1 reaches 95",
        table(["group", "keyframing %", "ours %", "ratio"], halves),
    ]
    rules = sorted({c["acquisition"] for c in curves}, key=list(ACQUISITIONS).index)
    if len(rules) > 1:
        rows = []
        for name, members in groups_of(videos).items():
            for rule in rules:
                ours = _means(members, curves, rule, 0.0)
                if ours:
                    at = [ours["budget"].index(b) for b in JUDGED if b in ours["budget"]]
                    rows.append([name, rule, *(" / ".join(f"{ours[m][i]:.1f}" for m in METRICS) for i in at)])
        text += [
            "## Rules of acquisition (HOTA / IDF1 / MOTA)",
            table(["group", "rule", *(f"{b:g} %" for b in JUDGED)], rows),
        ]
    rates = sorted({c["errors"] for c in curves})
    if len(rates) > 1:
        rows = []
        for name, members in groups_of(videos).items():
            for rate in rates:
                ours = _means(members, curves, "boxes", rate)
                if ours:
                    at = [ours["budget"].index(b) for b in JUDGED if b in ours["budget"]]
                    cells = [" / ".join(f"{ours[m][i]:.1f}" for m in METRICS) for i in at]
                    rows.append([name, f"{100 * rate:g} %", *cells, ours["contradictions"][-1]])
        head = ["group", "wrong answers", *(f"{b:g} %" for b in JUDGED), "contradictions left"]
        text += ["## A person who errs (HOTA / IDF1 / MOTA)", table(head, rows)]
    text += _stopping(curves)
    rows = [
        [c["set"], c["sequence"], *(f"{p['HOTA']:.1f} / {p['IDF1']:.1f} / {p['MOTA']:.1f}" for p in c["curve"])]
        for c in curves
        if c["acquisition"] == "boxes" and c["errors"] == 0
    ]
    if rows:
        budgets = [f"{p['budget']:g} %" for p in next(c for c in curves if c["acquisition"] == "boxes")["curve"]]
        text += ["## Every sequence (HOTA / IDF1 / MOTA)", table(["set", "sequence", *budgets], rows)]
    return text


def aims(videos: list[Sequence], curves: list[dict], points: dict[str, list[dict]]) -> list[list[str]]:
    """One row for each aim and group: what was aimed at, what was measured, whether it is reached."""
    groups = groups_of(videos)
    ours = {name: _means(members, curves, "boxes", 0.0) for name, members in groups.items()}
    rows = []
    for name, curve in ours.items():
        if curve is None:
            continue
        hull = {metric: group_curve([points[v.name] for v in groups[name]], metric) for metric in METRICS}
        leads = {
            m: _leads(curve, lambda i, m=m, c=curve, h=hull: c[m][i] - float(h[m].at(c["effort"][i]))) for m in METRICS
        }
        worst = [f"{metric} {min(found)[0]:+.1f} at {min(found)[1]:g} %" for metric, found in leads.items()]
        good = all(min(found)[0] >= 0 for found in leads.values())
        rows.append(["least lead over keyframing, 1 to 10 %", name, ", ".join(worst), _verdict(good)])
    for name, curve in ours.items():
        if curve is None:
            continue
        theirs = group_curve([points[v.name] for v in groups[name]], "IDF1").effort_for(95)
        mine = Curve(np.array(curve["effort"]), np.maximum.accumulate(curve["IDF1"])).effort_for(95)
        if theirs is None:
            rows.append(
                [
                    "clicks for IDF1 95, at most half",
                    name,
                    f"{_percent(mine)} %; keyframing never",
                    _verdict(bool(mine)),
                ]
            )
        else:
            good = mine is not None and mine <= theirs / 2
            rows.append(
                ["clicks for IDF1 95, at most half", name, f"{_percent(mine)} % of {theirs:.2f} %", _verdict(good)]
            )
    whole = _means(videos, curves, "boxes", 0.0)
    for rule in ("random", "frames", "entropy"):
        other = _means(videos, curves, rule, 0.0)
        if whole is None or other is None:
            continue
        for metric in METRICS:
            leads = _leads(whole, lambda i, m=metric, o=other: whole[m][i] - o[m][i])
            mean, least = float(np.mean([lead for lead, _ in leads])), min(leads)
            good = mean > 0 if rule == "entropy" else least[0] > 0
            measured = f"mean {mean:+.1f}, least {least[0]:+.1f} at {least[1]:g} %"
            rows.append([f"{metric} of the default over {rule}", "all sequences", measured, _verdict(good)])
    for kind, count, inside, *_ in _coverage(curves):
        measured = f"{inside:.1f} % of {count} pairs"
        rows.append(
            [f"90 % interval of {kind} holds the truth, 85 %", "all sequences", measured, _verdict(inside >= 85)]
        )
    for rate in sorted({c["errors"] for c in curves} - {0.0}):
        for name, members in groups.items():
            other, curve = _means(members, curves, "boxes", rate), ours[name]
            if curve is None or other is None:
                continue
            losses = {m: max(_leads(curve, lambda i, m=m, c=curve, o=other: c[m][i] - o[m][i])) for m in METRICS}
            measured = ", ".join(f"{metric} -{loss:.1f} at {at:g} %" for metric, (loss, at) in losses.items())
            kept = all(other[m][-1] >= other[m][0] for m in METRICS)
            rows.append(
                [f"greatest loss by {100 * rate:g} % wrong answers, still a gain", name, measured, _verdict(kept)]
            )
    return rows


def _leads(curve: dict[str, list], lead: Callable[[int], float]) -> list[tuple[float, float]]:
    """(lead, budget) at every budget that is judged."""
    return [(lead(curve["budget"].index(budget)), budget) for budget in JUDGED if budget in curve["budget"]]


def _verdict(reached: bool) -> str:
    return "yes" if reached else "**no**"


def _percent(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.2f}"


def _means(members: list[Sequence], curves: list[dict], rule: str, errors: float) -> dict[str, list] | None:
    """Mean curve of a group, or None unless all of its sequences have one."""
    names = {video.name for video in members}
    own = [c["curve"] for c in curves if c["sequence"] in names and c["acquisition"] == rule and c["errors"] == errors]
    if len(own) < len(names):
        return None
    keys = ("effort", *METRICS, "contradictions")
    means = {key: [float(np.mean([curve[i][key] for curve in own])) for i in range(len(own[0]))] for key in keys}
    return {"budget": [point["budget"] for point in own[0]], **means}


def _coverage(curves: list[dict]) -> list[list[Any]]:
    """How often the 90 % intervals hold the truth: kind, pairs, share inside, mean expected, mean true, in percent."""
    rows: list[list[Any]] = []
    points = [
        point["watch"] for c in curves if c["acquisition"] == "boxes" and c["errors"] == 0 for point in c["curve"]
    ]
    for kind in ("wrong_boxes", "wrong_links") if points else ():
        said, true = [one["estimate"][kind] for one in points], [one[kind] for one in points]
        inside = [s["low"] - 1e-9 <= t <= s["high"] + 1e-9 for s, t in zip(said, true, strict=True)]
        means = (100 * float(np.mean(values)) for values in (inside, [s["expected"] for s in said], true))
        rows.append([kind.replace("_", " "), len(points), *means])
    return rows


def _stopping(curves: list[dict]) -> list[str]:
    head = ["share of", "(sequence, budget) pairs", "inside the 90 % interval, %", "expected, %", "true, %"]
    rows = _coverage(curves)
    return ["## The stopping estimate", table(head, rows)] if rows else []


def draw(path: Path, videos: list[Sequence], curves: list[dict], points: dict[str, list[dict]]) -> None:
    """One panel a group and metric: our curves by rule, keyframing at its best."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = groups_of(videos)
    figure, axes = plt.subplots(len(groups), 3, figsize=(11, 2.6 * len(groups)), layout="constrained", squeeze=False)
    efforts = np.linspace(0, 20, 161)
    for line, (name, members) in zip(axes, groups.items(), strict=True):
        for axis, metric in zip(line, METRICS, strict=True):
            hull = group_curve([points[v.name] for v in members], metric)
            axis.plot(efforts, hull.at(efforts), color="0.5", linestyle="--", label="keyframing at its best")
            for rule in ACQUISITIONS:
                ours = _means(members, curves, rule, 0.0)
                if ours:
                    axis.plot(ours["effort"], ours[metric], marker="o", markersize=3, label=rule)
            axis.set(title=f"{name}: {metric}", xlim=(0, 20), ylim=(min(30, axis.get_ylim()[0] * 0 + 30), 101))
            axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("effort, % of labelling by hand")
    axes[0][0].legend(frameon=False, fontsize=8, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    start(main)
