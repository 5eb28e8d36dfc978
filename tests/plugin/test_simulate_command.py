"""``spam-plugin simulate``, called as from a shell."""

import json

import fiftyone as fo
import pytest

from spam_plugin.integrations.fiftyone_.raw import declare_detections, write_frame_labels


def everything(dataset):
    """All that the database holds of a dataset, and of what the plugin notes about it."""
    import fiftyone.core.odm as foo

    database = foo.get_db_conn()
    own = [dataset._sample_collection_name, dataset._frame_collection_name]
    held = {name: list(database[name].find().sort("_id")) for name in own}
    held["dataset"] = list(database["datasets"].find({"_id": dataset._doc.id}, {"last_loaded_at": 0}))
    held["notes"] = list(database["execution_store"].find({"dataset_id": dataset._doc.id}))
    assert all(held.values())
    return held


def test_the_curve_is_told_as_json_and_nothing_in_the_dataset_changes(crossing, spam, tmp_path):
    assert spam("label", crossing.name)[0] == 0
    (tmp_path / "answers.json").write_text(
        json.dumps(
            [{"video": crossing.first().id, "verdict": "invalid", "boxes": [{"frame": 3, "xyxy": [0, 0, 9, 9]}]}]
        )
    )
    assert spam("answer", crossing.name, tmp_path / "answers.json")[0] == 0
    crossing.reload()
    before = everything(crossing)
    code, out, err = spam("simulate", crossing.name, "--gt", "ground_truth", "--budgets", "0,1,2", "--json")
    assert (code, err) == (0, "")
    points = json.loads(out)
    assert [point["budget"] for point in points] == [0, 1, 2]
    boxes = crossing.count("frames.ground_truth.detections")
    for point in points:
        assert list(point)[:6] == ["budget", "clicks", "effort", "HOTA", "IDF1", "MOTA"]
        assert point["clicks"] <= 3 * boxes * point["budget"] / 100
        assert point["effort"] == pytest.approx(100 * point["clicks"] / (3 * boxes), abs=1e-4)
        assert list(point["videos"]) == ["crossing"]
        for name in ("clicks", "effort", "HOTA", "IDF1", "MOTA"):
            assert point["videos"]["crossing"][name] == pytest.approx(point[name], abs=1e-4)
    assert points[0]["clicks"] == 0 < points[1]["clicks"] < points[2]["clicks"]
    assert points[0]["IDF1"] < points[2]["IDF1"]
    assert everything(crossing) == before


def test_without_a_click_the_labels_are_worth_what_evaluate_says(crossing, spam):
    _, out, _ = spam("simulate", crossing.name, "--gt", "frames.ground_truth", "--budgets", "0", "--json")
    spam("label", crossing.name)
    _, told, _ = spam("evaluate", crossing.name, "--pred", "spam_tracks", "--gt", "ground_truth", "--json")
    (point,), scores = json.loads(out), json.loads(told)["overall"]
    for name in ("HOTA", "IDF1", "MOTA"):
        assert point[name] == pytest.approx(scores[name], abs=0.01)


def test_the_curve_is_told_as_a_table_and_drawn(untouched, spam, tmp_path):
    drawn = tmp_path / "new" / "curve.png"
    code, out, _ = spam("simulate", untouched.name, "--gt", "ground_truth", "--budgets", "0, 1%", "--plot", drawn)
    assert code == 0
    for word in ("budget %", "clicks", "effort %", "HOTA", "IDF1", "MOTA"):
        assert word in out
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_a_person_who_errs_does_so_by_the_seed(untouched, spam):
    args = ("simulate", untouched.name, "--gt", "ground_truth", "--budgets", "0,4", "--error-rate", "0.3", "--json")
    curves = [spam(*args, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert curves[0] == curves[1] != curves[2]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--gt", "truth"), "no field 'frames.truth'; fields with boxes: 'candidates'"),
        (("--gt", "none"), "video 'crossing' has no ground truth in field 'none'"),
        (("--gt", "longer"), "goes to frame 41, but the video has 40 frames"),
        (("--gt", "shorter"), "ends at frame 20, but the video has 40 frames"),
        (("--gt", "larger"), "lies outside of the image (640 x 480 pixels)"),
        (("--gt", "candidates"), "a box in field 'frames.candidates' has no index"),
        (("--gt", "twice"), "two boxes of track 1"),
        (("--gt", "ground_truth", "--budgets", "0,-1"), "a budget of -1 % is not between 0 and 100"),
        (("--gt", "ground_truth", "--budgets", "101"), "a budget of 101 % is not between 0 and 100"),
        (("--gt", "ground_truth", "--budgets", "2,1"), "must ascend"),
        (("--gt", "ground_truth", "--budgets", "1;2"), "write percentages with commas"),
        (("--gt", "ground_truth", "--error-rate", "1"), "less than 1"),
        (("--gt", "ground_truth", "--rounds", "0"), "must be more than 0"),
        (("--gt", "ground_truth", "--acquisition", "luck"), "there is no acquisition 'luck'"),
        (("--gt", "ground_truth", "--plot", "curve.txt"), "ends in .png, .pdf or .svg"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_code_2(wrong_truths, spam, args, why):
    code, out, err = spam("simulate", wrong_truths, *args)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert why in err


@pytest.fixture(scope="module")
def wrong_truths(untouched, scene):
    """The name of a dataset with fields of ground truth that cannot be of its video."""
    truth = scene.truth(1)
    box = {t + 1: [scene.document(truth[t], 1)] for t in truth}
    last = box[scene.length]
    fields = {
        "none": {},
        "longer": {**box, scene.length + 1: last},
        "shorter": {number: found for number, found in box.items() if number <= scene.length // 2},
        "larger": {number: [scene.document(truth[number - 1], 1, by=640.0)] for number in box},
        "twice": {**box, 4: last * 2},
    }
    for field, frames in fields.items():
        declare_detections(untouched, f"frames.{field}")
        write_frame_labels(untouched, untouched.first().id, field, frames)
    return untouched.name


def test_a_video_may_end_without_objects_if_its_ground_truth_says_so(crossing, scene, spam):
    declare_detections(crossing, "frames.early")
    frames = {t + 1: [scene.document(scene.truth(1)[t], 1)] if t < 15 else [] for t in range(scene.length)}
    write_frame_labels(crossing, crossing.first().id, "early", frames)
    code, out, _ = spam("simulate", crossing.name, "--gt", "early", "--budgets", "0", "--json")
    assert code == 0
    assert len(json.loads(out)) == 1


def test_a_dataset_that_is_not_there_is_named(spam):
    code, _, err = spam("simulate", "nowhere-at-all", "--gt", "ground_truth")
    assert code == 2
    assert "there is no dataset 'nowhere-at-all'" in err
    assert not fo.dataset_exists("nowhere-at-all")


def test_to_follow_what_was_drawn_the_media_must_be_there(crossing, spam):
    code, _, err = spam("simulate", crossing.name, "--gt", "ground_truth", "--budgets", "0,1", "--fill")
    assert code == 2
    assert "no such file" in err
    code, _, err = spam("simulate", crossing.name, "--gt", "ground_truth", "--tracker", "t.safetensors")
    assert code == 2
    assert "--fill" in err
