from pathlib import Path

import pytest
import torch

from spam_plugin.integrations.tracker_backbones import network_on
from spam_plugin.models.errors import InputError, MissingError
from spam_plugin.models.spot.network import TrackerConfig

transformers = pytest.importorskip("transformers")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    return tmp_path / "vit"


def test_a_network_starts_with_the_weights_of_the_checkpoint(checkpoint: Path) -> None:
    network = network_on(checkpoint, TrackerConfig(32, 64, channels=16, heads=2, hidden=32))
    there = transformers.ViTModel.from_pretrained(checkpoint).state_dict()
    for name, tensor in network.backbone.model.state_dict().items():
        assert torch.equal(tensor, there[name])
    assert '"mean": [0.5, 0.5, 0.5]' in network.config.backbone


def test_a_folder_that_is_not_there_or_holds_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises((MissingError, InputError), match="empty"):
        network_on(tmp_path / "empty")
