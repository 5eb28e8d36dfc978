"""A tracker that follows objects of a dataset's videos again and again, for simulations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...engine.filler import TrackerFiller
from ...models.columns import VideoInfo
from ...models.spot.model import Tracker
from .frames import media_digest
from .pictures import ImageFiles, VideoFile, pictures_of
from .videos import StoredVideo


def filler_of(
    videos: Mapping[str, tuple[StoredVideo, VideoInfo]], tracker: str | Path | None = None, device: str = "cpu"
) -> TrackerFiller:
    """Who fills gaps in some videos.

    Args:
        videos: by the keys that it will be asked with.
        tracker: file of its weights; None for the default ones.
        device: where it runs, as torch names it.

    Raises:
        MissingError: for weights that are not there.
        InputError: for weights that hold no tracker, or media that are not there.
    """
    pictures: dict[str, VideoFile | ImageFiles] = {}
    for key, (video, info) in videos.items():
        media_digest(video)  # the files are there
        pictures[key] = pictures_of(video, info)
    return TrackerFiller(Tracker.load(tracker, device), pictures.__getitem__)
