"""What filling is measured on, on worlds small enough to work out by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import filling  # noqa: E402
from filling_adaptation import BOXES, NOT_ADAPTED, VARIANTS, WHOLE, Row, draw_boxes, report  # noqa: E402
from filling_csrt import csrt_boxes, kept_file, runs_of  # noqa: E402
from filling_ways import adapted, clip_of, fill, keyframes_of, network_digest  # noqa: E402
from filling_world import Scene, Score, film, gaps_of, only, overlap, spread, straight  # noqa: E402

from spam_plugin.engine.filling import FillSettings  # noqa: E402
from spam_plugin.models.columns import VideoInfo  # noqa: E402
from spam_plugin.models.errors import MissingError  # noqa: E402
from spam_plugin.models.spot.adaptation import AdaptSettings  # noqa: E402
from spam_plugin.models.spot.model import Tracker  # noqa: E402
from spam_plugin.models.spot.network import TrackerConfig, TrackerNetwork  # noqa: E402


def squares(frame, speed=1.0):
    """Squares of side 20 that go right."""
    left = speed * np.asarray(frame, float)
    return np.stack([left, 0 * left, left + 20, 0 * left + 20], 1)


def tiny_tracker():
    """One that knows nothing."""
    return Tracker(TrackerNetwork(TrackerConfig(16, 32, widths=(8, 8, 8), channels=8, hidden=8)), "tiny")


def steady(first, last, step, track=0):
    """One track that goes steadily."""
    frame = np.arange(first, last + 1)
    return gaps_of(np.full(len(frame), track), frame, squares(frame), step)


def scene_with(frame, speed=1.0, size=(64, 48)):
    """A scene of one square before a grey wall."""

    def picture(number):
        image = np.full((size[1], size[0], 3), 90, np.uint8)
        image[:20, int(speed * number) : int(speed * number) + 20] = 200
        return image

    video = VideoInfo("wall", int(frame[-1]) + 1, *size, 25.0)
    return Scene(video, np.zeros(len(frame), np.int64), frame, squares(frame, speed), picture)


def test_a_person_boxes_the_first_every_nth_and_the_last_frame():
    gaps = steady(3, 14, 5)
    assert gaps.frame.tolist() == [3, 8, 13, 14]
    assert gaps.at.tolist() == [4, 5, 6, 7, 9, 10, 11, 12]
    assert gaps.frame[gaps.left].tolist() == [3, 3, 3, 3, 8, 8, 8, 8]


def test_a_track_is_boxed_anew_after_a_gap_in_its_truth_which_nobody_fills():
    frame = np.array([0, 1, 2, 3, 8, 9, 10, 11])
    gaps = gaps_of(np.zeros(8, int), frame, squares(frame), 10)
    assert gaps.frame.tolist() == [0, 3, 8, 11]
    assert gaps.at.tolist() == [1, 2, 9, 10]
    assert gaps.absent.tolist() == [[0, 4, 7]]
    assert keyframes_of(gaps).latest.tolist() == [11]


def test_rows_in_any_order_give_the_same_gaps():
    track, frame = np.repeat([0, 4], 9), np.tile(np.arange(9), 2)
    mixed = np.random.default_rng(0).permutation(18)
    one, two = (
        gaps_of(track[rows], frame[rows], squares(frame[rows]), 4) for rows in (np.arange(18), mixed)
    )  # fmt: skip
    for name in ("track", "frame", "xyxy", "to_fill", "at", "truth", "left"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


def test_the_line_is_right_where_a_target_goes_steadily():
    gaps = steady(0, 40, 20)
    assert overlap(gaps, straight(gaps)) == pytest.approx(np.ones(38))


def test_a_frame_that_is_left_open_counts_as_no_overlap():
    gaps = steady(0, 20, 20)
    boxes = straight(gaps)
    boxes[3] = np.nan
    assert overlap(gaps, boxes).tolist() == [*[1] * 3, 0, *[1] * 15]
    assert Score.of(overlap(gaps, boxes)).half == pytest.approx(100 * 18 / 19)


def test_rows_are_found_again_by_track_and_frame():
    frame = np.tile(np.arange(5), 2)
    gaps = gaps_of(np.repeat([0, 1], 5), frame, squares(frame), 2)
    assert gaps.rows_of(np.array([1, 0, 1, 0]), np.array([3, 1, 2, 99])).tolist() == [3, 0, -1, -1]


def test_csrt_comes_to_every_frame_once_and_from_the_nearer_box():
    gaps = steady(0, 11, 5)  # boxes at 0, 5, 10, 11
    runs = runs_of(gaps)
    reached = []
    for start, stop in zip(runs["start"], runs["stop"], strict=True):
        step = 1 if stop >= start else -1
        reached += [(int(frame), int(start)) for frame in range(start + step, stop + step, step)]
    assert sorted(reached) == [(1, 0), (2, 0), (3, 5), (4, 5), (6, 5), (7, 5), (8, 10), (9, 10)]


def test_a_gap_of_one_frame_is_reached_by_csrt_from_the_left(tmp_path):
    gaps = steady(0, 2, 2)
    assert runs_of(gaps)["start"].tolist() == [0]
    assert runs_of(gaps)["stop"].tolist() == [1]


def test_the_line_stands_in_where_csrt_lost_its_target(tmp_path):
    scene = scene_with(np.arange(5))
    said = np.array([[5.0, 5, 9, 9], [6, 6, 9, 9], [7, 7, 9, 9]])
    np.savez(
        kept_file(tmp_path, scene.name, 4), run=np.array([0, 0, 1]), frame=np.array([1, 2, 3]), xyxy=said,
        found=np.array([True, False, True]),
    )  # fmt: skip
    boxes = csrt_boxes(tmp_path, scene, 4)
    assert boxes[[0, 2]].tolist() == said[[0, 2]].tolist()
    assert boxes[1].tolist() == squares([2])[0].tolist()


def test_what_csrt_has_not_been_asked_is_missing(tmp_path):
    with pytest.raises(MissingError, match="filling_csrt"):
        csrt_boxes(tmp_path, scene_with(np.arange(5)), 4)


def test_adaptation_sees_few_boxes_of_every_track_spread_over_it():
    frame = np.concatenate([np.arange(101), np.arange(11)])
    gaps = gaps_of(np.repeat([0, 1], [101, 11]), frame, squares(frame), 10)
    assert gaps.frame[spread(gaps, 3)].tolist() == [0, 50, 100, 0, 10]
    assert gaps.frame[spread(gaps, 1)].tolist() == [50, 10]


def test_from_fewer_boxes_the_others_are_to_be_filled_and_the_line_holds_still_at_the_ends():
    gaps = steady(0, 20, 10)
    rest, line = only(gaps, gaps.frame == 10)
    assert rest.at.tolist() == [*range(10), *range(11, 21)]
    assert line.tolist() == [squares([10])[0].tolist()] * 20


def test_films_differ_by_seed_and_one_seed_gives_one_film():
    one, again, other = film(0, 2), film(0, 2), film(1, 2)
    assert np.array_equal(one.picture(1), again.picture(1))
    assert np.array_equal(one.xyxy, again.xyxy)
    assert not np.array_equal(one.picture(1), other.picture(1))


def result(value, count=50):
    """A way with the same overlap everywhere."""
    return filling.Result(np.full(count, value))


def test_a_fast_sequence_must_beat_the_line_and_another_one_may_lose_a_point():
    results = {}
    for name, line, ours in (
        ("DragonBaby", 0.5, 0.5),
        ("Girl", 0.5, 0.52),
        ("Car4", 0.9, 0.895),
        ("TUD-Campus", 0.9, 0.88),
    ):
        results[name, 20, filling.LINE], results[name, 20, filling.ADAPTED] = result(line), result(ours)
    rows = filling.verdicts(results, ["DragonBaby", "Girl", "Car4", "TUD-Campus"], [20], filling.ADAPTED)
    assert [row[-1] for row in rows] == ["**no**", "yes", "yes", "**no**"]


def test_the_development_sequence_is_in_no_mean_and_no_verdict():
    results = {("TUD-Stadtmitte", 20, filling.LINE): result(0.2), ("Girl", 20, filling.LINE): result(0.8)}
    names = ["Girl", "TUD-Stadtmitte"]
    text = filling.score_table(results, names, 20, [filling.LINE])
    assert next(line for line in text.splitlines() if line.startswith("| **mean** ")).count("80.0") == 1
    assert filling.verdicts(results, names, [20], filling.LINE)[0][0] == "Girl"


def test_a_mean_over_sequences_that_were_not_all_run_is_not_shown():
    results = {("Girl", 20, filling.LINE): result(0.8), ("Car4", 20, filling.CSRT): result(0.8)}
    text = filling.score_table(results, ["Girl", "Car4"], 20, [filling.LINE])
    assert "80.0" not in next(line for line in text.splitlines() if line.startswith("| **mean** "))


def test_every_variant_changes_settings_that_exist():
    for changes in VARIANTS.values():
        AdaptSettings(**changes)


def test_a_kept_answer_is_taken_for_the_same_weights_and_made_anew_for_others(tmp_path):
    scene = scene_with(np.arange(9))
    gaps, kept = scene.gaps(4), tmp_path / "answer.npz"
    one, two = tiny_tracker(), tiny_tracker()
    first = fill(one, scene, gaps, FillSettings(open_frames=0), kept)
    assert (first.how >= 0).all()
    assert np.isfinite(first.xyxy).all()
    written = kept.stat().st_mtime_ns
    again = fill(one, scene, gaps, FillSettings(open_frames=0), kept)
    assert np.array_equal(again.xyxy, first.xyxy)
    assert kept.stat().st_mtime_ns == written
    assert not again.stale
    fill(two, scene, gaps, FillSettings(open_frames=0), kept)
    assert kept.stat().st_mtime_ns > written


def test_the_ablation_reports_every_variant_and_every_number_of_boxes(tmp_path):
    scenes = [scene_with(np.arange(61)), scene_with(np.arange(61), speed=0.5)]
    score = Score(50.0, 60.0, 40.0)
    row = Row([score] * 2, [Score(70.0, 80.0, 60.0)] * 2, [Score(30.0, 20.0, 10.0)] * 2, 90.0, 120, 5)
    plan = [(name, 5) for name in (NOT_ADAPTED, *VARIANTS)] + [(n, k) for n in (NOT_ADAPTED, WHOLE) for k in BOXES[:-1]]
    parts = report({key: [row] for key in plan}, scenes, 1)
    assert len(parts[1].splitlines()) == 2 + 1 + 1 + len(VARIANTS)
    assert "50.0 / 40.0" in parts[1]
    assert "100.0 / 100.0" in parts[1]  # the line, where targets go steadily
    assert [line.split("|")[1].strip() for line in parts[3].splitlines()[2:]] == [str(k) for k in BOXES]
    draw_boxes(tmp_path / "boxes.png", {key: [row] for key in plan}, scenes, 1)
    assert (tmp_path / "boxes.png").stat().st_size > 5000


def test_an_adaptation_is_kept_with_what_it_took_and_made_anew_for_another_start(tmp_path):
    scene = scene_with(np.arange(9))
    gaps = scene.gaps(4)
    clip, settings = clip_of(scene, gaps, spread(gaps, 2)), AdaptSettings(steps=1, batch=2, judges=0)
    assert clip.frame.tolist() == [0, 8]
    one, two = tiny_tracker(), tiny_tracker()
    first, said = adapted(one, [clip], settings, tmp_path / "kept.safetensors", "wall")
    again, once_more = adapted(one, [clip], settings, tmp_path / "kept.safetensors", "wall")
    assert once_more == json.loads(json.dumps(said))
    assert network_digest(again) == network_digest(first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json", "kept.safetensors"]
    _, other = adapted(two, [clip], settings, tmp_path / "kept.safetensors", "wall")
    assert other["asked"] != said["asked"]
