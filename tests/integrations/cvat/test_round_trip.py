"""What goes to CVAT and comes back untouched, changes nothing; and nothing is sent twice."""

from __future__ import annotations

from dataclasses import replace

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import HEIGHT, WIDTH, read_tracks, straight, write_tracks
from cvat_reviewer.hand import Hand
from hypothesis import given, settings

from spam_plugin.engine.answers import Verdict
from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.engine.keyframing import Keyframes, interpolate
from spam_plugin.integrations.cvat.sync import sync
from spam_plugin.integrations.fiftyone_.answers import AnswerBook
from spam_plugin.models.spam.overlaps import paired_iou

FRAMES = 60
EVERYTHING = SyncSettings(windows="all", job_seconds=3, overlap_seconds=0)


@st.composite
def tracks(draw) -> list:
    """Tracks with gaps, of single frames, at the borders of the image and of jobs, of several classes."""
    rows = []
    for number in range(1, draw(st.integers(1, 5)) + 1):
        rng = np.random.default_rng(draw(st.integers(0, 10**6)))
        first = draw(st.sampled_from([0, 7, 29, 30, 59]))
        last = min(FRAMES - 1, first + draw(st.sampled_from([0, 1, 12, 30, 59])))
        hole = draw(st.sampled_from([None, (first + 3, first + 4), (29, 31), (first + 1, last)]))
        jerk, label = draw(st.sampled_from([0.0, 0.3, 3.0])), draw(st.sampled_from(["car", "person", "bicycle"]))
        corner = np.array([draw(st.sampled_from([0.0, 33.3333])), draw(st.sampled_from([0.0, 120.06]))])
        for frame in range(first, last + 1):
            corner = np.clip(corner + rng.normal(0.7, jerk, 2), 0, [WIDTH - 45, HEIGHT - 45])
            if hole is None or not hole[0] <= frame < hole[1]:
                side = 40 + rng.normal(0, jerk, 2).clip(-5, 5)
                rows.append((frame, number, label, (*corner.tolist(), *(corner + side).tolist())))
    return rows


def finish(server) -> Api:
    api = Api(server.url, server.username, server.password)
    for job in api.jobs():
        api.job(job["id"], state="completed")
    return api


def check_sheets(server, before: list[dict]) -> None:
    """Every job shows, interpolated, the boxes of the dataset in its frames and no others."""
    api = Api(server.url, server.username, server.password)
    name_of = {box["index"]: str(box["instance"]["_id"]) for box in before}
    for hand in (Hand(api, job) for job in api.jobs()):
        seen = {name: hand.boxes(name) for name in hand.names()}
        wanted: dict[str, dict] = {}
        for box in before:
            if hand.start <= box["frame"] <= hand.stop:
                wanted.setdefault(name_of[box["index"]], {})[box["frame"]] = box["xyxy"]
        assert {name: set(found) for name, found in seen.items()} == {name: set(own) for name, own in wanted.items()}
        pairs = [(seen[name][frame], xyxy) for name, own in wanted.items() for frame, xyxy in own.items()]
        sent, ours = (
            (np.array(side, np.float64).reshape(-1, 4) for side in zip(*pairs, strict=True)) if pairs else ((), ())
        )
        assert not len(sent) or paired_iou(sent, ours).min() >= 0.9 - 1e-6


@settings(max_examples=15, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@given(rows=tracks(), overlap=st.sampled_from([0.0, 1.0]), confirm=st.booleans())
def test_what_nobody_touched_comes_back_as_it_was(server, make_dataset, make_link, rows, overlap, confirm):
    hypothesis.assume(rows)
    server.reset()
    dataset = make_dataset("untouched", rows, frames=FRAMES)
    sample = dataset.first().id
    link, wanted = make_link(dataset), replace(EVERYTHING, overlap_seconds=overlap, confirm=confirm)
    before = read_tracks(dataset, sample)
    sync(link, wanted)
    check_sheets(server, before)
    finish(server)
    report = sync(link, wanted)
    assert set(report.counts) <= {"jobs pulled", "answers"}
    assert report.problems == []
    assert read_tracks(dataset, sample) == before
    said = {answer.verdict for answer in AnswerBook(dataset, "spam_tracks").all()}
    assert said <= ({Verdict.VALID, Verdict.SAME} if confirm else set())
    assert bool(said) == confirm
    assert sync(link, wanted).counts == {}


def test_keyframes_that_are_sent_follow_every_box(server, make_dataset, make_link):
    rng = np.random.default_rng(3)
    side = np.array([40, 55])
    course = np.cumsum(np.cumsum(rng.normal(0, 0.1, (FRAMES, 2)), 0), 0) + np.array([100, 90])
    rows = [(f, 1, "car", (*course[f].tolist(), *(course[f] + side).tolist())) for f in range(FRAMES)]
    dataset = make_dataset("followed", rows, frames=FRAMES)
    sync(make_link(dataset), replace(EVERYTHING, job_seconds=100))
    api = Api(server.url, server.username, server.password)
    (track,) = api.tracks(api.jobs()[0]["id"])
    shapes = track["shapes"]
    keys = Keyframes(
        np.zeros(len(shapes), int), np.array([s["frame"] for s in shapes]), np.array([s["points"] for s in shapes]),
        np.array([s["outside"] for s in shapes]),
    )  # fmt: skip
    _, frame, box, _ = interpolate(keys, FRAMES - 1)
    assert frame.tolist() == list(range(FRAMES))
    assert paired_iou(box, np.array([row[3] for row in rows])).min() >= 0.9
    assert len(shapes) < FRAMES / 4
    exact = {row[0]: row[3] for row in rows}
    assert all(s["points"] == pytest.approx(exact[s["frame"]], abs=1e-6) for s in shapes)


def test_media_go_up_once_and_only_what_changed_is_sent_again(server, make_dataset, make_link):
    rows = [row for number in range(1, 6) for row in straight(number, 0, 59, 30.0 * number)]
    dataset = make_dataset("again", rows, frames=FRAMES)
    link, wanted = make_link(dataset), replace(EVERYTHING, job_seconds=100)
    sync(link, wanted)
    server.clear_log()
    assert sync(link, wanted).counts == {}
    assert not [
        one for one in server.log if one.method != "GET" and "login" not in one.path and "guide" not in one.path
    ]
    moved = [(f, n, label, tuple(x + 9 for x in box) if n == 3 else box) for f, n, label, box in rows]
    write_tracks(dataset, dataset.first().id, moved)
    server.clear_log()
    report = sync(link, wanted)
    assert {name: report.counts.get(name) for name in ("tracks created", "tracks updated", "tracks deleted")} == {
        "tracks created": None, "tracks updated": 1, "tracks deleted": None
    }  # fmt: skip
    assert not [one for one in server.log if "/data" in one.path]
    write_tracks(dataset, dataset.first().id, [row for row in moved if row[1] != 2])
    report = sync(link, wanted)
    assert (report.counts.get("tracks deleted"), report.counts.get("tracks updated")) == (1, None)


def test_several_videos_go_up_once_each_and_only_the_one_that_changed_is_sent_again(server, make_dataset, make_link):
    rows = [*straight(1, 0, 59, 30.0), *straight(2, 0, 59, 90.0, "person")]
    dataset = make_dataset("several", rows, rows[:60], rows[60:], frames=FRAMES)
    link = make_link(dataset)
    report = sync(link, EVERYTHING)
    assert (report.counts["tasks made"], report.counts["jobs opened"], report.counts["tracks created"]) == (3, 6, 8)
    begun = [one.path for one in server.log if one.path.endswith("/data/") or one.path.endswith("/data")]
    assert {path: begun.count(path) for path in begun} == dict.fromkeys(begun, begun.count(begun[0]))
    assert len(set(begun)) == 3
    samples = dataset.values("id")
    before = [read_tracks(dataset, sample) for sample in samples]
    write_tracks(
        dataset, samples[1], [(f, n, label, (x + 40, y, r + 40, b)) for f, n, label, (x, y, r, b) in rows[:60]]
    )
    changed = read_tracks(dataset, samples[1])
    finish(server)
    server.clear_log()
    report = sync(link, EVERYTHING)
    assert {name: number for name, number in report.counts.items() if name.startswith("tracks")} == {
        "tracks updated": 2
    }
    assert [read_tracks(dataset, sample) for sample in samples] == [before[0], changed, before[2]]
    assert not [one for one in server.log if "/data" in one.path]


def test_image_sequences_that_nobody_touched_come_back_as_they_were(server, make_link, tmp_path):
    """Also with images that are missing: there is no frame 5 and 6."""
    import cv2
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.columns import track_instance
    from spam_plugin.integrations.fiftyone_.fields import OutputFields, declare
    from spam_plugin.integrations.fiftyone_.raw import detection_dict, image_documents, write_image_labels

    dataset = fo.Dataset()
    try:
        dataset.add_sample_field("frame_number", fo.IntField)
        for number in (4, 9, 1, 12, 7, 2, 8, 3, 11, 10):
            for name in ("a", "b"):
                file = str(tmp_path / f"{name}{number}.png")
                cv2.imwrite(file, np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8))
                sample = fo.Sample(file, sequence=name, frame_number=number, frame_rate=10.0)
                sample.metadata = fo.ImageMetadata(width=WIDTH, height=HEIGHT)
                dataset.add_sample(sample)
        declare(dataset, "", OutputFields("spam_tracks"))
        rng = np.random.default_rng(1)
        write_image_labels(
            dataset, "spam_tracks",
            [
                (key, [detection_dict("car", [0.1 + number / 100 + rng.normal(0, 0.002), 0.2, 0.1, 0.2], 1,
                                      track_instance(name, 1), source="model")])
                for key, number, name in zip(*dataset.values(["id", "frame_number", "sequence"]), strict=True)
            ],
        )  # fmt: skip
        before = dict(image_documents(dataset, dataset.values("id"), "spam_tracks"))
        assert len(before) == 20
        link = make_link(dataset)
        assert sync(link, EVERYTHING).problems == []
        assert [task["size"] for task in server.tasks()] == [10, 10]
        finish(server)
        assert sync(link, EVERYTHING).counts == {"jobs pulled": 2}
        assert dict(image_documents(dataset, dataset.values("id"), "spam_tracks")) == before
        assert sync(link, EVERYTHING).counts == {}
    finally:
        dataset.delete()


def test_image_sequences_go_and_come_too(server, make_link, tmp_path):
    import cv2
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.fields import OutputFields, declare
    from spam_plugin.integrations.fiftyone_.raw import detection_dict, write_image_labels

    dataset = fo.Dataset()
    try:
        dataset.add_sample_field("frame_number", fo.IntField)
        for frame in range(1, 13):
            cv2.imwrite(str(tmp_path / f"{frame:03d}.png"), np.full((HEIGHT, WIDTH, 3), 5 * frame, np.uint8))
            sample = fo.Sample(str(tmp_path / f"{frame:03d}.png"), sequence="s", frame_number=frame, frame_rate=10.0)
            sample.metadata = fo.ImageMetadata(width=WIDTH, height=HEIGHT)
            dataset.add_sample(sample)
        declare(dataset, "", OutputFields("spam_tracks"))
        write_image_labels(
            dataset, "spam_tracks",
            [(key, [detection_dict("car", [0.1 + at / 100, 0.2, 0.1, 0.2], 1, source="model")])
             for at, key in enumerate(dataset.values("id"))],
        )  # fmt: skip
        link = make_link(dataset)
        report = sync(link, EVERYTHING)
        assert report.problems == []
        assert server.tasks()[0]["size"] == 12
        api = Api(server.url, server.username, server.password)
        (track,) = api.tracks(1)
        shapes = [{**s, "points": [x + 5 for x in s["points"]]} for s in track["shapes"]]
        api.change(1, "update", [{**track, "shapes": shapes}])
        finish(server)
        assert sync(link, EVERYTHING).problems == []
        dataset.reload()
        found = [sample.spam_tracks.detections[0] for sample in dataset.sort_by("frame_number")]
        assert found[0].bounding_box[0] == pytest.approx(0.1 + 5 / WIDTH)
        assert found[5].bounding_box[0] == pytest.approx(0.15 + 5 / WIDTH)
        assert [found[0].source, found[5].source] == ["human", "interpolated"]
    finally:
        dataset.delete()
