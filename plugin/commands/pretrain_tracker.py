"""``spam-plugin pretrain-tracker``: make a tracker from nothing but drawn objects."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    name="pretrain-tracker",
    epilog="Example: spam-plugin pretrain-tracker --out weights/tracker.safetensors --steps 4000",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Weights file to write.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of checkpoints and logs; a run that was stopped goes on from there. Default: OUT without its suffix.",
)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of every object.")
@click.option("--steps", default=4000, show_default=True, help="Optimiser steps.")
@click.option("--batch", default=16, show_default=True, help="Pairs that a step sees.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="Greatest step of the optimiser.")
@click.option("--start", type=click.Path(path_type=Path), help="Weights to start from instead of nothing.")
@click.option(
    "--backbone",
    help="Folder or hub id of a vision backbone of transformers to train the rest on, in the place of the small one.",
)
@click.option("--films", default=8, show_default=True, help="Unseen films to measure the result on.")
@click.option(
    "--calibration", default=16, show_default=True, help="Other films, which say what its confidence is worth; 0: none."
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="As lightning names it; bf16-mixed is faster on processors that know bfloat16.",
)
@click.option("--threads", default=1, show_default=True, help="Processor threads; more is often slower.")
def command(
    out: Path,
    work: Path | None,
    seed: int,
    steps: int,
    batch: int,
    learning_rate: float,
    start: Path | None,
    backbone: str | None,
    films: int,
    calibration: int,
    precision: str,
    threads: int,
) -> None:
    """Train the tracker on drawn pairs, follow objects in rendered films, and write weights and record.

    No video and no dataset is needed. The same options give the same weights on the same machine, whether or not the
    run was interrupted.
    """
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ...engine.tracker_pretraining import pretrain_tracker
    from ...integrations.tracker_backbones import network_on
    from ...models.errors import InputError
    from ...models.fitting import FitSettings
    from ...models.spot.model import Tracker
    from ...models.spot.network import TrackerConfig
    from ...models.spot.pretraining import PretrainingConfig

    if films < 1 or threads < 1 or calibration < 0:
        raise InputError("--films and --threads must be at least 1, --calibration not below 0")
    if start is not None and backbone is not None:
        raise InputError("--start brings a backbone of its own; leave out --backbone")
    begin = Tracker.load(start).network if start is not None else network_on(backbone, seed=seed) if backbone else None
    shape = TrackerConfig() if begin is None else begin.config
    config = PretrainingConfig(shape, batch=batch, learning_rate=learning_rate)
    settings = FitSettings(steps, seed, validate_every=250, save_every=100, clip=1.0, precision=precision)
    torch.set_num_threads(threads)
    asked = (
        f"spam-plugin pretrain-tracker --out {out.name} --seed {seed} --steps {steps} --batch {batch} "
        f"--learning-rate {learning_rate:g}{f' --start {start.name}' if start else ''}"
        f"{f' --backbone {backbone}' if backbone else ''} --films {films} "
        f"--calibration {calibration} --precision {precision}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=steps)

        def step(done: int, values: dict[str, float]) -> None:
            bar.update(task, completed=done, description=f"training, loss {values.get('total', 0.0):.2f}")

        release = pretrain_tracker(
            config,
            settings,
            work or out.with_suffix(""),
            out,
            out.stem,
            asked,
            start or begin,
            films,
            calibration,
            step,
        )
    found = release.following
    click.echo(
        f"{release.weights}: mean overlap {found.overlap:.3f}, {100 * found.good:.1f} % above 0.5 "
        f"on {films} unseen films"
    )
