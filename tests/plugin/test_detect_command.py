import json

import cv2
import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.plugin import cli


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Files of four rendered pictures with people in them."""
    from spam_plugin.engine.detector_pretraining import unseen_scenes

    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, scene in zip(range(4), unseen_scenes(0, 1), strict=False):
        paths.append(folder / f"{number}.png")
        cv2.imwrite(str(paths[-1]), np.ascontiguousarray(scene.image[..., ::-1]))
    return paths


@pytest.fixture
def street(pictures):
    dataset = fo.Dataset()
    for number, path in enumerate(pictures, 1):
        dataset.add_sample(fo.Sample(str(path), sequence="street", frame_number=number, frame_rate=10.0))
    yield dataset
    dataset.delete()


def run(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        cli.main(["-q", *args])
    out, err = capsys.readouterr()
    return stop.value.code, out, err


def test_the_default_detector_finds_candidates_from_the_command_line(street, capsys):
    code, out, err = run(capsys, "detect", street.name, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["detector"] == "detector-1"
    assert told["videos"]["street"]["frames"] == 4
    street.reload()
    assert street.count("candidates.detections") == told["videos"]["street"]["boxes"] > 4
    assert set(street.distinct("candidates.detections.label")) <= {"pedestrian", "car"}
    code, out, err = run(capsys, "detect", street.name)
    assert (code, out) == (0, "")
    assert "already; --again detects anew" in err
    code, out, _ = run(capsys, "detect", street.name, "--again", "--classes", "pedestrian", "--candidates", "people")
    assert code == 0
    assert "detector-1 in people" in out
    street.reload()
    assert street.distinct("people.detections.label") == ["pedestrian"]


def test_labels_come_with_their_candidates_in_one_command(street, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("SPAM_PLUGIN_VECTORS", str(tmp_path))
    arguments = ("--detector", "in-use", "--appearance", "colour", "--json")
    code, out, err = run(capsys, "label", street.name, *arguments)
    assert code == 0, err
    street.reload()
    assert json.loads(out)["videos"]["street"]["candidates"] == street.count("candidates.detections") > 0
    assert street.get_field("spam_tracks") is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detector", "no/such/folder/here"], "there is no such folder"),
        (["--detector", "weights.pt"], "pickled weights can run any code"),
        (["--classes", "dog"], "knows no class 'dog'"),
        (["--least-score", "7"], "least_score is 7.0"),
        (["--batch", "0"], "batch is 0"),
        (["--device", "gpu9"], "device 'gpu9'"),
        (["--add-to", "nothing"], "no field"),
        (["--candidates", "two words"], "cannot be the name of a field"),
        (["--view", "mine"], "no saved view 'mine'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_two(street, capsys, options, message):
    code, out, err = run(capsys, "detect", street.name, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    street.reload()
    assert street.get_field("candidates") is None


def test_an_interrupted_command_says_what_to_do(street, capsys, monkeypatch):
    from spam_plugin.models.detector.detector import Detector

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Detector, "detect", stopped)
    code, _, err = run(capsys, "detect", street.name)
    assert code == 130
    assert "start the same command again" in err
