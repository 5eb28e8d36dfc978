"""What the journal knows of jobs, and how it is called there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..queries import Query
from .sheets import Sheet, SheetTrack

DESK, TURN = "desk", "turn"
PENDING_PULL, PENDING_PUSH = "pending/pull/", "pending/push/"


def video_key(video: str) -> str:
    """Name of a video's note."""
    return f"video/{video}"


def job_key(job: int) -> str:
    """Name of a job's note."""
    return f"job/{job:012d}"


def conflict_key(video: str) -> str:
    """Name of the note of a video's conflicts."""
    return f"conflicts/{video}"


@dataclass(frozen=True)
class JobNote:
    """How a job stood when both sides were last the same.

    Attributes:
        job: its number.
        video: key of its video.
        task: number of its task.
        start: first frame.
        stop: last frame.
        updated: the desk's time of the last change that we know of.
        base: the tracks that were there.
        instances: uid of each -> its identity in the dataset.
        asked: the open questions in it, with the number of the issue each; frames are positions in the media.
        is_open: whether it waits for a person.
        pulled: how often something came back from it.
    """

    job: int
    video: str
    task: int
    start: int
    stop: int
    updated: str = ""
    base: tuple[SheetTrack, ...] = ()
    instances: Mapping[str, str] = field(default_factory=dict)
    asked: tuple[tuple[Query, int], ...] = ()
    is_open: bool = False
    pulled: int = 0

    @property
    def sheet(self) -> Sheet:
        """What was there."""
        return Sheet(self.start, self.stop, self.base)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "base": [track.as_dict() for track in self.base],
            "instances": dict(self.instances),
            "asked": [[query.as_dict(), issue] for query, issue in self.asked],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobNote:
        """The note of ``as_dict``."""
        base = tuple(SheetTrack.from_dict(track) for track in values["base"])
        asked = tuple((Query.from_dict(query), int(issue)) for query, issue in values["asked"])
        return cls(**{**values, "base": base, "asked": asked})
