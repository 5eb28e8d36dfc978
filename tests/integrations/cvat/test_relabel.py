"""The whole circle: label, ask, send, edit in CVAT, bring back, label again; the new labels keep to the edits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import HEIGHT, RATE, WIDTH, read_tracks
from cvat_reviewer.hand import Hand, finish, uid_of

import spam_plugin
from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.integrations.cvat.sync import sync

FRAMES = 90
EVERYTHING = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)


def course(name: str) -> dict:
    """Where something is, frame by frame: a car that goes right all the time, and others."""
    left, top, first, last = {
        "whole": (10, 10, 0, 89), "two": (10, 60, 0, 89), "nothing": (180, 200, 33, 58), "early": (20, 110, 0, 36),
        "late": (140, 160, 42, 89), "missed": (250, 20, 32, 57),
    }[name]  # fmt: skip
    return {f: (left + 1.5 * (f - first), top, left + 1.5 * (f - first) + 36, top + 30) for f in range(first, last + 1)}


DETECTED = ("whole", "two", "nothing", "early", "late")


@pytest.fixture
def labelled(make_video, model):
    """A video whose labels were made of candidates by the default model."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels

    dataset = fo.Dataset()
    metadata = fo.VideoMetadata(total_frame_count=FRAMES, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=RATE)
    dataset.add_sample(fo.Sample(filepath=str(make_video(FRAMES)), metadata=metadata))
    rng = np.random.default_rng(4)
    frames: dict[int, list] = {}
    for name in DETECTED:
        for frame, box in course(name).items():
            left, top, right, bottom = (np.array(box) + rng.normal(0, 0.4, 4)).round(2)
            place = [left / WIDTH, top / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]
            frames.setdefault(frame + 1, []).append(detection_dict("car", place, confidence=0.9))
    declare_detections(dataset, "frames.candidates")
    write_frame_labels(dataset, dataset.first().id, "candidates", frames)
    spam_plugin.label(dataset, model=model, progress=False)
    yield dataset
    dataset.delete()


def along(dataset, name: str) -> dict[int, int]:
    """Frame -> number of the track that is where something is, 0 for none."""
    there: dict[int, list] = {}
    for box in read_tracks(dataset, dataset.first().id):
        there.setdefault(box["frame"], []).append(box)
    out = {}
    for frame, want in course(name).items():
        near = [b for b in there.get(frame, ()) if np.abs(np.subtract(b["xyxy"], want)).max() < 8]
        out[frame] = near[0]["index"] if near else 0
    return out


def the_one(dataset, name: str) -> int:
    """Number of the only track of something."""
    (number,) = set(along(dataset, name).values()) - {0}
    return number


@pytest.fixture
def edited(server, labelled, make_link, model):
    """What was labelled, sent in three jobs, and set right there by people; brought back, but not labelled again."""
    dataset = labelled
    numbers = {name: the_one(dataset, name) for name in DETECTED}
    assert len(set(numbers.values())) == len(DETECTED)
    sample = str(dataset.first().id)
    plan = spam_plugin.queries(dataset, budget="12 clicks", model=model, progress=False)
    link = make_link(dataset)
    report = sync(link, EVERYTHING)
    assert report.problems == []
    assert report.counts["issues opened"] == len(plan.queries) > 0
    api = Api(server.url, server.username, server.password)
    hands = [Hand(api, job) for job in api.jobs()]
    uid = {name: uid_of(dataset, sample, number) for name, number in numbers.items()}
    moved = hands[0].move(uid["whole"], 12, dx=4.0, dy=2.5)
    hands[1].split(uid["two"], 45)
    hands[1].delete(uid["nothing"])
    hands[1].merge(uid["early"], uid["late"])
    missed = course("missed")
    hands[1].draw("car", {32: missed[32], 45: missed[45], 57: missed[57]}, last=57)
    finish(api)
    report = sync(link, replace(EVERYTHING, push=False))
    assert (report.problems, report.conflicts) == ([], [])
    dataset.reload()
    return SimpleNamespace(dataset=dataset, link=link, api=api, moved=moved, numbers=numbers, model=model)


def check_edits(world) -> None:
    """What people did is there."""
    dataset, sample = world.dataset, world.dataset.first().id
    two = along(dataset, "two")
    early, late = ({number for f, number in two.items() if (f >= 45) == after} - {0} for after in (False, True))
    assert (len(early), len(late)) == (1, 1)
    assert early != late
    assert set(along(dataset, "nothing").values()) == {0}
    assert len(set(along(dataset, "missed").values())) == 1
    assert 0 not in along(dataset, "missed").values()
    assert the_one(dataset, "early") == the_one(dataset, "late")  # which lie in all three jobs
    whole = the_one(dataset, "whole")
    (box,) = [b for b in read_tracks(dataset, sample) if b["frame"] == 12 and b["index"] == whole]
    assert box["xyxy"] == pytest.approx(world.moved, abs=0.01)
    missed = course("missed")
    drawn = [b for b in read_tracks(dataset, sample) if b["frame"] in (32, 45, 57) and b["xyxy"][0] > 245]
    assert [b["xyxy"] for b in drawn] == [pytest.approx(missed[b["frame"]], abs=0.01) for b in drawn]
    assert len(drawn) == 3


def test_what_people_did_is_in_the_labels(edited):
    check_edits(edited)


def test_labels_that_are_made_again_keep_to_what_people_did(edited):
    report = spam_plugin.label(edited.dataset, model=edited.model, progress=False)
    assert report.problems == []
    assert sum(video.answers for video in report.videos) > 5
    edited.dataset.reload()
    check_edits(edited)


def test_a_circle_more_without_edits_leaves_the_labels_as_they_are(edited):
    spam_plugin.label(edited.dataset, model=edited.model, progress=False)
    edited.dataset.reload()
    before = read_tracks(edited.dataset, edited.dataset.first().id)
    for _ in range(3):
        assert sync(edited.link, EVERYTHING).problems == []
        finish(edited.api)
    sync(edited.link, EVERYTHING)  # opens again the jobs whose questions nobody has closed
    assert read_tracks(edited.dataset, edited.dataset.first().id) == before
    assert sync(edited.link, EVERYTHING).counts == {}
