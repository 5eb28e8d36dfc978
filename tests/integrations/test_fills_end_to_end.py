"""From a few boxes of people to labels: gaps are filled from pictures, and labelling and CVAT have what was filled."""

import cv2
import fiftyone as fo
import numpy as np
import pytest
from cvat_reviewer import Api
from cvat_reviewer.data import access_to
from cvat_server import CvatServer
from matching_tracker import MatchingTracker

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.desk.context import SyncSettings
from spam_plugin.integrations.fiftyone_ import api
from spam_plugin.integrations.fiftyone_.answers import AnswerBook
from spam_plugin.integrations.fiftyone_.fills import FillBook
from spam_plugin.integrations.fiftyone_.propagating import propagate
from spam_plugin.integrations.fiftyone_.raw import (
    declare_detections,
    detection_dict,
    frame_documents,
    write_frame_labels,
)

WIDTH, HEIGHT, LENGTH = 320, 160, 40
HOLE = range(12, 28)  # frames in which the detector is blind


def truth(frame):
    """The thing goes to and fro: in the middle of the hole it is not where a line would have it."""
    x, y = 60 + 3.0 * frame + 25 * np.sin(frame / 5), 60 + 12 * np.cos(frame / 6)
    return np.array([x, y, x + 30, y + 45])


def xywh(box):
    return [box[0] / WIDTH, box[1] / HEIGHT, (box[2] - box[0]) / WIDTH, (box[3] - box[1]) / HEIGHT]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "thing.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    noise = np.random.default_rng(0).integers(0, 255, (9, 6, 3)).astype(np.uint8)
    thing = cv2.resize(noise, (30, 45), interpolation=cv2.INTER_NEAREST)
    for frame in range(LENGTH):
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        x, y = truth(frame)[:2].round().astype(int)
        image[y : y + 45, x : x + 30] = thing
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def dataset(film):
    made = fo.Dataset()
    made.media_type = "video"
    size = {"frame_width": WIDTH, "frame_height": HEIGHT}
    sample = fo.Sample(str(film), metadata=fo.VideoMetadata(total_frame_count=LENGTH, frame_rate=10.0, **size))
    made.add_sample(sample)
    declare_detections(made, "frames.candidates")
    seen = [frame for frame in range(LENGTH) if frame not in HOLE]
    boxes = {frame + 1: [detection_dict("thing", xywh(truth(frame)), confidence=0.9)] for frame in seen}
    write_frame_labels(made, sample.id, "candidates", boxes)
    yield made
    made.delete()


def stored(dataset):
    """0-based frame -> raw boxes."""
    return {number - 1: boxes for number, boxes in frame_documents(dataset, dataset.first().id, "spam_tracks")}


def overlap(box, frame):
    left, top, width, height = np.array(box["bounding_box"]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    a, b = np.array([left, top, left + width, top + height]), truth(frame)
    inter = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return inter / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter)


def fill(dataset, **more):
    return propagate(dataset, tracker=MatchingTracker(), candidates="candidates", progress=False, **more)


def test_what_the_detector_missed_is_in_the_labels_after_two_boxes_of_a_person(dataset, model):
    key = dataset.first().id
    first, final = (Box(frame, tuple(truth(frame).tolist())) for frame in (HOLE[2], HOLE[-3]))
    before = Box(HOLE[0] - 1, tuple(truth(HOLE[0] - 1).tolist()))
    said = [Answer(key, Verdict.BOX, (before,), drawn=one, source="anna") for one in (first, final)]
    api.answer(dataset, said)
    api.label(dataset, model=model, progress=False)
    report = fill(dataset)
    assert report.videos[0].problems == ()
    saved = FillBook(dataset, "spam_tracks").of(key)
    assert set(range(first.frame + 1, final.frame)) <= set(saved.frame.tolist())
    now = stored(dataset)
    again = api.label(dataset, model=model, progress=False)
    assert again.videos[0].tracks == 1
    labelled = stored(dataset)
    middle = range(first.frame + 1, final.frame)
    for boxes in (now, labelled):
        assert {boxes[frame][0]["source"] for frame in middle} == {"propagated"}
        assert np.mean([overlap(boxes[frame][0], frame) for frame in middle]) > 0.75
        assert sorted(boxes) == list(range(LENGTH))
        assert all(len(found) == 1 for found in boxes.values())
    assert labelled[first.frame][0]["answered"]
    assert fill(dataset).videos[0].name == report.videos[0].name
    assert {box["source"] for frame, boxes in stored(dataset).items() if frame in middle for box in boxes} == {
        "propagated"
    }


def test_filled_boxes_go_to_cvat_and_back_as_the_models_and_nothing_changes(dataset, model):
    from spam_plugin.integrations.cvat.sync import Link, sync

    api.label(dataset, model=model, progress=False)
    sample = dataset.first()
    at = HOLE[8]
    boxes = stored(dataset)
    drawn = {**boxes.get(at, [{}])[0], **detection_dict("thing", xywh(truth(at)), 1)}
    boxes = {frame: found for frame, found in boxes.items() if frame not in HOLE} | {at: [drawn]}
    drawn.pop("source", None)
    write_frame_labels(dataset, sample.id, "spam_tracks", {frame + 1: found for frame, found in sorted(boxes.items())})
    fill(dataset)
    before = stored(dataset)
    assert [box["source"] for frame in (at - 1, at + 1) for box in before[frame]] == ["propagated", "propagated"]
    everything = SyncSettings(windows="all", job_seconds=100, overlap_seconds=0)
    with CvatServer() as server:
        link = Link(dataset, access=access_to(server))
        sync(link, everything)
        hand = Api(server.url, server.username, server.password)
        (job,) = hand.jobs()
        hand.job(job["id"], state="completed")
        report = sync(link, everything)
    assert report.problems == []
    assert stored(dataset) == before
    assert not any(answer.drawn is not None and answer.drawn.frame in (at - 1, at + 1) for answer in
                   AnswerBook(dataset, "spam_tracks").all())  # fmt: skip
