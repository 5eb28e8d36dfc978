import math
from collections import Counter
from types import SimpleNamespace

import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.integrations.fiftyone_ import candidates as reasons
from spam_plugin.integrations.fiftyone_.api import label
from spam_plugin.integrations.fiftyone_.columns import StoredBoxes
from spam_plugin.integrations.fiftyone_.videos import StoredVideo
from spam_plugin.models.columns import VideoInfo
from spam_plugin.models.errors import InputError, MissingError

QUIET = {"progress": False}

BAD_BOXES = {
    "nan": ({"x": math.nan}, reasons.NOT_FINITE),
    "infinite": ({"w": math.inf}, reasons.NOT_FINITE),
    "negative size": ({"h": -3}, reasons.NO_AREA),
    "zero size": ({"w": 0}, reasons.NO_AREA),
    "left of the image": ({"x": -20}, reasons.OUTSIDE),
    "below the image": ({"y": 55}, reasons.OUTSIDE),
    "no score": ({"score": None}, reasons.NO_SCORE),
    "score is nan": ({"score": math.nan}, reasons.NO_SCORE),
}


def assert_untouched(dataset):
    assert not dataset.list_runs()
    assert not dataset.list_saved_views()
    assert "spam_tracks" not in (dataset.get_frame_field_schema() or {})
    assert "spam_tracks" not in dataset.get_field_schema()


@pytest.mark.parametrize("kind", BAD_BOXES)
def test_a_box_that_cannot_be_used_is_named(kind, world):
    change, reason = BAD_BOXES[kind]
    found = {"x": 30, "y": 5, "w": 10, "h": 10, "score": 0.5, **change}
    corners = [found["x"], found["y"], found["x"] + found["w"], found["y"] + found["h"]]
    boxes = StoredBoxes(
        frame=np.array([0, 2]),
        xyxy=np.array([[0, 0, 10, 10], corners], float),
        score=np.array([0.5, found["score"]], float),
        label_index=np.zeros(2, int),
        labels=("car",),
        index=np.full(2, -1),
    )
    video = StoredVideo(SimpleNamespace(name="street"), "odd", ("5f",))
    info = VideoInfo("odd", 4, world.width, world.height, 10.0)
    with pytest.raises(InputError) as error:
        reasons.usable_candidates(video, "candidates", boxes, info, skip_bad=False)
    told = str(error.value)
    assert "\n" not in told
    for part in ("'odd'", "'street'", "frame 3", "'candidates'", reason, "--skip-bad"):
        assert part in told
    usable, left_out = reasons.usable_candidates(video, "candidates", boxes, info, skip_bad=True)
    assert usable.frame.tolist() == [0]
    assert left_out == {reason: 1}


def test_boxes_that_cannot_be_used_stop_everything_or_are_left_out_and_counted(video_dataset, world):
    frames = world.frames()
    for change, _ in BAD_BOXES.values():
        frames[2].append(world.box(**{"x": 30, "y": 5, "w": 10, "h": 10, **change}))
    dataset = video_dataset(good=world.frames(), odd=frames)
    with pytest.raises(InputError, match=r"'odd'.*frame 3, .*7 more"):
        label(dataset, model=world.Model(), **QUIET)
    assert_untouched(dataset)
    report = label(dataset, model=world.Model(), skip_bad=True, **QUIET)
    assert report.left_out == Counter(reason for _, reason in BAD_BOXES.values())
    assert [video.candidates for video in report.videos] == [6, 6]


def test_duplicates_are_named_or_left_out_but_for_the_first(video_dataset, world):
    frames = {0: [world.box(1, 1, 5, 5) for _ in range(3)], 1: [world.box(1, 1, 5, 5), world.box(1, 1, 5, 5, "person")]}
    dataset = video_dataset(a=frames)
    with pytest.raises(InputError, match=r"frame 1, .*duplicate.*1 more"):
        label(dataset, model=world.Model(), **QUIET)
    report = label(dataset, model=world.Model(), skip_bad=True, **QUIET)
    assert report.left_out == {reasons.DUPLICATE: 2}
    assert report.videos[0].boxes == 3


def test_a_malformed_box_is_named(video_dataset, world):
    frames = world.frames()
    frames[0][0]["bounding_box"] = [0.1, 0.2]
    frames[0][1]["bounding_box"] = [0.1] * 5
    dataset = video_dataset(a=frames)
    with pytest.raises(InputError, match=r"frame 1, .*four finite numbers"):
        label(dataset, model=world.Model(), **QUIET)
    assert label(dataset, model=world.Model(), skip_bad=True, **QUIET).left_out == {reasons.NOT_FINITE: 2}


def test_a_box_partly_outside_the_image_is_fine(video_dataset, world):
    dataset = video_dataset(a={0: [world.box(-5, -5, 10, 10), world.box(95, 45, 10, 10)]})
    assert label(dataset, model=world.Model(), **QUIET).videos[0].boxes == 2


def test_labels_beyond_the_end_of_the_video_are_named(video_dataset, world):
    dataset = video_dataset(a={0: [world.box(1, 1, 5, 5)], 9: [world.box(1, 1, 5, 5)]})
    with pytest.raises(InputError, match=r"frame 10, .*beyond the end"):
        label(dataset, model=world.Model(), **QUIET)
    assert label(dataset, model=world.Model(), skip_bad=True, **QUIET).left_out == {reasons.BEYOND_END: 1}


def test_candidates_without_any_scores_are_refused_even_when_skipping(video_dataset, world):
    dataset = video_dataset(a={0: [world.box(1, 1, 5, 5, score=None)]})
    with pytest.raises(InputError, match="no finite confidence"):
        label(dataset, model=world.Model(), **QUIET)
    with pytest.raises(InputError, match="nothing to label"):
        label(dataset, model=world.Model(), skip_bad=True, **QUIET)
    assert_untouched(dataset)


def test_frames_and_videos_without_boxes_get_no_tracks(video_dataset, world):
    dataset = video_dataset(a=world.frames(), empty={}, bare={0: [], 1: []})
    report = label(dataset, model=world.Model(), **QUIET)
    assert [video.boxes for video in report.videos] == [6, 0, 0]
    assert dataset.values("spam_max_uncertainty") == [0.5, 0, 0]


@pytest.mark.parametrize("write", [None, b"", b"this is no video"])
def test_a_video_that_cannot_be_read_is_named_or_skipped(video_dataset, world, tmp_path, write):
    dataset = video_dataset(good=world.frames(), corrupt=world.frames())
    path = tmp_path / "corrupt.mp4"
    if write is not None:
        path.write_bytes(write)
    sample = dataset.skip(1).first()
    sample.filepath, sample.metadata = str(path), None
    sample.save()
    with pytest.raises(InputError, match=r"'corrupt'.*cannot be read") as error:
        label(dataset, model=world.Model(), **QUIET)
    assert "\n" not in str(error.value)
    assert_untouched(dataset)
    report = label(dataset, model=world.Model(), skip_bad=True, **QUIET)
    assert list(report.skipped) == ["corrupt"]
    assert [video.name for video in report.videos] == ["good"]


def test_a_video_without_frames_is_named(video_dataset, world, monkeypatch):
    dataset = video_dataset(a=world.frames())
    sample = dataset.first()
    sample.metadata.total_frame_count = 0
    sample.save()
    monkeypatch.setattr(fo.Sample, "compute_metadata", lambda *args, **kwargs: None)
    with pytest.raises(InputError, match=r"'a'.*has no frames"):
        label(dataset, model=world.Model(), **QUIET)


def test_an_image_that_cannot_be_read_is_named(image_dataset, world, tmp_path):
    dataset = image_dataset(a=world.frames())
    (tmp_path / "grey.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"'a'.*cannot be read"):
        label(dataset, model=world.Model(), **QUIET)


def test_missing_things_are_named_with_those_that_exist(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    with pytest.raises(MissingError, match="no dataset 'nowhere'"):
        label("nowhere", model=world.Model(), **QUIET)
    with pytest.raises(MissingError, match="no saved view 'none'"):
        label(dataset, view="none", model=world.Model(), **QUIET)
    with pytest.raises(MissingError, match=r"no field 'frames.boxes'; fields with boxes: 'candidates'"):
        label(dataset, "boxes", model=world.Model(), **QUIET)
    with pytest.raises(MissingError, match="no attribute 'embedding'"):
        label(dataset, embeddings="embedding", model=world.Model(), **QUIET)
    with pytest.raises(MissingError, match="no such file"):
        label(dataset, model="nowhere.safetensors", **QUIET)


def test_a_field_of_another_type_is_refused(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    dataset.add_frame_field("words", fo.StringField)
    dataset.add_frame_field("lines", fo.EmbeddedDocumentField, embedded_doc_type=fo.Polylines)
    for name, kind in (("words", "StringField"), ("frames.lines", "Polylines")):
        with pytest.raises(InputError, match=f"is of type {kind}, not Detections"):
            label(dataset, name, model=world.Model(), **QUIET)


def test_datasets_that_are_no_videos_are_refused(new_dataset, video_dataset, image_dataset, world):
    with pytest.raises(InputError, match="has no samples"):
        label(new_dataset(), model=world.Model(), **QUIET)
    clips = video_dataset(a=world.frames())
    clips = clips.to_clips([[(1, 2)]])
    with pytest.raises(InputError, match="whole videos"):
        label(clips, model=world.Model(), **QUIET)
    unnumbered = image_dataset(a=world.frames())
    sample = unnumbered.first()
    sample.frame_number = None
    sample.save()
    with pytest.raises(InputError, match=r"'a'.*number its frames"):
        label(unnumbered, model=world.Model(), **QUIET)
    unnumbered.delete_sample_field("frame_number")
    with pytest.raises(InputError, match="no field 'frame_number'"):
        label(unnumbered, model=world.Model(), **QUIET)


def test_embeddings_that_are_missing_or_of_another_length_are_named(video_dataset, world):
    frames = {
        0: [world.box(1, 1, 5, 5, look=[1.0, 2.0]), world.box(9, 9, 5, 5, look=[3.0, 4.0])],
        1: [world.box(1, 1, 5, 5, look=[1.0]), world.box(9, 9, 5, 5), world.box(20, 9, 5, 5, look=[1.0, math.nan])],
    }
    dataset = video_dataset(a=frames)
    dataset.add_frame_field("candidates.detections.look", fo.VectorField)
    with pytest.raises(InputError, match=r"frame 2, .*'look'.*no embedding.*2 more"):
        label(dataset, embeddings="look", model=world.Model(), **QUIET)
    model = world.Model()
    report = label(dataset, embeddings="look", model=model, skip_bad=True, **QUIET)
    assert report.left_out == {reasons.NO_EMBEDDING: 3}
    assert model.dimensions == 2
