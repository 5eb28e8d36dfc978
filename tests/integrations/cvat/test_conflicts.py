"""Base, theirs, ours: people win over models, and two people who disagree are both kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import HEIGHT, WIDTH, read_tracks, straight, write_tracks

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.integrations.cvat.sync import settle_conflicts, sync

ONE_JOB = SyncSettings(windows="all", job_seconds=100, overlap_seconds=0)
TWO_JOBS = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)
OVERLAPPING = SyncSettings(windows="all", job_seconds=4, overlap_seconds=2)


def send(server, make_dataset, make_link, tracks, settings=ONE_JOB):
    dataset = make_dataset("merged", tracks, frames=60)
    link = make_link(dataset)
    sync(link, settings)
    return dataset, link, Api(server.url, server.username, server.password)


def shift(api: Api, job: int, track: int, frame: int, by: float) -> None:
    """Sets a keyframe beside where the box is, as dragging does."""
    data = api.tracks(job)[track]
    start = data["shapes"][0]
    points = [x + 2.0 * (frame - start["frame"]) * (at % 2 == 0) + by for at, x in enumerate(start["points"])]
    shape = {**start, "frame": frame, "points": points}
    shape.pop("id", None)
    shapes = sorted([*[s for s in data["shapes"] if s["frame"] != frame], shape], key=lambda s: s["frame"])
    api.change(job, "update", [{**data, "shapes": shapes, "frame": shapes[0]["frame"]}])


def finish(api: Api, *jobs: int) -> None:
    for job in jobs or [one["id"] for one in api.jobs()]:
        api.job(job, state="completed")


def at(dataset, frame: int, index: int):
    found = [b for b in read_tracks(dataset, dataset.first().id) if b["frame"] == frame and b["index"] == index]
    return found[0] if found else None


def set_by_hand(dataset, frame: int, index: int, by: float) -> None:
    sample = dataset.first()
    for box in sample.frames[frame + 1].spam_tracks.detections:
        if box.index == index:
            left, top, width, height = box.bounding_box
            box.bounding_box = [left + by / WIDTH, top + by / HEIGHT, width, height]
            box.source, box.keyframe = "human", True
    sample.save()


def test_what_a_person_did_wins_over_new_labels_and_the_rest_of_these_stays(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, [*straight(1, 0, 59, 50), *straight(2, 0, 59, 120)])
    shift(api, 1, 0, 30, 9.0)
    finish(api)
    # The model has labelled again meanwhile: other numbers, other identities, boxes a little elsewhere.
    sample = dataset.first().id
    new = [*straight(7, 0, 59, 52), *straight(8, 0, 59, 121), *straight(9, 5, 20, 180)]
    write_tracks(dataset, sample, new)
    report = sync(link, replace(ONE_JOB, push=False))
    assert report.conflicts == []
    moved = at(dataset, 30, 7)
    assert moved["xyxy"] == pytest.approx((79.0, 59.0, 109.0, 89.0), abs=0.01)
    assert (moved["source"], moved["keyframe"]) == ("human", True)
    assert at(dataset, 30, 8)["xyxy"] == pytest.approx((70, 121, 100, 151))
    assert at(dataset, 10, 9) is not None
    assert len(read_tracks(dataset, sample)) == len(new)


def disagree(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 50))
    set_by_hand(dataset, 30, 1, -12.0)
    shift(api, 1, 0, 30, 12.0)
    finish(api)
    return dataset, link, api, sync(link, ONE_JOB)


def test_two_people_who_disagree_are_both_kept_and_listed(server, make_dataset, make_link):
    dataset, link, api, report = disagree(server, make_dataset, make_link)
    (conflict,) = report.conflicts
    assert (conflict.kind, conflict.frame, conflict.track) == ("box", 30, 1)
    assert at(dataset, 30, 1)["xyxy"] == pytest.approx((58, 38, 88, 68), abs=0.01)
    (theirs,) = [b for b in read_tracks(dataset, dataset.first().id, "spam_conflicts") if b["frame"] == 30]
    assert theirs["xyxy"] == pytest.approx((82, 62, 112, 92), abs=0.01)
    shapes = api.tracks(1)[0]["shapes"]
    assert [s["points"] for s in shapes if s["frame"] == 30] == [pytest.approx([82, 62, 112, 92])]
    assert [one.track for one in sync(link, ONE_JOB).conflicts] == [1]


@pytest.mark.parametrize(("winner", "left"), [("desk", 82), ("dataset", 58)])
def test_a_conflict_that_is_settled_makes_both_sides_the_same(server, make_dataset, make_link, winner, left):
    dataset, link, api, _ = disagree(server, make_dataset, make_link)
    assert settle_conflicts(link, winner) == 1
    assert sync(link, ONE_JOB).conflicts == []
    assert at(dataset, 30, 1)["xyxy"][0] == pytest.approx(left, abs=0.01)
    assert read_tracks(dataset, dataset.first().id, "spam_conflicts") == []
    shapes = {s["frame"]: s["points"] for s in api.tracks(1)[0]["shapes"]}
    assert shapes[30][0] == pytest.approx(left, abs=0.01)


def test_two_people_who_agree_do_not_disagree(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 50))
    set_by_hand(dataset, 30, 1, 8.0)
    shift(api, 1, 0, 30, 8.2)
    finish(api)
    assert sync(link, ONE_JOB).conflicts == []


def test_what_was_deleted_there_and_set_here_is_kept_and_listed(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 50))
    set_by_hand(dataset, 30, 1, -12.0)
    api.change(1, "delete", api.tracks(1))
    finish(api)
    report = sync(link, replace(ONE_JOB, push=False))
    assert [one.kind for one in report.conflicts] == ["gone"]
    assert [b["frame"] for b in read_tracks(dataset, dataset.first().id)] == [30]


def test_in_frames_that_two_jobs_share_the_one_who_changed_something_is_right(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 50), OVERLAPPING)
    assert [(job["start_frame"], job["stop_frame"]) for job in api.jobs()] == [(0, 39), (20, 59)]
    shift(api, 1, 0, 30, 9.0)
    finish(api)
    report = sync(link, OVERLAPPING)
    assert report.conflicts == []
    assert at(dataset, 30, 1)["xyxy"][0] == pytest.approx(79, abs=0.01)
    assert len({b["index"] for b in read_tracks(dataset, dataset.first().id)}) == 1


def test_two_people_in_overlapping_jobs_may_disagree(server, make_dataset, make_link):
    _, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 50), OVERLAPPING)
    shift(api, 1, 0, 30, 12.0)
    shift(api, 2, 0, 30, -12.0)
    finish(api)
    report = sync(link, OVERLAPPING)
    assert report.conflicts
    assert all(20 <= one.frame <= 39 for one in report.conflicts)


def draw(api: Api, job: int, first: int, last: int, stop: int, by: float = 0.0) -> None:
    like = api.tracks(job)[0]
    shape = {"type": "rectangle", "occluded": False, "z_order": 0, "rotation": 0.0, "attributes": []}
    shapes = [
        {**shape, "frame": frame, "outside": False, "points": [200 - 2.0 * frame + by, 10, 230 - 2.0 * frame + by, 40]}
        for frame in (first, last)
    ]
    if last < stop:
        shapes.append({**shapes[-1], "frame": last + 1, "outside": True})
    api.change(job, "create", [{"label_id": like["label_id"], "frame": first, "group": 0, "source": "manual",
                                "attributes": [], "elements": [], "shapes": shapes}])  # fmt: skip


def test_what_is_drawn_up_to_a_border_and_goes_on_behind_it_is_one_track(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 100), TWO_JOBS)
    draw(api, 1, 10, 29, 29)
    draw(api, 2, 30, 45, 59)
    finish(api)
    sync(link, TWO_JOBS)
    drawn = [b for b in read_tracks(dataset, dataset.first().id) if b["xyxy"][1] < 50]
    assert [b["frame"] for b in drawn] == list(range(10, 46))
    assert {b["index"] for b in drawn} == {2}


def test_what_two_people_draw_where_their_jobs_overlap_is_one_track(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 100), OVERLAPPING)
    draw(api, 1, 10, 39, 39)
    draw(api, 2, 20, 50, 59, by=0.5)
    finish(api)
    report = sync(link, OVERLAPPING)
    assert report.conflicts == []
    drawn = [b for b in read_tracks(dataset, dataset.first().id) if b["xyxy"][1] < 50]
    assert [b["frame"] for b in drawn] == list(range(10, 51))
    assert {b["index"] for b in drawn} == {2}


def test_a_track_that_is_cut_in_one_job_is_two_in_the_jobs_behind_it_too(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 100), TWO_JOBS)
    track = api.tracks(1)[0]
    middle = {**track["shapes"][0], "frame": 15, "points": [40.0, 100, 70, 130]}
    first = [track["shapes"][0], {**middle, "outside": True}]
    second = [middle, track["shapes"][-1]]
    api.change(1, "delete", [track])
    for shapes in (first, second):
        clean = [{key: value for key, value in shape.items() if key != "id"} for shape in shapes]
        new = {key: value for key, value in track.items() if key != "id"}
        api.change(1, "create", [{**new, "frame": clean[0]["frame"], "shapes": clean}])
    finish(api, 1)
    sync(link, TWO_JOBS)
    found = read_tracks(dataset, dataset.first().id)
    assert {b["index"] for b in found if b["frame"] < 15} == {1}
    assert {b["index"] for b in found if b["frame"] >= 15} == {2}


def test_only_finished_jobs_come_back_and_unfinished_ones_are_not_written_over(server, make_dataset, make_link):
    dataset, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 50), TWO_JOBS)
    shift(api, 1, 0, 10, 9.0)
    api.job(1, state="in progress")
    before = read_tracks(dataset, dataset.first().id)
    set_by_hand(dataset, 20, 1, -12.0)
    there = api.tracks(1)
    report = sync(link, TWO_JOBS)
    assert any("job 1 (in progress): somebody has changed it" in notice for notice in report.notices)
    assert api.tracks(1) == there
    assert at(dataset, 10, 1)["xyxy"] == before[10]["xyxy"]
    report = sync(link, replace(TWO_JOBS, force=True))
    assert at(dataset, 10, 1)["xyxy"][0] == pytest.approx(39, abs=0.01)
    assert at(dataset, 20, 1)["xyxy"][0] == pytest.approx(38, abs=0.01)
    assert {s["frame"]: s["points"][0] for s in api.tracks(1)[0]["shapes"]}[20] == pytest.approx(38, abs=0.01)


def test_only_jobs_of_the_stage_that_was_named_come_back(server, make_dataset, make_link):
    _, link, api = send(server, make_dataset, make_link, straight(1, 0, 59, 50), TWO_JOBS)
    finish(api)
    api.job(2, stage="acceptance", state="completed")
    report = sync(link, replace(TWO_JOBS, push=False, stages=("acceptance",)))
    assert report.counts == {"jobs pulled": 1}
