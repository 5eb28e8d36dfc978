"""Scoring FiftyOne fields: the same numbers as from plain columns, for both ways of holding video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.engine.metrics import TrackTable, TruthTable, combine, evaluate_video
from spam_plugin.integrations.fiftyone_.evaluate import Evaluation, evaluate
from spam_plugin.integrations.fiftyone_.raw import (
    declare_detections,
    detection_dict,
    write_frame_labels,
    write_image_labels,
)
from spam_plugin.models.errors import InputError, MissingError

SIZE = np.array([1920.0, 1080.0, 1920.0, 1080.0])
NUM_FRAMES = 20
CLASSES = ["pedestrian", "pedestrian", "distractor", "car", "pedestrian"]


def world(seed: int) -> dict[str, np.ndarray]:
    """Five tracks of whole pixels, two of them of other classes, one partly ignored; predicted with errors."""
    rng = np.random.default_rng(seed)
    frame, track = np.divmod(np.arange(NUM_FRAMES * 5), 5)
    corner = np.column_stack([200 * track + 3 * frame, 100 + 5 * track])
    xywh = np.column_stack([corner, np.full((len(frame), 2), [40, 90])]).astype(float)
    found = rng.random(len(frame)) < 0.9
    noisy = xywh + np.where(rng.random((len(frame), 4)) < 0.3, rng.integers(-12, 12, (len(frame), 4)), 0)
    return {
        "frame": frame,
        "track": track + 1,
        "xywh": xywh,
        "ignored": (track == 4) & (frame > 10),
        "pred_frame": frame[found],
        "pred_track": (track + 10 * (frame > 7))[found],
        "pred_xywh": noisy[found],
    }


def corners(xywh: np.ndarray) -> np.ndarray:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def expected(columns: dict[str, np.ndarray], preprocess: str | None = None) -> Any:
    class_id = np.array([1, 1, 8, 3, 1])[columns["track"] - 1]
    truth = TruthTable(columns["frame"], columns["track"], corners(columns["xywh"]), class_id, columns["ignored"])
    prediction = TrackTable(columns["pred_frame"], columns["pred_track"], corners(columns["pred_xywh"]))
    return evaluate_video(truth, prediction, NUM_FRAMES, preprocess)


def documents(columns: dict[str, np.ndarray]) -> tuple[dict[int, list], dict[int, list]]:
    """Raw detections of truth and predictions, by 1-based frame."""
    truth: dict[int, list] = {}
    prediction: dict[int, list] = {}
    for frame, track, xywh, ignored in zip(
        columns["frame"], columns["track"], columns["xywh"], columns["ignored"], strict=True
    ):
        document = detection_dict(CLASSES[track - 1], (xywh / SIZE).tolist(), int(track), ignored=bool(ignored))
        truth.setdefault(int(frame) + 1, []).append(document)
    for frame, track, xywh in zip(columns["pred_frame"], columns["pred_track"], columns["pred_xywh"], strict=True):
        document = detection_dict("pedestrian", (xywh / SIZE).tolist(), int(track))
        prediction.setdefault(int(frame) + 1, []).append(document)
    return truth, prediction


@pytest.fixture
def video_dataset() -> Iterator[fo.Dataset]:
    """Videos "street" and "square" with both fields, and "plain" with predictions only."""
    dataset = fo.Dataset()
    metadata = fo.VideoMetadata(total_frame_count=NUM_FRAMES, frame_width=1920, frame_height=1080)
    names = ["street", "square", "plain"]
    dataset.add_samples([fo.Sample(filepath=f"/videos/{name}.mp4", metadata=metadata) for name in names])
    declare_detections(dataset, "frames.ground_truth", {"ignored": (fo.BooleanField, "not scored")})
    declare_detections(dataset, "frames.tracks")
    for seed, (name, sample_id) in enumerate(zip(names, dataset.values("id"), strict=True)):
        truth, prediction = documents(world(seed))
        write_frame_labels(dataset, sample_id, "tracks", prediction)
        if name != "plain":
            write_frame_labels(dataset, sample_id, "ground_truth", truth)
    yield dataset
    dataset.delete()


@pytest.fixture
def image_dataset() -> Iterator[fo.Dataset]:
    """The same two labelled videos as single images, in no order."""
    dataset = fo.Dataset()
    metadata = fo.ImageMetadata(width=1920, height=1080)
    samples = [
        fo.Sample(filepath=f"/images/{name}/{number}.jpg", metadata=metadata, sequence=name, frame_number=number)
        for number in range(NUM_FRAMES, 0, -1)
        for name in ("street", "square")
    ]
    dataset.add_samples(samples)
    declare_detections(dataset, "ground_truth", {"ignored": (fo.BooleanField, "not scored")})
    declare_detections(dataset, "tracks")
    for seed, name in enumerate(["street", "square"]):
        truth, prediction = documents(world(seed))
        ids = {sample.frame_number: sample.id for sample in samples if sample.sequence == name}
        write_image_labels(dataset, "ground_truth", {ids[number]: boxes for number, boxes in truth.items()})
        write_image_labels(dataset, "tracks", {ids[number]: boxes for number, boxes in prediction.items()})
    yield dataset
    dataset.delete()


def assert_as_from_columns(evaluation: Evaluation, preprocess: str | None = None) -> None:
    scores = [expected(world(seed), preprocess) for seed in (0, 1)]
    assert evaluation.as_dict() == {
        "videos": {"street": scores[0].as_dict(), "square": scores[1].as_dict()},
        "overall": combine(scores).as_dict(),
    }


@pytest.mark.parametrize("preprocess", [None, "mot17"])
def test_video_fields_score_as_their_columns_do(video_dataset, preprocess):
    evaluation = evaluate(video_dataset, "tracks", "ground_truth", preprocess=preprocess, progress=False)
    assert_as_from_columns(evaluation, preprocess)
    assert evaluation.without_truth == ("plain",)


def test_image_sequences_score_as_videos_do(image_dataset):
    assert_as_from_columns(evaluate(image_dataset, "tracks", "ground_truth", progress=False))
    grouped = image_dataset.group_by("sequence", order_by="frame_number")
    assert_as_from_columns(evaluate(grouped, "tracks", "ground_truth", preprocess="mot17", progress=False), "mot17")


def test_a_field_may_be_named_with_its_prefix_and_videos_be_chosen(video_dataset):
    evaluation = evaluate(
        video_dataset, "frames.tracks", "frames.ground_truth", videos=["square", "street"], progress=False
    )
    assert list(evaluation.videos) == ["street", "square"]
    view = video_dataset.match(fo.ViewField("filepath").ends_with("square.mp4"))
    assert list(evaluate(view, "tracks", "ground_truth", progress=False).videos) == ["square"]
    assert list(evaluate(video_dataset.name, "tracks", "ground_truth", progress=False).videos) == ["street", "square"]


def test_boxes_that_a_view_hides_are_not_scored(video_dataset):
    view = video_dataset.filter_labels("frames.tracks", fo.ViewField("index") == 1, only_matches=False)
    overall = evaluate(view, "tracks", "ground_truth", progress=False).overall.as_dict()
    assert 0 < overall["pred_boxes"] <= 2 * NUM_FRAMES
    hiding = video_dataset.select_fields("frames.ground_truth")
    with pytest.raises(MissingError, match=r"the view of dataset .* hides field 'frames.tracks'"):
        evaluate(hiding, "tracks", "ground_truth", progress=False)


def test_boxes_without_a_known_frame_size_score_the_same(video_dataset):
    before = evaluate(video_dataset, "tracks", "ground_truth", progress=False).overall.as_dict()
    video_dataset.clear_sample_field("metadata")
    after = evaluate(video_dataset, "tracks", "ground_truth", progress=False).overall.as_dict()
    assert after == pytest.approx(before, abs=0.02)
    assert after["frames"] == before["frames"]


def test_videos_of_one_name_go_by_their_files(video_dataset):
    video_dataset.add_sample(fo.Sample(filepath="/elsewhere/street.mp4"))
    names = evaluate(video_dataset, "tracks", "ground_truth", progress=False).videos
    assert list(names) == ["/videos/street.mp4", "/videos/square.mp4"]


def test_the_same_index_under_two_labels_is_two_tracks():
    dataset = fo.Dataset()
    dataset.add_sample(fo.Sample(filepath="/videos/street.mp4"))
    declare_detections(dataset, "frames.tracks")
    boxes = [detection_dict("car", [0.1, 0.1, 0.2, 0.2], 1), detection_dict("person", [0.6, 0.1, 0.2, 0.2], 1)]
    write_frame_labels(dataset, dataset.first().id, "tracks", {1: boxes, 2: boxes[::-1]})
    overall = evaluate(dataset, "tracks", "tracks", progress=False).overall.as_dict()
    assert (overall["HOTA"], overall["IDSW"], overall["MT"]) == (pytest.approx(1), 0, 2)
    dataset.delete()


def test_the_table_shows_every_video_and_all_of_them(video_dataset):
    text = str(evaluate(video_dataset, "tracks", "ground_truth", progress=False)).splitlines()
    assert text[0].split() == ["video", "HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW"]
    assert [line.split()[0] for line in text[1:]] == ["street", "square", "overall"]
    assert len({len(line) for line in text}) == 1


def write_first_frame(dataset: fo.Dataset, boxes: list[dict]) -> None:
    write_frame_labels(dataset, dataset.first().id, "tracks", {1: boxes})


def test_missing_fields_and_videos_are_named(video_dataset):
    with pytest.raises(
        MissingError, match=r"has no field 'frames.nothing'; fields with boxes: 'ground_truth', 'tracks'"
    ):
        evaluate(video_dataset, "nothing", "ground_truth", progress=False)
    with pytest.raises(MissingError, match=r"there is no video 'park'; there are 'street', 'square', 'plain'"):
        evaluate(video_dataset, "tracks", "ground_truth", videos=["park"], progress=False)


def test_a_field_of_another_type_is_refused(video_dataset):
    video_dataset.add_frame_field("weather", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    with pytest.raises(InputError, match=r"field 'frames.weather' .* is of type Classification, not Detections"):
        evaluate(video_dataset, "tracks", "weather", progress=False)
    with pytest.raises(InputError, match=r"field 'frames.frame_number' .* is of type FrameNumberField"):
        evaluate(video_dataset, "frame_number", "ground_truth", progress=False)


def test_no_ground_truth_at_all_is_refused(video_dataset):
    declare_detections(video_dataset, "frames.empty")
    with pytest.raises(InputError, match=r"no frame of dataset .* has ground truth in field 'empty'"):
        evaluate(video_dataset, "tracks", "empty", progress=False)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (detection_dict("person", [0.1, 0.1, 0.2, 0.2]), "frame 1: a box in field 'frames.tracks' has no index"),
        (detection_dict("person", [0.1, 0.1, 0.2], 1), r"frame 1: a box .* is \[0.1, 0.1, 0.2\], not \[x, y, w, h\]"),
        (detection_dict("person", [0.1, float("nan"), 0.2, 0.2], 1), "frame 1: the predictions box of track 1 is .*"),
    ],
)
def test_a_bad_box_is_named_with_its_video_and_frame(video_dataset, box, message):
    write_first_frame(video_dataset, [box])
    with pytest.raises(InputError, match="video 'street', " + message):
        evaluate(video_dataset, "tracks", "ground_truth", progress=False)


def test_two_boxes_of_a_track_in_a_frame_are_named(video_dataset):
    write_first_frame(video_dataset, [detection_dict("person", [0.1, 0.1, 0.2, 0.2], 5) for _ in range(2)])
    with pytest.raises(InputError, match="video 'street', frame 1: predictions have two boxes of track 5"):
        evaluate(video_dataset, "tracks", "ground_truth", progress=False)


def test_preprocessing_refuses_labels_that_are_no_classes_of_motchallenge(video_dataset):
    write_first_frame(video_dataset, [detection_dict("zebra", [0.1, 0.1, 0.2, 0.2], 5)])
    with pytest.raises(
        InputError, match=r"frame 1: label 'zebra' in field 'frames.tracks' is no class of MOTChallenge"
    ):
        evaluate(video_dataset, "tracks", "tracks", preprocess="mot17", progress=False)
    with pytest.raises(InputError, match="unknown preprocessing 'mot99'; known are mot17, mot20"):
        evaluate(video_dataset, "tracks", "tracks", preprocess="mot99", progress=False)


def test_images_that_are_no_sequences_are_refused(image_dataset, video_dataset):
    image_dataset.add_sample(fo.Sample(filepath="/images/x.jpg", sequence="street"))
    with pytest.raises(InputError, match="without a frame_number of their own"):
        evaluate(image_dataset, "tracks", "ground_truth", progress=False)
    image_dataset.delete_sample_field("frame_number")
    with pytest.raises(InputError, match="holds images but no field 'frame_number'"):
        evaluate(image_dataset, "tracks", "ground_truth", progress=False)
    with pytest.raises(InputError, match="needs whole videos"):
        evaluate(video_dataset.to_clips([[(1, 3)]] * 3), "tracks", "ground_truth", progress=False)


def test_preprocessing_that_leaves_no_ground_truth_is_refused(video_dataset):
    box = detection_dict("car", [0.1, 0.1, 0.2, 0.2], 1)
    declare_detections(video_dataset, "frames.cars")
    write_frame_labels(video_dataset, video_dataset.first().id, "cars", {1: [box]})
    with pytest.raises(InputError, match=r"'mot17' leaves no ground truth: no box in field 'cars' .* 'pedestrian'"):
        evaluate(video_dataset, "tracks", "cars", preprocess="mot17", progress=False)


def test_class_numbers_of_an_import_count_more_than_labels(video_dataset):
    box = detection_dict("car", [0.1, 0.1, 0.2, 0.2], 1, class_id=1)
    declare_detections(video_dataset, "frames.cars", {"class_id": (fo.IntField, "MOTChallenge's number")})
    write_frame_labels(video_dataset, video_dataset.first().id, "cars", {1: [box]})
    assert evaluate(video_dataset, "cars", "cars", preprocess="mot17", progress=False).overall.as_dict()["TP"] == 1
