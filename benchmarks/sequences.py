"""Real sequences in MOTChallenge layout as the columns that the model and the metrics read.

    python benchmarks/sequences.py [--data FOLDER] [--out FILE.md]

prints what there is: frames, ground truth, and every detection file with its boxes. The data folder holds
``data/SET/SEQUENCE/{seqinfo.ini,gt/gt.txt,det/*.txt,img1/*.jpg}`` and is ``../shared`` or what ``SPAM_SHARED`` says.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reporting import command_line, publish, start, table

from spam_plugin.engine.metrics import TruthTable
from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.errors import InputError, MissingError

ROOT = Path(__file__).resolve().parents[1]
# The sets of the quality table, in its order; the others that are found follow.
SETS = ("mot_images", "mot15_text", "kitti_cars", "mot17_20_jitter", "single_object")
FIRST_CHOICE = "det"


@dataclass(frozen=True)
class Sequence:
    """One sequence folder.

    Attributes:
        set_name: the folder above it.
        path: the folder.
        video: its name, length, size and frame rate.
    """

    set_name: str
    path: Path
    video: VideoInfo

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.video.name

    @property
    def detection_names(self) -> list[str]:
        """Its detection files without ``.txt``, the first choice first."""
        return sorted(
            (p.stem for p in (self.path / "det").glob("*.txt")), key=lambda stem: (stem != FIRST_CHOICE, stem)
        )

    @property
    def images(self) -> list[Path]:
        """Its frames in order, or nothing."""
        return sorted((self.path / "img1").glob("*.jpg"))

    def truth(self) -> TruthTable:
        """All ground-truth boxes, with what preprocessing needs to know."""
        rows = read_rows(self.path / "gt" / "gt.txt")
        return TruthTable(
            rows[:, 0].astype(np.int64) - 1, rows[:, 1].astype(np.int64), corners(rows), rows[:, 7].astype(np.int64),
            rows[:, 6] == 0,
        )  # fmt: skip

    def candidates(self, detections: str = FIRST_CHOICE) -> tuple[Candidates, int]:
        """A detection file with its raw scores, and how many boxes without area were left out of it."""
        rows = read_rows(self.path / "det" / f"{detections}.txt")
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        solid = (rows[:, 4:6] > 0).all(1)
        rows = rows[solid]
        candidates = Candidates(
            rows[:, 0].astype(np.int64) - 1,
            corners(rows).astype(np.float32),
            rows[:, 6].astype(np.float32),
            np.zeros(len(rows), np.int64),
        )
        return candidates, int((~solid).sum())


def targets(truth: TruthTable) -> TruthTable:
    """The ground truth that counts: not ignored, and of class 1."""
    kept = ~np.asarray(truth.ignored) & (np.asarray(truth.class_id) == 1)
    return TruthTable(truth.frame[kept], truth.track_id[kept], truth.xyxy[kept])


def corners(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4) xyxy of rows whose columns 2 to 5 are left, top, width and height."""
    return np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], 1)


def read_rows(path: Path) -> NDArray[np.float64]:
    """Any MOTChallenge text file as (N, 9) numbers; columns that the file lacks are 1.

    Raises:
        MissingError: when there is no such file.
        InputError: when its lines are not numbers of equal count.
    """
    if not path.exists():
        raise MissingError(f"there is no file {path}")
    try:
        raw = np.array(
            [line.replace(",", " ").split() for line in path.read_text().splitlines() if line.strip()], float
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    rows = np.ones((len(raw), 9))
    if len(raw):
        rows[:, : raw.shape[1]] = raw[:, :9]
    return rows


def shared_folder(given: str | None = None) -> Path:
    """The folder that holds ``data`` and ``baselines``.

    Raises:
        MissingError: when it is not there.
    """
    folder = Path(given or os.environ.get("SPAM_SHARED") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        raise MissingError(f"no folder {folder / 'data'}: name the one that holds data/ with --data or SPAM_SHARED")
    return folder


def find_sequences(folder: Path, sets: Items[str] | None = None, names: Items[str] | None = None) -> list[Sequence]:
    """The sequences of the given sets and names (all if None), sets in the order of the tables.

    Raises:
        MissingError: when a set or a sequence is not there, or none is left.
    """
    found = [_read_info(path.parent) for path in sorted((folder / "data").glob("*/*/seqinfo.ini"))]
    for wanted, known in ((sets, {s.set_name for s in found}), (names, {s.name for s in found})):
        for name in wanted or ():
            if name not in known:
                raise MissingError(f"there is no {name!r} in {folder / 'data'}; there are {', '.join(sorted(known))}")
    rank = {name: number for number, name in enumerate(SETS)}
    found = [s for s in found if (not sets or s.set_name in sets) and (not names or s.name in names)]
    if not found:
        raise MissingError(f"no sequence in {folder / 'data'} is of these sets and names")
    return sorted(found, key=lambda s: (rank.get(s.set_name, len(SETS)), s.set_name, s.name))


def _read_info(path: Path) -> Sequence:
    """What ``seqinfo.ini`` says."""
    parser = configparser.ConfigParser()
    parser.read(path / "seqinfo.ini")
    info = parser["Sequence"]
    video = VideoInfo(
        path.name, info.getint("seqLength"), info.getfloat("imWidth"), info.getfloat("imHeight"),
        info.getfloat("frameRate"),
    )  # fmt: skip
    return Sequence(path.parent.name, path, video)


def main() -> None:
    """Print what there is."""
    parser = command_line(__doc__)
    args = parser.parse_args()
    rows = []
    for sequence in find_sequences(shared_folder(args.data), args.sets, args.sequences):
        truth, video = targets(sequence.truth()), sequence.video
        shape = [video.num_frames, f"{video.frame_rate:g}", f"{video.width:g}x{video.height:g}", len(sequence.images)]
        there = [len(np.unique(truth.track_id)), len(truth)]
        for name in sequence.detection_names:
            candidates, dropped = sequence.candidates(name)
            rows.append([sequence.set_name, sequence.name, *shape, *there, name, len(candidates), dropped])
    head = ["set", "sequence", "frames", "fps", "size", "images", "tracks", "truth", "file", "candidates", "dropped"]
    note = "Truth: boxes that count. Dropped: candidates without area, left out for every tracker."
    publish(args, "Sequences", [note, table(head, rows)], [dict(zip(head, row, strict=True)) for row in rows])


if __name__ == "__main__":
    start(main)
