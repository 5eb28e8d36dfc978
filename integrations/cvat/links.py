"""Where a browser opens the CVAT jobs of a video: from the journal's notes alone, so no server is asked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import fiftyone as fo

from ...engine.desk.notes import DESK, job_key, video_key
from ..fiftyone_.journal import SyncJournal
from ..fiftyone_.videos import StoredVideo, open_videos


@dataclass(frozen=True)
class JobLink:
    """One job of a video, as it stood when both sides were last the same.

    Attributes:
        video: key of the video.
        name: the video's.
        job: number of the job.
        task: number of its task.
        frames: first and last, of the video, from 0.
        questions: how many of ours are open in it.
        is_open: whether it waits for a person.
        url: where a browser opens it.
    """

    video: str
    name: str
    job: int
    task: int
    frames: tuple[int, int]
    questions: int
    is_open: bool
    url: str


def job_url(server: str, task: int, job: int, position: int | None = None) -> str:
    """Where a browser opens a job, and maybe one of its frames.

    Args:
        server: its address.
        task: number of the task.
        job: number of the job.
        position: of the frame in the task's media, from 0.
    """
    return f"{server}/tasks/{task}/jobs/{job}" + ("" if position is None else f"?frame={position}")


def was_sent(dataset: fo.Dataset, out: str) -> bool:
    """Whether a project in CVAT is known for a field of tracks."""
    return SyncJournal(dataset, out).get(DESK) is not None


def links_of(dataset: fo.Dataset, out: str, keys: Collection[str]) -> list[JobLink]:
    """The jobs of some videos, in the order of the videos and of their frames.

    Args:
        dataset: that they are in.
        out: name of the field of tracks.
        keys: of the videos.
    """
    journal = SyncJournal(dataset, out)
    desk = journal.get(DESK)
    if desk is None or not keys:
        return []
    return [link for video in _videos(dataset, keys) for link in _of_video(journal, desk["url"], video)]


def link_of(dataset: fo.Dataset, out: str, key: str, frame: int) -> str | None:
    """Where a browser opens one frame of a video; None if no job holds it.

    Args:
        dataset: that the video is in.
        out: name of the field of tracks.
        key: of the video.
        frame: of the video, from 0.
    """
    journal = SyncJournal(dataset, out)
    desk = journal.get(DESK)
    videos = _videos(dataset, [key])
    if desk is None or not videos:
        return None
    (video,) = videos
    # Jobs overlap: where two hold the frame, the one that waits for a person is meant.
    holding = [link for link in _of_video(journal, desk["url"], video) if link.frames[0] <= frame <= link.frames[1]]
    if not holding:
        return None
    best = max(holding, key=lambda link: (link.is_open, link.questions))
    position = frame if video.image_frame is None else int(video.image_frame.searchsorted(frame))
    return job_url(desk["url"], best.task, best.job, position)


def _of_video(journal: SyncJournal, server: str, video: StoredVideo) -> list[JobLink]:
    found = []
    for number in (journal.get(video_key(video.key)) or {}).get("jobs", []):
        note: dict[str, Any] | None = journal.get(job_key(number))
        if note is None:
            continue
        first, last = note["start"], note["stop"]
        if video.image_frame is not None:  # the desk counts images, and a sequence may leave frames out
            first, last = (int(video.image_frame[min(at, len(video.image_frame) - 1)]) for at in (first, last))
        url = job_url(server, note["task"], number)
        found.append(
            JobLink(
                video.key, video.name, number, note["task"], (first, last), len(note["asked"]), bool(note["is_open"]),
                url,
            )
        )  # fmt: skip
    return sorted(found, key=lambda link: (link.frames, link.job))


def _videos(dataset: fo.Dataset, keys: Collection[str]) -> list[StoredVideo]:
    """Those of the videos that there are, whole: of a sequence all its images."""
    from ..fiftyone_.choices import whole_videos

    chosen = dataset.select(list(keys))
    return [one for one in open_videos(whole_videos(dataset, chosen)) if one.key in keys] if len(chosen) else []
