"""What the rest of the video says about every candidate: scores that mean the same for every detector, and neighbours.

Detectors score on any scale, so a raw score is read only through its rank and through a curve fitted to the video
itself: how often candidates of that rank find a partner in the neighbouring frames. One column more places the score
between the video's lowest and highest, which tells a video of mostly false boxes from one of mostly true ones; it
changes with the shape of the detector's scale, so that pretraining draws that shape at random.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import geometry
from .columns import BoxColumns
from .pairs import blocks_of_pairs
from .stabilisation import Partners

BINS = 16
# Names of the columns of ``describe``, in order.
NAMES = (
    "rank", "calibrated_score", "support", "overlap_with_better", "covered_by_better", "holds_better", "hidden",
    "size_residual", "size_surprise", "relative_height", "aspect", "border_side", "border_bottom", "crowd",
    "lane_support", "lane_curve_low", "lane_curve_high", "frame_rate", "size_spread", "relative_score",
    "lane_relative_score",
)  # fmt: skip


def describe(boxes: BoxColumns) -> tuple[Tensor, Partners]:
    """(N, len(NAMES)) float32 context of every box, each column about of unit size."""
    lanes = len(boxes.lane_rate)
    count = torch.bincount(boxes.lane, minlength=lanes).clamp_min(1)
    rank = _rank(boxes, count)
    support, partners = temporal_support(boxes)
    curve = _support_curve(boxes.lane, rank, support, lanes)
    calibrated = _read_curve(curve, boxes.lane, rank)
    same = _same_frame(boxes, rank)
    residual, spread = _size_residual(boxes, calibrated, lanes)
    relative = _relative_score(boxes, count)
    lane_relative = torch.zeros_like(boxes.lane_rate).index_add_(0, boxes.lane, relative) / count
    xyxy = boxes.xyxy()
    side = torch.minimum(xyxy[:, 0], boxes.size[:, 0] - xyxy[:, 2]) / boxes.scale
    bottom = (boxes.size[:, 1] - xyxy[:, 3]) / boxes.scale
    _, inverse, per_frame = torch.unique_consecutive(boxes.time, return_inverse=True, return_counts=True)
    lane_support = torch.zeros(lanes, device=rank.device).index_add_(0, boxes.lane, support) / count
    columns = [
        2 * rank - 1, calibrated, support, *same,
        residual.clamp(-4, 4), residual.abs().clamp_max(4),
        boxes.state[:, 3] - boxes.size[:, 1].log(), boxes.state[:, 2] - boxes.state[:, 3],
        side.clamp(-1, 3), bottom.clamp(-1, 3), per_frame[inverse].float().log(),
        lane_support[boxes.lane], curve[:, 0][boxes.lane], curve[:, -1][boxes.lane],
        (boxes.rate / 15).log(), spread.log()[boxes.lane], 2 * relative - 1, lane_relative[boxes.lane],
    ]  # fmt: skip
    return torch.stack([c.float() for c in columns], 1), partners


def temporal_support(boxes: BoxColumns) -> tuple[Tensor, Partners]:
    """How well the best partner in the frame before and in the frame after agrees, averaged: (N,) in [0, 1].

    Also the pairs of boxes that are each other's best partner, where they agree at all.
    """
    number = len(boxes)
    best = boxes.scale.new_zeros(2, number)
    first = torch.searchsorted(boxes.time, boxes.time + 1)
    last = torch.searchsorted(boxes.time, boxes.time + 1, right=True)
    likely = []
    for i, j in blocks_of_pairs(first, last):
        change = (boxes.state[i] - boxes.state[j]).abs()
        far = (change[:, 0] + change[:, 1]) / (boxes.scale[i] + boxes.scale[j])
        agree = torch.exp(-2.0 * far - 2.0 * (change[:, 2] + change[:, 3]))
        best[0].scatter_reduce_(0, i, agree, "amax")
        best[1].scatter_reduce_(0, j, agree, "amax")
        near = (agree > 0.2).nonzero()[:, 0]
        likely.append((i[near], j[near], agree[near]))
    before, after, agree = (torch.cat([part[n] for part in likely]) for n in range(3))
    mutual = (agree == best[0][before]) & (agree == best[1][after])
    return best.mean(0), Partners(before[mutual], after[mutual])


def _rank(boxes: BoxColumns, count: Tensor) -> Tensor:
    """(N,) in (0, 1): share of the lane's scores below each one, equal scores at the middle of their places."""
    order = _by_score(boxes)
    lane, score = boxes.lane[order], boxes.score[order]
    fresh = torch.ones_like(order, dtype=torch.bool)
    fresh[1:] = (lane[1:] != lane[:-1]) | (score[1:] != score[:-1])
    group = fresh.cumsum(0) - 1
    first = fresh.nonzero()[:, 0]
    last = torch.cat([first[1:], first.new_tensor([len(order)])])
    begin = (count.cumsum(0) - count)[lane]
    place = (first + last)[group].double() / 2 - begin
    rank = torch.empty(len(order), device=order.device)
    rank[order] = (place / count[lane]).float()
    return rank


def _by_score(boxes: BoxColumns) -> Tensor:
    """(N,) rows sorted by lane and then score."""
    order = torch.argsort(boxes.score, stable=True)
    return order[torch.argsort(boxes.lane[order], stable=True)]


def _relative_score(boxes: BoxColumns, count: Tensor) -> Tensor:
    """(N,) in [0, 1]: place of the score between the lane's lowest and highest percent; 0 where all are equal."""
    order = _by_score(boxes)
    begin = count.cumsum(0) - count
    score, last = boxes.score.double(), len(order) - 1
    low, high = (
        score[order[(begin + (share * (count - 1)).long()).clamp(0, last)]] if last >= 0 else count.double()
        for share in (0.01, 0.99)
    )
    spread = (high - low)[boxes.lane]
    inside = (score - low[boxes.lane]) / torch.where(spread > 0, spread, 1.0)
    return torch.where(spread > 0, inside, 0.0).clamp(0, 1).float()


def _support_curve(lane: Tensor, rank: Tensor, support: Tensor, lanes: int) -> Tensor:
    """(L, BINS) non-decreasing mean support over the rank of the score: a detector's own calibration curve."""
    cell = lane * BINS + (rank * BINS).long().clamp(0, BINS - 1)
    total = support.new_zeros(lanes * BINS).index_add_(0, cell, support).view(lanes, BINS)
    count = support.new_zeros(lanes * BINS).index_add_(0, cell, torch.ones_like(support)).view(lanes, BINS)
    mean = (total.sum(1) / count.sum(1).clamp_min(1))[:, None]
    raw = (total + 4 * mean) / (count + 4)
    return (raw.cummax(1).values + raw.flip(1).cummin(1).values.flip(1)) / 2


def _read_curve(curve: Tensor, lane: Tensor, rank: Tensor) -> Tensor:
    """(N,) the lane's curve at a rank, linear between the middles of the bins."""
    place = (rank * BINS - 0.5).clamp(0, BINS - 1)
    low = place.floor().long().clamp_max(BINS - 2)
    part = place - low
    return curve[lane, low] * (1 - part) + curve[lane, low + 1] * part


def _same_frame(boxes: BoxColumns, rank: Tensor) -> list[Tensor]:
    """Relations to boxes of the same frame, (N,) each.

    IoU with, cover by and cover of a better-scored one; cover by a nearer one.
    """
    number = len(boxes)
    xyxy = boxes.xyxy()
    size = geometry.area(xyxy).clamp_min(1e-6)
    out = boxes.scale.new_zeros(4, number)
    first = torch.arange(1, number + 1, device=rank.device)
    last = torch.searchsorted(boxes.time, boxes.time, right=True)
    for i, j in blocks_of_pairs(first, last):
        shared = geometry.intersection(xyxy[i], xyxy[j])
        keep = shared > 0
        i, j, shared = i[keep], j[keep], shared[keep]
        better = rank[i] > rank[j]
        high, low = torch.where(better, i, j), torch.where(better, j, i)
        out[0].scatter_reduce_(0, low, shared / (size[i] + size[j] - shared), "amax")
        out[1].scatter_reduce_(0, low, shared / size[low], "amax")
        out[2].scatter_reduce_(0, low, shared / size[high], "amax")
        nearer = xyxy[i, 3] > xyxy[j, 3]
        behind = torch.where(nearer, j, i)
        out[3].scatter_reduce_(0, behind, shared / size[behind], "amax")
    return list(out)


def _size_residual(boxes: BoxColumns, weight: Tensor, lanes: int) -> tuple[Tensor, Tensor]:
    """Residual of log height from a smooth function of the place in the image (N,), in units of its spread (L,).

    On a ground plane the height of an object is a function of where it stands; false boxes break that rule. Weighted
    least squares with re-weighting by residual, one small system a lane.
    """
    place = torch.stack([boxes.state[:, 0], boxes.xyxy()[:, 3]], 1) / boxes.size - 0.5
    basis = torch.stack([torch.ones_like(weight), place[:, 1], place[:, 1] ** 2, place[:, 0]], 1)
    target = boxes.state[:, 3] - boxes.size[:, 1].log()
    weight = weight.clamp_min(1e-3)
    ridge = 0.3 * torch.diag(torch.tensor([1e-3, 1.0, 1.0, 1.0], device=weight.device))
    factor = weight
    residual = target
    spread = torch.ones(lanes, device=weight.device)
    for _ in range(4):  # re-weighting passes
        outer = (basis[:, :, None] * basis[:, None, :] * factor[:, None, None]).flatten(1)
        gram = outer.new_zeros(lanes, 16).index_add_(0, boxes.lane, outer).view(lanes, 4, 4) + ridge
        right = outer.new_zeros(lanes, 4).index_add_(0, boxes.lane, basis * (factor * target)[:, None])
        solution = torch.linalg.solve(gram, right)
        residual = target - (basis * solution[boxes.lane]).sum(1)
        total = outer.new_zeros(lanes).index_add_(0, boxes.lane, factor).clamp_min(1e-6)
        spread = outer.new_zeros(lanes).index_add_(0, boxes.lane, factor * residual.abs().clamp_max(1.0)) / total
        spread = (1.25 * spread).clamp_min(0.03)
        factor = weight / (1 + (residual / spread[boxes.lane]) ** 2)
    return residual / spread[boxes.lane], spread
