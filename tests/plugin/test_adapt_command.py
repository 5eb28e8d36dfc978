"""``spam-plugin adapt``: from a few human boxes in a dataset to a version on its shelf."""

from __future__ import annotations

import json

import cv2
import pytest
from striped_figures import HEIGHT, LENGTH, WIDTH, picture, place, tiny_tracker

BOXES = (0, 10, 20, 30, 39)


@pytest.fixture
def street(tmp_path, monkeypatch):
    """A dataset with a film in which a person has drawn five boxes of each figure; a tiny default tracker."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels
    from spam_plugin.models.spot import model

    tiny_tracker().save(tmp_path / "default.safetensors")
    monkeypatch.setattr(model, "DEFAULT_WEIGHTS", tmp_path / "default.safetensors")
    path = tmp_path / "street.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    for frame in range(LENGTH):
        writer.write(picture(frame)[:, :, ::-1].copy())
    writer.release()

    def made(name, boxes=BOXES, source=None):
        dataset = fo.Dataset(name, overwrite=True)
        sample = fo.Sample(filepath=str(path))
        sample.metadata = fo.VideoMetadata(
            total_frame_count=LENGTH, frame_width=WIDTH, frame_height=HEIGHT, frame_rate=10.0
        )
        dataset.add_sample(sample)
        declare_detections(dataset, "frames.spam_tracks")
        rows = {}
        for frame in boxes:
            sizes = [[value / size for value, size in zip(place(track, frame), (WIDTH, HEIGHT) * 2, strict=True)]
                     for track in (0, 1)]  # fmt: skip
            extra = {} if source is None else {"source": source, "confidence": 0.97, "link_uncertainty": 0.1}
            rows[frame + 1] = [
                detection_dict("figure", [left, top, right - left, bottom - top], track + 1, **extra)
                for track, (left, top, right, bottom) in enumerate(sizes)
            ]
        write_frame_labels(dataset, sample.id, "spam_tracks", rows)
        return dataset

    return made


def test_a_few_human_boxes_become_a_version_and_the_same_again_makes_none(spam, street, monkeypatch):
    from spam_plugin.integrations.fiftyone_.shelf import Shelf, tracker_in_use
    from spam_plugin.models.spot.model import Tracker

    dataset = street("adapt-street")
    assert tracker_in_use(dataset, "spam_tracks") is None
    code, out, err = spam("adapt", "adapt-street", "--steps", "4", "--k", "4", "--use", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["lessons"] == {"videos": 1, "objects": 2, "human_boxes": 8, "track_boxes": 0, "frames": LENGTH}
    assert report["used"]
    assert report["version"]["retrained"] == ["tracker"]
    file = tracker_in_use(dataset, "spam_tracks")
    assert file is not None
    assert Tracker.load(file).version != "tiny"
    assert [version.name for version in Shelf(dataset, "spam_tracks").versions()] == ["v001"]
    assert "adapt_spam_tracks_v001" in dataset.list_runs()

    code, out, _ = spam("models", "adapt-street", "list", "--json")
    assert json.loads(out)["parts"]["tracker"] == str(file)
    code, out, _ = spam("models", "adapt-street", "use", "default")
    assert tracker_in_use(dataset, "spam_tracks") is None
    code, out, _ = spam("adapt", "adapt-street", "--steps", "4", "--k", "4")
    assert "made before from the very same" in out
    assert "8 human boxes" in out
    dataset.delete()


def test_tracks_that_the_model_is_sure_of_are_learnt_from_only_if_asked(spam, street):
    dataset = street("adapt-sure", range(LENGTH), "model")
    code, _, err = spam("adapt", "adapt-sure", "--steps", "2")
    assert code == 2
    assert "nobody has drawn a box" in err
    assert "--self-training" in err
    code, out, err = spam("adapt", "adapt-sure", "--steps", "2", "--self-training")
    assert code == 0
    assert "10 boxes of sure tracks" in out
    assert "nothing judges it" in err
    assert "is not used" in out
    dataset.delete()


def test_one_box_is_enough_and_media_that_are_gone_are_named(spam, street, tmp_path):
    dataset = street("adapt-one", (5,))
    code, out, _ = spam("adapt", "adapt-one", "--steps", "2")
    assert code == 0
    assert "three boxes" in out
    sample = dataset.first()
    sample.filepath = str(tmp_path / "gone.mp4")
    sample.save()
    code, _, err = spam("adapt", "adapt-one", "--steps", "2")
    assert code == 2
    assert "no such file" in err
    dataset.delete()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere"), (["adapt-bad", "--device", "gpu9"], "no such device"),
        (["adapt-bad", "--out", "elsewhere"], "nobody has drawn a box"), (["adapt-bad", "--parent", "v9"], "v9"),
        (["adapt-bad", "--steps", "0"], "steps"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(spam, street, words, said):
    dataset = street("adapt-bad")
    code, _, err = spam("adapt", *words)
    assert code == 2
    assert said in err
    dataset.delete()
