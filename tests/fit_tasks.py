"""A tiny thing to train, and a process that trains it until somebody kills it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spam_plugin.models.fitting import FitSettings, FitTask, fit


class CurveTask(FitTask):
    """Learn a curve with dropout, momentum, averaged statistics and a schedule: all that a training can forget."""

    def __init__(self, batch: int = 8, held_out: bool = True, first: int = 0) -> None:
        super().__init__()
        torch.manual_seed(first)
        self.network = nn.Sequential(nn.Linear(1, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Tanh(), nn.Linear(16, 1))
        self.batch, self.held_out = batch, held_out
        self.fits = batch  # items that the memory is said to hold
        self.seen: list[int] = []
        self.calls = 0

    def draw(self, step: int) -> Tensor:
        x = np.random.default_rng([7, step]).uniform(-2, 2, (self.batch, 1)).astype(np.float32)
        return torch.from_numpy(x)

    def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        self.seen.append(len(batch))
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("pretended")
        loss = (self.network(batch) - torch.sin(3 * batch)).square().mean()
        return loss, {"fit": float(loss.detach())}

    def measure(self) -> float | None:
        self.calls += 1
        if not self.held_out:
            return None
        x = torch.linspace(-2, 2, 40)[:, None]
        return -float((self.network(x) - torch.sin(3 * x)).square().mean())

    def split(self, batch: Tensor, parts: int) -> list[Tensor]:
        return list(batch.chunk(parts))

    def configure_optimizers(self) -> Any:
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.02, total_steps=100)
        return {"optimizer": optimiser, "lr_scheduler": schedule}


def train_slowly(folder: str, settings: FitSettings) -> None:
    """Train in this process until it ends or is killed."""
    torch.set_num_threads(1)
    fit(CurveTask(), settings, Path(folder))
