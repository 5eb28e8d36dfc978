import zlib

import fiftyone as fo
import fiftyone.core.utils as fou
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spam_plugin.integrations.fiftyone_ import columns, raw
from spam_plugin.integrations.fiftyone_.columns import pack_vectors, read_boxes, unpack_vectors, write_tracks
from spam_plugin.integrations.fiftyone_.store import free_numbers
from spam_plugin.integrations.fiftyone_.videos import open_videos
from spam_plugin.models.columns import Source, Tracks


def some_tracks(num_frames, num_tracks, seed=0):
    """Tracks that are in every frame but each in some; boxes inside 100 x 50."""
    rng = np.random.default_rng(seed)
    frame, track = np.divmod(np.flatnonzero(rng.random(num_frames * num_tracks) < 0.7), num_tracks)
    track = np.unique(track, return_inverse=True)[1]
    count, number = len(frame), track.max() + 1
    corner = rng.uniform(0, 40, (count, 2))
    column = rng.random(count).astype(np.float32)
    return Tracks(
        frame, np.concatenate([corner, corner + rng.uniform(1, 10, (count, 2))], 1).astype(np.float32), track,
        track % 2, column, column, column, np.full(count, Source.MODEL, np.uint8), column > 0.5, np.arange(count),
        np.ones(number, np.float32), np.ones(number, np.float32),
    )  # fmt: skip


def write_and_read(video, tracks, kept=()):
    raw.declare_detections(video.dataset, video.prefix + "t")
    write_tracks(video, "t", tracks, ("car", None), 100, 50, range(1, tracks.num_tracks + 1), "x", dict(kept))
    return read_boxes(video, "t", 100, 50)


@pytest.mark.parametrize("media", ["video_dataset", "image_dataset"])
@pytest.mark.parametrize("chunk", [3, 50_000])
def test_tracks_come_back_as_they_were_written(request, media, chunk, monkeypatch):
    monkeypatch.setattr(columns, "ROWS_PER_CHUNK", chunk)
    monkeypatch.setattr(raw, "BOXES_PER_WRITE", chunk)
    (video,) = open_videos(request.getfixturevalue(media)(a={}))
    tracks = some_tracks(4, 5)
    boxes = write_and_read(video, tracks)
    np.testing.assert_array_equal(boxes.frame, tracks.frame)
    np.testing.assert_allclose(boxes.xyxy, tracks.xyxy, atol=1e-4)
    np.testing.assert_array_equal(boxes.score.astype(np.float32), tracks.validity)
    np.testing.assert_array_equal(boxes.index, tracks.track_index + 1)
    assert boxes.labels == (None, "car")
    np.testing.assert_array_equal(boxes.label_index, 1 - tracks.class_index)


def test_what_is_kept_stands_before_tracks_and_in_frames_without(video_dataset):
    (video,) = open_videos(video_dataset(a={}))
    kept = {1: [raw.detection_dict("dog", [0, 0, 0.1, 0.1], 77)], 3: [raw.detection_dict("dog", [0, 0, 0.1, 0.1])]}
    tracks = some_tracks(2, 2, seed=3)
    boxes = write_and_read(video, tracks, kept)
    assert len(boxes) == len(tracks) + 2
    assert boxes.index[boxes.frame == 1][0] == 77
    assert boxes.index[boxes.frame == 3].tolist() == [-1]


def test_writing_removes_what_was_in_frames_without_boxes(video_dataset):
    (video,) = open_videos(video_dataset(a={}))
    write_and_read(video, some_tracks(4, 2))
    boxes = write_and_read(video, some_tracks(2, 2))
    assert boxes.frame.max() < 2
    assert video.dataset.first().frames[4].t is None


def test_fiftyone_sees_what_was_written_past_its_objects(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    sample = dataset.first()
    assert sample.frames[1].candidates.detections[0].label == "car"
    raw.write_frame_labels(dataset, sample.id, "candidates", {1: [world.box(0, 0, 5, 5, "dog")]})
    assert sample.frames[1].candidates.detections[0].label == "dog"
    assert sample.frames[3].candidates is None
    by_objects = fo.Detection.from_dict(world.box(0, 0, 5, 5, "dog", index=3))
    assert by_objects.to_dict().keys() >= {"label", "bounding_box", "index", "confidence"}
    assert dataset.first().frames[1].created_at is not None


@given(arrays(np.float16, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-9, 9, width=16)))
def test_vectors_survive_packing_and_fiftyone_can_read_them(vectors):
    packed = pack_vectors(vectors)
    np.testing.assert_array_equal(unpack_vectors(packed), vectors.astype(np.float32))
    np.testing.assert_array_equal(fou.deserialize_numpy_array(packed[0]), vectors[0])


def test_vectors_are_read_in_every_way_in_which_they_are_stored():
    as_fiftyone_does = fou.serialize_numpy_array(np.array([1.0, 2.0]))
    stored = [as_fiftyone_does, [3.0, 4.0], None, [5.0]]
    assert zlib.decompress(as_fiftyone_does)[:6] == b"\x93NUMPY"
    read = unpack_vectors(stored)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [[1, 2], [3, 4], [np.nan] * 2, [np.nan] * 2])
    assert unpack_vectors([]).shape == (0, 0)
    assert unpack_vectors([None]).shape == (1, 0)
    assert pack_vectors(np.zeros((0, 3))) == []


def test_vectors_of_chunks_that_hold_none_are_missing_and_not_shifted(video_dataset, world, monkeypatch):
    monkeypatch.setattr(columns, "ROWS_PER_CHUNK", 1)
    frames = {0: [world.box(1, 1, 5, 5)], 1: [world.box(1, 1, 5, 5, look=[1.0, 2.0])]}
    (video,) = open_videos(video_dataset(a=frames))
    found = read_boxes(video, "candidates", 100, 50, "look").embedding
    np.testing.assert_array_equal(found, [[np.nan, np.nan], [1, 2]])


def test_a_video_without_boxes_reads_as_empty_columns(video_dataset):
    (video,) = open_videos(video_dataset(a={}))
    boxes = read_boxes(video, "candidates", 100, 50, "look")
    assert (len(boxes), boxes.xyxy.shape, boxes.labels) == (0, (0, 4), ())


@given(st.integers(0, 20), st.frozensets(st.integers(-2, 15)))
def test_free_numbers_are_the_smallest_that_nobody_has(count, taken):
    numbers = free_numbers(count, taken)
    assert len(numbers) == count
    assert not taken & set(numbers)
    assert set(range(1, max(numbers, default=0))) <= set(numbers) | taken
