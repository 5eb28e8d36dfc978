"""Start a tracker from a vision backbone of the hub: the backbone knows pictures, the rest is yet to be trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..models.errors import InputError
from ..models.spot.network import TrackerConfig, TrackerNetwork
from ..models.spot.transformers_ import TransformersBackbone, described
from .hub import checkpoint_folder, load_checkpoint, read_json


def network_on(name: str | Path, config: TrackerConfig | None = None, seed: int = 0) -> TrackerNetwork:
    """A network whose backbone is a checkpoint of ``transformers``; train it with ``spam-plugin pretrain-tracker``.

    Args:
        name: a folder or hub id of a vision backbone with safetensors.
        config: shape of everything else.
        seed: of the weights that are new.

    Raises:
        MissingError: for a folder that is not there.
        InputError: for a checkpoint that cannot be used, or a hub that cannot be reached.
    """
    folder = checkpoint_folder(name, "tracker backbone")
    model = load_checkpoint("AutoModel", folder, "tracker backbone", ("pooler",))
    said = read_json(folder / "preprocessor_config.json", "tracker backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TrackerNetwork(replace(config or TrackerConfig(), backbone=described(model, said)))
    if not isinstance(network.backbone, TransformersBackbone):
        raise InputError(f"tracker backbone {folder}: is none of transformers; choose another")
    network.backbone.model.load_state_dict(model.state_dict())
    return network
