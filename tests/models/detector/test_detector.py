"""The detector as users meet it: any images in, boxes out, weights that cannot harm."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spam_plugin.models.detector.detector import Detections, Detector, DetectSettings
from spam_plugin.models.detector.network import MULTIPLE, STRIDES, DetectorConfig, DetectorNetwork, cell_grid
from spam_plugin.models.errors import InputError, MissingError
from spam_plugin.models.spam.model import DEFAULT_WEIGHTS as WEIGHTS_OF_SPAM

SMALL = DetectorConfig(widths=(8, 16, 24, 32), blocks=(1, 1, 1, 1), head=16)
EVERYTHING = DetectSettings(least_score=0.0, most=50)


@pytest.fixture(scope="module")
def small() -> Detector:
    """A detector that knows nothing, with normalisation that is not the identity."""
    torch.manual_seed(0)
    network = DetectorNetwork(SMALL)
    torch.nn.init.normal_(network.score.weight, std=0.5)
    network.train()
    for _ in range(3):
        network(torch.rand(2, 3, 64, 64) * 255)
    return Detector(network, "small")


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def assert_same(one: Detections, two: Detections) -> None:
    np.testing.assert_array_equal(one.frame, two.frame)
    np.testing.assert_array_equal(one.class_index, two.class_index)
    np.testing.assert_allclose(one.score, two.score, atol=1e-5)
    np.testing.assert_allclose(one.xyxy, two.xyxy, atol=1e-2)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160), (224, 96)])
def test_every_cell_of_every_level_has_scores_and_distances(height: int, width: int) -> None:
    network = DetectorNetwork(DetectorConfig(classes=("a", "b", "c"))).eval()
    logits, distances = network(torch.rand(2, 3, height, width) * 255)
    cells = sum((height // stride) * (width // stride) for stride in STRIDES)
    assert logits.shape == (2, cells, 3)
    assert distances.shape == (2, cells, 4)
    centre, stride = cell_grid(height, width)
    assert centre.shape == (cells, 2)
    assert stride.shape == (cells,)
    assert max(STRIDES) == MULTIPLE


def test_the_order_of_the_cells_is_that_of_the_pixels() -> None:
    network = DetectorNetwork(SMALL).eval()
    torch.nn.init.normal_(network.score.weight, std=0.5)
    plain = torch.full((1, 3, 128, 192), 127.5)
    spotted = plain.clone()
    spotted[..., 40:48, 136:144] = 255
    with torch.no_grad():
        change = (network(spotted)[0] - network(plain)[0]).abs().sum(-1)[0]
    centre, stride = cell_grid(128, 192)
    fine = stride == 8
    x, y = centre[fine][change[fine].argmax()].tolist()
    assert abs(x - 140) <= 24
    assert abs(y - 44) <= 24


def test_the_default_network_is_small() -> None:
    count = sum(value.numel() for value in DetectorNetwork(DetectorConfig()).parameters())
    assert 0.5e6 < count < 1.5e6


def test_any_image_size_gives_boxes_in_its_own_pixels(small: Detector) -> None:
    images = pictures((1, 1), (33, 47), (64, 64), (50, 200), (64, 64))
    found = small.detect(images, EVERYTHING)
    assert set(found.frame) == {0, 1, 2, 3, 4}
    assert (np.diff(found.frame) >= 0).all()
    assert ((found.xyxy[:, 2:] - found.xyxy[:, :2]) > 0).all()
    for frame in range(5):
        mine = found.frame == frame
        assert mine.sum() <= 50
        assert (np.diff(found.score[mine]) <= 0).all()
    assert (found.frame.dtype, found.xyxy.dtype, found.score.dtype, found.class_index.dtype) == (
        np.int64, np.float32, np.float32, np.int64,
    )  # fmt: skip


def test_an_image_gives_the_same_boxes_in_any_company(small: Detector) -> None:
    images = pictures((40, 60), (64, 64), (90, 30), (64, 64), (40, 64))
    together = small.detect(images, DetectSettings(least_score=0.2, batch=3))
    for number, image in enumerate(images):
        alone = small.detect([image], DetectSettings(least_score=0.2))
        mine = together.frame == number
        assert_same(alone, Detections(
            together.frame[mine] - number, together.xyxy[mine], together.score[mine], together.class_index[mine]
        ))  # fmt: skip


def test_an_array_of_images_and_a_list_of_them_are_the_same(small: Detector) -> None:
    images = pictures((48, 64), (48, 64), (48, 64))
    one, two = small.detect(np.stack(images)), small.detect(images)
    np.testing.assert_array_equal(one.xyxy, two.xyxy)
    assert len(small.detect([])) == 0


def test_folding_normalisation_into_convolutions_changes_nothing(small: Detector) -> None:
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        for slow, fast in zip(small.network(image), small._fast(image), strict=True):
            torch.testing.assert_close(slow, fast, atol=1e-3, rtol=1e-3)


def test_weights_that_are_written_detect_the_same_when_read(small: Detector, tmp_path: Path) -> None:
    small.save(tmp_path / "folder" / "one.safetensors")
    read = Detector.load(tmp_path / "folder" / "one.safetensors")
    assert (read.version, read.classes) == ("small", SMALL.classes)
    read.save(tmp_path / "two.safetensors")
    again = Detector.load(tmp_path / "two.safetensors")
    image = pictures((64, 64))
    assert_same(read.detect(image), again.detect(image))
    assert (tmp_path / "two.safetensors").read_bytes() == (tmp_path / "folder" / "one.safetensors").read_bytes()


def test_a_missing_file_and_a_device_that_is_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        Detector.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(InputError, match="no such device"):
        Detector.load(device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            Detector.load(device="cuda")


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.trace,))


def test_foreign_truncated_and_pickled_files_are_refused_and_nothing_is_executed(
    small: Detector, tmp_path: Path
) -> None:
    small.save(tmp_path / "good.safetensors")
    whole = (tmp_path / "good.safetensors").read_bytes()
    network = small.network.state_dict()
    described = json.dumps({"version": "x", "network": {"classes": ["a"], "widths": [8, 8], "head": 16}})
    files: dict[str, bytes] = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "pickled": pickle.dumps(Bomb(tmp_path / "trace")),
        "spam": WEIGHTS_OF_SPAM.read_bytes(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    save_file(network, str(tmp_path / "bare"))
    save_file(network, str(tmp_path / "other"), {"detector": described})
    save_file(network, str(tmp_path / "words"), {"detector": "[1, 2]"})
    kept = json.dumps({"version": "x", "network": {"classes": ["pedestrian", "car"]}})
    save_file(network, str(tmp_path / "shape"), {"detector": kept})
    torch.save(network, tmp_path / "zip")
    for name in (*files, "bare", "other", "words", "shape", "zip"):
        with pytest.raises(InputError, match="not a detector of this version"):
            Detector.load(tmp_path / name)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)"),
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        ("picture.jpg", "str"),
    ],
)
def test_what_is_no_image_is_refused_by_its_number(small: Detector, image: object, said: str) -> None:
    with pytest.raises(InputError, match=f"image 1 .*{said}|image 1 has {said}"):
        small.detect([pictures((8, 8))[0], image])


@pytest.mark.parametrize("change", [{"least_score": 1.5}, {"overlap": -0.1}, {"most": 0}, {"batch": 0}])
def test_settings_that_cannot_be_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        DetectSettings(**change)


@pytest.mark.parametrize(
    "change", [{"classes": ()}, {"classes": ("a", "a")}, {"widths": (8, 8)}, {"blocks": (1, 1, 1, 0)}, {"head": 0}]
)
def test_shapes_that_cannot_be_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        DetectorConfig(**change)


def test_memory_that_runs_out_makes_batches_smaller_and_then_a_sentence(
    small: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(*[(32, 64)] * 7)
    expected = small.detect(images)
    forward, sizes, room = small._fast.forward, [], 2

    def narrow(batch: torch.Tensor):
        sizes.append(len(batch))
        if len(batch) > room:
            raise torch.OutOfMemoryError("no room")
        return forward(batch)

    monkeypatch.setattr(small._fast, "forward", narrow)
    assert_same(small.detect(images), expected)
    assert sizes == [7, 4, 2, 2, 2, 1]
    room = 0
    with pytest.raises(InputError, match="one image of 64 x 32 pixels does not fit"):
        small.detect(images)


def test_neither_torchvision_nor_fiftyone_is_imported() -> None:
    code = "import sys, spam_plugin.models.detector.detector, spam_plugin.models.detector.training;" \
           "print({'torchvision', 'fiftyone', 'click', 'requests'} & set(sys.modules))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.strip() == "set()", done.stderr
