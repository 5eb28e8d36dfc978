"""Simulated streams: reproducible, and their truth is true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.models.synthetic.streams import Stream, StreamSettings, paired_iou, simulate_stream

SMALL = StreamSettings(num_frames=(20, 40), density=(2.0, 8.0), embedding_share=0.5)
SEEDS = st.integers(0, 1 << 40)


def columns(stream: Stream) -> list[np.ndarray]:
    boxes = stream.candidates
    embedding = np.zeros(0) if boxes.embedding is None else boxes.embedding
    truth = [stream.truth_frame, stream.truth_xyxy, stream.truth_identity]
    return [boxes.frame, boxes.xyxy, boxes.score, boxes.class_index, embedding, stream.identity, stream.valid, *truth]


@settings(max_examples=10)
@given(SEEDS)
def test_the_same_seed_gives_the_same_stream(seed: int) -> None:
    one, two = simulate_stream(seed, SMALL), simulate_stream(seed, SMALL)
    assert one.info == two.info
    for a, b in zip(columns(one), columns(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_different_seeds_give_different_streams() -> None:
    looks = {simulate_stream(seed, SMALL).truth_xyxy.tobytes() for seed in range(10)}
    assert len(looks) == 10


@settings(max_examples=25)
@given(SEEDS)
def test_candidates_are_sorted_finite_and_inside_their_video(seed: int) -> None:
    stream = simulate_stream(seed, SMALL)
    boxes = stream.candidates
    assert (np.diff(boxes.frame) >= 0).all()
    assert boxes.frame.min(initial=0) >= 0
    assert boxes.frame.max(initial=0) < stream.info.num_frames
    assert np.isfinite(boxes.xyxy).all()
    assert np.isfinite(boxes.score).all()
    assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
    assert stream.truth_frame.max(initial=0) < stream.info.num_frames
    assert SMALL.num_frames[0] <= stream.info.num_frames <= SMALL.num_frames[1]
    assert SMALL.frame_rate[0] <= stream.info.frame_rate <= SMALL.frame_rate[1]


@settings(max_examples=25)
@given(SEEDS)
def test_an_object_has_one_candidate_a_frame_and_the_valid_ones_lie_on_it(seed: int) -> None:
    stream = simulate_stream(seed, SMALL)
    mine = stream.identity >= 0
    key = np.stack([stream.candidates.frame[mine], stream.identity[mine]], 1)
    assert len(np.unique(key, axis=0)) == len(key)
    assert not (stream.valid & ~mine).any()
    truth = {
        (int(frame), int(who)): box
        for frame, who, box in zip(stream.truth_frame, stream.truth_identity, stream.truth_xyxy, strict=True)
    }
    rows = np.flatnonzero(mine)
    behind = [truth[int(stream.candidates.frame[row]), int(stream.identity[row])] for row in rows]
    iou = paired_iou(stream.candidates.xyxy[rows].astype(np.float64), np.array(behind, np.float64).reshape(-1, 4))
    np.testing.assert_array_equal(stream.valid[rows][np.abs(iou - 0.5) > 1e-4], (iou > 0.5)[np.abs(iou - 0.5) > 1e-4])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_appearance_vectors_come_as_often_as_asked_for(share: float) -> None:
    wish = StreamSettings(num_frames=(20, 20), density=(2.0, 3.0), embedding_share=share)
    streams = [simulate_stream(seed, wish) for seed in range(5)]
    assert all((stream.candidates.embedding is not None) == bool(share) for stream in streams)


def test_overlap_of_paired_boxes_is_the_shared_share() -> None:
    box = np.array([[0.0, 0, 2, 2]] * 3)
    other = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
    np.testing.assert_allclose(paired_iou(box, other), [1, 1 / 3, 0])
