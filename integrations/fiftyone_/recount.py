"""Counts all that a ledger keeps anew: labels and questions from their fields, clicks from answers, and conflicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import fiftyone as fo

from ...engine.clicks import count_clicks
from ...engine.desk.notes import conflict_key
from ...engine.standing import QueueRow
from .answers import AnswerBook
from .counting import count_all
from .fields import OWNER, OutputFields
from .journal import SyncJournal
from .videos import open_videos


def recount(
    dataset: fo.Dataset, prefix: str, fields: OutputFields, known: Mapping[str, Iterable[QueueRow]],
    tell: Callable[[float, str], None] | None = None,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """What ``book.Contents.videos`` keeps, counted anew.

    Args:
        dataset: that the field is in.
        prefix: ``"frames."`` for videos, empty for images.
        fields: the names that go with the field of tracks.
        known: key of a video -> questions that are kept, which know where to look.
        tell: told the share that is done, and what is being done.

    Raises:
        InputError: if the dataset holds no videos.
    """
    videos = open_videos(dataset)
    questions = dataset.get_field(prefix + fields.summary("queries"))
    ours = questions is not None and (questions.info or {}).get(OWNER) == fields.out
    out = count_all(videos, fields.out, fields.summary("queries") if ours else "", known, tell or (lambda *_: None))
    answers, journal = AnswerBook(dataset, fields.out).by_video(), SyncJournal(dataset, fields.out)
    noted = set(journal.keys(conflict_key("")))
    for video in videos:
        conflicts = len(journal.get(conflict_key(video.key)) or ()) if conflict_key(video.key) in noted else 0
        found = {"spent": count_clicks(answers.get(video.key, ())), "conflicts": conflicts}
        if any(found.values()) or video.key in out:
            out.setdefault(video.key, {}).update(found)
    return out
