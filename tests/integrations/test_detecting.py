import subprocess

import cv2
import fiftyone as fo
import numpy as np
import pytest
from stored import stored

from spam_plugin.engine.desk.ports import DeskError
from spam_plugin.integrations.fiftyone_ import detecting, frames
from spam_plugin.integrations.fiftyone_.detect_runs import DetectRuns
from spam_plugin.integrations.fiftyone_.detecting import detect
from spam_plugin.models.detector.detector import Detections
from spam_plugin.models.errors import InputError, MissingError

WIDTH, HEIGHT, LENGTH = 96, 64, 150


def picture(frame):
    """A grey image with a white thing that moves."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[20:44, 4 + frame // 2 : 20 + frame // 2] = 255
    return image


class Bright:
    """Finds what is white: one box an image, of a score that falls along it. Interrupts itself at call ``stop``."""

    def __init__(self, version="bright-1", stop=None):
        self.version, self.classes, self.stop = version, ("person", "car"), stop
        self.seen, self.calls = 0, 0

    def detect(self, images):
        if self.calls == self.stop:
            raise KeyboardInterrupt
        self.calls += 1
        self.seen += len(images)
        boxes = []
        for image in images:
            y, x = np.nonzero(image[..., 0] > 180)
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        count = len(images)
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(np.arange(count), xyxy, (1 - xyxy[:, 0] / 100).astype(np.float32), np.zeros(count, np.int64))


class Eye:
    """Remembers the boxes that it was shown."""

    def __init__(self):
        self.boxes, self.flushed = {}, 0

    def see(self, video, frame, image, xyxy):
        assert image.shape == (HEIGHT, WIDTH, 3)
        self.boxes[frame] = xyxy

    def flush(self):
        self.flushed = len(self.boxes)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    for frame in range(LENGTH):
        cv2.imwrite(str(folder / f"{frame}.png"), picture(frame))
    path = folder / "film.mp4"
    command = ["ffmpeg", "-v", "error", "-i", str(folder / "%d.png"), "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, "-qp", "10", str(path)], check=True)
    return path


@pytest.fixture
def videos(new_dataset, film, tmp_path):
    """A function that makes a dataset of copies of the film."""

    def make(*names):
        dataset = new_dataset()
        for name in names:
            copy = tmp_path / f"{name}.mp4"
            copy.write_bytes(film.read_bytes())
            dataset.add_sample(fo.Sample(str(copy), sequence=name))
        return dataset

    return make


@pytest.fixture
def images(new_dataset, tmp_path):
    """Three of the pictures as a sequence of images, numbered from 1, that lacks one."""
    dataset = new_dataset()
    for frame in (3, 0, 1):
        path = tmp_path / f"{frame}.png"
        cv2.imwrite(str(path), picture(frame))
        dataset.add_sample(fo.Sample(str(path), sequence="a", frame_number=frame + 1, frame_rate=10.0))
    return dataset


def everything(dataset, field="candidates"):
    """(video, frame) -> raw boxes, without what differs between datasets."""
    found = {}
    for frame in dataset._frame_collection.find({field: {"$ne": None}}):
        boxes = frame[field]["detections"]
        name = dataset[str(frame["_sample_id"])].sequence
        found[name, frame["frame_number"]] = [(b["label"], b["bounding_box"], b["confidence"], b["_id"]) for b in boxes]
    return found


def test_every_frame_of_a_video_gets_the_detectors_boxes(videos):
    dataset = videos("a")
    report = detect(dataset, Bright())
    assert report.videos["a"]["frames"] == report.videos["a"]["boxes"] == report.boxes == LENGTH
    found = stored(dataset, "candidates")
    assert sorted(found) == list(range(LENGTH))
    x, y, wide, tall = found[100][0]["bounding_box"]
    assert np.allclose([x * WIDTH, y * HEIGHT, wide * WIDTH, tall * HEIGHT], [54, 20, 16, 24], atol=1.5)
    assert found[100][0]["label"] == "person"
    assert 0.4 < found[100][0]["confidence"] < 0.5
    (read,) = dataset.first().frames[101].candidates.detections
    assert read.label == "person"
    info = dataset.get_field("frames.candidates").info
    assert info["detector"] == "bright-1"
    assert dataset.get_run_info(info["run"]).config.detector == "bright-1"
    assert dataset.load_run_results(report.run).report["videos"]["a"]["boxes"] == LENGTH


def test_images_of_a_sequence_get_them_too(images):
    report = detect(images.group_by("sequence", order_by="frame_number"), Bright())
    assert report.videos["a"]["frames"] == 3
    assert {frame: len(boxes) for frame, boxes in stored(images, "candidates").items()} == {0: 1, 1: 1, 3: 1}


def test_each_frame_is_decoded_once_for_the_detector_and_for_who_looks_at_the_boxes(videos, monkeypatch):
    dataset, decoded, real = videos("a"), [], cv2.VideoCapture

    class Counting:
        def __init__(self, path):
            self.capture = real(path)

        def read(self):
            decoded.append("read")
            return self.capture.read()

        def grab(self):
            decoded.append("grab")
            return self.capture.grab()

        def release(self):
            self.capture.release()

    monkeypatch.setattr(frames.cv2, "VideoCapture", Counting)
    eye = Eye()
    detect(dataset, Bright(), appearance=eye)
    assert decoded == ["read"] * LENGTH
    assert sorted(eye.boxes) == list(range(LENGTH))
    assert eye.flushed == LENGTH
    assert eye.boxes[100].shape == (1, 4)
    assert abs(eye.boxes[100][0, 0] - 54) < 2


def test_an_interrupted_run_goes_on_and_ends_as_an_undisturbed_one(videos):
    whole = videos("a", "b")
    detect(whole, Bright())
    dataset = videos("a", "b")
    with pytest.raises(KeyboardInterrupt):
        detect(dataset, Bright(stop=15))  # 10 groups of 16 frames in each video
    again = Bright()
    report = detect(dataset, again)
    assert report.before == 1
    assert report.videos["b"]["boxes"] == LENGTH
    assert again.seen == LENGTH - 64  # what had been written of the second is not done again
    ours, theirs = everything(dataset), everything(whole)
    assert [[box[:3] for box in boxes] for boxes in ours.values()] == [
        [box[:3] for box in boxes] for boxes in theirs.values()
    ]


def test_boxes_have_the_same_ids_whether_or_not_the_run_was_interrupted(videos):
    dataset = videos("a")
    detect(dataset, Bright())
    before = everything(dataset)
    with pytest.raises(KeyboardInterrupt):
        detect(dataset, Bright(stop=6), again=True)
    detect(dataset, Bright())
    assert everything(dataset) == before


def test_a_finished_run_is_not_done_again_but_for_new_or_changed_videos_or_on_demand(videos, film, tmp_path):
    dataset = videos("a")
    detect(dataset, Bright())
    idle = Bright()
    report = detect(dataset, idle)
    assert (report.before, report.videos, idle.seen) == (1, {}, 0)
    more = tmp_path / "more.mp4"
    more.write_bytes(film.read_bytes())
    dataset.add_sample(fo.Sample(str(more), sequence="more"))
    assert list(detect(dataset, Bright()).videos) == ["more"]
    more.write_bytes(film.read_bytes())
    assert list(detect(dataset, Bright()).videos) == ["more"]
    assert list(detect(dataset, Bright(), again=True).videos) == ["a", "more"]


def test_another_detector_or_setting_replaces_the_boxes(videos):
    dataset = videos("a")
    first = detect(dataset, Bright())
    second = detect(dataset, Bright("bright-2"))
    third = detect(dataset, Bright("bright-2"), settings={"least_score": 0.5})
    assert len({first.run, second.run, third.run}) == 3
    assert third.boxes == LENGTH
    assert dataset.get_field("frames.candidates").info["configuration"]["settings"] == {"least_score": 0.5}


def test_one_field_never_holds_boxes_of_two_configurations(videos):
    dataset = videos("a", "b")
    detect(dataset, Bright())
    view = dataset.match({"sequence": "a"})
    with pytest.raises(InputError, match="'bright-1' with other settings in 1 videos"):
        detect(view, Bright("bright-2"))
    assert list(detect(view, Bright("bright-2"), "others").videos) == ["a"]


def test_a_field_of_somebody_elses_is_not_overwritten(labelled, video_dataset, world):
    dataset = video_dataset(a=world.frames())
    for data, name in ((dataset, "candidates"), (labelled, "spam_tracks")):
        before = stored(data, name)
        with pytest.raises(InputError, match=r"not written by a detector.*name another"):
            detect(data, Bright(), name)
        assert stored(data, name) == before
    with pytest.raises(InputError, match="cannot be the name of a field"):
        detect(dataset, Bright(), "two words")


def test_a_field_that_was_deleted_is_detected_anew(videos):
    dataset = videos("a")
    detect(dataset, Bright())
    dataset.delete_frame_field("candidates")
    assert detect(dataset, Bright()).boxes == LENGTH
    assert len(stored(dataset, "candidates")) == LENGTH


def test_two_processes_do_not_detect_into_one_field(videos):
    dataset = videos("a")
    with DetectRuns(dataset, "frames.", "candidates").hold(), pytest.raises(DeskError, match="works on field"):
        detect(dataset, Bright())


def test_a_truncated_video_is_named_or_left_out(videos, film):
    dataset = videos("a", "b")
    path = dataset.match({"sequence": "a"}).first().filepath
    dataset.compute_metadata()
    with open(path, "r+b") as file:
        file.truncate(len(film.read_bytes()) // 2)
    with pytest.raises(InputError, match="'a'"):
        detect(dataset, Bright())
    report = detect(dataset, Bright(), skip_bad=True)
    assert list(report.skipped) == ["a"]
    assert list(report.videos) == ["b"]


def test_an_image_that_cannot_be_read_is_named(images):
    path = images.match({"frame_number": 2}).first().filepath
    images.compute_metadata()
    with open(path, "wb") as file:
        file.write(b"no image")
    with pytest.raises(InputError, match=r"frame 2.*cannot be read"):
        detect(images, Bright())


def test_boxes_without_area_or_outside_the_image_are_not_written(videos, monkeypatch):
    class Careless(Bright):
        def detect(self, images):
            boxes = [[10, 10, 10, 20], [-30, 5, -2, 9], [0, 70, 9, 80], [np.nan, 0, 5, 5], [-5, 5, 40, 90]]
            frame = np.repeat(np.arange(len(images)), len(boxes))
            xyxy = np.tile(np.array(boxes, np.float32), (len(images), 1))
            return Detections(frame, xyxy, np.full(len(frame), 0.5, np.float32), np.zeros(len(frame), np.int64))

    dataset = videos("a")
    assert detect(dataset, Careless()).boxes == LENGTH
    assert stored(dataset, "candidates")[0][0]["bounding_box"][0] == pytest.approx(-5 / WIDTH)


@pytest.fixture
def half_known(videos):
    """A film of which a user has boxes in half of the frames, with scores on a scale of their own."""
    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels

    dataset = videos("a")
    declare_detections(dataset, "frames.mine")
    wide = {
        frame + 1: [detection_dict("person", [(4 + frame // 2) / WIDTH, 20 / HEIGHT, 16 / WIDTH, 24 / HEIGHT],
                                   confidence=100.0 - frame / 2)]
        for frame in range(0, LENGTH, 2)
    }  # fmt: skip
    write_frame_labels(dataset, dataset.first().id, "mine", wide)
    return dataset


def test_boxes_are_added_to_those_of_a_user_only_where_these_cover_none(half_known):
    mine = stored(half_known, "mine")
    report = detect(half_known, Bright(), "both", add_to="mine")
    assert report.boxes == LENGTH
    assert stored(half_known, "mine") == mine
    both = stored(half_known, "both")
    assert [box["detector"] for frame in range(4) for box in both[frame]] == ["mine", "bright-1"] * 2
    assert both[0][0]["bounding_box"] == mine[0][0]["bounding_box"]
    assert both[0][0]["confidence"] == mine[0][0]["confidence"]
    assert both[0][0]["_id"] != mine[0][0]["_id"]
    # The detector's scores have been read on the user's scale, by what both have found.
    assert [both[frame][0]["confidence"] for frame in (1, 75, 149)] == pytest.approx([99.5, 62.5, 25.5], abs=2)
    assert half_known.get_field("frames.both.detections.detector") is not None


def test_a_run_that_adds_boxes_follows_the_users_boxes_and_survives_interruptions(half_known, monkeypatch):
    detect(half_known, Bright(), "both", add_to="mine")
    done = everything(half_known, "both")
    assert detect(half_known, Bright(), "both", add_to="mine").before == 1

    def broken(*arguments):
        combine(*arguments)
        raise KeyboardInterrupt

    combine = detecting.combine
    monkeypatch.setattr(detecting, "combine", broken)
    with pytest.raises(KeyboardInterrupt):
        detect(half_known, Bright(), "both", add_to="mine", again=True)
    monkeypatch.setattr(detecting, "combine", combine)
    detect(half_known, Bright(), "both", add_to="mine")
    assert everything(half_known, "both") == done
    sample = half_known.first()
    sample.frames[1]["mine"] = fo.Detections()
    sample.save()
    assert detect(half_known, Bright(), "both", add_to="mine").boxes == LENGTH
    assert stored(half_known, "both")[0][0]["detector"] == "bright-1"


def test_who_looks_at_boxes_sees_those_of_both_origins(half_known):
    eye = Eye()
    detect(half_known, Bright(), "both", appearance=eye, add_to="mine")
    assert [len(eye.boxes[frame]) for frame in range(4)] == [2, 1, 2, 1]


def test_boxes_cannot_be_added_in_place_or_to_what_is_not_there(half_known):
    with pytest.raises(InputError, match="name a new field"):
        detect(half_known, Bright(), "mine", add_to="mine")
    with pytest.raises(MissingError, match="no field"):
        detect(half_known, Bright(), "both", add_to="theirs")


def test_labels_and_answers_stay_as_they_are(videos):
    from spam_plugin.integrations.fiftyone_.answers import AnswerBook
    from spam_plugin.integrations.fiftyone_.api import answer, label

    dataset = videos("a")
    detect(dataset, Bright())
    label(dataset, progress=False)
    key = dataset.first().id
    answer(dataset, [about(dataset, key)])
    tracks = stored(dataset, "spam_tracks")
    detect(dataset, Bright("bright-2"))
    assert stored(dataset, "spam_tracks") == tracks
    assert len(AnswerBook(dataset, "spam_tracks").of(key)) == 1


def about(dataset, key):
    from spam_plugin.engine.answers import Answer

    (box,) = stored(dataset, "candidates")[10]
    x, y, wide, tall = box["bounding_box"]
    xyxy = [x * WIDTH, y * HEIGHT, (x + wide) * WIDTH, (y + tall) * HEIGHT]
    return Answer.from_dict(
        {"video": key, "verdict": "valid", "boxes": [{"frame": 10, "xyxy": xyxy}], "source": "anna"}
    )


def test_a_thread_that_decodes_ahead_gives_its_error_in_its_place_and_ends_when_nobody_listens():
    def numbers():
        yield from range(3)
        raise InputError("no more")

    stream = frames.ahead(numbers, 2)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="no more"):
        next(stream)
    closed = []

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    stream = frames.ahead(endless, 2)
    next(stream)
    stream.close()
    assert closed == [True]


def test_labelling_with_a_detector_and_an_appearance_decodes_each_frame_once(videos, monkeypatch, world, tmp_path):
    from spam_plugin.integrations.fiftyone_.api import label

    monkeypatch.setenv("SPAM_PLUGIN_VECTORS", str(tmp_path / "vectors"))
    dataset, decoded, real = videos("a"), [], cv2.VideoCapture

    class Counting:  # by composition: collecting a subclass of OpenCV's own type crashes Python
        def __init__(self, path):
            self._own, self.release = (own := real(path)), own.release

        def read(self):
            decoded.append("read")
            return self._own.read()

        def grab(self):
            decoded.append("grab")
            return self._own.grab()

    monkeypatch.setattr(frames.cv2, "VideoCapture", Counting)
    model, detector = world.Model(), Bright()
    report = label(dataset, detector=detector, embeddings="colour", model=model, progress=False)
    assert decoded == ["read"] * LENGTH
    assert model.dimensions
    assert report.videos[0].candidates == LENGTH
    label(dataset, detector=detector, embeddings="colour", model=model, progress=False)
    assert decoded == ["read"] * LENGTH


def test_what_would_stop_the_labelling_stops_it_before_the_detector_runs(labelled):
    from spam_plugin.integrations.fiftyone_.api import label

    idle = Bright()
    with pytest.raises(InputError, match="no attribute 'embedding'"):
        label(labelled, "found", detector=idle, embeddings="embedding", progress=False)
    with pytest.raises(InputError, match="was not made by labelling"):
        label(labelled, "found", detector=idle, out="candidates", progress=False)
    with pytest.raises(InputError, match="tracks cannot go to"):
        label(labelled, "spam_tracks", detector=idle, progress=False)
    assert idle.calls == 0


def test_a_video_that_cannot_be_decoded_is_left_out_of_the_labels_too(videos, film, world):
    from spam_plugin.integrations.fiftyone_.api import label

    dataset = videos("a", "b")
    dataset.compute_metadata()
    with open(dataset.match({"sequence": "a"}).first().filepath, "r+b") as file:
        file.truncate(len(film.read_bytes()) // 2)
    report = label(dataset, detector=Bright(), model=world.Model(), skip_bad=True, progress=False)
    assert list(report.skipped) == ["a"]
    assert [video.name for video in report.videos] == ["b"]
