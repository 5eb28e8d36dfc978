"""``spam-plugin pretrain-detector``: make a detector from nothing but rendered pictures."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    name="pretrain-detector",
    epilog="Example: spam-plugin pretrain-detector --out weights/detector.safetensors --iterations 6000",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Weights file to write.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of checkpoint and log; a run that was stopped goes on from there. Default: OUT without its suffix.",
)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of every picture.")
@click.option("--iterations", default=6000, show_default=True, help="Optimiser steps.")
@click.option("--batch", default=8, show_default=True, help="Pictures in a step.")
@click.option("--side", default=320, show_default=True, help="Pixels along each side of a picture, a multiple of 32.")
@click.option("--films", default=6, show_default=True, help="Films that are rendered for a round of pictures.")
@click.option("--cuts", default=10, show_default=True, help="Pictures cut out of each frame of a film.")
@click.option("--learning-rate", default=1.5e-3, show_default=True, help="Greatest step of the optimiser.")
@click.option("--start", type=click.Path(path_type=Path), help="Weights to start from instead of nothing.")
@click.option("--held-out", default=20, show_default=True, help="Unseen films to measure the result on.")
@click.option("--device", default="cpu", show_default=True, help="As torch names it: cpu, cuda, cuda:1.")
@click.option("--threads", default=1, show_default=True, help="Processor threads; more is often slower.")
def command(
    out: Path,
    work: Path | None,
    seed: int,
    iterations: int,
    batch: int,
    side: int,
    films: int,
    cuts: int,
    learning_rate: float,
    start: Path | None,
    held_out: int,
    device: str,
    threads: int,
) -> None:
    """Train the detector on rendered pictures, measure it on unseen ones, and write weights with their record.

    No video and no dataset is needed. A second process renders. The same options give the same weights on the same
    machine, whether or not the run was interrupted.
    """
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ...engine.detector_pretraining import pretrain_detector
    from ...models.detector.detector import Detector, check_device
    from ...models.detector.training import TrainingConfig
    from ...models.errors import InputError

    if held_out < 1 or threads < 1:
        raise InputError("--held-out and --threads must be at least 1")
    check_device(device)  # before anything is drawn
    if start is not None:
        Detector.load(start)
    config = TrainingConfig(
        seed=seed,
        iterations=iterations,
        batch=batch,
        side=side,
        films=films,
        cuts=cuts,
        learning_rate=learning_rate,
    )
    torch.set_num_threads(threads)
    asked = (
        f"spam-plugin pretrain-detector --out {out.name} --seed {seed} --iterations {iterations} --batch {batch} "
        f"--side {side} --films {films} --cuts {cuts} --learning-rate {learning_rate:g}"
        f"{f' --start {start.name}' if start else ''} --held-out {held_out} --device {device}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=iterations)

        def step(iteration: int, values: dict[str, float]) -> None:
            bar.update(task, completed=iteration, description=f"training, loss {sum(values.values()):.2f}")

        release = pretrain_detector(
            config, work or out.with_suffix(""), out, out.stem, asked, device, start, held_out, step
        )
    shown = ", ".join(f"{name} {100 * value:.1f}" for name, value in release.precision.items())
    click.echo(f"{release.weights}: AP50 on {held_out} unseen films: {shown}")
