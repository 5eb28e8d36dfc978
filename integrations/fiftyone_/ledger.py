"""What the App shows of a field of tracks, kept with the dataset: counted while labels are written, never by a scan.

The ledger lies in the dataset's execution store (``book``) and is merged by video, so labelling a view updates only its
videos. Those who change labels, questions or answers tell it; whoever reads it reads a few numbers for each video.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.operators.store import ExecutionStore

from ...engine.standing import (
    Estimate,
    ModelVersion,
    OpenQuestions,
    QueueRow,
    Round,
    Standing,
    VideoStanding,
    effort_share,
    together,
)
from ...models.errors import MissingError
from ...models.weights_file import DEFAULT_WEIGHTS, weights_version
from .book import Book, Contents
from .fields import OWNER, UNREVIEWED, OutputFields
from .journal import SyncJournal

ENTRIES_PER_FOLD = 400  # of the log, while labels are written: each is read one by one,
VIDEOS_PER_ENTRY = 20  # but a book of very many videos takes long to write

_STORE = "spam_plugin.ledger"
_MODEL, _LAST = "model", "last"


class Ledger:
    """The ledger of one field of tracks, in the dataset's execution store.

    Args:
        dataset: that it goes with.
        out: name of the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, out: str) -> None:
        self._dataset, self._fields = dataset, OutputFields(out)
        self._prefix = "frames." if dataset.media_type == "video" else ""
        self._title = f"field {out!r} of dataset {dataset.name!r}"
        self._journal = SyncJournal(dataset, out)
        store = ExecutionStore.create(f"{_STORE}.{out}", dataset._doc.id)
        self._book = Book(store, self._title, self._journal.lock)
        self._told = self._videos = 0  # entries since the last fold, videos that it found

    # --- what the panel shows

    def standing(self) -> Standing | None:
        """Where the field stands, from what is kept; None if nothing is, or the field is gone."""
        contents = self._book.read()
        known = {key for key, one in contents.videos.items() if one.get("labels") or one.get("asked", {}).get("count")}
        status = self._there(known) if self._is_declared() else {}
        if not status:
            return None
        mine = {key: contents.videos[key] for key in status}
        busy = self.busy
        return together(
            {key: VideoStanding(**one["labels"]) for key, one in mine.items() if one.get("labels")},
            {key: OpenQuestions.from_dict({**one["asked"], "rows": ()}) for key, one in mine.items() if "asked" in one},
            by_review=dict(Counter(status.values())),
            unlabelled=len(self._dataset) - len(mine) if self._prefix else None,
            clicks_spent=_spent(mine),
            conflicts=sum(one.get("conflicts", 0) for one in mine.values()),
            estimate=next((one.wrong for one in reversed(_rounds(contents)) if one.wrong is not None), None),
            stale=self._is_stale(mine, busy),
            busy=busy,
        )

    def videos(self) -> dict[str, VideoStanding]:
        """Key of a video -> how it stands, of all that have labels."""
        videos = self._book.read().videos
        return {key: VideoStanding(**videos[key]["labels"]) for key in self._there(videos) if videos[key].get("labels")}

    def rounds(self) -> list[Round]:
        """What was done to the field, oldest first."""
        return _rounds(self._book.read())

    def models(self) -> list[ModelVersion]:
        """The sets of weights that labelled or were chosen, the last used first, and the default weights."""
        contents = self._book.read()
        default = weights_version(DEFAULT_WEIGHTS)
        known = {**contents.models}
        known[default] = {**known.get(default, {}), "default": True}
        scores = {one.model_version: one.scores for one in _rounds(contents) if one.scores}
        chosen = self._chosen.get("version", default)
        found = [
            ModelVersion(
                version, None if one.get("default") else one.get("path"), bool(one.get("default")), one.get("used"),
                scores.get(version, {}), version == chosen,
            )
            for version, one in known.items()
        ]  # fmt: skip
        return sorted(found, key=lambda one: (-(one.used or 0.0), one.version))

    def queue(self, limit: int = 50) -> list[QueueRow]:
        """The open questions that are worth most, first.

        Of a long round those far behind come up as questions before them are answered.

        Args:
            limit: how many at most.
        """
        videos = self._book.read().videos
        there = self._there({key for key, one in videos.items() if one.get("asked", {}).get("count")})
        rows = [QueueRow(**row) for key in there for row in videos[key]["asked"]["rows"]]
        return sorted(rows, key=lambda row: (row.rank, -row.gain / row.cost, row.key))[:limit]

    def rows(self) -> dict[str, list[QueueRow]]:
        """Key of a video -> the open questions about it that are kept."""
        videos = self._book.read().videos
        return {key: [QueueRow(**row) for row in one["asked"]["rows"]] for key, one in videos.items() if "asked" in one}

    # --- which weights label

    def choose_model(self, path: str | Path | None) -> str:
        """Chooses the weights that labelling takes from now on unless told otherwise.

        Args:
            path: of their file; None for the default.

        Returns:
            their version.

        Raises:
            MissingError: if there is no such file.
            InputError: if it holds no SPAM weights.
        """
        version = weights_version(DEFAULT_WEIGHTS if path is None else path)
        if path is None:
            self._book.notes.put(_MODEL, {})
            return version
        file = str(Path(path).absolute())
        self._book.add(models={version: {"path": file}})
        self._book.notes.put(_MODEL, {"path": file, "version": version})
        return version

    @property
    def model(self) -> str | None:
        """File of the weights that were chosen for this field; None for the default."""
        return self._chosen.get("path")

    @property
    def candidates(self) -> str | None:
        """Field of the candidates of the last run."""
        return self._last.get("candidates")

    @property
    def boxes_per_second(self) -> float | None:
        """How fast the last run was."""
        return self._last.get("boxes_per_second")

    @property
    def _chosen(self) -> dict[str, Any]:
        return self._book.notes.get(_MODEL) or {}

    @property
    def _last(self) -> dict[str, Any]:
        return self._book.notes.get(_LAST) or {}

    # --- one at a time

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Makes sure that nobody else labels, asks, synchronises or counts this field meanwhile.

        Raises:
            DeskError: if somebody does; says who, and since when.
        """
        with self._book.notes.hold():
            yield

    @property
    def busy(self) -> str | None:
        """Who is at work on the field, in a sentence; None for nobody."""
        return self._journal.lock.holder()

    # --- what those tell who change something

    def begin(self, what: str) -> None:
        """Labels or questions are going to be changed; to be told before fields are declared.

        Args:
            what: "label" or "queries".
        """
        state = self._book.state
        complete = state.get("complete", not self._is_declared())  # labels that were there before were never counted
        self._book.state = {"complete": complete, "running": what}

    def will_change(self, key: str) -> None:
        """The labels of a video are going to be changed: until they are counted, what is kept may be wrong."""
        self._tell(videos={key: {"dirty": True}})

    def labelled(self, key: str, standing: VideoStanding) -> None:
        """How a video stands now."""
        self._tell(videos={key: {"labels": standing.as_dict(), "dirty": False}})

    def asked(self, key: str, questions: OpenQuestions) -> None:
        """What is open about a video now."""
        self._tell(videos={key: {"asked": questions.as_dict()}})

    def spent(self, clicks: Mapping[str, int]) -> None:
        """What all answers about some videos have cost: key -> clicks."""
        self._tell(videos={key: {"spent": int(number)} for key, number in clicks.items()})

    def disagreed(self, key: str, conflicts: int) -> None:
        """How many conflicts of a video are open now."""
        self._tell(videos={key: {"conflicts": conflicts}})

    def finish_label(
        self, report: Mapping[str, Any], candidates: str, version: str, weights: str | Path | None = None
    ) -> None:
        """Labelling is done.

        Args:
            report: of the run (see ``engine.label.LabelReport.as_dict``).
            candidates: field of the candidates.
            version: of the model.
            weights: its file; "" for the default weights, None if that is not known.
        """
        whole = report["overall"]
        speed = whole["candidates"] / whole["seconds"] if whole["seconds"] > 0 else None
        self._book.notes.put(_LAST, {"candidates": candidates, "boxes_per_second": speed})
        used: dict[str, Any] = {"used": time.time()}
        if weights is not None:
            used |= {"default": not weights, "path": str(Path(weights).absolute()) if weights else None}
        self._finish()
        self.note("label", models={version: used}, model_version=version)

    def finish_queries(self, estimates: Mapping[str, Any]) -> None:
        """A round of questions is asked.

        Args:
            estimates: of what is wrong in the labels (see ``engine.stopping.StoppingEstimate.as_dict``).
        """
        wrong = estimates.get("wrong_boxes")
        self._finish()
        self.note("queries", wrong=Estimate(wrong["expected"], wrong["low"], wrong["high"]) if wrong else None)

    def note(self, kind: str, models: Mapping[str, Any] | None = None, **known: Any) -> None:
        """Notes that something was done, and how the field stands after it.

        Args:
            kind: of ``engine.standing.KINDS``.
            models: what is new of sets of weights.
            known: of ``engine.standing.Round``.
        """
        contents = self._book.read()
        mine = contents.videos
        labels = [VideoStanding(**one["labels"]) for one in mine.values() if one.get("labels")]
        last = next((one.model_version for one in reversed(_rounds(contents)) if one.model_version), "")
        clicks = _spent(mine)
        noted = Round(
            **{
                "when": time.time(), "kind": kind, "clicks": clicks, "model_version": last,
                "effort": effort_share(clicks, sum(video.expected_boxes for video in labels)),
                "boxes": sum(video.boxes for video in labels), "tracks": sum(video.tracks for video in labels), **known,
            }
        )  # fmt: skip
        self._book.add(round=noted.as_dict(), models=models or {})
        self._book.tidy()

    def refresh(self, tell: Callable[[float, str], None] | None = None) -> Standing | None:
        """Counts everything anew from what is stored.

        Args:
            tell: told the share that is done, and what is being done.

        Raises:
            MissingError: if the dataset has no such field.
            DeskError: if somebody else is at work on it.
        """
        from .recount import recount  # which reads answers, whose keeping tells this ledger

        if not self._is_declared():
            raise MissingError(
                f"dataset {self._dataset.name!r} has no field {self._prefix + self._fields.out!r} to count; label first"
            )
        with self.hold():
            contents = self._book.read()
            contents.videos = recount(self._dataset, self._prefix, self._fields, self.rows(), tell)
            self._book.rewrite(contents)
            self._book.state = {"complete": True, "running": None}
        return self.standing()

    def _finish(self) -> None:
        self._book.fold()
        self._book.state = {**self._book.state, "running": None}

    def _tell(self, **entry: Any) -> None:
        self._book.add(**entry)
        self._told += 1
        if self._told >= max(ENTRIES_PER_FOLD, self._videos // VIDEOS_PER_ENTRY):
            self._videos, self._told = self._book.fold(), 0

    def _is_declared(self) -> bool:
        return self._dataset.get_field(self._prefix + self._fields.out) is not None

    def _is_stale(self, videos: Mapping[str, Mapping[str, Any]], busy: str | None) -> bool:
        state = self._book.state
        if not state.get("complete"):
            return True
        return busy is None and (state["running"] is not None or any(one.get("dirty") for one in videos.values()))

    def _there(self, keys: Collection[str]) -> dict[str, str]:
        """Those of the videos that are still in the dataset -> their review status."""
        if not keys:
            return {}
        field = self._fields.summary("review_status")
        has = self._dataset.get_field(field)
        mine = has is not None and (has.info or {}).get(OWNER) == self._fields.out
        found = self._dataset.select(list(keys)).values(["id", field] if mine else ["id"])
        said = found[1] if mine else [None] * len(found[0])
        return {key: status or UNREVIEWED for key, status in zip(found[0], said, strict=True)}


def _rounds(contents: Contents) -> list[Round]:
    return [Round.from_dict({name: value for name, value in one.items() if name != "id"}) for one in contents.rounds]


def _spent(videos: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(one.get("spent", 0) for one in videos.values())
