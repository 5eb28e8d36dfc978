"""Appearance vectors on disk, in half precision beside the database, found again by what is in the files.

A vector belongs to a box of a picture's content, as an appearance of a version sees it; not to a dataset or a path. So
copies and renamed files find theirs, other contents have none, and nothing is described twice. Each video has a folder
of safetensors that only ever appear whole; small ones are put together as they become many.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...models.errors import InputError
from .videos import StoredVideo

#: What a key is: the picture's content, its place in the video file, and the box in eighths of a pixel.
KEY_COLUMNS = 6

_EIGHTHS, _OFFSET = 8.0, 0.137  # the offset keeps places that people and programs like away from the rounding's edge
_MANY, _SMALL = 16, 4 << 20  # files of a video, and bytes below which they are put together
_CONTENTS = "contents.json"
_DAY = 86_400


def vectors_root() -> Path:
    """Folder of all vectors on this machine: beside FiftyOne's own, or where ``SPAM_PLUGIN_VECTORS`` says."""
    named = os.environ.get("SPAM_PLUGIN_VECTORS")
    return Path(named).expanduser() if named else Path(fo.config.default_dataset_dir).parent / "spam_plugin_vectors"


class VectorShelf:
    """The vectors that one version of an appearance gave.

    Args:
        version: of the appearance.
        root: folder of all vectors; ``vectors_root()`` if None.
    """

    def __init__(self, version: str, root: Path | None = None) -> None:
        self.version = version
        self.root = root or vectors_root()
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", version)[:60]
        self.folder = self.root / f"{slug}-{blake2b(version.encode(), digest_size=4).hexdigest()}"
        self._contents = _Contents(self.root / _CONTENTS)
        self._sources: dict[str, _Sources] = {}
        self._tables: dict[str, _Table] = {}

    @classmethod
    def open(cls, dataset: fo.Dataset, appearance_version: str) -> VectorShelf:
        """The vectors of a version; the dataset's do not lie apart from others', as contents name them."""
        return cls(appearance_version)

    def missing(
        self, video: StoredVideo, frame: NDArray[np.int64] | int, xyxy: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """(N,) whether a box has no vector yet; boxes that are not finite never have one.

        Args:
            video: that the boxes are of.
            frame: (N,) int64 or one for all, 0-based.
            xyxy: (N, 4) floating, pixels of the decoded picture.

        Raises:
            InputError: for a video whose file is not there.
        """
        place, keys, good = self._keys(video, frame, xyxy)
        return ~good | ~self._table(place).has(keys)

    def lookup(
        self, video: StoredVideo, frame: NDArray[np.int64] | int, xyxy: NDArray[np.floating]
    ) -> NDArray[np.float16]:
        """(N, D) float16 vectors of boxes; NaN where there is none, and D = 0 where there is none at all.

        Args and raises: as ``missing``.
        """
        place, keys, good = self._keys(video, frame, xyxy)
        rows, vectors = self._table(place).look(keys)
        row = np.where(good, rows, -1)
        out = np.full((len(row), vectors.shape[1]), np.nan, np.float16)
        out[row >= 0] = vectors[row[row >= 0]]
        return out

    def add(
        self, video: StoredVideo, frame: NDArray[np.int64] | int, xyxy: NDArray[np.floating],
        vectors: NDArray[np.floating],
    ) -> None:  # fmt: skip
        """Take vectors (N, D) of boxes; ``flush`` keeps them. Boxes that have one already, or are not finite, stay."""
        place, keys, good = self._keys(video, frame, xyxy)
        self._table(place).add(keys[good], np.asarray(vectors, np.float16)[good])

    def flush(self) -> None:
        """Write what was added.

        Raises:
            InputError: if there is no room; what was there before stays, and so does what is still to be written.
        """
        for table in self._tables.values():
            table.flush()

    def _keys(
        self, video: StoredVideo, frame: NDArray[np.int64] | int, xyxy: NDArray[np.floating]
    ) -> tuple[str, NDArray[np.int64], NDArray[np.bool_]]:
        """The video's place, keys (N, 6), and (N,) which of the boxes can have any."""
        if video.key not in self._sources:
            self._sources[video.key] = _Sources.of(video, self._contents)
        sources = self._sources[video.key]
        frames = np.broadcast_to(np.asarray(frame, np.int64), len(xyxy))
        box = np.asarray(xyxy, np.float64) * _EIGHTHS + _OFFSET
        good = np.asarray(np.isfinite(box).all(1) & (np.abs(box) < 1e12).all(1))
        origin, known = sources.of_frames(frames)
        rounded = np.rint(np.where(good[:, None], box, 0)).astype(np.int64)
        return sources.place, np.concatenate([origin, rounded], 1), good & known

    def _table(self, place: str) -> _Table:
        if place not in self._tables:
            self._tables[place] = _Table(self.folder / place)
        return self._tables[place]


@dataclass(frozen=True)
class _Sources:
    """Where the pictures of a video come from.

    Attributes:
        place: name of the video's folder.
        file: content of the video file; 0 for a sequence of images.
        images: 0-based frame -> content of its image; empty for a video file.
    """

    place: str
    file: int
    images: dict[int, int]

    @classmethod
    def of(cls, video: StoredVideo, contents: _Contents) -> _Sources:
        ids = list(video.sample_ids)
        found = dict(zip(*video.dataset.select(ids).values(["id", "filepath"]), strict=True))
        digests = [contents.digest(found[key], video) for key in ids]
        contents.save()
        numbers = [int(digest[:15], 16) for digest in digests]
        if video.image_frame is None:
            return cls(digests[0], numbers[0], {})
        return cls(f"images-{digests[0]}", 0, dict(zip(video.image_frame.tolist(), numbers, strict=True)))

    def of_frames(self, frame: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(N, 2) content and place in it of frames, and (N,) whether there is such a picture."""
        if not self.images:
            return np.stack([np.full(len(frame), self.file), frame], 1), np.ones(len(frame), bool)
        order = np.array(sorted(self.images), np.int64)
        content = np.array([self.images[number] for number in order.tolist()], np.int64)
        at = np.searchsorted(order, frame).clip(max=len(order) - 1)
        return np.stack([content[at], np.zeros(len(frame), np.int64)], 1), order[at] == frame


@dataclass
class _Table:
    """Keys and vectors of one video: those that were on disk, and those that came since and are put to them when asked.

    Putting together costs as much as all that is there; so it waits until somebody wants vectors.
    """

    folder: Path
    _read: tuple[NDArray[np.int64], NDArray[np.float16]] | None = None
    _order: tuple[NDArray[np.uint64], NDArray[np.int64]] | None = None
    _since: list[tuple[NDArray[np.int64], NDArray[np.float16]]] = field(default_factory=list)
    _written: int = 0  # of ``_since``
    _seen: set[int] = field(default_factory=set)  # mixed keys of ``_since``

    def has(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) whether there are vectors of the keys."""
        fresh = np.fromiter((key in self._seen for key in _mixed(keys).tolist()), bool, len(keys))
        return fresh | (self._find(keys) >= 0)

    def look(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """(N,) rows of the keys, -1 for those that are not there, and the (M, D) vectors that they are rows of."""
        if self._since:
            self.flush()
            self._read = _together([self._stored(), *self._since])
            self._since, self._written, self._order = [], 0, None
            self._seen.clear()
        return self._find(keys), self._stored()[1]

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Take what is not there yet."""
        fresh = ~self.has(keys)
        if fresh.any():
            self._since.append((keys[fresh], vectors[fresh]))
            self._seen.update(_mixed(keys[fresh]).tolist())

    def flush(self) -> None:
        """Write what is new as one file, and put small files together where there are many."""
        if self._written < len(self._since):
            _write(self.folder, *_together(self._since[self._written :]))
            self._written = len(self._since)
            self.tidy(_MANY)

    def _find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        stored = self._stored()[0]
        if not len(stored) or not len(keys):
            return np.full(len(keys), -1)
        if self._order is None:
            mixed = _mixed(stored)
            order = np.argsort(mixed, kind="stable")
            self._order = (mixed[order], order)
        at = np.searchsorted(self._order[0], _mixed(keys)).clip(max=len(stored) - 1)
        row = self._order[1][at]
        return np.where((stored[row] == keys).all(1), row, -1)

    def tidy(self, most: int = 1) -> None:
        """Put small files together if there are more than ``most`` of them."""
        small = [file for file in _files(self.folder) if file.stat().st_size < _SMALL]
        if len(small) <= most:
            return
        keys, vectors = _together([part for part in map(_read_file, small) if part is not None])
        first = np.sort(np.unique(keys, axis=0, return_index=True)[1])
        _write(self.folder, keys[first], vectors[first])
        for file in small:
            file.unlink(missing_ok=True)

    def _stored(self) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        if self._read is None:
            self._read = _together([part for part in map(_read_file, _files(self.folder)) if part is not None])
            if self.folder.is_dir():
                with suppress(OSError):
                    os.utime(self.folder)  # when it was used last, for ``tidy``
        return self._read


def tidy(unused_days: float, root: Path | None = None) -> tuple[int, int]:
    """Remove vectors of videos that nobody has asked for in so many days, and put the files of the others together.

    Returns:
        How many videos' vectors were removed, and how many bytes less there are.
    """
    root = root or vectors_root()
    before, removed, limit = _size(root), 0, time.time() - unused_days * _DAY
    for folder in sorted(root.glob("*/*/")):
        if folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
            continue
        used = folder.stat().st_mtime
        _Table(folder).tidy()
        os.utime(folder, (used, used))
    for folder in sorted(root.glob("*/")):
        with suppress(OSError):  # not empty
            folder.rmdir()
    return removed, before - _size(root)


def _size(root: Path) -> int:
    return sum(file.stat().st_size for file in root.rglob("*.safetensors"))


class _Contents:
    """Digests of files' contents, so that a file is only read again when its size or time has changed."""

    def __init__(self, note: Path) -> None:
        self._note = note
        self._known: dict[str, list] = {}
        with suppress(OSError, ValueError):
            found = json.loads(note.read_text())
            self._known = found if isinstance(found, dict) else {}
        self._changed = False

    def digest(self, path: str, video: StoredVideo) -> str:
        """32 hexadecimal digits of what is in a file."""
        try:
            about = os.stat(path)
            stamp = [about.st_size, about.st_mtime_ns]
            known = self._known.get(path)
            if isinstance(known, list) and known[:2] == stamp:
                return str(known[2])
            digest = blake2b(digest_size=16)
            with open(path, "rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        except OSError as error:
            raise InputError(
                f"{video.title()} cannot be read: {path}: {error.strerror or error}; replace the file or remove the "
                f"sample"
            ) from error
        # A file that was written this very moment may change again without its time telling.
        if time.time_ns() - about.st_mtime_ns > 2_000_000_000:
            self._known[path] = [*stamp, digest.hexdigest()]
            self._changed = True
        return digest.hexdigest()

    def save(self) -> None:
        """Keep what was learnt; without room for it, files are read again."""
        if self._changed:
            draft = self._note.with_name(f".{uuid4().hex}.tmp")
            with suppress(OSError):
                self._note.parent.mkdir(parents=True, exist_ok=True)
                draft.write_text(json.dumps(self._known))
                os.replace(draft, self._note)
            self._changed = False


def _together(parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float16]]]) -> tuple[
    NDArray[np.int64], NDArray[np.float16]
]:  # fmt: skip
    """Keys and vectors of several files; a file whose vectors are of another length than the longest ones is left."""
    width = max((part[1].shape[1] for part in parts), default=0)
    same = [part for part in parts if part[1].shape[1] == width]
    keys = [np.zeros((0, KEY_COLUMNS), np.int64), *(part[0] for part in same)]
    vectors = [np.zeros((0, width), np.float16), *(part[1] for part in same)]
    return np.concatenate(keys), np.concatenate(vectors)


def _files(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.safetensors"))


def _read_file(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float16]] | None:
    """Keys and vectors of a file; None for one that is damaged or gone: its boxes are described again."""
    try:
        with safe_open(str(file), "np") as stored:
            keys, vectors = stored.get_tensor("keys"), stored.get_tensor("vectors")
    except (SafetensorError, OSError):
        return None
    if keys.ndim != 2 or keys.shape[1] != KEY_COLUMNS or vectors.ndim != 2 or len(keys) != len(vectors):
        return None
    return keys.astype(np.int64, copy=False), vectors.astype(np.float16, copy=False)


def _write(folder: Path, keys: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
    """A new file of the folder, whole or not at all."""
    draft = folder / f".{uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"keys": np.ascontiguousarray(keys), "vectors": np.ascontiguousarray(vectors)}, str(draft))
        os.replace(draft, folder / f"{time.time_ns():020d}-{uuid4().hex[:8]}.safetensors")
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise InputError(
            f"{folder}: vectors could not be written ({error}); make room, or name another folder in "
            f"SPAM_PLUGIN_VECTORS, and start it again"
        ) from error


def _mixed(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """(N,) one number of each key, by which keys are looked up; equal numbers are compared in full."""
    mixed = np.full(len(keys), 0x9E3779B97F4A7C15, np.uint64)
    for column in keys.T.astype(np.uint64):  # a handful of columns
        mixed = (mixed ^ column) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
    return mixed
