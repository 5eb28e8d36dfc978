"""``spam-plugin propagate``: what it prints, and how it ends."""

import json

import numpy as np
import pytest

from spam_plugin.engine.filling import FillReport, Fills, How
from spam_plugin.models.spot.model import Tracker


class Loaded:
    version = "stand-in"


@pytest.fixture
def filled(crossing, scene, monkeypatch, tmp_path):
    """``crossing`` with a file, and two boxes that a person drew; gaps are filled on a line."""
    import cv2

    from spam_plugin.integrations.fiftyone_ import propagating
    from spam_plugin.integrations.fiftyone_.raw import declare_detections, write_frame_labels

    path = tmp_path / "crossing.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (scene.width, scene.height))
    for _ in range(scene.length):
        writer.write(np.zeros((scene.height, scene.width, 3), np.uint8))
    writer.release()
    sample = crossing.first()
    sample.filepath = str(path)
    sample.save()
    declare_detections(crossing, "frames.spam_tracks")
    drawn = {frame + 1: [scene.document(scene.truth(3)[frame], 1)] for frame in (12, 18)}
    write_frame_labels(crossing, sample.id, "spam_tracks", drawn)
    asked = []

    def fill_gaps(tracker, frames, keys, info, candidates, settings, **rest):
        asked.append((tracker.version, settings, candidates))
        frame = np.arange(13, 18)
        box = np.repeat(keys.xyxy[:1], 5, 0)
        how = np.array([How.TRACKED, How.SNAPPED, How.INTERPOLATED, How.TRACKED, How.TRACKED], np.uint8)
        return (
            Fills(np.zeros(5, np.int64), frame, box, np.full(5, 0.5, np.float32), how),
            FillReport(gaps=1, unreadable=(15,)),
        )

    monkeypatch.setattr(propagating, "fill_gaps", fill_gaps)
    monkeypatch.setattr(Tracker, "load", classmethod(lambda cls, *args, **named: Loaded()))
    return crossing, asked


def test_a_table_tells_what_was_filled_and_what_could_not_be(filled, spam):
    dataset, asked = filled
    code, out, err = spam("propagate", dataset.name, "--open-frames", 0, "--max-gap", 40, "--no-fall-back")
    assert code == 0, err
    assert "stand-in" in out
    assert "1 frames cannot be decoded, the first is frame 16" in err
    ((version, settings, candidates),) = asked
    assert (version, settings.open_frames, settings.max_gap, settings.fall_back) == ("stand-in", 0, 40, False)
    assert candidates is None  # nothing was labelled yet
    assert dataset.count("frames.spam_tracks.detections") == 7


def test_json_is_all_that_is_printed(filled, spam):
    dataset, asked = filled
    code, out, _ = spam("propagate", dataset.name, "--candidates", "candidates", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["overall"]["boxes"] == 5
    assert {name: report["videos"]["crossing"][name] for name in ("tracked", "snapped", "interpolated", "keys")} == {
        "tracked": 3, "snapped": 1, "interpolated": 1, "keys": 2
    }  # fmt: skip
    assert (report["tracker"], report["run"]) == ("stand-in", "propagate_spam_tracks")
    assert len(asked[0][2]) > 0
    assert json.loads(spam("propagate", dataset.name, "--candidates", "candidates", "--json")[1])["videos"]["crossing"][
        "reused"
    ]


def test_what_cannot_be_used_ends_in_one_line_or_is_left_out(filled, spam):
    dataset, _ = filled
    assert spam("propagate", dataset.name, "--out", "nowhere")[0] == 2
    code, _, err = spam("propagate", dataset.name, "--candidates", "boxes")
    assert (code, err.count("error: ")) == (2, 1)
    assert "no field 'frames.boxes'" in err
    import fiftyone as fo

    gone = fo.Sample("/nowhere/gone.mp4", metadata=dataset.first().metadata)
    gone.frames[1] = fo.Frame(
        spam_tracks=fo.Detections(detections=[fo.Detection(label="car", bounding_box=[0, 0, 1, 1], index=1)])
    )
    dataset.add_sample(gone)
    code, _, err = spam("propagate", dataset.name)
    assert code == 2
    assert "gone.mp4: no such file" in err
    code, _, err = spam("propagate", dataset.name, "--skip-bad")
    assert code == 3
    assert "left out video gone" in err
