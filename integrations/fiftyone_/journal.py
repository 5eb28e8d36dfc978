"""Notes that are kept with the dataset: each is written whole or not at all, whenever the process dies.

A document of MongoDB holds 16 MB. What is longer goes into parts: these are written first, under names that nobody has
used, then the head which names them, then the parts of the head before go. Only the head makes a note; a part that no
head names is what a killed process has left, and goes with a later write.
"""

from __future__ import annotations

import json
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from ...engine.desk.ports import DeskError
from .locking import StoreLock

PLAIN_BYTES = 1 << 20  # of JSON text that is kept as it is
PART_BYTES = 8 << 20  # of text in one document

_STORE = "spam_plugin.sync"
_OURS = "~"  # names of entries that are no notes begin with it
_PART, _LOCK = f"{_OURS}part/", f"{_OURS}lock"
_Parts = dict[str, set[str]]
_MEND = "forget it with SyncJournal.delete({key!r}), and synchronise again"
_READS = 5  # a note that is replaced while it is read is read again


class StoreNotes:
    """Notes in an execution store, each written whole or not at all.

    Only who holds the lock may write, as far as long notes go: their parts look like leftovers until the head is
    written.

    Args:
        store: that they lie in.
        title: what they are about, for messages.
        lock: of those who write.
        mend: what to do about a damaged note, for messages; ``{key}`` stands for its name.
    """

    def __init__(self, store: ExecutionStore, title: str, lock: StoreLock, mend: str) -> None:
        self._store, self._title, self._lock, self._mend = store, title, lock, mend
        self._parts: _Parts | None = None  # note -> parts; None until this process has looked

    def get(self, key: str) -> Any:
        """The note, or None.

        Raises:
            DeskError: for a note that somebody has damaged.
        """
        for _ in range(_READS):
            head = self._store.get(key)
            if head is None:
                return None
            if "json" in head:
                return json.loads(head["json"])
            packed = [self._store.get(name) for name in head["parts"]] if "parts" in head else [head["zip"]]
            if None not in packed:
                return json.loads(zlib.decompress(b64decode("".join(packed))))
        raise DeskError(f"note {key!r} about {self._title} has lost parts; {self._mend.format(key=key)}")

    def set(self, key: str, value: Any) -> None:
        """Writes a note of plain values.

        Raises:
            LostError: if another process has taken over meanwhile.
        """
        self._lock.check()
        text = json.dumps(value)  # ASCII, so its length is its size
        head: dict[str, Any] = {"json": text}
        if len(text) > PLAIN_BYTES:
            packed = b64encode(zlib.compress(text.encode())).decode()
            head = {"parts": self._write_parts(key, packed)} if len(packed) > PART_BYTES else {"zip": packed}
        self._store.set(key, head)
        self._sweep(key, head.get("parts", ()))

    def add(self, prefix: str, value: Any) -> str:
        """Writes a short note under a name that nobody has used, behind those of the same prefix; anybody may.

        Returns:
            its name.
        """
        name = f"{prefix}{time.time_ns():020d}-{uuid4().hex[:12]}"
        self.put(name, value)
        return name

    def put(self, key: str, value: Any) -> None:
        """Writes a note that is always short; anybody may, as it looks at no parts of others.

        Raises:
            LostError: if this process held the lock, and another one has taken over meanwhile.
        """
        self._lock.check()
        text = json.dumps(value)
        packed = {"zip": b64encode(zlib.compress(text.encode())).decode()} if len(text) > PLAIN_BYTES else None
        self._store.set(key, packed or {"json": text})

    def delete(self, key: str) -> None:
        """Forgets a note.

        Raises:
            LostError: if another process has taken over meanwhile.
        """
        self._lock.check()
        self._store.delete(key)
        self._sweep(key)

    def keys(self, prefix: str = "") -> list[str]:
        """Names of the notes, in alphabetical order."""
        return sorted(key for key in self._store.list_keys() if key.startswith(prefix) and not key.startswith(_OURS))

    def hold(self) -> AbstractContextManager[None]:
        """Makes sure that no other process works on the same field meanwhile (see ``locking.StoreLock.hold``).

        Raises:
            DeskError: if one does; names it, since when it does, and how to end that.
        """
        self._parts = None  # another process may have written since
        return self._lock.hold()

    def _write_parts(self, key: str, packed: str) -> list[str]:
        there = self._known_parts().setdefault(key, set())
        once = uuid4().hex
        names = []
        for number, start in enumerate(range(0, len(packed), PART_BYTES)):
            name = f"{_PART}{key}/{once}/{number}"
            there.add(name)
            names.append(name)
            self._store.set(name, packed[start : start + PART_BYTES])
        return names

    def _sweep(self, key: str, named: Collection[str] = ()) -> None:
        """Deletes the parts that a note does not name any more."""
        there = self._known_parts().get(key, set())
        for name in sorted(there.difference(named)):
            self._store.delete(name)
            there.discard(name)

    def _known_parts(self) -> _Parts:
        """The parts of every note; where this process has not looked before, leftovers go."""
        if self._parts is None:
            self._parts = {}
            for name in self._store.list_keys():
                if name.startswith(_PART):
                    key = name.removeprefix(_PART).rsplit("/", 2)[0]
                    self._parts.setdefault(key, set()).add(name)
            for key in self._parts:
                self._sweep(key, (self._store.get(key) or {}).get("parts", ()))
        return self._parts


class SyncJournal(StoreNotes):
    """The journal of one field of tracks, in the dataset's execution store (see ``engine.desk.ports.Journal``).

    Args:
        dataset: that it goes with.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        title = f"field {out!r} of dataset {dataset.name!r}"
        store = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)
        self.lock = StoreLock(store, _LOCK, title)
        super().__init__(store, title, self.lock, _MEND)
