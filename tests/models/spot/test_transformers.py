from pathlib import Path

import pytest
import torch
from torch import nn

from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.model import Tracker
from spam_plugin.models.spot.network import TrackerConfig, TrackerNetwork
from spam_plugin.models.spot.transformers_ import built, described

transformers = pytest.importorskip("transformers")

PARTS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
KINDS = ("vit", "dinov2", "resnet")


def tiny(kind: str) -> nn.Module:
    if kind == "vit":
        return transformers.ViTModel(transformers.ViTConfig(**PARTS, image_size=32, patch_size=16))
    if kind == "dinov2":
        plain = {key: value for key, value in PARTS.items() if key != "intermediate_size"}
        return transformers.Dinov2Model(transformers.Dinov2Config(**plain, image_size=32, patch_size=8))
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", num_channels=3
    )
    return transformers.ResNetModel(config)


def shape(kind: str) -> TrackerConfig:
    return TrackerConfig(32, 64, channels=16, heads=2, hidden=32, backbone=described(tiny(kind), {}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_of_transformers_gives_a_token_for_every_cell_and_learns(kind: str) -> None:
    torch.manual_seed(0)
    network = TrackerNetwork(shape(kind))
    found = network(network.encode(torch.rand(2, 3, 32, 32) * 255), torch.rand(2, 3, 64, 64) * 255)
    assert found.logits.shape == (2, 64)
    found.logits.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.backbone.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_tracker_on_a_backbone_of_transformers_comes_back_from_its_file_alone(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tracker = Tracker(TrackerNetwork(shape(kind)), kind)
    tracker.save(tmp_path / "tracker.safetensors")
    again = Tracker.load(tmp_path / "tracker.safetensors")
    image = torch.randint(0, 256, (50, 60, 3), dtype=torch.uint8)
    boxes = torch.tensor([[10.0, 10, 30, 40]])
    one, other = (each.look(each.remember(image, boxes), image, boxes) for each in (tracker, again))
    torch.testing.assert_close(one.score, other.score, atol=1e-2, rtol=0)
    torch.testing.assert_close(one.xyxy, other.xyxy, atol=0.5, rtol=0)


def test_tokens_lie_where_the_crop_shows_what_they_stand_for() -> None:
    torch.manual_seed(0)
    backbone = built(described(tiny("resnet"), {}), 16, 8).eval()
    dark = torch.zeros(1, 3, 64, 64)
    lit = dark.clone()
    lit[..., 40:48, 8:16] = 255  # row 5, column 1 of 8 x 8 cells
    with torch.no_grad():
        change = (backbone(lit) - backbone(dark)).abs().sum(2)[0]
    assert divmod(int(change.argmax()), 8) in {(row, column) for row in (4, 5, 6) for column in (0, 1, 2)}


@pytest.mark.parametrize("text", ["{", "{}", '{"model": {"model_type": "nonsense"}, "mean": [], "deviation": []}'])
def test_what_describes_no_backbone_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="backbone cannot be built"):
        built(text, 16, 8)


def test_a_model_of_words_is_refused() -> None:
    model = transformers.BertModel(transformers.BertConfig(**PARTS, vocab_size=20))
    with pytest.raises(InputError, match="no states for a square picture"):
        built(described(model, {}), 16, 8)
