"""What a ledger knows, as plain values: one long note, and behind it a log of short ones that anybody may add to.

Many write, some while others hold the lock of the field: people answer while a synchronisation runs. So whoever has
something to tell adds an entry under a new name, which nobody ever changes; who holds the lock folds entries into the
note now and then. Entries say what is, not what was added, so folding one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fiftyone.operators.store import ExecutionStore

from ...engine.desk.ports import DeskError
from .journal import StoreNotes
from .locking import StoreLock

LONG_LOG = 50  # entries, each of which is read one by one

_BOOK, _LOG, _STATE = "book", "log/", "state"
_READS = 5  # a book that is folded while it is read is read again
_MEND = "count anew with Ledger.refresh()"


@dataclass
class Contents:
    """What is known.

    Attributes:
        videos: key of a video -> what is known of it: "labels", "asked", "spent", "conflicts", and "dirty" while its
            labels are being changed.
        rounds: what was done, oldest first; each has an "id".
        models: version -> "path", "default", "used".
    """

    videos: dict[str, dict[str, Any]] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, name: str, entry: Mapping[str, Any]) -> None:
        """Takes in one entry of the log."""
        for key, values in entry.get("videos", {}).items():
            self.videos.setdefault(key, {}).update(values)
        if "round" in entry and all(one["id"] != name for one in self.rounds):
            last = self.rounds[-1] if self.rounds else None
            if last is not None and last["kind"] == entry["round"]["kind"] == "answers":
                self.rounds.pop()  # answers that come in one by one are one round
            self.rounds.append({**entry["round"], "id": name})
        for version, values in entry.get("models", {}).items():
            self.models.setdefault(version, {}).update(values)


class Book:
    """The note and the log of one field of tracks.

    Args:
        store: that they lie in.
        title: of the field, for messages.
        lock: of the field.
    """

    def __init__(self, store: ExecutionStore, title: str, lock: StoreLock) -> None:
        self._lock = lock
        self.notes = StoreNotes(store, title, lock, _MEND)

    def read(self) -> Contents:
        """All that is known.

        Raises:
            DeskError: if somebody has damaged it.
        """
        return self._read()[0]

    def _read(self) -> tuple[Contents, list[str]]:
        for _ in range(_READS):
            names = self.notes.keys(_LOG)
            contents = Contents(**(self.notes.get(_BOOK) or {}))
            entries = {name: self.notes.get(name) for name in names}
            if None not in entries.values():  # else somebody has folded them meanwhile
                break
        for name, entry in entries.items():
            contents.take(name, entry or {})
        return contents, names

    def add(self, **entry: Any) -> None:
        """Tells something: ``videos``, ``round`` or ``models``, as ``Contents`` has them.

        Raises:
            LostError: if this process held the lock, and another one has taken over meanwhile.
        """
        self.notes.add(_LOG, entry)

    def fold(self) -> int:
        """Puts the log into the note; only for who holds the lock, and for others nothing happens.

        Returns:
            how many videos it knows; 0 where nothing happened.
        """
        if not self._lock.is_held:
            return 0
        contents, names = self._read()
        self._write(contents, names)
        return len(contents.videos)

    def tidy(self) -> None:
        """Folds a log that has become long; if somebody is at work on the field, it waits for another time."""
        if len(self.notes.keys(_LOG)) > LONG_LOG and not self._lock.is_held:
            with suppress(DeskError), self.notes.hold():
                self.fold()

    def rewrite(self, contents: Contents) -> None:
        """Puts something else in the place of all that is known, and of the log; only for who holds the lock."""
        self._write(contents, self.notes.keys(_LOG))

    def _write(self, contents: Contents, names: list[str]) -> None:
        self.notes.set(_BOOK, contents.__dict__)
        for name in names:  # oldest first: those that are left after an interruption say what came last
            self.notes.delete(name)

    @property
    def state(self) -> dict[str, Any]:
        """Whether all was counted ("complete"), and what is being done to the labels ("running")."""
        return self.notes.get(_STATE) or {}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        self.notes.put(_STATE, dict(values))
