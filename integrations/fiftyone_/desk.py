"""A FiftyOne dataset as one side of the round trip: what is sent to people, and where what comes back goes."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from bson import ObjectId
from fiftyone.core.collections import SampleCollection
from numpy.typing import NDArray

from ...engine.answers import Answer, Box
from ...engine.desk.labels import Conflict, Labels, Patch
from ...engine.desk.ports import AttributeSpec, LabelSpec, Media
from ...engine.desk.pushing import REASON
from ...engine.queries import Query
from ...models.columns import VideoInfo
from ...models.errors import InputError
from .answers import AnswerBook
from .attributes import TRACK_UID, UNCERTAINTY, user_attributes
from .columns import track_instance
from .conflicts import ConflictField
from .counting import count_stored
from .fields import (
    DEFAULT_OUT,
    OWNER,
    OutputFields,
    check_summary,
    declare_summary,
    declare_tracks,
    save_views,
    undeclared,
)
from .labels import ReadLabels, read_labels
from .ledger import Ledger
from .patching import apply_patch
from .queries import METHOD, QueryDesk
from .raw import write_sample_values
from .videos import StoredVideo, box_field, open_videos

logger = logging.getLogger(__name__)


class FiftyOneDesk:
    """The videos of a dataset or view, and a field of tracks that people edit elsewhere.

    The field need not be one that labelling made; what its boxes lack to be edited is declared when the first is.

    Args:
        collection: the dataset or view.
        out: ``Detections`` field of the tracks, with or without ``frames.``.
        attributes: declared attributes of the boxes that people see and may change; None for all that are text, a
            number, or true or false, and not the plugin's own.
        remote: ("share" or the id of a cloud storage, local root, root there) for a desk that has the media already;
            None to upload them.
        skip_bad: leave out boxes that cannot be used, instead of raising.

    Raises:
        MissingError: for a field or attribute that is not there.
        InputError: for a field or attribute of another type, or media that are no videos.
    """

    def __init__(
        self,
        collection: SampleCollection,
        out: str = DEFAULT_OUT,
        attributes: Sequence[str] | None = (),
        remote: tuple[str, Path, str] | None = None,
        skip_bad: bool = False,
    ) -> None:
        videos = open_videos(collection)
        self._dataset = collection._dataset
        self._fields = OutputFields(box_field(videos, out))
        self._prefix = videos[0].prefix
        self._path = self._prefix + self._fields.out
        self._attributes = user_attributes(self._dataset, self._path, attributes)
        self._remote, self._skip_bad = remote, skip_bad
        self._videos = {video.key: video for video in videos}
        self._infos: dict[str, VideoInfo] = {}
        self._instances: dict[str, frozenset[str]] = {}
        self._rounds: dict[tuple[str, str], list[Query]] = {}  # of questions, which never change
        self._has_views = False
        undeclared(self._dataset, self._path)
        check_summary(self._dataset, self._fields, "review_status")
        self._ledger = Ledger(self._dataset, self._fields.out)
        self._conflicts = ConflictField(self._dataset, self._prefix, self._fields)
        self._conflicts.check()

    # --- what is sent

    def videos(self) -> Sequence[tuple[str, str]]:
        """(key, name) of all videos, in the dataset's order."""
        return [(video.key, video.name) for video in self._videos.values()]

    def info(self, key: str) -> VideoInfo:
        """Size and frame rate; of a sequence, ``num_frames`` counts its images.

        Raises:
            InputError: for a file that cannot be read.
        """
        if key not in self._infos:
            video = self._videos[key]
            info = video.info()
            if video.image_frame is not None:
                info = replace(info, num_frames=len(video.image_frame))
            self._infos[key] = info
        return self._infos[key]

    def frame_numbers(self, key: str) -> NDArray[np.int64]:
        """(S,) int64, frame of the video, from 0, at every position in the media."""
        video = self._videos[key]
        if video.image_frame is not None:
            return video.image_frame
        return np.arange(self.info(key).num_frames, dtype=np.int64)

    def media(self, key: str) -> Media:
        """The video's file, or its images in the order of their frames.

        Raises:
            InputError: for a file that the desk cannot have, as it lies elsewhere.
        """
        ids = list(self._videos[key].sample_ids)
        files = self._dataset.select(ids, ordered=True).values("filepath")
        if self._remote is None:
            return Media(tuple(map(Path, files)))
        where, local, there = self._remote
        return Media(tuple(_mapped(self._videos[key], file, local, there) for file in files), where)

    def labels(self, key: str) -> Labels:
        """The field of tracks as it is now.

        Raises:
            InputError: for the first box that cannot be used, unless they are to be left out.
        """
        return self._read(key).labels

    def _read(self, key: str, skip_bad: bool = False) -> ReadLabels:
        video, field = self._videos[key], self._fields.out
        read = read_labels(
            video, field, self.info(key), self.frame_numbers(key), self._attributes, skip_bad or self._skip_bad
        )
        if read.left_out:
            logger.warning(
                "%s, field %r: %d boxes cannot be used and are left out", video.title(), field, read.left_out
            )
        self._instances[key] = read.instances
        return read

    def classes(self) -> Sequence[LabelSpec]:
        """All classes of the field of tracks, with what may be said of their boxes.

        Raises:
            InputError: if there are none.
        """
        dataset = self._dataset
        names = set(dataset.distinct(f"{self._path}.detections.label"))
        for listed in (dataset.classes.get(self._path), dataset.classes.get(self._fields.out), dataset.default_classes):
            names.update(listed or ())
        if not names:
            raise InputError(
                f"field {self._path!r} of dataset {dataset.name!r} has no classes; label into it, or set "
                "dataset.default_classes"
            )
        notes = tuple(AttributeSpec(name) for name in (TRACK_UID, UNCERTAINTY, REASON))
        attributes = (*notes, *self._attributes.specs(dataset))
        return [LabelSpec(name, attributes) for name in sorted(names)]

    def queries(self) -> Mapping[str, Sequence[Query]]:
        """Key of a video -> its open questions, most valuable first; with positions as frames."""
        path = self._prefix + self._fields.summary("queries")
        found = self._dataset.get_field(path)
        if found is None or (found.info or {}).get(OWNER) != self._fields.out:
            return {}
        still = set(self._dataset.distinct(f"{path}.detections.query"))
        out: dict[str, list[Query]] = {}
        for query in self._asked():
            if query.key in still and query.video in self._videos:
                still.discard(query.key)  # what was asked again counts as it was asked last
                shown = self._with_positions(query)
                if shown is not None:
                    out.setdefault(query.video, []).append(shown)
        return out

    def _asked(self) -> Iterator[Query]:
        """The questions of all rounds, the last round first: a round about some videos leaves those of others open."""
        runs = [(key, self._dataset.get_run_info(key)) for key in self._dataset.list_runs()]
        own = [(run.timestamp, key) for key, run in runs if run.config.method == METHOD]
        for when, key in sorted(own, reverse=True):
            if self._dataset.get_run_info(key).config.out != self._fields.out:
                continue
            name = (key, str(when))
            if name not in self._rounds:
                results = self._dataset.load_run_results(key, cache=False)
                self._rounds[name] = [Query.from_dict(values) for values in results.queries] if results else []
            yield from self._rounds[name]

    def _with_positions(self, query: Query) -> Query | None:
        """A question about positions in the media; None if one of its frames is not there."""
        numbers = self.frame_numbers(query.video)
        frames = np.array([query.frame, *(box.frame for box in (*query.boxes, *query.others))], np.int64)
        if not np.isin(frames, numbers).all():
            return None
        at = dict(zip(frames.tolist(), np.searchsorted(numbers, frames).tolist(), strict=True))
        boxes, others = (tuple(Box(at[box.frame], box.xyxy) for box in side) for side in (query.boxes, query.others))
        return replace(query, frame=at[query.frame], boxes=boxes, others=others)

    # --- what comes back

    def new_key(self) -> str:
        """A name for a new box."""
        return str(ObjectId())

    def new_instance(self, key: str, number: int) -> str:
        """Identity for a new track: the same for the same number, but none that a track of the video has."""
        taken = self._instances.get(key)
        if taken is None:
            taken = self._read(key, skip_bad=True).instances
        for attempt in range(1 + len(taken)):
            made = str(track_instance(f"{key}/{self._fields.out}/desk/{attempt}", number))
            if made not in taken:
                break
        return made

    def apply(self, key: str, patch: Patch) -> None:
        """Changes the field of tracks; the same patch again changes nothing."""
        if undeclared(self._dataset, self._path):
            self._dataset.reload()  # another process may have declared them
            declare_tracks(self._dataset, self._path)
        self._ledger.will_change(key)
        apply_patch(self._videos[key], self._fields.out, self.info(key), patch, self._attributes)
        self._ledger.labelled(key, count_stored(self._videos[key], self._fields.out))

    def keep_answers(self, answers: Sequence[Answer], closed: Collection[str]) -> int:
        """Keeps answers, with frames of the video, and closes questions; returns how many were new."""
        as_shown = set(closed) | {answer.query for answer in answers if answer.query}
        keys, about = self._closed(as_shown) if as_shown else ({}, set())
        kept = [replace(answer, query=keys.get(answer.query, answer.query)) for answer in answers]
        new = AnswerBook(self._dataset, self._fields.out).add(kept, list(self._videos)) if kept else 0
        about |= {answer.video for answer in kept if answer.query}
        if as_shown:
            touched = [video for video in self._videos.values() if video.key in about]
            desk = QueryDesk(self._dataset, self._prefix, self._fields)
            desk.close(touched, {keys.get(one, one) for one in as_shown})
        return new

    def _closed(self, as_shown: Collection[str]) -> tuple[dict[str, str], set[str]]:
        """Keys of questions as people were shown them -> keys as they were asked, and the videos that they are about.

        A question's key comes of its frames, and images that are missing make these differ from positions.
        """
        keys: dict[str, str] = {}
        about = set()
        for query in self._asked():
            if query.video in self._videos:
                shown = self._with_positions(query)
                if shown is not None and shown.key in as_shown:
                    keys[shown.key] = query.key
                    about.add(query.video)
        return keys, about

    def show_conflicts(self, key: str, conflicts: Sequence[Conflict]) -> None:
        """Shows what people disagree about in the field ``spam_conflicts``, in place of what was shown before.

        Raises:
            InputError: if the dataset has a field of this name that is somebody else's.
        """
        if conflicts or self._conflicts.is_there:
            # Only where nobody drew another version the boxes of the dataset are shown; bad ones are no reason to fail.
            labels = None if all(one.theirs for one in conflicts) else self._read(key, skip_bad=True).labels
            self._conflicts.show(self._videos[key], self.info(key), labels, conflicts)
            self._ledger.disagreed(key, len(conflicts))

    def set_review(self, key: str, status: str) -> None:
        """Says "in review" or "reviewed" of a video."""
        field = self._fields.summary("review_status")
        if not self._has_views:
            self._dataset.reload()  # another process may have made them
            declare_summary(self._dataset, self._fields, "review_status")
            save_views(self._dataset, self._fields)
            self._has_views = True
        write_sample_values(self._dataset, self._videos[key].sample_ids, {field: status}, {})


def _mapped(video: StoredVideo, file: str, local: Path, there: str) -> str:
    """A file of this machine as the desk's share or storage names it."""
    for path, root in (
        (os.path.abspath(file), os.path.abspath(local)),
        (os.path.realpath(file), os.path.realpath(local)),
    ):
        if Path(path).is_relative_to(root):
            inside = Path(path).relative_to(root).as_posix()
            return f"{there.strip('/')}/{inside}".lstrip("/")
    raise InputError(
        f"{video.title()}: {file} does not lie in {local}, which the desk shares; move it there, name the folder that "
        "holds it, or upload the media instead of sharing them"
    )
