"""Buttons that show something, at three levels: where they are and what they ask, what the App is told, as scripts."""

from __future__ import annotations

import json

import fiftyone as fo
import pytest

from spam_plugin.integrations.fiftyone_ import api
from spam_plugin.integrations.fiftyone_.raw import change_labels

OUT = "spam_tracks"
BY_STATE = {"show_in_review": "in review", "show_reviewed": "reviewed"}
AT_ONCE = ["show_uncertain", *BY_STATE, "show_changed", "show_tracks", "colour_tracks"]


@pytest.fixture
def tracks(crossing, quick):
    """``crossing`` with tracks."""
    api.label(crossing, progress=False)
    crossing.reload()
    return crossing


@pytest.fixture
def press(ops):
    """A function that presses a button as the App does; gives (what it was told, the sentence in the end)."""

    def run(name, dataset, params=None, view=None, **request):
        ctx = ops.ctx(name, dataset, params, view, **request)
        told = [json.loads(message.to_json_line())["body"] for message in ops.get(name).execute(ctx)]
        effects = [(one["operator_uri"], one["params"]) for one in told]
        last, said = effects.pop()
        assert last == "notify", effects
        return effects, said["message"]

    return run


def shown(dataset, effects):
    """The view that the App was given."""
    (params,) = [params for uri, params in effects if uri == "set_view"]
    return fo.DatasetView._build(dataset, params["view"])


def draw_by_hand(dataset):
    change_labels(
        dataset, OUT, [(dataset.first().id, 3)], lambda at, boxes: [{**box, "source": "human"} for box in boxes]
    )


@pytest.mark.parametrize("name", [*AT_ONCE, "show_spans"])
def test_without_tracks_no_button_is_there(ops, crossing, name):
    assert not ops.has_button(name, crossing)


def test_buttons_are_there_where_they_lead_somewhere(ops, tracks):
    there = [name for name in [*AT_ONCE, "show_spans"] if ops.has_button(name, tracks)]
    assert there == ["show_uncertain", "show_tracks", "colour_tracks", "show_spans"]
    draw_by_hand(tracks)
    assert ops.has_button("show_changed", tracks)
    for name, status in BY_STATE.items():
        tracks.set_values("spam_review_status", [status])
        assert [other for other in BY_STATE if ops.has_button(other, tracks)] == [name]


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_button_asks_nothing_where_there_is_one_field_of_tracks(ops, tracks, name):
    draw_by_hand(tracks)
    tracks.set_values("spam_review_status", [BY_STATE.get(name, "unreviewed")])
    placement = ops.get(name).resolve_placement(ops.ctx(name, tracks))
    assert placement.view.to_json()["prompt"] is False
    assert ops.get(name).resolve_input(ops.ctx(name, tracks, target="inputs")) is None


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_button_asks_which_field_where_there_are_several(ops, tracks, quick, name):
    api.label(tracks, out="other_tracks", progress=False)
    form = ops.form(name, tracks)
    assert form.choices["out"] == [OUT, "other_tracks"]
    assert form.defaults["out"] == OUT


@pytest.mark.parametrize("name", [*AT_ONCE, "show_spans"])
def test_a_script_that_asks_too_early_is_told_so(ops, crossing, name):
    from fiftyone.operators.executor import ExecutionError

    with pytest.raises(ExecutionError, match="label tracks first"):
        ops.script(name, crossing)


def test_the_most_uncertain_videos_are_shown(press, tracks):
    effects, said = press("show_uncertain", tracks)
    assert said == "1 video, the most uncertain first"
    assert shown(tracks, effects).values("id") == tracks.values("id")


@pytest.mark.parametrize("name", BY_STATE)
def test_where_no_video_has_the_status_the_view_stays(press, tracks, name):
    effects, said = press(name, tracks)
    assert effects == []
    assert said.startswith(f"no video is {BY_STATE[name]}")
    tracks.set_values("spam_review_status", [BY_STATE[name]])
    effects, said = press(name, tracks)
    assert (len(shown(tracks, effects)), said) == (1, f"1 video {BY_STATE[name]}")


def test_where_nobody_drew_the_view_stays(press, tracks):
    effects, said = press("show_changed", tracks)
    assert effects == []
    assert "no box" in said
    draw_by_hand(tracks)
    effects, said = press("show_changed", tracks)
    assert len(shown(tracks, effects)) == 1


def test_tracks_are_shown_with_their_uncertainty(press, tracks):
    count = len(tracks.distinct(f"frames.{OUT}.detections.index"))
    effects, said = press("show_tracks", tracks)
    view = shown(tracks, effects)
    assert said.startswith(f"{count} tracks in 1 video")
    doubts = view.values("max_uncertainty")
    assert len(doubts) == count
    assert doubts == sorted(doubts, reverse=True)
    assert ("set_active_fields", {"fields": [f"frames.{OUT}", "max_uncertainty"]}) in effects


def test_tracks_of_the_selected_videos_are_shown(press, tracks):
    tracks.add_sample(fo.Sample(filepath="/nowhere/other.mp4", metadata=tracks.first().metadata))
    effects, said = press("show_tracks", tracks, selected=[tracks.last().id])
    assert effects == []
    assert "no tracks" in said
    effects, said = press("show_tracks", tracks, selected=[tracks.first().id])
    assert shown(tracks, effects).distinct("sample_id") == [tracks.first().id]


def test_tracks_can_be_shown_from_a_view_of_tracks(press, tracks):
    view = shown(tracks, press("show_tracks", tracks)[0])
    effects, _ = press("show_tracks", tracks, view=view)
    assert shown(tracks, effects).values("id") == view.values("id")


def test_the_form_of_spans_counts_them_and_refuses_where_there_are_none(ops, tracks):
    form = ops.form("show_spans", tracks, threshold=0.0)
    assert "in 1 video" in form.said["preview"]
    assert (form.defaults["threshold"], form.defaults["least"], form.defaults["alone"]) == (0.5, 3, True)
    form = ops.form("show_spans", tracks, threshold=0.0, least=1000)
    assert "nothing is more uncertain than 0" in form.invalid["threshold"]


def test_the_form_of_spans_of_images_asks_for_no_length(ops, tracks, image_tracks):
    assert "least" in ops.form("show_spans", tracks).names
    assert "least" not in ops.form("show_spans", image_tracks).names


@pytest.fixture
def image_tracks(quick):
    """One sequence of two images with a track."""
    from spam_plugin.integrations.fiftyone_ import fields, raw

    dataset = fo.Dataset()
    dataset.media_type = "image"
    fields.declare(dataset, "", fields.OutputFields())
    dataset.add_samples(
        [
            fo.Sample(filepath=f"/nowhere/{n}.jpg", sequence="a", frame_number=n, spam_max_uncertainty=0.9)
            for n in (1, 2)
        ]
    )
    box = {"confidence": 0.5, "uncertainty": 0.9, "link_uncertainty": 0.1, "source": "model"}
    raw.write_image_labels(
        dataset, OUT, {key: [raw.detection_dict("car", [0.1, 0.1, 0.2, 0.2], 1, **box)] for key in dataset.values("id")}
    )
    yield dataset
    dataset.delete()


def test_spans_are_shown_as_they_were_counted(press, ops, tracks):
    count = int(ops.form("show_spans", tracks, threshold=0.1).said["preview"].split()[0])
    effects, said = press("show_spans", tracks, {"threshold": 0.1})
    assert len(shown(tracks, effects)) == count
    assert said.startswith(f"{count} span")


def test_spans_of_images_are_cut_out(press, image_tracks):
    effects, said = press("show_spans", image_tracks)
    view = shown(image_tracks, effects)
    assert len(view) == 1
    assert "cut out of their images" in said


def test_colours_are_saved_and_the_app_is_told_of_them_and_draws_the_tracks_alone(press, ops, tracks):
    effects, said = press("colour_tracks", tracks, active_fields=["frames.candidates"])
    (colour, scheme), draw = effects
    assert (colour, scheme["by"]) == ("@spam-plugin/spam/set_colours", "instance")
    assert draw == ("set_active_fields", {"fields": [f"frames.{OUT}"]})
    assert said == f"every track of {OUT!r} has a colour of its own"
    tracks.reload()
    assert tracks.app_config.color_scheme.color_by == "instance"
    assert tracks.app_config.color_scheme.color_pool == scheme["pool"]
    assert not ops.has_button("colour_tracks", tracks)


@pytest.mark.parametrize("name", ["show_uncertain", "show_tracks"])
def test_a_script_gets_the_sentence_and_the_view(ops, tracks, name):
    result = ops.script(name, tracks)
    assert "the most uncertain first" in result["said"]
    assert len(fo.DatasetView._build(tracks, result["view"])) > 0


@pytest.fixture
def compared(tracks, film, tmp_path, monkeypatch):
    """``crossing`` with a file, and tracks of which one box was moved since they were kept."""
    from spam_plugin.integrations.fiftyone_.comparing import keep_before

    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path))
    sample = tracks.first()
    sample.filepath = str(film)
    sample.save()
    keep_before(tracks, OUT)

    def moved(at, boxes):
        boxes[0]["bounding_box"][0] += 0.01
        return boxes

    frame = next(number for number, frame in sample.frames.items() if frame[OUT] and frame[OUT].detections)
    change_labels(tracks, OUT, [(sample.id, frame)], moved)
    tracks.reload()
    yield tracks
    if fo.dataset_exists(f"{tracks.name} before and after"):
        fo.delete_dataset(f"{tracks.name} before and after")


def test_nothing_can_be_compared_until_tracks_were_kept(ops, compared):
    assert ops.has_button("compare_rounds", compared)
    assert ops.form("compare_rounds", compared).invalid == {}
    compared.delete_frame_field(f"{OUT}_before")
    assert not ops.has_button("compare_rounds", compared)
    assert "nothing to compare" in ops.form("compare_rounds", compared).invalid["refused"]


def test_the_comparison_is_opened(ops, compared):
    assert "of 1 video the most changed" in ops.form("compare_rounds", compared).said["preview"]
    lived = ops.live("compare_rounds", compared)
    name = f"{compared.name} before and after"
    assert lived.effects == [("open_dataset", {"dataset": name})]
    assert lived.result["said"].startswith("1 of 1 changed video")
    assert [share for share, _ in lived.progress] == sorted(share for share, _ in lived.progress) != []
    assert fo.load_dataset(name).first().changed_boxes == 1


def test_where_nothing_has_changed_no_dataset_is_opened(ops, compared):
    from spam_plugin.integrations.fiftyone_.comparing import keep_before

    keep_before(compared, OUT)
    lived = ops.live("compare_rounds", compared)
    assert lived.effects == []
    assert "nothing has changed in 1 video" in lived.result["said"]


def test_a_script_compares_too(ops, compared):
    result = ops.script("compare_rounds", compared)
    assert fo.dataset_exists(result["dataset"])
