"""Checkpoints of ``transformers``, from a folder or by their hub id: checked first, and loaded without executing code.

Only safetensors are read. Pickled weights can run anything while they are loaded, and so can code that comes with a
checkpoint; both are refused with a sentence that says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..models.errors import InputError, MissingError

#: Endings of files that are, or may be, pickled.
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

_FILES = ["*.json", "*.safetensors"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def checkpoint_folder(name: str | Path, what: str) -> Path:
    """The folder of a checkpoint; one that is named by its hub id is fetched, or found where it was fetched before.

    Args:
        name: a folder, or a hub id such as ``owner/name``.
        what: it is for, "detector" or "appearance", for messages.

    Raises:
        MissingError: if there is no such folder, or nothing of that name at the hub.
        InputError: if the name can be neither, or the hub cannot be reached and has not been asked before.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        refuse_pickled(folder, what)
        raise InputError(f"{what} {str(name)!r} is a file; give the folder that it lies in, with its config.json")
    if not _HUB_ID.fullmatch(str(name)):
        raise MissingError(
            f"{what} {str(name)!r}: there is no such folder; give one that holds config.json and weights"
        )
    return _fetched(str(name), what)


def weight_files(folder: Path, what: str) -> list[Path]:
    """The safetensors of a folder, each of which has been found to be whole.

    Raises:
        InputError: if there are none, or only pickled ones, or if one is truncated.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = next((file for file in sorted(folder.iterdir()) if file.suffix in PICKLED), None)
        if pickled is not None:
            refuse_pickled(pickled, what)
        raise InputError(f"{what} {folder}: there are no *.safetensors in this folder; give one that holds weights")
    for file in files:
        try:
            with safe_open(str(file), "np") as stored:
                stored.keys()
        except (SafetensorError, OSError) as error:
            why = str(error).splitlines()[0]
            raise InputError(
                f"{what} {file}: truncated or no safetensors ({why}); copy or download the file again"
            ) from error
    return files


def refuse_pickled(file: Path, what: str) -> None:
    """Raise ``InputError`` for a file whose name says that it is pickled."""
    if file.suffix in PICKLED:
        raise InputError(
            f"{what} {file}: pickled weights can run any code while they are loaded, so they are not; save them as "
            f"safetensors (model.save_pretrained(folder) does) and give that"
        )


def digest_of(files: Sequence[Path]) -> str:
    """Eight letters that say which weights these are, from all that is in the files."""
    digest = blake2b(digest_size=4)
    for file in files:
        with file.open("rb") as stored:
            while block := stored.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def read_json(file: Path, what: str) -> dict[str, Any]:
    """What a JSON file of a checkpoint holds; nothing if it is not there.

    Raises:
        InputError: if it holds no object.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{what} {file}: no JSON ({error}); copy or download the file again") from error
    if not isinstance(found, dict):
        raise InputError(f"{what} {file}: it must hold an object; copy or download the file again")
    return found


def load_checkpoint(auto: str, folder: Path, what: str, may_lack: Sequence[str] = ()) -> Any:
    """The model of a folder, in single precision on the CPU and ready to be used.

    Args:
        auto: class of ``transformers`` that knows such models: "AutoModelForObjectDetection", "AutoModel".
        folder: with ``config.json`` and safetensors.
        what: it is for, for messages.
        may_lack: parts of the names of weights that may be missing, as nobody uses them.

    Raises:
        InputError: for a folder of another kind, and for weights that are truncated, pickled or of another model.
    """
    weight_files(folder, what)
    if not (folder / "config.json").is_file():
        raise InputError(f"{what} {folder}: there is no config.json beside the weights; give the checkpoint's folder")
    read_json(folder / "config.json", what)
    import transformers

    with _quiet():
        try:
            model, about = getattr(transformers, auto).from_pretrained(
                str(folder), use_safetensors=True, trust_remote_code=False, local_files_only=True,
                output_loading_info=True,
            )  # fmt: skip
        except ImportError as error:
            raise InputError(f"{what} {folder}: {_line(error)}; install what it names, or choose another") from error
        except (ValueError, OSError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise InputError(
                f"{what} {folder}: not a model that transformers {transformers.__version__} can load as such "
                f"({_line(error)}); choose another checkpoint"
            ) from error
    lacking = [key for key in sorted(about["missing_keys"]) if not any(part in key for part in may_lack)]
    if lacking:
        raise InputError(
            f"{what} {folder}: the weights lack {len(lacking)} tensors of this model ({lacking[0]}, ...), so they are "
            f"of another one; choose a checkpoint that was trained for this"
        )
    return model.float().eval().requires_grad_(False)


def _fetched(name: str, what: str) -> Path:
    """The folder of a hub id, on this machine."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
    )  # fmt: skip

    way_out = f"give a folder instead (fetch it elsewhere with `hf download {name} --local-dir FOLDER`)"
    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except HFValidationError as error:
        raise MissingError(f"{what} {name!r} is neither a folder nor a hub id; {way_out}") from error
    except RepositoryNotFoundError as error:
        raise MissingError(f"{what} {name!r}: the hub has none of this name that you may see; {way_out}") from error
    except (EntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"{what} {name!r}: there is no such folder, and the hub cannot be reached ({_line(error)}); {way_out}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the bars and reports of ``transformers`` off the screen: what matters is told in an error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _line(error: BaseException) -> str:
    """The beginning of what an error says, in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(" .")
