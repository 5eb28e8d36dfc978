"""Ground truth that a simulated person answers from: it must be of the very video that is labelled."""

from __future__ import annotations

import numpy as np

from ...engine.metrics import TruthTable
from ...engine.metrics.tables import check_rows
from ...models.columns import VideoInfo
from ...models.errors import InputError
from .track_fields import read_track_field
from .videos import StoredVideo

UNLABELLED_END = 0.1  # share of a video's frames behind the last one with ground truth; more is another video's


def read_truth(video: StoredVideo, info: VideoInfo, field: str, with_classes: bool) -> TruthTable:
    """All ground truth of one video, in pixels.

    Args:
        video: which one.
        info: its length and size.
        field: the ``Detections`` field, without ``frames.``.
        with_classes: read MOTChallenge's classes, too.

    Raises:
        InputError: for a video without ground truth, or with that of a video of another length or size, or with boxes
            that are not finite, have no index, or are two of one track in a frame.
    """
    truth, _ = read_track_field(video.dataset, video, field, (info.width, info.height))
    where = f"video {video.name!r}: ground truth in field {field!r}"
    if truth.no_frames_labelled:
        raise InputError(
            f"video {video.name!r} has no ground truth in field {field!r}; leave it out with a view, or name the field "
            "that has it"
        )
    if truth.labelled_until > info.num_frames:
        raise InputError(
            f"{where} goes to frame {truth.labelled_until}, but the video has {info.num_frames} frames; it seems to be "
            "of another video"
        )
    if truth.labelled_until < (1 - UNLABELLED_END) * info.num_frames:
        raise InputError(
            f"{where} ends at frame {truth.labelled_until}, but the video has {info.num_frames} frames; it seems to be "
            "of another video (if there is nothing to be seen behind, give the last frame an empty list of boxes)"
        )
    outside = (truth.xyxy[:, :2] >= [info.width, info.height]) | (truth.xyxy[:, 2:] <= 0)
    if 2 * np.count_nonzero(outside.any(1)) > len(outside):
        raise InputError(
            f"{where} lies outside of the image ({info.width:g} x {info.height:g} pixels) with most of its boxes; it "
            "seems to be of a video of another size"
        )
    table = truth.as_truth(with_classes)
    check_rows(table, info.num_frames, video.name)
    return table
