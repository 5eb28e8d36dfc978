"""``spam-plugin pretrain-appearance``: make an appearance network from nothing but drawn figures."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    name="pretrain-appearance",
    epilog="Example: spam-plugin pretrain-appearance --out weights/appearance.safetensors --steps 4000",
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Weights file to write.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of checkpoints and logs; a run that was stopped goes on from there. Default: OUT without its suffix.",
)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of every figure.")
@click.option("--steps", default=4000, show_default=True, help="Optimiser steps.")
@click.option("--scenes", default=2, show_default=True, help="Scenes that a step sees.")
@click.option("--identities", default=12, show_default=True, help="Identities of each of them, 24 at most.")
@click.option("--views", default=4, show_default=True, help="Crops of each identity, 8 at most.")
@click.option("--learning-rate", default=2e-3, show_default=True, help="Greatest step of the optimiser.")
@click.option("--start", type=click.Path(path_type=Path), help="Weights to start from instead of nothing.")
@click.option("--held-out", default=12, show_default=True, help="Unseen films to measure the result on.")
@click.option("--threads", default=1, show_default=True, help="Processor threads; more is often slower.")
def command(
    out: Path,
    work: Path | None,
    seed: int,
    steps: int,
    scenes: int,
    identities: int,
    views: int,
    learning_rate: float,
    start: Path | None,
    held_out: int,
    threads: int,
) -> None:
    """Train the appearance network on drawn figures, measure it on rendered films, and write weights and record.

    No video and no dataset is needed. The same options give the same weights on the same machine, whether or not the
    run was interrupted.
    """
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ...engine.appearance_pretraining import pretrain_appearance
    from ...models.appearance.model import AppearanceModel
    from ...models.appearance.pretraining import PretrainingConfig
    from ...models.errors import InputError
    from ...models.fitting import FitSettings

    if held_out < 1 or threads < 1:
        raise InputError("--held-out and --threads must be at least 1")
    if start is not None:
        AppearanceModel.load(start)
    config = PretrainingConfig(
        batch_scenes=scenes, batch_identities=identities, batch_views=views, learning_rate=learning_rate
    )
    settings = FitSettings(steps, seed, validate_every=500, save_every=100)
    torch.set_num_threads(threads)
    asked = (
        f"spam-plugin pretrain-appearance --out {out.name} --seed {seed} --steps {steps} --scenes {scenes} "
        f"--identities {identities} --views {views} --learning-rate {learning_rate:g}"
        f"{f' --start {start.name}' if start else ''} --held-out {held_out}"
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=steps)

        def step(done: int, values: dict[str, float]) -> None:
            bar.update(task, completed=done, description=f"training, loss {values.get('contrast', 0.0):.2f}")

        release = pretrain_appearance(
            config, settings, work or out.with_suffix(""), out, out.stem, asked, start, held_out, step
        )
    found = release.retrieval
    click.echo(
        f"{release.weights}: rank-1 {100 * found.rank1:.1f}, mAP {100 * found.mean_average_precision:.1f} "
        f"on {held_out} unseen films"
    )
