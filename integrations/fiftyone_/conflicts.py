"""Where people disagree, as others meet it in FiftyOne: a field with the version that was not taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from ...engine.desk.labels import Conflict, Labels
from ...models.columns import VideoInfo
from ...models.errors import InputError
from .fields import OWNER, OutputFields
from .raw import declare_detections, detection_dict, write_frame_labels, write_image_labels
from .videos import StoredVideo

_ATTRIBUTES = {
    "text": (fo.StringField, "who disagrees about what, in words"),
    "jobs": (fo.StringField, "numbers of the review desk's jobs that the other version comes from"),
}


class ConflictField:
    """The field of conflicts that goes with a field of tracks; it is made when the first conflict is shown.

    Args:
        dataset: that they are in.
        prefix: ``"frames."`` for videos, empty for images.
        fields: the names that go with the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, prefix: str, fields: OutputFields) -> None:
        self._dataset, self._fields = dataset, fields
        self._field = fields.summary("conflicts")
        self._path = prefix + self._field

    def check(self) -> None:
        """Makes sure that nothing of anybody else's would be overwritten.

        Raises:
            InputError: if the dataset has a field of this name that is somebody else's.
        """
        found = self._dataset.get_field(self._path)
        if found is not None and (found.info or {}).get(OWNER) != self._fields.out:
            raise InputError(
                f"field {self._path!r} of dataset {self._dataset.name!r} was not made by this plugin for "
                f"{self._fields.out!r}, so it is not overwritten; rename or delete it"
            )

    @property
    def is_there(self) -> bool:
        """Whether it has been made."""
        return self._dataset.get_field(self._path) is not None

    def show(self, video: StoredVideo, info: VideoInfo, labels: Labels | None, conflicts: Sequence[Conflict]) -> None:
        """Shows the conflicts of one video in place of those that were shown before.

        Args:
            video: which one.
            info: its size.
            labels: its field of tracks, for where the other version is no box; else None.
            conflicts: all that are open.

        Raises:
            InputError: if the dataset has a field of this name that is somebody else's.
        """
        self.check()
        if any(self._dataset.get_field(f"{self._path}.detections.{name}") is None for name in _ATTRIBUTES):
            self._dataset.reload()  # another process may have made it, or, if it was killed, the half of it
            declare_detections(
                self._dataset, self._path, _ATTRIBUTES, "what people disagree about: the version that was not taken",
                {OWNER: self._fields.out},
            )  # fmt: skip
        per_frame: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for conflict in conflicts:
            for position, xyxy in _shown(conflict, labels, info):
                per_frame[position].append(_document(conflict, xyxy, info))
        if video.image_frame is None:
            numbered = ((position + 1, per_frame[position]) for position in sorted(per_frame))
            write_frame_labels(self._dataset, video.key, self._field, numbered)
        else:
            pairs = ((key, per_frame.get(position, [])) for position, key in enumerate(video.sample_ids))
            write_image_labels(self._dataset, self._field, pairs)


def _shown(conflict: Conflict, labels: Labels | None, info: VideoInfo) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The other version; where that is no box, or no other one, first, middle and last of those that it is about."""
    if conflict.theirs:
        yield from ((position, np.array(xyxy, np.float64)) for position, xyxy in conflict.theirs.items())
        return
    if labels is not None and conflict.track > 0:
        rows = labels.between(conflict.frame, conflict.last)
        rows = rows[labels.track[rows] == conflict.track]
        for row in sorted({0, len(rows) // 2, len(rows) - 1}) if len(rows) else ():
            yield int(labels.frame[rows[row]]), labels.xyxy[rows[row]]
        if len(rows):
            return
    yield conflict.frame, np.array([0.0, 0.0, info.width, info.height])


def _document(conflict: Conflict, xyxy: NDArray[np.float64], info: VideoInfo) -> dict[str, Any]:
    left, top, right, bottom = xyxy.tolist()
    place = [left / info.width, top / info.height, (right - left) / info.width, (bottom - top) / info.height]
    return detection_dict(
        conflict.label or conflict.kind, place, conflict.track if conflict.track > 0 else None, text=conflict.text,
        jobs=", ".join(map(str, conflict.jobs)),
    )  # fmt: skip
