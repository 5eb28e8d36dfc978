r"""Between a person's boxes: straight lines, OpenCV's CSRT, and our tracker, not adapted and adapted.

    python benchmarks/peers/install.py opencv && python benchmarks/filling_csrt.py
    OMP_NUM_THREADS=1 python benchmarks/filling.py --out docs/benchmarks/filling.md --json out/filling.json \
        --plot docs/images/filling_reliability.png --curves docs/images/filling_curves.png

A person's boxes are the truth at a track's first frame, at every 20th (30th) after it, and at its last one; all ways
see the same boxes and are scored on the frames between them. Every answer is kept in ``--keep``: what was cut short
goes on, and ``--kept-only`` reports what is there. Adaptation sees at most 5 of each object's boxes and runs for each
sequence and each distance anew; filling starts from all boxes. No candidates are given, so nothing snaps to them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clock import one_thread
from filling_csrt import KEPT, csrt_boxes
from filling_figures import draw_curves, draw_reliability
from filling_ways import LEARNING, Filled, adapted, clip_of, code_digest, digest_of, fill
from filling_world import (
    DEVELOPMENT,
    FAST,
    REPORTED,
    STEPS,
    Gaps,
    Scene,
    Score,
    overlap,
    scene_of,
    shown,
    spread,
    straight,
)
from keyframing import HONEST
from numpy.typing import NDArray
from reliability import Claims
from reporting import command_line, publish, start, table
from sequences import find_sequences, shared_folder

from spam_plugin.engine.filling import RIGHT, FillSettings
from spam_plugin.models.errors import MissingError
from spam_plugin.models.spot.adaptation import AdaptSettings
from spam_plugin.models.spot.model import Tracker

LINE, CSRT = "straight line", "CSRT, both ways"
ONE_WAY, BOTH_WAYS = "no line, one way, not adapted", "no line, both ways, adapted"
PLAIN, ADAPTED = "filling, not adapted", "filling, adapted"
WAYS = (LINE, CSRT, ONE_WAY, PLAIN, ADAPTED, BOTH_WAYS)
#: How each way of ours fills, and whether its tracker was adapted. The first and the last do without the line.
OURS: dict[str, tuple[FillSettings, bool]] = {
    PLAIN: (FillSettings(open_frames=0), False),
    ADAPTED: (FillSettings(open_frames=0), True),
    ONE_WAY: (FillSettings(open_frames=0, bidirectional=False, fall_back=False), False),
    BOTH_WAYS: (FillSettings(open_frames=0, fall_back=False), True),
}
_MARGIN = 1.0  # points of mean IoU that ours may lie below the line
_EXPECTED_ERROR = 0.05


@dataclass(frozen=True)
class Result:
    """One way on one sequence.

    Attributes:
        overlaps: (M,) IoU with the truth, frame by frame.
        filled: what was said, for ways of ours.
    """

    overlaps: NDArray[np.float64]
    filled: Filled | None = None

    @property
    def score(self) -> Score:
        """Means over the frames."""
        return Score.of(self.overlaps)

    @property
    def claims(self) -> Claims:
        """What the confidence of filled boxes says, and what became of it."""
        assert self.filled is not None
        there = self.filled.how >= 0
        return Claims(self.filled.confidence[there], self.overlaps[there] >= RIGHT)


Results = dict[tuple[str, int, str], Result]


def main() -> None:
    """Fill what is missing, score, print."""
    parser = command_line(__doc__)
    parser.add_argument("--weights", metavar="FILE", help="of the tracker (default: the shipped ones)")
    parser.add_argument(
        "--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY", help=f"of: {', '.join(WAYS)}"
    )
    parser.add_argument("--every", nargs="+", type=int, default=list(STEPS), metavar="N", help="frames between boxes")
    parser.add_argument("--most", type=int, default=5, metavar="K", help="boxes of an object that adaptation sees")
    parser.add_argument("--adapt-steps", type=int, metavar="N", help="of an adaptation (default: as the product)")
    parser.add_argument("--keep", type=Path, default=KEPT, metavar="FOLDER", help="where answers are kept")
    parser.add_argument("--kept-only", action="store_true", help="compute nothing, report what there is")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw the reliability diagram")
    parser.add_argument("--curves", type=Path, metavar="FILE.png", help="also draw the overlap along fast targets")
    args = parser.parse_args()
    one_thread()
    names = args.sequences or [*REPORTED, *DEVELOPMENT]
    scenes = [scene_of(video) for video in find_sequences(shared_folder(args.data), args.sets, names)]
    scenes.sort(key=lambda scene: len(scene.frame))  # the short ones first: partial results come early
    tracker, settings = Tracker.load(args.weights), adaptation(args.adapt_steps)
    results: Results = {}
    notes: dict[str, Any] = {}
    for way in args.ways:
        for scene in scenes:
            for every in args.every:
                found = answer(way, scene, every, tracker, settings, args, notes)
                if found is not None:
                    results[scene.name, every, way] = found
                    print(f"{scene.name}, every {every}, {way}: {found.score}", file=sys.stderr, flush=True)
    if not results:
        raise MissingError(f"nothing is kept in {args.keep}; leave --kept-only out to compute it")
    names = [name for name in names if any(key[0] == name for key in results)]
    parts = report(results, names, args.every, [way for way in WAYS if way in args.ways], notes)
    parts.insert(0, _intro(tracker, settings, args, results, notes))
    whole = {scene.name: scene for scene in scenes}
    if args.plot:
        claims = {every: _claims(results, names, every) for every in args.every}
        draw_reliability(args.plot, claims)
        parts.append(f"![Reliability of the confidence of filled boxes](../images/{args.plot.name})")
    if args.curves:
        curves = {name: curve_of(results, whole[name], args.every[-1]) for name in names if name in (*FAST, "Car4")}
        draw_curves(args.curves, curves, args.every[-1])
        parts.append(f"![Overlap with the truth along the video](../images/{args.curves.name})")
    publish(args, "Filling", parts, numbers(results, notes))


def adaptation(steps: int | None) -> AdaptSettings:
    """The product's settings, or with another number of steps."""
    return AdaptSettings() if steps is None else AdaptSettings(steps=steps)


def answer(
    way: str, scene: Scene, every: int, tracker: Tracker, settings: AdaptSettings, args: argparse.Namespace,
    notes: dict[str, Any],
) -> Result | None:  # fmt: skip
    """What a way makes of a sequence; None if only what is kept is asked for, and it is not."""
    gaps, key = scene.gaps(every), f"{scene.name}-{every}"
    if way == LINE:
        return Result(overlap(gaps, straight(gaps)))
    if way == CSRT:
        try:
            return Result(overlap(gaps, csrt_boxes(args.keep, scene, every)))
        except MissingError:
            if not args.kept_only:
                raise
            return None
    filling, learns = OURS[way]
    kept = args.keep / f"{way.replace(', ', '-').replace(' ', '-')}-{key}.npz"
    if args.kept_only and not kept.exists():
        return None
    if learns:
        clip = clip_of(scene, gaps, spread(gaps, args.most))
        tracker, said = adapted(tracker, [clip], settings, args.keep / f"adapted-{key}.safetensors", key)
        notes[key] = {name: said[name] for name in ("seconds", "best_step", "best_value", "boxes", "code")}
    filled = fill(tracker, scene, gaps, filling, kept)
    return Result(overlap(gaps, filled.xyxy), filled)


def report(
    results: Results, names: Sequence[str], steps: Sequence[int], ways: Sequence[str], notes: Mapping[str, Any]
) -> list[str]:
    """All tables."""
    parts = []
    for every in steps:
        parts.append(f"## Boxes every {every} frames\n\nMean IoU / share above 0.5 / share above 0.7, in percent.")
        parts.append(score_table(results, names, every, ways))
    parts += ["## What it was to reach", *target_tables(results, names, steps)]
    parts += ["## Whether the confidence comes true", calibration_table(results, names, steps)]
    parts += ["## What it cost", cost_table(results, names, steps, notes)]
    return parts


def score_table(results: Results, names: Sequence[str], every: int, ways: Sequence[str]) -> str:
    """Sequences down, ways across; the development sequence is in no mean."""
    rows: list[list[Any]] = []
    for name in names:
        of = [results.get((name, every, way)) for way in ways]
        frames = next((len(each.overlaps) for each in of if each is not None), None)
        mark = " (development)" if name in DEVELOPMENT else ""
        rows.append([shown(name) + mark, frames, *(each and str(each.score) for each in of)])
    groups: dict[str, Callable[[str], bool]] = {
        "**mean**": lambda name: name not in DEVELOPMENT,
        "**mean of the fast ones**": lambda name: name in FAST,
        "**mean of those without a star**": lambda name: name in HONEST and name not in DEVELOPMENT,
    }
    for title, of_group in groups.items():
        members = [name for name in names if of_group(name)]
        cells: list[Any] = [None, *(_mean(results, members, every, way) for way in ways)]
        rows.append([title, *cells])
    return table(["sequence", "frames", *ways], rows)


def _mean(results: Results, names: Sequence[str], every: int, way: str) -> str | None:
    """Over sequences, if the way was run on all of them."""
    found = [results[name, every, way].score for name in names if (name, every, way) in results]
    return str(Score.mean(found)) if found and len(found) == len(names) else None


def verdicts(results: Results, names: Sequence[str], steps: Sequence[int], way: str) -> list[list[Any]]:
    """Of every sequence and distance: mean IoU of the line and of a way, the difference, and whether it is enough."""
    rows: list[list[Any]] = []
    for every in steps:
        for name in names:
            ours, line = results.get((name, every, way)), results.get((name, every, LINE))
            if name in DEVELOPMENT or ours is None or line is None:
                continue
            gain = ours.score.iou - line.score.iou
            wanted = "above the line" if name in FAST else f"at most {_MARGIN:g} below the line"
            reached = round(gain, 1) > 0 if name in FAST else gain >= -_MARGIN
            csrt = results.get((name, every, CSRT))
            rows.append(
                [shown(name), every, line.score.iou, csrt and csrt.score.iou, ours.score.iou, f"{gain:+.1f}", wanted,
                 "yes" if reached else "**no**"]
            )  # fmt: skip
    return rows


def target_tables(results: Results, names: Sequence[str], steps: Sequence[int]) -> list[str]:
    """The targets one by one."""
    head = ["sequence", "boxes every", "line", "CSRT", "ours", "ours - line", "wanted", "reached"]
    parts = []
    for way in (ADAPTED, PLAIN):
        rows = verdicts(results, names, steps, way)
        if not rows:
            continue
        fast = [row for row in rows if row[6] == "above the line"]
        worst = min(float(row[5]) for row in rows)
        said = (
            f"{way[0].upper()}{way[1:]}: {sum(row[-1] == 'yes' for row in fast)} of {len(fast)} fast rows beat the "
            f"line; the worst row of all is {worst:+.1f} points of mean IoU from it (wanted: not below -{_MARGIN:g})."
        )
        parts += [said, table(head, rows)]
    return parts


def calibration_table(results: Results, names: Sequence[str], steps: Sequence[int]) -> str:
    """Expected calibration error of each sequence, both distances together, and over all."""
    rows: list[list[Any]] = []
    for way in (PLAIN, ADAPTED):
        of = {name: Claims.together(_claims_of(results, name, steps, way)) for name in names}
        of = {name: claims for name, claims in of.items() if len(claims)}
        for name, claims in of.items():
            mark = " (development)" if name in DEVELOPMENT else ""
            rows.append([way, shown(name) + mark, *_calibration(claims)])
        reported = [claims for name, claims in of.items() if name not in DEVELOPMENT]
        if reported:
            rows.append([way, "**all boxes together**", *_calibration(Claims.together(reported))])
            mean = float(np.mean([claims.error() for claims in reported]))
            rows.append([way, "**mean of sequences**", None, None, None, f"{mean:.3f}", None, _enough(mean)])
    head = ["way", "sequence", "filled", "stated %", "true %", "ECE", "ECE, equal counts", f"below {_EXPECTED_ERROR}"]
    return table(head, rows)


def _calibration(claims: Claims) -> list[Any]:
    error, equal = claims.error() or 0.0, claims.error(adaptive=True) or 0.0
    stated, true = 100 * float(claims.probability.mean()), 100 * float(claims.right.mean())
    return [len(claims), stated, true, f"{error:.3f}", f"{equal:.3f}", _enough(error)]


def _enough(error: float) -> str:
    return "yes" if error < _EXPECTED_ERROR else "**no**"


def _claims_of(results: Results, name: str, steps: Sequence[int], way: str) -> list[Claims]:
    found = [results.get((name, every, way)) for every in steps]
    return [each.claims for each in found if each is not None]


def _claims(results: Results, names: Sequence[str], every: int) -> dict[str, Claims]:
    """For one panel of the diagram: all reported sequences together, then each."""
    way = ADAPTED if any(key[2] == ADAPTED for key in results) else PLAIN
    of = {name: Claims.together(_claims_of(results, name, [every], way)) for name in names if name not in DEVELOPMENT}
    of = {name: claims for name, claims in of.items() if len(claims)}
    return {"all": Claims.together(of.values()), **of}


def cost_table(results: Results, names: Sequence[str], steps: Sequence[int], notes: Mapping[str, Any]) -> str:
    """Seconds of processor time, and what the fills were."""
    rows: list[list[Any]] = []
    for every in steps:
        for name in names:
            for way in OURS:
                found = results.get((name, every, way))
                if found is None or found.filled is None:
                    continue
                filled, count = found.filled, len(found.overlaps)
                learning = notes.get(f"{name}-{every}", {}) if OURS[way][1] else {}
                shares = [100 * float(np.mean(filled.how == kind)) for kind in (1, -1)]
                report = filled.report
                fell = f"{report.get('fell_back', 0)} of {report.get('gaps', 0)}"
                rows.append(
                    [shown(name), every, way, learning.get("boxes"), learning.get("best_step"),
                     learning.get("seconds"), filled.seconds, count / max(filled.seconds, 1e-9), fell, *shares]
                )  # fmt: skip
    head = [
        "sequence", "boxes every", "way", "boxes learnt from", "best step", "adaptation s", "filling s",
        "boxes a second", "gaps given to the line", "on the line %", "not filled %",
    ]  # fmt: skip
    return table(head, rows)


def curve_of(results: Results, scene: Scene, every: int) -> dict[str, tuple[NDArray, NDArray]]:
    """Overlap by frame of the longest track, of the line, CSRT and ours; 1 at the person's boxes."""
    gaps: Gaps = scene.gaps(every)
    longest = int(np.bincount(gaps.to_fill).argmax())
    rows, keys = gaps.to_fill == longest, gaps.track == longest
    curves = {}
    for way in (LINE, CSRT, ADAPTED, PLAIN):
        found = results.get((scene.name, every, way))
        if found is None or (way == PLAIN and ADAPTED in curves):
            continue
        frame = np.concatenate([gaps.at[rows], gaps.frame[keys]])
        value = np.concatenate([found.overlaps[rows], np.ones(int(keys.sum()))])
        order = np.argsort(frame, kind="stable")
        curves[way] = (frame[order], value[order])
    return curves


def numbers(results: Results, notes: Mapping[str, Any]) -> dict[str, Any]:
    """For ``--json``."""
    rows = []
    for (name, every, way), found in results.items():
        row: dict[str, Any] = {"sequence": name, "every": every, "way": way, **vars(found.score)}
        if found.filled is not None:
            row |= {"seconds": found.filled.seconds, "ECE": found.claims.error(), "report": found.filled.report}
        rows.append(row)
    return {"rows": rows, "adaptations": dict(notes)}


def _intro(
    tracker: Tracker, settings: AdaptSettings, args: argparse.Namespace, results: Results, notes: Mapping[str, Any]
) -> str:  # fmt: skip
    stale = sum(found.filled.stale for found in results.values() if found.filled is not None)
    stale += sum(note["code"] != code_digest(LEARNING) for note in notes.values())
    every = " or ".join(map(str, args.every))
    text = (
        f"Tracker {tracker.version} ({digest_of(tracker)}); filling code {code_digest()}. Adaptation: {settings.steps} "
        f"steps, at most {args.most} boxes of an object, each sequence and distance on its own. A person's boxes are "
        f"the truth at the first frame, at every {every}th after it and at the last one of each unbroken part of a "
        "track; scores are over the frames between, each sequence weighs the same in means. A frame that a way leaves "
        "open counts as an overlap of 0. \\* the sequence's own truth was drawn with straight lines between "
        "keyframes, or may have been: there the line is partly compared with itself."
    )
    return text + (f" **{stale} of the kept answers and adaptations were made by other code.**" if stale else "")


if __name__ == "__main__":
    start(main)
