"""Tracks before and after a round: the tracks that were are kept beside, and both are shown in one video, side by side.

The App plays one video at a time: of a group with two videos it shows one large and the other as a picture that stands
still. So the comparison is a dataset of videos that show the same picture twice, the tracks before on its left half and
those after on its right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as foo
import fiftyone.core.utils as fou
import numpy as np
from bson import ObjectId
from fiftyone.core.collections import SampleCollection
from pymongo import UpdateMany

from ...engine.changes import Changes, LabelledBoxes, changes
from ...models.errors import InputError, MissingError
from .choices import plural, whole_videos
from .columns import four_columns, track_instance, video_documents
from .doubling import double
from .fields import OWNER, OutputFields
from .looking import colour_by_track
from .raw import declare_detections, write_frame_labels
from .videos import StoredVideo, open_videos

MOST_VIDEOS = 12  # that are shown side by side
MOST_FRAMES = 12_000  # of them together; a thousand take some ten seconds
MOST_COMPARED = 50_000  # frames whose boxes are counted, to find the videos that changed most

_MARK = "spam_plugin_comparison"  # key in a dataset's info: this dataset is ours and may be replaced
_IDS_PER_WRITE = 5_000
_SHOWN = ("label", "index", "confidence", "uncertainty", "link_uncertainty", "source", "keyframe")
_ATTRIBUTES = {
    "uncertainty": (fo.FloatField, "calibrated uncertainty whether the box is an object, from 0 to 1"),
    "link_uncertainty": (fo.FloatField, "calibrated uncertainty which track the box belongs to, from 0 to 1"),
    "source": (fo.StringField, "who said so: model, human, propagated or interpolated"),
    "keyframe": (fo.BooleanField, "whether the box is a keyframe of its track"),
    "change": (
        fo.StringField,
        "unchanged, moved, other track, other label, or only here",
    ),
}

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Comparison:
    """What was made.

    Attributes:
        said: in a sentence.
        dataset: name of the dataset to open; None where there is nothing to compare.
    """

    said: str
    dataset: str | None = None


def before_field(out: str) -> str:
    """Name of the field that keeps the tracks as they were."""
    return f"{out}_before"


def has_before(dataset: fo.Dataset, out: str) -> bool:
    """Whether tracks were kept to compare with."""
    prefix = "frames." if dataset.media_type == "video" else ""
    found = dataset.get_field(prefix + before_field(out))
    return found is not None and (found.info or {}).get(OWNER) == out


def check_kept(dataset: fo.Dataset, out: str) -> None:
    """Makes sure that there is something to compare with.

    Raises:
        MissingError: if no tracks were kept.
    """
    if not has_before(dataset, out):
        raise MissingError(
            f"nothing to compare: the tracks before the last round were not kept in {before_field(out)!r}; tick "
            '"keep the tracks as they were" in the form the next time'
        )


def keep_before(dataset: fo.Dataset, out: str, view: SampleCollection | None = None) -> int:
    """Copies the tracks as they are into the field ``<out>_before``, in place of what it held of these videos.

    The database copies; nothing passes through this process.

    Args:
        dataset: that the field is in.
        out: the field of tracks.
        view: the videos that are about to be labelled, or synchronised; None for all.

    Returns:
        Number of samples whose tracks were kept; 0 where nothing is labelled yet, and so nothing to keep.

    Raises:
        InputError: if a field of that name is not ours.
    """
    out = OutputFields(out.removeprefix("frames.")).out
    prefix, name = "frames." if dataset.media_type == "video" else "", before_field(out)
    if dataset.get_field(prefix + out) is None:
        return 0
    if dataset.get_field(prefix + name) is not None and not has_before(dataset, out):
        raise InputError(
            f"field {prefix + name!r} of dataset {dataset.name!r} was not made to keep tracks in, so it is not "
            "overwritten; rename or delete the field"
        )
    _declare_like(dataset, prefix + out, prefix + name, out)
    ids = [ObjectId(key) for key in (whole_videos(dataset, view) if view is not None else dataset).values("id")]
    copy = [{"$set": {name: {"$ifNull": [f"${out}", None]}, "last_modified_at": datetime.now(timezone.utc)}}]
    key = "_sample_id" if prefix else "_id"
    step = 50 if prefix else _IDS_PER_WRITE  # a video has thousands of frames
    for start in range(0, len(ids), step):
        some = {key: {"$in": ids[start : start + step]}}
        dataset._bulk_write([UpdateMany(some, copy)], frames=bool(prefix))
    return len(ids)


def compare(collection: SampleCollection, out: str, tell: Tell = lambda share, what: None) -> Comparison:
    """Makes the dataset ``<name> before and after`` of the videos that changed most, in place of an earlier one.

    Args:
        collection: whole videos.
        out: the field of tracks.
        tell: told the share that is done, and what is being done.

    Raises:
        MissingError: if no tracks were kept, or ffmpeg is not installed.
        InputError: if a dataset of that name is not ours, or a video cannot be read.
    """
    dataset = collection._dataset
    check_kept(dataset, out)
    name = f"{dataset.name} before and after"
    if fo.dataset_exists(name) and not (fo.load_dataset(name).info or {}).get(_MARK):
        raise InputError(f"dataset {name!r} is not ours, so it is not replaced; rename or delete it")
    changed, videos, left = _most_changed(collection, out, lambda share, what: tell(0.3 * share, what))
    if not changed:
        return Comparison(f"nothing has changed in {videos:,} {plural(videos, 'video')} whose tracks were kept")
    shown = _fitting(changed)
    _replace(name, dataset, out, shown, lambda share, what: tell(0.3 + 0.7 * share, what))
    said = f"{len(shown):,} of {len(changed):,} changed {plural(len(changed), 'video')}, the most changed first"
    return Comparison(f"{said}: before on the left, after on the right{left}", name)


# --- keeping


def _declare_like(dataset: fo.Dataset, path: str, kept: str, out: str) -> None:
    """Declares the field, with every attribute that the boxes of tracks have, and marks it as ours."""
    on_frames = path.startswith("frames.")
    declare_detections(dataset, kept, None, f"{out} as they were before they were last replaced", {OWNER: out})
    there = dataset.get_field(f"{kept}.detections").field.get_field_schema()
    add = dataset.add_frame_field if on_frames else dataset.add_sample_field
    for attribute, kind in dataset.get_field(f"{path}.detections").field.get_field_schema().items():
        if attribute not in there:
            add(f"{kept.removeprefix('frames.')}.detections.{attribute}", **foo.get_field_kwargs(kind))


# --- comparing


@dataclass(frozen=True)
class _Changed:
    video: StoredVideo
    changes: Changes
    frames: int


def _most_changed(collection: SampleCollection, out: str, tell: Tell) -> tuple[list[_Changed], int, str]:
    """The videos that have changed, the most changed first; how many were looked at; what to say of the others."""
    videos = _kept(open_videos(collection), out)
    found: list[_Changed] = []
    looked_at = 0
    for number, video in enumerate(videos):
        if not _touched(video, out):
            continue
        frames = video.info().num_frames if video.image_frame is None else len(video.sample_ids)
        if looked_at and looked_at + frames > MOST_COMPARED:
            left = f"; only the first {number:,} of {len(videos):,} videos were compared, select others to see theirs"
            return _sorted(found), number, left
        tell(number / len(videos), f"comparing {video.name}")
        looked_at += frames
        differ = changes(_read(video, before_field(out)), _read(video, out))
        if differ.boxes:
            found.append(_Changed(video, differ, frames))
    return _sorted(found), len(videos), ""


def _sorted(found: list[_Changed]) -> list[_Changed]:
    return sorted(found, key=lambda one: -one.changes.boxes)


def _kept(videos: list[StoredVideo], out: str) -> list[StoredVideo]:
    """The videos whose tracks were kept, be it that there were none in them."""
    if not videos:
        return []
    dataset, query = videos[0].dataset, {before_field(out): {"$ne": None}}
    if videos[0].image_frame is None:
        kept = set(dataset._frame_collection.distinct("_sample_id", query))
    else:
        kept = set(dataset._sample_collection.distinct("_id", query))
    return [video for video in videos if any(ObjectId(key) in kept for key in video.sample_ids)]


def _touched(video: StoredVideo, out: str) -> bool:
    """Whether anything is not as it was kept; the database compares, a thousand times faster than we do."""
    differs = {"$expr": {"$ne": [{"$ifNull": [f"${out}", None]}, {"$ifNull": [f"${before_field(out)}", None]}]}}
    if video.image_frame is None:
        query = {"_sample_id": ObjectId(video.key), **differs}
        return video.dataset._frame_collection.find_one(query, {"_id": 1}) is not None
    query = {"_id": {"$in": [ObjectId(key) for key in video.sample_ids]}, **differs}
    return video.dataset._sample_collection.find_one(query, {"_id": 1}) is not None


def _read(video: StoredVideo, field: str) -> LabelledBoxes:
    """The boxes of a field; a box without a track is a track of its own."""
    frame: list[int] = []
    box: list[Any] = []
    track: list[int] = []
    label: list[str] = []
    for number, found in video_documents(video, field, ("bounding_box", "index", "label")):
        for one in found:
            frame.append(number)
            box.append(one.get("bounding_box"))
            index = one.get("index")
            track.append(-len(track) - 1 if index is None else int(index))
            label.append(str(one.get("label")))
    xyxy = four_columns(box)
    xyxy[:, 2:] += xyxy[:, :2]
    usable = np.isfinite(xyxy).all(1)
    return LabelledBoxes(
        np.array(frame, np.int64)[usable], xyxy[usable], np.array(track, np.int64)[usable],
        np.array(label, dtype=np.str_)[usable],
    )  # fmt: skip


def _fitting(changed: list[_Changed]) -> list[_Changed]:
    frames = np.cumsum([one.frames for one in changed])
    return changed[: min(max(int(np.searchsorted(frames, MOST_FRAMES, side="right")), 1), MOST_VIDEOS)]


# --- showing


def _replace(name: str, dataset: fo.Dataset, out: str, shown: list[_Changed], tell: Tell) -> None:
    """Makes the dataset; it takes the place of an earlier one when it is complete."""
    folder = Path(fo.config.default_dataset_dir) / fou.to_slug(name)
    made = fo.Dataset()
    try:
        made.media_type = "video"
        made.info[_MARK] = {"dataset": dataset.name, "field": out}
        for field, half in (("before", "left"), ("after", "right")):
            declare_detections(made, f"frames.{field}", _ATTRIBUTES, f"{half} half: the tracks {field} the round")
            made.add_frame_field(
                f"{field}.detections.instance", fo.EmbeddedDocumentField, embedded_doc_type=fo.Instance
            )
        made.add_sample_field("changed_boxes", fo.IntField, description="boxes that differ between the halves")
        for number, one in enumerate(shown):
            tell(number / len(shown), f"two pictures of {one.video.name}")
            _add(made, one, out, folder)
        colour_by_track(made, "after")
        made.app_config.active_fields = fo.ActiveFields(paths=["frames.before", "frames.after", "changed_boxes"])
        made.save()
        used = {Path(path).name for path in made.values("filepath")}
        if fo.dataset_exists(name):
            fo.delete_dataset(name)
        made.name = name
    except BaseException:
        made.delete()
        raise
    for old in folder.glob("*.mp4"):
        if old.name not in used:
            old.unlink()


def _add(made: fo.Dataset, one: _Changed, out: str, folder: Path) -> None:
    path, metadata = double(one.video, folder)
    sample = fo.Sample(
        filepath=str(path), metadata=metadata, video=one.video.name, changed_boxes=one.changes.boxes,
        boxes_before=len(one.changes.before), boxes_after=len(one.changes.after),
    )  # fmt: skip
    made.add_sample(sample)
    for field, source, kinds in (("before", before_field(out), one.changes.before), ("after", out, one.changes.after)):
        write_frame_labels(made, sample.id, field, _half(one, source, kinds.tolist(), field == "after"))


def _half(one: _Changed, field: str, kinds: list[str], right: bool) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Raw boxes of every frame, moved into one half of the picture; the same track has the same colour in both."""
    video, at = one.video, 0
    place = None if video.image_frame is None else {int(frame): n for n, frame in enumerate(video.image_frame)}
    for frame, found in video_documents(video, field, ("bounding_box", *_SHOWN)):
        boxes = []
        for box in found:
            xyxy = four_columns([box.get("bounding_box")])[0]
            if not np.isfinite(xyxy).all():
                continue
            kind, at = kinds[at], at + 1
            number = box.get("index")
            instance = None
            if number is not None:
                then = one.changes.tracks.get(number) if right else number
                instance = track_instance(f"{video.key}/{'after' if then is None else 'before'}", int(then or number))
            boxes.append(
                {
                    **{key: box[key] for key in _SHOWN if box.get(key) is not None},
                    **_MADE, "_id": ObjectId(), "bounding_box": _in_half(xyxy.tolist(), right),
                    **({"instance": {"_id": instance, "_cls": "Instance"}} if instance is not None else {}),
                    "change": kind,
                }
            )  # fmt: skip
        yield (frame if place is None else place[frame]) + 1, boxes


_MADE: dict[str, Any] = {"_cls": "Detection", "attributes": {}, "tags": []}


def _in_half(xywh: list[float], right: bool) -> list[float]:
    """A relative box of the picture as one of the double picture, cut off where the half ends."""
    left, width = max(xywh[0], 0.0), min(xywh[0] + xywh[2], 1.0) - max(xywh[0], 0.0)
    return [left / 2 + (0.5 if right else 0.0), xywh[1], max(width, 0.0) / 2, xywh[3]]
