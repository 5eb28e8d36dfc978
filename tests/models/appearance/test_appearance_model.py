import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spam_plugin.models.appearance.figures import draw_scene
from spam_plugin.models.appearance.model import DEFAULT_WEIGHTS, AppearanceModel
from spam_plugin.models.appearance.network import AppearanceConfig, AppearanceNetwork
from spam_plugin.models.appearance.retrieval import measure_retrieval
from spam_plugin.models.errors import InputError, MissingError


@pytest.fixture(scope="module")
def model():
    return AppearanceModel.load()


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return AppearanceModel(AppearanceNetwork(AppearanceConfig(8, (4, 4, 8, 8), 4)), "tiny")


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (90, 120, 3)).astype(np.uint8)


BOXES = np.array([[5.0, 5, 40, 80], [50.5, 10, 90, 85], [-10, -10, 20, 30]])


def test_the_default_weights_are_small():
    assert DEFAULT_WEIGHTS.stat().st_size < 1_500_000


def test_vectors_have_unit_length_and_do_not_depend_on_the_other_boxes(model):
    together = model.describe(image(), BOXES)
    assert together.shape == (3, model.dimensions)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([model.describe(image(), box[None]) for box in BOXES])
    np.testing.assert_allclose(together, alone, atol=2e-3)


def test_no_boxes_have_no_vectors(model):
    assert model.describe(image(), np.zeros((0, 4))).shape == (0, model.dimensions)


def test_the_default_weights_tell_drawn_people_apart_that_they_never_saw(model):
    crops = draw_scene(np.random.default_rng(123_456_789), 12, 6)
    vectors = model.describe_crops(crops.reshape(-1, *crops.shape[2:]))
    found = measure_retrieval(vectors, np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12), 1)
    assert found.rank1 > 0.6
    untrained = AppearanceModel(AppearanceNetwork(AppearanceConfig()), "none")
    vectors = untrained.describe_crops(crops.reshape(-1, *crops.shape[2:]))
    assert (
        found.rank1 > 0.1 + measure_retrieval(vectors, np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12), 1).rank1
    )


def test_what_is_saved_describes_as_before(tiny, tmp_path):
    tiny.save(tmp_path / "a.safetensors")
    loaded = AppearanceModel.load(tmp_path / "a.safetensors")
    assert (loaded.version, loaded.dimensions) == ("tiny", 8)
    np.testing.assert_allclose(loaded.describe(image(), BOXES), tiny.describe(image(), BOXES), atol=2e-3)


def test_a_full_disk_leaves_what_was_there(tiny, tmp_path, monkeypatch):
    file = tmp_path / "a.safetensors"
    tiny.save(file)
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spam_plugin.models.appearance.model.save_file", full)
    with pytest.raises(InputError, match="make room"):
        tiny.save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_files_that_are_no_appearance_are_refused_in_one_sentence(tiny, tmp_path):
    good = tmp_path / "good.safetensors"
    tiny.save(good)
    truncated, other, empty, wrong, infinite = (tmp_path / f"{n}.safetensors" for n in range(5))
    truncated.write_bytes(good.read_bytes()[:-100])
    save_file({"a": torch.zeros(2)}, str(other))
    empty.touch()
    said = {"appearance": json.dumps({"version": "x", "network": {"dimensions": 16}})}
    save_file(load_file(str(good)), str(wrong), said)
    tensors = load_file(str(good))
    tensors["embed.weight"][0, 0] = float("nan")
    plain = {
        "appearance": json.dumps({"version": "x", "network": {"dimensions": 8, "widths": [4, 4, 8, 8], "palette": 4}})
    }
    save_file(tensors, str(infinite), plain)
    for file in (truncated, other, empty, wrong, infinite):
        with pytest.raises(InputError, match="choose another file") as caught:
            AppearanceModel.load(file)
        assert "\n" not in str(caught.value)
    with pytest.raises(MissingError, match="no such file"):
        AppearanceModel.load(tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="torch knows no such device"):
        AppearanceModel.load(good, "quantum")


def test_crops_of_another_kind_are_refused(tiny):
    with pytest.raises(InputError, match="96, 48"):
        tiny.describe_crops(np.zeros((2, 48, 96, 3), np.uint8))


def test_a_shape_that_cannot_be_is_refused():
    for values in ({"widths": (1, 2, 3)}, {"dimensions": 0}, {"palette": 10**6}, {"rows": True - 1}):
        with pytest.raises(InputError, match="positive whole number"):
            AppearanceConfig(**values)
