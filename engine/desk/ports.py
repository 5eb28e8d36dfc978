"""What the round trip needs of the outside: a desk where people edit, and a journal that outlives the process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...models.columns import VideoInfo
from ...models.errors import SpamPluginError
from ..answers import Answer
from ..queries import Query
from .labels import Conflict, Labels, Patch
from .sheets import Refusal, SheetTrack


class DeskError(SpamPluginError):
    """The desk cannot be reached, does not let us in, or refuses what we ask; says what to do about it."""


class LostError(DeskError):
    """There is no use in going on: the desk does not answer at all, or does not know us any more."""


class GoneError(DeskError):
    """What we look for is not at the desk any more."""


@dataclass(frozen=True)
class AttributeSpec:
    """What may be said of a track, or of each of its keyframes.

    Attributes:
        name: of the attribute.
        kind: "text", "number", "checkbox" or "select".
        mutable: whether it is said of each keyframe.
        values: those to choose from; for a number least, greatest and step; else empty.
        default: where nothing is said.
    """

    name: str
    kind: str = "text"
    mutable: bool = False
    values: tuple[str, ...] = ()
    default: str = ""


@dataclass(frozen=True)
class LabelSpec:
    """A class and its attributes."""

    name: str
    attributes: tuple[AttributeSpec, ...] = ()


@dataclass(frozen=True)
class Media:
    """What is shown to people.

    Attributes:
        files: a video, or images in the order of their frames; paths on this machine, or, with ``remote``, as the
            desk's share or cloud storage names them.
        remote: None to upload, "share", or the id of a cloud storage as text.
        image_quality: of the compressed frames, in percent.
    """

    files: tuple[Path | str, ...]
    remote: str | None = None
    image_quality: int = 70


@dataclass(frozen=True)
class TaskState:
    """A task at the desk: one video.

    Attributes:
        id: its number.
        name: its name.
        size: frames that it has; 0 while it has no media.
        failed: what the desk says went wrong with its media, or empty.
        pending: whether the desk is still at work on its media.
    """

    id: int
    name: str
    size: int
    failed: str = ""
    pending: bool = False


@dataclass(frozen=True)
class JobState:
    """A job at the desk: some frames of a task.

    Attributes:
        id: its number.
        task: the task's number.
        start: first frame.
        stop: last frame.
        state: "new", "in progress", "completed" or "rejected".
        stage: "annotation", "validation" or "acceptance".
        assignee: name of the user, or empty.
        updated: when something about it changed last, as the desk says it (ISO 8601); changes with every write.
    """

    id: int
    task: int
    start: int
    stop: int
    state: str
    stage: str
    assignee: str
    updated: str


@dataclass(frozen=True)
class IssueState:
    """A question at the desk.

    Attributes:
        id: its number.
        job: the job's number.
        frame: that it is pinned to.
        position: left, top, right, bottom of what it is pinned to, pixels.
        resolved: whether somebody has closed it.
        comments: (who, what) of all comments, the question itself first.
        updated: when it changed last, as the desk says it.
    """

    id: int
    job: int
    frame: int
    position: tuple[float, ...]
    resolved: bool
    comments: tuple[tuple[str, str], ...]
    updated: str


class ReviewDesk(Protocol):
    """A server where people edit tracks. Every method may raise ``DeskError``, or ``GoneError`` for what is gone.

    Writes to one job never overlap. What is broken for a moment is tried again; a creation whose answer got lost is
    looked for before it is tried again, so that nothing is made twice.
    """

    @property
    def url(self) -> str:
        """Where people find it."""

    def check(self) -> str:
        """Makes sure that the server answers, knows us and is not too old; returns its version."""

    def find_project(self, name: str) -> int | None:
        """Number of the project with exactly this name, or None."""

    def create_project(self, name: str, labels: Sequence[LabelSpec]) -> int:
        """Makes a project."""

    def use_project(self, project: int) -> Mapping[str, LabelSpec]:
        """Reads the classes of the project that is worked in; the other methods translate with them.

        Returns:
            name -> class, as it is there now.
        """

    def extend_project(self, project: int, labels: Sequence[LabelSpec]) -> None:
        """Adds classes, and attributes of classes, that are missing; changes nothing that is there."""

    def find_task(self, project: int, name: str) -> TaskState | None:
        """The task with exactly this name, or None."""

    def create_task(self, project: int, name: str, segment: int, overlap: int) -> int:
        """Makes a task without media, to be cut into jobs of ``segment`` frames that overlap by ``overlap``."""

    def task(self, task: int) -> TaskState:
        """How the task stands."""

    def upload(self, task: int, media: Media, tell: Callable[[float], None] | None = None) -> None:
        """Gives the task its media and waits until the desk has taken them; told the share that is done."""

    def wait(self, task: int) -> None:
        """Waits until the desk is no more at work on a task's media."""

    def delete_task(self, task: int) -> None:
        """Deletes a task; nothing happens if it is gone."""

    def jobs(self, project: int, task: int | None = None, since: str | None = None) -> list[JobState]:
        """Jobs of a project, or of one task, by id; with ``since`` those that changed at or after that moment."""

    def set_job(
        self, job: int, *, state: str | None = None, stage: str | None = None, assignee: str | None = None
    ) -> JobState:
        """Sets what is given; ``assignee`` is a user's name, or empty for nobody."""

    def read(self, job: JobState) -> tuple[tuple[SheetTrack, ...], list[Refusal]]:
        """What is on the job's sheet, and what of it cannot be used."""

    def write(
        self, job: int, create: Sequence[SheetTrack] = (), update: Sequence[SheetTrack] = (),
        delete: Sequence[SheetTrack] = (),
    ) -> list[int]:  # fmt: skip
        """Changes tracks of a job: deletes, then updates (by ``remote``), then creates.

        Returns:
            ids of those that were created, in order.
        """

    def issues(self, job: int) -> list[IssueState]:
        """All issues of a job with their comments, by id."""

    def open_issue(self, job: int, frame: int, position: Sequence[float], message: str) -> int:
        """Opens an issue."""

    def resolve_issue(self, issue: int) -> None:
        """Closes an issue; nothing happens if it is closed, or gone."""

    def describe(self, project: int, markdown: str) -> None:
        """Tells people who work in the project what to do."""

    def unknown_users(self, names: Sequence[str]) -> list[str]:
        """Those of the names that the desk does not know."""

    def register_webhook(self, project: int, target: str, secret: str) -> int:
        """Makes the desk call an address, with a signature, whenever something changes; mends it if it is there."""

    def link(self, job: int, task: int) -> str:
        """Where a browser opens the job."""


class Journal(Protocol):
    """Small notes that outlive the process: each is written whole or not at all, and goes only with the dataset."""

    def get(self, key: str) -> Any:
        """The note, or None."""

    def set(self, key: str, value: Any) -> None:
        """Writes a note of plain values."""

    def delete(self, key: str) -> None:
        """Forgets a note."""

    def keys(self, prefix: str = "") -> list[str]:
        """Names of the notes, in alphabetical order."""

    def hold(self) -> AbstractContextManager[None]:
        """Makes sure that no other process works on the same desk meanwhile.

        Raises:
            DeskError: if one does; names it.
        """


class DeskStore(Protocol):
    """The dataset's side of the round trip; all frames are positions in the media, from 0."""

    def videos(self) -> Sequence[tuple[str, str]]:
        """(key, name) of all videos, in a fixed order."""

    def info(self, key: str) -> VideoInfo:
        """Size and frame rate; ``num_frames`` counts positions in the media."""

    def frame_numbers(self, key: str) -> NDArray[np.int64]:
        """(S,) int64, frame of the video, from 0, at every position in the media."""

    def media(self, key: str) -> Media:
        """What is shown to people."""

    def labels(self, key: str) -> Labels:
        """The field of tracks as it is now."""

    def classes(self) -> Sequence[LabelSpec]:
        """All classes of the field of tracks, with what may be said of their boxes."""

    def queries(self) -> Mapping[str, Sequence[Query]]:
        """Key of a video -> its open questions, most valuable first; with positions as frames."""

    def new_key(self) -> str:
        """A name for a new box."""

    def new_instance(self, key: str, number: int) -> str:
        """Identity for a new track."""

    def apply(self, key: str, patch: Patch) -> None:
        """Changes the field of tracks; the same patch again changes nothing."""

    def keep_answers(self, answers: Sequence[Answer], closed: Collection[str]) -> int:
        """Keeps answers, with frames of the video, and closes questions; returns how many were new."""

    def show_conflicts(self, key: str, conflicts: Sequence[Conflict]) -> None:
        """Shows the other version of what two people disagree about, in place of what was shown before."""

    def set_review(self, key: str, status: str) -> None:
        """Says "in review" or "reviewed" of a video."""
