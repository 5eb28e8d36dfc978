"""Tracks between sheets and CVAT's JSON. What comes is refused or mended item by item, and each time said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...engine.desk.ports import AttributeSpec, DeskError, JobState, LabelSpec
from ...engine.desk.sheets import Refusal, SheetTrack
from ...models.columns import FARTHEST

UID = "track_uid"
OCCLUDED = "occluded"  # CVAT has a flag of its own for it
_MAX_SOURCE = 16
_MAX_VALUE = 4096
_LEAST_SIDE = 2e-3  # pixels


@dataclass(frozen=True)
class Classes:
    """The classes of a project with CVAT's numbers.

    Attributes:
        project: number of the project.
        labels: as CVAT describes them.
        occluded: whether boxes say ``occluded``.
    """

    project: int
    labels: tuple[Mapping[str, Any], ...]
    occluded: bool = False
    _by_name: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False, compare=False)
    _by_id: dict[int, Mapping[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_name.update({label["name"]: label for label in self.labels})
        self._by_id.update({label["id"]: label for label in self.labels})

    def specs(self) -> dict[str, LabelSpec]:
        """Classes by their names."""
        return {
            label["name"]: LabelSpec(
                label["name"],
                tuple(
                    AttributeSpec(
                        one["name"], one["input_type"], one["mutable"], tuple(one.get("values") or ()),
                        one.get("default_value") or "",
                    )
                    for one in label["attributes"]
                ),
            )
            for label in self.labels
        }  # fmt: skip

    def attributes(self, name: str) -> dict[tuple[str, bool], int]:
        """(name, whether mutable) -> number of each attribute of a class."""
        return {(one["name"], one["mutable"]): one["id"] for one in self._by_name[name]["attributes"]}

    def mark(self, data: Mapping[str, Any]) -> tuple[str, int, tuple[int, ...]]:
        """What a track in JSON is known by before it has a number: its name, class and frames."""
        names = {one["id"] for one in self._by_id.get(data["label_id"], {}).get("attributes", ()) if one["name"] == UID}
        uid = next((str(one["value"]) for one in data["attributes"] if one["spec_id"] in names and one["value"]), "")
        return uid, data["label_id"], tuple(sorted(shape["frame"] for shape in data["shapes"]))

    def remove(self, track: SheetTrack) -> dict[str, Any]:
        """The least JSON of a track that is to be deleted; its class may be gone."""
        known = self._by_name.get(track.label) or next(iter(self.labels), {"id": 0})
        frame = int(track.frame[0])
        return {
            "id": track.remote, "label_id": known["id"], "frame": frame, "group": 0, "source": "auto",
            "attributes": [], "shapes": [_shape_json(frame, track.xyxy[0].tolist(), False, False, [])],
        }  # fmt: skip

    def send(self, track: SheetTrack, with_id: bool = True) -> dict[str, Any]:
        """The JSON of a track.

        Args:
            track: to write down.
            with_id: whether it has its number already.

        Raises:
            DeskError: for a class that is not in the project.
        """
        label = self._by_name.get(track.label)
        if label is None:
            raise DeskError(
                f"class {track.label!r} is not in project {self.project} (there are: {', '.join(self._by_name)}); "
                "give it its name back, or rename it in the dataset, too"
            )
        number = self.attributes(track.label)
        said = {UID: track.uid, **track.notes}
        fixed = [
            {"spec_id": number[name, False], "value": value[:_MAX_VALUE]}
            for name, value in said.items()
            if (name, False) in number
        ]
        values, held = track.values or ({},) * len(track.frame), track.filled
        shapes = [
            _shape_json(
                frame, xyxy, outside, self.occluded and holds.get(OCCLUDED) == "true",
                [
                    {"spec_id": number[name, True], "value": value}
                    for name, value in given.items()
                    if (name, True) in number
                ],
            )
            for frame, xyxy, outside, given, holds in zip(
                track.frame.tolist(), track.xyxy.tolist(), track.outside.tolist(), values, held, strict=True
            )
        ]  # fmt: skip
        body = {
            "label_id": label["id"], "frame": int(track.frame[0]), "group": 0,
            "source": track.source if 0 < len(track.source) <= _MAX_SOURCE else "auto",
            "attributes": fixed, "shapes": shapes, "elements": [],
        }  # fmt: skip
        return {**body, "id": track.remote} if with_id else body

    def receive(self, job: JobState, data: Mapping[str, Any]) -> tuple[tuple[SheetTrack, ...], list[Refusal]]:
        """The tracks of a job's annotations, and what of them cannot be used."""
        reader = _Reader(self, job)
        tracks = [track for one in data.get("tracks") or () if (track := reader.track(one)) is not None]
        tracks += [track for one in data.get("shapes") or () if (track := reader.shape(one)) is not None]
        for one in data.get("tags") or ():
            reader.tag(one)
        return tuple(tracks), reader.refusals


_Row = tuple[int, list[float], Mapping[str, Any]]
_NONSENSE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)  # InputError is a ValueError


class _Reader:
    """Reads the annotations of one job."""

    def __init__(self, classes: Classes, job: JobState) -> None:
        self._classes, self._job = classes, job
        self.refusals: list[Refusal] = []
        self._names = {
            label["id"]: {one["id"]: (one["name"], one["mutable"]) for one in label["attributes"]}
            for label in classes.labels
        }

    def track(self, data: Mapping[str, Any]) -> SheetTrack | None:
        """One track, or None if nothing of it can be used."""
        try:
            return self._track(data)
        except _NONSENSE as error:
            remote = data.get("id") if isinstance(data, Mapping) else None
            self._refuse(remote, "", f"cannot be read ({type(error).__name__}: {error})")
            return None

    def tag(self, data: Mapping[str, Any]) -> None:
        """A tag is of no use here."""
        self._say(None, "", f"frame {_shown(data)}: a tag is no box; left out")

    def _track(self, data: Mapping[str, Any]) -> SheetTrack | None:
        remote, number = data.get("id"), data.get("label_id")
        uid = self._uid(data)
        if number is None or number not in self._names:
            self._refuse(remote, uid, f"has a class that the project does not have (number {number})")
            return None
        shapes = data.get("shapes") or ()
        kinds = sorted({str(one.get("type")) for one in shapes} - {"rectangle"})
        if kinds:
            self._refuse(remote, uid, f"is made of {' and '.join(kinds)}; only rectangles are tracked")
            return None
        rows = self._keyframes(remote, uid, shapes)
        if not rows:
            self._refuse(remote, uid, "has no keyframe that can be used")
            return None
        names = self._names[number]
        held = [self._values(names, shape) for _, _, shape in rows]
        fixed = self._fixed(names, data.get("attributes") or ())
        return SheetTrack(
            uid,
            self._classes._by_id[number]["name"],
            np.array([frame for frame, _, _ in rows], np.int64),
            np.array([box for _, box, _ in rows], np.float64),
            np.array([bool(shape.get("outside")) for _, _, shape in rows], bool),
            tuple(held) if any(held) else (),
            {name: value for name, value in fixed.items() if name != UID},
            remote,
            str(data.get("source") or "auto"),
        )

    def shape(self, data: Mapping[str, Any]) -> SheetTrack | None:
        """A box that is in no track is one for its frame."""
        if data.get("type") != "rectangle":
            self._say(None, "", f"frame {_shown(data)}: a {data.get('type')} is no box; left out")
            return None
        if data.get("label_id") not in self._names:
            self._say(None, "", f"frame {_shown(data)}: has a class that the project does not have; left out")
            return None
        try:
            frame = int(data["frame"])
        except _NONSENSE:
            self._say(None, "", "is in no frame; left out")
            return None
        shapes = [{**data, "outside": False}]
        if self._job.start <= frame < self._job.stop:
            shapes.append({**data, "frame": frame + 1, "outside": True})
        # Its number is one of shapes, which may be that of a track, too.
        return self.track({**data, "id": None, "shapes": shapes})

    def _uid(self, data: Mapping[str, Any]) -> str:
        names = self._names.get(data.get("label_id") or -1, {})
        given = data.get("attributes") or ()
        return next((str(a["value"]) for a in given if names.get(a["spec_id"], ("",))[0] == UID and a["value"]), "")

    def _fixed(self, names: Mapping[int, tuple[str, bool]], given: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        out: dict[str, str] = {}
        for one in given:
            name, mutable = names.get(one["spec_id"], ("", True))
            if name and not mutable:
                out.setdefault(name, str(one["value"]))  # races have given attributes twice
        return out

    def _values(self, names: Mapping[int, tuple[str, bool]], shape: Mapping[str, Any]) -> dict[str, str]:
        out: dict[str, str] = {}
        for one in shape.get("attributes") or ():
            name, mutable = names.get(one["spec_id"], ("", False))
            if name and mutable:
                out.setdefault(name, str(one["value"]))
        if self._classes.occluded:
            out[OCCLUDED] = "true" if shape.get("occluded") else "false"
        return out

    def _keyframes(self, remote: int | None, uid: str, shapes: Iterable[Mapping[str, Any]]) -> list[_Row]:
        """Those that can be used, by frame."""
        rows: list[_Row] = []
        early: _Row | None = None
        for shape in sorted(shapes, key=lambda one: int(one.get("frame") or 0)):
            frame = int(shape.get("frame") or 0)
            if frame > self._job.stop:
                self._say(remote, uid, f"frame {frame + 1} is behind the job's end ({self._job.stop + 1}); left out")
                continue
            if rows and rows[-1][0] == frame:
                self._say(remote, uid, f"has two boxes in frame {frame + 1}; the first is taken, as CVAT shows it")
                continue
            if shape.get("outside"):
                # It says that the object is not seen from here on, whatever its box; without it the object would stay.
                before = rows[-1][1] if rows else early[1] if early else None
                box = _sound(shape) or before
            else:
                box = self._box(remote, uid, frame, shape)
            if box is None:
                continue
            if frame < self._job.start:
                early = (frame, box, shape)
            else:
                rows.append((frame, box, shape))
        if early is not None and not (rows and rows[0][0] == self._job.start):
            rows.insert(0, early)
        return rows

    def _box(self, remote: int | None, uid: str, frame: int, shape: Mapping[str, Any]) -> list[float] | None:
        box = _four(shape)
        if box is None:
            points = str(shape.get("points"))[:80]
            self._say(remote, uid, f"frame {frame + 1}: box {points} is not four finite numbers; left out")
            return None
        angle = float(shape.get("rotation") or 0.0) % 360
        if box[0] > box[2] or box[1] > box[3]:
            self._say(remote, uid, f"frame {frame + 1}: the corners of the box are swapped; put right")
        if angle:
            what = "the upright one around it is taken"
            self._say(remote, uid, f"frame {frame + 1}: the box is turned by {angle:g} degrees; {what}")
        box = _upright(box, angle)
        if box[2] - box[0] < _LEAST_SIDE or box[3] - box[1] < _LEAST_SIDE:
            self._say(remote, uid, f"frame {frame + 1}: box {box} has no area; left out")
            return None
        return box

    def _refuse(self, remote: int | None, uid: str, why: str) -> None:
        self._say(remote, uid, f"{why}; it is left out, and the dataset stays as it is there", whole=True)

    def _say(self, remote: int | None, uid: str, why: str, whole: bool = False) -> None:
        what = f"track {remote}" if remote is not None else "a box"
        name = f" ({uid})" if uid else ""
        self.refusals.append(Refusal(self._job.id, f"job {self._job.id}, {what}{name}: {why}", remote, whole, uid))


def _four(shape: Mapping[str, Any]) -> list[float] | None:
    """The corners of a box, if they are four numbers that can be on an image."""
    try:
        box = [float(number) for number in shape.get("points") or ()]
    except (TypeError, ValueError):
        return None
    return box if len(box) == 4 and all(math.isfinite(x) and abs(x) <= FARTHEST for x in box) else None


def _sound(shape: Mapping[str, Any]) -> list[float] | None:
    """The box of a keyframe at which nothing is seen, put right without a word."""
    box = _four(shape)
    return None if box is None else _upright(box, float(shape.get("rotation") or 0.0) % 360)


def _upright(box: list[float], angle: float) -> list[float]:
    """The upright box around one that is turned about its middle; first left and top, then right and bottom."""
    left, right, top, bottom = *sorted(box[::2]), *sorted(box[1::2])
    if angle % 180 == 0:  # exactly as it was: half a sum is not
        return [left, top, right, bottom]
    x, y, w, h = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    c, s = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return [x - w * c - h * s, y - w * s - h * c, x + w * c + h * s, y + w * s + h * c]


def _shown(data: Mapping[str, Any]) -> str:
    """The number of a frame as people see it."""
    frame = data.get("frame")
    return str(frame + 1) if isinstance(frame, int) else f"{frame!r}"


def _shape_json(
    frame: int, xyxy: list[float], outside: bool, occluded: bool, attributes: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "type": "rectangle", "frame": frame, "points": xyxy, "outside": outside, "occluded": occluded, "z_order": 0,
        "rotation": 0.0, "attributes": attributes,
    }  # fmt: skip


def label_json(spec: LabelSpec) -> dict[str, Any]:
    """A class as CVAT makes it."""
    return {"name": spec.name, "attributes": [attribute_json(one) for one in spec.attributes]}


def attribute_json(spec: AttributeSpec) -> dict[str, Any]:
    """An attribute as CVAT makes it: where nothing may be chosen, the default is the one value."""
    default = spec.default
    if spec.kind == "checkbox":
        default = default if default in ("true", "false") else "false"
    elif spec.kind in ("select", "number") and spec.values and not default:
        default = spec.values[0]
    free = spec.kind in ("text", "checkbox") or not spec.values
    return {
        "name": spec.name, "mutable": spec.mutable, "input_type": spec.kind,
        "values": [default] if free else list(spec.values), "default_value": default,
    }  # fmt: skip
