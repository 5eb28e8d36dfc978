"""The tracker as a model of FiftyOne, for those who want nothing else of this plugin: ``dataset.apply_model``.

    model = SpotModel(prompt_field="frames.boxes")
    dataset.apply_model(model, label_field="tracks", skip_failures=False)

Every track (``index``) of the prompt field that has a box in some frames is followed to the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.core.models import Model, SamplesMixin
from numpy.typing import NDArray

from ...engine.filling import FillSettings, How, Keyframes, fill_gaps
from ...models.columns import VideoInfo
from ...models.errors import InputError
from ...models.spot.model import Tracker
from .filled import doubt
from .pictures import VideoFile

DEFAULT_PROMPT = "frames.ground_truth"


class SpotModel(SamplesMixin, Model):
    """Follows what a few boxes show through a video.

    Args:
        prompt_field: frame field of ``Detections``, with ``frames.``, that has at least one box of every object. Boxes
            of an object share an ``index``; a box without one is an object of its own.
        weights: a loaded tracker, a file, or None for the default one.
        device: where it runs, as torch names it.
        settings: how to fill; None for the defaults.
        settings_: further settings by their names, e.g. ``open_frames=200``.
    """

    def __init__(
        self, prompt_field: str = DEFAULT_PROMPT, weights: Tracker | str | Path | None = None, device: str = "cpu",
        settings: FillSettings | None = None, **settings_: Any,
    ) -> None:  # fmt: skip
        SamplesMixin.__init__(self)
        self._prompt_field = prompt_field
        if settings is not None and settings_:
            raise InputError("give either settings or single ones by their names, not both")
        unknown = sorted(set(settings_) - set(FillSettings.__dataclass_fields__))
        if unknown:
            known = ", ".join(FillSettings.__dataclass_fields__)
            raise InputError(f"there is no setting {unknown[0]!r}; there are: {known}")
        self.settings = settings or FillSettings(**settings_)
        loaded = weights is not None and not isinstance(weights, (str, Path))
        self.tracker: Tracker = weights if loaded else Tracker.load(weights, device)  # type: ignore[assignment, arg-type]

    @property
    def needs_fields(self) -> dict[str, str]:
        """The field of the prompts: that which ``apply_model`` was told, or else the model."""
        field = self._fields.get("prompt_field") or self._prompt_field
        return {"prompt_field": field if field.startswith("frames.") else f"frames.{field}"}

    @needs_fields.setter
    def needs_fields(self, given: Mapping[str, str]) -> None:
        self._fields = dict(given)

    @property
    def media_type(self) -> str:
        """What it looks at."""
        return "video"

    @property
    def ragged_batches(self) -> bool:
        """Videos come one by one."""
        return True

    @property
    def transforms(self) -> None:
        """It prepares its pictures itself."""
        return

    @property
    def preprocess(self) -> bool:
        """The same."""
        return False

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        pass

    def predict(self, reader: Any, sample: fo.Sample | None = None) -> dict[int, fo.Detections]:
        """Boxes of all objects of one video.

        Args:
            reader: of the video, an ``eta.core.video.VideoReader``.
            sample: the video sample, with its prompts.

        Returns:
            1-based frame number -> the prompts, and what was filled with a ``confidence`` and a ``source``.

        Raises:
            InputError: if there is no sample, or it has no box to start from.
        """
        field = self.needs_fields["prompt_field"].removeprefix("frames.")
        if sample is None:
            raise InputError("the tracker needs samples with boxes to start from; call dataset.apply_model(...)")
        width, height = reader.frame_size
        info = VideoInfo(
            Path(reader.inpath).name, int(reader.total_frame_count), float(width), float(height),
            float(reader.frame_rate or 30.0),
        )  # fmt: skip
        prompts = {number: found[field] for number, found in sample.frames.items() if found[field] is not None}
        keys, objects = _keyframes(prompts, info)
        if not len(keys):
            raise InputError(
                f"{info.name}: no frame has a box in {field!r} to start from; draw one, or name another field"
            )
        pictures = VideoFile(reader.inpath, info)
        try:
            fills, _ = fill_gaps(self.tracker, pictures, keys, info, None, self.settings)
        finally:
            pictures.close()
        out: dict[int, list[fo.Detection]] = defaultdict(list)
        for number, labels in prompts.items():
            out[number] += [one.copy() for one in labels.detections]
        xywh = fills.xyxy.astype(np.float64)
        xywh[:, 2:] -= xywh[:, :2]
        xywh /= np.array([info.width, info.height] * 2)
        unsure = doubt(fills.confidence)
        for row, (track, frame) in enumerate(zip(fills.track.tolist(), fills.frame.tolist(), strict=True)):
            like = objects[track]
            detection = fo.Detection(
                label=like.label, bounding_box=xywh[row].tolist(), index=like.index,
                confidence=float(fills.confidence[row]), uncertainty=float(unsure[row]),
                source="interpolated" if fills.how[row] == How.INTERPOLATED else "propagated",
            )  # fmt: skip
            instance = like.get_field("instance") if like.has_field("instance") else None
            if instance is not None:
                detection.instance = instance
            out[frame + 1].append(detection)
        return {number: fo.Detections(detections=found) for number, found in sorted(out.items())}


def _keyframes(prompts: Mapping[int, fo.Detections], info: VideoInfo) -> tuple[Keyframes, list[fo.Detection]]:
    """The usable boxes, and one box of every track."""
    place: dict[Any, int] = {}
    objects: list[fo.Detection] = []
    rows: dict[tuple[int, int], NDArray[np.float64]] = {}
    for number in sorted(prompts):
        for box in prompts[number].detections:
            left, top, width, height = box.bounding_box
            xyxy = np.array([left, top, left + width, top + height]) * ([info.width, info.height] * 2)
            inside = (xyxy[:2] < [info.width, info.height]).all() and (xyxy[2:] > 0).all()
            if not (np.isfinite(xyxy).all() and (xyxy[2:] > xyxy[:2]).all() and inside and number <= info.num_frames):
                continue
            name = ("box", box.id) if box.index is None else ("track", box.index)
            if name not in place:
                place[name] = len(objects)
                objects.append(box)
            rows.setdefault((place[name], number - 1), xyxy)
    track, frame = np.array(sorted(rows), np.int64).reshape(-1, 2).T
    xyxy = np.array([rows[one] for one in sorted(rows)], np.float32).reshape(-1, 4)
    return Keyframes(track.copy(), frame.copy(), xyxy), objects
