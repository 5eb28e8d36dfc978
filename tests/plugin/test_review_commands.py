"""``spam-plugin queries``, ``answer`` and what ``label`` makes of answers, called as from a shell."""

import json

import numpy as np
import pytest

BUDGETS = {
    "3.3%": ((), 7),
    "20": ((), 20),
    "20 clicks": ((), 20),
    "0.01h": (("--clicks-per-hour", 900), 9),
}


@pytest.fixture
def file_of(tmp_path):
    """A function that writes a file of answers."""

    def write(*answers, name="answers.json"):
        (tmp_path / name).write_text(json.dumps(answers))
        return tmp_path / name

    return write


@pytest.fixture
def said(scene):
    """A function that makes an answer about candidates of a dataset, which are given as (object, frame)."""

    def make(dataset, verdict, *places, **more):
        boxes = [{"frame": t, "xyxy": list(scene.candidates(n)[t])} for n, t in places]
        return {"video": dataset.first().id, "verdict": verdict, "boxes": boxes, "source": "anna", **more}

    return make


def open_queries(dataset):
    """key -> cost of the questions in the field, and how many the video says there are."""
    dataset.reload()
    keys, costs = dataset.values(["frames.spam_queries.detections.query", "frames.spam_queries.detections.cost"])
    flat = [
        pair for k, c in zip(keys[0], costs[0], strict=True) for pair in zip(k or (), c or (), strict=True)
    ]  # fmt: skip
    return dict(flat), dataset.first().spam_open_queries


def boxes_at(dataset, frame, box, scene):
    """Written boxes that overlap a box in pixels, in a frame from 0, by more than a half."""
    labels = dataset.first().frames[frame + 1].spam_tracks
    scale = np.array([scene.width, scene.height] * 2)
    found = []
    for one in labels.detections if labels is not None else ():
        left, top, width, height = np.array(one.bounding_box) * scale
        own = np.array([left, top, left + width, top + height])
        sides = np.minimum(own[2:], box[2:]) - np.maximum(own[:2], box[:2])
        common = sides.clip(0).prod()
        if common / ((own[2:] - own[:2]).prod() + (box[2] - box[0]) * (box[3] - box[1]) - common) > 0.5:
            found.append((one, own))
    return found


def written(dataset):
    """Everything about the tracks but their ids."""
    dataset.reload()
    sample = dataset.first()
    return {
        number: [(d.bounding_box, d.index, d.instance.id, d.source) for d in frame.spam_tracks.detections]
        for number, frame in sample.frames.items()
        if frame.spam_tracks is not None
    }


def test_questions_become_a_field_a_saved_view_and_a_run_and_their_cost_is_told(crossing, spam):
    assert spam("label", crossing.name)[0] == 0
    before = written(crossing)
    code, out, err = spam("queries", crossing.name, "--budget", "3.3%", "--wish", "2%")
    assert (code, err) == (0, "")
    costs, number = open_queries(crossing)
    assert number == len(costs) > 0
    assert sum(costs.values()) <= 7
    assert f"it costs {sum(costs.values())} clicks, about a minute" in out
    assert "the budget allows 7 clicks" in out
    assert "to bring wrong boxes under 2.0%" in out

    sample = crossing.first()
    assert sample.spam_expected_gain > 0
    asked = [box for frame in sample.frames.values() if frame.spam_queries for box in frame.spam_queries.detections]
    assert {box.label for box in asked} <= {"valid", "link", "box", "start", "end", "missing"}
    assert all(0 <= box.probability <= 1 and box.gain > 0 and box.text and box.rank >= 1 for box in asked)
    assert {box.track for box in asked} <= {0, 1, 2}
    assert crossing.get_field("frames.spam_queries.detections.gain").description
    assert crossing.load_saved_view("open queries").values("id") == [sample.id]

    config = crossing.get_run_info("queries_spam_tracks").config
    assert (config.method, config.out, config.clicks, config.allowed) == (
        "spam_queries", "spam_tracks", sum(costs.values()), 7,
    )  # fmt: skip
    assert (config.budget["amount"], config.budget["unit"], config.acquisition) == (3.3, "%", "boxes")
    results = crossing.load_run_results("queries_spam_tracks")
    assert {query["key"] for query in results.queries} == set(costs)
    assert results.estimates["wish"] == 0.02
    assert written(crossing) == before


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_is_a_share_or_clicks_or_hours_at_a_rate(crossing, spam, budget):
    more, allowed = BUDGETS[budget]
    code, out, _ = spam("queries", crossing.name, "--budget", budget, "--json", *more)
    told = json.loads(out)
    assert code == 0
    assert told["allowed"] == allowed
    assert 0 < told["clicks"] <= allowed
    assert told["clicks"] == sum(query["cost"] for query in told["queries"])
    assert told["minutes"] == pytest.approx(60 * told["clicks"] / (900 if more else 1200), abs=0.01)
    assert sum(told["by_question"].values()) == len(told["queries"]) == open_queries(crossing)[1]


def test_asking_again_replaces_what_was_open(crossing, spam):
    from spam_plugin.integrations.fiftyone_.queries import load_queries

    spam("queries", crossing.name, "--budget", "20 clicks")
    many, _ = open_queries(crossing)
    spam("queries", crossing.name, "--budget", "2 clicks", "--acquisition", "random", "--seed", 3)
    few, number = open_queries(crossing)
    assert sum(few.values()) <= 2 < sum(many.values())
    assert number == len(few)
    assert crossing.list_runs() == ["queries_spam_tracks", "queries_spam_tracks_2"]
    assert {query.key: query.cost for query in load_queries(crossing, "spam_tracks")} == few


def test_a_question_that_has_its_answer_is_open_no_more_and_not_asked_again(crossing, spam, file_of):
    _, out, _ = spam("queries", crossing.name, "--budget", "20 clicks", "--json")
    query = next(one for one in json.loads(out)["queries"] if one["question"] == "valid")
    gain = crossing.first().reload() or crossing.first().spam_expected_gain
    reply = {"video": query["video"], "verdict": "valid", "boxes": query["boxes"], "query": query["key"]}
    assert spam("answer", crossing.name, file_of(reply))[0] == 0
    left, number = open_queries(crossing)
    assert query["key"] not in left
    assert number == len(left) == len(json.loads(out)["queries"]) - 1
    assert crossing.first().spam_expected_gain == pytest.approx(gain - query["gain"])
    _, out, _ = spam("queries", crossing.name, "--budget", "100%", "--json")
    assert query["key"] not in {one["key"] for one in json.loads(out)["queries"]}


def test_the_same_answers_twice_change_nothing(crossing, spam, said, file_of):
    file = file_of(
        said(crossing, "valid", (1, 3)),
        said(crossing, "same", (1, 14), (1, 24), when=5),
        said(crossing, "valid", (1, 3)),
    )
    code, out, err = spam("answer", crossing.name, file, "--list")
    kept = json.loads(out)
    assert code == 0
    assert "new answers: 2; known already: 1; videos: 1" in err
    assert sorted(answer["verdict"] for answer in kept) == ["same", "valid"]
    code, out, err = spam("answer", crossing.name, file, "--list")
    assert code == 0
    assert "new answers: 0; known already: 3; videos: 1" in err
    assert json.loads(out) == kept
    assert spam("answer", crossing.name, file_of(*kept))[2].startswith("new answers: 0;")


BAD_ANSWERS = {
    "about another video": ({"video": "0" * 24}, "has no video '000000000000000000000000'"),
    "without a video": ({"video": None}, "has no 'video'"),
    "with a key that nobody knows": ({"certainty": 1}, "an answer has ['certainty']"),
    "with an unknown verdict": ({"verdict": "maybe"}, "the verdict 'maybe'; there are: valid, invalid"),
    "with a time in words": ({"when": "yesterday"}, "'when' 'yesterday', which is no number"),
    "without boxes": ({"boxes": []}, "it names 0 boxes or objects, but needs 1"),
    "about a box without area": ({"boxes": [{"frame": 0, "xyxy": [5, 5, 5, 9]}]}, "box [5, 5, 5, 9] in frame 1"),
    "about half a frame": ({"boxes": [{"frame": 0.5, "xyxy": [5, 5, 9, 9]}]}, "a whole number from 0"),
    "about no box": ({"boxes": ["here"]}, "an answer has box 'here'"),
    "that draws without a drawing": ({"verdict": "box"}, "it must have a drawn box"),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS)
def test_an_answer_that_cannot_be_used_is_refused_and_none_of_its_file_is_kept(untouched, spam, said, file_of, bad):
    change, why = BAD_ANSWERS[bad]
    file = file_of(said(untouched, "valid", (1, 3)), {**said(untouched, "valid", (1, 4)), **change})
    code, out, err = spam("answer", untouched.name, file)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert why in err
    assert "another video" in bad or "answers.json, answer 2" in err
    assert json.loads(spam("answer", untouched.name, "--list")[1]) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [("[{", "no JSON"), ("", "no JSON"), ('{"video": "a"}', "a list of answers"), (None, "there is no file")],
)
def test_a_file_that_holds_no_answers_is_refused(untouched, spam, tmp_path, text, why):
    file = tmp_path / "answers.json"
    if text is not None:
        file.write_text(text)
    code, out, err = spam("answer", untouched.name, file)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert why in err
    assert "answers.json" in err


def test_labels_keep_to_answers_however_often_and_with_whatever_settings_they_are_made(
    crossing, spam, said, file_of, scene
):
    drawn = (135, 98, 205, 192)
    file = file_of(
        said(crossing, "invalid", *((2, t) for t in scene.candidates(2))),
        said(crossing, "valid", *((0, t) for t in scene.candidates(0))),
        said(crossing, "box", (1, 10), drawn={"frame": 17, "xyxy": drawn}),
        said(crossing, "same", (0, 11), (3, 12)),
        said(crossing, "different", (1, 14), (1, 24)),
        said(crossing, "ends", (3, 19), (3, 19)),
    )
    assert spam("label", crossing.name)[0] == 0
    assert spam("answer", crossing.name, file)[0] == 0
    for settings in ((), (), ("--fast", "--levels", 4)):
        code, out, err = spam("label", crossing.name, "--json", *settings)
        assert (code, err) == (0, "")
        assert json.loads(out)["videos"]["crossing"]["answers"] == 6
        crossing.reload()
        for frame, box in scene.candidates(2).items():
            assert not boxes_at(crossing, frame, box, scene), "it is no object"
        for frame, box in scene.candidates(0).items():
            assert boxes_at(crossing, frame, box, scene), "it is an object"
        ((own, place),) = [pair for pair in boxes_at(crossing, 17, drawn, scene) if pair[0].source == "human"]
        np.testing.assert_allclose(place, drawn, atol=1e-3)
        assert own.answered
        ((first, _),) = boxes_at(crossing, 10, scene.candidates(1)[10], scene)
        assert own.index == first.index
        (dream,), (third,) = (boxes_at(crossing, t, scene.candidates(n)[t], scene) for n, t in ((0, 11), (3, 12)))
        assert dream[0].index == third[0].index
        (left,), (right,) = (boxes_at(crossing, t, scene.candidates(1)[t], scene) for t in (14, 24))
        assert left[0].index != right[0].index
        behind = {index for number, found in written(crossing).items() if number > 20 for _, index, _, _ in found}
        assert third[0].index not in behind
        if not settings:
            before = written(crossing)
    assert spam("label", crossing.name)[0] == 0
    assert written(crossing) == before


def test_answers_made_on_other_candidates_are_found_by_geometry_or_reported_one_by_one(
    crossing, spam, said, file_of, scene
):
    gone = said(crossing, "valid", (1, 2), source="ben")
    gone["boxes"][0]["xyxy"] = [600, 10, 620, 30]
    beyond = said(crossing, "valid", (1, 3), source="carla")
    beyond["boxes"][0]["frame"] = 70
    file = file_of(said(crossing, "invalid", *((2, t) for t in scene.candidates(2))), gone, beyond)
    assert spam("answer", crossing.name, file)[0] == 0
    code, out, err = spam("label", crossing.name, "--candidates", "shifted", "--json")
    assert code == 0
    lost, outside = sorted(err.splitlines())
    assert "'valid' of ben is about a box in frame 3 at [600.0, 10.0, 620.0, 30.0], where no candidate is any" in lost
    assert "'valid' of carla names frame 71, but the video has 40 frames" in outside
    report = json.loads(out)["videos"]["crossing"]
    assert report["answers"] == 1
    assert sorted(report["problems"]) == [lost, outside]
    for frame, box in scene.candidates(2).items():
        assert not boxes_at(crossing, frame, box, scene)
    assert len(json.loads(spam("answer", crossing.name, "--list")[1])) == 3


def test_answers_that_contradict_each_other_are_reported_with_both_sources(crossing, spam, said, file_of):
    file = file_of(
        said(crossing, "same", (1, 14), (1, 24), source="anna", when=1),
        said(crossing, "different", (1, 14), (1, 24), source="ben", when=2),
        said(crossing, "different", (2, 3), (2, 3), source="carla"),
    )
    assert spam("answer", crossing.name, file)[0] == 0
    code, out, err = spam("label", crossing.name, "--json")
    assert code == 0
    itself, two = sorted(err.splitlines())
    assert "'same' of anna cannot hold" in two
    assert "answer 'different' of ben holds" in two
    assert "'different' of carla cannot hold" in itself
    assert "it is not used" in itself
    assert json.loads(out)["videos"]["crossing"]["answers"] == 1
    assert sorted(crossing.load_run_results("label_spam_tracks").report["videos"]["crossing"]["problems"]) == [
        itself,
        two,
    ]
    code, _, err = spam("queries", crossing.name)
    assert code == 0
    assert f"contradiction: {two}" in err


def test_what_the_same_person_says_later_holds_without_a_word(crossing, spam, said, file_of):
    file = file_of(
        said(crossing, "same", (1, 14), (1, 24), when=1), said(crossing, "different", (1, 14), (1, 24), when=2)
    )
    assert spam("answer", crossing.name, file)[0] == 0
    code, out, err = spam("label", crossing.name, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["videos"]["crossing"]["answers"] == 1


@pytest.mark.parametrize(
    ("budget", "why"),
    [
        ("-1%", "must be more than 0"),
        ("-5", "must be more than 0"),
        ("0", "must be more than 0"),
        ("0%", "must be more than 0"),
        ("100.5%", "more than labelling everything by hand"),
        ("inf clicks", "must be more than 0"),
        ("nan%", "must be more than 0"),
        ("5 days", "write 3.3%"),
        ("much", "write 3.3%"),
        ("", "write 3.3%"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_before_anything_is_done(spam, budget, why):
    code, out, err = spam("queries", "nowhere", "--budget", budget)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert why in err


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--budget", "2h", "--clicks-per-hour", "0"), "must be more than 0"),
        (("--acquisition", "luck"), "there is no acquisition 'luck'; there are: boxes, entropy, random, frames"),
        (("--wish", "150%"), "is not between 0 and 1"),
        (("--wish", "soon"), "write a share such as 2%"),
        (("--candidates", "boxes"), "no field 'frames.boxes'"),
        (("--view", "none"), "no saved view 'none'"),
    ],
)
def test_what_cannot_be_asked_for_is_told_and_nothing_is_written(untouched, spam, args, why):
    code, out, err = spam("queries", untouched.name, *args)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert why in err
    untouched.reload()
    assert not untouched.list_runs()
    assert not untouched.list_saved_views()
    assert untouched.get_field("frames.spam_queries") is untouched.get_field("spam_open_queries") is None


def test_a_field_and_a_view_of_somebody_elses_stay(crossing, spam):
    from spam_plugin.integrations.fiftyone_.raw import declare_detections

    crossing.save_view("open queries", crossing.limit(1), description="my own")
    declare_detections(crossing, "frames.spam_queries")
    code, _, err = spam("queries", crossing.name)
    assert code == 2
    assert "field 'frames.spam_queries'" in err
    assert "not overwritten" in err
    crossing.reload()
    assert crossing.get_field("frames.spam_tracks") is crossing.get_field("spam_open_queries") is None
    crossing.delete_frame_field("spam_queries")
    assert spam("queries", crossing.name)[0] == 0
    assert crossing.get_saved_view_info("open queries")["description"] == "my own"
