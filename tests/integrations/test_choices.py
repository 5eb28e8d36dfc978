"""What forms ask about a dataset: fields by what they hold, numbers that are those of the dataset, words for them."""

from __future__ import annotations

import fiftyone as fo
import pytest

from spam_plugin.integrations.fiftyone_ import api
from spam_plugin.integrations.fiftyone_.choices import Asked, Choices, duration, persons_time, plural, whole_videos
from spam_plugin.integrations.fiftyone_.raw import declare_detections, write_frame_labels, write_sample_values
from spam_plugin.models.errors import InputError


@pytest.fixture
def two(video_dataset, world):
    """Two videos with candidates, of which one is labelled."""
    dataset = video_dataset(a=world.frames(), b=world.frames())
    api.label(dataset, view=dataset.limit(1), model=world.Model(), progress=False)
    dataset.reload()
    return dataset


def ask(dataset, counts):
    """Says that so many questions are open, of each video."""
    from spam_plugin.integrations.fiftyone_.fields import OutputFields, declare_summary

    declare_summary(dataset, OutputFields(), "open_queries")
    for key, count in zip(dataset.values("id"), counts, strict=True):
        write_sample_values(dataset, [key], {"spam_open_queries": count}, {})
    dataset.reload()


# --- fields


def test_fields_are_told_apart_by_who_made_them(two):
    declare_detections(two, "frames.ground_truth")
    declare_detections(two, "frames.other")
    two.add_frame_field("note", fo.StringField)
    choices = Choices(two)
    assert choices.track_fields == ["spam_tracks"]
    assert choices.foreign_fields == ["candidates", "ground_truth", "other"]
    assert choices.candidate_fields == ["candidates", "other"]
    assert choices.tracks_or_foreign == ["spam_tracks", "candidates", "ground_truth", "other"]
    assert (choices.truth, choices.candidates, choices.out) == ("ground_truth", "candidates", "spam_tracks")


def test_the_only_field_that_could_be_is_proposed_and_none_of_several(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    dataset.rename_frame_field("candidates", "yolo")
    assert Choices(dataset).candidates == "yolo"
    declare_detections(dataset, "frames.rcnn")
    assert Choices(dataset).candidates is None


def test_the_candidates_of_the_last_run_are_proposed_again(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    dataset.clone_frame_field("candidates", "yolo")
    api.label(dataset, "yolo", model=world.Model(), progress=False)
    dataset.reload()
    assert Choices(dataset).candidates == "yolo"


def test_vectors_are_told_from_other_attributes(two):
    assert Choices(two).vectors("candidates") == []
    two.add_frame_field("candidates.detections.look", fo.VectorField)
    assert Choices(two).vectors("candidates") == ["look"]
    assert Choices(two).vectors("nothing") == []


def test_images_have_the_same_fields(labelled_images):
    choices = Choices(labelled_images)
    assert (choices.track_fields, choices.candidates, choices.prefix) == (["spam_tracks"], "candidates", "")
    assert choices.count(labelled_images, "candidates") == (1, 6)


# --- numbers


def test_videos_and_boxes_are_counted_and_kept_for_a_while(two, world):
    choices = Choices(two)
    assert choices.count(two, "candidates") == (2, 12)
    assert choices.count(two.limit(1), "candidates") == (1, 6)
    write_frame_labels(two, two.first().id, "candidates", {2: [world.box(1, 1, 5, 5)]})
    assert Choices(two).count(two, "candidates") == (2, 12)
    assert Choices(two).count(two, "spam_tracks") == (2, 6)


def test_the_preview_tells_how_long_it_takes_by_the_last_run(two):
    choices = Choices(two)
    choices.ledger  # noqa: B018
    assert choices.preview(two, "candidates").startswith("2 videos, 12 boxes, model spam-1, about ")
    speed = choices.ledger.boxes_per_second
    assert choices.seconds(1000) - choices.seconds(0) == pytest.approx(1000 / speed)


def test_open_questions_are_those_of_the_view(two):
    ask(two, [3, 4])
    choices = Choices(two)
    assert (choices.open_questions(two).queries, choices.open_questions(two).videos) == (7, 2)
    assert choices.open_questions(two.limit(1)).queries == 3
    assert choices.has_open_questions()
    ask(two, [0, 0])
    assert Choices(two).open_questions(two) == Asked(0, 0, 0)
    assert not Choices(two).has_open_questions()


def test_open_questions_of_a_sequence_count_once_and_not_once_an_image(labelled_images):
    ask(labelled_images, [5] * 4)
    assert Choices(labelled_images).open_questions(labelled_images).queries == 5


def test_a_field_of_somebody_elses_with_our_name_is_not_ours(video_dataset, world):
    dataset = video_dataset(a=world.frames())
    dataset.add_sample_field("spam_open_queries", fo.IntField)
    dataset.set_values("spam_open_queries", [9])
    assert Choices(dataset).open_questions(dataset).queries == 0


def test_what_questions_cost_is_told_in_a_persons_time():
    assert Asked(340, 12, 500).said == "340 open queries in 12 videos, about 25 minutes of a person's time"
    assert Asked(1, 1, 1).said == "1 open query in 1 video, about a minute of a person's time"


# --- whole videos


def test_a_view_of_everything_is_the_dataset_itself(two):
    assert whole_videos(two, two) is two
    assert whole_videos(two, two.view()) is two


def test_a_view_chooses_videos_and_hides_no_boxes(two):
    from fiftyone import ViewField as F

    view = two.limit(1).filter_labels("frames.candidates", F("confidence") > 0.5)
    found = whole_videos(two, view)
    assert found.values("id") == two.limit(1).values("id")
    assert found.count("frames.candidates.detections") == 6


def test_some_images_mean_their_whole_sequences(image_dataset, world):
    dataset = image_dataset(a=world.frames(), b=world.frames())
    assert len(whole_videos(dataset, dataset.match({"sequence": "b"}).limit(1))) == 4
    groups = dataset.group_by("sequence", order_by="frame_number")
    assert len(whole_videos(dataset, groups)) == 8
    assert whole_videos(dataset, groups.limit(1)).distinct("sequence") == groups.limit(1).values("sequence")
    patches = dataset.match({"sequence": "a", "frame_number": 3}).to_patches("candidates")
    assert whole_videos(dataset, patches).distinct("sequence") == ["a"]


def test_nothing_is_refused(two):
    with pytest.raises(InputError, match="nothing in this view"):
        whole_videos(two, two.match({"filepath": "none"}))


# --- words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "about 5 s"), (42, "about 40 s"), (89, "about 90 s"), (1500, "about 25 minutes"), (9000, "about 2.5 hours")],
)
def test_how_long_something_takes(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("clicks", "words"),
    [(1, "about a minute"), (40, "about 2 minutes"), (500, "about 25 minutes"), (6000, "about 5.0 hours")],
)
def test_how_long_a_person_is_busy(clicks, words):
    assert persons_time(clicks) == words


def test_one_of_it_and_many():
    assert [plural(n, "query", "queries") for n in (0, 1, 2)] == ["queries", "query", "queries"]
