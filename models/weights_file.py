"""What a file of weights says of itself, read without torch: the App asks before anybody labels."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .errors import InputError, MissingError

DEFAULT_WEIGHTS = Path(__file__).parent / "spam" / "weights" / "spam-1.safetensors"

_PARTS = ("version", "network", "decisions")


def weights_version(path: str | Path) -> str:
    """Name of a set of weights, from the file's description; nothing in the file is executed.

    Args:
        path: of a safetensors file.

    Raises:
        MissingError: if there is no such file.
        InputError: if it does not say that it holds weights of SPAM.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"weights {file}: no such file; choose another one, or none for the default weights")
    try:
        with safe_open(str(file), "np") as stored:
            said = json.loads((stored.metadata() or {})["spam"])
        lacking = [part for part in _PARTS if not said[part]]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"weights {file}: not a SPAM model of this version ({why}); choose another file") from error
    if lacking or not isinstance(said["version"], str):
        raise InputError(f"weights {file}: not a SPAM model of this version (no {lacking or 'name'}); choose another")
    return said["version"]
