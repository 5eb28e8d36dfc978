"""Our scores against those of TrackEval 1.3.0, driven as its users do: with MOTChallenge files."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

from spam_plugin.engine.metrics import TrackTable, TruthTable, VideoScores, combine, evaluate_video

trackeval = pytest.importorskip(
    "trackeval", reason="trackeval 1.3.0 (pip install --no-deps trackeval) is not installed"
)

BENCHMARK = {None: "MOT15", "mot17": "MOT17", "mot20": "MOT20"}
EMPTY = np.zeros((0, 10))


def reference_scores(folder: Path, videos: dict[str, tuple[np.ndarray, np.ndarray, int]], benchmark: str) -> dict:
    """TrackEval's results of each video and of all, from rows frame, id, x, y, w, h, flag, class."""
    for name, (truth, prediction, _) in videos.items():
        for file, rows in (
            (folder / "gt" / name / "gt" / "gt.txt", truth),
            (folder / "trackers" / "ours" / "data" / f"{name}.txt", prediction),
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            text = (",".join([str(int(row[0])), str(int(row[1])), *map(repr, map(float, row[2:7]))]) for row in rows)
            klass = (f",{int(row[7])},1" if rows is truth else ",-1,-1,-1" for row in rows)
            file.write_text("".join(a + b + "\n" for a, b in zip(text, klass, strict=True)))
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(folder / "gt"),
            "TRACKERS_FOLDER": str(folder / "trackers"),
            "TRACKERS_TO_EVAL": ["ours"],
            "SEQ_INFO": {name: length for name, (_, _, length) in videos.items()},
            "SKIP_SPLIT_FOL": True,
            "BENCHMARK": benchmark,
            "PRINT_CONFIG": False,
        }
    )
    quiet = {"PRINT_CONFIG": False}
    evaluator = trackeval.Evaluator(
        quiet
        | {"PRINT_RESULTS": False, "TIME_PROGRESS": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False}
        | {"PLOT_CURVES": False, "BREAK_ON_ERROR": True, "LOG_ON_ERROR": str(folder / "error.log")}
    )
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)]
    with contextlib.redirect_stdout(io.StringIO()):
        result, _ = evaluator.evaluate([dataset], metrics)
    return {name: classes["pedestrian"] for name, classes in result["MotChallenge2DBox"]["ours"].items()}


def our_scores(videos: dict, preprocess: str | None) -> dict[str, VideoScores]:
    scores = {}
    for name, (truth, prediction, length) in videos.items():
        truth_table = TruthTable(
            truth[:, 0].astype(int) - 1, truth[:, 1].astype(int), xyxy(truth), truth[:, 7].astype(int), truth[:, 6] == 0
        )
        table = TrackTable(prediction[:, 0].astype(int) - 1, prediction[:, 1].astype(int), xyxy(prediction))
        scores[name] = evaluate_video(truth_table, table, length, preprocess, name=name)
    return scores | {"COMBINED_SEQ": combine(list(scores.values()))}


def xyxy(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)


def assert_equal_scores(ours: dict[str, VideoScores], theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for name, score in ours.items():
        reference = theirs[name]
        for key, value in score.hota.rates().items():
            np.testing.assert_allclose(value, reference["HOTA"][key], rtol=0, atol=1e-6, err_msg=f"{name} {key}")
        values = score.as_dict()
        for key in ("MOTA", "MOTP", "IDSW", "MT", "PT", "ML", "Frag"):
            assert values[key] == pytest.approx(reference["CLEAR"][key], abs=1e-6), (name, key)
        for key in ("TP", "FP", "FN"):
            assert values[key] == reference["CLEAR"]["CLR_" + key], (name, key)
        for key in ("IDF1", "IDP", "IDR", "IDTP", "IDFP", "IDFN"):
            assert values[key] == pytest.approx(reference["Identity"][key], abs=1e-6), (name, key)


def random_video(
    rng: np.random.Generator, frames: int, tracks: int, crowd: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Walking boxes with distractors and ignored spans; predicted with misses, switches, jitter and false boxes."""
    truth, prediction = [], []
    names = rng.permutation(1000)[: 4 * tracks]
    for track in range(tracks):
        first, last = np.sort(rng.integers(0, frames, 2))
        time = np.arange(first, last + 1)
        xy = rng.uniform(0, crowd, 2) + np.cumsum(rng.normal(0, 3, (len(time), 2)), 0)
        size = rng.uniform(20, 60, 2) + np.cumsum(rng.normal(0, 0.5, (len(time), 2)), 0)
        box = np.concatenate([xy, np.abs(size) + 2], 1).round(int(rng.integers(0, 3)))
        flag = np.ones(len(time)) if rng.random() < 0.7 else (rng.random(len(time)) < 0.6)
        kind = rng.choice([1, 1, 1, 1, 2, 3, 6, 7, 8, 9, 12, 13])
        truth.append(np.column_stack([time + 1, np.full(len(time), names[track]), box, flag, np.full(len(time), kind)]))
        if rng.random() < 0.1:
            continue
        found = rng.random(len(time)) < rng.choice([0.5, 0.9, 1.0])
        name = names[track + tracks * (time > rng.choice(time)).astype(int)]
        noisy = box + rng.normal(0, 1, box.shape) * size.mean() * rng.choice([0, 0.03, 0.15])
        noisy[:, 2:] = np.abs(noisy[:, 2:]) + 1
        extra = np.ones((len(time), 2))
        prediction.append(np.column_stack([time + 1, name, noisy.round(2), extra])[found])
    for track in range(tracks):
        time = np.flatnonzero(rng.random(frames) < 0.1)
        box = np.column_stack([rng.uniform(0, crowd, (len(time), 2)), rng.uniform(20, 60, (len(time), 2))]).round(2)
        name = np.full(len(time), names[2 * tracks + track])
        prediction.append(np.column_stack([time + 1, name, box, np.ones((len(time), 2))]))
    silent = rng.random(frames + 1) < 0.1
    tables = [np.concatenate(rows) for rows in (truth, prediction)]
    tables[0] = tables[0][~(rng.random(frames + 1) < 0.05)[tables[0][:, 0].astype(int)]]
    tables[1] = tables[1][~silent[tables[1][:, 0].astype(int)]]
    return rng.permutation(tables[0]), rng.permutation(tables[1]), frames


@pytest.mark.parametrize("preprocess", [None, "mot17", "mot20"])
@pytest.mark.parametrize("seed", range(4))
def test_scores_of_random_tracks_are_those_of_trackeval(tmp_path, preprocess, seed):
    rng = np.random.default_rng(seed)
    videos = {
        f"video-{number}": random_video(rng, int(rng.integers(1, 60)), int(rng.integers(1, 25)), crowd)
        for number, crowd in enumerate([40, 150, 300, 600, 2000])
    }
    theirs = reference_scores(tmp_path, videos, BENCHMARK[preprocess])
    assert_equal_scores(our_scores(videos, preprocess), theirs)


@pytest.mark.parametrize("preprocess", [None, "mot17"])
def test_scores_of_empty_tables_are_those_of_trackeval(tmp_path, preprocess):
    truth, prediction, frames = random_video(np.random.default_rng(9), 30, 12, 200)
    ignored = truth.copy()
    ignored[:, 6] = 0
    videos = {
        "both": (truth, prediction, frames),
        "no-predictions": (truth, EMPTY, frames),
        "no-truth": (EMPTY, prediction, frames),
        "nothing": (EMPTY, EMPTY, frames),
        "all-ignored": (ignored, prediction, frames),
    }
    theirs = reference_scores(tmp_path, videos, BENCHMARK[preprocess])
    assert_equal_scores(our_scores(videos, preprocess), theirs)


def test_scores_of_boxes_without_area_are_those_of_trackeval(tmp_path):
    truth, prediction, frames = random_video(np.random.default_rng(3), 30, 12, 200)
    prediction[::5, 4] = 0
    prediction[1::7, 4:6] *= -1
    videos = {"flat": (truth, prediction, frames)}
    assert_equal_scores(our_scores(videos, "mot17"), reference_scores(tmp_path, videos, "MOT17"))


@pytest.mark.parametrize("kind", ["mot_images", "mot15_text", "kitti_cars", "mot17_20_jitter"])
def test_scores_of_real_sequences_are_those_of_trackeval(tmp_path, shared_data, kind):
    videos = {}
    for folder in sorted((shared_data / kind).iterdir()):
        if not (folder / "seqinfo.ini").exists():
            continue
        truth = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",", ndmin=2)
        truth = truth[truth[:, 0] <= 150]
        prediction = tracks_by_overlap(truth, np.random.default_rng(len(videos)))
        videos[folder.name] = (truth, prediction, 150)
    assert_equal_scores(our_scores(videos, "mot17"), reference_scores(tmp_path, videos, "MOT17"))


def tracks_by_overlap(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The truth of every class with jitter and misses, each track renamed every 40 frames."""
    prediction = truth[rng.random(len(truth)) < 0.85].copy()
    prediction[:, 2:6] += rng.normal(0, 0.06, (len(prediction), 4)) * prediction[:, [4, 5, 4, 5]]
    prediction[:, 4:6] = np.abs(prediction[:, 4:6])
    prediction[:, 1] += 10_000 * ((prediction[:, 0] + 7 * prediction[:, 1]) // 40)
    return prediction.round(2)
