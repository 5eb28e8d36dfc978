"""The shelf: trained versions as folders on disk, registered with the dataset; one of them is in use.

A version's folder holds ``version.json`` and one safetensors file for each part that was retrained. It appears under
its name in one step, complete or not at all, and never changes afterwards; what is in use is a note with the dataset.
The shelf lies beside FiftyOne's own folder, or where ``SPAM_PLUGIN_SHELF`` says.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore
from safetensors import SafetensorError

from ...engine.answers import Answer
from ...engine.holdout import Holdout, hold_out
from ...engine.versions import BY_HAND, DEFAULT, PARTS, Version, version_name, version_number
from ...models.errors import InputError, MissingError
from .journal import StoreNotes
from .ledger import Ledger
from .locking import StoreLock

DESCRIPTION = "version.json"
LOGS = "tensorboard"  # what of a draft is kept beside the weights

_STORE = "spam_plugin.shelf"
_VERSION, _USE, _LAST, _HOLDOUT = "version/", "use", "last", "holdout"
_LOADERS = {
    "hierarchy": ("...models.spam.model", "SpamModel"),
    "detector": ("...models.detector.detector", "Detector"),
    "appearance": ("...models.appearance.model", "AppearanceModel"),
    "tracker": ("...models.spot.model", "Tracker"),
}
_STAMP = re.compile(r"(-[0-9a-f]{8})+$")
_FULL = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


def shelf_root() -> Path:
    """Folder of all shelves on this machine."""
    named = os.environ.get("SPAM_PLUGIN_SHELF")
    return Path(named).expanduser() if named else Path(fo.config.default_dataset_dir).parent / "spam_plugin_shelf"


def weights_in_use(dataset: fo.Dataset, out: str) -> str | None:
    """File of the hierarchy that labels a field of tracks, as the shelf or the App chose it; None for the default.

    Raises:
        MissingError: if it is gone.
    """
    file = Ledger(dataset, out).model
    if file is not None and not Path(file).is_file():
        raise MissingError(
            f"the weights in use for field {out!r} are gone ({file}); choose others with `spam-plugin models "
            f"{dataset.name} use NAME`, or name some with --model"
        )
    return file


def tracker_in_use(dataset: fo.Dataset, out: str) -> Path | None:
    """File of the tracker that fills gaps in a field of tracks, as the shelf chose it; None for the default.

    Raises:
        MissingError: if it is gone.
    """
    file = Shelf(dataset, out).in_use().parts.get("tracker")
    if file is not None and not file.is_file():
        raise MissingError(
            f"the tracker in use for field {out!r} is gone ({file}); choose another version with `spam-plugin models "
            f"{dataset.name} use NAME`, or adapt it again with `spam-plugin adapt {dataset.name}`"
        )
    return file


class Shelf:
    """The versions of one field of tracks.

    Args:
        dataset: that they were trained on.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        self._dataset, self._out = dataset, out
        self.folder = shelf_root().absolute() / str(dataset._doc.id) / out
        title = f"the shelf of field {out!r} of dataset {dataset.name!r}"
        store = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)
        self._lock = StoreLock(store, "~lock", title)
        self._notes = StoreNotes(store, title, self._lock, "add the version again")
        self._ledger = Ledger(dataset, out)

    # --- what there is

    def versions(self) -> list[Version]:
        """All versions, oldest first, without the default one; those whose files are not here are marked."""
        found: dict[str, Version] = {}
        for note in self._notes.keys(_VERSION):
            values = self._notes.get(note) or {}
            found[note.removeprefix(_VERSION)] = replace(Version.from_dict(values), is_there=False)
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        for folder in there:
            if not version_number(folder.name):
                continue
            try:
                found[folder.name] = _read(folder)
            except InputError as error:  # one that is damaged must not keep others from being used
                logger.warning("%s", error)
        return sorted(found.values(), key=lambda version: (version_number(version.name), version.name))

    def get(self, name: str) -> Version:
        """The version of that name; "default" is what the package comes with.

        Raises:
            MissingError: if there is none; names those that there are.
        """
        if name == DEFAULT:
            return Version(DEFAULT, parent="")
        versions = {version.name: version for version in self.versions()}
        if name not in versions:
            raise MissingError(
                f"field {self._out!r} of dataset {self._dataset.name!r} has no version {name!r}; there are: "
                f"{', '.join([DEFAULT, *versions])}"
            )
        return versions[name]

    def in_use(self) -> Version:
        """What labels, detects and describes now: a version, the defaults, or what somebody put together by hand."""
        name = (self._notes.get(_USE) or {}).get("name", DEFAULT)
        try:
            version = self.get(name)
        except MissingError:  # another process has removed what no note spoke of
            version = self.get(DEFAULT)
        chosen = self._ledger.model
        own = version.parts.get("hierarchy")
        if chosen == (None if own is None else str(own)):
            return version
        # Somebody has chosen other weights in the App since.
        for other in reversed(self.versions()):
            if chosen is not None and other.parts.get("hierarchy") == Path(chosen):
                return other
        parts = {part: file for part, file in version.parts.items() if part != "hierarchy"}
        parts |= {"hierarchy": Path(chosen)} if chosen is not None else {}
        if not parts:
            return self.get(DEFAULT)
        return Version(BY_HAND, parts, parent=version.name)

    # --- what is held out

    def holdout(
        self, answered: Mapping[str, Sequence[Answer]], lengths: Mapping[str, int], share: float = 0.25, seed: int = 0
    ) -> Holdout:
        """What is held out of the videos with answers; what was decided before stays so (``engine.holdout``)."""
        known = self._notes.get(_HOLDOUT)
        found = hold_out(answered, lengths, share, seed, Holdout.from_dict(known) if known else None)
        if known is None or found.as_dict() != known:
            with self._notes.hold():
                self._notes.set(_HOLDOUT, found.as_dict())
        return found

    # --- new versions

    def draft(self, purpose: str = "") -> Path:
        """A folder to train a new version in; the same for the same purpose, so that what was killed goes on.

        Args:
            purpose: what is trained from what, in any words; versions of other purposes are trained elsewhere.
        """
        name = "draft-" + blake2b(purpose.encode(), digest_size=8).hexdigest()
        with _told("a draft could not be made"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def add(self, draft: Path, version: Version) -> Version:
        """Puts a version on the shelf, complete or not at all; it is not used before ``use`` says so.

        Args:
            draft: folder that holds the files of the retrained parts; it is gone afterwards.
            version: what to note; the shelf gives it a name, and takes parts that were not retrained from its parent.

        Returns:
            the version with its name and its files on the shelf.

        Raises:
            InputError: for a file that its own loader refuses, or a disk that is full; the shelf is as it was.
            MissingError: for a file or a parent that is not there.
        """
        files = {part: draft / file for part, file in version.parts.items()}
        retrained = tuple(part for part in PARTS if part in (version.retrained or files))
        parent = self.in_use() if version.parent == BY_HAND else self.get(version.parent)
        inherited = {part: file for part, file in parent.parts.items() if part not in retrained}
        for part, file in inherited.items():
            if not file.is_file():
                raise MissingError(
                    f"the {part} of version {parent.name!r} is not there ({file}); choose another parent"
                )
        weights = {part: _load(part, files[part]) for part in retrained}
        made = self.folder / f"new-{uuid4().hex}"
        try:
            with _told("the new version could not be saved; the version in use stays as it is"):
                made.mkdir(parents=True)
                own = {part: made / f"{part}.safetensors" for part in retrained}
                for part, model in weights.items():
                    model.save(own[part])
                    _sync(own[part])
                if (draft / LOGS).is_dir():
                    shutil.copytree(draft / LOGS, made / LOGS)
                done = self._name(
                    made,
                    replace(version, parts={**inherited, **own}, retrained=retrained, made=version.made or time.time()),
                )
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self._notes.put(_VERSION + done.name, done.as_dict())
        self._notes.put(_LAST, version_number(done.name))
        shutil.rmtree(draft, ignore_errors=True)
        return done

    def _name(self, made: Path, version: Version) -> Version:
        """Gives a complete folder the next name that is free; two processes never get the same one."""
        number = max([self._notes.get(_LAST) or 0, *(version_number(one.name) for one in self.versions())])
        while True:
            number += 1
            name = version_name(number)
            named = replace(version, name=name)
            _write(made / DESCRIPTION, json.dumps(_by_place(named, made), indent=1))
            _sync(made)
            try:
                os.rename(made, self.folder / name)  # which refuses a folder that is not empty
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                    continue
                raise
            _sync(self.folder)
            return named.moved(made, self.folder / name)

    # --- which is used

    def use(self, name: str) -> Version:
        """Uses a version from now on, with all of its parts; "default" is what the package comes with.

        Raises:
            MissingError: if there is no such version, or its files are not on this machine.
        """
        with self._notes.hold():
            used = self._notes.get(_USE) or {"name": DEFAULT, "past": []}
            version = self._switch(name)
            if name != used["name"]:
                self._notes.set(_USE, {"name": name, "past": [*used["past"], used["name"]]})
        return version

    def back(self) -> Version:
        """Uses the version again that was in use before the one that is.

        Raises:
            InputError: if there was none before.
        """
        with self._notes.hold():
            used = self._notes.get(_USE) or {"name": DEFAULT, "past": []}
            there = {DEFAULT, *(version.name for version in self.versions() if version.is_there)}
            past = [name for name in used["past"] if name in there and name != used["name"]]
            if not past:
                raise InputError(
                    f"no other version was in use before {used['name']!r}; choose one with `spam-plugin models "
                    f"{self._dataset.name} use NAME`"
                )
            version = self._switch(past[-1])
            kept = used["past"][: len(used["past"]) - 1 - used["past"][::-1].index(past[-1])]
            self._notes.set(_USE, {"name": past[-1], "past": kept})
        return version

    def _switch(self, name: str) -> Version:
        version = self.get(name)
        for part, file in version.parts.items():
            if not version.is_there or not file.is_file():
                raise MissingError(
                    f"version {name!r} cannot be used: its {part} is not on this machine ({file}); choose another one"
                )
        self._ledger.choose_model(version.parts.get("hierarchy"))
        return version

    # --- taking down

    def export(self, name: str, folder: str | Path) -> Path:
        """Copies all parts of a version, also those of its parents, with its description into a new folder.

        Raises:
            InputError: if there is something at that place, or the disk is full.
        """
        version, target = self.get(name), Path(folder).expanduser().absolute()
        if not version.parts:
            raise InputError(f"version {name!r} has no files of its own: they are part of the package")
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise InputError(f"{target} is there already; name a folder that is not")
        made = target.parent / f".{target.name}-{uuid4().hex}"
        try:
            with _told(f"version {name!r} could not be exported"):
                made.mkdir(parents=True)
                for part, file in version.parts.items():
                    if not file.is_file():
                        raise MissingError(f"the {part} of version {name!r} is not on this machine ({file})")
                    _copy(file, made / f"{part}.safetensors")
                parts = {part: made / f"{part}.safetensors" for part in version.parts}
                text = json.dumps(_by_place(replace(version, parts=parts), made), indent=1)
                _write(made / DESCRIPTION, text)
                os.replace(made, target)  # an empty folder may be there
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return target

    def remove(self, name: str) -> None:
        """Deletes a version with its files.

        Raises:
            InputError: for one that is in use, or whose weights another one uses.
            MissingError: if there is no such version.
        """
        with self._notes.hold():
            version, used = self.get(name), self.in_use()
            folder = self.folder / name
            if name == DEFAULT:
                raise InputError("the default version is part of the package and cannot be removed")
            noted = (self._notes.get(_USE) or {}).get("name")
            if name in (used.name, noted) or any(file.is_relative_to(folder) for file in used.parts.values()):
                raise InputError(f"version {name!r} is in use; use another one first, then remove it")
            heirs = [
                one.name
                for one in self.versions()
                if one.name != name and any(file.is_relative_to(folder) for file in one.parts.values())
            ]
            if heirs:
                raise InputError(
                    f"version {name!r} cannot be removed: {', '.join(heirs)} use its weights; remove those first"
                )
            if version.is_there:
                gone = self.folder / f"gone-{uuid4().hex}"
                folder.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            self._notes.delete(_VERSION + name)


def _load(part: str, file: Path) -> Any:
    """The weights of a part, loaded as whoever uses them will, and with a name that no others have.

    Labels, detections and the ledger tell weights apart by the name within the file, which training leaves as it was.
    """
    if not file.is_file():
        raise MissingError(f"the new {part} is not there ({file})")
    module, name = _LOADERS[part]
    loader: Callable[[Path], Any] = getattr(import_module(module, __package__), name).load
    model = loader(file)
    digest = blake2b(file.read_bytes(), digest_size=4).hexdigest()
    model.version = f"{_STAMP.sub('', model.version)}-{digest}"
    return model


def _read(folder: Path) -> Version:
    """The version that lies in a folder.

    Raises:
        InputError: for a description that somebody has damaged.
    """
    try:
        values = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        values["parts"] = {part: os.path.normpath(folder / file) for part, file in values["parts"].items()}
        return Version.from_dict(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error) or type(error).__name__
        raise InputError(f"{folder / DESCRIPTION} is damaged ({why}); delete the folder {folder}") from error


def _by_place(version: Version, folder: Path) -> dict[str, Any]:
    """Plain values of a version; files on its shelf are named as seen from its folder, so that the shelf may move."""
    parts = {
        part: os.path.relpath(file, folder) if file.is_relative_to(folder.parent) else str(file.absolute())
        for part, file in version.parts.items()
    }
    return {**version.as_dict(), "parts": parts}


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Says in a sentence that the disk is full, or that a folder cannot be written."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in _FULL:
            raise InputError(f"{what}: the disk is full{where}; make room, then run the same again") from error
        if isinstance(error, PermissionError):
            raise InputError(
                f"{what}: no permission to write{where}; change it, or set SPAM_PLUGIN_SHELF to another folder"
            ) from error
        raise
    except SafetensorError as error:
        if not any(f"os error {number}" in str(error) for number in _FULL):
            raise
        raise InputError(f"{what}: the disk is full; make room, then run the same again") from error


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise MissingError(f"{source}: no such file")
    with source.open("rb") as read, target.open("xb") as write:
        shutil.copyfileobj(read, write, 1 << 20)
        write.flush()
        os.fsync(write.fileno())


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(place: Path) -> None:
    """Makes sure that a file, or the names in a folder, survive a power cut, where the system can."""
    try:
        handle = os.open(place, os.O_RDONLY)
    except OSError:  # Windows does not open folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
