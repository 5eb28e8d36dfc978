"""What the dataset must hold after a reviewer's work: boxes, who is who, and of which class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Xyxy = tuple[float, float, float, float]
CLOSE = 0.01


@dataclass(eq=False)
class Row:
    """One box of an object.

    ``ours`` is what the dataset held, ``sent`` what the sheet showed for it at first, ``shown`` what it shows now.
    """

    frame: int
    ours: Xyxy | None
    sent: Xyxy | None
    shown: Xyxy | None
    owner: Object | None = None

    @property
    def box(self) -> Xyxy:
        """What must be in the dataset: its own box, where the sheet shows what was sent."""
        if self.ours is not None and (self.shown is None or self.sent is None or _near(self.sent, self.shown)):
            return self.ours
        assert self.shown is not None
        return self.shown

    @property
    def is_touched(self) -> bool:
        return self.ours is None or (
            self.shown is not None and self.sent is not None and not _near(self.sent, self.shown)
        )


def _near(a: Xyxy, b: Xyxy) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= CLOSE


class Object:
    """One object: its class, and its boxes by frame."""

    def __init__(self, label: str, rows: Iterable[Row] = ()) -> None:
        self.label = label
        self.rows: dict[int, Row] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Takes a box; it has none in that frame."""
        assert row.frame not in self.rows
        self.rows[row.frame] = row
        row.owner = self

    def cut(self, frame: int) -> Object:
        """What it is from a frame on, taken off it."""
        late = [row for row in self.rows.values() if row.frame >= frame]
        self.rows = {row.frame: row for row in self.rows.values() if row.frame < frame}
        return Object(self.label, late)


class World:
    """All objects of one video."""

    def __init__(self) -> None:
        self.objects: list[Object] = []
        self.by_uid: dict[str, Object] = {}
        self.shuffles = 0  # how often objects were cut or joined

    @classmethod
    def of(cls, boxes: Iterable[tuple[int, str, str, Xyxy]]) -> World:
        """The world of a dataset's boxes: (frame, uid, class, box)."""
        world = cls()
        for frame, uid, label, box in boxes:
            if uid not in world.by_uid:
                world.by_uid[uid] = Object(label)
                world.objects.append(world.by_uid[uid])
            world.by_uid[uid].add(Row(frame, box, None, None))
        return world

    def differences(self, boxes: Iterable[tuple[int, int, str, Xyxy]]) -> list[str]:
        """Where a dataset, (frame, track, class, box), is not what was meant; empty if it is."""
        out = []
        there: dict[int, list[tuple[int, str, Xyxy]]] = {}
        for frame, track, label, box in boxes:
            there.setdefault(frame, []).append((track, label, box))
        names: dict[int, Object] = {}
        used: dict[Object, int] = {}
        for thing in self.objects:
            for frame, row in sorted(thing.rows.items()):
                found = [one for one in there.get(frame, ()) if _near(one[2], row.box)]
                if not found:
                    out.append(f"frame {frame}: no box at {[round(x, 2) for x in row.box]} ({thing.label})")
                    continue
                best = next((one for one in found if names.get(one[0]) is thing), found[0])
                there[frame].remove(best)
                track, label, _ = best
                if names.setdefault(track, thing) is not thing:
                    out.append(f"frame {frame}: track {track} goes over to another object")
                if used.setdefault(thing, track) != track:
                    out.append(f"frame {frame}: an object is track {used[thing]} and then {track}")
                if label != thing.label:
                    out.append(f"frame {frame}: track {track} is {label!r}, not {thing.label!r}")
        out += [f"frame {frame}: {len(left)} boxes too many: {left[:2]}" for frame, left in there.items() if left]
        return out
