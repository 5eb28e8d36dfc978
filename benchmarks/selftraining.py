"""What a round of training on the labels themselves is worth, without any click and with a few.

    OMP_NUM_THREADS=1 python benchmarks/selftraining.py --out docs/benchmarks/selftraining.md

From the public detections of sequences with images: labels; the detector and the appearance trained further on what
these labels are sure of; their boxes fused with the public ones; labels again. Then the same with a simulated person
who may spend a few percent of the effort, half before the training and half after it, against one who spends all of
it without any training. Ground truth is used by nothing but the scores and the person's answers.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clock import one_thread
from numpy.typing import NDArray
from reporting import command_line, publish, start, table
from scoring import METRICS, score
from sequences import Sequence as Film
from sequences import find_sequences, shared_folder

from spam_plugin.engine.fusing import KnownBoxes, fuse_candidates
from spam_plugin.engine.lessons import VideoLessons, gather_lessons
from spam_plugin.engine.metrics import TrackTable
from spam_plugin.engine.ports import VideoInput
from spam_plugin.engine.simulation import Desk, Plan, SimulatedVideo, simulate
from spam_plugin.engine.teachers import AppearanceTeacher, DetectorTeacher, HierarchyTeacher
from spam_plugin.integrations.detectors import OWN_LEAST_SCORE
from spam_plugin.models.appearance.model import AppearanceModel
from spam_plugin.models.columns import Candidates
from spam_plugin.models.detector.detector import Detector, DetectSettings
from spam_plugin.models.spam import LabelSettings, SpamModel

PERSON = ("pedestrian",)


@dataclass(frozen=True)
class Eyes:
    """What looks at the videos in a round; None for the public boxes alone, and for no appearance."""

    detector: Detector | None = None
    appearance: AppearanceModel | None = None


class ImageFiles:
    """Frames of sequences; see ``engine.teachers.Pictures``."""

    def __init__(self, films: Sequence[Film]) -> None:
        self._images = {film.name: film.images for film in films}

    def there(self, key: str) -> bool:
        """Whether a sequence has images."""
        return bool(self._images[key])

    def frames(self, key: str, wanted: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Some frames, RGB."""
        for frame in wanted.tolist():
            image = cv2.imread(str(self._images[key][frame]))
            yield frame, np.ascontiguousarray(image[..., ::-1])


def found_by(detector: Detector, film: Film, least: float) -> Candidates:
    """What a detector finds in every frame, people only."""
    person = detector.classes.index(PERSON[0]) if PERSON[0] in detector.classes else detector.classes.index("person")
    parts = []
    for frame, image in ImageFiles([film]).frames(film.name, np.arange(film.video.num_frames)):
        boxes = detector.detect([image], DetectSettings(least_score=least))
        own = boxes.class_index == person
        parts.append((np.full(own.sum(), frame), boxes.xyxy[own], boxes.score[own]))
    frame, xyxy, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Candidates(frame.astype(np.int64), xyxy, value, np.zeros(len(frame), np.int64))


def described(appearance: AppearanceModel | None, film: Film, candidates: Candidates) -> Candidates:
    """The candidates with appearance vectors."""
    if appearance is None or not len(candidates):
        return candidates
    parts = []
    for frame in np.unique(candidates.frame):
        rows = slice(*np.searchsorted(candidates.frame, [frame, frame + 1]))
        parts.append(appearance.describe(cv2.imread(str(film.images[frame])), candidates.xyxy[rows]))
    return replace(candidates, embedding=np.concatenate(parts))


def known_of(lessons: VideoLessons, said: Sequence[Any]) -> KnownBoxes:
    """What labels say, as the fusion of boxes wants it."""
    order = np.argsort(lessons.frame, kind="stable")
    boxes = [box for answer in said for box in answer.boxes]
    frame = np.array([box.frame for box in boxes], np.int64)
    place = np.argsort(frame, kind="stable")
    xyxy = np.array([box.xyxy for box in boxes], np.float64).reshape(-1, 4)
    return KnownBoxes(
        lessons.frame[order], lessons.xyxy[order], lessons.box_weight[order] > 0, lessons.complete, frame[place],
        xyxy[place],
    )  # fmt: skip


def seen(film: Film, eyes: Eyes, lessons: VideoLessons | None, said: Sequence[Any], least: float) -> Candidates:
    """The candidates of a sequence as some eyes see it."""
    candidates, _ = film.candidates()
    if eyes.detector is not None and lessons is not None:
        found = found_by(eyes.detector, film, least)
        candidates = fuse_candidates(candidates, found, known_of(lessons, said)).candidates
    return described(eyes.appearance, film, candidates)


def learn(
    films: Sequence[Film], lessons: Sequence[VideoLessons], model: SpamModel, eyes: Eyes, args: Namespace,
    parts: Sequence[str],
) -> tuple[Eyes, SpamModel]:  # fmt: skip
    """Everybody that is asked for is trained further."""
    pictures = ImageFiles(films)
    with tempfile.TemporaryDirectory() as folder:

        def taught(teacher: Any, load: Callable[[Path], Any]) -> Any:
            begin = time.process_time()
            made = teacher.learn(lessons, args.steps or teacher.steps, args.seed, Path(folder) / teacher.part, _silent)
            print(f"{teacher.part}: {made.steps} steps, {time.process_time() - begin:.0f} s", flush=True)
            return load(made.file)

        detector, appearance = eyes.detector, eyes.appearance
        if "detector" in parts:
            detector = taught(DetectorTeacher(lambda: eyes.detector or Detector.load(), pictures), Detector.load)
        if "appearance" in parts:
            appearance = taught(
                AppearanceTeacher(lambda: eyes.appearance or AppearanceModel.load(), pictures), AppearanceModel.load
            )
        if "hierarchy" in parts:
            model = taught(HierarchyTeacher(model), SpamModel.load)
    return Eyes(detector, appearance), model


def _silent(share: float, what: str) -> None:
    """Progress is not shown."""


def scores_of(
    model: SpamModel, films: Sequence[Film], candidates: dict[str, Candidates]
) -> dict[str, dict[str, float]]:
    """Scores of the labels of every sequence."""
    out = {}
    for film in films:
        (tracks,) = model.label([(film.video, candidates[film.name])])
        out[film.name] = score(film, film.truth(), TrackTable(tracks.frame, tracks.track_index, tracks.xyxy))
    return out


def lessons_from(
    model: SpamModel, films: Sequence[Film], candidates: dict[str, Candidates], said: dict[str, list[Any]]
) -> list[VideoLessons]:
    """What every sequence teaches."""
    given = {f.name: VideoInput(f.video, candidates[f.name], "", {}, tuple(said[f.name]), PERSON) for f in films}
    return [gather_lessons(model, name, video) for name, video in given.items()]


def without_clicks(films: Sequence[Film], args: Namespace) -> list[list[Any]]:
    """Rows of what self-training is worth."""
    model, silent = SpamModel.load(), {film.name: [] for film in films}
    rows: list[list[Any]] = []

    def show(title: str, candidates: dict[str, Candidates], who: SpamModel = model) -> None:
        found = scores_of(who, films, candidates)
        mean = [float(np.mean([one[key] for one in found.values()])) for key in METRICS[:5]]
        rows.append([title, *mean, *(one["HOTA"] for one in found.values())])
        print(rows[-1], flush=True)

    plain, looks = Eyes(), Eyes(None, AppearanceModel.load())
    bare = {film.name: seen(film, plain, None, (), 0) for film in films}
    show("public boxes", bare)
    dressed = {film.name: seen(film, looks, None, (), 0) for film in films}
    show("public boxes, default appearance", dressed)
    for title, before, eyes, parts in (
        ("", bare, plain, ("detector",)), (", default appearance", dressed, looks, ("detector", "appearance")),
    ):  # fmt: skip
        lessons = lessons_from(model, films, before, silent)
        trained, _ = learn(films, lessons, model, eyes, args, parts)
        now = Eyes(trained.detector, eyes.appearance)
        for least in args.least:
            found = {f.name: seen(f, now, one, (), least) for f, one in zip(films, lessons, strict=True)}
            show(f"self-trained detector (from {least:g}){title}", found)
        if "appearance" in parts:
            least = OWN_LEAST_SCORE
            found = {f.name: seen(f, trained, one, (), least) for f, one in zip(films, lessons, strict=True)}
            show("self-trained detector and appearance", found)
            own = {f.name: seen(f, Eyes(None, trained.appearance), None, (), 0) for f in films}
            show("public boxes, self-trained appearance", own)
            again = lessons_from(model, films, found, silent)
            _, other = learn(films, again, model, trained, args, ("hierarchy",))
            show("self-trained detector, appearance and then hierarchy", found, other)
    return rows


def with_clicks(films: Sequence[Film], args: Namespace) -> list[list[Any]]:
    """Rows of what retraining half-way is worth to a person."""
    model, eyes = SpamModel.load(), Eyes(None, AppearanceModel.load())
    rows: list[list[Any]] = []

    def video(film: Film, candidates: Candidates) -> SimulatedVideo:
        return SimulatedVideo(film.name, film.video, candidates, film.truth(), PERSON)

    def show(title: str, effort: float, point: Any) -> None:
        per_video = list(point.videos.values())
        rows.append(
            [title, effort, point.effort, *(float(np.mean([one[key] for one in per_video])) for key in
             ("HOTA", "IDF1", "MOTA")), *(one["HOTA"] for one in per_video)]
        )  # fmt: skip
        print(rows[-1], flush=True)

    before = {film.name: seen(film, eyes, None, (), 0) for film in films}

    def spend(effort: float) -> None:
        """Adds the rows of one effort."""
        plan = Plan((effort / 2, effort), seed=args.seed, preprocess="mot17")
        whole, settings = replace(plan, budgets=(effort,)), LabelSettings()
        videos = [video(film, before[film.name]) for film in films]
        desks = {one.key: Desk(one, model, settings, plan, number) for number, one in enumerate(videos)}

        def retrained(said: dict[str, list[Any]], title: str, old: dict[str, Desk] | None) -> None:
            """Everybody learns from what was said, and the rest of the clicks are spent on what comes of it."""
            lessons = lessons_from(model, films, before, said)
            trained, _ = learn(films, lessons, model, eyes, args, ("detector", "appearance"))
            found = {
                film.name: seen(film, trained, one, said[film.name], OWN_LEAST_SCORE)
                for film, one in zip(films, lessons, strict=True)
            }
            later = [video(film, found[film.name]) for film in films]
            again = lessons_from(model, films, found, said)
            _, other = learn(films, again, model, trained, args, ("hierarchy",))
            for parts, who in (("detector, appearance", model), ("detector, appearance, hierarchy", other)):
                going = {
                    one.key: Desk(one, who, settings, plan, number, old[one.key] if old is not None else None)
                    for number, one in enumerate(later)
                }
                show(f"{title}: {parts}", effort, simulate(later, who, whole, settings, desks=going)[0])

        if "first" in args.orders:
            retrained({film.name: [] for film in films}, "retrained before any click", None)
        if "half" in args.orders:
            (half,) = simulate(videos, model, replace(plan, budgets=(effort / 2,)), settings, desks=desks)
            show("half of it", effort, half)
            retrained({key: list(desk.answers) for key, desk in desks.items()}, "retrained half-way", desks)
        show("not retrained", effort, simulate(videos, model, whole, settings, desks=desks)[0])

    for effort in args.efforts:
        spend(effort)
    return rows


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of training and of the person")
    parser.add_argument("--steps", type=int, help="of every training (default: the product's)")
    parser.add_argument(
        "--least", type=float, nargs="+", default=[0.25, OWN_LEAST_SCORE, 0.35], help="detector's scores"
    )
    parser.add_argument(
        "--efforts", type=float, nargs="*", default=[3.3], help="percent of the clicks of doing it by hand"
    )
    parser.add_argument("--orders", nargs="+", choices=("first", "half"), default=["first", "half"],
                        help="when it is trained: before any click, when half of them are spent")  # fmt: skip
    parser.add_argument("--clicks-only", action="store_true", help="leave out the labels without clicks")
    args = parser.parse_args()
    one_thread()
    cv2.setNumThreads(1)
    films = find_sequences(shared_folder(args.data), args.sets or ["mot_images"], args.sequences)
    names = [film.name for film in films]
    free = [] if args.clicks_only else without_clicks(films, args)
    paid = with_clicks(films, args)
    parts = [
        "Means over sequences of labels from the public detections `det.txt`, without any click, then HOTA of each.",
        table(["labels of", *METRICS[:5], *names], free),
        "With a simulated person. All rows of an effort have paid the same clicks, but for the first, which has paid "
        "half; efforts in percent of labelling by hand.",
        table(["", "effort", "paid", "HOTA", "IDF1", "MOTA", *names], paid),
    ]
    publish(
        args,
        "Self-training and retraining",
        parts[2 * args.clicks_only :],
        {"without_clicks": free, "with_clicks": paid},
    )


if __name__ == "__main__":
    start(main)
