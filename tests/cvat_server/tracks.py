"""Annotations over job borders: cut apart where they are written to a task, put together where a task is read.

Follows what CVAT does, with its consequences: an edit on one side of a border breaks the track that a task shows.
"""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]
# A pair costs one minus its overlap; dearer pairs are not the same object.
DEAREST_SHAPE, DEAREST_TRACK = 0.25, 0.5


def cut(data: Record, start: int, stop: int) -> Record:
    """The part of annotations that lies in the frames from ``start`` to ``stop``, with border keyframes."""
    part: Record = {"version": 0}
    for kind in ("tags", "shapes"):
        part[kind] = [dict(item) for item in data[kind] if start <= item["frame"] <= stop]
    part["tracks"] = [
        piece for track in data["tracks"] if _reaches(track, start, stop) and (piece := _cut_track(track, start, stop))
    ]
    return part


def _reaches(track: Record, start: int, stop: int) -> bool:
    """Whether the track is visible somewhere between; a track without keyframes breaks this, as it breaks CVAT."""
    previous = None
    for keyframe in track["shapes"]:
        if previous and not previous["outside"] and max(previous["frame"], start) <= min(keyframe["frame"], stop):
            return True
        previous = keyframe
    return not previous["outside"] and previous["frame"] <= stop


def _cut_track(track: Record, start: int, stop: int) -> Record | None:
    def visible_part(keyframes: list[Record]) -> list[Record]:
        inside = [keyframe for keyframe in keyframes if start <= keyframe["frame"] <= stop]
        first = next((place for place, keyframe in enumerate(inside) if not keyframe["outside"]), len(inside))
        return inside[first:]

    kept = visible_part([dict(keyframe) for keyframe in track["shapes"]])
    if len(kept) < len(track["shapes"]):
        all_frames = visible_part(
            interpolated({**track, "shapes": [dict(k) for k in track["shapes"]]}, start, stop + 1)
        )
        if all_frames:
            if not all_frames[0]["keyframe"]:
                kept.insert(0, all_frames[0])
            last_keyframe = max(keyframe["frame"] for keyframe in track["shapes"])
            if last_keyframe >= stop and all_frames[-1]["points"] != kept[-1]["points"]:
                kept.append(all_frames[-1])
    if not kept:
        return None
    for keyframe in kept:
        keyframe.pop("keyframe", None)
    return {**track, "shapes": kept, "frame": kept[0]["frame"]}


def interpolated(track: Record, start: int, end: int) -> list[Record]:
    """The boxes of a track on all frames where it is visible, from ``start`` and before ``end``.

    Keyframes that were looked at are marked with ``keyframe``; CVAT's answers show that mark.
    """
    boxes: list[Record] = []
    previous: Record | None = None
    for keyframe in sorted(track["shapes"], key=lambda one: one["frame"]):
        if previous is not None:
            given = {attribute["spec_id"] for attribute in keyframe["attributes"]}
            inherited = [one for one in previous["attributes"] if one["spec_id"] not in given]
            if not previous["outside"]:
                boxes += _between(previous, keyframe, start, end)
            if end <= keyframe["frame"]:
                return boxes
            keyframe["attributes"] = keyframe["attributes"] + inherited
        keyframe["keyframe"] = True
        if start <= keyframe["frame"] < end:
            boxes.append(keyframe)
        previous = keyframe
    if previous is not None and not previous["outside"]:
        boxes += _between(previous, {**previous, "frame": end}, start, end)
    return boxes


def _between(left: Record, right: Record, start: int, end: int) -> list[Record]:
    distance = right["frame"] - left["frame"]
    same = left["type"] == right["type"] and len(left["points"]) == len(right["points"])
    turn = (right["rotation"] - left["rotation"] + 180) % 360 - 180
    boxes = []
    for frame in range(max(left["frame"] + 1, start), min(right["frame"], end)):
        part = (frame - left["frame"]) / distance if same else 0.0
        pairs = zip(left["points"], right["points"], strict=same)
        points = [a + (b - a) * part for a, b in pairs] if same else list(left["points"])
        box = {**left, "frame": frame, "points": [float(x) for x in points], "keyframe": False}
        box["rotation"] = (left["rotation"] + turn * part + 360) % 360
        boxes.append(box)
    return boxes


class Merger:
    """Puts the annotations of a task's jobs together, job after job in the order of their frames."""

    def __init__(self, overlap: int) -> None:
        self._overlap = overlap
        self.data: Record = {"version": 0, "tags": [], "shapes": [], "tracks": []}

    def add(self, data: Record, start: int) -> None:
        """Merge what the job that begins at ``start`` holds."""
        for kind in ("tags", "shapes"):
            similarity = _same_tag if kind == "tags" else _shape_overlap
            self._add_single(self.data[kind], data[kind], start, similarity)
        self._add_tracks(data["tracks"], start)

    def _add_single(self, known: list[Record], items: list[Record], start: int, similarity: Any) -> None:
        border = start + self._overlap
        earlier = [item for item in known if item["frame"] >= start]
        known += [item for item in items if item["frame"] >= border]
        shared = [item for item in items if item["frame"] < border]
        for frame in dict.fromkeys(item["frame"] for item in shared):
            new = [item for item in shared if item["frame"] == frame]
            old = [item for item in earlier if item["frame"] == frame]
            matched = _pairs(new, old, similarity, DEAREST_SHAPE)
            known += [item for place, item in enumerate(new) if place not in matched]

    def _add_tracks(self, tracks: list[Record], start: int) -> None:
        border = start + self._overlap
        known = self.data["tracks"]
        old = [
            track
            for track in known
            if track["shapes"] and (track["shapes"][-1]["frame"] >= start or not track["shapes"][-1]["outside"])
        ]
        known += [track for track in tracks if track["frame"] >= border]
        new = [track for track in tracks if track["frame"] < border]
        matched = _pairs(new, old, lambda a, b: _track_overlap(a, b, start, border), DEAREST_TRACK) if old else {}
        for place, partner in matched.items():
            _unite(old[partner], new[place])
        known += [track for place, track in enumerate(new) if place not in matched]
        for place, track in enumerate(old):
            if place not in matched.values():
                _end(track, border)


def _pairs(new: list[Record], old: list[Record], similarity: Any, dearest: float) -> dict[int, int]:
    """Which new item is which old one, the cheapest pairs first."""
    costs = sorted((1 - similarity(a, b), i, j) for i, a in enumerate(new) for j, b in enumerate(old))
    matched: dict[int, int] = {}
    for cost, i, j in costs:
        if cost <= dearest and i not in matched and j not in matched.values():
            matched[i] = j
    return matched


def _same_tag(a: Record, b: Record) -> float:
    return float(a["label_id"] == b["label_id"])


def _shape_overlap(a: Record, b: Record) -> float:
    if a.get("label_id") != b.get("label_id") or a["type"] != b["type"]:
        return 0.0
    if a["type"] != "rectangle":
        return float(a["type"] == "polygon" and a["points"] == b["points"])
    left, top, right, bottom = _box(a)
    left2, top2, right2, bottom2 = _box(b)
    width, height = min(right, right2) - max(left, left2), min(bottom, bottom2) - max(top, top2)
    if width <= 0 or height <= 0:
        return 0.0
    areas = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2)
    return width * height / (areas - width * height)


def _box(shape: Record) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = shape["points"]
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _track_overlap(a: Record, b: Record, start: int, end: int) -> float:
    """How much alike two tracks are on the frames that two jobs share."""
    if a["label_id"] != b["label_id"]:
        return 0.0
    boxes_a = {box["frame"]: box for box in interpolated(a, start, end)}
    boxes_b = {box["frame"]: box for box in interpolated(b, start, end)}
    if not boxes_a or not boxes_b:
        return 0.0
    error = count = 0.0
    for frame in boxes_a.keys() | boxes_b.keys():
        count += 1
        if frame not in boxes_a or frame not in boxes_b or boxes_a[frame]["outside"] != boxes_b[frame]["outside"]:
            error += 1
        else:
            error += 1 - _shape_overlap(boxes_a[frame], boxes_b[frame])
    return 1 - error / count


def _unite(old: Record, new: Record) -> None:
    """Take the keyframes of the later job into the track of the earlier one, whose own stay."""
    keyframes = {keyframe["frame"]: keyframe for keyframe in new["shapes"]}
    keyframes.update({keyframe["frame"]: keyframe for keyframe in old["shapes"]})
    old["frame"] = min(old["frame"], new["frame"])
    old["shapes"] = sorted(keyframes.values(), key=lambda keyframe: keyframe["frame"])


def _end(track: Record, frame: int) -> None:
    """Let a track that has no partner in the next job end behind the border; the last keyframe's id is shown twice."""
    if not track["shapes"][-1]["outside"]:
        track["shapes"].append({**track["shapes"][-1], "frame": frame, "outside": True})
