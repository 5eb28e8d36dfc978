"""The loop on a FiftyOne dataset: its world, its memory, and a simulated person who answers from ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators.store import ExecutionStore

from ...engine.answers import Answer
from ...engine.clicks import count_clicks
from ...engine.loop import DONE, Chosen, LoopSettings, LoopState, Tell, run_loop
from ...engine.queries import Budget
from ...models.errors import InputError
from . import api
from .answers import AnswerBook
from .dataset import open_dataset
from .fields import DEFAULT_OUT, OutputFields
from .journal import StoreNotes
from .learning import retrain
from .locking import StoreLock
from .queries import load_queries
from .runs import plain
from .shelf import Shelf
from .truth import read_truth
from .videos import box_field, open_videos

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...engine.retraining import RetrainSettings
    from .pipeline import Source

_STORE = "spam_plugin.loop"
_STATE, _COUNT = "state", "count"

Part = Callable[[float, str], None]


class Reviewer(Protocol):
    """Who answers; each method leaves the same behind when it is called twice in a row."""

    def ask(self, number: int, tell: Part) -> None:
        """Gets the questions of a round."""

    def wait(self, number: int, allowed: int, tell: Part) -> None:
        """Returns when they are answered; a round may cost so many clicks."""

    def take(self, number: int, tell: Part) -> None:
        """Has the answers kept with the dataset."""


@dataclass(frozen=True)
class Work:
    """What the loop does its steps with.

    Attributes:
        candidates: field of the detector's boxes; made if it is not there.
        out: field of the tracks.
        view: only the videos of this saved view.
        detector: that makes candidates; None for the one in use.
        embeddings: attribute of the candidates with appearance vectors, or name of an appearance.
        acquisition: rule that puts the questions into order.
        parts: that are retrained; empty for all that have something to learn from, None for no retraining.
        steps: part -> steps of its training.
        seed: of all that is drawn.
        device: where models run and learn.
        skip_bad: leave out candidates and videos that cannot be used.
    """

    candidates: str = "candidates"
    out: str = DEFAULT_OUT
    view: str | None = None
    detector: str | None = None
    embeddings: str | None = None
    acquisition: str = "boxes"
    parts: tuple[str, ...] | None = ()
    steps: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    skip_bad: bool = False


class LoopNotes:
    """What is kept of the loop of one field of tracks, with the dataset; see ``engine.loop.Memory``.

    Args:
        dataset: that it goes with.
        out: name of the field of tracks.
        request: what was asked for, as plain values; a loop that was begun is gone on with only by the same.
    """

    def __init__(self, dataset: fo.Dataset, out: str, request: Mapping[str, Any]) -> None:
        title = f"the loop for field {out!r} of dataset {dataset.name!r}"
        store = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)
        self._lock, self._request, self._dataset = StoreLock(store, "~lock", title), plain(request), dataset
        self.notes = StoreNotes(store, title, self._lock, "begin anew with --again")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Makes sure that the loop runs once.

        Raises:
            DeskError: if somebody else runs it.
        """
        with self._lock.hold():
            yield

    def load(self) -> LoopState | None:
        """The state of the loop that was begun, or has ended; None for none.

        Raises:
            InputError: if another one was begun and has not ended.
        """
        found = self.notes.get(_STATE)
        if found is None:
            return None
        if found["request"] == self._request:
            return LoopState.from_dict(found["state"])
        if found["state"]["step"] == DONE:
            return None
        other = [name for name, value in self._request.items() if found["request"].get(name) != value]
        raise InputError(
            f"dataset {self._dataset.name!r} has a loop that was begun with other settings ({', '.join(other)}) and "
            f"stopped in round {found['state']['round']}; start it again as it was, or begin anew with --again"
        )

    def save(self, state: LoopState) -> None:
        """Keeps a state."""
        self.notes.set(_STATE, {"request": self._request, "state": state.as_dict()})

    def begin_anew(self) -> None:
        """Forgets the loop that was begun, or has ended; what it did stays done."""
        if self.notes.get(_STATE) is not None:
            self.notes.set(_COUNT, {"ended": self.number()})
        for key in self.notes.keys(""):
            if key != _COUNT:
                self.notes.delete(key)

    def number(self) -> int:
        """Of this loop among those of the field, from 1."""
        return int((self.notes.get(_COUNT) or {"ended": 0})["ended"]) + 1


class DatasetWorld:
    """One dataset; see ``engine.loop.World``.

    Args:
        collection: the videos.
        work: what is done with them.
        reviewer: who answers.
        wish: share of wrong boxes that is wished for.
        tag: of this loop.
    """

    def __init__(
        self, collection: SampleCollection, work: Work, reviewer: Reviewer, wish: float | None = None, tag: str = ""
    ) -> None:
        self._collection, self._work, self._reviewer, self._wish, self._tag = collection, work, reviewer, wish, tag
        self._dataset = collection._dataset
        self._shelf = Shelf(self._dataset, work.out)
        self._book = AnswerBook(self._dataset, work.out)

    def _source(self) -> Source:
        from .pipeline import Source

        work = self._work
        return Source(self._collection, work.candidates, work.embeddings, work.out, work.device, work.skip_bad)

    def has_candidates(self) -> bool:
        """Whether the field of candidates is there and no run was interrupted that made it."""
        from .pipeline import is_detected

        return is_detected(self._collection, self._work.candidates)

    def detect(self, tell: Part) -> None:
        """Runs the detector over all videos."""
        from .pipeline import detect_candidates

        detect_candidates(self._source(), self._work.detector, self._shelf.in_use(), tell)

    def fill(self, tell: Part) -> None:
        """Fills around the boxes of answers with the tracker in use; videos that cannot be read stay as they are."""
        if not any(answer.drawn is not None for answer in self._book.all()):
            return
        from .pipeline import stepwise
        from .propagating import propagate

        work = self._work
        candidates = work.candidates if self.has_candidates() else "none"
        try:
            propagate(
                self._collection, out=work.out, candidates=candidates, device=work.device, skip_bad=True,
                progress=stepwise(tell),
            )  # fmt: skip
        except InputError as error:  # no picture can be read, or no box lies in these videos: nothing to fill
            tell(1.0, str(error))

    def label(self, tell: Part) -> None:
        """Labels with the version in use."""
        from .pipeline import label_with

        label_with(self._source(), self._shelf.in_use(), tell)

    def choose(self, budget: Budget | int, tell: Part) -> Chosen:
        """Chooses the questions of a round."""
        from .pipeline import seen_with, stepwise

        version = self._shelf.in_use()
        seen = seen_with(self._source(), version, tell)
        spend = Budget(max(budget, 1), "clicks") if isinstance(budget, int) else budget
        plan = api.queries(
            self._collection, seen.candidates, budget=spend, acquisition=self._work.acquisition, seed=self._work.seed,
            wish=self._wish, embeddings=seen.embeddings, out=self._work.out, model=version.parts.get("hierarchy"),
            device=self._work.device, skip_bad=self._work.skip_bad, progress=stepwise(tell),
        )  # fmt: skip
        return Chosen(
            len(plan.queries), plan.clicks, float(plan.hand_boxes), float(plan.estimates["wrong_boxes"]["expected"])
        )

    def spent(self) -> int:
        """Clicks of all answers about the field."""
        return sum(count_clicks(said) for said in self._book.by_video().values())

    def answers(self) -> int:
        """Number of all answers about the field."""
        return len(self._book.all())

    def ask(self, number: int, tell: Part) -> None:
        """See ``Reviewer``."""
        self._reviewer.ask(number, tell)

    def wait(self, number: int, allowed: int, tell: Part) -> None:
        """See ``Reviewer``."""
        self._reviewer.wait(number, allowed, tell)

    def take(self, number: int, tell: Part) -> None:
        """See ``Reviewer``."""
        self._reviewer.take(number, tell)

    def learn(self, tell: Part) -> str:
        """Trains on what the labels are sure of, unless nobody wants it, and uses what comes out."""
        from ...engine.retraining import RetrainSettings

        work, tag = self._work, f"{self._tag}/first"
        if work.parts is None:
            return ""
        # From the version that it made and that is in use since then, another one would come out the next time.
        made = [one.name for one in self._shelf.versions() if one.config.get("tag") == tag and one.is_there]
        if not made:
            settings = RetrainSettings(parts=work.parts, steps=work.steps, seed=work.seed, tag=tag, self_training=True)
            report = retrain(
                self._collection, work.candidates, settings=settings, use=True, embeddings=work.embeddings,
                out=work.out, device=work.device, skip_bad=work.skip_bad, progress=tell,
            )[-1]  # fmt: skip
            made = [report.version.name]
        if self._shelf.in_use().name != made[-1]:
            self._shelf.use(made[-1])
        return made[-1]

    def retrain(self, number: int, tell: Part) -> str:
        """Retrains, unless nobody wants it, or nobody has answered anything."""
        from ...engine.retraining import RetrainSettings

        work = self._work
        if work.parts is None or not self.answers():
            return ""
        settings: RetrainSettings = RetrainSettings(
            parts=work.parts, steps=work.steps, seed=work.seed, tag=f"{self._tag}/{number}"
        )
        report = retrain(
            self._collection, work.candidates, settings=settings, embeddings=work.embeddings, out=work.out,
            device=work.device, skip_bad=work.skip_bad, progress=tell,
        )[-1]  # fmt: skip
        return f"{report.version.name} ({'used' if report.used else 'kept'})"


class SimulatedReviewer:
    """A person who answers from ground truth.

    Args:
        collection: the videos.
        work: of the loop.
        gt: field of the ground truth; boxes whose attribute ``ignored`` is true do not count.
        notes: of the loop: what was said is kept there before it is kept with the dataset, as it could not be said the
            same a second time.
        error_rate: share of answers that are wrong.

    Raises:
        InputError: for ground truth that is missing in all videos, or of a video of another length or size.
    """

    def __init__(
        self, collection: SampleCollection, work: Work, gt: str, notes: StoreNotes, error_rate: float = 0.0
    ) -> None:
        if not 0 <= error_rate < 1:
            raise InputError(f"an error rate of {error_rate:g} is not between 0 and 1")
        self._collection, self._work, self._notes, self._error_rate = collection, work, notes, error_rate
        self._videos = {video.key: video for video in open_videos(collection)}
        self._gt = box_field(list(self._videos.values()), gt)

    def ask(self, number: int, tell: Part) -> None:
        """The questions are in the dataset."""

    def wait(self, number: int, allowed: int, tell: Part) -> None:
        """Answers within the budget; what was said once is not asked for again."""
        if self._notes.get(_said(number)) is not None:
            return
        from ...engine.choosing import look_at
        from ...engine.reviewing import answer_round
        from ...models.spam import LabelSettings
        from .pipeline import Source, hierarchy_of, open_store

        work = self._work
        version = Shelf(self._collection._dataset, work.out).in_use()
        source = Source(self._collection, work.candidates, work.embeddings, work.out, work.device, work.skip_bad)
        store, model = open_store(source, version), hierarchy_of(version, work.device)
        queries = load_queries(self._collection._dataset, work.out)
        asked = {query.video for query in queries} & set(self._videos)
        views, truth = {}, {}
        for place, key in enumerate(sorted(asked)):
            tell(place / len(asked), self._videos[key].name)
            read = store.read(key, work.skip_bad)
            views[key] = look_at(key, read, model, LabelSettings())[0]
            truth[key] = _targets(self._videos[key], read, self._gt)
        said = answer_round(number, queries, views, truth, allowed, self._error_rate, work.seed)
        self._notes.set(_said(number), [answer.as_dict() for answer in said])

    def take(self, number: int, tell: Part) -> None:
        """Keeps what was said."""
        said = [Answer.from_dict(values) for values in self._notes.get(_said(number)) or []]
        if said:
            api.answer(self._collection._dataset, said, out=self._work.out)


def _said(number: int) -> str:
    return f"said/{number}"


def _targets(video: Any, read: Any, gt: str) -> Any:
    from ...engine.simulation import SimulatedVideo

    table = read_truth(video, read.info, gt, False)
    return SimulatedVideo(video.key, read.info, read.candidates, table, read.class_names).targets


def loop(
    dataset: SampleCollection | str, settings: LoopSettings, work: Work, reviewer: Callable[[Any, LoopNotes], Reviewer],
    *, about: Mapping[str, Any] | None = None, again: bool = False, progress: Tell | None = None,
) -> LoopState:  # fmt: skip
    """Runs the loop, or goes on with it where it was stopped or killed.

    Args:
        dataset: the dataset, or its name.
        settings: when it ends.
        work: what it does its steps with.
        reviewer: makes who answers, from the videos and the loop's notes.
        about: what tells this reviewer from others, as plain values.
        again: begin anew, whatever was begun or has ended before; labels and answers stay.
        progress: told the step, the share of it that is done, and what is being done.

    Returns:
        the state at the end; of a loop that had ended before, with the same settings, that one's.

    Raises:
        InputError: for a loop that was begun with other settings, and whatever its steps raise.
        DeskError: if somebody else runs it, or works on the same field.
    """
    whole = open_dataset(dataset) if isinstance(dataset, str) else dataset
    collection = api._chosen(whole, work.view)
    out = OutputFields(work.out.removeprefix("frames.")).out
    request = {"settings": settings.as_dict(), "work": _plain(work), "reviewer": dict(about or {})}
    notes = LoopNotes(whole._dataset, out, request)
    with notes.hold():
        if again:
            notes.begin_anew()
        state = notes.load()
        if state is None:
            notes.begin_anew()  # what a loop with other settings has left
        number = notes.number()
        world = DatasetWorld(collection, work, reviewer(collection, notes), settings.wish, f"loop {number}")
        return run_loop(world, notes, settings, progress)


def _plain(work: Work) -> dict[str, Any]:
    # Where models run changes nothing of what comes out, as far as the loop is concerned.
    return {name: value for name, value in plain(work.__dict__).items() if name != "device"}
