"""What a synchronisation is told, what it needs at hand, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...models.errors import InputError, SpamPluginError
from .labels import Conflict
from .notes import DESK, JobNote, conflict_key, job_key
from .ports import DeskStore, Journal, LabelSpec, LostError, ReviewDesk

Tell = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class SyncSettings:
    """How a dataset and a desk are kept the same.

    Attributes:
        pull: whether to bring back what people did.
        push: whether to send what needs people.
        states: jobs in one of these states come back.
        stages: only those in one of these stages; empty for any.
        confirm: whether what a person saw in a job that came back, and left alone, counts as confirmed.
        windows: "queries" to open only jobs that hold questions, "all" to open every job.
        assignees: names of users who get jobs in turn; empty for nobody.
        job_seconds: wished length of a job.
        overlap_seconds: what a job shares with the next, at least.
        tolerance: overlap within which keyframes follow the boxes.
        force: also write to jobs in progress, once what is there has been brought back.
        remake: make tasks again that were deleted at the desk.
        dry_run: change nothing, tell what would be done.

    Raises:
        InputError: for values that cannot be.
    """

    pull: bool = True
    push: bool = True
    states: tuple[str, ...] = ("completed",)
    stages: tuple[str, ...] = ()
    confirm: bool = False
    windows: str = "queries"
    assignees: tuple[str, ...] = ()
    job_seconds: float = 10.0
    overlap_seconds: float = 2.0
    tolerance: float = 0.9
    force: bool = False
    remake: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name, given, known in (
            ("state", self.states, ("new", "in progress", "completed", "rejected")),
            ("stage", self.stages, ("annotation", "validation", "acceptance")),
            ("windows", (self.windows,), ("queries", "all")),
        ):
            strange = [one for one in given if one not in known]
            if strange:
                raise InputError(f"{name} {strange[0]!r} is none of: {', '.join(known)}")
        if not 0 < self.tolerance <= 1:
            raise InputError(f"tolerance {self.tolerance:g} is not in (0, 1]")
        if not 0 <= self.overlap_seconds < self.job_seconds < float("inf"):
            raise InputError(
                f"jobs of {self.job_seconds:g} s that overlap by {self.overlap_seconds:g} s cannot be; jobs must be "
                "longer than their overlap"
            )


@dataclass
class SyncReport:
    """What a synchronisation did, or, in a dry run, would do.

    Attributes:
        counts: what was done -> how often.
        problems: what could not be done and why, a sentence each; everything else was done.
        notices: what is worth knowing, a sentence each.
        conflicts: where two people disagree and nobody has settled it yet.
        project: number of the project at the desk, or None.
        url: where people find the desk.
    """

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    project: int | None = None
    url: str = ""

    def count(self, what: str, number: int = 1) -> None:
        """Adds to a count."""
        if number:
            self.counts[what] = self.counts.get(what, 0) + number

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {**self.__dict__, "conflicts": [conflict.as_dict() for conflict in self.conflicts]}


@dataclass
class Context:
    """What every step of a synchronisation has at hand.

    Attributes:
        desk: where people edit.
        store: the dataset.
        journal: what is known from before.
        settings: what is wanted.
        name: of the project.
        report: what has been done so far.
        tell: told what is being done: (what, how many are done, of how many, which).
        classes: name -> class at the desk, once the project is known.
    """

    desk: ReviewDesk
    store: DeskStore
    journal: Journal
    settings: SyncSettings
    name: str
    report: SyncReport = field(default_factory=SyncReport)
    tell: Tell = lambda what, done, total, which: None
    classes: Mapping[str, LabelSpec] = field(default_factory=dict)

    @property
    def project(self) -> int | None:
        """Number of the project, if there is one."""
        note = self.journal.get(DESK)
        return None if note is None else note.get("project")

    @contextmanager
    def guard(self, video: str) -> Iterator[None]:
        """Notes what a user can mend as a problem of one video, so that the others still get done."""
        try:
            yield
        except LostError:
            raise
        except SpamPluginError as error:
            sentence = f"video {video!r}: {error}"
            if sentence not in self.report.problems:  # what cannot be read is in the way of both directions
                self.report.problems.append(sentence)

    def job_note(self, job: int) -> JobNote | None:
        """What is known of a job."""
        values = self.journal.get(job_key(job))
        return None if values is None else JobNote.from_dict(values)

    def keep(self, note: JobNote) -> None:
        """Remembers how a job stands."""
        self.journal.set(job_key(note.job), note.as_dict())

    def conflicts(self, video: str) -> list[Conflict]:
        """Open conflicts of a video."""
        return [Conflict.from_dict(values) for values in self.journal.get(conflict_key(video)) or []]
