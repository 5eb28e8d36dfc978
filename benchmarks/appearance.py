"""What appearance is worth: objects found again, and association with it, before and after self-training.

    OMP_NUM_THREADS=1 python benchmarks/appearance.py --out docs/benchmarks/appearance.md

For every sequence with images: the colour descriptor, the default network (trained on drawn figures alone), and the
default network after self-training on the sequence's own labels, which ``spam-1`` makes of the public detections with
the default appearance; no ground truth and no click enters them. Retrieval is within the video, on ground-truth boxes,
at least a second apart. Association is the labels' own from the public detections. TUD-Campus and KITTI-17 are
development sequences: settings were chosen on them, and they are not in the means.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from clock import one_thread
from labelling import as_table, load_model
from numpy.typing import NDArray
from reporting import command_line, publish, start, table
from scoring import score
from sequences import Sequence, find_sequences, shared_folder, targets

from spam_plugin.models.appearance.colour import describe
from spam_plugin.models.appearance.crops import cut
from spam_plugin.models.appearance.finetuning import AppearanceLessons, finetune, thinned
from spam_plugin.models.appearance.model import AppearanceModel
from spam_plugin.models.appearance.retrieval import measure_retrieval
from spam_plugin.models.columns import Source, Tracks
from spam_plugin.models.fitting import FitSettings
from spam_plugin.models.spam import LabelSettings

SET = "mot_images"
DEVELOPMENT = ("TUD-Campus", "KITTI-17")
NONE, COLOUR, DEFAULT, OWN = "without", "colour", "default", "self-trained"

_LEAST_VALIDITY = 0.7  # of a box of the labels that teaches
_CROPS_OF_TRACK = 60


@dataclass(frozen=True)
class Boxes:
    """Boxes of a sequence, sorted by frame, and what is in them.

    Attributes:
        frame: (N,) int64, 0-based.
        crops: (N, 96, 48, 3) uint8, RGB.
        colours: (N, D) float32, the colour descriptor of each.
    """

    frame: NDArray[np.int64]
    crops: NDArray[np.uint8]
    colours: NDArray[np.float32]

    def vectors(self, way: str, models: dict[str, AppearanceModel]) -> NDArray[np.float32]:
        """Vectors of one way, in half precision as they are kept."""
        found = self.colours if way == COLOUR else models[way].describe_crops(self.crops)
        return found.astype(np.float16).astype(np.float32)


def main() -> None:
    """Train, measure, print."""
    parser = command_line(__doc__)
    parser.add_argument("--appearance", metavar="FILE", help="weights to begin with (default: the shipped ones)")
    parser.add_argument("--weights", metavar="FILE", help="of the hierarchy (default: the shipped ones)")
    parser.add_argument("--steps", type=int, default=60, help="of self-training (default 60)")
    args = parser.parse_args()
    one_thread()
    hierarchy, default = load_model(args), AppearanceModel.load(args.appearance)
    found_again, association, details = [], [], []
    for sequence in find_sequences(shared_folder(args.data), args.sets or [SET], args.sequences):
        if not sequence.images:
            continue
        candidates, _ = sequence.candidates()
        truth = targets(sequence.truth())
        order = np.argsort(truth.frame, kind="stable")
        track = truth.track_id[order].astype(np.int64)
        there = look(sequence, truth.frame[order], truth.xyxy[order])
        seen = look(sequence, candidates.frame, candidates.xyxy)
        models, tracks = {DEFAULT: default}, None
        for way in (NONE, COLOUR, DEFAULT, OWN):
            if way == OWN:  # learns from the labels of the way before
                models[OWN], taught = self_trained(default, sequence, tracks, args.steps)
                details.append([sequence.name, *taught])
            given = candidates
            if way != NONE:
                given = replace(candidates, embedding=seen.vectors(way, models))
                apart = round(sequence.video.frame_rate)
                found = measure_retrieval(there.vectors(way, models), track, there.frame, apart)
                shares = [100 * found.rank1, 100 * found.mean_average_precision]
                found_again.append([sequence.name, way, *shares, found.queries])
            (tracks,) = hierarchy.label([(sequence.video, given)], LabelSettings())
            scores = score(sequence, sequence.truth(), as_table(tracks))
            association.append([sequence.name, way, *(scores[key] for key in ("HOTA", "AssA", "IDF1", "IDSW"))])
            print(*(found_again[-1][:4] if way != NONE else []), *association[-1], file=sys.stderr)
    parts = [
        f"Appearance {default.version}, hierarchy {hierarchy.version}; {args.steps} steps of self-training for each "
        f"sequence. In percent. {' and '.join(DEVELOPMENT)} are development sequences and not in the means.",
        "Found again, ground-truth boxes at least a second apart:",
        table(["sequence", "appearance", "rank-1", "mAP", "queries"], found_again + _means(found_again, 2)),
        "Labels from the public detections:",
        table(["sequence", "appearance", "HOTA", "AssA", "IDF1", "switches"], association + _means(association, 3)),
        "What self-training saw, without ground truth:",
        table(["sequence", "tracks", "crops", "loss at first", "loss at last"], details),
    ]
    numbers = {"found_again": found_again, "association": association, "self_training": details}
    publish(args, "Appearance", parts, numbers)


def look(sequence: Sequence, frame: NDArray[np.int64], xyxy: NDArray[np.floating]) -> Boxes:
    """Every frame is read once; boxes are sorted by frame."""
    crops, colours = [], []
    for number in np.unique(frame):
        image = cv2.imread(str(sequence.images[number])).astype(np.uint8, copy=False)
        box = xyxy[slice(*np.searchsorted(frame, [number, number + 1]))].astype(np.float32)
        crops.append(cut(image, box)[..., ::-1])
        colours.append(describe(image, box))
    return Boxes(frame.astype(np.int64), np.concatenate(crops), np.concatenate(colours))


def self_trained(
    default: AppearanceModel, sequence: Sequence, tracks: Tracks, steps: int
) -> tuple[AppearanceModel, list[float]]:
    """The default appearance after learning from labels that nobody looked at; and what it saw, and its losses."""
    sure = np.flatnonzero((tracks.validity >= _LEAST_VALIDITY) & (tracks.source == Source.MODEL))
    sure = sure[np.argsort(tracks.frame[sure], kind="stable")]
    boxes = look(sequence, tracks.frame[sure], tracks.xyxy[sure])
    lessons = AppearanceLessons(
        boxes.crops, tracks.track_index[sure].astype(np.int64), tracks.validity[sure].astype(np.float32),
        np.zeros(len(sure), np.int64), boxes.frame,
    )  # fmt: skip
    lessons = thinned(lessons, _CROPS_OF_TRACK)
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = FitSettings(steps, validate_every=steps, save_every=steps, tensorboard=False)
        model, _ = finetune(
            default, lessons, settings, Path(folder), lambda _, said: losses.append(said["lessons"]),
            version=f"{default.version}+{sequence.name}",
        )  # fmt: skip
    tenth = max(len(losses) // 10, 1)
    seen = [len(np.unique(lessons.identity)), len(lessons.crops)]
    return model, [*seen, float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))]


def _means(rows: list[list], columns: int) -> list[list]:
    """A mean of every way over the sequences that nothing was chosen on."""
    reported = [row for row in rows if row[0] not in DEVELOPMENT]
    ways = list(dict.fromkeys(row[1] for row in reported))
    means = []
    for way in ways:
        group = [row[2:] for row in reported if row[1] == way]
        values = [float(np.mean([row[n] for row in group])) for n in range(columns)]
        means.append(["**mean**", way, *values, sum(row[columns] for row in group)])
    return means


if __name__ == "__main__":
    start(main)
