"""Counts a field of tracks for its ledger: from the columns that were just written, or anew from what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...engine.queries import Query
from ...engine.standing import OpenQuestions, QueueRow, VideoStanding, count_video
from ...models.columns import Source, Tracks
from ...models.errors import InputError
from .columns import SOURCE_NAMES, video_documents
from .cycles import without_cycles
from .videos import StoredVideo

RANKS_KEPT = 1000  # of a round's questions those up to this rank are kept in the ledger,
ROWS_PER_VIDEO = 5  # and so many of every video in any case

_SOURCES = {name: int(source) for source, name in SOURCE_NAMES.items()}
_KEYS = ("index", "source", "uncertainty", "link_uncertainty", "confidence")

Documents = Iterable[tuple[int, Sequence[Mapping[str, Any]]]]


class _Columns:
    """What is counted of raw boxes."""

    def __init__(self) -> None:
        self.track: list[int] = []
        self.source: list[int] = []
        self.values: list[list[float]] = [[], [], []]  # uncertainty, link_uncertainty, validity
        self.last = -1

    def take(self, documents: Documents) -> None:
        for frame, boxes in documents:
            self.last = max(self.last, frame)
            # a box that does not say that a model made it is a human's, as labelling has it
            self.source += [_SOURCES.get(box.get("source"), int(Source.HUMAN)) for box in boxes]  # type: ignore[arg-type]
            loose = -1 - len(self.track)  # boxes without a number are a track each
            self.track += [
                number if (number := box.get("index")) is not None else loose - place for place, box in enumerate(boxes)
            ]
            for column, name, default in zip(self.values, _KEYS[2:], (0.0, 0.0, 1.0), strict=True):
                column += [default if (value := box.get(name)) is None else value for box in boxes]


def count_stored(video: StoredVideo, field: str) -> VideoStanding:
    """How one video stands, from what is stored.

    Args:
        video: which one.
        field: of tracks, without ``frames.``.
    """
    columns = _Columns()
    with without_cycles():
        columns.take(video_documents(video, field, _KEYS))
    try:
        frames = video.info().num_frames
    except InputError:  # a file that cannot be read any more is no reason to count nothing
        frames = columns.last + 1
    return _counted(video.name, frames, columns)


def count_written(
    name: str, frames: int, tracks: Tracks, kept: Mapping[int, Sequence[dict[str, Any]]]
) -> VideoStanding:
    """How one video stands, from what was written into it.

    Args:
        name: the video's.
        frames: its length.
        tracks: of the model.
        kept: 0-based frame -> raw boxes of people, and of their tracks.
    """
    columns = _Columns()
    columns.take(kept.items())
    return _counted(name, frames, columns, tracks)


def _counted(name: str, frames: int, columns: _Columns, tracks: Tracks | None = None) -> VideoStanding:
    track, source = np.array(columns.track, np.int64), np.array(columns.source, np.int64)
    values = [np.array(column, np.float64) for column in columns.values]
    if tracks is not None:
        apart = int(track.max(initial=-1)) + 1  # the numbers are others' than those that will be stored
        track = np.concatenate([track, tracks.track_index + apart])
        source = np.concatenate([source, tracks.source.astype(np.int64)])
        written = (tracks.uncertainty, tracks.link_uncertainty, tracks.validity)
        values = [np.concatenate([one, other]) for one, other in zip(values, written, strict=True)]
    return count_video(name, frames, track, source, *values)


def questions_asked(video: StoredVideo, ranked: Iterable[tuple[int, Query]]) -> OpenQuestions:
    """What is open about a video that was just asked about.

    Args:
        video: which one.
        ranked: (rank, question).
    """
    rows = [
        QueueRow(
            rank, query.key, video.key, video.name, _sample(video, query.frame), query.frame + 1, query.question.value,
            query.text, float(query.probability), int(query.cost), float(query.gain), query.track + 1,
        )
        for rank, query in ranked
    ]  # fmt: skip
    return OpenQuestions.of(rows, RANKS_KEPT, ROWS_PER_VIDEO)


def questions_stored(video: StoredVideo, documents: Documents, known: Iterable[QueueRow] = ()) -> OpenQuestions:
    """What is open about a video, from the boxes that stand for its questions.

    Args:
        video: which one.
        documents: 0-based frame -> raw boxes.
        known: rows that are kept already; these know where to look, the boxes only what is shown.
    """
    rows: dict[str, QueueRow] = {}
    better = {row.key: row for row in known}
    for frame, boxes in documents:
        for box in boxes:
            key = box["query"]
            if key not in rows:
                rows[key] = better.get(key) or QueueRow(
                    box["rank"], key, video.key, video.name, _sample(video, frame), frame + 1, box["label"],
                    box["text"], box["probability"], box["cost"], box["gain"], box["track"],
                )  # fmt: skip
    return OpenQuestions.of(rows.values(), RANKS_KEPT, ROWS_PER_VIDEO)


def count_all(
    videos: Sequence[StoredVideo], field: str, questions: str, known: Mapping[str, Iterable[QueueRow]],
    tell: Callable[[float, str], None],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Labels and open questions of all videos that have any, as ``book.Contents.videos`` keeps them.

    Args:
        videos: all of the dataset.
        field: of tracks, without ``frames.``.
        questions: field of the questions, or empty if there is none.
        known: key of a video -> rows that are kept already.
        tell: told the share that is done, and what is being done.
    """
    out: dict[str, dict[str, Any]] = {}
    for number, video in enumerate(videos):
        tell(number / len(videos), f"counting {video.name}")
        found = count_stored(video, field)
        if found.boxes:
            out[video.key] = {"labels": found.as_dict()}
        if not questions:
            continue
        asked = questions_stored(video, video_documents(video, questions), known.get(video.key, ()))
        if asked.count:
            out.setdefault(video.key, {})["asked"] = asked.as_dict()
    tell(1.0, f"counted {len(videos):,} videos")
    return out


def _sample(video: StoredVideo, frame: int) -> str:
    """The sample to open: the video's, or that of the image at a 0-based frame, or of the nearest before it."""
    if video.image_frame is None:
        return video.key
    place = int(np.searchsorted(video.image_frame, frame, "right")) - 1
    return video.sample_ids[max(place, 0)]
