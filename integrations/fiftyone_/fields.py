"""The fields and saved views that labelling adds to a dataset: their names, their meaning, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
import fiftyone.core.utils as fou
from bson import json_util
from fiftyone import ViewField as F
from fiftyone.core.odm.database import patch_saved_views

from ...models.errors import InputError
from .raw import declare_detections, write_sample_values
from .videos import StoredVideo

OWNER = "spam_plugin"  # key in a field's info that says that this plugin made it
DEFAULT_OUT = "spam_tracks"

UNREVIEWED, IN_REVIEW, REVIEWED = "unreviewed", "in review", "reviewed"

_ATTRIBUTES = {
    "uncertainty": (fo.FloatField, "calibrated uncertainty whether the box is an object, from 0 to 1"),
    "link_uncertainty": (fo.FloatField, "calibrated uncertainty which track the box belongs to, from 0 to 1"),
    "source": (fo.StringField, "who said so: model, human, propagated or interpolated"),
    "keyframe": (fo.BooleanField, "whether the box is a keyframe of its track"),
    "answered": (fo.BooleanField, "set on a human box that stands for an answer, and moves when the answer does"),
}

_SUMMARY = {
    "max_uncertainty": (fo.FloatField, "greatest uncertainty of a box or link of the video, from 0 to 1"),
    "mean_uncertainty": (fo.FloatField, "mean uncertainty of the video's boxes, from 0 to 1"),
    "open_queries": (fo.IntField, "questions to a human that have no answer yet"),
    "expected_gain": (fo.FloatField, "boxes that answers to the open questions are expected to put right"),
    "review_status": (fo.StringField, f"{UNREVIEWED}, {IN_REVIEW} or {REVIEWED}"),
    "model_version": (fo.StringField, "model that labelled the video last"),
}


@dataclass(frozen=True)
class OutputFields:
    """Names of everything that belongs to one field of tracks.

    The fields of a video go by the name of the field of tracks without ``_tracks``: ``spam_tracks`` comes with
    ``spam_max_uncertainty``, ``spam_mean_uncertainty``, ``spam_open_queries``, ``spam_review_status`` and
    ``spam_model_version``. Images of a sequence all carry the values of their sequence.

    Attributes:
        out: name of the field of tracks, without ``frames.``.

    Raises:
        InputError: for a name that FiftyOne cannot use.
    """

    out: str = DEFAULT_OUT

    def __post_init__(self) -> None:
        if not self.out.isidentifier() or self.out.startswith("_"):
            raise InputError(f"{self.out!r} cannot be the name of a field; use letters, digits and underscores")

    def summary(self, name: str) -> str:
        """Full name of one of the fields of a video: ``max_uncertainty`` and so on."""
        return f"{self.out.removesuffix('_tracks') or self.out}_{name}"

    def view(self, name: str) -> str:
        """Full name of a saved view; only those of the usual field go by their plain names."""
        return name if self.out == DEFAULT_OUT else f"{name} ({self.out})"


def check_ours(dataset: fo.Dataset, prefix: str, fields: OutputFields) -> None:
    """Makes sure that nothing of anybody else's would be overwritten.

    Raises:
        InputError: if a field of one of these names exists that labelling into this very field did not make.
    """
    _check_owner(dataset, [prefix + fields.out, *(fields.summary(name) for name in _SUMMARY)], fields)


def check_summary(dataset: fo.Dataset, fields: OutputFields, *names: str) -> None:
    """Makes sure of the same for some fields of the videos; the field of tracks may be a user's own.

    Raises:
        InputError: if such a field exists that this plugin did not make for this very field of tracks.
    """
    _check_owner(dataset, [fields.summary(name) for name in names], fields)


def _check_owner(dataset: fo.Dataset, paths: Sequence[str], fields: OutputFields) -> None:
    for path in paths:
        found = dataset.get_field(path)
        if found is not None and (found.info or {}).get(OWNER) != fields.out:
            raise InputError(
                f"field {path!r} of dataset {dataset.name!r} was not made by labelling into {fields.out!r}, so it "
                f"is not overwritten; choose another name (out=..., --out), or rename or delete the field"
            )


def declare(dataset: fo.Dataset, prefix: str, fields: OutputFields) -> None:
    """Declares all fields with their descriptions, so that the App's sidebar filters them, and marks them as ours."""
    declare_tracks(dataset, prefix + fields.out, "tracks; index and instance say which box is whose", fields.out)
    declare_summary(dataset, fields, *_SUMMARY)


def declare_tracks(dataset: fo.Dataset, path: str, description: str | None = None, owner: str | None = None) -> None:
    """Declares what boxes of tracks carry; what is declared already stays as it is.

    Args:
        dataset: that the field is in.
        path: of the field of tracks, with ``frames.``.
        description: of the field, if it has to be made.
        owner: name to mark the field with as ours, if it has to be made.
    """
    declare_detections(dataset, path, _ATTRIBUTES, description, {OWNER: owner} if owner is not None else None)
    if dataset.get_field(f"{path}.detections.instance") is None:
        add = dataset.add_frame_field if path.startswith("frames.") else dataset.add_sample_field
        name, meaning = f"{path.removeprefix('frames.')}.detections.instance", "the track, as the App follows it"
        add(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Instance, description=meaning)


def undeclared(dataset: fo.Dataset, path: str) -> list[str]:
    """Names of what ``declare_tracks`` would add to the boxes of a field.

    Raises:
        InputError: if the boxes have an attribute of such a name that is of another type.
    """
    lacking = []
    for name, kind in {**{name: kind for name, (kind, _) in _ATTRIBUTES.items()}, "instance": None}.items():
        found = dataset.get_field(f"{path}.detections.{name}")
        if found is None:
            lacking.append(name)
        elif kind is not None and not isinstance(found, kind):
            raise InputError(
                f"boxes in field {path!r} of dataset {dataset.name!r} have an attribute {name!r} of type "
                f"{type(found).__name__}, where this plugin would write a {kind.__name__}; rename it "
                f"(dataset.rename_{'frame' if path.startswith('frames.') else 'sample'}_field)"
            )
    return lacking


def declare_summary(dataset: fo.Dataset, fields: OutputFields, *names: str) -> None:
    """Declares fields of the videos, and marks them as ours."""
    for name in names:
        if dataset.get_field(fields.summary(name)) is None:
            kind, meaning = _SUMMARY[name]
            dataset.add_sample_field(fields.summary(name), kind, description=meaning, info={OWNER: fields.out})


def write_summary(
    video: StoredVideo, fields: OutputFields, mean_uncertainty: float, max_uncertainty: float, model_version: str
) -> None:
    """Writes the fields of one video; what a human or the review desk has set already stays."""
    values = {
        "max_uncertainty": max_uncertainty,
        "mean_uncertainty": mean_uncertainty,
        "model_version": model_version,
    }
    write_sample_values(
        video.dataset,
        video.sample_ids,
        {fields.summary(name): value for name, value in values.items()},
        {fields.summary(name): value for name, value in _START.items()},
    )


def save_views(dataset: fo.Dataset, fields: OutputFields) -> None:
    """Saves the views "most uncertain", "in review" and "reviewed"; a view of a user's with such a name stays."""
    status, version = fields.summary("review_status"), fields.summary("model_version")
    views = {name: dataset.match(F(status) == name) for name in (IN_REVIEW, REVIEWED)}
    if dataset.get_field(version) is not None:  # else the tracks are a user's own
        labelled = dataset.exists(version)
        views = {"most uncertain": labelled.sort_by(fields.summary("max_uncertainty"), reverse=True), **views}
    for name, view in views.items():
        keep_view(dataset, fields, name, view)


def keep_view(dataset: fo.Dataset, fields: OutputFields, name: str, view: fo.DatasetView) -> None:
    """Saves a view, or changes the one of this name if it is ours; a view of a user's with such a name stays.

    FiftyOne overwrites a view by deleting it first. A process that is killed in between leaves a dataset that refers to
    a view which is not there, and views cannot be looked up in it any more; so a view is changed where it is, and what
    others may have left half saved is mended.

    Args:
        dataset: that the view is of.
        fields: the names that go with the field of tracks.
        name: plain name of the view.
        view: what it shows.
    """
    full, mark = fields.view(name), f"Made by spam-plugin for field {fields.out}"
    dataset._doc.reload("saved_views")  # another process may have saved it
    names = dataset.list_saved_views()
    if full not in names or len(names) < len(dataset._doc.saved_views):
        patch_saved_views(dataset.name)
        dataset._doc.reload("saved_views")
    taken = next((one for one in dataset.list_saved_views() if fou.to_slug(one) == fou.to_slug(full)), None)
    if taken is None:
        dataset.save_view(full, view, description=mark)
        return
    there = dataset._get_saved_view_doc(taken)
    stages = [json_util.dumps(stage) for stage in view._serialize(include_uuids=False)]
    if taken == full and there.description == mark and list(there.view_stages) != stages:
        there.view_stages, there.last_modified_at = stages, datetime.now(timezone.utc)
        there.save()


_START: Mapping[str, Any] = {"open_queries": 0, "expected_gain": 0.0, "review_status": UNREVIEWED}
