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

    def send(self, track: SheetTrack) -> dict[str, Any]:
        """The JSON of a track.

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
            {"spec_id": number[name, False], "value": value} for name, value in said.items() if (name, False) in number
        ]
        shapes = []
        values = track.values or ({},) * len(track.frame)
        for frame, xyxy, outside, given in zip(
            track.frame.tolist(), track.xyxy.tolist(), track.outside.tolist(), values, strict=True
        ):
            mutable = [
                {"spec_id": number[name, True], "value": value}
                for name, value in given.items()
                if (name, True) in number
            ]
            shapes.append(
                {
                    "type": "rectangle", "frame": frame, "points": xyxy, "outside": outside,
                    "occluded": self.occluded and given.get(OCCLUDED) == "true", "z_order": 0, "rotation": 0.0,
                    "attributes": mutable,
                }
            )  # fmt: skip
        body = {
            "label_id": label["id"], "frame": int(track.frame[0]), "group": 0, "source": track.source[:_MAX_SOURCE],
            "attributes": fixed, "shapes": shapes, "elements": [],
        }  # fmt: skip
        return body if track.remote is None else {**body, "id": track.remote}

    def receive(self, job: JobState, data: Mapping[str, Any]) -> tuple[tuple[SheetTrack, ...], list[Refusal]]:
        """The tracks of a job's annotations, and what of them cannot be used."""
        reader = _Reader(self, job)
        tracks = [track for one in data.get("tracks") or () if (track := reader.track(one)) is not None]
        tracks += [track for one in data.get("shapes") or () if (track := reader.shape(one)) is not None]
        return tuple(tracks), reader.refusals


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
        if data.get("type") != "rectangle" or data.get("label_id") not in self._names:
            self._say(None, "", f"frame {int(data.get('frame', 0)) + 1}: a {data.get('type')} is no box; left out")
            return None
        frame = int(data["frame"])
        shapes = [{**data, "outside": False}]
        if frame < self._job.stop:
            shapes.append({**data, "frame": frame + 1, "outside": True})
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

    def _keyframes(
        self, remote: int | None, uid: str, shapes: Iterable[Mapping[str, Any]]
    ) -> list[tuple[int, list[float], Mapping[str, Any]]]:
        """Those that can be used, by frame."""
        rows: list[tuple[int, list[float], Mapping[str, Any]]] = []
        early: tuple[int, list[float], Mapping[str, Any]] | None = None
        for shape in sorted(shapes, key=lambda one: int(one.get("frame") or 0)):
            frame = int(shape.get("frame") or 0)
            if frame > self._job.stop:
                self._say(remote, uid, f"frame {frame + 1} is behind the job's end ({self._job.stop + 1}); left out")
                continue
            if rows and rows[-1][0] == frame:
                self._say(remote, uid, f"has two boxes in frame {frame + 1}; the first is taken, as CVAT shows it")
                continue
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
        points = shape.get("points") or ()
        try:
            box = [float(number) for number in points]
        except (TypeError, ValueError):
            box = []
        if len(box) != 4 or not all(math.isfinite(x) and abs(x) <= FARTHEST for x in box):
            self._say(remote, uid, f"frame {frame + 1}: box {list(points)} is not four finite numbers; left out")
            return None
        angle = float(shape.get("rotation") or 0.0) % 360
        if angle:
            box = _around(box, angle)
            self._say(
                remote,
                uid,
                f"frame {frame + 1}: the box is turned by {angle:g} degrees; the upright one around it is taken",
            )
        if box[0] > box[2] or box[1] > box[3]:
            self._say(remote, uid, f"frame {frame + 1}: the corners of the box are swapped; put right")
            box = [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
        if (box[2] - box[0] < 2e-3 or box[3] - box[1] < 2e-3) and not shape.get("outside"):
            self._say(remote, uid, f"frame {frame + 1}: box {box} has no area; left out")
            return None
        return box

    def _refuse(self, remote: int | None, uid: str, why: str) -> None:
        self._say(remote, uid, f"{why}; it is left out, and the dataset stays as it is there", whole=True)

    def _say(self, remote: int | None, uid: str, why: str, whole: bool = False) -> None:
        what = f"track {remote}" if remote is not None else "a box"
        name = f" ({uid})" if uid else ""
        self.refusals.append(Refusal(self._job.id, f"job {self._job.id}, {what}{name}: {why}", remote, whole, uid))


def _around(box: list[float], angle: float) -> list[float]:
    """The upright box around one that is turned about its middle."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    w, h = abs(box[2] - box[0]) / 2, abs(box[3] - box[1]) / 2
    c, s = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return [x - w * c - h * s, y - w * s - h * c, x + w * c + h * s, y + w * s + h * c]
