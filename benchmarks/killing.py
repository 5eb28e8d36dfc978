"""Trainings that are killed at random moments end with bitwise the weights of undisturbed ones.

    OMP_NUM_THREADS=1 python benchmarks/killing.py --out docs/benchmarks/killing.md

Every part is trained for some dozen steps in a process of its own, with a checkpoint after every step. Then the same
once more, but every so often the process is killed (SIGKILL) and started again, until it has been killed 20 times.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from killing_tasks import TASKS, train
from reporting import command_line, publish, start, table

#: Another process than this one is forked from, which has imported everything and computed nothing.
_CONTEXT = get_context("forkserver")


def main() -> None:
    """Train, kill, compare, print."""
    parser = command_line(__doc__, data=False)
    parser.add_argument("--kills", type=int, default=20, help="of each part's training (default 20)")
    parser.add_argument("--steps", type=int, default=40, help="of each training (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--parts", nargs="+", choices=list(TASKS), default=list(TASKS), help="only these")
    args = parser.parse_args()
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    _CONTEXT.set_forkserver_preload(["killing_tasks"])
    rows = []
    for name in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_part(name, args, Path(folder)))
        print(*rows[-1], file=sys.stderr, flush=True)
    parts = [
        f"Each part is trained for {args.steps} steps from the default weights on a handful of lessons, one thread, "
        "checkpoints after every step, measured every seventh; kills come at random moments (seed "
        f"{args.seed}), also while the process begins, measures or writes a checkpoint. A training that ends before "
        "the last kill is begun anew in another folder. Weights and learning curve (losses, measured values) are "
        "compared bit by bit with those of an undisturbed training.",
        table(["part", "kills", "at steps", "trainings ended", "with the same weights", "with the same curve"], rows),
    ]
    publish(args, "Killed trainings", parts, rows)


def _part(name: str, args: Any, folder: Path) -> list[Any]:
    rng = np.random.default_rng([args.seed, len(name)])
    _run(name, 1, folder / "first", None)  # starts the process that all others are forked from
    begin = time.monotonic()
    _run(name, args.steps, folder / "whole", None)
    whole = time.monotonic() - begin
    expected = _result(folder / "whole")
    kills: list[int] = []
    ended = same = same_curve = 0
    while len(kills) < args.kills or not ended:
        place = folder / str(ended)
        wait = float(rng.uniform(0, whole / 2)) if len(kills) < args.kills else None
        if _run(name, args.steps, place, wait):
            kills.append(_steps_done(place))
            continue
        result = _result(place)
        ended += 1
        same += all(torch.equal(result["weights"][key], value) for key, value in expected["weights"].items())
        same_curve += result["curve"] == expected["curve"]
    return [name, len(kills), f"{min(kills)} to {max(kills)}", ended, same, same_curve]


def _run(name: str, steps: int, folder: Path, seconds: float | None) -> bool:
    """Train in another process, killed after some seconds; whether it was."""
    folder.mkdir(parents=True, exist_ok=True)
    process = _CONTEXT.Process(target=train, args=(name, steps, str(folder)))
    process.start()
    process.join(seconds)
    killed = process.is_alive()
    if killed and process.pid:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    if not killed and process.exitcode:
        raise RuntimeError(f"the training of {name} failed by itself ({process.exitcode})")
    return killed and process.exitcode == -signal.SIGKILL


def _result(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "weights.pt", weights_only=True)


def _steps_done(folder: Path) -> int:
    """According to the newest checkpoint; 0 before the first."""
    for file in (folder / "checkpoint.pt", folder / "checkpoint.previous.pt"):
        if file.exists():
            return int(torch.load(file, weights_only=True)["state"]["progress"]["step"])
    return 0


if __name__ == "__main__":
    start(main)
