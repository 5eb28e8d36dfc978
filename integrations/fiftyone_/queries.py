"""Open questions as people meet them in FiftyOne: a field of boxes, numbers of each video, a view and a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone import ViewField as F

from ...engine.answers import Box
from ...engine.queries import Query, Question
from ...models.errors import InputError, MissingError
from .columns import video_documents
from .counting import questions_asked, questions_stored
from .fields import OWNER, OutputFields, keep_view
from .ledger import Ledger
from .raw import declare_detections, detection_dict, write_frame_labels, write_image_labels, write_sample_values
from .runs import new_run_key, plain
from .videos import StoredVideo

if TYPE_CHECKING:
    from ...engine.choosing import QueryPlan

METHOD = "spam_queries"
VIEW = "open queries"

_ATTRIBUTES = {
    "query": (fo.StringField, "key of the question; the boxes of one question share it"),
    "text": (fo.StringField, "the question in words"),
    "probability": (fo.FloatField, "the model's, calibrated, that the answer is yes"),
    "cost": (fo.IntField, "clicks that an answer takes"),
    "gain": (fo.FloatField, "boxes that an answer is expected to put right"),
    "rank": (fo.IntField, "place among all open questions of the dataset, from 1"),
    "track": (fo.IntField, "the track that it is about, counted from 1 as the labels stood; 0 for none"),
}


class QueryDesk:
    """The open questions about one field of tracks.

    Args:
        dataset: that they are about.
        prefix: ``"frames."`` for videos, empty for images.
        fields: the names that go with the field of tracks.
    """

    def __init__(self, dataset: fo.Dataset, prefix: str, fields: OutputFields) -> None:
        self._dataset, self._fields = dataset, fields
        self._field = fields.summary("queries")
        self._ledger = Ledger(dataset, fields.out)
        self._path = prefix + self._field

    def check(self) -> None:
        """Makes sure that nothing of anybody else's would be overwritten.

        Raises:
            InputError: if the dataset has a field of this name that is somebody else's.
        """
        if self._dataset.get_field(self._path) is not None and not self._is_ours():
            raise InputError(
                f"field {self._path!r} of dataset {self._dataset.name!r} was not made by this plugin for "
                f"{self._fields.out!r}, so it is not overwritten; rename or delete it"
            )

    def _is_ours(self) -> bool:
        found = self._dataset.get_field(self._path)
        return found is not None and (found.info or {}).get(OWNER) == self._fields.out

    def write(self, videos: Sequence[StoredVideo], plan: QueryPlan, configuration: Mapping[str, Any]) -> None:
        """Puts the questions of a plan in the place of those that were open before in these videos.

        The run is registered last: until then what a killed call has written is written again by the next one.

        Args:
            videos: all those that were asked about; those without a question are cleared.
            plan: the questions.
            configuration: what they were chosen with.

        Raises:
            InputError: if the dataset has a field of this name that is somebody else's.
        """
        self.check()
        owner = {OWNER: self._fields.out}
        declare_detections(self._dataset, self._path, _ATTRIBUTES, "open questions to a person", owner)
        by_video: dict[str, list[tuple[int, Query]]] = defaultdict(list)
        for rank, query in enumerate(plan.queries, 1):
            by_video[query.video].append((rank, query))
        for video in videos:
            per_frame: dict[int, list[dict[str, Any]]] = defaultdict(list)
            if by_video[video.key]:  # a video that cannot be read was not asked about
                info = video.info()
                for rank, query in by_video[video.key]:
                    for box in shown_boxes(query, info.width, info.height):
                        per_frame[box.frame].append(_document(query, rank, box, info.width, info.height))
            self._replace(video, per_frame)
            self._ledger.asked(video.key, questions_asked(video, by_video[video.key]))
        self._save_view()
        self._register(plan, configuration)

    def close(self, videos: Sequence[StoredVideo], answered: Collection[str]) -> None:
        """Takes questions away that have an answer now.

        Args:
            videos: that they are about.
            answered: keys of the questions.
        """
        if not (answered and self._is_ours()):
            return
        rows = self._ledger.rows()
        for video in videos:
            before = video_documents(video, self._field)
            after = {frame: [box for box in boxes if box["query"] not in answered] for frame, boxes in before}
            # The counts are written even if no box goes: a call that was killed may have got as far as the boxes.
            self._replace(video, after)
            self._ledger.asked(video.key, questions_stored(video, after.items(), rows.get(video.key, ())))

    def _replace(self, video: StoredVideo, per_frame: Mapping[int, list[dict[str, Any]]]) -> None:
        """Makes these the open questions of one video: 0-based frame -> raw boxes."""
        if video.image_frame is None:
            numbered = ((frame + 1, per_frame[frame]) for frame in sorted(per_frame) if per_frame[frame])
            write_frame_labels(self._dataset, video.key, self._field, numbered)
        else:
            pairs = zip(video.sample_ids, video.image_frame.tolist(), strict=True)
            write_image_labels(self._dataset, self._field, ((key, per_frame.get(frame, [])) for key, frame in pairs))
        gains = {box["query"]: box["gain"] for boxes in per_frame.values() for box in boxes}
        values = {"open_queries": len(gains), "expected_gain": float(sum(gains.values()))}
        named = {self._fields.summary(name): value for name, value in values.items()}
        write_sample_values(self._dataset, video.sample_ids, named, {})

    def _save_view(self) -> None:
        asked = self._dataset.match(F(self._fields.summary("open_queries")) > 0)
        view = asked.sort_by(self._fields.summary("expected_gain"), reverse=True)
        keep_view(self._dataset, self._fields, VIEW, view)

    def _register(self, plan: QueryPlan, configuration: Mapping[str, Any]) -> None:
        key = new_run_key(self._dataset, f"queries_{self._fields.out}")
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        config = self._dataset.init_run(
            method=METHOD, out=self._fields.out, made=now, clicks=plan.clicks, allowed=plan.allowed,
            model_version=plan.model_version, **plain(configuration),
        )  # fmt: skip
        self._dataset.register_run(key, config)
        results = self._dataset.init_run_results(
            key,
            queries=[plain(query.as_dict()) for query in plan.queries],
            estimates=plain(plan.estimates),
            by_question=plain(plan.by_question),
        )
        self._dataset.save_run_results(key, results, overwrite=True, cache=False)


def load_queries(dataset: fo.Dataset, out: str) -> list[Query]:
    """The questions of the last round about a field of tracks, most valuable first.

    Raises:
        MissingError: if none were chosen yet.
    """
    keys = [key for key in dataset.list_runs() if dataset.get_run_info(key).config.method == METHOD]
    own = [key for key in keys if dataset.get_run_info(key).config.out == out]
    if not own:
        raise MissingError(
            f"dataset {dataset.name!r} has no questions about {out!r}; make them with spam-plugin queries"
        )
    last = max(own, key=lambda key: (dataset.get_run_info(key).timestamp, key))
    return [Query.from_dict(values) for values in dataset.load_run_results(last, cache=False).queries]


def shown_boxes(query: Query, width: float, height: float) -> Iterator[Box]:
    """The boxes that a person has to see to answer; of a long tracklet its first, middle and last."""
    if query.question is Question.MISSING:
        yield Box(query.frame, (0.0, 0.0, float(width), float(height)))
    elif query.question is Question.LINK:
        yield query.boxes[-1]
        yield query.others[0]
    elif query.question is Question.VALID:
        rows = sorted({0, len(query.boxes) // 2, len(query.boxes) - 1})
        yield from (query.boxes[row] for row in rows)
    else:
        yield query.boxes[0]


def _document(query: Query, rank: int, box: Box, width: float, height: float) -> dict[str, Any]:
    left, top, right, bottom = box.xyxy
    place = [left / width, top / height, (right - left) / width, (bottom - top) / height]
    return detection_dict(
        query.question.value, place, query=query.key, text=query.text, probability=float(query.probability),
        cost=int(query.cost), gain=float(query.gain), rank=rank, track=query.track + 1,
    )  # fmt: skip
