"""Runs what versions consist of on a FiftyOne dataset: detector, appearance and hierarchy, as the shelf has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from fiftyone.core.collections import SampleCollection

from ...engine.label import LabelReport, Step
from ...engine.ports import VideoInput
from ...engine.retraining import Teacher
from ...engine.teachers import HierarchyTeacher
from ...engine.versions import Version
from ...models.spam import LabelSettings, SpamModel
from . import api
from .detecting import detect
from .runs import FINISHED
from .store import FiftyOneStore
from .videos import open_videos

RETRAINED = "_retrained"  # behind the name of the candidates: those that a retrained detector found
TRIAL = "_trial"  # those of a detector that is being judged; gone when it was

Part = Callable[[float, str], None]


@dataclass(frozen=True)
class Source:
    """Videos, and how they are looked at.

    Attributes:
        collection: the videos.
        candidates: field of a detector's boxes.
        embeddings: attribute of the candidates with appearance vectors, or name of an appearance; None for none.
        out: field of the tracks.
        device: where models run, as torch names it.
        skip_bad: leave out candidates and videos that cannot be used.
    """

    collection: SampleCollection
    candidates: str
    embeddings: str | None
    out: str
    device: str = "cpu"
    skip_bad: bool = False


def is_detected(collection: SampleCollection, field: str) -> bool:
    """Whether a field of boxes is there, and no run of a detector of ours into it was interrupted."""
    dataset = collection._dataset
    prefix = open_videos(collection)[0].prefix
    found = dataset.get_field(prefix + field)
    if found is None:
        return False
    run = (found.info or {}).get("run")
    return run is None or run not in dataset.list_runs() or dataset.get_run_info(run).config.status == FINISHED


def detect_candidates(source: Source, detector: str | None, version: Version, tell: Part) -> None:
    """Runs a detector over all videos, the one of a version unless another is named."""
    _detect(source, source.candidates, detector or version.parts.get("detector"), None, tell)


def seen_with(source: Source, version: Version, tell: Part = lambda share, what: None) -> Source:
    """The videos as a version sees them: with boxes of its own detector, if it has one, beside those of the source."""
    if "detector" not in version.parts:
        return source
    field = source.candidates + RETRAINED
    _detect(source, field, version.parts["detector"], _kept(source), tell)
    return replace(source, candidates=field)


def open_store(source: Source, version: Version, tell: Part = lambda share, what: None) -> FiftyOneStore:
    """The videos as a version sees them, to be read."""
    seen = seen_with(source, version, tell)
    return FiftyOneStore(seen.collection, seen.candidates, seen.out, seen.embeddings)


def hierarchy_of(version: Version, device: str) -> SpamModel:
    """The hierarchy of a version."""
    return SpamModel.load(version.parts.get("hierarchy"), device)


def label_with(source: Source, version: Version, tell: Part, settings: LabelSettings | None = None) -> LabelReport:
    """Labels with a version: its hierarchy, on what its detector and its appearance see."""
    seen = seen_with(source, version, tell)
    return api.label(
        seen.collection, seen.candidates, embeddings=seen.embeddings, out=seen.out,
        model=version.parts.get("hierarchy"), device=seen.device, settings=settings, skip_bad=seen.skip_bad,
        progress=stepwise(tell),
    )  # fmt: skip


def stepwise(tell: Part) -> Callable[[Step], None]:
    """What is told of steps, as shares of one piece of work."""
    return lambda step: tell(step.done / max(step.total, 1), " ".join((step.stage, step.video)))


class FiftyOnePipeline:
    """Trains and runs the parts of versions on the videos of a dataset; see ``engine.retraining.Pipeline``.

    Args:
        source: the videos, as they are without any version.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def hierarchy(self, file: Path | None) -> SpamModel:
        """The hierarchy of a file, or the default one."""
        return SpamModel.load(file, self._source.device)

    def teachers(self, version: Version) -> Sequence[Teacher]:
        """Who trains the parts of a version further."""
        return [HierarchyTeacher(hierarchy_of(version, self._source.device), accelerator(self._source.device))]

    def inputs(self, parts: Mapping[str, Path], videos: Mapping[str, VideoInput], tell: Part) -> dict[str, VideoInput]:
        """Videos as the detector and the appearance of some files see them."""
        return dict(videos)


def _detect(source: Source, field: str, detector: str | Path | None, add_to: str | None, tell: Part) -> None:
    from ..detectors import open_detector

    opened = open_detector(detector, source.device)
    settings = {"file": _digest(detector)} if isinstance(detector, Path) else {}
    detect(
        source.collection, opened, field, add_to=add_to, settings=settings, skip_bad=source.skip_bad,
        tell=stepwise(tell),
    )  # fmt: skip


def _kept(source: Source) -> str | None:
    """The candidates, if they are not a detector's of ours and so stay beside those of a retrained one."""
    dataset = source.collection._dataset
    found = dataset.get_field(open_videos(source.collection)[0].prefix + source.candidates)
    return None if found is None or (found.info or {}).get("run") else source.candidates


def _digest(file: Path) -> str:
    return blake2b(file.read_bytes(), digest_size=8).hexdigest()


def accelerator(device: str) -> str:
    """How lightning names a device of torch."""
    return "cpu" if device == "cpu" else "gpu" if device.startswith("cuda") else "auto"
