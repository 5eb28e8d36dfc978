"""What is kept of retraining with a dataset, told without torch: the App asks before anybody trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from .answers import AnswerBook
from .fields import OutputFields
from .locking import StoreLock

RETRAINED = "_retrained"  # behind the name of candidates: those that a retrained detector found

_STORE = "spam_plugin.learning"
_RUNNING, _LAST = "running", "last"


class Learning:
    """What is kept of the retraining of one field of tracks.

    Args:
        dataset: that it goes with.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        self._dataset, self._out = dataset, OutputFields(out.removeprefix("frames.")).out
        self._store = ExecutionStore.create(f"{_STORE}.{self._out}", dataset._doc.id)
        title = f"the retraining for field {self._out!r} of dataset {dataset.name!r}"
        self._lock = StoreLock(self._store, "~lock", title)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Makes sure that nobody else retrains for this field meanwhile; people may go on to answer and label.

        Raises:
            DeskError: if somebody does; says who, and since when.
        """
        with self._lock.hold():
            yield

    @property
    def busy(self) -> str | None:
        """Who retrains, in a sentence; None for nobody."""
        return self._lock.holder()

    @property
    def running(self) -> Mapping[str, Any]:
        """The retraining that was begun and has not come to its end; empty for none."""
        return self._store.get(_RUNNING) or {}

    @running.setter
    def running(self, values: Mapping[str, Any]) -> None:
        self._store.set(_RUNNING, dict(values))

    def count(self) -> tuple[int, int]:
        """How many answers there are, and about how many videos."""
        kept = AnswerBook(self._dataset, self._out).by_video()
        return sum(map(len, kept.values())), len(kept)

    def new_answers(self) -> int:
        """How many answers have come in since a version was trained last."""
        return max(self.count()[0] - int((self._store.get(_LAST) or {}).get("answers", 0)), 0)

    def learnt(self, version: str, answers: int) -> None:
        """Notes that a version was trained when there were so many answers."""
        self._store.set(_LAST, {"version": version, "answers": answers})


def last_labelling(dataset: fo.Dataset, out: str) -> tuple[str, str | None]:
    """Field of the candidates, and their appearance vectors, that a field of tracks was made of last.

    Candidates of a retrained detector stand for those that they were added to.
    """
    runs = [(dataset.get_run_info(key), key) for key in dataset.list_runs() if key.startswith(f"label_{out}")]
    made = [(info.timestamp, key, info.config) for info, key in runs if getattr(info.config, "out", None) == out]
    if not made:
        return "candidates", None
    config = max(made, key=lambda one: one[:2])[2]
    return str(config.candidates).removesuffix(RETRAINED), getattr(config, "embedding", None)
