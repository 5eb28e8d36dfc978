"""Runs of a detector as runs of the dataset: which boxes are whose, what is done, and what an interrupted one left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from ...models.errors import InputError
from .fields import OWNER
from .locking import StoreLock
from .raw import declare_detections
from .runs import FINISHED, INTERRUPTED, RUNNING, new_run_key, plain

METHOD = "spam_detect"

_STORE = "spam_plugin.detect"
_RUN, _VIDEO, _LOCK = "run", "video/", "~lock"


@dataclass(frozen=True)
class VideoNote:
    """How far a run has come with one video.

    Attributes:
        name: of the video.
        source: digest of what its boxes are made from: its files, and the boxes that they are added to.
        frames: how many have been looked at; boxes of all of them are written.
        next: 0-based frame to go on with.
        boxes: how many were written.
        seconds: of work.
        state: "detecting", "mixing" while boxes of two detectors are being put together, or "done".
        short: a sentence, if the file has fewer frames than it says.
    """

    name: str
    source: str
    frames: int = 0
    next: int = 0
    boxes: int = 0
    seconds: float = 0.0
    state: str = "detecting"
    short: str = ""


class DetectRuns:
    """The detector's runs into one field of candidates.

    The configuration is kept in the field's info and registered with the dataset as ``detect_FIELD``; how far every
    video has come is noted in the dataset's execution store, which survives the process.

    Args:
        dataset: that the field is in.
        prefix: ``"frames."`` for videos, empty for images.
        field: name of the field, without the prefix.

    Raises:
        InputError: for a name that FiftyOne cannot use, or a field that is somebody else's.
    """

    def __init__(self, dataset: fo.Dataset, prefix: str, field: str) -> None:
        if not field.isidentifier() or field.startswith("_"):
            raise InputError(f"{field!r} cannot be the name of a field; use letters, digits and underscores")
        self._dataset, self._path, self._field = dataset, prefix + field, field
        self._mark = f"detect into {field}"
        found = dataset.get_field(self._path)
        if found is not None and (found.info or {}).get(OWNER) != self._mark:
            raise InputError(
                f"field {self._path!r} of dataset {dataset.name!r} was not written by a detector of this plugin, so it "
                f"is not overwritten; name another one (candidates=..., --candidates)"
            )
        self._notes = ExecutionStore.create(f"{_STORE}.{field}", dataset._doc.id)
        self._lock = StoreLock(self._notes, _LOCK, f"field {field!r} of dataset {dataset.name!r}")
        self.run_key = ""
        self._is_running = False

    def hold(self) -> AbstractContextManager[None]:
        """Makes sure that no other process detects into the field meanwhile."""
        return self._lock.hold()

    def begin(self, configuration: Mapping[str, Any], videos: Collection[str], again: bool) -> dict[str, VideoNote]:
        """Declares the field, and goes on with the last run if its configuration is the same, else registers a new one.

        Args:
            configuration: detector and settings: what the boxes depend on.
            videos: keys of those that the run is about.
            again: forget what was done with them.

        Returns:
            key -> how far their run has come.

        Raises:
            InputError: if the field holds boxes of another configuration in other videos.
        """
        wanted, last, found = plain(configuration), self._notes.get(_RUN), self._dataset.get_field(self._path)
        there = found is not None and last is not None and (found.info or {}).get("run") == last["key"]
        known = there and last["key"] in self._dataset.list_runs()
        if known and last["configuration"] == wanted:
            self.run_key = last["key"]
            notes = self._read()
            for key in videos if again else ():
                self._notes.delete(_VIDEO + key)
                notes.pop(key, None)
            return {key: note for key, note in notes.items() if key in videos}
        if known:
            self._check_covers(last["configuration"], videos)
            if self._dataset.get_run_info(last["key"]).config.status == RUNNING:
                self._close(last["key"], INTERRUPTED, self._report())
        for key in self._notes.list_keys():
            if key != _LOCK:
                self._notes.delete(key)
        self.run_key = new_run_key(self._dataset, f"detect_{self._field}")
        config = self._dataset.init_run(
            method=METHOD, candidates=self._field, status=RUNNING, started=_now(), **wanted
        )  # fmt: skip
        self._dataset.register_run(self.run_key, config)
        self._declare(wanted)
        self._notes.set(_RUN, {"key": self.run_key, "configuration": wanted})
        return {}

    def record(self, key: str, note: VideoNote) -> None:
        """Notes how far a video has come; called after everything up to there has been written.

        Raises:
            LostError: if another process has taken over meanwhile.
        """
        self._lock.check()
        if not self._is_running:  # also a run that was finished, and goes on with videos that are new
            self._set_status(self.run_key, RUNNING)
            self._is_running = True
        self._notes.set(_VIDEO + key, asdict(note))

    def finish(self) -> None:
        """Keeps what was done with the run."""
        self._close(self.run_key, FINISHED, self._report())

    def _declare(self, configuration: dict[str, Any]) -> None:
        attributes = (
            {"detector": (fo.StringField, "which detector found the box")} if configuration.get("add_to") else {}
        )
        info = {OWNER: self._mark, "run": self.run_key, "detector": configuration.get("detector"),
                "configuration": configuration}  # fmt: skip
        declare_detections(self._dataset, self._path, attributes, "candidates of a detector", info)
        field = self._dataset.get_field(self._path)
        field.info = info
        field.save()

    def _check_covers(self, configuration: Mapping[str, Any], videos: Collection[str]) -> None:
        others = [key for key in self._read() if key not in videos]
        left = self._dataset.select(others).values("id") if others else []
        if left:
            raise InputError(
                f"field {self._path!r} of dataset {self._dataset.name!r} holds boxes of "
                f"{configuration.get('detector')!r} with other settings in {len(left)} videos that are not asked for; "
                f"name another field (candidates=..., --candidates), or leave the view out to detect in all videos"
            )

    def _read(self) -> dict[str, VideoNote]:
        keys = [key for key in self._notes.list_keys() if key.startswith(_VIDEO)]
        found = {key.removeprefix(_VIDEO): self._notes.get(key) for key in keys}
        return {key: VideoNote(**note) for key, note in found.items() if note is not None}

    def _report(self) -> dict[str, Any]:
        return {"videos": {note.name: asdict(note) for note in self._read().values()}}

    def _close(self, run_key: str, status: str, report: Mapping[str, Any]) -> None:
        self._set_status(run_key, status)
        results = self._dataset.init_run_results(run_key, report=plain(report))
        self._dataset.save_run_results(run_key, results, overwrite=True, cache=False)

    def _set_status(self, run_key: str, status: str) -> None:
        config = self._dataset.get_run_info(run_key).config
        config.status, config.ended = status, None if status == RUNNING else _now()
        self._dataset.update_run_config(run_key, config)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
