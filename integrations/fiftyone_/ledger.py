"""What the App shows of a field of tracks, kept with the dataset: counted while labels are written, never by a scan."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

_STORE = "spam_plugin.ledger"


class Ledger:
    """The ledger of one field of tracks, in the dataset's execution store.

    Args:
        dataset: that it goes with.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        self._store = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)

    @property
    def model(self) -> str | None:
        """File of the weights that were chosen for this field; None for the default."""
        return self._get("choices").get("model")

    @property
    def candidates(self) -> str | None:
        """Field of the candidates of the last run."""
        return self._get("choices").get("candidates")

    @property
    def boxes_per_second(self) -> float | None:
        """How fast the last run was."""
        return self._get("choices").get("boxes_per_second")

    def _get(self, key: str) -> dict[str, Any]:
        return self._store.get(key) or {}
