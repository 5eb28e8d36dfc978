"""Adapt the tracker to the videos of a dataset: what it learns from, how it is judged, and the version that comes out.

Boxes that people drew are what it begins with. Videos in which nobody drew any join in by tracks that the model is sure
of: long ones that nothing hides, a few boxes of each (SPOT, TIP 2024, on purely unlabelled videos).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..models.columns import VideoInfo
from ..models.errors import InputError
from ..models.fitting import FitResult
from ..models.spam.overlaps import overlapping
from ..models.spot.adaptation import AdaptSettings, adapt, judges_of
from ..models.spot.judging import follow
from ..models.spot.lessons import AdaptClip, Footage
from ..models.spot.model import Tracker
from .filling import Frames, Keyframes
from .promotion import Verdict
from .reels import Reel, near
from .retraining import VersionShelf
from .versions import BY_HAND, Version

Tell = Callable[[float, str], None]  # the share that is done, in [0, 1], and what is being done

READING, LEARNING = 0.1, 0.8  # shares of the whole, roughly; judging is the rest
_SHARED = 0.1  # overlap with another box from which something may hide an anchor


@dataclass(frozen=True)
class LabelBoxes:
    """Boxes that the model made of one video, N of them in any order.

    Attributes:
        track: (N,) int64, number of the track.
        frame: (N,) int64, 0-based.
        xyxy: (N, 4) float32, pixels.
        validity: (N,) float32 in [0, 1], probability that it is an object.
        link_uncertainty: (N,) float32 in [0, 1], of the links at the box.
    """

    track: NDArray[np.int64]
    frame: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    validity: NDArray[np.float32]
    link_uncertainty: NDArray[np.float32]


@dataclass(frozen=True)
class AdaptVideo:
    """One video as it comes from a store.

    Attributes:
        info: of it.
        frames: its pictures.
        digest: of its files; another one if they change.
        keys: boxes of people; None for none.
        labels: boxes of the model; None for none.
    """

    info: VideoInfo
    frames: Frames
    digest: str
    keys: Keyframes | None
    labels: LabelBoxes | None = None


@dataclass(frozen=True)
class AdaptPlan:
    """What is learnt from, and how.

    Attributes:
        training: of the tracker.
        most_boxes: of one object, people's or the model's.
        self_training: videos without a person's box join in by tracks that the model is sure of.
        objects: most objects of one video.
        reach: frames around a box that may be explored.
        most_frames: of all videos together.
        memory: bytes that these may take, packed.
        sure: least validity of every anchor of a confident track, and mean validity of the track.
        doubt: greatest link uncertainty along it.
        least_length: frames that it must have.

    Raises:
        InputError: for values out of range.
    """

    training: AdaptSettings = field(default_factory=AdaptSettings)
    most_boxes: int = 5
    self_training: bool = False
    objects: int = 64
    reach: int = 30
    most_frames: int = 4000
    memory: int = 1 << 30
    sure: float = 0.9
    doubt: float = 0.3
    least_length: int = 20

    def __post_init__(self) -> None:
        for key in ("most_boxes", "objects", "most_frames", "memory", "least_length"):
            if getattr(self, key) < 1:
                raise InputError(f"adaptation: {key} is {getattr(self, key)}; it must be at least 1")
        if self.reach < 0:
            raise InputError(f"adaptation: reach is {self.reach}; it must not be negative")


@dataclass(frozen=True)
class Lessons:
    """What there is to learn from.

    Attributes:
        clips: of the videos that have something.
        keys: of those videos, in their order.
        notices: what else is worth knowing, in sentences.
    """

    clips: tuple[AdaptClip, ...]
    keys: tuple[str, ...]
    notices: tuple[str, ...]

    def count(self) -> dict[str, int]:
        """How many there are of what."""
        human = sum(int(clip.human.sum()) for clip in self.clips)
        return {
            "videos": len(self.clips),
            "objects": sum(len(np.unique(clip.track)) for clip in self.clips),
            "human_boxes": human,
            "track_boxes": sum(len(clip.track) for clip in self.clips) - human,
            "frames": sum(len(clip.readable) for clip in self.clips),
        }


@dataclass(frozen=True)
class AdaptReport:
    """What an adaptation came to.

    Attributes:
        version: the new version; its verdict says what the boxes that were held out say.
        parent: that it was adapted from.
        used: whether it is used from now on.
        known: whether it was made before from the very same, and nothing was trained now.
        lessons: what there was to learn from, counted.
        training: steps, the step whose weights were kept, and the curve.
        notices: what else is worth knowing, in sentences.
        skipped: name -> why, of videos that could not be read.
        seconds: that it took.
    """

    version: Version
    parent: str
    used: bool
    known: bool
    lessons: Mapping[str, int]
    training: Mapping[str, Any]
    notices: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def said(self) -> str:
        """What came out, in a sentence."""
        used = "is used from now on" if self.used else "stands on the shelf and is not used"
        if self.used != self.version.promoted:
            used += ", as was asked for; the judgement is"
        again = " (made before from the very same)" if self.known else ""
        return f"version {self.version.name}{again} {used}: {self.version.why}"

    def without(self, skipped: Mapping[str, str]) -> AdaptReport:
        """The same, of which some videos were left out: name -> why."""
        return replace(self, skipped=skipped)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {name: dict(values[name]) for name in ("lessons", "training", "skipped")}
        return {
            **values, **plain, "version": self.version.as_dict(), "notices": list(self.notices), "said": self.said,
            "promoted": self.version.promoted, "seconds": round(self.seconds, 1),
        }  # fmt: skip


def adapt_tracker(
    videos: Mapping[str, AdaptVideo], shelf: VersionShelf, plan: AdaptPlan | None = None, *, device: str = "cpu",
    use: bool | None = None, parent: str | None = None, tell: Tell | None = None,
) -> AdaptReport:  # fmt: skip
    """Makes a new version whose tracker has learnt from the videos, and uses it if it is not worse.

    Killed and called again with the same, it goes on where it was, and ends with the same version.

    Args:
        videos: key -> video.
        shelf: the versions.
        plan: what is learnt from, and how.
        device: where it learns, as torch names it.
        use: use the new version whatever the judgement is, or not whatever it is; None for what the judgement says.
        parent: name of the version to begin with; None for the one that is in use.
        tell: told the share that is done, and what is being done.

    Raises:
        InputError: if there is nothing to learn from, or no picture can be read; no version is made then.
        MissingError: if there is no such parent.
    """
    plan, tell, began = plan or AdaptPlan(), tell or (lambda share, what: None), time.monotonic()
    before = shelf.in_use() if parent is None else shelf.get(parent)
    lessons = gather(videos, plan, lambda share, what: tell(READING * share, what))
    purpose = _purpose(lessons, videos, before, plan)
    made = next((one for one in shelf.versions() if one.config.get("purpose") == purpose and one.is_there), None)
    known = made is not None
    if made is None:
        made = _make(shelf, lessons, before, plan, purpose, device, tell)
    used = made.promoted if use is None else use
    if used and shelf.in_use().name != made.name:
        shelf.use(made.name)
    told = made.config
    return AdaptReport(
        made, before.name, used, known, told["lessons"], told["taught"]["tracker"], tuple(told["notices"]),
        seconds=time.monotonic() - began,
    )  # fmt: skip


def gather(videos: Mapping[str, AdaptVideo], plan: AdaptPlan, tell: Tell = lambda share, what: None) -> Lessons:
    """Boxes to begin with, and the frames around them.

    Raises:
        InputError: if there are none, or none of their frames can be read.
    """
    boxes = {key: _boxes_of(video, plan) for key, video in videos.items()}
    boxes = {key: found for key, found in boxes.items() if len(found.track)}
    if not boxes:
        raise InputError(
            "the tracker has nothing to learn from: nobody has drawn a box"
            + (
                ", and no track is long, sure and unhidden enough; label with other candidates, or draw some boxes"
                if plan.self_training
                else " of an object; draw some, or learn from tracks that the model is sure of (--self-training)"
            )
        )
    clips, keys, notices, held = [], [], [], 0
    for number, (key, found) in enumerate(boxes.items()):
        info = videos[key].info
        tell(number / len(boxes), f"reading {info.name}")
        wanted = near(found.frame, info.num_frames, plan.reach, plan.most_frames // len(boxes))
        reel = Reel(info.name, videos[key].frames.read(wanted.tolist()), plan.memory - held)
        held += reel.bytes
        there = np.isin(found.frame, reel.frames)
        if not there.all():
            notices.append(
                f"video {info.name!r}: {int((~there).sum())} boxes are left out, their frames cannot be decoded; the "
                f"first is frame {int(found.frame[~there].min()) + 1}; replace the file"
            )
        if there.any():
            columns = {name: getattr(found, name)[there] for name in ("track", "frame", "xyxy", "human")}
            clips.append(replace(found, **columns, read=reel.read, frames=reel.frames))
            keys.append(key)
    if not clips:
        raise InputError(f"the tracker has nothing to learn from: {'; '.join(notices)}")
    if not any(clip.human.any() for clip in clips):
        notices.append("nobody has drawn a box: it learnt from tracks that the model is sure of, and nothing judges it")
    return Lessons(tuple(clips), tuple(keys), tuple(notices))


def confident_anchors(labels: LabelBoxes, plan: AdaptPlan) -> NDArray[np.int64]:
    """Rows of boxes of the model that may stand for people's.

    Of every track that is long and sure, its time is split into equal parts, and of each part a box near its middle is
    taken (by at most an eighth of the part), which is sure and has no other box before or behind it.

    Args:
        labels: all boxes of the model in one video.
        plan: how long and how sure.
    """
    order = np.lexsort((labels.frame, labels.track))
    track, frame = labels.track[order], labels.frame[order]
    named, start, count = np.unique(track, return_index=True, return_counts=True)
    if not len(named):
        return np.zeros(0, np.int64)
    of = np.repeat(np.arange(len(named)), count)
    mean = np.bincount(of, labels.validity[order]) / count
    doubt = np.maximum.reduceat(labels.link_uncertainty[order], start)
    good = (mean >= plan.sure) & (doubt <= plan.doubt) & (count >= plan.least_length)
    ranked = np.flatnonzero(good)[np.argsort(-(mean * count)[good], kind="stable")][: plan.objects]
    clear = np.ones(len(order), bool)
    by_time = np.argsort(labels.frame, kind="stable")
    one, two, _ = overlapping(
        labels.frame[by_time], labels.xyxy[by_time], labels.frame[by_time], labels.xyxy[by_time], _SHARED
    )
    hidden = np.zeros(len(order), bool)
    hidden[by_time[one[one != two]]] = True
    clear = ~hidden[order] & (labels.validity[order] >= plan.sure)
    rows: list[int] = []
    for which in ranked.tolist():  # at most ``plan.objects``
        at = np.arange(start[which], start[which] + count[which])
        first, length = frame[at[0]], frame[at[-1]] - frame[at[0]] + 1
        part = length / plan.most_boxes
        middle = first + part * (np.arange(plan.most_boxes) + 0.5)
        away = np.abs(frame[at] - middle[:, None])
        away = np.where(clear[at] & (away <= max(part / 8, 1)), away, np.inf)
        nearest = away.argmin(1)
        found = at[nearest[np.isfinite(away.min(1))]]
        if len(found) >= 2:
            rows += found.tolist()
    return np.asarray(order[np.array(rows, np.int64)])


def judge(start: Tracker, adapted: Tracker, clips: Sequence[AdaptClip], settings: AdaptSettings) -> Verdict:
    """Whether an adapted tracker is to be used: how well both find boxes that were held out.

    Each is reached from the nearest other box of its object, through the frames between. The weights that are judged
    were chosen by the very same boxes among those of a few steps, so a small gain says little; but what is worse here
    is not used.
    """
    keys, held = judges_of(clips, settings)
    if not len(held):
        return Verdict(
            False,
            "no object has three boxes of a person, so none could be held out to judge by; it is kept and not used, "
            "unless you choose it",
        )
    footage = Footage(clips)
    before, after = (
        follow(tracker.network, footage, keys, held, settings.looks).numpy() for tracker in (start, adapted)
    )
    gain = (after - before).astype(np.float64)
    old, new, difference = float(before.mean()), float(after.mean()), float(gain.mean())
    spread = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 1.0
    interval = (max(difference - 1.28 * spread, -1.0), min(difference + 1.28 * spread, 1.0))
    boxes = f"{len(held)} boxes" if len(held) > 1 else "one box"
    numbers = f"mean overlap {new:.3f} instead of {old:.3f} with {boxes} that it did not learn from"
    promoted = difference > 0
    reason = f"better: {numbers}" if promoted else f"kept, not used, as learning found nothing better: {numbers}"
    return Verdict(promoted, reason, difference, interval, len(held), len(held), old, new)


def _boxes_of(video: AdaptVideo, plan: AdaptPlan) -> AdaptClip:
    """The boxes of one video to begin with, before its frames are read."""
    info, keys, labels = video.info, video.keys, video.labels
    none = np.zeros(0, np.int64)
    track, frame, xyxy, human = none, none, np.zeros((0, 4), np.float32), True
    absent = np.zeros((0, 3), np.int64)
    if keys is not None and len(keys):
        rows = _thinned(keys, plan.most_boxes, plan.objects, info)
        track, frame, xyxy = keys.track[rows], keys.frame[rows], keys.xyxy[rows]
        absent = absent if keys.absent is None else keys.absent
    elif plan.self_training and labels is not None:
        rows, human = confident_anchors(labels, plan), False
        track, frame, xyxy = labels.track[rows], labels.frame[rows], labels.xyxy[rows]
    return AdaptClip(
        _unread, info.num_frames, track, frame, xyxy.astype(np.float32), np.full(len(track), human), absent,
        name=info.name,
    )  # fmt: skip


def _thinned(keys: Keyframes, most: int, objects: int, info: VideoInfo) -> NDArray[np.int64]:
    """Rows of at most so many boxes of each of so many objects: those nearest to the middles of equal parts of time."""
    inside = (
        (keys.frame < info.num_frames)
        & (keys.xyxy[:, :2] < [info.width, info.height]).all(1)
        & (keys.xyxy[:, 2:] > 0).all(1)
    )
    usable = np.flatnonzero(inside)
    tracks, counts = np.unique(keys.track[usable], return_counts=True)
    chosen = np.sort(tracks[np.argsort(-np.minimum(counts, most), kind="stable")][:objects])
    rows: list[NDArray[np.int64]] = []
    for track in chosen.tolist():  # at most ``objects``
        mine = usable[keys.track[usable] == track]
        if len(mine) > most:
            at = np.linspace(0, len(mine) - 1, most).round().astype(np.int64) if most > 1 else [len(mine) // 2]
            mine = mine[np.unique(at)]
        rows.append(mine)
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _unread(frame: int) -> NDArray[np.uint8]:
    raise InputError(f"frame {frame + 1} was not read")


def _make(
    shelf: VersionShelf, lessons: Lessons, parent: Version, plan: AdaptPlan, purpose: str, device: str, tell: Tell
) -> Version:
    """Learns, judges, and puts the new version on the shelf."""
    start, settings = Tracker.load(parent.parts.get("tracker"), device), plan.training
    draft = shelf.draft(purpose)

    def report(step: int, numbers: Mapping[str, float]) -> None:
        share = READING + LEARNING * step / settings.steps
        tell(share, f"step {step} of {settings.steps}" + "".join(f", {k} {v:.3f}" for k, v in numbers.items()))

    adapted, result = adapt(start, lessons.clips, settings, draft, report)
    tell(READING + LEARNING, "judging")
    verdict = judge(start, adapted, lessons.clips, settings)
    adapted.save(draft / "tracker.safetensors")
    metrics = {"overlap": verdict.new, "overlap_before": verdict.current} if verdict.answers else {}
    config = {
        "purpose": purpose, "parts": ["tracker"], "seed": settings.seed, "self_training": plan.self_training,
        "lessons": lessons.count(), "left_out": {}, "notices": list(lessons.notices),
        "taught": {"tracker": _taught(result, plan)},
    }  # fmt: skip
    version = Version(
        parts={"tracker": Path("tracker.safetensors")}, retrained=("tracker",), parent=parent.name,
        videos=lessons.keys, metrics=metrics, config=config, verdict=verdict, holdout=parent.holdout,
    )  # fmt: skip
    tell(1.0, "putting the new version on the shelf")
    return shelf.add(draft, version)


def _taught(result: FitResult, plan: AdaptPlan) -> dict[str, Any]:
    return {
        "steps": result.steps, "best_step": result.best_step, "resumed_at": result.resumed_at,
        "curve": [dict(point) for point in result.curve], "plan": asdict(plan),
    }  # fmt: skip


def _purpose(lessons: Lessons, videos: Mapping[str, AdaptVideo], parent: Version, plan: AdaptPlan) -> str:
    """The same for an adaptation of the same, from the same, in the same way."""
    about = {
        "clips": {key: clip.digest() for key, clip in zip(lessons.keys, lessons.clips, strict=True)},
        "media": {key: videos[key].digest for key in lessons.keys}, "parent": parent.name, "code": __version__,
        "file": str(parent.parts.get("tracker")) if parent.name == BY_HAND else "", "plan": asdict(plan),
        "what": "tracker",
    }  # fmt: skip
    return blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()
