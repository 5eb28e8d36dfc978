"""Finds candidates with a detector that is named: what a notebook calls as ``spam_plugin.detect``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fiftyone.core.collections import SampleCollection

from ...engine.label import Step
from ...models.errors import InputError
from ..appearances import is_appearance
from .calls import chosen, told
from .detecting import DEFAULT_GROUP, DetectReport
from .detecting import detect as detect_in
from .embedding import Describer
from .fields import DEFAULT_OUT, OutputFields, check_ours
from .shelf import Shelf
from .videos import open_videos

IN_USE = "in-use"  # the detector of the version that was chosen, by name


def detect(
    dataset: SampleCollection | str,
    candidates: str = "candidates",
    *,
    detector: Any | None = None,
    classes: Sequence[str] | None = None,
    least_score: float | None = None,
    batch: int = 8,
    add_to: str | None = None,
    appearance: Any | None = None,
    out: str = DEFAULT_OUT,
    view: SampleCollection | str | None = None,
    device: str = "cpu",
    again: bool = False,
    skip_bad: bool = False,
    progress: bool | Callable[[Step], None] = True,
) -> DetectReport:
    """Find candidates in every frame of a dataset, and write them.

    Registers the run with the dataset. Called again with the same detector and settings, it does what is new; if it was
    interrupted, the same call does the rest, and the boxes are those of an undisturbed run.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        candidates: field that the boxes go to; one that something else has written is not overwritten.
        detector: see ``integrations.detectors.open_detector``; None or "in-use" for the one in use, which
            is the small one of this package unless a retrained one was chosen.
        classes: names of those to find; None for all.
        least_score: boxes below are dropped; low, so that labelling may choose. None for what suits the detector.
        batch: images at a time; fewer if a GPU's memory does not hold them.
        add_to: field of boxes that stay as they are, to which the detector's are added where they cover none; all of
            them go to ``candidates`` (see ``combining``).
        appearance: also describe the boxes, while their frame is in memory; see
            ``integrations.appearances.open_appearance``.
        out: field of tracks, whose models are meant by the one in use.
        view: only the videos of this view, or saved view.
        device: where models run, as torch names it.
        again: do anew what is done.
        skip_bad: leave out and name videos that cannot be decoded, instead of raising.
        progress: whether to show it, on standard error; or a function that is told every step.

    Raises:
        MissingError: for a dataset, view, field, file or name that is not there.
        InputError: for input that cannot be used; names video, frame, field or file.
        DeskError: if another process detects into the same field.
    """
    from ..detectors import open_detector

    collection = chosen(dataset, view)
    if detector is None or (isinstance(detector, str) and detector == IN_USE):
        detector = Shelf(collection._dataset, out.removeprefix("frames.")).in_use().parts.get("detector")
    opened = open_detector(detector, device, least_score, classes=classes, batch=batch)
    looks = Describer(collection._dataset, appearance, device) if appearance is not None else None
    # Only what is unusual, so that who leaves the defaults as they are means the same run.
    settings: dict[str, Any] = {"least_score": least_score} if least_score is not None else {}
    settings |= {"classes": sorted(classes)} if classes is not None else {}
    with told(progress, "detecting", "frames") as tell:
        return detect_in(
            collection, opened, candidates, looks, add_to, settings=settings, group=max(batch, DEFAULT_GROUP),
            again=again, skip_bad=skip_bad, tell=tell,
        )  # fmt: skip


def detect_to_label(
    collection: SampleCollection,
    candidates: str,
    detector: Any,
    embeddings: str | None,
    out: str,
    device: str,
    skip_bad: bool,
    progress: bool | Callable[[Step], None],
) -> tuple[SampleCollection, dict[str, str]]:
    """Find and describe candidates that are to be labelled; what would stop the labelling stops this first.

    Returns:
        the videos that can be labelled, and name -> why of those that cannot.

    Raises:
        InputError: also for vectors that boxes which are new cannot have, and tracks that have no place to go to.
    """
    fields, name = OutputFields(out.removeprefix("frames.")), candidates.removeprefix("frames.")
    videos = open_videos(collection)
    if fields.out == name:
        raise InputError(f"tracks cannot go to {out!r}, the field of the candidates; choose another name")
    if embeddings is not None and not is_appearance(embeddings):
        raise InputError(
            f"boxes that a detector has just found have no attribute {embeddings!r}; name an appearance: default, "
            f"colour, a file or a folder"
        )
    check_ours(videos[0].dataset, videos[0].prefix, fields)
    report = detect(
        collection, candidates, detector=detector, appearance=embeddings, out=out, device=device, skip_bad=skip_bad,
        progress=progress,
    )  # fmt: skip
    bad = [key for video in videos if video.name in report.skipped for key in video.sample_ids]
    if bad:
        whole = collection.flatten() if collection._is_dynamic_groups else collection
        collection = whole.exclude(bad)
    return collection, report.skipped
