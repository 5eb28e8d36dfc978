"""MOTChallenge text tables (gt.txt, det.txt, results) as columns, and back.

A line is ``frame, id, x, y, width, height, confidence`` and may go on with ``class, visibility`` (ground truth since
MOT16) or with three world coordinates (MOT15, results), which are not used: a line of ten or more columns is taken to
hold the latter. Frames are 1-based in the file and 0-based here. Boxes keep the file's own pixels: MOTChallenge counts
pixels from 1 and every tool of the field leaves it so.

Source: Milan et al., arXiv 1603.00831, section 4; Leal-Taixé et al., arXiv 1504.01942, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...models.errors import InputError, MissingError
from .atomic import replacing
from .classes import DEFAULT_CLASS

Kind = Literal["gt", "det"]

MIN_COLUMNS = 7
WORLD_COLUMNS = 10  # from here on columns 8 to 10 are world coordinates, not class and visibility
NO_TRACK = -1

_SEPARATORS = b",\t\r\x0b\x0c "
_BLANKED = bytes.maketrans(_SEPARATORS + b"\n", b" " * (len(_SEPARATORS) + 1))
_UNREADABLE = b"?"  # stands for an empty field between two commas
_LARGEST = 2.0**53  # above it a float64 no longer holds every whole number


@dataclass(frozen=True)
class Table:
    """Boxes of one text file, sorted by frame, within a frame in the order of the file.

    Attributes:
        frame: (N,) int64, 0-based.
        track_id: (N,) int64, -1 where the file names no track.
        xyxy: (N, 4) float64, pixels as in the file, possibly reaching over the image's edge.
        confidence: (N,) float64; raw score, in ground truth the flag, where 0 means "ignored".
        class_id: (N,) int64, ``DEFAULT_CLASS`` where the file has none.
        visibility: (N,) float64, 1 where the file has none.
        has_class: whether any line of the file has a class column.
        skipped: reason -> how many lines were left out because of it.

    Raises:
        InputError: for columns of unequal length.
    """

    frame: NDArray[np.int64]
    track_id: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    confidence: NDArray[np.float64]
    class_id: NDArray[np.int64]
    visibility: NDArray[np.float64]
    has_class: bool = True
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (self.track_id, self.xyxy, self.confidence, self.class_id, self.visibility)
        if {len(column) for column in columns} != {len(self.frame)} or self.xyxy.shape != (len(self.frame), 4):
            raise InputError(f"table: {len(self.frame)} frames, but columns of shapes {[c.shape for c in columns]}")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """(N,) bool, ground truth that does not count: its flag is 0."""
        return self.confidence == 0


def read_table(
    path: Path | str,
    kind: Kind,
    num_frames: int | None = None,
    size: tuple[float, float] | None = None,
    classes: Collection[int] | None = None,
    skip_bad: bool = False,
) -> Table:
    """Reads a text table; columns are parted by commas, semicolons or blanks.

    Args:
        path: the file.
        kind: ``"gt"`` (ids count, a frame holds an id once, confidence is a flag) or ``"det"``.
        num_frames: length of the sequence; frames beyond it are an error.
        size: width and height of the images in pixels; boxes wholly outside are an error, except ground truth that is
            ignored anyway (MOT17-13's own gt.txt holds one).
        classes: known class numbers; None accepts any.
        skip_bad: leave lines out that cannot be used, and count them in ``Table.skipped``, instead of raising.

    Raises:
        MissingError: if there is no such file.
        InputError: for a line that cannot be used; names file, line, frame, how many are like it, and the mend.
    """
    path = Path(path)
    try:
        raw = _Lines(path.read_bytes())
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    skipped: dict[str, int] = {}
    keep = np.ones(len(raw), bool)
    with np.errstate(invalid="ignore", over="ignore"):
        for reason, bad, explain in _faults(raw, kind, num_frames, size, classes):
            bad = bad & keep
            if not bad.any():
                continue
            if not skip_bad:
                raise InputError(raw.complain(path, int(bad.argmax()), int(bad.sum()), explain))
            skipped[reason] = skipped.get(reason, 0) + int(bad.sum())
            keep &= ~bad
        duplicate = _duplicates(raw, kind, keep)
    if duplicate.any():
        if not skip_bad:
            explain = _same_track if kind == "gt" else _same_line
            raise InputError(raw.complain(path, int(duplicate.argmax()), int(duplicate.sum()), explain))
        skipped["duplicate"] = int(duplicate.sum())
        keep &= ~duplicate
    return _table(raw, keep, skipped)


def write_table(path: Path | str, table: Table) -> None:
    """Writes a text table, under a temporary name until it is complete.

    Boxes are rounded to 0.0001 px; the rest keeps nine significant digits.

    Args:
        path: the file, which is replaced if it exists; its folder is made.
        table: what to write; with ``has_class`` as nine columns, the last two class and visibility, and without as
            seven and three times -1, the form of results and detections.
    """
    count = len(table)
    box = np.concatenate([table.xyxy[:, :2], table.xyxy[:, 2:] - table.xyxy[:, :2]], 1).round(4) + 0.0  # no "-0"
    columns: list[NDArray] = [table.frame + 1, table.track_id, *box.T, table.confidence]
    line = "%d,%d,%.10g,%.10g,%.10g,%.10g,%.9g,-1,-1,-1\n"
    if table.has_class:
        columns += [table.class_id, table.visibility]
        line = line.replace("-1,-1,-1", "%d,%.9g")
    cells = np.empty((count, len(columns)), object)  # a single formatting of all cells, at C speed
    for position, column in enumerate(columns):
        cells[:, position] = column
    with replacing(Path(path)) as temporary:
        temporary.write_text(line * count % tuple(cells.ravel().tolist()))


class _Lines:
    """A text table's lines as a matrix of numbers; rows without all columns are filled with NaN.

    Attributes:
        values: (N, C) float64 with C >= ``WORLD_COLUMNS``.
        number: (N,) int64, 1-based line numbers in the file.
        columns: (N,) int64, how many columns the line has.
        unreadable: row -> the text of its first field that is not a number.
    """

    def __init__(self, data: bytes) -> None:
        text = data.removeprefix(b"\xef\xbb\xbf")
        if b"\n" not in text:
            text = text.replace(b"\r", b"\n")
        text = text.replace(b";", b",")
        packed = text.translate(None, b" \t\r")
        if b",," in packed or b"\n," in packed or packed.startswith(b","):
            text = _mark_empty_fields(text)
        code = np.frombuffer(text, np.uint8)
        newline = code == ord("\n")
        blank = np.isin(code, np.frombuffer(_SEPARATORS + b"\n", np.uint8))
        starts = np.flatnonzero(~blank & np.concatenate([[True], blank[:-1]]))
        line = np.cumsum(newline)[starts]  # 0-based number of the line in which each field starts
        numbers, row = np.unique(line, return_inverse=True)
        self.number = numbers.astype(np.int64) + 1
        self.columns = np.bincount(row, minlength=len(numbers))
        self.unreadable: dict[int, str] = {}
        width = max(WORLD_COLUMNS, int(self.columns.max(initial=0)))
        self.values = np.full((len(numbers), width), np.nan)
        first = np.cumsum(self.columns) - self.columns
        self.values[row, np.arange(len(starts)) - first[row]] = self._parse(text.translate(_BLANKED), row)

    def __len__(self) -> int:
        return len(self.number)

    def _parse(self, text: bytes, row: NDArray) -> NDArray[np.float64]:
        """All fields as numbers at once; only if that fails, one by one, to find the bad ones."""
        if not len(row):
            return np.zeros(0)
        try:
            values = np.fromstring(text, sep=" ")
        except (ValueError, DeprecationWarning):
            values = np.zeros(0)
        if len(values) == len(row):  # older numpy only warns and stops early
            return values
        values = np.full(len(row), np.nan)
        for position, word in enumerate(text.split()):
            try:
                values[position] = float(word.replace(b"_", b"?"))  # Python would read 1_000 as a number
            except ValueError:
                shown = "" if word == _UNREADABLE else word[:20].decode("utf-8", "replace")
                self.unreadable.setdefault(int(row[position]), shown)
        return values

    def complain(self, path: Path, row: int, count: int, explain: Callable[[_Lines, int], str]) -> str:
        """One sentence on a bad row: where, what, what to do."""
        frame = self.values[row, 0]
        where = f" (frame {frame:g})" if np.isfinite(frame) else ""
        more = f" ({count} such lines)" if count > 1 else ""
        why = explain(self, row)
        return f"{path}, line {self.number[row]}{where}: {why}{more}; mend it or leave it out with --skip-bad"


def _mark_empty_fields(text: bytes) -> bytes:
    """Puts a sign into fields that are empty, so that later columns do not move up; trailing commas are no fields."""
    text = re.sub(rb"[, \t\r]+$", b"", text, flags=re.MULTILINE)
    text = re.sub(rb"^[ \t]*(?=,)", _UNREADABLE, text, flags=re.MULTILINE)
    return re.sub(rb"(?<=,)[ \t]*(?=,)", _UNREADABLE, text)


Fault = tuple[str, NDArray[np.bool_], Callable[[_Lines, int], str]]


def _faults(
    raw: _Lines,
    kind: Kind,
    num_frames: int | None,
    size: tuple[float, float] | None,
    classes: Collection[int] | None,
) -> Iterator[Fault]:
    """Each way in which a line can be unusable: its name, the (N,) lines it hits, and what to say of one."""
    values = raw.values
    frame, track, x, y, width, height, confidence, class_id = values[:, :8].T
    classed = _classed(raw)
    unreadable = np.zeros(len(raw), bool)
    unreadable[list(raw.unreadable)] = True

    yield "not a number", unreadable, _not_a_number
    yield "too few columns", raw.columns < MIN_COLUMNS, _too_few
    used = values[:, :9].copy()
    used[:, 7:][np.arange(7, 9) >= np.where(classed, raw.columns, 7)[:, None]] = 0
    yield "NaN or infinite", ~np.isfinite(used).all(1), lambda raw, row: "holds NaN or an infinite number"
    whole = [frame, track, np.where(classed, class_id, 0)]
    fraction = np.any([(np.floor(column) != column) | (np.abs(column) > _LARGEST) for column in whole], 0)
    yield "not a whole number", fraction, lambda raw, row: "frame, id and class must be whole numbers"
    last = np.inf if num_frames is None else num_frames
    yield (
        "frame outside the sequence",
        (frame < 1) | (frame > last),
        lambda raw, row: "frames count from 1" + ("" if num_frames is None else f" to the sequence's {num_frames}"),
    )
    yield "box without area", (width <= 0) | (height <= 0), _no_area
    if size is not None:
        outside = (x >= size[0]) | (y >= size[1]) | (x + width <= 0) | (y + height <= 0)
        if kind == "gt":
            outside &= confidence != 0
        yield (
            "box outside the image",
            outside,
            lambda raw, row: f"box {_box(raw, row)} lies wholly outside the image of {size[0]:g}x{size[1]:g}",
        )
    if kind == "gt":
        yield "no track id", track < 0, lambda raw, row: f"ground truth has the id {raw.values[row, 1]:g}"
    if classes is not None:
        unknown = classed & (class_id != -1) & ~np.isin(class_id, list(classes))
        yield "unknown class", unknown, lambda raw, row: _unknown_class(raw.values[row, 7])


def _classed(raw: _Lines) -> NDArray[np.bool_]:
    """(N,) lines whose eighth column is a class, not a world coordinate."""
    return (raw.columns > MIN_COLUMNS) & (raw.columns < WORLD_COLUMNS)


def _duplicates(raw: _Lines, kind: Kind, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) lines that repeat an earlier one that is kept: same frame and id in ground truth, else everything."""
    rows = np.flatnonzero(keep)
    key = np.nan_to_num(raw.values[rows, :2] if kind == "gt" else raw.values[rows, :8], nan=-1.0)
    again = np.zeros(len(rows), bool)
    mixed = np.zeros(len(rows))
    for column, weight in zip(key.T, np.sqrt(np.arange(2, 10)), strict=False):
        mixed += column * weight  # equal lines have equal sums; where all differ, the costly sort can be saved
    if (np.diff(np.sort(mixed)) == 0).any():
        order = np.lexsort(key.T[::-1])  # stable: of equal lines the first of the file comes first
        again[order[1:]] = (key[order[1:]] == key[order[:-1]]).all(1)
    result = np.zeros(len(raw), bool)
    result[rows[again]] = True
    return result


def _table(raw: _Lines, keep: NDArray[np.bool_], skipped: Mapping[str, int]) -> Table:
    """The kept lines as columns, sorted by frame."""
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(raw.values[rows, 0], kind="stable")]
    values = raw.values[rows]
    classed = _classed(raw)[rows] & (values[:, 7] != -1)
    seen = _classed(raw)[rows] & (raw.columns[rows] > 8)
    return Table(
        frame=values[:, 0].astype(np.int64) - 1,
        track_id=np.maximum(values[:, 1].astype(np.int64), NO_TRACK),
        xyxy=np.concatenate([values[:, 2:4], values[:, 2:4] + values[:, 4:6]], 1),
        confidence=values[:, 6].copy(),
        class_id=np.where(classed, values[:, 7], DEFAULT_CLASS).astype(np.int64),
        visibility=np.where(seen, values[:, 8], 1.0),
        has_class=bool(classed.any()),
        skipped=dict(skipped),
    )


def _not_a_number(raw: _Lines, row: int) -> str:
    word = raw.unreadable[row]
    return f"{word!r} is not a number" if word else "a field is empty"


def _too_few(raw: _Lines, row: int) -> str:
    return f"has {raw.columns[row]} columns, but {MIN_COLUMNS} are needed (a truncated line?)"


def _no_area(raw: _Lines, row: int) -> str:
    return f"box {_box(raw, row)} has no area"


def _unknown_class(number: float) -> str:
    return f"class {number:g} is unknown (--class-name {number:g}=NAME names it)"


def _same_track(raw: _Lines, row: int) -> str:
    return f"id {raw.values[row, 1]:g} stands in this frame twice"


def _same_line(raw: _Lines, row: int) -> str:
    return "the same box with the same confidence stands in this frame twice"


def _box(raw: _Lines, row: int) -> str:
    x, y, width, height = raw.values[row, 2:6]
    return f"(x {x:g}, y {y:g}, width {width:g}, height {height:g})"
