"""The pretended detector of the demo: its faults are those of real detectors, and repeatable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spam_plugin.models.columns import Candidates, VideoInfo
from spam_plugin.models.errors import InputError
from spam_plugin.models.synthetic.candidates import DetectorSettings, simulate_candidates
from spam_plugin.models.synthetic.render import Truth
from spam_plugin.models.synthetic.streams import paired_iou

INFO = VideoInfo("walk", 400, 640, 360, 25.0)
PERFECT = DetectorSettings(
    recall=1.0, needed_visibility=0.0, jitter=0.0, duplicate_rate=0.0, false_places=0, false_rate=0.0
)


def crowd(visibility: float = 1.0, tracks: int = 8) -> Truth:
    """Objects side by side that never touch, each in every frame."""
    frame, track = (grid.ravel() for grid in np.mgrid[: INFO.num_frames, :tracks])
    left = 20 + 75 * track + 0.02 * frame
    xyxy = np.stack([left, 0 * left + 100, left + 40, 0 * left + 220], 1).astype(np.float32)
    return Truth(frame, track, xyxy, np.full(len(frame), visibility, np.float32), np.zeros(len(frame), np.int64))


def simulate(truth: Truth, settings: DetectorSettings | None = None, seed: int = 1) -> Candidates:
    return simulate_candidates(truth, INFO, np.random.default_rng(seed), settings)


def whose(truth: Truth, found: Candidates) -> np.ndarray:
    """(T, n) bool: which object was found in which frame (by overlap)."""
    table = np.zeros((INFO.num_frames, int(truth.track.max()) + 1), bool)
    for track in range(table.shape[1]):
        boxes = truth.xyxy[truth.track == track][found.frame]
        table[found.frame[paired_iou(found.xyxy.astype(float), boxes.astype(float)) > 0.5], track] = True
    return table


def test_the_same_seed_gives_the_same_candidates_and_another_seed_others():
    truth = crowd()
    first, again, other = simulate(truth), simulate(truth), simulate(truth, seed=2)
    assert (first.xyxy == again.xyxy).all()
    assert (first.score == again.score).all()
    assert len(first) != len(other) or not (first.xyxy == other.xyxy).all()


def test_a_detector_without_faults_reports_the_truth():
    truth = crowd()
    found = simulate(truth, PERFECT)
    assert len(found) > 0.99 * len(truth)
    rows = np.abs(found.xyxy[:, None] - truth.xyxy[None, :8]).max(-1).min(1)
    assert rows.max() < 0.02 * INFO.num_frames + 1


def test_it_finds_about_as_many_visible_objects_as_it_is_told_to():
    truth = crowd()
    share = whose(truth, simulate(truth, replace(PERFECT, recall=0.8))).mean()
    assert 0.7 < share < 0.9


def test_it_misses_more_of_those_who_are_hidden():
    frame_half = np.arange(INFO.num_frames * 8) % 2 == 0
    truth = crowd()
    mixed = replace(truth, visibility=np.where(frame_half, 1.0, 0.3).astype(np.float32))
    table = whose(truth, simulate(mixed, DetectorSettings(duplicate_rate=0, false_places=0, false_rate=0)))
    assert table[:, ::2].mean() > table[:, 1::2].mean() + 0.2


def test_who_is_invisible_is_never_found():
    assert len(simulate(crowd(visibility=0.0), replace(PERFECT, recall=1.0))) == 0


def test_misses_cluster_in_time():
    missed = ~whose(crowd(), simulate(crowd(), replace(PERFECT, recall=0.8, memory=0.5)))
    after_a_miss = missed[1:][missed[:-1]].mean()
    assert after_a_miss > 2 * missed.mean()


def test_jitter_moves_the_boxes_by_about_as_much_as_it_is_told_to():
    truth = crowd(tracks=1)
    found = simulate(truth, replace(PERFECT, jitter=0.05))
    offset = (found.xyxy - truth.xyxy[found.frame]) / np.array([40, 120, 40, 120])
    assert 0.02 < offset.std() < 0.08


def test_duplicates_are_second_boxes_with_lower_scores():
    truth = crowd(tracks=1)
    found = simulate(truth, replace(PERFECT, duplicate_rate=0.3))
    frame = np.unique(found.frame)
    assert 0.15 * len(frame) < len(found) - len(frame) < 0.45 * len(frame)
    twice = np.flatnonzero(np.bincount(found.frame) == 2)
    pairs = np.stack([found.score[found.frame == f] for f in twice])
    overlap = paired_iou(found.xyxy.astype(float), truth.xyxy[found.frame].astype(float))
    true_first = np.stack([overlap[found.frame == f].argmax() for f in twice])
    assert (pairs.argmax(1) == true_first).mean() > 0.9


def test_false_boxes_come_back_to_the_same_places():
    truth = crowd(tracks=1)
    found = simulate(truth, replace(PERFECT, false_places=2, jitter=0.01))
    false = np.abs(found.xyxy - truth.xyxy[found.frame]).max(1) > 30
    places = np.unique(np.round(found.xyxy[false, 0] / 20))
    assert false.sum() > 10 * len(places)


def test_scores_have_a_scale_of_their_own_in_every_video_but_rank_true_boxes_first():
    truth = crowd(tracks=3)
    ranges = [np.ptp(simulate(truth, seed=seed).score) for seed in range(6)]
    assert max(ranges) > 1.5 * min(ranges)
    found = simulate(truth)
    true = np.zeros(len(found), bool)
    for track in range(3):
        mine = truth.xyxy[truth.track == track][found.frame].astype(float)
        true |= paired_iou(found.xyxy.astype(float), mine) > 0.5
    assert found.score[true].mean() > found.score[~true].mean()


def test_who_is_outside_the_image_is_not_found():
    truth = crowd(tracks=2)
    outside = replace(truth, xyxy=truth.xyxy - np.float32([65, 0, 65, 0]))  # the left one hardly shows
    table = whose(outside, simulate(outside, PERFECT))
    assert not table[:200, 0].any()
    assert table[:, 1].mean() > 0.95


def test_nothing_to_see_gives_no_candidates():
    assert len(simulate(Truth.join([]))) == 0


@pytest.mark.parametrize("wrong", [{"recall": 1.2}, {"jitter": -1.0}, {"memory": float("inf")}])
def test_impossible_detectors_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        DetectorSettings(**wrong)
