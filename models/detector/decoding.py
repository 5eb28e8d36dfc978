"""From cells to boxes: the best of each image, without doubles.

Non-maximum suppression is the greedy one, exactly, but for all images at once: whether a box is kept depends on which
better boxes are kept, so the rule is applied to all boxes until nothing changes any more ("Cluster-NMS", Zheng et al.,
"Enhancing Geometric Factors", IEEE T-Cyb 2021). OpenCV's is as exact, but goes box by box on the CPU; torchvision's is
not to be had here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .network import boxes_of

#: Cells of an image that may become boxes, before doubles are dropped.
_BEFORE = 600


@dataclass(frozen=True)
class Decoded:
    """Boxes of some images, sorted by image, then by falling score.

    Attributes:
        image: (K,) int64, which image of the batch.
        xyxy: (K, 4) float32 pixels, amodal: a box may leave the image.
        score: (K,) float32 in (0, 1).
        class_index: (K,) int64.
    """

    image: Tensor
    xyxy: Tensor
    score: Tensor
    class_index: Tensor


def decode(
    logits: Tensor, distances: Tensor, centre: Tensor, stride: Tensor, least_score: float, overlap: float, most: int
) -> Decoded:
    """Boxes of a batch of images.

    Args:
        logits: (B, N, C).
        distances: (B, N, 4), as the network gives them.
        centre: (N, 2) pixels of the cells.
        stride: (N,) pixels.
        least_score: boxes below are dropped.
        overlap: of two boxes of one class that overlap by more, the worse is dropped.
        most: boxes that an image may have; the best are kept.
    """
    batch, cells, classes = logits.shape
    count = min(max(_BEFORE, most), cells * classes)
    score, place = logits.float().sigmoid().flatten(1).topk(count, sorted=False)
    # Sorted by score, equal scores by cell and class: the same images give the same boxes on every machine.
    place, order = place.sort(1)
    score, order = score.gather(1, order).sort(dim=1, descending=True, stable=True)
    place = place.gather(1, order)
    cell, class_index = place // classes, place % classes
    raw = distances.float().gather(1, cell[..., None].expand(-1, -1, 4)).flatten(0, 1)
    xyxy = boxes_of(raw, centre[cell.flatten()], stride[cell.flatten()]).view(batch, count, 4)
    kept = suppress(xyxy, class_index, score >= least_score, overlap)
    kept &= kept.cumsum(1) <= most
    image, row = kept.nonzero(as_tuple=True)
    return Decoded(image, xyxy[image, row], score[image, row], class_index[image, row])


def suppress(xyxy: Tensor, class_index: Tensor, alive: Tensor, overlap: float) -> Tensor:
    """(B, N) bool: the boxes that greedy non-maximum suppression keeps, class by class.

    Args:
        xyxy: (B, N, 4) pixels, best box first.
        class_index: (B, N) int64.
        alive: (B, N) bool, boxes that take part.
        overlap: intersection over union above which the worse of two is dropped.
    """
    number = xyxy.shape[1]
    better = torch.ones((number, number), dtype=torch.bool, device=xyxy.device).triu(1)
    same = class_index[:, :, None] == class_index[:, None]
    rivals = (pairwise_iou(xyxy, xyxy) > overlap) & same & better & alive[:, :, None] & alive[:, None]
    kept = alive
    for _ in range(number):  # until nothing changes; seldom more than five times
        again = alive & ~(rivals & kept[:, :, None]).any(1)
        if torch.equal(again, kept):
            break
        kept = again
    return kept.clone()


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """(..., N, M) intersection over union of boxes (..., N, 4) and (..., M, 4)."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    area, area2 = ((each[..., 2:] - each[..., :2]).clamp_min(0).prod(-1) for each in (a, b))
    return shared / (area[..., :, None] + area2[..., None, :] - shared).clamp_min(1e-9)
