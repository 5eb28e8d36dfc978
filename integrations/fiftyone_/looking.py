"""Views of videos by their state, and colours of tracks: what the App shows of a labelled dataset."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection
from pymongo.errors import ExecutionTimeout

from .choices import plural
from .fields import IN_REVIEW, REVIEWED, OutputFields
from .videos import FRAME_NUMBER_FIELD, SEQUENCE_FIELD

GLANCE_MS = 100  # that a look whether there is anything may take; the toolbar waits for it
MAX_UNCERTAINTY = "max_uncertainty"


@dataclass(frozen=True)
class Shown:
    """A view, and what it shows.

    Attributes:
        said: in a sentence.
        view: None where there is nothing to show.
        fields: that the App should draw; None for those that it draws anyway.
    """

    said: str
    view: fo.DatasetView | None = None
    fields: tuple[str, ...] | None = None


# --- videos


def most_uncertain(dataset: fo.Dataset, out: str) -> Shown:
    """The labelled videos, the most uncertain first."""
    fields = OutputFields(out)
    labelled = _exists(dataset, fields.summary("model_version"))
    if labelled is None:
        return Shown(f"no video is labelled in {out!r} yet; label tracks first")
    view = by_sequence(labelled).sort_by(fields.summary(MAX_UNCERTAINTY), reverse=True)
    return Shown(f"{_videos(view)}, the most uncertain first", view)


def with_status(dataset: fo.Dataset, out: str, status: str) -> Shown:
    """The videos of a review status, the most uncertain first."""
    fields = OutputFields(out)
    path = fields.summary("review_status")
    found = dataset.match(F(path) == status) if dataset.get_field(path) is not None else None
    if found is None or not len(found):
        return Shown(f"no video is {status}; {_HOW_TO_GET[status]}")
    view = by_sequence(found)
    if dataset.get_field(fields.summary(MAX_UNCERTAINTY)) is not None:
        view = view.sort_by(fields.summary(MAX_UNCERTAINTY), reverse=True)
    return Shown(f"{_videos(view)} {status}", view)


_HOW_TO_GET = {
    IN_REVIEW: "send some to CVAT first",
    REVIEWED: "a video is when what was sent to CVAT has come back finished",
}


def changed_by_people(dataset: fo.Dataset, out: str) -> Shown:
    """The videos that have a box which a person drew or moved, here or in CVAT.

    Reads ``source`` of every frame inside the database, nothing else, and keeps no index: 1.5 s for 10 million boxes.
    """
    found = _collection(dataset).distinct(_key(dataset), _by_people(out))
    if not found:
        return Shown(f"no box in {out!r} was drawn or moved by a person")
    if dataset.media_type == "video":
        view = dataset.select([str(key) for key in found], ordered=False)
    else:
        view = by_sequence(dataset.match(F(SEQUENCE_FIELD).is_in(found)))
    return Shown(f"{_videos(view)} with boxes that people drew or moved", view)


def any_with_status(dataset: fo.Dataset, out: str, status: str) -> bool:
    """Whether a video has a review status; true where the answer takes too long."""
    return _any(dataset._sample_collection, {OutputFields(out).summary("review_status"): status})


def any_changed_by_people(dataset: fo.Dataset, out: str) -> bool:
    """Whether people drew or moved a box; true where the answer takes too long."""
    return _any(_collection(dataset), _by_people(out))


def by_sequence(view: SampleCollection) -> SampleCollection:
    """Images grouped so that the App shows one tile per sequence, and plays it; videos as they are."""
    if view._dataset.media_type == "video":
        return view
    return view.group_by(SEQUENCE_FIELD, order_by=FRAME_NUMBER_FIELD)


# --- colours


def colour_by_track(dataset: fo.Dataset, out: str) -> None:
    """Lets the App draw the field of tracks alone, and each track in a colour of its own.

    A browser that shows the dataset already has to be told (``show_colours`` of the operators); it does not look again.

    Args:
        dataset: its settings of the App are changed, and saved.
        out: the field of tracks.
    """
    prefix = "frames." if dataset.media_type == "video" else ""
    hues = (np.arange(30) * 0.381966) % 1  # golden angle: neighbours in the list differ most
    shades = [colorsys.hsv_to_rgb(hue, 0.9, (1.0, 0.75, 0.55)[number % 3]) for number, hue in enumerate(hues)]
    pool = ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]
    dataset.app_config.color_scheme = fo.ColorScheme(color_by="instance", color_pool=pool)
    dataset.app_config.active_fields = fo.ActiveFields(paths=[prefix + out])
    dataset.save()


def colour_if_plain(dataset: fo.Dataset, out: str) -> None:
    """The same where the dataset has no colours of its own."""
    if dataset.app_config.color_scheme is None:
        colour_by_track(dataset, out)


def is_coloured_by_track(dataset: fo.Dataset) -> bool:
    """Whether the App draws each track in a colour of its own."""
    scheme = dataset.app_config.color_scheme
    return scheme is not None and scheme.color_by == "instance"


# --- what they need


def _exists(dataset: fo.Dataset, path: str) -> fo.DatasetView | None:
    """The samples that have a value; None if there are none."""
    if dataset.get_field(path) is None:
        return None
    found = dataset.exists(path)
    return found if len(found) else None


def _videos(view: SampleCollection) -> str:
    return f"{len(view):,} {plural(len(view), 'video')}"


def _collection(dataset: fo.Dataset) -> Any:
    """Where the boxes are."""
    return dataset._frame_collection if dataset.media_type == "video" else dataset._sample_collection


def _key(dataset: fo.Dataset) -> str:
    """What names a video where its boxes are."""
    return "_sample_id" if dataset.media_type == "video" else SEQUENCE_FIELD


def _by_people(out: str) -> dict[str, Any]:
    return {f"{out}.detections.source": "human"}


def _any(collection: Any, query: Mapping[str, Any]) -> bool:
    try:
        return collection.find_one(query, {"_id": 1}, max_time_ms=GLANCE_MS) is not None
    except ExecutionTimeout:
        return True
