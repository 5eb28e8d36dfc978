"""Reads and writes FiftyOne labels as raw documents: the only place that goes past FiftyOne's public objects.

Building one ``fo.Detection`` costs half a millisecond, reading one back as much; a raw dictionary costs microseconds.
``set_values("frames.x", dicts, validate=False)`` is the public way to write such dictionaries, but it wants every frame
document there first, fetches all their ids, and holds the whole video twice in memory. So the writers below send the
same ``$set`` to the same collection themselves, a bounded number of boxes at a time, through ``Dataset._bulk_write``,
which also refreshes the frames that are in memory, as ``set_values`` does.

What is written is what FiftyOne itself would write: see ``Detection.to_mongo_dict``. Frame numbers are FiftyOne's,
1-based, and boxes FiftyOne's, relative ``[x, y, w, h]``, everywhere in this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import fiftyone as fo
from bson import ObjectId
from pymongo import UpdateMany, UpdateOne

BOXES_PER_WRITE = 20_000  # about 15 MB of dictionaries: large enough for speed, small enough to forget
FRAMES_PER_CHANGE = 400  # frames whose boxes are read, changed and written at one time

Attributes = Mapping[str, tuple[type[fo.Field], str]]


def detection_dict(
    label: str | None,
    bounding_box: Sequence[float],
    index: int | None = None,
    instance_id: ObjectId | None = None,
    **attributes: Any,
) -> dict[str, Any]:
    """The raw document of one ``fo.Detection``, with a new id.

    Args:
        label: its class.
        bounding_box: relative ``[x, y, w, h]``, plain Python floats (the database does not know numpy's).
        index: number of the track within the video, which FiftyOne's CVAT exporter reads.
        instance_id: identity of the track, which the App's track features read.
        attributes: ``confidence``, ``source`` and so on, plain Python values; those that are None are left out.
    """
    detection = {
        "_id": ObjectId(),
        "_cls": "Detection",
        "attributes": {},
        "tags": [],
        "label": label,
        "bounding_box": bounding_box,
    }
    if index is not None:
        detection["index"] = index
    if instance_id is not None:
        detection["instance"] = {"_id": instance_id, "_cls": "Instance"}
    for name, value in attributes.items():
        if value is not None:
            detection[name] = value
    return detection


def detections_dict(detections: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The raw document of one ``fo.Detections``."""
    return {"_cls": "Detections", "detections": list(detections)}


def declare_detections(
    dataset: fo.Dataset,
    path: str,
    attributes: Attributes | None = None,
    description: str | None = None,
    info: dict[str, Any] | None = None,
) -> None:
    """Declares a ``Detections`` field and attributes of its items, so that the App's sidebar filters them.

    Args:
        dataset: the dataset; what it has declared already stays as it is.
        path: ``"frames.tracks"`` for a frame field, ``"tracks"`` for a sample field.
        attributes: name -> (field class, description) of what items carry beyond FiftyOne's own fields.
        description: of the field itself.
        info: of the field itself, any plain values.
    """
    on_frames = path.startswith("frames.")
    name = path.removeprefix("frames.")
    add = dataset.add_frame_field if on_frames else dataset.add_sample_field
    if dataset.get_field(path) is None:
        add(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections, description=description, info=info)
    for attribute, (kind, meaning) in (attributes or {}).items():
        if dataset.get_field(f"{path}.detections.{attribute}") is None:
            add(f"{name}.detections.{attribute}", kind, description=meaning)


def write_frame_labels(
    dataset: fo.Dataset,
    sample_id: str | ObjectId,
    field: str,
    per_frame: Mapping[int, Sequence[dict[str, Any]]] | Iterable[tuple[int, Sequence[dict[str, Any]]]],
) -> None:
    """Replaces the ``Detections`` field of every frame of one video sample.

    Frame documents that do not exist yet are made. A frame that ``per_frame`` does not name loses its earlier value.

    Args:
        dataset: the dataset, with ``field`` declared (``declare_detections``).
        sample_id: id of the video sample.
        field: name of the frame field, without ``"frames."``.
        per_frame: 1-based frame number -> ``detection_dict``s, or pairs of these, which may be a generator.
    """
    sample = ObjectId(sample_id)
    frames = dataset._frame_collection
    left = {d["frame_number"] for d in frames.find({"_sample_id": sample, field: {"$ne": None}}, {"frame_number": 1})}
    now = datetime.now(timezone.utc)
    born = {"created_at": now, "_dataset_id": dataset._doc.id}
    pairs = per_frame.items() if isinstance(per_frame, Mapping) else per_frame

    def update(number: int, value: dict[str, Any] | None) -> UpdateOne:
        left.discard(number)
        return UpdateOne(
            {"_sample_id": sample, "frame_number": number},
            {"$set": {field: value, "last_modified_at": now}, "$setOnInsert": born},
            upsert=True,
        )

    for chunk in _by_boxes(pairs):
        dataset._bulk_write([update(number, detections_dict(found)) for number, found in chunk], frames=True)
    if left:
        dataset._bulk_write([update(number, None) for number in sorted(left)], frames=True)


def write_image_labels(
    dataset: fo.Dataset,
    field: str,
    per_sample: Mapping[str | ObjectId, Sequence[dict[str, Any]]] | Iterable[tuple[Any, Sequence[dict[str, Any]]]],
) -> None:
    """Replaces the ``Detections`` field of image samples: all those named, and no others.

    Args:
        dataset: the dataset, with ``field`` declared (``declare_detections``).
        field: name of the sample field.
        per_sample: sample id -> ``detection_dict``s, or pairs of these, which may be a generator.
    """
    now = datetime.now(timezone.utc)
    pairs = per_sample.items() if isinstance(per_sample, Mapping) else per_sample
    for chunk in _by_boxes(pairs):
        dataset._bulk_write(
            [
                UpdateOne({"_id": ObjectId(sample)}, {"$set": {field: detections_dict(found), "last_modified_at": now}})
                for sample, found in chunk
            ]
        )


def put_labels(
    dataset: fo.Dataset,
    field: str,
    labels: Sequence[tuple[str | ObjectId, int | None, Sequence[dict[str, Any]]]],
) -> None:
    """Replaces the ``Detections`` field of some frames, or of some images, and of no others.

    Args:
        dataset: the dataset, with ``field`` declared (``declare_detections``).
        field: its name, without ``"frames."``.
        labels: (sample id, 1-based frame number or None for an image sample, ``detection_dict``s); frames that do not
            exist are made.
    """
    now = datetime.now(timezone.utc)
    on_frames = bool(labels) and labels[0][1] is not None
    updates = []
    for sample, number, found in labels:
        update = {"$set": {field: detections_dict(found), "last_modified_at": now}}
        if on_frames:
            update["$setOnInsert"] = {"created_at": now, "_dataset_id": dataset._doc.id}
        updates.append(UpdateOne(_place(sample, number), update, upsert=on_frames))
    if updates:
        dataset._bulk_write(updates, frames=on_frames)


def clear_labels(dataset: fo.Dataset, field: str, sample_ids: Sequence[str]) -> None:
    """Empties a field of all frames of video samples, or of image samples."""
    on_frames = dataset.media_type == "video"
    mine = {"$in": [ObjectId(key) for key in sample_ids]}
    update = {"$set": {field: None, "last_modified_at": datetime.now(timezone.utc)}}
    query = {"_sample_id" if on_frames else "_id": mine, field: {"$ne": None}}
    dataset._bulk_write([UpdateMany(query, update)], frames=on_frames)


def change_labels(
    dataset: fo.Dataset,
    field: str,
    keys: Sequence[tuple[str | ObjectId, int | None]],
    change: Callable[[int, list[dict[str, Any]]], list[dict[str, Any]] | None],
) -> None:
    """Changes the ``Detections`` field of some frames, or of some images, and nothing else of them.

    Args:
        dataset: the dataset, with ``field`` declared (``declare_detections``).
        field: its name, without ``"frames."``.
        keys: (sample id, 1-based frame number) of the frames, all of one sample, or (sample id, None) of image samples.
        change: is given a place in ``keys`` and the raw boxes that are there, and returns those that are to be there,
            or None for no change; it may change what it is given. Frames that do not exist are made for new boxes.
    """
    on_frames = bool(keys) and keys[0][1] is not None
    for start in range(0, len(keys), FRAMES_PER_CHANGE):
        some = keys[start : start + FRAMES_PER_CHANGE]
        found = _present(dataset, field, some)
        now = datetime.now(timezone.utc)
        updates = []
        for at, (sample, number) in enumerate(some, start):
            there = found.get((ObjectId(sample), number))
            boxes = change(at, there.get("detections") or [] if there else [])
            if boxes is None:
                continue
            # What else a user has put on the list of boxes stays where there is a list.
            value = {f"{field}.detections": boxes} if there else {field: detections_dict(boxes)}
            update = {"$set": {**value, "last_modified_at": now}}
            if on_frames:
                update["$setOnInsert"] = {"created_at": now, "_dataset_id": dataset._doc.id}
            updates.append(UpdateOne(_place(sample, number), update, upsert=on_frames))
        if updates:
            dataset._bulk_write(updates, frames=on_frames)


def _present(
    dataset: fo.Dataset, field: str, keys: Sequence[tuple[str | ObjectId, int | None]]
) -> dict[tuple[ObjectId, int | None], dict[str, Any] | None]:
    """(sample id, frame number) -> what the field holds there."""
    if keys[0][1] is None:
        query: dict[str, Any] = {"_id": {"$in": [ObjectId(sample) for sample, _ in keys]}}
        return {(one["_id"], None): one.get(field) for one in dataset._sample_collection.find(query, {field: 1})}
    query = {"_sample_id": ObjectId(keys[0][0]), "frame_number": {"$in": [number for _, number in keys]}}
    frames = dataset._frame_collection.find(query, {"_sample_id": 1, "frame_number": 1, field: 1})
    return {(one["_sample_id"], one["frame_number"]): one.get(field) for one in frames}


def _place(sample: str | ObjectId, number: int | None) -> dict[str, Any]:
    return {"_id": ObjectId(sample)} if number is None else {"_sample_id": ObjectId(sample), "frame_number": number}


def write_sample_values(
    dataset: fo.Dataset, sample_ids: Sequence[str], values: Mapping[str, Any], where_unset: Mapping[str, Any]
) -> None:
    """Sets the same values on many samples at once; ``set_values`` would send one update for each.

    Args:
        dataset: the dataset, with the fields declared.
        sample_ids: of the samples.
        values: field -> plain value.
        where_unset: field -> plain value that only samples get which have none.
    """
    mine = {"_id": {"$in": [ObjectId(key) for key in sample_ids]}}
    now = datetime.now(timezone.utc)
    updates = [
        UpdateMany({**mine, field: None}, {"$set": {field: value, "last_modified_at": now}})
        for field, value in where_unset.items()
    ]
    if values:  # a sample that has them all is not touched
        others = {**mine, "$or": [{field: {"$ne": value}} for field, value in values.items()]}
        updates.append(UpdateMany(others, {"$set": {**values, "last_modified_at": now}}))
    dataset._bulk_write(updates, ids=list(sample_ids))  # without ids every sample in memory is read again


def _by_boxes(pairs: Iterable[tuple[Any, Sequence[dict[str, Any]]]]) -> Iterator[list[tuple[Any, Any]]]:
    """Cuts the pairs into lists that hold about ``BOXES_PER_WRITE`` boxes, or as many empty frames, each."""
    chunk: list[tuple[Any, Any]] = []
    held = 0
    for pair in pairs:
        chunk.append(pair)
        held += 1 + len(pair[1])
        if held >= BOXES_PER_WRITE:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def frame_documents(
    dataset: fo.Dataset, sample_id: str | ObjectId, field: str, keys: Sequence[str] | None = None
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Raw boxes of every frame of one video sample that has any: (1-based frame number, documents), in order.

    ``values("frames.x.detections.y")`` gives the same ten times slower: it groups all frames into one document per
    sample first, once per column.

    Args:
        dataset: the dataset.
        sample_id: id of the video sample.
        field: name of the frame field, without ``"frames."``.
        keys: attributes that are fetched; None for all.
    """
    query = {"_sample_id": ObjectId(sample_id), f"{field}.detections.0": {"$exists": True}}
    found = dataset._frame_collection.find(query, {"frame_number": 1, **_projection(field, keys)})
    for document in found.sort("frame_number", 1):
        yield document["frame_number"], document[field]["detections"]


def image_documents(
    dataset: fo.Dataset, sample_ids: Sequence[str], field: str, keys: Sequence[str] | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Raw boxes of every one of these image samples that has any: (sample id, documents), in no order."""
    query = {"_id": {"$in": [ObjectId(key) for key in sample_ids]}, f"{field}.detections.0": {"$exists": True}}
    for document in dataset._sample_collection.find(query, _projection(field, keys)):
        yield str(document["_id"]), document[field]["detections"]


def count_boxes(dataset: fo.Dataset, field: str, sample_ids: Sequence[str] | None = None) -> int:
    """Number of boxes in a field. ``count()`` takes nine times as long, as it joins frames to samples first.

    Args:
        dataset: the dataset.
        field: name of the frame field of videos, or of the field of images; without ``"frames."``.
        sample_ids: only those of these samples; None for all.
    """
    of_frames = dataset.media_type == "video"
    key, collection = ("_sample_id", dataset._frame_collection) if of_frames else ("_id", dataset._sample_collection)
    chosen = [] if sample_ids is None else [{"$match": {key: {"$in": [ObjectId(one) for one in sample_ids]}}}]
    number = {"$size": {"$ifNull": [f"${field}.detections", []]}}
    found = list(collection.aggregate([*chosen, {"$group": {"_id": None, "count": {"$sum": number}}}]))
    return int(found[0]["count"]) if found else 0


def _projection(field: str, keys: Sequence[str] | None) -> dict[str, int]:
    return {f"{field}.detections.{key}": 1 for key in keys} if keys is not None else {field: 1}
