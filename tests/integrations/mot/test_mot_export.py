from __future__ import annotations

import itertools

import fiftyone as fo
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spam_plugin.integrations.mot.exporting import export_mot
from spam_plugin.integrations.mot.importing import import_mot
from spam_plugin.integrations.mot.text import read_table
from spam_plugin.models.errors import InputError, MissingError

_count = itertools.count()


@pytest.fixture
def name():
    name = f"mot-export-{next(_count)}"
    yield name
    if fo.dataset_exists(name):
        fo.delete_dataset(name)


@pytest.fixture
def dataset(make_sequence, name, tmp_path):
    """One imported video."""
    return import_mot(make_sequence(), name, media_dir=tmp_path / "media").dataset


@pytest.fixture
def sequence(make_sequence):
    """One sequence folder."""
    return make_sequence()


def by_frame_and_track(text):
    return sorted(text.splitlines(), key=lambda line: tuple(map(float, line.split(",")[:2])))


@pytest.mark.parametrize("media", ["video", "images"])
def test_export_is_the_inverse_of_import(make_sequence, name, tmp_path, media):
    roots = [make_sequence("a", images=True), make_sequence("b", images=True, gt="3,4,1.25,2,3,4.0625,1,3,0.125\n")]
    dataset = import_mot(roots, name, media=media, media_dir=tmp_path / "media").dataset
    files = export_mot(dataset, "ground_truth", tmp_path / "gt")
    assert files == [tmp_path / "gt" / "a.txt", tmp_path / "gt" / "b.txt"]
    for root, file in zip(roots, files, strict=True):
        assert file.read_text().splitlines() == by_frame_and_track((root / "gt" / "gt.txt").read_text())
    for root, file in zip(roots, export_mot(dataset, "candidates", tmp_path / "det", with_ids=False), strict=True):
        assert file.read_text() == (root / "det" / "det.txt").read_text()


boxes = st.tuples(
    st.integers(1, 5),  # frame
    st.integers(1, 9),  # track
    st.floats(-20, 38, width=32), st.floats(-15, 24, width=32),
    st.floats(21, 500, width=32), st.floats(16, 500, width=32),
    st.booleans(), st.integers(1, 13), st.floats(0, 1, width=32),
)  # fmt: skip


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(boxes, unique_by=lambda box: box[:2], max_size=12))
def test_a_round_trip_loses_nothing_but_rounding_below_a_hundredth_of_a_pixel(sequence, name, tmp_path, found):
    text = "".join(",".join(str(int(v) if isinstance(v, bool) else v) for v in row) + "\n" for row in found)
    root = sequence
    (root / "gt" / "gt.txt").write_text(text)
    dataset = import_mot(root, name, overwrite=True, media_dir=tmp_path / "media").dataset
    (file,) = export_mot(dataset, "frames.ground_truth", tmp_path / "out")
    expected, again = read_table(root / "gt" / "gt.txt", "gt"), read_table(file, "gt")
    order = np.lexsort((expected.track_id, expected.frame))
    for key in ("frame", "track_id", "class_id", "ignored"):
        assert getattr(again, key).tolist() == getattr(expected, key)[order].tolist()
    np.testing.assert_allclose(again.xyxy, expected.xyxy[order], atol=0.009)
    np.testing.assert_allclose(again.visibility, expected.visibility[order], rtol=1e-8)


def test_tracks_without_class_numbers_have_the_form_of_results(dataset, tmp_path):
    sample = dataset.first()
    sample.frames[2]["tracks"] = fo.Detections(
        detections=[
            fo.Detection(label="car", bounding_box=[0.5, 0.5, 0.25, 0.25], index=7, confidence=0.875),
            fo.Detection(label="car", bounding_box=[0.0, 0.0, 0.25, 0.25], index=3),
        ]
    )
    sample.save()
    (file,) = export_mot(dataset, "tracks", tmp_path)
    assert file.read_text() == "2,3,0,0,10,6.5,1,-1,-1,-1\n2,7,20,13,10,6.5,0.875,-1,-1,-1\n"


def test_only_what_a_view_holds_is_exported(dataset, tmp_path):
    view = dataset.filter_labels("frames.ground_truth", ~fo.ViewField("ignored"))
    (file,) = export_mot(view, "ground_truth", tmp_path)
    assert {line.split(",")[1] for line in file.read_text().splitlines()} == {"1"}


def test_a_view_of_groups_is_exported_by_sequence(make_sequence, name, tmp_path):
    dataset = import_mot(make_sequence(images=True), name, media="images").dataset
    (file,) = export_mot(dataset.load_saved_view("sequences"), "ground_truth", tmp_path)
    assert len(file.read_text().splitlines()) == 5


def test_a_box_drawn_by_hand_gets_the_class_number_of_its_label(dataset, tmp_path):
    sample = dataset.first()
    for label in ("distractor", "bicycle"):
        sample.frames[3].ground_truth.detections.append(
            fo.Detection(label=label, bounding_box=[0, 0, 0.5, 0.5], index=len(label))
        )
    sample.save()
    (file,) = export_mot(dataset, "ground_truth", tmp_path)
    assert [line.split(",")[7] for line in file.read_text().splitlines() if line.startswith("3,")] == ["4", "8"]
    sample.frames[3].ground_truth.detections[0].label = "unicorn"
    sample.save()
    with pytest.raises(InputError, match=r"sample 'walk' .*, frame 3: .*'unicorn', which has no number"):
        export_mot(dataset, "ground_truth", tmp_path)


def test_a_box_without_index_is_named_and_nothing_is_written(dataset, tmp_path):
    with pytest.raises(InputError, match=r"sample 'walk' \(\w+\), frame 1: a box in field 'candidates' has no index"):
        export_mot(dataset, "candidates", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 1}, "frame 1: a box in field 'ground_truth' has the index 1, as another one has"),
        ({"bounding_box": [0, 0, 0, 1]}, r"frame 1: .* is \[0\.0, 0\.0, 0\.0, 1\.0\], not \[x, y, w, h\] with an area"),
        ({"bounding_box": None}, "frame 1: .* is None, not"),
        ({"bounding_box": [0, 0, 1]}, r"frame 1: .* is \[0\.0, 0\.0, 1\.0\], not"),
        ({"bounding_box": [0, 0, float("nan"), 1]}, r"frame 1: .* is \[0\.0, 0\.0, nan, 1\.0\], not"),
    ],
)
def test_a_box_that_cannot_be_exported_is_named(dataset, tmp_path, change, message):
    (key, value), *_ = change.items()
    boxes = dataset.values(f"frames.ground_truth.detections.{key}")
    boxes[0][0][1] = value
    dataset.set_values(f"frames.ground_truth.detections.{key}", boxes, validate=False)
    with pytest.raises(InputError, match=message):
        export_mot(dataset, "ground_truth", tmp_path)


def test_a_field_that_is_missing_or_of_another_type_is_named(dataset, tmp_path):
    with pytest.raises(MissingError, match=r"no field 'frames\.nothing'; fields with boxes: ground_truth, candidates"):
        export_mot(dataset, "nothing", tmp_path)
    dataset.add_frame_field("speed", fo.FloatField)
    with pytest.raises(InputError, match=r"'frames\.speed' .* does not hold Detections"):
        export_mot(dataset, "speed", tmp_path)


def test_media_that_are_no_whole_sequences_are_refused(make_sequence, dataset, name, tmp_path):
    with pytest.raises(InputError, match="export whole videos"):
        export_mot(dataset.to_trajectories("frames.ground_truth"), "ground_truth", tmp_path)
    with pytest.raises(MissingError, match="no samples here"):
        export_mot(dataset.limit(0), "ground_truth", tmp_path)
    fo.delete_dataset(name)
    other = fo.Dataset(name)
    with pytest.raises(MissingError, match="is empty"):
        export_mot(other, "ground_truth", tmp_path)
    other.add_sample(fo.Sample("one.jpg", ground_truth=fo.Detections()))
    with pytest.raises(InputError, match="images without the field 'sequence'"):
        export_mot(other, "ground_truth", tmp_path)


def test_frames_of_an_image_sequence_must_be_numbered(make_sequence, name, tmp_path):
    dataset = import_mot(make_sequence(images=True), name, media="images").dataset
    sample = dataset.first()
    sample.frame_number = 2
    sample.save()
    with pytest.raises(InputError, match="images without a frame_number of their own"):
        export_mot(dataset, "ground_truth", tmp_path)


@pytest.mark.parametrize("media", ["video", "images"])
def test_without_metadata_the_size_is_read_from_the_file(make_sequence, name, tmp_path, media):
    root = make_sequence(images=True)
    dataset = import_mot(root, name, media=media, media_dir=tmp_path / "media").dataset
    dataset.set_values("metadata", [None] * len(dataset))
    (file,) = export_mot(dataset, "ground_truth", tmp_path)
    assert file.read_text().splitlines() == by_frame_and_track((root / "gt" / "gt.txt").read_text())


def test_videos_of_other_origin_are_called_after_their_files_which_must_differ(dataset, tmp_path):
    dataset.set_values("sequence", [None])
    (file,) = export_mot(dataset, "ground_truth", tmp_path)
    assert file.name == "walk.txt"
    dataset.set_values("sequence", ["a/b"])
    with pytest.raises(InputError, match="'a/b' cannot name a file of its own"):
        export_mot(dataset, "ground_truth", tmp_path)


def test_a_sequence_without_boxes_gets_an_empty_file(make_sequence, name, tmp_path):
    dataset = import_mot(make_sequence(gt=""), name, media_dir=tmp_path / "media").dataset
    (file,) = export_mot(dataset, "ground_truth", tmp_path)
    assert file.read_text() == ""


def test_real_sequences_come_back_as_they_were(shared_data, name, tmp_path):
    roots = [shared_data / "mot_images" / "TUD-Campus", shared_data / "kitti_cars" / "KITTI-car-0006"]
    dataset = import_mot(roots, name, media_dir=tmp_path / "media").dataset
    for field, folder, with_ids in (("ground_truth", "gt/gt.txt", True), ("candidates", "det/det.txt", False)):
        for root, file in zip(roots, export_mot(dataset, field, tmp_path / field, with_ids), strict=True):
            assert sorted(file.read_text().splitlines()) == sorted((root / folder).read_text().splitlines())
