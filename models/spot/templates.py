"""What a tracker remembers of its targets."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Templates:
    """Targets as the network remembers them: nothing of any search crop has reached them yet.

    Attributes:
        tokens: (T, M, C) float, M cells of the template crop.
        pixels: (T, 3, t, t) uint8, the crop itself, and
        sides: (T, 2) float, of the target in shares of it, for ``likeness``; None if nothing is to be compared.
    """

    tokens: Tensor
    pixels: Tensor | None = None
    sides: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, index: Tensor) -> Templates:
        """Those of an index (B,) int64, or of a mask (T,) bool; one target may be taken many times."""
        rest = (None if each is None else each[index] for each in (self.pixels, self.sides))
        return Templates(self.tokens[index], *rest)

    def put(self, index: Tensor, others: Templates) -> None:
        """Have those of an index (B,) int64 be what B others are, in place."""
        for name in ("tokens", "pixels", "sides"):
            column, other = getattr(self, name), getattr(others, name)
            if column is not None and other is not None:
                column[index] = other

    def blank(self, count: int) -> Templates:
        """So many of the same kind, of nothing."""
        tokens, pixels, sides = (
            None if each is None else each.new_zeros((count, *each.shape[1:]))
            for each in (self.tokens, self.pixels, self.sides)
        )
        assert tokens is not None
        return Templates(tokens, pixels, sides)
