from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spam_plugin.models.errors import InputError, MissingError
from spam_plugin.models.spot.model import Tracker, hann_window
from spam_plugin.models.spot.network import TrackerConfig, TrackerNetwork

SMALL = TrackerConfig(32, 64, widths=(8, 16, 16), channels=16, layers=1, heads=2, hidden=32)
BOXES = torch.tensor([[10.0, 10, 30, 40], [60, 20, 90, 50], [5, 60, 25, 80]])


@pytest.fixture
def tracker() -> Tracker:
    torch.manual_seed(0)
    return Tracker(TrackerNetwork(SMALL), "small", calibration={"bias": 0.5})


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (100, 120, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_a_tracker_comes_back_from_its_file_within_half_precision(
    tracker: Tracker, image: torch.Tensor, tmp_path: Path
) -> None:
    tracker.save(tmp_path / "tracker.safetensors")
    again = Tracker.load(tmp_path / "tracker.safetensors")
    assert (again.version, again.config, again.calibration) == ("small", SMALL, {"bias": 0.5})
    for name, tensor in tracker.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
    a, b = (each.look(each.remember(image, BOXES), image, BOXES) for each in (tracker, again))
    torch.testing.assert_close(a.score, b.score, atol=1e-2, rtol=0)
    assert not again.network.training
    assert not list(tmp_path.glob("*.tmp"))


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        Tracker.load(tmp_path / "none.safetensors")


def test_pickles_and_weights_of_other_networks_are_refused(tracker: Tracker, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled.safetensors"
    torch.save(tracker.network.state_dict(), pickled)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, str(other), {"appearance": "{}"})
    lacking = tmp_path / "lacking.safetensors"
    meta = '{"version": "x", "network": {"channels": 16, "heads": 2}}'
    save_file({"weight": torch.zeros(2)}, str(lacking), {"spot": meta})
    for file in (pickled, other, lacking):
        with pytest.raises(InputError, match=f"{file.name}: not a tracker of this version"):
            Tracker.load(file)


def test_weights_that_are_not_finite_are_refused(tracker: Tracker, tmp_path: Path) -> None:
    with torch.no_grad():
        next(tracker.network.parameters())[0] = float("nan")
    tracker.save(tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match="not finite"):
        Tracker.load(tmp_path / "nan.safetensors")


def test_what_is_found_does_not_depend_on_how_many_are_looked_for_at_once(
    tracker: Tracker, image: torch.Tensor
) -> None:
    templates = tracker.remember(image, BOXES, batch=2)
    assert templates.tokens.shape == (3, 16, 16)
    together, alone = (tracker.look(templates, image, BOXES, batch=n) for n in (64, 1))
    torch.testing.assert_close(together.xyxy, alone.xyxy, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(together.score, alone.score, rtol=1e-3, atol=1e-4)
    assert together.quality.shape == (3,)


def test_no_targets_are_no_trouble(tracker: Tracker, image: torch.Tensor) -> None:
    none = torch.zeros(0, 4)
    found = tracker.look(tracker.remember(image, none), image, none)
    assert found.xyxy.shape == (0, 4)
    assert found.score.shape == (0,)


def test_a_window_of_full_share_chooses_the_middle_cell(tracker: Tracker, image: torch.Tensor) -> None:
    window = hann_window(8).reshape(8, 8)
    assert window.max() == 1
    assert (window > 0).all()
    torch.testing.assert_close(window, window.flip(0, 1))
    box = torch.tensor([[50.0, 40, 70, 60]])
    found = tracker.look(tracker.remember(image, box), image, box, hann=1.0)
    middle = (found.xyxy[0, :2] + found.xyxy[0, 2:]) / 2
    assert (middle - torch.tensor([60.0, 50])).abs().max() < 10  # the search is 80 pixels wide, a cell 10


def test_each_place_needs_its_template(tracker: Tracker, image: torch.Tensor) -> None:
    with pytest.raises(InputError, match="3 templates for 2 places"):
        tracker.look(tracker.remember(image, BOXES), image, BOXES[:2])
    with pytest.raises(InputError, match="some area"):
        tracker.look(tracker.remember(image, BOXES[:1]), image, torch.zeros(1, 4))
