"""Fills the gaps between human boxes of a dataset: keyframes are read, followed, kept and written, video by video."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection

from ...engine.answers import Answer
from ...engine.filling import Fills, FillSettings, Keyframes, fill_gaps
from ...engine.label import Step
from ...engine.propagation import SavedFills
from ...engine.resolve import resolve
from ...models.columns import Candidates, VideoInfo
from ...models.errors import InputError, MissingError
from ...models.spot.gaps import find_gaps
from .answers import AnswerBook
from .calls import chosen, told
from .candidates import usable_candidates
from .columns import read_boxes
from .counting import count_stored
from .fields import DEFAULT_OUT, OWNER, OutputFields, check_ours, declare, declare_tracks, undeclared
from .fill_reports import FilledVideo, PropagateReport, ToFill
from .fill_runs import FillRuns
from .filled import INTERPOLATED, MODEL, confidences, place_fills, write_fills
from .fills import FillBook, Seen
from .frames import media_digest
from .human_boxes import FieldBoxes, Targets, find_targets, read_field, without_followed
from .ledger import Ledger
from .pictures import pictures_of
from .videos import StoredVideo, box_field, open_videos

if TYPE_CHECKING:
    from ...models.spot.model import Tracker

NONE = "none"  # in the place of a field of candidates


def propagate(
    dataset: SampleCollection | str,
    *,
    out: str = DEFAULT_OUT,
    candidates: str | None = None,
    view: SampleCollection | str | None = None,
    tracker: Tracker | str | Path | None = None,
    device: str = "cpu",
    settings: FillSettings | None = None,
    over: str = INTERPOLATED,
    skip_bad: bool = False,
    again: bool = False,
    progress: bool | Callable[[Step], None] = True,
) -> PropagateReport:
    """Fill the gaps between a few human boxes of an object, and find it where a detector missed it.

    Human boxes are those that answers drew, and those of the field of tracks that a person drew or moved. Between two
    of an object a tracker follows it from both; before the first and behind the last one it goes on until it is not
    sure any more. What comes out is written into ``out`` with ``source`` "propagated" ("interpolated" where a straight
    line is likely to be nearer) and a calibrated ``confidence``; never over a human box. Boxes of answers' objects are
    kept beside the answers, too, so that ``label`` has them. Called again, only gaps whose human boxes have changed are
    followed; if it was killed, the same call does the rest.

    Args:
        dataset: videos, or images with the fields ``sequence`` and ``frame_number``; the dataset, a view, or its name.
        out: field of the tracks; one that a user made will do.
        candidates: field of the boxes that the tracks were made of, by which answers find their objects and to which
            filled boxes may snap. None for those that were labelled last, "none" for none.
        view: only the videos of this view, or saved view.
        tracker: a loaded one, a file, the name of a version on the shelf, "default", or None for the one in use.
        device: where it runs, as torch names it.
        settings: how to fill; None for the defaults.
        over: "interpolated": filled boxes replace only boxes that were filled; "model": between two human boxes they
            replace a detector's, too.
        skip_bad: leave out and name videos that cannot be used, instead of raising.
        again: follow all gaps anew.
        progress: whether to show it, on standard error; or a function that is told every step.

    Raises:
        MissingError: for a dataset, view, field, version or file that is not there.
        InputError: for input that cannot be used; names video, frame and field.
        DeskError: if somebody else labels, fills or synchronises the same field.
    """
    if over not in (INTERPOLATED, MODEL):
        raise InputError(
            f"over={over!r}: filled boxes can replace {INTERPOLATED!r} boxes, or those of a {MODEL!r}, too"
        )
    filler = _Filler(chosen(dataset, view), out, candidates, settings or FillSettings(), over, skip_bad)
    with filler.ledger.hold(), told(progress, "reading", "filling", "following") as tell:
        return filler.run(tracker, device, again, tell)


def open_tracker(dataset: fo.Dataset, out: str, tracker: Tracker | str | Path | None, device: str = "cpu") -> Tracker:
    """The tracker that is meant: a loaded one, a file, a version on the shelf, "default", or the one in use.

    Raises:
        MissingError: for a version or a file that is not there.
        InputError: for a file that holds no tracker.
    """
    from ...engine.versions import DEFAULT, version_number
    from ...models.spot.model import Tracker
    from .shelf import Shelf

    if isinstance(tracker, Tracker) or (tracker is not None and not isinstance(tracker, (str, Path))):
        return tracker
    if tracker is None:
        return Tracker.load(Shelf(dataset, out).in_use().parts.get("tracker"), device)
    if str(tracker) == DEFAULT:
        return Tracker.load(None, device)
    if version_number(str(tracker)):
        version = Shelf(dataset, out).get(str(tracker))
        file = version.parts.get("tracker")
        if file is None:
            raise MissingError(f"version {tracker!r} has no tracker of its own; name another one, or 'default'")
        return Tracker.load(file, device)
    return Tracker.load(tracker, device)


@dataclass(frozen=True)
class _Read:
    """What was read of a video."""

    info: VideoInfo
    boxes: FieldBoxes
    targets: Targets
    candidates: Candidates
    problems: tuple[str, ...]


class _Filler:
    """One call of ``propagate``."""

    def __init__(
        self, collection: SampleCollection, out: str, candidates: str | None, settings: FillSettings, over: str,
        skip_bad: bool,
    ) -> None:  # fmt: skip
        self._videos = open_videos(collection)
        self._dataset, self._prefix = collection._dataset, self._videos[0].prefix
        self._fields = OutputFields(out.removeprefix("frames."))
        self._settings, self._over, self._skip_bad = settings, over, skip_bad
        self.ledger = Ledger(self._dataset, self._fields.out)
        self._answers = AnswerBook(self._dataset, self._fields.out)
        self._book = FillBook(self._dataset, self._fields.out)
        self._runs = FillRuns(self._dataset, self._fields.out)
        self._candidates = self._candidate_field(candidates)
        self._path = self._prefix + self._fields.out
        found = self._dataset.get_field(self._path)
        self._is_ours = found is None or (found.info or {}).get(OWNER) == self._fields.out
        if found is None:
            check_ours(self._dataset, self._prefix, self._fields)
        else:
            box_field(self._videos, self._fields.out)  # of boxes
            undeclared(self._dataset, self._path)  # nothing of another type in the way

    def run(
        self, tracker: Tracker | str | Path | None, device: str, again: bool, tell: Callable[[Step], None]
    ) -> PropagateReport:
        """Reads all videos, so that bad input changes nothing, then fills one after another."""
        said = self._answers.by_video({video.key for video in self._videos})
        read: dict[str, _Read] = {}
        skipped: dict[str, str] = {}
        for number, video in enumerate(self._videos, 1):
            try:
                one = self._read(video, said.get(video.key, ()))
                if one is not None:
                    media_digest(video)  # the files are there
                    read[video.key] = one
            except InputError as error:
                if not self._skip_bad:
                    raise
                skipped[video.name] = str(error)
            tell(Step("reading", number, len(self._videos), video.name))
        if not read:
            if skipped:
                raise InputError(f"there is nothing to fill; left out: {next(iter(skipped.values()))}")
            raise InputError(
                f"field {self._path!r} of dataset {self._dataset.name!r} has no human box, and no answer drew one; "
                "draw a box of an object in two or more frames (or one, to follow it from there), then fill again"
            )
        opened = open_tracker(self._dataset, self._fields.out, tracker, device)
        run = self._runs.begin(
            {"tracker": opened.version, "settings": asdict(self._settings), "over": self._over,
             "candidates": self._candidates, "skip_bad": self._skip_bad, "again": again}
        )  # fmt: skip
        self._declare()
        before = self._runs.done()
        reports = []
        for video in self._videos:
            if video.key not in read:
                continue
            afresh = again and video.key not in before
            report = self._fill(video, read.pop(video.key), opened, afresh, tell)
            self._runs.record(video.key, asdict(report))
            reports.append(report)
            tell(Step("filling", len(reports), len(reports) + len(read), video.name))
        without = len(self._videos) - len(reports) - len(skipped)
        whole = PropagateReport(tuple(reports), without, skipped, opened.version, run)
        self._runs.finish(whole.as_dict())
        return whole

    def count(self) -> ToFill:
        """What there is to fill."""
        said = self._answers.by_video({video.key for video in self._videos})
        counts = np.zeros(4, np.int64)
        for video in self._videos:
            with suppress(InputError):  # it is told of when it is filled
                one = self._read(video, said.get(video.key, ()))
                if one is not None:
                    keys = without_followed(one.targets, one.boxes)
                    gaps = find_gaps(
                        keys.track, keys.frame, one.info.num_frames, self._settings.max_gap, 0, keys.absent,
                        keys.earliest, keys.latest,
                    )  # fmt: skip
                    frames = int((gaps.last - gaps.first + 1)[gaps.inner].sum())
                    counts += (1, len(one.targets.index), len(keys), frames)
        return ToFill(*counts.tolist())

    def _candidate_field(self, named: str | None) -> str | None:
        if named is not None and named != NONE:
            return box_field(self._videos, named)
        last = self.ledger.candidates if named is None else None
        if last is None or self._dataset.get_field(self._prefix + last) is None:
            return None
        return last

    def _declare(self) -> None:
        if self._dataset.get_field(self._path) is None:
            declare(self._dataset, self._prefix, self._fields)
        elif undeclared(self._dataset, self._path):
            declare_tracks(self._dataset, self._path)

    def _read(self, video: StoredVideo, answers: tuple[Answer, ...]) -> _Read | None:
        """What is known of a video; None if nobody drew a box in it."""
        drawn = [answer.drawn for answer in answers if answer.drawn is not None]
        if self._dataset.get_field(self._path) is None and not drawn:
            return None
        info = video.info()
        boxes = read_field(video, self._fields.out, info, drawn)
        candidates, names = Candidates.empty(), (None,)
        if self._candidates is not None:
            stored = read_boxes(video, self._candidates, info.width, info.height)
            candidates, _ = usable_candidates(video, self._candidates, stored, info, skip_bad=True)
            names = stored.labels  # type: ignore[assignment]
        found = resolve(answers, info, candidates, names)
        targets = find_targets(boxes, found.constraints, candidates, names, info)
        if not len(targets.keys):
            return None
        lost = [problem.text for problem in found.problems if problem.answer.drawn is not None]
        return _Read(info, boxes, targets, candidates, (*boxes.problems, *lost))

    def _fill(
        self, video: StoredVideo, read: _Read, tracker: Tracker, again: bool, tell: Callable[[Step], None]
    ) -> FilledVideo:
        """Fills one video: follows what has changed, keeps it, then writes it; each step may be done twice."""
        start, targets = time.perf_counter(), read.targets
        keys = targets.keys if self._over == MODEL else without_followed(targets, read.boxes)
        digest = self._digest(video, read, keys, tracker)
        before = None if again else self._book.read(video.key)
        if before is not None and before[2].get("digest") == digest:
            fills, about, reused = before[0], before[2], True
        else:
            fills, about = self._follow(video, read, keys, tracker, again, tell)
            about, reused = {**about, "digest": digest}, False
            free = ~targets.kept[fills.track]
            self._book.put(video.key, fills, SavedFills.of(fills.take(free), targets.keys), about)
        placed = place_fills(fills, targets, read.boxes, self._over)
        if self._is_ours:
            self.ledger.will_change(video.key)
        write_fills(video, self._fields.out, read.info, targets, read.boxes, fills, placed.rows)
        if self._is_ours:
            self.ledger.labelled(video.key, count_stored(video, self._fields.out))
        counted: Any = confidences(fills, placed.rows)
        return FilledVideo(
            video.name, len(targets.index), len(targets.keys), about["gaps"], about["fell_back"], about["open_ends"],
            **counted, left=placed.left, taken=placed.taken, reused=reused,
            seconds=round(time.perf_counter() - start, 3), problems=(*read.problems, *about["problems"]),
        )  # fmt: skip

    def _follow(
        self, video: StoredVideo, read: _Read, keys: Keyframes, tracker: Tracker, again: bool,
        tell: Callable[[Step], None],
    ) -> tuple[Fills, dict[str, Any]]:  # fmt: skip
        """What the tracker fills, and what is told of it."""
        pictures, media = pictures_of(video, read.info), media_digest(video)
        seen = Seen() if again else self._book.seen(video.key, media)
        known = set(seen)
        try:
            fills, report = fill_gaps(
                tracker, pictures, keys, read.info, read.candidates if len(read.candidates) else None, self._settings,
                cache=seen, progress=lambda done, total: tell(Step("following", done, total, video.name)),
            )  # fmt: skip
        finally:
            pictures.close()
        if seen.used != known:
            self._book.put_seen(video.key, media, seen)
        problems = []
        if report.unreadable:
            problems.append(
                f"{len(report.unreadable)} frames cannot be decoded, the first is frame {report.unreadable[0] + 1}; "
                "boxes there lie on a straight line; replace the file"
            )
        about = {
            "gaps": report.gaps,
            "fell_back": report.fell_back,
            "open_ends": report.open_ends,
            "problems": problems,
        }
        return fills, about

    def _digest(self, video: StoredVideo, read: _Read, keys: Keyframes, tracker: Tracker) -> str:
        """Of all that filled boxes depend on."""
        info, digest = read.info, blake2b(digest_size=16)
        said = (tracker.version, sorted(asdict(self._settings).items()), info.num_frames, info.width, info.height,
                media_digest(video), self._candidates)  # fmt: skip
        digest.update(repr(said).encode())
        tables = [(keys, [one.name for one in fields(keys)]), (read.candidates, ["frame", "xyxy", "score"])]
        for table, names in tables:
            for name in names:
                digest.update(np.ascontiguousarray(getattr(table, name)).tobytes())
        return digest.hexdigest()


def count_to_fill(collection: SampleCollection, out: str = DEFAULT_OUT) -> ToFill:
    """What there is to fill in some videos; reads boxes and answers, and no picture.

    Raises:
        MissingError: for a field that is not there.
        InputError: for one that is no field of boxes.
    """
    filler = _Filler(collection, out, None, FillSettings(), INTERPOLATED, skip_bad=True)
    return filler.count()
