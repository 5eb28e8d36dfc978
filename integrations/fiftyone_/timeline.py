"""The uncertainty of one video, frame by frame, and where its open questions are."""

from __future__ import annotations

from dataclasses import dataclass

import fiftyone as fo
import numpy as np
from fiftyone import ViewField as F
from numpy.typing import NDArray

from ...models.errors import MissingError
from .fields import OutputFields
from .videos import FRAME_NUMBER_FIELD, SEQUENCE_FIELD


@dataclass(frozen=True)
class Timeline:
    """One video's boxes, summed up by frame; frames without boxes are left out.

    Attributes:
        name: the video's.
        sample: id of the sample that is open: the video's, or that of one image.
        frame: (N,) int64, numbers of the frames as FiftyOne counts them.
        greatest: (N,) float32, greatest uncertainty of a box in the frame, in [0, 1].
        mean: (N,) float32, mean uncertainty of its boxes.
        asked: numbers of the frames that an open question shows.
        images: frame -> id of its image; None for a video sample.
    """

    name: str
    sample: str
    frame: NDArray[np.int64]
    greatest: NDArray[np.float32]
    mean: NDArray[np.float32]
    asked: tuple[int, ...]
    images: dict[int, str] | None


def read_timeline(dataset: fo.Dataset, out: str, sample: str) -> Timeline:
    """The timeline of the video of a sample.

    Args:
        dataset: that is open.
        out: field of tracks.
        sample: id of a video sample, or of an image of a sequence.

    Raises:
        MissingError: if there is no such sample, or nothing was labelled there.
    """
    fields = OutputFields(out)
    prefix = "frames." if dataset.media_type == "video" else ""
    if dataset.get_field(prefix + out) is None:
        raise MissingError(f"dataset {dataset.name!r} has no field {prefix + out!r} yet; label it first")
    view = dataset.select(sample)
    if not len(view):
        raise MissingError(f"there is no sample {sample} in dataset {dataset.name!r} any more")
    number = f"{prefix}{FRAME_NUMBER_FIELD}"
    if not prefix:
        view = dataset.match(F(SEQUENCE_FIELD) == view.values(SEQUENCE_FIELD)[0]).sort_by(FRAME_NUMBER_FIELD)
    boxes = f"{prefix}{out}.detections"
    paths = [number, f"{boxes}.uncertainty", f"{boxes}.link_uncertainty"]
    questions = fields.summary("queries")
    asks = dataset.get_field(prefix + questions) is not None
    if asks:
        paths.append(f"{prefix}{questions}.detections.query")
    columns = view.values(paths)
    if prefix:  # one list a sample
        columns = [column[0] or [] for column in columns]
    numbers, own, links = columns[:3]
    filled = [at for at, found in enumerate(own) if found]
    counts = np.array([len(own[at]) for at in filled], np.int64)
    start = np.concatenate([[0], counts.cumsum()[:-1]]).astype(np.int64)
    of_box = np.maximum(_flat(own, filled), _flat(links, filled))
    some = len(filled) > 0
    asked = tuple(int(at) for at, found in zip(numbers, columns[3], strict=True) if found) if asks else ()
    name, *_ = view.values(SEQUENCE_FIELD) if dataset.get_field(SEQUENCE_FIELD) is not None else [None]
    return Timeline(
        str(name or view.values("filepath")[0]), sample, np.array([numbers[at] for at in filled], np.int64),
        np.maximum.reduceat(of_box, start) if some else np.zeros(0, np.float32),
        (np.add.reduceat(of_box, start) / counts).astype(np.float32) if some else np.zeros(0, np.float32),
        asked, None if prefix else dict(zip(map(int, numbers), view.values("id"), strict=True)),
    )  # fmt: skip


def _flat(column: list[list[float | None] | None], filled: list[int]) -> NDArray[np.float32]:
    """All values of the frames that have boxes; a box that was never judged, e.g. a person's, is certain."""
    values = [value for at in filled for value in column[at] or ()]
    return np.nan_to_num(np.array(values, np.float32))
