"""The scene and the verdict behind the table of the round trip."""

import sys
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from desk import median, verdict  # noqa: E402
from desk_world import HEIGHT, WIDTH, scene  # noqa: E402


def test_a_scene_has_every_track_with_gaps_and_is_the_same_for_the_same_seed():
    frame, track, xyxy = scene(1000, 20)
    assert sorted(set(track.tolist())) == list(range(20))
    assert (np.diff(frame) >= 0).all()
    assert 0.9 * 20_000 < len(frame) < 20_000
    assert (xyxy == scene(1000, 20)[2]).all()
    assert not np.array_equal(scene(1000, 20, 1)[2][:20], xyxy[:20])


def test_objects_of_a_scene_move_smoothly_and_their_middles_stay_in_the_picture():
    frame, track, xyxy = scene(1000, 20)
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    assert (middle > 0).all()
    assert (middle < [WIDTH, HEIGHT]).all()
    own = frame[track == 3]
    steps = np.abs(np.diff(xyxy[track == 3], axis=0))[np.diff(own) == 1]
    assert steps.max() < 20


def test_clock_and_processor_have_a_middle_each():
    assert median([(3.0, 1.0), (1.0, 9.0), (2.0, 5.0)]) == (2.0, 5.0)


def test_half_the_time_of_the_peer_is_enough_and_more_is_not():
    assert verdict(0.5).endswith("kept")
    assert verdict(0.51).endswith("MISSED")
