"""Small datasets with tracks, written and read without detours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import fiftyone as fo
    from cvat_server import CvatServer

    from spam_plugin.integrations.cvat.client import Access

WIDTH, HEIGHT, RATE = 320, 240, 10
Boxes = Sequence[tuple[int, int, str, tuple[float, float, float, float]]]  # frame from 0, track from 1, class, xyxy


def access_to(server: CvatServer) -> Access:
    from spam_plugin.integrations.cvat.client import Access

    return Access(server.url, username=server.username, password=server.password)


def straight(track: int, first: int, last: int, top: float = 50.0, label: str = "car", speed: float = 2.0) -> list:
    """A track that goes straight on: two keyframes say it all."""
    return [
        (frame, track, label, (10 + speed * frame, top, 40 + speed * frame, top + 30))
        for frame in range(first, last + 1)
    ]


def write_tracks(
    dataset: fo.Dataset, sample: str, boxes: Boxes, field: str = "spam_tracks", source: str = "model"
) -> None:
    """Writes tracks as labelling does."""
    from spam_plugin.integrations.fiftyone_.columns import track_instance
    from spam_plugin.integrations.fiftyone_.fields import OutputFields, declare
    from spam_plugin.integrations.fiftyone_.raw import detection_dict, write_frame_labels

    declare(dataset, "frames.", OutputFields(field))
    per_frame: dict[int, list[dict[str, Any]]] = {}
    for frame, track, label, (left, top, right, bottom) in boxes:
        place = [left / WIDTH, top / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]
        per_frame.setdefault(frame + 1, []).append(
            detection_dict(
                label,
                place,
                track,
                track_instance(f"{sample}/{field}", track),
                confidence=0.9,
                uncertainty=0.25,
                link_uncertainty=0.1,
                source=source,
                keyframe=False,
            )
        )
    write_frame_labels(dataset, sample, field, sorted(per_frame.items()))
    dataset.reload()


def read_tracks(dataset: fo.Dataset, sample: str, field: str = "spam_tracks") -> list[dict[str, Any]]:
    """All boxes of a video: ``frame`` from 0, ``xyxy`` in pixels, and what else is stored."""
    from spam_plugin.integrations.fiftyone_.raw import frame_documents

    out = []
    for number, boxes in frame_documents(dataset, sample, field):
        for box in boxes:
            left, top, width, height = box["bounding_box"]
            xyxy = (left * WIDTH, top * HEIGHT, (left + width) * WIDTH, (top + height) * HEIGHT)
            out.append({**box, "frame": number - 1, "xyxy": xyxy})
    return out
