"""What is kept of a field of tracks is what a scan of it would find, whoever changed it."""

import json
import sys
from dataclasses import replace

import fiftyone as fo
import pytest
from stored import only, put_for, stored

import spam_plugin.engine.label as engine_label
from spam_plugin.engine.answers import Answer, Box, Verdict
from spam_plugin.engine.desk.labels import Conflict, Patch
from spam_plugin.engine.desk.notes import conflict_key
from spam_plugin.engine.standing import Round
from spam_plugin.integrations.fiftyone_ import api, counting
from spam_plugin.integrations.fiftyone_.desk import FiftyOneDesk
from spam_plugin.integrations.fiftyone_.fields import OutputFields
from spam_plugin.integrations.fiftyone_.journal import SyncJournal
from spam_plugin.integrations.fiftyone_.ledger import Ledger
from spam_plugin.integrations.fiftyone_.raw import change_labels
from spam_plugin.models.errors import InputError, MissingError

QUIET = {"progress": False}
OUT = "spam_tracks"


def ledger_of(dataset):
    dataset.reload()
    return Ledger(dataset, OUT)


def scanned(dataset):
    """Boxes, those of people, and those filled in, as the database has them."""
    path = f"{'frames.' if dataset.media_type == 'video' else ''}{OUT}.detections.source"
    counts = dataset.count_values(path)
    return sum(counts.values()), counts.get("human", 0), counts.get("interpolated", 0)


def same_as_counted_anew(dataset):
    """What is kept; it must be what a refresh makes of it."""
    ledger = ledger_of(dataset)
    kept, queue = ledger.standing(), ledger.queue()
    assert (kept.boxes, kept.human_boxes, kept.interpolated_boxes) == scanned(dataset)
    assert ledger.refresh() == kept
    assert [row.key for row in ledger.queue()] == [row.key for row in queue]
    return kept


@pytest.fixture(params=["videos", "images"])
def make(request, video_dataset, image_dataset):
    return video_dataset if request.param == "videos" else image_dataset


@pytest.fixture
def asked(make, world, model):
    """A labelled dataset of two, and all the questions about it."""
    dataset = make(a=world.frames(), b=world.frames())
    api.label(dataset, model=model, **QUIET)
    return dataset, api.queries(dataset, budget="100%", model=model, **QUIET)


def test_nothing_is_known_of_what_nobody_labelled(make, world):
    ledger = Ledger(make(a=world.frames()), OUT)
    assert (ledger.standing(), ledger.rounds(), ledger.queue(), ledger.videos()) == (None, [], [], {})
    assert (ledger.model, ledger.candidates, ledger.boxes_per_second, ledger.busy) == (None, None, None, None)
    with pytest.raises(MissingError, match=r"has no field '(frames\.)?spam_tracks' to count; label first"):
        ledger.refresh()


def test_labelling_tells_how_every_video_stands(make, world):
    dataset = make(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)
    standing = same_as_counted_anew(dataset)
    assert (standing.videos, standing.frames, standing.boxes, standing.interpolated_boxes) == (2, 8, 12, 4)
    assert standing.tracks == {"people": 0, "asked": 0, "model": 4}
    assert standing.histogram[10] == 12  # the doubt in the links, 0.5, is the greater one
    assert standing.by_review == {"unreviewed": 2}
    assert (standing.effort, standing.stale, standing.busy) == (0.0, False, None)
    (label,) = ledger_of(dataset).rounds()
    assert (label.kind, label.boxes, label.tracks, label.model_version) == ("label", 12, 4, "fake-1")
    assert ledger_of(dataset).candidates == "candidates"
    assert ledger_of(dataset).boxes_per_second > 0


def test_labelling_a_view_changes_only_its_videos(video_dataset, world):
    dataset = video_dataset(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)
    before = ledger_of(dataset).videos()
    api.label(dataset.limit(1), model=world.Model(), settings=world.Settings(doubt=0.0), **QUIET)
    after = ledger_of(dataset).videos()
    a, b = dataset.values("id")
    assert after[b] == before[b]
    assert (after[a].histogram[0], before[a].histogram[0]) == (6, 0)
    same_as_counted_anew(dataset)


def test_deleted_videos_drop_out_and_new_ones_are_unlabelled(labelled, world):
    labelled.add_sample(labelled.first().copy())
    assert (ledger_of(labelled).standing().videos, ledger_of(labelled).standing().unlabelled) == (1, 1)
    labelled.delete_samples(labelled.first().id)
    assert ledger_of(labelled).standing() is None
    assert ledger_of(labelled).videos() == {}


def test_a_field_that_is_gone_stands_nowhere(labelled):
    labelled.delete_frame_field(OUT)
    assert ledger_of(labelled).standing() is None


def test_tracks_of_people_are_counted_when_labelling_leaves_them(make, world):
    dataset = make(a=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)
    on_frames = dataset.media_type == "video"
    sample = dataset.first() if on_frames else dataset.match(fo.ViewField("frame_number") == 1).first()
    labels = sample.frames[1].spam_tracks if on_frames else sample.spam_tracks
    labels.detections[0].source = "human"
    sample.save()
    api.label(dataset, model=world.Model("fake-2"), **QUIET)
    standing = same_as_counted_anew(dataset)
    assert standing.human_boxes == 1
    assert standing.tracks == {"people": 1, "asked": 0, "model": 1}


def test_questions_are_in_the_queue_as_they_were_asked(asked):
    dataset, plan = asked
    standing, rows = same_as_counted_anew(dataset), ledger_of(dataset).queue()
    assert [row.key for row in rows] == [query.key for query in plan.queries][:50]
    for row, query in zip(rows, plan.queries, strict=False):
        assert (row.video, row.text, row.question) == (query.video, query.text, query.question.value)
        assert (row.frame, row.cost, row.gain, row.track) == (query.frame + 1, query.cost, query.gain, query.track + 1)
        sample = dataset[row.sample]
        assert sample.id == row.video if dataset.media_type == "video" else sample.frame_number == row.frame
    assert (standing.open_queries, standing.clicks_open) == (len(plan.queries), plan.clicks)
    assert standing.estimate.expected == plan.estimates["wrong_boxes"]["expected"]
    assert standing.estimate.low <= standing.estimate.expected <= standing.estimate.high
    assert standing.tracks["asked"] > 0
    assert 0 < standing.cut < 1
    assert [one.kind for one in ledger_of(dataset).rounds()] == ["label", "queries"]
    assert len(ledger_of(dataset).queue(2)) == 2


def test_an_answer_closes_its_question_and_costs_its_clicks(asked):
    dataset, plan = asked
    before = ledger_of(dataset).standing()
    drawn = next(query for query in plan.queries if query.boxes)
    said = Answer(drawn.video, Verdict.BOX, drawn.boxes[:1], drawn=Box(1, (1.0, 1.0, 9.0, 9.0)), query=drawn.key)
    api.answer(dataset, [said])
    api.answer(dataset, [said])  # which is known already
    after = same_as_counted_anew(dataset)
    assert after.open_queries == before.open_queries - 1
    assert after.clicks_open == before.clicks_open - drawn.cost
    assert after.clicks_spent == 2
    assert after.effort > 0
    assert drawn.key not in [row.key for row in ledger_of(dataset).queue()]
    other = next(query for query in plan.queries if query.boxes and query.key != drawn.key)
    api.answer(dataset, [Answer(other.video, Verdict.VALID, other.boxes[:1], query=other.key)])
    assert [(one.kind, one.clicks) for one in ledger_of(dataset).rounds()] == [
        ("label", 0), ("queries", 0), ("answers", 3),
    ]  # fmt: skip


def test_far_questions_come_up_as_those_before_them_are_answered(asked, monkeypatch):
    dataset, plan = asked
    monkeypatch.setattr(counting, "RANKS_KEPT", 2)
    monkeypatch.setattr(counting, "ROWS_PER_VIDEO", 1)
    api.queries(dataset, budget="100%", **QUIET)
    seen = []
    while rows := ledger_of(dataset).queue():
        first = rows[0]
        seen.append(first.key)
        api.answer(dataset, [Answer(first.video, Verdict.COMPLETE, (Box(0, (0.0, 0.0, 5.0, 5.0)),), query=first.key)])
    assert sorted(seen) == sorted(query.key for query in plan.queries)
    assert ledger_of(dataset).standing().open_queries == 0


def test_an_interrupted_run_is_told_and_finishing_it_mends_what_is_kept(video_dataset, world, monkeypatch):
    monkeypatch.setattr(engine_label, "BOXES_PER_CALL", 1)
    dataset = video_dataset(a=world.frames(), b=world.frames(), c=world.frames())
    with pytest.raises(KeyboardInterrupt):
        api.label(dataset, model=world.Model(fail_at="c"), **QUIET)
    half = ledger_of(dataset).standing()
    assert (half.videos, half.unlabelled, half.boxes, half.stale) == (2, 1, 12, True)
    api.label(dataset, model=world.Model(), **QUIET)
    assert not same_as_counted_anew(dataset).stale
    with pytest.raises(KeyboardInterrupt):
        api.label(dataset, model=world.Model("fake-2", fail_at="a"), **QUIET)
    assert ledger_of(dataset).standing().stale
    assert not ledger_of(dataset).refresh().stale


def test_a_video_that_was_written_and_not_counted_is_told_whatever_is_labelled_after(video_dataset, world, monkeypatch):
    dataset = video_dataset(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "labelled", killed)
        with pytest.raises(KeyboardInterrupt):
            api.label(dataset.limit(1), model=world.Model("fake-2"), **QUIET)
    api.label(dataset.skip(1), model=world.Model("fake-2"), **QUIET)
    assert ledger_of(dataset).standing().stale
    api.label(dataset, model=world.Model("fake-2"), **QUIET)
    assert not ledger_of(dataset).standing().stale


def test_labels_of_before_the_ledger_are_counted_when_somebody_asks_for_it(video_dataset, world):
    dataset = video_dataset(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)
    for key in Ledger(dataset, OUT)._book.notes._store.list_keys():
        Ledger(dataset, OUT)._book.notes._store.delete(key)
    assert ledger_of(dataset).standing() is None
    api.label(dataset.limit(1), model=world.Model("fake-2"), **QUIET)
    half = ledger_of(dataset).standing()
    assert (half.videos, half.stale) == (1, True)
    told = []
    whole = ledger_of(dataset).refresh(lambda share, what: told.append((share, what)))
    assert (whole.videos, whole.boxes, whole.stale) == (2, 12, False)
    assert told == [(0.0, "counting a"), (0.5, "counting b"), (1.0, "counted 2 videos")]


def test_a_patch_from_the_desk_is_counted_in_its_video(labelled):
    desk = FiftyOneDesk(labelled)
    key, labels = only(desk)
    moved = put_for(labels, 0, xyxy=(1.0, 1.0, 9.0, 9.0), source="human", keyframe=True)
    desk.apply(key, Patch((moved,), {int(labels.frame[-1]): (labels.key[-1],)}))
    standing = same_as_counted_anew(labelled)
    assert (standing.boxes, standing.human_boxes, standing.tracks["people"]) == (5, 1, 1)


def test_conflicts_are_counted_until_they_are_settled(labelled):
    desk, journal = FiftyOneDesk(labelled), SyncJournal(labelled, OUT)
    key, _ = only(desk)
    one = Conflict(key, "box", 0, 0, 1, (3, 4), "anna or ben?", {0: (1.0, 1.0, 5.0, 5.0)})
    desk.show_conflicts(key, [one, replace(one, track=2)])
    journal.set(conflict_key(key), [one.as_dict(), one.as_dict()])
    assert same_as_counted_anew(labelled).conflicts == 2
    desk.show_conflicts(key, [])
    journal.set(conflict_key(key), [])
    assert same_as_counted_anew(labelled).conflicts == 0


def test_review_status_is_read_as_it_is_now(make, world):
    dataset = make(a=world.frames(), b=world.frames())
    api.label(dataset, model=world.Model(), **QUIET)
    FiftyOneDesk(dataset).set_review(next(iter(ledger_of(dataset).videos())), "reviewed")
    assert ledger_of(dataset).standing().by_review == {"unreviewed": 1, "reviewed": 1}


def test_two_fields_of_tracks_have_a_ledger_each(labelled, world):
    api.label(labelled, model=world.Model("other"), out="other_tracks", **QUIET)
    assert Ledger(labelled, "other_tracks").rounds()[0].model_version == "other"
    assert ledger_of(labelled).rounds()[0].model_version == "fake-1"
    with pytest.raises(InputError, match="cannot be the name"):
        Ledger(labelled, "my tracks")


def test_what_is_read_for_the_panel_does_not_grow_with_the_boxes(labelled, monkeypatch):
    """No look at frames: their collection may hold millions of boxes."""
    ledger = ledger_of(labelled)
    monkeypatch.setattr(fo.Dataset, "_frame_collection", property(lambda _: pytest.fail("frames were read")))
    asked = []
    aggregate = fo.Dataset._aggregate
    monkeypatch.setattr(
        fo.Dataset, "_aggregate", lambda self, **kwargs: asked.append(kwargs) or aggregate(self, **kwargs)
    )
    assert ledger.standing().boxes == 6
    assert (ledger.queue(), len(ledger.rounds()), len(ledger.models())) == ([], 1, 2)
    assert not any(kwargs.get("attach_frames") for kwargs in asked)


def test_reading_the_ledger_needs_no_torch():
    import subprocess

    code = "import sys, spam_plugin.integrations.fiftyone_.recount; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_box_without_number_is_a_track_and_one_without_source_is_a_persons(labelled):
    def drawn(_, boxes):
        boxes[0].pop("source")
        boxes[0]["index"] = boxes[1]["index"] = None
        return boxes

    change_labels(labelled, OUT, [(labelled.first().id, 1)], drawn)
    assert len(stored(labelled, OUT)[0]) == 2
    standing = ledger_of(labelled).refresh()
    assert (standing.human_boxes, standing.tracks) == (1, {"people": 1, "asked": 0, "model": 3})


def test_rounds_are_plain_values(labelled):
    for one in ledger_of(labelled).rounds():
        assert Round.from_dict(json.loads(json.dumps(one.as_dict()))) == one
    json.dumps([ledger_of(labelled).standing().__dict__, OutputFields(OUT).out])
