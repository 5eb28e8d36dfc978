"""A FiftyOne dataset as the engine's store of videos and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiftyone.core.collections import SampleCollection

from ...engine.answers import Box
from ...engine.claims import without_claimed
from ...engine.label import summary
from ...engine.ports import FinishedVideo, VideoInput, Written
from ...models.columns import Tracks, VideoInfo
from ...models.errors import InputError, MissingError
from ..appearances import is_appearance
from .answers import AnswerBook
from .candidates import fingerprint, usable_candidates
from .columns import read_boxes, write_tracks
from .counting import count_written
from .embedding import Describer
from .fields import OutputFields, check_ours, declare, save_views, write_summary
from .fills import FillBook
from .human import read_human_tracks
from .ledger import Ledger
from .queries import QueryDesk
from .runs import LabelRuns
from .videos import box_field, open_videos

if TYPE_CHECKING:
    from ...engine.choosing import QueryPlan


class FiftyOneStore:
    """The videos of a dataset or view, their candidates, and a field for their tracks.

    Args:
        collection: the dataset or view.
        candidates: ``Detections`` field of the candidates, with or without ``frames.``.
        out: field that the tracks go to; made if it does not exist.
        embedding: vector attribute of the candidates to use, or the name of an appearance, whose vectors lie beside
            the database and are made where they are missing; None for none.
        check: make sure that the fields are there to be written to; False if nothing will be.
        device: where an appearance runs, as torch names it.

    Attributes:
        weights: file of the weights that label, "" for the default ones, None if that is not known; for the ledger.

    Raises:
        MissingError: for a field or attribute that is not there.
        InputError: for fields of another type, media that are no videos, or an ``out`` that belongs to somebody else.
    """

    def __init__(
        self,
        collection: SampleCollection,
        candidates: str,
        out: str,
        embedding: str | None = None,
        check: bool = True,
        device: str = "cpu",
    ) -> None:
        videos = open_videos(collection)
        self._prefix = videos[0].prefix
        self._candidates = box_field(videos, candidates)
        self._fields = OutputFields(out.removeprefix("frames."))
        self._dataset = collection._dataset
        if self._fields.out == self._candidates:
            raise InputError(f"tracks cannot go to {out!r}, the field of the candidates; choose another name")
        path = f"{self._prefix}{self._candidates}.detections.{embedding}"
        self._describer: Describer | None = None
        if embedding is not None and self._dataset.get_field(path) is None:
            if not is_appearance(embedding):
                raise MissingError(
                    f"candidates in {candidates!r} have no attribute {embedding!r}; make it with `spam-plugin embed`, "
                    f"declare the attribute ({path}), or name an appearance: default, colour, a file or a folder"
                )
            self._describer = Describer(self._dataset, embedding, device)
        if check:
            check_ours(self._dataset, self._prefix, self._fields)
        self._embedding = embedding
        self._videos = {video.key: video for video in videos}
        self._runs = LabelRuns(self._dataset, self._fields.out)
        self._book = AnswerBook(self._dataset, self._fields.out)
        self._fills = FillBook(self._dataset, self._fields.out)
        self._ledger = Ledger(self._dataset, self._fields.out)
        self.weights: str | Path | None = None
        self._drawn: dict[str, tuple[Box, ...]] = {}
        self._read: dict[str, tuple[VideoInfo, tuple[str | None, ...], str]] = {}
        self._model_version = ""
        self._view = getattr(collection, "name", None) if collection is not self._dataset else None

    def hold(self) -> AbstractContextManager[None]:
        """Makes sure that nobody else works on the field of tracks meanwhile; see ``Ledger.hold``."""
        return self._ledger.hold()

    def videos(self) -> Sequence[tuple[str, str]]:
        """(key, name) of the videos, in the dataset's order."""
        return [(video.key, video.name) for video in self._videos.values()]

    def read(self, key: str, skip_bad: bool) -> VideoInput:
        """One video's candidates; see ``VideoStore.read``."""
        video = self._videos[key]
        info = video.info()
        attribute = self._embedding if self._describer is None else None
        boxes = read_boxes(video, self._candidates, info.width, info.height, attribute)
        if self._describer is not None:
            there = boxes.frame < info.num_frames  # others are told of below
            self._describer.complete(video, boxes.frame[there], boxes.xyxy[there], (info.width, info.height))
            vectors = self._describer.lookup(video, boxes.frame, boxes.xyxy)
            boxes = replace(boxes, embedding=vectors)
        usable, left_out = usable_candidates(video, self._candidates, boxes, info, skip_bad, self._embedding)
        answers = self._book.of(key)
        fills = self._fills.of(key) if answers else None
        digest = fingerprint(info, boxes)
        if answers:
            more = [*(answer.key for answer in answers), *([fills.digest] if fills is not None else [])]
            digest = blake2b("".join([digest, *more]).encode(), digest_size=16).hexdigest()
        self._read[key] = (info, boxes.labels, digest)
        self._drawn[key] = tuple(answer.drawn for answer in answers if answer.drawn is not None)
        return VideoInput(info, usable, digest, left_out, answers, boxes.labels, fills)

    def begin(self, configuration: Mapping[str, Any]) -> Mapping[str, FinishedVideo]:
        """Declares the fields and registers the run, or goes on with an interrupted one; see ``VideoStore.begin``."""
        self._model_version = str(configuration.get("model_version"))
        self._ledger.begin("label")
        declare(self._dataset, self._prefix, self._fields)
        mine = {"candidates": self._candidates, "embedding": self._looks(), "view": self._view}
        return self._runs.begin({**configuration, **mine})

    def write(self, key: str, tracks: Tracks) -> Written:
        """Replaces what a model has written into one video before; see ``VideoStore.write``."""
        video = self._videos[key]
        info, classes, digest = self._read[key]
        human = read_human_tracks(video, self._fields.out, (info.width, info.height), self._drawn[key])
        tracks = without_claimed(tracks, human.claims(classes, info.width, info.height))
        self._ledger.will_change(key)
        write_tracks(
            video,
            self._fields.out,
            tracks,
            classes,
            info.width,
            info.height,
            free_numbers(tracks.num_tracks, human.indexes),
            f"{key}/{self._fields.out}/{self._model_version}/{digest}",
            human.per_frame,
        )
        write_summary(video, self._fields, *summary(tracks), self._model_version)
        self._ledger.labelled(key, count_written(video.name, info.num_frames, tracks, human.per_frame))
        return Written(tracks, len(human))

    def write_queries(self, plan: QueryPlan, configuration: Mapping[str, Any]) -> None:
        """Puts the questions of a plan in the place of those that were open before; see ``ReviewStore``."""
        desk = self.query_desk()
        desk.check()
        self._ledger.begin("queries")
        declare(self._dataset, self._prefix, self._fields)
        mine = {"candidates": self._candidates, "embedding": self._looks(), "view": self._view}
        desk.write(list(self._videos.values()), plan, {**configuration, **mine})
        self._ledger.finish_queries(plan.estimates)

    def _looks(self) -> str | None:
        """What says how candidates look, as runs note it."""
        if self._describer is None:
            return self._embedding
        return f"{self._embedding} ({self._describer.version})"

    def query_desk(self) -> QueryDesk:
        """The open questions about the field of tracks."""
        return QueryDesk(self._dataset, self._prefix, self._fields)

    def record(self, key: str, finished: FinishedVideo) -> None:
        """Notes that one video is done."""
        self._runs.record(key, finished)

    def finish(self, report: Mapping[str, Any]) -> None:
        """Saves the views and the run's report."""
        save_views(self._dataset, self._fields)
        self._runs.finish(report)
        self._ledger.finish_label(report, self._candidates, self._model_version, self.weights)


def free_numbers(count: int, taken: frozenset[int]) -> list[int]:
    """The first ``count`` numbers from 1 that are not taken."""
    numbers: list[int] = []
    number = 1
    while len(numbers) < count:
        if number not in taken:
            numbers.append(number)
        number += 1
    return numbers
