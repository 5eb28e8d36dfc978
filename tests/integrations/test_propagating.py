"""``spam_plugin.propagate``: human boxes are read, gaps filled, kept and written; never over a person."""

import subprocess

import cv2
import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId

from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.filling import FillReport, Fills, FillSettings, How, find_gaps, line_through
from spam_plugin.integrations.fiftyone_ import api, propagating
from spam_plugin.integrations.fiftyone_.fills import FillBook
from spam_plugin.integrations.fiftyone_.propagating import count_to_fill, propagate
from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels
from spam_plugin.models.errors import InputError, MissingError

WIDTH, HEIGHT, LENGTH = 160, 120, 24


class Tracker:
    """Only a name; what it would find is said by ``stand_in``."""

    version = "stand-in"


class Filler:
    """Stands in for ``fill_gaps``: the straight line a little above, as if it had been tracked, in gaps and at ends."""

    def __init__(self):
        self.calls = []
        self.fail_at = None

    def __call__(self, tracker, frames, keys, info, candidates=None, settings=None, occupied=None, cache=None,
                 progress=None):  # fmt: skip
        if info.name == self.fail_at:
            raise KeyboardInterrupt
        settings = settings or FillSettings()
        gaps = find_gaps(
            keys.track, keys.frame, info.num_frames, settings.max_gap, settings.open_frames, keys.absent, keys.earliest,
            keys.latest,
        )  # fmt: skip
        line = line_through(gaps, keys.frame, keys.xyxy)
        wanted = sorted(set(line.frame.tolist()))
        read = [frame for frame, image in frames.read(wanted) if image.shape == (HEIGHT, WIDTH, 3)]
        self.calls.append((info.name, len(keys), wanted, read))
        fills = Fills(
            gaps.track[line.gap], line.frame, (line.xyxy - [0, 2, 0, 2]).astype(np.float32),
            np.full(len(line.gap), 0.75, np.float32), np.full(len(line.gap), How.TRACKED, np.uint8),
        )  # fmt: skip
        lost = tuple(frame for frame in wanted if frame not in read)
        report = FillReport(gaps=int(gaps.inner.sum()), open_ends=int((~gaps.inner).sum()), unreadable=lost)
        return fills.take(np.lexsort((fills.track, fills.frame))), report


@pytest.fixture
def filler(monkeypatch):
    made = Filler()
    monkeypatch.setattr(propagating, "fill_gaps", made)
    return made


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    for frame in range(LENGTH):
        image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        image[40:70, 10 + 4 * frame : 30 + 4 * frame] = (0, 0, 220)
        cv2.imwrite(str(folder / f"{frame:03d}.png"), image)
    path = folder / "a.mp4"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(folder / "%03d.png"),
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def new():
    made = []

    def make(*films, field="spam_tracks", **boxes):
        dataset = fo.Dataset()
        made.append(dataset)
        dataset.media_type = "video"
        declare_detections(dataset, f"frames.{field}")
        for number, path in enumerate(films):
            metadata = fo.VideoMetadata(
                total_frame_count=LENGTH, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=10.0
            )
            dataset.add_sample(fo.Sample(str(path), metadata=metadata, sequence=f"video {number}"))
        return dataset

    yield make
    for dataset in made:
        dataset.delete()


def box(frame, index=1, by=0.0, **more):
    """Where the red thing is in a 0-based frame."""
    xywh = [(10 + 4 * frame + by) / WIDTH, 40 / HEIGHT, 20 / WIDTH, 30 / HEIGHT]
    return detection_dict("thing", xywh, index, **more)


def put(dataset, frames, field="spam_tracks", sample=None):
    sample = dataset.first() if sample is None else sample
    write_frame_labels(dataset, sample.id, field, {frame + 1: boxes for frame, boxes in frames.items()})


def stored(dataset, field="spam_tracks", sample=None):
    """0-based frame -> raw boxes."""
    from spam_plugin.integrations.fiftyone_.raw import frame_documents

    sample = dataset.first() if sample is None else sample
    return {number - 1: boxes for number, boxes in frame_documents(dataset, sample.id, field)}


def sources(dataset, index=1, **rest):
    return {
        frame: one.get("source", "human")
        for frame, boxes in stored(dataset, **rest).items() for one in boxes if one.get("index") == index
    }  # fmt: skip


def run(dataset, **more):
    return propagate(dataset, tracker=Tracker(), progress=False, **{"candidates": "none", **more})


CLOSED = {"settings": FillSettings(open_frames=0)}


def test_two_boxes_drawn_in_the_app_are_joined_in_the_same_track(new, film, filler):
    dataset = new(film)
    instance = ObjectId()
    put(dataset, {2: [box(2, instance_id=instance)], 12: [box(12)]})
    report = run(dataset, **CLOSED)
    one = report.videos[0]
    assert (one.objects, one.keys, one.gaps, one.tracked, one.boxes) == (1, 2, 1, 9, 9)
    found = stored(dataset)
    assert sorted(found) == list(range(2, 13))
    assert sources(dataset) == {frame: "human" if frame in (2, 12) else "propagated" for frame in range(2, 13)}
    middle = found[7][0]
    assert middle["label"] == "thing"
    assert middle["instance"]["_id"] == instance
    assert middle["bounding_box"] == pytest.approx([38 / WIDTH, 38 / HEIGHT, 20 / WIDTH, 30 / HEIGHT], abs=1e-5)
    assert middle["confidence"] == pytest.approx(0.75)
    assert middle["uncertainty"] == pytest.approx(0.8112781, abs=1e-6)
    run_info = dataset.get_run_info(report.run)
    assert (run_info.config.method, run_info.config.status, run_info.config.tracker) == (
        "spam_propagate", "finished", "stand-in"
    )  # fmt: skip


def test_run_again_nothing_is_followed_and_nothing_changes(new, film, filler):
    dataset = new(film)
    put(dataset, {2: [box(2)], 12: [box(12)]})
    run(dataset)
    before, calls = stored(dataset), len(filler.calls)
    report = run(dataset)
    assert (report.videos[0].reused, len(filler.calls)) == (True, calls)
    assert stored(dataset) == before
    assert report.videos[0].boxes == LENGTH - 2
    run(dataset, again=True)
    assert len(filler.calls) == calls + 1


def test_open_ends_are_followed_as_far_as_was_asked(new, film, filler):
    dataset = new(film)
    put(dataset, {10: [box(10)]})
    report = run(dataset, settings=FillSettings(open_frames=3))
    assert sorted(stored(dataset)) == list(range(7, 14))
    assert report.videos[0].open_ends == 2


def test_a_box_that_is_drawn_later_replaces_a_filled_one_and_splits_the_gap(new, film, filler):
    dataset = new(film)
    put(dataset, {2: [box(2)], 12: [box(12)]})
    run(dataset, **CLOSED)
    frames = stored(dataset)
    frames[7] = [box(7, by=30)]
    put(dataset, frames)
    run(dataset, **CLOSED)
    found = stored(dataset)
    assert sources(dataset)[7] == "human"
    assert found[7][0]["bounding_box"][0] == pytest.approx(68 / WIDTH)
    assert found[8][0]["bounding_box"][0] > 60 / WIDTH  # follows the new box, not the old line
    assert all(len(boxes) == 1 for boxes in found.values())


def test_what_is_filled_no_more_goes(new, film, filler):
    dataset = new(film)
    put(dataset, {2: [box(2)], 12: [box(12)]})
    run(dataset, settings=FillSettings(open_frames=4))
    assert max(stored(dataset)) == 16
    run(dataset, **CLOSED)
    assert sorted(stored(dataset)) == list(range(2, 13))


def test_boxes_of_a_detector_stay_unless_they_may_be_replaced(new, film, filler):
    dataset = new(film)
    seen = {frame: [box(frame, source="model", confidence=0.9, link_uncertainty=0.2)] for frame in range(4, 8)}
    put(dataset, {2: [box(2)], 12: [box(12)], **seen})
    report = run(dataset, **CLOSED)
    told = sources(dataset)
    assert [told[frame] for frame in range(2, 13)] == [
        "human",
        "propagated",
        *["model"] * 4,
        *["propagated"] * 4,
        "human",
    ]
    assert report.videos[0].left == 4
    run(dataset, over="model", **CLOSED)
    assert set(sources(dataset).values()) == {"human", "propagated"}
    assert "link_uncertainty" not in stored(dataset)[5][0]
    with pytest.raises(InputError, match="over='all'"):
        run(dataset, over="all")


def test_a_short_gap_keeps_its_line_and_a_long_one_is_filled(new, film, filler):
    dataset = new(film)
    line = {frame: [box(frame, source="interpolated", confidence=0.5)] for frame in (*range(1, 5), *range(6, 20))}
    put(dataset, {0: [box(0)], 5: [box(5)], 20: [box(20)], **line})
    run(dataset, **CLOSED)
    told = sources(dataset)
    assert {told[frame] for frame in range(1, 5)} == {"interpolated"}
    assert {told[frame] for frame in range(6, 20)} == {"propagated"}


def test_where_a_detector_has_followed_the_object_nothing_is_followed(new, film, filler):
    dataset = new(film)
    seen = {frame: [box(frame, source="model", confidence=0.9)] for frame in range(LENGTH) if frame not in (2, 12)}
    put(dataset, {2: [box(2)], 12: [box(12)], **seen})
    assert run(dataset).videos[0].boxes == 0
    assert filler.calls[-1][2] == []


def test_a_frame_where_another_track_lies_is_left_to_labelling(new, film, filler):
    dataset = new(film)
    put(dataset, {2: [box(2)], 12: [box(12)], 5: [box(5, index=2, source="model", confidence=0.9)]})
    report = run(dataset, **CLOSED)
    assert report.videos[0].taken == 1
    assert 5 not in sources(dataset)


def test_boxes_of_answers_are_filled_written_and_kept_for_labelling(new, film, filler):
    dataset = new(film)
    dataset.delete_frame_field("spam_tracks")
    key = dataset.first().id
    drawn = {frame: Box(frame, (10.0 + 4 * frame, 40.0, 30.0 + 4 * frame, 70.0)) for frame in (2, 12)}
    said = [Answer(key, Verdict.BOX, drawn=one, object="new 1", source="anna") for one in drawn.values()]
    said.append(Answer(key, Verdict.ENDS, (drawn[12], Box(14, drawn[12].xyxy)), object="new 1", source="anna"))
    api.answer(dataset, said)
    run(dataset)
    told = sources(dataset)
    assert {frame for frame, source in told.items() if source == "human"} == {2, 12}
    assert max(told) == 14
    assert all(one[0].get("answered") for frame, one in stored(dataset).items() if frame in (2, 12))
    book = FillBook(dataset, "spam_tracks")
    saved = book.of(key)
    assert sorted(set(saved.frame.tolist())) == sorted(set(told) - {2, 12})
    assert set(saved.anchor_frame.tolist()) == {2, 12}
    assert np.allclose(saved.anchor_xyxy[saved.frame == 3], drawn[2].xyxy)
    digest = book.digest(key)
    assert digest
    run(dataset)
    assert book.digest(key) == digest
    assert sources(dataset) == told
    run(dataset, **CLOSED)
    assert book.digest(key) != digest


def test_tracks_that_labelling_keeps_are_not_kept_twice(new, film, filler):
    dataset = new(film)
    put(dataset, {2: [box(2)], 12: [box(12)]})
    run(dataset)
    assert FillBook(dataset, "spam_tracks").of(dataset.first().id) is None


def test_an_answer_finds_the_track_that_its_box_is_in(new, film, filler):
    dataset = new(film)
    key = dataset.first().id
    drawn = Box(2, (18.0, 40.0, 38.0, 70.0))
    put(dataset, {2: [box(2, index=7, source="human", answered=True)]})
    api.answer(dataset, [Answer(key, Verdict.BOX, drawn=drawn, object="x")])
    run(dataset, settings=FillSettings(open_frames=2))
    assert sources(dataset, index=7) == {0: "propagated", 1: "propagated", 2: "human", 3: "propagated", 4: "propagated"}


def test_killed_at_the_second_video_the_same_call_does_the_rest(new, film, filler):
    dataset = new(film, film)
    second = dataset.skip(1).first()
    for sample in dataset:
        put(dataset, {2: [box(2)], 12: [box(12)]}, sample=sample)
    filler.fail_at = "video 1"
    with pytest.raises(KeyboardInterrupt):
        run(dataset)
    assert len(sources(dataset, sample=second)) == 2
    (key,) = dataset.list_runs()
    assert dataset.get_run_info(key).config.status == "running"
    filler.fail_at = None
    report = run(dataset)
    assert [one.reused for one in report.videos] == [True, False]
    assert dataset.list_runs() == [key]
    assert dataset.get_run_info(key).config.status == "finished"
    assert len(sources(dataset, sample=second)) == LENGTH


def test_a_sequence_of_images_is_filled_too_and_an_image_that_is_gone_is_told(new, filler, tmp_path):
    dataset = fo.Dataset()
    try:
        declare_detections(dataset, "mine")
        for frame in range(6):
            file = tmp_path / f"{frame}.png"
            cv2.imwrite(str(file), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
            boxes = [fo.Detection.from_dict(box(frame))] if frame in (0, 5) else []
            dataset.add_sample(
                fo.Sample(
                    str(file),
                    sequence="a",
                    frame_number=frame + 1,
                    frame_rate=5.0,
                    mine=fo.Detections(detections=boxes),
                )
            )
        (tmp_path / "3.png").write_bytes(b"no picture")
        report = run(dataset, out="mine")
        assert filler.calls[-1][3] == [1, 2, 4]
        assert "1 frames cannot be decoded, the first is frame 4" in report.problems[0]
        assert dataset.sort_by("frame_number").values("mine.detections.source") == [
            [None], *[["propagated"]] * 4, [None]
        ]  # fmt: skip
    finally:
        dataset.delete()


def test_a_users_own_field_keeps_what_else_its_boxes_say(new, film, filler):
    dataset = new(film, field="mine")
    dataset.add_frame_field("mine.detections.colour", fo.StringField)
    put(dataset, {2: [box(2, colour="red")], 12: [box(12)]}, "mine")
    run(dataset, out="frames.mine", **CLOSED)
    assert stored(dataset, "mine")[2][0]["colour"] == "red"
    assert dataset.get_field("frames.mine.detections.source") is not None
    assert len(sources(dataset, field="mine")) == 11


def test_boxes_in_no_track_or_without_area_are_named_and_nothing_is_lost(new, film, filler):
    dataset = new(film)
    flat = box(9)
    flat["bounding_box"] = [0.1, 0.1, 0.0, 0.2]
    put(dataset, {2: [box(2), box(2, index=None, by=60)], 9: [flat], 12: [box(12), box(12, by=3)]})
    report = run(dataset, **CLOSED)
    assert "1 human boxes are in no track" in report.problems[0]
    assert "2 human boxes are passed over" in report.problems[1]
    found = stored(dataset)
    assert (len(found[2]), len(found[12]), found[9]) == (2, 2, [flat])


def test_without_a_human_box_and_without_a_field_it_says_what_to_do(new, film, filler):
    dataset = new(film)
    put(dataset, {2: [box(2, source="model", confidence=0.5)]})
    with pytest.raises(InputError, match="draw a box of an object in two or more frames"):
        run(dataset)
    with pytest.raises(InputError, match="no human box"):
        run(dataset, out="other")
    with pytest.raises(MissingError, match="no field"):
        run(dataset, candidates="boxes")
    assert dataset.list_runs() == []


def test_a_file_that_is_gone_is_named_or_left_out_before_anything_is_written(new, film, filler):
    dataset = new(film, "/nowhere/b.mp4")
    for sample in dataset:
        put(dataset, {2: [box(2)], 12: [box(12)]}, sample=sample)
    with pytest.raises(InputError, match=r"video 1.*no such file"):
        run(dataset)
    assert len(sources(dataset)) == 2
    report = run(dataset, skip_bad=True)
    assert list(report.skipped) == ["video 1"]
    assert len(sources(dataset)) == LENGTH


def test_nobody_else_may_work_on_the_field_meanwhile(new, film, filler):
    from spam_plugin.engine.desk.ports import DeskError
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    dataset = new(film)
    put(dataset, {2: [box(2)]})
    with Ledger(dataset, "spam_tracks").hold(), pytest.raises(DeskError, match="works on field"):
        run(dataset)
    run(dataset)


def test_what_there_is_to_fill_is_counted_without_a_picture(new, filler):
    dataset = new("/nowhere/a.mp4")
    put(dataset, {2: [box(2), box(2, index=5)], 12: [box(12)]})
    there = count_to_fill(dataset)
    assert (there.videos, there.objects, there.keys, there.frames) == (1, 2, 3, 9)
    assert count_to_fill(new("/nowhere/b.mp4")).keys == 0


def test_the_tracker_may_be_a_file_a_version_or_the_default(new, film, tmp_path, monkeypatch):
    monkeypatch.setenv("SPAM_PLUGIN_SHELF", str(tmp_path))
    dataset = new(film)
    put(dataset, {2: [box(2)], 12: [box(12)]})
    for name, why in (("nowhere.safetensors", "no such file"), ("v007", "no version 'v007'")):
        with pytest.raises(MissingError, match=why):
            propagate(dataset, tracker=name, candidates="none", progress=False)
