"""One person's hand in one job: single edits of named tracks, each saved as the user interface saves it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .api import Api, without_ids
from .data import read_tracks
from .reviewer import Track, shown
from .world import Xyxy

if TYPE_CHECKING:
    import fiftyone as fo


def uid_of(dataset: fo.Dataset, sample: str, index: int) -> str:
    """The name that a track of the dataset goes by in CVAT."""
    return next(str(box["instance"]["_id"]) for box in read_tracks(dataset, sample) if box["index"] == index)


def finish(api: Api, **values: Any) -> None:
    """Sets all jobs to completed, or to what is given."""
    for job in api.jobs():
        api.job(job["id"], **{"state": "completed", **values})


class Hand:
    """Edits one job.

    Args:
        api: the server.
        job: the job, as the server describes it.
    """

    def __init__(self, api: Api, job: dict[str, Any]) -> None:
        self.api, self.job = api, job["id"]
        self.start, self.stop = job["start_frame"], job["stop_frame"]
        found = api.send("GET", f"/api/labels?job_id={self.job}&page_size=100")["results"]
        self.labels = {label["name"]: label["id"] for label in found}
        self._uids = {a["id"] for label in found for a in label["attributes"] if a["name"] == "track_uid"}

    def names(self) -> list[str]:
        """Names of all tracks; empty for those that a person drew."""
        return [self._uid(track) for track in self.api.tracks(self.job)]

    def _uid(self, track: Track) -> str:
        return next((a["value"] for a in track["attributes"] if a["spec_id"] in self._uids), "")

    def track(self, uid: str) -> Track:
        """The first track of a name."""
        return next(track for track in self.api.tracks(self.job) if self._uid(track) == uid)

    def boxes(self, uid: str) -> dict[int, Xyxy]:
        """What the player draws of a track."""
        return shown(self.track(uid)["shapes"], self.start, self.stop)

    def _save(self, track: Track, shapes: list[dict[str, Any]], **changes: Any) -> Track:
        shapes = sorted(shapes, key=lambda shape: shape["frame"])
        new = {**track, "shapes": shapes, "frame": shapes[0]["frame"], "source": "semi-auto", **changes}
        return self.api.change(self.job, "update", [new])[0]

    def put(self, uid: str, boxes: Mapping[int, Xyxy]) -> Track:
        """Drags the box of a track to where it is given in some frames, which makes keyframes of them."""
        track = self.track(uid)
        kept = [shape for shape in track["shapes"] if shape["frame"] not in boxes]
        return self._save(track, [*kept, *(keyframe(frame, box) for frame, box in boxes.items())])

    def move(self, uid: str, frame: int, dx: float = 0.0, dy: float = 0.0) -> Xyxy:
        """Drags a track's box in one frame, and holds its neighbours; returns where it is then."""
        here = self.boxes(uid)
        left, top, right, bottom = here[frame]
        new = (left + dx, top + dy, right + dx, bottom + dy)
        beside = {at: here[at] for at in (frame - 1, frame + 1) if at in here}
        self.put(uid, {**beside, frame: new})
        return new

    def shift(self, uid: str, dx: float, dy: float = 0.0) -> None:
        """Drags all of a track."""
        track = self.track(uid)
        moved = [
            {**shape, "points": [x + by for x, by in zip(shape["points"], (dx, dy, dx, dy), strict=True)]}
            for shape in track["shapes"]
        ]
        self._save(track, moved)

    def begin(self, uid: str, frame: int) -> None:
        """The object is not seen before a frame."""
        track, here = self.track(uid), self.boxes(uid)
        self._save(track, [keyframe(frame, here[frame]), *(s for s in track["shapes"] if s["frame"] > frame)])

    def end(self, uid: str, frame: int) -> None:
        """The object is not seen from a frame on."""
        track, here = self.track(uid), self.boxes(uid)
        kept = [shape for shape in track["shapes"] if shape["frame"] < frame]
        self._save(track, [*kept, keyframe(frame - 1, here[frame - 1]), keyframe(frame, here[frame - 1], True)])

    def delete(self, uid: str) -> None:
        """Deletes a track."""
        self.api.change(self.job, "delete", [self.track(uid)])

    def split(self, uid: str, frame: int) -> None:
        """Makes two tracks of one; the later begins in that frame."""
        track, here = self.track(uid), self.boxes(uid)
        early = [shape for shape in track["shapes"] if shape["frame"] < frame]
        late = [shape for shape in track["shapes"] if shape["frame"] > frame]
        self.delete(uid)
        self._create(track, [*early, keyframe(frame, here[frame], True)])
        self._create(track, [keyframe(frame, here[frame]), *late])

    def merge(self, one: str, other: str) -> None:
        """Makes one track of two, the first of which ends before the other begins."""
        a, b = self.track(one), self.track(other)
        seam = min(shape["frame"] for shape in b["shapes"])
        shapes = [shape for shape in a["shapes"] if shape["frame"] < seam] + b["shapes"]
        self.api.change(self.job, "delete", [a, b])
        self._create(a, shapes)

    def draw(self, label: str, boxes: Mapping[int, Xyxy], last: int | None = None) -> Track:
        """Draws a new track with keyframes in some frames, seen until ``last`` or the end of the job."""
        shapes = [keyframe(frame, box) for frame, box in sorted(boxes.items())]
        if last is not None and last < self.stop:
            shapes.append(keyframe(last + 1, boxes[max(boxes)], True))
        like = {"label_id": self.labels[label], "group": 0, "attributes": [], "elements": [], "source": "manual"}
        return self._create(like, shapes)

    def rename(self, uid: str, label: str) -> None:
        """Gives a track another class; CVAT's page drops the attributes then."""
        track = self.track(uid)
        shapes = [{**shape, "attributes": []} for shape in track["shapes"]]
        self._save(track, shapes, label_id=self.labels[label], attributes=[])

    def _create(self, like: Track, shapes: list[dict[str, Any]]) -> Track:
        new = without_ids({**copy.deepcopy(like), "shapes": copy.deepcopy(shapes), "frame": shapes[0]["frame"]})
        return self.api.change(self.job, "create", [new])[0]

    def done(self, state: str = "completed", **values: Any) -> None:
        """Sets the job's state."""
        self.api.job(self.job, state=state, **values)


def keyframe(frame: int, box: Xyxy | list[float], outside: bool = False) -> dict[str, Any]:
    """A box as the user interface sends it."""
    return {
        "type": "rectangle", "occluded": False, "outside": outside, "z_order": 0, "rotation": 0.0,
        "frame": frame, "points": list(box), "attributes": [],
    }  # fmt: skip
