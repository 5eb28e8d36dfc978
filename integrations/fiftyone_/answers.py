"""People's answers, kept with the dataset: added to, never changed, and gone only with the dataset itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from ...engine.answers import Answer
from ...engine.clicks import count_clicks
from ...models.errors import InputError
from .ledger import Ledger

_STORE = "spam_plugin.answers"
_PER_ENTRY = 500  # answers in one document: few round trips, far from the database's limit of 16 MB


class AnswerBook:
    """The answers about one field of tracks.

    They lie in the dataset's execution store, some hundred in an entry. An entry is written whole or not at all and is
    named after what it holds, so that adding the same answers twice, or again after an interruption, changes nothing.

    Args:
        dataset: that the answers are about.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        self._dataset, self._out = dataset, out
        self._store = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)

    def add(self, answers: Iterable[Answer], videos: Sequence[str]) -> int:
        """Keeps answers that are not kept already.

        Args:
            answers: any number.
            videos: keys of the videos that there are.

        Returns:
            How many were new.

        Raises:
            InputError: for an answer about another video; nothing has been kept then.
        """
        answers = list(answers)
        # An answer's key holds its video, so only what is kept about these videos can be the same.
        known = {answer.key for video in {answer.video for answer in answers} for answer in self.of(video)}
        fresh = {answer.key: answer for answer in answers if answer.key not in known}
        there = set(videos)
        strangers = sorted({answer.video for answer in fresh.values()} - there)
        if strangers:
            raise InputError(
                f"dataset {self._dataset.name!r} has no video {strangers[0]!r}, which an answer is about "
                f"({sum(answer.video in strangers for answer in fresh.values())} answers are about videos that are not "
                "there); nothing was kept: correct the answer's video, or leave it out"
            )
        by_video: dict[str, list[Answer]] = defaultdict(list)
        for key in sorted(fresh):
            by_video[fresh[key].video].append(fresh[key])
        for video, own in sorted(by_video.items()):
            for start in range(0, len(own), _PER_ENTRY):
                part = own[start : start + _PER_ENTRY]
                name = blake2b("".join(answer.key for answer in part).encode(), digest_size=12).hexdigest()
                self._store.set(f"{video}/{name}", {"answers": [answer.as_dict() for answer in part]})
        if answers:  # also if none is new: a call that was killed may have got as far as keeping them
            kept = self.by_video({answer.video for answer in answers})
            Ledger(self._dataset, self._out).spent({video: count_clicks(said) for video, said in kept.items()})
        return len(fresh)

    def of(self, video: str) -> tuple[Answer, ...]:
        """All answers about one video, in an order that does not depend on when they came in."""
        return self._read([key for key in self._store.list_keys() if key.startswith(f"{video}/")])

    def by_video(self, videos: Collection[str] | None = None) -> dict[str, tuple[Answer, ...]]:
        """Key of a video -> all answers about it; of these videos, or of all that have any."""
        keys: dict[str, list[str]] = defaultdict(list)
        for key in self._store.list_keys():
            if videos is None or key.split("/")[0] in videos:
                keys[key.split("/")[0]].append(key)
        return {video: self._read(own) for video, own in keys.items()}

    def all(self) -> tuple[Answer, ...]:
        """All answers about the dataset."""
        return self._read(self._store.list_keys())

    def _read(self, keys: Iterable[str]) -> tuple[Answer, ...]:
        found: dict[str, Answer] = {}
        for key in keys:
            for values in (self._store.get(key) or {}).get("answers", ()):
                answer = Answer.from_dict(values)
                found[answer.key] = answer
        return tuple(found[key] for key in sorted(found))
