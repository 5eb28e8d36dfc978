"""Scores whose values can be told by hand, and what must hold of any tracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spam_plugin.engine.metrics import TrackTable, TruthTable, VideoScores, combine, evaluate_video
from spam_plugin.engine.metrics import comparison as comparison_module

NUM_FRAMES = 12
RATES = ("HOTA", "DetA", "AssA", "LocA", "DetRe", "DetPr", "AssRe", "AssPr", "MOTP", "IDF1", "IDP", "IDR")


def walk(track_id: int, frames: range, x: float = 0.0) -> TruthTable:
    """One object of 10 by 20 pixels that moves 2 pixels a frame."""
    frame = np.array(frames)
    left = x + 2.0 * frame
    return TruthTable(
        frame, np.full(len(frame), track_id), np.stack([left, left * 0, left + 10, left * 0 + 20], axis=1)
    )


def joined(*tables: TruthTable) -> TruthTable:
    return TruthTable(*(np.concatenate([getattr(t, key) for t in tables]) for key in ("frame", "track_id", "xyxy")))


def predicted(table: TruthTable) -> TrackTable:
    return TrackTable(table.frame, table.track_id, table.xyxy)


@st.composite
def tables(draw: st.DrawFn) -> tuple[TruthTable, TrackTable]:
    """Truth and predictions of random boxes, close enough to overlap often."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    both = []
    for _ in range(2):
        rows = draw(st.integers(0, 40))
        cell = rng.permutation(NUM_FRAMES * 6)[:rows]
        corner = rng.uniform(0, 40, (rows, 2))
        both.append(
            (cell % NUM_FRAMES, cell // NUM_FRAMES, np.hstack([corner, corner + rng.uniform(5, 40, (rows, 2))]))
        )
    return TruthTable(*both[0]), TrackTable(*both[1])


@given(tables())
@settings(max_examples=50, deadline=None)
def test_truth_scored_against_itself_is_perfect(pair):
    truth, _ = pair
    scores = evaluate_video(truth, predicted(truth), NUM_FRAMES).as_dict()
    if len(truth):
        assert [scores[key] for key in (*RATES, "MOTA")] == pytest.approx([1.0] * (len(RATES) + 1))
    assert (scores["FP"], scores["FN"], scores["IDSW"], scores["IDFP"], scores["IDFN"]) == (0, 0, 0, 0, 0)


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_scores_do_not_depend_on_the_order_of_rows_nor_on_names(pair, random):
    truth, prediction = pair
    rng = np.random.default_rng(random.randrange(2**32))
    rows, rows2 = rng.permutation(len(truth)), rng.permutation(len(prediction))
    names, names2 = rng.permutation(1000) - 500, rng.permutation(1000) * 10**12
    renamed = TruthTable(truth.frame[rows], names[truth.track_id[rows]], truth.xyxy[rows])
    renamed2 = TrackTable(prediction.frame[rows2], names2[prediction.track_id[rows2]], prediction.xyxy[rows2])
    first = evaluate_video(truth, prediction, NUM_FRAMES).as_dict()
    assert evaluate_video(renamed, renamed2, NUM_FRAMES).as_dict() == pytest.approx(first, abs=1e-9)


@given(tables())
@settings(max_examples=100, deadline=None)
def test_rates_are_fractions_and_counts_add_up(pair):
    truth, prediction = pair
    scores = evaluate_video(truth, prediction, NUM_FRAMES).as_dict()
    assert all(0 <= scores[key] <= 1 + 1e-12 for key in RATES)
    assert scores["MOTA"] <= 1
    assert scores["TP"] + scores["FN"] == scores["IDTP"] + scores["IDFN"] == len(truth)
    assert scores["TP"] + scores["FP"] == scores["IDTP"] + scores["IDFP"] == len(prediction)
    assert scores["MT"] + scores["PT"] + scores["ML"] == len(np.unique(truth.track_id))


@given(tables(), tables())
@settings(max_examples=50, deadline=None)
def test_combining_does_not_depend_on_the_order_of_videos(pair, pair2):
    scores = [evaluate_video(*pair, NUM_FRAMES), evaluate_video(*pair2, NUM_FRAMES)]
    assert combine(scores).as_dict() == pytest.approx(combine(scores[::-1]).as_dict())


def test_a_switch_of_names_is_one_switch_and_costs_identity():
    truth = walk(1, range(10))
    prediction = TrackTable(truth.frame, np.array([7] * 6 + [8] * 4), truth.xyxy)
    scores = evaluate_video(truth, prediction, NUM_FRAMES).as_dict()
    assert (scores["IDSW"], scores["MOTA"]) == (1, 0.9)
    assert scores["IDF1"] == pytest.approx(0.6)
    assert scores["DetA"] == 1
    assert scores["AssA"] == pytest.approx((6 * 0.6 + 4 * 0.4) / 10)


def test_an_interruption_is_a_fragment_and_no_switch():
    truth = walk(1, range(10))
    kept = np.array([0, 1, 2, 5, 6, 7, 8, 9])
    # Another object, so that the frames of the interruption have predictions at all.
    other = walk(2, range(10), x=500)
    prediction = joined(TruthTable(truth.frame[kept], truth.track_id[kept], truth.xyxy[kept]), other)
    scores = evaluate_video(joined(truth, other), predicted(prediction), NUM_FRAMES).as_dict()
    assert (scores["Frag"], scores["IDSW"], scores["FN"]) == (1, 0, 2)
    assert (scores["MT"], scores["PT"], scores["ML"]) == (1, 1, 0)


def test_a_continued_match_wins_over_a_better_overlap():
    truth = walk(1, range(2))
    other = TruthTable(np.array([1]), np.array([9]), truth.xyxy[1:] + np.array([0.5, 0, 0.5, 0]))
    own = TruthTable(truth.frame, np.array([3, 3]), truth.xyxy + np.array([[0.0], [2.0]]) * [1, 0, 1, 0])
    scores = evaluate_video(truth, predicted(joined(own, other)), NUM_FRAMES).as_dict()
    assert (scores["IDSW"], scores["FP"]) == (0, 1)


def test_predictions_on_distractors_and_ignored_truth_are_not_scored():
    person, rider, hidden = walk(1, range(10)), walk(2, range(10), 200), walk(3, range(10), 400)
    truth = joined(person, rider, hidden)
    class_id, ignored = np.repeat([1, 2, 1], 10), np.repeat([False, False, True], 10)
    truth = TruthTable(truth.frame, truth.track_id, truth.xyxy, class_id, ignored)
    plain = evaluate_video(truth, predicted(truth), NUM_FRAMES).as_dict()
    assert (plain["gt_boxes"], plain["FP"]) == (20, 10)
    scores = evaluate_video(truth, predicted(truth), NUM_FRAMES, "mot17").as_dict()
    assert (scores["gt_boxes"], scores["TP"]) == (10, 10)
    # The prediction on ignored truth stays and counts as false: MOTChallenge removes only those on distractors.
    assert scores["FP"] == 10


@pytest.mark.parametrize(("preprocess", "false_boxes"), [("mot17", 10), ("mot20", 0)])
def test_only_mot20_removes_predictions_on_vehicles_without_motor(preprocess, false_boxes):
    truth = joined(walk(1, range(10)), walk(2, range(10), 200))
    table = TruthTable(truth.frame, truth.track_id, truth.xyxy, np.repeat([1, 6], 10))
    assert evaluate_video(table, predicted(truth), NUM_FRAMES, preprocess).as_dict()["FP"] == false_boxes


def test_a_video_weighs_by_its_boxes():
    long, short = walk(1, range(9)), walk(1, range(1))
    perfect = evaluate_video(long, predicted(long), NUM_FRAMES)
    missed = evaluate_video(short, TrackTable.empty(), NUM_FRAMES)
    overall = combine([perfect, missed]).as_dict()
    assert overall["MOTA"] == pytest.approx(0.9)
    assert overall["DetRe"] == pytest.approx(0.9)
    assert (overall["frames"], overall["gt_boxes"], overall["pred_boxes"]) == (2 * NUM_FRAMES, 10, 9)


def test_percent_is_a_hundredfold_of_rates_and_leaves_counts_alone():
    truth = walk(1, range(9))
    scores = evaluate_video(truth, predicted(walk(1, range(3))), NUM_FRAMES)
    assert scores.as_dict(percent=True)["DetRe"] == 33.3333
    assert scores.as_dict(percent=True)["FN"] == scores.as_dict()["FN"] == 6


def test_comparing_in_small_portions_gives_the_same_scores(monkeypatch):
    rng = np.random.default_rng(0)
    frame, track = np.divmod(np.arange(120), 10)
    corner = rng.uniform(0, 60, (120, 2))
    truth = TruthTable(frame, track, np.hstack([corner, corner + 30]))
    prediction = TrackTable(frame, rng.permutation(10)[track], truth.xyxy + rng.normal(0, 3, (120, 4)))
    whole = evaluate_video(truth, prediction, NUM_FRAMES)
    monkeypatch.setattr(comparison_module, "PAIRS_AT_ONCE", 150)
    assert_same(evaluate_video(truth, prediction, NUM_FRAMES), whole)


def assert_same(scores: VideoScores, expected: VideoScores) -> None:
    assert scores.as_dict() == expected.as_dict()


def changed(table: TrackTable, **columns: np.ndarray) -> TrackTable:
    return TrackTable(**({"frame": table.frame, "track_id": table.track_id, "xyxy": table.xyxy} | columns))


def test_a_track_with_two_boxes_in_a_frame_is_named():
    truth = walk(4, range(5))
    table = changed(predicted(truth), frame=np.array([0, 1, 2, 3, 3]))
    with pytest.raises(ValueError, match=r"video 'street', frame 4: predictions have two boxes of track 4"):
        evaluate_video(truth, table, NUM_FRAMES, name="street")
    with pytest.raises(ValueError, match=r"frame 4: ground truth have two boxes of track 4"):
        evaluate_video(TruthTable(table.frame, table.track_id, table.xyxy), predicted(truth), NUM_FRAMES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_is_named(value):
    truth = walk(4, range(5))
    boxes = truth.xyxy.copy()
    boxes[2, 3] = value
    with pytest.raises(ValueError, match=r"video 'street', frame 3: the predictions box of track 4 is .* finite"):
        evaluate_video(truth, changed(predicted(truth), xyxy=boxes), NUM_FRAMES, name="street")


@pytest.mark.parametrize("frame", [-1, NUM_FRAMES])
def test_a_frame_outside_the_video_is_named(frame):
    truth = walk(4, range(5))
    table = changed(predicted(truth), frame=np.array([0, 1, 2, 3, frame]))
    with pytest.raises(ValueError, match=rf"box of track 4 in frame {frame + 1}, but the video has frames 1 to 12"):
        evaluate_video(truth, table, NUM_FRAMES)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"ground truth: column track_id has shape \(2,\), expected \(3,\)"):
        TruthTable(np.arange(3), np.arange(2), np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"predictions: column xyxy has shape \(3, 5\), expected \(3, 4\)"):
        TrackTable(np.arange(3), np.arange(3), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="column frame has 2 dimensions"):
        TrackTable(np.zeros((3, 1), int), np.arange(3), np.zeros((3, 4)))


def test_unknown_preprocessing_and_unknown_classes_are_refused():
    truth = walk(1, range(3))
    with pytest.raises(ValueError, match="unknown preprocessing 'mot99'; known are mot17, mot20"):
        evaluate_video(truth, predicted(truth), NUM_FRAMES, "mot99")
    table = TruthTable(truth.frame, truth.track_id, truth.xyxy, np.array([1, 1, 14]))
    with pytest.raises(ValueError, match="frame 3: ground truth has class 14, which is no class of MOTChallenge"):
        evaluate_video(table, predicted(truth), NUM_FRAMES, "mot17", name="street")


def test_nothing_to_combine_is_refused():
    with pytest.raises(ValueError, match="no videos to combine"):
        combine([])
