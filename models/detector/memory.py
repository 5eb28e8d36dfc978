"""Batches that grow smaller by themselves where a GPU's memory does not hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from ..errors import InputError

_T = TypeVar("_T")


def in_batches(number: int, size: int, work: Callable[[slice], _T], what: str, device: object) -> Iterator[
    tuple[slice, _T]
]:  # fmt: skip
    """Work on so many things, a batch at a time; where memory runs out, half the batch is tried from there on.

    Args:
        number: of things.
        size: of a batch at first.
        work: on the things of a slice.
        what: one of them is, for the message.
        device: that they are worked on, for the message.

    Yields:
        (which things, what the work gave).

    Raises:
        InputError: if one thing alone is too large.
    """
    first = 0
    while first < number:
        part = slice(first, min(first + size, number))
        try:
            result = work(part)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise InputError(
                    f"detector: {what} does not fit into the memory of {device}; use smaller images, or the device "
                    f"'cpu'"
                ) from error
            size = max(size // 2, 1)
            torch.cuda.empty_cache()
            continue
        yield part, result
        first = part.stop
