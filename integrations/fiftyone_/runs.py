"""Runs of the engine as runs of the dataset: what made a label can always be told, and what was interrupted goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from ...engine.ports import FinishedVideo, VideoReport

METHOD = "spam_label"
RUNNING, FINISHED, INTERRUPTED = "running", "finished", "interrupted"

_STORE = "spam_plugin.label"


class LabelRuns:
    """The label runs of one field of tracks.

    Each is registered with the dataset as ``label_FIELD``, ``label_FIELD_2`` and so on: its configuration as it starts
    and its report, video by video, when it ends (``dataset.load_run_results(key).report``). Until then its finished
    videos are noted, one by one, in the dataset's execution store, which survives the process.

    Args:
        dataset: to register with.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        self._dataset = dataset
        self._out = out
        self._notes = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)
        self._run_key = ""

    def begin(self, configuration: Mapping[str, Any]) -> dict[str, FinishedVideo]:
        """Registers a new run, or goes on with the last one if it was interrupted and its configuration is the same.

        Returns:
            key -> what the interrupted run has finished; empty for a new one.
        """
        wanted = plain(configuration)
        last = self._notes.get("run")
        known = last is not None and last["key"] in self._dataset.list_runs()
        if known and last["configuration"] == wanted:
            self._run_key = last["key"]
            return self._finished()
        if known:
            self._close(last["key"], INTERRUPTED, self._report_so_far())
        self._forget()
        self._run_key = new_run_key(self._dataset, f"label_{self._out}")
        config = self._dataset.init_run(method=METHOD, out=self._out, status=RUNNING, started=_now(), **wanted)
        self._dataset.register_run(self._run_key, config)
        self._notes.set("run", {"key": self._run_key, "configuration": wanted})
        return {}

    def record(self, key: str, finished: FinishedVideo) -> None:
        """Notes that a video is done."""
        self._notes.set(f"video/{key}", plain(asdict(finished)))

    def finish(self, report: Mapping[str, Any]) -> None:
        """Keeps the report with the run, and forgets the notes."""
        self._close(self._run_key, FINISHED, report)
        self._forget()

    def _finished(self) -> dict[str, FinishedVideo]:
        notes = {key: self._notes.get(key) for key in self._notes.list_keys() if key.startswith("video/")}
        return {
            key.removeprefix("video/"): FinishedVideo(
                note["fingerprint"],
                VideoReport(**{**note["report"], "problems": tuple(note["report"].get("problems", ()))}),
            )
            for key, note in notes.items()
            if note is not None
        }

    def _report_so_far(self) -> dict[str, Any]:
        return {"videos": {found.report.name: found.report.as_dict() for found in self._finished().values()}}

    def _close(self, run_key: str, status: str, report: Mapping[str, Any]) -> None:
        config = self._dataset.get_run_info(run_key).config
        config.status, config.ended = status, _now()
        self._dataset.update_run_config(run_key, config)
        results = self._dataset.init_run_results(run_key, report=plain(report))
        self._dataset.save_run_results(run_key, results, overwrite=True, cache=False)

    def _forget(self) -> None:
        for key in self._notes.list_keys():
            self._notes.delete(key)


def new_run_key(dataset: fo.Dataset, base: str) -> str:
    """``base``, or ``base_2`` and so on where runs of these names exist."""
    taken, number = set(dataset.list_runs()), 1
    while (key := base if number == 1 else f"{base}_{number}") in taken:
        number += 1
    return key


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON makes of it, so that what was stored compares equal to what is to be stored."""
    return json.loads(json.dumps(value))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
