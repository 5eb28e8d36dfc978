"""One retraining: lessons from labels and answers, new weights for each part, and a verdict by answers held out.

Killed at any moment and started again with the same settings it goes on, and ends with the same version. Started again
after its end, with nothing new to learn from, it finds what it made and trains nothing.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import __version__
from ..models.errors import InputError
from ..models.spam import LabelSettings, SpamModel
from .agreement import measure_agreement
from .answers import Answer
from .holdout import Holdout
from .lessons import LessonSettings, VideoLessons, gather_lessons
from .ports import VideoInput
from .promotion import GateSettings, Verdict, judge
from .versions import TAUGHT, Version

Tell = Callable[[float, str], None]  # the share that is done, in [0, 1], and what is being done

GATHERING, LEARNING, JUDGING = 0.15, 0.70, 0.15  # shares of the whole, roughly


@dataclass(frozen=True)
class RetrainSettings:
    """What is retrained, and how.

    Attributes:
        parts: of ``versions.TAUGHT``; empty for all that have something to learn from.
        steps: part -> optimiser steps; what is not named is the teacher's choice.
        seed: of training and of what is held out.
        share: of the answers that is held out to judge by.
        self_training: learn from what the model is sure of alone, and from no answer.
        lessons: what counts how much.
        labelling: of the labels that are learnt from and judged.
        gate: how sure the verdict must be.
        tag: tells retrainings apart that would else be the same, e.g. the round of a loop that asked for it.

    Raises:
        InputError: for parts that do not exist, or values out of range.
    """

    parts: tuple[str, ...] = ()
    steps: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    share: float = 0.25
    self_training: bool = False
    lessons: LessonSettings = field(default_factory=LessonSettings)
    labelling: LabelSettings = field(default_factory=LabelSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    tag: str = ""

    def __post_init__(self) -> None:
        strange = [part for part in (*self.parts, *self.steps) if part not in TAUGHT]
        if strange:
            raise InputError(f"there is no part {strange[0]!r} to retrain; there are: {', '.join(TAUGHT)}")
        object.__setattr__(self, "parts", tuple(part for part in TAUGHT if part in self.parts))
        for part, steps in self.steps.items():
            if steps < 1:
                raise InputError(f"retraining: {steps} steps for the {part} are too few; it needs at least 1")
        if not 0 < self.share < 1:
            raise InputError(f"retraining: the share that is held out is {self.share}; it must lie between 0 and 1")
        if self.seed < 0:
            raise InputError(f"retraining: seed is {self.seed}; it must not be negative")


@dataclass(frozen=True)
class Taught:
    """What a teacher has made of its part.

    Attributes:
        file: of the new weights, in the draft.
        steps: of the optimiser.
        best_step: after which the weights that were kept were reached.
        curve: at every measurement the step, the losses, and what was measured.
        resumed_at: step from which an interrupted training went on; 0 if it began anew.
        config: plain values that tell how it learnt.
    """

    file: Path
    steps: int
    best_step: int
    curve: tuple[Mapping[str, float], ...] = ()
    resumed_at: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)


class Teacher(Protocol):
    """Trains one part further."""

    part: str
    steps: int  # of the optimiser, unless others are asked for

    def lacks(self, lessons: Sequence[VideoLessons]) -> str | None:
        """What it lacks to learn anything, in a sentence; None if it can."""

    def learn(self, lessons: Sequence[VideoLessons], steps: int, seed: int, folder: Path, tell: Tell) -> Taught:
        """Trains, or goes on where an interrupted training in the folder ends; frames held out are not looked at."""


class LessonStore(Protocol):
    """The videos and what people said of them."""

    def videos(self) -> Sequence[tuple[str, str]]:
        """(key, name) of the videos, in a fixed order."""

    def read(self, key: str, skip_bad: bool) -> VideoInput:
        """One video's candidates and all answers; see ``ports.VideoStore.read``."""


class VersionShelf(Protocol):
    """Where versions stand; see ``integrations.fiftyone_.shelf.Shelf``."""

    def versions(self) -> list[Version]:
        """All versions, oldest first."""

    def get(self, name: str) -> Version:
        """The version of that name."""

    def in_use(self) -> Version:
        """What is used now."""

    def holdout(
        self, answered: Mapping[str, Sequence[Answer]], lengths: Mapping[str, int], share: float, seed: int
    ) -> Holdout:
        """What is held out of videos with answers; what was decided once stays so."""

    def draft(self, purpose: str = "") -> Path:
        """A folder to train in; the same for the same purpose."""

    def add(self, draft: Path, version: Version) -> Version:
        """Puts a version on the shelf, complete or not at all."""

    def use(self, name: str) -> Version:
        """Uses a version from now on."""


class Pipeline(Protocol):
    """Runs what versions consist of."""

    def hierarchy(self, file: Path | None) -> SpamModel:
        """The hierarchy of a file, or the default one."""

    def teachers(self, version: Version) -> Sequence[Teacher]:
        """Who trains the parts of a version further."""

    def inputs(
        self, parts: Mapping[str, Path], videos: Mapping[str, VideoInput], holdout: Holdout, tell: Tell
    ) -> dict[str, VideoInput]:
        """Videos as the detector and the appearance of some files see them, without a look at what is held out."""


@dataclass(frozen=True)
class RetrainReport:
    """What a retraining came to.

    Attributes:
        version: the new version; its verdict says what the gate found.
        parent: that it was trained from.
        used: whether it is used from now on.
        known: whether it was made before from the very same, and nothing was trained now.
        lessons: kind of lesson -> how many there were.
        weights: kind of lesson -> how much one of it counts.
        held_out: how many answers were held out.
        videos: learnt from.
        taught: part -> steps, the step that was kept, and the curve.
        left_out: part -> why it had nothing to learn from.
        notices: what else is worth knowing, in sentences.
        skipped: name -> why, of videos that could not be read.
        seconds: that it took.
    """

    version: Version
    parent: str
    used: bool
    known: bool
    lessons: Mapping[str, int]
    weights: Mapping[str, float]
    held_out: int
    videos: int
    taught: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def said(self) -> str:
        """What came out, in a sentence."""
        used = "is used from now on" if self.used else "stands on the shelf and is not used"
        if self.used != self.version.promoted:
            used += ", as was asked for; the gate says"
        again = " (made before from the very same)" if self.known else ""
        return f"version {self.version.name}{again} {used}: {self.version.why}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {name: dict(values[name]) for name in ("lessons", "weights", "taught", "left_out", "skipped")}
        return {
            **values, **plain, "version": self.version.as_dict(), "notices": list(self.notices), "said": self.said,
            "promoted": self.version.promoted, "seconds": round(self.seconds, 1),
        }  # fmt: skip


def retrain(
    store: LessonStore, shelf: VersionShelf, pipeline: Pipeline, settings: RetrainSettings | None = None, *,
    use: bool | None = None, parent: str | None = None, skip_bad: bool = False, tell: Tell | None = None,
) -> RetrainReport:  # fmt: skip
    """Makes a new version of what people said and of what the model is sure of.

    Args:
        store: the videos.
        shelf: the versions.
        pipeline: what trains and runs the parts.
        settings: what is retrained, and how.
        use: use the new version whatever the verdict is, or not whatever it is; None for what the gate says.
        parent: name of the version to begin with; None for the one that is in use.
        skip_bad: leave out candidates and videos that cannot be used.
        tell: told the share that is done, and what is being done.

    Raises:
        InputError: if there is nothing to learn from, or input cannot be used; no version is made then.
        MissingError: if there is no such parent.
    """
    settings, tell = settings or RetrainSettings(), tell or (lambda share, what: None)
    began = time.monotonic()
    videos, skipped = _read(store, skip_bad)
    said = {} if settings.self_training else {key: video.answers for key, video in videos.items() if video.answers}
    if not (said or settings.self_training):
        raise InputError(
            "there are no answers yet to learn from: let people answer some questions first (spam-plugin queries, sync "
            "or answer), or learn from what the model is sure of alone (--self-training)"
        )
    # What is held out stays so, whoever trains: self-training is judged by it as well, once there are answers.
    answered = {key: video.answers for key, video in videos.items() if video.answers}
    lengths = {key: video.info.num_frames for key, video in videos.items()}
    holdout = shelf.holdout(answered, lengths, settings.share, settings.seed)
    before = shelf.in_use() if parent is None else shelf.get(parent)
    purpose = _purpose(videos, holdout, before, settings)
    made = next((one for one in shelf.versions() if one.config.get("purpose") == purpose and one.is_there), None)
    known = made is not None
    if made is None:
        made = _make(shelf, pipeline, videos, holdout, before, settings, purpose, tell)
    used = made.promoted if use is None else use
    if used and shelf.in_use().name != made.name:
        shelf.use(made.name)
    told = made.config
    return RetrainReport(
        made, before.name, used, known, told["lessons"], told["weights"], _held(videos, holdout), len(made.videos),
        told["taught"], told["left_out"], tuple(told["notices"]), skipped, time.monotonic() - began,
    )  # fmt: skip


def _make(
    shelf: VersionShelf, pipeline: Pipeline, videos: Mapping[str, VideoInput], holdout: Holdout, parent: Version,
    settings: RetrainSettings, purpose: str, tell: Tell,
) -> Version:  # fmt: skip
    """Gathers lessons, trains, judges, and puts the new version on the shelf."""
    current = pipeline.hierarchy(parent.parts.get("hierarchy"))
    learners = {key: _without_answers(video) for key, video in videos.items()} if settings.self_training else videos
    lessons = _lessons(current, learners, holdout, settings, _share(tell, 0.0, GATHERING, ""))
    able, left_out = _able(pipeline.teachers(parent), lessons, settings.parts)

    draft = shelf.draft(purpose)
    taught: dict[str, Taught] = {}
    for number, teacher in enumerate(able):
        start = GATHERING + LEARNING * number / len(able)
        part = _share(tell, start, LEARNING / len(able), f"training the {teacher.part}")
        steps = settings.steps.get(teacher.part, teacher.steps)
        given = lessons
        if teacher.part == "hierarchy" and taught:  # it learns from what it will be given: what the new eyes see
            parts = {**parent.parts, **{one: made.file for one, made in taught.items()}}
            again = pipeline.inputs(parts, learners, holdout, _share(tell, start, 0.0, "looking again"))
            if settings.self_training:
                again = {key: _without_answers(video) for key, video in again.items()}
            given = _lessons(current, again, holdout, settings, _share(tell, start, 0.0, ""))
        taught[teacher.part] = teacher.learn(given, steps, settings.seed, draft / teacher.part, part)
    files = {part: one.file for part, one in taught.items()}
    verdict = _judge(
        pipeline, videos, holdout, parent, files, settings, _share(tell, GATHERING + LEARNING, JUDGING, "")
    )
    counts: Counter[str] = Counter()
    for one in lessons:
        counts.update(one.counts())
    learnt = tuple(one.key for one in lessons if (one.weight > 0).any() or (one.box_weight > 0).any())
    config = {
        "purpose": purpose, "parts": list(files), "seed": settings.seed, "self_training": settings.self_training,
        "tag": settings.tag, "answers_then": sum(len(video.answers) for video in videos.values()),
        "lessons": dict(counts), "left_out": left_out,
        "weights": {"human": settings.lessons.human_weight, "confident": settings.lessons.pseudo_weight, "unsure": 0.0},
        "taught": {
            part: {
                "steps": one.steps, "best_step": one.best_step, "resumed_at": one.resumed_at,
                "curve": [dict(point) for point in one.curve], **one.config,
            }
            for part, one in taught.items()
        },
        "notices": _notices(learners, lessons, holdout, settings),
    }  # fmt: skip
    metrics = {"agreement": verdict.new, "agreement_before": verdict.current} if verdict.answers else {}
    answers = [learnt for key, video in learners.items() for learnt in holdout.split(key, video.answers).learnt]
    version = Version(
        parts={part: file.relative_to(draft) for part, file in files.items()}, retrained=tuple(files),
        parent=parent.name, videos=learnt, answers=tuple(sorted(answers)), holdout=holdout.as_dict(),
        metrics=metrics, config=config, verdict=verdict,
    )  # fmt: skip
    tell(1.0, "putting the new version on the shelf")
    return shelf.add(draft, version)


def _lessons(
    model: SpamModel, videos: Mapping[str, VideoInput], holdout: Holdout, settings: RetrainSettings, tell: Tell
) -> list[VideoLessons]:
    """What every video teaches, by the labels of a model."""
    lessons = []
    for number, (key, video) in enumerate(videos.items()):
        tell(number / len(videos), f"looking for lessons in {video.info.name}")
        lessons.append(gather_lessons(model, key, video, holdout, settings.lessons, settings.labelling))
    return lessons


def _judge(
    pipeline: Pipeline, videos: Mapping[str, VideoInput], holdout: Holdout, parent: Version,
    files: Mapping[str, Path], settings: RetrainSettings, tell: Tell,
) -> Verdict:  # fmt: skip
    """What answers that are held out say of the new files, beside the version that they were trained from."""
    asked = {key: video for key, video in videos.items() if holdout.split(key, video.answers).held}
    scores = []
    for number, parts in enumerate((parent.parts, {**parent.parts, **files})):
        name = ("the version in use", "the new version")[number]
        step = _share(tell, number / 2, 0.5, f"judging {name}")
        seen = pipeline.inputs(parts, asked, holdout, step) if asked else {}
        model = pipeline.hierarchy(parts.get("hierarchy"))
        scores.append(measure_agreement(model, seen, holdout, settings.labelling, step))
    return judge(scores[0], scores[1], settings.gate)


def _read(store: LessonStore, skip_bad: bool) -> tuple[dict[str, VideoInput], dict[str, str]]:
    videos: dict[str, VideoInput] = {}
    skipped: dict[str, str] = {}
    for key, name in store.videos():
        try:
            videos[key] = store.read(key, skip_bad)
        except InputError as error:
            if not skip_bad:
                raise
            skipped[name] = str(error)
    if not any(len(video.candidates) for video in videos.values()):
        raise InputError("there is nothing to learn from: no video has a candidate that can be used; detect first")
    return videos, skipped


def _without_answers(video: VideoInput) -> VideoInput:
    return VideoInput(video.info, video.candidates, video.fingerprint, video.left_out, (), video.class_names)


def _able(
    teachers: Sequence[Teacher], lessons: Sequence[VideoLessons], wanted: tuple[str, ...]
) -> tuple[list[Teacher], dict[str, str]]:
    """The teachers of the parts that are wanted and can be taught, and why others cannot.

    Raises:
        InputError: if none can, or one that was asked for by name cannot.
    """
    able: list[Teacher] = []
    left_out: dict[str, str] = {}
    for teacher in sorted(teachers, key=lambda one: TAUGHT.index(one.part)):
        if wanted and teacher.part not in wanted:
            continue
        why = teacher.lacks(lessons)
        if why is None:
            able.append(teacher)
        else:
            left_out[teacher.part] = why
    unknown = [part for part in wanted if part not in (*left_out, *(teacher.part for teacher in able))]
    if unknown:
        raise InputError(f"nothing here can retrain the {unknown[0]}; leave it out of the parts")
    if left_out and (wanted or not able):
        part, why = next(iter(left_out.items()))
        raise InputError(f"the {part} has nothing to learn from: {why}")
    return able, left_out


def _notices(
    videos: Mapping[str, VideoInput], lessons: Sequence[VideoLessons], holdout: Holdout, settings: RetrainSettings
) -> list[str]:
    """What is worth knowing of the lessons, in sentences."""
    said = [key for key, video in videos.items() if video.answers]
    notices = []
    if len(said) == 1:
        notices.append(
            f"all answers are about video {videos[said[0]].info.name!r}: blocks of its time are held out, so the gate "
            "says little of other videos"
        )
    seen: Counter[str] = Counter()
    confirmed: Counter[str] = Counter()
    for one in lessons:
        names = np.array([str(name) for name in one.class_names] or [""])
        taught = one.box_weight > 0
        seen.update(names[one.class_index[taught]].tolist() if len(one.class_names) else ())
        confirmed.update(names[one.class_index[taught & one.human]].tolist() if len(one.class_names) else ())
    never = sorted(name for name in seen if not confirmed[name])
    if never and said:
        many = "classes" if len(never) > 1 else "class"
        notices.append(
            f"{many} {', '.join(map(repr, never))}: no person has confirmed any, the model's own word counts"
        )
    if settings.self_training:
        notices.append("no answer was learnt from: the model was sure of all that it learnt")
    if holdout.is_empty and not settings.self_training:
        notices.append("nothing is held out to judge by: the videos with answers are too short")
    return notices


def _held(videos: Mapping[str, VideoInput], holdout: Holdout) -> int:
    return sum(len(holdout.split(key, video.answers).held) for key, video in videos.items())


def _purpose(videos: Mapping[str, VideoInput], holdout: Holdout, parent: Version, settings: RetrainSettings) -> str:
    """The same for a retraining of the same, from the same, in the same way."""
    about = {
        "videos": {key: video.fingerprint for key, video in videos.items()},
        "holdout": holdout.as_dict(), "parent": parent.name, "code": __version__,
        "files": {part: str(file) for part, file in parent.parts.items()}, "settings": asdict(settings),
    }  # fmt: skip
    return blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def _share(tell: Tell, start: float, width: float, what: str) -> Tell:
    """Tells of a part of the whole."""

    def part(share: float, about: str) -> None:
        tell(start + width * min(max(share, 0.0), 1.0), ": ".join(word for word in (what, about) if word))

    return part
