"""Tracks before and after a round: what is kept, and the dataset that shows both."""

from __future__ import annotations

import cv2
import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.integrations.fiftyone_ import api, comparing, doubling
from spam_plugin.integrations.fiftyone_.choices import Choices
from spam_plugin.integrations.fiftyone_.comparing import compare, has_before, keep_before
from spam_plugin.integrations.fiftyone_.raw import change_labels
from spam_plugin.integrations.fiftyone_.videos import open_videos
from spam_plugin.models.errors import InputError, MissingError

OUT, KEPT = "spam_tracks", "spam_tracks_before"
COLOURS = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)]  # of the frames, as OpenCV has them


@pytest.fixture
def media(tmp_path, monkeypatch):
    """A folder for videos, in which FiftyOne keeps its own, too."""
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path / "datasets"))
    return tmp_path


@pytest.fixture
def videos(video_dataset, world, media):
    """A function that makes a dataset of labelled videos, each of four frames of one colour."""

    def make(*names):
        dataset = video_dataset(**{name: world.frames() for name in names})
        for sample in dataset:
            sample.filepath = str(media / sample.filename)
            writer = cv2.VideoWriter(
                sample.filepath, cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (world.width, world.height)
            )
            for colour in COLOURS:
                writer.write(np.full((world.height, world.width, 3), colour, np.uint8))
            writer.release()
            sample.save()
        api.label(dataset, model=world.Model(), progress=False)
        made.append(f"{dataset.name} before and after")
        return dataset

    made = []
    yield make
    for name in made:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


@pytest.fixture
def sequences(image_dataset, world, media):
    """Two labelled image sequences."""
    dataset = image_dataset(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), progress=False)
    yield dataset
    if fo.dataset_exists(f"{dataset.name} before and after"):
        fo.delete_dataset(f"{dataset.name} before and after")


def raw_boxes(dataset, field):
    collection = dataset._frame_collection if dataset.media_type == "video" else dataset._sample_collection
    return [one.get(field) for one in collection.find().sort("_id")]


def move(dataset, sample, frames, by=0.02):
    """Moves all boxes of some frames."""

    def moved(at, boxes):
        for box in boxes:
            box["bounding_box"][0] += by
        return boxes

    change_labels(dataset, OUT, [(sample.id, frame) for frame in frames], moved)


# --- keeping


def test_tracks_are_kept_as_they_were(videos):
    dataset = videos("a", "b")
    before = raw_boxes(dataset, OUT)
    assert keep_before(dataset, OUT) == 2
    move(dataset, dataset.first(), [1, 3])
    assert raw_boxes(dataset, KEPT) == before
    assert raw_boxes(dataset, OUT) != before
    box = dataset.first().frames[1][KEPT].detections[0]
    assert (box.source, box.keyframe, box.index) == ("model", True, 1)
    assert has_before(dataset, OUT)


def test_tracks_of_sequences_are_kept_as_they_were(sequences):
    before = raw_boxes(sequences, OUT)
    assert keep_before(sequences, OUT) == 8
    assert raw_boxes(sequences, KEPT) == before


def test_only_the_videos_that_are_labelled_again_are_kept_anew(videos):
    dataset = videos("a", "b")
    keep_before(dataset, OUT)
    first = raw_boxes(dataset, KEPT)
    move(dataset, dataset.first(), [1])
    move(dataset, dataset.last(), [1])
    assert keep_before(dataset, OUT, dataset.skip(1)) == 1
    here = [frame[KEPT] for frame in dataset.first().frames.values() if frame[KEPT]]
    assert here[0].detections[0].bounding_box == first[0]["detections"][0]["bounding_box"]
    there = dataset.last().frames[1]
    assert there[KEPT].detections[0].bounding_box == there[OUT].detections[0].bounding_box


def test_attributes_of_a_users_own_are_kept_and_declared(videos):
    dataset = videos("a")
    dataset.add_frame_field(f"{OUT}.detections.occluded", fo.BooleanField)
    change_labels(
        dataset, OUT, [(dataset.first().id, 1)], lambda at, boxes: [{**box, "occluded": True} for box in boxes]
    )
    keep_before(dataset, OUT)
    assert dataset.count_values(f"frames.{KEPT}.detections.occluded") == {True: 2, None: 4}
    dataset.add_frame_field(f"{OUT}.detections.blurred", fo.BooleanField)
    keep_before(dataset, OUT)
    assert dataset.get_field(f"frames.{KEPT}.detections.blurred") is not None


def test_samples_in_memory_see_what_was_kept(videos):
    dataset = videos("a")
    frame = dataset.first().frames[1]
    keep_before(dataset, OUT)
    assert len(frame[KEPT].detections) == 2


def test_what_was_kept_is_neither_tracks_nor_candidates(videos):
    dataset = videos("a")
    keep_before(dataset, OUT)
    choices = Choices(dataset)
    assert (choices.track_fields, choices.candidate_fields) == ([OUT], ["candidates"])


def test_before_anything_is_labelled_nothing_is_kept(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    assert keep_before(dataset, OUT) == 0
    assert dataset.get_field(f"frames.{KEPT}") is None


def test_a_users_own_field_of_the_name_is_left_alone(videos):
    dataset = videos("a")
    dataset.add_frame_field(KEPT, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    with pytest.raises(InputError, match="rename or delete"):
        keep_before(dataset, OUT)
    assert not has_before(dataset, OUT)


# --- comparing


def test_without_tracks_that_were_kept_nothing_can_be_compared(videos):
    with pytest.raises(MissingError, match="nothing to compare"):
        compare(videos("a"), OUT)


def test_where_nothing_has_changed_it_says_so(videos):
    dataset = videos("a", "b")
    keep_before(dataset, OUT)
    made = compare(dataset, OUT)
    assert made.dataset is None
    assert made.said == "nothing has changed in 2 videos whose tracks were kept"


def test_the_videos_that_changed_most_come_first_and_the_unchanged_not_at_all(videos):
    dataset = videos("a", "b", "c")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    move(dataset, dataset.last(), [1, 3])
    told = []
    made = compare(dataset, OUT, lambda share, what: told.append(share))
    assert told == sorted(told)
    shown = fo.load_dataset(made.dataset)
    assert made.dataset == f"{dataset.name} before and after"
    assert not shown.persistent
    assert shown.values(["video", "changed_boxes", "boxes_before"]) == (["c", "a"], [4, 2], [6, 6])
    assert made.said.startswith("2 of 2 changed videos")


def test_before_is_on_the_left_and_after_on_the_right(videos):
    dataset = videos("a")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    (shown,) = fo.load_dataset(compare(dataset, OUT).dataset)
    source = dataset.first()
    for number in (1, 3, 4):
        frame = shown.frames[number]
        for field, kept, half in (("before", KEPT, 0.0), ("after", OUT, 0.5)):
            for box, original in zip(frame[field].detections, source.frames[number][kept].detections, strict=True):
                left, top, width, height = original.bounding_box
                assert box.bounding_box == pytest.approx([half + left / 2, top, width / 2, height])
                assert (box.label, box.index, box.confidence) == (original.label, original.index, original.confidence)
                assert box.change == ("moved" if number == 1 else "unchanged")
        before, after = ([box.instance.id for box in frame[field].detections] for field in ("before", "after"))
        assert before == after  # the same colours


def test_a_box_beyond_the_picture_does_not_reach_into_the_other_half():
    assert comparing._in_half([0.75, 0.0, 0.5, 1.0], False) == [0.375, 0.0, 0.125, 1.0]
    assert comparing._in_half([-0.25, 0.0, 0.5, 1.0], True) == [0.5, 0.0, 0.125, 1.0]


def test_both_halves_show_the_same_picture(videos, world):
    dataset = videos("a")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    (shown,) = fo.load_dataset(compare(dataset, OUT).dataset)
    assert (shown.metadata.frame_width, shown.metadata.frame_height) == (2 * world.width, world.height)
    assert shown.metadata.total_frame_count == 4
    assert_pictures(shown.filepath, COLOURS, 2 * world.width)


def assert_pictures(path, colours, width):
    reader = cv2.VideoCapture(path)
    for colour in colours:
        read, image = reader.read()
        assert read
        assert image.shape[1] == width
        for half in (image[:, : width // 2 - 2], image[:, width // 2 + 2 :]):
            assert np.abs(half.reshape(-1, 3).mean(0) - colour).max() < 40
    assert not reader.read()[0]


def test_sequences_become_videos(sequences, world):
    keep_before(sequences, OUT)
    b = sequences.match((fo.ViewField("sequence") == "b") & (fo.ViewField("frame_number") == 3)).first()
    move(sequences, b, [None])
    (shown,) = fo.load_dataset(compare(sequences, OUT).dataset)
    assert (shown.video, shown.changed_boxes) == ("b", 2)
    assert_pictures(shown.filepath, [(128, 128, 128)] * 4, 2 * world.width)
    assert [box.change for box in shown.frames[3].after.detections] == ["moved", "moved"]
    assert [len(shown.frames[number].before.detections) for number in (1, 3, 4)] == [2, 2, 2]


def test_a_comparison_replaces_the_last_one_and_its_videos(videos, media):
    dataset = videos("a", "b")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    first = fo.load_dataset(compare(dataset, OUT).dataset).first().filepath
    keep_before(dataset, OUT)
    move(dataset, dataset.last(), [1])
    shown = fo.load_dataset(compare(dataset, OUT).dataset)
    assert shown.values("video") == ["b"]
    (folder,) = (media / "datasets").iterdir()
    assert [str(file) for file in folder.iterdir()] == shown.values("filepath") != [first]


def test_a_picture_is_not_made_again(videos, monkeypatch):
    dataset = videos("a")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    compare(dataset, OUT)
    monkeypatch.setattr(doubling, "_run", lambda *args: pytest.fail("made again"))
    compare(dataset, OUT)


def test_a_users_own_dataset_of_the_name_is_left_alone(videos):
    dataset = videos("a")
    keep_before(dataset, OUT)
    own = fo.Dataset(f"{dataset.name} before and after")
    with pytest.raises(InputError, match="not ours"):
        compare(dataset, OUT)
    assert fo.dataset_exists(own.name)


def test_a_file_that_is_gone_leaves_the_last_comparison_as_it_is(videos, media):
    dataset = videos("a")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    name = compare(dataset, OUT).dataset
    datasets = set(fo.list_datasets())
    (media / "a.mp4").unlink()
    with pytest.raises(InputError, match=r"a\.mp4.*replace the file"):
        compare(dataset, OUT)
    assert set(fo.list_datasets()) == datasets
    assert len(fo.load_dataset(name)) == 1


def test_a_file_that_is_no_video_is_named_and_nothing_stays_behind(videos, media):
    dataset = videos("a")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    (media / "a.mp4").write_text("nonsense")
    with pytest.raises(InputError, match=r"'a'.*ffmpeg failed"):
        compare(dataset, OUT)
    assert not fo.dataset_exists(f"{dataset.name} before and after")
    assert not list((media / "datasets").rglob("*.mp4"))


def test_without_ffmpeg_it_says_what_to_install(videos, media, monkeypatch):
    monkeypatch.setattr(doubling.shutil, "which", lambda name: None)
    with pytest.raises(MissingError, match="install"):
        doubling.double(open_videos(videos("a"))[0], media / "made")


@pytest.mark.parametrize("limit", ["MOST_VIDEOS", "MOST_FRAMES"])
def test_no_more_are_shown_than_can_be_looked_at(videos, monkeypatch, limit):
    dataset = videos("a", "b")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    move(dataset, dataset.last(), [1, 3])
    monkeypatch.setattr(comparing, limit, {"MOST_VIDEOS": 1, "MOST_FRAMES": 4}[limit])
    made = compare(dataset, OUT)
    assert made.said.startswith("1 of 2 changed videos")
    assert fo.load_dataset(made.dataset).values("video") == ["b"]


def test_of_very_many_videos_only_the_first_are_compared(videos, monkeypatch):
    dataset = videos("a", "b")
    keep_before(dataset, OUT)
    move(dataset, dataset.first(), [1])
    move(dataset, dataset.last(), [1])
    monkeypatch.setattr(comparing, "MOST_COMPARED", 5)
    assert "only the first 1 of 2 videos were compared" in compare(dataset, OUT).said
