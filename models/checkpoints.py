"""Checkpoints of a training: written whole or not at all, the one before is kept, and reading them executes nothing."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import torch

from .errors import InputError

logger = logging.getLogger(__name__)


class Checkpoints:
    """The newest two states of one training, in a folder.

    Attributes:
        newest: file of the last state.
        before: file of the one before it, for when the last cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.newest = folder / "checkpoint.pt"
        self.before = folder / "checkpoint.previous.pt"

    def save(self, config: dict[str, Any], state: dict[str, Any]) -> None:
        """Write a state; whatever happens meanwhile, one whole checkpoint remains.

        Args:
            config: what the training was asked for, in plain values.
            state: plain values and tensors.

        Raises:
            InputError: if the disk takes no more; what was saved before stays as it is.
        """
        packed = io.BytesIO()
        torch.save({"config": config, "state": state}, packed)
        draft = self.newest.with_suffix(".tmp")
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(packed.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            if self.newest.exists():
                os.replace(self.newest, self.before)
            os.replace(draft, self.newest)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise InputError(
                f"{draft.parent}: the training could not be saved ({error.strerror or error}); make room and start it "
                "again, it goes on from its last checkpoint"
            ) from error

    def load(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """The newest state that can be read, on the CPU; None if there is none yet.

        Raises:
            InputError: if it was made with another configuration, or none of the files there can be read.
        """
        why = ""
        for file in (self.newest, self.before):
            try:
                content = torch.load(file, weights_only=True, map_location="cpu")
                given, state = content["config"], content["state"]
            except FileNotFoundError:
                continue
            except Exception as error:  # torch.load raises whatever a broken file makes its parts raise
                why = why or f"{file.name}: {type(error).__name__}"
                logger.warning("%s: cannot be read (%s); the checkpoint before it is tried", file, type(error).__name__)
                continue
            if given != config:
                other = sorted(key for key in {*given, *config} if given.get(key) != config.get(key))
                raise InputError(
                    f"{file.parent}: holds a training of another configuration ({', '.join(other)}); give the same "
                    "one, or another folder"
                )
            return state
        if why:
            raise InputError(f"{self.newest.parent}: no checkpoint here can be read ({why}); delete them to begin anew")
        return None
