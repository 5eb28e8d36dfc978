"""Appearances by their names: vision backbones of transformers from tiny checkpoints that nobody trained."""

import json

import numpy as np
import pytest
import torch

from spam_plugin.integrations.appearances import appearance_version, is_appearance, open_appearance
from spam_plugin.models.errors import InputError, MissingError

SIZE = {"height": 32, "width": 32}
IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
BOXES = np.array([[5.0, 5, 30, 55], [20, 10, 70, 50]])


def tiny(kind):
    import transformers

    torch.manual_seed(0)
    if kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32,
            patch_size=8,
        )  # fmt: skip
        return transformers.ViTModel(config), 16
    if kind == "dinov2":
        config = transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
        )
        return transformers.Dinov2Model(config), 16
    if kind == "resnet":
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", num_channels=3
        )
        return transformers.ResNetModel(config), 12
    if kind == "clip":
        vision = {
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
            "image_size": 32, "patch_size": 8,
        }  # fmt: skip
        text = {
            "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
            "vocab_size": 20, "max_position_embeddings": 8,
        }  # fmt: skip
        return transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text)), 16
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=20
    )
    return transformers.BertModel(config), 16


@pytest.fixture
def checkpoint(tmp_path):
    def make(kind, pickled=False, **said):
        folder = tmp_path / kind
        model, width = tiny(kind)
        model.save_pretrained(folder)
        if pickled:
            (folder / "model.safetensors").unlink()
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
        about = {"size": SIZE, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, **said}
        (folder / "preprocessor_config.json").write_text(json.dumps(about))
        return folder, width

    return make


@pytest.mark.parametrize("kind", ["vit", "dinov2", "resnet", "clip"])
def test_a_vision_backbone_describes_boxes(checkpoint, kind):
    folder, width = checkpoint(kind)
    appearance = open_appearance(folder)
    assert appearance.dimensions == width
    found = appearance.describe(IMAGE, BOXES)
    assert (found.shape, found.dtype) == ((2, width), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[1:], appearance.describe(IMAGE, BOXES[1:]), atol=1e-4)
    assert appearance.describe(IMAGE, np.zeros((0, 4))).shape == (0, width)
    assert appearance.version == appearance_version(folder)


def test_crops_are_prepared_as_the_checkpoint_says(checkpoint):
    from spam_plugin.models.appearance.crops import cut

    folder, _ = checkpoint("resnet")
    model, _ = tiny("resnet")
    crops = cut(IMAGE, BOXES, (32, 32))[..., ::-1] / 255
    pixels = torch.from_numpy(np.ascontiguousarray((crops - 0.5) / 0.25)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(model.eval()(pixel_values=pixels).pooler_output.flatten(1), dim=1)
    np.testing.assert_allclose(open_appearance(folder).describe(IMAGE, BOXES), wanted.numpy(), atol=1e-4)


def test_a_pooling_layer_that_the_checkpoint_lacks_is_not_used(checkpoint):
    from safetensors.torch import load_file, save_file

    folder, _ = checkpoint("vit")
    file = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(str(file)).items() if "pooler" not in k}, str(file), {"format": "pt"})
    one = open_appearance(folder).describe(IMAGE, BOXES)
    torch.manual_seed(99)  # a random layer would be another one now
    np.testing.assert_array_equal(open_appearance(folder).describe(IMAGE, BOXES), one)


def test_other_weights_have_another_version(checkpoint):
    folder, _ = checkpoint("vit")
    before = appearance_version(folder)
    model, _ = tiny("vit")
    with torch.no_grad():
        model.layernorm.weight += 1
    model.save_pretrained(folder)
    assert appearance_version(folder) != before


def test_a_crop_size_goes_before_the_size_that_pictures_are_resized_to(checkpoint):
    folder, _ = checkpoint("resnet", size={"shortest_edge": 40}, crop_size={"height": 24, "width": 16})
    appearance = open_appearance(folder)
    assert appearance._size == (24, 16)


def test_models_without_pictures_are_refused(checkpoint):
    folder, _ = checkpoint("bert")
    with pytest.raises(InputError, match="takes no pictures"):
        open_appearance(folder)


def test_pickled_and_truncated_weights_are_refused(checkpoint, tmp_path):
    folder, _ = checkpoint("vit", pickled=True)
    with pytest.raises(InputError, match="pickled"):
        open_appearance(folder)
    (tmp_path / "a.pt").touch()
    with pytest.raises(InputError, match="pickled"):
        open_appearance(tmp_path / "a.pt")
    folder, _ = checkpoint("resnet")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(InputError, match="truncated"):
        open_appearance(folder)


def test_a_checkpoint_without_preparation_or_of_no_size_is_told(checkpoint):
    folder, _ = checkpoint("vit", size={"longest_edge": 3})
    with pytest.raises(InputError, match="names no size"):
        open_appearance(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="no preprocessor_config"):
        open_appearance(folder)


def test_a_hub_that_cannot_be_reached_names_the_folder_alternative(monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError, match=r"cannot be reached.*give a folder instead"):
        open_appearance("somebody/backbone")


def test_colours_and_our_own_have_versions_and_vectors():
    for name in (None, "default", "colour"):
        appearance = open_appearance(name)
        assert appearance.version == appearance_version(name)
        assert appearance.describe(IMAGE, BOXES).shape == (2, appearance.dimensions)
    assert open_appearance(appearance) is appearance


def test_a_file_of_ours_is_told_from_another_of_its_name(tmp_path):
    from spam_plugin.models.appearance.model import AppearanceModel

    model = AppearanceModel.load()
    model.save(tmp_path / "a.safetensors")
    first = appearance_version(tmp_path / "a.safetensors")
    with torch.no_grad():
        model.network.embed.weight *= 2
    model.save(tmp_path / "a.safetensors")
    assert appearance_version(tmp_path / "a.safetensors") != first
    assert open_appearance(tmp_path / "a.safetensors").version != first


def test_names_that_cannot_be_are_told(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        open_appearance(tmp_path / "a.safetensors")
    with pytest.raises(MissingError, match="no such folder"):
        open_appearance("not a name at all")
    with pytest.raises(InputError, match="has no describe"):
        open_appearance(3.5)
    with pytest.raises(InputError, match="no such device"):
        open_appearance(None, "quantum")


def test_names_of_appearances_are_known_without_loading_them(tmp_path):
    assert all(map(is_appearance, ("default", "colour", "a/b", str(tmp_path), "x.safetensors")))
    assert not is_appearance("embedding")
