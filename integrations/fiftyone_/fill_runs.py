"""Runs that filled gaps, as runs of the dataset: what made a filled box can always be told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from .runs import FINISHED, INTERRUPTED, RUNNING, new_run_key, plain

METHOD = "spam_propagate"

_STORE = "spam_plugin.propagate"
_RUN, _VIDEO = "run", "video/"


class FillRuns:
    """The runs of one field of tracks, registered with the dataset as ``propagate_FIELD``, ``propagate_FIELD_2``, ...

    What is done with every video is noted in the dataset's execution store until the run ends; one that was killed and
    is started again with the same configuration is the same run. Whose lock is held (``Ledger.hold``) may use this.

    Args:
        dataset: to register with.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        self._dataset, self._out = dataset, out
        self._notes = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)
        self._key = ""

    def begin(self, configuration: Mapping[str, Any]) -> str:
        """Registers a run, or goes on with the last one if it was interrupted. Returns its key."""
        wanted, last = plain(configuration), self._notes.get(_RUN)
        known = last is not None and last["key"] in self._dataset.list_runs()
        if known and last["configuration"] == wanted:
            self._key = last["key"]
            return self._key
        if known:
            self._close(last["key"], INTERRUPTED, {"videos": self._done()})
        self._forget()
        self._key = new_run_key(self._dataset, f"propagate_{self._out}")
        config = self._dataset.init_run(method=METHOD, out=self._out, status=RUNNING, started=_now(), **wanted)
        self._dataset.register_run(self._key, config)
        self._notes.set(_RUN, {"key": self._key, "configuration": wanted})
        return self._key

    def record(self, video: str, report: Mapping[str, Any]) -> None:
        """Notes that a video is done, after all of it has been written."""
        self._notes.set(_VIDEO + video, plain(report))

    def done(self) -> set[str]:
        """Keys of the videos that this run has done, also before it was interrupted."""
        return set(self._done())

    def finish(self, report: Mapping[str, Any]) -> None:
        """Keeps the report with the run, and forgets the notes."""
        self._close(self._key, FINISHED, report)
        self._forget()

    def _done(self) -> dict[str, Any]:
        keys = [key for key in self._notes.list_keys() if key.startswith(_VIDEO)]
        return {key.removeprefix(_VIDEO): self._notes.get(key) for key in keys}

    def _close(self, key: str, status: str, report: Mapping[str, Any]) -> None:
        config = self._dataset.get_run_info(key).config
        config.status, config.ended = status, _now()
        self._dataset.update_run_config(key, config)
        results = self._dataset.init_run_results(key, report=plain(report))
        self._dataset.save_run_results(key, results, overwrite=True, cache=False)

    def _forget(self) -> None:
        for key in self._notes.list_keys():
            self._notes.delete(key)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
