"""Button "fill gaps": its form counts what people drew, and its outcome what was filled in."""

import pytest


@pytest.fixture
def drawn(asked, scene):
    """A labelled dataset with three boxes that a person drew of one object."""
    from spam_plugin.integrations.fiftyone_.raw import change_labels

    sample = asked.first()
    frames = (2, 12, 22)
    keys = [(sample.id, frame + 1) for frame in frames]
    change_labels(
        asked, "spam_tracks", keys, lambda at, there: [*there, scene.document(scene.truth(2)[frames[at]], 77, by=40)]
    )
    return asked


@pytest.fixture
def filled(monkeypatch):
    """What ``propagate`` was called with, in place of following anything."""
    from spam_plugin.integrations.fiftyone_ import propagating
    from spam_plugin.integrations.fiftyone_.fill_reports import FilledVideo, PropagateReport
    from spam_plugin.models.errors import InputError

    calls = []

    def propagate(view, *, progress, **rest):
        if rest["over"] == "model":
            raise InputError("video 'crossing' cannot be used; mend it")
        calls.append({"view": view, **rest})
        from spam_plugin.engine.label import Step

        progress(Step("filling", 1, 2, "crossing"))
        progress(Step("following", 3, 9, "crossing"))
        one = FilledVideo("crossing", 1, 3, 2, 0, 2, 15, 3, 1, 0.8, problems=("a frame is gone",))
        return PropagateReport((one,), 0, {"other": "it is broken"}, "spot-2", "propagate_spam_tracks")

    monkeypatch.setattr(propagating, "propagate", propagate)
    return calls


@pytest.fixture(autouse=True)
def nothing_counted():
    from spam_plugin.plugin.operators import fill_gaps

    fill_gaps._counted.clear()


def test_the_form_says_how_many_objects_people_drew_and_how_many_frames_are_to_fill(ops, drawn):
    form = ops.form("fill_gaps", drawn)
    assert form.invalid == {}
    assert form.said["preview"].startswith("1 object with 3 boxes of people in 1 video, 18 frames between them; about ")
    assert (form.defaults["out"], form.defaults["over"], form.defaults["open_frames"]) == (
        "spam_tracks",
        "interpolated",
        60,
    )
    assert "candidates" not in form.choices["out"]


def test_where_nobody_drew_a_box_it_says_how_to_begin_and_has_no_button(ops, asked):
    form = ops.form("fill_gaps", asked)
    assert "draw one of an object in two or more frames" in form.text + str(form.invalid)
    assert not ops.has_button("fill_gaps", asked)


def test_the_button_is_there_when_people_drew_boxes(ops, drawn):
    sample = drawn.first()
    sample.frames[3].spam_tracks.detections[-1]["source"] = "human"
    sample.save()
    assert ops.has_button("fill_gaps", drawn)


def test_the_app_sees_the_bar_and_what_was_filled_in(ops, drawn, filled):
    lived = ops.live("fill_gaps", drawn, open_frames=7, again=True, skip_bad=True)
    assert lived.shown.said["said"] == "19 boxes filled in around 3 of people, of 1 object in 1 video"
    assert "16 were followed, 3 lie on a straight line; they are right with 80% on average." in lived.shown.said["how"]
    assert lived.shown.said["problem_0"] == "left out video 'other': it is broken"
    assert "a frame is gone" in lived.shown.said["problem_1"]
    assert lived.effects[0][0] == "reload_dataset"
    shares = [share for share, _ in lived.progress]
    assert shares == sorted(shares)
    assert filled[0]["settings"].open_frames == 7
    assert (filled[0]["again"], filled[0]["skip_bad"], filled[0]["out"]) == (True, True, "spam_tracks")


def test_a_worker_does_it_and_what_cannot_be_done_is_a_sentence(ops, drawn, filled):
    job = ops.job("fill_gaps", drawn)
    assert job.run_state == "completed"
    assert job.result.result["tracked"] == 15
    failed = ops.job("fill_gaps", drawn, over="model")
    assert failed.run_state == "failed"
    assert "InputError: video 'crossing' cannot be used; mend it" in failed.result.error
