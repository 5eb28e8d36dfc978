"""Questions become issues in the jobs that hold them; what people say to them becomes answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import straight
from cvat_reviewer.hand import Hand, uid_of

from spam_plugin.engine.answers import Box, Verdict
from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.engine.queries import Query, Question
from spam_plugin.integrations.cvat.sync import sync, sync_status

SETTINGS = SyncSettings(job_seconds=3, overlap_seconds=0)


def box(frame: int, top: float = 50.0) -> Box:
    return Box(frame, (10 + 2.0 * frame, top, 40 + 2.0 * frame, top + 30))


def ask(
    video: str, kind: Question, *frames: int, gain: float = 1.0, top: float = 50.0, other: int | None = None
) -> Query:
    boxes = () if kind is Question.MISSING else tuple(box(frame, top) for frame in frames)
    others = () if other is None else (box(other, top),)
    return Query(video, kind, boxes, others, frames[-1], 0, 0, 0.54, 1, gain, 0.6)


def open_questions(dataset, *questions: Query) -> None:
    """As a round of review does."""
    from spam_plugin.engine.choosing import QueryPlan
    from spam_plugin.integrations.fiftyone_.fields import OutputFields
    from spam_plugin.integrations.fiftyone_.queries import QueryDesk
    from spam_plugin.integrations.fiftyone_.videos import open_videos

    plan = QueryPlan(tuple(questions), len(questions), 9, 99.0, {}, {}, (), "fake")
    QueryDesk(dataset, "frames.", OutputFields("spam_tracks")).write(open_videos(dataset), plan, {})


def answers(dataset) -> list:
    from spam_plugin.integrations.fiftyone_.answers import AnswerBook

    return sorted(AnswerBook(dataset, "spam_tracks").all(), key=lambda one: (one.verdict.value, str(one.boxes)))


@pytest.fixture
def asked(server, make_dataset, make_link):
    """A video of 90 frames, with questions in the first of its five jobs and in the fourth.

    What is asked over some frames makes the jobs overlap by as much, and half a second on both sides.
    """
    dataset = make_dataset("asked", [*straight(1, 0, 89, 50), *straight(2, 0, 89, 120)], frames=90)
    key = str(dataset.first().id)
    questions = [
        ask(key, Question.LINK, 10, other=14, gain=5.0), ask(key, Question.BOX, 70, gain=1.0),
        ask(key, Question.VALID, 66, 68, 70, gain=3.0, top=120.0),
    ]  # fmt: skip
    open_questions(dataset, *questions)
    for name in ("anna", "ben"):
        server.add_user(name)
    return dataset, make_link(dataset), Api(server.url, server.username, server.password), questions


def test_only_jobs_with_questions_are_opened_and_the_others_are_finished_and_empty(asked):
    _, link, api, _ = asked
    report = sync(link, replace(SETTINGS, assignees=("anna", "ben")))
    assert report.counts["issues opened"] == 3
    assert report.counts["jobs opened"] == 2
    jobs = api.jobs()
    assert [(job["start_frame"], job["stop_frame"]) for job in jobs] == [
        (0, 29), (16, 45), (32, 61), (48, 77), (64, 89)
    ]  # fmt: skip
    shut, opened = ("completed", "acceptance"), ("new", "annotation")
    assert [(job["state"], job["stage"]) for job in jobs] == [opened, shut, shut, opened, shut]
    assert [len(api.tracks(job["id"])) for job in jobs] == [2, 0, 0, 2, 0]
    # The job that is worth most is given away first.
    assert [(job["assignee"] or {}).get("username") for job in jobs] == ["anna", None, None, "ben", None]
    assert [one.questions for one in sync_status(link)] == [1, 0, 0, 2, 0]


def test_issues_are_pinned_to_their_boxes_in_words_that_can_be_answered(asked):
    _, link, api, _ = asked
    sync(link, SETTINGS)
    (issue,) = api.issues(api.jobs()[0]["id"])
    assert issue["frame"] == 10
    assert issue["position"] == [30.0, 50.0, 60.0, 80.0]
    text = api.send("GET", f"/api/comments?issue_id={issue['id']}")["results"][0]["message"]
    assert "Same car?" in text
    assert "frame 10 at the left" in text
    assert "54%" in text
    shapes = {shape["frame"] for track in api.tracks(api.jobs()[0]["id"]) for shape in track["shapes"]}
    assert {10, 14} <= shapes  # what is asked about can be dragged


def test_what_was_left_as_it_is_and_resolved_is_confirmed(asked):
    dataset, link, api, questions = asked
    sync(link, SETTINGS)
    for job in (api.jobs()[0], api.jobs()[3]):
        for issue in api.issues(job["id"]):
            api.resolve(issue["id"])
        api.job(job["id"], state="completed")
    report = sync(link, replace(SETTINGS, push=False))
    assert report.counts["answers"] == 4
    found = {answer.verdict: answer for answer in answers(dataset) if answer.verdict is not Verdict.SAME}
    assert found[Verdict.BOX].drawn == box(70)
    assert [b.frame for b in found[Verdict.VALID].boxes] == [66, 68, 70]
    assert {answer.query for answer in answers(dataset)} == {query.key for query in questions}
    dataset.reload()
    assert dataset.first().spam_open_queries == 0
    assert dataset.first().spam_review_status == "reviewed"


def test_words_count_where_the_tracks_were_left_alone(asked):
    dataset, link, api, _ = asked
    sync(link, SETTINGS)
    job = api.jobs()[0]["id"]
    (issue,) = api.issues(job)
    api.comment(issue["id"], "No, these are two")
    api.job(job, state="completed")
    sync(link, replace(SETTINGS, push=False))
    (answer,) = answers(dataset)
    assert answer.verdict is Verdict.DIFFERENT
    assert answer.believed == 0.6


def test_words_that_say_nothing_leave_the_question_open_and_are_passed_on(asked):
    dataset, link, api, _ = asked
    sync(link, SETTINGS)
    job = api.jobs()[0]["id"]
    (issue,) = api.issues(job)
    api.comment(issue["id"], "hard to see")
    api.job(job, state="completed")
    report = sync(link, replace(SETTINGS, push=False))
    assert answers(dataset) == []
    assert any("'hard to see' is neither yes nor no" in notice for notice in report.notices)


def test_a_new_round_opens_what_is_new_and_shuts_what_is_not_asked_any_more(asked):
    dataset, link, api, questions = asked
    sync(link, SETTINGS)
    key = str(dataset.first().id)
    open_questions(dataset, questions[0], ask(key, Question.MISSING, 46, gain=2.0))
    report = sync(link, SETTINGS)
    assert report.counts["issues opened"] == 1
    assert report.counts["issues closed"] == 2
    jobs = api.jobs()
    assert [job["state"] for job in jobs] == ["new", "completed", "new", "completed", "completed"]
    assert [issue["resolved"] for issue in api.issues(jobs[3]["id"])] == [True, True]
    (whole,) = api.issues(jobs[2]["id"])
    assert whole["position"] == [0.0, 0.0, 320.0, 240.0]
    assert sync(link, SETTINGS).counts == {}


def test_without_questions_no_job_is_opened_and_it_is_said(make_dataset, make_link, server):
    dataset = make_dataset("quiet", straight(1, 0, 59, 50), frames=60)
    report = sync(make_link(dataset), SETTINGS)
    assert report.counts == {}
    assert any("no question is open" in notice for notice in report.notices)
    assert server.projects() == []


def test_nobody_is_assigned_who_is_not_known(asked):
    from spam_plugin.models.errors import InputError

    _, link, _, _ = asked
    with pytest.raises(InputError, match="no user 'carl'"):
        sync(link, replace(SETTINGS, assignees=("anna", "carl")))


def test_a_dry_run_says_what_would_be_done_and_does_nothing(asked, server):
    dataset, link, _, _ = asked
    before = dataset.list_runs(), set(dataset.get_field_schema())
    report = sync(link, replace(SETTINGS, dry_run=True))
    assert report.counts["tasks to make"] == 1
    assert report.counts["issues opened"] == 3
    assert server.projects() == []
    assert server.tasks() == []
    dataset.reload()
    assert (dataset.list_runs(), set(dataset.get_field_schema())) == before
    assert sync(link, SETTINGS).counts["projects made"] == 1


V, L, B, S, E, M = Question


@pytest.mark.parametrize(
    ("kind", "frames", "other", "deed", "comment", "said"),
    [
        (V, (20, 30, 40), None, "", "", {("valid", (20, 30, 40)), ("same", (20, 30, 40))}),
        (V, (20, 30, 40), None, "", "Yes.", {("valid", (20, 30, 40)), ("same", (20, 30, 40))}),
        (V, (20, 30, 40), None, "", "no, a shadow", {("invalid", (20, 30, 40))}),
        (V, (20, 30, 40), None, "split", "", {("different", (30, 40))}),
        (V, (20, 30, 40), None, "split", "no", {("different", (30, 40))}),
        (V, (20, 30, 40), None, "delete", "", {("invalid", (20, 30, 40))}),
        (L, (30,), 40, "", "", {("same", (30, 40))}),
        (L, (30,), 40, "", "YES, I think", {("same", (30, 40))}),
        (L, (30,), 40, "", "no", {("different", (30, 40))}),
        (L, (30,), 40, "split", "", {("different", (30, 40))}),
        (L, (30,), 40, "split", "yes", {("different", (30, 40))}),  # what people did counts more than what they wrote
        (L, (30,), 40, "delete", "", set()),
        (B, (30,), None, "", "", {("box", (30,))}),
        (B, (30,), None, "move", "", {("box", (30,))}),
        (B, (30,), None, "", "no", set()),
        (S, (10,), None, "", "", {("starts", (10, 10))}),
        (S, (10,), None, "later", "", set()),  # the box is gone that was asked about; the edit says where it starts
        (S, (10,), None, "", "no", set()),
        (E, (70,), None, "", "", {("ends", (70, 70))}),
        (E, (70,), None, "end", "", set()),
        (M, (30,), None, "", "", {("complete", (30,))}),
        (M, (30,), None, "", "no", {("complete", (30,))}),
        (M, (30,), None, "", "yes, at the right", set()),
        (M, (30,), None, "draw", "", {("complete", (30,))}),
    ],
)
def test_what_people_do_and_write_is_what_the_answer_says(
    server, make_dataset, make_link, kind, frames, other, deed, comment, said
):
    dataset = make_dataset("kinds", [*straight(1, 10, 70, 50), *straight(2, 0, 89, 120)], frames=90)
    sample = str(dataset.first().id)
    query = ask(sample, kind, *frames, other=other)
    open_questions(dataset, query)
    link, whole = make_link(dataset), replace(SETTINGS, job_seconds=100)
    sync(link, whole)
    api = Api(server.url, server.username, server.password)
    hand, uid = Hand(api, api.jobs()[0]), uid_of(dataset, sample, 1)
    if deed == "split":
        hand.split(uid, 35)
    elif deed == "delete":
        hand.delete(uid)
    elif deed == "move":
        moved = hand.move(uid, 30, dx=4.0)
    elif deed == "later":
        hand.begin(uid, 12)
    elif deed == "end":
        hand.end(uid, 61)
    elif deed == "draw":
        hand.draw("car", {25: (200, 10, 240, 40)}, last=35)
    (issue,) = api.issues(hand.job)
    if comment:
        api.comment(issue["id"], comment)
    else:
        api.resolve(issue["id"])
    hand.done()
    assert sync(link, replace(whole, push=False)).problems == []
    told = [answer for answer in answers(dataset) if answer.query == query.key]
    assert {(answer.verdict.value, tuple(b.frame for b in answer.boxes)) for answer in told} == said
    if kind is B and said:
        assert told[0].drawn == Box(30, moved if deed == "move" else box(30).xyxy)
    bounds = {"later": ("starts", 12), "end": ("ends", 60)}
    if deed in bounds:
        assert bounds[deed] in {(answer.verdict.value, answer.boxes[-1].frame) for answer in answers(dataset)}
    if deed == "draw":
        assert [a.drawn.frame for a in answers(dataset) if a.verdict is Verdict.BOX] == [25]
    dataset.reload()
    assert dataset.first().spam_open_queries == 0
