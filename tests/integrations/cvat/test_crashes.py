"""Whenever a synchronisation is killed, the next one finishes it: both sides end as if nobody had disturbed it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cvat_reviewer import EDITS, Api, Reviewer, World
from cvat_reviewer.api import without_ids
from cvat_reviewer.data import HEIGHT, RATE, WIDTH, access_to, straight, write_tracks
from cvat_reviewer.killing import AFTER, BEFORE, DATABASE, JOURNAL, LIST, LOST, REQUEST, WITHIN, Ending, Point, in_child
from cvat_reviewer.traces import Archive, differences, traces
from cvat_server import CvatServer

from spam_plugin.engine.answers import Box
from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.engine.queries import Query, Question

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or bool(os.environ.get("SPAM_TEST_REAL_CVAT")),
    reason="needs fork, and a server that can be put back to what it was",
)

NAME, FRAMES = "crashes", 40
SETTINGS = SyncSettings(job_seconds=2, overlap_seconds=0, assignees=("anna", "ben"))
# Before a request, or after a write, all is as it is after the step before, or before the next one.
SIDES = {JOURNAL: (BEFORE, AFTER), REQUEST: (AFTER, LOST), DATABASE: (BEFORE,), LIST: (WITHIN,)}
TIMES = 6  # that each story is played with deaths at moments of chance


def mine(track: int, frame: int) -> Box:
    """The box of a track in a frame, as the datasets below have it."""
    return Box(frame, (10.0 + 2 * frame, 60.0 * track - 20, 40.0 + 2 * frame, 60.0 * track + 10))


def boxes_of(*spans: tuple[int, int, int]) -> list[Any]:
    return [
        box for track, first, last in spans
        for box in straight(track, first, last, 60.0 * track - 20, "person" if track == 2 else "car")
    ]  # fmt: skip


def ask(video: str, kind: Question, track: int, frame: int, gain: float) -> Query:
    boxes = () if kind is Question.MISSING else (mine(track, frame), mine(track, frame + 1))
    return Query(video, kind, boxes, (), frame, track - 1, 0, 0.54, 1, gain)


def open_questions(dataset: Any, questions: list[Query]) -> None:
    """Puts questions in the place of those that were open, as a round of review does."""
    from spam_plugin.engine.choosing import QueryPlan
    from spam_plugin.integrations.fiftyone_.fields import OutputFields
    from spam_plugin.integrations.fiftyone_.queries import QueryDesk
    from spam_plugin.integrations.fiftyone_.videos import open_videos

    plan = QueryPlan(tuple(questions), len(questions), 9, 99.0, {}, {}, (), "fake")
    QueryDesk(dataset, "frames.", OutputFields("spam_tracks")).write(open_videos(dataset), plan, {})


def change_boxes(dataset: Any, video: str, change: Callable[[int, list[Any]], list[Any]]) -> None:
    """Changes the tracks of a video frame by frame, frames from 0."""
    from spam_plugin.integrations.fiftyone_.raw import change_labels

    change_labels(dataset, "spam_tracks", [(video, frame + 1) for frame in range(FRAMES)], change)


def build(video: Path) -> None:
    """Two videos with tracks and questions: about both halves of the first, and about the end of the second."""
    import fiftyone as fo

    dataset = fo.Dataset(NAME, persistent=True)
    for at in range(2):
        sample = fo.Sample(filepath=str(video), sequence=f"video {at + 1}")
        sample.metadata = fo.VideoMetadata(
            total_frame_count=FRAMES, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=RATE
        )
        dataset.add_sample(sample)
        write_tracks(dataset, str(sample.id), boxes_of((1, 0, 39), (2, 3, 34), (3, 8, 39)))
    one, two = dataset.values("id")
    open_questions(
        dataset,
        [
            ask(one, Question.VALID, 1, 4, 9.0), ask(one, Question.BOX, 3, 12, 1.0), ask(two, Question.END, 2, 33, 5.0),
            ask(two, Question.VALID, 3, 30, 3.0), ask(one, Question.BOX, 1, 30, 2.0),
            ask(one, Question.BOX, 2, 25, 1.5), ask(one, Question.BOX, 3, 27, 0.5),
        ],
    )  # fmt: skip


def move_by_hand() -> None:
    """Somebody moves boxes in the dataset while others work at the desk."""
    import fiftyone as fo

    dataset = fo.load_dataset(NAME)

    def move(frame: int, boxes: list[Any]) -> list[Any]:
        for box in boxes:
            if frame in (4, 8) and box["index"] == 1:
                left, top, width, height = box["bounding_box"]
                box.update(bounding_box=[left + 0.1, top, width, height], source="human", keyframe=True)
        return boxes

    change_boxes(dataset, dataset.first().id, move)


def label_again() -> None:
    """The model learns: a track goes, another moves, one is new; and there are other questions."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.columns import track_instance
    from spam_plugin.integrations.fiftyone_.raw import detection_dict

    dataset = fo.load_dataset(NAME)
    one, two = dataset.values("id")

    def learn(frame: int, boxes: list[Any]) -> list[Any]:
        boxes = [box for box in boxes if not (box["index"] == 3 and box["source"] == "model")]
        for box in boxes:
            if box["index"] == 2 and box["source"] == "model":
                left, top, width, height = box["bounding_box"]
                box["bounding_box"] = [left, top + 0.2, width, height]
        if frame >= 16:
            place = [0.6, 0.02, 0.1, 0.1]
            boxes.append(detection_dict("car", place, 44, track_instance("new", 44), source="model", keyframe=False))
        return boxes

    for video in (one, two):
        change_boxes(dataset, video, learn)
    open_questions(
        dataset,
        [
            ask(one, Question.VALID, 1, 4, 9.0), ask(two, Question.MISSING, 0, 7, 6.0),
            ask(one, Question.START, 1, 2, 4.0), ask(one, Question.BOX, 2, 31, 2.5),
        ],
    )  # fmt: skip


@dataclass
class Story:
    """What is killed: a synchronisation with all that was before it.

    Attributes:
        settings: of the synchronisation.
        stored: the dataset before.
        served: the server before.
        known: ids in the database before.
        undisturbed: how it goes if nobody kills it.
        wanted: what is there then.
    """

    settings: SyncSettings
    stored: Any
    served: bytes
    known: set[str]
    undisturbed: Ending
    wanted: list[str]

    def points(self, kind: str) -> list[tuple[Point, str]]:
        """All points of one kind at which it may die, with what is done there."""
        steps = [what for kind_, what in self.undisturbed.steps if kind_ == kind]
        return [(Point(kind, at, side), what) for at, what in enumerate(steps) for side in SIDES[kind]]


class Theatre:
    """Dataset and server, and the stories, each of which goes on where the one before has ended."""

    def __init__(self, server: CvatServer, video: Path) -> None:
        import fiftyone.core.odm as foo

        self.server, self.access = server, access_to(server)
        for name in ("anna", "ben"):
            server.add_user(name)
        self.api = Api(server.url, server.username, server.password)
        in_child(lambda: build(video))
        self.archive = Archive(foo.get_db_conn(), NAME)
        self.stories = {}
        self.stories["first push"] = self._story(SETTINGS)
        in_child(move_by_hand)
        self._review(1, 4)
        self.stories["pull"] = self._story(replace(SETTINGS, confirm=True))
        in_child(label_again)
        self._retouch(2, "in progress")
        self._retouch(4, "completed")
        self.stories["pull and push again"] = self._story(replace(SETTINGS, force=True))
        self.api.send("DELETE", "/api/tasks/1")
        self.stories["task made again"] = self._story(replace(SETTINGS, remake=True))

    def _story(self, settings: SyncSettings) -> Story:
        stored, served, known = self.archive.take(), self.server.snapshot(), self.archive.ids()
        undisturbed = self.sync(settings)
        story = Story(settings, stored, served, known, undisturbed, [])
        story.wanted = self.found(story)
        return story

    def _job(self, number: int) -> dict[str, Any]:
        return next(job for job in self.server.jobs() if job["id"] == number)

    def _review(self, *numbers: int) -> None:
        """People do edits of every kind in some jobs, and are done with them."""
        known = self.server.labels()
        labels = {label["id"]: label["name"] for label in known}
        uids = {one["id"] for label in known for one in label["attributes"] if one["name"] == "track_uid"}
        rng = random.Random(1)
        for number in numbers:
            reviewer = Reviewer(self.api, self._job(number), self._world(number), labels, uids, rng)
            for kind in rng.sample(EDITS, len(EDITS)):
                reviewer.edit(kind)
            self._answer(number, "completed")

    def _retouch(self, number: int, state: str) -> None:
        """Somebody moves some tracks of a job, deletes others and draws one."""
        tracks = self.api.tracks(number)
        moved = [
            {**track, "shapes": [{**shape, "points": [x + 7 for x in shape["points"]]} for shape in track["shapes"]]}
            for track in tracks[::3]
        ]
        drawn = {**without_ids(moved[0]), "source": "manual", "attributes": []}
        self.api.change(number, "update", moved)
        self.api.change(number, "delete", tracks[1::3])
        self.api.change(number, "create", [drawn])
        self._answer(number, state)

    def _answer(self, number: int, state: str) -> None:
        """Closes the first issue of a job, says no to the second, leaves others, and sets the job's state."""
        for at, issue in enumerate(self.api.issues(number)):
            if at == 0:
                self.api.resolve(issue["id"])
            elif at == 1:
                self.api.comment(issue["id"], "no, it is not")
        self.api.job(number, state=state)

    def _world(self, number: int) -> World:
        """What the dataset holds in a job's video."""
        name = next(task["name"] for task in self.server.tasks() if task["id"] == self._job(number)["task_id"])
        video = next(one["_id"] for one in self.archive.documents("samples") if str(one["_id"])[-6:] in name)
        rows = []
        for frame in self.archive.documents("frames"):
            for box in frame["spam_tracks"]["detections"] if frame["_sample_id"] == video else []:
                left, top, width, height = box["bounding_box"]
                xyxy = (left * WIDTH, top * HEIGHT, (left + width) * WIDTH, (top + height) * HEIGHT)
                rows.append((frame["frame_number"] - 1, str(box["instance"]["_id"]), box["label"], xyxy))
        return World.of(rows)

    def sync(self, settings: SyncSettings, **fate: Any) -> Ending:
        """Synchronises in a process of its own."""
        return in_child(lambda: synchronise(self.access, settings), **fate)

    def found(self, story: Story) -> list[str]:
        """What is there now."""
        return traces(self.archive, self.server, self.api, story.known)

    def begin(self, story: Story) -> None:
        """Makes everything as it was before a story."""
        self.archive.put(story.stored)
        self.server.restore(story.served)

    def play(self, story: Story, *fates: dict[str, Any]) -> tuple[int, str]:
        """Lets synchronisations meet their fates one after another, then one that nobody disturbs.

        Returns:
            how many were killed, and how the end differs from that of the undisturbed story.
        """
        self.begin(story)
        killed = sum(self.sync(story.settings, **fate).killed for fate in fates)
        last = self.sync(story.settings)
        assert last.said["problems"] == story.undisturbed.said["problems"]
        return killed, differences(story.wanted, self.found(story))


def synchronise(access: Any, settings: SyncSettings) -> dict[str, Any]:
    """What a child does: as the command does it, but in smaller parts, so that there is more between which to die."""
    from spam_plugin.integrations.cvat import sync as sync_
    from spam_plugin.integrations.cvat.client import Patience
    from spam_plugin.integrations.cvat.desk import CvatDesk
    from spam_plugin.integrations.fiftyone_ import answers, raw

    raw.FRAMES_PER_CHANGE, answers._PER_ENTRY = 8, 4
    sync_.CvatDesk = partial(CvatDesk, patience=Patience(sleep=lambda seconds: None))  # type: ignore[misc]
    report = sync_.sync(sync_.Link(NAME, access=access), settings).as_dict()
    return {**report, "conflicts": len(report["conflicts"])}


@pytest.fixture(scope="module")
def theatre(make_video: Callable[[int], Path]) -> Iterator[Theatre]:
    import fiftyone as fo

    # What a child would import, it imports anew every time.
    import spam_plugin.integrations.cvat.sync  # noqa: F401

    with CvatServer() as server:
        yield Theatre(server, make_video(FRAMES))
        in_child(lambda: fo.delete_dataset(NAME))


STORIES = ("first push", "pull", "pull and push again", "task made again")
PUSHED, PULLED = (JOURNAL, DATABASE, REQUEST), (JOURNAL, DATABASE, REQUEST, LIST)  # a push writes no lists
PLAYED = [
    (story, kind)
    # A task that is made again is sent as it was for the first time.
    for story, kinds in zip(STORIES, (PUSHED, PULLED, PULLED, (JOURNAL, DATABASE)), strict=True)
    for kind in kinds
]


def test_the_stories_hold_what_there_is_to_be_interrupted(theatre):
    first, pull, again, remade = (theatre.stories[name].undisturbed.said for name in STORIES)
    assert {"projects made", "tasks made", "tracks created", "issues opened", "jobs opened"} <= set(first["counts"])
    assert {"jobs pulled", "boxes written", "boxes removed", "answers"} <= set(pull["counts"])
    assert {"jobs pulled", "tracks updated", "tracks created", "issues opened", "issues closed"} <= set(again["counts"])
    assert {"tasks made", "tracks created", "issues opened"} <= set(remade["counts"])
    assert pull["conflicts"]
    assert not any(told["problems"] for told in (first, pull, again, remade))
    assert sum(len(theatre.stories[name].points(kind)) for name, kind in PLAYED) >= 200


@pytest.mark.parametrize("story", STORIES)
def test_after_a_synchronisation_another_one_finds_nothing_to_do(theatre, story):
    told = theatre.stories[story]
    killed, different = theatre.play(told, {})
    assert (killed, different) == (0, "")
    assert theatre.sync(told.settings).said["counts"] == {}


@pytest.mark.parametrize(("story", "kind"), PLAYED)
def test_what_is_killed_at_any_step_is_finished_by_the_next(theatre, story, kind):
    told = theatre.stories[story]
    points = told.points(kind)
    assert points
    for point, what in points:
        killed, different = theatre.play(told, {"point": point})
        where = f"killed {point.when} {kind} {point.number}: {what}"
        assert killed == 1, f"nobody was {where}"
        assert not different, f"{where}\n{different}"


@pytest.mark.parametrize("story", STORIES)
def test_what_is_killed_at_moments_of_chance_and_more_than_once_is_finished_in_the_end(theatre, story):
    told = theatre.stories[story]
    chance = random.Random(story)
    for _ in range(TIMES):
        moments = [chance.random() * told.undisturbed.seconds for _ in range(chance.randint(1, 3))]
        _, different = theatre.play(told, *({"after": moment} for moment in moments))
        assert not different, f"killed after {moments} of {told.undisturbed.seconds:.3f} s:\n{different}"
