"""What FiftyOne has to be told so that its App does all that it can; what the user has set stays.

FiftyOne reads its settings once, when it is imported, from the environment and from a file; nothing here imports it.
"""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from pathlib import Path

SETTINGS = {
    "allow_legacy_orchestrators": "true",  # without it the App's button "Schedule" is dead, and with it our workers
    "plugins_cache_enabled": "true",  # without it every plugin is loaded again at every request
    "database_validation": "false",  # FiftyOne would tell of the age of its own MongoDB
}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"FIFTYONE_{name.upper()}"


def configured(name: str) -> str | None:
    """What the user has set, in the environment or in FiftyOne's file; None for nothing."""
    given = os.environ.get(variable(name))
    if given is not None:
        return given
    path = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")
    try:
        value = json.loads(path.read_text()).get(name)
    except (OSError, ValueError, AttributeError):  # FiftyOne itself says what is wrong with its file
        return None
    return None if value is None else str(value)


def set_up(environment: MutableMapping[str, str]) -> None:
    """Sets what makes the App work and the user has left open.

    Args:
        environment: of a process that is about to be started.
    """
    for name, value in SETTINGS.items():
        if configured(name) is None:
            environment[variable(name)] = value
