"""How well a tracker finds boxes again that it has not learnt from, through the frames on the way there."""

from __future__ import annotations

import torch
from torch import Tensor

from .crops import to_image, usual_sides, windows_around
from .lessons import Footage, Keys
from .likeness import likeness
from .losses import overlaps
from .model import HANN, agreed, hann_window
from .network import TrackerNetwork

_LEAST_SIDE = 4.0  # pixels, below which nothing is followed


@torch.no_grad()
def look(
    network: TrackerNetwork, template: Tensor, shown: Tensor, search: Tensor, around: Tensor, hann: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What a tracker with these weights says of pairs of crops, as ``model.agreed``; on the CPU.

    Args:
        network: in evaluation mode.
        template: (N, 3, t, t) crops.
        shown: (N, 4) boxes that they show.
        search: (N, 3, s, s) crops.
        around: (N, 4) boxes that the search crops were cut around.
        hann: share of the window that prefers the middle.
    """
    device = next(network.parameters()).device
    config, template, search = network.config, template.to(device), search.to(device)
    sides = usual_sides(around, config.search_factor).to(device)
    said = network(network.encode(template), search, sides)
    like = likeness(template, usual_sides(shown, config.template_factor).to(device), search, sides)
    box, score, quality = agreed(said, hann_window(config.cells).to(device), hann, like, sides)
    return box.cpu(), score.cpu(), quality.cpu()


def sound(xyxy: Tensor) -> Tensor:
    """Boxes (N, 4) in pixels that are at least a few pixels large, about the same middles."""
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    half = (xyxy[:, 2:] - xyxy[:, :2]).clamp_min(_LEAST_SIDE) / 2
    return torch.cat([middle - half, middle + half], 1)


def follow(
    network: TrackerNetwork, footage: Footage, keys: Keys, targets: Keys, looks: int = 30, hann: float = HANN
) -> Tensor:
    """Follows objects from the known box that is nearest in time to boxes that are to be found.

    All are followed in step. Where more frames lie between than ``looks``, some are passed over.

    Args:
        network: in evaluation mode.
        footage: of the clips.
        keys: known boxes, at least one of the track of each target.
        targets: boxes to be found.
        looks: at most so many on the way.
        hann: share of the window that prefers the middle.

    Returns:
        (M,) float32, overlap of each target with what was found.
    """
    own = keys.track == targets.track[:, None]
    away = (keys.frame - targets.frame[:, None]).abs()
    start = torch.where(own, away, torch.iinfo(torch.long).max).argmin(1)
    paths = [
        footage.between(clip, first, last, looks)
        for clip, first, last in zip(
            targets.clip.tolist(), keys.frame[start].tolist(), targets.frame.tolist(), strict=True
        )  # a handful
    ]
    length = torch.tensor([len(path) for path in paths])
    path = torch.nn.utils.rnn.pad_sequence(paths, batch_first=True)
    config = network.config
    windows = windows_around(keys.xyxy[start], config.template_factor)
    template = footage.crops(targets.clip, keys.frame[start], windows, config.template)
    xyxy = keys.xyxy[start].clone()
    for at in range(path.shape[1]):  # one look after the other: each begins where the one before it ended
        on = at < length
        windows = windows_around(xyxy[on], config.search_factor)
        search = footage.crops(targets.clip[on], path[on, at], windows, config.search)
        box, _, _ = look(network, template[on], keys.xyxy[start][on], search, xyxy[on], hann)
        xyxy[on] = sound(to_image(box, windows))
    return overlaps(xyxy, targets.xyxy)[0]
