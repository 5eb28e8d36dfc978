"""A desk over the stand-in server that waits without waiting, and what the tests send over it."""

from __future__ import annotations

from typing import Any

import numpy as np
from cvat_server import CvatServer

from spam_plugin.engine.desk.ports import AttributeSpec, LabelSpec
from spam_plugin.engine.desk.sheets import SheetTrack
from spam_plugin.integrations.cvat.client import Access
from spam_plugin.integrations.cvat.desk import CvatDesk
from spam_plugin.integrations.cvat.trouble import Patience

CAR = LabelSpec(
    "car",
    (
        AttributeSpec("track_uid"),
        AttributeSpec("uncertainty"),
        AttributeSpec("sure", "checkbox", True),
        AttributeSpec("pose", "select", True, ("left", "right")),
        AttributeSpec("speed", "number", True, ("0", "100", "1")),
    ),
)


class Clock:
    """Waits without waiting, and keeps how long."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


def desk_of(server: CvatServer, clock: Clock, access: Access | None = None, **more: Any) -> CvatDesk:
    access = access or Access(server.url, username=server.username, password=server.password)
    return CvatDesk(access, Patience(tries=4, timeout=20, sleep=clock), **more)


def sheet_track(uid: str = "a", frames: tuple[int, ...] = (6, 8, 11), **more: Any) -> SheetTrack:
    start = np.array([1.123456789, 2.5, 11.25, 12.0])
    boxes = start + 0.1 * np.array(frames, float)[:, None]
    return SheetTrack(uid, "car", np.array(frames), boxes, np.zeros(len(frames), bool), **more)


def requests(server: CvatServer, method: str, path: str) -> int:
    """How many requests there were."""
    return sum(one.method == method and path in f"{one.path}?{one.query}" for one in server.log)
