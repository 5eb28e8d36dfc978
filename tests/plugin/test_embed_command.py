"""``spam-plugin embed --appearance``: vectors beside the database, which label finds."""

import json

import cv2
import fiftyone as fo
import numpy as np
import pytest

from spam_plugin.plugin.cli import main


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setenv("SPAM_PLUGIN_VECTORS", str(tmp_path / "vectors"))
    dataset = fo.Dataset()
    rng = np.random.default_rng(0)
    for number in range(1, 6):
        file = tmp_path / f"{number}.png"
        cv2.imwrite(str(file), rng.integers(0, 255, (60, 80, 3)).astype(np.uint8))
        boxes = [fo.Detection(label="car", bounding_box=[x, 0.2, 0.3, 0.5], confidence=0.9) for x in (0.1, 0.5)]
        dataset.add_sample(
            fo.Sample(
                filepath=str(file), sequence="a", frame_number=number, frame_rate=10.0,
                candidates=fo.Detections(detections=boxes),
            )
        )  # fmt: skip
    yield dataset
    dataset.delete()


def run(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(list(args))
    found = capsys.readouterr()
    return end.value.code or 0, found.out, found.err


def test_vectors_are_made_once_and_label_finds_them(images, capsys):
    code, out, _ = run(capsys, "-q", "embed", images.name, "--appearance", "default")
    assert (code, out) == (0, "10 candidates of 1 videos have vectors of 'default', 10 of them new\n")
    code, out, _ = run(capsys, "-q", "embed", images.name, "--appearance", "default", "--json")
    assert json.loads(out)["new"] == {"a": 0}
    code, out, _ = run(capsys, "-q", "label", images.name, "--embeddings", "default", "--json")
    assert code == 0
    assert json.loads(out)["overall"]["candidates"] == 10


def test_an_attribute_may_be_named_by_its_old_option(images, capsys):
    for option, name in (("--attribute", "one"), ("--out", "two")):
        code, out, _ = run(capsys, "-q", "embed", images.name, option, name)
        assert (code, out) == (0, f"10 candidates of 1 videos described in {name!r}\n")
        assert images.count(f"candidates.detections.{name}") == 10


def test_tidying_says_what_it_removed(images, capsys, tmp_path):
    code, _, err = run(capsys, "-q", "embed", images.name, "--appearance", "colour", "--tidy", "0")
    assert code == 0
    assert "removed the vectors of 1 videos" in err
    assert not list((tmp_path / "vectors").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--appearance", "nowhere.safetensors"], "no such file"),
        (["--appearance", "weights.bin"], "pickled weights"),
        (["--appearance", "not a name"], "no such folder"),
        (["--tidy", "-1"], "not negative"),
        (["--appearance", "default", "--device", "abacus"], "no such device"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(images, capsys, options, why):
    code, out, err = run(capsys, "-q", "embed", images.name, *options)
    assert (code, out) == (2, "")
    complaint = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(complaint) == 1
    assert why in complaint[0]
