"""Adapting the tracker with a FiftyOne dataset: boxes of people and sure tracks are read, a version comes out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection

from ...engine.resolve import resolve
from ...engine.versions import BY_HAND
from ...models.columns import Candidates, Source, VideoInfo
from ...models.errors import InputError
from .answers import AnswerBook
from .calls import chosen
from .candidates import usable_candidates
from .columns import SOURCE_NAMES, four_columns, read_boxes, video_documents
from .cycles import without_cycles
from .fields import DEFAULT_OUT, OutputFields
from .frames import media_digest
from .human_boxes import find_targets, read_field
from .ledger import Ledger
from .pictures import ImageFiles, VideoFile, pictures_of
from .retrainings import Learning
from .runs import plain
from .shelf import Shelf
from .videos import StoredVideo, box_field, open_videos

if TYPE_CHECKING:
    from ...engine.adapting import AdaptPlan, AdaptReport, AdaptVideo, LabelBoxes

METHOD = "spam_adapt"
NONE = "none"  # in the place of a field of candidates

Tell = Callable[[float, str], None]


def adapt(
    dataset: SampleCollection | str,
    *,
    out: str = DEFAULT_OUT,
    candidates: str | None = None,
    view: SampleCollection | str | None = None,
    plan: AdaptPlan | None = None,
    parent: str | None = None,
    use: bool | None = None,
    device: str = "cpu",
    skip_bad: bool = False,
    progress: Tell | None = None,
) -> AdaptReport:
    """Have the tracker learn from a few boxes of the objects of a dataset, and from the frames around them.

    Boxes of people are those that answers drew and those of the field of tracks that a person drew or moved. What comes
    out is a version on the shelf of the field; gaps are filled with it from then on if it finds boxes better that were
    held out. Killed and called again in the same way, it goes on where it was.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        out: field of the tracks.
        candidates: field of the boxes that the tracks were made of, by which answers find their objects. None for
            those that were labelled last, "none" for none.
        view: only the videos of this view, or saved view.
        plan: what is learnt from, and how; None for the defaults.
        parent: name of the version to begin with; None for the one that is in use.
        use: use what comes out whatever the judgement is (True), or do not (False); None for what it says.
        device: where it learns, as torch names it.
        skip_bad: leave out and name videos that cannot be used, instead of raising.
        progress: told the share that is done, and what is being done.

    Raises:
        MissingError: for a dataset, view, field, version or file that is not there.
        InputError: for input that cannot be used, or if there is nothing to learn from.
        DeskError: if somebody else trains for the same field.
    """
    from ...engine.adapting import AdaptPlan, adapt_tracker
    from ...models.spot.model import check_device

    plan = plan or AdaptPlan()
    check_device(device)
    collection = chosen(dataset, view)
    videos, whole = open_videos(collection), collection._dataset
    name = OutputFields(out.removeprefix("frames.")).out
    field = _candidate_field(whole, videos, name, candidates)
    book, found, skipped = AnswerBook(whole, name), {}, {}
    said = book.by_video({video.key for video in videos})
    pictures: list[VideoFile | ImageFiles] = []
    learning, shelf = Learning(whole, name), Shelf(whole, name)
    with learning.hold():
        try:
            for video in videos:
                try:
                    one = _read(video, name, field, said.get(video.key, ()), plan.self_training, pictures)
                except InputError as error:
                    if not skip_bad:
                        raise
                    skipped[video.name] = str(error)
                else:
                    if one is not None:
                        found[video.key] = one
            named = None if parent == BY_HAND else parent
            report = adapt_tracker(found, shelf, plan, device=device, use=use, parent=named, tell=progress)
        finally:
            for each in pictures:
                each.close()
    report = report.without(skipped)
    _note(whole, name, report)
    return report


def _read(
    video: StoredVideo, out: str, candidates: str | None, answers: tuple[Any, ...], self_training: bool,
    pictures: list[VideoFile | ImageFiles],
) -> AdaptVideo | None:  # fmt: skip
    """What is known of a video; None if that is nothing."""
    from ...engine.adapting import AdaptVideo

    drawn = [answer.drawn for answer in answers if answer.drawn is not None]
    there = video.dataset.get_field(video.prefix + out) is not None
    if not drawn and not there:
        return None
    info = video.info()
    boxes = read_field(video, out, info, drawn)
    stored, names = Candidates.empty(), (None,)
    if candidates is not None and drawn:
        read = read_boxes(video, candidates, info.width, info.height)
        stored, _ = usable_candidates(video, candidates, read, info, skip_bad=True)
        names = read.labels  # type: ignore[assignment]
    keys = find_targets(boxes, resolve(answers, info, stored, names).constraints, stored, names, info).keys
    labels = None
    if self_training and not len(keys) and there:
        labels = _labels(video, out, info)
    if not len(keys) and labels is None:
        return None
    digest = media_digest(video)
    shown = pictures_of(video, info)
    pictures.append(shown)
    return AdaptVideo(info, shown, digest, keys, labels)


def _labels(video: StoredVideo, out: str, info: VideoInfo) -> LabelBoxes:
    """The boxes of the model, those that a detector saw."""
    from ...engine.adapting import LabelBoxes

    keys = ("index", "source", "bounding_box", "confidence", "link_uncertainty")
    rows: list[tuple[Any, ...]] = []
    boxes: list[Any] = []
    with without_cycles():
        for frame, found in video_documents(video, out, keys):
            for box in found:
                if box.get("source") == SOURCE_NAMES[Source.MODEL] and box.get("index") is not None:
                    doubt = box.get("link_uncertainty")
                    rows.append((box["index"], frame, box.get("confidence") or 0.0, 1.0 if doubt is None else doubt))
                    boxes.append(box.get("bounding_box"))
    columns = np.array(rows, np.float64).reshape(-1, 4)
    xyxy = four_columns(boxes).reshape(-1, 4) * ([info.width, info.height] * 2)
    xyxy[:, 2:] += xyxy[:, :2]
    with np.errstate(invalid="ignore"):
        good = np.isfinite(xyxy).all(1) & (xyxy[:, 2:] - xyxy[:, :2] > 1e-3).all(1) & (columns[:, 1] < info.num_frames)
        good &= (xyxy[:, :2] < [info.width, info.height]).all(1) & (xyxy[:, 2:] > 0).all(1)
    columns, boxed = columns[good], xyxy[good].astype(np.float32)
    whole, part = columns[:, :2].astype(np.int64), columns[:, 2:].astype(np.float32)
    return LabelBoxes(whole[:, 0], whole[:, 1], boxed, part[:, 0], part[:, 1])


def _candidate_field(
    dataset: fo.Dataset, videos: list[StoredVideo] | tuple[StoredVideo, ...], out: str, named: str | None
) -> str | None:
    """The field of candidates that is meant, if it is there."""
    if named is not None and named != NONE:
        return box_field(list(videos), named)
    last = Ledger(dataset, out).candidates if named is None else None
    return last if last is not None and dataset.get_field(videos[0].prefix + last) is not None else None


def _note(dataset: fo.Dataset, out: str, report: AdaptReport) -> None:
    """Keeps with the dataset that a version was made, once for each."""
    version = report.version
    key = f"adapt_{out}_{version.name}"
    if key in dataset.list_runs():
        return
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    config = dataset.init_run(
        method=METHOD, out=out, made=now, version=version.name, parent=version.parent, used=report.used,
        lessons=plain(dict(report.lessons)),
    )  # fmt: skip
    dataset.register_run(key, config)
    results = dataset.init_run_results(key, report=plain(_sayable(report.as_dict())))
    dataset.save_run_results(key, results, overwrite=True, cache=False)


def _sayable(value: Any) -> Any:
    """Plain values, files by their names."""
    if isinstance(value, dict):
        return {key: _sayable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(one) for one in value]
    return str(value) if isinstance(value, Path) else value
