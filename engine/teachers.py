"""Who trains the parts of a version further: what is known of videos, as each part's own training wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..models.spam import SpamModel
from .lessons import VideoLessons
from .retraining import Taught, Tell

if TYPE_CHECKING:
    from ..models.appearance.model import AppearanceModel
    from ..models.detector.augmentation import Scene
    from ..models.detector.detector import Detector
    from ..models.fitting import FitResult, FitSettings

POINTS = 12  # of a learning curve
MOST_FRAMES = 800  # that the detector learns from, over all videos
MOST_CROPS = 16  # of one object that the appearance learns from
UNNAMED = "object"  # class of boxes without a name
SAID = 1.0  # a weight above says that a person spoke of a candidate


class Pictures(Protocol):
    """The frames of videos."""

    def there(self, key: str) -> bool:
        """Whether the media of a video can be decoded at all."""

    def frames(self, key: str, wanted: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Some frames, in order: 0-based number and (H, W, 3) uint8, RGB.

        Raises:
            InputError: where the video cannot be decoded that far.
        """


class HierarchyTeacher:
    """Trains the hierarchy further; needs no pictures.

    Args:
        start: the hierarchy to begin with.
        accelerator: as lightning names it.
    """

    part = "hierarchy"
    steps = 120

    def __init__(self, start: SpamModel, accelerator: str = "cpu") -> None:
        self._start, self._accelerator = start, accelerator

    def lacks(self, lessons: Sequence[VideoLessons]) -> str | None:
        """Candidates that somebody is sure of."""
        if any((one.weight > 0).any() for one in lessons):
            return None
        return "no candidate is confident or confirmed; answer some questions first, or use another detector's boxes"

    def learn(self, lessons: Sequence[VideoLessons], steps: int, seed: int, folder: Path, tell: Tell) -> Taught:
        """Trains, or goes on; see ``retraining.Teacher``."""
        from ..models.spam.finetuning import Lesson, finetune

        given = [
            Lesson(one.info, one.candidates, one.identity, one.group, one.valid, one.weight, one.link_weight)
            for one in lessons
        ]
        settings = _settings(steps, seed, self._accelerator)
        model, result = finetune(self._start, given, settings, folder, report=_told(tell, steps))
        return _kept(self.part, model, result, folder, {})


class DetectorTeacher:
    """Trains the detector further, on frames of the videos.

    Args:
        start: loads the detector to begin with.
        pictures: of the videos.
        accelerator: as lightning names it.
        most: frames to learn from, over all videos.
    """

    part = "detector"
    steps = 800

    def __init__(
        self, start: Callable[[], Detector], pictures: Pictures, accelerator: str = "cpu", most: int = MOST_FRAMES
    ) -> None:
        self._start, self._pictures, self._accelerator, self._most = start, pictures, accelerator, most

    def lacks(self, lessons: Sequence[VideoLessons]) -> str | None:
        """Boxes that somebody is sure of, in videos that can be decoded."""
        able = [one for one in lessons if (one.box_weight > 0).any()]
        if not able:
            return "no box is confident or confirmed; answer some questions first, or use another detector's boxes"
        return _lacks_pictures(able, self._pictures)

    def learn(self, lessons: Sequence[VideoLessons], steps: int, seed: int, folder: Path, tell: Tell) -> Taught:
        """Trains, or goes on; see ``retraining.Teacher``."""
        from ..models.detector.finetuning import StoredScenes, finetune

        able = [one for one in lessons if (one.box_weight > 0).any() and self._pictures.there(one.key)]
        classes = list(dict.fromkeys(name for one in able for name in class_names(one)))
        chosen = chosen_frames(able, self._most)
        scenes = StoredScenes(self._scenes(able, chosen, classes, tell))
        settings = _settings(steps, seed, self._accelerator)
        model, result = finetune(
            self._start(), scenes, settings, folder, classes=classes, report=_told(tell, steps)
        )  # fmt: skip
        return _kept(self.part, model, result, folder, {"frames": len(scenes), "classes": classes})

    def _scenes(
        self, lessons: Sequence[VideoLessons], chosen: Sequence[NDArray[np.int64]], classes: Sequence[str], tell: Tell
    ) -> Iterable[Scene]:
        from ..models.detector.finetuning import lesson

        for one, frames in zip(lessons, chosen, strict=True):
            tell(0.0, f"reading {len(frames)} frames of {one.info.name}")
            number = np.array([classes.index(name) for name in class_names(one)], np.int64)
            rejected = (one.weight > SAID) & (one.valid < 0.5)
            for frame, image in self._pictures.frames(one.key, frames):
                boxes, away = one.frame == frame, rejected & (one.candidates.frame == frame)
                scale = np.array([image.shape[1] / one.info.width, image.shape[0] / one.info.height] * 2, np.float32)
                yield lesson(
                    image, one.xyxy[boxes] * scale, number[one.class_index[boxes]], one.box_weight[boxes],
                    one.candidates.xyxy[away] * scale, one.weight[away], bool(one.complete[frame]),
                )  # fmt: skip


class AppearanceTeacher:
    """Trains the appearance further, on crops of the objects in the videos.

    Args:
        start: loads the appearance to begin with.
        pictures: of the videos.
        accelerator: as lightning names it.
        most: crops of one object.
    """

    part = "appearance"
    steps = 60  # tried on TUD-Campus and KITTI-17 (benchmarks/appearance.py)

    def __init__(
        self, start: Callable[[], AppearanceModel], pictures: Pictures, accelerator: str = "cpu", most: int = MOST_CROPS
    ) -> None:
        self._start, self._pictures, self._accelerator, self._most = start, pictures, accelerator, most

    def lacks(self, lessons: Sequence[VideoLessons]) -> str | None:
        """Two objects that are known to differ, in videos that can be decoded."""
        rows = [chosen_crops(one, self._most) for one in lessons]
        able = [one for one, own in zip(lessons, rows, strict=True) if len(own)]
        if not able:
            return "no object has two candidates that are surely its own; answer some questions first"
        lacking = _lacks_pictures(able, self._pictures)
        if lacking is None:
            blank = np.broadcast_to(np.zeros((), np.uint8), (sum(map(len, rows)), 96, 48, 3))
            if not self._lessons(lessons, rows, blank).tracks()[1].any():
                return "no two objects are known to differ: none are in one frame or in different videos"
        return lacking

    def learn(self, lessons: Sequence[VideoLessons], steps: int, seed: int, folder: Path, tell: Tell) -> Taught:
        """Trains, or goes on; see ``retraining.Teacher``."""
        from ..models.appearance.crops import cut
        from ..models.appearance.finetuning import finetune

        able = [one for one in lessons if self._pictures.there(one.key)]
        rows = [chosen_crops(one, self._most) for one in able]
        crops: list[NDArray[np.uint8]] = [np.zeros((0, 96, 48, 3), np.uint8)]
        for one, own in zip(able, rows, strict=True):
            tell(0.0, f"reading {len(own)} boxes of {one.info.name}")
            frame = one.candidates.frame[own]
            for number, image in self._pictures.frames(one.key, np.unique(frame)):
                scale = np.array([image.shape[1] / one.info.width, image.shape[0] / one.info.height] * 2)
                crops.append(cut(image, one.candidates.xyxy[own[frame == number]] * scale))
        given = self._lessons(able, rows, np.concatenate(crops))
        settings = _settings(steps, seed, self._accelerator)
        model, result = finetune(self._start(), given, settings, folder, _told(tell, steps))
        return _kept(self.part, model, result, folder, {"crops": len(given.crops)})

    def _lessons(self, lessons: Sequence[VideoLessons], rows: Sequence[NDArray[np.int64]], crops: Any) -> Any:
        """Crops of objects; two that were never there together may be one that came back, and teach nothing."""
        from ..models.appearance.finetuning import AppearanceLessons

        def column(of: Callable[[VideoLessons], NDArray]) -> NDArray:
            parts = [of(one)[own] for one, own in zip(lessons, rows, strict=True)]
            return np.concatenate(parts) if parts else np.zeros(0)

        video = np.repeat(np.arange(len(lessons)), [len(own) for own in rows])
        return AppearanceLessons(
            crops, column(lambda one: one.identity), column(lambda one: one.link_weight), video,
            column(lambda one: one.candidates.frame),
        )  # fmt: skip


def class_names(one: VideoLessons) -> list[str]:
    """Names of the classes of a video, by index, each with one."""
    count = int(max(one.class_index.max(initial=-1), one.candidates.class_index.max(initial=-1))) + 1
    names = [*one.class_names, *[None] * count][: max(count, len(one.class_names))]
    return [name or UNNAMED for name in names]


def chosen_frames(lessons: Sequence[VideoLessons], most: int) -> list[NDArray[np.int64]]:
    """Frames of each video that a detector is to learn from: those that people spoke of first, the rest evenly.

    Frames that are held out are never among them.
    """
    able = [np.flatnonzero(one.complete) for one in lessons]
    total = max(sum(map(len, able)), 1)
    chosen = []
    for one, frames in zip(lessons, able, strict=True):
        room = max(round(most * len(frames) / total), min(len(frames), 1))
        said = (one.weight > SAID) & one.complete[one.candidates.frame]
        human = np.unique(np.concatenate([one.frame[one.human], one.candidates.frame[said]]))
        human = _evenly(human[one.complete[human]], room)
        others = _evenly(np.setdiff1d(frames, human), room - len(human))
        chosen.append(np.sort(np.concatenate([human, others])))
    return chosen


def chosen_crops(one: VideoLessons, most: int) -> NDArray[np.int64]:
    """Rows of the candidates that an appearance is to learn from: of each object at most so many, spread over it."""
    rows = np.flatnonzero((one.identity >= 0) & (one.link_weight > 0) & (one.valid > 0.5))
    order = rows[np.lexsort((one.candidates.frame[rows], one.identity[rows]))]
    who = one.identity[order]
    first = np.flatnonzero(np.diff(who, prepend=-2))
    size = np.diff(np.concatenate([first, [len(order)]]))
    place = np.arange(len(order)) - np.repeat(first, size)
    whole = np.repeat(size, size)
    stays = (whole <= most) | (np.floor(place * most / whole) != np.floor((place - 1) * most / whole))
    return np.sort(order[stays & (whole > 1)])


def _evenly(frames: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if count <= 0 or not len(frames):
        return np.zeros(0, np.int64)
    if len(frames) <= count:
        return frames
    return frames[np.floor((np.arange(count) + 0.5) * len(frames) / count).astype(int)]


def _lacks_pictures(lessons: Sequence[VideoLessons], pictures: Pictures) -> str | None:
    if any(pictures.there(one.key) for one in lessons):
        return None
    return f"the media of its {len(lessons)} videos cannot be read; put the files back, or train the hierarchy alone"


def _settings(steps: int, seed: int, accelerator: str) -> FitSettings:
    from ..models.fitting import FitSettings

    return FitSettings(
        steps, seed=seed, validate_every=max(steps // POINTS, 1), save_every=max(min(steps // 4, 20), 1),
        accelerator=accelerator,
    )  # fmt: skip


def _told(tell: Tell, steps: int) -> Callable[[int, dict[str, float]], None]:
    """What ``models.fitting`` is to call after every step."""

    def report(step: int, numbers: dict[str, float]) -> None:
        losses = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items() if name != "step")
        tell(step / steps, f"step {step} of {steps}" + (f", {losses}" if losses else ""))

    return report


def _kept(part: str, model: Any, result: FitResult, folder: Path, config: dict[str, Any]) -> Taught:
    """Writes what came out, and tells of it."""
    file = folder / f"{part}.safetensors"
    model.save(file)
    return Taught(file, result.steps, result.best_step, result.curve, result.resumed_at, config)
