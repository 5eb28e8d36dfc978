"""Random edits of every kind, each saved as the user interface saves it, and noted in the world as it was meant."""

from __future__ import annotations

import copy
import random
from typing import Any

from .api import Api, without_ids
from .world import Object, Row, World, Xyxy

Track = dict[str, Any]
EDITS = (
    "move", "move", "move", "resize", "keyframe", "drop keyframe", "outside", "begin later", "end earlier", "split",
    "merge", "swap", "delete", "undo", "draw", "label", "occlude", "reimport",
)  # fmt: skip


class Reviewer:
    """A person who works on one job.

    Args:
        api: the server.
        job: the job, as the server describes it.
        world: of the job's video.
        labels: id of a class -> its name.
        uid_attributes: ids of the attribute ``track_uid``, of all classes.
        rng: for what is done.
    """

    def __init__(
        self, api: Api, job: dict[str, Any], world: World, labels: dict[int, str], uid_attributes: set[int],
        rng: random.Random,
    ) -> None:  # fmt: skip
        self.api, self.world, self.rng = api, world, rng
        self.job, self.start, self.stop = job["id"], job["start_frame"], job["stop_frame"]
        self.labels, self._uids = labels, uid_attributes
        self.tracks: list[Track] = api.tracks(self.job)
        self._trash: list[tuple[Track, Object, dict[int, Row], int]] = []
        self._first: dict[int, Object] = {}  # object of a track when it was made or loaded
        self._rows: dict[int, dict[int, Row]] = {}  # boxes that a track shows
        self._complex: set[int] = set()  # tracks that were cut, joined or renamed
        self._hidden: dict[tuple[int, int], Row] = {}
        self.done: dict[str, int] = {}
        self._drawn = 0
        for track in self.tracks:
            thing = self._first[track["id"]] = world.by_uid[self._uid(track)]
            self._rows[track["id"]] = {frame: thing.rows[frame] for frame in self.shown(track)}
            for frame, box in self.shown(track).items():
                thing.rows[frame].sent = thing.rows[frame].shown = box

    def reload(self) -> None:
        """Opens the job again after a synchronisation: what is there now is where the next edits begin.

        The world takes what the dataset must hold by now for what was sent.
        """
        known, self.tracks = {track["id"]: self.object(track) for track in self.tracks}, self.api.tracks(self.job)
        assert {track["id"] for track in self.tracks} == set(known)
        self._first = known
        self._trash, self._hidden, self._complex = [], {}, set()
        for track in self.tracks:
            rows, here = self._rows[track["id"]], self.shown(track)
            assert set(rows) == set(here)
            for frame, row in rows.items():
                row.ours = row.box
                row.sent = row.shown = here[frame]

    def object(self, track: Track) -> Object:
        """What a track shows: others may have cut or joined it in their jobs meanwhile."""
        rows = self._rows[track["id"]]
        owner = rows[min(rows)].owner if rows else self._first[track["id"]]
        assert owner is not None
        return owner

    def _uid(self, track: Track) -> str:
        return next(a["value"] for a in track["attributes"] if a["spec_id"] in self._uids)

    def shown(self, track: Track) -> dict[int, Xyxy]:
        """What the player draws in each frame of the job."""
        return shown(track["shapes"], self.start, self.stop)

    def edit(self, kind: str) -> bool:
        """Does one edit, if there is anything that it can be done to."""
        done = getattr(self, "_" + kind.replace(" ", "_"))()
        if done:
            self.done[kind] = self.done.get(kind, 0) + 1
        return bool(done)

    # --- one track

    def _save(self, track: Track, shapes: list[dict[str, Any]], **changes: Any) -> bool:
        """Sends a track with these keyframes, and enters into the world what is seen now."""
        new = {**track, "shapes": shapes, "frame": shapes[0]["frame"], "source": "semi-auto", **changes}
        after = self.shown(new)
        if not after:
            return False
        saved = self.api.change(self.job, "update", [new])[0]
        self.tracks[self.tracks.index(track)] = saved
        self._enter(track["id"], self.object(track), after)
        return True

    def _enter(self, track: int, thing: Object, after: dict[int, Xyxy]) -> None:
        """Enters into the world what a track shows now."""
        rows = self._rows.setdefault(track, {})
        for frame in set(rows) - set(after):
            self._hidden[track, frame] = rows.pop(frame)
            del thing.rows[frame]
        for frame, box in after.items():
            if frame not in rows:
                rows[frame] = self._hidden.pop((track, frame), None) or Row(frame, None, None, None)
                thing.add(rows[frame])
            rows[frame].shown = box

    def _pick(self, least: int = 4) -> tuple[Track, dict[int, Xyxy]] | None:
        able = [(track, shown) for track in self.tracks if len(shown := self.shown(track)) >= least]
        return self.rng.choice(able) if able else None

    def _keyed(self, track: Track, frame: int, points: list[float], outside: bool = False) -> list[dict[str, Any]]:
        """The keyframes with another one in a frame."""
        shape = {
            "type": "rectangle", "occluded": False, "outside": outside, "z_order": 0, "rotation": 0.0,
            "frame": frame, "points": points, "attributes": [],
        }  # fmt: skip
        others = [copy.deepcopy(s) for s in track["shapes"] if s["frame"] != frame]
        return sorted([*others, shape], key=lambda s: s["frame"])

    def _shift(self, box: Xyxy) -> list[float]:
        dx, dy = self.rng.uniform(1, 9) * self.rng.choice((-1, 1)), self.rng.uniform(1, 6)
        return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy]

    def _move(self) -> bool:
        if not (found := self._pick(1)):
            return False
        track, shown = found
        frame = self.rng.choice(sorted(shown))
        return self._save(track, self._keyed(track, frame, self._shift(shown[frame])))

    def _resize(self) -> bool:
        if not (found := self._pick(1)):
            return False
        track, shown = found
        frame = self.rng.choice(sorted(shown))
        left, top, right, bottom = shown[frame]
        return self._save(track, self._keyed(track, frame, [left, top, right + self.rng.uniform(1, 5), bottom]))

    def _keyframe(self) -> bool:
        """Presses K: a keyframe where the box is anyway."""
        if not (found := self._pick()):
            return False
        track, shown = found
        frame = self.rng.choice(sorted(shown))
        return self._save(track, self._keyed(track, frame, list(shown[frame])))

    def _drop_keyframe(self) -> bool:
        able = [track for track in self.tracks if len(track["shapes"]) > 3]
        if not able:
            return False
        track = self.rng.choice(able)
        inner = [
            s["frame"] for a, s, b in zip(track["shapes"], track["shapes"][1:], track["shapes"][2:], strict=False)
            if not (a["outside"] or s["outside"] or b["outside"])
        ]  # fmt: skip
        if not inner:
            return False
        frame = self.rng.choice(inner)
        return self._save(track, [s for s in track["shapes"] if s["frame"] != frame])

    def _outside(self) -> bool:
        """The object is hidden for some frames."""
        if not (found := self._pick(8)):
            return False
        track, shown = found
        frames = sorted(shown)
        first = self.rng.choice(frames[1:-4])
        last = first + self.rng.randint(1, 3)
        if not all(frame in shown for frame in range(first - 1, last + 1)):
            return False
        shapes = self._keyed(track, first, list(shown[first]), outside=True)
        shapes = [s for s in shapes if not first < s["frame"] < last]
        back = self._keyed({"shapes": shapes}, last, list(shown[last]))
        return self._save(track, back)

    def _begin_later(self) -> bool:
        if not (found := self._pick(8)) or self._is_complex(found[0]):
            return False
        track, shown = found
        frames = sorted(shown)
        first = frames[self.rng.randint(1, 3)]
        shapes = [s for s in self._keyed(track, first, list(shown[first])) if s["frame"] >= first]
        return self._save(track, shapes)

    def _end_earlier(self) -> bool:
        if not (found := self._pick(8)) or self._is_complex(found[0]):
            return False
        track, shown = found
        frames = sorted(shown)
        first_gone = frames[-self.rng.randint(1, 3)]
        shapes = self._keyed(track, first_gone, list(shown[first_gone]), outside=True)
        return self._save(track, [s for s in shapes if s["frame"] <= first_gone])

    def _occlude(self) -> bool:
        """A flag that the dataset does not know of: nothing changes there."""
        if not (found := self._pick(1)):
            return False
        track, _ = found
        shapes = copy.deepcopy(track["shapes"])
        self.rng.choice(shapes)["occluded"] = True
        return self._save(track, shapes)

    def _label(self) -> bool:
        if not self.tracks:
            return False
        track = self.rng.choice(self.tracks)
        if set(self.object(track).rows) != set(self._rows[track["id"]]):
            return False  # a class is the whole object's, and what is cut off in another job would have it or not
        other = self.rng.choice([key for key in self.labels if key != track["label_id"]])
        shapes = [{**shape, "attributes": []} for shape in track["shapes"]]
        if self._save(track, shapes, label_id=other, attributes=[]):
            self.object(track).label = self.labels[other]
            self._complex.add(track["id"])
            return True
        return False

    # --- whole tracks

    def _create(self, shapes: list[dict[str, Any]], like: Track, thing: Object, rows: dict[int, Row]) -> Track:
        """Sends a new track made of these boxes of an object, and enters into the world what it shows."""
        track = without_ids({**like, "shapes": shapes, "frame": shapes[0]["frame"], "source": "manual"})
        saved = self.api.change(self.job, "create", [track])[0]
        self.tracks.append(saved)
        self._first[saved["id"]] = thing
        self._rows[saved["id"]] = rows
        if rows:
            self._complex.add(saved["id"])
            self.world.shuffles += 1
        self._enter(saved["id"], thing, self.shown(saved))
        return saved

    def _remove(self, *tracks: Track) -> dict[int, Row]:
        """Deletes tracks; what they showed is left for others to show."""
        self.api.change(self.job, "delete", list(tracks))
        rows: dict[int, Row] = {}
        for track in tracks:
            self.tracks.remove(track)
            rows.update(self._rows.pop(track["id"]))
        return rows

    def _halves(self, track: Track, frame: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        points = list(self.shown(track)[frame])
        cut = self._keyed(track, frame, points, outside=True)
        first = [s for s in cut if s["frame"] <= frame]
        second = [s for s in self._keyed(track, frame, points) if s["frame"] >= frame]
        return first, second

    def _split_frame(self, least: int = 6) -> tuple[Track, int] | None:
        if not (found := self._pick(least)):
            return None
        track, shown = found
        able = [frame for frame in sorted(shown) if frame - 1 in shown and frame > self.start + 1]
        return (track, self.rng.choice(able)) if able else None

    def _split(self) -> bool:
        if not (found := self._split_frame()):
            return False
        track, frame = found
        thing = self.object(track)
        first, second = self._halves(track, frame)
        rows = self._remove(track)
        other = thing.cut(frame)
        self.world.objects.append(other)
        self._create(first, track, thing, {f: row for f, row in rows.items() if f < frame})
        self._create(second, track, other, {f: row for f, row in rows.items() if f >= frame})
        return True

    def _merge(self) -> bool:
        """Joins two tracks of one class, the one of which ends before the other begins."""
        pairs = []
        for one in self.tracks:
            for other in self.tracks:
                a, b = self.object(one), self.object(other)
                if a is b or one["label_id"] != other["label_id"] or not a.rows or not b.rows:
                    continue
                if max(a.rows) < min(b.rows):
                    pairs.append((one, other))
        if not pairs:
            return False
        one, other = self.rng.choice(pairs)
        a, b = self.object(one), self.object(other)
        seam = other["shapes"][0]["frame"]
        shapes = [copy.deepcopy(s) for s in one["shapes"] if s["frame"] < seam] + copy.deepcopy(other["shapes"])
        rows = self._remove(one, other)
        for row in b.rows.values():
            a.add(row)
        self.world.objects.remove(b)
        self._create(shapes, one, a, rows)
        return True

    def _swap(self) -> bool:
        """Mends two tracks that changed places: from a frame on each goes on as the other."""
        able = []
        for one in self.tracks:
            for other in self.tracks:
                if one["id"] < other["id"] and one["label_id"] == other["label_id"]:
                    both = set(self.shown(one)) & set(self.shown(other))
                    frames = [f for f in both if f - 1 in both and f > self.start + 1]
                    if len(frames) > 4 and self.object(one) is not self.object(other):
                        able.append((one, other, sorted(frames)))
        if not able:
            return False
        one, other, frames = self.rng.choice(able)
        frame = self.rng.choice(frames)
        a, b = self.object(one), self.object(other)
        # A careful person pins both where they still are right, as boxes would glide over to the other object.
        first_a, second_a = self._halves({**one, "shapes": self._pinned(one, frame - 1)}, frame)
        first_b, second_b = self._halves({**other, "shapes": self._pinned(other, frame - 1)}, frame)
        rows_a, rows_b = self._remove(one), self._remove(other)
        late_a, late_b = a.cut(frame), b.cut(frame)
        for row in late_b.rows.values():
            a.add(row)
        for row in late_a.rows.values():
            b.add(row)
        self._create([*first_a[:-1], *second_b], one, a, _spliced(rows_a, rows_b, frame))
        self._create([*first_b[:-1], *second_a], other, b, _spliced(rows_b, rows_a, frame))
        return True

    def _pinned(self, track: Track, frame: int) -> list[dict[str, Any]]:
        return self._keyed(track, frame, list(self.shown(track)[frame]))

    def _delete(self) -> bool:
        able = [track for track in self.tracks if not self._is_complex(track)]
        if len(self.tracks) < 3 or not able:
            return False
        track = self.rng.choice(able)
        thing = self.object(track)
        rows = self._remove(track)
        for frame in rows:
            del thing.rows[frame]
        self._trash.append((track, thing, rows, self.world.shuffles))
        return True

    def _is_complex(self, track: Track) -> bool:
        """What is cut, joined or renamed and then deleted leaves no trace of it for the jobs beside."""
        alone = set(self.object(track).rows) == set(self._rows[track["id"]])
        return track["id"] in self._complex and not alone

    def _undo(self) -> bool:
        """Takes a deletion back, which makes a new track."""
        if not self._trash:
            return False
        track, thing, rows, shuffles = self._trash.pop()
        if shuffles != self.world.shuffles or thing not in self.world.objects or set(rows) & set(thing.rows):
            return False
        if self.labels[track["label_id"]] != thing.label:
            return False  # it was given another class in another job
        for row in rows.values():
            thing.add(row)
        self._create(track["shapes"], track, thing, rows)
        return True

    def _draw(self) -> bool:
        """A new object, beside everything else."""
        first = self.rng.randint(self.start, self.stop - 3)
        last = self.rng.randint(first + 1, self.stop)
        self._drawn += 1
        top = 1000.0 + 60 * self._drawn + 2000 * (self.job % 50)
        shape = {"type": "rectangle", "occluded": False, "z_order": 0, "rotation": 0.0, "attributes": []}
        shapes = [{**shape, "outside": False, "frame": first, "points": [20.0, top, 50.0, top + 40]}]
        if last > first + 2:
            shapes.append({**shape, "outside": False, "frame": last - 1, "points": [60.0, top, 90.0, top + 40]})
        if last <= self.stop:
            shapes.append({**shape, "outside": True, "frame": last, "points": [60.0, top, 90.0, top + 40]})
        key = self.rng.choice(sorted(self.labels))
        thing = Object(self.labels[key])
        self.world.objects.append(thing)
        like = {"label_id": key, "group": 0, "attributes": [], "elements": []}
        self._create(shapes, like, thing, {})
        return True

    def _reimport(self) -> bool:
        """Exports and imports the job as a file: all ids are new."""
        before = self.tracks
        self.api.replace(self.job, before)
        self.tracks = self.api.tracks(self.job)
        assert len(self.tracks) == len(before)
        rows, first = self._rows, self._first
        self._complex = {new["id"] for old, new in zip(before, self.tracks, strict=True) if old["id"] in self._complex}
        self._rows = {new["id"]: rows[old["id"]] for old, new in zip(before, self.tracks, strict=True)}
        self._first = {new["id"]: first[old["id"]] for old, new in zip(before, self.tracks, strict=True)}
        return True


def shown(keyframes: list[dict[str, Any]], start: int, stop: int) -> dict[int, Xyxy]:
    """What the player draws of a track in each frame of a job."""
    out: dict[int, Xyxy] = {}
    shapes = sorted(keyframes, key=lambda shape: shape["frame"])
    for at, shape in enumerate(shapes):
        if shape["outside"]:
            continue
        behind = shapes[at + 1] if at + 1 < len(shapes) else None
        end = behind["frame"] if behind is not None else stop + 1
        for frame in range(shape["frame"], end):
            share = (frame - shape["frame"]) / (end - shape["frame"]) if behind is not None else 0.0
            target = behind["points"] if behind is not None else shape["points"]
            box = [a + (b - a) * share for a, b in zip(shape["points"], target, strict=True)]
            if start <= frame <= stop:
                out[frame] = (box[0], box[1], box[2], box[3])
    return out


def _spliced(early: dict[int, Row], late: dict[int, Row], frame: int) -> dict[int, Row]:
    return {**{f: row for f, row in early.items() if f < frame}, **{f: row for f, row in late.items() if f >= frame}}
