"""Edits that meet labels which have changed since, in jobs that come back at different times."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import read_tracks, straight, write_tracks
from cvat_reviewer.hand import Hand, finish, uid_of

from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.integrations.cvat.sync import settle_conflicts, sync, sync_status

ONE_JOB = SyncSettings(windows="all", job_seconds=100, overlap_seconds=0)
TWO_JOBS = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)
OVERLAPPING = SyncSettings(windows="all", job_seconds=4, overlap_seconds=2)
CAR, OTHER, PERSON = straight(1, 0, 59, 50), straight(2, 0, 59, 120), straight(3, 0, 59, 180, "person")


class Desk:
    """A dataset of one video that was sent, and a hand in each of its jobs."""

    def __init__(self, server, make_dataset, make_link, *tracks, settings=ONE_JOB) -> None:
        self.dataset = make_dataset("merged", [box for track in tracks for box in track], frames=60)
        self.sample, self.link, self.settings = str(self.dataset.first().id), make_link(self.dataset), settings
        self.sync()
        self.api = Api(server.url, server.username, server.password)
        self.hands = [Hand(self.api, job) for job in self.api.jobs()]

    def sync(self, **changes):
        return sync(self.link, replace(self.settings, **changes))

    def uid(self, index: int) -> str:
        return uid_of(self.dataset, self.sample, index)

    def boxes(self) -> list[dict]:
        return read_tracks(self.dataset, self.sample)

    def at(self, frame: int, top: float, near: float = 10.0) -> dict | None:
        """The box in a frame whose upper side is near a height."""
        found = [b for b in self.boxes() if b["frame"] == frame and abs(b["xyxy"][1] - top) < near]
        assert len(found) < 2
        return found[0] if found else None

    def labelled_anew(self, *tracks) -> None:
        write_tracks(self.dataset, self.sample, [box for track in tracks for box in track])


@pytest.fixture
def desk(server, make_dataset, make_link):
    return lambda *tracks, settings=ONE_JOB: Desk(server, make_dataset, make_link, *tracks, settings=settings)


# --- a model has labelled again meanwhile


def renumbered(tracks, number: int, down: float) -> list:
    return [(f, number, label, (x, y + down, r, b + down)) for f, _, label, (x, y, r, b) in tracks]


def test_what_a_person_deleted_stays_away_and_what_was_found_since_stays(desk):
    world = desk(CAR, OTHER)
    world.hands[0].delete(world.uid(1))
    finish(world.api)
    world.labelled_anew(renumbered(CAR, 11, 1.5), renumbered(OTHER, 12, 1.5), straight(13, 5, 30, 190))
    report = world.sync()
    assert report.conflicts == []
    assert {b["index"] for b in world.boxes()} == {12, 13}
    assert len(world.boxes()) == 60 + 26
    assert len(world.hands[0].names()) == 2


def test_what_a_person_split_is_split_in_the_new_labels_too(desk):
    world = desk(CAR, OTHER)
    world.hands[0].split(world.uid(1), 25)
    finish(world.api)
    world.labelled_anew(renumbered(CAR, 11, 1.5), renumbered(OTHER, 12, 1.5))
    assert world.sync().conflicts == []
    numbers = [world.at(frame, 51.5)["index"] for frame in range(60)]
    assert set(numbers[:25]) == {11}
    assert set(numbers[25:]) == {13}
    assert world.at(30, 51.5)["xyxy"][1] == pytest.approx(51.5)  # nobody has moved it
    assert {world.at(frame, 121.5)["index"] for frame in range(60)} == {12}


def test_what_a_person_called_otherwise_is_called_so_in_the_new_labels_too(desk):
    world = desk(CAR, PERSON)
    world.hands[0].rename(world.uid(1), "person")
    finish(world.api)
    world.labelled_anew(renumbered(CAR, 11, 1.5), renumbered(PERSON, 12, 1.5))
    assert world.sync().conflicts == []
    assert {b["label"] for b in world.boxes() if b["index"] == 11} == {"person"}


def test_what_a_person_joined_is_one_track_in_the_new_labels_too(desk):
    early, late = straight(1, 0, 20, 50), straight(2, 24, 59, 50)
    world = desk(early, late)
    world.hands[0].merge(world.uid(1), world.uid(2))
    finish(world.api)
    world.labelled_anew(renumbered(early, 11, 1.5), renumbered(late, 12, 1.5))
    assert world.sync().conflicts == []
    assert {b["index"] for b in world.boxes() if b["frame"] <= 20 or b["frame"] >= 24} == {11}


def test_a_track_that_has_the_name_of_another_by_now_is_not_taken_for_it(desk):
    """Instances may be given out anew, as where one labels with numbers of one's own."""
    world = desk(CAR, OTHER)
    before = world.hands[0].boxes(world.uid(1))[30]
    moved = world.hands[0].move(world.uid(1), 30, dx=7.0)
    finish(world.api)
    world.labelled_anew(renumbered(CAR, 2, 0.5), renumbered(OTHER, 1, 0.5))
    report = world.sync()
    assert report.conflicts == []
    assert world.at(30, before[1])["xyxy"] == pytest.approx(moved, abs=0.01)
    assert world.at(30, 120.0)["xyxy"][0] == pytest.approx(70.0)
    assert len(world.boxes()) == 120


# --- jobs that come back at different times


def test_a_job_that_comes_back_later_knows_what_was_cut_in_the_job_before(desk):
    world = desk(CAR, OTHER, settings=TWO_JOBS)
    first, second = world.hands
    uid = world.uid(1)
    first.split(uid, 15)
    moved = second.move(uid, 45, dx=7.0)
    second.done("in progress")
    first.done()
    world.sync()
    later = {world.at(frame, 50)["index"] for frame in range(15, 60)}
    assert later == {3}
    second.done()
    assert world.sync().conflicts == []
    assert len(world.boxes()) == 120
    assert world.at(45, 50)["xyxy"] == pytest.approx(moved, abs=0.01)
    assert {world.at(frame, 50)["index"] for frame in range(15, 60)} == {3}
    assert {world.at(frame, 50)["index"] for frame in range(15)} == {1}
    assert world.sync().counts == {}


def test_a_job_that_comes_back_later_can_delete_what_was_cut_in_the_job_before(desk):
    world = desk(CAR, OTHER, settings=TWO_JOBS)
    first, second = world.hands
    uid = world.uid(1)
    first.split(uid, 15)
    first.done()
    world.sync()
    second.delete(uid)
    second.done()
    world.sync()
    assert sorted(b["frame"] for b in world.boxes() if b["xyxy"][1] < 60) == list(range(30))
    assert len([b for b in world.boxes() if b["index"] == 2]) == 60


def test_a_job_that_nobody_touched_is_not_sent_again_because_of_a_cut_elsewhere(desk):
    world = desk(CAR, OTHER, settings=TWO_JOBS)
    first, second = world.hands
    there = world.api.tracks(second.job)
    first.split(world.uid(1), 15)
    first.done()
    report = world.sync()
    assert not {"tracks created", "tracks updated", "tracks deleted"} & set(report.counts)
    assert world.api.tracks(second.job) == there


# --- two people


def test_two_people_who_do_the_same_in_overlapping_jobs_agree(desk):
    world = desk(CAR, settings=OVERLAPPING)
    uid = world.uid(1)
    for hand in world.hands:
        moved = hand.move(uid, 30, dx=9.0)
    finish(world.api)
    assert world.sync().conflicts == []
    assert world.at(30, 50)["xyxy"] == pytest.approx(moved, abs=0.01)
    assert world.sync().counts == {}


def test_two_people_who_call_a_track_differently_are_listed_and_settled(desk):
    world = desk(CAR, PERSON, straight(4, 0, 59, 10, "bus"), settings=TWO_JOBS)
    first, second = world.hands
    uid = world.uid(1)
    first.rename(uid, "person")
    second.rename(uid, "bus")
    finish(world.api)
    (conflict,) = world.sync(push=False).conflicts
    assert conflict.kind == "class"
    assert "'person'" in conflict.text
    assert "'bus'" in conflict.text
    assert {b["label"] for b in world.boxes() if b["index"] == 1} == {"bus"}
    world.sync()
    assert [world.api.tracks(hand.job)[0]["label_id"] for hand in world.hands] == [
        first.labels["person"], first.labels["bus"]
    ]  # fmt: skip
    assert settle_conflicts(world.link, "desk") == 1
    assert {b["label"] for b in world.boxes() if b["index"] == 1} == {"person"}
    assert world.sync().conflicts == []
    assert world.sync().counts == {}


def by_hand(world: Desk, frame: int, index: int, by: float) -> None:
    sample = world.dataset.first()
    for box in sample.frames[frame + 1].spam_tracks.detections:
        if box.index == index:
            box.bounding_box = [box.bounding_box[0] + by / 320, *box.bounding_box[1:]]
            box.source, box.keyframe = "human", True
    sample.save()
    world.dataset.reload()


@pytest.mark.parametrize(("winner", "left"), [("desk", 0), ("dataset", 1)])
def test_a_box_that_is_gone_for_one_and_moved_for_another_is_settled_either_way(desk, winner, left):
    world = desk(CAR, OTHER)
    by_hand(world, 30, 1, -12.0)
    world.hands[0].delete(world.uid(1))
    finish(world.api)
    (conflict,) = world.sync().conflicts
    assert (conflict.kind, conflict.frame, conflict.last, conflict.track) == ("gone", 30, 30, 1)
    assert len(world.hands[0].names()) == 1  # it is not sent again before somebody has settled it
    (row,) = sync_status(world.link)
    assert row.state == "completed"
    assert settle_conflicts(world.link, winner) == 1
    assert world.sync().conflicts == []
    assert len([b for b in world.boxes() if b["index"] == 1]) == left
    assert len(world.hands[0].names()) == 1 + left
    assert world.sync().counts == {}


@pytest.mark.parametrize(("winner", "left"), [("desk", 0), ("dataset", 1)])
def test_a_box_that_is_gone_for_one_does_not_share_its_track_with_what_took_its_place(desk, winner, left):
    world = desk(CAR, OTHER)
    by_hand(world, 30, 1, -32.0)
    hand, uid, other = world.hands[0], world.uid(1), world.uid(2)
    here, there = hand.boxes(uid), hand.boxes(other)
    hand.delete(other)
    hand.put(uid, {9: here[9], **{frame: there[frame] for frame in range(10, 60)}})
    finish(world.api)
    (conflict,) = world.sync().conflicts
    assert (conflict.kind, conflict.frame) == ("gone", 30)
    assert len({(b["frame"], b["index"]) for b in world.boxes()}) == len(world.boxes()) == 61
    assert {world.at(frame, 120)["index"] for frame in range(10, 60)} == {1}
    assert world.at(30, 50)["index"] == conflict.track != 1
    assert len(hand.names()) == 1
    assert [one.track for one in world.sync().conflicts] == [conflict.track]
    assert settle_conflicts(world.link, winner) == 1
    assert world.sync().conflicts == []
    assert len([b for b in world.boxes() if b["xyxy"][1] < 60 and b["frame"] >= 10]) == left
    assert len(hand.names()) == 1 + left
    assert world.sync().counts == {}


def test_what_is_disputed_is_not_sent_while_all_else_is(desk):
    world = desk(CAR, OTHER)
    by_hand(world, 30, 1, -12.0)
    theirs = world.hands[0].move(world.uid(1), 30, dx=12.0)
    finish(world.api)
    assert len(world.sync().conflicts) == 1
    by_hand(world, 20, 1, -3.0)
    by_hand(world, 40, 2, -9.0)
    report = world.sync()
    assert report.counts["tracks updated"] == 1
    assert world.hands[0].boxes(world.uid(1))[30] == pytest.approx(theirs, abs=0.01)
    assert world.hands[0].boxes(world.uid(2))[40][0] == pytest.approx(81.0, abs=0.01)
    assert len(report.conflicts) == 1


def test_two_people_who_draw_one_thing_differently_where_their_jobs_overlap_are_listed(desk):
    world = desk(CAR, settings=OVERLAPPING)
    first, second = world.hands
    first.draw("car", {20: (200, 150, 240, 190)}, last=39)
    second.draw("car", {20: (208, 150, 248, 190)}, last=45)
    finish(world.api)
    report = world.sync()
    assert {one.kind for one in report.conflicts} == {"box"}
    drawn = [b for b in world.boxes() if b["xyxy"][1] > 140]
    assert sorted(b["frame"] for b in drawn) == list(range(20, 46))
    assert len({b["index"] for b in drawn}) == 1
