"""What the benchmark of trackers trained on our labels counts and says."""

import sys
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from downstream import (  # noqa: E402
    CLAIMED,
    ROWS,
    TRUTH,
    VALUES,
    claims,
    differences,
    over_films,
    precision,
    report,
    spread_frames,
)
from downstream_tracker import GRID, Setting, lowered, truth_table  # noqa: E402

from spam_plugin.engine.metrics import TruthTable  # noqa: E402
from spam_plugin.models.columns import Candidates  # noqa: E402
from spam_plugin.models.synthetic.render import Truth  # noqa: E402


def scores(little, whole):
    """Scores by place: one for each seed of the claimed effort and of all of it, the other rows have one seed."""
    of_row = dict.fromkeys(ROWS, (50.0,)) | {CLAIMED: little, TRUTH: whole}
    return {
        (row, seed, film): dict.fromkeys(VALUES, score + offset)
        for row, of_seed in of_row.items() for seed, score in enumerate(of_seed)
        for film, offset in (("one", -2.0), ("two", 2.0))
    }  # fmt: skip


def test_every_film_gives_its_share_of_the_frames_from_its_first_to_its_last():
    long, short, one = spread_frames([795, 179, 1], 800)
    assert (len(long), len(short), len(one)) == (652, 146, 1)
    assert (long[0], long[-1], short[-1]) == (0, 794, 178)
    assert np.diff(long).max() <= 2
    assert [len(frames) for frames in spread_frames([10, 20], 100)] == [10, 20]  # never more than there are


def test_lowered_thresholds_let_more_in_and_keep_scores_in_range():
    values = np.array([0.25, 0.45, 0.95], np.float32)
    np.testing.assert_array_equal(lowered(values, 0.1) >= 0.5, values >= 0.4)
    assert lowered(values, 0.1).max() <= 1


def test_settings_one_step_away_are_near_and_are_told_in_scores():
    near = [setting.title for setting in GRID if setting.near(Setting(0.2, 0.0))]
    assert near == ["0.1 / 0.4 / 0.5", "0.2 / 0.5 / 0.6", "0.2 / 0.3 / 0.4", "0.3 / 0.4 / 0.5"]


def test_only_people_that_can_be_seen_must_be_found_in_rendered_films():
    frame, box = np.zeros(3, np.int64), np.zeros((3, 4), np.float32)
    truth = truth_table(Truth(frame, np.arange(3), box, np.array([1, 0.1, 1], np.float32), np.array([0, 0, 1])))
    assert np.asarray(truth.ignored).tolist() == [False, True, True]
    assert np.asarray(truth.class_id).tolist() == [1, 8, 8]


def test_ap50_counts_frames_apart_and_ignored_truth_neither_way():
    box = np.array([[0, 0, 10, 20], [0, 0, 10, 20], [50, 0, 60, 20]], float)
    truth = TruthTable(np.array([0, 1, 0]), np.array([1, 1, 2]), box, np.array([1, 1, 8]), np.array([0, 0, 1], bool))
    frame, score = np.array([0, 0, 1]), np.array([0.9, 0.8, 0.7], np.float32)
    xyxy = box[[0, 2, 0]].astype(np.float32)
    assert precision(Candidates(frame, xyxy, score, 0 * frame), truth) == 100
    assert precision(Candidates(frame[:2], xyxy[:2], score[:2], 0 * frame[:2]), truth) < 60  # a frame without


def test_means_are_over_films_first_and_keep_the_seeds():
    np.testing.assert_allclose(over_films(scores((60, 64), (65, 65)), CLAIMED)["HOTA"], [60, 64])


def test_the_claim_holds_only_within_what_another_seed_changes():
    assert all(claim.reached and claim.noise == 4 for claim in claims(scores((60, 64), (65, 65))))
    behind = claims(scores((60, 61), (65, 65)))
    assert not any(claim.reached for claim in behind)
    assert behind[0].behind == 4.5
    assert all(claim.reached for claim in claims(scores((70, 70), (65, 65))))


def test_every_other_effort_is_held_against_all_of_it():
    rows = {row: values for row, *values in differences(scores((70,), (65,)))}
    assert rows == {"0 %": ["-15.0"] * 4, "3.3 %": ["+5.0"] * 4, "10 %": ["-15.0"] * 4}


def test_the_report_says_no_where_the_claim_fails_and_nothing_where_there_is_one_seed():
    failed = "\n".join(report(scores((60, 61), (65, 65)), {}, ["one", "two"]))
    assert failed.count("**no**") == len(VALUES)
    single = "\n".join(report(scores((60,), (65,)), {}, ["one", "two"]))
    assert "**no**" not in single
    assert "| yes" not in single
