"""``spam-plugin pretrain``: make weights from nothing but simulated streams."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="Example: spam-plugin pretrain --out weights/mine.safetensors --iterations 2800   "
    "then: spam-plugin label DATASET --model weights/mine.safetensors"
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Weights file to write.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of checkpoint and log; a run that was stopped goes on from there. Default: OUT without its suffix.",
)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of every stream.")
@click.option("--iterations", default=2800, show_default=True, help="Optimiser steps.")
@click.option("--boxes", default=4500, show_default=True, help="Boxes in a batch, about.")
@click.option("--learning-rate", default=3e-3, show_default=True, help="Greatest step of the optimiser.")
@click.option("--crowds", default=0.15, show_default=True, help="Share of dense streams.")
@click.option("--start", default="", metavar="PATH", help="Weights to start from instead of nothing.")
@click.option("--held-out", default=30, show_default=True, help="Streams each for calibration, thresholds and scores.")
@click.option("--device", default="cpu", show_default=True, help="As torch names it: cpu, cuda, cuda:1.")
@click.option("--threads", default=1, show_default=True, help="Processor threads; more is often slower.")
def command(
    out: Path,
    work: Path | None,
    seed: int,
    iterations: int,
    boxes: int,
    learning_rate: float,
    crowds: float,
    start: str,
    held_out: int,
    device: str,
    threads: int,
) -> None:
    """Train the hierarchy on simulated streams, calibrate it, and write weights with a record of how they were made.

    No video and no dataset is needed. The same options give the same weights on the same machine.
    """
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ...engine.pretraining import make_weights
    from ...models.errors import InputError
    from ...models.spam.pretraining import PretrainConfig

    if held_out < 1 or threads < 1:
        raise InputError("--held-out and --threads must be at least 1")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device}: torch sees no GPU here; use --device cpu")
    torch.set_num_threads(threads)
    console = Console(stderr=True)
    config = PretrainConfig(
        seed=seed, iterations=iterations, boxes=boxes, learning_rate=learning_rate, crowds=crowds, start=start
    )
    asked = (
        f"spam-plugin pretrain --out {out.name} --seed {seed} --iterations {iterations} --boxes {boxes} "
        f"--learning-rate {learning_rate:g} --crowds {crowds:g}{f' --start {Path(start).name}' if start else ''} "
        f"--held-out {held_out} --device {device}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=iterations)

        def step(iteration: int, values: dict) -> None:
            bar.update(task, completed=iteration + 1, description=f"training, loss {values['loss']:.2f}")

        release = make_weights(
            config, work or out.with_suffix(""), out, out.stem, asked, device, held_out, step, console.log
        )
    shown = ", ".join(f"{key} {100 * value:.1f}" for key, value in release.scores.items())
    click.echo(f"{release.weights}: on {held_out} unseen synthetic streams {shown}")
