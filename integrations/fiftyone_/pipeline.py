"""Runs what versions consist of on a FiftyOne dataset: detector, appearance and hierarchy, as the shelf has them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray

from ...engine.holdout import Holdout
from ...engine.label import LabelReport, Step
from ...engine.ports import VideoInput
from ...engine.retraining import Teacher
from ...engine.teachers import AppearanceTeacher, DetectorTeacher, HierarchyTeacher
from ...engine.versions import Version
from ...models.errors import InputError
from ...models.spam import LabelSettings, SpamModel
from ..appearances import is_appearance
from . import api
from .detecting import detect
from .embedding import Describer
from .frames import sequence_frames, video_frames
from .fusing import labels_of
from .retrainings import RETRAINED
from .runs import FINISHED
from .store import FiftyOneStore
from .videos import open_videos

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
    _detect(source, source.candidates, detector or version.parts.get("detector"), None, tell, _describer(source))


def seen_with(
    source: Source, version: Version, tell: Part = lambda share, what: None, field: str | None = None
) -> Source:
    """The videos as a version sees them: with boxes of its own detector, and its own vectors.

    What has been detected or described before is not done again.

    Args:
        source: the videos.
        version: that looks at them.
        tell: told the share that is done.
        field: that the boxes of its detector go to; None for the usual one.
    """
    own = version.parts.get("appearance")
    seen = source if own is None else replace(source, embeddings=str(own))
    if "detector" not in version.parts:
        return seen
    field = field or source.candidates + RETRAINED
    looks = _describer(seen)
    _detect(source, field, version.parts["detector"], _kept(source), tell, looks, Holdout.from_dict(version.holdout))
    return replace(seen, candidates=field)


def _describer(source: Source) -> Describer | None:
    """Who describes boxes while their frames are in memory, where vectors lie beside the database."""
    if source.embeddings is None or not is_appearance(source.embeddings):
        return None
    return Describer(source.collection._dataset, source.embeddings, source.device)


def open_store(source: Source, version: Version, tell: Part = lambda share, what: None) -> FiftyOneStore:
    """The videos as a version sees them, to be read."""
    seen = seen_with(source, version, tell)
    return FiftyOneStore(seen.collection, seen.candidates, seen.out, seen.embeddings, device=seen.device)


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


class FiftyOnePictures:
    """Frames of the videos of a collection; see ``engine.teachers.Pictures``."""

    def __init__(self, collection: SampleCollection) -> None:
        self._videos = {video.key: video for video in open_videos(collection)}

    def there(self, key: str) -> bool:
        """Whether the first frame of a video can be decoded."""
        shown = self._videos[key].image_frame
        first = np.zeros(1, np.int64) if shown is None else shown[:1]
        try:
            return next(self.frames(key, first), None) is not None
        except InputError:
            return False

    def frames(self, key: str, wanted: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Some frames of a video, RGB."""
        video, numbers = self._videos[key], set(wanted.tolist())
        if not numbers:
            return
        if video.image_frame is None:
            decoded = video_frames(video, max(numbers) + 1, min(numbers))
        else:
            decoded = sequence_frames(video, numbers)
        for frame, image in decoded:
            if frame in numbers:
                yield frame, np.ascontiguousarray(image[:, :, ::-1])


class FiftyOnePipeline:
    """Trains and runs the parts of versions on the videos of a dataset; see ``engine.retraining.Pipeline``.

    Args:
        source: the videos, as they are without any version.
        parent: the version that videos were read with.
    """

    def __init__(self, source: Source, parent: Version) -> None:
        self._source, self._parent = source, parent

    def hierarchy(self, file: Path | None) -> SpamModel:
        """The hierarchy of a file, or the default one."""
        return SpamModel.load(file, self._source.device)

    def teachers(self, version: Version) -> Sequence[Teacher]:
        """Who trains the parts of a version further."""
        device, parts = self._source.device, version.parts
        pictures, kind = FiftyOnePictures(self._source.collection), accelerator(device)

        def detector() -> Any:
            from ...models.detector.detector import Detector

            return Detector.load(parts.get("detector"), device)

        def appearance() -> Any:
            from ...models.appearance.model import AppearanceModel

            return AppearanceModel.load(parts.get("appearance"), device)

        return [
            DetectorTeacher(detector, pictures, kind),
            AppearanceTeacher(appearance, pictures, kind),
            HierarchyTeacher(hierarchy_of(version, device), kind),
        ]

    def inputs(
        self, parts: Mapping[str, Path], videos: Mapping[str, VideoInput], holdout: Holdout, tell: Part
    ) -> dict[str, VideoInput]:
        """Videos as the detector and the appearance of some files see them; as they were read, if these are not new."""
        eyes = ("detector", "appearance")
        if all(parts.get(part) == self._parent.parts.get(part) for part in eyes):
            return dict(videos)
        source, skip_bad = (
            replace(self._source, collection=_only(self._source.collection, videos)),
            self._source.skip_bad,
        )
        trial = f"{self._source.candidates}{TRIAL}"
        _forget(source.collection, trial)
        judged = replace(self._parent, parts=parts, retrained=(), holdout=holdout.as_dict())
        seen = seen_with(source, judged, tell, trial)
        store = FiftyOneStore(seen.collection, seen.candidates, seen.out, seen.embeddings, device=seen.device)
        found = {key: store.read(key, skip_bad) for key in videos}
        _forget(source.collection, trial)
        return found


def _only(collection: SampleCollection, keys: Collection[str]) -> SampleCollection:
    """The videos of these keys."""
    ids = [key for video in open_videos(collection) if video.key in keys for key in video.sample_ids]
    return collection._dataset.select(ids)


def _forget(collection: SampleCollection, field: str) -> None:
    """Deletes a field of candidates, if it is there."""
    dataset = collection._dataset
    if dataset.media_type == "video":
        if dataset.has_frame_field(field):
            dataset.delete_frame_field(field)
    elif dataset.has_sample_field(field):
        dataset.delete_sample_field(field)


def _detect(
    source: Source, field: str, detector: str | Path | None, add_to: str | None, tell: Part,
    looks: Describer | None = None, holdout: Holdout | None = None,
) -> None:  # fmt: skip
    from ..detectors import open_detector

    opened = open_detector(detector, source.device)
    settings = {"file": _digest(detector)} if isinstance(detector, Path) else {}
    labels = labels_of(source.collection._dataset, source.out, holdout) if add_to is not None else None
    detect(
        source.collection, opened, field, looks, add_to, settings=settings, skip_bad=source.skip_bad,
        tell=stepwise(tell), labels=labels,
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
