"""The plugin where FiftyOne finds it: a small folder that hands over to the installed package.

FiftyOne's App serves every file of a plugin's folder to whoever can reach it, without a log-in. So what is put among
the plugins is never a checkout, with its ``.git`` and ``.env``, but a folder of what the App needs and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import fiftyone as fo
import fiftyone.plugins as fop

from ...models.errors import InputError
from ..mot.atomic import replacing

NAME = "@spam-plugin/spam"
FOLDER = "spam-plugin"
HELP = "spam-plugin app"  # the command that makes the folder

PACKAGE = Path(__file__).resolve().parents[2]
_MARK = '"""Made by "spam-plugin app", which keeps it up to date'
_ENTRY = (
    _MARK
    + ''': hands over to the installed package spam_plugin.

FiftyOne's App serves every file of this folder to whoever can reach it. Put nothing else here.
"""

import sys


def register(p):
    try:
        import spam_plugin
    except ModuleNotFoundError as error:
        if error.name != "spam_plugin":
            raise
        raise ImportError(
            f"the package spam_plugin is not installed for {sys.executable}: install it there (pip install "
            f"spam-plugin), or delete the folder of {__file__}"
        ) from None
    spam_plugin.register(p)
'''
)
# A link to nowhere where Python would put bytecode: it would be served, too, and its coming would change the folder,
# and with it throw away FiftyOne's cache of plugins.
_NO_BYTECODE = ("__pycache__", "nowhere")
_NEEDED = {"fiftyone.yml", "fiftyone.yaml", "__init__.py", "assets", "__pycache__"}


@dataclass(frozen=True)
class Linked:
    """A folder in which FiftyOne finds the plugin.

    Attributes:
        path: as FiftyOne names it.
        enabled: whether the plugin is, in FiftyOne's settings.
        others: further folders of the plugin, which FiftyOne serves but does not load.
    """

    path: Path
    enabled: bool = True
    others: tuple[Path, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether ``link`` has made it."""
        return is_ours(self.path)

    @property
    def current(self) -> bool:
        """Whether it is as this version of the package would make it."""
        return self.ours and not any(True for _ in _stale(self.path))

    @cached_property
    def exposed(self) -> dict[Path, tuple[str, ...]]:
        """What lies in folders of the plugin and need not, by folder: all of it is served."""
        found = {path: excess(path) for path in (self.path, *self.others)}
        return {path: names for path, names in found.items() if names}


def plugins_folder() -> Path:
    """Where FiftyOne looks for plugins."""
    return Path(fo.config.plugins_dir)


def find() -> Linked | None:
    """The plugin as FiftyOne finds it among its plugins; None if it does not."""
    named = [one for one in fop.list_plugins(enabled="all", shadowed="all") if one.name == NAME]
    if not named:
        return None
    first, *others = (Path(one.directory) for one in named)
    return Linked(first, NAME in fop.list_enabled_plugins(), tuple(others))


def link() -> Linked:
    """Makes or refreshes the folder, unless FiftyOne finds the plugin elsewhere.

    Several processes may do this at once; a server that runs meanwhile never misses a file.

    Raises:
        InputError: if something else is where the folder should be, or it cannot be written.
    """
    found = find()
    if found is not None and not found.ours:
        return found
    folder = plugins_folder() / FOLDER if found is None else found.path
    if os.path.lexists(folder) and not is_ours(folder):
        raise InputError(
            f"{folder} is there and was not made by spam-plugin; move it away, as the plugin belongs there (or name "
            f"another folder of plugins in FIFTYONE_PLUGINS_DIR), then start {HELP!r} again"
        )
    try:
        if not folder.exists():
            _make(folder)
        _refresh(folder)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror or error}; make it writable, or name another folder of "
            "plugins in FIFTYONE_PLUGINS_DIR"
        ) from error
    return find() or Linked(folder)


def is_ours(folder: Path) -> bool:
    """Whether ``link`` has made a folder."""
    try:
        return not folder.is_symlink() and (folder / "__init__.py").read_text().startswith(_MARK)
    except (OSError, UnicodeDecodeError):
        return False


def excess(folder: Path) -> tuple[str, ...]:
    """Names in a plugin's folder that the App does not need and serves all the same; those that matter most first."""
    try:
        names = {path.name for path in folder.iterdir()} - _NEEDED
    except OSError:
        return ()
    return tuple(sorted(names, key=lambda name: (not name.startswith((".env", ".git")), name)))


def _files() -> dict[str, bytes]:
    """What the folder holds."""
    files = {"fiftyone.yml": (PACKAGE / "fiftyone.yml").read_bytes(), "__init__.py": _ENTRY.encode()}
    for asset in _assets(PACKAGE):
        files[f"assets/{asset.name}"] = asset.read_bytes()
    return files


def _assets(folder: Path) -> list[Path]:
    """Icons, and what runs in the browser. Hidden files are on their way: another process is about to rename them."""
    return sorted(path for path in (folder / "assets").glob("[!.]*") if path.suffix in (".svg", ".js"))


def _stale(folder: Path) -> Iterator[tuple[Path, bytes | None]]:
    """What has to change: files and what they should hold; None for those that should go."""
    files = _files()
    for name, content in files.items():
        path = folder / name
        try:
            same = path.read_bytes() == content
        except OSError:
            same = False
        if not same:
            yield path, content
    for asset in _assets(folder):
        if f"assets/{asset.name}" not in files:
            yield asset, None


def _make(folder: Path) -> None:
    """The folder with all that is in it at once; if another process was faster, its folder stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # FiftyOne does not look into hidden folders.
    made = Path(tempfile.mkdtemp(prefix=f".{FOLDER}-", dir=folder.parent))
    try:
        _refresh(made)
        made.chmod(0o755)
        made.rename(folder)
    except OSError:
        if not is_ours(folder):  # else another process was faster
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _refresh(folder: Path) -> None:
    """Every file is replaced at once, and only if it differs: a change of the folder costs FiftyOne its cache."""
    for path, content in list(_stale(folder)):
        if content is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    name, target = _NO_BYTECODE
    if not os.path.lexists(folder / name):
        with contextlib.suppress(OSError):  # Windows may not allow it
            (folder / name).symlink_to(target)
