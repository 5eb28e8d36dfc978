"""The network of the tracker: template and search crops in; for every cell of the search, whether the target is there.

As TransT (Chen et al., "Transformer Tracking", CVPR 2021): one backbone for both crops; layers in which each of the two
attends to itself (ego-context augment, ECA, section 3.2) and then to the other (cross-feature augment, CFA); one more
CFA in which the search asks the template; small heads on every cell. As in SPOT (TIP 2024) a third head says how well
the box of a cell fits, from features that its loss does not reach back into.

Five things differ, so that a network that starts from nothing learns from little: search tokens are told beforehand
how like they are to each cell of the template (pixel-wise correlation; Alpha-Refine, Yan et al., CVPR 2021); cells hear
from their neighbours before the heads read them, as the edges of a box are near each other (OSTrack, Ye et al., ECCV
2022, has convolutions there, too); the box of a cell is told from the cell's middle and the shape that the target is
believed to have (reference points of Deformable DETR, Zhu et al., ICLR 2021, section 4); the two opposite class logits
are one; and groups are normalised instead of batches (Wu and He, ECCV 2018), so that there are no statistics for
teacher and student to disagree about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .templates import Templates

#: Pixels from cell to cell, in crops.
STRIDE = 8

_GROUP = 8  # channels that are normalised together
_PRIOR = 1 / 16  # share of the cells of a search crop that show the target
_SHARPNESS = 5.0  # of likeness, at first


@dataclass(frozen=True)
class TrackerConfig:
    """Shape of the network and of the crops that it looks at; the default runs on a CPU, ``full()`` wants a GPU.

    Attributes:
        template: pixels along a side of the template crop, a multiple of 8.
        search: of the search crop; larger than the template's.
        template_factor: context of the template crop, see ``crops``.
        search_factor: of the search crop.
        widths: channels of the backbone's three stages, at strides 4, 8 and 8; multiples of 8.
        blocks: residual blocks of the same.
        channels: of a token; a multiple of 4 and of ``heads``.
        layers: of ECA and CFA, before the last CFA.
        heads: of an attention.
        hidden: channels between the two layers of a feed-forward network.
        dropout: share of features dropped in training.
        backbone: empty for our own; else one of ``transformers``, as ``transformers_.described`` tells it. ``widths``
            and ``blocks`` say nothing then.

    Raises:
        InputError: for what makes no network.
    """

    template: int = 64
    search: int = 128
    template_factor: float = 2.0
    search_factor: float = 4.0
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1, 1, 2)
    channels: int = 96
    layers: int = 1
    heads: int = 4
    hidden: int = 256
    dropout: float = 0.0
    backbone: str = ""

    @classmethod
    def full(cls) -> TrackerConfig:
        """The sizes of SP-TransT, with a backbone of our own."""
        return cls(128, 256, 2.0, 4.0, (64, 128, 256), (2, 3, 4), 256, 4, 8, 2048, 0.1)

    @classmethod
    def read(cls, stored: dict[str, Any]) -> TrackerConfig:
        """The configuration that ``dataclasses.asdict`` and JSON have been through."""
        shape: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in stored.items()}
        return cls(**shape)

    def __post_init__(self) -> None:
        for key in ("template", "search", "channels", "layers", "heads", "hidden"):
            value = getattr(self, key)
            if not _whole(value):
                raise InputError(f"tracker: {key} is {value!r}; it must be a positive whole number")
        for key in ("widths", "blocks"):
            value = getattr(self, key)
            if len(value) != 3 or not all(_whole(n) for n in value):
                raise InputError(f"tracker: {key} is {value!r}; it must be 3 positive whole numbers")
        if self.template % STRIDE or self.search % STRIDE or self.template >= self.search:
            raise InputError(
                f"tracker: template {self.template} and search {self.search} must be multiples of {STRIDE}, the "
                "template's the smaller"
            )
        if any(width % _GROUP for width in self.widths):
            raise InputError(f"tracker: widths is {self.widths!r}; all must be multiples of {_GROUP}")
        if self.channels % 4 or self.channels % self.heads:
            raise InputError(f"tracker: channels {self.channels} must be a multiple of 4 and of heads {self.heads}")
        if not (1 <= self.template_factor < math.inf and 1 < self.search_factor < math.inf):
            raise InputError("tracker: template_factor must be at least 1 and search_factor above 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"tracker: dropout is {self.dropout!r}; it must be at least 0 and below 1")

    @property
    def cells(self) -> int:
        """Cells along a side of a search crop."""
        return self.search // STRIDE


@dataclass(frozen=True)
class Prediction:
    """What every cell of every search crop says, row by row.

    Attributes:
        logits: (B, L) float; the sigmoid is the probability that the cell shows the target.
        cxcywh: (B, L, 4) float in (0, 1), middle and sides of the target's box in shares of the search crop.
        quality: (B, L) float in (0, 1), the overlap (IoU) that the cell expects of its box with the truth.
    """

    logits: Tensor
    cxcywh: Tensor
    quality: Tensor


class TrackerNetwork(nn.Module):
    """Templates and search crops in, a prediction for every cell out.

    Shapes:
        template crops: (T, 3, t, t) float, RGB in 0 to 255, t = ``config.template``.
        search crops: (B, 3, s, s) likewise, s = ``config.search``.
        prediction: (B, L), L = (s / 8)^2.
    """

    references: Tensor
    template_places: Tensor
    search_places: Tensor

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.backbone: nn.Module
        if config.backbone:
            from .transformers_ import built

            self.backbone = built(config.backbone, c, STRIDE)
        else:
            self.backbone = Backbone(config.widths, config.blocks, c)
        self.match = Match(c, (config.template // STRIDE) ** 2, config.cells)
        self.layers = nn.ModuleList(FusionLayer(config) for _ in range(config.layers))
        self.last = CrossAttention(config)
        self.near = Neighbourhood(c, config.cells)
        self.score, self.box, self.quality = _head(c, 1), _head(c, 4), _head(c, 1)
        # Follow from the configuration, so they are not among the weights.
        self.register_buffer("template_places", sine_places(config.template // STRIDE, c), persistent=False)
        self.register_buffer("search_places", sine_places(config.cells, c), persistent=False)
        self.register_buffer("references", _references(config.cells, 1 / config.search_factor), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Few cells show the target, boxes start at their reference points."""
        for head in (self.score, self.box, self.quality):
            nn.init.normal_(head[-1].weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(head[-1].bias)  # type: ignore[arg-type]
        nn.init.constant_(self.score[-1].bias, -math.log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]

    def encode(self, templates: Tensor) -> Templates:
        """What a template crop is to all frames; do it once per box.

        Args:
            templates: (T, 3, t, t) float, RGB in 0 to 255.

        Raises:
            InputError: for crops of another shape.
        """
        self._check("template", templates, self.config.template)
        tokens = self.backbone(templates)
        first: FusionLayer = self.layers[0]  # type: ignore[assignment]
        return Templates(first.own_template(tokens, self.template_places))

    def forward(self, templates: Templates, search: Tensor, sides: Tensor | None = None) -> Prediction:
        """Where the targets are in their search crops.

        Args:
            templates: B of them, as ``encode`` gives them.
            search: (B, 3, s, s) float, RGB in 0 to 255.
            sides: (B, 2) float in (0, 1), what shape the targets are believed to have (``crops.usual_sides``): boxes
                start from it. None for squares.

        Raises:
            InputError: for crops of another shape, or not one template for each.
        """
        self._check("search", search, self.config.search)
        if len(templates) != len(search):
            raise InputError(f"{len(templates)} templates for {len(search)} search crops; each crop needs its own")
        at, to = self.search_places, self.template_places
        here, there = self.backbone(search), templates.tokens
        here = here + self.match(here, there)
        for number, layer in enumerate(self.layers):
            here, there = layer(here, there, at, to, encoded=number == 0)
        here = self.near(self.last(here, there, at, to))
        box = (
            self.box(here).float() + self._references(len(search), sides)
        ).sigmoid()  # half precision would be half a pixel off
        quality = self.quality(here.detach()).float().sigmoid()
        return Prediction(self.score(here)[..., 0], box, quality[..., 0])

    def _references(self, count: int, sides: Tensor | None) -> Tensor:
        """(B, L, 4) logits of the boxes that cells start from, or one for all."""
        if sides is None:
            return self.references
        if sides.shape != (count, 2):
            raise InputError(f"sides have shape {tuple(sides.shape)}; expected ({count}, 2), a shape for each target")
        shape = sides.float().clamp(0.01, 0.99).logit()[:, None].expand(-1, self.references.shape[0], -1)
        return torch.cat([self.references[None, :, :2].expand(count, -1, -1), shape], 2)

    @staticmethod
    def _check(what: str, crops: Tensor, size: int) -> None:
        if crops.ndim != 4 or crops.shape[1:] != (3, size, size):
            raise InputError(f"{what} crops have shape {tuple(crops.shape)}; expected (N, 3, {size}, {size})")


class Match(nn.Module):
    """How like each cell of the search is to each cell of the template, and what that says in its neighbourhood.

    m = scale * cos(norm(x) W, norm(y) V), one channel for each template cell; then two 3 x 3 convolutions. As channels
    stand for places in the template, the convolutions can tell a target whose parts lie as they should.

    Shapes:
        search: (B, L, C) tokens, template: (B, M, C) tokens; (B, L, C) comes out.
    """

    def __init__(self, channels: int, template_cells: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.search_key, self.template_key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.template_key.load_state_dict(self.search_key.state_dict())  # like is like before anything is learned
        self.scale = nn.Parameter(torch.tensor(_SHARPNESS))
        self.read = _convolution(template_cells, channels // _GROUP * _GROUP or _GROUP, 3)
        self.write = nn.Conv2d(channels // _GROUP * _GROUP or _GROUP, channels, 3, padding=1)

    def forward(self, search: Tensor, template: Tensor) -> Tensor:
        """What to add to the search tokens; see the class for shapes."""
        keys = (self.search_key(_normed(search)), self.template_key(_normed(template)))
        query, key = (functional.normalize(each, dim=2) for each in keys)
        like = self.scale * key @ query.transpose(1, 2)  # (B, M, L)
        found = self.write(self.read(like.unflatten(2, (self.cells, self.cells))))
        return found.flatten(2).transpose(1, 2)


class Neighbourhood(nn.Module):
    """x + convolutions(x): cells see what lies up to three cells away; nothing at first.

    Shapes:
        tokens: (B, L, C); the same come out.
    """

    def __init__(self, channels: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        width = channels // _GROUP * _GROUP or _GROUP
        self.read = nn.Sequential(_convolution(channels, width, 3), _convolution(width, width, 3))
        self.write = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class for shapes."""
        picture = tokens.transpose(1, 2).unflatten(2, (self.cells, self.cells))
        return tokens + self.write(self.read(picture)).flatten(2).transpose(1, 2)


class FusionLayer(nn.Module):
    """Each side attends to itself, then both to each other's result of that (ECA and CFA; TransT, section 3.2).

    Shapes:
        search: (B, L, C) tokens, template: (B, M, C) tokens; the same come out.
    """

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__()
        self.own_search, self.own_template = SelfAttention(config), SelfAttention(config)
        self.cross_search, self.cross_template = CrossAttention(config), CrossAttention(config)

    def forward(
        self, search: Tensor, template: Tensor, at: Tensor, to: Tensor, encoded: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Search and template tokens; ``encoded`` if the template's have attended to themselves already."""
        search = self.own_search(search, at)
        if not encoded:
            template = self.own_template(template, to)
        return self.cross_search(search, template, at, to), self.cross_template(template, search, to, at)


class SelfAttention(nn.Module):
    """ECA: x = norm(x + attention(x + p, x + p, x)), p the places (TransT, equation 4)."""

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__()
        self.attention = Attention(config.channels, config.heads, config.dropout)
        self.drop = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.channels)

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        """(B, L, C) from (B, L, C) and places (L, C)."""
        placed = x + at
        return self.norm(x + self.drop(self.attention(placed, placed, x)))


class CrossAttention(nn.Module):
    """CFA: x = norm(x + attention(x + p, y + q, y)), x = norm(x + feed-forward(x)) (TransT, equations 5 and 6)."""

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__()
        self.attention = Attention(config.channels, config.heads, config.dropout)
        self.wide, self.narrow = nn.Linear(config.channels, config.hidden), nn.Linear(config.hidden, config.channels)
        self.drop = nn.Dropout(config.dropout)
        self.norm, self.last_norm = nn.LayerNorm(config.channels), nn.LayerNorm(config.channels)

    def forward(self, x: Tensor, other: Tensor, at: Tensor, other_at: Tensor) -> Tensor:
        """(B, L, C) from (B, L, C), the others (B, M, C), and the places (L, C) and (M, C) of both."""
        x = self.norm(x + self.drop(self.attention(x + at, other + other_at, other)))
        return self.last_norm(x + self.drop(self.narrow(self.drop(functional.relu(self.wide(x))))))


class Attention(nn.Module):
    """Attention with several heads: softmax(Q K^T / sqrt(d)) V (Vaswani et al., NeurIPS 2017, section 3.2)."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, L, C) from queries (B, L, C), keys and values (B, M, C)."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        found = functional.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out(found.transpose(1, 2).flatten(2))


class Backbone(nn.Module):
    """Residual blocks (He et al., CVPR 2016) at strides 4, 8 and 8, and a projection to tokens.

    As in TransT (section 3.2) the last stage keeps the stride of the one before it.

    Shapes:
        crops: (N, 3, S, S) float, RGB in 0 to 255.
        tokens: (N, (S / 8)^2, C), row by row.
    """

    def __init__(self, widths: tuple[int, ...], blocks: tuple[int, ...], channels: int) -> None:
        super().__init__()
        first, second, third = widths
        self.stages = nn.Sequential(
            _convolution(3, first, 7, 4),
            *(_Block(first) for _ in range(blocks[0])),
            _convolution(first, second, 3, 2),
            *(_Block(second) for _ in range(blocks[1])),
            _convolution(second, third, 3),
            *(_Block(third) for _ in range(blocks[2])),
        )
        self.project = nn.Conv2d(third, channels, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Tokens; see the class for shapes."""
        return self.project(self.stages((crops - 127.5) / 64)).flatten(2).transpose(1, 2)


class _Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, 3)
        self.second = _convolution(width, width, 3, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)), inplace=True)


def sine_places(cells: int, channels: int) -> Tensor:
    """Sines and cosines of the place of each cell: half of the channels tell the row, half the column.

    Places run from 0 to 2 pi over the crop, as in DETR (Carion et al., ECCV 2020, appendix A.4), which TransT follows.

    Args:
        cells: along a side.
        channels: a multiple of 4.

    Returns:
        (cells^2, channels) float32, row by row.
    """
    place = 2 * math.pi * (torch.arange(cells) + 0.5) / cells
    wave = 10000.0 ** (-torch.arange(channels // 4) / (channels // 4))
    angle = place[:, None] * wave
    axis = torch.cat([angle.sin(), angle.cos()], 1)  # (cells, channels / 2)
    row, column = axis[:, None].expand(-1, cells, -1), axis[None].expand(cells, -1, -1)
    return torch.cat([row, column], -1).flatten(0, 1)


def _references(cells: int, side: float) -> Tensor:
    """(cells^2, 4) logits of the boxes that cells start from: their middles, and the usual sides of a target."""
    middle = (torch.arange(cells) + 0.5) / cells
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    sides = torch.full_like(x, side)
    return torch.stack([x, y, sides, sides], -1).flatten(0, 1).logit()


def _head(channels: int, out: int) -> nn.Sequential:
    hidden = (nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(channels, out))


def _convolution(before: int, width: int, size: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(before, width, size, stride, size // 2, bias=False), nn.GroupNorm(width // _GROUP, width)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if active else []))


def _normed(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:])


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
