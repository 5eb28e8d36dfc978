import json

import pytest

from spam_plugin.plugin import cli


@pytest.fixture
def street():
    """The name of a dataset with one video, in which two things move past each other for thirty frames."""
    import fiftyone as fo

    from spam_plugin.integrations.fiftyone_.raw import declare_detections, detection_dict, write_frame_labels

    dataset = fo.Dataset()
    dataset.media_type = "video"
    declare_detections(dataset, "frames.candidates")
    metadata = fo.VideoMetadata(total_frame_count=30, frame_width=640, frame_height=480, frame_rate=10.0)
    sample = fo.Sample(filepath="/nowhere/street.mp4", metadata=metadata)
    dataset.add_sample(sample)
    frames = {
        t + 1: [
            detection_dict("car", [0.1 + 0.01 * t, 0.2, 0.1, 0.2], confidence=0.9),
            detection_dict("person", [0.8 - 0.01 * t, 0.6, 0.05, 0.3], confidence=0.8),
        ]
        for t in range(30)
        if t != 12
    }
    write_frame_labels(dataset, sample.id, "candidates", frames)
    yield dataset
    dataset.delete()


def run(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        cli.main([*args])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_the_real_model_labels_a_dataset_from_the_command_line(street, capsys):
    code, out, err = run(capsys, "-q", "label", street.name, "--json")
    assert code == 0, err
    told = json.loads(out)
    video = told["videos"]["street"]
    assert (video["candidates"], video["tracks"], video["boxes"], video["interpolated"]) == (58, 2, 60, 2)
    assert told["model_version"]
    street.reload()
    assert street.count("frames.spam_tracks.detections") == 60
    assert sorted(street.distinct("frames.spam_tracks.detections.index")) == [1, 2]
    labels = {
        (index, label)
        for index, label in zip(
            *street.values(["frames.spam_tracks.detections.index", "frames.spam_tracks.detections.label"], unwind=True),
            strict=True,
        )
    }
    assert len(labels) == 2
    code, out, _ = run(capsys, "-q", "label", street.name, "--no-interpolate", "--no-smooth", "--levels", "5")
    assert code == 0
    assert "street" in out
    assert street.count("frames.spam_tracks.detections") == 58


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["label", "nowhere-at-all"], "there is no dataset 'nowhere-at-all'"),
        (["embed", "nowhere-at-all"], "there is no dataset 'nowhere-at-all'"),
        (["label", "STREET", "--candidates", "boxes"], "no field 'frames.boxes'"),
        (["label", "STREET", "--out", "candidates"], "the field of the candidates"),
        (["label", "STREET", "--levels", "99"], "num_levels is 99"),
        (["label", "STREET", "--model", "nowhere.safetensors"], "no such file"),
        (["embed", "STREET"], "cannot be decoded"),
    ],
)
def test_what_a_user_can_mend_is_told_in_one_line(street, capsys, args, why):
    code, out, err = run(capsys, "-q", *(street.name if arg == "STREET" else arg for arg in args))
    assert (code, out) == (2, "")
    complaint = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(complaint) == 1
    assert why in complaint[0]


def test_what_is_left_out_is_told(street, capsys):
    sample = street.first()
    sample.frames[3].candidates.detections[0].confidence = None
    sample.save()
    code, out, err = run(capsys, "-q", "label", street.name, "--skip-bad")
    assert code == 0
    assert "left out 1 candidates: no finite confidence" in err
    assert "street" in out
    code, out, err = run(capsys, "-q", "embed", street.name, "--skip-bad")
    assert code == 0
    assert "left out video street" in err
    assert "0 candidates" in out
