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
from collections.abc import Callable
from dataclasses import replace
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
from spam_plugin.models.appearance.finetuning import AppearanceLessons, FinetuneConfig, finetune, thinned
from spam_plugin.models.appearance.model import AppearanceModel
from spam_plugin.models.appearance.retrieval import measure_retrieval
from spam_plugin.models.columns import Candidates, Source, Tracks
from spam_plugin.models.fitting import FitSettings
from spam_plugin.models.spam import LabelSettings, SpamModel

Describe = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.floating]]

SET = "mot_images"
DEVELOPMENT = ("TUD-Campus", "KITTI-17")
NONE, COLOUR, DEFAULT, OWN = "without", "colour", "default", "self-trained"

_LEAST_VALIDITY = 0.7  # of a box of the labels that teaches
_CROPS_OF_TRACK = 60


def main() -> None:
    """Train, measure, print."""
    parser = command_line(__doc__)
    parser.add_argument("--appearance", metavar="FILE", help="weights to begin with (default: the shipped ones)")
    parser.add_argument("--weights", metavar="FILE", help="of the hierarchy (default: the shipped ones)")
    parser.add_argument("--steps", type=int, default=200, help="of self-training (default 200)")
    parser.add_argument("--drawn", type=float, default=FinetuneConfig().drawn, help="share of drawn identities")
    parser.add_argument("--rate", type=float, default=FinetuneConfig().learning_rate, help="of self-training")
    args = parser.parse_args()
    one_thread()
    hierarchy, default = load_model(args), AppearanceModel.load(args.appearance)
    config = FinetuneConfig(drawn=args.drawn, learning_rate=args.rate)
    found_again, association, details = [], [], []
    for sequence in find_sequences(shared_folder(args.data), args.sets or [SET], args.sequences):
        if not sequence.images:
            continue
        candidates, _ = sequence.candidates()
        seen = described(sequence, candidates, default.describe)
        (tracks,) = hierarchy.label([(sequence.video, seen)], LabelSettings())
        own, taught = self_trained(default, sequence, tracks, args.steps, config)
        details.append([sequence.name, taught["tracks"], taught["crops"], taught["loss before"], taught["loss after"]])
        ways: dict[str, Describe | None] = {
            NONE: None, COLOUR: describe, DEFAULT: default.describe, OWN: own.describe,
        }  # fmt: skip
        for name, way in ways.items():
            if way is not None:
                found_again.append([sequence.name, name, *again(sequence, way)])
            association.append([sequence.name, name, *associated(hierarchy, sequence, candidates, way)])
            print(*(found_again[-1][:4] if way else []), *association[-1], file=sys.stderr)
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


def described(sequence: Sequence, candidates: Candidates, way: Describe | None) -> Candidates:
    """The candidates with vectors; as they are if ``way`` is None."""
    if way is None or not len(candidates):
        return candidates
    parts = []
    for frame in np.unique(candidates.frame):
        rows = slice(*np.searchsorted(candidates.frame, [frame, frame + 1]))
        parts.append(way(picture(sequence, int(frame)), candidates.xyxy[rows]))
    # In half precision, as they are kept.
    return replace(candidates, embedding=np.concatenate(parts).astype(np.float16).astype(np.float32))


def picture(sequence: Sequence, frame: int) -> NDArray[np.uint8]:
    """A frame, BGR."""
    image = cv2.imread(str(sequence.images[frame]))
    assert image is not None
    return image.astype(np.uint8, copy=False)


def again(sequence: Sequence, way: Describe) -> list[float]:
    """Rank-1, mean average precision and number of queries among ground-truth boxes."""
    truth = targets(sequence.truth())
    order = np.argsort(truth.frame, kind="stable")
    frame, box = truth.frame[order], truth.xyxy[order].astype(np.float32)
    parts = []
    for number in np.unique(frame):
        parts.append(way(picture(sequence, int(number)), box[slice(*np.searchsorted(frame, [number, number + 1]))]))
    apart = round(sequence.video.frame_rate)
    found = measure_retrieval(np.concatenate(parts), truth.track_id[order].astype(np.int64), frame, apart)
    return [100 * found.rank1, 100 * found.mean_average_precision, found.queries]


def associated(hierarchy: SpamModel, sequence: Sequence, candidates: Candidates, way: Describe | None) -> list[float]:
    """HOTA, AssA, IDF1 and identity switches of the labels."""
    (tracks,) = hierarchy.label([(sequence.video, described(sequence, candidates, way))], LabelSettings())
    found = score(sequence, sequence.truth(), as_table(tracks))
    return [found[key] for key in ("HOTA", "AssA", "IDF1", "IDSW")]


def self_trained(
    default: AppearanceModel, sequence: Sequence, tracks: Tracks, steps: int, config: FinetuneConfig
) -> tuple[AppearanceModel, dict[str, float]]:
    """The default appearance after learning from labels that nobody looked at."""
    sure = np.flatnonzero((tracks.validity >= _LEAST_VALIDITY) & (tracks.source == Source.MODEL))
    sure = sure[np.argsort(tracks.frame[sure], kind="stable")]
    frame, box = tracks.frame[sure], tracks.xyxy[sure]
    crops = np.concatenate(
        [
            cut(picture(sequence, int(number)), box[slice(*np.searchsorted(frame, [number, number + 1]))])[..., ::-1]
            for number in np.unique(frame)
        ]
    )
    lessons = AppearanceLessons(
        crops, tracks.track_index[sure].astype(np.int64), tracks.validity[sure].astype(np.float32),
        np.zeros(len(sure), np.int64), frame.astype(np.int64),
    )  # fmt: skip
    lessons = thinned(lessons, _CROPS_OF_TRACK)
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = FitSettings(steps, validate_every=steps, save_every=steps, tensorboard=False)
        model, _ = finetune(
            default, lessons, settings, Path(folder), lambda _, said: losses.append(said["lessons"]), config=config,
            version=f"{default.version}+{sequence.name}",
        )  # fmt: skip
    tenth = max(len(losses) // 10, 1)
    return model, {
        "tracks": len(np.unique(lessons.identity)), "crops": len(lessons.crops),
        "loss before": float(np.mean(losses[:tenth])), "loss after": float(np.mean(losses[-tenth:])),
    }  # fmt: skip


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
