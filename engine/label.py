"""Labels the videos of a store: reads and checks all of them, then labels and writes one small batch after another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import __version__
from ..models.columns import Source, Tracks
from ..models.errors import InputError
from .ports import FinishedVideo, Labeller, VideoInput, VideoReport, VideoStore, Written
from .propagation import with_fills
from .resolve import Resolution, resolve

BOXES_PER_CALL = 50_000  # small videos are labelled together up to this many candidates: fewer, larger tensors
BYTES_HELD = 512 * 2**20  # what was read for checking is kept up to this size, and read again beyond it


@dataclass(frozen=True)
class Step:
    """Where a run stands.

    Attributes:
        stage: "reading" or "labelling".
        done: videos that have passed this stage.
        total: videos of the run.
        video: name of the one that has just passed.
    """

    stage: str
    done: int
    total: int
    video: str


@dataclass(frozen=True)
class LabelReport:
    """What a run did.

    Attributes:
        videos: one report each, in the order of the store.
        skipped: name -> why, of the videos that could not be read and were left out.
        model_version: of the model that labelled.
        resumed: how many of the videos an interrupted run had finished before.
    """

    videos: tuple[VideoReport, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    model_version: str = ""
    resumed: int = 0

    @property
    def problems(self) -> list[str]:
        """Why answers do not hold, over all videos."""
        return [text for video in self.videos for text in video.problems]

    @property
    def left_out(self) -> dict[str, int]:
        """Reason -> number of candidates that could not be used, over all videos."""
        total: Counter[str] = Counter()
        for video in self.videos:
            total.update(video.left_out)
        return dict(total)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them; ``overall`` sums up ``videos``."""
        boxes = sum(video.boxes for video in self.videos)
        overall = {
            "videos": len(self.videos),
            **{
                key: sum(getattr(video, key) for video in self.videos)
                for key in ("candidates", "boxes", "tracks", "interpolated", "propagated", "kept", "answers")
            },
            "mean_uncertainty": sum(video.mean_uncertainty * video.boxes for video in self.videos) / max(boxes, 1),
            "max_uncertainty": max((video.max_uncertainty for video in self.videos), default=0.0),
            "seconds": sum(video.seconds for video in self.videos),
            "left_out": self.left_out,
        }
        return {
            "model_version": self.model_version,
            "resumed": self.resumed,
            "videos": {video.name: {k: v for k, v in video.as_dict().items() if k != "name"} for video in self.videos},
            "overall": overall,
            "skipped": dict(self.skipped),
        }


def label_videos(
    store: VideoStore,
    model: Labeller,
    settings: Any = None,
    progress: Callable[[Step], None] | None = None,
    *,
    skip_bad: bool = False,
) -> LabelReport:
    """Label every video of the store and write its tracks.

    All videos are read and checked before the first is written, so bad input leaves the store as it was. A run that was
    interrupted is gone on with if the configuration (settings, model, code, the store's own) is the same; of its
    finished videos those are labelled again whose candidates have changed since.

    Args:
        store: where videos come from and tracks go to.
        model: what labels.
        settings: a frozen dataclass that the model understands; it is kept with the run.
        progress: called after every video of each stage.
        skip_bad: leave out candidates and videos that cannot be used, and report them.

    Raises:
        InputError: for bad input, unless ``skip_bad``; and if no video has a candidate.
    """
    tell = progress or (lambda step: None)
    videos = store.videos()
    inputs = _Inputs(store, skip_bad)
    skipped: dict[str, str] = {}
    for number, (key, name) in enumerate(videos, 1):
        try:
            inputs.check(key)
        except InputError as error:
            if not skip_bad:
                raise
            skipped[name] = str(error)
        tell(Step("reading", number, len(videos), name))
    keys = list(inputs.fingerprints)
    if not inputs.any_candidates:
        why = f"; left out: {next(iter(skipped.values()))}" if skipped else ""
        raise InputError(f"there is nothing to label: no video has a candidate that can be used{why}")

    configuration = {
        "settings": asdict(settings) if settings is not None else None,
        "model_version": model.version,
        "code_version": __version__,
        "skip_bad": skip_bad,
    }
    before = store.begin(configuration)
    finished = {
        key: before[key].report for key in keys if key in before and before[key].fingerprint == inputs.fingerprints[key]
    }
    resumed = len(finished)
    for number, earlier in enumerate(finished.values(), 1):
        tell(Step("labelling", number, len(keys), earlier.name))
    for batch in _batches(inputs, [key for key in keys if key not in finished]):
        for key, report in _label_batch(store, model, settings, batch):
            finished[key] = report
            tell(Step("labelling", len(finished), len(keys), report.name))
    whole = LabelReport(tuple(finished[key] for key in keys), skipped, model.version, resumed)
    store.finish(whole.as_dict())
    return whole


def _label_batch(
    store: VideoStore, model: Labeller, settings: Any, batch: Mapping[str, VideoInput]
) -> Iterator[tuple[str, VideoReport]]:
    """Labels some videos in one call of the model, then writes and records one after another."""
    start = time.perf_counter()
    pairs = [(video.info, video.candidates) for video in batch.values()]
    said = {key: resolve(v.answers, v.info, v.candidates, v.class_names) for key, v in batch.items() if v.answers}
    if said:  # a model that knows nothing of answers is only in the way where there are some
        constraints = [
            with_fills(v.candidates, said[key].constraints, v.fills) if key in said else None
            for key, v in batch.items()
        ]
        results = model.label(pairs, settings, constraints)
    else:
        results = model.label(pairs, settings)
    share = (time.perf_counter() - start) / max(sum(len(video.candidates) for video in batch.values()), 1)
    for (key, video), tracks in zip(batch.items(), results, strict=True):
        start = time.perf_counter()
        written = store.write(key, tracks)
        seconds = time.perf_counter() - start + share * len(video.candidates)
        report = _report(video, written, seconds, said.get(key))
        store.record(key, FinishedVideo(video.fingerprint, report))
        yield key, report


def _report(video: VideoInput, written: Written, seconds: float, said: Resolution | None) -> VideoReport:
    tracks = written.tracks
    mean, greatest = summary(tracks)
    return VideoReport(
        name=video.info.name,
        candidates=len(video.candidates),
        boxes=len(tracks),
        tracks=tracks.num_tracks,
        interpolated=int((tracks.source == Source.INTERPOLATED).sum()),
        kept=written.kept,
        mean_uncertainty=mean,
        max_uncertainty=greatest,
        seconds=round(seconds, 4),
        left_out=dict(video.left_out),
        answers=said.applied if said else 0,
        problems=tuple(problem.text for problem in said.problems if problem.kind != "superseded") if said else (),
        propagated=int((tracks.source == Source.PROPAGATED).sum()),
    )


def summary(tracks: Tracks) -> tuple[float, float]:
    """Mean and greatest uncertainty of a video: per box the greater of validity's and links'; 0 without boxes."""
    if not len(tracks):
        return 0.0, 0.0
    of_box = tracks.uncertainty.clip(min=tracks.link_uncertainty)
    return float(of_box.mean(dtype=float)), float(of_box.max())


class _Inputs:
    """Reads videos twice at most: once to check them all, again only if they did not fit into memory together."""

    def __init__(self, store: VideoStore, skip_bad: bool) -> None:
        self._store = store
        self._skip_bad = skip_bad
        self._held: dict[str, VideoInput] = {}
        self._bytes = 0
        self.fingerprints: dict[str, str] = {}
        self.any_candidates = False

    def check(self, key: str) -> None:
        video = self._store.read(key, self._skip_bad)
        self.fingerprints[key] = video.fingerprint
        self.any_candidates |= len(video.candidates) > 0
        columns = (getattr(video.candidates, name) for name in video.candidates.__dataclass_fields__)
        size = sum(column.nbytes for column in columns if column is not None)
        if self._bytes + size <= BYTES_HELD:
            self._held[key] = video
            self._bytes += size

    def take(self, key: str) -> VideoInput:
        return self._held.pop(key, None) or self._store.read(key, self._skip_bad)


def _batches(inputs: _Inputs, keys: list[str]) -> Iterator[dict[str, VideoInput]]:
    batch: dict[str, VideoInput] = {}
    held = 0
    for key in keys:
        video = inputs.take(key)
        if batch and held + len(video.candidates) > BOXES_PER_CALL:
            yield batch
            batch, held = {}, 0
        batch[key] = video
        held += len(video.candidates)
    if batch:
        yield batch
