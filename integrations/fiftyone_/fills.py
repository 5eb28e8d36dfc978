"""Filled boxes, kept with the dataset beside the answers that they hang on, so that labelling has them again."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from io import BytesIO
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.operators.store import ExecutionStore
from numpy.typing import NDArray

from ...engine.filling import Fills
from ...engine.propagation import SavedFills
from ...models.errors import InputError
from ...models.spot.following import Trail
from .journal import StoreNotes, SyncJournal

_STORE = "spam_plugin.fills"
_MEND = "fill the gaps again with --again"
_VIDEO, _SEEN = "video/", "seen/"


class Seen(dict[bytes, Trail]):
    """What a tracker saw, by gap; see ``engine.filling.Cache``.

    Attributes:
        used: gaps that were asked for or entered: those that there are now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.used: set[bytes] = set()

    def __getitem__(self, gap: bytes) -> Trail:
        self.used.add(gap)
        return super().__getitem__(gap)

    def __setitem__(self, gap: bytes, trail: Trail) -> None:
        self.used.add(gap)
        super().__setitem__(gap, trail)


class FillBook:
    """The filled boxes of one field of tracks, in the dataset's execution store; a note for each video.

    Anybody may read. Only who holds the field's lock (``Ledger.hold``) may write, and a note is written whole or not at
    all, whenever the process dies.

    Args:
        dataset: that the boxes are in.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        title = f"the filled boxes of field {out!r} of dataset {dataset.name!r}"
        store = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)
        self._notes = StoreNotes(store, title, SyncJournal(dataset, out).lock, _MEND)

    def of(self, key: str) -> SavedFills | None:
        """What was filled of the objects of answers in a video; None if nothing was.

        Boxes of tracks that labelling keeps are not among them: these stay in the field of tracks by themselves.

        Raises:
            DeskError: for a note that somebody has damaged.
        """
        saved = self.read(key)
        return saved[1] if saved is not None and len(saved[1]) else None

    def digest(self, key: str) -> str:
        """Changes whenever ``of`` does; empty where there is nothing."""
        found = self.of(key)
        return "" if found is None else found.digest

    def read(self, key: str) -> tuple[Fills, SavedFills, dict[str, Any]] | None:
        """All that was filled in a video: boxes by track of the keyframes, those of answers, and what is noted."""
        note = self._notes.get(_VIDEO + key)
        if note is None:
            return None
        try:
            fills, saved = Fills(**_unpack(note["fills"])), SavedFills(**_unpack(note["saved"]))
        except (InputError, KeyError, TypeError, ValueError):  # of another version of this code
            return None
        return fills, saved, note["about"]

    def put(self, key: str, fills: Fills, saved: SavedFills, about: Mapping[str, Any]) -> None:
        """Keeps what was filled in a video, in the place of what was there.

        Args:
            key: of the video.
            fills: all boxes, by track of the keyframes.
            saved: those of objects that answers speak of.
            about: plain values to note with them.

        Raises:
            LostError: if another process has taken over meanwhile.
        """
        note = {"fills": _pack(_columns(fills)), "saved": _pack(_columns(saved)), "about": dict(about)}
        self._notes.set(_VIDEO + key, note)

    def seen(self, key: str, media: str) -> Seen:
        """What the tracker saw in the gaps of a video, by gap; empty where nothing is kept of these files.

        Args:
            key: of the video.
            media: digest of its files (see ``frames.media_digest``).
        """
        note = self._notes.get(_SEEN + key) or {}
        out = Seen()
        if note.get("media") == media:
            with suppress(KeyError, TypeError, ValueError):  # of another version of this code
                dict.update(out, {bytes.fromhex(gap): Trail(**_unpack(text)) for gap, text in note["gaps"].items()})
        return out

    def put_seen(self, key: str, media: str, seen: Seen) -> None:
        """Keeps what the tracker saw in the gaps that there are now, so that only new ones are followed next time."""
        gaps = {gap.hex(): _pack(_columns(seen[gap])) for gap in sorted(seen.used)}
        self._notes.set(_SEEN + key, {"media": media, "gaps": gaps})

    def forget(self, key: str) -> None:
        """Forgets what was filled in a video."""
        for prefix in (_VIDEO, _SEEN):
            self._notes.delete(prefix + key)


def _columns(table: Fills | SavedFills | Trail) -> dict[str, NDArray]:
    return {one.name: getattr(table, one.name) for one in fields(table)}


def _pack(columns: Mapping[str, NDArray]) -> str:
    """Columns as text, bit by bit."""
    with BytesIO() as buffer:
        np.savez_compressed(buffer, **dict[str, Any](columns))
        return b64encode(buffer.getvalue()).decode()


def _unpack(text: str) -> dict[str, NDArray]:
    with np.load(BytesIO(b64decode(text)), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
