"""What forms of the App ask about a dataset: which fields could be used, how much there is to do, and for how long.

Forms are made anew at every key stroke, so what costs a scan of the boxes is kept for a while.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection

from ...engine.desk.notes import DESK
from ...models.errors import InputError
from ...models.weights_file import DEFAULT_WEIGHTS, weights_version
from .fields import DEFAULT_OUT, IN_REVIEW, OWNER, OutputFields, check_ours
from .journal import SyncJournal
from .ledger import Ledger
from .raw import count_boxes
from .videos import FRAME_NUMBER_FIELD, SEQUENCE_FIELD

KEPT_SECONDS = 30.0
BOXES_PER_SECOND = 4000.0  # until a run has told better
LOADING_SECONDS = 4.0  # of torch and the model
CLICKS_EACH = 1.5  # of a question, where that is not known
CLICKS_PER_HOUR = 1200.0  # of a person who reviews

_TRUTHS = ("ground_truth", "gt", "truth")
_counted: OrderedDict[Any, tuple[float, tuple[int, int]]] = OrderedDict()
_lock = Lock()


@dataclass(frozen=True)
class Asked:
    """Open questions.

    Attributes:
        queries: how many.
        videos: in how many videos.
        clicks: that answers take, about.
    """

    queries: int
    videos: int
    clicks: int

    @property
    def said(self) -> str:
        """As in '340 open queries in 12 videos, about 25 minutes of a person's time'."""
        return (
            f"{self.queries:,} open {plural(self.queries, 'query', 'queries')} in {self.videos:,} "
            f"{plural(self.videos, 'video')}, {persons_time(self.clicks)} of a person's time"
        )


class Choices:
    """One dataset.

    Args:
        dataset: it must hold videos, or images that are the frames of sequences.

    Raises:
        InputError: if it does not; says what to do.
    """

    def __init__(self, dataset: fo.Dataset) -> None:
        self.dataset = dataset
        self.name: str = dataset.name
        self._check_media()

    @cached_property
    def prefix(self) -> str:
        """Where fields of boxes are: ``frames.`` for videos, nothing for images."""
        return "frames." if self.dataset.media_type == "video" else ""

    @cached_property
    def box_fields(self) -> list[str]:
        """Fields of boxes, without ``frames.``."""
        return [name for name, kind in self._schema.items() if getattr(kind, "document_type", None) is fo.Detections]

    @cached_property
    def track_fields(self) -> list[str]:
        """Fields of boxes that this plugin labels into, the usual one first."""
        ours = [name for name in self.box_fields if (self._schema[name].info or {}).get(OWNER) == name]
        return sorted(ours, key=lambda name: (name != DEFAULT_OUT, name))

    @cached_property
    def out(self) -> str:
        """The field of tracks that is meant unless another is named."""
        return self.track_fields[0] if self.track_fields else DEFAULT_OUT

    @cached_property
    def ledger(self) -> Ledger:
        """What is kept of the usual field of tracks."""
        return Ledger(self.dataset, self.out)

    @property
    def model(self) -> str | None:
        """File of the weights that were chosen for this dataset; None for the default."""
        return self.ledger.model

    @cached_property
    def model_version(self) -> str:
        """Name of these weights.

        Raises:
            MissingError: if the file is gone.
            InputError: if it holds no weights.
        """
        return weights_version(self.model or DEFAULT_WEIGHTS)

    @cached_property
    def candidates(self) -> str | None:
        """The detector's boxes: those of the last run, else the only field that could hold them."""
        last = self.ledger.candidates
        if last in self.box_fields:
            return last
        able = self.candidate_fields
        return "candidates" if "candidates" in able else able[0] if len(able) == 1 else None

    @cached_property
    def foreign_fields(self) -> list[str]:
        """Fields of boxes that this plugin did not make."""
        return [name for name in self.box_fields if (self._schema[name].info or {}).get(OWNER) is None]

    @cached_property
    def tracks_or_foreign(self) -> list[str]:
        """Fields of boxes without those that go with tracks of ours, such as open questions."""
        return [*self.track_fields, *self.foreign_fields]

    @cached_property
    def candidate_fields(self) -> list[str]:
        """Fields of boxes that are neither ours nor the truth by their name."""
        return [name for name in self.foreign_fields if name not in _TRUTHS]

    @cached_property
    def truth(self) -> str | None:
        """The field that holds the truth by its name, if there is one."""
        return next((name for name in _TRUTHS if name in self.box_fields), None)

    def vectors(self, field: str) -> list[str]:
        """Attributes of boxes that hold vectors; the mask that every ``Detection`` may have is none."""
        inside = self._schema[field].get_field_schema() if field in self._schema else {}
        boxes = inside.get("detections")
        attributes = boxes.field.get_field_schema() if boxes is not None else {}
        able = (fo.VectorField, fo.ArrayField)
        return [name for name, kind in attributes.items() if isinstance(kind, able) and name != "mask"]

    def check_out(self, candidates: str, out: str) -> None:
        """Makes sure that tracks could go to a field.

        Raises:
            InputError: if they could not.
        """
        fields = OutputFields(out.removeprefix("frames."))
        if fields.out == candidates:
            raise InputError(f"tracks cannot go to {out!r}, the field of the candidates; choose another name")
        check_ours(self.dataset, self.prefix, fields)

    def count(self, view: SampleCollection, field: str) -> tuple[int, int]:
        """How many videos, and how many boxes of theirs in a field, hidden or not; kept for half a minute."""
        key = (str(self.dataset._doc.id), field, None if view is self.dataset else repr(view._serialize()))
        now = time.monotonic()
        with _lock:
            if key in _counted and now - _counted[key][0] < KEPT_SECONDS:
                return _counted[key][1]
        ids = None if view is self.dataset else view.values("id")
        found = (self._videos(view), count_boxes(self.dataset, field, ids))
        with _lock:
            _counted[key] = (now, found)
            while len(_counted) > 64:
                _counted.popitem(last=False)
        return found

    def seconds(self, boxes: int) -> float:
        """How long it takes to label so many candidates, judged by the last run."""
        return LOADING_SECONDS + boxes / (self.ledger.boxes_per_second or BOXES_PER_SECOND)

    def preview(self, view: SampleCollection, candidates: str) -> str:
        """What labelling would do, in a sentence.

        Raises:
            InputError: if there is nothing to do.
        """
        videos, boxes = self.candidates_in(view, candidates)
        return (
            f"{videos:,} {plural(videos, 'video')}, {boxes:,} {plural(boxes, 'box', 'boxes')}, "
            f"model {self.model_version}, {duration(self.seconds(boxes))}"
        )

    def candidates_in(self, view: SampleCollection, field: str) -> tuple[int, int]:
        """How many videos, and how many candidates of theirs.

        Raises:
            InputError: if there are none.
        """
        videos, boxes = self.count(view, field)
        if not boxes:
            where = "this video" if videos == 1 else f"these {videos:,} videos"
            raise InputError(f"field {field!r} has no boxes in {where}; choose another one")
        return videos, boxes

    def open_questions(self, view: SampleCollection, out: str | None = None) -> Asked:
        """What waits for an answer in some videos, from what is kept of each video."""
        fields = OutputFields(out or self.out)
        name = fields.summary("open_queries")
        if not self._is_ours(name, fields.out):
            return Asked(0, 0, 0)
        key = "id" if self.prefix else SEQUENCE_FIELD
        of_video = dict(zip(*view.match(F(name) > 0).values([key, name]), strict=True))
        count = sum(of_video.values())
        return Asked(count, len(of_video), round(count * self._clicks_each(fields.out)) if count else 0)

    def in_review(self, view: SampleCollection, out: str | None = None) -> int:
        """How many of the videos wait for a person in CVAT."""
        fields = OutputFields(out or self.out)
        name = fields.summary("review_status")
        if not self._is_ours(name, fields.out):
            return 0
        return self._videos(view.match(F(name) == IN_REVIEW))

    def has_new_answers(self, out: str | None = None) -> bool:
        """Whether people have said something since the labels were made."""
        clicks, is_new = 0, False
        for one in Ledger(self.dataset, out or self.out).rounds():
            if one.kind == "label":
                clicks, is_new = one.clicks, False
            # A synchronisation may only have sent something; an answer that costs nothing comes with others that do.
            elif one.kind == "answers" or one.clicks > clicks:
                is_new = True
        return is_new

    def has_open_questions(self, out: str | None = None) -> bool:
        """Whether any question waits for an answer."""
        fields = OutputFields(out or self.out)
        name = fields.summary("open_queries")
        return self._is_ours(name, fields.out) and bool(len(self.dataset.match(F(name) > 0).limit(1)))

    def was_sent(self, out: str | None = None) -> bool:
        """Whether anything was ever sent to CVAT."""
        return SyncJournal(self.dataset, out or self.out).get(DESK) is not None

    def _clicks_each(self, out: str) -> float:
        """What an open question costs on average."""
        standing = Ledger(self.dataset, out).standing()
        if standing is not None and standing.open_queries:
            return standing.clicks_open / standing.open_queries
        return CLICKS_EACH

    def _is_ours(self, path: str, out: str) -> bool:
        found = self.dataset.get_field(path)
        return found is not None and (found.info or {}).get(OWNER) == out

    @cached_property
    def _schema(self) -> dict[str, Any]:
        schema = self.dataset.get_frame_field_schema() if self.prefix else self.dataset.get_field_schema()
        return dict(schema or {})

    def _videos(self, view: SampleCollection) -> int:
        return len(view) if self.prefix else len(view.distinct(SEQUENCE_FIELD))

    def _check_media(self) -> None:
        dataset = self.dataset
        if dataset.media_type == "group":
            raise InputError(
                f"dataset {self.name!r} is grouped; labelling needs plain videos: make a dataset of one slice "
                "(dataset.select_group_slices(...).clone(...)), and open that"
            )
        if not len(dataset):
            raise InputError(f"dataset {self.name!r} is empty; add videos first")
        if dataset.media_type not in ("video", "image"):
            raise InputError(
                f"dataset {self.name!r} holds media of type {dataset.media_type!r}; labelling needs videos, or images "
                "that are the frames of sequences"
            )
        if dataset.media_type == "image":
            for field in (SEQUENCE_FIELD, FRAME_NUMBER_FIELD):
                if dataset.get_field(field) is None:
                    raise InputError(
                        f"dataset {self.name!r} holds images but no field {field!r}; image sequences need "
                        f"{SEQUENCE_FIELD!r} and {FRAME_NUMBER_FIELD!r}"
                    )


def whole_videos(dataset: fo.Dataset, view: SampleCollection) -> SampleCollection:
    """The videos that a view shows something of: of clips, frames, patches or single images the whole videos.

    Boxes that the view hides are there again, as labelling, asking and sending are about all of them.

    Args:
        dataset: that is open.
        view: of it.

    Returns:
        a view that only selects videos; the dataset itself, if nothing is left out.

    Raises:
        InputError: if the view shows nothing.
    """
    if not isinstance(view, fo.DatasetView) or not view._all_stages:
        return dataset
    if not len(view):
        raise InputError("there is nothing in this view; choose other samples, or the whole dataset")
    if view._is_dynamic_groups:
        view = view.flatten()
    if dataset.media_type == "image":
        if dataset.get_field(SEQUENCE_FIELD) is None:
            return view
        if view._is_generated:
            view = dataset.select(_sources(view))
        return dataset.match(F(SEQUENCE_FIELD).is_in(view.distinct(SEQUENCE_FIELD)))
    return dataset.select(_sources(view) if view._is_generated else view.values("id"))


def _sources(view: fo.DatasetView) -> list[str]:
    """Ids of the samples that clips, frames or patches were made of."""
    return [str(key) for key in view.distinct("sample_id")]


def plural(count: int, one: str, many: str = "") -> str:
    """The word for so many."""
    return one if count == 1 else many or f"{one}s"


def duration(seconds: float) -> str:
    """How long something takes, roughly: 'about 40 s', 'about 25 minutes', 'about 3.5 hours'."""
    if seconds < 90:
        return f"about {max(round(seconds / 5) * 5, 5):.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"


def persons_time(clicks: float, clicks_per_hour: float = CLICKS_PER_HOUR) -> str:
    """How long a person is busy with so many clicks: 'about a minute', 'about 25 minutes', 'about 3.5 hours'."""
    minutes = 60 * clicks / clicks_per_hour
    return "about a minute" if minutes < 1.5 else duration(60 * max(minutes, 1.5))
