"""The network of the tracker: what it may depend on, what reaches what, and that it learns to follow a template."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch

from spam_plugin.models.errors import InputError
from spam_plugin.models.spot.crops import as_xyxy, cut, to_crop, to_image, windows_around
from spam_plugin.models.spot.losses import overlaps, tracking_loss
from spam_plugin.models.spot.network import Prediction, TrackerConfig, TrackerNetwork, sine_places
from spam_plugin.models.spot.templates import Templates

SMALL = TrackerConfig(32, 64, widths=(8, 16, 16), channels=32, layers=2, heads=2, hidden=32)


def network(config: TrackerConfig = SMALL, seed: int = 0) -> TrackerNetwork:
    torch.manual_seed(seed)
    net = TrackerNetwork(config).eval()
    with torch.no_grad():  # heads that say something, to see what it depends on
        for head in (net.score, net.box, net.quality):
            head[-1].weight.normal_(std=0.5)
    return net


def crops(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 255


def columns(prediction: Prediction) -> list[torch.Tensor]:
    return [prediction.logits, prediction.cxcywh, prediction.quality]


def close(one: Prediction, two: Prediction, atol: float = 1e-4) -> bool:
    return all(torch.allclose(a, b, atol=atol) for a, b in zip(columns(one), columns(two), strict=True))


@pytest.mark.parametrize("config", [SMALL, TrackerConfig(), TrackerConfig.full()])
def test_every_cell_of_every_crop_has_a_score_a_box_and_a_quality(config: TrackerConfig) -> None:
    with torch.device("meta"):
        net = TrackerNetwork(config)
        templates = net.encode(torch.zeros(3, 3, config.template, config.template))
        prediction = net(templates, torch.zeros(3, 3, config.search, config.search))
    cells = (config.search // 8) ** 2
    assert templates.tokens.shape == (3, (config.template // 8) ** 2, config.channels)
    assert [each.shape for each in columns(prediction)] == [(3, cells), (3, cells, 4), (3, cells)]


def test_boxes_and_qualities_are_shares() -> None:
    net = network()
    prediction = net(net.encode(crops(2, 32)), crops(2, 64))
    assert ((prediction.cxcywh > 0) & (prediction.cxcywh < 1)).all()
    assert ((prediction.quality > 0) & (prediction.quality < 1)).all()


def test_a_new_network_expects_few_cells_to_show_the_target_and_boxes_where_the_cells_are() -> None:
    torch.manual_seed(1)
    net = TrackerNetwork(SMALL).eval()
    prediction = net(net.encode(crops(1, 32)), crops(1, 64))
    assert prediction.logits.sigmoid().mean().item() == pytest.approx(1 / 16, abs=0.02)
    box = prediction.cxcywh[0].reshape(8, 8, 4)
    middle = (torch.arange(8) + 0.5) / 8
    assert torch.allclose(box[..., 0], middle.expand(8, 8), atol=0.05)
    assert torch.allclose(box[..., 1], middle[:, None].expand(8, 8), atol=0.05)
    assert torch.allclose(box[..., 2:], torch.full((8, 8, 2), 0.25), atol=0.05)


@torch.inference_mode()
def test_a_prediction_does_not_depend_on_what_else_is_in_the_batch() -> None:
    net, template, search = network(), crops(5, 32), crops(5, 64, seed=1)
    together = net(net.encode(template), search)
    for row in range(5):
        alone = net(net.encode(template[row : row + 1]), search[row : row + 1])
        assert close(alone, Prediction(*(each[row : row + 1] for each in columns(together))))


@torch.inference_mode()
def test_templates_are_encoded_once_and_serve_many_frames() -> None:
    net, template = network(), crops(3, 32)
    calls: list[int] = []
    net.layers[0].own_template.register_forward_hook(lambda *_: calls.append(1))
    kept = net.encode(template)
    before = kept.tokens.clone()
    net(kept, crops(3, 64))
    assert len(calls) == 1
    for frame in range(3):
        search = crops(3, 64, seed=10 + frame)
        assert close(net(kept, search), net(net.encode(template), search))
    assert torch.equal(kept.tokens, before)
    index, search = torch.tensor([2, 0, 2, 1]), crops(4, 64, seed=20)
    assert close(net(kept.take(index), search), net(net.encode(template[index]), search))
    assert len(kept.take(torch.tensor([True, False, True]))) == 2


@torch.inference_mode()
def test_the_prediction_depends_on_the_template_and_on_the_search() -> None:
    net, template, search = network(), crops(1, 32), crops(1, 64)
    first = net(net.encode(template), search)
    for other in (net(net.encode(crops(1, 32, 5)), search), net(net.encode(template), crops(1, 64, 5))):
        assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(columns(first), columns(other), strict=True))


@torch.inference_mode()
def test_the_template_sees_the_search_and_the_search_the_template_in_every_layer() -> None:
    net = network()
    tokens = [torch.randn(1, cells, 32, generator=torch.Generator().manual_seed(cells)) for cells in (64, 16)]
    places = net.search_places, net.template_places
    for layer in net.layers:
        here, there = layer(*tokens, *places)
        other_here, other_there = layer(tokens[0], -tokens[1], *places)
        assert not torch.allclose(here, other_here, atol=1e-3)
        other_here, other_there = layer(-tokens[0], tokens[1], *places)
        assert not torch.allclose(there, other_there, atol=1e-3)
        # both ask what the other was before it asked
        mine, theirs = layer.own_search(tokens[0], places[0]), layer.own_template(tokens[1], places[1])
        assert torch.allclose(there, layer.cross_template(theirs, mine, places[1], places[0]), atol=1e-5)


@torch.inference_mode()
def test_attention_knows_places_only_by_their_encoding() -> None:
    net, shuffle = network(), torch.randperm(64, generator=torch.Generator().manual_seed(0))
    layer, tokens = net.layers[0].own_search, torch.randn(1, 64, 32, generator=torch.Generator().manual_seed(1))
    places = net.search_places
    assert torch.allclose(layer(tokens[:, shuffle], places[shuffle]), layer(tokens, places)[:, shuffle], atol=1e-5)
    assert not torch.allclose(layer(tokens[:, shuffle], places), layer(tokens, places)[:, shuffle], atol=1e-2)


def test_every_cell_has_a_place_of_its_own_and_neighbours_are_alike() -> None:
    places = sine_places(8, 32)
    apart = torch.cdist(places, places)
    assert apart[~torch.eye(64, dtype=torch.bool)].min() > 0.1
    rows = places.reshape(8, 8, 32)
    assert torch.equal(rows[0, :, :16], rows[0, :1, :16].expand(8, 16))  # the first half tells the row
    assert torch.equal(rows[:, 0, 16:], rows[:1, 0, 16:].expand(8, 16))
    assert apart[0, 1] < apart[0, 3]


def test_the_loss_reaches_every_weight_and_that_of_quality_only_its_head() -> None:
    net = network().train()
    torch.nn.init.normal_(net.near.write.weight)  # zero at first, so nothing before it would feel anything yet
    losses = tracking_loss(net(net.encode(crops(2, 32)), crops(2, 64)), torch.tensor([[0.2, 0.3, 0.5, 0.6]] * 2))
    losses.quality.backward(retain_graph=True)
    touched = {name.split(".")[0] for name, each in net.named_parameters() if each.grad is not None}
    assert touched <= {"quality", "box"}  # the box it judges is detached, too
    assert all(each.grad is None or not each.grad.any() for each in net.box.parameters())
    losses.total.backward()
    # softmax does not feel a shift of all its logits, which is all that a key's bias makes
    dead = [name for name, each in net.named_parameters() if not each.grad.any() and not name.endswith("key.bias")]
    assert dead == []


def test_dropout_is_for_training_only() -> None:
    net = network(replace(SMALL, dropout=0.3))
    template, search = crops(1, 32), crops(1, 64)
    assert close(net(net.encode(template), search), net(net.encode(template), search), atol=0)
    net.train()
    assert not close(net(net.encode(template), search), net(net.encode(template), search))


def test_what_follows_from_the_configuration_is_not_among_the_weights() -> None:
    net = network()
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}


def test_a_configuration_survives_json() -> None:
    for config in (SMALL, TrackerConfig.full()):
        assert TrackerConfig.read(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"template": 60}, "multiples of 8"),
        ({"template": 128}, "the smaller"),
        ({"search": 0}, "search"),
        ({"widths": (8, 16)}, "widths"),
        ({"widths": (8, 16, 20)}, "multiples of 8"),
        ({"blocks": (1, 0, 1)}, "blocks"),
        ({"channels": 30}, "multiple of 4"),
        ({"heads": 5}, "heads 5"),
        ({"layers": 0}, "layers"),
        ({"layers": 1.5}, "layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"search_factor": 1.0}, "search_factor"),
        ({"template_factor": float("nan")}, "template_factor"),
    ],
)
def test_a_configuration_that_makes_no_network_is_refused(change: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        replace(TrackerConfig(), **change)


def test_crops_of_another_size_and_templates_of_another_number_are_refused() -> None:
    net = network()
    with pytest.raises(InputError, match=r"template crops have shape .* expected \(N, 3, 32, 32\)"):
        net.encode(crops(1, 64))
    with pytest.raises(InputError, match=r"search crops have shape .* expected \(N, 3, 64, 64\)"):
        net(net.encode(crops(1, 32)), crops(1, 32))
    with pytest.raises(InputError, match="2 templates for 3 search crops"):
        net(net.encode(crops(2, 32)), crops(3, 64))


def squares(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures of a red and a blue rectangle, each a target in turn: templates, search crops, true boxes in these."""
    draw = torch.Generator().manual_seed(seed)
    templates, searches, truths = [], [], []
    for _ in range(count):
        image = torch.randint(60, 120, (120, 200, 3), generator=draw, dtype=torch.uint8)
        sides = torch.randint(14, 26, (2, 2), generator=draw)
        low = torch.tensor([[60, 40], [60 + 35, 40]]) + torch.randint(-8, 9, (2, 2), generator=draw)
        low = low[torch.randperm(2, generator=draw)]
        boxes = torch.cat([low, low + sides], 1)
        for (left, top, right, bottom), colour in zip(boxes.tolist(), [(230, 40, 40), (40, 40, 230)], strict=True):
            image[top:bottom, left:right] = torch.tensor(colour, dtype=torch.uint8)
        shift = (torch.rand(2, 2, generator=draw) - 0.5) * 20
        windows = windows_around(boxes + shift.repeat(1, 2), 4)
        templates.append(cut(image, windows_around(boxes, 2), 32))
        searches.append(cut(image, windows, 64))
        truths.append(to_crop(boxes, windows))
        assert torch.allclose(to_image(truths[-1], windows), boxes.float(), atol=0.01)
    return torch.cat(templates), torch.cat(searches), torch.cat(truths)


def test_it_learns_to_follow_the_template_and_not_the_other_target_beside_it() -> None:
    torch.manual_seed(0)
    net = TrackerNetwork(SMALL).train()
    template, search, truth = squares(1, 120)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, 300)
    order = torch.Generator().manual_seed(0)
    for _ in range(300):
        rows = torch.randint(0, len(truth), (16,), generator=order)
        loss = tracking_loss(net(net.encode(template[rows]), search[rows]), truth[rows]).total
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    template, search, truth = squares(2, 20)  # pictures that it has not seen
    with torch.inference_mode():
        prediction = net.eval()(net.encode(template), search)
    best = prediction.logits.argmax(1)
    found = as_xyxy(prediction.cxcywh[torch.arange(len(best)), best])
    iou = overlaps(found, truth)[0]
    assert iou.mean() > 0.7
    assert (iou > 0.5).float().mean() > 0.9  # half of it if the template were ignored


def test_boxes_start_from_the_shape_that_a_target_is_believed_to_have() -> None:
    net = network()
    sides = torch.tensor([[0.1, 0.4], [0.5, 0.2]])
    templates, search = net.encode(crops(2, 32)), crops(2, 64)
    found, square = (net(templates, search, each).cxcywh.logit() for each in (sides, None))
    moved = (sides.logit() - torch.tensor(0.25).logit())[:, None].expand(-1, found.shape[1], -1)
    assert torch.allclose(found[..., 2:] - square[..., 2:], moved, atol=1e-3)
    assert torch.allclose(found[..., :2], square[..., :2], atol=1e-5)
    with pytest.raises(InputError, match="a shape for each target"):
        net(net.encode(crops(2, 32)), crops(2, 64), sides[:1])


def test_templates_are_taken_and_put_with_their_pixels() -> None:
    whole = Templates(torch.rand(3, 4, 8), torch.randint(0, 255, (3, 3, 8, 8), dtype=torch.uint8), torch.rand(3, 2))
    kept = whole.blank(5)
    kept.put(torch.tensor([4, 0, 2]), whole)
    again = kept.take(torch.tensor([4, 0, 2]))
    assert all(torch.equal(getattr(again, each), getattr(whole, each)) for each in ("tokens", "pixels", "sides"))
    assert kept.pixels is not None
    assert not kept.pixels[1].any()
