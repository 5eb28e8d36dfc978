"""Writes a patch of the round trip into a field of tracks: the frames and boxes that it names, and no others."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bson import ObjectId

from ...engine.desk.labels import Patch, Put
from ...models.columns import Source, VideoInfo
from .attributes import UserAttributes, from_text
from .columns import SOURCE_NAMES
from .cycles import without_cycles
from .raw import change_labels, detection_dict
from .videos import StoredVideo

_HUMAN = SOURCE_NAMES[Source.HUMAN]

logger = logging.getLogger(__name__)


def frame_keys(video: StoredVideo, positions: Sequence[int]) -> list[tuple[str, int | None]]:
    """What ``raw.change_labels`` calls the frames at these positions."""
    if video.image_frame is None:
        return [(video.key, position + 1) for position in positions]
    return [(video.sample_ids[position], None) for position in positions]


def apply_patch(video: StoredVideo, field: str, info: VideoInfo, patch: Patch, attributes: UserAttributes) -> None:
    """Changes a field of tracks; the same patch again changes nothing, also where it was broken off between frames.

    Args:
        video: which one.
        field: its name, without ``frames.``; what the boxes carry is declared.
        info: size of the video.
        patch: what to change.
        attributes: what users say of boxes.
    """
    put: dict[int, list[Put]] = defaultdict(list)
    for one in patch.put:
        put[one.frame].append(one)
    positions = sorted({*put, *patch.remove})

    def change(at: int, boxes: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        position = positions[at]
        before = [dict(box) for box in boxes]  # what follows replaces values, and changes none in its place
        gone = set(patch.remove.get(position, ()))
        after = [box for box in boxes if str(box["_id"]) not in gone]
        by_key = {str(box["_id"]): box for box in after}
        for one in put.get(position, ()):
            box = by_key.get(one.key)
            if box is None and one.is_new and one.xyxy is not None:
                box = by_key[one.key] = {**detection_dict(one.label, []), "_id": ObjectId(one.key)}
                after.append(box)
            if box is not None:  # else somebody has taken it away here, too
                _change_box(box, one, info)
                _say(box, one, attributes, video.title(position))
        return after if after != before else None

    with without_cycles():
        change_labels(video.dataset, field, frame_keys(video, positions), change)


def _change_box(box: dict[str, Any], put: Put, info: VideoInfo) -> None:
    box["index"], box["label"] = put.track, put.label or None
    if ObjectId.is_valid(put.instance):
        box["instance"] = {"_id": ObjectId(put.instance), "_cls": "Instance"}
    else:  # a track without one, which goes by its number
        box.pop("instance", None)
    if put.source is not None:
        box["source"] = put.source
    if put.keyframe is not None:
        box["keyframe"] = put.keyframe
    if put.xyxy is not None:
        left, top, right, bottom = map(float, put.xyxy)
        box["bounding_box"] = [
            left / info.width, top / info.height, (right - left) / info.width, (bottom - top) / info.height
        ]  # fmt: skip
        if put.source == _HUMAN or box.get("confidence") is None:
            box["confidence"] = 1.0
    if put.source == _HUMAN or (put.is_new and put.xyxy is not None):
        box["uncertainty"] = box["link_uncertainty"] = 0.0
    if put.answered:
        box["answered"] = True
    elif put.xyxy is not None or put.values:
        # An answer does not say what was changed here, so labelling must take it for a person's, and let it be.
        box.pop("answered", None)


def _say(box: dict[str, Any], put: Put, attributes: UserAttributes, where: str) -> None:
    for name, text in put.values.items():
        kind = attributes.kinds.get(name)
        if kind is None:
            continue
        try:
            value = from_text(text, kind)
        except ValueError as error:
            logger.warning("%s, track %d: %s is left as it was: %s", where, put.track, name, error)
            continue
        if value is None:
            box.pop(name, None)
        else:
            box[name] = value
