from __future__ import annotations

import itertools

import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.integrations.mot import importing
from spam_plugin.integrations.mot.importing import import_mot
from spam_plugin.models.errors import InputError, MissingError

_count = itertools.count()


@pytest.fixture
def name():
    """The name of a dataset that is not there, and will not be after the test."""
    name = f"mot-import-{next(_count)}"
    yield name
    if fo.dataset_exists(name):
        fo.delete_dataset(name)


@pytest.fixture
def media_dir(tmp_path):
    return tmp_path / "media"


@pytest.fixture
def interrupt_at_call(monkeypatch):
    """Makes the n-th write of boxes fail as Ctrl-C does."""

    def arrange(nth):
        calls = itertools.count(1)
        write = importing.write_frame_labels

        def failing(dataset, sample_id, field, per_frame):
            if next(calls) == nth:
                write(dataset, sample_id, field, itertools.islice(per_frame, 2))
                raise KeyboardInterrupt
            write(dataset, sample_id, field, per_frame)

        monkeypatch.setattr(importing, "write_frame_labels", failing)

    return arrange


def test_a_sequence_becomes_a_video_sample_with_frame_labels(make_sequence, name, media_dir):
    root = make_sequence(images=True)
    result = import_mot(root, name, media_dir=media_dir)
    assert (result.added, result.kept, result.skipped, result.boxes) == (("walk",), (), {}, 8)
    dataset = fo.load_dataset(name)
    assert (dataset.media_type, dataset.persistent, len(dataset)) == ("video", True, 1)
    sample = dataset.first()
    assert sample.filepath == str(media_dir / "walk.mp4")
    assert (sample.sequence, sample.split, sample.frame_rate, sample.seq_length) == ("walk", "train", 10.0, 5)
    assert (sample.image_width, sample.image_height) == (39, 25)
    assert (sample.metadata.frame_width, sample.metadata.frame_height) == (40, 26)
    assert (sample.metadata.total_frame_count, sample.metadata.frame_rate) == (5, 10.0)
    assert sample.metadata.duration == 0.5
    assert sample.mot_complete is True
    assert len(sample.frames) == 5

    first = sample.frames[1]
    walker, distractor = first.ground_truth.detections
    np.testing.assert_allclose(np.array(walker.bounding_box) * [40, 26, 40, 26], [2, 3, 10.5, 8])
    assert (walker.label, walker.index, walker.class_id, walker.ignored) == ("pedestrian", 1, 1, False)
    assert (walker.visibility, walker.confidence) == (1.0, None)
    assert (distractor.label, distractor.ignored, distractor.class_id) == ("distractor", True, 8)
    assert [found.confidence for found in first.candidates.detections] == [12.5, -0.75]
    assert [found.index for found in first.candidates.detections] == [None, None]
    assert [found.label for found in first.candidates.detections] == ["pedestrian", "pedestrian"]
    again = sample.frames[2].ground_truth.detections[0]
    assert again.instance.id == walker.instance.id != distractor.instance.id
    assert sample.frames[3].ground_truth.detections == []


def test_everything_that_is_written_is_declared_so_that_the_sidebar_filters_it(make_sequence, name, media_dir):
    dataset = import_mot(make_sequence(), name, media_dir=media_dir).dataset
    for attribute in ("class_id", "visibility", "ignored", "index", "confidence", "label"):
        assert dataset.get_field(f"frames.ground_truth.detections.{attribute}") is not None
    before = dataset.get_frame_field_schema(flat=True)
    dataset.add_dynamic_frame_fields()
    assert dataset.get_frame_field_schema(flat=True).keys() - before.keys() <= {
        "ground_truth.detections.instance",
        "ground_truth.detections.instance.id",
    }


def test_filters_and_trajectories_of_fiftyone_work_on_what_was_imported(make_sequence, name, media_dir):
    dataset = import_mot(make_sequence(), name, media_dir=media_dir).dataset
    dataset.clear_cache()
    assert (
        dataset.filter_labels("frames.ground_truth", ~fo.ViewField("ignored")).count("frames.ground_truth.detections")
        == 3
    )
    assert sorted(dataset.to_trajectories("frames.ground_truth").values("support")) == [[1, 2], [1, 5]]
    assert dataset.bounds("frames.candidates.detections.confidence") == (-0.75, 12.5)


def test_images_become_samples_grouped_by_sequence_in_order(make_sequence, name):
    roots = [make_sequence("b", images=True), make_sequence("a", images=True)]
    dataset = import_mot(roots, name, media="images").dataset
    assert (dataset.media_type, len(dataset)) == ("image", 10)
    groups = dataset.load_saved_view("sequences")
    assert sorted(groups.values("sequence")) == ["a", "b"]
    frames = groups.get_dynamic_group("a")
    assert frames.values("frame_number") == [1, 2, 3, 4, 5]
    first = frames.first()
    assert first.filepath == str(roots[1] / "img1" / "000001.jpg")
    assert (first.metadata.width, first.metadata.height, first.metadata.mime_type) == (39, 25, "image/jpeg")
    np.testing.assert_allclose(
        np.array(first.ground_truth.detections[0].bounding_box) * [39, 25, 39, 25], [2, 3, 10.5, 8]
    )
    assert [found.confidence for found in first.candidates.detections] == [12.5, -0.75]
    assert frames.values("mot_complete") == [True] * 5
    assert dataset.count("ground_truth.detections") == 10


def test_images_are_asked_for_where_there_are_none(make_sequence, name):
    with pytest.raises(InputError, match="has no images; import it as video"):
        import_mot(make_sequence(), name, media="images")
    assert not fo.dataset_exists(name)


def test_another_file_of_detections_other_class_names_and_classes_of_candidates(make_sequence, name, media_dir):
    root = make_sequence(gt=None)
    (root / "det" / "det_b.txt").write_text("2,-1,1,1,5,5,0.5,14,1\n")
    with pytest.raises(InputError, match="class 14 is unknown"):
        import_mot(root, name, detections="det_b.txt", media_dir=media_dir)
    import_mot(root, name, detections="det_b.txt", media_dir=media_dir, class_names={14: "drone"})
    sample = fo.load_dataset(name).first()
    (box,) = sample.frames[2].candidates.detections
    assert (box.label, box.class_id, sample.mot_detections) == ("drone", 14, "det_b.txt")
    assert sample.frames[2].ground_truth is None


def test_without_detections_there_are_no_candidates(make_sequence, name, media_dir):
    dataset = import_mot(make_sequence(), name, detections="none", media_dir=media_dir).dataset
    assert dataset.count("frames.candidates.detections") == 0
    assert dataset.count("frames.ground_truth.detections") == 5


def test_a_bad_line_in_the_last_sequence_changes_nothing(make_sequence, name, media_dir):
    roots = [make_sequence("a"), make_sequence("b", gt="1,1,2,3\n")]
    with pytest.raises(InputError, match=r"b/gt/gt\.txt, line 1"):
        import_mot(roots, name, media_dir=media_dir)
    assert not fo.dataset_exists(name)
    assert not media_dir.exists()


def test_an_unreadable_image_changes_nothing(make_sequence, name, media_dir):
    root = make_sequence(images=True)
    (root / "img1" / "000002.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"000002\.jpg .*cannot be read"):
        import_mot(root, name, media_dir=media_dir)
    assert not fo.dataset_exists(name)


@pytest.mark.parametrize("media", ["video", "images"])
def test_a_truncated_image_names_its_sequence_and_leaves_no_dataset(make_sequence, name, media_dir, media):
    root = make_sequence(images=True)
    path = root / "img1" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"sequence walk, frame 2\): cannot be read"):
        import_mot(root, name, media=media, media_dir=media_dir)
    assert not fo.dataset_exists(name)


def test_bad_lines_can_be_left_out_and_are_counted_by_sequence(make_sequence, name, media_dir):
    roots = [make_sequence("a"), make_sequence("b", gt="1,1,2,3\n1,1,2,3,4,5,1\n", det="1,-1,2,3,0,5,1\n9,x\n")]
    result = import_mot(roots, name, skip_bad=True, media_dir=media_dir)
    assert result.skipped == {"b": {"too few columns": 1, "not a number": 1, "box without area": 1}}
    assert result.dataset.match({"sequence": "b"}).count("frames.ground_truth.detections") == 1


def test_missing_sequences_are_added_and_present_ones_refused(make_sequence, name, media_dir):
    first, second = make_sequence("a"), make_sequence("b")
    import_mot(first, name, media_dir=media_dir)
    with pytest.raises(InputError, match=f"dataset '{name}' has a already; replace what is there with --overwrite"):
        import_mot(first, name, media_dir=media_dir)
    result = import_mot([first, second], name, media_dir=media_dir)
    assert (result.added, result.kept) == (("b",), ("a",))
    assert result.dataset.values("sequence") == ["a", "b"]


def test_the_same_sequence_from_elsewhere_or_with_other_detections_is_refused(make_sequence, name, media_dir):
    root = make_sequence("a")
    import_mot(root, name, media_dir=media_dir)
    with pytest.raises(InputError, match="has the sequence 'a' already, from"):
        import_mot([root, make_sequence("b")], name, detections="none", media_dir=media_dir)
    with pytest.raises(InputError, match="has the sequence 'a' already, from"):
        import_mot(make_sequence("a", folder="test"), name, media_dir=media_dir)
    assert len(fo.load_dataset(name)) == 1


@pytest.mark.parametrize("media", ["video", "images"])
def test_overwrite_replaces_these_sequences_and_no_others(make_sequence, name, media_dir, media):
    first, second = make_sequence("a", images=True), make_sequence("b", images=True)
    import_mot([first, second], name, media=media, media_dir=media_dir)
    (first / "gt" / "gt.txt").write_text("1,1,2,3,4,5,1\n")
    before = fo.load_dataset(name).match({"sequence": "b"}).values("id")
    result = import_mot(first, name, media=media, overwrite=True, media_dir=media_dir)
    assert result.added == ("a",)
    dataset = fo.load_dataset(name)
    path = "frames.ground_truth.detections" if media == "video" else "ground_truth.detections"
    assert dataset.match({"sequence": "a"}).count(path) == 1
    assert dataset.match({"sequence": "b"}).values("id") == before
    assert len(dataset) == (2 if media == "video" else 10)


def test_a_dataset_of_other_media_or_of_others_samples_is_refused(make_sequence, name, media_dir):
    root = make_sequence(images=True)
    import_mot(root, name, media="images")
    with pytest.raises(InputError, match="holds media of the type 'image', not 'video'"):
        import_mot(root, name, media_dir=media_dir)
    fo.delete_dataset(name)
    dataset = fo.Dataset(name)
    dataset.add_sample(fo.Sample("walk.mp4", sequence="walk"))
    with pytest.raises(InputError, match="has a sequence 'walk' that import-mot did not make"):
        import_mot(root, name, overwrite=True, media_dir=media_dir)
    assert len(dataset) == 1


def test_a_dataset_that_is_there_keeps_what_it_has(make_sequence, name, media_dir):
    dataset = fo.Dataset(name)
    dataset.add_sample(fo.Sample("other.mp4"))
    import_mot(make_sequence(), name, media_dir=media_dir)
    dataset.reload()
    assert dataset.values("sequence") == [None, "walk"]
    assert not dataset.persistent


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_an_interruption_leaves_no_half_and_the_next_run_does_the_rest(
    make_sequence, name, media_dir, interrupt_at_call, monkeypatch, nth
):
    roots = [make_sequence("a"), make_sequence("b")]
    interrupt_at_call(nth)
    with pytest.raises(KeyboardInterrupt):
        import_mot(roots, name, media_dir=media_dir)
    finished = ["a"] if nth > 2 else []
    assert fo.dataset_exists(name) == bool(finished)
    if finished:
        assert fo.load_dataset(name).values("sequence") == finished
    monkeypatch.undo()
    result = import_mot(roots, name, media_dir=media_dir)
    assert list(result.kept) == finished
    dataset = fo.load_dataset(name)
    assert dataset.values("sequence") == ["a", "b"]
    assert dataset.count("frames.ground_truth.detections") == 10
    assert dataset.count("frames.candidates.detections") == 6


@pytest.mark.parametrize("media", ["video", "images"])
def test_a_sequence_that_a_killed_import_left_unfinished_is_done_again(make_sequence, name, media_dir, media):
    roots = [make_sequence("a", images=True), make_sequence("b", images=True)]
    dataset = import_mot(roots, name, media=media, media_dir=media_dir).dataset
    # What a process that was killed leaves: samples without the last mark, and of images perhaps not all.
    view = dataset.match({"sequence": "b"})
    view.set_values("mot_complete", [False] * len(view))
    if media == "images":
        dataset.delete_samples(dataset.match({"sequence": "a", "frame_number": 3}))
    result = import_mot(roots, name, media=media, media_dir=media_dir)
    assert result.added == (("b",) if media == "video" else ("a", "b"))
    assert dataset.values("mot_complete") == [True] * len(dataset)
    assert len(dataset) == (2 if media == "video" else 10)


def test_videos_go_beside_fiftyones_other_datasets_unless_told_otherwise(make_sequence, name):
    dataset = import_mot(make_sequence(), f"{name}", media_dir=None).dataset
    assert dataset.first().filepath == f"{fo.config.default_dataset_dir}/{name}/walk.mp4"


def test_progress_rises_from_sequence_to_sequence_to_1(make_sequence, name, media_dir):
    seen = []
    roots = [make_sequence("a", images=True), make_sequence("b")]
    import_mot(roots, name, media_dir=media_dir, progress=lambda share, what: seen.append((share, what)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert seen[-1] == (1.0, "done")
    assert {what for _, what in seen} >= {"a: video", "a: boxes", "b: boxes"}


def test_ground_truth_with_confidence_instead_of_a_flag_keeps_it(make_sequence, name, media_dir):
    dataset = import_mot(make_sequence(gt="1,1,2,3,4,5,0.5,1,1\n"), name, media_dir=media_dir).dataset
    assert dataset.values("frames.ground_truth.detections.confidence", unwind=True) == [0.5]


def test_missing_things_are_told_before_a_dataset_is_made(make_sequence, name, tmp_path):
    with pytest.raises(MissingError, match="no such folder"):
        import_mot(tmp_path / "nowhere", name)
    with pytest.raises(MissingError, match=r"det_x\.txt"):
        import_mot(make_sequence(), name, detections="det_x.txt")
    with pytest.raises(InputError, match="name is empty"):
        import_mot(tmp_path, " ")
    assert not fo.dataset_exists(name)
