"""The measures behind the benchmarks' tables, on worlds small enough to work out by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from association import filled, match_frames, perfect_association  # noqa: E402
from growth import exponent  # noqa: E402
from labelling import MadeLinks, chosen_settings  # noqa: E402
from reliability import Claims, claims_of, probability_of  # noqa: E402
from reporting import table  # noqa: E402
from scoring import means  # noqa: E402
from sequences import read_rows, targets  # noqa: E402
from stream import simulate  # noqa: E402

from spam_plugin.engine.metrics import TrackTable, TruthTable  # noqa: E402
from spam_plugin.models.columns import Source, Tracks  # noqa: E402
from spam_plugin.models.errors import InputError, MissingError  # noqa: E402
from spam_plugin.models.spam.beliefs import entropy  # noqa: E402


def boxes(*left):
    """Squares of side 10 at the given left edges."""
    return np.array([[x, 0, x + 10, 10] for x in left], float)


def truth_of(frame, track, left, ignored=None):
    """Ground truth of squares, all of class 1."""
    count = len(frame)
    flags = np.zeros(count, bool) if ignored is None else np.array(ignored)
    return TruthTable(np.array(frame), np.array(track), boxes(*left), np.ones(count, np.int64), flags)


def tracks_of(frame, track, left, validity, doubt):
    """Tracks of squares that the model took from candidates of the same rows."""
    count = len(frame)
    return Tracks(
        frame=np.array(frame), xyxy=boxes(*left).astype(np.float32), track_index=np.array(track),
        class_index=np.zeros(count, np.int64), validity=np.array(validity, np.float32),
        uncertainty=entropy(np.array(validity)), link_uncertainty=np.array(doubt, np.float32),
        source=np.full(count, Source.MODEL, np.uint8), keyframe=np.zeros(count, bool), candidate_index=np.arange(count),
        track_validity=np.ones(max(track) + 1, np.float32), track_uncertainty=np.zeros(max(track) + 1, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("adaptive", [False, True])
def test_claims_that_come_true_as_often_as_stated_have_no_error(adaptive):
    right = np.arange(1000) % 4 > 0
    assert Claims(np.full(1000, 0.75), right).error(adaptive=adaptive) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_calibration_error_is_the_distance_between_stated_and_true(adaptive):
    assert Claims(np.full(300, 0.9), np.zeros(300, bool)).error(adaptive=adaptive) == pytest.approx(0.9)


def test_no_claims_have_no_error():
    assert Claims.together([]).error() is None


def test_a_certain_claim_falls_into_the_last_bin():
    assert Claims(np.ones(2), np.ones(2, bool)).bins().tolist() == [[1, 1, 1]]


def test_entropy_is_turned_back_into_the_probability_that_it_came_from():
    p = np.array([0.5, 0.6, 0.9, 0.999])
    assert probability_of(entropy(p)) == pytest.approx(p, abs=1e-4)


def test_as_many_boxes_are_matched_as_can_be():
    # The box at 2 overlaps both truths; only giving it the worse one matches two.
    matched = match_frames(np.array([0, 0]), boxes(2, -1), truth_of([0, 0], [1, 2], [0, 4]))
    assert matched.tolist() == [1, 0]


def test_perfect_association_drops_what_hits_nothing_and_names_the_rest():
    tracks, rows = perfect_association(np.array([0, 1, 1]), boxes(0, 1, 500), truth_of([0, 1], [7, 7], [0, 0]))
    assert rows.tolist() == [0, 1]
    assert tracks.track_id.tolist() == [7, 7]


def test_gaps_of_twenty_frames_are_filled_and_longer_ones_are_not():
    given = TrackTable(np.array([0, 20, 41]), np.array([3, 3, 3]), boxes(0, 20, 41))
    full = filled(given)
    assert sorted(full.frame.tolist()) == [*range(21), 41]
    assert full.xyxy[full.frame == 5].tolist() == boxes(5).tolist()


def test_a_box_on_ignored_truth_is_no_claim_and_a_link_to_another_target_is_wrong():
    truth = truth_of([0, 1, 1], [1, 2, 9], [0, 0, 100], [False, False, True])
    tracks = tracks_of([0, 1, 1], [0, 0, 1], [0, 0, 100], [0.9, 0.8, 0.7], [0.5, 0.5, 0.5])
    links = MadeLinks(np.array([1, -1, -1]), np.array([0.95, np.nan, np.nan]))
    of_boxes, of_links = claims_of(tracks, truth, links)
    assert of_boxes.probability == pytest.approx([0.9, 0.8])
    assert of_boxes.right.tolist() == [True, True]
    assert of_links.probability == pytest.approx([0.95])
    assert of_links.right.tolist() == [False]


def test_a_link_over_a_dropped_box_is_as_sure_as_its_surer_end():
    truth = truth_of([0, 2], [1, 1], [0, 0])
    tracks = tracks_of([0, 2], [0, 0], [0, 0], [0.9, 0.9], [entropy(np.array(0.8)), 1.0])
    _, of_links = claims_of(tracks, truth, MadeLinks(np.array([-1, -1]), np.array([np.nan, np.nan])))
    assert of_links.probability == pytest.approx([0.8], abs=1e-4)
    assert of_links.right.tolist() == [True]


def test_targets_are_what_is_neither_ignored_nor_of_another_class():
    truth = TruthTable(
        np.zeros(3, int), np.arange(3), boxes(0, 50, 90), np.array([1, 8, 1]), np.array([False, False, True])
    )
    assert targets(truth).track_id.tolist() == [0]


def test_means_weigh_sequences_alike_and_read_the_first_choice_only():
    rows = [
        {"set": "a", "detections": "det", "HOTA": 40.0, "IDSW": 1},
        {"set": "a", "detections": "det", "HOTA": 60.0, "IDSW": 2},
        {"set": "a", "detections": "det_other", "HOTA": 0.0, "IDSW": 9},
    ]
    assert means(rows, ("HOTA", "IDSW")) == {"a": {"HOTA": 50, "IDSW": 3}}


def test_linear_growth_has_an_exponent_of_one():
    rows = [{"frames": n, "seconds": 0.002 * n} for n in (10, 100, 1000)]
    assert exponent(rows, "frames") == pytest.approx(1)


def test_a_stream_has_the_asked_number_of_boxes_and_is_the_same_for_the_same_seed():
    video, candidates = simulate(2000, 30)
    assert video.num_frames == 2000
    assert len(candidates) / 2000 == pytest.approx(30, rel=0.1)
    assert (simulate(2000, 30)[1].xyxy == candidates.xyxy).all()


def test_a_table_shows_one_decimal_and_a_dash_for_nothing():
    assert table(["a", "b"], [[1.25, None]]).splitlines()[-1] == "| 1.2 | - |"


def test_settings_are_literals_of_known_names():
    assert chosen_settings(["smooth=False", "num_levels=3"]).num_levels == 3
    with pytest.raises(InputError, match="no setting 'smoth'"):
        chosen_settings(["smoth=False"])
    with pytest.raises(InputError, match="setting smooth"):
        chosen_settings(["smooth=off"])


def test_rows_are_parted_by_commas_or_blanks_and_missing_columns_are_one(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,2,3,4,5,0.5\n2 -1 2 3 4 5 0.25\n")
    assert read_rows(path).tolist() == [[1, -1, 2, 3, 4, 5, 0.5, 1, 1], [2, -1, 2, 3, 4, 5, 0.25, 1, 1]]
    path.write_text("1,-1,2,x,4,5,0.5\n")
    with pytest.raises(InputError, match=r"det\.txt"):
        read_rows(path)
    with pytest.raises(MissingError, match="no file"):
        read_rows(tmp_path / "none.txt")
