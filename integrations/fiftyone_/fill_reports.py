"""What filling did, video by video, and what there is to fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_COUNTS = (
    "objects", "keys", "gaps", "fell_back", "open_ends", "tracked", "interpolated", "snapped", "left", "taken"
)  # fmt: skip


@dataclass(frozen=True)
class FilledVideo:
    """What filling did in one video.

    Attributes:
        name: of the video.
        objects: how many have a human box.
        keys: how many human boxes there are.
        gaps: how many stretches between two of them were filled.
        fell_back: how many of these got the straight line.
        open_ends: how many stretches before the first or behind the last human box of an object were followed.
        tracked: filled boxes that the tracker saw, of those that were written.
        interpolated: those on the straight line.
        snapped: those that are a candidate's.
        mean_confidence: of those that were written; 0 without any.
        left: filled boxes that were not written, as the field has better founded ones there.
        taken: those that were not, as a box of another track lies there.
        reused: whether nothing had to be followed, as nothing has changed.
        seconds: of work.
        problems: a sentence each for what could not be done.
    """

    name: str
    objects: int = 0
    keys: int = 0
    gaps: int = 0
    fell_back: int = 0
    open_ends: int = 0
    tracked: int = 0
    interpolated: int = 0
    snapped: int = 0
    mean_confidence: float = 0.0
    left: int = 0
    taken: int = 0
    reused: bool = False
    seconds: float = 0.0
    problems: tuple[str, ...] = ()

    @property
    def boxes(self) -> int:
        """How many filled boxes were written."""
        return self.tracked + self.interpolated + self.snapped


@dataclass(frozen=True)
class PropagateReport:
    """What filling did.

    Attributes:
        videos: that have a human box, in the dataset's order.
        without: how many have none.
        skipped: name -> why, of the videos that could not be used.
        tracker: version of what followed.
        run: key of the run that is registered with the dataset.
    """

    videos: tuple[FilledVideo, ...] = ()
    without: int = 0
    skipped: Mapping[str, str] = field(default_factory=dict)
    tracker: str = ""
    run: str = ""

    @property
    def problems(self) -> list[str]:
        """What could not be done, over all videos."""
        return [f"video {video.name!r}: {text}" for video in self.videos for text in video.problems]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON wants them; ``overall`` sums up ``videos``."""
        counts = (
            "objects",
            "keys",
            "gaps",
            "fell_back",
            "open_ends",
            "tracked",
            "interpolated",
            "snapped",
            "left",
            "taken",
        )
        overall: dict[str, Any] = {name: sum(getattr(video, name) for video in self.videos) for name in counts}
        boxes = sum(video.boxes for video in self.videos)
        overall |= {
            "videos": len(self.videos), "boxes": boxes, "seconds": sum(video.seconds for video in self.videos),
            "mean_confidence": sum(video.mean_confidence * video.boxes for video in self.videos) / max(boxes, 1),
        }  # fmt: skip
        videos = {
            video.name: {
                **{k: v for k, v in asdict(video).items() if k != "name"},
                "boxes": video.boxes, "problems": list(video.problems),
            }
            for video in self.videos
        }  # fmt: skip
        return {
            "tracker": self.tracker, "run": self.run, "videos": videos, "without": self.without, "overall": overall,
            "skipped": dict(self.skipped),
        }  # fmt: skip


@dataclass(frozen=True)
class ToFill:
    """What there is to fill, as forms tell it.

    Attributes:
        videos: with a human box.
        objects: with a human box.
        keys: human boxes.
        frames: between two human boxes of an object, over all objects.
    """

    videos: int
    objects: int
    keys: int
    frames: int
