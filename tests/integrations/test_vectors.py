"""Appearance vectors beside the database: described once, found again, and described anew where something changed."""

import os
import shutil

import cv2
import numpy as np
import pytest

from spam_plugin.integrations.fiftyone_ import embedding, vectors
from spam_plugin.integrations.fiftyone_.api import embed, label
from spam_plugin.integrations.fiftyone_.embedding import Describer, cut_crops, describe_videos
from spam_plugin.integrations.fiftyone_.vectors import VectorShelf
from spam_plugin.integrations.fiftyone_.videos import open_videos
from spam_plugin.models.errors import InputError, MissingError

QUIET = {"progress": False}


class Appearance:
    """Its vectors say where a box is and how bright the picture is there; it counts the boxes that it is shown."""

    dimensions = 6

    def __init__(self, version="one"):
        self.version = version
        self.shown = 0

    def describe(self, image, xyxy):
        self.shown += len(xyxy)
        return np.concatenate([xyxy, np.full((len(xyxy), 1), image.mean()), np.ones((len(xyxy), 1))], 1) / 100


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    folder = tmp_path / "vectors"
    monkeypatch.setenv("SPAM_PLUGIN_VECTORS", str(folder))
    return folder


def write_video(path, light=100):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (100, 50))
    for frame in range(4):
        writer.write(np.full((50, 100, 3), light + 10 * frame, np.uint8))
    writer.release()


@pytest.fixture
def film(video_dataset, world, tmp_path):
    dataset = video_dataset(a=world.frames())
    write_video(tmp_path / "a.mp4")
    sample = dataset.first()
    sample.filepath = str(tmp_path / "a.mp4")
    sample.save()
    return dataset


def run(dataset, appearance, **more):
    return describe_videos(dataset, "candidates", Describer(dataset, appearance), **more)


def no_decoding(monkeypatch):
    def refuse(*_):
        raise AssertionError("a video was decoded")

    monkeypatch.setattr(embedding, "video_frames", refuse)
    monkeypatch.setattr(embedding, "sequence_frames", refuse)


def test_a_second_time_nothing_is_decoded(film, monkeypatch):
    appearance = Appearance()
    assert run(film, appearance).new == {"a": 6}
    no_decoding(monkeypatch)
    report = run(film, appearance)
    assert (report.new, report.boxes, appearance.shown) == ({"a": 0}, {"a": 6}, 6)


def test_a_box_that_was_moved_is_described_alone(film):
    appearance = Appearance()
    run(film, appearance)
    sample = film.first()
    sample.frames[3].candidates.detections[1].bounding_box = [0.2, 0.2, 0.2, 0.2]
    sample.save()
    assert run(film, appearance).new == {"a": 1}
    assert appearance.shown == 7


def test_a_box_keeps_its_vector_whatever_else_of_it_changes(film):
    appearance = Appearance()
    run(film, appearance)
    sample = film.first()
    sample.frames[3].candidates.detections[1].label = "bicycle"
    sample.frames[3].candidates.detections.reverse()
    sample.save()
    assert run(film, appearance).new == {"a": 0}


def test_a_file_of_other_content_is_described_again_and_a_copy_is_not(film, tmp_path):
    appearance = Appearance()
    run(film, appearance)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    sample = film.first()
    sample.filepath = str(tmp_path / "b.mp4")
    sample.save()
    assert run(film, appearance).new == {"b": 0}
    write_video(tmp_path / "b.mp4", light=20)
    assert run(film, appearance).new == {"b": 6}


def test_another_version_has_vectors_of_its_own(film):
    run(film, Appearance())
    other = Appearance("two")
    assert run(film, other).new == {"a": 6}
    assert run(film, other).new == {"a": 0}


def test_images_that_changed_are_described_alone(image_dataset, world, tmp_path):
    dataset = image_dataset(a=world.frames())
    for sample in dataset:
        sample.filepath = str(tmp_path / f"{sample.frame_number}.png")
        cv2.imwrite(sample.filepath, np.full((50, 100, 3), 20 * sample.frame_number, np.uint8))
        sample.save()
    appearance = Appearance()
    assert run(dataset, appearance).new == {"a": 6}
    cv2.imwrite(str(tmp_path / "3.png"), np.full((50, 100, 3), 9, np.uint8))
    assert run(dataset, appearance).new == {"a": 2}


def test_what_was_interrupted_goes_on(film, monkeypatch):
    monkeypatch.setattr(embedding, "_BOXES_PER_WRITE", 1)

    class Killed(Appearance):
        def describe(self, image, xyxy):
            if self.shown == 4:
                raise KeyboardInterrupt
            return super().describe(image, xyxy)

    with pytest.raises(KeyboardInterrupt):
        run(film, Killed())
    assert run(film, Appearance()).new == {"a": 2}


def test_vectors_come_back_in_half_precision_in_the_order_of_the_boxes(film):
    run(film, Appearance())
    (video,) = open_videos(film)
    frame = np.array([3, 0, 0])
    box = np.array([[13.0, 10, 33, 30], [10, 10, 30, 30], [1, 2, 3, 4]])
    found = VectorShelf.open(film, "one").lookup(video, frame, box)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found[:2, :4], box[:2] / 100, atol=1e-3)
    assert np.isnan(found[2]).all()


def test_what_a_shelf_took_is_there_at_once_and_in_any_other_after_it_was_flushed(film):
    (video,) = open_videos(film)
    box = np.array([[1.0, 2, 3, 4], [5, 6, 7, 8], [np.nan, 1, 2, 3]])
    shelf, other = VectorShelf("v"), VectorShelf("v")
    assert shelf.missing(video, 2, box).all()
    shelf.add(video, 2, box, np.arange(6).reshape(3, 2))
    assert shelf.missing(video, 2, box).tolist() == [False, False, True]
    assert other.missing(video, 2, box).all()
    shelf.flush()
    assert VectorShelf("v").missing(video, 2, box).tolist() == [False, False, True]
    assert VectorShelf("v").missing(video, 1, box).all()
    assert shelf.lookup(video, 2, box)[:2].tolist() == [[0, 1], [2, 3]]
    assert VectorShelf("other").lookup(video, 2, box).shape == (3, 0)


def test_the_noise_of_arithmetic_does_not_change_a_box(film):
    (video,) = open_videos(film)
    rng = np.random.default_rng(0)
    box = np.round(rng.uniform(0, 2000, (500, 4)), 2)
    shelf = VectorShelf("v")
    shelf.add(video, 0, box, np.ones((500, 2)))
    assert not shelf.missing(video, 0, box / 1920 * 1920 + 1e-9).any()
    assert shelf.missing(video, 0, box + 0.2).all()


def test_many_small_files_are_put_together_and_nothing_is_lost(film, root):
    (video,) = open_videos(film)
    shelf = VectorShelf("v")
    for number in range(40):
        shelf.add(video, number, np.array([[0.0, 0, number + 1, 5]]), np.full((1, 3), number))
        shelf.flush()
    assert len(list(root.rglob("*.safetensors"))) <= 17
    boxes = np.array([[0.0, 0, number + 1, 5] for number in range(40)])
    found = VectorShelf("v").lookup(video, np.arange(40), boxes)
    assert found[:, 0].tolist() == list(range(40))


def test_a_damaged_file_is_described_again(film, root):
    run(film, Appearance())
    for file in root.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-8])
    assert run(film, Appearance()).new == {"a": 6}
    assert run(film, Appearance()).new == {"a": 0}


def test_a_full_disk_is_told_and_what_was_there_stays(film, root, monkeypatch):
    run(film, Appearance())

    def full(*_):
        raise OSError(28, "No space left on device")

    (video,) = open_videos(film)
    shelf = VectorShelf("one")
    shelf.add(video, 1, np.array([[0.0, 0, 5, 5]]), np.ones((1, 6)))
    with monkeypatch.context() as patch:
        patch.setattr(vectors, "save_file", full)
        with pytest.raises(InputError, match="make room"):
            shelf.flush()
    assert not list(root.rglob("*.tmp"))
    shelf.flush()
    assert run(film, Appearance()).new == {"a": 0}


def test_tidying_removes_what_nobody_used(film, root):
    run(film, Appearance())
    assert vectors.tidy(1)[0] == 0
    (place,) = root.glob("*/*/")
    os.utime(place, (0, 0))
    removed, less = vectors.tidy(30)
    assert removed == 1
    assert less > 0
    assert not list(root.rglob("*.safetensors"))
    assert vectors.tidy(0, root / "nothing") == (0, 0)


def test_labels_use_an_appearance_by_its_name_and_make_what_is_missing(film, world, monkeypatch):
    model = world.Model()
    label(film, embeddings="colour", model=model, **QUIET)
    assert model.dimensions == 132
    no_decoding(monkeypatch)
    label(film, embeddings="colour", model=model, **QUIET)
    assert embed(film, appearance="colour", **QUIET).new == {"a": 0}


def test_the_default_appearance_labels_without_anything_being_stored_in_the_boxes(film, world):
    model = world.Model()
    label(film, embeddings="default", model=model, **QUIET)
    assert model.dimensions == 96
    assert film.get_field("frames.candidates.detections.default") is None
    run_key = film.list_runs()[-1]
    assert "default (appearance-" in str(film.get_run_info(run_key).config.serialize())


def test_labels_are_made_anew_when_the_picture_changes(film, world, tmp_path):
    from spam_plugin.integrations.fiftyone_.store import FiftyOneStore

    key = film.first().id
    before = FiftyOneStore(film, "candidates", "out", "colour").read(key, False).fingerprint
    assert FiftyOneStore(film, "candidates", "out", "colour").read(key, False).fingerprint == before
    write_video(tmp_path / "a.mp4", light=200)
    assert FiftyOneStore(film, "candidates", "out", "colour").read(key, False).fingerprint != before


def test_an_attribute_goes_before_an_appearance_of_its_name(film, world):
    embed(film, out="colour", **QUIET)
    film.first()
    model = world.Model()
    label(film, embeddings="colour", model=model, **QUIET)
    assert not any(VectorShelf("colour-1").folder.parent.glob("colour*"))


def test_an_appearance_may_go_into_an_attribute(film):
    report = embed(film, appearance="default", out="look", **QUIET)
    assert report.boxes == {"a": 6}
    assert np.array(film.values("frames.candidates.detections.look", unwind=True)[0]).shape == (96,)


def test_names_that_are_neither_attribute_nor_appearance_are_told(film, world, tmp_path):
    with pytest.raises(MissingError, match=r"no attribute 'nothing'.*or name an appearance"):
        label(film, embeddings="nothing", model=world.Model(), **QUIET)
    with pytest.raises(MissingError, match="no such file"):
        label(film, embeddings=str(tmp_path / "a.safetensors"), model=world.Model(), **QUIET)


def test_boxes_without_a_place_are_named_or_left_out(film):
    sample = film.first()
    sample.frames[3].candidates.detections[1].bounding_box = [0.1, 0.1, 0, 0.2]
    sample.save()
    with pytest.raises(InputError, match=r"frame 3, .*no area"):
        run(film, Appearance())
    report = run(film, Appearance(), skip_bad=True)
    assert (report.boxes, sum(report.left_out.values())) == ({"a": 5}, 1)


def test_videos_that_are_gone_are_named_or_left_out(film, tmp_path):
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(InputError, match=r"'a'.*No such file"):
        run(film, Appearance())
    assert list(run(film, Appearance(), skip_bad=True).skipped) == ["a"]


def test_crops_are_cut_in_the_order_of_the_boxes(film):
    (video,) = open_videos(film)
    frame, box = np.array([3, 0, 3]), np.array([[0.0, 0, 20, 40], [10, 10, 30, 50], [50, 5, 90, 45]])
    crops = cut_crops(video, frame, box, (100, 50))
    assert crops.shape == (3, 96, 48, 3)
    means = crops.mean((1, 2, 3))
    assert abs(means[0] - means[2]) < 2 < means[0] - means[1]


def test_a_detector_may_show_its_boxes_while_they_are_in_memory(film, monkeypatch):
    appearance = Appearance()
    describer = Describer(film, appearance)
    (video,) = open_videos(film)
    for frame in (0, 2, 3):
        image = np.full((50, 100, 3), 100, np.uint8)
        box = np.array([[10.0 + frame, 10, 30 + frame, 30], [60, 20 + frame, 70, 40 + frame]])
        describer.see(video, frame, image, box)
    describer.flush()
    no_decoding(monkeypatch)
    assert run(film, Appearance()).new == {"a": 0}
