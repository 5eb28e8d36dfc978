"""A source of FiftyOne's model zoo: the tracker, for those who load models by name.

FiftyOne copies this folder into its zoo and executes this file there under the name of the manifest, which must not be
that of the package; so it imports that by its full name, and only when a model is asked for. The weights come with it.

    import fiftyone.zoo as foz

    foz.register_zoo_model_source("https://github.com/...")  # this repository
    model = foz.load_zoo_model("spam-plugin/spot", prompt_field="frames.boxes")
    dataset.apply_model(model, label_field="tracks")
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def download_model(model_name: str, model_path: str) -> None:
    """Puts the weights of the installed package where the zoo keeps them.

    Args:
        model_name: of the manifest.
        model_path: of the file to make.

    Raises:
        MissingError: if the package comes without weights.
    """
    weights = _weights_file()
    Path(model_path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, model_path)


def load_model(model_name: str, model_path: str, **kwargs: Any) -> Any:
    """The tracker as a model of FiftyOne.

    Args:
        model_name: of the manifest.
        model_path: of the weights.
        kwargs: of ``spam_plugin.integrations.fiftyone_.spot_model.SpotModel``: ``prompt_field``, ``device``, ...
    """
    spot_model = _import("integrations.fiftyone_.spot_model")
    return spot_model.SpotModel(**{"weights": model_path, **kwargs})


def resolve_input(model_name: str, ctx: Any) -> Any:
    """What the App asks before it applies the model."""
    from fiftyone.operators import types

    inputs = types.Object()
    inputs.str(
        "prompt_field", default="frames.ground_truth", required=True, label="Prompts",
        description="Frame field with at least one box of every object to follow",
    )  # fmt: skip
    inputs.int(
        "open_frames", default=60, min=0, required=False, label="Frames before the first and behind the last box",
        description="How far to follow an object there; it ends earlier where the tracker is not sure any more",
    )  # fmt: skip
    return types.Property(inputs)


def _weights_file() -> Path:
    weights = Path(_import("models.spot.weights_file").DEFAULT_WEIGHTS)
    if not weights.is_file():
        raise _import("models.errors").MissingError(f"{weights}: no such file; install spam-plugin anew")
    return weights


def _import(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"spam_plugin.{name}")
    except ModuleNotFoundError as error:
        if error.name != "spam_plugin":
            raise
        raise ImportError(
            "this model needs the package spam-plugin; install it with pip, then load it again"
        ) from error
