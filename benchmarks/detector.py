"""What the default detector finds: AP50 on rendered films that it never saw and on real sequences, and its speed.

    OMP_NUM_THREADS=1 python benchmarks/detector.py --out docs/benchmarks/detector.md

Rendered truth is amodal; visibility is counted in pixels. Real ground truth is pedestrians, every tenth frame.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from itertools import islice

import cv2
import numpy as np
from clock import one_thread, processor_seconds
from reporting import command_line, publish, start, table
from sequences import find_sequences, shared_folder

from spam_plugin.engine.detector_pretraining import judge, look, unseen_scenes
from spam_plugin.engine.metrics import TruthTable
from spam_plugin.models.detector.detector import Detector, DetectSettings
from spam_plugin.models.detector.precision import Boxes, average_precision, join

#: Sets with images whose ground truth is of people.
SETS_OF_PEOPLE = ["mot_images"]

_VISIBLE = (0.1, 0.25, 0.5, 0.8)
_SPEEDS = ((640, 360), (1280, 720))


def main() -> None:
    """Detect, score, print."""
    parser = command_line(__doc__)
    parser.add_argument("--weights", metavar="FILE", help="of a detector (default: the shipped ones)")
    parser.add_argument("--seed", type=int, default=1, help="of the films (default 1; the record's are those of 0)")
    parser.add_argument("--films", type=int, default=40, help="of 16 frames each, people and cars in turn")
    args = parser.parse_args()
    one_thread()
    detector = Detector.load(args.weights)
    found, truth = look(detector, unseen_scenes(args.seed, args.films))
    results = {least: judge(found, truth, len(detector.classes), least) for least in _VISIBLE}
    rendered = [
        [f"{least:g}", int((truth.score >= least).sum()), *(100 * result.average), 100 * result.mean,
         *(100 * result.recall)] for least, result in results.items()
    ]  # fmt: skip
    real = [[name, 100 * value, 100 * recall] for name, value, recall in _real(detector, args)]
    speed = [[f"{wide} x {tall}", _speed(detector, wide, tall)] for wide, tall in _SPEEDS]
    names = [f"AP50 {name}" for name in detector.classes] + ["AP50"] + [f"recall {name}" for name in detector.classes]
    parts = [
        f"Detector {detector.version}, default settings but for a least score of 0.01; {args.films} films of 16 "
        f"frames, seed {args.seed}. Objects of at least the given visible share must be found, less visible ones "
        "count neither way, and those under a twentieth are not there. In percent.",
        table(["visible share", "objects", *names], rendered),
        "Real pedestrians, of which it has never seen one:",
        table(["sequence", "AP50", "recall"], real),
        "Frames a second of processor time, one thread, decoding of the video not counted:",
        table(["pixels", "frames/s"], speed),
    ]
    numbers = {"rendered": rendered, "real": real, "speed": speed, "version": detector.version}
    publish(args, "The default detector", parts, numbers)


def _real(detector: Detector, args: Namespace) -> list[tuple[str, float, float]]:
    rows = []
    for sequence in find_sequences(shared_folder(args.data), args.sets or SETS_OF_PEOPLE, args.sequences):
        images = sequence.images[::10]
        if not images:
            continue
        found = []
        for number, path in enumerate(images):
            image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
            boxes = detector.detect([image], DetectSettings(least_score=0.01))
            people = boxes.class_index == 0
            found.append(Boxes(boxes.frame[people] + number, boxes.xyxy[people], boxes.class_index[people],
                               boxes.score[people]))  # fmt: skip
        result = average_precision(join(found), _people(sequence.truth()), 1)
        rows.append((sequence.name, result.mean, float(result.recall[0])))
        print(f"{sequence.name}: done", file=sys.stderr)
    return rows


def _people(truth: TruthTable) -> Boxes:
    """Every tenth frame's boxes of pedestrians (class 1); what ground truth says to ignore counts neither way."""
    rows = np.flatnonzero(truth.frame % 10 == 0)
    person = np.ones(len(rows), bool) if truth.class_id is None else truth.class_id[rows] == 1
    counts = person if truth.ignored is None else person & ~truth.ignored[rows]
    none = np.zeros(len(rows), np.int64)
    return Boxes(truth.frame[rows] // 10, truth.xyxy[rows].astype(np.float32), none, counts.astype(np.float32))


def _speed(detector: Detector, wide: int, tall: int) -> float:
    scene = next(islice(unseen_scenes(0, 1), 5, None))
    images = [cv2.resize(scene.image, (wide, tall))] * 16
    detector.detect(images[:8])
    return len(images) / processor_seconds(lambda: detector.detect(images))


if __name__ == "__main__":
    start(main)
