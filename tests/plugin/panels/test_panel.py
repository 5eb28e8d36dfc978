"""What the panel says of a dataset, against the dataset itself."""

from __future__ import annotations

import pytest
from pymongo.errors import ServerSelectionTimeoutError

URI = "@spam-plugin/spam/"


def named(shown, uri):
    """What was asked of the browser by one name."""
    return [params for name, params in shown.asked if name == uri]


def test_a_dataset_that_is_not_labelled_is_offered_the_first_step_only(panel, crossing):
    shown = panel("on_load", crossing)
    assert any("Nothing is labelled yet" in text for text in shown.said)
    assert "Label tracks" in shown.said
    assert "Sync" not in shown.said


def test_the_first_page_has_the_numbers_of_the_dataset(panel, asked):
    shown = panel("on_load", asked)
    boxes = asked.values("frames.spam_tracks.detections.index", unwind=True)
    said = "\n".join(shown.said)
    assert f"**{len(boxes):,}**: 0 by people" in said
    assert f"**{len(set(boxes))}**: " in said
    assert f"left in {sum(asked.values('spam_open_queries'))} open questions" in said
    assert "by estimate" in said
    bars, cut = shown.data["histogram"]
    assert sum(bars["y"]) == len(boxes)
    assert 0 <= cut["x"][0] <= 1


def test_the_histogram_counts_the_greater_of_both_uncertainties(panel, labelled):
    shown = panel("on_load", labelled)
    paths = ["frames.spam_tracks.detections.uncertainty", "frames.spam_tracks.detections.link_uncertainty"]
    greater = [max(pair) for pair in zip(*labelled.values(paths, unwind=True), strict=True)]
    low, high = shown.data["histogram"][0]["y"][:10], shown.data["histogram"][0]["y"][10:]
    assert (sum(low), sum(high)) == (sum(one < 0.5 for one in greater), sum(one >= 0.5 for one in greater))


def test_the_queue_shows_the_most_valuable_questions_and_opens_their_frames(panel, asked):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    shown = panel("turn", asked, value="review")
    rows = Ledger(asked, "spam_tracks").queue(30)
    assert [row["text"] for row in shown.data["queue"]] == [
        f"{row.name}, frame {row.frame}: {row.text}" for row in rows
    ]
    assert [row["rank"] for row in shown.data["queue"]] == sorted(row["rank"] for row in shown.data["queue"])
    shown = panel("open_here", asked, row=1)
    assert named(shown, f"{URI}show_sample") == [{"id": str(asked.first().id)}]
    assert named(shown, f"{URI}jump_to_frame") == [{"sample": str(asked.first().id), "frame": rows[1].frame}]


def test_a_question_without_a_job_has_no_page_in_cvat(panel, asked):
    panel("turn", asked, value="review")
    (said,) = named(panel("open_there", asked, row=0), "notify")
    assert "has no job in CVAT yet" in said["message"]
    assert said["variant"] == "error"


def test_a_row_that_is_gone_is_said(panel, asked):
    panel("turn", asked, value="review")
    (said,) = named(panel("open_here", asked, row=1000), "notify")
    assert "gone by now" in said["message"]


def test_looking_again_sends_nothing_that_has_not_changed(panel, asked):
    panel("on_load", asked)
    assert not named(panel("tick", asked), "patch_panel_data")
    from spam_plugin.integrations.fiftyone_ import api

    api.label(asked, settings=None, progress=False, out="spam_tracks", skip_bad=True)
    api.queries(asked, budget="3 clicks", progress=False)
    assert named(panel("tick", asked), "patch_panel_data")


def test_evaluated_rounds_are_drawn_against_clicks(panel, asked):
    from spam_plugin.integrations.fiftyone_ import api

    found = api.evaluate(asked, pred="spam_tracks", gt="ground_truth", progress=False)
    shown = panel("turn", asked, value="rounds")
    hota = next(trace for trace in shown.data["quality"] if trace["name"] == "HOTA")
    assert hota["y"] == [pytest.approx(found.overall.as_dict(percent=True)["HOTA"], abs=0.01)]
    estimated = next(trace for trace in shown.data["quality"] if "estimated" in trace["name"])
    assert len(estimated["error_y"]["array"]) == len(estimated["y"]) == 1
    (model,) = shown.data["models"]
    assert f"HOTA {hota['y'][0]:.1f}" in model["scores"]
    assert model["in_use"] == "yes"


def test_a_model_can_be_chosen(panel, labelled):
    panel("turn", labelled, value="rounds")
    (said,) = named(panel("use", labelled, row=0), "notify")
    assert said["message"].startswith("the next labelling takes spam-1")


def test_the_timeline_is_the_uncertainty_of_the_open_video(panel, asked):
    sample = str(asked.first().id)
    shown = panel("on_load", asked, sample=sample)
    assert shown.state["page"] == "video"
    greatest, mean, questions = shown.data["timeline"]
    own, links = (
        asked.values(f"frames.spam_tracks.detections.{name}")[0] for name in ("uncertainty", "link_uncertainty")
    )
    expected = {
        frame: [max(pair) for pair in zip(ours, theirs, strict=True)]
        for frame, (ours, theirs) in enumerate(zip(own, links, strict=True), 1) if ours
    }  # fmt: skip
    assert greatest["x"] == list(expected)
    assert greatest["y"] == pytest.approx([max(values) for values in expected.values()], abs=1e-3)
    assert mean["y"] == pytest.approx([sum(values) / len(values) for values in expected.values()], abs=1e-3)
    asks = asked.values("frames.spam_queries.detections.query")[0]
    assert questions["x"] == [frame for frame, found in enumerate(asks, 1) if found]
    jump = named(panel("jump", asked, sample=sample, x=greatest["x"][2], y=0.5), f"{URI}jump_to_frame")
    assert jump == [{"sample": sample, "frame": greatest["x"][2]}]
    # The App tells of no sample while it draws one anew, and when it is closed: the page stays.
    shown = panel("on_change_current_sample", asked)
    assert shown.state["page"] == "video"
    assert any("Uncertainty by frame" in text for text in shown.said)
    shown = panel("jump", asked, x=greatest["x"][2], y=0.5)
    assert [params["id"] for params in named(shown, f"{URI}show_sample")] == [sample]


def test_a_panel_that_is_moved_stays_where_it_is_and_another_dataset_is_shown_from_the_first_page(
    panel, asked, untouched
):
    sample = str(asked.first().id)
    panel("on_load", asked, sample=sample)
    moved = panel("on_change_dataset", asked, sample=sample)  # FiftyOne says so when a panel is put beside the sample
    assert (moved.state["page"], moved.state["sample"]) == ("video", sample)
    panel("turn", asked, value="review")
    other = panel("on_change_dataset", untouched)
    assert (other.state["page"], other.state["sample"]) == ("overview", None)
    assert any("Nothing is labelled yet" in text for text in other.said)


def test_without_a_dataset_the_panel_says_so(panel):
    shown = panel("on_load", None)
    assert any("no dataset is open" in text for text in shown.said)


def test_when_the_database_does_not_answer_the_panel_says_so_in_a_sentence(panel, labelled, monkeypatch):
    from spam_plugin.integrations.fiftyone_.ledger import Ledger

    panel("on_load", labelled)

    def gone(self):
        raise ServerSelectionTimeoutError("localhost:27017: [Errno 111] Connection refused")

    monkeypatch.setattr(Ledger, "standing", gone)
    shown = panel("tick", labelled)
    assert any("the database does not answer" in text for text in shown.said)
    assert not any("Errno" in text for text in shown.said)


def test_the_next_step_is_to_label_again_when_people_have_said_something(panel, asked):
    from spam_plugin.engine.answers import Answer, Verdict
    from spam_plugin.integrations.fiftyone_ import api
    from spam_plugin.integrations.fiftyone_.queries import load_queries
    from spam_plugin.plugin.panels.overview import next_step

    def step():
        from spam_plugin.integrations.fiftyone_.ledger import Ledger

        ledger = Ledger(asked, "spam_tracks")
        return next_step(ledger.standing(), ledger.rounds())

    assert next_step(None, ()) == "label_tracks"
    assert step() == "sync_cvat"
    query = next(one for one in load_queries(asked, "spam_tracks") if one.boxes)
    api.answer(asked, [Answer(query.video, Verdict.INVALID, query.boxes, source="anna", query=query.key)])
    assert step() == "label_tracks"
    api.label(asked, progress=False)
    assert step() == "sync_cvat"


@pytest.fixture
def job_is(monkeypatch):
    """A function that says how the only job stands."""
    from spam_plugin.integrations.fiftyone_ import jobs

    def stands(state, said=None, error=None, log=""):
        one = jobs.Job(
            id="1", operator=f"{URI}label_tracks", label="SPAM: label tracks", dataset="any", state=state,
            progress=None, doing="", queued=None, started=None, ended=None, error=error, said=said, worker=None,
        )  # fmt: skip
        monkeypatch.setattr(jobs, "list_jobs", lambda *args: [one])
        monkeypatch.setattr(jobs, "job_log", lambda id: log)
        monkeypatch.setattr(jobs, "workers", list)

    return stands


def test_a_job_that_has_ended_is_told_once_and_what_it_changed_is_shown(panel, labelled, job_is):
    panel("on_load", labelled)
    job_is("running")
    assert not named(panel("tick", labelled), "notify")
    job_is("completed", said="752 boxes in 23 tracks")
    assert not named(panel("tick", labelled, sample=str(labelled.first().id)), "notify")  # an open sample is left alone
    shown = panel("tick", labelled)
    assert [one["message"] for one in named(shown, "notify")] == ["SPAM: label tracks: 752 boxes in 23 tracks"]
    assert named(shown, "reload_dataset")
    assert not named(panel("tick", labelled), "notify")


def test_a_job_that_has_failed_is_told_with_its_error(panel, labelled, job_is):
    panel("on_load", labelled)
    job_is("queued")
    panel("tick", labelled)
    job_is("failed", error="InputError: no boxes")
    (said,) = named(panel("tick", labelled), "notify")
    assert (said["message"], said["variant"]) == ("SPAM: label tracks: InputError: no boxes", "error")


def test_a_log_is_shown_letter_by_letter_and_put_away_again(panel, labelled, job_is):
    job_is("completed", log="\n".join(["one `two` *three*", "", *(f"line {number}" for number in range(1, 301))]))
    panel("turn", labelled, value="jobs")
    shown = panel("job_log", labelled, row=0)
    (log,) = [text for text in shown.said if text.startswith("**log**")]
    assert "... 101 lines before" in log
    assert "`` line 300 ``" in log
    assert "`` line 101 ``" in log
    assert "line 100 " not in log
    assert not any(text.startswith("**log**") for text in panel("job_log", labelled, row=0).said)


def test_the_forms_of_the_panel_begin_with_the_field_that_it_shows(panel, labelled):
    from spam_plugin.integrations.fiftyone_ import api

    api.label(labelled, out="other_tracks", progress=False)
    panel("on_load", labelled)
    shown = panel("choose_field", labelled, value="other_tracks")
    steps = shown.drawn.to_json()["type"]["properties"]["steps"]["type"]["properties"]
    assert [step["view"]["params"] for step in steps.values()] == [{"out": "other_tracks"}] * 4
