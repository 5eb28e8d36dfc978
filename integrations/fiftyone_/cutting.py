"""Videos cut into what a person would look at: single tracks, and spans in which the model is not sure of a track.

Nothing of a dataset's own is changed. The views are datasets underneath, which FiftyOne makes and forgets; the numbers
of each track or span are written there, counted by the database, so that the App sorts and filters by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import fiftyone as fo
import numpy as np
from bson import ObjectId
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray

from ...models.errors import InputError
from .choices import plural
from .fields import OutputFields
from .looking import MAX_UNCERTAINTY, Shown
from .videos import FRAME_NUMBER_FIELD, SEQUENCE_FIELD

MOST_FRAMES = 50_000  # whose tracks are measured at once: with twenty boxes each it takes some two seconds
MOST_CLIP_FRAMES = 150_000  # of all clips together: to count them the App has all boxes of all their frames fetched
MOST_CLIPS = 1_000  # they are part of the view's description, which goes back and forth between App and browser
JOIN = 5  # frames without doubt that do not end a span

_NUMBERS = {
    MAX_UNCERTAINTY: (fo.FloatField, "greatest uncertainty of its boxes and links, from 0 to 1"),
    "mean_uncertainty": (fo.FloatField, "mean uncertainty of its boxes and links, from 0 to 1"),
    "max_validity": (fo.FloatField, "greatest validity of its boxes"),
    "mean_validity": (fo.FloatField, "mean validity of its boxes"),
    "boxes": (fo.IntField, "number of its boxes"),
    "track": (fo.IntField, "index of the track within its video"),
}


@dataclass(frozen=True)
class Piece:
    """A piece of a video that is shown as a clip: a track, or a span in which it is uncertain.

    Attributes:
        video: id of its sample.
        first: 1-based frame.
        last: 1-based frame.
        numbers: what is written onto the clip: ``track``, ``max_uncertainty`` and others of ``_NUMBERS``.
    """

    video: ObjectId
    first: int
    last: int
    numbers: Mapping[str, Any]


def each_track(collection: SampleCollection, out: str) -> Shown:
    """One clip per track, with its uncertainty and validity on it, the most uncertain first.

    Made as ``to_trajectories`` would, but with ``to_clips``: the App 1.22 plays a trajectory from the video's
    beginning, and a clip from its own. Of image sequences one group of pictures per track, cut out of their images.

    Args:
        collection: whole videos; the most uncertain are taken where they are too many to show.
        out: the field of tracks.
    """
    view, left = _not_too_many(collection, out)
    nothing = Shown(f"there are no tracks in {out!r} here")
    if view._dataset.media_type != "video":
        return _cut_out(view, out, left) or nothing
    return _shown(view, out, _tracks(view, out), "track", True, left) or nothing


def uncertain_spans(
    collection: SampleCollection, out: str, threshold: float = 0.5, least: int = 3, alone: bool = True
) -> Shown:
    """One clip per span in which a track is uncertain, with the span's uncertainty on it, the most uncertain first.

    In a crowded video something is uncertain nearly always, so spans are of single tracks. Uncertain boxes of a track
    that are no more than ``JOIN`` frames apart are in one span. Image sequences cannot be cut into clips: of them the
    uncertain boxes are cut out, one group per track.

    Args:
        collection: whole videos; the most uncertain are taken where they are too many to show.
        out: the field of tracks.
        threshold: uncertainty that a box or link must exceed, in [0, 1).
        least: length of a span in frames; shorter ones are left out. Not of image sequences.
        alone: hide the boxes of other tracks.

    Raises:
        InputError: for a threshold or length that cannot be.
    """
    _check(threshold, least)
    view, left = _not_too_many(_above(collection, out, threshold), out)
    if view._dataset.media_type != "video":
        doubtful = view.filter_labels(out, (F("uncertainty") > threshold) | (F("link_uncertainty") > threshold))
        shown = _cut_out(doubtful, out, f" (only boxes more uncertain than {threshold:g}){left}")
        return shown or Shown(f"nothing is more uncertain than {threshold:g}")
    spans = _spans(view, out, threshold, least)
    nothing = Shown(f"nothing is more uncertain than {threshold:g} for {least:,} {plural(least, 'frame')} or more")
    return _shown(view, out, spans, "span", alone, left) or nothing


def count_spans(
    collection: SampleCollection, out: str, threshold: float = 0.5, least: int = 3
) -> tuple[int, int] | None:
    """How many spans ``uncertain_spans`` would show, in how many videos; None where that is not known quickly.

    Raises:
        InputError: for a threshold or length that cannot be.
    """
    _check(threshold, least)
    view = _above(collection, out, threshold)
    if view._dataset.media_type != "video" or _frames(view) > MOST_FRAMES:
        return None
    found = _spans(view, out, threshold, least)
    return len(found), len({span.video for span in found})


# --- which videos


def _check(threshold: float, least: int) -> None:
    if not 0 <= threshold < 1:
        raise InputError(f"no uncertainty exceeds {threshold:g}; choose a threshold from 0 to 0.99")
    if least < 1:
        raise InputError(f"a span cannot have {least} frames; choose 1 or more")


def _above(collection: SampleCollection, out: str, threshold: float) -> SampleCollection:
    """The videos that can have such a box at all; their own greatest uncertainty tells, without a look at the boxes."""
    path = OutputFields(out).summary(MAX_UNCERTAINTY)
    view = collection.view()
    if view.get_field(path) is None:
        return view
    return view.match(~F(path).exists() | (F(path) > threshold))


def _frames(view: SampleCollection) -> int:
    """Number of frames of whole videos, from their metadata; of images their number."""
    if view._dataset.media_type != "video":
        return len(view)
    return int(view.sum("metadata.total_frame_count") or 0)


def _not_too_many(collection: SampleCollection, out: str) -> tuple[SampleCollection, str]:
    """The most uncertain videos that can be shown at once, and what to say of the others."""
    view = collection.view()
    if _frames(view) <= MOST_FRAMES:
        return view, ""
    is_video = view._dataset.media_type == "video"
    path = OutputFields(out).summary(MAX_UNCERTAINTY)
    by = view.sort_by(path, reverse=True) if view.get_field(path) is not None else view
    if is_video:
        names, counts = by.values(["id", "metadata.total_frame_count"])
        lengths = [count or 0 for count in counts]
    else:
        images = Counter(by.values(SEQUENCE_FIELD))
        names, lengths = list(images), list(images.values())
    fit = max(int(np.searchsorted(np.cumsum(lengths), MOST_FRAMES, side="right")), 1)
    chosen = names[:fit]
    few = view.select(chosen, ordered=False) if is_video else view.match(F(SEQUENCE_FIELD).is_in(chosen))
    return few, f"; of the {fit:,} most uncertain of {len(names):,} videos, select others to see theirs"


# --- pieces


def _greater(of: str) -> dict[str, Any]:
    return {"$max": [f"${of}.uncertainty", f"${of}.link_uncertainty"]}


def _measured(of: str) -> dict[str, Any]:
    """The numbers of a track, as MongoDB accumulates them over its boxes."""
    return {
        MAX_UNCERTAINTY: {"$max": _greater(of)},
        "mean_uncertainty": {"$avg": _greater(of)},
        "max_validity": {"$max": f"${of}.confidence"},
        "mean_validity": {"$avg": f"${of}.confidence"},
        "boxes": {"$sum": 1},
    }


def _boxes_of(view: SampleCollection, out: str) -> list[dict[str, Any]]:
    """The boxes of the tracks of some videos, one by one."""
    return [
        {"$match": {"_sample_id": {"$in": [ObjectId(key) for key in view.values("id")]}}},
        {"$project": {"_sample_id": 1, "frame_number": 1, "box": f"${out}.detections"}},
        {"$unwind": "$box"},
        {"$match": {"box.index": {"$ne": None}}},
    ]


def _tracks(view: SampleCollection, out: str) -> list[Piece]:
    """All tracks, the most uncertain first; the database counts."""
    ends = {"first": {"$min": "$frame_number"}, "last": {"$max": "$frame_number"}}
    group = {"$group": {"_id": ["$_sample_id", "$box.index"], **ends, **_measured("box")}}
    tracks = []
    for one in view._dataset._frame_collection.aggregate([*_boxes_of(view, out), group], allowDiskUse=True):
        video, track = one.pop("_id")
        tracks.append(Piece(video, one.pop("first"), one.pop("last"), {**one, "track": int(track)}))
    return sorted(tracks, key=_by_uncertainty)


def _spans(view: SampleCollection, out: str, threshold: float, least: int) -> list[Piece]:
    """The spans of all tracks, the most uncertain first; the database finds the uncertain boxes."""
    pipeline = [
        *_boxes_of(view, out),
        {"$project": {"_sample_id": 1, "frame_number": 1, "track": "$box.index", "doubt": _greater("box")}},
        {"$match": {"doubt": {"$gt": threshold}}},
        {"$group": {
            "_id": ["$_sample_id", "$track"], "frames": {"$push": "$frame_number"}, "doubts": {"$push": "$doubt"},
        }},
    ]  # fmt: skip
    spans = []
    for one in view._dataset._frame_collection.aggregate(pipeline, allowDiskUse=True):
        video, track = one["_id"]
        frames = np.array(one["frames"], np.int64)
        order = np.argsort(frames, kind="stable")
        frames, doubts = frames[order], np.array(one["doubts"], np.float64)[order]
        for first, last in joined(frames, least).tolist():
            inside = doubts[np.searchsorted(frames, first) : np.searchsorted(frames, last, side="right")]
            numbers = {
                MAX_UNCERTAINTY: float(inside.max()), "mean_uncertainty": float(inside.mean()), "boxes": len(inside),
                "track": int(track),
            }  # fmt: skip
            spans.append(Piece(video, first, last, numbers))
    return sorted(spans, key=_by_uncertainty)


def _by_uncertainty(piece: Piece) -> tuple[Any, ...]:
    numbers = piece.numbers  # a person's track has no uncertainty
    return (-(numbers[MAX_UNCERTAINTY] or 0.0), -numbers["boxes"], piece.video, numbers["track"], piece.first)


def joined(frames: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Joins frames to spans.

    Args:
        frames: (N,) in order.
        least: length of a span.

    Returns:
        (S, 2) first and last frame of each.
    """
    if not len(frames):
        return np.zeros((0, 2), np.int64)
    ends = np.flatnonzero(np.diff(frames) > JOIN + 1)
    first = frames[np.concatenate([[0], ends + 1])]
    last = frames[np.concatenate([ends, [len(frames) - 1]])]
    found = np.column_stack([first, last])
    return found[last - first + 1 >= least]


# --- shown as clips


def _shown(
    view: SampleCollection, out: str, pieces: Sequence[Piece], what: str, alone: bool, left: str
) -> Shown | None:  # fmt: skip
    """The most uncertain pieces as clips; None if there are none."""
    if not pieces:
        return None
    frames = np.cumsum([piece.last - piece.first + 1 for piece in pieces])
    fit = min(max(int(np.searchsorted(frames, MOST_CLIP_FRAMES, side="right")), 1), MOST_CLIPS)
    clips = _clips(view, out, pieces[:fit])
    if alone:
        clips = clips.filter_labels(f"frames.{out}", F("index") == F("$track"), only_matches=False)
    count, videos = len(pieces), len({piece.video for piece in pieces})
    said = f"{count:,} {plural(count, what)} in {videos:,} {plural(videos, 'video')}, the most uncertain first"
    if fit < count:
        said = (
            f"the {fit:,} most uncertain of {count:,} {what}s in {videos:,} {plural(videos, 'video')}; select videos "
        )
        said += "to see theirs"
    return Shown(said + left, clips, (f"frames.{out}", MAX_UNCERTAINTY))


def _clips(view: SampleCollection, out: str, pieces: Sequence[Piece]) -> SampleCollection:
    """One clip per piece, with its numbers, in the same order."""
    by_video: dict[ObjectId, list[tuple[int, int]]] = {}
    for piece in pieces:
        by_video.setdefault(piece.video, []).append((piece.first, piece.last))
    videos = view._dataset.select([str(key) for key in by_video], ordered=True)
    clips = videos.to_clips(list(by_video.values()))
    generated = clips._dataset
    for name in pieces[0].numbers:
        kind, meaning = _NUMBERS[name]
        generated.add_sample_field(name, kind, description=meaning)
    made: dict[tuple[ObjectId, int, int], list[dict[str, Any]]] = {}
    collection = generated._sample_collection
    for one in collection.find({}):
        made.setdefault((one["_sample_id"], *one["support"]), []).append(one)
    documents = []
    for piece in pieces:
        # The App keeps its tiles where it is given the same clips once more: they must go by the same ids.
        name = f"{out}/{piece.video}/{piece.numbers['track']}/{piece.first}/{piece.last}"
        key = ObjectId(blake2b(name.encode(), digest_size=12).digest())
        document = made[piece.video, piece.first, piece.last].pop()
        documents.append({**document, **piece.numbers, "_id": key})
    # They are put in order where they lie: a stage that sorts would have all frames of all clips fetched.
    collection.delete_many({})
    collection.insert_many(documents)
    return clips


# --- cut out of images


def _cut_out(view: SampleCollection, out: str, more: str) -> Shown | None:
    """Boxes of image sequences, one group per track; None if there are none."""
    patches = view.to_patches(out, other_fields=[SEQUENCE_FIELD, FRAME_NUMBER_FIELD])
    _measure_patches(patches._dataset, out)
    tracks = patches.group_by([SEQUENCE_FIELD, f"{out}.index"], order_by=FRAME_NUMBER_FIELD)
    count = len(tracks)
    said = f"{count:,} {plural(count, 'track')}, cut out of their images, the most uncertain first{more}"
    return Shown(said, tracks.sort_by(MAX_UNCERTAINTY, reverse=True), (out, MAX_UNCERTAINTY)) if count else None


def _measure_patches(patches: fo.Dataset, out: str) -> None:
    """Writes onto every cut-out what all the boxes of its track come to; nothing leaves the database."""
    for name in _measured(out):
        kind, meaning = _NUMBERS[name]
        patches.add_sample_field(name, kind, description=meaning)
    over = {name: {**how, "window": {"documents": ["unbounded", "unbounded"]}} for name, how in _measured(out).items()}
    track = {"video": f"${SEQUENCE_FIELD}", "index": f"${out}.index"}
    collection = patches._sample_collection
    collection.aggregate(
        [{"$setWindowFields": {"partitionBy": track, "output": over}}, {"$out": collection.name}], allowDiskUse=True
    )
