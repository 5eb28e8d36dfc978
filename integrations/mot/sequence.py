"""A MOTChallenge sequence folder: ``seqinfo.ini``, ``gt/gt.txt``, ``det/NAME.txt`` and, maybe, a folder of images."""

from __future__ import annotations

import configparser
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...models.columns import VideoInfo
from ...models.errors import InputError, MissingError
from .text import Table, read_table

INFO_FILE = "seqinfo.ini"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
NO_DETECTIONS = "none"

_DEEPEST = 4  # how far below a given folder sequences are looked for: benchmark/split/set/sequence


@dataclass(frozen=True)
class Sequence:
    """One sequence, as its folder describes it; nothing but ``seqinfo.ini`` and the images' names is read yet.

    Attributes:
        folder: absolute path.
        info: name, length in frames, size of the images in pixels, frames per second.
        images: paths of the images in the order of the frames; empty if the sequence has none.
        split: name of the folder around, such as ``train``.

    Raises:
        InputError: if the number of images is not the length of the sequence.
    """

    folder: Path
    info: VideoInfo
    images: tuple[Path, ...]
    split: str

    def __post_init__(self) -> None:
        if self.images and len(self.images) != self.info.num_frames:
            raise InputError(
                f"{self.images[0].parent}: holds {len(self.images)} images, but seqLength in "
                f"{self.folder / INFO_FILE} is {self.info.num_frames}; complete the images or mend seqLength"
            )

    @property
    def name(self) -> str:
        """What the sequence is called."""
        return self.info.name

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the images in pixels."""
        return int(self.info.width), int(self.info.height)

    def ground_truth(self, classes: Collection[int] | None = None, skip_bad: bool = False) -> Table | None:
        """Boxes of ``gt/gt.txt``, or None where there is none, as in a test split; raises as ``read_table``."""
        path = self.folder / "gt" / "gt.txt"
        if not path.exists():
            return None
        return read_table(path, "gt", self.info.num_frames, self.size, classes, skip_bad)

    def detections(
        self, name: str = "det.txt", classes: Collection[int] | None = None, skip_bad: bool = False
    ) -> Table | None:
        """Boxes of ``det/NAME``; None if ``name`` is "none".

        Raises:
            MissingError: if there is no such file; names those that are there.
            InputError: as ``read_table``.
        """
        if name == NO_DETECTIONS:
            return None
        path = self.folder / "det" / name
        if not path.is_file():
            there = sorted(file.name for file in path.parent.glob("*.txt")) if path.parent.is_dir() else []
            choose = f"choose one of {', '.join(there)} with --detections" if there else "there are no detections"
            raise MissingError(
                f"{path}: no such file; {choose}, or import without them by --detections {NO_DETECTIONS}"
            )
        return read_table(path, "det", self.info.num_frames, self.size, classes, skip_bad)

    def check_images(self, decode: bool = False) -> None:
        """Opens every image.

        Args:
            decode: read the pixels, too, which finds truncated files (JPEGs at an eighth of their size, which is fast).

        Raises:
            InputError: for the first image that cannot be read or is not of the sequence's size.
        """
        from PIL import Image, UnidentifiedImageError

        for frame, path in enumerate(self.images, 1):
            try:
                with Image.open(path) as image:
                    size = image.size
                    if decode:
                        image.draft("RGB", (1, 1))
                        image.load()
            except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
                why = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
                raise InputError(
                    f"{path} (sequence {self.name}, frame {frame}): cannot be read ({why}); replace the file"
                ) from None
            if size != self.size:
                raise InputError(
                    f"{path} (sequence {self.name}, frame {frame}): is {size[0]}x{size[1]}, but imWidth x imHeight in "
                    f"{self.folder / INFO_FILE} is {self.size[0]}x{self.size[1]}; mend the one or the other"
                )


def find_sequences(paths: Iterable[Path | str]) -> list[Sequence]:
    """Sequences of the given folders: each is one itself, or holds some, at any of a few levels, sorted by name.

    Raises:
        MissingError: for a folder that is not there or holds no sequence.
        InputError: for two sequences of the same name, or whatever ``open_sequence`` objects to.
    """
    found: dict[str, Sequence] = {}
    for path in paths:
        folders = list(_sequence_folders(Path(path)))
        for sequence in map(open_sequence, folders):
            other = found.setdefault(sequence.name, sequence)
            if other.folder != sequence.folder:
                raise InputError(
                    f"{sequence.folder} and {other.folder} both hold a sequence named {sequence.name!r}; "
                    f"rename one in its {INFO_FILE}, or import them into different datasets"
                )
    return list(found.values())


def open_sequence(folder: Path | str) -> Sequence:
    """Reads a sequence folder's ``seqinfo.ini`` and lists its images.

    Raises:
        MissingError: if the folder, the file or one of its keys is not there.
        InputError: for values that cannot be used, or images that do not fit them.
    """
    folder = Path(folder).resolve()
    path = folder / INFO_FILE
    if not path.is_file():
        raise MissingError(f"{path}: no such file; a MOTChallenge sequence folder holds one")
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
        section = parser["Sequence"]
    except (configparser.Error, UnicodeDecodeError):
        raise InputError(f"{path}: is not an ini file") from None
    except KeyError:
        raise MissingError(f"{path}: section [Sequence] is missing") from None

    name = section.get("name", "").strip() or folder.name
    if re.search(r"[/\\\x00-\x1f]", name) or name in {".", ".."}:
        raise InputError(f"{path}: name {name!r} cannot be a file's name; use letters, digits, '-' and '_'")
    info = VideoInfo(
        name=name,
        num_frames=int(_number(section, path, "seqLength", whole=True)),
        width=_number(section, path, "imWidth", whole=True),
        height=_number(section, path, "imHeight", whole=True),
        frame_rate=_number(section, path, "frameRate"),
    )
    images = _list_images(folder / (section.get("imDir", "").strip() or "img1"), path)
    return Sequence(folder, info, images, folder.parent.name)


def _sequence_folders(path: Path) -> Iterator[Path]:
    """Folders at or below ``path`` that hold a ``seqinfo.ini``."""
    if not path.is_dir():
        raise MissingError(f"{path}: no such folder")
    found = False
    for root, folders, files in os.walk(path):
        depth = len(Path(root).relative_to(path).parts)
        if INFO_FILE in files:
            found = True
            yield Path(root)
        if INFO_FILE in files or depth == _DEEPEST:
            folders.clear()
        folders.sort()
    if not found:
        raise MissingError(f"{path}: neither a MOTChallenge sequence nor a folder of some: no {INFO_FILE} in it")


def _number(section: configparser.SectionProxy, path: Path, key: str, whole: bool = False) -> float:
    text = section.get(key)
    if text is None:
        raise MissingError(f"{path}: {key} is missing in [Sequence]")
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = 0
    if not 0 < value < math.inf:
        kind = "a positive whole number" if whole else "a positive number"
        raise InputError(f"{path}: {key} is {text!r}, which is not {kind}")
    return value


def _list_images(folder: Path, info_path: Path) -> tuple[Path, ...]:
    """Images of a folder by the number in their names; none if there is no such folder.

    Raises:
        InputError: for a folder without images.
    """
    if not folder.is_dir():
        return ()
    # Hidden files are none of the sequence's: macOS leaves "._000001.jpg" beside each image when it packs a folder.
    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    if not images:
        raise InputError(
            f"{folder}: holds no images; put them there, or remove the folder (and imDir in {info_path}) "
            "to import boxes without images"
        )
    return tuple(sorted(images, key=_natural_order))


def _natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts ``2.jpg`` before ``10.jpg``."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name
