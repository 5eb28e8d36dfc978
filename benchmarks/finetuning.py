r"""What corrected frames of another world teach the default detector, and what it forgets of its own.

    OMP_NUM_THREADS=1 python benchmarks/finetuning.py --out docs/benchmarks/finetuning.md \
        --plot docs/images/finetuning.png

The world is the renderer's depot: robots and beasts instead of people and cars, other ground, other walls. Corrected
frames are rendered truth: what a person would have left after correcting. A fifth of them chooses the best weights.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from clock import one_thread, processor_seconds
from reporting import command_line, publish, start, table

from spam_plugin.engine.detector_pretraining import unseen_scenes
from spam_plugin.models.detector.augmentation import Scene
from spam_plugin.models.detector.detector import Detector
from spam_plugin.models.detector.finetuning import FinetuneConfig, StoredScenes, finetune, lesson
from spam_plugin.models.detector.judging import judge, look
from spam_plugin.models.detector.losses import HIDDEN, VISIBLE
from spam_plugin.models.fitting import FitResult, FitSettings

#: Frames that a person corrects of every film of 16.
_PER_FILM = 8


@dataclass(frozen=True)
class Outcome:
    """What one training gave; precisions are AP50 on films that nothing was learnt from or chosen by."""

    frames: int
    seconds: float
    new: float
    old: float
    result: FitResult


def main() -> None:
    """Correct, fine-tune, score, print."""
    parser = command_line(__doc__, data=False)
    parser.add_argument("--frames", type=int, nargs="+", default=[25, 50, 100, 200], help="corrected frames to try")
    parser.add_argument("--steps", type=int, default=1000, help="of the training (default 1000)")
    parser.add_argument("--seed", type=int, default=600, help="of films and training (default 600)")
    parser.add_argument("--films", type=int, default=12, help="of 16 frames, to score on, of each world (default 12)")
    parser.add_argument("--plot", metavar="FILE.png", help="also draw the learning curves")
    args = parser.parse_args()
    one_thread()
    new = list(unseen_scenes(args.seed + 1, args.films, "depot"))
    old = list(unseen_scenes(args.seed + 1, args.films))
    corrected = StoredScenes(islice(_corrected(args.seed), max(args.frames)))
    begin = Detector.load()
    before = [_score(begin, new), _score(begin, old)]
    _say(f"before: {before[0]:.3f} on the new world, {before[1]:.3f} on the old one")
    outcomes = [_train(begin, corrected[:count], args, new, old) for count in args.frames]
    rows = [
        [each.frames, each.result.best_step, each.seconds / 60, 100 * each.new, 100 * (each.new - before[0]),
         100 * each.old, 100 * (each.old - before[1])] for each in outcomes
    ]  # fmt: skip
    head = ["corrected frames", "best step", "minutes", "AP50 new", "lift", "AP50 old", "change"]
    last = outcomes[-1]
    parts = [
        f"Detector {begin.version}, {args.steps} steps of 8 pictures, a quarter of them of the old world; scored on "
        f"{args.films} films of 16 frames of each world, of other seeds. Before: AP50 {100 * before[0]:.1f} on the new "
        f"world and {100 * before[1]:.1f} on the old one. AP50 in percent, minutes of processor time of one thread, "
        "rendering of the pictures to rehearse with and measuring on the way included.",
        table(head, rows),
    ]
    if args.plot:
        _draw(Path(args.plot), outcomes)
        parts.append(f"![Learning curves](../images/{Path(args.plot).name})")
    points = [
        [int(p["step"]), 100 * p["value"], *(f"{p[key]:.3f}" if key in p else None for key in ("score", "box"))]
        for p in last.result.curve
    ]
    parts += [
        f"With {last.frames} frames, AP50 on the fifth of them that nothing is learnt from, and losses:",
        table(["step", "AP50", "loss of scores", "loss of boxes"], points),
    ]
    publish(args, "Fine-tuning the detector", parts, {"before": before, "rows": rows, "curve": last.result.curve})


def _corrected(seed: int) -> Iterator[Scene]:
    """Endless corrected frames, some of every film; hardly visible objects are left undecided, as people leave them."""
    for film in range(1000):
        frames = unseen_scenes(seed + 1000 * (film + 1), 2, "depot")
        for number, scene in enumerate(frames):
            if number % (16 // _PER_FILM):
                continue
            there = scene.visibility >= HIDDEN
            weight = np.where(scene.visibility >= VISIBLE, 4.0, 0.0)[there]
            yield lesson(scene.image, scene.xyxy[there], scene.class_index[there], weight)


def _train(begin: Detector, corrected: Sequence[Scene], args: Namespace, new: list[Scene], old: list[Scene]) -> Outcome:
    held_out = max(len(corrected) // 5, 1)
    learnt, chosen_by = StoredScenes(corrected[:-held_out]), StoredScenes(corrected[-held_out:])
    settings = FitSettings(
        steps=args.steps, seed=args.seed, precision="bf16-mixed", accelerator="cpu", tensorboard=False
    )
    made: list[tuple[Detector, FitResult]] = []

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            config = FinetuneConfig()
            made.append(finetune(begin, learnt, settings, Path(folder), config=config, held_out=chosen_by))

    seconds = processor_seconds(work)
    detector, result = made[0]
    outcome = Outcome(len(corrected), seconds, _score(detector, new), _score(detector, old), result)
    _say(f"{outcome.frames} frames: {outcome.new:.3f} new, {outcome.old:.3f} old, {seconds:.0f} s")
    return outcome


def _score(detector: Detector, scenes: list[Scene]) -> float:
    return judge(*look(detector, scenes), len(detector.classes)).mean


def _draw(path: Path, outcomes: list[Outcome]) -> None:
    """AP50 on the lessons that are held out over the steps, and on unseen films over the corrected frames."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    for each in outcomes:
        points = [(p["step"], 100 * p["value"]) for p in each.result.curve if "value" in p]
        left.plot(*zip(*points, strict=True), label=f"{each.frames} frames")
    left.set(xlabel="step", ylabel="AP50 on held-out corrected frames (%)")
    left.legend()
    frames = [each.frames for each in outcomes]
    right.plot(frames, [100 * each.new for each in outcomes], "o-", label="the new world")
    right.plot(frames, [100 * each.old for each in outcomes], "s--", label="the old world")
    right.set(xlabel="corrected frames", ylabel="AP50 on unseen films (%)", ylim=(0, 100))
    right.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    start(main)
