"""The panel of the App."""

from __future__ import annotations

from typing import Any


def register(p: Any) -> None:
    """Registers the panel with FiftyOne.

    Args:
        p: FiftyOne's plugin context.
    """
    from .spam import SpamPanel

    p.register(SpamPanel)
