"""What people did to a sheet, said in answers that outlive the tracks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spam_plugin.engine.answers import Box, Verdict
from spam_plugin.engine.desk.diff import compare
from spam_plugin.engine.desk.labels import Labels
from spam_plugin.engine.desk.merging import JobReturn, Laid, merge
from spam_plugin.engine.desk.ports import IssueState
from spam_plugin.engine.desk.pushing import plan_sheet
from spam_plugin.engine.desk.said import Asked, what_was_said
from spam_plugin.engine.desk.sheets import Sheet, SheetTrack
from spam_plugin.engine.queries import Query, Question

STOP = 59


def labels_of(*tracks: tuple[int, int, float]) -> Labels:
    """Tracks from one frame to another, at a height of their own, going right by two pixels a frame."""
    rows = [
        (frame, number, (10 + 2.0 * frame, top, 40 + 2.0 * frame, top + 50))
        for number, (first, last, top) in enumerate(tracks, 1)
        for frame in range(first, last + 1)
    ]
    rows.sort(key=lambda row: row[:2])
    count = len(rows)
    return Labels(
        np.array([row[0] for row in rows]), np.array([row[2] for row in rows]), np.array([row[1] for row in rows]),
        ("car",) * count, np.zeros(count, bool), np.ones(count, bool), np.zeros(count, bool),
        tuple(f"box{at}" for at in range(count)), np.zeros(count), {n: f"i{n}" for n in range(1, len(tracks) + 1)},
    )  # fmt: skip


class Job:
    """A sheet that was sent, and what is there now."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        plan = plan_sheet(labels, Sheet(0, STOP, ()), {})
        base = tuple(replace(track, remote=100 + at) for at, track in enumerate(plan.create))
        self.base, self.instances, self.now = Sheet(0, STOP, base), plan.instances, list(base)

    def laid(self) -> Laid:
        back = JobReturn(7, compare(self.base, self.now), self.instances, "anna", 5.0)
        (laid,) = merge("v", self.labels, [back], lambda number: f"new{number}").jobs
        return laid

    def said(self, *asked: Asked, confirm: bool = False) -> list[tuple[str, list[int]]]:
        self.result = what_was_said("v", self.labels, self.laid(), asked, confirm)
        return [(answer.verdict.value, [box.frame for box in answer.boxes]) for answer in self.result.answers]

    def keyed(self, at: int, frames: dict[int, tuple[float, float, float, float]], gone: int | None = None) -> None:
        """The keyframes of a track, with other ones in some frames, and nothing from ``gone`` on."""
        track = self.now[at]
        keys = dict(
            zip(track.frame.tolist(), zip(track.xyxy.tolist(), track.outside.tolist(), strict=True), strict=True)
        )
        keys |= {frame: (list(box), False) for frame, box in frames.items()}
        if gone is not None:
            last = list(self.box(at, gone))
            keys = {frame: key for frame, key in keys.items() if frame < gone} | {gone: (last, True)}
        order = sorted(keys)
        self.now[at] = replace(
            track, frame=np.array(order), xyxy=np.array([keys[f][0] for f in order], float),
            outside=np.array([keys[f][1] for f in order]), values=(),
        )  # fmt: skip

    def box(self, at: int, frame: int) -> tuple[float, float, float, float]:
        top = float(self.base.tracks[at].xyxy[0, 1])
        return 10 + 2.0 * frame, top, 40 + 2.0 * frame, top + 50


def question(kind: Question, *frames: int, top: float = 50.0, other: int | None = None) -> Query:
    def box(frame: int) -> Box:
        return Box(frame, (10 + 2.0 * frame, top, 40 + 2.0 * frame, top + 50))

    others = () if other is None else (box(other),)
    return Query("v", kind, tuple(map(box, frames)), others, frames[-1], 0, 1, 0.7, 1, 2.0, 0.6)


def issue(query: Query, *comments: str, resolved: bool = False) -> Asked:
    talk = (("spam", query.text), *(("anna", text) for text in comments))
    return Asked(query, IssueState(1, 7, query.frame, (), resolved, talk, ""))


def test_a_sheet_that_nobody_touched_says_nothing():
    assert Job(labels_of((0, STOP, 50))).said() == []


def test_a_track_that_was_deleted_is_no_object():
    job = Job(labels_of((10, 20, 50), (0, STOP, 150)))
    del job.now[0]
    assert job.said() == [("invalid", list(range(10, 21)))]


def test_a_box_that_was_moved_is_drawn_and_names_the_detection_that_it_was():
    job = Job(labels_of((0, STOP, 50)))
    job.keyed(0, {30: (75.0, 55.0, 105.0, 105.0)})
    assert job.said() == [("box", [30])]
    (answer,) = job.result.answers
    assert answer.drawn == Box(30, (75.0, 55.0, 105.0, 105.0))
    assert answer.source == "anna"


def test_a_box_that_was_moved_to_another_object_names_a_box_of_its_own_track():
    job = Job(labels_of((0, STOP, 50)))
    job.keyed(0, {29: job.box(0, 29), 30: (200.0, 60.0, 230.0, 110.0), 31: job.box(0, 31)})
    assert job.said() == [("box", [29])]  # the detection in frame 30 is not this object's


def test_a_box_between_two_of_a_person_s_is_drawn_of_their_object_whoever_put_the_detections_there():
    labels = labels_of((0, STOP, 50))
    job = Job(replace(labels, human=np.isin(labels.frame, (10, 50)), observed=labels.frame != 30))

    def move(frame: int) -> None:
        left, top, right, bottom = job.box(0, frame)
        job.keyed(
            0,
            {frame - 1: job.box(0, frame - 1), frame: (left, top + 5, right, bottom), frame + 1: job.box(0, frame + 1)},
        )

    move(30)
    move(55)
    assert job.said() == [("box", [10]), ("box", [55])]  # behind the last of a person's it is the detection's
    move(20)
    assert job.said() == [("same", [10, 20]), ("box", [20]), ("box", [10]), ("box", [55])]


def test_a_track_that_was_cut_off_ends_there_and_the_rest_is_nothing():
    job = Job(labels_of((0, STOP, 50)))
    job.keyed(0, {}, gone=40)
    assert job.said() == [("ends", [39, 39]), ("invalid", list(range(40, STOP + 1)))]


def test_two_halves_of_a_split_track_are_two_objects():
    job = Job(labels_of((0, STOP, 50)))
    track = job.now[0]
    job.keyed(0, {}, gone=30)
    job.now[0] = replace(job.now[0], remote=500)
    second = replace(
        track, remote=501, frame=np.array([30, STOP]), xyxy=np.array([job.box(0, 30), job.box(0, STOP)]),
        outside=np.array([False, False]), values=(),
    )  # fmt: skip
    job.now.append(second)
    assert ("different", [29, 30]) in job.said()


def test_two_tracks_that_were_joined_are_one_object():
    job = Job(labels_of((0, 20, 50), (25, STOP, 50)))
    one, other = job.now
    merged = replace(
        one, remote=600, frame=np.concatenate([one.frame[~one.outside], [21], other.frame]),
        xyxy=np.concatenate([one.xyxy[~one.outside], [one.xyxy[-1]], other.xyxy]),
        outside=np.concatenate([one.outside[~one.outside], [True], other.outside]), values=(),
    )  # fmt: skip
    job.now = [merged]
    assert job.said() == [("same", [20, 25])]


def test_an_object_that_was_drawn_has_a_name_and_bounds():
    job = Job(labels_of((0, STOP, 50)))
    frames, boxes = np.array([5, 15, 16]), np.array([[200.0, 5, 230, 35], [220, 5, 250, 35], [220, 5, 250, 35]])
    job.now.append(SheetTrack("", "car", frames, boxes, np.array([False, False, True]), remote=700))
    assert job.said() == [("box", []), ("box", []), ("starts", [5, 5]), ("ends", [15, 15])]
    assert {answer.object for answer in job.result.answers[:2]} == {"job 7 track 700"}


def test_a_class_that_was_changed_is_said_once():
    job = Job(labels_of((0, STOP, 50)))
    job.now[0] = replace(job.now[0], label="bus")
    job.said()
    (answer,) = job.result.answers
    assert (answer.verdict, answer.label) == (Verdict.CLASS, "bus")


def test_what_was_left_alone_is_confirmed_if_that_is_wished():
    job = Job(labels_of((10, 20, 50)))
    rows = list(range(10, 21))
    assert job.said(confirm=True) == [("valid", rows), ("same", rows)]


def test_an_issue_that_was_closed_confirms_what_the_sheet_shows():
    job = Job(labels_of((0, STOP, 50), (0, 20, 150)))
    link = question(Question.LINK, 20, other=30)
    assert job.said(issue(link, resolved=True)) == [("same", [20, 30])]
    assert job.result.closed == (link.key,)
    assert job.result.answers[0].believed == 0.6
    apart = Query("v", Question.LINK, (Box(20, job.box(1, 20)),), (Box(21, job.box(0, 21)),), 20, 1, 1, 0.3, 1, 1.0)
    assert job.said(issue(apart, resolved=True)) == [("different", [20, 21])]


def test_a_comment_says_yes_or_no_where_the_sheet_is_as_it_was():
    job = Job(labels_of((0, STOP, 50)))
    link = question(Question.LINK, 20, other=30)
    assert job.said(issue(link, "No, that is somebody else")) == [("different", [20, 30])]
    assert job.said(issue(link, "no", "sorry: yes")) == [("different", [20, 30])]  # the last word must come first
    assert job.said(issue(link, "no", "Yes!")) == [("same", [20, 30])]
    assert job.said(issue(link, "what is this?")) == []
    assert job.result.unread == ((1, "what is this?"),)
    valid = question(Question.VALID, 10, 20, 30)
    assert job.said(issue(valid, "no")) == [("invalid", [10, 20, 30])]
    assert job.said(issue(valid, "ok")) == [("valid", [10, 20, 30]), ("same", [10, 20, 30])]


def test_what_a_person_did_says_more_than_the_question_was_about():
    job = Job(labels_of((0, STOP, 50)))
    job.keyed(0, {30: (75.0, 55.0, 105.0, 105.0)})
    box = question(Question.BOX, 30)
    job.said(issue(box, resolved=True))
    assert {answer.drawn for answer in job.result.answers} == {Box(30, (75.0, 55.0, 105.0, 105.0))}
    assert job.result.closed == (box.key,)


def test_an_end_is_only_believed_within_what_the_person_saw():
    job = Job(labels_of((0, 40, 50), (0, STOP, 150)))
    end = question(Question.END, 40)
    assert job.said(issue(end, resolved=True)) == [("ends", [40, 40])]
    beyond = question(Question.END, STOP, top=150)
    assert job.said(issue(beyond, resolved=True)) == []


def test_a_frame_without_anything_missing_is_complete():
    job = Job(labels_of((0, STOP, 50)))
    missing = Query("v", Question.MISSING, (), (), 12, -1, -1, 0.5, 2, 1.0)
    assert job.said(issue(missing, resolved=True)) == [("complete", [12])]
    assert job.said(issue(missing, "yes, but I did not draw it")) == []
